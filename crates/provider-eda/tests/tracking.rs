//! Whole lives with the jobs behind the events in sight: through AAP by label, and through the audit
//! of the EDA server. Events run as a rulebook would run them: sender, EDA simulator, rules, AAP
//! simulator, marks on the object.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed"
)]

mod common;

use provider_core::clock::Elapsed as _;
use std::sync::Arc;
use std::time::Duration;

use common::{config, object, start, tracked, version, webhook};
use futures::StreamExt;
use jiff::SignedDuration;
use provider_aap::{AapConfig, Auth};
use provider_core::lifecycle::{
    Desired, Hold, Lifecycle, MemoryStore, Outcome, Policy, ProviderRegistry, SeededEntropy,
    Standing, StatusStore,
};
use provider_core::{
    CancelResult, Clock, DeprovisionResult, ErrorKind, FindRequest, JobState, JobType, ManualClock,
    Provider, Reason, Resource, Severity,
};
use provider_eda::{AuditTracking, EdaConfig, EdaProvider, JobTracking};
use provider_testkit::aap::{
    ADMIN_TOKEN, AapSim, Ending, OPERATOR_TOKEN, OnCancel, Route, Run, RunPlan, Template, World,
};
use provider_testkit::eda::{
    AuditAction, AuditRule, EdaSim, Fault, Marks, Objects, Rule, Rulebook, Webhook,
};
use serde_json::{Value, json};

const CREATE: &str = "osac-create-compute-instance";
const DELETE: &str = "osac-delete-compute-instance";
const BY_TOKEN: &str = "event-{{ event.payload.providerEvent.operationToken }}";
const BY_UID: &str = "osac-{{ event.payload.metadata.uid }}";
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
}

fn rules(label: &str, retries: u32) -> [Rule; 2] {
    [("create", CREATE), ("delete", DELETE)].map(|(action, template)| {
        Rule::new(action, template)
            .with_label(label)
            .with_retries(retries)
    })
}

fn of_aap(aap: &AapSim) -> AapConfig {
    of_aap_as(aap, ADMIN_TOKEN)
}

fn of_aap_as(aap: &AapSim, token: &str) -> AapConfig {
    AapConfig::new(aap.url(), Auth::token(token))
        .with_diagnosis()
        .with_http(provider_aap::HttpConfig {
            proxy_from_environment: false,
            ..provider_aap::HttpConfig::default()
        })
}

async fn life(
    rulebook: Rulebook,
    configure: impl FnOnce(EdaConfig, &EdaSim, &AapSim) -> EdaConfig,
) -> Life {
    let clock = Arc::new(ManualClock::new(start()));
    let eda = EdaSim::start(Webhook::new(), clock.clone()).await.unwrap();
    eda.serve_api(API_TOKEN);
    let plan = RunPlan {
        queue: Duration::from_secs(40),
        ..RunPlan::lasting(Duration::from_secs(300))
    };
    let templates =
        [CREATE, DELETE].map(|name| Template::job(name).with_plan(plan.clone()).with_labels());
    let aap = AapSim::start(World::with(templates), clock.clone())
        .await
        .unwrap();
    let config = configure(config(webhook(&eda)), &eda, &aap);
    let provider = Arc::new(EdaProvider::with_clock(config, clock.clone()).unwrap());
    let objects = Objects::default();
    objects.put(object("vm", "tenant"));
    Life {
        eda,
        aap,
        rulebook,
        objects,
        clock,
        registry: ProviderRegistry::single(provider.clone()),
        provider,
        engine: Lifecycle::with_entropy(Policy::default(), Arc::new(SeededEntropy::new(1))),
        store: MemoryStore::new(),
    }
}

/// Tracked by label.
async fn by_label() -> Life {
    life(
        Rulebook::sequential(rules(BY_TOKEN, 0)),
        |config, _, aap| config.with_tracking(JobTracking::new(of_aap(aap))),
    )
    .await
}

/// Tracked by the audit.
async fn by_audit() -> Life {
    life(
        Rulebook::sequential(rules(BY_TOKEN, 0)),
        |config, eda, _| config.with_tracking(AuditTracking::new(eda.url(), API_TOKEN)),
    )
    .await
}

impl Life {
    fn resource(&self) -> Resource {
        Resource::from_json(self.objects.get("tenant", "vm").unwrap()).unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut Value)) {
        let mut object = self.objects.get("tenant", "vm").unwrap();
        change(&mut object);
        self.objects.put(object);
    }

    fn delete(&self) {
        let now = self.clock.now().to_string();
        self.change(|object| object["metadata"]["deletionTimestamp"] = json!(now));
    }

    fn step(&mut self) {
        self.rulebook.step(&self.eda, &self.aap, &self.objects);
    }

    async fn reconcile(&mut self) -> Outcome {
        self.step();
        let outcome = self.reconcile_alone().await;
        self.step();
        outcome
    }

    /// While the rulebook does nothing.
    async fn reconcile_alone(&self) -> Outcome {
        let store: &dyn StatusStore = &self.store;
        let desired = Desired::new(version(), "eda");
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
    async fn until(&mut self, minutes: u64, stands: impl Fn(&Standing) -> bool) -> Outcome {
        let end = provider_core::clock::add(self.clock.now(), Duration::from_secs(60 * minutes));
        loop {
            let outcome = self.reconcile().await;
            if stands(&outcome.standing) {
                return outcome;
            }
            assert!(
                self.clock.now() < end,
                "still {:?} after {minutes} minutes: {:#?}",
                outcome.standing,
                outcome.records
            );
            let next = provider_core::clock::add(self.clock.now(), Duration::from_secs(1));
            // The world moves on as well, not only the engine.
            let wake = outcome.wake_at.unwrap_or(next).max(next);
            let job = self.aap.next_event().map_or(wake, |at| at.max(next));
            self.clock.set(wake.min(job));
        }
    }

    fn runs(&self) -> Vec<Run> {
        self.aap.journal()
    }

    /// What ran: the template, and whether it came to its end.
    fn ran(&self) -> Vec<(String, bool)> {
        let runs = self.runs().into_iter();
        runs.map(|run| (run.template, run.succeeded)).collect()
    }
}

fn applied(standing: &Standing) -> bool {
    matches!(standing, Standing::Applied { .. })
}

fn released(standing: &Standing) -> bool {
    matches!(standing, Standing::Released(_))
}

fn in_state(job_type: JobType, state: JobState) -> impl Fn(&Standing) -> bool {
    move |standing| {
        matches!(standing, Standing::InProgress { job_type: t, state: s, .. }
            if *t == job_type && *s == state)
    }
}

fn done(template: &str, succeeded: bool) -> (String, bool) {
    (template.to_owned(), succeeded)
}

// ---- through AAP, by label ----

#[tokio::test]
async fn a_life_is_seen_as_it_happens() {
    for (label, ours) in [(BY_TOKEN, "event-{token}"), (BY_UID, "osac-{uid}")] {
        let mut life = life(Rulebook::sequential(rules(label, 0)), |config, _, aap| {
            config.with_tracking(JobTracking::new(of_aap(aap)).with_label(ours))
        })
        .await;
        let outcome = life.reconcile().await;
        assert!(in_state(JobType::Provision, JobState::Unknown)(
            &outcome.standing
        ));
        life.until(1, in_state(JobType::Provision, JobState::Pending))
            .await;
        let outcome = life
            .until(1, in_state(JobType::Provision, JobState::Running))
            .await;
        let record = outcome.records.last().unwrap();
        assert_eq!(record.kind.as_deref(), Some("event"));
        assert!(
            record.url.as_deref().unwrap().contains("/jobs/"),
            "{record:?}"
        );
        life.until(10, applied).await;
        life.delete();
        life.until(2, in_state(JobType::Deprovision, JobState::Running))
            .await;
        let outcome = life.until(10, released).await;
        assert_eq!(outcome.receipt, None);
        assert_eq!(life.ran(), [done(CREATE, true), done(DELETE, true)]);
        assert!(life.aap.overlaps().is_empty());
    }
}

/// The sign on the object may come before the end of the job that leaves it.
#[tokio::test]
async fn a_job_in_sight_outweighs_the_sign_on_the_object() {
    let mut life = by_label().await;
    life.until(2, in_state(JobType::Provision, JobState::Running))
        .await;
    life.change(|object| {
        object["metadata"]["annotations"] = json!({ common::APPLIED: version().as_str() });
    });
    life.clock.advance(Duration::from_secs(20));
    let outcome = life.reconcile().await;
    assert!(in_state(JobType::Provision, JobState::Running)(
        &outcome.standing
    ));
}

/// The object shows the version already, of a time before our records. While the event stands in the
/// rulebook's queue nothing is applied; the job's own end, or the operation it reports, proves it.
#[tokio::test]
async fn a_version_that_was_shown_before_is_not_applied_while_the_event_is_queued() {
    for tracked in [true, false] {
        let marks = Marks {
            reports_operation: !tracked,
            ..Marks::default()
        };
        let rulebook = Rulebook::sequential(rules(BY_TOKEN, 0)).with_marks(marks);
        let mut life = life(rulebook, |config, _, aap| {
            if tracked {
                config.with_tracking(JobTracking::new(of_aap(aap)))
            } else {
                config
            }
        })
        .await;
        life.change(|object| {
            object["metadata"]["annotations"] = json!({ common::APPLIED: version().as_str() });
        });
        for _ in 0..4 {
            let outcome = life.reconcile_alone().await;
            assert!(
                in_state(JobType::Provision, JobState::Unknown)(&outcome.standing),
                "{:?}",
                outcome.standing
            );
            life.clock.advance(Duration::from_secs(60));
        }
        life.until(8, applied).await;
        assert_eq!(life.ran(), [done(CREATE, true)]);
    }
}

#[tokio::test]
async fn deleting_in_mid_provision_cancels_the_real_job_first() {
    for plan in [OnCancel::default(), OnCancel::Lies, OnCancel::Ignores] {
        let mut life = by_label().await;
        life.aap.plan_next(
            CREATE,
            RunPlan::lasting(Duration::from_secs(300)).on_cancel(plan.clone()),
        );
        life.until(2, in_state(JobType::Provision, JobState::Running))
            .await;
        life.clock.advance(Duration::from_secs(20));
        life.delete();
        life.until(60, released).await;
        let runs = life.runs();
        assert_eq!(runs.len(), 2, "{plan:?}: {runs:#?}");
        assert_eq!(runs[1].template, DELETE);
        assert!(runs[0].stopped.unwrap() <= runs[1].accepted, "{plan:?}");
        assert!(life.aap.overlaps().is_empty(), "{plan:?}");
        assert_eq!(runs[0].succeeded, plan != OnCancel::default(), "{plan:?}");
    }
}

/// The event is in the queue of the rulebook, behind the job of another object, and is worked off
/// only after the deletion.
#[tokio::test]
async fn an_event_that_waits_in_the_rulebook_is_canceled_when_its_job_appears() {
    let mut life = by_label().await;
    let mut other = object("other", "tenant");
    other["metadata"]["uid"] = json!("uid-other");
    life.objects.put(other.clone());
    let request = common::request(Resource::from_json(other).unwrap(), 77);
    life.provider.trigger_provision(&request).await.unwrap();
    life.step();
    life.reconcile().await;
    life.clock.advance(Duration::from_secs(20));
    life.delete();
    // The other job lasts for five minutes.
    let outcome = life.reconcile().await;
    assert!(in_state(JobType::Provision, JobState::Unknown)(
        &outcome.standing
    ));
    life.until(60, released).await;
    let runs: Vec<Run> = life
        .runs()
        .into_iter()
        .filter(|run| run.object().as_deref() == Some("uid-vm"))
        .collect();
    let templates: Vec<&str> = runs.iter().map(|run| run.template.as_str()).collect();
    assert_eq!(templates[0], CREATE);
    assert!(!runs[0].succeeded, "the job was canceled: {runs:#?}");
    assert!(life.aap.overlaps().is_empty());
}

#[tokio::test]
async fn a_failed_job_is_diagnosed() {
    let mut life = by_label().await;
    let ending = Ending::Failed {
        task: "Create the machine".to_owned(),
        message: "no quota left".to_owned(),
    };
    life.aap.plan_next(
        CREATE,
        RunPlan::lasting(Duration::from_secs(30)).ending(ending),
    );
    // Doubted for a minute, in which the rulebook may repeat it.
    let outcome = life
        .until(10, |s| matches!(s, Standing::InProgress { attempt: 2, .. }))
        .await;
    let record = &outcome.records[0];
    assert_eq!(record.state, JobState::Failed);
    assert!(
        record.message.contains("no quota left"),
        "{}",
        record.message
    );
    assert!(record.message.contains("job/"), "{}", record.message);
    // It is tried again, by an event of its own.
    life.until(30, applied).await;
    assert_eq!(life.ran(), [done(CREATE, false), done(CREATE, true)]);
    assert!(life.aap.overlaps().is_empty());
}

/// The rulebook repeats a failed job by itself: the failure is not the end, and no second event
/// goes out beside the repetition.
#[tokio::test]
async fn a_failure_that_the_rulebook_repeats_is_not_an_end() {
    let mut life = life(
        Rulebook::sequential(rules(BY_TOKEN, 1)),
        |config, _, aap| config.with_tracking(JobTracking::new(of_aap(aap))),
    )
    .await;
    let ending = Ending::Explained("the first try".to_owned());
    life.aap.plan_next(
        CREATE,
        RunPlan::lasting(Duration::from_secs(30)).ending(ending),
    );
    life.until(20, applied).await;
    assert_eq!(life.ran(), [done(CREATE, false), done(CREATE, true)]);
    assert_eq!(life.eda.journal().len(), 1);
}

/// A search costs the controller more than a look at one job, and cannot be shared with others.
#[tokio::test]
async fn a_job_is_searched_until_it_is_found_and_when_it_has_ended() {
    let mut life = by_label().await;
    let asked = |life: &Life| [Route::Jobs, Route::Job].map(|route| life.aap.count(route));
    life.until(2, in_state(JobType::Provision, JobState::Running))
        .await;
    let [searches, looks] = asked(&life);
    assert!(searches > 0);
    for _ in 0..4 {
        life.clock.advance(Duration::from_secs(60));
        life.reconcile().await;
    }
    assert_eq!(asked(&life), [searches, looks + 4]);
    life.until(10, applied).await;
    assert!(life.aap.count(Route::Jobs) > searches);
}

/// A life with an ear for wake-ups, as a controller has it.
async fn listening() -> (
    Life,
    futures::channel::mpsc::UnboundedReceiver<provider_core::JobRef>,
) {
    let life = life(
        Rulebook::sequential(rules(BY_TOKEN, 0)),
        |config, _, aap| config.with_tracking(JobTracking::new(of_aap(aap).with_push())),
    )
    .await;
    let (tell, told) = futures::channel::mpsc::unbounded();
    let mut wake_ups = life.provider.wake_ups().unwrap();
    tokio::spawn(async move {
        while let Some(job) = wake_ups.next().await {
            let _ = tell.unbounded_send(job);
        }
    });
    let connected = async {
        while life.aap.listeners() != 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), connected)
        .await
        .unwrap();
    (life, told)
}

/// The job behind an event wakes the event's object, also when it ends before anybody has asked about
/// it again since it was found.
#[tokio::test]
async fn the_end_of_a_job_wakes_the_object_of_its_event() {
    for state in [JobState::Pending, JobState::Running] {
        let (mut life, mut told) = listening().await;
        let outcome = life.until(2, in_state(JobType::Provision, state)).await;
        while told.try_recv().is_ok() {}
        life.clock.advance(Duration::from_secs(400));
        let job = tokio::time::timeout(Duration::from_secs(20), told.next());
        let of_record = outcome.records.last().unwrap().job_ref().unwrap();
        let job = job.await.unwrap().unwrap();
        assert_eq!((job.provider, job.id), (of_record.provider, of_record.id));
    }
    assert!(by_audit().await.provider.wake_ups().is_none());
}

#[tokio::test]
async fn a_cancel_by_a_person_is_respected() {
    let mut life = by_label().await;
    life.until(2, in_state(JobType::Provision, JobState::Running))
        .await;
    life.aap.cancel(life.runs()[0].id);
    life.until(30, |s| {
        matches!(s, Standing::Held(Hold::CanceledByOthers { .. }))
    })
    .await;
    assert_eq!(life.eda.journal().len(), 1);
}

// ---- copies that people start ----

/// An object whose create job has been applied, and whose create job a person has relaunched since.
async fn relaunched(label: &str, ours: &str) -> (Life, u64) {
    let mut life = life(Rulebook::sequential(rules(label, 0)), |config, _, aap| {
        config.with_tracking(JobTracking::new(of_aap(aap)).with_label(ours))
    })
    .await;
    life.until(10, applied).await;
    let copy = life.aap.relaunch(life.runs()[0].id).unwrap();
    (life, copy)
}

#[tokio::test]
async fn no_delete_event_is_sent_while_a_relaunched_create_job_is_alive() {
    for (label, ours) in [(BY_TOKEN, "event-{token}"), (BY_UID, "osac-{uid}")] {
        let (mut life, copy) = relaunched(label, ours).await;
        life.clock.advance(Duration::from_secs(50));
        life.delete();
        let outcome = life.until(60, released).await;
        let runs = life.runs();
        assert_eq!(runs.len(), 3, "{runs:#?}");
        assert_eq!((runs[1].id, runs[1].succeeded), (copy, false));
        assert_eq!(runs[2].template, DELETE);
        assert!(runs[1].stopped.unwrap() <= runs[2].accepted);
        assert!(life.aap.overlaps().is_empty());
        let record = outcome
            .records
            .iter()
            .find(|record| record.job_id == Some(copy.to_string()))
            .unwrap();
        assert_eq!(
            (record.copy_of, record.reason.clone()),
            (Some(1), Some(Reason::CanceledByUs))
        );
        assert_eq!(record.kind.as_deref(), Some("relaunched-job"));
        assert_eq!(record.state, JobState::Canceled);
        assert_eq!(life.eda.journal().len(), 2);
    }
}

#[tokio::test]
async fn a_relaunched_create_job_that_does_not_obey_is_waited_for() {
    let mut life = by_label().await;
    let plan = RunPlan::lasting(Duration::from_secs(900)).on_cancel(OnCancel::Ignores);
    life.until(10, applied).await;
    life.aap.plan_next(CREATE, plan);
    let copy = life.aap.relaunch(life.runs()[0].id).unwrap();
    // One that has not begun yet would obey.
    life.clock.advance(Duration::from_secs(50));
    assert_eq!(life.aap.status(copy), Some("running"));
    life.delete();
    // Another process of ours knows of the copy from its record alone.
    let outcome = life
        .until(10, |s| matches!(s, Standing::InProgress { attempt: 2, .. }))
        .await;
    assert_eq!(outcome.records[1].job_id, Some(copy.to_string()));
    life.provider = Arc::new(
        EdaProvider::with_clock(life.provider.config().clone(), life.clock.clone()).unwrap(),
    );
    life.registry = ProviderRegistry::single(life.provider.clone());
    // It is asked to stop, goes on to its own end, and nothing is sent meanwhile.
    let mut looks = 0;
    while life.runs()[1].stopped.is_none() {
        let outcome = life.reconcile().await;
        if life.runs()[1].stopped.is_none() {
            let waits = matches!(outcome.standing, Standing::InProgress { attempt: 2, .. });
            assert!(waits, "{:?}", outcome.standing);
            assert_eq!(life.eda.journal().len(), 1);
        }
        life.clock.advance(Duration::from_secs(20));
        looks += 1;
        assert!(looks < 100, "the copy never ends");
    }
    assert!(looks > 30, "it was looked at {looks} times only");
    assert!(life.aap.count(Route::Cancel) > 0);
    let alone = &life.runs()[1];
    assert!(alone.succeeded, "{alone:?}");
    let lasted = alone.stopped.unwrap().elapsed_since(alone.accepted);
    assert!(lasted >= Duration::from_secs(900), "{lasted:?}");
    life.until(60, released).await;
    let runs = life.runs();
    assert_eq!(runs.len(), 3, "{runs:#?}");
    assert!(runs[1].stopped.unwrap() <= runs[2].accepted);
    assert!(life.aap.overlaps().is_empty());
    assert_eq!(life.eda.journal().len(), 2);
}

/// Without rights on the template a running copy is in no list, and it runs on.
#[tokio::test]
async fn a_copy_that_our_user_may_not_see_any_more_is_not_gone() {
    let mut life = life(
        Rulebook::sequential(rules(BY_TOKEN, 0)),
        |config, _, aap| config.with_tracking(JobTracking::new(of_aap_as(aap, OPERATOR_TOKEN))),
    )
    .await;
    life.until(10, applied).await;
    let plan = RunPlan::lasting(Duration::from_secs(7_200)).on_cancel(OnCancel::Ignores);
    life.aap.plan_next(CREATE, plan);
    let copy = life.aap.relaunch(life.runs()[0].id).unwrap();
    // One that has not begun yet would obey.
    life.clock.advance(Duration::from_secs(50));
    assert_eq!(life.aap.status(copy), Some("running"));
    life.delete();
    life.until(10, |s| matches!(s, Standing::InProgress { attempt: 2, .. }))
        .await;
    life.aap.estrange(OPERATOR_TOKEN, CREATE, true);
    for _ in 0..180 {
        life.clock.advance(Duration::from_secs(20));
        life.reconcile().await;
        assert_eq!(life.eda.journal().len(), 1);
    }
    assert_eq!(life.aap.status(copy), Some("running"));
    life.aap.estrange(OPERATOR_TOKEN, CREATE, false);
    life.until(180, released).await;
    let runs = life.runs();
    assert_eq!(runs.len(), 3, "{runs:#?}");
    assert_eq!(runs[2].template, DELETE);
    assert!(runs[1].stopped.unwrap() <= runs[2].accepted);
    assert!(life.aap.overlaps().is_empty());
}

/// It was at work, and no list shows it: that is no end.
#[tokio::test]
async fn a_job_that_was_seen_at_work_and_is_in_no_list_holds_the_deletion() {
    let life = by_label().await;
    let mut record = common::record(JobType::Provision, 1, JobState::Running, start());
    record.started_at = Some(start());
    let request = common::request(life.resource(), 2);
    let answer = life
        .provider
        .trigger_deprovision(&request, std::slice::from_ref(&record))
        .await;
    let error = answer.unwrap_err();
    let error = common::not_launched(&error);
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    assert!(error.advice().contains("right to read"), "{error}");
    assert!(life.eda.journal().is_empty());
}

/// One that the controller itself knows nothing of is gone.
#[tokio::test]
async fn a_copy_that_was_removed_holds_no_deletion() {
    let mut life = by_label().await;
    life.until(10, applied).await;
    let plan = RunPlan::lasting(Duration::from_secs(120)).on_cancel(OnCancel::Ignores);
    life.aap.plan_next(CREATE, plan);
    let copy = life.aap.relaunch(life.runs()[0].id).unwrap();
    life.clock.advance(Duration::from_secs(50));
    life.delete();
    life.until(10, |s| matches!(s, Standing::InProgress { attempt: 2, .. }))
        .await;
    life.clock.advance(Duration::from_secs(200));
    assert!(life.aap.purge(copy));
    life.until(60, released).await;
    assert_eq!(life.eda.journal().len(), 2);
}

#[tokio::test]
async fn a_relaunch_of_a_failed_job_that_succeeds_is_its_continuation() {
    // Seen while it runs, and seen after its end.
    for late in [false, true] {
        let mut life = by_label().await;
        let ending = Ending::Explained("no quota left".to_owned());
        life.aap.plan_next(
            CREATE,
            RunPlan::lasting(Duration::from_secs(30)).ending(ending),
        );
        // Its end is doubted for a minute, because a rulebook may repeat it.
        life.until(10, in_state(JobType::Provision, JobState::Failed))
            .await;
        let first = life.runs()[0].id;
        let seconds = if late { 1 } else { 90 };
        let plan = RunPlan::lasting(Duration::from_secs(seconds));
        life.aap.plan_next(CREATE, plan);
        let copy = life.aap.relaunch(first).unwrap();
        let outcome = life.until(30, applied).await;
        assert_eq!(
            life.ran(),
            [done(CREATE, false), done(CREATE, true)],
            "late: {late}"
        );
        assert_eq!(life.eda.journal().len(), 1, "no second event");
        let record = outcome.records.last().unwrap();
        assert_eq!(record.job_id, Some(copy.to_string()));
        assert_eq!(record.copy_of, Some(1));
        life.delete();
        life.until(30, released).await;
        assert!(life.aap.overlaps().is_empty());
    }
}

#[tokio::test]
async fn a_relaunch_of_another_objects_job_is_never_taken() {
    for (label, ours) in [(BY_TOKEN, "event-{token}"), (BY_UID, "osac-{uid}")] {
        let mut life = life(Rulebook::parallel(rules(label, 0)), |config, _, aap| {
            config.with_tracking(JobTracking::new(of_aap(aap)).with_label(ours))
        })
        .await;
        let mut other = object("other", "tenant");
        other["metadata"]["uid"] = json!("uid-other");
        life.objects.put(other.clone());
        let request = common::request(Resource::from_json(other).unwrap(), 77);
        life.provider.trigger_provision(&request).await.unwrap();
        life.step();
        life.until(10, applied).await;
        let runs = life.runs();
        let theirs = runs
            .iter()
            .find(|run| run.object().as_deref() != Some("uid-vm"));
        let copy = life.aap.relaunch(theirs.unwrap().id).unwrap();
        life.delete();
        let outcome = life.until(30, released).await;
        assert_eq!(outcome.records.len(), 2, "{:#?}", outcome.records);
        assert!(
            life.runs()
                .iter()
                .all(|run| run.id != copy || run.stopped.is_none() || run.succeeded)
        );
    }
}

/// A template that does not prompt for labels drops them: what is left are the signs on the object.
#[tokio::test]
async fn without_the_label_the_signs_on_the_object_decide() {
    let mut life = by_label().await;
    let none = Rulebook::sequential([Rule::new("create", CREATE), Rule::new("delete", DELETE)]);
    life.rulebook = none;
    life.until(10, applied).await;
    life.delete();
    life.until(10, released).await;
    assert_eq!(life.ran(), [done(CREATE, true), done(DELETE, true)]);
}

/// An event that was lost does not hold its object for ever, and is not taken as done.
#[tokio::test]
async fn a_lost_event_is_never_applied_and_never_holds_the_object_for_ever() {
    let mut life = by_label().await;
    life.eda.fault(&Fault::Lose, 1);
    life.reconcile().await;
    life.clock.advance(Duration::from_secs(3_600));
    let outcome = life.reconcile().await;
    assert!(!applied(&outcome.standing));
    life.delete();
    life.until(60, released).await;
    assert!(life.runs().is_empty());
}

/// A playbook that does not remove its finalizer has removed nothing: somebody has to act.
#[tokio::test]
async fn a_deletion_that_leaves_the_finalizer_has_failed_and_is_sent_again() {
    let mut life = by_label().await;
    life.rulebook = Rulebook::sequential(rules(BY_TOKEN, 0)).with_marks(Marks {
        removes_finalizer: false,
        ..Marks::default()
    });
    life.until(10, applied).await;
    life.delete();
    let outcome = life
        .until(15, |s| {
            matches!(s, Standing::BackingOff { .. } | Standing::Released(_))
        })
        .await;
    assert!(
        matches!(&outcome.standing, Standing::BackingOff { .. }),
        "{:?}",
        outcome.standing
    );
    let record = outcome.records.last().unwrap();
    assert_eq!(record.reason, Some(Reason::Unfinished));
    let failures = record.failures;
    assert!(failures > 0);
    assert!(
        record.message.contains("left its finalizer"),
        "{}",
        record.message
    );
    // The playbook is mended.
    let rulebook = std::mem::replace(&mut life.rulebook, Rulebook::sequential([]));
    life.rulebook = rulebook.with_marks(Marks::default());
    let outcome = life.until(60, released).await;
    assert_eq!(outcome.receipt, None);
    // The create event, those in vain, and the last.
    let events = u32::try_from(life.eda.journal().len()).unwrap();
    assert_eq!(events, 1 + failures + 1);
    assert!(life.aap.overlaps().is_empty());
}

#[tokio::test]
async fn capabilities_follow_the_tracking() {
    let life = by_label().await;
    let can = life.provider.capabilities();
    assert!(can.cancel && can.find_relaunched);
    assert!(!can.find_launched && !can.block_deletion_on_failure);
    // Its job may come into sight yet.
    let answer = life.provider.cancel(&life.resource(), &tracked(1)).await;
    let retry_after = Duration::from_secs(15);
    assert_eq!(answer.unwrap(), CancelResult::NotYet { retry_after });
    let status = life.provider.status(&life.resource(), &tracked(1)).await;
    let message = status.unwrap().message;
    assert!(message.contains("prompt for labels"), "{message}");
    let query = FindRequest::new(life.resource(), JobType::Provision, common::token(1));
    let error = life.provider.find_launched(&query).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let life = by_audit().await;
    assert!(!life.provider.capabilities().cancel);
    let error = life
        .provider
        .cancel(&life.resource(), &tracked(1))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

/// While the controller cannot be asked, nothing is taken as over.
#[tokio::test]
async fn a_controller_that_does_not_answer_holds_the_deletion() {
    let mut life = by_label().await;
    life.until(2, in_state(JobType::Provision, JobState::Running))
        .await;
    life.delete();
    life.aap.fault(
        Route::Jobs,
        &provider_testkit::aap::Fault::Status(503),
        1_000,
    );
    for _ in 0..20 {
        let outcome = life.reconcile().await;
        assert!(!released(&outcome.standing));
        life.clock.advance(Duration::from_secs(10));
    }
    assert_eq!(life.eda.journal().len(), 1);
    life.aap.clear_faults();
    life.until(60, released).await;
    assert!(life.aap.overlaps().is_empty());
}

/// The provider by itself: what runs is canceled, and no delete event goes out until its end.
#[tokio::test]
async fn a_deprovision_waits_for_the_provision_job_and_asks_it_to_stop() {
    let mut life = by_label().await;
    let sent = life.clock.now();
    let request = common::request(life.resource(), 1);
    life.provider.trigger_provision(&request).await.unwrap();
    life.step();
    life.clock.advance(Duration::from_secs(60));
    life.step();
    let history = [common::record(
        JobType::Provision,
        1,
        JobState::Unknown,
        sent,
    )];
    let mut waits = Vec::new();
    let job = loop {
        let request = common::request(life.resource(), 2);
        let answer = life.provider.trigger_deprovision(&request, &history).await;
        match answer.unwrap() {
            DeprovisionResult::Waiting {
                reason,
                provision_job,
                ..
            } => {
                assert!(provision_job.is_some());
                waits.push(reason);
            }
            DeprovisionResult::Triggered { job, .. } => break job,
            other => panic!("{other:?}"),
        }
        assert!(waits.len() < 100, "{waits:#?}");
        life.clock.advance(Duration::from_secs(2));
        life.step();
    };
    assert_eq!(job.unwrap().id, common::token(2).as_str());
    assert!(waits[0].contains("is being canceled"), "{waits:#?}");
    assert!(
        waits.last().unwrap().contains("not certain yet"),
        "{waits:#?}"
    );
    let run = &life.runs()[0];
    assert!(!run.succeeded && run.stopped.unwrap() < life.clock.now());
    assert_eq!(life.eda.journal().len(), 2);
}

/// A job that was canceled before it began has left nothing: no delete event, but not before its
/// marks would have been seen.
#[tokio::test]
async fn a_provision_that_never_began_needs_no_delete_event() {
    let mut life = by_label().await;
    let sent = life.clock.now();
    let request = common::request(life.resource(), 1);
    life.provider.trigger_provision(&request).await.unwrap();
    life.step();
    life.aap.cancel(life.runs()[0].id);
    let history = [common::record(
        JobType::Provision,
        1,
        JobState::Unknown,
        sent,
    )];
    let mut waited = 0;
    loop {
        let request = common::request(life.resource(), 2);
        let answer = life.provider.trigger_deprovision(&request, &history).await;
        match answer.unwrap() {
            DeprovisionResult::Waiting { .. } => waited += 5,
            DeprovisionResult::Skipped { .. } => break,
            other => panic!("{other:?}"),
        }
        life.clock.advance(Duration::from_secs(5));
        life.step();
    }
    assert_eq!(waited, 60);
    assert_eq!(life.eda.journal().len(), 1);
}

#[tokio::test]
async fn a_failure_is_certain_once_the_rulebook_would_have_repeated_it() {
    let mut life = by_label().await;
    let ending = Ending::Explained("out of disk".to_owned());
    life.aap.plan_next(
        CREATE,
        RunPlan::lasting(Duration::from_secs(30)).ending(ending),
    );
    let request = common::request(life.resource(), 1);
    life.provider.trigger_provision(&request).await.unwrap();
    life.step();
    for (after, settled) in [(31, false), (58, false), (2, true)] {
        life.clock.advance(Duration::from_secs(after));
        let job = tracked(1);
        let status = life.provider.status(&life.resource(), &job).await.unwrap();
        assert_eq!((status.state, status.settled), (JobState::Failed, settled));
        assert!(status.message.ends_with("out of disk"));
    }
}

// ---- through the audit ----

/// A playbook that leaves no annotation, so that only the audit tells its end.
#[tokio::test]
async fn the_audit_tells_the_end_of_a_provision() {
    let mut life = by_audit().await;
    life.rulebook = Rulebook::sequential(rules(BY_TOKEN, 0)).with_marks(Marks {
        reports_version: false,
        ..Marks::default()
    });
    let outcome = life.reconcile().await;
    assert!(in_state(JobType::Provision, JobState::Unknown)(
        &outcome.standing
    ));
    let outcome = life.until(15, applied).await;
    let record = outcome.records.last().unwrap();
    assert!(record.url.as_deref().unwrap().contains("/jobs/playbook/"));
    life.delete();
    life.until(20, released).await;
    assert_eq!(life.ran(), [done(CREATE, true), done(DELETE, true)]);
}

#[tokio::test]
async fn the_audit_tells_failures_and_why_a_launch_failed() {
    let mut life = by_audit().await;
    let ending = Ending::Explained("no".to_owned());
    life.aap.plan_next(
        CREATE,
        RunPlan::lasting(Duration::from_secs(30)).ending(ending),
    );
    // Doubted for a minute, in which something may follow.
    let second = |s: &Standing| matches!(s, Standing::InProgress { attempt: 2, .. });
    let outcome = life.until(10, second).await;
    assert_eq!(outcome.records[0].state, JobState::Failed);

    let mut life = by_audit().await;
    life.rulebook = Rulebook::sequential([Rule::new("create", "no-such-template")]);
    let outcome = life.until(10, second).await;
    let message = outcome.records[0].message.clone();
    assert!(
        message.contains("no-such-template does not exist"),
        "{message}"
    );
}

/// The rules of all objects are read once, whoever asks.
#[tokio::test]
async fn the_audit_is_read_once_for_all_objects() {
    let life = by_audit().await;
    let rule = |n: u128| {
        let token = common::token(n);
        let payload = json!({"providerEvent": {"operationToken": token.as_str()}});
        AuditRule::new("create", start(), payload)
    };
    let ended = || AuditAction::ended("successful");
    for n in 0..450 {
        life.eda.audit(rule(n), ended());
    }
    let look = async |n| {
        let (resource, job) = (life.resource(), tracked(n));
        let status = life.provider.status(&resource, &job).await;
        status.unwrap().state
    };
    // A look reads 3 pages and the events of 50 rules at most; the next one goes on. Whoever asks
    // while one reads is told what is known, and does not wait.
    for n in 1..9 {
        let before = life.eda.requests();
        let (resource, unknown) = (life.resource(), tracked(1_000));
        let mut reads = Box::pin(life.provider.status(&resource, &unknown));
        assert!(futures::poll!(&mut reads).is_pending());
        assert_eq!(look(1_000).await, JobState::Unknown);
        assert_eq!(reads.await.unwrap().state, JobState::Unknown);
        assert_eq!(life.eda.requests(), before + 53, "look {n}");
    }
    let before = life.eda.requests();
    assert_eq!(look(1_000).await, JobState::Unknown);
    assert_eq!(life.eda.requests(), before + 53);
    // The row and the action of one: all are known.
    for n in [449, 7] {
        let before = life.eda.requests();
        assert_eq!(look(n).await, JobState::Succeeded);
        assert_eq!(life.eda.requests(), before + 2);
    }
    // What is not there yet is looked for once per interval.
    let before = life.eda.requests();
    for _ in 0..10 {
        assert_eq!(look(1_000).await, JobState::Unknown);
    }
    assert_eq!(life.eda.requests(), before);
    life.eda.audit(rule(1_000), ended());
    life.clock.advance(Duration::from_secs(15));
    assert_eq!(look(1_000).await, JobState::Succeeded);
    // With it 49 of the first ones are read again: a second event may have been written since.
    assert_eq!(life.eda.requests(), before + 6 + 49);
}

#[tokio::test]
async fn an_audit_that_refuses_our_token_is_an_error_with_advice() {
    let life = life(
        Rulebook::sequential(rules(BY_TOKEN, 0)),
        |config, eda, _| config.with_tracking(AuditTracking::new(eda.url(), "wr0ng-t0ken")),
    )
    .await;
    let error = life
        .provider
        .status(&life.resource(), &tracked(1))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    assert!(error.advice().contains("gateway"), "{error}");
    assert!(!format!("{error:?} {:?}", life.provider).contains("wr0ng"));
}

// ---- settings ----

#[tokio::test]
async fn the_preflight_tries_the_tracking() {
    let good = by_label()
        .await
        .provider
        .preflight(&["ComputeInstance".to_owned()])
        .await;
    assert!(good.is_ok(), "{good}");
    assert!(good.to_string().contains("tracking: credentials"), "{good}");
    // Without a job an empty list says neither that jobs are labelled nor that we may see them.
    let good = good.to_string();
    let labels = good.lines().find(|line| line.contains("tracking: labels"));
    let is_neutral = |line: &str| {
        line.contains("warning")
            && line.contains("proves little")
            && !line.contains("can be searched")
    };
    assert!(labels.is_some_and(is_neutral), "{good}");
    let bad = life(
        Rulebook::sequential(rules(BY_TOKEN, 0)),
        |config, _, aap| {
            let aap = AapConfig::new(aap.url(), Auth::token("nobody"));
            config.with_tracking(JobTracking::new(aap))
        },
    )
    .await;
    let bad = bad
        .provider
        .preflight(&["ComputeInstance".to_owned()])
        .await;
    assert!(
        bad.findings
            .iter()
            .any(|f| f.severity == Severity::Error && f.check.starts_with("tracking")),
        "{bad}"
    );
    let audit = by_audit().await;
    let good = audit
        .provider
        .preflight(&["ComputeInstance".to_owned()])
        .await;
    assert!(good.is_ok() && good.to_string().contains("audit"), "{good}");
}

#[tokio::test]
async fn labels_without_a_name_for_the_event_are_refused() {
    let life = by_label().await;
    let tracking = JobTracking::new(of_aap(&life.aap)).with_label("osac");
    let error = EdaProvider::new(config(webhook(&life.eda)).with_tracking(tracking)).unwrap_err();
    assert_eq!(error.field(), "tracking.label");
    let mut tracking = AuditTracking::new("ftp://x", "t");
    let error =
        EdaProvider::new(config(webhook(&life.eda)).with_tracking(tracking.clone())).unwrap_err();
    assert_eq!(error.field(), "tracking.url");
    tracking.url = "https://eda.example.com".to_owned();
    tracking.lookback = SignedDuration::from_secs(-1);
    let error = EdaProvider::new(config(webhook(&life.eda)).with_tracking(tracking)).unwrap_err();
    assert_eq!(error.field(), "tracking.lookback");
}

#[test]
fn tracking_is_read_from_variables() {
    let read = |tracking: &'static str, without: &'static str| {
        EdaConfig::from_vars(move |name| {
            let value = match name {
                "EDA_TRANSPORT" => "rulebook-webhook",
                "EDA_CREATE_URL" | "EDA_DELETE_URL" => "http://rulebook:5000/x",
                "EDA_TRACKING" => tracking,
                "EDA_TRACKING_LABEL" => "mine-{uid}",
                "EDA_API_URL" => "https://eda.example.com",
                "AAP_URL" => "https://aap.example.com",
                "EDA_API_TOKEN" | "AAP_TOKEN" => "s3cret",
                _ => return None,
            };
            (name != without).then(|| value.to_owned())
        })
    };
    let jobs = read("jobs", "").unwrap();
    let shown = format!("{jobs} {jobs:?}");
    assert!(
        shown.contains("mine-{uid}") && shown.contains("aap.example.com"),
        "{shown}"
    );
    let audit = read("audit", "").unwrap();
    assert!(
        audit
            .to_string()
            .contains("in the audit of https://eda.example.com"),
        "{audit}"
    );
    assert!(!format!("{shown} {audit:?}").contains("s3cret"));
    assert!(read("jobs", "EDA_TRACKING").unwrap().tracking.is_none());
    for (tracking, without) in [
        ("jobs", "AAP_URL"),
        ("audit", "EDA_API_URL"),
        ("audit", "EDA_API_TOKEN"),
    ] {
        assert_eq!(read(tracking, without).unwrap_err().field(), without);
    }
    assert_eq!(read("both", "").unwrap_err().field(), "EDA_TRACKING");
    // From a file as well.
    let file = json!({
        "transport": {"rulebookWebhook": {"endpoints": {"create": "http://h/c", "delete": "http://h/d"}}},
        "tracking": {"jobs": {"aap": {"url": "https://aap.example.com", "auth": {"token": "s3cret"}}}},
    });
    let config: EdaConfig = serde_json::from_value(file).unwrap();
    assert!(config.to_string().contains("event-{token}"), "{config}");
}

// ---- more than one action, rule or activation ----

const SECOND: &str = "osac-second-step";

/// Without signs on the object, and with a second action of this length behind the first.
fn two_steps(life: &Life, second: u64) -> Rulebook {
    life.aap.add_template(
        Template::job(SECOND)
            .with_plan(RunPlan::lasting(Duration::from_secs(second)))
            .with_labels(),
    );
    let [create, delete] = rules(BY_TOKEN, 0);
    Rulebook::sequential([create.then(SECOND), delete]).with_marks(Marks {
        reports_version: false,
        ..Marks::default()
    })
}

/// When the newest run of this template has stopped.
fn stopped(life: &Life, template: &str) -> jiff::Timestamp {
    let runs = life.runs().into_iter();
    let ends = runs.filter(|run| run.template == template);
    ends.filter_map(|run| run.stopped).max().unwrap()
}

#[tokio::test]
async fn a_rule_with_two_actions_is_not_applied_after_the_first() {
    for by_audit_of_eda in [true, false] {
        let mut life = match by_audit_of_eda {
            true => by_audit().await,
            false => by_label().await,
        };
        life.rulebook = two_steps(&life, 50);
        life.until(20, applied).await;
        let end = stopped(&life, SECOND);
        let settled = life.clock.now().elapsed_since(end);
        assert!(settled >= Duration::from_secs(60), "{settled:?}");
        life.delete();
        life.until(20, released).await;
        let templates: Vec<String> = life.runs().into_iter().map(|run| run.template).collect();
        assert_eq!(templates, [CREATE, SECOND, DELETE]);
        assert!(life.aap.overlaps().is_empty());
    }
}

/// The first action has failed, and the second is still at work: no second event beside it.
#[tokio::test]
async fn a_failed_action_is_not_the_end_while_others_may_follow() {
    let mut life = by_audit().await;
    life.rulebook = two_steps(&life, 50);
    let ending = Ending::Explained("the first step".to_owned());
    life.aap.plan_next(
        CREATE,
        RunPlan::lasting(Duration::from_secs(30)).ending(ending),
    );
    life.until(10, |s| matches!(s, Standing::BackingOff { .. }))
        .await;
    let end = stopped(&life, SECOND);
    assert!(end < life.clock.now());
    assert_eq!(life.eda.journal().len(), 1);
}

/// A success of the second action does not undo that the first has failed.
#[tokio::test]
async fn a_failed_first_action_is_not_applied_by_a_second_that_succeeds() {
    for by_audit_of_eda in [true, false] {
        let mut life = match by_audit_of_eda {
            true => by_audit().await,
            false => by_label().await,
        };
        life.rulebook = two_steps(&life, 50);
        let ending = Ending::Explained("the first step".to_owned());
        life.aap.plan_next(
            CREATE,
            RunPlan::lasting(Duration::from_secs(30)).ending(ending),
        );
        let outcome = life
            .until(20, |s| {
                matches!(s, Standing::BackingOff { .. }) || applied(s)
            })
            .await;
        assert_eq!(
            outcome.records[0].state,
            JobState::Failed,
            "{:?}",
            outcome.standing
        );
        assert!(outcome.records[0].message.contains("first step") || by_audit_of_eda);
    }
}

/// Two activations listen to one stream, and each has a rule for the event.
#[tokio::test]
async fn the_end_in_one_activation_is_not_the_end_in_another() {
    let mut life = by_audit().await;
    let marks = Marks {
        reports_version: false,
        ..Marks::default()
    };
    let [create, delete] = rules(BY_TOKEN, 0);
    life.rulebook = Rulebook::sequential([create, delete]).with_marks(marks);
    life.aap
        .add_template(Template::job(SECOND).with_plan(RunPlan::lasting(Duration::from_secs(380))));
    let mut other = Rulebook::sequential([Rule::new("create", SECOND)])
        .with_marks(marks)
        .of_activation(2);
    for _ in 0..200 {
        other.step(&life.eda, &life.aap, &life.objects);
        let outcome = life.reconcile().await;
        if applied(&outcome.standing) {
            break;
        }
        life.clock.advance(Duration::from_secs(10));
    }
    let outcome = life.reconcile().await;
    assert!(applied(&outcome.standing), "{:?}", outcome.standing);
    let end = stopped(&life, SECOND);
    let settled = life.clock.now().elapsed_since(end);
    assert!(settled >= Duration::from_secs(60), "{settled:?}");
}

/// The sign of this very event on the object needs no waiting.
#[tokio::test]
async fn with_the_sign_on_the_object_a_success_is_final_at_once() {
    let mut life = by_label().await;
    life.until(20, applied).await;
    let end = stopped(&life, CREATE);
    assert!(life.clock.now().elapsed_since(end) < Duration::from_secs(40));
}

// ---- the audit: bounds ----

fn fired(n: u128) -> AuditRule {
    let payload = json!({"providerEvent": {"operationToken": common::token(n).as_str()}});
    AuditRule::new("create", start(), payload)
}

async fn state(life: &Life, n: u128) -> JobState {
    let (resource, job) = (life.resource(), tracked(n));
    let status = life.provider.status(&resource, &job).await;
    status.unwrap().state
}

#[tokio::test]
async fn a_rule_that_is_read_before_its_events_are_written_is_read_again() {
    let life = by_audit().await;
    let ended = AuditAction::ended("successful");
    let row = life.eda.audit_without_events(fired(1), ended).unwrap();
    assert_eq!(state(&life, 1).await, JobState::Unknown);
    // Nor is it known for a deletion that nothing has happened.
    let history = [common::record(
        JobType::Provision,
        1,
        JobState::Unknown,
        start(),
    )];
    let request = common::request(life.resource(), 2);
    let answer = life.provider.trigger_deprovision(&request, &history).await;
    assert!(
        matches!(&answer, Ok(DeprovisionResult::Waiting { reason, .. }) if reason.contains("read to its end")),
        "{answer:?}"
    );
    life.eda.audit_events(row);
    life.clock.advance(Duration::from_secs(15));
    assert_eq!(state(&life, 1).await, JobState::Succeeded);
}

#[tokio::test]
async fn the_rules_of_other_activations_are_not_read() {
    let life = life(
        Rulebook::sequential(rules(BY_TOKEN, 0)),
        |config, eda, _| {
            let audit = AuditTracking::new(eda.url(), API_TOKEN);
            config.with_tracking(audit.with_activation("mine").with_activation("mine too"))
        },
    )
    .await;
    for name in ["others", "mine", "mine too"] {
        life.eda.activation(name, "running");
    }
    for n in 0..30 {
        life.eda.audit(fired(100 + n), AuditAction::ended("failed"));
    }
    for activation in [2, 3] {
        let rule = fired(activation as u128).of_activation(activation);
        life.eda.audit(rule, AuditAction::ended("successful"));
    }
    let before = life.eda.requests();
    assert_eq!(state(&life, 2).await, JobState::Succeeded);
    // Two names, two lists, two rules; then the actions and the row of one.
    assert_eq!(life.eda.requests(), before + 8);
    assert_eq!(state(&life, 3).await, JobState::Succeeded);
    assert_eq!(state(&life, 101).await, JobState::Unknown);
}

#[tokio::test]
async fn a_list_ends_where_the_server_says_so() {
    let life = by_audit().await;
    life.eda.largest_page(3);
    for n in 0..10 {
        life.eda.audit(fired(n), AuditAction::ended("successful"));
    }
    assert_eq!(state(&life, 0).await, JobState::Succeeded);
    // One without an end is no answer.
    life.eda.largest_page(1);
    for n in 10..80 {
        life.eda.audit(fired(n), AuditAction::ended("successful"));
    }
    life.clock.advance(Duration::from_secs(15));
    let (resource, job) = (life.resource(), tracked(500));
    let error = life.provider.status(&resource, &job).await;
    let error = error.unwrap_err();
    assert!(error.message().contains("no end"), "{error}");
}

/// An event that the audit would never tell of is not sent, by either transport; without the audit it is.
#[tokio::test]
async fn an_event_that_is_too_long_for_a_report_is_refused_with_audit_tracking() {
    let emoji = |life: &Life, kilobytes: usize| {
        let mut object = life.objects.get("tenant", "vm").unwrap();
        object["spec"]["text"] = json!("\u{1f600}".repeat(kilobytes * 250));
        common::request(Resource::from_json(object).unwrap(), 1)
    };
    let life = by_audit().await;
    let error = life
        .provider
        .trigger_provision(&emoji(&life, 400))
        .await
        .unwrap_err();
    let error = common::not_launched(&error);
    assert!(
        error.message().contains("as a rulebook reports it"),
        "{error}"
    );
    assert!(life.eda.journal().is_empty());
    life.provider
        .trigger_provision(&emoji(&life, 330))
        .await
        .unwrap();
    // What was let through arrives, and what was refused would not have.
    let arrives = |kilobytes| {
        let payload = emoji(&life, kilobytes).resource.object().clone().into();
        let rule = AuditRule::new("create", start(), payload);
        let row = life.eda.audit(rule, AuditAction::ended("successful"));
        row.is_some()
    };
    assert!(arrives(330));
    assert!(!arrives(400));
    let life = by_label().await;
    life.provider
        .trigger_provision(&emoji(&life, 200))
        .await
        .unwrap();
}

/// An API that answers by an empty list to a user without roles has shown no right.
#[tokio::test]
async fn an_empty_audit_is_no_right_to_read_it() {
    let life = by_audit().await;
    life.eda.audit(fired(1), AuditAction::ended("successful"));
    let check = async || {
        let report = life
            .provider
            .preflight(&["ComputeInstance".to_owned()])
            .await;
        let mut findings = report.findings.into_iter();
        findings.find(|f| f.check == "tracking: audit").unwrap()
    };
    assert_eq!(check().await.severity, Severity::Ok);
    life.eda.take_roles();
    let finding = check().await;
    assert_eq!(finding.severity, Severity::Warning);
    assert!(finding.message.contains("may not see any"), "{finding:?}");
    assert!(finding.advice.contains("right to view"), "{finding:?}");
}

#[tokio::test]
async fn an_eda_server_without_a_gateway_is_asked_as_a_user() {
    let life = life(
        Rulebook::sequential(rules(BY_TOKEN, 0)),
        |config, eda, _| {
            let audit = AuditTracking::new(eda.url(), "s3cret-password");
            config.with_tracking(audit.with_username("reader"))
        },
    )
    .await;
    life.eda.serve_api_to("reader", "s3cret-password");
    life.eda.audit(fired(1), AuditAction::ended("successful"));
    assert_eq!(state(&life, 1).await, JobState::Succeeded);
    life.eda.serve_api_to("reader", "another");
    life.clock.advance(Duration::from_secs(15));
    let (resource, job) = (life.resource(), tracked(2));
    let error = life.provider.status(&resource, &job).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    assert!(error.advice().contains("set the user name"), "{error}");
    assert!(!format!("{error:?} {:?}", life.provider).contains("s3cret"));
}
