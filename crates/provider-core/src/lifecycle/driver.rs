//! Carries out what the machine wants, one effect at a time; the only part that waits.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tracing::Instrument;

use super::decide::{Pass, Situation};
use super::decision::{Ground, Standing, Why};
use super::entropy::{Entropy, SystemEntropy};
use super::machine::{Effect, End, Happened, Machine, Method, Question, RETRY_BROKEN_OFF, Setting};
use super::outcome::{OrphanReceipt, Outcome};
use super::pacing::{self, Pacing};
use super::store::{Freshness, StatusStore, StoreError};
use super::{Desired, Explanation, Observation, Policy, ProviderRegistry, telemetry};
use crate::clock::add;
use crate::{Clock, JobType, ObjectKey, Resource, history};

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
        let remembered = Pass {
            paces: begun.paces.clone(),
            deleting: self.seen_deleting(&begun, resource, desired, clock.now()),
            ..Pass::default()
        };
        let seed = (u128::from(self.entropy.next()) << 64) | u128::from(self.entropy.next());
        let policy = self.policy_of(desired);
        let setting = Setting::new(desired, policy, registry);
        let pass = async {
            let (mut machine, mut effect) = Machine::begin(resource.clone(), remembered, seed);
            loop {
                let key = machine.resource.key();
                let happened = match effect {
                    Effect::Load(freshness) => Happened::Loaded(store.load(key, freshness).await),
                    Effect::Swap { version, records } => {
                        Happened::Swapped(store.swap(key, &version, &records).await)
                    }
                    Effect::Ask(question) => match ask(registry, &question).await {
                        Some(observation) => Happened::Saw(Box::new(observation)),
                        None => Happened::NotAsked,
                    },
                    Effect::Rest(end) => return (machine, end),
                };
                effect = machine.step(&setting, happened, clock.now());
            }
        };
        let (machine, end) = pass.instrument(span.clone()).await;
        let _in_span = span.enter();
        self.outcome(machine, end, &begun, desired, clock.now())
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
        let deleting = self.seen_deleting(&begun, resource, desired, clock.now());
        let pass = Pass {
            paces: begun.paces,
            deleting,
            ..Pass::default()
        };
        let situation = Situation {
            records: &records,
            desired,
            deleting_since: resource.deletion_timestamp(),
            policy: self.policy_of(desired),
            backends: registry,
            now: clock.now(),
            seed: 0,
        };
        Ok(super::explain(resource.key(), &situation, &pass))
    }

    /// The choices for this object.
    fn policy_of<'a>(&'a self, desired: &'a Desired) -> &'a Policy {
        desired.policy.as_ref().unwrap_or(&self.policy)
    }

    /// Since when this process has seen that the object is being deleted, where that decides anything.
    fn seen_deleting(
        &self,
        begun: &pacing::Begun,
        resource: &Resource,
        desired: &Desired,
        now: Timestamp,
    ) -> Option<Timestamp> {
        resource.deletion_timestamp()?;
        self.policy_of(desired).abandon_after?;
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

    fn outcome(
        &self,
        machine: Machine,
        end: End,
        begun: &pacing::Begun,
        desired: &Desired,
        now: Timestamp,
    ) -> Outcome {
        let key = machine.resource.key();
        let random = machine.random();
        let paces = machine.pass.paces;
        self.pacing.keep(key, begun, paces, &machine.records);
        // Who was given up stays so, should the finalizer's removal fail.
        let over = match &end {
            End::Rest(rest, _) => {
                matches!(&rest.standing, Standing::Released(r) if r.ground != Ground::Abandoned)
            }
            End::Broken(standing) => matches!(standing, Standing::Gone),
        };
        let deleting = machine.pass.deleting.filter(|_| !over);
        self.pacing
            .note_deletion(key, desired.target.as_ref(), deleting);
        let (standing, why, wake_at, escalated) = match end {
            End::Rest(rest, why) => (rest.standing, Some(why), rest.wake_at, rest.escalated),
            End::Broken(standing) => {
                let wait = match &standing {
                    Standing::Gone => None,
                    Standing::Outdated => Some(Duration::ZERO),
                    _ => Some(super::backoff::vary(
                        RETRY_BROKEN_OFF,
                        self.policy_of(desired).jitter,
                        random,
                    )),
                };
                (standing, None, wait.map(|wait| add(now, wait)), false)
            }
        };
        let receipt = match &standing {
            Standing::Released(release) => {
                OrphanReceipt::new(key, release.ground, &release.left_behind, &machine.records)
            }
            Standing::Absent { left_behind } => {
                let by = why.and_then(Why::attempt);
                let mut records = machine.records.iter();
                let removal = records.find(|record| Some(record.attempt) == by);
                let ground = removal.map_or(Ground::FailureDoesNotBlock, Ground::after);
                OrphanReceipt::new(key, ground, left_behind, &machine.records)
            }
            _ => None,
        };
        // What is left behind is told with what has brought it about, and once; it stays in the outcome.
        let is_news = !matches!(standing, Standing::Absent { .. }) || !machine.events.is_empty();
        telemetry::rest(&standing, receipt.as_ref().filter(|_| is_news));
        Outcome {
            standing,
            why,
            events: machine.events,
            unrecorded: machine.unrecorded,
            wake_at,
            escalated,
            trouble: machine.trouble,
            answered: machine.answered,
            receipt,
            records: machine.records,
            version: machine.version,
            conflicts: machine.conflicts,
        }
    }
}

/// Asks a provider; none when there is no such provider.
async fn ask(registry: &ProviderRegistry, question: &Question) -> Option<Observation> {
    let provider = registry.get(&question.provider)?;
    let resource = &question.resource;
    Some(match &question.method {
        Method::Trigger(request, history) => match question.job_type {
            JobType::Provision => {
                Observation::Provisioned(provider.trigger_provision(request).await)
            }
            JobType::Deprovision => {
                Observation::Deprovisioned(provider.trigger_deprovision(request, history).await)
            }
            JobType::Action(name) => {
                Observation::Provisioned(provider.trigger_action(&name, request).await)
            }
            JobType::Other(_) => return None,
        },
        Method::Status(job) => Observation::Status(provider.status(resource, job).await),
        Method::Cancel(job) => Observation::Canceled(provider.cancel(resource, job).await),
        Method::Find(query) => Observation::Found(provider.find_launched(query).await),
        Method::FindRelaunched(query) => Observation::Relaunched {
            found: provider.find_relaunched(query).await,
            deleting: question.removing,
        },
    })
}
