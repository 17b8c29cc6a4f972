//! One pass over one object: every target once, then what follows for the object as a whole.

use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use kube::api::DynamicObject;
use provider_core::lifecycle::{Desired, Mode, Outcome, Standing, StoreError};
use provider_core::{ObjectKey, Resource, history};
use serde_json::json;

use crate::conditions::{self, BACKEND, Findings, PROGRESSING, STATUS_WRITABLE, TARGETS_KNOWN};
use crate::events::{self, Told};
use crate::handle::Handle;
use crate::provisioner::{Provisioner, of_write, reference_of};
use crate::status::MAX_CONDITIONS;
use crate::store::ObjectStore;
use crate::{Error, finalizer, object, targets};

/// When to look again at records that no target owns: a person must do something first.
const LOOK_AGAIN: Duration = Duration::from_secs(30 * 60);

/// How a pass ended.
pub(crate) enum Passed {
    /// The object is at rest until then; none: until something about it changes.
    Rest(Option<Duration>),
    /// Nothing is to be done for this object any more.
    Gone,
    /// The object was too old; once more with this one.
    Again(Arc<DynamicObject>),
}

/// What became of one target.
enum Step {
    Released(Box<Outcome>),
    Held(Option<Duration>),
    Ended(Passed),
}

impl<K> Provisioner<K> {
    /// One pass of the engine for every target. `wanted` was made from this very object.
    pub(crate) async fn pass(
        &self,
        view: &Arc<DynamicObject>,
        wanted: &[Desired],
        first: bool,
    ) -> Result<Passed, Error> {
        let handle = self.handle(view);
        let passed = self.pass_with(&handle, view, wanted, first).await;
        if let (Err(error), Some(found)) = (&passed, handle.unwritable()) {
            self.show_unwritable(&handle, &found, error).await;
        }
        if let Err(error @ Error::Targets(_)) = &passed {
            self.show_refused(&handle, error).await;
        }
        passed
    }

    async fn pass_with(
        &self,
        handle: &Handle<'_>,
        view: &Arc<DynamicObject>,
        wanted: &[Desired],
        first: bool,
    ) -> Result<Passed, Error> {
        let ours = finalizer::is_there(view, &self.finalizer);
        if !ours && view.metadata.deletion_timestamp.is_some() {
            // Nothing was ever started for it, it was let go, or somebody has taken it off by hand.
            return self.taken(handle, wanted).await;
        }
        let policy = self.engine.policy();
        targets::check(
            wanted,
            policy.config().history_length,
            &object::records(view),
            object::conditions(view),
        )?;
        let steered: Vec<_> = wanted
            .iter()
            .map(|desired| self.annotations.applied_to(desired, &**view))
            .collect();
        let unmanaged = steered.iter().all(|(d, _)| d.mode == Mode::Unmanaged);
        let unmanaged = unmanaged && !steered.is_empty();
        if !ours {
            if unmanaged || steered.is_empty() {
                return Ok(Passed::Rest(None));
            }
            let added = async {
                self.number(handle).await?;
                finalizer::add(handle, &self.finalizer).await
            };
            match added.await {
                Ok(()) => {}
                Err(StoreError::Conflict) => return self.again(handle).await,
                Err(StoreError::Gone) => return Ok(Passed::Gone),
                Err(error) => return Err(of_write("add the finalizer", &error)),
            }
        } else if unmanaged && view.metadata.deletion_timestamp.is_none() {
            return Ok(Passed::Rest(None));
        }
        let (basis, records) = handle.contents(&handle.view())?;
        let strays = if unmanaged {
            Vec::new()
        } else {
            targets::strays(&records, wanted)
        };
        let alone = handle.view().finalizers().len() == 1 && steered.len() == 1;
        let may_leave_last = first && alone && strays.is_empty();

        let mut released: Vec<Outcome> = Vec::new();
        let mut wake: Option<Duration> = None;
        for (desired, note) in &steered {
            let reads = handle.refreshes();
            let (jobs, said) = (&self.jobs, &self.said);
            let mut store =
                ObjectStore::new(handle, &basis, desired, wanted, jobs, said, &*self.clock);
            store.note = note.as_deref();
            store.may_leave_last = may_leave_last;
            let step = self.step(&store, alone).await?;
            if !released.is_empty() && handle.refreshes() != reads {
                // Others were let go on an object that is not the newest any more: they are asked again.
                return Ok(Passed::Again(handle.view()));
            }
            match step {
                Step::Released(outcome) => released.push(*outcome),
                Step::Held(wait) => wake = [wake, wait].into_iter().flatten().min(),
                Step::Ended(passed) => return Ok(passed),
            }
        }
        if !strays.is_empty() {
            wake = [wake, Some(LOOK_AGAIN)].into_iter().flatten().min();
        }
        if let Some(ended) = self.report(&strays, wanted, handle, &basis).await? {
            return Ok(ended);
        }
        if strays.is_empty() && released.len() == steered.len() && basis.is_deleting() {
            return self.release(handle, &released).await;
        }
        Ok(Passed::Rest(wake))
    }

    /// One pass of the engine for one target, and what it found put on record. `alone`: it decides
    /// alone whether the object goes.
    async fn step(&self, store: &ObjectStore<'_>, alone: bool) -> Result<Step, Error> {
        let handle = store.handle;
        let outcome = self
            .engine
            .reconcile(
                &self.registry,
                store,
                store.basis,
                store.desired,
                &*self.clock,
            )
            .await;
        self.jobs.learn(store.basis.key(), &outcome.records);
        // It is on record, so it is told, however the pass goes on.
        self.tell(&handle.view(), events::tell(&outcome.events))
            .await;
        let wait = outcome.wake_after(self.clock.now());
        if store.left_last() && !outcome.may_release() {
            return Ok(Step::Ended(self.again(handle).await?));
        }
        match &outcome.standing {
            Standing::Gone => return Ok(Step::Ended(Passed::Gone)),
            Standing::Outdated => return Ok(Step::Ended(self.again(handle).await?)),
            Standing::Interrupted { reason } => {
                if let Some(error) = store.failure() {
                    return Err(of_write("keep the records", &error));
                }
                tracing::warn!(object = %store.basis.key(), reason, "a pass was broken off");
                return Ok(Step::Held(wait));
            }
            // Its last conditions would go with it at once.
            Standing::Released(_) if alone => return Ok(Step::Released(Box::new(outcome))),
            _ => {}
        }
        if !is_in_doubt(store, &outcome) {
            let findings = Findings {
                standing: &outcome.standing,
                trouble: outcome.trouble.as_ref().filter(|_| !outcome.answered),
                overdue: outcome.escalated,
            };
            match store.settle(&findings).await {
                Ok(news) => {
                    let told = events::of_conditions(&outcome.standing, &news);
                    self.tell(&handle.view(), told).await;
                }
                Err(StoreError::Conflict) => return Ok(Step::Ended(self.again(handle).await?)),
                Err(StoreError::Gone) => return Ok(Step::Ended(Passed::Gone)),
                Err(error) => return Err(of_write("write the conditions", &error)),
            }
        }
        Ok(match outcome.may_release() {
            true => Step::Released(Box::new(outcome)),
            false => Step::Held(wait),
        })
    }

    /// Says which targets nobody names; or, once it was said, that there are none any more.
    async fn report(
        &self,
        strays: &[String],
        wanted: &[Desired],
        handle: &Handle<'_>,
        basis: &Resource,
    ) -> Result<Option<Passed>, Error> {
        let view = handle.view();
        let known = object::reason(&view, TARGETS_KNOWN);
        if strays.is_empty() && known.is_none() {
            return Ok(None);
        }
        let condition = conditions::strays(strays, basis);
        let is_news = known != Some(condition.reason.as_str());
        let present = object::conditions(&view);
        let left = conditions::without_former(present, &targets::names(wanted));
        let merged = conditions::merged(&left, vec![condition.clone()], self.clock.now());
        if merged == present {
            return Ok(None);
        }
        let version = view.resource_version().unwrap_or_default();
        let body = json!({"status": {"conditions": merged}});
        match handle.patch(body, &version, true).await {
            Ok(_) => {}
            Err(StoreError::Conflict) => return self.again(handle).await.map(Some),
            Err(StoreError::Gone) => return Ok(Some(Passed::Gone)),
            Err(error) => return Err(of_write("write the conditions", &error)),
        }
        if is_news && !strays.is_empty() {
            self.tell(&view, vec![events::of_obstacle(&condition)])
                .await;
        }
        Ok(None)
    }

    /// Lets the object go. Told once, by whoever took the finalizer off.
    async fn release(&self, handle: &Handle<'_>, released: &[Outcome]) -> Result<Passed, Error> {
        match finalizer::remove(handle, &self.finalizer).await {
            Ok(()) => {
                for outcome in released {
                    // What was left for this write is on record with it.
                    let mut told = events::tell(outcome.recorded());
                    told.extend(events::of_release(outcome));
                    self.tell(&handle.view(), told).await;
                }
                Ok(Passed::Gone)
            }
            // Something has changed since: the engine is asked again.
            Err(StoreError::Conflict) => self.again(handle).await,
            Err(StoreError::Gone) => Ok(Passed::Gone),
            Err(error) => Err(of_write("remove the finalizer", &error)),
        }
    }

    /// Nobody keeps the object any more. Where its jobs may be alive, that is told: once, because the
    /// condition that goes with it says that it was.
    async fn taken(&self, handle: &Handle<'_>, wanted: &[Desired]) -> Result<Passed, Error> {
        let view = handle.view();
        let present = object::conditions(&view);
        let Some(told) = events::of_theft(&object::records(&view), present) else {
            return Ok(Passed::Gone);
        };
        let names = targets::names(wanted);
        let taken = conditions::taken(present, &names, told.note(), view.metadata.generation);
        let merged = conditions::merged(present, taken, self.clock.now());
        let version = view.resource_version().unwrap_or_default();
        let body = json!({"status": {"conditions": merged}});
        match handle.patch(body, &version, true).await {
            Ok(_) | Err(StoreError::Gone) => {}
            Err(StoreError::Conflict) => return self.again(handle).await,
            Err(error) => return Err(of_write("write the conditions", &error)),
        }
        self.tell(&view, vec![told]).await;
        Ok(Passed::Gone)
    }

    /// Says on the object that its targets cannot be kept in its status. Nothing else is done for it.
    async fn show_refused(&self, handle: &Handle<'_>, error: &Error) {
        let view = handle.view();
        let (message, generation) = (error.to_string(), view.metadata.generation);
        let condition = conditions::obstacle(TARGETS_KNOWN, "Refused", &message, generation);
        let present = object::conditions(&view);
        let merged = conditions::merged(present, vec![condition.clone()], self.clock.now());
        if merged == present {
            return;
        }
        if merged.len() <= MAX_CONDITIONS as usize {
            let version = view.resource_version().unwrap_or_default();
            let body = json!({"status": {"conditions": merged}});
            if let Err(error) = handle.patch(body, &version, true).await {
                // It is tried again with the object itself.
                tracing::debug!(object = %self.key_of(&*view), "the condition was not written: {error}");
                return;
            }
        } else if !self
            .retries
            .may_show(&self.key_of(&*view), self.clock.now())
        {
            return;
        }
        self.tell(&view, vec![events::of_obstacle(&condition)])
            .await;
    }

    /// Gives the records of older operators their numbers. Without them several are equal in the eyes
    /// of the API server, which then refuses every write of the object, the finalizer's too.
    async fn number(&self, handle: &Handle<'_>) -> Result<(), StoreError> {
        let view = handle.view();
        let mut records = object::records(&view);
        let readable = records.iter().all(|record| record.defect.is_none());
        if !readable || records.iter().all(|record| record.attempt > 0) {
            return Ok(());
        }
        history::number(&mut records);
        let version = view.resource_version().unwrap_or_default();
        let body = json!({"status": {"jobs": records}});
        handle.patch(body, &version, true).await?;
        Ok(())
    }

    /// Once more, with the object as it is now.
    async fn again(&self, handle: &Handle<'_>) -> Result<Passed, Error> {
        match handle.refresh().await {
            Ok(fresh) => Ok(Passed::Again(fresh)),
            Err(StoreError::Gone) => Ok(Passed::Gone),
            Err(error) => Err(of_write("read the object", &error)),
        }
    }

    /// Says on the object itself that it cannot be written, where that can be: without a status
    /// subresource, the status is a part of the object like any other. An event says the same.
    async fn show_unwritable(&self, handle: &Handle<'_>, found: &DynamicObject, error: &Error) {
        let key = self.key_of(found);
        if !self.retries.may_show(&key, self.clock.now()) {
            return;
        }
        let generation = found.metadata.generation;
        let message = error.to_string();
        let condition = conditions::obstacle(STATUS_WRITABLE, "Refused", &message, generation);
        let present = object::conditions(found);
        let merged = conditions::merged(present, vec![condition.clone()], self.clock.now());
        if merged != present {
            let version = found.resource_version().unwrap_or_default();
            let body = json!({"status": {"conditions": merged}});
            if let Err(error) = handle.patch(body, &version, false).await {
                tracing::debug!(object = %key, "the condition was not written either: {error}");
            }
        }
        self.tell(found, vec![events::of_obstacle(&condition)])
            .await;
    }

    /// The identity of an object, as the engine knows it.
    pub(crate) fn key_of(&self, object: &impl ResourceExt) -> ObjectKey {
        ObjectKey {
            kind: self.kind().to_owned(),
            namespace: object.namespace().filter(|name| !name.is_empty()),
            name: object.name_any(),
            uid: object.uid().unwrap_or_default(),
        }
    }

    pub(crate) async fn tell(&self, object: &DynamicObject, told: Vec<Told>) {
        if let Some(events) = &self.events
            && !told.is_empty()
        {
            let reference = reference_of(object);
            events
                .publish(&reference, told, self.clock.now(), &*self.entropy)
                .await;
        }
    }
}

/// Whether the backend could not be asked when it was last tried, and has not been tried since.
fn is_in_doubt(store: &ObjectStore<'_>, outcome: &Outcome) -> bool {
    let name = conditions::name(store.desired, PROGRESSING);
    let view = store.handle.view();
    let failed = object::reason(&view, &name).is_some_and(|reason| reason.starts_with(BACKEND));
    failed
        && !outcome.answered
        && outcome.trouble.is_none()
        && matches!(outcome.standing, Standing::InProgress { .. })
}
