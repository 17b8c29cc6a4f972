//! One object, one process and a clock that a test moves by hand.

use std::sync::Arc;

use provider_core::lifecycle::{Lifecycle, Policy, PolicyConfig, ProviderRegistry, SeededEntropy};
use provider_core::{Clock, ManualClock};
use provider_kube::Provisioner;
use provider_testkit::FakeProvider;
use serde_json::json;

use super::{Machine, Server, machine, wanted};

pub struct Setup {
    pub server: Server,
    pub clock: Arc<ManualClock>,
    pub fake: Arc<FakeProvider>,
    pub provisioner: Arc<Provisioner<Machine>>,
}

pub fn fake() -> FakeProvider {
    FakeProvider::new("fake").ending_after(1)
}

/// A controller's process on a server.
pub fn process(
    server: &Server,
    fake: &Arc<FakeProvider>,
    clock: &Arc<ManualClock>,
) -> Arc<Provisioner<Machine>> {
    process_with(server, fake, clock, PolicyConfig::default())
}

/// The same with choices of a test.
pub fn process_with(
    server: &Server,
    fake: &Arc<FakeProvider>,
    clock: &Arc<ManualClock>,
    config: PolicyConfig,
) -> Arc<Provisioner<Machine>> {
    let config = config.with(|config| config.jitter = 0.0);
    let policy = Policy::new(config).unwrap();
    let engine = Lifecycle::with_entropy(policy, Arc::new(SeededEntropy::new(1)));
    let registry = ProviderRegistry::single(fake.clone());
    let provisioner = Provisioner::new(server.client(), engine, registry)
        .with_events("test".into())
        .with_clock(clock.clone(), Arc::new(SeededEntropy::new(2)));
    Arc::new(provisioner)
}

pub fn setup_with(fake: FakeProvider) -> Setup {
    setup_with_policy(fake, PolicyConfig::default())
}

pub fn setup_with_policy(fake: FakeProvider, config: PolicyConfig) -> Setup {
    let server = Server::default();
    server.put("m", machine());
    let clock = Arc::new(ManualClock::new("2026-11-23T04:00:00Z".parse().unwrap()));
    let fake = Arc::new(fake);
    Setup {
        provisioner: process_with(&server, &fake, &clock, config),
        server,
        clock,
        fake,
    }
}

pub fn setup() -> Setup {
    setup_with(fake())
}

/// How long an action waits.
pub fn seconds(action: &kube::runtime::controller::Action) -> f64 {
    let text = format!("{action:?}");
    let text = text.split("Some(").nth(1).unwrap().trim_end_matches(") }");
    let units = [("ns", 1e-9), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0)];
    let (unit, size) = units.iter().find(|(unit, _)| text.ends_with(unit)).unwrap();
    text.trim_end_matches(unit).parse::<f64>().unwrap() * size
}

impl Setup {
    /// A reconcile with the object as it is now.
    pub async fn reconcile(&self) -> kube::runtime::controller::Action {
        self.with(&self.server.cached("m")).await.unwrap()
    }

    pub async fn with(
        &self,
        machine: &Machine,
    ) -> Result<kube::runtime::controller::Action, provider_kube::Error> {
        let found = self.provisioner.reconcile(machine, wanted).await;
        found.map(Into::into)
    }

    pub fn pass(&self, seconds: u64) {
        self.clock.advance(std::time::Duration::from_secs(seconds));
    }

    pub fn delete(&self) {
        let now = self.clock.now().to_string();
        self.server.change("m", |object| {
            object["metadata"]["deletionTimestamp"] = json!(now);
            object["metadata"]["generation"] =
                json!(object["metadata"]["generation"].as_i64().unwrap() + 1);
        });
    }

    /// Lets a controller run until the condition has this reason.
    pub async fn until(&self, condition: &str, reason: &str) {
        let is = || self.server.condition("m", condition).1 == reason;
        self.run(reason, is).await;
    }

    /// Lets a controller run until there is no object.
    pub async fn until_gone(&self) {
        self.run("gone", || !self.server.exists("m")).await;
    }

    /// As a controller calls us: once at the beginning, and then when the last action said so. What we
    /// write ourselves wakes nobody, so an action that says "never" before the end is a lost wake-up.
    async fn run(&self, what: &str, done: impl Fn() -> bool) {
        for n in 0..200 {
            if n > 0 && done() {
                return;
            }
            if !self.server.exists("m") {
                break;
            }
            let machine = self.server.cached("m");
            let action = match self.with(&machine).await {
                Ok(action) => action,
                Err(error) => self.provisioner.error_policy(&machine, &error),
            };
            if done() {
                return;
            }
            assert_ne!(
                action,
                kube::runtime::controller::Action::await_change(),
                "nobody comes back before it is {what}"
            );
            let wait = std::time::Duration::from_secs_f64(seconds(&action));
            self.clock
                .advance(wait.max(std::time::Duration::from_millis(1)));
        }
        assert!(done(), "never {what}");
    }
}
