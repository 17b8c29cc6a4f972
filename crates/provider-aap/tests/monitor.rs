//! The rounds against the simulator: what pages tell, what they lack, and what they do not hold.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use provider_aap::{AapConfig, AapProvider, Auth, HttpConfig, MonitorConfig, Timing};
use provider_core::{
    CancelResult, DeprovisionResult, ErrorKind, JobRecord, JobRef, JobState, JobStatus, JobType,
    LaunchRequest, ManualClock, OperationToken, Provider, ProviderError, Resource, TrackedJob,
};
use provider_testkit::aap::{ADMIN_TOKEN, AapSim, Ending, Fault, Route, RunPlan, Template, World};
use serde_json::{Map, json};
use wiremock::matchers::{path, query_param, query_param_is_missing};
use wiremock::{Mock, MockServer, ResponseTemplate};

struct Setup {
    sim: AapSim,
    aap: AapProvider,
    clock: Arc<ManualClock>,
}

async fn setup() -> Setup {
    let clock = Arc::new(ManualClock::new("2026-11-23T04:00:00Z".parse().unwrap()));
    let plan = RunPlan {
        queue: Duration::ZERO,
        ..RunPlan::lasting(Duration::from_secs(60))
    };
    let flow = Template::workflow("flow").with_plan(plan.clone());
    let world = World::with([Template::job("work").with_plan(plan), flow]);
    let sim = AapSim::start(world, clock.clone()).await.unwrap();
    let config = AapConfig::new(sim.url(), Auth::token(ADMIN_TOKEN))
        .with_diagnosis()
        .with_http(HttpConfig {
            proxy_from_environment: false,
            ..HttpConfig::default()
        })
        .with_timing(Timing {
            poll_interval: SignedDuration::from_secs(5),
            ..Timing::default()
        })
        .with_monitor(MonitorConfig {
            batch_from: 0,
            ..MonitorConfig::default()
        });
    let aap = AapProvider::with_clock(config, clock.clone()).unwrap();
    Setup { sim, aap, clock }
}

impl Setup {
    fn launch(&self, template: &str) -> u64 {
        self.sim.launch(template, &Map::new(), &[]).unwrap()
    }

    async fn status(&self, kind: &str, id: u64) -> Result<JobStatus, ProviderError> {
        let object = json!({"kind": "Machine", "metadata": {"name": "m"}});
        let resource = Resource::from_json(object).unwrap();
        let job = TrackedJob::new(JobType::Provision, JobRef::new("aap", kind, id.to_string()));
        self.aap.status(&resource, &job).await
    }

    async fn all(&self, ids: &[u64]) -> Vec<JobState> {
        let asked = ids.iter().map(|id| self.status("job", *id));
        let answers = futures::future::join_all(asked).await;
        answers
            .into_iter()
            .map(|status| status.unwrap().state)
            .collect()
    }
}

#[tokio::test]
async fn a_thousand_jobs_are_five_pages() {
    let s = setup().await;
    let ids: Vec<u64> = (0..1_000).map(|_| s.launch("work")).collect();
    assert!(
        s.all(&ids)
            .await
            .iter()
            .all(|state| *state == JobState::Running)
    );
    assert_eq!((s.sim.count(Route::Jobs), s.sim.count(Route::Job)), (5, 0));
    s.clock.advance(Duration::from_secs(61));
    assert!(
        s.all(&ids)
            .await
            .iter()
            .all(|state| *state == JobState::Succeeded)
    );
    assert_eq!(
        s.sim.count(Route::Job),
        0,
        "successes need no look of their own"
    );
}

#[tokio::test]
async fn both_kinds_of_job_are_on_one_page() {
    let s = setup().await;
    let (job, flow) = (s.launch("work"), s.launch("flow"));
    let both = futures::join!(s.status("job", job), s.status("workflow_job", flow));
    assert!(!both.0.unwrap().state.is_terminal() && !both.1.unwrap().state.is_terminal());
    assert_eq!((s.sim.count(Route::Jobs), s.sim.count(Route::Job)), (1, 0));
}

/// What a page lacks is read where it matters: why a job failed, and whether a cancel is the end.
#[tokio::test]
async fn failures_are_read_in_full_and_successes_leave_their_outputs() {
    let s = setup().await;
    let failing = Ending::Failed {
        task: "Create the machine".to_owned(),
        message: "no quota left".to_owned(),
    };
    s.sim.plan_next(
        "work",
        RunPlan::lasting(Duration::from_secs(1)).ending(failing),
    );
    let failed = s.launch("work");
    let mut artifacts = Map::new();
    artifacts.insert("address".to_owned(), json!("192.0.2.1"));
    s.sim.plan_next(
        "work",
        RunPlan::lasting(Duration::from_secs(1)).artifacts(artifacts),
    );
    let good = s.launch("work");
    let canceled = s.launch("work");
    s.clock.advance(Duration::from_secs(2));
    s.sim.cancel(canceled);
    s.clock.advance(Duration::from_secs(2));
    let (failed, good, canceled) = futures::join!(
        s.status("job", failed),
        s.status("job", good),
        s.status("job", canceled)
    );
    let failed = failed.unwrap();
    assert_eq!((failed.state, failed.settled), (JobState::Failed, true));
    assert!(
        failed.message.contains("no quota left"),
        "{}",
        failed.message
    );
    assert_eq!(good.unwrap().outputs["address"], "192.0.2.1");
    let canceled = canceled.unwrap();
    assert_eq!(
        (canceled.state, canceled.settled),
        (JobState::Canceled, false),
        "doubted"
    );
    // One of them for the variables of the failed job, which its diagnosis must not repeat.
    assert_eq!((s.sim.count(Route::Jobs), s.sim.count(Route::Job)), (1, 3));
}

#[tokio::test]
async fn a_purged_job_is_confirmed_by_itself() {
    let s = setup().await;
    let (there, gone) = (s.launch("work"), s.launch("work"));
    s.clock.advance(Duration::from_secs(61));
    assert!(s.sim.purge(gone));
    let (there, gone) = futures::join!(s.status("job", there), s.status("job", gone));
    assert_eq!(there.unwrap().state, JobState::Succeeded);
    assert_eq!(gone.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!((s.sim.count(Route::Jobs), s.sim.count(Route::Job)), (1, 1));
}

#[tokio::test]
async fn a_status_after_our_own_cancel_is_not_from_before_it() {
    let s = setup().await;
    let (one, other) = (s.launch("work"), s.launch("work"));
    s.all(&[one, other]).await;
    let object = json!({"kind": "Machine", "metadata": {"name": "m"}});
    let resource = Resource::from_json(object).unwrap();
    let job = TrackedJob::new(
        JobType::Provision,
        JobRef::new("aap", "job", one.to_string()),
    );
    let answer = s.aap.cancel(&resource, &job).await.unwrap();
    assert_eq!(answer, CancelResult::Requested);
    s.clock.advance(Duration::from_secs(1));
    assert_eq!(
        s.status("job", one).await.unwrap().state,
        JobState::Canceled
    );
}

#[tokio::test]
async fn a_login_page_instead_of_a_list_invents_nothing() {
    let s = setup().await;
    let ids: Vec<u64> = (0..50).map(|_| s.launch("work")).collect();
    s.sim.fault(Route::Jobs, &Fault::HtmlOk(5_000), 1);
    let asked = ids.iter().map(|id| s.status("job", *id));
    for answer in futures::future::join_all(asked).await {
        assert_ne!(answer.unwrap_err().kind(), ErrorKind::NotFound);
    }
    tokio::time::timeout(Duration::from_secs(20), async {
        while s.status("job", ids[0]).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

/// Polls may wait for a controller that is slow with lists; launches do not wait for polls.
#[tokio::test]
async fn a_launch_does_not_wait_for_polls() {
    let s = setup().await;
    s.sim.add_template(Template::job("osac-create-machine"));
    s.sim.add_template(Template::job("osac-delete-machine"));
    let config = s.aap.config().clone().with_template_prefix("osac");
    let aap = Arc::new(AapProvider::with_clock(config, s.clock.clone()).unwrap());
    let object = json!({"kind": "Machine", "metadata": {"name": "m", "uid": "u"}});
    let object = Resource::from_json(object).unwrap();
    let request = |n| LaunchRequest::new(object.clone(), OperationToken::from_random(n));
    let ended = aap.trigger_provision(&request(1)).await.unwrap().job;
    s.clock.advance(Duration::from_secs(600));
    s.sim.fault(Route::Jobs, &Fault::Hang, 1_000);
    let polls: Vec<_> = (0..1_000)
        .map(|_| {
            let (aap, object, id) = (Arc::clone(&aap), object.clone(), s.launch("work"));
            tokio::spawn(async move {
                let job = TrackedJob::new(
                    JobType::Provision,
                    JobRef::new("aap", "job", id.to_string()),
                );
                aap.status(&object, &job).await
            })
        })
        .collect();
    // Every place for a page is taken, by one that is never answered.
    let taken = async {
        while s.sim.count(Route::Jobs) < u64::from(MonitorConfig::default().max_in_flight) {
            tokio::task::yield_now().await;
        }
    };
    let soon = Duration::from_secs(20);
    tokio::time::timeout(soon, taken).await.unwrap();
    let second = request(2);
    let launch = aap.trigger_provision(&second);
    tokio::time::timeout(soon, launch).await.unwrap().unwrap();
    // Nor does a deprovision, which looks at the provision job first.
    let mut record = JobRecord::new(1, JobType::Provision);
    record.set_job_ref(ended.unwrap());
    let (request, history) = (request(3), [record]);
    let launch = aap.trigger_deprovision(&request, &history);
    let launch = tokio::time::timeout(soon, launch).await.unwrap().unwrap();
    assert!(
        matches!(launch, DeprovisionResult::Triggered { .. }),
        "{launch:?}"
    );
    assert!(polls.iter().all(|poll| !poll.is_finished()));
}

/// Not every controller knows how not to count, and not every one says so twice.
#[tokio::test]
async fn a_controller_that_insists_on_counting_is_let_count() {
    let server = MockServer::start().await;
    let version = json!({"version": "4.5.0"});
    Mock::given(path("/api/v2/ping/"))
        .respond_with(ResponseTemplate::new(200).set_body_json(version))
        .mount(&server)
        .await;
    let refusal = json!({"detail": "Invalid parameter: count_disabled"});
    Mock::given(path("/api/v2/unified_jobs/"))
        .and(query_param("count_disabled", "1"))
        .respond_with(ResponseTemplate::new(400).set_body_json(refusal))
        .expect(1)
        .mount(&server)
        .await;
    let row = |id: u64| json!({"id": id, "type": "job", "status": "running"});
    let list = json!({"count": 2, "next": null, "results": [row(1), row(2)]});
    Mock::given(path("/api/v2/unified_jobs/"))
        .and(query_param_is_missing("count_disabled"))
        .respond_with(ResponseTemplate::new(200).set_body_json(list))
        .expect(2)
        .mount(&server)
        .await;
    let mut s = setup().await;
    let mut config = s.aap.config().clone();
    config.url = server.uri();
    s.aap = AapProvider::with_clock(config, s.clock.clone()).unwrap();
    for _ in 0..2 {
        assert_eq!(s.all(&[1, 2]).await, [JobState::Running, JobState::Running]);
        s.clock.advance(Duration::from_secs(60));
    }
}
