//! The simulator against what was recorded from a real AWX 24.6.1 (`tests/golden/fields.json` holds
//! the fields of its answers).

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use provider_core::ManualClock;
use provider_testkit::aap::{
    ADMIN_TOKEN, AapSim, Ending, Fault, Layout, Node, OPERATOR_TOKEN, OnCancel, Other,
    READER_TOKEN, Route, RunPlan, Script, ScriptedFault, Template, World,
};
use serde_json::{Value, json};

#[path = "aap_sim/line.rs"]
mod line;
#[path = "aap_sim/plays.rs"]
mod plays;
#[path = "aap_sim/slow.rs"]
mod slow;

struct Bench {
    sim: AapSim,
    clock: Arc<ManualClock>,
    http: reqwest::Client,
}

impl Bench {
    async fn new(world: World) -> Self {
        let start: Timestamp = "2026-11-23T04:00:00Z".parse().unwrap();
        let clock = Arc::new(ManualClock::new(start));
        let sim = AapSim::start(world, clock.clone()).await.unwrap();
        let http = client().build().unwrap();
        Self { sim, clock, http }
    }

    async fn call(
        &self,
        method: &str,
        path: &str,
        token: &str,
        body: Option<Value>,
    ) -> (u16, Value) {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.sim.url()))
            .bearer_auth(token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let bytes = answer.bytes().await.unwrap();
        (
            status,
            serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        )
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = self.call("GET", path, ADMIN_TOKEN, None).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    async fn launch(&self, path: &str, body: Value) -> Value {
        let (status, body) = self.call("POST", path, ADMIN_TOKEN, Some(body)).await;
        assert_eq!(status, 201, "{path}: {body}");
        body
    }

    fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

fn client() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .no_proxy()
        .tls_backend_preconfigured(rustls_config())
        .redirect(reqwest::redirect::Policy::none())
}

fn rustls_config() -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth()
}

fn fields(value: &Value) -> Vec<String> {
    let mut names: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
    names.sort();
    names
}

#[tokio::test]
async fn answers_have_the_fields_of_the_real_program() {
    let golden: BTreeMap<String, Vec<String>> =
        serde_json::from_str(include_str!("golden/fields.json")).unwrap();
    let bench = Bench::new(World::with([
        Template::job("job"),
        Template::workflow("flow"),
    ]))
    .await;
    let job = bench
        .launch("/api/v2/job_templates/7/launch/", json!({}))
        .await;
    let flow = bench
        .launch("/api/v2/workflow_job_templates/8/launch/", json!({}))
        .await;
    bench.pass(60);
    let row = async |path: &str| bench.get(path).await["results"][0].clone();
    let seen = [
        ("job launch", job),
        ("workflow launch", flow),
        ("job detail", bench.get("/api/v2/jobs/9/").await),
        (
            "workflow job detail",
            bench.get("/api/v2/workflow_jobs/10/").await,
        ),
        (
            "unified job row",
            row("/api/v2/unified_jobs/?type=job").await,
        ),
        (
            "unified workflow row",
            row("/api/v2/unified_jobs/?type=workflow_job").await,
        ),
        (
            "job template launch options",
            bench.get("/api/v2/job_templates/7/launch/").await,
        ),
        (
            "workflow template launch options",
            bench.get("/api/v2/workflow_job_templates/8/launch/").await,
        ),
        (
            "workflow node",
            row("/api/v2/workflow_jobs/10/workflow_nodes/").await,
        ),
        ("ping", bench.get("/api/v2/ping/").await),
        ("user", row("/api/v2/me/").await),
        (
            "stdout",
            bench.get("/api/v2/jobs/9/stdout/?format=json").await,
        ),
    ];
    for (name, value) in &seen {
        assert_eq!(fields(value), golden[*name], "{name}");
    }
    assert_eq!(seen.len(), golden.len());
}

#[tokio::test]
async fn a_job_lives_by_the_clock() {
    let plan = RunPlan {
        queue: Duration::from_secs(5),
        ..RunPlan::lasting(Duration::from_secs(20))
    };
    let bench = Bench::new(World::with([Template::job("job").with_plan(plan)])).await;
    bench
        .launch(
            "/api/v2/job_templates/7/launch/",
            json!({"extra_vars": {"a": 1}}),
        )
        .await;
    let job = bench.get("/api/v2/jobs/8/").await;
    assert_eq!(
        (&job["status"], &job["started"], &job["elapsed"]),
        (&json!("pending"), &Value::Null, &json!(0.0))
    );
    assert_eq!(job["extra_vars"], "{\"a\":1}");
    bench.pass(10);
    let job = bench.get("/api/v2/jobs/8/").await;
    assert_eq!(
        (&job["status"], &job["elapsed"]),
        (&json!("running"), &json!(5.0))
    );
    bench.pass(3600);
    let job = bench.get("/api/v2/jobs/8/").await;
    assert_eq!(job["status"], "successful");
    assert_eq!(job["finished"], "2026-11-23T04:00:25Z");
    assert!(bench.sim.journal()[0].succeeded);
}

#[tokio::test]
async fn prompts_that_are_off_are_ignored_by_jobs_and_refused_by_workflows() {
    let world = World::with([
        Template::job("job").not_promptable(),
        Template::workflow("flow").not_promptable(),
        Template::job("survey")
            .not_promptable()
            .requiring(&["version"]),
    ]);
    let bench = Bench::new(world).await;
    let vars = json!({"extra_vars": {"x": 1}});
    let body = bench
        .launch("/api/v2/job_templates/7/launch/", vars.clone())
        .await;
    assert_eq!(body["ignored_fields"], json!({"extra_vars": {"x": 1}}));
    assert_eq!(body["extra_vars"], "{}");
    let (status, body) = bench
        .call(
            "POST",
            "/api/v2/workflow_job_templates/8/launch/",
            ADMIN_TOKEN,
            Some(vars),
        )
        .await;
    assert_eq!(status, 400);
    assert!(
        body["extra_vars"][0]
            .as_str()
            .unwrap()
            .starts_with("Variables x are not allowed on launch.")
    );
    let (status, body) = bench
        .call(
            "POST",
            "/api/v2/job_templates/9/launch/",
            ADMIN_TOKEN,
            Some(json!({})),
        )
        .await;
    assert_eq!(
        (status, body),
        (
            400,
            json!({"variables_needed_to_start": ["'version' value missing"]})
        )
    );
}

#[tokio::test]
async fn a_sliced_job_template_answers_with_a_workflow_job() {
    let bench = Bench::new(World::with([Template::job("sliced").sliced(3)])).await;
    let body = bench
        .launch("/api/v2/job_templates/7/launch/", json!({}))
        .await;
    assert_eq!(body["workflow_job"], body["id"]);
    assert!(body.get("job").is_none());
    assert_eq!(body["url"], "/api/v2/workflow_jobs/8/");
    assert_eq!(body["is_sliced_job"], true);
    let (status, body) = bench
        .call("GET", "/api/v2/jobs/8/", ADMIN_TOKEN, None)
        .await;
    assert_eq!(
        (status, body),
        (404, json!({"detail": "No Job matches the given query."}))
    );
    bench.pass(60);
    assert_eq!(
        bench.get("/api/v2/workflow_jobs/8/").await["status"],
        "successful"
    );
    assert_eq!(
        bench.get("/api/v2/workflow_jobs/8/workflow_nodes/").await["count"],
        3
    );
}

#[tokio::test]
async fn cancel_behaves_as_measured() {
    let world = World::with([
        Template::job("slow").with_plan(RunPlan::endless()),
        Template::workflow("flow").with_plan(RunPlan::endless()),
        Template::job("liar")
            .with_plan(RunPlan::lasting(Duration::from_secs(25)).on_cancel(OnCancel::Lies)),
    ]);
    let bench = Bench::new(world).await;
    let cancel = async |path: &str, token: &str| bench.call("POST", path, token, None).await;

    // Pending: canceled before the answer.
    bench
        .launch("/api/v2/job_templates/7/launch/", json!({}))
        .await;
    assert_eq!(cancel("/api/v2/jobs/10/cancel/", ADMIN_TOKEN).await.0, 202);
    assert_eq!(bench.get("/api/v2/jobs/10/").await["status"], "canceled");
    // Ended: 405 for a superuser, 403 for anybody else.
    assert_eq!(cancel("/api/v2/jobs/10/cancel/", ADMIN_TOKEN).await.0, 405);
    assert_eq!(
        cancel("/api/v2/jobs/10/cancel/", OPERATOR_TOKEN).await.0,
        403
    );

    // Running: still running right after the 202.
    bench
        .launch("/api/v2/job_templates/7/launch/", json!({}))
        .await;
    bench.pass(5);
    assert_eq!(cancel("/api/v2/jobs/11/cancel/", ADMIN_TOKEN).await.0, 202);
    let job = bench.get("/api/v2/jobs/11/").await;
    assert_eq!(job["status"], "running");
    assert_ne!(job["canceled_on"], Value::Null);
    bench.pass(1);
    assert_eq!(bench.get("/api/v2/jobs/11/").await["status"], "canceled");

    // A workflow keeps running until its children have ended.
    bench
        .launch("/api/v2/workflow_job_templates/8/launch/", json!({}))
        .await;
    bench.pass(5);
    assert_eq!(
        cancel("/api/v2/workflow_jobs/12/cancel/", ADMIN_TOKEN)
            .await
            .0,
        202
    );
    assert_eq!(
        bench.get("/api/v2/workflow_jobs/12/").await["status"],
        "running"
    );
    bench.pass(1);
    assert_eq!(
        bench.get("/api/v2/workflow_jobs/12/").await["status"],
        "canceled"
    );

    // A dispatcher that does not answer: canceled, and successful later.
    bench
        .launch("/api/v2/job_templates/9/launch/", json!({}))
        .await;
    bench.pass(5);
    assert_eq!(cancel("/api/v2/jobs/14/cancel/", ADMIN_TOKEN).await.0, 202);
    let job = bench.get("/api/v2/jobs/14/").await;
    assert_eq!(job["status"], "canceled");
    assert_ne!(job["work_unit_id"], Value::Null);
    bench.pass(60);
    let later = bench.get("/api/v2/jobs/14/").await;
    assert_eq!(later["status"], "successful");
    assert_eq!(
        later["finished"], job["finished"],
        "it keeps the moment of the cancel"
    );
}

#[tokio::test]
async fn one_job_at_a_time_where_the_template_says_so() {
    let bench = Bench::new(World::with([Template::job("job").one_at_a_time()])).await;
    for _ in 0..2 {
        bench
            .launch("/api/v2/job_templates/7/launch/", json!({}))
            .await;
    }
    bench.clock.advance(Duration::from_millis(500));
    let second = bench.get("/api/v2/jobs/9/").await;
    assert_eq!(second["status"], "pending");
    assert_eq!(second["job_explanation"], "waiting for job-8 to finish");
    bench.pass(60);
    let journal = bench.sim.journal();
    assert!(journal[1].started >= journal[0].stopped);
    assert_eq!(bench.get("/api/v2/jobs/9/").await["status"], "successful");
}

#[tokio::test]
async fn lists_filter_order_and_page_as_measured() {
    let bench = Bench::new(World::with([
        Template::job("a"),
        Template::workflow("a").in_organization("Lab"),
    ]))
    .await;
    for _ in 0..30 {
        bench
            .launch("/api/v2/job_templates/7/launch/", json!({}))
            .await;
    }
    let page = bench
        .get("/api/v2/unified_jobs/?order_by=-id&status=pending")
        .await;
    assert_eq!(
        (&page["count"], page["results"].as_array().unwrap().len()),
        (&json!(30), 25)
    );
    assert_eq!(page["results"][0]["id"], 38);
    assert_eq!(
        page["next"],
        "/api/v2/unified_jobs/?order_by=-id&page=2&status=pending"
    );
    let page = bench
        .get("/api/v2/unified_jobs/?page_size=500&count_disabled=1")
        .await;
    assert_eq!(fields(&page), ["results"]);
    // Such a list has one page, whatever is in it.
    let (status, page) = bench
        .call(
            "GET",
            "/api/v2/unified_jobs/?page=2&page_size=25&count_disabled=1",
            ADMIN_TOKEN,
            None,
        )
        .await;
    assert_eq!((status, page), (404, json!({"detail": "Invalid page."})));
    let page = bench.get("/api/v2/unified_jobs/?page_size=25&page=2").await;
    assert_eq!(
        (&page["previous"], &page["next"]),
        (
            &json!("/api/v2/unified_jobs/?page=1&page_size=25"),
            &Value::Null
        )
    );
    // A reserved word filters nothing, whatever it is set to.
    assert_eq!(
        bench.get("/api/v2/unified_jobs/?limit=nobody").await["count"],
        30
    );
    assert_eq!(
        bench.get("/api/v2/unified_jobs/?id__in=9,10").await["count"],
        2
    );
    assert_eq!(
        bench.get("/api/v2/unified_jobs/?or__id=9&or__id=10").await["count"],
        2
    );
    assert_eq!(
        bench.get("/api/v2/unified_jobs/?id=9&id=10").await["count"],
        0
    );
    assert_eq!(
        bench
            .get("/api/v2/unified_jobs/?created__gte=2027-01-01T00:00:00Z")
            .await["count"],
        0
    );
    assert_eq!(
        bench.get("/api/v2/unified_job_templates/?name=a").await["count"],
        2
    );
    assert_eq!(
        bench
            .get("/api/v2/unified_job_templates/?name=a&organization__name=Lab")
            .await["count"],
        1
    );
    assert_eq!(
        bench.get("/api/v2/unified_job_templates/?name=A").await["count"],
        0
    );
    let refused = async |path: &str| bench.call("GET", path, ADMIN_TOKEN, None).await;
    assert_eq!(
        refused("/api/v2/jobs/?extra_vars__contains=x").await,
        (
            403,
            json!({"detail": "Filtering on extra_vars is not allowed."})
        )
    );
    assert_eq!(
        refused("/api/v2/unified_jobs/?extra_vars__contains=x").await,
        (
            400,
            json!({"detail": "UnifiedJob has no field named 'extra_vars'"})
        )
    );
    assert_eq!(
        refused("/api/v2/jobs/?page=9").await,
        (404, json!({"detail": "Invalid page."}))
    );
    assert_eq!(refused("/api/v2/jobs/?id__in=").await.0, 400);
    assert_eq!(refused("/api/v2/unified_jobs/9/").await.0, 404);
}

#[tokio::test]
async fn a_page_that_is_cut_short_says_so_in_its_links_only() {
    let mut world = World::with([Template::job("a")]);
    world.max_page_size = 10;
    let bench = Bench::new(world).await;
    for _ in 0..21 {
        bench
            .launch("/api/v2/job_templates/7/launch/", json!({}))
            .await;
    }
    let page = bench
        .get("/api/v2/unified_jobs/?page_size=500&page=2")
        .await;
    assert_eq!(page["results"].as_array().unwrap().len(), 10);
    assert_eq!(page["next"], "/api/v2/unified_jobs/?page=3&page_size=10");
    assert_eq!(
        page["previous"],
        "/api/v2/unified_jobs/?page=1&page_size=10"
    );
    // What need not be cut is repeated as it was asked for.
    let page = bench.get("/api/v2/unified_jobs/?page_size=5").await;
    assert_eq!(page["next"], "/api/v2/unified_jobs/?page=2&page_size=5");
}

#[tokio::test]
async fn a_relaunch_copies_what_was_given_and_says_nothing_of_its_original() {
    let fails = RunPlan::default().ending(Ending::Failed {
        task: "t".to_owned(),
        message: "m".to_owned(),
    });
    let world = World::with([
        Template::job("good"),
        Template::job("bad").with_plan(fails),
        Template::workflow("flow"),
    ]);
    let bench = Bench::new(world).await;
    for (collection, template, kind) in [
        ("job_templates", 7, "job"),
        ("job_templates", 8, "job"),
        ("workflow_job_templates", 9, "workflow_job"),
    ] {
        let body = json!({"extra_vars": {"ts": "p"}});
        let path = format!("/api/v2/{collection}/{template}/launch/");
        let first = bench.launch(&path, body).await;
        bench.pass(60);
        let path = format!("/api/v2/{kind}s/{}/relaunch/", first["id"]);
        let copy = bench.launch(&path, json!({})).await;
        assert!(copy["id"].as_u64() > first["id"].as_u64());
        assert_eq!(copy["launch_type"], "relaunch");
        let given = copy["extra_vars"].as_str().unwrap();
        assert_eq!(
            serde_json::from_str::<Value>(given).unwrap(),
            json!({"ts": "p"})
        );
        assert_eq!(copy["name"], first["name"]);
        assert_eq!(copy.get("job").is_some(), kind == "job", "{copy}");
        assert_eq!(copy.get("workflow_job"), None);
        let text = copy["related"].to_string();
        assert!(!text.contains(&format!("/{}/", first["id"])), "{text}");
        bench.pass(60);
    }
    // Only the hosts that failed, where some have.
    let failed = json!({"hosts": "failed"});
    let relaunch = async |id: u64| {
        let path = format!("/api/v2/jobs/{id}/relaunch/");
        let body = Some(failed.clone());
        bench.call("POST", &path, ADMIN_TOKEN, body).await
    };
    let good = bench.get("/api/v2/jobs/?name=good").await["results"][0]["id"].clone();
    let bad = bench.get("/api/v2/jobs/?name=bad").await["results"][0]["id"].clone();
    assert_eq!(
        relaunch(good.as_u64().unwrap()).await,
        (
            400,
            json!({"hosts": "Cannot relaunch because previous job had 0 failed hosts."})
        )
    );
    assert_eq!(relaunch(bad.as_u64().unwrap()).await.0, 201);
    // Whoever may not start the template may not copy its jobs.
    let path = format!("/api/v2/jobs/{good}/relaunch/");
    let body = Some(json!({}));
    assert_eq!(bench.call("POST", &path, READER_TOKEN, body).await.0, 403);
}

#[tokio::test]
async fn nodes_are_shown_with_their_workflow_whoever_may_see_their_jobs() {
    let node = Node::new("inner", Other::Job, RunPlan::endless());
    let world = World::with([
        Template::workflow("flow").with_node(node),
        Template::job("inner"),
    ]);
    let bench = Bench::new(world).await;
    let flow = bench
        .launch("/api/v2/workflow_job_templates/7/launch/", json!({}))
        .await["id"]
        .clone();
    bench.pass(5);
    bench.sim.estrange(OPERATOR_TOKEN, "inner", true);
    let get = async |path: String| bench.call("GET", &path, OPERATOR_TOKEN, None).await;
    let of_flow = format!("/api/v2/unified_jobs/?unified_job_node__workflow_job={flow}");
    // One of the workflow's own, and that of the node.
    assert_eq!(bench.get(&of_flow).await["count"], 2);
    assert_eq!(get(of_flow).await.1["count"], 1);
    let (_, nodes) = get(format!("/api/v2/workflow_jobs/{flow}/workflow_nodes/")).await;
    assert_eq!(nodes["count"], 2);
    let row = &nodes["results"][1];
    let job = row["job"].clone();
    assert_eq!(row["summary_fields"]["job"]["status"], "running");
    assert_eq!(row["summary_fields"]["job"]["name"], "inner");
    assert_eq!(get(format!("/api/v2/jobs/{job}/")).await.0, 403);
    // Who does not see the workflow sees no nodes of it either.
    bench.sim.estrange(OPERATOR_TOKEN, "flow", true);
    let (status, _) = get(format!("/api/v2/workflow_jobs/{flow}/workflow_nodes/")).await;
    assert_eq!(status, 403);
}

#[tokio::test]
async fn rights_are_those_of_the_token() {
    let bench = Bench::new(World::with([
        Template::job("open"),
        Template::job("closed").restricted(),
    ]))
    .await;
    let launch = async |id: u64, token: &str| {
        bench
            .call(
                "POST",
                &format!("/api/v2/job_templates/{id}/launch/"),
                token,
                None,
            )
            .await
            .0
    };
    assert_eq!(launch(7, "nonsense").await, 401);
    assert_eq!(launch(7, READER_TOKEN).await, 403);
    assert_eq!(launch(8, OPERATOR_TOKEN).await, 403);
    assert_eq!(launch(7, OPERATOR_TOKEN).await, 201);
    assert_eq!(bench.sim.journal().len(), 1);
    let anonymous = bench
        .http
        .get(format!("{}/api/v2/ping/", bench.sim.url()))
        .send()
        .await
        .unwrap();
    assert_eq!(anonymous.status(), 200);
}

#[tokio::test]
async fn behind_a_prefix_all_paths_follow_the_request() {
    let mut world = World::with([Template::job("job")]);
    world.layout = Layout::Prefixed;
    let bench = Bench::new(world).await;
    let body = bench
        .launch("/api/controller/v2/job_templates/7/launch/", json!({}))
        .await;
    assert_eq!(body["url"], "/api/controller/v2/jobs/8/");
    assert_eq!(bench.get("/api/v2/jobs/8/").await["url"], "/api/v2/jobs/8/");
}

#[tokio::test]
async fn faults_do_what_they_say() {
    let bench = Bench::new(World::with([Template::job("job")])).await;
    let url = format!("{}/api/v2/job_templates/7/launch/", bench.sim.url());
    let launch = async || bench.http.post(&url).bearer_auth(ADMIN_TOKEN).send().await;

    bench.sim.fault(Route::Launch, &Fault::DropBefore, 1);
    assert!(launch().await.is_err());
    assert_eq!(bench.sim.journal().len(), 0, "nothing was carried out");
    bench.sim.fault(Route::Launch, &Fault::DropAfter, 1);
    assert!(launch().await.is_err());
    assert_eq!(
        bench.sim.journal().len(),
        1,
        "carried out, and nobody was told"
    );
    bench
        .sim
        .fault(Route::Launch, &Fault::CommitLate(60_000), 1);
    assert!(launch().await.is_err());
    assert_eq!(bench.sim.journal().len(), 1);
    bench.pass(61);
    assert_eq!(bench.sim.journal().len(), 2, "it turned up a minute later");
    bench.sim.fault(Route::Launch, &Fault::Maintenance, 1);
    let answer = launch().await.unwrap();
    assert_eq!(answer.status(), 302);
    assert_eq!(answer.headers()["location"], "/migrations_notran/");
    bench.sim.fault(Route::Launch, &Fault::StatusAfter(504), 1);
    assert_eq!(launch().await.unwrap().status(), 504);
    assert_eq!(bench.sim.journal().len(), 3);
    bench.sim.fault(Route::Launch, &Fault::RateLimited(120), 1);
    assert_eq!(launch().await.unwrap().headers()["retry-after"], "120");
    bench.sim.fault(Route::Launch, &Fault::Truncated, 1);
    let cut = launch().await.unwrap();
    assert_eq!(cut.status(), 201);
    assert!(cut.json::<Value>().await.is_err());
    assert_eq!(bench.sim.count(Route::Launch), 7);
}

#[tokio::test]
async fn a_fault_may_meet_some_of_many_requests() {
    let bench = Bench::new(World::with([Template::job("job")])).await;
    let refused = async || {
        let mut refused = 0;
        for _ in 0..200 {
            let (status, _) = bench
                .call("GET", "/api/v2/unified_jobs/", ADMIN_TOKEN, None)
                .await;
            refused += usize::from(status == 503);
        }
        refused
    };
    let fault = ScriptedFault {
        route: Route::Jobs,
        fault: Fault::Status(503),
        after: 10,
        times: u32::MAX,
        percent: 50,
    };
    bench.sim.play(Script {
        faults: vec![fault],
        ..Script::default()
    });
    let half = refused().await;
    assert!((70..120).contains(&half), "{half}");
    bench.sim.clear_faults();
    assert_eq!(refused().await, 0);
    // As many as it says, and all of them where it says nothing else.
    let fault = r#"{"faults": [{"route": "jobs", "fault": {"status": 503}, "times": 3}]}"#;
    bench.sim.play(serde_json::from_str(fault).unwrap());
    assert_eq!(refused().await, 3);
}

/// A gateway in front refuses in its own name: nothing is done, and no header is the controller's.
#[tokio::test]
async fn a_gateway_refuses_now_and_then() {
    let bench = Bench::new(World::with([Template::job("job")])).await;
    let url = format!("{}/api/v2/job_templates/7/launch/", bench.sim.url());
    let launch = async || {
        let answer = bench
            .http
            .post(&url)
            .bearer_auth(ADMIN_TOKEN)
            .send()
            .await
            .unwrap();
        let is_ours = answer.headers().contains_key("x-api-node");
        (
            answer.status().as_u16(),
            is_ours,
            answer.json::<Value>().await.unwrap(),
        )
    };
    let weather = json!({"seed": 3, "refusals": 50, "statuses": [401, 403, 404]});
    bench
        .sim
        .weather(Some(serde_json::from_value(weather).unwrap()));
    let mut answers = BTreeMap::new();
    for _ in 0..200 {
        let (status, is_ours, body) = launch().await;
        assert_eq!(is_ours, status == 201, "{status} {body}");
        assert_eq!(body["detail"].is_string(), status != 201, "{body}");
        *answers.entry(status).or_insert(0) += 1;
    }
    assert_eq!(
        answers.keys().copied().collect::<Vec<u16>>(),
        [201, 401, 403, 404]
    );
    assert!((70..130).contains(&answers[&201]), "{answers:?}");
    assert_eq!(bench.sim.journal().len(), answers[&201]);
}

#[tokio::test]
async fn failures_are_told_by_events_alone() {
    let failing = RunPlan::default().ending(Ending::Failed {
        task: "Create the network".to_owned(),
        message: "quota exceeded".to_owned(),
    });
    let bench = Bench::new(World::with([Template::job("job").with_plan(failing)])).await;
    bench
        .launch("/api/v2/job_templates/7/launch/", json!({}))
        .await;
    bench.pass(60);
    let job = bench.get("/api/v2/jobs/8/").await;
    assert_eq!(
        (
            &job["status"],
            &job["job_explanation"],
            &job["result_traceback"]
        ),
        (&json!("failed"), &json!(""), &json!(""))
    );
    let events = bench
        .get("/api/v2/jobs/8/job_events/?event__in=runner_on_failed,runner_on_unreachable&order_by=counter&page_size=5")
        .await;
    assert_eq!(events["count"], 1);
    assert_eq!(
        events["results"][0]["event_data"]["task"],
        "Create the network"
    );
    assert_eq!(
        events["results"][0]["event_data"]["res"]["msg"],
        "quota exceeded"
    );
}

#[tokio::test]
async fn what_is_purged_is_gone_and_the_journal_remembers() {
    let bench = Bench::new(World::with([Template::job("job")])).await;
    bench
        .launch("/api/v2/job_templates/7/launch/", json!({}))
        .await;
    assert!(!bench.sim.purge(8), "the clean-up leaves active jobs alone");
    bench.pass(60);
    assert!(bench.sim.purge(8));
    assert_eq!(
        bench
            .call("GET", "/api/v2/jobs/8/", ADMIN_TOKEN, None)
            .await
            .0,
        404
    );
    assert_eq!(
        bench
            .call("POST", "/api/v2/jobs/8/cancel/", ADMIN_TOKEN, None)
            .await
            .0,
        404
    );
    assert_eq!(bench.sim.journal().len(), 1);
}

#[tokio::test]
async fn overlapping_jobs_of_one_object_are_found() {
    let bench = Bench::new(World::with([Template::job("job")])).await;
    let vars = |uid: &str| json!({"extra_vars": {"event": {"payload": {"metadata": {"name": "vm", "uid": uid}}}}});
    bench
        .launch("/api/v2/job_templates/7/launch/", vars("one"))
        .await;
    bench
        .launch("/api/v2/job_templates/7/launch/", vars("two"))
        .await;
    assert_eq!(bench.sim.overlaps(), []);
    bench
        .launch("/api/v2/job_templates/7/launch/", vars("one"))
        .await;
    assert_eq!(bench.sim.overlaps(), [(8, 10)]);
    bench.pass(60);
    bench
        .launch("/api/v2/job_templates/7/launch/", vars("two"))
        .await;
    assert_eq!(bench.sim.overlaps(), [(8, 10)]);
}
