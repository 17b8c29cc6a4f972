//! Whole lives through the engine: the seed scenario, events in doubt, and objects that are
//! switched between EDA and AAP in the middle of things.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed"
)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{APPLIED, FINALIZER, config, object, start, version, webhook};
use jiff::SignedDuration;
use provider_aap::{AapConfig, AapProvider, Auth};
use provider_core::lifecycle::{
    Block, Desired, Ground, Lifecycle, MemoryStore, Outcome, Policy, ProviderRegistry, Standing,
    StatusStore,
};
use provider_core::{Clock, ConfigVersion, JobState, JobType, ManualClock, Resource};
use provider_eda::{EdaProvider, Pacing};
use provider_testkit::aap::{ADMIN_TOKEN, AapSim, RunPlan, Template, World};
use provider_testkit::eda::{EdaSim, Fault, Webhook};
use serde_json::{Value, json};

const CREATE: &str = "osac-create-compute-instance";
const DELETE: &str = "osac-delete-compute-instance";

/// An object in its cluster, with both backends beside it.
struct Life {
    eda: EdaSim,
    aap: AapSim,
    clock: Arc<ManualClock>,
    registry: ProviderRegistry,
    engine: Lifecycle,
    store: MemoryStore,
    object: Value,
    version: ConfigVersion,
    asks_retry: Option<&'static str>,
    min_interval: SignedDuration,
}

const OPERATION: &str = "osac.openshift.io/reconciled-operation";

async fn life() -> Life {
    paced_life(0).await
}

/// With so many seconds between two events.
async fn paced_life(seconds: i64) -> Life {
    let clock = Arc::new(ManualClock::new(start()));
    let eda = EdaSim::start(Webhook::new(), clock.clone()).await.unwrap();
    let plan = RunPlan::lasting(Duration::from_secs(300));
    let world = World::with([CREATE, DELETE].map(|n| Template::job(n).with_plan(plan.clone())));
    let aap = AapSim::start(world, clock.clone()).await.unwrap();
    let mut life = Life {
        registry: ProviderRegistry::new(),
        eda,
        aap,
        clock,
        engine: Lifecycle::new(Policy::default()),
        store: MemoryStore::new(),
        object: object("vm", "tenant"),
        version: version(),
        asks_retry: None,
        min_interval: SignedDuration::from_secs(seconds),
    };
    life.restart();
    life
}

impl Life {
    /// Another process: what remains is what is in the store.
    fn restart(&mut self) {
        let of_aap = AapConfig::new(self.aap.url(), Auth::token(ADMIN_TOKEN))
            .with_template_prefix("osac")
            .with_http(provider_aap::HttpConfig {
                proxy_from_environment: false,
                ..provider_aap::HttpConfig::default()
            });
        let of_eda = config(webhook(&self.eda)).with_pacing(Pacing {
            min_interval: self.min_interval,
            breaker_failures: u32::MAX,
            ..Pacing::default()
        });
        let eda = EdaProvider::with_clock(of_eda, self.clock.clone()).unwrap();
        let aap = AapProvider::with_clock(of_aap, self.clock.clone()).unwrap();
        let registry = ProviderRegistry::new().with(Arc::new(eda)).unwrap();
        self.registry = registry.with(Arc::new(aap)).unwrap();
        self.engine = Lifecycle::new(Policy::default());
    }

    fn resource(&self) -> Resource {
        Resource::from_json(self.object.clone()).unwrap()
    }

    async fn reconcile(&self, provider: &str) -> Outcome {
        let store: &dyn StatusStore = &self.store;
        let mut desired = Desired::new(self.version.clone(), provider);
        desired.retry_request = self.asks_retry.map(str::to_owned);
        self.engine
            .reconcile(
                &self.registry,
                store,
                &self.resource(),
                &desired,
                &*self.clock,
            )
            .await
    }

    /// Reconciles whenever the engine asks for it, for so long at most, until it stands so.
    async fn until(
        &self,
        provider: &str,
        minutes: u64,
        stands: impl Fn(&Standing) -> bool,
    ) -> Outcome {
        let end = provider_core::clock::add(self.clock.now(), Duration::from_secs(60 * minutes));
        loop {
            let outcome = self.reconcile(provider).await;
            if stands(&outcome.standing) {
                return outcome;
            }
            assert!(
                self.clock.now() < end,
                "still {:?} after {minutes} minutes",
                outcome.standing
            );
            let wake = outcome.wake_at.unwrap();
            let next = provider_core::clock::add(self.clock.now(), Duration::from_secs(1));
            self.clock.set(wake.max(next));
        }
    }

    fn mark(&mut self) {
        self.object["metadata"]["finalizers"] = json!([FINALIZER]);
    }

    fn unmark(&mut self) {
        self.object["metadata"]["finalizers"] = json!([]);
    }

    fn report(&mut self, version: &ConfigVersion) {
        self.object["metadata"]["annotations"] = json!({ APPLIED: version.as_str() });
    }

    /// The automation says which event it has worked off.
    fn report_operation(&mut self) {
        let events = self.eda.journal();
        let token = events.last().unwrap().text("/providerEvent/operationToken");
        self.object["metadata"]["annotations"][OPERATION] = json!(token.unwrap());
    }

    fn delete(&mut self) {
        self.object["metadata"]["deletionTimestamp"] = json!(self.clock.now().to_string());
    }

    fn actions(&self) -> Vec<String> {
        let of = |event: &provider_testkit::eda::Event| {
            event.text("/providerEvent/action").unwrap().to_owned()
        };
        self.eda.journal().iter().map(of).collect()
    }

    /// What really ran on AAP: the template, and whether it came to its end.
    fn jobs(&self) -> Vec<(String, bool)> {
        let runs = self.aap.journal();
        runs.into_iter()
            .map(|run| (run.template, run.succeeded))
            .collect()
    }
}

fn applied(standing: &Standing) -> bool {
    matches!(standing, Standing::Applied { .. })
}

fn released(standing: &Standing) -> bool {
    matches!(standing, Standing::Released(_))
}

fn in_state(standing: &Standing, job_type: JobType, state: JobState) -> bool {
    matches!(standing, Standing::InProgress { job_type: t, state: s, .. }
        if *t == job_type && *s == state)
}

#[tokio::test]
async fn the_seed_scenario() {
    let mut life = life().await;
    let outcome = life.reconcile("eda").await;
    assert!(in_state(
        &outcome.standing,
        JobType::Provision,
        JobState::Unknown
    ));
    life.mark();
    life.clock.advance(Duration::from_secs(60));
    let outcome = life.reconcile("eda").await;
    assert!(in_state(
        &outcome.standing,
        JobType::Provision,
        JobState::Unknown
    ));
    life.report(&version());
    life.until("eda", 1, applied).await;
    life.delete();
    let outcome = life.until("eda", 1, |standing| {
        in_state(standing, JobType::Deprovision, JobState::Running)
    });
    let outcome = outcome.await;
    life.unmark();
    // Within one poll: the next one, when the engine asks for it.
    let wake = outcome.wake_at.unwrap();
    let poll = Duration::from_secs(15).mul_f64(1.2);
    assert!(wake <= provider_core::clock::add(life.clock.now(), poll));
    life.clock.set(wake);
    let outcome = life.reconcile("eda").await;
    assert!(released(&outcome.standing), "{:?}", outcome.standing);
    assert_eq!(outcome.receipt, None);
    assert_eq!(life.actions(), ["create", "delete"]);
}

/// A delete event that was lost looks like one that takes long. It does not run for ever: after the
/// limit it is known that it has removed nothing, and it is sent again.
#[tokio::test]
async fn a_lost_delete_event_is_sent_again_after_the_limit() {
    let mut life = life().await;
    life.reconcile("eda").await;
    life.mark();
    life.report(&version());
    life.until("eda", 1, applied).await;
    life.eda.fault(&Fault::Lose, 1);
    life.delete();
    life.until("eda", 1, |standing| {
        in_state(standing, JobType::Deprovision, JobState::Running)
    })
    .await;
    life.clock.advance(Duration::from_secs(115 * 60));
    let outcome = life.reconcile("eda").await;
    assert!(
        in_state(&outcome.standing, JobType::Deprovision, JobState::Running),
        "{:?}",
        outcome.standing
    );
    let again = |standing: &Standing| {
        matches!(standing, Standing::InProgress { attempt: 3, job_type, .. }
            if *job_type == JobType::Deprovision)
    };
    life.until("eda", 60, again).await;
    assert_eq!(life.actions(), ["create", "delete", "delete"]);
    life.unmark();
    let outcome = life.until("eda", 1, released).await;
    let Standing::Released(release) = &outcome.standing else {
        panic!("{:?}", outcome.standing);
    };
    assert_eq!(release.ground, Ground::Deprovisioned);
    assert_eq!(outcome.receipt, None);
}

/// The configuration A, then B, then A again, on an object that still shows the first A. An
/// automation that reports the version alone cannot tell the two As apart, so nobody may.
#[tokio::test]
async fn an_annotation_of_an_earlier_event_proves_nothing_of_a_later_one() {
    let other = ConfigVersion::of_json(&json!({"cores": 8}));
    // Answered, in doubt, and with a crash between the event and its record.
    for fault in [None, Some(Fault::HangAfter)] {
        for crash in [false, true] {
            let mut life = life().await;
            life.reconcile("eda").await;
            life.report(&version());
            life.until("eda", 1, applied).await;
            life.version = other.clone();
            life.reconcile("eda").await;
            // The second one fails without a word, and a person asks for the first again.
            life.clock.advance(Duration::from_secs(1_200));
            life.version = version();
            let outcome = life.reconcile("eda").await;
            assert!(
                matches!(
                    outcome.standing,
                    Standing::Blocked(Block::UnknownTooLong { .. })
                ),
                "{:?}",
                outcome.standing
            );
            life.asks_retry = Some("once");
            if let Some(fault) = &fault {
                life.eda.fault(fault, 1);
            }
            if crash {
                let mut broken_off = Box::pin(life.reconcile("eda"));
                while life.eda.journal().len() < 3 {
                    assert!(futures::poll!(&mut broken_off).is_pending());
                    tokio::task::yield_now().await;
                }
                drop(broken_off);
                life.restart();
            }
            let outcome = life.reconcile("eda").await;
            assert_eq!(life.actions().len(), 3, "{:?}", outcome.standing);
            for _ in 0..3 {
                life.clock.advance(Duration::from_secs(60));
                let outcome = life.reconcile("eda").await;
                assert!(
                    in_state(&outcome.standing, JobType::Provision, JobState::Unknown),
                    "{fault:?}, {crash}: {:?}",
                    outcome.standing
                );
            }
            life.report_operation();
            life.until("eda", 1, applied).await;
            assert_eq!(life.actions().len(), 3);
        }
    }
}

/// The pace of an object's events survives the process, by the records alone.
#[tokio::test]
async fn d44_a_restart_does_not_forget_when_the_last_event_was_sent() {
    let mut life = paced_life(120).await;
    life.reconcile("eda").await;
    life.mark();
    life.report(&version());
    life.clock.advance(Duration::from_secs(20));
    life.until("eda", 1, applied).await;
    life.restart();
    life.version = ConfigVersion::of_json(&json!({"cores": 8}));
    let held = life.reconcile("eda").await;
    assert!(
        matches!(held.standing, Standing::BackingOff { .. }),
        "{:?}",
        held.standing
    );
    assert_eq!(life.actions(), ["create"]);
    // Not sooner than two minutes after the first, and not for ever.
    assert_eq!(
        held.wake_at,
        Some(provider_core::clock::add(start(), Duration::from_secs(120)))
    );
    life.clock.set(held.wake_at.unwrap());
    life.reconcile("eda").await;
    assert_eq!(life.actions(), ["create", "create"]);
    // The other action has a pace of its own.
    life.report(&life.version.clone());
    life.until("eda", 2, applied).await;
    life.delete();
    life.reconcile("eda").await;
    assert_eq!(life.actions().len(), 3);
}

#[tokio::test]
async fn an_event_in_doubt_is_taken_as_sent_and_never_repeated() {
    for fault in [Fault::HangAfter, Fault::DropAfter, Fault::StatusAfter(502)] {
        let mut life = life().await;
        life.eda.fault(&fault, 1);
        let outcome = life.reconcile("eda").await;
        assert!(
            in_state(&outcome.standing, JobType::Provision, JobState::Unknown),
            "{fault:?}: {:?}",
            outcome.standing
        );
        life.clock.advance(Duration::from_secs(300));
        life.mark();
        life.report(&version());
        life.until("eda", 1, applied).await;
        assert_eq!(life.actions(), ["create"]);
    }
}

/// What was never sent is sent again by itself.
#[tokio::test]
async fn an_event_that_was_refused_is_sent_again_after_its_back_off() {
    let mut life = life().await;
    life.eda.fault(&Fault::RateLimited(5), 1);
    let outcome = life.reconcile("eda").await;
    assert!(matches!(outcome.standing, Standing::BackingOff { .. }));
    life.until("eda", 10, |standing| {
        in_state(standing, JobType::Provision, JobState::Unknown)
    })
    .await;
    life.report(&version());
    life.until("eda", 1, applied).await;
    assert_eq!(life.actions(), ["create"]);
}

#[tokio::test]
async fn deleting_before_the_event_was_worked_off_waits_for_it() {
    let mut life = life().await;
    life.reconcile("eda").await;
    life.clock.advance(Duration::from_secs(20));
    life.delete();
    let outcome = life.reconcile("eda").await;
    assert!(!released(&outcome.standing), "{:?}", outcome.standing);
    // The event is worked off at last.
    life.clock.advance(Duration::from_secs(120));
    life.mark();
    life.report(&version());
    life.until("eda", 5, |standing| {
        in_state(standing, JobType::Deprovision, JobState::Running)
    })
    .await;
    life.unmark();
    life.until("eda", 1, released).await;
    assert_eq!(life.actions(), ["create", "delete"]);
}

/// An event that was lost does not hold its object for ever. That it was lost is an assumption, so
/// there is a receipt.
#[tokio::test]
async fn deleting_after_a_lost_event_ends_with_the_window() {
    let mut life = life().await;
    life.eda.fault(&Fault::Lose, 1);
    life.reconcile("eda").await;
    life.delete();
    let outcome = life.until("eda", 40, released).await;
    assert_eq!(life.actions(), ["create"]);
    let skipped = outcome.records.last().unwrap();
    assert!(
        skipped.message.contains("assumed, not known"),
        "{}",
        skipped.message
    );
    let receipt = outcome.receipt.unwrap();
    assert_eq!((receipt.ground, receipt.jobs.len()), ("ProviderSkipped", 1));
}

#[tokio::test]
async fn switched_from_eda_to_aap_in_mid_provision() {
    let mut life = life().await;
    life.reconcile("eda").await;
    life.mark();
    let outcome = life
        .until("aap", 1, |s| matches!(s, Standing::InProgress { .. }))
        .await;
    assert!(in_state(
        &outcome.standing,
        JobType::Provision,
        JobState::Unknown
    ));
    life.report(&version());
    life.until("aap", 1, applied).await;
    assert!(life.jobs().is_empty());
    // It is AAP that deletes it.
    life.delete();
    life.until("aap", 20, released).await;
    assert_eq!(life.jobs(), [(DELETE.to_owned(), true)]);
    assert_eq!(life.actions(), ["create"]);
}

#[tokio::test]
async fn switched_from_eda_to_aap_and_deleted_in_mid_provision() {
    let mut life = life().await;
    life.reconcile("eda").await;
    life.mark();
    life.delete();
    // Nothing says that the provision has ended: AAP's job waits for the deadline of the unknown.
    life.clock.advance(Duration::from_secs(60));
    life.reconcile("aap").await;
    assert!(life.jobs().is_empty());
    life.until("aap", 60, released).await;
    assert_eq!(life.jobs(), [(DELETE.to_owned(), true)]);
    assert_eq!(life.actions(), ["create"]);
}

#[tokio::test]
async fn switched_from_aap_to_eda_in_mid_provision() {
    let mut life = life().await;
    life.reconcile("aap").await;
    life.until("eda", 20, applied).await;
    assert_eq!(life.jobs(), [(CREATE.to_owned(), true)]);
    assert!(life.actions().is_empty());
    // It is EDA that deletes it.
    life.mark();
    life.delete();
    life.until("eda", 1, |standing| {
        in_state(standing, JobType::Deprovision, JobState::Running)
    })
    .await;
    life.unmark();
    life.until("eda", 1, released).await;
    assert_eq!(life.actions(), ["delete"]);
}

/// What AAP has provisioned does not carry EDA's finalizer. The delete event goes out all the same; its
/// end is known where the automation reports the operation, and else there is a receipt.
#[tokio::test]
async fn what_aap_has_made_is_deleted_by_eda_without_its_finalizer() {
    for in_mid_provision in [false, true] {
        for reports in [false, true] {
            let mut life = life().await;
            life.reconcile("aap").await;
            if in_mid_provision {
                life.clock.advance(Duration::from_secs(60));
                life.reconcile("aap").await;
            } else {
                life.until("eda", 20, applied).await;
            }
            life.delete();
            life.until("eda", 20, |standing| {
                in_state(standing, JobType::Deprovision, JobState::Unknown)
            })
            .await;
            assert_eq!(life.actions(), ["delete"]);
            assert_eq!(life.jobs(), [(CREATE.to_owned(), !in_mid_provision)]);
            life.clock.advance(Duration::from_secs(60));
            let outcome = life.reconcile("eda").await;
            assert!(!released(&outcome.standing), "{:?}", outcome.standing);
            if reports {
                life.object["metadata"]["annotations"] = json!({});
                life.report_operation();
            }
            let outcome = life.until("eda", 20, released).await;
            let Standing::Released(release) = &outcome.standing else {
                panic!("{:?}", outcome.standing);
            };
            let (ground, left) = if reports {
                (Ground::Deprovisioned, None)
            } else {
                (Ground::FailureDoesNotBlock, Some(2))
            };
            assert_eq!(release.ground, ground);
            assert_eq!(outcome.receipt.map(|receipt| receipt.jobs.len()), left);
            assert_eq!(life.actions(), ["delete"]);
        }
    }
}

#[tokio::test]
async fn switched_from_aap_to_eda_and_deleted_in_mid_provision() {
    let mut life = life().await;
    life.reconcile("aap").await;
    life.clock.advance(Duration::from_secs(30));
    life.mark();
    life.delete();
    life.until("eda", 10, |standing| {
        in_state(standing, JobType::Deprovision, JobState::Running)
    })
    .await;
    // The provision job was canceled, and seen to have ended, before the event went out.
    assert_eq!(life.jobs(), [(CREATE.to_owned(), false)]);
    let stopped = life.aap.journal()[0].stopped.unwrap();
    let event = life.eda.journal()[0].clone();
    assert!(stopped <= event.at);
    life.unmark();
    life.until("eda", 1, released).await;
    assert_eq!(life.actions(), ["delete"]);
}

#[tokio::test]
async fn switched_from_aap_to_eda_in_mid_deletion() {
    let mut life = life().await;
    life.reconcile("aap").await;
    life.until("aap", 20, applied).await;
    life.mark();
    life.delete();
    life.reconcile("aap").await;
    life.clock.advance(Duration::from_secs(30));
    life.until("eda", 20, released).await;
    assert_eq!(
        life.jobs(),
        [(CREATE.to_owned(), true), (DELETE.to_owned(), true)]
    );
    assert!(life.actions().is_empty());
}

/// The delete event is seen through by whoever sent it; AAP launches nothing beside it.
#[tokio::test]
async fn switched_from_eda_to_aap_in_mid_deletion() {
    let mut life = life().await;
    life.reconcile("eda").await;
    life.mark();
    life.report(&version());
    life.until("eda", 1, applied).await;
    life.delete();
    life.until("eda", 1, |standing| {
        in_state(standing, JobType::Deprovision, JobState::Running)
    })
    .await;
    life.clock.advance(Duration::from_secs(30));
    let outcome = life.reconcile("aap").await;
    assert!(in_state(
        &outcome.standing,
        JobType::Deprovision,
        JobState::Running
    ));
    assert!(life.jobs().is_empty());
    life.unmark();
    let outcome = life.until("aap", 1, released).await;
    assert_eq!(outcome.receipt, None);
    assert!(life.jobs().is_empty());
    assert_eq!(life.actions(), ["create", "delete"]);
}
