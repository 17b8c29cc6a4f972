//! How the end of a job is seen, and when a deletion may go on.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that panics has failed"
)]

mod common;

use std::time::Duration;

use common::{
    APPLIED, FINALIZER, Setup, config, marked, object, record, reported, request, resource, setup,
    start, token, tracked, tracked_removal, version, vm, webhook,
};
use jiff::SignedDuration;
use provider_core::{
    Clock, ConfigVersion, DeprovisionResult, ErrorKind, FindRequest, JobRecord, JobRef, JobState,
    JobType, OnAmbiguity, Provider, Reason, Resource, TrackedJob,
};
use provider_eda::Activation;
use provider_testkit::eda::Webhook;
use serde_json::json;

async fn plain() -> Setup {
    setup(Webhook::new(), |sim| config(webhook(sim))).await
}

#[tokio::test]
async fn capabilities_are_those_of_events() {
    let s = plain().await;
    let can = s.eda.capabilities();
    assert!(!can.cancel && !can.find_launched && !can.block_deletion_on_failure);
    assert_eq!(
        can.on_ambiguity,
        OnAmbiguity::AssumeSent {
            kind: "event".into()
        }
    );
    assert_eq!(s.eda.name(), "eda");
    let error = s.eda.cancel(&vm("vm"), &tracked(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let query = FindRequest::new(vm("vm"), JobType::Provision, token(1));
    let error = s.eda.find_launched(&query).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn a_provision_is_unknown_until_its_version_is_reported() {
    let s = plain().await;
    let status = s.eda.status(&vm("vm"), &tracked(1)).await.unwrap();
    assert_eq!((status.state, status.settled), (JobState::Unknown, false));
    let other = ConfigVersion::of_json(&json!({"cores": 8}));
    let status = s
        .eda
        .status(&reported("vm", &other), &tracked(1))
        .await
        .unwrap();
    assert_eq!(
        (status.state, status.reconciled_version),
        (JobState::Unknown, None)
    );
    let status = s
        .eda
        .status(&reported("vm", &version()), &tracked(1))
        .await
        .unwrap();
    assert_eq!((status.state, status.settled), (JobState::Succeeded, true));
    assert_eq!(status.reconciled_version, Some(version()));
    // A job without a version cannot be seen to end.
    let mut job = tracked(1);
    job.config_version = None;
    let status = s
        .eda
        .status(&reported("vm", &version()), &job)
        .await
        .unwrap();
    assert_eq!(status.state, JobState::Unknown);
}

/// A, B, A again: the report of the first A says nothing about the last.
#[tokio::test]
async fn where_the_automation_reports_the_token_an_older_event_is_no_proof() {
    let s = plain().await;
    let with_token = |n: u128| {
        let mut object = object("vm", "tenant");
        object["metadata"]["annotations"] = json!({
            APPLIED: version().as_str(),
            "osac.openshift.io/reconciled-operation": token(n).as_str(),
        });
        resource(object)
    };
    let status = s.eda.status(&with_token(1), &tracked(3)).await.unwrap();
    assert_eq!(status.state, JobState::Unknown);
    let status = s.eda.status(&with_token(3), &tracked(3)).await.unwrap();
    assert_eq!(status.state, JobState::Succeeded);
}

/// An event that was sent while the version was shown already: that is the report of another one.
#[tokio::test]
async fn what_was_shown_before_the_event_is_no_sign_of_its_end() {
    let s = plain().await;
    let sent = s
        .eda
        .trigger_provision(&request(reported("vm", &version()), 1))
        .await
        .unwrap();
    let mut job = tracked(1);
    job.job = sent.job.unwrap();
    assert_eq!(job.job.kind, "blind-event");
    let status = s
        .eda
        .status(&reported("vm", &version()), &job)
        .await
        .unwrap();
    assert_eq!(
        (status.state, status.reconciled_version),
        (JobState::Unknown, None)
    );
    assert_eq!(status.job, job.job);
    // Nor is it for a deletion: the event may still be on its way.
    let mut history = record(JobType::Provision, 1, JobState::Unknown, start());
    history.kind = Some(job.job.kind);
    let deleted = s
        .eda
        .trigger_deprovision(&request(reported("vm", &version()), 2), &[history])
        .await
        .unwrap();
    assert!(
        matches!(deleted, DeprovisionResult::Waiting { .. }),
        "{deleted:?}"
    );
    let sent = s
        .eda
        .trigger_provision(&request(vm("other"), 3))
        .await
        .unwrap();
    assert_eq!(sent.job.unwrap().kind, "event");
}

#[tokio::test]
async fn a_deprovision_runs_while_the_finalizer_is_there() {
    let s = plain().await;
    let sent = s
        .eda
        .trigger_deprovision(&request(marked("vm"), 1), &[])
        .await
        .unwrap();
    let DeprovisionResult::Triggered {
        job,
        initial_state,
        block_deletion_on_failure,
        ..
    } = sent
    else {
        panic!("{sent:?}");
    };
    assert_eq!(initial_state, JobState::Running);
    assert!(!block_deletion_on_failure);
    let event = &s.sim.journal()[0];
    assert_eq!(event.endpoint, "delete-compute-instance");
    assert_eq!(
        event.text("/providerEvent/operationToken"),
        Some(job.unwrap().id.as_str())
    );
    s.pass(3_600);
    let status = s
        .eda
        .status(&marked("vm"), &tracked_removal(1))
        .await
        .unwrap();
    assert_eq!(status.state, JobState::Running);
    let status = s.eda.status(&vm("vm"), &tracked_removal(1)).await.unwrap();
    assert_eq!((status.state, status.settled), (JobState::Succeeded, true));
    assert_eq!(status.reconciled_version, None);
}

#[tokio::test]
async fn finalizers_are_of_the_kind_or_of_ones_own() {
    let s = setup(Webhook::new(), |sim| {
        config(webhook(sim)).with_finalizer("Tenant", "example.com/mine")
    })
    .await;
    let completion = &s.eda.config().completion;
    assert_eq!(completion.finalizer(&vm("vm")), FINALIZER);
    let tenant = json!({
        "apiVersion": "example.org/v1", "kind": "Tenant", "metadata": {"name": "t"},
    });
    let tenant = Resource::from_json(tenant).unwrap();
    assert_eq!(completion.finalizer(&tenant), "example.com/mine");
}

enum Expect {
    Skipped,
    Waiting(u64),
    Triggered,
}

/// Every sort of history, with the finalizer and without, at some time after the events.
#[tokio::test]
async fn nothing_is_skipped_while_an_event_may_be_on_its_way() {
    use Expect::{Skipped, Triggered, Waiting};
    use JobState::{Failed, Succeeded, Unknown};
    let at = |n, state| record(JobType::Provision, n, state, start());
    let closed = |reason| {
        let mut record = at(1, Failed);
        record.reason = Some(reason);
        record
    };
    let intent = || {
        let mut record = at(1, JobState::Pending);
        record.job_id = None;
        record.reason = Some(Reason::Ambiguous);
        record
    };
    let unsent = |reason| {
        let mut record = closed(reason);
        record.job_id = None;
        record
    };
    let foreign = |state| {
        let mut record = at(1, state);
        record.provider = Some("aap".to_owned());
        record
    };
    let removed = |attempt| {
        let mut record = record(JobType::Deprovision, 7, Succeeded, start());
        record.attempt = attempt;
        record
    };
    let undated = || {
        let mut record = at(1, Unknown);
        (record.sent_at, record.timestamp) = (None, None);
        record
    };
    let deleting = |finalizers: serde_json::Value| {
        let mut object = object("vm", "tenant");
        object["metadata"]["deletionTimestamp"] = json!("2026-11-23T04:00:00Z");
        object["metadata"]["finalizers"] = finalizers;
        resource(object)
    };
    let bare = || vm("vm");
    let full = || marked("vm");
    let done = || reported("vm", &version());
    type Case = (&'static str, Resource, Vec<JobRecord>, u64, Expect);
    let cases: Vec<Case> = vec![
        ("nothing ever sent", bare(), vec![], 0, Skipped),
        ("marked, no history", full(), vec![], 0, Triggered),
        (
            "applied, marked",
            done(),
            vec![at(1, Unknown)],
            60,
            Triggered,
        ),
        (
            "succeeded, unmarked",
            bare(),
            vec![at(1, Succeeded)],
            60,
            Skipped,
        ),
        (
            "sent just now, unmarked",
            bare(),
            vec![at(1, Unknown)],
            0,
            Waiting(15),
        ),
        (
            "sent just now, marked",
            full(),
            vec![at(1, Unknown)],
            60,
            Waiting(15),
        ),
        (
            "window nearly over",
            bare(),
            vec![at(1, Unknown)],
            893,
            Waiting(7),
        ),
        (
            "window over, unmarked",
            bare(),
            vec![at(1, Unknown)],
            900,
            Skipped,
        ),
        (
            "window over, marked",
            full(),
            vec![at(1, Unknown)],
            900,
            Triggered,
        ),
        (
            "given up, on its way",
            bare(),
            vec![closed(Reason::Assumed)],
            60,
            Waiting(15),
        ),
        (
            "given up, marked",
            full(),
            vec![closed(Reason::Assumed)],
            60,
            Triggered,
        ),
        (
            "given up, long ago",
            bare(),
            vec![closed(Reason::Assumed)],
            900,
            Skipped,
        ),
        ("in doubt", bare(), vec![intent()], 60, Waiting(15)),
        ("in doubt, long ago", bare(), vec![intent()], 900, Skipped),
        (
            "never sent",
            bare(),
            vec![unsent(Reason::NotSent)],
            0,
            Skipped,
        ),
        (
            "refused",
            bare(),
            vec![unsent(Reason::Rejected)],
            0,
            Skipped,
        ),
        (
            "of AAP, running",
            full(),
            vec![foreign(JobState::Running)],
            9_000,
            Waiting(15),
        ),
        (
            "of AAP, ended",
            full(),
            vec![foreign(Succeeded)],
            0,
            Triggered,
        ),
        (
            "of AAP, ended, unmarked",
            bare(),
            vec![foreign(Succeeded)],
            0,
            Triggered,
        ),
        (
            "of AAP, failed, unmarked",
            bare(),
            vec![foreign(Failed)],
            0,
            Triggered,
        ),
        (
            "of AAP, never launched",
            bare(),
            vec![{
                let mut record = foreign(Failed);
                (record.job_id, record.reason) = (None, Some(Reason::Rejected));
                record
            }],
            0,
            Skipped,
        ),
        (
            "of AAP, removed since",
            bare(),
            vec![foreign(Succeeded), removed(2)],
            0,
            Skipped,
        ),
        (
            "of AAP, made again since",
            bare(),
            vec![removed(0), foreign(Succeeded)],
            0,
            Triggered,
        ),
        ("undated", bare(), vec![undated()], 60, Waiting(15)),
        ("undated, long ago", bare(), vec![undated()], 900, Skipped),
        (
            "undated, deleting",
            deleting(json!([])),
            vec![undated()],
            900,
            Skipped,
        ),
        (
            "an older event behind a newer that was applied",
            done(),
            vec![closed(Reason::Assumed), at(2, Succeeded)],
            60,
            Triggered,
        ),
    ];
    for (what, resource, history, seconds, expect) in cases {
        let s = plain().await;
        // This process knows of the events since they were sent.
        for record in &history {
            let token = record.token.clone().unwrap();
            let job = TrackedJob::new(
                JobType::Provision,
                JobRef::new("eda", "event", token.as_str()),
            )
            .with_token(token);
            s.eda.status(&vm("vm"), &job).await.unwrap();
        }
        s.pass(seconds);
        let result = s
            .eda
            .trigger_deprovision(&request(resource, 9), &history)
            .await
            .unwrap();
        let sent = s.sim.journal().len();
        match (&expect, &result) {
            (Skipped, DeprovisionResult::Skipped { .. }) => assert_eq!(sent, 0, "{what}"),
            (
                Waiting(wait),
                DeprovisionResult::Waiting {
                    retry_after,
                    block_deletion_on_failure,
                    ..
                },
            ) => {
                assert_eq!(*retry_after, Duration::from_secs(*wait), "{what}");
                assert!(!block_deletion_on_failure);
                assert_eq!(sent, 0, "{what}");
            }
            (Triggered, DeprovisionResult::Triggered { .. }) => assert_eq!(sent, 1, "{what}"),
            _ => panic!("{what}: {result:?}"),
        }
    }
}

#[tokio::test]
async fn the_risk_can_be_taken_knowingly() {
    let s = setup(Webhook::new(), |sim| {
        let mut config = config(webhook(sim));
        config.timing.in_flight_window = SignedDuration::ZERO;
        config
    })
    .await;
    let history = [record(JobType::Provision, 1, JobState::Unknown, start())];
    let result = s
        .eda
        .trigger_deprovision(&request(vm("vm"), 2), &history)
        .await
        .unwrap();
    assert!(matches!(result, DeprovisionResult::Skipped { .. }));
}

/// A replica whose clock is ahead by as much as the window, or by days, takes over right after the event.
#[tokio::test]
async fn a_window_is_not_over_because_another_clock_was_behind() {
    for ahead in [900, 3 * 24 * 3_600] {
        let s = plain().await;
        let sent = start() - SignedDuration::from_secs(ahead);
        let history = [record(JobType::Provision, 1, JobState::Unknown, sent)];
        let ask = async |n| {
            let request = request(vm("vm"), n);
            s.eda.trigger_deprovision(&request, &history).await.unwrap()
        };
        assert!(matches!(ask(2).await, DeprovisionResult::Waiting { .. }));
        s.pass(899);
        assert!(matches!(ask(3).await, DeprovisionResult::Waiting { .. }));
        s.pass(1);
        assert!(matches!(ask(4).await, DeprovisionResult::Skipped { .. }));
    }
}

/// The same for a deprovision whose finalizer stays: the limit is this process's own.
#[tokio::test]
async fn a_kept_finalizer_is_not_given_up_because_the_senders_clock_was_behind() {
    for behind in [2 * 3_600, 3 * 24 * 3_600, -3 * 24 * 3_600] {
        let s = plain().await;
        let sent = start() - SignedDuration::from_secs(behind);
        let job = tracked_removal(1).with_launched_at(sent);
        let ask = async || {
            let status = s.eda.status(&marked("vm"), &job).await;
            status.unwrap().state
        };
        assert_eq!(ask().await, JobState::Running, "{behind}");
        s.pass(2 * 3_600 - 1);
        assert_eq!(ask().await, JobState::Running, "{behind}");
        s.pass(1);
        assert_eq!(ask().await, JobState::Unknown, "{behind}");
    }
}

/// Whoever waits for a sign that does not come is told which, and what its activation does.
#[tokio::test]
async fn what_is_missing_is_told_with_the_activation_and_its_state() {
    let s = setup(Webhook::new(), |sim| {
        config(webhook(sim)).with_activation(Activation::new(sim.url(), "api-token", "mine"))
    })
    .await;
    s.sim.serve_api("api-token");
    s.sim.activation("mine", "stopped");
    let told = async || {
        let status = s.eda.status(&vm("vm"), &tracked(1)).await;
        status.unwrap().message
    };
    let message = told().await;
    let expected = format!("{APPLIED}: {}", version().as_str());
    assert!(message.contains(&expected), "{message}");
    assert!(
        message.contains("activation \"mine\" is stopped"),
        "{message}"
    );
    // Asked about once a minute for all objects.
    let before = s.sim.requests();
    for _ in 0..5 {
        told().await;
    }
    assert_eq!(s.sim.requests(), before);
    s.pass(60);
    s.sim.activation("mine", "running");
    assert!(told().await.contains("activation \"mine\" is running"));
    // A deprovision beyond its limit: nothing was removed, and what to do.
    let job = tracked_removal(2).with_launched_at(s.clock.now());
    let status = s.eda.status(&marked("vm"), &job).await.unwrap();
    assert_eq!((status.state, status.unfinished), (JobState::Running, true));
    s.pass(2 * 3_600);
    let status = s.eda.status(&marked("vm"), &job).await.unwrap();
    assert_eq!((status.state, status.unfinished), (JobState::Unknown, true));
    for part in [
        FINALIZER,
        "activation \"mine\" is running",
        "look at its rules",
    ] {
        assert!(status.message.contains(part), "{}", status.message);
    }
    let status = s.eda.status(&vm("vm"), &job).await.unwrap();
    assert_eq!(
        (status.state, status.unfinished),
        (JobState::Succeeded, false)
    );
    // A dead port of the API is not a rulebook that does not run.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let s = setup(Webhook::new(), |sim| {
        let url = format!("http://{address}");
        config(webhook(sim)).with_activation(Activation::new(url, "api-token", "mine"))
    })
    .await;
    let report = s.eda.preflight(&[]).await.to_string();
    assert!(
        report.contains("the API of the EDA server cannot be reached"),
        "{report}"
    );
    assert!(report.contains("not the port of a rulebook"), "{report}");
    assert!(!report.contains("its port opens"), "{report}");
}
