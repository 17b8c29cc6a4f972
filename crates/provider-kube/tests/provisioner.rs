//! Whole lives, stale caches, writers in between, and failures of the API server.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed"
)]

mod common;

use std::time::Duration;

use common::live::Live;
use common::{Machine, Trouble, desired, fake, process, seconds, setup, setup_with, wanted};
use futures::StreamExt;
use kube::runtime::controller::Action;
use provider_core::{Effect, ErrorKind, JobRef, JobState, ProviderError};
use provider_kube::{DEPROVISIONED, Error, PROGRESSING, PROVISIONED};
use provider_testkit::{Function, Trouble as Failing};
use serde_json::{Value, json};

#[tokio::test]
async fn a_life_in_writes_conditions_and_events() {
    let s = setup();
    s.reconcile().await;
    assert_eq!(
        s.server.requests(),
        [
            "PATCH /apis/example.com/v1/namespaces/n/machines/m",
            "PATCH /apis/example.com/v1/namespaces/n/machines/m/status",
            "PATCH /apis/example.com/v1/namespaces/n/machines/m/status",
        ],
        "finalizer, intent, launch; nothing for the conditions alone"
    );
    assert_eq!(
        s.server.value("m")["metadata"]["finalizers"],
        json!(["example.com/provisioning"])
    );
    assert_eq!(s.server.condition("m", PROVISIONED).0, "False");
    let (status, reason, message) = s.server.condition("m", PROGRESSING);
    assert_eq!((status.as_str(), reason.as_str()), ("True", "JobPending"));
    assert!(message.starts_with("attempt 1, fake fake/1"), "{message}");
    s.until(PROVISIONED, "Applied").await;
    let object = s.server.value("m");
    assert_eq!(object["status"]["observedGeneration"], 1);
    assert_eq!(
        object["status"]["desiredConfigVersion"],
        object["status"]["reconciledConfigVersion"]
    );
    assert_eq!(s.server.condition("m", PROGRESSING).0, "False");
    assert_eq!(s.server.condition("m", DEPROVISIONED).1, "NotDeleted");
    s.server.requests();
    // At rest: nothing is read, nothing is written.
    assert_eq!(s.reconcile().await, Action::await_change());
    assert_eq!(s.server.requests(), Vec::<String>::new());
    s.delete();
    s.until_gone().await;
    assert_eq!(s.fake.count(Function::TriggerProvision), 1);
    assert_eq!(s.fake.count(Function::TriggerDeprovision), 1);
    assert_eq!(s.server.events(), ["Started", "Started", "Released"]);
    assert!(s.provisioner.requests().writes <= 12);
}

/// The time of a transition is that of the change of the status, not of the last write.
#[tokio::test]
async fn conditions_remember_when_they_changed() {
    let s = setup();
    s.reconcile().await;
    let at = |condition: &str| {
        let all = s.server.value("m")["status"]["conditions"].clone();
        let all = all.as_array().unwrap().clone();
        let one = all
            .iter()
            .find(|one| one["type"] == condition)
            .unwrap()
            .clone();
        one["lastTransitionTime"].as_str().unwrap().to_owned()
    };
    let (provisioned, deprovisioned) = (at(PROVISIONED), at(DEPROVISIONED));
    s.pass(90);
    s.until(PROVISIONED, "Applied").await;
    assert_ne!(at(PROVISIONED), provisioned);
    assert_eq!(at(DEPROVISIONED), deprovisioned);
}

/// The cache may lag behind our own writes: what they left is used, without asking the server.
#[tokio::test]
async fn a_reconcile_never_decides_on_less_than_its_own_last_write() {
    let s = setup();
    let stale = s.server.cached("m");
    s.with(&stale).await.unwrap();
    s.server.requests();
    for _ in 0..5 {
        s.with(&stale).await.unwrap();
    }
    assert_eq!(s.server.requests(), Vec::<String>::new());
    assert_eq!(s.fake.jobs().len(), 1);
}

/// A spec that was edited after our last write is newer than what we wrote.
#[tokio::test]
async fn a_cache_that_is_ahead_of_our_last_write_is_believed() {
    let s = setup();
    s.until(PROVISIONED, "Applied").await;
    s.server.change("m", |object| {
        object["spec"]["cores"] = json!(8);
        object["metadata"]["generation"] = json!(2);
    });
    s.until(PROVISIONED, "JobPending").await;
    s.until(PROVISIONED, "Applied").await;
    assert_eq!(s.fake.jobs().len(), 2);
    assert_eq!(s.server.value("m")["status"]["observedGeneration"], 2);
}

/// After a restart the process knows nothing of the writes before it.
#[tokio::test]
async fn a_new_process_with_an_old_cache_launches_nothing_twice() {
    let s = setup();
    let stale = s.server.cached("m");
    s.reconcile().await;
    let second = process(&s.server, &s.fake, &s.clock);
    second.reconcile(&stale, wanted).await.unwrap();
    assert_eq!(s.fake.jobs().len(), 1);
}

#[tokio::test]
async fn d11_two_reconciles_over_a_stale_cache_after_back_off_launch_once() {
    let s = setup();
    s.fake.next_ending(JobState::Failed);
    s.until(PROGRESSING, "BackingOff").await;
    let stale = s.server.cached("m");
    let second = process(&s.server, &s.fake, &s.clock);
    s.pass(3_600);
    s.with(&stale).await.unwrap();
    second.reconcile(&stale, wanted).await.unwrap();
    s.with(&stale).await.unwrap();
    assert_eq!(s.fake.jobs().len(), 2);
}

#[tokio::test]
async fn d22_an_api_server_that_cannot_be_read_launches_nothing() {
    let s = setup();
    s.fake.next_ending(JobState::Failed);
    s.until(PROGRESSING, "BackingOff").await;
    let stale = s.server.cached("m");
    // Somebody writes, so that the stale version is no longer the server's, which then cannot be read.
    s.server.change("m", |object| {
        object["metadata"]["labels"] = json!({"a": "b"});
    });
    s.server.trouble_reading(Trouble::Refused(503), 100);
    s.pass(3_600);
    let second = process(&s.server, &s.fake, &s.clock);
    for _ in 0..5 {
        let _ = second.reconcile(&stale, wanted).await;
    }
    assert_eq!(s.fake.jobs().len(), 1);
}

#[tokio::test]
async fn d35_two_deletions_over_a_stale_cache_launch_one_deprovision() {
    let s = setup();
    s.until(PROVISIONED, "Applied").await;
    s.delete();
    let stale = s.server.cached("m");
    let second = process(&s.server, &s.fake, &s.clock);
    s.with(&stale).await.unwrap();
    second.reconcile(&stale, wanted).await.unwrap();
    second.reconcile(&stale, wanted).await.unwrap();
    assert_eq!(s.fake.count(Function::TriggerDeprovision), 1);
    s.until_gone().await;
    assert_eq!(s.fake.count(Function::TriggerDeprovision), 1);
}

/// Whoever writes in between loses nothing, and neither do we.
#[tokio::test]
async fn d39_another_writer_of_the_status_is_a_conflict_and_both_writes_stay() {
    let s = setup();
    let stale = s.server.cached("m");
    s.reconcile().await;
    let other = json!({
        "type": "example.com/Other", "status": "True", "reason": "R", "message": "",
        "lastTransitionTime": "2026-11-23T04:00:00Z",
    });
    s.server.change("m", |object| {
        object["status"]["conditions"]
            .as_array_mut()
            .unwrap()
            .push(other.clone());
        object["status"]["address"] = json!("192.0.2.1");
    });
    s.pass(60);
    let second = process(&s.server, &s.fake, &s.clock);
    second.reconcile(&stale, wanted).await.unwrap();
    s.until(PROVISIONED, "Applied").await;
    let object = s.server.value("m");
    assert_eq!(object["status"]["address"], "192.0.2.1");
    let conditions = object["status"]["conditions"].as_array().unwrap();
    assert!(conditions.contains(&other), "{conditions:#?}");
    assert_eq!(object["status"]["jobs"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_seen_and_not_repeated() {
    let s = setup();
    for _ in 0..3 {
        s.server.trouble_writing(Trouble::Lost, 1);
        let machine = s.server.cached("m");
        let _ = s.with(&machine).await;
        s.pass(10);
    }
    s.server.end_of_trouble();
    s.pass(600);
    s.until(PROVISIONED, "Applied").await;
    assert_eq!(s.fake.jobs().len(), 1);
}

#[tokio::test]
async fn what_the_server_refuses_is_told_with_what_to_do() {
    let s = setup();
    s.server.trouble_writing(Trouble::Refused(403), 1);
    let machine = s.server.cached("m");
    let error = s.with(&machine).await.unwrap_err();
    assert!(
        matches!(
            &error,
            Error::Api {
                action: "add the finalizer",
                ..
            }
        ),
        "{error:?}"
    );
    assert!(
        error.to_string().contains("give the service account"),
        "{error}"
    );
    // The answer itself is at hand: by its status, and as the source.
    assert_eq!(error.status().unwrap().code, 403);
    let source = std::error::Error::source(&error).unwrap();
    assert!(source.downcast_ref::<kube::Error>().is_some(), "{source}");
    assert!(s.fake.jobs().is_empty());
    // The finalizer can be written and the status cannot: an error too, and later each time.
    s.server.trouble_writing(Trouble::Refused(422), 3);
    let mut waits = Vec::new();
    for _ in 0..2 {
        let error = s.with(&s.server.cached("m")).await.unwrap_err();
        assert!(matches!(error, Error::Api { .. }), "{error:?}");
        waits.push(s.provisioner.error_policy(&machine, &error));
    }
    let waits: Vec<f64> = waits.iter().map(seconds).collect();
    assert!((5.0..5.6).contains(&waits[0]), "{waits:?}");
    assert!((10.0..11.1).contains(&waits[1]), "{waits:?}");
    assert!(s.fake.jobs().is_empty());
}

#[tokio::test]
async fn without_a_durable_intent_nothing_is_launched() {
    let s = setup();
    s.server.change("m", |object| {
        object["metadata"]["finalizers"] = json!(["example.com/provisioning"]);
    });
    for code in [422, 403, 500, 503, 429] {
        s.server.trouble_writing(Trouble::Refused(code), 1);
        let machine = s.server.cached("m");
        let error = s.with(&machine).await.unwrap_err();
        let action = s.provisioner.error_policy(&machine, &error);
        assert_ne!(action, Action::await_change(), "{code}");
        assert!(s.fake.jobs().is_empty(), "{code}");
    }
    s.reconcile().await;
    assert_eq!(s.fake.jobs().len(), 1);
}

#[tokio::test]
async fn an_object_that_is_deleted_without_our_finalizer_is_left_alone() {
    let s = setup();
    s.delete();
    s.server.change("m", |object| {
        object["metadata"]["finalizers"] = json!(["other"]);
    });
    assert_eq!(s.reconcile().await, Action::await_change());
    assert_eq!(s.server.requests(), Vec::<String>::new());
    assert!(s.fake.jobs().is_empty());
}

/// A stale cache says that it lives; by now it is another life, or none.
#[tokio::test]
async fn an_object_that_is_gone_or_another_by_now_is_left_alone() {
    let s = setup();
    s.reconcile().await;
    let stale = s.server.cached("m");
    // Looks until the job's poll is due, which leads to a write, which finds another object or none.
    let ends = async || {
        let process = process(&s.server, &s.fake, &s.clock);
        for _ in 0..5 {
            let action = process.reconcile(&stale, wanted).await.unwrap().action;
            if action == Action::await_change() {
                return;
            }
            s.pass(60);
        }
        panic!("it is looked at for ever");
    };
    s.server.change("m", |object| {
        object["metadata"]["uid"] = json!("uid-of-another");
    });
    ends().await;
    s.server.remove("m");
    ends().await;
    assert_eq!(s.fake.jobs().len(), 1);
}

/// Something was written between the engine's word and the removal: it is asked again.
#[tokio::test]
async fn the_finalizer_goes_only_from_the_object_that_was_let_go() {
    let s = setup();
    s.until(PROVISIONED, "Applied").await;
    s.delete();
    s.until(PROGRESSING, "JobPending").await;
    s.pass(60);
    // Of the writes to come, the first records the end, the second removes the finalizer.
    s.server.trouble_writing(Trouble::Refused(409), 2);
    s.until_gone().await;
    assert_eq!(s.fake.count(Function::TriggerDeprovision), 1);
    let released = s.server.events().into_iter().filter(|e| e == "Released");
    assert_eq!(released.count(), 1, "told when it has gone, and once");
}

#[tokio::test]
async fn other_finalizers_stay_and_keep_the_object() {
    let s = setup();
    s.until(PROVISIONED, "Applied").await;
    s.server.change("m", |object| {
        object["metadata"]["finalizers"] = json!(["a", "example.com/provisioning", "b"]);
    });
    s.delete();
    s.until(DEPROVISIONED, "Deprovisioned").await;
    s.reconcile().await;
    assert_eq!(
        s.server.value("m")["metadata"]["finalizers"],
        json!(["a", "b"])
    );
    let jobs = s.fake.jobs().len();
    assert_eq!(s.reconcile().await, Action::await_change());
    assert_eq!(s.fake.jobs().len(), jobs);
}

#[tokio::test]
async fn people_steer_by_annotations() {
    let s = setup();
    let annotate = |name: &str, value: Value| {
        s.server.change("m", |object| {
            object["metadata"]["annotations"][name] = value;
        });
    };
    const MODE: &str = "example.com/management-state";
    for (word, reason) in [
        ("paused", "Paused"),
        ("Manual", "Manual"),
        ("pasued", "Paused"),
    ] {
        annotate(MODE, json!(word));
        s.reconcile().await;
        assert_eq!(s.server.condition("m", PROGRESSING).1, reason, "{word}");
        assert!(s.fake.jobs().is_empty(), "{word}");
    }
    let (.., message) = s.server.condition("m", PROGRESSING);
    assert!(
        message.contains("\"pasued\"; expected managed, paused, manual or unmanaged"),
        "{message}"
    );
    annotate(MODE, json!("managed"));
    s.fake.next_ending(JobState::Canceled);
    s.until(PROGRESSING, "CanceledByOthers").await;
    assert_eq!(s.fake.jobs().len(), 1);
    annotate("example.com/retry", json!("please"));
    s.until(PROVISIONED, "Applied").await;
    assert_eq!(s.fake.jobs().len(), 2);
    // The same request is no new one.
    s.reconcile().await;
    assert_eq!(s.fake.jobs().len(), 2);
}

#[tokio::test]
async fn failures_and_blocks_are_told_once() {
    let s = setup();
    let refusal = ProviderError::new(Effect::Rejected, ErrorKind::Forbidden, "no right to launch")
        .with_advice("give it");
    s.fake
        .trouble(Function::TriggerProvision, Failing::Fails(refusal));
    s.reconcile().await;
    let (_, reason, message) = s.server.condition("m", PROGRESSING);
    assert_eq!(reason, "BackingOff");
    assert!(message.contains("no right to launch"), "{message}");
    assert_eq!(s.server.events(), ["NotLaunched"]);

    // A record of a provider that is not there.
    let s = setup();
    s.server.change("m", |object| {
        object["status"]["jobs"] = json!([{
            "attempt": 1, "jobID": "5", "type": "provision", "state": "Running", "provider": "other",
        }]);
    });
    for _ in 0..5 {
        s.reconcile().await;
        s.pass(3_600);
    }
    let (status, reason, message) = s.server.condition("m", PROGRESSING);
    assert_eq!(
        (status.as_str(), reason.as_str()),
        ("False", "MissingProvider")
    );
    assert!(
        message.contains("provider \"other\" is not registered"),
        "{message}"
    );
    assert_eq!(s.server.events(), ["MissingProvider"]);
}

#[tokio::test]
async fn what_may_be_left_behind_is_an_event() {
    let s = setup_with(fake().with_capabilities(|can| can.block_deletion_on_failure = false));
    s.until(PROVISIONED, "Applied").await;
    s.fake.next_ending(JobState::Failed);
    s.delete();
    s.until_gone().await;
    let events = s.server.events();
    assert_eq!(
        events,
        ["Started", "Started", "Failed", "Released", "Orphaned"]
    );
}

#[tokio::test]
async fn a_hint_wakes_the_object_of_the_job_and_its_poll_comes_early() {
    let s = setup();
    s.reconcile().await;
    s.reconcile().await;
    let polls = s.fake.count(Function::Status);
    s.reconcile().await;
    assert_eq!(s.fake.count(Function::Status), polls, "not due yet");
    let jobs = vec![
        JobRef::new("fake", "job", "999"),
        JobRef::new("fake", "job", "1"),
    ];
    let mut wake_ups = Box::pin(s.provisioner.wake_ups());
    s.fake.hint(999);
    s.fake.hint(1);
    assert_eq!(wake_ups.next().await.unwrap().name, "m");
    let woken: Vec<_> = s
        .provisioner
        .wake_on(futures::stream::iter(jobs))
        .collect()
        .await;
    assert_eq!(woken.len(), 1);
    assert_eq!(
        (woken[0].name.as_str(), woken[0].namespace.as_deref()),
        ("m", Some("n"))
    );
    s.reconcile().await;
    assert_eq!(s.fake.count(Function::Status), polls + 1);
    // Jobs that have ended wake nobody.
    s.until(PROVISIONED, "Applied").await;
    let hint = futures::stream::iter([JobRef::new("fake", "job", "1")]);
    assert_eq!(s.provisioner.wake_on(hint).count().await, 0);
}

#[tokio::test]
async fn an_object_says_why_it_stands_where_it_stands() {
    let s = setup();
    s.reconcile().await;
    let machine = s.server.cached("m");
    let explained = s.provisioner.explain(&machine, wanted).await.unwrap();
    let (target, explained) = &explained[0];
    assert_eq!(*target, None);
    assert!(explained.to_string().contains("fake fake/1"), "{explained}");
}

#[tokio::test(start_paused = true)]
async fn several_targets_let_go_together() {
    let live = Live::start(fake(), |machine: &Machine| {
        Ok(["compute", "network"].map(|target| desired(machine).for_target(target)))
    });
    for target in ["compute", "network"] {
        let condition = format!("{target}/Provisioned");
        live.until_reason(&condition, "Applied").await;
        assert_eq!(live.server.condition("m", &condition).0, "True");
    }
    live.delete();
    live.until_gone().await;
    assert_eq!(live.fake.count(Function::TriggerProvision), 2);
    assert_eq!(live.fake.count(Function::TriggerDeprovision), 2);
}

/// A request for a wake-up is never in the past, and long ones are spread.
#[tokio::test]
async fn wake_ups_are_spread() {
    let s = setup();
    s.fake.next_ending(JobState::Failed);
    s.until(PROGRESSING, "BackingOff").await;
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..5 {
        seen.insert(format!("{:?}", s.reconcile().await));
    }
    assert!(seen.len() == 1, "short waits are the engine's: {seen:?}");
    // Blocked ones look again after half an hour.
    s.server.change("m", |object| {
        object["status"]["jobs"][0] = json!({"attempt": 9});
    });
    for _ in 0..5 {
        let action = s.reconcile().await;
        assert_ne!(action, Action::requeue(Duration::ZERO));
        seen.insert(format!("{action:?}"));
    }
    assert_eq!(seen.len(), 6, "{seen:?}");
}
