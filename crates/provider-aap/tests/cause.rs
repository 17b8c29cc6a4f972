//! Why a job failed, and for whom it waits, as a person would say it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed"
)]

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use provider_aap::{AapConfig, AapProvider, Auth, HttpConfig, MonitorConfig};
use provider_core::lifecycle::{
    Desired, Freshness, Lifecycle, MemoryStore, Policy, PolicyConfig, ProviderRegistry, StatusStore,
};
use provider_core::{
    ConfigVersion, JobRef, JobState, JobStatus, JobType, ManualClock, Provider, Resource,
    TrackedJob, text,
};
use provider_testkit::TimerClock;
use provider_testkit::aap::{
    ADMIN_TOKEN, AapSim, Ending, Fault, Kind, Node, Other, Outcome, Play, Route, RunPlan, Task,
    Template, World,
};
use serde_json::{Map, Value, json};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

const CREATE: &str = "osac-create-compute-instance";
const CENSORED: &str =
    "the output has been hidden due to the fact that 'no_log: true' was specified for this result";

fn start() -> Timestamp {
    "2026-11-23T04:00:00Z".parse().unwrap()
}

fn config(url: String) -> AapConfig {
    AapConfig::new(url, Auth::token(ADMIN_TOKEN))
        .with_template_prefix("osac")
        .with_http(HttpConfig {
            proxy_from_environment: false,
            ..HttpConfig::default()
        })
}

fn vm() -> Resource {
    let vm = json!({"kind": "ComputeInstance", "metadata": {"name": "vm", "uid": "u"}, "spec": {}});
    Resource::from_json(vm).unwrap()
}

struct Setup {
    sim: AapSim,
    aap: AapProvider,
    clock: Arc<ManualClock>,
    job: TrackedJob,
}

async fn setup_with(template: Template, vars: Value, adapt: fn(AapConfig) -> AapConfig) -> Setup {
    let kind = match template.kind {
        Kind::Workflow => "workflow_job",
        Kind::Job => "job",
    };
    let mut world = World::with([template]);
    world.record_requests = true;
    let clock = Arc::new(ManualClock::new(start()));
    let sim = AapSim::start(world, clock.clone()).await.unwrap();
    let aap = AapProvider::with_clock(adapt(config(sim.url())), clock.clone()).unwrap();
    let vars = vars.as_object().cloned().unwrap_or_default();
    let id = sim.launch(CREATE, &vars, &[]).unwrap();
    let job = TrackedJob::new(JobType::Provision, JobRef::new("aap", kind, id.to_string()));
    Setup {
        sim,
        aap,
        clock,
        job,
    }
}

/// A controller with one job of this template, that has begun.
async fn setup(template: Template) -> Setup {
    let s = setup_with(template, json!({}), |config| config).await;
    s.pass(5);
    s
}

async fn played(play: Play) -> Setup {
    let plan = RunPlan::default().ending(Ending::Played(play));
    let s = setup(Template::job(CREATE).with_plan(plan)).await;
    s.pass(60);
    s
}

impl Setup {
    fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    async fn status(&self) -> JobStatus {
        self.aap.status(&vm(), &self.job).await.unwrap()
    }

    async fn message(&self) -> String {
        let status = self.status().await;
        assert_eq!((status.state, status.settled), (JobState::Failed, true));
        status.message
    }

    fn asked(&self, part: &str) -> usize {
        let requests = self.sim.requests();
        requests
            .iter()
            .filter(|request| request.contains(part))
            .count()
    }
}

fn rescued(name: &str) -> Task {
    Task::saying(name, "not there").that(Outcome::Rescued)
}

#[tokio::test]
async fn a_failure_that_was_handled_is_not_the_cause() {
    let quota = || Task::saying("create the machine", "quota exceeded");
    let expected = "task \"create the machine\" failed on h0: quota exceeded";
    for tasks in [
        vec![rescued("optional probe"), quota()],
        vec![rescued("probe"), rescued("another probe"), quota()],
        vec![Task::saying("probe", "x").that(Outcome::Ignored), quota()],
        // What comes after it fails because of it.
        vec![quota(), Task::saying("in the always section", "no machine")],
        vec![
            rescued("probe"),
            quota(),
            Task::saying("always", "no machine"),
        ],
        // Of other hosts.
        vec![
            rescued("probe").on("h1"),
            quota(),
            rescued("late probe").on("h1"),
        ],
        vec![
            Task::saying("ping", "no route")
                .on("h9")
                .that(Outcome::UnreachableIgnored),
            rescued("probe"),
            quota(),
        ],
    ] {
        let s = played(Play::of(tasks.clone())).await;
        assert_eq!(s.message().await, expected, "{tasks:?}");
    }
    // The first host that was lost, however many handled failures came after it.
    let mut tasks = vec![quota()];
    tasks.extend((0..20).map(|n| rescued("probe").on(format!("h{}", n + 1))));
    assert_eq!(played(Play::of(tasks)).await.message().await, expected);
    let all = played(Play::of([rescued("probe")])).await;
    let message = all.message().await;
    assert_eq!(message, "the job ended as failed and gave no reason");
}

#[tokio::test]
async fn the_message_is_where_the_module_has_put_it() {
    let item = json!({"failed": true, "msg": "disk b is too large", "item": "b"});
    for (res, why) in [
        (
            json!({"results": [{"changed": false, "skipped": true}, item], "msg": "One or more items failed"}),
            "disk b is too large",
        ),
        (
            json!({"msg": "non-zero return code", "rc": 3, "stderr": "err1\nthe pool is full", "stdout": "out"}),
            "return code 3: the pool is full",
        ),
        (
            json!({"msg": "MODULE FAILURE\nSee stdout/stderr for the exact error",
                "module_stderr": "Traceback\nRuntimeError: it went wrong\n", "module_stdout": ""}),
            "RuntimeError: it went wrong",
        ),
        (
            json!({"msg": ["first line", "second line"]}),
            "first line; second line",
        ),
        (json!({"msg": {"code": 7, "text": "no more"}}), "no more"),
    ] {
        let s = played(Play::of([Task::failed("t", res.clone())])).await;
        assert_eq!(
            s.message().await,
            format!("task \"t\" failed on h0: {why}"),
            "{res}"
        );
    }
    let far = Task::saying("ping", "no route to host").that(Outcome::Unreachable);
    let s = played(Play::of([far])).await;
    let expected = "task \"ping\" could not reach h0: no route to host";
    assert_eq!(s.message().await, expected);
}

#[tokio::test]
async fn an_event_that_says_nothing_is_passed_over() {
    let silent = |name: &str, res: Value| Task::failed(name, res).on("h1");
    for res in [
        json!(null),
        json!("x"),
        json!([1]),
        json!({"msg": null, "rc": "x"}),
    ] {
        let tasks = [silent("silent", res), Task::saying("t", "told")];
        let message = played(Play::of(tasks)).await.message().await;
        assert_eq!(message, "task \"t\" failed on h0: told");
    }
    let s = played(Play::of([silent("silent", json!({}))])).await;
    assert_eq!(s.message().await, "task \"silent\" failed on h1");
}

#[tokio::test]
async fn what_no_log_hides_comes_back_nowhere() {
    let censored = json!({ "censored": CENSORED });
    let item = json!({"failed": true, "_ansible_no_log": true, "msg": "pass s3cret is bad"});
    for tasks in [
        vec![Task::failed("t", censored.clone())],
        vec![Task::failed(
            "t",
            json!({"results": [item], "msg": "One or more items failed"}),
        )],
        // Beside a failure that may be told: the output has both.
        vec![
            Task::failed("login", json!({"_ansible_no_log": true, "msg": "s3cret"}))
                .that(Outcome::Rescued),
            Task::saying("t", "quota exceeded"),
        ],
        vec![
            Task::failed("login", json!({"_ansible_no_log": true, "msg": "s3cret"}))
                .that(Outcome::Ignored),
            Task::saying("t", "quota exceeded"),
        ],
    ] {
        let hidden = tasks.len() == 1;
        let s = played(Play::of(tasks)).await;
        let status = s.status().await;
        let why = if hidden {
            "; its output is hidden by no_log"
        } else {
            ": quota exceeded"
        };
        assert_eq!(status.message, format!("task \"t\" failed on h0{why}"));
        assert_eq!(status.details, None);
    }
}

#[tokio::test]
async fn a_playbook_that_never_began_is_told_by_its_output() {
    let missing = [
        "\u{1b}[1;35m[WARNING]: Error loading plugin 'a.b.c'\u{1b}[0m",
        "\u{1b}[0;31m[ERROR]: couldn't resolve module/action 'a.b.c'.\u{1b}[0m",
        "\u{1b}[0;31mOrigin: /runner/project/x.yml:4:7\u{1b}[0m",
        "\u{1b}[0;31m        ^ column 7\u{1b}[0m",
    ];
    let s = played(Play::not_begun(&missing)).await;
    let expected = "the output says: couldn't resolve module/action 'a.b.c'.";
    assert_eq!(s.message().await, expected);
    let old = [
        "ERROR! the role 'x' was not found",
        "",
        "The error appears to be in 'y'",
    ];
    let s = played(Play::not_begun(&old)).await;
    assert_eq!(
        s.message().await,
        "the output says: the role 'x' was not found"
    );
    let long = "x".repeat(100_000);
    let status = played(Play::not_begun(&[&long])).await.status().await;
    assert!(status.message.len() <= text::MAX_TEXT);
    assert!(status.details.unwrap().len() <= text::MAX_TEXT);
}

#[tokio::test]
async fn the_callers_variables_are_not_repeated() {
    let task = Task::saying("t", "the password hunter2secret is bad");
    let printed = Task::failed(
        "t",
        json!({"msg": "non-zero return code", "rc": 1, "stderr": "x\nhunter2secret is bad\n"}),
    );
    for task in [task, printed] {
        let plan = RunPlan::default().ending(Ending::Played(Play::of([task])));
        let template = Template::job(CREATE).with_plan(plan);
        let s = setup_with(template, json!({"password": "hunter2secret"}), |c| c).await;
        s.pass(60);
        let status = s.status().await;
        assert!(status.message.ends_with("*** is bad"), "{}", status.message);
        assert!(!status.details.unwrap().contains("hunter2"));
    }
}

#[tokio::test]
async fn what_the_job_says_itself_goes_before_what_its_tasks_said() {
    let text = "Job terminated due to timeout";
    let plan = RunPlan::default().ending(Ending::Explained(text.to_owned()));
    let s = setup(Template::job(CREATE).with_plan(plan)).await;
    s.pass(60);
    assert_eq!(s.message().await, text);
}

/// A controller that has nothing but these answers.
async fn controller(mocks: &[(&str, Value)]) -> (MockServer, AapProvider) {
    let server = MockServer::start().await;
    let ping = ("ping/", json!({"version": "24.6.1"}));
    for (at, body) in mocks.iter().chain([&ping]) {
        let answer = ResponseTemplate::new(200).set_body_json(body);
        Mock::given(method("GET"))
            .and(path(format!("/api/v2/{at}")))
            .respond_with(answer.insert_header("date", "none"))
            .mount(&server)
            .await;
    }
    let clock = Arc::new(ManualClock::new(start()));
    let aap = AapProvider::with_clock(config(server.uri()), clock).unwrap();
    (server, aap)
}

#[tokio::test]
async fn a_project_that_could_not_be_synchronised_is_the_cause_of_the_job_behind_it() {
    let previous = "Previous Task Failed: {\"job_type\": \"project_update\", \"job_name\": \"p\", \"job_id\": \"5\"}";
    let job = json!({"id": 7, "type": "job", "status": "failed", "job_explanation": previous});
    let failed = json!({"event": "runner_on_failed", "counter": 4, "event_data": {
        "task": "Update project using git", "host": "localhost",
        "res": {"msg": "Failed to download remote objects"}}});
    let (_server, aap) = controller(&[
        ("jobs/7/", job),
        ("project_updates/5/", json!({"id": 5, "status": "failed"})),
        ("project_updates/5/events/", json!({"results": [failed]})),
    ])
    .await;
    let job = TrackedJob::new(JobType::Provision, JobRef::new("aap", "job", "7"));
    let status = aap.status(&vm(), &job).await.unwrap();
    assert_eq!(
        status.message,
        "the project update 5 before it failed: task \"Update project using git\" failed on localhost: \
         Failed to download remote objects"
    );
}

#[tokio::test]
async fn a_workflow_is_explained_down_through_the_workflows_within_it() {
    let failing = |task: &str, message: &str| {
        RunPlan::lasting(Duration::from_secs(5)).ending(Ending::Played(Play::of([
            rescued("probe"),
            Task::saying(task, message),
        ])))
    };
    let flow = |nodes: Vec<Node>| {
        let plan = RunPlan::lasting(Duration::from_secs(2));
        let template = Template::workflow(CREATE).with_plan(plan);
        nodes.into_iter().fold(template, Template::with_node)
    };
    let handled = Node::new("snapshot", Other::Job, failing("snapshot", "no space")).handled();
    let inner = Node::new("make-disk", Other::Job, failing("create", "quota exceeded"))
        .called("make the disk");
    let nested = Node::workflow("storage", [inner]).called("the storage");
    let s = setup(flow(vec![handled, nested])).await;
    s.pass(60);
    let message = s.message().await;
    let node = "node \"the storage\" (workflow job";
    assert!(message.starts_with(node), "{message}");
    let end = "): node \"make the disk\" (job 12): task \"create\" failed on h0: quota exceeded";
    assert!(message.ends_with(end), "{message}");
}

fn approval(run: Option<Duration>) -> Node {
    let plan = RunPlan {
        run,
        ..RunPlan::endless()
    };
    Node::new("May I?", Other::Approval, plan).called("a person agrees")
}

fn flow(node: Node) -> Template {
    let plan = RunPlan::lasting(Duration::from_secs(2));
    Template::workflow(CREATE).with_plan(plan).with_node(node)
}

#[tokio::test]
async fn an_approval_is_named_with_who_denied_it_or_that_nobody_decided() {
    for nested in [false, true] {
        let within = |node: Node| {
            let outer = |node| Node::workflow("inner", [node]).called("inner");
            if nested { outer(node) } else { node }
        };
        let s = setup(flow(within(approval(None)))).await;
        let (id, _) = s.sim.approvals().remove(0);
        assert!(s.sim.decide(id, false));
        s.pass(10);
        let message = s.message().await;
        let expected = "approval \"May I?\" of node \"a person agrees\" was denied by admin";
        assert!(message.ends_with(expected), "{message}");
        assert_eq!(message == expected, !nested);

        let s = setup(flow(within(approval(Some(Duration::from_secs(300)))))).await;
        s.pass(400);
        let message = s.message().await;
        let expected =
            "approval \"May I?\" of node \"a person agrees\" timed out: nobody has decided";
        assert!(message.ends_with(expected), "{message}");
    }
}

#[tokio::test]
async fn a_diagnosis_is_asked_for_once() {
    let s = played(Play::of([Task::saying("t", "told")])).await;
    for _ in 0..5 {
        assert_eq!(s.message().await, "task \"t\" failed on h0: told");
        s.pass(30);
    }
    assert_eq!((s.asked("job_events"), s.asked("stdout")), (1, 1));
}

#[tokio::test]
async fn an_end_without_a_diagnosis_is_the_same_end() {
    for fault in [
        Fault::Status(500),
        Fault::Gateway(403),
        Fault::HtmlOk(500),
        Fault::Truncated,
    ] {
        let s = played(Play::of([Task::saying("t", "told")])).await;
        s.sim.fault(Route::Diagnosis, &fault, 100);
        for _ in 0..6 {
            let message = s.message().await;
            assert_eq!(
                message, "the job ended as failed and gave no reason",
                "{fault:?}"
            );
        }
        // Tried once more, and no more.
        assert_eq!(s.asked("job_events"), 2, "{fault:?}");
    }
}

#[tokio::test]
async fn a_diagnosis_can_be_switched_off() {
    let plan = RunPlan::default().ending(Ending::Played(Play::of([Task::saying("t", "m")])));
    let template = Template::job(CREATE).with_plan(plan);
    let s = setup_with(template, json!({}), AapConfig::without_diagnosis).await;
    s.pass(60);
    assert_eq!(
        s.message().await,
        "the job ended as failed and gave no reason"
    );
    let s = setup_with(
        flow(approval(None)),
        json!({}),
        AapConfig::without_diagnosis,
    )
    .await;
    s.pass(60);
    assert_eq!(s.status().await.message, "it is running");
    assert_eq!(s.asked("approvals"), 0);
}

#[tokio::test]
async fn a_breaker_that_is_shut_keeps_diagnoses_away() {
    let ending = Ending::Played(Play::of([Task::saying("t", "m")]));
    let template = Template::job(CREATE).with_plan(RunPlan::default().ending(ending));
    // In rounds, what the last one has seen is known while nothing may be asked.
    let s = setup_with(template, json!({}), |config| {
        config.with_monitor(MonitorConfig {
            batch_from: 0,
            ..MonitorConfig::default()
        })
    })
    .await;
    s.pass(60);
    s.sim.fault(Route::Diagnosis, &Fault::RateLimited(60), 1);
    let silent = "the job ended as failed and gave no reason";
    assert_eq!(s.message().await, silent);
    let asked = s.sim.requests().len();
    for _ in 0..3 {
        assert_eq!(s.message().await, silent);
    }
    assert_eq!(
        s.sim.requests().len(),
        asked,
        "nothing is asked while it is shut"
    );
    s.pass(90);
    assert_eq!(s.message().await, "task \"t\" failed on h0: m");
}

#[tokio::test(start_paused = true)]
async fn events_that_are_not_there_yet_are_asked_for_again() {
    let clock = Arc::new(TimerClock::new(start()));
    let play = Play::of([Task::saying("t", "told")]).lagging(Duration::from_secs(2));
    let plan = RunPlan::default().ending(Ending::Played(play));
    let world = World::with([Template::job(CREATE).with_plan(plan)]);
    let sim = AapSim::start(world, clock.clone()).await.unwrap();
    let aap = AapProvider::with_clock(config(sim.url()), clock.clone()).unwrap();
    let id = sim.launch(CREATE, &Map::new(), &[]).unwrap();
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert_eq!(sim.status(id), Some("failed"));
    let job = TrackedJob::new(
        JobType::Provision,
        JobRef::new("aap", "job", id.to_string()),
    );
    let status = aap.status(&vm(), &job).await.unwrap();
    assert_eq!(status.message, "task \"t\" failed on h0: told");
}

#[tokio::test]
async fn a_workflow_that_runs_says_which_approval_it_waits_for() {
    for (run, until) in [
        (None, "which does not expire"),
        (
            Some(Duration::from_secs(3_600)),
            "which expires at 2026-11-23T05:00:00.1Z",
        ),
    ] {
        for nested in [false, true] {
            for batch_from in [
                |c: AapConfig| c,
                |c: AapConfig| {
                    c.with_monitor(MonitorConfig {
                        batch_from: 0,
                        ..MonitorConfig::default()
                    })
                },
            ] {
                let node = match nested {
                    true => Node::workflow("inner", [approval(run)]),
                    false => approval(run),
                };
                let s = setup_with(flow(node), json!({}), batch_from).await;
                s.pass(5);
                let status = s.status().await;
                assert_eq!(status.state, JobState::Running);
                let expected = format!(
                    "it waits for approval \"May I?\" of node \"a person agrees\", {until}"
                );
                assert_eq!(status.message, expected, "nested: {nested}");
                let (id, _) = s.sim.approvals().remove(0);
                assert!(s.sim.decide(id, true));
                s.pass(60);
                assert_eq!(s.status().await.state, JobState::Succeeded);
            }
        }
    }
}

#[tokio::test]
async fn approvals_are_asked_for_now_and_then_and_only_for_workflows() {
    let endless = RunPlan::endless();
    let s = setup(Template::job(CREATE).with_plan(endless.clone())).await;
    for _ in 0..10 {
        s.pass(60);
        assert_eq!(s.status().await.message, "it is running");
    }
    assert_eq!(s.asked("approvals"), 0);
    let s = setup(Template::workflow(CREATE).with_plan(endless.clone())).await;
    for _ in 0..20 {
        s.pass(15);
        assert_eq!(s.status().await.message, "it is running");
    }
    // Five minutes.
    assert_eq!((s.asked("approvals"), s.asked("workflow_nodes")), (3, 0));

    let s = setup(flow(approval(None))).await;
    for _ in 0..20 {
        s.pass(15);
        assert!(s.status().await.message.contains("May I?"));
    }
    // Each list with the empty page behind it.
    assert_eq!((s.asked("approvals"), s.asked("workflow_nodes")), (6, 2));
}

#[tokio::test]
async fn an_approval_list_that_is_refused_changes_nothing() {
    let s = setup(flow(approval(None))).await;
    assert!(s.status().await.message.contains("May I?"));
    for fault in [
        Fault::Status(500),
        Fault::Gateway(403),
        Fault::HtmlOk(500),
        Fault::Truncated,
        Fault::Status(404),
    ] {
        s.pass(120);
        s.sim.fault(Route::Other, &fault, 1);
        let status = s.status().await;
        assert_eq!(status.state, JobState::Running, "{fault:?}");
        // As long as what was known may still be so.
        let is_old = fault == Fault::Status(404);
        assert_eq!(
            status.message == "it is running",
            is_old,
            "{fault:?}: {}",
            status.message
        );
    }
    s.pass(120);
    assert!(s.status().await.message.contains("May I?"));
}

#[tokio::test]
async fn an_approval_that_nobody_gives_is_named_until_the_deadline_and_after_it() {
    let mut world = World::with([
        flow(approval(None)),
        Template::job("osac-delete-compute-instance"),
    ]);
    world.record_requests = true;
    let clock = Arc::new(ManualClock::new(start()));
    let sim = AapSim::start(world, clock.clone()).await.unwrap();
    let aap = AapProvider::with_clock(config(sim.url()), clock.clone()).unwrap();
    let registry = ProviderRegistry::single(Arc::new(aap));
    let mut policy = PolicyConfig::default();
    policy.deadlines.running = Some(SignedDuration::from_mins(30));
    policy.max_failures = Some(1);
    let lifecycle = Lifecycle::new(Policy::new(policy).unwrap());
    let (store, object) = (MemoryStore::new(), vm());
    let desired = Desired::new(ConfigVersion::from_text("a"), "aap");
    let mut told = Vec::new();
    for _ in 0..60 {
        lifecycle
            .reconcile(&registry, &store, &object, &desired, &*clock)
            .await;
        clock.advance(Duration::from_secs(60));
        let explained = lifecycle
            .explain(&registry, &store, &object, &desired, &*clock)
            .await
            .unwrap()
            .to_string();
        told.push(explained);
    }
    let named = "approval \"May I?\" of node \"a person agrees\"";
    let last = store.load(object.key(), Freshness::Current).await.unwrap();
    let record = last
        .records
        .iter()
        .max_by_key(|record| record.attempt)
        .unwrap();
    assert_eq!(record.state, JobState::Canceled, "{record:?}");
    let expected = format!("it was waiting for {named}");
    assert!(record.message.starts_with(&expected), "{}", record.message);
    let silent: Vec<&String> = told
        .iter()
        .skip(3)
        .filter(|told| !told.contains(named))
        .collect();
    assert!(silent.is_empty(), "{silent:?}");
    assert!(sim.overlaps().is_empty());
}
