//! Carries out decisions, one at a time, and feeds back what it saw.

mod ask;
mod store;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tracing::Instrument;

use super::decide::{Backends, Pass, Situation, decide, poll_interval};
use super::decision::{Action, Decision, Ground, Rest, Standing, Why};
use super::entropy::{Entropy, SystemEntropy};
use super::event::Event;
use super::outcome::{OrphanReceipt, Outcome};
use super::pacing::{self, Pacing};
use super::store::{Freshness, StatusStore, StoreError};
use super::{Desired, Explanation, Policy, ProviderRegistry, telemetry};
use crate::clock::add;
use crate::{Clock, JobRecord, ObjectKey, ProviderError, Resource, history};

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
        let begun = self.pacing.begin(resource.key(), desired.target.as_ref());
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
            unrecorded: Vec::new(),
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
        let begun = self.pacing.begin(resource.key(), desired.target.as_ref());
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
    /// What happens when the caller makes the write that the store has left to it.
    unrecorded: Vec<(Event, JobRecord)>,
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
        let deleting = self.pass.deleting.filter(|_| !over);
        let target = self.desired.target.as_ref();
        self.engine
            .pacing
            .note_deletion(self.resource.key(), target, deleting);
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
            unrecorded: self.unrecorded,
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
