//! The seed scenario through the engine: what a controller would see.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use provider_core::lifecycle::{
    Desired, Ground, Lifecycle, MemoryStore, Outcome, Policy, PolicyConfig, ProviderRegistry,
    Standing,
};
use provider_core::{Clock, JobState, JobType, SystemClock};
use provider_eda::EdaProvider;
use serde_json::json;

use crate::lane::{Lane, Rulebook, config, version, webhook};

struct Engine {
    lifecycle: Lifecycle,
    registry: ProviderRegistry,
    store: MemoryStore,
}

impl Engine {
    async fn reconcile(&self, lane: &Lane, name: &str) -> Outcome {
        let desired = Desired::new(version(), "eda");
        let object = lane.object(name);
        self.lifecycle
            .reconcile(&self.registry, &self.store, &object, &desired, &SystemClock)
            .await
    }

    /// Reconciles when the engine asks for it, until the object shows this sign, and once more: then
    /// it must stand as expected. Meanwhile it stands in this state.
    async fn within_one_poll(
        &self,
        lane: &mut Lane,
        name: &str,
        meanwhile: (JobType, JobState),
        sign: impl Fn(&Lane) -> bool,
        stands: impl Fn(&Standing) -> bool,
    ) {
        for _ in 0..300 {
            let seen = sign(lane);
            let outcome = self.reconcile(lane, name).await;
            if seen {
                assert!(stands(&outcome.standing), "{:?}", outcome.standing);
                assert_eq!(outcome.receipt, None);
                return;
            }
            let in_progress = matches!(
                outcome.standing,
                Standing::InProgress { job_type, state, .. } if (job_type, state) == meanwhile
            );
            assert!(in_progress, "{:?}", outcome.standing);
            let wait = outcome.wake_after(SystemClock.now()).unwrap();
            assert!(wait <= Duration::from_millis(300), "{wait:?}");
            tokio::time::sleep(wait).await;
            lane.act();
        }
        panic!("the object of {name} never showed its sign");
    }
}

/// Create, Unknown, Applied by the annotation; delete, Running, Released within one poll of the
/// finalizer's removal.
pub(crate) async fn seed_scenario(lane: &mut Lane, rulebook: &Rulebook) {
    let name = "driven";
    let mut config = config(webhook(rulebook).with_token("lane-token"), 30);
    config.timing.poll_interval = SignedDuration::from_millis(300);
    let policy = PolicyConfig::default().with(|config| config.jitter = 0.0);
    let engine = Engine {
        lifecycle: Lifecycle::new(Policy::new(policy).unwrap()),
        registry: ProviderRegistry::single(Arc::new(EdaProvider::new(config).unwrap())),
        store: MemoryStore::new(),
    };
    // Only to make the object known.
    let _ = lane.request(name);
    let reported = |lane: &Lane| !lane.objects[name]["metadata"]["annotations"].is_null();
    let unknown = (JobType::Provision, JobState::Unknown);
    let applied = |standing: &Standing| *standing == Standing::Applied { version: version() };
    engine
        .within_one_poll(lane, name, unknown, reported, applied)
        .await;
    lane.objects.get_mut(name).unwrap()["metadata"]["deletionTimestamp"] =
        json!(SystemClock.now().to_string());
    let unmarked = |lane: &Lane| lane.objects[name]["metadata"]["finalizers"] == json!([]);
    let running = (JobType::Deprovision, JobState::Running);
    let released = |standing: &Standing| matches!(standing, Standing::Released(release) if release.ground == Ground::Deprovisioned);
    engine
        .within_one_poll(lane, name, running, unmarked, released)
        .await;
    assert_eq!(lane.jobs(name), 2);
}
