//! Actions through whole lives: a rulebook, its jobs and the engine, by every way to see an end.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed"
)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{config, object, record, request, start, token, tracked_as, version};
use provider_aap::{AapConfig, Auth};
use provider_core::lifecycle::{
    ActionRequest, Desired, Lifecycle, MemoryStore, Outcome, Policy, ProviderRegistry,
    SeededEntropy, Standing, StatusStore,
};
use provider_core::{
    ActionName, CancelResult, Clock, DeprovisionResult, JobRef, JobState, JobType, ManualClock,
    Provider, Resource,
};
use provider_eda::{AuditTracking, EdaProvider, Endpoints, JobTracking, RulebookWebhook};
use provider_testkit::aap::{ADMIN_TOKEN, AapSim, RunPlan, Template, World};
use provider_testkit::eda::{EdaSim, Fault, Marks, Objects, Rule, Rulebook, Webhook};
use serde_json::json;

fn named(name: &str) -> ActionName {
    ActionName::new(name).unwrap()
}

fn action(name: &str) -> JobType {
    JobType::Action(named(name))
}

const CREATE: &str = "osac-create-compute-instance";
const RESTART: &str = "osac-restart-compute-instance";
const DELETE: &str = "osac-delete-compute-instance";
const API_TOKEN: &str = "token-of-the-eda-api";

struct Life {
    eda: EdaSim,
    aap: AapSim,
    rulebook: Rulebook,
    objects: Objects,
    clock: Arc<ManualClock>,
    provider: Arc<EdaProvider>,
    registry: ProviderRegistry,
    engine: Lifecycle,
    store: MemoryStore,
    restart: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum By {
    Operation,
    Label,
    Audit,
}

impl Life {
    async fn new(by: By) -> Self {
        let clock = Arc::new(ManualClock::new(start()));
        let eda = EdaSim::start(Webhook::new(), clock.clone()).await.unwrap();
        eda.serve_api(API_TOKEN);
        let plan = RunPlan::lasting(Duration::from_secs(120));
        let templates = [CREATE, RESTART, DELETE]
            .map(|name| Template::job(name).with_plan(plan.clone()).with_labels());
        let aap = AapSim::start(World::with(templates), clock.clone())
            .await
            .unwrap();
        let url = eda.url();
        let urls = Endpoints::new(
            format!("{url}/create-{{kind}}"),
            format!("{url}/delete-{{kind}}"),
        )
        .with_action(named("restart"), format!("{url}/restart-{{kind}}"));
        let config = config(RulebookWebhook::new(urls));
        let of_aap = AapConfig::new(aap.url(), Auth::token(ADMIN_TOKEN)).with_http(
            provider_aap::HttpConfig {
                proxy_from_environment: false,
                ..provider_aap::HttpConfig::default()
            },
        );
        let config = match by {
            By::Operation => config,
            By::Label => config.with_tracking(JobTracking::new(of_aap)),
            By::Audit => config.with_tracking(AuditTracking::new(eda.url(), API_TOKEN)),
        };
        // What is not tracked has to be reported; what is tracked is seen without a report.
        let marks = Marks {
            reports_operation: by == By::Operation,
            ..Marks::default()
        };
        let rules = [("create", CREATE), ("restart", RESTART), ("delete", DELETE)];
        let rules = rules.map(|(action, template)| {
            let label = "event-{{ event.payload.providerEvent.operationToken }}";
            Rule::new(action, template).with_label(label)
        });
        let provider = Arc::new(EdaProvider::with_clock(config, clock.clone()).unwrap());
        let objects = Objects::default();
        objects.put(object("vm", "tenant"));
        Self {
            rulebook: Rulebook::sequential(rules).with_marks(marks),
            eda,
            aap,
            objects,
            clock,
            registry: ProviderRegistry::single(provider.clone()),
            provider,
            engine: Lifecycle::with_entropy(Policy::default(), Arc::new(SeededEntropy::new(1))),
            store: MemoryStore::new(),
            restart: None,
        }
    }

    fn resource(&self) -> Resource {
        Resource::from_json(self.objects.get("tenant", "vm").unwrap()).unwrap()
    }

    /// Sends the event of a restart, without the engine.
    async fn act(&self, n: u128) -> JobRef {
        let request = request(self.resource(), n);
        let restart = named("restart");
        let sent = self.provider.trigger_action(&restart, &request).await;
        sent.unwrap().job.unwrap()
    }

    fn delete(&self) {
        let mut object = self.objects.get("tenant", "vm").unwrap();
        object["metadata"]["deletionTimestamp"] = json!(self.clock.now().to_string());
        self.objects.put(object);
    }

    fn step(&mut self) {
        self.rulebook.step(&self.eda, &self.aap, &self.objects);
    }

    async fn reconcile(&mut self) -> Outcome {
        self.step();
        let store: &dyn StatusStore = &self.store;
        let mut desired = Desired::new(version(), "eda");
        if let Some(request) = self.restart {
            desired = desired.with_action(ActionRequest::new("restart", request).unwrap());
        }
        let object = self.resource();
        let outcome = self
            .engine
            .reconcile(&self.registry, store, &object, &desired, &*self.clock)
            .await;
        self.step();
        outcome
    }

    /// Reconciles whenever the engine asks for it, for so long at most, until it stands so.
    async fn until(&mut self, minutes: u64, stands: impl Fn(&Outcome) -> bool) -> Outcome {
        let end = provider_core::clock::add(self.clock.now(), Duration::from_secs(60 * minutes));
        loop {
            let outcome = self.reconcile().await;
            if stands(&outcome) {
                return outcome;
            }
            assert!(
                self.clock.now() < end,
                "still {:?} after {minutes} minutes: {:#?}",
                outcome.standing,
                outcome.records
            );
            let next = provider_core::clock::add(self.clock.now(), Duration::from_secs(1));
            let wake = outcome.wake_at.unwrap_or(next).max(next);
            let job = self.aap.next_event().map_or(wake, |at| at.max(next));
            self.clock.set(wake.min(job));
        }
    }

    fn ran(&self) -> Vec<String> {
        let runs = self.aap.journal().into_iter();
        runs.map(|run| run.template).collect()
    }
}

fn acts(outcome: &Outcome) -> bool {
    matches!(outcome.standing, Standing::InProgress { job_type, .. } if job_type == action("restart"))
}

fn applied(outcome: &Outcome) -> bool {
    matches!(&outcome.standing, Standing::Applied { .. })
}

#[tokio::test]
async fn a_life_with_a_restart_by_every_way_to_see_its_end() {
    for by in [By::Operation, By::Label, By::Audit] {
        let mut life = Life::new(by).await;
        life.until(10, applied).await;
        life.restart = Some("now");
        let outcome = life.until(2, acts).await;
        assert_eq!(outcome.records.last().unwrap().job_type, action("restart"));
        let outcome = life.until(10, applied).await;
        let restarted = outcome.records.last().unwrap();
        assert_eq!(
            (restarted.job_type, restarted.state),
            (action("restart"), JobState::Succeeded),
            "{by:?}"
        );
        // Once, however often it is asked for by the same text.
        life.clock.advance(Duration::from_secs(3_600));
        assert!(applied(&life.reconcile().await));
        life.restart = Some("again");
        life.until(2, acts).await;
        life.until(10, applied).await;
        life.delete();
        let outcome = life
            .until(20, |outcome| {
                matches!(outcome.standing, Standing::Released(_))
            })
            .await;
        assert_eq!(outcome.receipt, None, "{by:?}");
        assert_eq!(life.ran(), [CREATE, RESTART, RESTART, DELETE], "{by:?}");
        assert!(life.aap.overlaps().is_empty(), "{by:?}");
    }
}

/// A real job that is at work is asked to stop, and nothing is deleted beside it.
#[tokio::test]
async fn a_deletion_ends_the_job_of_an_action_first() {
    for by in [By::Operation, By::Label, By::Audit] {
        let mut life = Life::new(by).await;
        life.until(10, applied).await;
        life.aap
            .plan_next(RESTART, RunPlan::lasting(Duration::from_secs(400)));
        life.restart = Some("now");
        life.until(2, acts).await;
        life.clock.advance(Duration::from_secs(30));
        life.step();
        life.delete();
        life.until(60, |outcome| {
            matches!(outcome.standing, Standing::Released(_))
        })
        .await;
        assert_eq!(life.ran(), [CREATE, RESTART, DELETE], "{by:?}");
        assert!(life.aap.overlaps().is_empty(), "{by:?}");
        let runs = life.aap.journal();
        assert!(runs[1].stopped.unwrap() <= runs[2].accepted, "{by:?}");
        // Only what is seen live can be stopped.
        assert_eq!(runs[1].succeeded, by != By::Label, "{by:?}");
    }
}

/// The event was taken, and its answer lost: it is not sent again, and its end is seen like any other.
#[tokio::test]
async fn a_restart_whose_answer_is_lost_is_made_once() {
    for by in [By::Operation, By::Label, By::Audit] {
        let mut life = Life::new(by).await;
        life.until(10, applied).await;
        life.eda.fault(&Fault::StatusAfter(502), 1);
        life.restart = Some("now");
        life.until(2, acts).await;
        life.until(10, applied).await;
        life.clock.advance(Duration::from_secs(3_600));
        assert!(applied(&life.reconcile().await));
        assert_eq!(life.ran(), [CREATE, RESTART], "{by:?}");
    }
}

/// No rule has seen the event. What is waited for is told, and a deletion does not wait for ever.
#[tokio::test]
async fn an_event_of_an_action_that_is_lost_holds_no_deletion_for_ever() {
    for by in [By::Operation, By::Label, By::Audit] {
        let mut life = Life::new(by).await;
        life.until(10, applied).await;
        life.eda.fault(&Fault::Lose, 1);
        life.restart = Some("now");
        let outcome = life.until(2, acts).await;
        let message = &outcome.records.last().unwrap().message;
        assert!(
            message.contains("taken by the rulebook"),
            "{by:?}: {message}"
        );
        life.clock.advance(Duration::from_secs(60));
        let outcome = life.until(1, acts).await;
        let message = &outcome.records.last().unwrap().message;
        assert!(
            message.contains("expected the annotation"),
            "{by:?}: {message}"
        );
        let lost = outcome.records.last().unwrap().job_id.clone();
        life.delete();
        let outcome = life
            .until(180, |o| matches!(o.standing, Standing::Released(_)))
            .await;
        // That its event does nothing any more is assumed, and on the receipt.
        let receipt = outcome.receipt.unwrap();
        let named: Vec<_> = receipt
            .jobs
            .iter()
            .map(|job| Some(job.id.clone()))
            .collect();
        assert_eq!(
            (receipt.ground, named),
            ("Deprovisioned", vec![lost]),
            "{by:?}"
        );
        assert_eq!(life.ran(), [CREATE, DELETE], "{by:?}");
    }
}

/// The provider by itself: the job behind the event of an action is seen, canceled, and has no version.
#[tokio::test]
async fn the_job_of_an_action_is_seen_and_canceled_like_any_other() {
    let mut life = Life::new(By::Label).await;
    let job_ref = life.act(1).await;
    let job = tracked_as(action("restart"), 1);
    assert_eq!(job.job, job_ref);
    let early = life.provider.cancel(&life.resource(), &job).await.unwrap();
    assert!(matches!(early, CancelResult::NotYet { .. }), "{early:?}");
    life.step();
    life.clock.advance(Duration::from_secs(30));
    let status = life.provider.status(&life.resource(), &job).await.unwrap();
    assert_eq!(
        (status.state, &status.job.id),
        (JobState::Running, &job_ref.id)
    );
    // A deletion that comes by waits for it, and has it stopped.
    let history = [record(action("restart"), 1, JobState::Running, start())];
    let asked = request(life.resource(), 2);
    let waits = life
        .provider
        .trigger_deprovision(&asked, &history)
        .await
        .unwrap();
    let DeprovisionResult::Waiting {
        reason,
        provision_job,
        ..
    } = waits
    else {
        panic!("{waits:?}");
    };
    assert!(reason.contains("is being canceled"), "{reason}");
    assert_eq!(provision_job, None);
    life.clock.advance(Duration::from_secs(30));
    life.step();
    let run = &life.aap.journal()[0];
    assert!(run.stopped.is_some() && !run.succeeded, "{run:?}");
    // One that ends well applies nothing.
    life.act(3).await;
    for _ in 0..10 {
        life.step();
        life.clock.advance(Duration::from_secs(60));
    }
    let job = tracked_as(action("restart"), 3);
    let status = life.provider.status(&life.resource(), &job).await.unwrap();
    assert_eq!(
        (status.state, status.reconciled_version),
        (JobState::Succeeded, None)
    );
    assert_eq!(
        status.job,
        JobRef::new("eda", "event", token(3).as_str()).with_url(status.job.url.clone().unwrap())
    );
    // Nor does one that a person starts once more.
    let copy = life.aap.relaunch(life.aap.journal()[1].id).unwrap();
    life.clock.advance(Duration::from_secs(600));
    let mut copied = tracked_as(action("restart"), 3);
    copied.job = JobRef::new("eda", "relaunched-job", copy.to_string());
    let status = life
        .provider
        .status(&life.resource(), &copied)
        .await
        .unwrap();
    assert_eq!(
        (status.state, status.reconciled_version),
        (JobState::Succeeded, None)
    );
}
