//! One object's life on a fake provider, on a clock that the test moves.

#![allow(dead_code, reason = "every test file uses a part of it")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use provider_core::lifecycle::{
    Desired, Freshness, Lifecycle, MemoryStore, Outcome, Policy, PolicyConfig, ProviderRegistry,
    SeededEntropy, Snapshot, Standing, StatusStore, StoreError, StoreVersion, Written,
};
use provider_core::{
    Clock, ConfigVersion, JobRecord, JobState, ManualClock, ObjectKey, Resource, history,
};
use provider_testkit::FakeProvider;
use serde_json::json;

pub(crate) const START: &str = "2026-11-23T04:00:00Z";

pub(crate) fn version(name: &str) -> ConfigVersion {
    ConfigVersion::of_json(&json!({ "spec": name }))
}

pub(crate) fn policy(change: impl FnOnce(&mut PolicyConfig)) -> Policy {
    let mut config = PolicyConfig::default();
    change(&mut config);
    Policy::new(config).unwrap()
}

/// A store whose swaps fail by script: `None` lets one pass.
#[derive(Default)]
pub(crate) struct ScriptedStore {
    pub(crate) inner: MemoryStore,
    pub(crate) swaps: Mutex<VecDeque<Option<StoreError>>>,
    pub(crate) gone: Mutex<bool>,
    /// Whether whoever causes a conflict has erased the records.
    pub(crate) erases: Mutex<bool>,
    /// The object as the store has it by now: read with the records, but not from a cache.
    pub(crate) newer: Mutex<Option<Resource>>,
}

impl ScriptedStore {
    pub(crate) fn script(&self, swaps: impl IntoIterator<Item = Option<StoreError>>) {
        self.swaps.lock().unwrap().extend(swaps);
    }
}

#[async_trait]
impl StatusStore for ScriptedStore {
    async fn load(&self, key: &ObjectKey, freshness: Freshness) -> Result<Snapshot, StoreError> {
        if *self.gone.lock().unwrap() {
            return Err(StoreError::Gone);
        }
        let mut snapshot = self.inner.load(key, freshness).await?;
        if freshness == Freshness::Current {
            snapshot.resource.clone_from(&self.newer.lock().unwrap());
        }
        Ok(snapshot)
    }

    async fn swap(
        &self,
        key: &ObjectKey,
        version: &StoreVersion,
        records: &[JobRecord],
    ) -> Result<Written, StoreError> {
        let next = self.swaps.lock().unwrap().pop_front().flatten();
        match next {
            Some(error) => {
                if *self.erases.lock().unwrap() {
                    self.inner.overwrite(key, Vec::new());
                }
                Err(error)
            }
            None => {
                let before = self.inner.records(key);
                let swapped = self.inner.swap(key, version, records).await;
                if swapped.is_ok() {
                    nothing_new_is_wrong(&before, records);
                }
                swapped
            }
        }
    }
}

/// What the engine writes is a right history; what a test has put there itself is no matter.
fn nothing_new_is_wrong(before: &[JobRecord], after: &[JobRecord]) {
    let known = history::check(before);
    let wrong = history::check(after);
    for note in &wrong {
        let of = |notes: &[history::Note]| notes.iter().filter(|n| n.rule == note.rule).count();
        assert!(
            of(&wrong) <= of(&known),
            "{note} in {after:#?}, after {before:#?}"
        );
    }
}

pub(crate) struct Life {
    pub(crate) fake: Arc<FakeProvider>,
    pub(crate) registry: ProviderRegistry,
    pub(crate) store: ScriptedStore,
    pub(crate) clock: ManualClock,
    pub(crate) engine: Lifecycle,
    pub(crate) object: Resource,
    pub(crate) desired: Desired,
    seed: u64,
}

impl Life {
    pub(crate) fn new(fake: FakeProvider) -> Self {
        Self::with(fake, Policy::default())
    }

    pub(crate) fn with(fake: FakeProvider, policy: Policy) -> Self {
        let fake = Arc::new(fake);
        Self {
            registry: ProviderRegistry::single(fake.clone()),
            fake,
            store: ScriptedStore::default(),
            clock: ManualClock::new(START.parse().unwrap()),
            engine: Lifecycle::with_entropy(policy, Arc::new(SeededEntropy::new(1))),
            object: object("vm"),
            desired: Desired::new(version("a"), "fake"),
            seed: 1,
        }
    }

    /// The controller is started again: all that it had in memory is gone.
    pub(crate) fn restart(&mut self) {
        self.seed += 1;
        let policy = self.engine.policy().clone();
        self.engine = Lifecycle::with_entropy(policy, Arc::new(SeededEntropy::new(self.seed)));
    }

    pub(crate) fn delete(&mut self) {
        let mut value = serde_json::Value::Object(self.object.object().clone());
        let now = self.clock.now().to_string();
        let metadata = value.pointer_mut("/metadata").unwrap();
        metadata
            .as_object_mut()
            .unwrap()
            .insert("deletionTimestamp".to_owned(), json!(now));
        self.object = Resource::from_json(value).unwrap();
    }

    pub(crate) fn want(&mut self, name: &str) {
        self.desired.version = version(name);
    }

    pub(crate) async fn step(&self) -> Outcome {
        self.step_with(&self.engine).await
    }

    /// One reconcile of another replica.
    pub(crate) async fn step_with(&self, engine: &Lifecycle) -> Outcome {
        let outcome = engine
            .reconcile(
                &self.registry,
                &self.store,
                &self.object,
                &self.desired,
                &self.clock,
            )
            .await;
        assert!(
            outcome.wake_at.is_some() || outcome.standing.is_final(),
            "no wake-up: {:?}",
            outcome.standing
        );
        outcome
    }

    /// Reconciles at every wake-up until something holds.
    pub(crate) async fn until(&self, done: impl Fn(&Outcome) -> bool) -> Outcome {
        for _ in 0..400 {
            let outcome = self.step().await;
            if done(&outcome) {
                return outcome;
            }
            let Some(wake) = outcome.wake_after(self.clock.now()) else {
                panic!("it rests: {:?} because {:?}", outcome.standing, outcome.why);
            };
            self.clock.advance(wake.max(Duration::from_millis(1)));
        }
        panic!("no end; the records are {:#?}", self.records());
    }

    pub(crate) async fn applied(&self) -> Outcome {
        self.until(|o| matches!(o.standing, Standing::Applied { .. }))
            .await
    }

    pub(crate) async fn released(&self) -> Outcome {
        self.until(Outcome::may_release).await
    }

    /// Reconciles at every wake-up for this long.
    pub(crate) async fn for_a_while(&self, length: Duration) -> Outcome {
        let end = provider_core::clock::add(self.clock.now(), length);
        loop {
            let outcome = self.step().await;
            match outcome.wake_at {
                Some(at) if at < end => {
                    let wait = outcome.wake_after(self.clock.now()).unwrap();
                    self.clock.advance(wait.max(Duration::from_millis(1)));
                }
                _ => {
                    self.clock.set(end);
                    return self.step().await;
                }
            }
        }
    }

    pub(crate) fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    pub(crate) fn records(&self) -> Vec<JobRecord> {
        self.store.inner.records(self.object.key())
    }

    pub(crate) fn jobs(&self) -> usize {
        self.fake.jobs().len()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

pub(crate) fn object(name: &str) -> Resource {
    Resource::from_json(json!({
        "kind": "ComputeInstance",
        "metadata": {"name": name, "namespace": "tenant", "uid": format!("uid-{name}")},
        "spec": {"cores": 4},
    }))
    .unwrap()
}

/// A fake whose jobs run until the test ends them.
pub(crate) fn endless() -> FakeProvider {
    FakeProvider::new("fake").ending_after(0)
}

/// A life whose first job has been applied.
pub(crate) async fn applied(fake: FakeProvider) -> Life {
    ended_first(fake, JobState::Succeeded, |o| {
        matches!(o.standing, Standing::Applied { .. })
    })
    .await
}

/// A life whose first job has failed; its back-off lasts.
pub(crate) async fn failed(fake: FakeProvider) -> Life {
    ended_first(fake, JobState::Failed, |o| {
        matches!(o.standing, Standing::BackingOff { .. })
    })
    .await
}

async fn ended_first(fake: FakeProvider, end: JobState, done: impl Fn(&Outcome) -> bool) -> Life {
    let life = Life::new(fake);
    life.step().await;
    life.fake.end(1, end);
    life.until(done).await;
    life
}
