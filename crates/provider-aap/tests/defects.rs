//! Failures of earlier operators, each as the same script of events with the outcome that a user
//! would call right. The numbers name them in the table of `docs/DEFECTS.md` of provider-core.

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
use jiff::{SignedDuration, Timestamp};
use provider_aap::{
    AapConfig, AapProvider, Auth, Envelope, HttpConfig, TemplateKind, TemplateName,
};
use provider_core::{
    CancelResult, ConfigVersion, DeprovisionResult, Effect, ErrorKind, ExtraVars, FindRequest,
    JobRecord, JobRef, JobState, JobType, LaunchRequest, ManualClock, OperationToken, Provider,
    ProvisionResult, Resource, TrackedJob, TriggerError, text,
};
use provider_testkit::aap::{
    ADMIN_TOKEN, AapSim, Ending, Fault, Layout, OPERATOR_TOKEN, OnCancel, READER_TOKEN, Route,
    RunPlan, Template, World,
};
use serde_json::{Value, json};

struct Setup {
    sim: AapSim,
    clock: Arc<ManualClock>,
    aap: AapProvider,
}

fn config(sim: &AapSim) -> AapConfig {
    AapConfig::new(sim.url(), Auth::token(ADMIN_TOKEN))
        .with_template_prefix("osac")
        .with_http(HttpConfig {
            proxy_from_environment: false,
            ..HttpConfig::default()
        })
}

const CREATE: &str = "osac-create-compute-instance";
const DELETE: &str = "osac-delete-compute-instance";

async fn setup_with(mut world: World, change: impl FnOnce(AapConfig) -> AapConfig) -> Setup {
    world.record_requests = true;
    let start: Timestamp = "2026-11-23T04:00:00Z".parse().unwrap();
    let clock = Arc::new(ManualClock::new(start));
    let sim = AapSim::start(world, clock.clone()).await.unwrap();
    let aap = AapProvider::with_clock(change(config(&sim)), clock.clone()).unwrap();
    Setup { sim, clock, aap }
}

async fn setup(create: Template) -> Setup {
    setup_with(World::with([create, Template::job(DELETE)]), |c| c).await
}

fn vm() -> Resource {
    Resource::from_json(json!({
        "apiVersion": "osac.openshift.io/v1alpha1", "kind": "ComputeInstance",
        "metadata": {"name": "vm", "namespace": "tenant", "uid": "uid-1",
                     "managedFields": [{"manager": "m"}]},
        "spec": {"cores": 4}, "status": {"jobs": [{"jobID": "1"}]},
    }))
    .unwrap()
}

fn request(n: u128) -> LaunchRequest {
    LaunchRequest::new(vm(), OperationToken::from_random(n))
        .with_config_version(ConfigVersion::of_json(&json!({"cores": 4})))
}

/// The record of a job, as an engine would keep it.
fn record(result: &ProvisionResult, n: u128) -> JobRecord {
    let mut record = JobRecord::new(1, JobType::Provision);
    record.set_job_ref(job_of(result));
    record.token = Some(OperationToken::from_random(n));
    record.state = result.initial_state;
    record
}

impl Setup {
    async fn provision(&self, n: u128) -> ProvisionResult {
        self.aap.trigger_provision(&request(n)).await.unwrap()
    }

    async fn state(&self, launched: &ProvisionResult) -> provider_core::JobStatus {
        let job = TrackedJob::new(JobType::Provision, job_of(launched))
            .with_config_version(ConfigVersion::of_json(&json!({"cores": 4})));
        self.aap.status(&vm(), &job).await.unwrap()
    }

    fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    async fn find(&self, n: u128) -> Vec<provider_core::JobStatus> {
        let query = FindRequest::new(vm(), JobType::Provision, OperationToken::from_random(n))
            .not_before("2026-11-23T04:00:00Z".parse().unwrap());
        self.aap.find_launched(&query).await.unwrap()
    }
}

#[tokio::test]
async fn d01_a_workflow_job_is_polled_where_it_lives() {
    let s = setup(Template::workflow(CREATE)).await;
    let launched = s.provision(1).await;
    assert_eq!(job_of(&launched).kind, "workflow_job");
    s.pass(60);
    let status = s.state(&launched).await;
    assert_eq!(status.state, JobState::Succeeded);
    assert!(
        !s.sim
            .requests()
            .iter()
            .any(|r| r.starts_with("GET /api/v2/jobs/"))
    );
}

#[tokio::test]
async fn d01_a_sliced_job_template_is_followed_to_its_workflow_job() {
    let s = setup(Template::job(CREATE).sliced(3)).await;
    let launched = s.provision(1).await;
    assert_eq!(job_of(&launched).kind, "workflow_job");
    s.pass(60);
    assert_eq!(s.state(&launched).await.state, JobState::Succeeded);
    assert_eq!(
        s.find(1).await.len(),
        1,
        "its slices are not launches of their own"
    );
}

#[tokio::test]
async fn d02_deleting_while_a_workflow_provisions_cancels_it_first() {
    let s = setup(Template::workflow(CREATE).with_plan(RunPlan::endless())).await;
    let launched = s.provision(1).await;
    s.pass(5);
    let history = [record(&launched, 1)];
    let mut waited = 0;
    loop {
        match s
            .aap
            .trigger_deprovision(&request(2), &history)
            .await
            .unwrap()
        {
            DeprovisionResult::Waiting { provision_job, .. } => {
                assert_eq!(provision_job.unwrap().job.id, job_of(&launched).id);
                waited += 1;
                s.pass(20);
            }
            DeprovisionResult::Triggered { .. } => break,
            other => panic!("{other:?}"),
        }
        assert!(waited < 20);
    }
    assert!(waited >= 2, "asked for, then seen ended");
    assert_eq!(s.sim.overlaps(), []);
    assert!(s.sim.count(Route::Cancel) >= 1);
}

#[tokio::test]
async fn d04_a_launch_without_an_answer_is_ambiguous_and_found_by_its_token() {
    let s = setup(Template::job(CREATE)).await;
    for (n, fault) in [
        (1, Fault::DropAfter),
        (2, Fault::StatusAfter(504)),
        (3, Fault::Truncated),
    ] {
        s.sim.fault(Route::Launch, &fault, 1);
        let error = s.aap.trigger_provision(&request(n)).await.unwrap_err();
        assert!(
            matches!(error, TriggerError::Ambiguous(_)),
            "{fault:?}: {error}"
        );
        let found = s.find(n).await;
        assert_eq!(found.len(), 1, "{fault:?}");
    }
    assert_eq!(s.sim.journal().len(), 3, "nothing was launched twice");
    assert_eq!(s.find(9).await, []);
}

#[tokio::test]
async fn d04_a_launch_that_times_out_is_ambiguous() {
    let s = setup_with(World::with([Template::job(CREATE)]), |mut config| {
        config.http.request_timeout = SignedDuration::from_millis(300);
        config
    })
    .await;
    s.aap.preflight(&["ComputeInstance".to_owned()]).await;
    s.sim.fault(Route::Launch, &Fault::Hang, 1);
    let error = s.aap.trigger_provision(&request(1)).await.unwrap_err();
    let TriggerError::Ambiguous(error) = error else {
        panic!("{error}");
    };
    assert_eq!(
        (error.effect(), error.kind()),
        (Effect::MaybeSent, ErrorKind::Timeout)
    );
    assert_eq!(s.find(1).await.len(), 1);
}

#[tokio::test]
async fn d05_a_redirected_launch_is_not_followed_and_not_taken_for_a_job() {
    let s = setup(Template::job(CREATE)).await;
    s.provision(1).await;
    for (status, to) in [
        (301, "https://other.example.com/x?token=abc"),
        (302, "/migrations_notran/"),
        (307, "/api/v2/jobs/1/"),
        (308, "/y"),
    ] {
        s.sim
            .fault(Route::Launch, &Fault::Redirect(status, to.to_owned()), 1);
        let error = s.aap.trigger_provision(&request(2)).await.unwrap_err();
        assert!(matches!(error, TriggerError::Ambiguous(_)), "{error}");
        assert!(!error.to_string().contains("token=abc"));
    }
    assert_eq!(s.sim.journal().len(), 1);
    assert!(
        !s.sim
            .requests()
            .iter()
            .any(|r| r.contains("migrations_notran"))
    );
}

#[tokio::test]
async fn d06_a_name_is_a_value_and_never_a_piece_of_a_query() {
    let names = ["net&team=x", "net#1", "a+b", "50%25", "a/b c", "net"];
    let world = World::with(names.map(Template::job));
    let s = setup_with(world, |c| c).await;
    for name in names {
        let mut config = config(&s.sim);
        config.templates.create = Some(TemplateName::new(name));
        let aap = AapProvider::with_clock(config, s.clock.clone()).unwrap();
        aap.trigger_provision(&request(1)).await.unwrap();
        assert_eq!(s.sim.journal().last().unwrap().template, name);
    }
}

#[tokio::test]
async fn d07_a_name_in_two_organizations_is_an_error_that_lists_them() {
    let world = World::with([
        Template::job(CREATE).in_organization("Red"),
        Template::job(CREATE).in_organization("Blue"),
        Template::workflow(CREATE).in_organization("Blue"),
    ]);
    let s = setup_with(world, |c| c).await;
    let error = s.aap.trigger_provision(&request(1)).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, TriggerError::NotLaunched(_)));
    assert!(
        text.contains("\"Red\"") && text.contains("\"Blue\""),
        "{text}"
    );
    assert!(text.contains("name the organization"), "{text}");
    assert_eq!(s.sim.journal(), []);

    let config_of_red = config(&s.sim).with_organization("Red");
    let red = AapProvider::with_clock(config_of_red, s.clock.clone()).unwrap();
    red.trigger_provision(&request(1)).await.unwrap();
    let mut blue = config(&s.sim);
    let name = TemplateName::new(CREATE).in_organization("Blue");
    blue.templates.create = Some(name.of_kind(TemplateKind::WorkflowJobTemplate));
    let launched = AapProvider::with_clock(blue, s.clock.clone())
        .unwrap()
        .trigger_provision(&request(2))
        .await
        .unwrap();
    assert_eq!(job_of(&launched).kind, "workflow_job");
}

#[tokio::test]
async fn d08_wrong_credentials_are_called_wrong_credentials() {
    let s = setup(Template::job(CREATE)).await;
    let mut config = config(&s.sim);
    config.auth = Auth::token("wrong-token-value");
    let error = AapProvider::new(config)
        .unwrap()
        .trigger_provision(&request(1))
        .await
        .unwrap_err();
    let text = error.to_string();
    assert_eq!(error.error().kind(), ErrorKind::Unauthorized);
    assert!(
        text.contains("does not accept our credentials") && !text.contains("not found"),
        "{text}"
    );
    assert!(!text.contains("wrong-token-value"));
}

#[tokio::test]
async fn d08_a_missing_right_is_called_a_missing_right() {
    let s = setup(Template::job(CREATE).restricted()).await;
    for token in [OPERATOR_TOKEN, READER_TOKEN] {
        let mut config = config(&s.sim);
        config.auth = Auth::token(token);
        let error = AapProvider::new(config)
            .unwrap()
            .trigger_provision(&request(1))
            .await
            .unwrap_err();
        assert_eq!(error.error().kind(), ErrorKind::Forbidden, "{error}");
        assert!(error.to_string().contains("Execute"), "{error}");
    }
    assert_eq!(s.sim.journal(), []);
}

#[tokio::test]
async fn d09_a_failed_lookup_is_not_remembered_and_decides_no_kind() {
    let s = setup(Template::job(CREATE)).await;
    s.sim.fault(Route::Templates, &Fault::Status(503), 1);
    let error = s.aap.trigger_provision(&request(1)).await.unwrap_err();
    assert!(
        matches!(&error, TriggerError::NotLaunched(e) if e.kind() == ErrorKind::Unavailable),
        "{error}"
    );
    assert_eq!(job_of(&s.provision(1).await).kind, "job");
}

#[tokio::test]
async fn a_template_is_looked_up_once_for_all_who_ask_at_once() {
    let s = setup(Template::job(CREATE)).await;
    let requests: Vec<LaunchRequest> = (1..=8).map(request).collect();
    let launches = requests
        .iter()
        .map(|request| s.aap.trigger_provision(request));
    for launched in futures::future::join_all(launches).await {
        launched.unwrap();
    }
    assert_eq!(s.sim.count(Route::Templates), 1);
    assert_eq!(s.sim.journal().len(), 8);
    // It expires.
    s.pass(301);
    s.provision(9).await;
    assert_eq!(s.sim.count(Route::Templates), 2);
}

#[tokio::test]
async fn a_template_that_was_replaced_is_found_again() {
    let s = setup(Template::job(CREATE)).await;
    s.provision(1).await;
    s.sim.remove_template(7);
    s.sim.add_template(Template::workflow(CREATE));
    let error = s.aap.trigger_provision(&request(2)).await.unwrap_err();
    assert!(
        matches!(&error, TriggerError::NotLaunched(e) if e.kind() == ErrorKind::NotFound),
        "{error}"
    );
    assert_eq!(job_of(&s.provision(2).await).kind, "workflow_job");
}

#[tokio::test]
async fn d18_an_answer_without_a_job_is_no_launch_result() {
    let s = setup(Template::job(CREATE)).await;
    s.provision(1).await;
    s.sim.fault(Route::Launch, &Fault::HtmlOk(2 << 20), 1);
    let error = s.aap.trigger_provision(&request(2)).await.unwrap_err();
    assert!(matches!(error, TriggerError::Ambiguous(_)));
    assert!(error.to_string().len() < text::MAX_TEXT);
}

#[tokio::test]
async fn d23_a_large_error_page_leaves_a_short_text() {
    let s = setup(Template::job(CREATE)).await;
    let launched = s.provision(1).await;
    s.sim.fault(Route::Any, &Fault::Html(2 << 20), 1);
    let job = TrackedJob::new(JobType::Provision, job_of(&launched));
    let error = s.aap.status(&vm(), &job).await.unwrap_err();
    assert!(
        error.to_string().len() < 400 && !error.to_string().contains("xxx"),
        "{error}"
    );
}

#[tokio::test]
async fn d25_a_rate_limit_says_how_long() {
    let s = setup(Template::job(CREATE)).await;
    s.provision(1).await;
    s.sim.fault(Route::Launch, &Fault::RateLimited(120), 1);
    let error = s.aap.trigger_provision(&request(2)).await.unwrap_err();
    let TriggerError::NotLaunched(error) = error else {
        panic!("{error}")
    };
    assert_eq!(error.kind(), ErrorKind::RateLimited);
    assert_eq!(error.retry_after(), Some(Duration::from_secs(120)));
}

#[tokio::test]
async fn d27_a_failed_playbook_is_explained() {
    let failing = RunPlan::default().ending(Ending::Failed {
        task: "Create the network".to_owned(),
        message: "quota exceeded".to_owned(),
    });
    for template in [Template::job(CREATE), Template::workflow(CREATE)] {
        let world = World::with([template.with_plan(failing.clone())]);
        let s = setup_with(world, AapConfig::with_diagnosis).await;
        let launched = s.provision(1).await;
        s.pass(60);
        let status = s.state(&launched).await;
        assert_eq!(status.state, JobState::Failed);
        let expected = "task \"Create the network\" failed on h0: quota exceeded";
        assert!(status.message.ends_with(expected), "{}", status.message);
        assert!(status.details.unwrap_or_default().contains("PLAY RECAP"));
    }
    let explained = RunPlan::default().ending(Ending::Explained(
        "Job terminated due to timeout".to_owned(),
    ));
    let s = setup(Template::job(CREATE).with_plan(explained)).await;
    let launched = s.provision(1).await;
    s.pass(60);
    assert_eq!(
        s.state(&launched).await.message,
        "Job terminated due to timeout"
    );
}

#[tokio::test]
async fn d28_a_refused_cancel_of_a_running_job_launches_nothing() {
    let s = setup(Template::job(CREATE).with_plan(RunPlan::endless())).await;
    let launched = s.provision(1).await;
    s.pass(5);
    s.sim.fault(Route::Cancel, &Fault::Status(405), 1);
    let history = [record(&launched, 1)];
    let error = s
        .aap
        .trigger_deprovision(&request(2), &history)
        .await
        .unwrap_err();
    assert!(matches!(error, TriggerError::NotLaunched(_)), "{error}");
    assert!(
        error.to_string().contains("refused although it is Running"),
        "{error}"
    );
    assert_eq!(s.sim.journal().len(), 1);
}

#[tokio::test]
async fn d28_a_refused_cancel_of_an_ended_job_says_so() {
    for token in [ADMIN_TOKEN, OPERATOR_TOKEN] {
        let s = setup_with(World::with([Template::job(CREATE)]), |mut c| {
            c.auth = Auth::token(token);
            c
        })
        .await;
        let launched = s.provision(1).await;
        s.pass(60);
        let job = TrackedJob::new(JobType::Provision, job_of(&launched));
        let CancelResult::Finished(status) = s.aap.cancel(&vm(), &job).await.unwrap() else {
            panic!("405 and 403 both mean that it has ended");
        };
        assert_eq!(status.state, JobState::Succeeded);
        assert!(s.sim.purge(8));
        assert_eq!(s.aap.cancel(&vm(), &job).await.unwrap(), CancelResult::Gone);
    }
}

#[tokio::test]
async fn a_pending_job_is_canceled_at_once() {
    let s = setup(Template::job(CREATE)).await;
    let launched = s.provision(1).await;
    let job = TrackedJob::new(JobType::Provision, job_of(&launched));
    assert_eq!(
        s.aap.cancel(&vm(), &job).await.unwrap(),
        CancelResult::Requested
    );
    let status = s.state(&launched).await;
    assert_eq!((status.state, status.settled), (JobState::Canceled, true));
}

#[tokio::test]
async fn a_canceled_that_turns_successful_was_never_settled() {
    let lying = RunPlan::lasting(Duration::from_secs(200)).on_cancel(OnCancel::Lies);
    for template in [Template::job(CREATE), Template::workflow(CREATE)] {
        let s = setup(template.with_plan(lying.clone())).await;
        let launched = s.provision(1).await;
        s.pass(5);
        let job = TrackedJob::new(JobType::Provision, job_of(&launched));
        s.aap.cancel(&vm(), &job).await.unwrap();
        let history = [record(&launched, 1)];
        for _ in 0..19 {
            let status = s.state(&launched).await;
            assert_eq!(
                (status.state, status.settled),
                (JobState::Canceled, false),
                "{}",
                status.job
            );
            let result = s
                .aap
                .trigger_deprovision(&request(2), &history)
                .await
                .unwrap();
            assert!(
                matches!(result, DeprovisionResult::Waiting { .. }),
                "{result:?}"
            );
            s.pass(10);
        }
        s.pass(60);
        assert!(s.state(&launched).await.settled);
        let result = s
            .aap
            .trigger_deprovision(&request(2), &history)
            .await
            .unwrap();
        assert!(matches!(result, DeprovisionResult::Triggered { .. }));
        assert_eq!(s.sim.overlaps(), []);
    }
}

#[tokio::test]
async fn a_job_that_the_reaper_failed_is_not_settled_while_it_runs_on() {
    let s = setup(Template::job(CREATE).with_plan(RunPlan::lasting(Duration::from_secs(90)))).await;
    let launched = s.provision(1).await;
    s.pass(10);
    assert!(s.sim.reap(8 + 1));
    let status = s.state(&launched).await;
    assert_eq!((status.state, status.settled), (JobState::Failed, false));
    s.pass(200);
    let status = s.state(&launched).await;
    assert_eq!(
        (status.state, status.settled),
        (JobState::Succeeded, true),
        "it flipped"
    );
}

#[tokio::test]
async fn d30_an_id_of_another_provider_is_not_asked_for() {
    let s = setup(Template::job(CREATE)).await;
    let mut job = JobRef::new("eda", "", "eda-webhook-3");
    job.kind = String::new();
    let error = s
        .aap
        .status(&vm(), &TrackedJob::new(JobType::Provision, job))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(
        error.to_string().contains("belongs to another provider"),
        "{error}"
    );
    assert_eq!(s.sim.requests(), [] as [String; 0]);
}

#[tokio::test]
async fn records_without_a_kind_are_looked_for_as_both() {
    let s = setup(Template::workflow(CREATE)).await;
    let launched = s.provision(1).await;
    s.pass(60);
    let legacy = TrackedJob::new(
        JobType::Provision,
        JobRef::new("", "", job_of(&launched).id),
    );
    let status = s.aap.status(&vm(), &legacy).await.unwrap();
    assert_eq!(
        (status.state, status.job.kind.as_str()),
        (JobState::Succeeded, "workflow_job")
    );
}

#[tokio::test]
async fn d33_a_template_that_does_not_prompt_is_refused_before_the_launch() {
    for template in [Template::job(CREATE), Template::workflow(CREATE)] {
        let s = setup(template.not_promptable()).await;
        let error = s.aap.trigger_provision(&request(1)).await.unwrap_err();
        assert!(matches!(error, TriggerError::NotLaunched(_)));
        assert!(error.to_string().contains("Prompt on launch"), "{error}");
        assert_eq!(s.sim.journal(), []);
    }
}

#[tokio::test]
async fn d33_a_job_that_ran_without_our_variables_is_canceled() {
    // Between the look at the template and the launch somebody edits it.
    let s = setup(Template::job(CREATE)).await;
    s.aap.preflight(&["ComputeInstance".to_owned()]).await;
    let edited = Template::job(CREATE).not_promptable().requiring(&["size"]);
    s.sim.edit_template(7, edited);
    let request = request(1).with_extra_vars(ExtraVars::new().with("size", "small"));
    let error = s.aap.trigger_provision(&request).await.unwrap_err();
    assert!(matches!(error, TriggerError::Ambiguous(_)));
    assert_eq!(error.error().stray_job().unwrap().id, "9");
    assert!(
        error
            .to_string()
            .contains("ran without them and was canceled"),
        "{error}"
    );
    assert_eq!(s.sim.status(9), Some("canceled"));
}

#[tokio::test]
async fn d36_no_error_repeats_a_secret() {
    let s = setup(Template::job(CREATE).requiring(&["version"])).await;
    let secret = "pa55\"word-of-storage";
    let vars = ExtraVars::new().with_secret("storage_password", secret);
    let request = request(1).with_extra_vars(vars);
    let error = s.aap.trigger_provision(&request).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("requires the survey variables version"),
        "{error}"
    );
    for text in [
        format!("{error}"),
        format!("{error:?}"),
        format!("{request:?}"),
        format!("{:?}", s.aap),
    ] {
        assert!(
            !text.contains("word-of-storage") && !text.contains(ADMIN_TOKEN),
            "{text}"
        );
    }
}

#[tokio::test]
async fn d36_a_400_that_echoes_the_request_is_redacted() {
    use wiremock::matchers::{method, path};
    use wiremock::{Mock, MockServer, ResponseTemplate};
    let server = MockServer::start().await;
    let get = async |at: &str, body: Value| {
        Mock::given(method("GET"))
            .and(path(at.to_owned()))
            .respond_with(ResponseTemplate::new(200).set_body_json(body))
            .mount(&server)
            .await;
    };
    get("/api/v2/ping/", json!({"version": "24.6.1"})).await;
    let row = json!({"id": 7, "type": "job_template", "name": CREATE});
    get("/api/v2/unified_job_templates/", json!({"results": [row]})).await;
    get(
        "/api/v2/job_templates/7/launch/",
        json!({"ask_variables_on_launch": true}),
    )
    .await;
    Mock::given(method("POST"))
        .respond_with(|request: &wiremock::Request| {
            let echo = String::from_utf8_lossy(&request.body).into_owned();
            ResponseTemplate::new(400).set_body_json(
                json!({"extra_vars": [format!("bad: {echo}")], "x": ["pa55\\\"word-of-storage"]}),
            )
        })
        .mount(&server)
        .await;
    let http = HttpConfig {
        proxy_from_environment: false,
        ..HttpConfig::default()
    };
    let config = AapConfig::new(server.uri(), Auth::token(ADMIN_TOKEN))
        .with_template_prefix("osac")
        .with_http(http);
    let vars = ExtraVars::new().with_secret("a_password", "pa55\"word-of-storage");
    let error = AapProvider::new(config)
        .unwrap()
        .trigger_provision(&request(1).with_extra_vars(vars))
        .await
        .unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(matches!(error, TriggerError::NotLaunched(_)));
    assert!(text.contains("refused the launch"), "{text}");
    for part in ["word-of-storage", "a_password", "cores", "payload"] {
        assert!(!text.contains(part), "{text}");
    }
}

#[tokio::test]
async fn d38_only_a_projection_of_the_object_is_sent() {
    let s = setup(Template::job(CREATE)).await;
    let vars = ExtraVars::new().with("tier", "gold");
    s.aap
        .trigger_provision(&request(1).with_extra_vars(vars))
        .await
        .unwrap();
    let sent = s.sim.journal()[0].extra_vars.clone();
    let object = &sent["ansible_eda"]["event"]["payload"];
    assert_eq!(object["spec"]["cores"], 4);
    assert_eq!(object["metadata"]["name"], "vm");
    assert_eq!(object.get("status"), None);
    assert_eq!(object["metadata"].get("managedFields"), None);
    assert_eq!(sent["tier"], "gold");
    assert_eq!(
        sent["provider_operation_token"],
        OperationToken::from_random(1).as_str()
    );
}

#[tokio::test]
async fn the_envelope_is_the_users_choice() {
    for (text, pointer) in [
        ("osac_job_vars", "/osac_job_vars/resource/spec/cores"),
        ("my.own.place", "/my/own/place/spec/cores"),
    ] {
        let envelope: Envelope = text.parse().unwrap();
        let s = setup_with(World::with([Template::job(CREATE)]), |c| {
            c.with_envelope(envelope)
        })
        .await;
        s.provision(1).await;
        assert_eq!(
            s.sim.journal()[0].extra_vars.pointer(pointer),
            Some(&json!(4))
        );
    }
}

#[tokio::test]
async fn d49_d51_a_status_says_what_was_reached_and_where_the_job_is() {
    let s = setup(Template::job(CREATE)).await;
    let launched = s.provision(1).await;
    s.pass(60);
    let status = s.state(&launched).await;
    assert_eq!(
        status.reconciled_version,
        Some(ConfigVersion::of_json(&json!({"cores": 4})))
    );
    assert!(status.started_at.is_some() && status.finished_at.is_some());
    assert_eq!(status.elapsed, Some(Duration::from_secs(1)));
    let job = &status.job;
    assert_eq!((job.provider.as_str(), job.kind.as_str()), ("aap", "job"));
    assert_eq!(job.url, Some(format!("{}/api/v2/jobs/9/", s.sim.url())));
}

#[tokio::test]
async fn a_persons_relaunch_is_not_our_launch() {
    let s = setup(Template::job(CREATE)).await;
    let launched = s.provision(1).await;
    s.pass(60);
    s.sim
        .relaunch(job_of(&launched).id.parse().unwrap())
        .unwrap();
    assert_eq!(s.find(1).await.len(), 1);
}

#[tokio::test]
async fn a_late_launch_turns_up_in_the_search() {
    let s = setup(Template::job(CREATE)).await;
    s.provision(1).await;
    s.sim.fault(Route::Launch, &Fault::CommitLate(100_000), 1);
    let error = s.aap.trigger_provision(&request(2)).await.unwrap_err();
    assert!(matches!(error, TriggerError::Ambiguous(_)));
    assert_eq!(s.find(2).await, []);
    // Deleting meanwhile waits for what may still turn up.
    let mut open = JobRecord::new(2, JobType::Provision);
    open.token = Some(OperationToken::from_random(2));
    open.sent_at = Some("2026-11-23T04:00:00Z".parse().unwrap());
    let result = s
        .aap
        .trigger_deprovision(&request(3), &[open])
        .await
        .unwrap();
    assert!(
        matches!(result, DeprovisionResult::Waiting { .. }),
        "{result:?}"
    );
    s.pass(101);
    assert_eq!(s.find(2).await.len(), 1);
}

#[tokio::test]
async fn a_search_goes_through_all_pages() {
    let s = setup(Template::job(CREATE)).await;
    let wanted = s.provision(450).await;
    for n in 1..=420 {
        s.provision(n).await;
    }
    let found = s.find(450).await;
    assert_eq!(found[0].job.id, job_of(&wanted).id);
    assert_eq!(s.find(420).await.len(), 1);
}

#[tokio::test]
async fn the_api_is_found_under_every_layout_and_asked_for_once() {
    for (layout, suffixes) in [
        (
            Layout::Controller,
            vec!["", "/", "/api", "/api/v2", "/api/v2/", "/api/controller"],
        ),
        (
            Layout::Gateway,
            vec!["", "/api", "/api/controller", "/api/controller/v2/"],
        ),
        (Layout::Prefixed, vec!["", "/api/controller/v2"]),
    ] {
        for suffix in suffixes {
            let mut world = World::with([Template::job(CREATE)]);
            world.layout = layout;
            let s = setup_with(world, |mut c| {
                c.url = format!("{}{suffix}", c.url);
                c
            })
            .await;
            let launched = s.provision(1).await;
            s.pass(60);
            assert_eq!(
                s.state(&launched).await.state,
                JobState::Succeeded,
                "{layout:?} {suffix}"
            );
            let pings = s
                .sim
                .requests()
                .iter()
                .filter(|r| r.ends_with("/ping/"))
                .count();
            assert!(pings <= 2, "{layout:?} {suffix}");
        }
    }
}

#[tokio::test]
async fn basic_authentication_works_too() {
    let s = setup_with(World::with([Template::job(CREATE)]), |mut c| {
        c.auth = Auth::basic("operator", "operator-password");
        c
    })
    .await;
    s.provision(1).await;
}

#[tokio::test]
async fn preflight_names_every_misconfiguration() {
    let world = World::with([
        Template::job("osac-create-compute-instance"),
        Template::job("osac-delete-compute-instance").not_promptable(),
        Template::job("osac-create-tenant").requiring(&["size"]),
    ]);
    let s = setup_with(world, |c| c).await;
    let kinds = ["ComputeInstance".to_owned(), "Tenant".to_owned()];
    let report = s.aap.preflight(&kinds).await;
    let text = report.to_string();
    assert!(!report.is_ok());
    for part in [
        "ok      controller: it answers at http://127.0.0.1",
        "ok      credentials: we are user \"admin\"",
        "ok      provision of ComputeInstance: job template \"osac-create-compute-instance\"",
        "ERROR   deprovision of ComputeInstance: job template \"osac-delete-compute-instance\" does not take variables at launch; enable \"Prompt on launch\"",
        "ERROR   provision of Tenant: job template \"osac-create-tenant\" requires the survey variables size",
        "ERROR   deprovision of Tenant: there is no job or workflow template named \"osac-delete-tenant\"",
    ] {
        assert!(text.contains(part), "missing: {part}\nin: {text}");
    }
    assert!(!text.contains(ADMIN_TOKEN));
    assert_eq!(s.sim.journal(), [], "nothing was launched");
}

/// What the preflight says cannot be launched is not sent: the controller would not have taken it, or a job
/// template would have run without our variables.
#[tokio::test]
async fn what_preflight_finds_the_controller_refuses_at_launch_too() {
    use provider_testkit::aap::{OPERATOR_TOKEN, READER_TOKEN};
    let job = || Template::job(CREATE);
    let no_inventory =
        r#"{"resources_needed_to_start":["Job Template inventory is missing or undefined."]}"#;
    let dropped = r#""ignored_fields":{"extra_vars":{"osac_object":{}}}"#;
    for (template, token, finding, status, refusal) in [
        (
            job().restricted(),
            OPERATOR_TOKEN,
            "grant this user the role Execute",
            403,
            "permission",
        ),
        (job(), READER_TOKEN, "scope write", 403, "permission"),
        (
            job().without_inventory(),
            ADMIN_TOKEN,
            "has no inventory",
            400,
            no_inventory,
        ),
        (
            job().without_inventory().asking_inventory(),
            ADMIN_TOKEN,
            "asks for an inventory at launch and has no default",
            400,
            no_inventory,
        ),
        (
            job().without_project(),
            ADMIN_TOKEN,
            "has no project",
            400,
            "A project is required to run a job.",
        ),
        (
            job().not_promptable(),
            ADMIN_TOKEN,
            "does not take variables at launch",
            201,
            dropped,
        ),
        (
            job().not_promptable().hiding(&["pin"]),
            ADMIN_TOKEN,
            "takes the variables of its survey only, which lacks",
            201,
            dropped,
        ),
        (
            Template::workflow(CREATE).not_promptable(),
            ADMIN_TOKEN,
            "does not take variables at launch",
            400,
            "Variables osac_object are not allowed on launch.",
        ),
        (
            job().asking_passwords(&["ssh_password"]),
            ADMIN_TOKEN,
            "asks for a password (ssh_password)",
            400,
            r#"{"passwords_needed_to_start":["ssh_password"]}"#,
        ),
        (
            job().requiring(&["count"]),
            ADMIN_TOKEN,
            "requires the survey variables count",
            400,
            r#"{"variables_needed_to_start":["'count' value missing"]}"#,
        ),
    ] {
        let collection = match template.kind {
            provider_testkit::aap::Kind::Job => "job_templates",
            provider_testkit::aap::Kind::Workflow => "workflow_job_templates",
        };
        let s = setup(template).await;
        let mut config = config(&s.sim);
        config.auth = Auth::token(token);
        let aap = AapProvider::new(config).unwrap();
        let report = aap.preflight(&["ComputeInstance".to_owned()]).await;
        let report = report.to_string();
        let found = |line: &str| line.contains("ERROR   provision") && line.contains(finding);
        assert!(report.lines().any(found), "{refusal}: {report}");
        let error = aap.trigger_provision(&request(1)).await.unwrap_err();
        assert_eq!(error.error().effect(), Effect::NotSent, "{error}");
        assert_eq!(s.sim.journal(), []);
        let launch = format!("{}/api/v2/{collection}/7/launch/", s.sim.url());
        let answer = reqwest::Client::new()
            .post(launch)
            .bearer_auth(token)
            .json(&json!({"extra_vars": {"osac_object": {}}}))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status().as_u16(), status);
        let text = answer.text().await.unwrap();
        assert!(text.contains(refusal), "{text}");
        let runs = s.sim.journal();
        assert_eq!(runs.len(), usize::from(status == 201));
        for run in runs {
            assert_eq!(run.extra_vars, json!({}));
        }
    }
}

#[tokio::test]
async fn a_wrong_url_is_one_clear_sentence() {
    let s = setup(Template::job(CREATE)).await;
    for (url, part) in [
        (
            format!("{}/nowhere", s.sim.url()),
            "no controller answers at",
        ),
        (
            "http://127.0.0.1:1".to_owned(),
            "no connection to the controller",
        ),
        (
            "http://controller.invalid".to_owned(),
            "no connection to the controller",
        ),
    ] {
        let mut config = config(&s.sim);
        config.url = url;
        let error = AapProvider::new(config)
            .unwrap()
            .trigger_provision(&request(1))
            .await
            .unwrap_err();
        assert!(
            matches!(&error, TriggerError::NotLaunched(e) if e.effect() == Effect::NotSent),
            "{error}"
        );
        assert!(error.to_string().contains(part), "{error}");
    }
}

/// D47: settings of connections exist and are checked when the provider is made.
#[tokio::test]
async fn d47_a_ca_file_that_cannot_be_used_is_refused() {
    let s = setup(Template::job(CREATE)).await;
    let mut config = config(&s.sim);
    config.http.ca_file = Some("/nonexistent/ca.pem".into());
    let error = AapProvider::new(config.clone()).unwrap_err().to_string();
    assert!(error.starts_with("http.caFile: cannot read"), "{error}");
    config.http.ca_file = Some(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml").into());
    let error = AapProvider::new(config).unwrap_err().to_string();
    assert!(error.contains("holds no PEM certificate"), "{error}");
}
