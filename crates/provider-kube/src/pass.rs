//! One pass over one object: every target once, then what follows for the object as a whole.

use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use kube::api::DynamicObject;
use provider_core::lifecycle::{Desired, Mode, Outcome, Standing, StoreError};
use provider_core::{ObjectKey, Resource, history};
use serde_json::json;

use crate::conditions::{self, BACKEND, Findings, PROGRESSING, TARGETS_KNOWN};
use crate::events::{self, Told};
use crate::handle::Handle;
use crate::provisioner::{Provisioner, reference_of};
use crate::reconciled::Found;
use crate::store::{ObjectStore, annotate};
use crate::{Error, applied, finalizer, object, targets};

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
    Released,
    /// It is absent, and nothing of it is left.
    Absent,
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
        found: &mut Found,
    ) -> Result<Passed, Error> {
        let handle = self.handle(view);
        let passed = self.pass_with(&handle, view, wanted, first, found).await;
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
        found: &mut Found,
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
            .map(|desired| self.steered(desired, view))
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
                Err(error) => return Err(handle.error("add the finalizer", &error)),
            }
        } else if unmanaged && view.metadata.deletion_timestamp.is_none() {
            return Ok(Passed::Rest(None));
        }
        let (basis, records) = handle.contents(&handle.view())?;
        let undeclared = if unmanaged {
            Vec::new()
        } else {
            targets::undeclared(&records, wanted)
        };
        let alone = handle.view().finalizers().len() == 1 && steered.len() == 1;
        let may_leave_last = first && alone && undeclared.is_empty();

        let (mut released, mut absent) = (Vec::new(), 0_usize);
        let mut wake: Option<Duration> = None;
        for (desired, note) in &steered {
            let reads = handle.refreshes();
            let (jobs, said) = (&self.jobs, &self.said);
            let mut store =
                ObjectStore::new(handle, &basis, desired, wanted, jobs, said, &*self.clock);
            store.note = note.as_deref();
            store.may_leave_last = may_leave_last;
            store.applied = self.applied_annotation.then_some(&self.annotations.applied);
            let step = self.step(&store, alone, found).await?;
            if !released.is_empty() && handle.refreshes() != reads {
                // Others were let go on an object that is not the newest any more: they are asked again.
                return Ok(Passed::Again(handle.view()));
            }
            match step {
                Step::Released => released.push(desired.target.as_deref()),
                Step::Absent => absent = absent.saturating_add(1),
                Step::Held(wait) => wake = [wake, wait].into_iter().flatten().min(),
                Step::Ended(passed) => return Ok(passed),
            }
        }
        if !undeclared.is_empty() {
            wake = [wake, Some(LOOK_AGAIN)].into_iter().flatten().min();
        }
        if let Some(ended) = self.report(&undeclared, wanted, handle, &basis).await? {
            return Ok(ended);
        }
        let gone = released.len().saturating_add(absent) == steered.len();
        if undeclared.is_empty() && gone && basis.is_deleting() {
            let released = released.iter().filter_map(|target| found.of(*target));
            return self.release(handle, released.collect()).await;
        }
        if let Some(ended) = self.note_applied(handle, wanted, &basis).await? {
            return Ok(ended);
        }
        Ok(Passed::Rest(wake))
    }

    /// What is wanted of a target, with what the annotations of the object say.
    pub(crate) fn steered(
        &self,
        desired: &Desired,
        view: &DynamicObject,
    ) -> (Desired, Option<String>) {
        let (desired, note) = self.annotations.applied_to(desired, view);
        let desired = match self.applied_annotation {
            true => applied::restored(desired, view, &self.annotations.applied),
            false => desired,
        };
        (desired, note)
    }

    /// Writes beside the object's metadata what is applied, where that is switched on.
    async fn note_applied(
        &self,
        handle: &Handle<'_>,
        wanted: &[Desired],
        basis: &Resource,
    ) -> Result<Option<Passed>, Error> {
        if !self.applied_annotation || basis.is_deleting() {
            return Ok(None);
        }
        let view = handle.view();
        let (resource, records) = handle.contents(&view)?;
        // What is wanted may be another by now.
        if !resource.asks_the_same(basis) {
            return Ok(None);
        }
        let name = &self.annotations.applied;
        let Some(text) = applied::update(&view, name, &records, wanted) else {
            return Ok(None);
        };
        match annotate(handle, name, &text).await {
            Ok(()) => Ok(None),
            Err(StoreError::Conflict) => self.again(handle).await.map(Some),
            Err(StoreError::Gone) => Ok(Some(Passed::Gone)),
            Err(error) => Err(handle.error("write the applied version", &error)),
        }
    }

    /// One pass of the engine for one target, and what it found put on record. `alone`: it decides
    /// alone whether the object goes.
    async fn step(
        &self,
        store: &ObjectStore<'_>,
        alone: bool,
        found: &mut Found,
    ) -> Result<Step, Error> {
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
        let step = self.judge(store, alone, &outcome).await;
        found.note(store.desired.target.as_deref(), outcome);
        step
    }

    /// What the engine's word means for the pass.
    async fn judge(
        &self,
        store: &ObjectStore<'_>,
        alone: bool,
        outcome: &Outcome,
    ) -> Result<Step, Error> {
        let handle = store.handle;
        let wait = outcome.wake_after(self.clock.now());
        if store.left_last() && !outcome.may_release() {
            return Ok(Step::Ended(self.again(handle).await?));
        }
        match &outcome.standing {
            Standing::Gone => return Ok(Step::Ended(Passed::Gone)),
            Standing::Outdated => return Ok(Step::Ended(self.again(handle).await?)),
            Standing::Interrupted { reason } => {
                if let Some(error) = store.failure() {
                    return Err(handle.error("keep the records", &error));
                }
                tracing::warn!(object = %store.basis.key(), reason, "a pass was broken off");
                return Ok(Step::Held(wait));
            }
            // Its last conditions would go with it at once.
            Standing::Released(_) if alone => return Ok(Step::Released),
            _ => {}
        }
        if !is_in_doubt(store, outcome) {
            let findings = Findings {
                standing: &outcome.standing,
                why: outcome.why,
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
                Err(error) => return Err(handle.error("write the conditions", &error)),
            }
        }
        Ok(match &outcome.standing {
            Standing::Released(_) => Step::Released,
            Standing::Absent { left_behind } if left_behind.is_empty() => Step::Absent,
            _ => Step::Held(wait),
        })
    }

    /// Says which targets nobody names; or, once it was said, that there are none any more.
    async fn report(
        &self,
        undeclared: &[String],
        wanted: &[Desired],
        handle: &Handle<'_>,
        basis: &Resource,
    ) -> Result<Option<Passed>, Error> {
        let view = handle.view();
        let known = object::reason(&view, TARGETS_KNOWN);
        if undeclared.is_empty() && known.is_none() {
            return Ok(None);
        }
        let condition = conditions::undeclared(undeclared, basis);
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
            Err(error) => return Err(handle.error("write the conditions", &error)),
        }
        if is_news && !undeclared.is_empty() {
            self.tell(&view, vec![events::of_obstacle(&condition)])
                .await;
        }
        Ok(None)
    }

    /// Lets the object go. Told once, by whoever took the finalizer off.
    async fn release(&self, handle: &Handle<'_>, released: Vec<&Outcome>) -> Result<Passed, Error> {
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
            Err(error) => Err(handle.error("remove the finalizer", &error)),
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
            Err(error) => return Err(handle.error("write the conditions", &error)),
        }
        self.tell(&view, vec![told]).await;
        Ok(Passed::Gone)
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
            Err(error) => Err(handle.error("read the object", &error)),
        }
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
