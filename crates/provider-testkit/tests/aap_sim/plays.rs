//! What is to be read of playbooks that failed, and of approvals (measured: awx 24.6.1, and ansible-core 2.19
//! with ansible-runner 2.4 for the members of events).

use std::time::Duration;

use provider_testkit::aap::{
    ADMIN_TOKEN, Ending, Node, Other, Outcome, Play, RunPlan, Task, Template, World,
};
use serde_json::{Value, json};

use super::Bench;

async fn played(play: Play) -> Bench {
    let plan = RunPlan::default().ending(Ending::Played(play));
    let bench = Bench::new(World::with([Template::job("job").with_plan(plan)])).await;
    let path = "/api/v2/job_templates/7/launch/";
    bench.launch(path, json!({})).await;
    bench.pass(60);
    bench
}

fn approval(run: Option<Duration>) -> Node {
    let plan = RunPlan {
        run,
        ..RunPlan::endless()
    };
    Node::new("agree?", Other::Approval, plan).called("a person agrees")
}

async fn flow(nodes: impl IntoIterator<Item = Node>) -> Bench {
    let plan = RunPlan::lasting(Duration::from_secs(10));
    let template = Template::workflow("flow").with_plan(plan);
    let template = nodes.into_iter().fold(template, Template::with_node);
    let bench = Bench::new(World::with([template])).await;
    let path = "/api/v2/workflow_job_templates/7/launch/";
    bench.launch(path, json!({})).await;
    bench.pass(5);
    bench
}

#[tokio::test]
async fn a_rescued_failure_looks_like_any_and_only_the_statistics_tell() {
    let censored = json!({"censored": "the output has been hidden"});
    let bench = played(Play::of([
        Task::saying("ignored", "a").that(Outcome::Ignored),
        Task::saying("rescued", "b").that(Outcome::Rescued),
        Task::failed(
            "looped",
            json!({"results": [{"failed": true, "msg": "c"}], "msg": "One"}),
        ),
        Task::failed("hidden", censored).on("h1"),
        Task::saying("far", "d").on("h2").that(Outcome::Unreachable),
        Task::saying("near", "e")
            .on("h3")
            .that(Outcome::UnreachableIgnored),
    ]))
    .await;
    let path = "/api/v2/jobs/8/job_events/?order_by=-counter&event__in=runner_on_failed,\
                runner_on_unreachable,playbook_on_stats";
    let events = bench.get(path).await;
    let rows = events["results"].as_array().unwrap();
    let data = &rows[0]["event_data"];
    assert_eq!(rows[0]["event"], "playbook_on_stats");
    assert_eq!(data["failures"], json!({"h0": 1, "h1": 1}));
    assert_eq!(data["rescued"], json!({"h0": 1}));
    assert_eq!(data["dark"], json!({"h2": 1}));
    assert_eq!(data["ignored"], json!({"h0": 1, "h3": 1}));
    let tasks: Vec<(&Value, &Value, &Value)> = rows[1..]
        .iter()
        .map(|row| {
            (
                &row["task"],
                &row["failed"],
                &row["event_data"]["ignore_errors"],
            )
        })
        .collect();
    let (yes, no, null) = (json!(true), json!(false), Value::Null);
    assert_eq!(
        tasks,
        [
            (&json!("near"), &yes, &null),
            (&json!("far"), &yes, &null),
            (&json!("hidden"), &yes, &null),
            (&json!("looped"), &yes, &null),
            (&json!("rescued"), &yes, &null),
            (&json!("ignored"), &no, &yes),
        ]
    );
}

#[tokio::test]
async fn a_playbook_that_could_not_begin_has_printed_lines_and_nothing_else() {
    let bench = played(Play::not_begun(&["[ERROR]: no such role", "Origin: x"])).await;
    let events = bench.get("/api/v2/jobs/8/job_events/").await;
    assert_eq!(events["count"], 2);
    assert_eq!(events["results"][0]["event"], "verbose");
    let path = "/api/v2/jobs/8/stdout/?format=json&start_line=-40&end_line=1000000";
    let output = bench.get(path).await;
    assert_eq!(output["content"], "[ERROR]: no such role\nOrigin: x\n");
}

#[tokio::test]
async fn events_are_stored_later_than_the_end() {
    let lag = Duration::from_secs(120);
    let bench = played(Play::of([Task::saying("t", "m")]).lagging(lag)).await;
    let path = "/api/v2/jobs/8/job_events/?event__in=runner_on_failed";
    let job = bench.get("/api/v2/jobs/8/").await;
    assert_eq!(job["status"], "failed");
    assert_eq!(job["event_processing_finished"], false);
    assert_eq!(bench.get(path).await["count"], 0);
    bench.pass(120);
    assert_eq!(bench.get(path).await["count"], 1);
    let job = bench.get("/api/v2/jobs/8/").await;
    assert_eq!(job["event_processing_finished"], true);
}

#[tokio::test]
async fn an_approval_waits_and_is_decided_once() {
    for (word, status) in [("approve", "successful"), ("deny", "failed")] {
        let bench = flow([approval(None)]).await;
        let waiting = bench
            .get("/api/v2/workflow_approvals/?status=pending")
            .await;
        let row = &waiting["results"][0];
        assert_eq!(row["name"], "agree?");
        assert_eq!(row["summary_fields"]["source_workflow_job"]["id"], 8);
        assert_eq!(
            (&row["approval_expiration"], &row["started"]),
            (&Value::Null, &Value::Null)
        );
        let nodes = bench.get("/api/v2/workflow_jobs/8/workflow_nodes/").await;
        let node = &nodes["results"][1];
        assert_eq!(node["identifier"], "a person agrees");
        assert_eq!(node["summary_fields"]["job"]["type"], "workflow_approval");
        assert_eq!(node["summary_fields"]["job"]["status"], "pending");
        let id = row["id"].as_u64().unwrap();
        let path = format!("/api/v2/workflow_approvals/{id}/");
        let decide = format!("{path}{word}/");
        assert_eq!(bench.call("POST", &decide, ADMIN_TOKEN, None).await.0, 204);
        assert_eq!(bench.call("POST", &decide, ADMIN_TOKEN, None).await.0, 400);
        let row = bench.get(&path).await;
        assert_eq!(row["status"], status);
        assert_eq!(row["timed_out"], false);
        let by = &row["summary_fields"]["approved_or_denied_by"]["username"];
        assert_eq!(by, "admin");
        bench.pass(60);
        let flow = bench.get("/api/v2/workflow_jobs/8/").await;
        assert_eq!(flow["status"], status);
    }
}

#[tokio::test]
async fn an_approval_that_nobody_gives_times_out() {
    let bench = flow([approval(Some(Duration::from_secs(300)))]).await;
    let (id, name) = bench.sim.approvals().remove(0);
    assert_eq!(name, "agree?");
    let path = format!("/api/v2/workflow_approvals/{id}/");
    let row = bench.get(&path).await;
    assert_eq!(row["approval_expiration"], "2026-11-23T04:05:00.100000Z");
    bench.pass(300);
    let row = bench.get(&path).await;
    assert_eq!(
        (&row["status"], &row["timed_out"]),
        (&json!("failed"), &json!(true))
    );
    let text = format!("The approval node agree? ({id}) has expired after 300 seconds.");
    assert_eq!(row["job_explanation"], text);
    assert_eq!(
        bench.get("/api/v2/workflow_jobs/8/").await["status"],
        "failed"
    );
    assert!(!bench.sim.decide(id, true), "it is over");
}

#[tokio::test]
async fn a_node_runs_a_workflow_and_a_failure_with_a_path_is_none_of_the_workflow() {
    let fails = RunPlan::lasting(Duration::from_secs(5)).ending(Ending::Failed {
        task: "t".to_owned(),
        message: "m".to_owned(),
    });
    for handled in [true, false] {
        let mut inner = Node::new("inner", Other::Job, fails.clone());
        inner.is_handled = handled;
        let bench = flow([Node::workflow("nested", [inner])]).await;
        bench.pass(60);
        let nodes = bench.get("/api/v2/workflow_jobs/8/workflow_nodes/").await;
        let nested = &nodes["results"][1]["summary_fields"]["job"];
        assert_eq!(nested["type"], "workflow_job");
        let id = &nested["id"];
        let row = bench.get(&format!("/api/v2/workflow_jobs/{id}/")).await;
        assert_eq!(row["summary_fields"]["source_workflow_job"]["id"], 8);
        let path = format!("/api/v2/workflow_jobs/{id}/workflow_nodes/");
        let within = bench.get(&path).await;
        assert_eq!(
            within["results"][0]["summary_fields"]["job"]["status"],
            "failed"
        );
        let paths = within["results"][0]["failure_nodes"].as_array().unwrap();
        assert_eq!(paths.is_empty(), !handled);
        let expected = if handled { "successful" } else { "failed" };
        assert_eq!(
            bench.get("/api/v2/workflow_jobs/8/").await["status"],
            expected
        );
    }
}
