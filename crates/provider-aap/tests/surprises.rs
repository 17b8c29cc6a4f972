//! Answers and settings that nobody hopes for, and what they must not lead to.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed"
)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::job_of;
use jiff::Timestamp;
use provider_aap::{AapConfig, AapProvider, Auth, HttpConfig};
use provider_core::{
    ErrorKind, ExtraVars, FindRequest, JobRef, JobState, JobStatus, JobType, LaunchRequest,
    ManualClock, OperationToken, Provider, Resource, TrackedJob, TriggerError, clock,
};
use provider_testkit::aap::{
    ADMIN_TOKEN, AapSim, Ending, Fault, Node, OPERATOR_TOKEN, Other, Route, RunPlan, Template,
    World,
};
use serde_json::{Value, json};
use wiremock::matchers::{method, path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

const CREATE: &str = "osac-create-compute-instance";

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

/// A controller, and a provider whose clock is ahead of it by so many minutes.
async fn setup(template: Template, ahead: u64) -> (AapSim, AapProvider, Arc<ManualClock>) {
    let mut world = World::with([template]);
    world.record_requests = true;
    let theirs = Arc::new(ManualClock::new(start()));
    let sim = AapSim::start(world, theirs.clone()).await.unwrap();
    let ours = match ahead {
        0 => theirs.clone(),
        minutes => Arc::new(ManualClock::new(clock::add(
            start(),
            Duration::from_secs(minutes * 60),
        ))),
    };
    let aap = AapProvider::with_clock(config(sim.url()).with_diagnosis(), ours).unwrap();
    (sim, aap, theirs)
}

fn vm() -> Resource {
    let vm =
        json!({"kind": "ComputeInstance", "metadata": {"name": "vm", "uid": "uid-1"}, "spec": {}});
    Resource::from_json(vm).unwrap()
}

fn request(n: u128) -> LaunchRequest {
    LaunchRequest::new(vm(), OperationToken::from_random(n))
}

fn search(n: u128) -> FindRequest {
    FindRequest::new(vm(), JobType::Provision, OperationToken::from_random(n))
}

async fn status(aap: &AapProvider, job: JobRef) -> JobStatus {
    let job = TrackedJob::new(JobType::Provision, job);
    aap.status(&vm(), &job).await.unwrap()
}

#[tokio::test]
async fn a_launch_that_may_not_leave_any_more_is_not_sent() {
    let (sim, aap, clock) = setup(Template::job(CREATE), 0).await;
    let late = request(1).send_by(start());
    clock.advance(Duration::from_secs(1));
    let error = aap.trigger_provision(&late).await.unwrap_err();
    assert!(matches!(error, TriggerError::NotLaunched(_)), "{error}");
    assert_eq!(sim.count(Route::Launch), 0);
    let in_time = request(1).send_by(clock::add(start(), Duration::from_secs(1)));
    aap.trigger_provision(&in_time).await.unwrap();
}

#[tokio::test]
async fn a_launch_that_something_in_between_gave_up_is_in_doubt() {
    let (sim, aap, _) = setup(Template::job(CREATE), 0).await;
    for (n, code) in [(1, 408), (2, 499)] {
        sim.fault(Route::Launch, &Fault::StatusAfter(code), 1);
        let error = aap.trigger_provision(&request(n)).await.unwrap_err();
        assert!(
            matches!(error, TriggerError::Ambiguous(_)),
            "{code}: {error}"
        );
        assert_eq!(aap.find_launched(&search(n)).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn nothing_is_launched_that_could_not_be_found_again_for_the_clocks() {
    // What counts is the time that our records show.
    for (ahead, fine) in [(8, true), (11, false)] {
        let (sim, aap, _) = setup(Template::job(CREATE), ahead).await;
        let ours = clock::add(start(), Duration::from_secs(ahead * 60));
        sim.fault(Route::Launch, &Fault::DropAfter, 1);
        let error = aap.trigger_provision(&request(1)).await.unwrap_err();
        let doubtful = matches!(error, TriggerError::Ambiguous(_));
        assert_eq!(doubtful, fine, "{ahead}: {error}");
        if fine {
            let query = search(1).not_before(ours).not_after(ours);
            assert_eq!(aap.find_launched(&query).await.unwrap().len(), 1);
        } else {
            assert!(error.to_string().contains("11 minutes apart"), "{error}");
            assert_eq!(sim.count(Route::Launch), 0);
        }
    }
}

/// The launch was sent by somebody whose clock is none of ours; what counts is the controller's.
#[tokio::test]
async fn a_launch_that_may_still_turn_up_is_waited_for_by_the_controllers_clock() {
    let minutes = |n: i64| jiff::SignedDuration::from_mins(n);
    // Our clock, and that of whoever sent it, are ahead of the controller's by so much.
    for (ahead, sender) in [(0, 0), (8, 0), (0, -8), (8, -8), (0, 8)] {
        let (_sim, aap, theirs) = setup(Template::job(CREATE), ahead).await;
        let mut open = provider_core::JobRecord::new(1, JobType::Provision);
        open.token = Some(request(1).token);
        open.sent_at = start().checked_add(minutes(sender)).ok();
        let deletes = async || {
            let request = request(2);
            let result = aap.trigger_deprovision(&request, std::slice::from_ref(&open));
            match result.await {
                Ok(provider_core::DeprovisionResult::Waiting { reason, .. }) => {
                    assert!(reason.contains("may still turn up"), "{reason}");
                    false
                }
                // There is no template for that here.
                Err(error) => {
                    assert!(error.to_string().contains("delete"), "{error}");
                    true
                }
                other => panic!("{other:?}"),
            }
        };
        assert!(!deletes().await, "{ahead} {sender}");
        // As long as a request may be inside the controller.
        theirs.advance(Duration::from_secs(200));
        assert!(!deletes().await, "{ahead} {sender}");
        theirs.advance(Duration::from_secs(1_200));
        assert!(deletes().await, "{ahead} {sender}");
    }
}

#[tokio::test]
async fn a_search_for_an_old_launch_does_not_go_through_all_that_came_after_it() {
    let (sim, aap, clock) = setup(Template::job(CREATE), 0).await;
    aap.trigger_provision(&request(1)).await.unwrap();
    clock.advance(Duration::from_secs(86_400));
    for n in 2..=203 {
        aap.trigger_provision(&request(n)).await.unwrap();
    }
    let before = sim.requests().len();
    let query = search(1)
        .not_before(start())
        .not_after(clock::add(start(), Duration::from_secs(210)));
    assert_eq!(aap.find_launched(&query).await.unwrap().len(), 1);
    let asked = sim.requests().split_off(before);
    // The page with the job, and the empty one that ends the list.
    let pages = asked.iter().filter(|r| r.contains("unified_jobs"));
    assert_eq!(pages.count(), 2, "{asked:?}");
}

#[tokio::test]
async fn an_id_that_is_a_path_is_not_followed() {
    let (sim, aap, _) = setup(Template::job(CREATE), 0).await;
    for kind in ["job", "workflow_job", ""] {
        let job = TrackedJob::new(
            JobType::Provision,
            JobRef::new("aap", kind, "../job_templates/7/launch/?x="),
        );
        let error = aap.cancel(&vm(), &job).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
    assert_eq!(sim.requests(), [] as [String; 0]);
}

#[tokio::test]
async fn a_credential_is_hidden_before_the_text_is_cut() {
    // Cut first, a part of it would be left at the end.
    let long = |max: usize| format!("{} {ADMIN_TOKEN}", "x".repeat(max - 8));
    for ending in [
        Ending::Explained(long(1_024)),
        Ending::Failed {
            task: "t".to_owned(),
            message: long(500),
        },
        Ending::Failed {
            task: long(200),
            message: "m".to_owned(),
        },
    ] {
        let plan = RunPlan::default().ending(ending.clone());
        let (_sim, aap, clock) = setup(Template::job(CREATE).with_plan(plan), 0).await;
        let launched = aap.trigger_provision(&request(1)).await.unwrap();
        clock.advance(Duration::from_secs(60));
        let status = status(&aap, job_of(&launched)).await;
        assert_eq!(status.state, JobState::Failed);
        let shown = format!("{} {}", status.message, status.details.unwrap_or_default());
        assert!(!shown.contains(&ADMIN_TOKEN[..4]), "{ending:?}: {shown}");
    }
}

#[tokio::test]
async fn a_variable_of_the_caller_is_hidden_before_the_text_is_cut_and_its_lines_are_joined() {
    let (word, key) = (
        "correct-horse-battery",
        "-----BEGIN KEY-----\nbm90IGEga2V5\n-----END KEY-----",
    );
    for message in [
        format!("{} {word}", "x".repeat(500 - 8)),
        format!("got {key}"),
        // Of the output only the last lines are read.
        format!("got {key}\n1\n2\n3\n4"),
    ] {
        let plan = RunPlan::default().ending(Ending::Failed {
            task: "t".to_owned(),
            message: message.clone(),
        });
        let (_sim, aap, clock) = setup(Template::job(CREATE).with_plan(plan), 0).await;
        let vars = ExtraVars::new().with("word", word).with("key", key);
        let request = request(1).with_extra_vars(vars);
        let launched = aap.trigger_provision(&request).await.unwrap();
        clock.advance(Duration::from_secs(60));
        let status = status(&aap, job_of(&launched)).await;
        assert_eq!(status.state, JobState::Failed);
        let shown = format!("{} {}", status.message, status.details.unwrap_or_default());
        assert!(shown.contains("failed on h0"), "{shown}");
        for part in ["corr", "bm90", "BEGIN KEY", "END KEY"] {
            assert!(!shown.contains(part), "{message}: {shown}");
        }
    }
}

// ---- answers that no simulator gives ----

async fn answering(at: &str, query: &[(&str, &str)], body: Value) -> Mock {
    let mut mock = Mock::given(method("GET")).and(path(format!("/api/v2/{at}")));
    for (name, value) in query {
        mock = mock.and(query_param(*name, *value));
    }
    // Without a clock of its own, so that ours counts.
    let answer = ResponseTemplate::new(200).set_body_json(body);
    mock.respond_with(answer.insert_header("date", "none"))
}

/// Where, with which query, and what is answered.
type Answer<'a> = (&'a str, &'a [(&'a str, &'a str)], Value);

async fn controller(mocks: &[Answer<'_>]) -> (MockServer, AapProvider) {
    let (server, aap, _) = controller_and_clock(mocks).await;
    (server, aap)
}

async fn controller_and_clock(mocks: &[Answer<'_>]) -> (MockServer, AapProvider, Arc<ManualClock>) {
    let server = MockServer::start().await;
    let ping = answering("ping/", &[], json!({"version": "24.6.1"})).await;
    ping.mount(&server).await;
    for (at, query, body) in mocks {
        answering(at, query, body.clone())
            .await
            .mount(&server)
            .await;
    }
    let clock = Arc::new(ManualClock::new(start()));
    let aap = AapProvider::with_clock(config(server.uri()), clock.clone()).unwrap();
    (server, aap, clock)
}

/// A job of the server's that ended long ago by anybody's clock, or is at work.
fn row(id: u64, kind: &str, status: &str, explanation: &str) -> Value {
    json!({"id": id, "type": kind, "status": status, "job_explanation": explanation,
           "work_unit_id": "u", "started": "2100-01-01T00:00:00Z", "finished": "2100-01-01T00:00:01Z"})
}

const REAPED: &str = "Task was marked as running but was not present in the job queue";
const OF_WORKFLOW: &str = "unified_job_node__workflow_job";
const NODES: &str = "workflow_jobs/5/workflow_nodes/";

/// A node with its job, as the list of nodes shows it to whoever sees the workflow.
fn node(id: u64, job: u64, kind: &str, status: &str) -> Value {
    json!({"id": id, "type": "workflow_job_node", "job": job, "workflow_job": 5,
           "summary_fields": {"job": {"id": job, "type": kind, "status": status}}})
}

fn none() -> Value {
    json!({"count": 0, "next": null, "previous": null, "results": []})
}

#[tokio::test]
async fn a_failed_workflow_is_settled_when_all_its_jobs_are() {
    let failed = || row(5, "workflow_job", "failed", "");
    let fine = || row(6, "job", "failed", "");
    let reaped = || row(7, "job", "failed", REAPED);
    let inner = || row(8, "workflow_job", "failed", "");
    for (children, grandchildren, settled) in [
        (vec![fine()], vec![], true),
        (vec![fine(), reaped()], vec![], false),
        (vec![inner()], vec![fine()], true),
        (vec![inner()], vec![reaped()], false),
    ] {
        let nodes = children.iter().zip(1..).map(|(child, n)| {
            let word = |name: &str| child[name].as_str().unwrap();
            node(
                n,
                child["id"].as_u64().unwrap(),
                word("type"),
                word("status"),
            )
        });
        let nodes: Vec<Value> = nodes.collect();
        let (_server, aap) = controller(&[
            ("workflow_jobs/5/", &[], failed()),
            ("jobs/7/", &[], reaped()),
            (
                "unified_jobs/",
                &[(OF_WORKFLOW, "5"), ("id__gt", "0")],
                json!({"results": children}),
            ),
            (
                "unified_jobs/",
                &[(OF_WORKFLOW, "8"), ("id__gt", "0")],
                json!({"results": grandchildren}),
            ),
            ("unified_jobs/", &[], json!({"results": []})),
            (NODES, &[("id__gt", "0")], json!({ "results": nodes })),
            (NODES, &[], none()),
            ("workflow_jobs/8/workflow_nodes/", &[], none()),
        ])
        .await;
        let status = status(&aap, JobRef::new("aap", "workflow_job", "5")).await;
        assert_eq!(
            (status.state, status.settled),
            (JobState::Failed, settled),
            "{children:?} {grandchildren:?}"
        );
    }
}

/// Of a template that our user may not read: no list shows it, and only its node tells that it is there.
#[tokio::test]
async fn a_node_whose_job_is_hidden_from_us_keeps_a_workflow_unsettled() {
    let flow = || row(5, "workflow_job", "failed", "");
    for (kind, status_of_it, settled) in [
        ("job", "running", [false, false, true]),
        // Perhaps the reaper said so: the node does not tell.
        ("job", "failed", [false, false, true]),
        ("something_new", "error", [false, false, true]),
        ("workflow_job", "canceled", [false, false, true]),
        ("job", "successful", [true, true, true]),
        // What is no playbook has no events to wait for.
        ("project_update", "failed", [false, true, true]),
        ("project_update", "running", [false, false, true]),
        ("workflow_approval", "canceled", [true, true, true]),
    ] {
        let hidden = json!({"results": [node(9, 7, kind, status_of_it)]});
        let seen = json!({"results": [node(3, 6, "job", "failed"), {"id": 4, "job": null}]});
        let (_server, aap, clock) = controller_and_clock(&[
            ("workflow_jobs/5/", &[], flow()),
            (
                "unified_jobs/",
                &[(OF_WORKFLOW, "5"), ("id__gt", "0")],
                json!({"results": [row(6, "job", "failed", "")]}),
            ),
            ("unified_jobs/", &[], none()),
            // A page that is shorter than was asked for is not the last.
            (NODES, &[("id__gt", "0")], seen),
            (NODES, &[("id__gt", "4")], hidden),
            (NODES, &[("id__gt", "9")], none()),
        ])
        .await;
        for (after, settled) in [0, 61, 840].into_iter().zip(settled) {
            clock.advance(Duration::from_secs(after));
            let status = status(&aap, JobRef::new("aap", "workflow_job", "5")).await;
            assert_eq!(
                (status.state, status.settled),
                (JobState::Failed, settled),
                "{kind} {status_of_it} after {after} s more"
            );
        }
    }
}

#[tokio::test]
async fn nodes_that_cannot_be_seen_leave_a_workflow_unsettled_until_the_limit() {
    for (text, code) in [
        ("You do not have permission to perform this action.", 403),
        ("No WorkflowJob matches the given query.", 404),
    ] {
        let flow = row(5, "workflow_job", "failed", "");
        let (server, aap, clock) = controller_and_clock(&[
            ("workflow_jobs/5/", &[], flow),
            ("unified_jobs/", &[], none()),
        ])
        .await;
        let answer = ResponseTemplate::new(code).set_body_json(json!({ "detail": text }));
        Mock::given(path(format!("/api/v2/{NODES}")))
            .respond_with(answer.insert_header("date", "none"))
            .mount(&server)
            .await;
        for (after, settled) in [(0, false), (600, false), (301, true)] {
            clock.advance(Duration::from_secs(after));
            let status = status(&aap, JobRef::new("aap", "workflow_job", "5")).await;
            assert_eq!(status.settled, settled, "{code} after {after}");
        }
    }
}

/// The real thing: a user without a role on what a node runs, and the reaper.
#[tokio::test]
async fn a_reaped_playbook_that_is_hidden_from_us_runs_to_its_end_before_the_workflow_is_settled() {
    let long = RunPlan::lasting(Duration::from_secs(500));
    let world = World::with([
        Template::workflow(CREATE).with_node(Node::new("install", Other::Job, long)),
        Template::job("install"),
    ]);
    let clock = Arc::new(ManualClock::new(start()));
    let sim = AapSim::start(world, clock.clone()).await.unwrap();
    let mut config = config(sim.url());
    config.auth = Auth::token(OPERATOR_TOKEN);
    let aap = AapProvider::with_clock(config, clock.clone()).unwrap();
    sim.estrange(OPERATOR_TOKEN, "install", true);
    let launched = job_of(&aap.trigger_provision(&request(1)).await.unwrap());
    clock.advance(Duration::from_secs(10));
    let runs = || {
        sim.journal()
            .into_iter()
            .filter(|run| run.stopped.is_none())
            .count()
    };
    assert_eq!(
        status(&aap, launched.clone()).await.state,
        JobState::Running
    );
    let hidden = sim
        .journal()
        .into_iter()
        .find(|run| run.template == "install");
    assert!(sim.reap(hidden.unwrap().id));
    for n in 0..40 {
        clock.advance(Duration::from_secs(30));
        let status = status(&aap, launched.clone()).await;
        if status.settled {
            assert_eq!((status.state, runs()), (JobState::Failed, 0), "{n}");
            return;
        }
    }
    panic!("it is never settled");
}

/// A list without an end is no list that has ended.
struct Endless {
    launch_type: &'static str,
}

impl wiremock::Respond for Endless {
    fn respond(&self, request: &wiremock::Request) -> ResponseTemplate {
        let after = request.url.query_pairs().find(|(name, _)| name == "id__gt");
        let after: u64 = after.map_or(0, |(_, id)| id.parse().unwrap());
        let rows: Vec<Value> = (after + 1..=after + 200)
            .map(|id| {
                let mut row = row(id, "job", "successful", "");
                row["launch_type"] = json!(self.launch_type);
                row["created"] = json!(start().to_string());
                row["extra_vars"] = json!("{}");
                row
            })
            .collect();
        let answer = ResponseTemplate::new(200).set_body_json(json!({ "results": rows }));
        answer.insert_header("date", "none")
    }
}

#[tokio::test]
async fn a_list_that_does_not_end_is_no_answer() {
    let flow = row(5, "workflow_job", "failed", "");
    for launch_type in ["manual", "workflow"] {
        let (server, aap) = controller(&[
            ("workflow_jobs/5/", &[], flow.clone()),
            (NODES, &[], none()),
        ])
        .await;
        Mock::given(path("/api/v2/unified_jobs/"))
            .respond_with(Endless { launch_type })
            .mount(&server)
            .await;
        if launch_type == "manual" {
            let error = aap.find_launched(&search(1)).await.unwrap_err();
            assert_eq!(error.effect(), provider_core::Effect::Unreadable, "{error}");
            assert!(error.to_string().contains("without an end"), "{error}");
        } else {
            let job = TrackedJob::new(JobType::Provision, JobRef::new("aap", "workflow_job", "5"));
            let status = aap.status(&vm(), &job).await.unwrap();
            assert!(!status.settled, "{status:?}");
        }
    }
    // Nor is a list of nodes.
    let (server, aap) = controller(&[
        ("workflow_jobs/5/", &[], flow),
        ("unified_jobs/", &[], none()),
    ])
    .await;
    Mock::given(path(format!("/api/v2/{NODES}")))
        .respond_with(Endless { launch_type: "" })
        .mount(&server)
        .await;
    let status = status(&aap, JobRef::new("aap", "workflow_job", "5")).await;
    assert!(!status.settled, "{status:?}");
}

#[tokio::test]
async fn all_jobs_of_a_large_workflow_are_looked_at() {
    // A full page, and one that the controller, or a proxy, has cut short.
    for last in [299, 149] {
        let first = (100..=last).map(|n| row(n, "job", "successful", ""));
        all_are_looked_at(first.collect(), last).await;
    }
}

async fn all_are_looked_at(first: Vec<Value>, last: u64) {
    let rest = vec![row(last + 1, "job", "running", "")];
    let last = last.to_string();
    let (_server, aap) = controller(&[
        (
            "workflow_jobs/5/",
            &[],
            row(5, "workflow_job", "failed", ""),
        ),
        (
            "unified_jobs/",
            &[(OF_WORKFLOW, "5"), ("id__gt", "0")],
            json!({"results": first}),
        ),
        (
            "unified_jobs/",
            &[(OF_WORKFLOW, "5"), ("id__gt", &last)],
            json!({"results": rest}),
        ),
    ])
    .await;
    let status = status(&aap, JobRef::new("aap", "workflow_job", "5")).await;
    assert!(!status.settled);
}

#[tokio::test]
async fn a_row_with_our_token_that_cannot_be_read_is_not_absence() {
    let token = OperationToken::from_random(1);
    let vars = |name: &str| json!({name: token.as_str()}).to_string();
    let name = config("https://x".to_owned()).token_variable;
    for (id, kind) in [(json!("seven"), "job"), (json!(7), "something_new")] {
        let mut row = row(0, kind, "running", "");
        row["id"] = id;
        row["launch_type"] = json!("manual");
        row["extra_vars"] = json!(vars(&name));
        let (_server, aap) = controller(&[("unified_jobs/", &[], json!({"results": [row]}))]).await;
        let error = aap.find_launched(&search(1)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol, "{row}");
    }
    // A full page without any id is no end either.
    let rows: Vec<Value> = (0..200).map(|_| json!({"type": "job"})).collect();
    let (_server, aap) = controller(&[("unified_jobs/", &[], json!({"results": rows}))]).await;
    let error = aap.find_launched(&search(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
}

/// One node a page, and none of them says that there is another one.
#[tokio::test]
async fn nodes_behind_short_pages_are_looked_at_and_what_is_behind_the_bound_is_said() {
    for (last, told) in [
        (2, "node \"n\" (job 12): quota exceeded"),
        (4, "only its first 3 nodes were looked at"),
    ] {
        let jobs = (11..=10 + last).map(|id| match id - 10 == last {
            true => row(id, "job", "failed", "quota exceeded"),
            false => row(id, "job", "successful", ""),
        });
        let jobs: Vec<Value> = jobs.collect();
        let afters: Vec<String> = (0..last).map(|after| after.to_string()).collect();
        let queries: Vec<[(&str, &str); 1]> =
            afters.iter().map(|after| [("id__gt", &**after)]).collect();
        let one = format!("jobs/{}/", 10 + last);
        let events = format!("{one}job_events/");
        let mut mocks: Vec<Answer<'_>> = vec![
            (
                "workflow_jobs/5/",
                &[],
                row(5, "workflow_job", "failed", ""),
            ),
            (&events, &[], none()),
            (&one, &[], row(10 + last, "job", "failed", "quota exceeded")),
            (
                "unified_jobs/",
                &[("id__gt", "0")],
                json!({ "results": jobs }),
            ),
            ("unified_jobs/", &[], none()),
        ];
        for (query, job) in queries.iter().zip(&jobs) {
            let id = job["id"].as_u64().unwrap();
            let mut node = node(id - 10, id, "job", job["status"].as_str().unwrap());
            node["identifier"] = json!("n");
            mocks.push((NODES, query, json!({ "results": [node] })));
        }
        mocks.push((NODES, &[], none()));
        let (_server, aap) = controller(&mocks).await;
        let status = status(&aap, JobRef::new("aap", "workflow_job", "5")).await;
        assert!(status.settled, "{status:?}");
        assert!(status.message.contains(told), "{}", status.message);
    }
}

fn approval(id: u64, of: u64) -> Value {
    json!({"id": id, "name": format!("approval {id}"), "status": "pending",
           "summary_fields": {"source_workflow_job": {"id": of}}})
}

#[tokio::test]
async fn approvals_behind_short_pages_are_told_and_those_behind_the_bound_stay_told() {
    const LIST: &str = "workflow_approvals/";
    let page = |rows: &[Value]| json!({ "results": rows });
    let (server, aap, clock) = controller_and_clock(&[
        (
            "workflow_jobs/5/",
            &[],
            row(5, "workflow_job", "running", ""),
        ),
        (NODES, &[], none()),
    ])
    .await;
    let mounted = async |query: &[(&str, &str)], body: Value, once: bool| {
        let mock = answering(LIST, query, body).await;
        let mock = if once { mock.up_to_n_times(1) } else { mock };
        mock.mount(&server).await;
    };
    // One of somebody else's, then ours; later so many of others that ours are not reached.
    mounted(&[("id__gt", "0")], page(&[approval(10, 99)]), true).await;
    mounted(&[("id__gt", "10")], page(&[approval(50, 5)]), true).await;
    mounted(&[("id__gt", "50")], page(&[]), true).await;
    mounted(&[("id__gt", "0")], page(&[approval(20, 99)]), true).await;
    mounted(&[("id__gt", "20")], page(&[approval(30, 99)]), true).await;
    mounted(&[("id__gt", "30")], page(&[approval(40, 99)]), true).await;
    // And when all of it is seen again, ours is not there any more.
    mounted(&[], none(), false).await;
    let said = async || {
        status(&aap, JobRef::new("aap", "workflow_job", "5"))
            .await
            .message
    };
    let ours = "it waits for approval \"approval 50\", which does not expire";
    assert_eq!(said().await, ours);
    clock.advance(Duration::from_secs(120));
    assert_eq!(said().await, ours);
    clock.advance(Duration::from_secs(120));
    assert_eq!(said().await, "it is running");
}
