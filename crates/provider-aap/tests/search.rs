//! Launches whose answers were lost are found again, whatever the list of jobs looks like; and that there is
//! none is said only where it is known.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed"
)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::job_of;
use futures::future::join_all;
use jiff::Timestamp;
use provider_aap::{AapConfig, AapProvider, Auth, HttpConfig};
use provider_core::{
    Effect, ErrorKind, ExtraVars, FindRequest, JobStatus, JobType, LaunchRequest, ManualClock,
    OperationToken, Provider, ProviderError, RelaunchQuery, Resource, TriggerError, clock,
};
use provider_testkit::TimerClock;
use provider_testkit::aap::{
    ADMIN_TOKEN, AapSim, Broken, Costs, Fault, OPERATOR_TOKEN, Route, RunPlan, Template, World,
};
use serde_json::{Map, Value, json};
use wiremock::matchers::path;
use wiremock::{Mock, MockServer, ResponseTemplate};

const CREATE: &str = "osac-create-compute-instance";
const DELETE: &str = "osac-delete-compute-instance";
const TOKEN_VARIABLE: &str = "provider_operation_token";

fn start() -> Timestamp {
    "2026-11-23T04:00:00Z".parse().unwrap()
}

struct Setup {
    sim: AapSim,
    clock: Arc<ManualClock>,
    aap: AapProvider,
}

async fn setup_as(user: &str, mut world: World) -> Setup {
    world.record_requests = true;
    let clock = Arc::new(ManualClock::new(start()));
    let sim = AapSim::start_in_process(world, clock.clone());
    let aap = AapProvider::with_clock(config(&sim, user), clock.clone()).unwrap();
    Setup { sim, clock, aap }
}

fn config(sim: &AapSim, user: &str) -> AapConfig {
    let http = HttpConfig {
        carrier: Some(sim.line()),
        ..HttpConfig::default()
    };
    AapConfig::new(sim.url(), Auth::token(user))
        .with_template_prefix("osac")
        .with_http(http)
}

async fn setup(create: Template) -> Setup {
    setup_as(OPERATOR_TOKEN, World::with([create, Template::job(DELETE)])).await
}

fn vm() -> Resource {
    vm_with("uid-1", json!({"cores": 4}))
}

fn vm_with(uid: &str, spec: Value) -> Resource {
    let mut vm = json!({"kind": "ComputeInstance", "metadata": {"name": "vm", "uid": uid}});
    vm["spec"] = spec;
    Resource::from_json(vm).unwrap()
}

fn token(n: u128) -> OperationToken {
    OperationToken::from_random(n)
}

impl Setup {
    fn request(&self, n: u128) -> LaunchRequest {
        LaunchRequest::new(vm(), token(n))
    }

    async fn launch(&self, n: u128) -> u64 {
        let request = self.request(n);
        let launched = self.aap.trigger_provision(&request).await.unwrap();
        job_of(&launched).id.parse().unwrap()
    }

    /// A launch that is carried out, and whose answer is lost.
    async fn lose(&self, request: &LaunchRequest) {
        self.sim.fault(Route::Launch, &Fault::DropAfter, 1);
        let error = self.aap.trigger_provision(request).await.unwrap_err();
        assert!(matches!(error, TriggerError::Ambiguous(_)), "{error}");
    }

    /// As the engine asks for a launch that was sent at the beginning.
    fn query(&self, n: u128) -> FindRequest {
        FindRequest::new(vm(), JobType::Provision, token(n))
            .not_before(start())
            .not_after(clock::add(start(), Duration::from_secs(210)))
    }

    async fn find(&self, n: u128) -> Result<Vec<JobStatus>, ProviderError> {
        self.aap.find_launched(&self.query(n)).await
    }

    /// The ids of what is found.
    async fn ids(&self, n: u128) -> Vec<u64> {
        let found = self.find(n).await.unwrap();
        found
            .iter()
            .map(|status| status.job.id.parse().unwrap())
            .collect()
    }

    fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// The questions to lists of jobs since then.
    fn lists_since(&self, before: usize) -> Vec<String> {
        let requests = self.sim.requests().split_off(before);
        requests
            .into_iter()
            .filter(|request| request.contains("/unified_jobs/"))
            .collect()
    }
}

fn vars(members: &[(&str, Value)]) -> Map<String, Value> {
    members
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect()
}

// ---- the end of a list ----

#[tokio::test]
async fn a_page_that_is_shorter_than_was_asked_for_is_not_the_last() {
    let mut world = World::with([Template::job(CREATE).with_labels(), Template::job(DELETE)]);
    world.max_page_size = 25;
    let s = setup_as(OPERATOR_TOKEN, world).await;
    let mut ids = Vec::new();
    for n in 1..=80 {
        let labels = [format!("label-{}", n % 2)];
        let own = vars(&[(TOKEN_VARIABLE, json!(token(n).as_str()))]);
        ids.push(s.sim.launch(CREATE, &own, &labels).unwrap());
    }
    assert_eq!(s.ids(80).await, [ids[79]]);
    assert_eq!(s.find(81).await, Ok(vec![]));
    let labelled = s.aap.find_labelled("label-1", None).await.unwrap();
    assert_eq!(labelled.len(), 40);
    let held = s
        .aap
        .find_labelled("label-0", Some(token(80).as_str()))
        .await;
    assert_eq!(held.unwrap().len(), 1);
}

// ---- rows and pages that cannot be had ----

#[tokio::test]
async fn a_row_that_the_controller_cannot_show_hides_no_other() {
    for ours_comes_first in [true, false] {
        let world = [
            Template::job(CREATE),
            Template::job(DELETE),
            Template::job("other"),
        ];
        let s = setup_as(OPERATOR_TOKEN, World::with(world)).await;
        if ours_comes_first {
            s.lose(&s.request(1)).await;
        }
        let mut broken = Vec::new();
        for n in 0..30 {
            broken.push(
                s.sim
                    .launch("other", &vars(&[("n", json!(n))]), &[])
                    .unwrap(),
            );
        }
        for id in [broken[3], broken[17], broken[18]] {
            s.sim.break_row(id, Some(Broken::Everywhere));
        }
        if !ours_comes_first {
            s.lose(&s.request(1)).await;
        }
        assert_eq!(s.ids(1).await.len(), 1);
        // They are of another template: ours is not there.
        assert_eq!(s.find(2).await, Ok(vec![]));
    }
}

#[tokio::test]
async fn a_row_of_ours_that_only_lists_cannot_show_is_read_by_itself() {
    let s = setup(Template::job(CREATE)).await;
    for n in 1..=5 {
        let id = s.launch(n).await;
        s.sim.break_row(id, Some(Broken::InLists));
    }
    assert_eq!(s.ids(3).await.len(), 1);
    assert_eq!(s.find(9).await, Ok(vec![]));
}

#[tokio::test]
async fn a_row_that_nobody_can_show_may_be_ours_and_is_named() {
    let s = setup(Template::job(CREATE)).await;
    let other = s.launch(2).await;
    s.launch(3).await;
    s.sim.break_row(other, Some(Broken::Everywhere));
    assert_eq!(s.ids(3).await.len(), 1, "what is found is found");
    for _ in 0..2 {
        let error = s.find(1).await.unwrap_err();
        assert_eq!(error.effect(), Effect::Unreadable);
        assert!(
            error.to_string().contains(&format!("job {other} ")),
            "{error}"
        );
    }
    s.sim.break_row(other, None);
    assert_eq!(s.find(1).await, Ok(vec![]));
    assert_eq!(s.ids(2).await, [other]);
}

/// What is searched for every few minutes is remembered for hours; a row that broke in the morning is not the
/// launch of the afternoon.
#[tokio::test]
async fn a_row_that_nobody_can_show_is_in_doubt_only_as_long_as_it_could_be_ours() {
    let s = setup(Template::job(CREATE)).await;
    let old = s.launch(2).await;
    s.sim.break_row(old, Some(Broken::Everywhere));
    let mut doubts = 0;
    for n in 10..40 {
        s.pass(60);
        let now = provider_core::Clock::now(&*s.clock);
        let query = FindRequest::new(vm(), JobType::Provision, token(n))
            .not_before(now)
            .not_after(clock::add(now, Duration::from_secs(210)));
        match s.aap.find_launched(&query).await {
            Ok(found) => assert_eq!(found, vec![]),
            Err(error) => {
                assert!(
                    error.to_string().contains(&format!("job {old} ")),
                    "{error}"
                );
                doubts += 1;
            }
        }
    }
    // As long as clocks may differ.
    assert!((5..12).contains(&doubts), "{doubts} of 30");
}

/// Of a template that nobody knows any more, every row may be, and yet none of hours ago.
#[tokio::test]
async fn without_its_template_a_row_that_nobody_can_show_is_in_doubt_no_longer() {
    let world = World::with([Template::job(CREATE), Template::job(DELETE)]);
    let s = setup_as(ADMIN_TOKEN, world).await;
    let old = s.launch(2).await;
    s.sim.break_row(old, Some(Broken::Everywhere));
    s.sim.remove_template(7);
    let mut doubts = Vec::new();
    for n in 10..40 {
        s.pass(60);
        let now = provider_core::Clock::now(&*s.clock);
        let query = FindRequest::new(vm(), JobType::Provision, token(n))
            .not_before(now)
            .not_after(clock::add(now, Duration::from_secs(210)));
        let found = s.aap.find_launched(&query).await;
        doubts.push(found.is_err());
        match found {
            Ok(found) => assert_eq!(found, vec![]),
            Err(error) => assert!(
                error.to_string().contains(&format!("job {old} ")),
                "{error}"
            ),
        }
    }
    // As long as clocks may differ, and never again.
    let (first, last) = doubts.split_at(12);
    assert!(first.contains(&true) && !last.contains(&true), "{doubts:?}");
}

#[tokio::test]
async fn pages_that_are_too_large_are_halved_and_grow_again() {
    let s = setup(Template::job(CREATE)).await;
    // More together than is read at once.
    let large = "x".repeat(3 << 20);
    for n in 1..=12 {
        let own = vars(&[
            (TOKEN_VARIABLE, json!(token(n).as_str())),
            ("large", json!(large)),
        ]);
        s.sim.launch(CREATE, &own, &[]).unwrap();
    }
    for n in 100..=350 {
        let own = vars(&[(TOKEN_VARIABLE, json!(token(n).as_str()))]);
        s.sim.launch(CREATE, &own, &[]).unwrap();
    }
    let before = s.sim.requests().len();
    assert_eq!(s.ids(12).await.len(), 1);
    assert_eq!(s.ids(350).await.len(), 1);
    let sizes: Vec<usize> = s.lists_since(before).iter().map(|r| page_size(r)).collect();
    let smallest = sizes.iter().position(|size| *size < 12).unwrap();
    assert!(sizes[smallest..].contains(&200), "{sizes:?}");
}

/// A list with one job, whose row is larger than what is read, or cannot be shown.
struct OneJob {
    large: Vec<u8>,
    is_broken: Arc<AtomicBool>,
}

impl wiremock::Respond for OneJob {
    fn respond(&self, request: &wiremock::Request) -> ResponseTemplate {
        let asked = |name: &str| {
            let pair = request.url.query_pairs().find(|(key, _)| key == name)?;
            pair.1.parse::<u64>().ok()
        };
        let is_listed = asked("id__gt").is_none_or(|after| after < 9)
            && asked("id__lte").is_none_or(|last| last >= 9);
        if !is_listed {
            return ResponseTemplate::new(200).set_body_json(json!({"results": []}));
        }
        if self.is_broken.load(Ordering::Relaxed) {
            return ResponseTemplate::new(500);
        }
        ResponseTemplate::new(200).set_body_raw(self.large.clone(), "application/json")
    }
}

#[tokio::test]
async fn a_row_that_is_too_large_alone_is_told_as_that_and_not_as_the_controllers_fault() {
    let is_broken = Arc::new(AtomicBool::new(false));
    let job = || OneJob {
        large: vec![b' '; 33 << 20],
        is_broken: is_broken.clone(),
    };
    let (server, clock, aap) = with_rows(&json!([]), &[]).await;
    for at in ["unified_jobs/", "jobs/9/"] {
        let at = Mock::given(path(format!("/api/v2/{at}")));
        at.respond_with(job()).with_priority(1).mount(&server).await;
    }
    let query = || FindRequest::new(vm(), JobType::Provision, token(1)).not_before(start());
    let error = aap.find_launched(&query()).await.unwrap_err();
    for part in ["job 9 ", "its row alone is larger than what is read"] {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
    let advice = "variables and artifacts of that job";
    assert!(error.advice().contains(advice), "{error}");
    // What is wrong with it may be another thing by now.
    is_broken.store(true, Ordering::Relaxed);
    clock.advance(Duration::from_secs(60));
    let error = aap.find_launched(&query()).await.unwrap_err();
    assert!(error.to_string().contains("cannot show it"), "{error}");
    assert!(error.advice().contains("controller's log"), "{error}");
}

fn page_size(request: &str) -> usize {
    let from = request.split("page_size=").nth(1).unwrap();
    from.split('&').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_controller_that_is_down_is_not_asked_for_every_size_of_page() {
    let s = setup(Template::job(CREATE)).await;
    s.lose(&s.request(1)).await;
    for fault in [Fault::Status(500), Fault::Html(1_000), Fault::HtmlOk(1_000)] {
        s.sim.fault(Route::Jobs, &fault, 1_000);
        let before = s.sim.requests().len();
        s.find(1).await.unwrap_err();
        let asked = s.lists_since(before);
        assert!(asked.len() <= 6, "{fault:?}: {asked:?}");
        s.sim.clear_faults();
        assert_eq!(s.ids(1).await.len(), 1, "{fault:?}");
    }
}

// ---- variables that cannot be read ----

#[tokio::test]
async fn a_template_whose_own_variables_are_no_numbers_hides_no_token() {
    let own = Template::job(CREATE)
        .with_own_variable("ratio", "NaN")
        .with_own_variable("bound", "-Infinity");
    let s = setup(own).await;
    s.lose(&s.request(1)).await;
    assert_eq!(s.ids(1).await.len(), 1);
    assert!(!s.find(1).await.unwrap()[0].stray);
    assert_eq!(s.find(2).await, Ok(vec![]));
}

fn nested(levels: usize) -> Value {
    (0..levels).fold(json!(1), |inner, _| json!({ "a": inner }))
}

#[tokio::test]
async fn deep_variables_hide_no_token_and_an_object_that_is_too_deep_is_not_launched() {
    // Deeper than a parser of JSON goes: AWX takes a few hundred levels.
    let deep = format!("{}1{}", "{\"a\": [".repeat(250), "]}".repeat(250));
    let s = setup(Template::job(CREATE).with_own_variable("deep", &deep)).await;
    s.lose(&s.request(1)).await;
    let found = s.find(1).await.unwrap();
    assert!(found.len() == 1 && !found[0].stray);
    assert_eq!(s.find(9).await, Ok(vec![]));
    let too_deep = LaunchRequest::new(vm_with("uid-1", nested(300)), token(2));
    let before = s.sim.count(Route::Launch);
    let error = s.aap.trigger_provision(&too_deep).await.unwrap_err();
    assert!(matches!(error, TriggerError::NotLaunched(_)), "{error}");
    assert!(error.to_string().contains("nested"), "{error}");
    assert_eq!(s.sim.count(Route::Launch), before);
}

#[tokio::test]
async fn a_survey_that_hides_the_token_is_refused_before_the_launch() {
    let s = setup(Template::job(CREATE).hiding(&[TOKEN_VARIABLE])).await;
    let error = s.aap.trigger_provision(&s.request(1)).await.unwrap_err();
    assert!(matches!(error, TriggerError::NotLaunched(_)), "{error}");
    assert!(error.to_string().contains(TOKEN_VARIABLE), "{error}");
    assert_eq!(s.sim.count(Route::Launch), 0);
    let report = s.aap.preflight(&["ComputeInstance".to_owned()]).await;
    assert!(
        report.to_string().contains("hides the variable"),
        "{report}"
    );
    // Any other password is nobody's business.
    let s = setup(Template::job(CREATE).hiding(&["db_password"])).await;
    s.launch(1).await;
}

#[tokio::test]
async fn a_job_whose_token_is_hidden_may_be_ours_and_is_named() {
    let other = Template::job("other").hiding(&[TOKEN_VARIABLE]);
    let hiding = Template::job(CREATE).hiding(&[TOKEN_VARIABLE]);
    let s = setup_as(
        OPERATOR_TOKEN,
        World::with([hiding, Template::job(DELETE), other]),
    )
    .await;
    let own = vars(&[(TOKEN_VARIABLE, json!("anything"))]);
    s.sim.launch("other", &own, &[]).unwrap();
    assert_eq!(s.find(1).await, Ok(vec![]), "it is of another template");
    let id = s.sim.launch(CREATE, &own, &[]).unwrap();
    let error = s.find(1).await.unwrap_err();
    assert!(error.to_string().contains(&format!("job {id} ")), "{error}");
    assert!(error.advice().contains("survey"), "{error}");
    // A launch of another time is none of it.
    s.pass(86_400);
    let later = FindRequest::new(vm(), JobType::Provision, token(1))
        .not_before(clock::add(start(), Duration::from_secs(86_400)));
    assert_eq!(s.aap.find_launched(&later).await, Ok(vec![]));
}

// ---- what we may not see ----

#[tokio::test]
async fn what_this_user_may_not_see_is_not_absent() {
    let s = setup(Template::job(CREATE).with_plan(RunPlan::endless())).await;
    s.lose(&s.request(1)).await;
    for when in ["before anything was read", "after all of it was"] {
        s.sim.estrange(OPERATOR_TOKEN, CREATE, true);
        let error = s.find(1).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Forbidden, "{when}: {error}");
        let text = error.to_string();
        assert!(
            text.contains("user \"operator\"") && text.contains(CREATE),
            "{when}: {text}"
        );
        assert!(error.advice().contains("Execute"), "{when}: {error}");
        s.sim.estrange(OPERATOR_TOKEN, CREATE, false);
        assert_eq!(s.ids(1).await.len(), 1, "{when}");
        assert_eq!(s.find(2).await, Ok(vec![]), "{when}");
    }
}

#[tokio::test]
async fn a_token_that_may_start_nothing_proves_nothing_and_a_superuser_needs_no_right() {
    let s = setup(Template::job(CREATE)).await;
    s.lose(&s.request(1)).await;
    let as_user =
        |user: &str| AapProvider::with_clock(config(&s.sim, user), s.clock.clone()).unwrap();
    let reader = as_user(provider_testkit::aap::READER_TOKEN);
    let error = reader.find_launched(&s.query(2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden, "{error}");
    assert_eq!(reader.find_launched(&s.query(1)).await.unwrap().len(), 1);
    // The template is gone, and with it everything that an ordinary user saw of its jobs.
    s.pass(60);
    s.sim.remove_template(7);
    let error = s.find(1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden, "{error}");
    let admin = as_user(ADMIN_TOKEN);
    assert_eq!(admin.find_launched(&s.query(1)).await.unwrap().len(), 1);
    assert_eq!(admin.find_launched(&s.query(2)).await, Ok(vec![]));
}

#[tokio::test]
async fn a_template_that_was_made_anew_shows_no_jobs_of_the_old_one() {
    let s = setup(Template::job(CREATE)).await;
    s.lose(&s.request(1)).await;
    s.pass(600);
    s.sim.remove_template(7);
    s.sim.add_template(Template::job(CREATE));
    let error = s.find(1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden, "{error}");
    assert!(error.to_string().contains("made anew"), "{error}");
    // What is launched from now on is seen.
    let now = clock::add(start(), Duration::from_secs(600));
    let query = FindRequest::new(vm(), JobType::Provision, token(2))
        .not_before(now)
        .not_after(clock::add(now, Duration::from_secs(210)));
    assert_eq!(s.aap.find_launched(&query).await, Ok(vec![]));
}

/// A controller without a clock, with these rows of templates and these other answers.
async fn with_rows(
    templates: &Value,
    more: &[(&str, Value)],
) -> (MockServer, Arc<ManualClock>, AapProvider) {
    let server = MockServer::start().await;
    let known = [
        ("ping/", json!({"version": "24.6.1"})),
        ("me/", json!({"results": [{"id": 1, "username": "alice"}]})),
        ("unified_job_templates/", json!({"results": templates})),
    ];
    for (at, body) in known.iter().chain(more) {
        let answer = ResponseTemplate::new(200).set_body_json(body);
        Mock::given(path(format!("/api/v2/{at}")))
            .respond_with(answer.insert_header("date", "none"))
            .mount(&server)
            .await;
    }
    let config = AapConfig::new(server.uri(), Auth::token("t"))
        .with_template_prefix("osac")
        .with_http(HttpConfig {
            proxy_from_environment: false,
            ..HttpConfig::default()
        });
    let clock = Arc::new(ManualClock::new(start()));
    let aap = AapProvider::with_clock(config, clock.clone()).unwrap();
    (server, clock, aap)
}

#[tokio::test]
async fn a_row_of_a_template_with_odd_members_costs_no_search() {
    for (odd, is_new) in [
        (json!({"created": "2026-11-23T04:10:00.123456789012"}), true),
        (json!({"created": " 2026-11-23 04:10:00 "}), true),
        (json!({"created": "2026-11-23T03:00:00.1234567890Z"}), false),
        (json!({"created": "soon"}), false),
        (json!({"created": [1e19]}), false),
        (json!({"created": null}), false),
    ] {
        let mut row = json!({"id": 7, "type": "job_template", "name": CREATE, "created": "2026-11-23T03:00:00Z",
                             "summary_fields": {"user_capabilities": {"start": true}}});
        row.as_object_mut()
            .unwrap()
            .extend(odd.as_object().unwrap().clone());
        let others = json!({"id": null, "type": 7, "name": {}, "created": 1, "summary_fields": {
                            "user_capabilities": {"start": "yes"}}});
        let jobs = ("unified_jobs/", json!({"results": []}));
        let (_server, _clock, aap) = with_rows(&json!([others, row]), &[jobs]).await;
        let query = FindRequest::new(vm(), JobType::Provision, token(1))
            .not_before(start())
            .not_after(start());
        let found = aap.find_launched(&query).await;
        match found {
            Ok(found) => assert!(found.is_empty() && !is_new, "{odd}"),
            Err(error) => assert!(
                is_new && error.to_string().contains("made anew"),
                "{odd}: {error}"
            ),
        }
    }
}

// ---- jobs that are not what was sent ----

#[tokio::test]
async fn a_job_that_was_started_without_our_object_is_found_as_a_stray() {
    // After we have looked at the template it is edited: its survey knows the token, and the rest is
    // dropped.
    let s = setup(Template::job(CREATE)).await;
    s.aap.preflight(&["ComputeInstance".to_owned()]).await;
    let survey = Template::job(CREATE)
        .not_promptable()
        .requiring(&[TOKEN_VARIABLE]);
    s.sim.edit_template(7, survey);
    s.lose(&s.request(1)).await;
    let found = s.find(1).await.unwrap();
    assert!(found.len() == 1 && found[0].stray, "{found:?}");
}

#[tokio::test]
async fn a_job_that_lacks_what_the_caller_added_or_is_for_another_object_is_a_stray() {
    let s = setup(Template::job(CREATE)).await;
    let extra = ExtraVars::new().with("region", json!("north"));
    s.lose(&s.request(1).with_extra_vars(extra.clone())).await;
    assert!(!s.find(1).await.unwrap()[0].stray);
    let asked = s.query(1).with_extra_vars(extra.clone());
    assert!(!s.aap.find_launched(&asked).await.unwrap()[0].stray);
    s.lose(&s.request(2)).await;
    let asked = s.query(2).with_extra_vars(extra);
    assert!(s.aap.find_launched(&asked).await.unwrap()[0].stray);
    s.lose(&LaunchRequest::new(vm_with("uid-2", json!({})), token(3)))
        .await;
    assert!(s.find(3).await.unwrap()[0].stray);
}

#[tokio::test]
async fn a_job_that_was_given_another_value_is_a_stray_and_one_that_shows_it_otherwise_is_not() {
    let s = setup(Template::job(CREATE).hiding(&["secret"])).await;
    let sent = || {
        ExtraVars::new()
            .with("region", json!("north"))
            .with("size", json!({"cpus": 4, "tags": ["a", "b"], "share": 0.5}))
            .with("secret", json!("s3cret"))
            .with("none", json!(null))
            .with(TOKEN_VARIABLE, json!("theirs"))
            // Beside our object, and where that is put over it.
            .with(
                "ansible_eda",
                json!({"event": {"meta": 1, "payload": {"spec": "x", "kind": "other"}}}),
            )
    };
    s.lose(&s.request(1).with_extra_vars(sent())).await;
    let query = |n| s.query(n).with_extra_vars(sent());
    let found = s.aap.find_launched(&query(1)).await.unwrap();
    assert!(found.len() == 1 && !found[0].stray, "{found:?}");
    let given = s.sim.journal()[0].extra_vars.clone();
    for (n, pointer, value, stray) in [
        (2, "/region", json!("south"), true),
        (3, "/size/cpus", json!(2), true),
        (4, "/size/tags", json!(["a"]), true),
        (5, "/size/tags", json!(["a", "c"]), true),
        (6, "/size", json!("large"), true),
        (7, "/none", json!(0), true),
        (8, "/ansible_eda/event/meta", json!(2), true),
        // The same in other words, or with more to it.
        (9, "/size/cpus", json!(4.0), false),
        (10, "/size/more", json!("of the template"), false),
        (11, "/region", json!("$encrypted$"), false),
        (12, "/more", json!("of the survey"), false),
    ] {
        let mut given = given.clone();
        given[TOKEN_VARIABLE] = json!(token(n).as_str());
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        given.pointer_mut(parent).unwrap()[name] = value;
        let given = given.as_object().unwrap();
        s.sim.launch(CREATE, given, &[]).unwrap();
        let found = s.aap.find_launched(&query(n)).await.unwrap();
        assert_eq!((found.len(), found[0].stray), (1, stray), "{pointer}");
    }
    let own = Template::job(CREATE).with_own_variable("region", "NaN");
    s.sim.edit_template(7, own);
    let mut given = given.as_object().unwrap().clone();
    given.insert(TOKEN_VARIABLE.to_owned(), json!(token(13).as_str()));
    given.remove("region");
    s.sim.launch(CREATE, &given, &[]).unwrap();
    let found = s.aap.find_launched(&query(13)).await.unwrap();
    assert_eq!((found.len(), found[0].stray), (1, false), "nobody can tell");
}

// ---- copies ----

#[tokio::test]
async fn what_a_person_relaunched_is_found_with_its_token_and_by_its_object_only() {
    for create in [Template::job(CREATE), Template::workflow(CREATE)] {
        let s = setup(create.with_labels()).await;
        let id = s.launch(1).await;
        let strangers = LaunchRequest::new(vm_with("uid-2", json!({})), token(2));
        let other = s.aap.trigger_provision(&strangers).await.unwrap();
        s.pass(60);
        let query = RelaunchQuery::new(vm(), vec![token(1), token(2)]).not_before(start());
        assert_eq!(s.aap.find_relaunched(&query).await, Ok(vec![]));
        let copy = s.sim.relaunch(id).unwrap();
        s.sim.relaunch(job_of(&other).id.parse().unwrap()).unwrap();
        let found = s.aap.find_relaunched(&query).await.unwrap();
        let ids: Vec<_> = found
            .iter()
            .map(|one| (&one.token, one.status.job.id.clone()))
            .collect();
        assert_eq!(ids, [(&token(1), copy.to_string())]);
        assert_eq!(s.ids(1).await, [id], "a copy is not a launch of ours");
        // Few are relaunched: a look costs next to nothing.
        let before = s.sim.requests().len();
        s.aap.find_relaunched(&query).await.unwrap();
        assert!(
            s.lists_since(before).len() <= 2,
            "{:?}",
            s.lists_since(before)
        );
        // Whoever does not see them does not say that there are none.
        s.sim.estrange(OPERATOR_TOKEN, CREATE, true);
        let query = RelaunchQuery::new(vm(), vec![token(9)]).not_before(start());
        s.aap.find_relaunched(&query).await.unwrap_err();
    }
}

#[tokio::test]
async fn relaunched_jobs_with_a_label_are_listed_apart() {
    let s = setup(Template::job(CREATE).with_labels()).await;
    let label = ["osac".to_owned()];
    let id = s
        .sim
        .launch(CREATE, &vars(&[("a", json!("b"))]), &label)
        .unwrap();
    let copy = s.sim.relaunch(id).unwrap();
    let ids = |found: Vec<JobStatus>| -> Vec<String> {
        found.into_iter().map(|status| status.job.id).collect()
    };
    assert_eq!(
        ids(s.aap.find_labelled("osac", None).await.unwrap()),
        [id.to_string()]
    );
    let relaunched = s.aap.find_relaunched_labelled("osac", None).await;
    assert_eq!(ids(relaunched.unwrap()), [copy.to_string()]);
}

// ---- many in doubt ----

#[tokio::test]
async fn seventy_in_doubt_are_one_walk() {
    let s = setup(Template::job(CREATE)).await;
    for n in 1..=70 {
        s.lose(&s.request(n)).await;
    }
    let before = s.sim.requests().len();
    let found = join_all((1..=75).map(|n| s.find(n))).await;
    for (n, found) in found.iter().enumerate() {
        assert_eq!(found.as_ref().unwrap().len(), usize::from(n < 70), "{n}");
    }
    let asked = s.sim.requests().split_off(before);
    assert!(asked.len() <= 8, "{asked:?}");
}

#[tokio::test]
async fn the_next_walk_reads_only_what_is_new_and_what_became_visible_late() {
    let s = setup(Template::job(CREATE)).await;
    for n in 1..=250 {
        s.launch(n).await;
    }
    s.sim.fault(Route::Launch, &Fault::CommitSlowly(100_000), 1);
    s.aap
        .trigger_provision(&s.request(1_000))
        .await
        .unwrap_err();
    let newer = s.launch(2_000).await;
    assert_eq!(s.find(1_000).await, Ok(vec![]));
    s.pass(10);
    assert_eq!(s.ids(2_000).await, [newer]);
    assert_eq!(s.find(1_000).await, Ok(vec![]));
    s.pass(91);
    let before = s.sim.requests().len();
    let late = s.ids(1_000).await;
    assert!(late.len() == 1 && late[0] < newer, "{late:?} {newer}");
    let asked = s.lists_since(before);
    assert!(
        asked.iter().all(|request| request.contains("not__id__in=")),
        "{asked:?}"
    );
    // When all that was young is old, nothing is left out by name.
    s.pass(600);
    s.find(3_000).await.unwrap();
    s.pass(10);
    let before = s.sim.requests().len();
    assert_eq!(s.find(1_001).await, Ok(vec![]));
    let asked = s.lists_since(before);
    assert!(
        asked.len() == 1 && !asked[0].contains("not__id__in="),
        "{asked:?}"
    );
    assert_eq!(
        s.ids(250).await.len(),
        1,
        "it is known without being read again"
    );
}

#[tokio::test]
async fn a_search_that_broke_off_goes_on_where_it_was() {
    let mut world = World::with([Template::job(CREATE), Template::job(DELETE)]);
    world.max_page_size = 20;
    let s = setup_as(OPERATOR_TOKEN, world).await;
    for n in 1..=100 {
        s.launch(n).await;
    }
    let script =
        r#"{"faults": [{"route": "jobs", "after": 3, "fault": {"status": 401}, "times": 1}]}"#;
    s.sim.play(serde_json::from_str(script).unwrap());
    let answers = join_all([s.find(30), s.find(90)]).await;
    assert_eq!(
        answers[0].as_ref().unwrap().len(),
        1,
        "it was on a page that was read"
    );
    answers[1].as_ref().unwrap_err();
    let before = s.sim.requests().len();
    assert_eq!(s.ids(90).await.len(), 1);
    assert!(
        s.lists_since(before).len() <= 5,
        "{:?}",
        s.lists_since(before)
    );
    assert_eq!(s.find(101).await, Ok(vec![]));
}

#[tokio::test]
async fn a_walk_that_could_read_nothing_forgets_nothing() {
    let mut world = World::with([Template::job(CREATE), Template::job(DELETE)]);
    world.max_page_size = 20;
    let s = setup_as(OPERATOR_TOKEN, world).await;
    for n in 1..=100 {
        s.launch(n).await;
    }
    s.pass(300);
    assert_eq!(s.find(101).await, Ok(vec![]));
    s.sim.fault(Route::Jobs, &Fault::Gateway(401), 1);
    s.find(102).await.unwrap_err();
    let before = s.sim.requests().len();
    assert_eq!(s.find(102).await, Ok(vec![]));
    let asked = s.lists_since(before);
    assert!(asked.len() <= 2, "only what is new: {asked:?}");
}

#[tokio::test]
async fn a_search_that_is_given_up_holds_up_nobody() {
    let s = Arc::new(setup(Template::job(CREATE)).await);
    s.lose(&s.request(1)).await;
    s.sim.fault(Route::Jobs, &Fault::Hang, 1);
    let first = tokio::spawn({
        let s = Arc::clone(&s);
        async move { s.find(1).await }
    });
    until(|| s.sim.count(Route::Jobs) == 1).await;
    let second = tokio::spawn({
        let s = Arc::clone(&s);
        async move { s.find(1).await }
    });
    first.abort();
    assert_eq!(second.await.unwrap().unwrap().len(), 1);
}

async fn until(done: impl Fn() -> bool) {
    for _ in 0..1_000_000 {
        if done() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("it never came to be");
}

#[tokio::test]
async fn a_controller_that_does_not_serve_is_left_alone_by_searches_too() {
    let s = setup(Template::job(CREATE)).await;
    s.lose(&s.request(1)).await;
    s.sim.fault(Route::Jobs, &Fault::Status(503), 10_000);
    // It has served a moment ago, so a few failures are not taken for an outage.
    s.pass(10);
    for _ in 0..5 {
        s.find(1).await.unwrap_err();
    }
    let asked = s.sim.count(Route::Jobs);
    let error = s.find(1).await.unwrap_err();
    assert_eq!(s.sim.count(Route::Jobs), asked, "{error}");
    assert!(error.retry_after().is_some(), "{error}");
    s.sim.clear_faults();
    s.pass(31);
    assert_eq!(s.ids(1).await.len(), 1);
}

// ---- launches ----

#[tokio::test]
async fn no_more_launches_are_on_their_way_than_are_allowed_and_waiting_sends_nothing() {
    let world = World::with([Template::job(CREATE), Template::job(DELETE)]);
    let s = setup_as(OPERATOR_TOKEN, world).await;
    let two = config(&s.sim, OPERATOR_TOKEN).with_max_launches(2);
    let aap = Arc::new(AapProvider::with_clock(two, s.clock.clone()).unwrap());
    s.sim.fault(Route::Launch, &Fault::Hang, 2);
    let request = |n| LaunchRequest::new(vm(), token(n));
    let hanging: Vec<_> = (1..=2)
        .map(|n| {
            let (aap, request) = (Arc::clone(&aap), request(n));
            tokio::spawn(async move { aap.trigger_provision(&request).await })
        })
        .collect();
    until(|| s.sim.count(Route::Launch) == 2).await;
    let error = aap
        .trigger_provision(&request(3).send_by(start()))
        .await
        .unwrap_err();
    let TriggerError::NotLaunched(error) = error else {
        panic!("{error}");
    };
    assert_eq!(
        (error.effect(), error.kind()),
        (Effect::NotSent, ErrorKind::RateLimited)
    );
    assert!(error.retry_after().is_some(), "{error}");
    assert_eq!(s.sim.count(Route::Launch), 2);
    // One that may still leave waits, and leaves.
    let waiting = {
        let (aap, request) = (Arc::clone(&aap), request(4));
        tokio::spawn(async move { aap.trigger_provision(&request).await })
    };
    hanging[0].abort();
    waiting.await.unwrap().unwrap();
    assert_eq!(s.sim.count(Route::Launch), 3);
    hanging[1].abort();
}

/// Seventy objects are created at once, on a controller with five workers that takes five seconds for a
/// launch: what each of them takes until its job is known, by paused time.
async fn seventy_at_once(max_launches: u32) -> (AapSim, Vec<Duration>) {
    let clock = Arc::new(TimerClock::new(start()));
    let create = Template::job(CREATE).with_plan(RunPlan::endless());
    let mut world = World::with([create, Template::job(DELETE)]);
    world.costs = Some(Costs::busy());
    let sim = AapSim::start_in_process(world, clock.clone());
    let config = config(&sim, OPERATOR_TOKEN).with_max_launches(max_launches);
    let aap = AapProvider::with_clock(config, clock.clone()).unwrap();
    let began = tokio::time::Instant::now();
    let live = async |n: u128| {
        let object = vm_with(&format!("uid-{n}"), json!({}));
        for _ in 0..50 {
            let sent = provider_core::Clock::now(&*clock);
            let lease = clock::add(sent, Duration::from_secs(30));
            let request = LaunchRequest::new(object.clone(), token(n)).send_by(lease);
            match aap.trigger_provision(&request).await {
                Ok(_) => return began.elapsed(),
                Err(TriggerError::NotLaunched(error)) => {
                    assert_eq!(error.kind(), ErrorKind::RateLimited, "{error}");
                    tokio::time::sleep(error.retry_after().unwrap()).await;
                    continue;
                }
                Err(TriggerError::Ambiguous(_)) => {}
            }
            let query = FindRequest::new(object.clone(), JobType::Provision, token(n))
                .not_before(sent)
                .not_after(clock::add(sent, Duration::from_secs(210)));
            for _ in 0..50 {
                if aap
                    .find_launched(&query)
                    .await
                    .is_ok_and(|found| found.len() == 1)
                {
                    return began.elapsed();
                }
                tokio::time::sleep(Duration::from_secs(35)).await;
            }
        }
        panic!("object {n} never came to know of its job");
    };
    let took = join_all((1..=70).map(live)).await;
    (sim, took)
}

/// What the launches alone need: seventy of five seconds on five workers.
const ALONE: Duration = Duration::from_secs(70);

#[tokio::test(start_paused = true)]
async fn seventy_launches_at_once_are_known_soon_and_none_is_abandoned() {
    let (sim, took) = seventy_at_once(8).await;
    let last = took.iter().max().unwrap();
    assert!(*last <= ALONE * 2, "{last:?}");
    assert_eq!(sim.journal().len(), 70);
    let load = sim.load();
    assert!(load.abandoned.is_empty(), "{load:?}");
}

#[tokio::test(start_paused = true)]
async fn seventy_in_doubt_on_a_slow_controller_are_found_by_few_questions() {
    // As without a gate: most launches take longer than anybody waits.
    let (sim, took) = seventy_at_once(70).await;
    let last = took.iter().max().unwrap();
    assert!(*last <= ALONE * 2, "{last:?}");
    assert_eq!(sim.journal().len(), 70);
    // One search for each object was 323 in five minutes, of which none was answered.
    let lists = sim.count(Route::Jobs);
    let load = sim.load();
    assert!(lists <= 40, "{lists}: {load:?}");
    let patience = load
        .abandoned
        .iter()
        .filter(|(line, _)| line.contains("unified_jobs"));
    assert!(
        patience.map(|(_, times)| times).sum::<u64>() <= 4,
        "{load:?}"
    );
}
