//! What is said of a job is about ours, and true: whose job an id is, which ends are ends, who ended it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed"
)]

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use provider_aap::{AapConfig, AapProvider, Auth, HttpConfig, MonitorConfig};
use provider_core::{
    CancelResult, DeprovisionResult, Effect, ErrorKind, ExtraVars, JobRecord, JobRef, JobState,
    JobStatus, JobType, LaunchRequest, ManualClock, OperationToken, Provider, ProviderError,
    ProvisionResult, Resource, TrackedJob,
};
use provider_testkit::aap::{
    ADMIN_TOKEN, AapSim, Answers, Ending, Node, OnCancel, Other, Question, Route, RunPlan,
    Template, World,
};
use serde_json::{Map, Value, json};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

const CREATE: &str = "osac-create-compute-instance";
const DELETE: &str = "osac-delete-compute-instance";
/// Jobs of people.
const THEIRS: &str = "nightly-backup";

fn start() -> Timestamp {
    "2026-11-23T04:00:00Z".parse().unwrap()
}

struct Setup {
    sim: AapSim,
    aap: AapProvider,
    clock: Arc<ManualClock>,
}

fn config(url: String, batch_from: u32) -> AapConfig {
    AapConfig::new(url, Auth::token(ADMIN_TOKEN))
        .with_template_prefix("osac")
        .with_http(HttpConfig {
            proxy_from_environment: false,
            ..HttpConfig::default()
        })
        .with_monitor(MonitorConfig {
            batch_from,
            ..MonitorConfig::default()
        })
}

async fn setup(create: Template, batch_from: u32) -> Setup {
    let theirs = Template::job(THEIRS).with_plan(RunPlan::endless());
    let mut world = World::with([create, Template::job(DELETE), theirs]);
    world.record_requests = true;
    let clock = Arc::new(ManualClock::new(start()));
    let sim = AapSim::start(world, clock.clone()).await.unwrap();
    let aap = AapProvider::with_clock(config(sim.url(), batch_from), clock.clone()).unwrap();
    Setup { sim, aap, clock }
}

fn vm() -> Resource {
    let vm = json!({"kind": "ComputeInstance", "metadata": {"name": "vm", "uid": "u"}, "spec": {}});
    Resource::from_json(vm).unwrap()
}

fn token(n: u128) -> OperationToken {
    OperationToken::from_random(n)
}

impl Setup {
    fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    async fn launch(&self, n: u128) -> TrackedJob {
        let request = LaunchRequest::new(vm(), token(n));
        let ProvisionResult { job, .. } = self.aap.trigger_provision(&request).await.unwrap();
        let now = provider_core::Clock::now(&*self.clock);
        TrackedJob::new(JobType::Provision, job.unwrap())
            .with_token(token(n))
            .with_launched_at(now)
    }

    async fn status(&self, job: &TrackedJob) -> Result<JobStatus, ProviderError> {
        self.aap.status(&vm(), job).await
    }

    /// What the controller answers to a launch with these variables, by whoever sends it.
    async fn post_launch(&self, vars: &Value) -> (u16, Value) {
        let (at, http) = (self.sim.url(), reqwest::Client::new());
        for collection in ["job_templates", "workflow_job_templates"] {
            let launch = http.post(format!("{at}/api/v2/{collection}/7/launch/"));
            let launch = launch.bearer_auth(ADMIN_TOKEN);
            let answer = launch
                .json(&json!({"extra_vars": vars}))
                .send()
                .await
                .unwrap();
            if answer.status() != 404 {
                return (answer.status().as_u16(), answer.json().await.unwrap());
            }
        }
        panic!("there is no template 7");
    }

    /// The controller comes back from a backup of before the launch, and somebody's job has the id.
    fn somebody_gets(&self, job: &TrackedJob, template: &str, vars: &Value) {
        let id: u64 = job.job.id.parse().unwrap();
        self.sim.restore(id - 1);
        let empty = Map::new();
        let vars = vars.as_object().unwrap_or(&empty);
        assert_eq!(self.sim.launch(template, vars, &[]).unwrap(), id);
    }
}

fn is_replaced(error: &ProviderError, parts: &[&str]) {
    assert_eq!(error.kind(), ErrorKind::Replaced, "{error}");
    assert_eq!(error.effect(), Effect::Rejected, "{error}");
    for part in parts {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
}

#[tokio::test]
async fn a_job_that_got_our_id_after_a_restore_is_neither_believed_nor_canceled() {
    let plan = RunPlan::lasting(Duration::from_secs(600));
    // By itself, and on pages.
    for batch_from in [32, 0] {
        for template in [
            Template::job(CREATE).with_plan(plan.clone()),
            Template::workflow(CREATE).with_plan(plan.clone()),
        ] {
            let is_job = template.kind == provider_testkit::aap::Kind::Job;
            let s = setup(template, batch_from).await;
            let ours = s.launch(1).await;
            s.pass(5);
            assert_eq!(s.status(&ours).await.unwrap().state, JobState::Running);
            for (theirs, vars, part) in [
                (THEIRS, json!({}), "without the token of our launch"),
                (
                    CREATE,
                    json!({"provider_operation_token": token(2).as_str()}),
                    "with the token of another launch",
                ),
            ] {
                s.somebody_gets(&ours, theirs, &vars);
                s.pass(120);
                if !is_job && theirs == THEIRS {
                    // Of another kind: the id is not known where ours lived, or the page tells it.
                    let error = s.status(&ours).await.unwrap_err();
                    assert!(
                        matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Replaced),
                        "{error}"
                    );
                    continue;
                }
                let error = s.status(&ours).await.unwrap_err();
                is_replaced(&error, &["is another job now", theirs, part]);
                let error = s.aap.cancel(&vm(), &ours).await.unwrap_err();
                is_replaced(&error, &[]);
                assert_eq!(s.sim.count(Route::Cancel), 0);
            }
        }
    }
}

#[tokio::test]
async fn the_end_of_somebody_elses_job_is_not_the_end_of_ours() {
    for batch_from in [32, 0] {
        let s = setup(
            Template::job(CREATE).with_plan(RunPlan::endless()),
            batch_from,
        )
        .await;
        let ours = s.launch(1).await;
        s.pass(5);
        assert_eq!(s.status(&ours).await.unwrap().state, JobState::Running);
        s.somebody_gets(&ours, THEIRS, &json!({}));
        s.pass(5);
        let id = ours.job.id.parse().unwrap();
        assert!(s.sim.end(id, &Ending::Successful));
        s.pass(40);
        is_replaced(&s.status(&ours).await.unwrap_err(), &[THEIRS]);
    }
}

#[tokio::test]
async fn a_deletion_does_not_cancel_the_job_that_got_the_id_of_our_provision() {
    let s = setup(Template::job(CREATE).with_plan(RunPlan::endless()), 32).await;
    let ours = s.launch(1).await;
    s.pass(5);
    s.somebody_gets(&ours, THEIRS, &json!({}));
    s.pass(5);
    let mut record = JobRecord::new(1, JobType::Provision);
    record.set_job_ref(ours.job.clone());
    record.token = Some(token(1));
    record.sent_at = Some(start());
    record.state = JobState::Running;
    let request = LaunchRequest::new(vm(), token(2));
    let result = s
        .aap
        .trigger_deprovision(&request, &[record])
        .await
        .unwrap();
    assert!(
        matches!(result, DeprovisionResult::Triggered { .. }),
        "{result:?}"
    );
    assert_eq!(s.sim.count(Route::Cancel), 0);
}

#[tokio::test]
async fn a_record_without_a_token_is_told_by_the_moment_of_its_launch() {
    let s = setup(Template::job(CREATE).with_plan(RunPlan::endless()), 32).await;
    let mut ours = s.launch(1).await;
    ours.token = None;
    s.pass(5);
    assert_eq!(s.status(&ours).await.unwrap().state, JobState::Running);
    // One of our own templates, of another object, an hour later.
    s.pass(3_600);
    s.somebody_gets(&ours, CREATE, &json!({}));
    s.pass(60);
    let error = s.status(&ours).await.unwrap_err();
    is_replaced(&error, &[CREATE, "not when ours was launched"]);
    is_replaced(&s.aap.cancel(&vm(), &ours).await.unwrap_err(), &[]);
    assert_eq!(s.sim.count(Route::Cancel), 0);
}

#[tokio::test]
async fn a_persons_relaunch_of_our_job_carries_our_token_and_is_ours_whenever_it_was_made() {
    let s = setup(Template::job(CREATE), 32).await;
    let mut ours = s.launch(1).await;
    s.pass(86_400);
    let copy = s.sim.relaunch(ours.job.id.parse().unwrap()).unwrap();
    s.pass(30);
    ours.job = JobRef::new("aap", "job", copy.to_string());
    assert_eq!(s.status(&ours).await.unwrap().state, JobState::Succeeded);
}

#[tokio::test]
async fn a_stray_job_of_ours_is_watched_and_canceled_although_it_has_no_token() {
    let s = setup(Template::job(CREATE).with_plan(RunPlan::endless()), 32).await;
    let id = s.sim.launch(CREATE, &Map::new(), &[]).unwrap();
    let stray = TrackedJob::new(
        JobType::Provision,
        JobRef::new("aap", "job", id.to_string()),
    )
    .with_token(token(1))
    .with_launched_at(start());
    s.pass(5);
    assert_eq!(s.status(&stray).await.unwrap().state, JobState::Running);
    let result = s.aap.cancel(&vm(), &stray).await.unwrap();
    assert_eq!(result, CancelResult::Requested);
}

// ---- answers that no simulator gives ----

async fn controller(mocks: &[(&str, Value)]) -> (MockServer, AapProvider, Arc<ManualClock>) {
    let server = MockServer::start().await;
    let ping = ("ping/", json!({"version": "24.6.1"}));
    for (at, body) in mocks.iter().chain([&ping]) {
        // Without a clock of its own, so that ours counts.
        let answer = ResponseTemplate::new(200).set_body_json(body);
        Mock::given(method("GET"))
            .and(path(format!("/api/v2/{at}")))
            .respond_with(answer.insert_header("date", "none"))
            .mount(&server)
            .await;
    }
    let clock = Arc::new(ManualClock::new(start()));
    let aap = AapProvider::with_clock(config(server.uri(), 32), clock.clone()).unwrap();
    (server, aap, clock)
}

#[tokio::test]
async fn a_job_whose_variables_cannot_be_read_is_no_stranger_by_that_alone() {
    for variables in [
        json!("{\"provider_operation_token\": \"$encrypted$\"}"),
        json!(null),
        json!(7),
        json!("---\n"),
    ] {
        let job = |created: &str| {
            json!({"id": 7, "type": "job", "status": "successful", "name": CREATE, "created": created,
                   "extra_vars": variables})
        };
        let ours = TrackedJob::new(JobType::Provision, JobRef::new("aap", "job", "7"))
            .with_token(token(1))
            .with_launched_at(start());
        let (_server, aap, _) = controller(&[("jobs/7/", job("2026-11-23T04:00:01Z"))]).await;
        let status = aap.status(&vm(), &ours).await.unwrap();
        assert_eq!(status.state, JobState::Succeeded, "{variables}");
        for created in ["2026-11-23T03:40:00Z", "2026-11-23T05:00:00Z"] {
            let (_server, aap, _) = controller(&[("jobs/7/", job(created))]).await;
            let error = aap.status(&vm(), &ours).await.unwrap_err();
            is_replaced(&error, &[CREATE, "not when ours was launched"]);
        }
    }
}

#[tokio::test]
async fn a_job_of_another_template_is_not_ours_by_its_time_when_its_variables_cannot_be_read() {
    for variables in [
        json!("{\"provider_operation_token\": \"$encrypted$\"}"),
        json!(null),
        json!("---\n"),
    ] {
        for (name, status) in [
            (THEIRS, "running"),
            (THEIRS, "successful"),
            (CREATE, "running"),
        ] {
            let job = json!({"id": 7, "type": "job", "status": status, "name": name,
                             "created": "2026-11-23T04:00:01Z", "extra_vars": variables});
            let (server, aap, _) = controller(&[("jobs/7/", job)]).await;
            Mock::given(method("POST"))
                .respond_with(ResponseTemplate::new(202))
                .mount(&server)
                .await;
            let ours = TrackedJob::new(JobType::Provision, JobRef::new("aap", "job", "7"))
                .with_token(token(1))
                .with_launched_at(start());
            let canceled = aap.cancel(&vm(), &ours).await;
            let seen = aap.status(&vm(), &ours).await;
            let requests = server.received_requests().await.unwrap();
            let posts = requests.iter().filter(|sent| sent.method == "POST").count();
            if name == CREATE {
                assert_eq!((canceled, posts), (Ok(CancelResult::Requested), 1));
                assert_eq!(seen.unwrap().state, JobState::Running);
                continue;
            }
            let part = "of another template, with variables that cannot be read";
            is_replaced(&canceled.unwrap_err(), &[THEIRS, part]);
            is_replaced(&seen.unwrap_err(), &[THEIRS, part]);
            assert_eq!(posts, 0, "{variables}");
        }
    }
}

#[tokio::test]
async fn a_job_whose_variables_hold_what_is_no_json_is_known_by_its_token() {
    for batch_from in [32, 0] {
        let create = Template::job(CREATE)
            .with_plan(RunPlan::endless())
            .with_own_variable("share", "NaN");
        let s = setup(create, batch_from).await;
        let mut ours = s.launch(1).await;
        // Nothing but the token says whose it is.
        ours.launched_at = Some("2020-01-01T00:00:00Z".parse().unwrap());
        s.pass(5);
        assert_eq!(s.status(&ours).await.unwrap().state, JobState::Running);
        let result = s.aap.cancel(&vm(), &ours).await.unwrap();
        assert_eq!(result, CancelResult::Requested);
        let other = ours.clone().with_token(token(2));
        let error = s.aap.cancel(&vm(), &other).await.unwrap_err();
        is_replaced(&error, &["with the token of another launch"]);
    }
}

#[tokio::test]
async fn an_end_without_a_readable_time_is_settled_from_when_it_was_first_seen() {
    for finished in [
        json!(null),
        json!(""),
        json!(true),
        json!([1e19]),
        json!("soon"),
        json!("2026-13-45T99:00:00Z"),
        json!("2999-01-01T00:00:00Z"),
        json!("1999-01-01T00:00:00Z"),
    ] {
        let job = json!({
            "id": 7, "type": "job", "status": "canceled", "canceled_on": "2026-11-23T04:00:00Z",
            "work_unit_id": "u", "started": "2026-11-23T03:00:00Z", "finished": finished,
            "event_processing_finished": true,
        });
        let (_server, aap, clock) = controller(&[("jobs/7/", job)]).await;
        let ours = TrackedJob::new(JobType::Provision, JobRef::new("aap", "job", "7"));
        for (after, settled) in [(0, false), (59, false), (2, true), (86_400, true)] {
            clock.advance(Duration::from_secs(after));
            let status = aap.status(&vm(), &ours).await.unwrap();
            let shown = (status.state, status.settled);
            assert_eq!(
                shown,
                (JobState::Canceled, settled),
                "{finished} after {after}"
            );
        }
    }
}

#[tokio::test]
async fn an_end_that_an_administrator_wrote_into_the_database_lets_the_object_go() {
    let plan = RunPlan::endless().on_cancel(OnCancel::Ignores);
    for template in [Template::job(CREATE), Template::workflow(CREATE)] {
        let s = setup(template.with_plan(plan.clone()), 32).await;
        let ours = s.launch(1).await;
        s.pass(60);
        s.aap.cancel(&vm(), &ours).await.unwrap();
        let id: u64 = ours.job.id.parse().unwrap();
        for id in [id + 1, id] {
            let _ = s.sim.set_in_database(id, "canceled");
        }
        let mut settled = false;
        for _ in 0..10 {
            settled = s.status(&ours).await.unwrap().settled;
            s.pass(120);
        }
        assert!(settled, "{}", ours.job.kind);
    }
}

#[tokio::test]
async fn times_are_read_however_they_are_written() {
    for (text, read) in [
        (
            "2026-11-23T04:02:46.471230123456Z",
            "2026-11-23T04:02:46.471230123Z",
        ),
        (
            "2026-11-23T04:02:46.471230123456",
            "2026-11-23T04:02:46.471230123Z",
        ),
        ("2026-11-23T04:02:46", "2026-11-23T04:02:46Z"),
        (" 2026-11-23 04:02:46.5 ", "2026-11-23T04:02:46.5Z"),
        (
            "2026-11-23T05:02:46.1234567890+01:00",
            "2026-11-23T04:02:46.123456789Z",
        ),
        ("2026-11-23T04:02:46.Z", "2026-11-23T04:02:46Z"),
    ] {
        let job = json!({"id": 7, "type": "job", "status": "running", "started": text});
        let (_server, aap, _) = controller(&[("jobs/7/", job)]).await;
        let ours = TrackedJob::new(JobType::Provision, JobRef::new("aap", "job", "7"));
        let status = aap.status(&vm(), &ours).await.unwrap();
        let started = status.started_at.map(|at| at.to_string());
        assert_eq!(started.as_deref(), Some(read), "{text}");
    }
}

#[tokio::test]
async fn a_canceled_workflow_is_settled_after_a_minute_whatever_its_nodes_run() {
    for other in [
        Other::ProjectUpdate,
        Other::InventoryUpdate,
        Other::SystemJob,
        Other::AdHocCommand,
        Other::Approval,
        Other::Unheard,
    ] {
        let endless = RunPlan::endless();
        let node = Node::new("another", other, endless.clone());
        let flow = Template::workflow(CREATE)
            .with_plan(endless)
            .with_node(node);
        let s = setup(flow, 32).await;
        let ours = s.launch(1).await;
        s.pass(10);
        assert_eq!(s.status(&ours).await.unwrap().state, JobState::Running);
        s.aap.cancel(&vm(), &ours).await.unwrap();
        s.pass(5);
        let status = s.status(&ours).await.unwrap();
        assert_eq!(status.state, JobState::Canceled, "{other:?}");
        // The window of the workflow, and that of its nodes from the first look at them.
        let mut settled_after = None;
        for n in 1..=20_u64 {
            s.pass(30);
            if s.status(&ours).await.unwrap().settled {
                settled_after = Some(n * 30);
                break;
            }
        }
        assert!(
            settled_after.is_some_and(|s| s <= 120),
            "{other:?}: {settled_after:?}"
        );
    }
}

#[tokio::test]
async fn a_node_that_is_no_playbook_and_goes_on_keeps_its_workflow_unsettled() {
    let lies = RunPlan::lasting(Duration::from_secs(400)).on_cancel(OnCancel::Lies);
    let node = Node::new("sync", Other::ProjectUpdate, lies);
    let flow = Template::workflow(CREATE)
        .with_plan(RunPlan::lasting(Duration::from_secs(10)))
        .with_node(node);
    let s = setup(flow, 32).await;
    let ours = s.launch(1).await;
    s.pass(5);
    s.aap.cancel(&vm(), &ours).await.unwrap();
    for n in 0..6 {
        s.pass(60);
        assert!(!s.status(&ours).await.unwrap().settled, "{n}");
    }
    s.pass(300);
    assert!(s.status(&ours).await.unwrap().settled);
}

#[tokio::test]
async fn a_node_that_nobody_lets_us_see_is_settled_with_the_limit() {
    let flow = json!({"id": 5, "type": "workflow_job", "status": "failed", "started": "2026-11-23T03:50:00Z",
                      "finished": "2026-11-23T03:59:00Z"});
    let row = json!({"id": 6, "type": "project_update", "url": "/api/v2/project_updates/6/",
                     "status": "canceled", "work_unit_id": "u", "canceled_on": "2026-11-23T03:58:00Z",
                     "started": "2026-11-23T03:50:00Z", "finished": "2026-11-23T03:58:30Z"});
    let (server, aap, clock) = controller(&[
        ("workflow_jobs/5/", flow),
        ("unified_jobs/", json!({"results": [row]})),
    ])
    .await;
    let denied = ResponseTemplate::new(403)
        .set_body_json(json!({"detail": "You do not have permission to perform this action."}));
    Mock::given(path("/api/v2/project_updates/6/"))
        .respond_with(denied)
        .mount(&server)
        .await;
    let ours = TrackedJob::new(JobType::Provision, JobRef::new("aap", "workflow_job", "5"));
    for (after, settled) in [(0, false), (600, false), (300, true)] {
        clock.advance(Duration::from_secs(after));
        let status = aap.status(&vm(), &ours).await.unwrap();
        assert_eq!((status.state, status.settled), (JobState::Failed, settled));
    }
}

#[tokio::test]
async fn a_job_that_awx_canceled_of_its_own_accord_has_failed_and_says_so() {
    for batch_from in [32, 0] {
        let s = setup(
            Template::job(CREATE).with_plan(RunPlan::endless()),
            batch_from,
        )
        .await;
        let (interrupted, by_person) = (s.launch(1).await, s.launch(2).await);
        s.pass(1);
        for job in [&interrupted, &by_person] {
            assert_eq!(s.status(job).await.unwrap().state, JobState::Running);
        }
        assert!(s.sim.interrupt(interrupted.job.id.parse().unwrap()));
        s.sim.cancel(by_person.job.id.parse().unwrap());
        s.pass(120);
        let status = s.status(&interrupted).await.unwrap();
        assert_eq!((status.state, status.settled), (JobState::Failed, true));
        assert_eq!(
            status.message,
            "the controller canceled the job itself, nobody has asked for it: RuntimeError: not starting \
             canceled task"
        );
        assert_eq!(
            s.status(&by_person).await.unwrap().state,
            JobState::Canceled
        );
    }
}

#[tokio::test]
async fn a_row_that_does_not_say_who_canceled_is_asked_by_itself() {
    let row = |more: Value| {
        let mut row = json!({"id": 7, "type": "job", "status": "canceled", "work_unit_id": null});
        row.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        row
    };
    for (told, state) in [
        (json!({"canceled_on": null}), JobState::Failed),
        (
            json!({"canceled_on": "2026-11-23T03:58:00Z"}),
            JobState::Canceled,
        ),
        // Not even the job itself does.
        (json!({}), JobState::Canceled),
    ] {
        let (_server, aap, _) = controller(&[
            ("jobs/7/", row(told.clone())),
            ("unified_jobs/", json!({"results": [row(json!({}))]})),
        ])
        .await;
        let ours = TrackedJob::new(JobType::Provision, JobRef::new("aap", "job", "7"));
        let status = aap.status(&vm(), &ours).await.unwrap();
        assert_eq!(status.state, state, "{told}");
    }
}

#[tokio::test]
async fn a_running_job_does_not_say_what_it_waited_for() {
    let s = setup(
        Template::job(CREATE)
            .with_plan(RunPlan::endless())
            .one_at_a_time(),
        32,
    )
    .await;
    let (first, second) = (s.launch(1).await, s.launch(2).await);
    s.pass(40);
    let waiting = s.status(&second).await.unwrap();
    assert!(
        waiting.message.starts_with("waiting for job-"),
        "{}",
        waiting.message
    );
    s.aap.cancel(&vm(), &first).await.unwrap();
    s.pass(5);
    let running = s.status(&second).await.unwrap();
    assert_eq!(
        (running.state, running.message.as_str()),
        (JobState::Running, "it is running")
    );
}

// ---- what a launch would be refused for ----

/// A controller with one template of ours, as its row, its launch form and its survey tell of it.
async fn with_template(
    kind: &str,
    row: &Value,
    form: &Value,
    survey: &Value,
    is_superuser: bool,
) -> (MockServer, AapProvider) {
    let extend = |mut all: Value, more: &Value| {
        all.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        all
    };
    let collection = format!("{kind}s");
    let row = extend(
        json!({"id": 7, "type": kind, "name": CREATE, "project": 2, "inventory": 1,
               "summary_fields": {"organization": {"name": "Cloud"}, "user_capabilities": {"start": true}}}),
        row,
    );
    let form = extend(
        json!({"ask_variables_on_launch": true, "survey_enabled": false, "variables_needed_to_start": [],
               "passwords_needed_to_start": [], "inventory_needed_to_start": false,
               "node_templates_missing": [], "node_prompts_rejected": []}),
        form,
    );
    let me = json!({"results": [{"id": 1, "username": "alice", "is_superuser": is_superuser}]});
    let (server, aap, _) = controller(&[
        ("me/", me),
        ("unified_job_templates/", json!({"results": [row]})),
        (&format!("{collection}/7/launch/"), form),
        (&format!("{collection}/7/survey_spec/"), survey.clone()),
    ])
    .await;
    let launched = json!({"id": 8, "type": "job", "status": "pending", "url": "/api/v2/jobs/8/"});
    Mock::given(method("POST"))
        .respond_with(ResponseTemplate::new(201).set_body_json(launched))
        .mount(&server)
        .await;
    (server, aap)
}

#[tokio::test]
async fn what_a_launch_would_be_refused_for_is_an_error_of_the_preflight_and_never_sent() {
    let no_start = json!({"summary_fields": {"user_capabilities": {"start": false}}});
    let (none, survey) = (
        json!({}),
        json!({"spec": [{"variable": "count", "type": "integer"}]}),
    );
    let job = "job_template";
    for (kind, row, form, is_superuser, part) in [
        (
            job,
            no_start.clone(),
            none.clone(),
            false,
            "may not launch job template",
        ),
        (
            job,
            no_start.clone(),
            none.clone(),
            false,
            "the role Execute on the template",
        ),
        (
            job,
            no_start,
            none.clone(),
            true,
            "use a token of scope write: this one may only read",
        ),
        (
            job,
            json!({"project": null}),
            none.clone(),
            false,
            "has no project",
        ),
        (
            job,
            none.clone(),
            json!({"inventory_needed_to_start": true}),
            false,
            "has no inventory",
        ),
        (
            job,
            none.clone(),
            json!({"inventory_needed_to_start": true, "ask_inventory_on_launch": true}),
            false,
            "give the template a default inventory",
        ),
        (
            job,
            none.clone(),
            json!({"passwords_needed_to_start": ["ssh_password"]}),
            false,
            "asks for a password (ssh_password)",
        ),
        (
            job,
            none.clone(),
            json!({"survey_enabled": true, "variables_needed_to_start": ["count"]}),
            false,
            "requires the survey variables count",
        ),
        (
            job,
            none.clone(),
            json!({"survey_enabled": true, "ask_variables_on_launch": false}),
            false,
            "which lacks ansible_eda, provider_operation_token",
        ),
        (
            "workflow_job_template",
            json!({"project": null}),
            json!({"survey_enabled": true, "ask_variables_on_launch": false}),
            false,
            "which lacks ansible_eda, provider_operation_token",
        ),
    ] {
        let (server, aap) = with_template(kind, &row, &form, &survey, is_superuser).await;
        let report = aap
            .preflight(&["ComputeInstance".to_owned()])
            .await
            .to_string();
        let line = report
            .lines()
            .find(|line| line.contains("ERROR   provision"));
        assert!(
            line.is_some_and(|line| line.contains(part)),
            "{part}: {report}"
        );
        let request = LaunchRequest::new(vm(), token(1));
        let error = aap.trigger_provision(&request).await.unwrap_err();
        assert_eq!(error.error().effect(), Effect::NotSent, "{error}");
        let requests = server.received_requests().await.unwrap();
        assert!(
            requests.iter().all(|request| request.method == "GET"),
            "{part}"
        );
    }
}

#[tokio::test]
async fn what_a_launch_is_not_refused_for_is_launched() {
    let none = json!({});
    let ours = json!({"spec": [
        {"variable": "provider_operation_token", "type": "text", "min": 0, "max": 1024},
        {"variable": "size", "type": "integer", "required": false, "min": 1, "max": 4},
    ]});
    for (row, form, survey) in [
        (
            none.clone(),
            json!({"passwords_needed_to_start": null, "variables_needed_to_start": null, "defaults": null,
                   "node_templates_missing": null, "node_prompts_rejected": null}),
            none.clone(),
        ),
        (
            none.clone(),
            json!({"survey_enabled": true, "ask_variables_on_launch": true}),
            ours,
        ),
        // Older controllers say less.
        (json!({"summary_fields": null}), none.clone(), none.clone()),
    ] {
        let (_server, aap) = with_template("job_template", &row, &form, &survey, false).await;
        let report = aap
            .preflight(&["ComputeInstance".to_owned()])
            .await
            .to_string();
        assert!(
            report.contains("ok      provision of ComputeInstance"),
            "{report}"
        );
        assert!(report.contains("ok      clocks"), "{report}");
        let request = LaunchRequest::new(vm(), token(1));
        aap.trigger_provision(&request).await.unwrap();
    }
}

#[tokio::test]
async fn an_answer_that_the_survey_refuses_is_an_error_of_the_preflight_and_never_sent() {
    let both = || [Template::job(CREATE), Template::workflow(CREATE)];
    let token_variable = "provider_operation_token";
    for (question, part, refusal) in [
        (
            Question::new("ansible_eda", Answers::Textarea),
            "takes for ansible_eda only text, and is given an object; remove that question, and enable",
            "expected to be a string.",
        ),
        (
            Question::new("ansible_eda", Answers::MultipleChoice).choosing(&["a", "b"]),
            "takes for ansible_eda only one of its choices, and is given an object",
            "for 'ansible_eda' expected to be one of ['a', 'b'].",
        ),
        (
            Question::new(token_variable, Answers::Integer),
            "only a whole number, and is given text; change that question",
            "for 'provider_operation_token' expected to be an integer.",
        ),
        (
            Question::new(token_variable, Answers::Text).within(0, 8),
            "only up to 8 characters, and is given more",
            "is too large (must be no more than 8).",
        ),
    ] {
        // Answers are checked where any variable may be given, too.
        for template in both()
            .into_iter()
            .chain(both().map(Template::not_promptable))
        {
            let s = setup(template.asking(question.clone()), 32).await;
            let report = s.aap.preflight(&["ComputeInstance".to_owned()]).await;
            let report = report.to_string();
            let told = |line: &str| line.contains("ERROR   provision") && line.contains(part);
            assert!(report.lines().any(told), "{part}: {report}");
            let error = s
                .aap
                .trigger_provision(&LaunchRequest::new(vm(), token(1)))
                .await;
            let error = error.unwrap_err();
            assert_eq!(error.error().effect(), Effect::NotSent, "{error}");
            assert_eq!(s.sim.count(Route::Launch), 0);
            // And the controller would indeed have refused it.
            let vars = json!({"ansible_eda": {"event": {}}, token_variable: token(1).as_str()});
            let (status, said) = s.post_launch(&vars).await;
            assert_eq!(status, 400, "{said}");
            let said = said["variables_needed_to_start"].to_string();
            assert!(said.contains(refusal), "{said}");
        }
    }
}

#[tokio::test]
async fn an_answer_of_the_caller_that_the_survey_refuses_is_not_sent_and_not_repeated() {
    let size = Question::new("size", Answers::Integer).within(1, 4);
    let s = setup(Template::job(CREATE).asking(size), 32).await;
    for (given, part) in [
        (
            json!("s3cret"),
            "takes for size only a whole number, and is given text",
        ),
        (json!(5), "takes for size only up to 4, and is given more"),
    ] {
        let vars = ExtraVars::new().with("size", given);
        let request = LaunchRequest::new(vm(), token(1)).with_extra_vars(vars);
        let error = s.aap.trigger_provision(&request).await.unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
        assert!(!error.to_string().contains("s3cret"), "{error}");
        assert_eq!(s.sim.count(Route::Launch), 0);
    }
    let vars = ExtraVars::new().with("size", 4);
    let request = LaunchRequest::new(vm(), token(1)).with_extra_vars(vars);
    s.aap.trigger_provision(&request).await.unwrap();
}

#[tokio::test]
async fn a_workflow_that_has_lost_the_template_of_a_node_is_an_error_of_the_preflight() {
    let form = json!({"node_templates_missing": [31, 32], "node_prompts_rejected": [33]});
    let none = json!({});
    let (_server, aap) = with_template("workflow_job_template", &none, &form, &none, false).await;
    let report = aap.preflight(&["ComputeInstance".to_owned()]).await;
    let text = report.to_string();
    assert!(
        text.contains("has nodes whose template was deleted: 31, 32; give these"),
        "{text}"
    );
    assert!(
        text.contains("warning provision of ComputeInstance"),
        "{text}"
    );
    assert!(
        !report.is_ok() && !text.contains("ok      provision of"),
        "{text}"
    );
}

#[tokio::test]
async fn clocks_that_would_forbid_a_launch_are_an_error_of_the_preflight() {
    let mut world = World::with([Template::job(CREATE), Template::job(DELETE)]);
    world.record_requests = true;
    let theirs = Arc::new(ManualClock::new(start()));
    let sim = AapSim::start(world, theirs).await.unwrap();
    let ours = "2026-11-23T04:20:00Z".parse::<Timestamp>().unwrap();
    let aap = AapProvider::with_clock(config(sim.url(), 32), Arc::new(ours)).unwrap();
    let report = aap.preflight(&["ComputeInstance".to_owned()]).await;
    assert!(
        report
            .to_string()
            .contains("ERROR   clocks: the clocks of this host"),
        "{report}"
    );
    assert!(!report.is_ok());
}
