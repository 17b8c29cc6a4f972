//! Actions on living objects: where their events go, what is in them, how their ends are seen, and what waits
//! for them. Whole lives: `action_lives.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed"
)]

mod common;

use common::{
    APPLIED, FINALIZER, all_by_one_template, config, marked, not_launched, object, record,
    reported, request, resource, setup, start, stream, token, tracked_as, version, vm, with,
};
use jiff::SignedDuration;
use provider_core::{
    ActionName, DeprovisionResult, Effect, ErrorKind, ExtraVars, JobRecord, JobState, JobType,
    Provider, Reason, Resource,
};
use provider_eda::{EdaProvider, Endpoints, Pacing, RulebookWebhook, StreamAuth};
use provider_testkit::eda::{Stream, Webhook};
use serde_json::json;

const OPERATION: &str = "osac.openshift.io/reconciled-operation";

fn named(name: &str) -> ActionName {
    ActionName::new(name).unwrap()
}

fn action(name: &str) -> JobType {
    JobType::Action(named(name))
}

/// An object on which the automation has reported a version and an operation.
fn worked_off(n: u128) -> Resource {
    let mut object = object("vm", "tenant");
    object["metadata"]["annotations"] =
        json!({ APPLIED: version().as_str(), OPERATION: token(n).as_str() });
    object["metadata"]["finalizers"] = json!([FINALIZER]);
    resource(object)
}

// ---- where they go, and what is in them ----

#[tokio::test]
async fn a_provider_without_a_url_for_any_action_has_none() {
    let none = json!({"create": "SIM/c", "delete": "SIM/d"});
    let s = with(none.clone()).await;
    assert!(!s.eda.capabilities().actions);
    let sent = s.act("restart", &request(vm("vm"), 1)).await;
    let error = sent.unwrap_err();
    assert_eq!(not_launched(&error).kind(), ErrorKind::Unsupported);
    assert!(s.sim.journal().is_empty());
    let restart = json!({"actions": {"restart": "SIM/r"}});
    for (place, urls) in [
        ("action", json!("SIM/a")),
        ("actions", restart["actions"].clone()),
        ("kinds", json!({ "Tenant": restart })),
        ("targets", json!({ "dns": restart })),
        ("targets", json!({ "dns": {"kinds": {"Tenant": restart}} })),
    ] {
        let mut endpoints = none.clone();
        endpoints[place] = urls;
        let s = with(endpoints).await;
        assert!(s.eda.capabilities().actions, "{place}");
    }
}

#[tokio::test]
async fn an_event_goes_where_its_action_kind_and_target_say() {
    let s = with(json!({
        "create": "SIM/create-{kind}", "delete": "SIM/delete-{kind}",
        "actions": {"restart": "SIM/restart-{kind}"},
        "kinds": {"Tenant": {"actions": {"restart": "SIM/of-tenants", "resize": "SIM/resize"}}},
        "targets": {"dns": {
            "create": "SIM/dns", "actions": {"restart": "SIM/dns-{action}"},
            "kinds": {"Tenant": {"action": "SIM/dns-tenant-{action}", "delete": "SIM/dns-gone"}},
        }},
    }))
    .await;
    let of = |kind: &str, target: Option<&str>, n| {
        let mut object = object("vm", "tenant");
        object["kind"] = json!(kind);
        object["metadata"]["finalizers"] = json!(["osac.openshift.io/tenant-aap"]);
        let request = request(resource(object), n);
        match target {
            Some(target) => request.for_target(target),
            None => request,
        }
    };
    for (n, (name, kind, target, endpoint)) in [
        (
            "restart",
            "ComputeInstance",
            None,
            "restart-compute-instance",
        ),
        ("restart", "Tenant", None, "of-tenants"),
        ("resize", "Tenant", None, "resize"),
        ("restart", "ComputeInstance", Some("dns"), "dns-restart"),
        ("restart", "Tenant", Some("dns"), "dns-tenant-restart"),
        ("resize", "Tenant", Some("dns"), "dns-tenant-resize"),
        ("resize", "Tenant", Some("other"), "resize"),
    ]
    .into_iter()
    .enumerate()
    {
        let request = of(kind, target, n as u128 + 1);
        let sent = s.act(name, &request).await.unwrap();
        assert_eq!(sent.initial_state, JobState::Unknown);
        let journal = s.sim.journal();
        let event = journal.last().unwrap();
        assert_eq!(event.endpoint, endpoint, "{name} {kind} {target:?}");
        assert_eq!(event.text("/providerEvent/action"), Some(name));
        let job = sent.job.unwrap();
        assert_eq!(event.text("/providerEvent/operationToken"), Some(&*job.id));
        assert_eq!(job.kind, "event");
    }
    // Not only actions depend on the target.
    let tenant = of("Tenant", Some("dns"), 20);
    s.eda.trigger_provision(&tenant).await.unwrap();
    assert_eq!(s.sim.journal().last().unwrap().endpoint, "dns");
    let gone = of("Tenant", Some("dns"), 21);
    s.eda.trigger_deprovision(&gone, &[]).await.unwrap();
    assert_eq!(s.sim.journal().last().unwrap().endpoint, "dns-gone");
    // Without a URL nothing is sent, and what is missing is named.
    let before = s.sim.requests();
    let missing = of("ComputeInstance", Some("dns"), 22);
    let sent = s.act("resize", &missing).await;
    let error = sent.unwrap_err();
    let error = not_launched(&error);
    assert_eq!(
        (error.effect(), error.kind()),
        (Effect::NotSent, ErrorKind::Invalid)
    );
    assert_eq!(
        error.message(),
        "there is no URL to resize a ComputeInstance for target dns"
    );
    assert!(error.advice().contains("endpoints.actions"), "{error}");
    assert_eq!(s.sim.requests(), before);
}

#[tokio::test]
async fn the_payload_of_an_action_is_that_of_a_creation_with_its_name() {
    let s = with(all_by_one_template()).await;
    let vars = ExtraVars::new().with("grace", "30s");
    let request = request(vm("vm"), 1).with_extra_vars(vars);
    s.act("restart", &request).await.unwrap();
    let event = &s.sim.journal()[0];
    assert_eq!(event.endpoint, "restart-compute-instance");
    assert_eq!(event.payload["spec"], json!({"cores": 4}));
    assert_eq!(
        event.payload["providerEvent"],
        json!({
            "action": "restart", "operationToken": token(1).as_str(),
            "configVersion": version().as_str(), "uid": "uid-vm", "extraVars": {"grace": "30s"},
        })
    );
}

/// As an event stream has it, whose rules look at the action: one of deletions would take the event.
#[tokio::test]
async fn an_action_that_is_called_delete_or_create_is_never_sent() {
    let s = setup(Stream::token("s3cret"), |sim| {
        config(stream(sim, StreamAuth::token("s3cret")))
    })
    .await;
    for name in ["delete", "create"] {
        let sent = s.act(name, &request(vm("vm"), 1)).await;
        let error = sent.unwrap_err();
        let error = not_launched(&error);
        assert_eq!(
            (error.effect(), error.kind()),
            (Effect::NotSent, ErrorKind::Invalid)
        );
        let urls = Endpoints::one("http://h/x").with_action(named(name), "http://h/y");
        let refused = EdaProvider::new(config(RulebookWebhook::new(urls))).unwrap_err();
        assert_eq!(refused.field(), "endpoints.actions");
    }
    assert_eq!(s.sim.requests(), 0);
    s.act("restart", &request(vm("vm"), 2)).await.unwrap();
    assert_eq!(
        s.sim.journal()[0].text("/providerEvent/action"),
        Some("restart")
    );
}

/// One event of one action, object and target at a time.
#[tokio::test]
async fn each_action_and_each_target_has_a_pace_of_its_own() {
    let s = setup(Webhook::new(), |sim| {
        let urls = Endpoints::one(format!("{}/x", sim.url()));
        config(RulebookWebhook::new(urls)).with_pacing(Pacing {
            min_interval: SignedDuration::from_secs(30),
            ..Pacing::default()
        })
    })
    .await;
    s.eda
        .trigger_provision(&request(vm("vm"), 1))
        .await
        .unwrap();
    s.act("restart", &request(vm("vm"), 2)).await.unwrap();
    s.act("resize", &request(vm("vm"), 3)).await.unwrap();
    let again = s.act("restart", &request(vm("vm"), 4)).await;
    let error = again.unwrap_err();
    assert_eq!(not_launched(&error).kind(), ErrorKind::RateLimited);
    let of_target = request(vm("vm"), 5).for_target("dns");
    s.act("restart", &of_target).await.unwrap();
    s.eda
        .trigger_provision(&request(vm("vm"), 6).for_target("dns"))
        .await
        .unwrap();
    assert_eq!(s.sim.journal().len(), 5);
}

// ---- how they end ----

#[tokio::test]
async fn an_action_ends_when_its_operation_is_reported_and_applies_no_version() {
    let s = with(all_by_one_template()).await;
    // The version is shown before, during and after: it says nothing of an action, and makes none blind.
    let request = request(reported("vm", &version()), 1);
    let sent = s.act("restart", &request).await.unwrap();
    assert_eq!(sent.job.as_ref().unwrap().kind, "event");
    // What a newer version of the operator has launched ends so, too.
    for job_type in [action("restart"), JobType::Other(named("migrate"))] {
        let job = tracked_as(job_type, 1);
        for before in [
            vm("vm"),
            marked("vm"),
            reported("vm", &version()),
            worked_off(7),
        ] {
            let status = s.eda.status(&before, &job).await.unwrap();
            assert_eq!((status.state, status.settled), (JobState::Unknown, false));
            let expected = format!("expected the annotation {OPERATION}: {}", token(1));
            assert!(status.message.contains(&expected), "{}", status.message);
        }
        let status = s.eda.status(&worked_off(1), &job).await.unwrap();
        assert_eq!((status.state, status.settled), (JobState::Succeeded, true));
        assert_eq!(status.reconciled_version, None);
        // Nobody can see the end of one without a token.
        let mut nameless = job;
        nameless.token = None;
        let status = s.eda.status(&worked_off(1), &nameless).await.unwrap();
        assert_eq!(status.state, JobState::Unknown);
        assert!(
            status.message.contains("no operation token"),
            "{}",
            status.message
        );
    }
}

/// After an action, the operation that is shown is the action's: a creation that reports no operation of its own
/// is not taken as done, and that is what is told.
#[tokio::test]
async fn a_creation_behind_an_action_is_told_to_report_its_operation() {
    let s = with(all_by_one_template()).await;
    let job = tracked_as(JobType::Provision, 2);
    let status = s.eda.status(&worked_off(1), &job).await.unwrap();
    assert_eq!(status.state, JobState::Unknown);
    let expected = format!("expected the annotation {OPERATION}: {}", token(2));
    assert!(
        status.message.contains("another operation"),
        "{}",
        status.message
    );
    assert!(status.message.contains(&expected), "{}", status.message);
}

// ---- what waits for them ----

fn acted(state: JobState) -> JobRecord {
    record(action("restart"), 1, state, start())
}

#[tokio::test]
async fn a_deletion_waits_for_an_action_that_may_be_at_work() {
    let ended = |reason| {
        let mut record = acted(JobState::Failed);
        record.reason = Some(reason);
        record
    };
    let unsent = || {
        let mut record = ended(Reason::NotSent);
        record.job_id = None;
        record
    };
    let foreign = || {
        let mut record = acted(JobState::Running);
        record.provider = Some("aap".to_owned());
        record
    };
    let newer = || {
        record(
            JobType::Other(named("migrate")),
            1,
            JobState::Unknown,
            start(),
        )
    };
    for (what, object, record, seconds, waits) in [
        ("live", marked("vm"), acted(JobState::Unknown), 0, true),
        ("of a newer version", marked("vm"), newer(), 0, true),
        (
            "live, version shown",
            reported("vm", &version()),
            acted(JobState::Unknown),
            0,
            true,
        ),
        (
            "another was worked off",
            worked_off(7),
            acted(JobState::Unknown),
            0,
            true,
        ),
        (
            "it was worked off",
            worked_off(1),
            acted(JobState::Unknown),
            0,
            false,
        ),
        (
            "nearly too old",
            marked("vm"),
            acted(JobState::Unknown),
            899,
            true,
        ),
        (
            "too old",
            marked("vm"),
            acted(JobState::Unknown),
            900,
            false,
        ),
        (
            "succeeded",
            marked("vm"),
            acted(JobState::Succeeded),
            0,
            false,
        ),
        ("given up", marked("vm"), ended(Reason::Assumed), 0, false),
        ("never sent", marked("vm"), unsent(), 0, false),
        ("of AAP", marked("vm"), foreign(), 9_000, true),
    ] {
        let s = with(all_by_one_template()).await;
        // This process knows of the event from now on.
        s.eda
            .status(&vm("vm"), &tracked_as(action("restart"), 1))
            .await
            .unwrap();
        s.pass(seconds);
        let history = [record];
        let asked = request(object, 2);
        let result = s.eda.trigger_deprovision(&asked, &history).await.unwrap();
        match &result {
            DeprovisionResult::Waiting { provision_job, .. } => {
                assert!(waits, "{what}: {result:?}");
                assert_eq!(*provision_job, None, "{what}: it is no provision");
                assert!(s.sim.journal().is_empty(), "{what}");
            }
            DeprovisionResult::Triggered { provision_job, .. } => {
                assert!(!waits, "{what}: {result:?}");
                assert_eq!(*provision_job, None, "{what}: it is no provision");
            }
            other => panic!("{what}: {other:?}"),
        }
    }
}

/// Nothing of ours has marked it, and still it is there.
#[tokio::test]
async fn what_was_imported_is_deleted_although_no_automation_has_marked_it() {
    let mut imported = record(JobType::Provision, 1, JobState::Succeeded, start());
    (imported.job_id, imported.kind, imported.token) = (None, None, None);
    imported.reason = Some(Reason::Imported);
    let s = with(all_by_one_template()).await;
    let history = [imported.clone()];
    let asked = request(vm("vm"), 2);
    let deleted = s.eda.trigger_deprovision(&asked, &history).await.unwrap();
    assert!(
        matches!(deleted, DeprovisionResult::Triggered { .. }),
        "{deleted:?}"
    );
    let removed = record(JobType::Deprovision, 2, JobState::Succeeded, start());
    let (asked, history) = (request(vm("vm"), 3), [imported, removed]);
    let deleted = s.eda.trigger_deprovision(&asked, &history).await.unwrap();
    assert!(
        matches!(deleted, DeprovisionResult::Skipped { .. }),
        "{deleted:?}"
    );
}
