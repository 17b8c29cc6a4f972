//! Actions: which template is launched, and that its jobs are told from all others.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed"
)]

mod acting;
mod common;

use acting::{
    CREATE, DELETE, RESTART, Setup, record, request, restart, setup_with, start, token, vm,
};
use common::job_of;
use provider_aap::AapProvider;
use provider_core::{
    ActionName, ConfigVersion, DeprovisionResult, Effect, ErrorKind, ExtraVars, FindRequest,
    JobRecord, JobRef, JobState, JobStatus, JobType, Provider, ProviderError, RelaunchQuery,
    TrackedJob, TriggerError,
};
use provider_testkit::aap::{Fault, OPERATOR_TOKEN, Route, RunPlan, Template};
use serde_json::{Map, Value, json};

const TOKEN_VARIABLE: &str = "provider_operation_token";

fn version() -> ConfigVersion {
    ConfigVersion::of_json(&json!({"cores": 4}))
}

/// A type that this version does not know.
fn unknown() -> JobType {
    JobType::Other(ActionName::new("migrate").unwrap())
}

fn setup() -> Setup {
    let templates = [CREATE, DELETE, RESTART].map(Template::job);
    setup_with(templates.into(), &with_restart())
}

fn with_restart() -> Value {
    json!({"prefix": "osac", "usedActions": ["restart"]})
}

impl Setup {
    async fn act(&self, n: u128) -> JobRef {
        let launched = self.aap.trigger_action(&restart(), &request(n)).await;
        job_of(&launched.unwrap())
    }

    async fn find(&self, job_type: JobType, n: u128) -> Result<Vec<JobStatus>, ProviderError> {
        let query = FindRequest::new(vm(), job_type, token(n)).not_before(start());
        self.aap.find_launched(&query).await
    }

    async fn deprovision(&self, history: &[JobRecord]) -> DeprovisionResult {
        let answer = self.aap.trigger_deprovision(&request(99), history).await;
        answer.unwrap()
    }
}

/// What a launch carries of itself.
fn given(n: u128) -> Map<String, Value> {
    let object = json!({"event": {"payload": vm().object()}});
    let given = [
        (TOKEN_VARIABLE, json!(token(n).as_str())),
        ("ansible_eda", object),
    ];
    given
        .map(|(name, value)| (name.to_owned(), value))
        .into_iter()
        .collect()
}

// ---- which template ----

#[tokio::test]
async fn an_action_launches_the_template_of_its_name_and_not_the_one_that_creates() {
    let s = setup();
    assert!(s.aap.capabilities().actions);
    let vars = ExtraVars::new().with("grace", "30s");
    let request = request(1).with_extra_vars(vars);
    let launched = s.aap.trigger_action(&restart(), &request).await.unwrap();
    assert_eq!(
        launched.message,
        format!("launched from job template \"{RESTART}\"")
    );
    assert_eq!(s.launched(), [RESTART]);
    let given = &s.sim.journal()[0].extra_vars;
    assert_eq!(given["grace"], "30s");
    assert_eq!(given[TOKEN_VARIABLE], token(1).as_str());
    let object = &given["ansible_eda"]["event"]["payload"];
    assert_eq!(object["metadata"]["uid"], "uid-1");
    s.pass(60);
    let job = TrackedJob::new(JobType::Action(restart()), job_of(&launched));
    assert_eq!(s.status(&job).await.unwrap().state, JobState::Succeeded);
}

#[tokio::test]
async fn a_named_template_of_an_action_comes_before_the_convention_and_that_of_the_kind_before_both()
 {
    let templates = || [RESTART, "bounce", "bounce-vm"].map(Template::job).into();
    let fixed = json!({"prefix": "osac", "actions": {"restart": "bounce"}});
    let s = setup_with(templates(), &fixed);
    s.act(1).await;
    assert_eq!(s.launched(), ["bounce"]);
    let mut of_kind = fixed;
    of_kind["kinds"] = json!({"ComputeInstance": {"actions": {"restart": {"name": "bounce-vm"}}}});
    let s = setup_with(templates(), &of_kind);
    s.act(1).await;
    assert_eq!(s.launched(), ["bounce-vm"]);
}

#[tokio::test]
async fn the_template_of_an_action_is_meant_in_the_organization_of_the_configuration() {
    let names = [CREATE, DELETE, RESTART].map(Template::job);
    let others = names.clone().map(|one| one.in_organization("Cloud"));
    let mut s = setup_with([names, others].concat(), &with_restart());
    let error = s
        .aap
        .trigger_action(&restart(), &request(1))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("is ambiguous"), "{error}");
    let config = s.aap.config().clone().with_organization("Cloud");
    s.aap = AapProvider::with_clock(config, s.clock.clone()).unwrap();
    let id = s.act(1).await.id.parse().unwrap();
    let given = s.sim.requests();
    assert!(
        given
            .iter()
            .any(|sent| sent.contains("/job_templates/12/launch/")),
        "{given:?}"
    );
    let report = s.aap.preflight(&["ComputeInstance".to_owned()]).await;
    assert!(report.is_ok(), "{report}");
    assert_eq!(s.find(JobType::Action(restart()), 2).await, Ok(vec![]));
    let query = RelaunchQuery::new(vm(), vec![token(1)]).not_before(start());
    assert_eq!(s.aap.find_relaunched(&query).await, Ok(vec![]));
    s.sim.relaunch(id).unwrap();
    assert_eq!(s.aap.find_relaunched(&query).await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_action_without_a_template_starts_nothing_and_the_error_names_the_template() {
    let s = setup();
    let resize = ActionName::new("resize").unwrap();
    let error = s.aap.trigger_action(&resize, &request(1)).await;
    let TriggerError::NotLaunched(error) = error.unwrap_err() else {
        panic!("nothing was sent");
    };
    assert!(
        error.to_string().contains("osac-resize-compute-instance"),
        "{error}"
    );
    assert_eq!(s.launched(), [""; 0]);
}

#[tokio::test]
async fn an_action_called_delete_does_not_launch_what_deletes() {
    let s = setup();
    for name in ["create", "delete"] {
        let action = ActionName::new(name).unwrap();
        let error = s
            .aap
            .trigger_action(&action, &request(1))
            .await
            .unwrap_err();
        assert!(matches!(error, TriggerError::NotLaunched(_)), "{error}");
        assert_eq!(error.error().effect(), Effect::NotSent);
        assert!(
            error.error().advice().contains("templates.actions"),
            "{error}"
        );
    }
    assert_eq!(s.launched(), [""; 0]);
    let named = json!({"prefix": "osac", "actions": {"delete": RESTART}});
    let s = setup_with([DELETE, RESTART].map(Template::job).into(), &named);
    let delete = ActionName::new("delete").unwrap();
    s.aap.trigger_action(&delete, &request(1)).await.unwrap();
    assert_eq!(s.launched(), [RESTART]);
}

// ---- before a deprovision ----

#[tokio::test]
async fn a_living_job_that_does_not_deprovision_is_canceled_and_settled_before_one_that_does() {
    for job_type in [JobType::Provision, JobType::Action(restart()), unknown()] {
        for is_named in [true, false] {
            let s = setup();
            s.sim.plan_next(RESTART, RunPlan::endless());
            let job = s.act(1).await;
            s.pass(5);
            // By its token alone, as long as the engine has not been told its name.
            let history = [record(job_type, 1, is_named.then(|| job.clone()))];
            let mut waited = 0;
            while let DeprovisionResult::Waiting {
                reason,
                provision_job,
                ..
            } = s.deprovision(&history).await
            {
                assert!(
                    reason.contains(&format!("{job_type} job {}", job.id)),
                    "{reason}"
                );
                let is_provision = job_type == JobType::Provision;
                assert_eq!(provision_job.is_some(), is_provision, "{provision_job:?}");
                waited += 1;
                assert!(waited < 20, "{reason}");
                // An end that only a list has told is certain after a while.
                s.pass(60);
            }
            assert!(waited >= 2, "asked for, then seen ended: {job_type}");
            assert_eq!(s.sim.status(job.id.parse().unwrap()), Some("canceled"));
            assert_eq!(s.launched(), [RESTART, DELETE]);
            assert_eq!(s.sim.overlaps(), []);
        }
    }
}

#[tokio::test]
async fn a_deprovision_that_may_be_alive_holds_no_other_back() {
    let s = setup();
    s.sim.plan_next(DELETE, RunPlan::endless());
    let DeprovisionResult::Triggered { job, .. } = s.deprovision(&[]).await else {
        panic!("nothing is in the way");
    };
    let history = [record(JobType::Deprovision, 99, job)];
    let again = s.deprovision(&history).await;
    assert!(
        matches!(again, DeprovisionResult::Triggered { .. }),
        "that is the engine's to decide"
    );
}

// ---- whose job it is ----

#[tokio::test]
async fn a_lost_answer_of_an_action_is_found_by_its_token() {
    let s = setup();
    s.sim.fault(Route::Launch, &Fault::DropAfter, 1);
    let error = s
        .aap
        .trigger_action(&restart(), &request(1))
        .await
        .unwrap_err();
    assert!(matches!(error, TriggerError::Ambiguous(_)), "{error}");
    let found = s.find(JobType::Action(restart()), 1).await.unwrap();
    assert_eq!((found.len(), found[0].stray), (1, false));
    let id: u64 = found[0].job.id.parse().unwrap();
    assert_eq!(
        (s.sim.journal()[0].id, s.launched()),
        (id, vec![RESTART.to_owned()])
    );
}

#[tokio::test]
async fn that_no_job_of_an_action_is_there_is_said_only_where_its_own_template_is_seen() {
    let s = setup();
    s.sim.estrange(OPERATOR_TOKEN, CREATE, true);
    let action = JobType::Action(restart());
    assert_eq!(
        s.find(action, 1).await,
        Ok(vec![]),
        "the other template proves nothing"
    );
    s.find(JobType::Provision, 1).await.unwrap_err();
    s.sim.estrange(OPERATOR_TOKEN, CREATE, false);
    s.sim.estrange(OPERATOR_TOKEN, RESTART, true);
    s.pass(60);
    let error = s.find(action, 1).await.unwrap_err();
    assert!(error.to_string().contains(RESTART), "{error}");
}

#[tokio::test]
async fn a_job_without_our_token_is_that_of_the_action_when_it_is_of_its_template() {
    let s = setup();
    s.sim.plan_next(RESTART, RunPlan::endless());
    let id = s.sim.launch(RESTART, &Map::new(), &[]).unwrap();
    let of = |job_type| {
        TrackedJob::new(job_type, JobRef::new("aap", "job", id.to_string()))
            .with_token(token(1))
            .with_launched_at(start())
    };
    s.pass(10);
    for other in [JobType::Provision, JobType::Deprovision] {
        let error = s.status(&of(other)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Replaced, "{error}");
        let error = s.aap.cancel(&vm(), &of(other)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Replaced, "{error}");
    }
    // Of what a newer version has launched nobody here knows the template.
    for ours in [JobType::Action(restart()), unknown()] {
        assert_eq!(s.status(&of(ours)).await.unwrap().state, JobState::Running);
    }
    assert_eq!(s.sim.count(Route::Cancel), 0);
    let refused = s.aap.cancel(&vm(), &of(JobType::Action(restart()))).await;
    // Another user has launched it; it is the controller that says so.
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Forbidden);
    assert_eq!(s.sim.count(Route::Cancel), 1);
}

#[tokio::test]
async fn the_job_of_an_action_reports_no_version() {
    let s = setup();
    let launched = s.aap.trigger_provision(&request(1)).await.unwrap();
    let acted = s.act(2).await;
    s.pass(60);
    let up = TrackedJob::new(JobType::Provision, job_of(&launched)).with_config_version(version());
    assert_eq!(
        s.status(&up).await.unwrap().reconciled_version,
        Some(version())
    );
    for job_type in [JobType::Action(restart()), unknown()] {
        let job = TrackedJob::new(job_type, acted.clone()).with_config_version(version());
        let status = s.status(&job).await.unwrap();
        assert_eq!(status.state, JobState::Succeeded);
        assert_eq!(status.reconciled_version, None, "{job_type}");
    }
}

#[tokio::test]
async fn an_action_whose_template_drops_our_variables_has_started_a_stray_job() {
    // Between the look at the template and the launch somebody edits it.
    let s = setup();
    s.aap.preflight(&["ComputeInstance".to_owned()]).await;
    let edited = Template::job(RESTART)
        .not_promptable()
        .requiring(&["grace"]);
    s.sim.edit_template(9, edited);
    let request = request(1).with_extra_vars(ExtraVars::new().with("grace", "30s"));
    let error = s
        .aap
        .trigger_action(&restart(), &request)
        .await
        .unwrap_err();
    assert!(matches!(error, TriggerError::Ambiguous(_)), "{error}");
    let stray = error.error().stray_job().unwrap().clone();
    assert_eq!(s.launched(), [RESTART]);
    assert_eq!(s.sim.status(stray.id.parse().unwrap()), Some("canceled"));
    // It is known by its template, and watched like any other.
    let job = TrackedJob::new(JobType::Action(restart()), stray)
        .with_token(token(1))
        .with_launched_at(start());
    assert_eq!(s.status(&job).await.unwrap().state, JobState::Canceled);
}

#[tokio::test]
async fn a_job_of_an_action_that_lacks_what_it_was_given_is_found_as_stray() {
    let s = setup();
    let sent = ExtraVars::new().with("grace", "30s");
    let query = FindRequest::new(vm(), JobType::Action(restart()), token(1));
    let query = query.not_before(start()).with_extra_vars(sent);
    let mut given = given(1);
    s.sim.launch(RESTART, &given, &[]).unwrap();
    given.insert("grace".to_owned(), json!("30s"));
    s.sim.launch(RESTART, &given, &[]).unwrap();
    let found = s.aap.find_launched(&query).await.unwrap();
    let strays: Vec<bool> = found.iter().map(|status| status.stray).collect();
    assert_eq!(strays, [true, false]);
}

#[tokio::test]
async fn a_copy_of_an_actions_job_is_found_or_said_to_be_unknown() {
    let s = setup();
    let id = s.act(1).await.id.parse().unwrap();
    s.pass(60);
    let query = RelaunchQuery::new(vm(), vec![token(1)]).not_before(start());
    assert_eq!(s.aap.find_relaunched(&query).await, Ok(vec![]));
    let copy = s.sim.relaunch(id).unwrap();
    let found = s.aap.find_relaunched(&query).await.unwrap();
    let found: Vec<_> = found
        .iter()
        .map(|one| (&one.token, one.status.job.id.clone()))
        .collect();
    assert_eq!(found, [(&token(1), copy.to_string())]);
    // Whoever does not see them does not say that there are none.
    s.sim.estrange(OPERATOR_TOKEN, RESTART, true);
    s.pass(60);
    let error = s.aap.find_relaunched(&query).await.unwrap_err();
    assert!(error.to_string().contains(RESTART), "{error}");
}

#[tokio::test]
async fn only_templates_of_what_was_launched_must_be_seen_where_copies_are_looked_for() {
    let hidden = setup();
    hidden.sim.estrange(OPERATOR_TOKEN, RESTART, true);
    let missing = setup_with([CREATE, DELETE].map(Template::job).into(), &with_restart());
    for s in [hidden, missing] {
        let launched = s.aap.trigger_provision(&request(1)).await.unwrap();
        let id = job_of(&launched).id.parse().unwrap();
        s.pass(60);
        let query = || RelaunchQuery::new(vm(), vec![token(1), token(2)]).not_before(start());
        let never_restarted = query().launched_for(JobType::Provision, None);
        let found = s.aap.find_relaunched(&never_restarted).await;
        assert_eq!(found, Ok(vec![]));
        let restarted = never_restarted
            .clone()
            .launched_for(JobType::Action(restart()), None);
        // Where nobody says what was launched, it may have been anything.
        for unproven in [restarted, query()] {
            let error = s.aap.find_relaunched(&unproven).await.unwrap_err();
            assert!(error.to_string().contains(RESTART), "{error}");
        }
        let copy = s.sim.relaunch(id).unwrap();
        let found = s.aap.find_relaunched(&never_restarted).await.unwrap();
        let found: Vec<_> = found.iter().map(|one| one.status.job.id.clone()).collect();
        assert_eq!(found, [copy.to_string()]);
    }
}

#[tokio::test]
async fn an_object_that_lives_may_have_been_deprovisioned_where_nobody_says_what_was_launched() {
    let s = setup();
    s.sim.estrange(OPERATOR_TOKEN, DELETE, true);
    let query = RelaunchQuery::new(vm(), vec![token(1)]).not_before(start());
    let error = s.aap.find_relaunched(&query).await.unwrap_err();
    assert!(error.to_string().contains(DELETE), "{error}");
    let query = query.launched_for(JobType::Provision, None);
    assert_eq!(s.aap.find_relaunched(&query).await, Ok(vec![]));
}

#[tokio::test]
async fn copies_of_what_a_newer_version_has_launched_are_found_and_its_template_is_not_guessed() {
    let s = setup();
    let query = RelaunchQuery::new(vm(), vec![token(1)]).not_before(start());
    let query = query.launched_for(unknown(), None);
    assert_eq!(s.aap.find_relaunched(&query).await, Ok(vec![]));
    let id = s.sim.launch(RESTART, &given(1), &[]).unwrap();
    let copy = s.sim.relaunch(id).unwrap();
    let found = s.aap.find_relaunched(&query).await.unwrap();
    let found: Vec<_> = found.iter().map(|one| one.status.job.id.clone()).collect();
    assert_eq!(found, [copy.to_string()]);
}

// ---- preflight ----

#[tokio::test]
async fn preflight_names_the_missing_template_of_an_action() {
    let settings = json!({
        "prefix": "osac", "usedActions": ["restart", "resize"], "actions": {"stop": "halt"},
        "kinds": {"Tenant": {"actions": {"move": "move-tenant"}}},
    });
    let names = [CREATE, DELETE, RESTART, "halt"].map(Template::job);
    let s = setup_with(names.into(), &settings);
    let report = s.aap.preflight(&["ComputeInstance".to_owned()]).await;
    assert!(!report.is_ok());
    let text = report.to_string();
    let absent = |check: &str, name: &str| {
        format!("ERROR   {check}: there is no job or workflow template named \"{name}\"")
    };
    for part in [
        "ok      action/restart of ComputeInstance: job template \"osac-restart-compute-instance\"",
        "ok      action/stop of ComputeInstance: job template \"halt\"",
        &absent(
            "action/resize of ComputeInstance",
            "osac-resize-compute-instance",
        ),
    ] {
        assert!(text.contains(part), "missing: {part}\nin: {text}");
    }
    assert!(
        !text.contains("move"),
        "that is an action of another kind: {text}"
    );
    let text = s.aap.preflight(&["Tenant".to_owned()]).await.to_string();
    for part in [
        absent("action/restart of Tenant", "osac-restart-tenant"),
        absent("action/move of Tenant", "move-tenant"),
    ] {
        assert!(text.contains(&part), "missing: {part}\nin: {text}");
    }
    assert_eq!(s.launched(), [""; 0], "nothing was launched");
}
