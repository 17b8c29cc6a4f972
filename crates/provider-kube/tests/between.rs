//! What others do between two steps of ours: nothing may be decided on what is no longer so.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed"
)]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use common::{Machine, Trouble, desired, plain, process, seconds, setup, setup_with, wanted};
use kube::runtime::controller::Action;
use provider_core::lifecycle::Desired;
use provider_core::{Clock, JobState, JobType, ManualClock};
use provider_kube::{DEPROVISIONED, PROGRESSING, PROVISIONED, TARGETS_KNOWN};
use provider_testkit::{FakeProvider, Function};
use serde_json::{Value, json};

fn edited(object: &mut Value) {
    object["spec"]["cores"] = json!(8);
    object["metadata"]["generation"] = json!(2);
}

fn version(cores: u32) -> Value {
    json!(provider_core::ConfigVersion::of_json(&json!({ "cores": cores })).as_str())
}

/// D19: the intent says what the object says that is sent with it.
#[tokio::test]
async fn d19_an_edit_before_the_intent_launches_what_is_wanted_now() {
    for after in [0, 1] {
        let s = setup();
        // Before the finalizer, and between the finalizer and the intent.
        s.server.meanwhile(after, edited);
        s.reconcile().await;
        let jobs = s.fake.jobs();
        assert_eq!(jobs.len(), 1);
        assert_eq!(
            json!(jobs[0].config_version.as_ref().unwrap().as_str()),
            version(8)
        );
        assert_eq!(
            s.server.value("m")["status"]["desiredConfigVersion"],
            version(8)
        );
    }
}

/// D19: the edit conflicts with the write of the success, and what succeeded is not what is wanted.
#[tokio::test]
async fn d19_an_edit_before_the_success_is_written_is_not_reported_as_applied() {
    let s = setup();
    s.reconcile().await;
    for _ in 0..3 {
        s.pass(60);
        s.server.meanwhile(0, edited);
        s.reconcile().await;
        let applied = s.server.condition("m", PROVISIONED).0 == "True";
        assert!(!applied || s.fake.jobs().len() == 2);
    }
    assert_eq!(
        s.server.value("m")["status"]["jobs"][0]["state"],
        "Succeeded"
    );
    s.until(PROVISIONED, "Applied").await;
    let status = &s.server.value("m")["status"];
    assert_eq!(status["observedGeneration"], 2);
    assert_eq!(status["reconciledConfigVersion"], version(8));
    assert_eq!(s.fake.jobs().len(), 2);
}

/// A pass that finds the object changed records what it has seen, and says nothing about a configuration
/// that it does not know.
#[tokio::test]
async fn d19_what_is_recorded_on_a_changed_object_says_nothing_about_it() {
    let s = setup();
    s.server.meanwhile(2, edited);
    s.server.pass_writing(4);
    s.server.trouble_writing(Trouble::Refused(403), 5);
    assert!(s.with(&s.server.cached("m")).await.is_err());
    let object = s.server.value("m");
    assert_eq!(object["status"]["jobs"][0]["jobID"], "1");
    assert_eq!(object["metadata"]["generation"], 2);
    assert_eq!(object["status"]["observedGeneration"], 1);
}

#[tokio::test]
async fn a_pause_before_the_intent_is_respected() {
    let s = setup();
    s.server.meanwhile(1, |object| {
        object["metadata"]["annotations"] = json!({"example.com/management-state": "paused"});
    });
    s.reconcile().await;
    assert!(s.fake.jobs().is_empty());
    assert_eq!(s.server.condition("m", PROGRESSING).1, "Paused");
}

/// The job that a launch named is on record, although the object was changed during the launch.
#[tokio::test]
async fn an_edit_or_a_deletion_during_the_launch_loses_no_job() {
    let deleted = |object: &mut Value| {
        object["metadata"]["deletionTimestamp"] = json!("2026-11-23T04:00:00Z");
        object["metadata"]["generation"] = json!(2);
    };
    for change in [edited, deleted] {
        let s = setup();
        s.server.meanwhile(2, change);
        s.reconcile().await;
        let object = s.server.value("m");
        assert_eq!(object["status"]["jobs"][0]["jobID"], "1");
        assert_eq!(s.fake.count(Function::FindLaunched), 0);
        assert_eq!(s.server.events()[0], "Started");
    }
}

#[tokio::test]
async fn a_conflict_does_not_swallow_the_condition_of_a_rest() {
    let s = setup();
    s.server.change("m", |object| {
        object["metadata"]["finalizers"] = json!(["example.com/provisioning"]);
        object["metadata"]["annotations"] = json!({"example.com/management-state": "paused"});
    });
    s.server.trouble_writing(Trouble::Refused(409), 1);
    let action = s.reconcile().await;
    let paused = s.server.condition("m", PROGRESSING).1 == "Paused";
    assert!(paused || seconds(&action) < 10.0);
    assert!(paused, "tried again at once");
}

/// What is on record is told, also when the pass cannot be brought to its end.
#[tokio::test]
async fn events_are_told_although_the_pass_fails_afterwards() {
    let s = setup();
    s.fake.trouble(
        Function::TriggerProvision,
        provider_testkit::Trouble::LosesAnswer,
    );
    let find = provider_core::ProviderError::new(
        provider_core::Effect::NotSent,
        provider_core::ErrorKind::Unavailable,
        "away",
    );
    s.fake.trouble(
        Function::FindLaunched,
        provider_testkit::Trouble::Fails(find),
    );
    // Finalizer, intent and doubt are written, the conditions are refused.
    s.server.pass_writing(3);
    s.server.trouble_writing(Trouble::Refused(403), 1);
    assert!(s.with(&s.server.cached("m")).await.is_err());
    assert_eq!(s.server.events(), ["Ambiguous"]);
    // Gone in the middle of it.
    let s = setup();
    s.server.pass_writing(3);
    s.server.trouble_writing(Trouble::Gone, 1);
    let cached = s.server.cached("m");
    for _ in 0..2 {
        s.with(&cached).await.unwrap();
        s.pass(60);
    }
    assert_eq!(s.server.events(), ["Started"]);
}

#[tokio::test]
async fn of_two_replicas_one_tells_of_the_release() {
    let s =
        setup_with(common::fake().with_capabilities(|can| can.block_deletion_on_failure = false));
    s.until(PROVISIONED, "Applied").await;
    s.fake.next_ending(JobState::Failed);
    s.delete();
    s.until(PROGRESSING, "JobPending").await;
    s.pass(60);
    // The other one sees the end too, and is a moment late at each write.
    let late = s.server.cached("m");
    let second = process(&s.server, &s.fake, &s.clock);
    s.server.trouble_writing(Trouble::Refused(409), 3);
    for _ in 0..20 {
        if !s.server.exists("m") {
            break;
        }
        s.reconcile().await;
        second.reconcile(&late, wanted).await.unwrap();
        s.pass(60);
    }
    second.reconcile(&late, wanted).await.unwrap();
    let events = s.server.events();
    for once in ["Released", "Orphaned"] {
        assert_eq!(
            events.iter().filter(|e| *e == once).count(),
            1,
            "{events:?}"
        );
    }
}

/// The end of a deprovision and the removal of the finalizer are one write; whoever is in the way of it
/// makes it two.
#[tokio::test]
async fn the_last_record_is_left_unwritten_only_where_the_object_goes_with_it() {
    let writes = async |finalizers: Value, conflicts: usize| {
        let s = setup();
        s.until(PROVISIONED, "Applied").await;
        s.server.change("m", |object| {
            object["metadata"]["finalizers"] = finalizers;
        });
        s.delete();
        s.until(PROGRESSING, "JobPending").await;
        s.server.requests();
        s.server.trouble_writing(Trouble::Refused(409), conflicts);
        for _ in 0..10 {
            s.pass(60);
            if s.server.exists("m") {
                s.reconcile().await;
            }
        }
        let all = s.server.requests();
        let patches = all.iter().filter(|r| r.starts_with("PATCH")).count();
        (
            patches,
            s.server.exists("m"),
            s.fake.count(Function::TriggerDeprovision),
        )
    };
    let ours = json!(["example.com/provisioning"]);
    let (alone, ..) = writes(ours.clone(), 0).await;
    assert!(alone <= 1, "{alone}");
    assert!(!writes(ours, 2).await.1);
    let (_, there, deprovisions) = writes(json!(["example.com/provisioning", "other"]), 0).await;
    assert!(there && deprovisions == 1);
}

/// While it is paused nothing is let go: the end of the deprovision is put on record like any other.
#[tokio::test]
async fn a_paused_deletion_keeps_its_last_record() {
    let s = setup();
    s.until(PROVISIONED, "Applied").await;
    s.delete();
    s.until(PROGRESSING, "JobPending").await;
    s.server.change("m", |object| {
        object["metadata"]["annotations"] = json!({"example.com/management-state": "paused"});
    });
    for _ in 0..5 {
        s.pass(60);
        s.reconcile().await;
    }
    let object = s.server.value("m");
    assert_eq!(object["status"]["jobs"][1]["state"], "Succeeded");
    assert_eq!(s.server.condition("m", PROGRESSING).1, "Paused");
    s.server.change("m", |object| {
        object["metadata"]["annotations"] = json!({});
    });
    s.until_gone().await;
}

/// What is applied is what the newest attempt brought: after a failure of another configuration nobody
/// knows what is there.
#[tokio::test]
async fn the_reconciled_version_is_that_of_the_newest_attempt_or_none() {
    let s = setup();
    let reconciled = || s.server.value("m")["status"]["reconciledConfigVersion"].clone();
    let edit = |cores: u32, generation: u32| {
        s.server.change("m", |object| {
            object["spec"]["cores"] = json!(cores);
            object["metadata"]["generation"] = json!(generation);
        });
    };
    s.until(PROVISIONED, "Applied").await;
    assert_eq!(reconciled(), version(2));
    edit(8, 2);
    s.fake.next_ending(JobState::Failed);
    s.until(PROGRESSING, "JobPending").await;
    assert_eq!(reconciled(), Value::Null, "while it runs");
    s.until(PROGRESSING, "BackingOff").await;
    assert_eq!(reconciled(), Value::Null, "after it failed");
    edit(2, 3);
    s.until(PROGRESSING, "JobPending").await;
    assert_eq!(reconciled(), Value::Null, "not before it is applied again");
    s.until(PROVISIONED, "Applied").await;
    assert_eq!(reconciled(), version(2));
    s.delete();
    s.until(PROGRESSING, "JobPending").await;
    assert_eq!(reconciled(), Value::Null, "during the deprovision");
}

#[tokio::test]
async fn records_that_no_target_owns_keep_the_object() {
    let s = setup();
    let both = |machine: &Machine| {
        ["compute", "network"]
            .map(|name| desired(machine).for_target(name))
            .to_vec()
    };
    let one = |machine: &Machine| vec![desired(machine).for_target("compute")];
    let none = |_: &Machine| Vec::<Desired>::new();
    for _ in 0..6 {
        s.provisioner
            .reconcile(&s.server.cached("m"), plain(both))
            .await
            .unwrap();
        s.pass(60);
    }
    assert_eq!(s.server.condition("m", "network/Provisioned").0, "True");
    s.delete();
    for _ in 0..10 {
        let action = s
            .provisioner
            .reconcile(&s.server.cached("m"), plain(one))
            .await
            .unwrap();
        assert_ne!(action.action, Action::await_change());
        s.pass(60);
    }
    let (status, reason, message) = s.server.condition("m", TARGETS_KNOWN);
    assert_eq!(
        (status.as_str(), reason.as_str()),
        ("False", "UnknownTarget")
    );
    assert!(message.contains("target \"network\""), "{message}");
    assert!(message.contains("declare it `absent()`"), "{message}");
    let told = s
        .server
        .events()
        .into_iter()
        .filter(|e| e == "UnknownTarget");
    assert_eq!(told.count(), 1);
    // The other one has been let go.
    assert_eq!(s.server.condition("m", "compute/Deprovisioned").0, "True");
    s.provisioner
        .reconcile(&s.server.cached("m"), plain(none))
        .await
        .unwrap();
    assert!(s.server.exists("m"));
    for _ in 0..10 {
        if s.server.exists("m") {
            s.provisioner
                .reconcile(&s.server.cached("m"), plain(both))
                .await
                .unwrap();
            s.pass(60);
        }
    }
    assert!(!s.server.exists("m"));
    assert_eq!(s.fake.count(Function::TriggerDeprovision), 2);
}

#[tokio::test]
async fn an_object_with_no_target_at_all_is_let_go_when_nothing_is_left() {
    let s = setup();
    let none = |_: &Machine| Vec::<Desired>::new();
    s.provisioner
        .reconcile(&s.server.cached("m"), plain(none))
        .await
        .unwrap();
    assert_eq!(s.server.value("m")["metadata"]["finalizers"], Value::Null);
    s.server.change("m", |object| {
        object["metadata"]["finalizers"] = json!(["example.com/provisioning"]);
    });
    s.delete();
    s.provisioner
        .reconcile(&s.server.cached("m"), plain(none))
        .await
        .unwrap();
    assert!(!s.server.exists("m"));
    assert!(s.fake.jobs().is_empty());
}

#[tokio::test]
async fn a_target_that_the_status_cannot_hold_is_refused_before_anything_is_started() {
    let s = setup();
    let bad = |machine: &Machine| vec![desired(machine).for_target("Not A Name")];
    let result = s
        .provisioner
        .reconcile(&s.server.cached("m"), plain(bad))
        .await;
    assert!(matches!(result, Err(provider_kube::Error::Targets(_))));
    assert_eq!(s.server.condition("m", "TargetsKnown").1, "Refused");
    assert_eq!(s.server.requests().len(), 1);
    // One that nobody of ours keeps is nobody's business.
    let s = setup();
    s.delete();
    let machine = s.server.cached("m");
    let action = s.provisioner.reconcile(&machine, plain(bad)).await;
    assert_eq!(action.unwrap().action, Action::await_change());
    assert_eq!(s.server.requests(), Vec::<String>::new());
}

/// Conditions of others may have any shape; they stay, and hide nothing.
#[tokio::test]
async fn what_cannot_be_read_among_the_conditions_stays_as_it_is() {
    let s = setup();
    let others = [
        json!({"type": "example.com/Odd", "status": true, "extra": {"deep": [1]}}),
        json!({"type": "example.com/Fine", "status": "True", "reason": "R", "message": "",
            "lastTransitionTime": "2026-11-23T04:00:00.123456Z", "more": "kept"}),
    ];
    s.server.change("m", |object| {
        object["status"]["conditions"] = json!(others);
    });
    s.until(PROVISIONED, "Applied").await;
    let object = s.server.value("m");
    let all = object["status"]["conditions"].as_array().unwrap();
    for other in &others {
        assert!(all.contains(other), "{all:#?}");
    }
    assert_eq!(all.len(), 5);
    let status = s.server.cached("m").status.unwrap();
    assert_eq!(status.condition(PROVISIONED).unwrap().status, "True");
    assert!(status.condition("example.com/Odd").is_none());
}

/// A list of records that cannot be read is not an empty one.
#[tokio::test]
async fn records_that_cannot_be_read_block_and_stay_as_they_are() {
    for jobs in [json!({"0": {}}), json!("gone"), json!([7])] {
        let s = setup();
        // The watch cache has an older object, which its own type can read.
        let cached = s.server.cached("m");
        let (theirs, there) = (jobs.clone(), jobs.clone());
        s.server
            .change("m", |object| object["status"]["jobs"] = theirs);
        for _ in 0..3 {
            s.with(&cached).await.unwrap();
            s.pass(3_600);
        }
        assert!(s.fake.jobs().is_empty());
        let (_, reason, message) = s.server.condition("m", PROGRESSING);
        assert_eq!(reason, "DefectiveRecord", "{jobs}");
        assert!(message.contains("status.jobs"), "{message}");
        assert_eq!(s.server.value("m")["status"]["jobs"], there);
        assert_eq!(s.server.events(), ["DefectiveRecord"]);
    }
}

#[tokio::test]
async fn an_unmanaged_object_is_not_written_to() {
    let s = setup();
    s.server.change("m", |object| {
        object["metadata"]["annotations"] = json!({"example.com/management-state": "unmanaged"});
    });
    let before = s.server.value("m");
    assert_eq!(s.reconcile().await, Action::await_change());
    assert_eq!(s.server.value("m"), before);
    assert_eq!(s.server.requests(), Vec::<String>::new());
    // One that was managed before keeps its finalizer, and deletion lets it go with a receipt.
    let s = setup();
    s.until(PROVISIONED, "Applied").await;
    s.server.change("m", |object| {
        object["metadata"]["annotations"] = json!({"example.com/management-state": "unmanaged"});
    });
    s.server.requests();
    assert_eq!(s.reconcile().await, Action::await_change());
    assert_eq!(s.server.requests(), Vec::<String>::new());
    s.delete();
    s.until_gone().await;
    assert_eq!(s.fake.count(Function::TriggerDeprovision), 0);
    assert!(s.server.events().contains(&"Orphaned".to_owned()));
}

#[tokio::test]
async fn a_finalizer_that_was_taken_off_a_live_job_is_told() {
    let s = setup();
    s.reconcile().await;
    s.delete();
    s.server.change("m", |object| {
        object["metadata"]["finalizers"] = json!(["other"]);
    });
    assert_eq!(s.reconcile().await, Action::await_change());
    assert_eq!(s.server.events(), ["Started", "Orphaned"]);
    assert_eq!(s.server.condition("m", DEPROVISIONED).0, "Unknown");
}

/// Records of older operators have no numbers, and a server that knows the definition takes no write of
/// an object with two of them.
#[tokio::test]
async fn older_records_are_numbered_before_the_finalizer_is_added() {
    let s = setup();
    s.server.change("m", |object| {
        object["status"]["jobs"] = json!([
            {"jobID": "7", "type": "provision", "state": "Failed", "message": "", "timestamp": null},
            {"jobID": "8", "type": "provision", "state": "Succeeded", "message": ""},
        ]);
    });
    s.server.pass_writing(1);
    s.server.trouble_writing(Trouble::Refused(503), 1);
    assert!(s.with(&s.server.cached("m")).await.is_err());
    let object = s.server.value("m");
    assert_eq!(object["status"]["jobs"][0]["attempt"], 1);
    assert_eq!(object["status"]["jobs"][1]["attempt"], 2);
    assert_eq!(object["metadata"]["finalizers"], Value::Null);
    assert!(
        s.fake
            .jobs()
            .iter()
            .all(|job| job.job_type != JobType::Deprovision)
    );
}

/// Two processes that see an object differently, because their clocks differ or one has asked and the other has
/// not, overwrite each other's conditions: each write wakes the other one.
#[tokio::test]
async fn two_processes_that_differ_do_not_answer_each_other_for_ever() {
    let s = setup_with(FakeProvider::new("fake").ending_after(u32::MAX));
    s.reconcile().await;
    s.fake.end(1, JobState::Unknown);
    s.pass(30);
    s.reconcile().await;
    // What is unknown for a moment has been so for too long by the clock of the other one.
    let ahead = Arc::new(ManualClock::new(s.clock.now()));
    ahead.advance(Duration::from_secs(16 * 60));
    let other = process(&s.server, &s.fake, &ahead);
    s.server.requests();
    let (mut writes, mut said) = (0, BTreeSet::new());
    for _ in 0..120 {
        // Woken by each other as long as there is anything new.
        for _ in 0..50 {
            let before = s.server.value("m")["metadata"]["resourceVersion"].clone();
            s.reconcile().await;
            let machine = s.server.cached("m");
            other.reconcile(&machine, wanted).await.unwrap();
            said.insert(s.server.condition("m", PROGRESSING).1);
            if s.server.value("m")["metadata"]["resourceVersion"] == before {
                break;
            }
        }
        let patches = |request: &&String| request.starts_with("PATCH");
        writes += s.server.requests().iter().filter(patches).count();
        s.pass(30);
        ahead.advance(Duration::from_secs(30));
    }
    assert!(
        said.contains("UnknownTooLong"),
        "they do not differ: {said:?}"
    );
    assert!(writes < 60, "{writes} writes in an hour");
    // Each of them still says what is new.
    s.fake.end(1, JobState::Succeeded);
    s.until(PROVISIONED, "Applied").await;
}
