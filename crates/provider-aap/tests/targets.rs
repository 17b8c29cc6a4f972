//! Several targets on one controller: each has its own templates, and jobs that are told from the others'.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed"
)]

mod acting;

use acting::{
    CREATE, DELETE, RESTART, Setup, record, request, restart, setup_with, start, token, vm,
};
use provider_core::{
    DeprovisionResult, ErrorKind, FindRequest, JobRef, JobState, JobType, Provider, RelaunchQuery,
    TrackedJob,
};
use provider_testkit::aap::{Fault, OPERATOR_TOKEN, Route, Template};
use serde_json::{Map, json};

fn two_targets() -> Setup {
    let names = [
        CREATE,
        DELETE,
        RESTART,
        "east-create-compute-instance",
        "east-delete-compute-instance",
        "east-restart-compute-instance",
        "make-in-west",
    ];
    let settings = json!({
        "prefix": "osac", "usedActions": ["restart"],
        "targets": {"east": {"prefix": "east"}, "west": {"create": "make-in-west"}},
    });
    setup_with(names.map(Template::job).into(), &settings)
}

#[tokio::test]
async fn two_targets_on_one_controller_are_provisioned_by_two_templates() {
    let s = two_targets();
    let east = || request(1).for_target("east");
    let west = || request(2).for_target("west");
    s.aap.trigger_provision(&east()).await.unwrap();
    s.aap.trigger_provision(&west()).await.unwrap();
    s.aap.trigger_action(&restart(), &east()).await.unwrap();
    s.aap.trigger_action(&restart(), &west()).await.unwrap();
    s.aap.trigger_deprovision(&east(), &[]).await.unwrap();
    s.aap.trigger_deprovision(&west(), &[]).await.unwrap();
    s.aap.trigger_provision(&request(3)).await.unwrap();
    let expected = [
        "east-create-compute-instance",
        "make-in-west",
        // What a target does not say is as without one.
        "east-restart-compute-instance",
        RESTART,
        "east-delete-compute-instance",
        DELETE,
        CREATE,
    ];
    assert_eq!(s.launched(), expected);
}

#[tokio::test]
async fn a_job_of_a_target_is_told_from_others_by_the_template_of_its_target() {
    let s = two_targets();
    // The template has dropped our variables, and the token with them.
    let id = s.sim.launch("make-in-west", &Map::new(), &[]).unwrap();
    let job = TrackedJob::new(
        JobType::Provision,
        JobRef::new("aap", "job", id.to_string()),
    )
    .with_token(token(1))
    .with_launched_at(start());
    s.pass(60);
    for other in [job.clone(), job.clone().for_target("east")] {
        let error = s.status(&other).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Replaced, "{error}");
    }
    let status = s.status(&job.for_target("west")).await.unwrap();
    assert_eq!(status.state, JobState::Succeeded);
}

#[tokio::test]
async fn a_launch_for_a_target_is_found_although_the_templates_of_others_are_hidden() {
    let s = two_targets();
    let request = request(1).for_target("west");
    s.sim.fault(Route::Launch, &Fault::DropAfter, 1);
    s.aap.trigger_provision(&request).await.unwrap_err();
    let query = |n, target: &str| {
        let query = FindRequest::new(vm(), JobType::Provision, token(n));
        query.not_before(start()).for_target(target)
    };
    assert_eq!(
        s.aap.find_launched(&query(1, "west")).await.unwrap().len(),
        1
    );
    s.sim.estrange(OPERATOR_TOKEN, "make-in-west", true);
    s.pass(60);
    assert_eq!(s.aap.find_launched(&query(2, "east")).await, Ok(vec![]));
    let error = s.aap.find_launched(&query(2, "west")).await.unwrap_err();
    assert!(error.to_string().contains("make-in-west"), "{error}");
}

#[tokio::test]
async fn copies_are_looked_for_by_the_templates_of_the_targets_that_something_was_launched_for() {
    let s = two_targets();
    for hidden in ["east-create-compute-instance", DELETE] {
        s.sim.estrange(OPERATOR_TOKEN, hidden, true);
    }
    let query = |job_type, target| {
        let query = RelaunchQuery::new(vm(), vec![token(1)]).not_before(start());
        query.launched_for(job_type, Some(target))
    };
    let west = query(JobType::Provision, "west");
    assert_eq!(s.aap.find_relaunched(&west).await, Ok(vec![]));
    // A target that is to be absent is deprovisioned while the object lives on.
    for (job_type, target, template) in [
        (JobType::Provision, "east", "east-create-compute-instance"),
        (JobType::Deprovision, "west", DELETE),
    ] {
        let query = query(job_type, target).launched_for(JobType::Provision, Some("west"));
        let error = s.aap.find_relaunched(&query).await.unwrap_err();
        assert!(error.to_string().contains(template), "{error}");
    }
}

#[tokio::test]
async fn a_launch_of_an_action_that_may_still_turn_up_holds_a_deprovision_back() {
    let s = two_targets();
    // It is looked for as what it is, by the template of its type and of its target.
    for other in [CREATE, RESTART, "east-create-compute-instance"] {
        s.sim.estrange(OPERATOR_TOKEN, other, true);
    }
    let mut launch = record(JobType::Action(restart()), 1, None);
    launch.target = Some("east".to_owned());
    let (request, history) = (request(2).for_target("east"), [launch]);
    let answer = s.aap.trigger_deprovision(&request, &history).await;
    let Ok(DeprovisionResult::Waiting { reason, .. }) = answer else {
        panic!("the launch is on its way: {answer:?}");
    };
    assert!(reason.contains("may still turn up"), "{reason}");
    assert_eq!(s.launched(), [""; 0]);
    s.pass(3600);
    let answer = s.aap.trigger_deprovision(&request, &history).await;
    assert!(
        matches!(answer, Ok(DeprovisionResult::Triggered { .. })),
        "{answer:?}"
    );
    assert_eq!(s.launched(), ["east-delete-compute-instance"]);
}

#[tokio::test]
async fn preflight_looks_for_the_templates_of_every_target() {
    let settings = json!({
        "usedActions": ["restart"],
        "targets": {"east": {"prefix": "east"}, "west": {"create": "make-in-west", "prefix": "west"}},
    });
    let names = [
        "east-create-compute-instance",
        "east-delete-compute-instance",
        "make-in-west",
    ];
    let s = setup_with(names.map(Template::job).into(), &settings);
    let text = s
        .aap
        .preflight(&["ComputeInstance".to_owned()])
        .await
        .to_string();
    for part in [
        "ok      provision of ComputeInstance for target east: job template \"east-create-compute-instance\"",
        "ok      deprovision of ComputeInstance for target east: ",
        "ok      provision of ComputeInstance for target west: job template \"make-in-west\"",
        "ERROR   deprovision of ComputeInstance for target west: there is no job or workflow template named \"west-delete-compute-instance\"",
        "ERROR   action/restart of ComputeInstance for target east: there is no job or workflow template named \"east-restart-compute-instance\"",
    ] {
        assert!(text.contains(part), "missing: {part}\nin: {text}");
    }
    assert!(
        !text.contains("of ComputeInstance: "),
        "nothing is said of objects without a target: {text}"
    );
}
