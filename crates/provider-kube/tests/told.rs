//! What people are told: events, and what conditions say about a backend that cannot be asked.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed"
)]

mod common;

use common::{Machine, desired, setup};
use provider_core::{Effect, ErrorKind, JobState, ProviderError};
use provider_kube::{DEPROVISIONED, PROGRESSING, PROVISIONED};
use provider_testkit::{Function, Trouble as Failing};
use serde_json::json;

fn count(events: &[String], reason: &str) -> usize {
    events.iter().filter(|event| *event == reason).count()
}

#[tokio::test]
async fn a_job_that_is_found_again_is_told_as_adopted() {
    let s = setup();
    s.fake
        .trouble(Function::TriggerProvision, Failing::LosesAnswer);
    s.until(PROVISIONED, "Applied").await;
    assert_eq!(s.server.events(), ["Ambiguous", "Adopted"]);
    assert_eq!(s.fake.jobs().len(), 1);
}

#[tokio::test]
async fn a_cancelled_job_is_told() {
    let s = setup();
    s.fake.next_ending(JobState::Canceled);
    s.until(PROGRESSING, "CanceledByOthers").await;
    assert_eq!(s.server.events(), ["Started", "Canceled"]);
}

#[tokio::test]
async fn a_block_of_one_of_several_targets_is_told_once() {
    let s = setup();
    s.server.change("m", |object| {
        object["status"]["jobs"] = json!([{
            "attempt": 1, "jobID": "5", "type": "provision", "state": "Running", "provider": "other",
            "target": "compute",
        }]);
    });
    let targets = |machine: &Machine| vec![desired(machine).for_target("compute", false)];
    for _ in 0..5 {
        s.provisioner
            .reconcile_targets(&s.server.cached("m"), targets)
            .await
            .unwrap();
        s.pass(3_600);
    }
    assert_eq!(
        s.server.condition("m", "compute/Progressing").1,
        "MissingProvider"
    );
    assert_eq!(s.server.events(), ["MissingProvider"]);
}

#[tokio::test]
async fn polls_that_fail_show_until_one_goes_well() {
    for (kind, word) in [
        (ErrorKind::Unauthorized, "BackendUnauthorized"),
        (ErrorKind::Unavailable, "BackendUnavailable"),
    ] {
        let s = setup();
        s.reconcile().await;
        for _ in 0..2 {
            let error = ProviderError::new(Effect::Rejected, kind, "no answer that helps");
            s.fake
                .trouble(Function::ProvisionStatus, Failing::Fails(error));
        }
        for _ in 0..2 {
            s.pass(60);
            s.reconcile().await;
            let (status, reason, message) = s.server.condition("m", PROGRESSING);
            assert_eq!((status.as_str(), reason.as_str()), ("True", word));
            assert!(message.contains("no answer that helps"), "{message}");
            assert_eq!(s.server.condition("m", PROVISIONED).1, word);
            // A pass in which nobody is asked knows no better.
            s.server.requests();
            s.reconcile().await;
            assert_eq!(s.server.requests(), Vec::<String>::new());
        }
        assert_eq!(count(&s.server.events(), word), 1);
        s.pass(60);
        s.reconcile().await;
        assert_ne!(s.server.condition("m", PROGRESSING).1, word);
        s.until(PROVISIONED, "Applied").await;
    }
}

#[tokio::test]
async fn a_deletion_that_takes_too_long_is_told_and_shown_until_its_end() {
    let s = setup();
    s.until(PROVISIONED, "Applied").await;
    s.delete();
    for _ in 0..5 {
        s.fake.next_ending(JobState::Failed);
    }
    s.until(PROGRESSING, "BackingOff").await;
    assert_eq!(s.server.condition("m", DEPROVISIONED).1, "BackingOff");
    s.pass(3_600);
    for _ in 0..4 {
        s.reconcile().await;
        let (_, reason, message) = s.server.condition("m", DEPROVISIONED);
        assert_eq!(reason, "DeletionOverdue");
        assert!(message.contains("escalateAfter"), "{message}");
        s.pass(20);
    }
    assert_eq!(count(&s.server.events(), "DeletionOverdue"), 1);
    for _ in 0..60 {
        if s.server.exists("m") {
            s.pass(1_800);
            s.reconcile().await;
        }
    }
    assert!(!s.server.exists("m"));
    assert_eq!(count(&s.server.events(), "DeletionOverdue"), 1);
}
