//! Carries out decisions, one at a time, and feeds back what it saw.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tracing::Instrument;

use super::absorb::{Context, Observation, absorb};
use super::decide::{Backends, LAUNCH_LEASE, Pass, Situation, decide, poll_interval};
use super::decision::{Action, Call, Decision, Ground, Rest, Right, Standing, Why};
use super::entropy::{Entropy, SystemEntropy};
use super::event::{self, Event};
use super::outcome::{OrphanReceipt, Outcome};
use super::pacing::{self, Lesson, Pacing};
use super::relaunch::{self, RelaunchLook};
use super::store::{Freshness, Snapshot, StatusStore, StoreError};
use super::{Desired, Explanation, Policy, ProviderRegistry, telemetry};
use crate::clock::{add, since};
use crate::{
    Clock, FindRequest, JobRecord, JobRef, JobType, LaunchRequest, ObjectKey, ProviderError,
    RelaunchQuery, Resource, history,
};

/// A pass that has not come to rest after so many steps is broken off. The longest legitimate one
/// (poll, close, confirm, intend, launch, record, each with a conflict) takes half of it.
const MAX_STEPS: u32 = 32;
/// A pass that others keep writing into is broken off and tried again later.
const MAX_CONFLICTS: u32 = 8;
/// How long to wait after a pass was broken off, before jitter.
const RETRY_BROKEN_OFF: Duration = Duration::from_secs(5);

/// The engine. One for a controller, shared by all its objects.
#[derive(Debug)]
pub struct Lifecycle {
    policy: Policy,
    entropy: Arc<dyn Entropy>,
    pacing: Pacing,
}

impl Lifecycle {
    /// An engine with these choices and the operating system's randomness.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self::with_entropy(policy, Arc::new(SystemEntropy))
    }

    /// An engine with a randomness of the caller's: repeatable in tests.
    #[must_use]
    pub fn with_entropy(policy: Policy, entropy: Arc<dyn Entropy>) -> Self {
        Self {
            policy,
            entropy,
            pacing: Pacing::default(),
        }
    }

    /// The user's choices.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Brings one object a step further, as far as it goes without waiting.
    ///
    /// May be called at any time, from any number of tasks and processes at once, and dropped at
    /// any await point: the next call continues from the records. Whether the object is being
    /// deleted is read off `resource`. A [`Timestamp`] is a clock too.
    ///
    /// Never fails: what went wrong is in the outcome, with a time to try again.
    pub async fn reconcile(
        &self,
        registry: &ProviderRegistry,
        store: &dyn StatusStore,
        resource: &Resource,
        desired: &Desired,
        clock: &dyn Clock,
    ) -> Outcome {
        // As visible as what is told inside of it: without the object, no line is of use.
        let span = tracing::info_span!(
            "reconcile",
            object = %resource.key(),
            target = desired.target.as_deref(),
        );
        let begun = self.pacing.begin(resource.key());
        let deleting = self.seen_deleting(&begun, resource, clock.now());
        let mut run = Run {
            engine: self,
            registry,
            store,
            resource: resource.clone(),
            desired,
            clock,
            seed: (u128::from(self.entropy.next()) << 64) | u128::from(self.entropy.next()),
            records: Arc::default(),
            version: None,
            pass: Pass {
                paces: begun.paces.clone(),
                deleting,
                ..Pass::default()
            },
            begun,
            events: Vec::new(),
            trouble: None,
            answered: false,
            conflicts: 0,
        };
        let ended = run.work().instrument(span.clone()).await;
        let _in_span = span.enter();
        run.outcome(ended)
    }

    /// What the engine would do next for an object, and why. Reads the records, and does nothing.
    ///
    /// # Errors
    /// When the records cannot be read.
    pub async fn explain(
        &self,
        registry: &ProviderRegistry,
        store: &dyn StatusStore,
        resource: &Resource,
        desired: &Desired,
        clock: &dyn Clock,
    ) -> Result<Explanation, StoreError> {
        let snapshot = store.load(resource.key(), Freshness::Current).await?;
        let mut records = (*snapshot.records).clone();
        history::number(&mut records);
        let begun = self.pacing.begin(resource.key());
        let deleting = self.seen_deleting(&begun, resource, clock.now());
        let pass = Pass {
            paces: begun.paces,
            deleting,
            ..Pass::default()
        };
        let situation = Situation {
            records: &records,
            desired,
            deleting_since: resource.deletion_timestamp(),
            policy: &self.policy,
            backends: registry,
            now: clock.now(),
            seed: 0,
        };
        Ok(super::explain(resource.key(), &situation, &pass))
    }

    /// Since when this process has seen that the object is being deleted, where that decides anything.
    fn seen_deleting(
        &self,
        begun: &pacing::Begun,
        resource: &Resource,
        now: Timestamp,
    ) -> Option<Timestamp> {
        resource.deletion_timestamp()?;
        self.policy.abandon_after?;
        Some(begun.deleting.filter(|at| *at <= now).unwrap_or(now))
    }

    /// Makes an object's jobs due for a poll at its next reconcile, ahead of their pace: for
    /// hints from a backend that something has happened.
    pub fn nudge(&self, key: &ObjectKey) {
        self.pacing.nudge(key);
    }

    /// Forgets what is remembered of an object between passes, because it is gone or has not been
    /// worked on for long. Should it come again, its jobs are asked about as after a restart.
    pub fn forget(&self, key: &ObjectKey) {
        self.pacing.forget(key);
    }

    /// Of how many objects something is remembered between passes.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.pacing.len()
    }
}

/// How a pass ended.
enum End {
    Rest(Rest, Why),
    Broken(Standing),
}

/// How a write ended that did not end the pass.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Swapped {
    Written,
    /// Somebody else wrote first, and the records were read again.
    Conflict,
    /// The same, and the object is no longer the one that the pass began with.
    Outdated,
}

/// One pass over one object.
struct Run<'a> {
    engine: &'a Lifecycle,
    registry: &'a ProviderRegistry,
    store: &'a dyn StatusStore,
    /// The caller's, until the store has shown its own.
    resource: Resource,
    desired: &'a Desired,
    clock: &'a dyn Clock,
    seed: u128,
    records: Arc<Vec<JobRecord>>,
    version: Option<super::StoreVersion>,
    pass: Pass,
    /// What was remembered when the pass began.
    begun: pacing::Begun,
    events: Vec<Event>,
    trouble: Option<ProviderError>,
    answered: bool,
    conflicts: u32,
}

impl Run<'_> {
    async fn work(&mut self) -> End {
        match self.load(Freshness::Cached).await {
            Ok(true) => {}
            Ok(false) => return End::Broken(Standing::Outdated),
            Err(end) => return end,
        }
        for _ in 0..MAX_STEPS {
            let Decision { action, why } = self.decide();
            let step = match action {
                Action::Rest(rest) => return End::Rest(rest, why),
                Action::Write { records, then } => self.fence(records, then, why).await,
                Action::Call(call) => self.call(call, why).await,
            };
            if let Err(end) = step {
                return end;
            }
        }
        End::Broken(Standing::Interrupted {
            reason: format!("no rest after {MAX_STEPS} steps; this is a defect of the engine"),
        })
    }

    fn decide(&mut self) -> Decision {
        let now = self.clock.now();
        self.spread_first_polls(now);
        let situation = Situation {
            records: &self.records,
            desired: self.desired,
            deleting_since: self.resource.deletion_timestamp(),
            policy: &self.engine.policy,
            backends: self.registry,
            now,
            seed: self.seed,
        };
        let decision = decide(&situation, &self.pass);
        tracing::debug!(action = telemetry::word(&decision.action), why = %decision.why, "decided");
        decision
    }

    /// Jobs that this process has not asked about yet were started by a process before it.
    fn spread_first_polls(&mut self, now: Timestamp) {
        let random = self.random();
        for record in self
            .records
            .iter()
            .filter(|r| r.job_id.is_some() && r.may_be_live())
        {
            if self
                .pass
                .paces
                .iter()
                .any(|pace| pace.attempt == record.attempt)
            {
                continue;
            }
            let Some((_, caps)) = self.registry.owner(record) else {
                continue;
            };
            let interval = poll_interval(&self.engine.policy, caps, record, None, u64::MAX / 2);
            let pace = pacing::first(self.resource.key(), record.attempt, now, interval, random);
            self.pass.paces.push(pace);
        }
    }

    // ---- store ----

    /// Reads the records. `Ok(false)`: they are read, and the object is no longer the one that this
    /// pass began with, so that nothing may be decided on it.
    async fn load(&mut self, freshness: Freshness) -> Result<bool, End> {
        let loaded = self.store.load(self.resource.key(), freshness).await;
        let Snapshot {
            mut records,
            version,
            resource,
        } = loaded.map_err(|error| broken(&error))?;
        // Another life of the same name: these records are none of this pass' business.
        if resource
            .as_ref()
            .is_some_and(|newer| newer.uid() != self.resource.uid())
        {
            return Err(End::Broken(Standing::Outdated));
        }
        if !history::is_numbered(&records) {
            history::number(Arc::<Vec<JobRecord>>::make_mut(&mut records));
        }
        self.records = records;
        self.version = Some(version);
        // What was decided on other records is void.
        self.pass.right = None;
        self.pass.absent = None;
        self.pass.relaunch_looks.clear();
        self.pass.current = false;
        Ok(resource.is_none_or(|newer| newer.asks_the_same(&self.resource)))
    }

    /// Writes changed records, if nobody has written since they were read. `asked` is the record that a call
    /// was about: what became of it is told, also where somebody else has taken it off meanwhile.
    async fn swap(
        &mut self,
        changed: Vec<JobRecord>,
        asked: Option<&JobRecord>,
    ) -> Result<Swapped, End> {
        let Some(version) = self.version.clone() else {
            return Err(End::Broken(Standing::Outdated));
        };
        let before = Arc::clone(&self.records);
        let mut records = (*before).clone();
        let mut events = Vec::with_capacity(changed.len());
        for record in changed {
            let mut known = before.iter().chain(asked);
            let old = known.find(|known| known.attempt == record.attempt);
            let told = event::between(old, &record);
            events.extend(told.into_iter().map(|event| (event, record.clone())));
            history::put(&mut records, record);
        }
        history::trim(&mut records, self.engine.policy.config.history_length);
        match self
            .store
            .swap(self.resource.key(), &version, &records)
            .await
        {
            Ok(written) => {
                self.records = Arc::new(records);
                self.version = Some(written.version);
                // What is launched next is sent the object as the store has it. One that asks for
                // something else is another pass' affair.
                if let Some(whole) = written
                    .resource
                    .filter(|whole| whole.asks_the_same(&self.resource))
                {
                    self.resource = whole;
                }
                self.pass.current = true;
                // Told when it is on record: a write that fails is made again, or by another process.
                for (event, record) in events {
                    telemetry::record_event(&event, &record);
                    self.events.push(event);
                }
                Ok(Swapped::Written)
            }
            Err(StoreError::Conflict) => {
                self.conflicts += 1;
                telemetry::conflict();
                if self.conflicts > MAX_CONFLICTS {
                    return Err(End::Broken(Standing::Interrupted {
                        reason: "others keep writing this object's status".to_owned(),
                    }));
                }
                Ok(if self.load(Freshness::Current).await? {
                    Swapped::Conflict
                } else {
                    Swapped::Outdated
                })
            }
            Err(error) => Err(broken(&error)),
        }
    }

    async fn fence(
        &mut self,
        mut changed: Vec<JobRecord>,
        then: Option<Right>,
        why: Why,
    ) -> Result<(), End> {
        self.pass.right = None;
        self.pass.absent = None;
        if let Some(Right::Launch(n)) = then {
            for intent in changed.iter_mut().filter(|record| record.attempt == n) {
                intent.kind = self.launch_kind(intent).or(intent.kind.take());
            }
        }
        match self.swap(changed, None).await? {
            Swapped::Written => {
                tracing::info!(%why, ?then, "recorded");
                self.pass.right = then;
                Ok(())
            }
            Swapped::Conflict => Ok(()),
            Swapped::Outdated => Err(End::Broken(Standing::Outdated)),
        }
    }

    // ---- provider ----

    async fn call(&mut self, call: Call, why: Why) -> Result<(), End> {
        self.pass.right = None;
        if !matches!(call, Call::FindRelaunched(_)) {
            self.pass.absent = None;
            // It takes time, in which people may have done anything.
            self.pass.relaunch_looks.clear();
        }
        let n = call.attempt();
        let Some(asked) = self
            .records
            .iter()
            .find(|record| record.attempt == n)
            .cloned()
        else {
            return Ok(()); // cannot be: decisions are about records that are there
        };
        if let Call::Launch(_) = call
            && asked.sent_at.is_none_or(|at| {
                let now = self.clock.now();
                now < at || since(now, at) > LAUNCH_LEASE
            })
        {
            // The write took so long that another process may have taken over; or the clock was set
            // back meanwhile, and nobody can tell how long it took.
            tracing::warn!(
                attempt = n,
                "too late to launch; looking for the job instead"
            );
            return Ok(());
        }
        let (asked_at, conflicts) = (self.clock.now(), self.conflicts);
        let Some(observation) = self.ask(call, &asked).await else {
            return Ok(());
        };
        let observation = observation.checked();
        let error = observation.error().cloned();
        telemetry::call(call, &asked, error.as_ref(), why);
        // The records may have been written by others during the call, and the object may have been
        // changed. What was seen is put on record all the same: a job whose name is known must not
        // become one that has to be looked for.
        let mut outdated = false;
        loop {
            let changed = self.absorb(&asked, &observation);
            if changed.is_empty() {
                break;
            }
            match self.swap(changed, Some(&asked)).await? {
                Swapped::Written => break,
                Swapped::Conflict => {}
                Swapped::Outdated => outdated = true,
            }
        }
        if let Observation::Relaunched { found, .. } = &observation {
            // On records that were read again meanwhile, it is looked again.
            if self.conflicts == conflicts {
                self.looked(&asked, found.as_ref().err());
            }
        } else {
            self.learn(call, &asked, &observation, asked_at);
        }
        self.answered = error.is_none();
        if let Some(error) = error {
            self.trouble = Some(error);
        }
        if outdated {
            return Err(End::Broken(Standing::Outdated));
        }
        Ok(())
    }

    /// What the provider says of a launch before it is made.
    fn launch_kind(&self, intent: &JobRecord) -> Option<String> {
        let (owner, _) = self.registry.owner(intent)?;
        let provider = self.registry.get(owner)?;
        let kind = provider.launch_kind(&self.request(intent)?, intent.job_type)?;
        if kind.len() > JobRef::MAX_KIND {
            tracing::error!(owner, "the kind of the launch is too long to go on record");
            return None;
        }
        Some(kind.into_owned())
    }

    fn request(&self, asked: &JobRecord) -> Option<LaunchRequest> {
        let mut request = LaunchRequest::new(self.resource.clone(), asked.token.clone()?)
            .with_extra_vars(self.desired.extra_vars.clone());
        request.config_version.clone_from(&asked.config_version);
        request.last_sent = history::last_sent(&self.records, asked);
        request.send_by = asked.sent_at.map(|at| add(at, LAUNCH_LEASE));
        Some(request)
    }

    async fn ask(&self, call: Call, asked: &JobRecord) -> Option<Observation> {
        let (owner, caps) = self.registry.owner(asked)?;
        let provider = self.registry.get(owner)?;
        Some(match call {
            Call::Launch(_) => {
                let request = self.request(asked)?;
                match asked.job_type {
                    JobType::Provision => {
                        Observation::Provisioned(provider.trigger_provision(&request).await)
                    }
                    JobType::Deprovision => {
                        let history: Vec<JobRecord> = self
                            .records
                            .iter()
                            .filter(|r| self.desired.owns(r))
                            .cloned()
                            .collect();
                        Observation::Deprovisioned(
                            provider.trigger_deprovision(&request, &history).await,
                        )
                    }
                }
            }
            Call::Status(_) => {
                let job = asked.tracked()?;
                Observation::Status(match asked.job_type {
                    JobType::Provision => provider.provision_status(&self.resource, &job).await,
                    JobType::Deprovision => provider.deprovision_status(&self.resource, &job).await,
                })
            }
            Call::Cancel(_) => {
                Observation::Canceled(provider.cancel(&self.resource, &asked.tracked()?).await)
            }
            Call::Find(_) => {
                let mut query =
                    FindRequest::new(self.resource.clone(), asked.job_type, asked.token.clone()?);
                // What was sent with another version may have been something else: no job is called
                // stray for the lack of it.
                if asked.config_version.as_ref() == Some(&self.desired.version) {
                    query = query.with_extra_vars(self.desired.extra_vars.clone());
                }
                // From the first launch of the token to the last one, whose clock may be another's.
                let moments = || asked.timestamp.into_iter().chain(asked.sent_at);
                let window = caps.visibility_window.saturating_add(LAUNCH_LEASE);
                query.not_before = moments().min();
                query.not_after = moments().max().map(|at| add(at, window));
                Observation::Found(provider.find_launched(&query).await)
            }
            Call::FindRelaunched(_) => Observation::Relaunched {
                found: provider.find_relaunched(&self.relaunch_query(owner)).await,
                deleting: self.resource.deletion_timestamp().is_some(),
            },
        })
    }

    /// A search for copies that people have started has been made.
    fn looked(&mut self, asked: &JobRecord, error: Option<&ProviderError>) {
        let Some((owner, caps)) = self.registry.owner(asked) else {
            return;
        };
        let provider = owner.to_owned();
        let again = error.map(|error| {
            let pace = caps.poll_interval.max(RETRY_BROKEN_OFF);
            let wait = pace.max(error.retry_after().unwrap_or_default());
            let jitter = self.engine.policy.jitter;
            add(
                self.clock.now(),
                super::backoff::vary(wait, jitter, self.random()),
            )
        });
        self.pass
            .relaunch_looks
            .push(RelaunchLook { provider, again });
    }

    /// Which copies are looked for: those of every job of the object that this provider may have run.
    fn relaunch_query(&self, owner: &str) -> RelaunchQuery {
        let owned = |record: &&JobRecord| {
            self.desired.owns(record)
                && relaunch::can_be_copied(record)
                && self.registry.owner(record).is_some_and(|(o, _)| o == owner)
        };
        let owned = || self.records.iter().filter(owned);
        let mut query = RelaunchQuery::new(self.resource.clone(), Vec::new());
        for token in owned().filter_map(|record| record.token.clone()) {
            if !query.tokens.contains(&token) {
                query.tokens.push(token);
            }
        }
        let moments = owned().flat_map(|record| record.timestamp.into_iter().chain(record.sent_at));
        query.not_before = moments.min();
        query
    }

    fn absorb(&self, asked: &JobRecord, observation: &Observation) -> Vec<JobRecord> {
        let Some((_, capabilities)) = self.registry.owner(asked) else {
            return Vec::new();
        };
        let context = Context {
            policy: &self.engine.policy,
            capabilities,
            now: self.clock.now(),
            seed: self.seed,
        };
        absorb(&self.records, asked, observation, &context)
    }

    /// Takes in what a call has given, and sets when the attempt is due again.
    fn learn(
        &mut self,
        call: Call,
        asked: &JobRecord,
        observation: &Observation,
        asked_at: Timestamp,
    ) {
        let records = Arc::clone(&self.records);
        let record = records
            .iter()
            .find(|record| record.attempt == asked.attempt);
        let Some(record) = record else { return };
        let Some((_, caps)) = self.registry.owner(record) else {
            return;
        };
        let told = match observation {
            Observation::Status(Ok(status)) => status.poll_after,
            _ => None,
        };
        let interval = poll_interval(&self.engine.policy, caps, record, told, self.random());
        let wait = match (call, observation.error()) {
            // A launch in doubt is looked for at once.
            (Call::Launch(_), Some(_)) => Duration::ZERO,
            // The backend does not know the job, and did: its token is looked for at once.
            (Call::Status(_) | Call::Cancel(_), _)
                if record.is_missing() && !asked.is_missing() && record.is_searchable(caps) =>
            {
                Duration::ZERO
            }
            (_, Some(error)) => interval.max(error.retry_after().unwrap_or_default()),
            _ => interval,
        };
        self.pass.learn(&Lesson {
            records: &records,
            asked,
            observation,
            policy: &self.engine.policy,
            asked_at,
            now: self.clock.now(),
            wait,
        });
    }

    #[allow(
        clippy::cast_possible_truncation,
        reason = "the low bits are as random as any"
    )]
    fn random(&self) -> u64 {
        super::entropy::mix(self.seed as u64 ^ (self.events.len() as u64))
    }

    // ---- outcome ----

    fn outcome(self, end: End) -> Outcome {
        let now = self.clock.now();
        let paces = self.pass.paces.clone();
        self.engine
            .pacing
            .keep(self.resource.key(), &self.begun, paces, &self.records);
        // Who was given up stays so, should the finalizer's removal fail.
        let over = match &end {
            End::Rest(rest, _) => {
                matches!(&rest.standing, Standing::Released(r) if r.ground != Ground::Abandoned)
            }
            End::Broken(standing) => matches!(standing, Standing::Gone),
        };
        self.engine
            .pacing
            .note_deletion(self.resource.key(), self.pass.deleting.filter(|_| !over));
        let (standing, why, wake_at, escalated) = match end {
            End::Rest(rest, why) => (rest.standing, Some(why), rest.wake_at, rest.escalated),
            End::Broken(standing) => {
                let wait = match &standing {
                    Standing::Gone => None,
                    Standing::Outdated => Some(Duration::ZERO),
                    _ => Some(super::backoff::vary(
                        RETRY_BROKEN_OFF,
                        self.engine.policy.jitter,
                        self.random(),
                    )),
                };
                (standing, None, wait.map(|wait| add(now, wait)), false)
            }
        };
        let receipt = match &standing {
            Standing::Released(release) => OrphanReceipt::new(
                self.resource.key(),
                release.ground,
                &release.left_behind,
                &self.records,
            ),
            _ => None,
        };
        telemetry::rest(&standing, receipt.as_ref());
        Outcome {
            standing,
            why,
            events: self.events,
            wake_at,
            escalated,
            trouble: self.trouble,
            answered: self.answered,
            receipt,
            records: self.records,
            version: self.version,
            conflicts: self.conflicts,
        }
    }
}

fn broken(error: &StoreError) -> End {
    End::Broken(match error {
        StoreError::Gone => Standing::Gone,
        StoreError::Conflict | StoreError::Unavailable(_) | StoreError::Refused(_) => {
            Standing::Interrupted {
                reason: error.to_string(),
            }
        }
    })
}
