//! What people are told: events, and what conditions say about a backend that cannot be asked.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed"
)]

mod common;

use common::{
    Machine, Trouble, desired, plain, process, seconds, setup, setup_with, setup_with_policy,
    wanted,
};
use kube::runtime::controller::Action;
use provider_core::lifecycle::{Desired, PolicyConfig};
use provider_core::{Effect, ErrorKind, JobState, ProviderError};
use provider_kube::{DEPROVISIONED, PROGRESSING, PROVISIONED, READABLE, STATUS_WRITABLE};
use provider_testkit::{FakeProvider, Function, Trouble as Failing};
use serde_json::{Value, json};

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
async fn of_two_failures_in_a_row_each_is_told_in_its_own_words() {
    let s = setup();
    s.fake.next_ending(JobState::Failed);
    s.fake.next_ending(JobState::Failed);
    s.until(PROVISIONED, "Applied").await;
    let told = s.server.told();
    let notes = |reason: &str| -> Vec<&str> {
        let of_it = told.iter().filter(|event| event["reason"] == reason);
        of_it.map(|event| event["note"].as_str().unwrap()).collect()
    };
    for (reason, count) in [("Started", 3), ("Failed", 2)] {
        let notes = notes(reason);
        assert_eq!(notes.len(), count, "{told:#?}");
        for (note, attempt) in notes.iter().zip(1..) {
            let start = format!("attempt {attempt}, fake fake/");
            assert!(note.starts_with(&start), "{reason}: {note}");
        }
    }
    // By the controller's clock, and each under a name of its own.
    let mut names: Vec<&str> = Vec::new();
    for event in &told {
        let at = event["eventTime"].as_str().unwrap();
        assert!(at.starts_with("2026-11-23T"), "{at}");
        names.push(event["metadata"]["name"].as_str().unwrap());
    }
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), told.len());
}

#[tokio::test]
async fn the_same_words_are_one_event_that_is_counted_for_six_minutes() {
    let s = setup();
    let blocked = json!([{
        "attempt": 1, "jobID": "5", "type": "provision", "state": "Running", "provider": "other",
    }]);
    let counts = |told: Vec<Value>| -> Vec<Value> {
        told.iter()
            .map(|event| event["series"]["count"].clone())
            .collect()
    };
    let mut expected = Vec::new();
    // The last time but one the API server has forgotten the event, and then the six minutes are over.
    for (n, count) in [Value::Null, json!(2), json!(3), Value::Null, Value::Null]
        .iter()
        .enumerate()
    {
        if n == 3 {
            s.server.forget_events();
            expected.clear();
        }
        s.server.change("m", |object| {
            object["status"] = json!({"jobs": blocked});
        });
        s.pass(if n == 4 { 361 } else { 60 });
        s.reconcile().await;
        expected.push(count.clone());
        assert_eq!(counts(s.server.told()), expected, "{n}");
    }
}

#[tokio::test]
async fn what_goes_on_record_with_the_removal_of_the_finalizer_is_told_with_it() {
    let s = setup();
    s.until(PROVISIONED, "Applied").await;
    s.delete();
    s.fake
        .trouble(Function::TriggerDeprovision, Failing::LosesAnswer);
    // The job whose answer was lost has ended when it is found, so that its only write is the removal: which
    // fails three times, in different ways.
    let away = ProviderError::new(Effect::NotSent, ErrorKind::Unavailable, "away");
    s.fake.away(&[Function::FindLaunched], away);
    let jobs = s.fake.jobs().len();
    while s.fake.jobs().len() == jobs {
        s.reconcile().await;
    }
    let job = s.fake.jobs().last().unwrap().id;
    s.fake.end(job, JobState::Succeeded);
    s.fake.back();
    // Of the finalizer, or of whatever else is written from here on.
    s.server.trouble_writing(Trouble::Refused(500), 3);
    s.until_gone().await;
    let told = s.server.events();
    assert_eq!(count(&told, "Adopted"), 1, "{told:?}");
    assert_eq!(told.last().unwrap(), "Released");
}

#[tokio::test]
async fn a_canceled_job_is_told() {
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
    let targets = |machine: &Machine| vec![desired(machine).for_target("compute")];
    for _ in 0..5 {
        s.provisioner
            .reconcile(&s.server.cached("m"), plain(targets))
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
            s.fake.trouble(Function::Status, Failing::Fails(error));
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

/// A definition without a status subresource, a proxy, a namespace that was removed by force.
#[tokio::test]
async fn a_404_to_a_write_of_an_object_that_is_there_is_told_and_tried_again() {
    let s = setup();
    s.server.pass_writing(1);
    s.server.trouble_writing(Trouble::Refused(404), 1);
    let machine = s.server.cached("m");
    let error = s.with(&machine).await.unwrap_err();
    assert!(
        error.to_string().contains("no status subresource"),
        "{error}"
    );
    let action = s.provisioner.error_policy(&machine, &error);
    assert_ne!(action, Action::await_change());
    assert!(s.fake.jobs().is_empty());
    assert_eq!(s.server.events(), ["Refused"]);
    // One that was passing leaves nothing behind.
    s.until(PROVISIONED, "Applied").await;
    assert_eq!(s.server.condition("m", STATUS_WRITABLE).0, "");
    assert_eq!(s.fake.jobs().len(), 1);
}

#[tokio::test]
async fn without_a_status_subresource_the_object_itself_says_so_until_there_is_one() {
    let s = setup();
    s.server.without_subresource(true);
    let error = s.with(&s.server.cached("m")).await.unwrap_err();
    let (is, reason, message) = s.server.condition("m", STATUS_WRITABLE);
    assert_eq!((&*is, &*reason), ("False", "Refused"));
    assert!(message.contains("no status subresource"), "{message}");
    assert!(error.to_string().contains(&message), "{error}");
    assert!(s.fake.jobs().is_empty(), "nothing is launched unrecorded");
    s.server.without_subresource(false);
    s.pass(600);
    s.until(PROVISIONED, "Applied").await;
    assert_eq!(s.server.condition("m", STATUS_WRITABLE).0, "");
}

/// The object can be listed, and nothing of it can be written.
#[tokio::test]
async fn a_namespace_that_was_removed_by_force_is_named_and_its_objects_are_tried_seldom() {
    let s = setup();
    s.until(PROVISIONED, "Applied").await;
    s.delete();
    s.server.trouble_writing(Trouble::NoNamespace, 10_000);
    // Not even this says that the object is gone.
    s.server.trouble_reading(Trouble::NoNamespace, 3);
    for _ in 0..20 {
        let machine = s.server.cached("m");
        let error = s.with(&machine).await.unwrap_err();
        assert!(
            error.to_string().contains("namespaces \"n\" not found"),
            "{error}"
        );
        let wait = seconds(&s.provisioner.error_policy(&machine, &error));
        assert!((5.0..100.0).contains(&wait), "{wait}");
        s.clock.advance(std::time::Duration::from_secs_f64(wait));
    }
    assert_eq!(s.fake.jobs().len(), 1, "no deprovision without a record");
    s.server.end_of_trouble();
    s.until_gone().await;
    assert_eq!(s.fake.jobs().len(), 2);
}

/// What was expected, and where, is what a person needs at three in the morning: the condition has it.
#[tokio::test]
async fn what_the_provider_says_of_a_job_that_nobody_can_tell_of_is_in_the_condition() {
    let s = setup_with(FakeProvider::new("fake").ending_after(u32::MAX));
    s.reconcile().await;
    s.fake.end(1, JobState::Unknown);
    s.fake.say(
        1,
        "annotation done is to be v1-00; activation 7 has stopped",
    );
    for _ in 0..120 {
        s.pass(30);
        s.reconcile().await;
    }
    for name in [PROVISIONED, PROGRESSING] {
        let (_, reason, message) = s.server.condition("m", name);
        assert!(
            message.contains("annotation done is to be v1-00; activation 7 has stopped"),
            "{name}, {reason}: {message}"
        );
    }
}

#[tokio::test]
async fn what_a_deprovision_has_left_is_in_the_condition_when_no_more_are_tried() {
    let config = PolicyConfig::default().with(|config| config.max_failures = Some(1));
    let s = setup_with_policy(FakeProvider::new("fake").ending_after(u32::MAX), config);
    s.reconcile().await;
    s.fake.end(1, JobState::Succeeded);
    s.pass(60);
    s.reconcile().await;
    s.delete();
    s.reconcile().await;
    s.fake.end(2, JobState::Unknown);
    s.fake.unfinished(2, true);
    s.fake
        .say(2, "the finalizer is still there; activation 7 has stopped");
    for _ in 0..120 {
        s.pass(30);
        s.reconcile().await;
    }
    assert!(s.server.exists("m"), "it was let go");
    let (_, reason, message) = s.server.condition("m", DEPROVISIONED);
    assert!(
        message.contains("the finalizer is still there; activation 7 has stopped"),
        "{reason}: {message}"
    );
}

#[tokio::test]
async fn an_object_that_can_never_be_written_is_tried_seldom_and_told_once_an_hour() {
    let s = setup();
    s.server.trouble_writing(Trouble::Refused(404), 10_000);
    let machine = s.server.cached("m");
    let began = provider_core::Clock::now(&*s.clock);
    let mut tries = 0;
    while provider_core::Clock::now(&*s.clock)
        .duration_since(began)
        .as_secs()
        < 4 * 3_600
    {
        let error = s.with(&machine).await.unwrap_err();
        let wait = seconds(&s.provisioner.error_policy(&machine, &error));
        assert!((5.0..100.0).contains(&wait), "{wait}");
        s.clock.advance(std::time::Duration::from_secs_f64(wait));
        tries += 1;
        assert!(tries < 400, "a hot loop");
    }
    let told = s.server.events();
    assert!((1..=5).contains(&told.len()), "{told:?}");
    assert!(s.fake.jobs().is_empty());
}

/// Only the API server's own word that there is no such object ends the work on it.
#[tokio::test]
async fn a_404_of_somebody_else_to_a_read_is_no_end() {
    let s = setup();
    s.reconcile().await;
    s.server.trouble_reading(Trouble::Refused(404), 1);
    s.server.trouble_writing(Trouble::Refused(409), 1);
    s.pass(60);
    let machine = s.server.cached("m");
    let mut failed = false;
    for _ in 0..3 {
        failed |= s.with(&machine).await.is_err();
        s.pass(60);
    }
    assert!(failed, "it was taken for gone");
    s.until(PROVISIONED, "Applied").await;
}

/// Whatever the Rust type knows of the object.
#[tokio::test]
async fn every_launch_is_sent_the_object_as_the_server_has_it() {
    let s = setup();
    let spec = |cores: u32| json!({"cores": cores, "disk": 10, "zone": {"name": "by default"}});
    s.server.change("m", |object| object["spec"] = spec(2));
    s.until(PROVISIONED, "Applied").await;
    s.server.change("m", |object| {
        object["spec"] = spec(8);
        object["metadata"]["generation"] = json!(2);
    });
    s.until(PROVISIONED, "JobPending").await;
    s.until(PROVISIONED, "Applied").await;
    // After a restart.
    let second = process(&s.server, &s.fake, &s.clock);
    s.server.change("m", |object| {
        object["spec"] = spec(9);
        object["metadata"]["generation"] = json!(3);
    });
    second
        .reconcile(&s.server.cached("m"), wanted)
        .await
        .unwrap();
    s.until(PROVISIONED, "Applied").await;
    s.delete();
    s.until_gone().await;
    let sent: Vec<Value> = s
        .fake
        .jobs()
        .iter()
        .map(|job| job.sent.spec().clone())
        .collect();
    assert_eq!(sent, [spec(2), spec(8), spec(9), spec(9)]);
}

#[tokio::test]
async fn what_was_said_of_a_single_target_goes_when_there_are_several() {
    let s = setup();
    s.until(PROVISIONED, "Applied").await;
    let targets = |names: &'static [&'static str]| {
        move |machine: &Machine| -> Vec<_> {
            let of = |(n, name): (usize, &&str)| tagged(desired(machine), name, n == 0);
            names.iter().enumerate().map(of).collect()
        }
    };
    for names in [&["a", "b"][..], &["a", "c"]] {
        for _ in 0..6 {
            let action = s
                .provisioner
                .reconcile(&s.server.cached("m"), plain(targets(names)))
                .await;
            action.unwrap();
            s.pass(60);
        }
        let status = &s.server.value("m")["status"];
        assert_eq!(status["reconciledConfigVersion"], Value::Null);
        assert_eq!(status["desiredConfigVersion"], Value::Null);
        assert_eq!(s.server.condition("m", PROVISIONED).0, "");
        for name in names {
            assert_eq!(
                s.server.condition("m", &format!("{name}/Provisioned")).0,
                "True"
            );
        }
    }
    assert_eq!(
        s.server.condition("m", "b/Provisioned").0,
        "",
        "it is not named any more"
    );
    assert_eq!(
        s.server.condition("m", "TargetsKnown").0,
        "False",
        "and something is left"
    );
}

#[tokio::test]
async fn targets_may_change_for_ever_without_filling_the_status() {
    let s = setup();
    for round in 0..30 {
        let name = format!("t{round}");
        let targets = |machine: &Machine| vec![desired(machine).for_target(name.clone())];
        // Nothing of it ever reaches the backend.
        let refusal = ProviderError::new(Effect::Rejected, ErrorKind::Forbidden, "no");
        s.fake
            .trouble(Function::TriggerProvision, Failing::Fails(refusal));
        s.provisioner
            .reconcile(&s.server.cached("m"), plain(targets))
            .await
            .unwrap();
        s.pass(60);
    }
    let status = s.server.value("m")["status"].clone();
    assert_eq!(
        status["conditions"].as_array().unwrap().len(),
        3,
        "{status:#}"
    );
    assert!(status["jobs"].as_array().unwrap().len() <= 2, "{status:#}");
}

#[tokio::test]
async fn too_many_targets_are_refused_before_anything_is_started_and_the_object_says_so() {
    let s = setup();
    let twelve = |machine: &Machine| -> Vec<_> {
        let named = |n| desired(machine).for_target(format!("t{n}"));
        (0..12).map(named).collect()
    };
    for _ in 0..3 {
        let machine = s.server.cached("m");
        let result = s.provisioner.reconcile(&machine, plain(twelve));
        let error = result.await.unwrap_err();
        assert!(matches!(error, provider_kube::Error::Targets(_)), "{error}");
        let (status, reason, message) = s.server.condition("m", "TargetsKnown");
        assert_eq!((status.as_str(), reason.as_str()), ("False", "Refused"));
        assert!(message.contains("12 targets"), "{message}");
        s.pass(60);
    }
    assert_eq!(s.server.requests().len(), 1, "it is written once");
    assert_eq!(s.server.events(), ["Refused"]);
    assert_eq!(s.server.value("m")["metadata"]["finalizers"], Value::Null);
    assert!(s.fake.jobs().is_empty());
    // Fewer of them are kept, and nothing is said against them any more.
    let two = |machine: &Machine| -> Vec<_> {
        let named = |n| desired(machine).for_target(format!("t{n}"));
        (0..2).map(named).collect()
    };
    for _ in 0..4 {
        let machine = s.server.cached("m");
        let result = s.provisioner.reconcile(&machine, plain(two));
        result.await.unwrap();
        s.pass(60);
    }
    assert_eq!(s.server.condition("m", "TargetsKnown").0, "True");
    assert_eq!(s.server.condition("m", "t1/Provisioned").0, "True");
    // Where there is no room for a condition, the event alone says so, once an hour.
    s.server.change("m", |object| {
        let other = |n| json!({"type": format!("example.com/C{n}"), "status": "True"});
        object["status"]["conditions"] = (0..32).map(other).collect();
    });
    for _ in 0..3 {
        let machine = s.server.cached("m");
        let result = s.provisioner.reconcile(&machine, plain(two));
        assert!(result.await.is_err());
    }
    assert_eq!(count(&s.server.events(), "Refused"), 2);
}

/// Somebody else's finalizer keeps the object, which is reconciled at every change.
#[tokio::test]
async fn that_our_finalizer_was_taken_off_is_told_once_also_after_a_restart() {
    let s = setup_with(common::fake().ending_after(1_000));
    s.reconcile().await;
    s.delete();
    s.server.change("m", |object| {
        object["metadata"]["finalizers"] = json!(["other"]);
    });
    s.server.trouble_writing(Trouble::Refused(409), 1);
    let second = process(&s.server, &s.fake, &s.clock);
    for _ in 0..3 {
        s.reconcile().await;
        let machine = s.server.cached("m");
        second.reconcile(&machine, wanted).await.unwrap();
        s.pass(3 * 3_600);
    }
    assert_eq!(count(&s.server.events(), "Orphaned"), 1);
    let (status, reason, message) = s.server.condition("m", DEPROVISIONED);
    assert_eq!(
        (status.as_str(), reason.as_str()),
        ("Unknown", "FinalizerTaken")
    );
    assert!(message.contains("fake"), "it names the job: {message}");
}

/// The one that did not take the finalizer off is never told that the object is gone.
#[tokio::test]
async fn no_replica_remembers_objects_that_are_gone() {
    let s = setup();
    let second = process(&s.server, &s.fake, &s.clock);
    s.reconcile().await;
    second
        .reconcile(&s.server.cached("m"), wanted)
        .await
        .unwrap();
    s.pass(60);
    second
        .reconcile(&s.server.cached("m"), wanted)
        .await
        .unwrap();
    assert!(s.provisioner.remembered() > 0 && second.remembered() > 0);
    s.until(PROVISIONED, "Applied").await;
    let last = s.server.cached("m");
    s.delete();
    s.until_gone().await;
    assert_eq!(s.provisioner.remembered(), 0, "by the one that let it go");
    s.pass(3 * 3_600);
    // Another object is worked on, and goes.
    let mut other = last;
    other.metadata.uid = Some("uid-of-another".to_owned());
    other.metadata.resource_version = Some("1".to_owned());
    second.reconcile(&other, wanted).await.unwrap();
    s.pass(60);
    let _ = second.reconcile(&other, wanted).await;
    assert!(second.remembered() <= 2, "{}", second.remembered());
}

#[tokio::test]
async fn our_own_release_is_not_told_as_somebody_elses() {
    let s = setup_with(common::fake().ending_after(1_000));
    s.reconcile().await;
    s.server.change("m", |object| {
        object["metadata"]["annotations"] = json!({"example.com/management-state": "unmanaged"});
        object["metadata"]["finalizers"] = json!(["example.com/provisioning", "other"]);
    });
    s.delete();
    for _ in 0..4 {
        s.reconcile().await;
        s.pass(60);
    }
    assert_eq!(
        s.server.value("m")["metadata"]["finalizers"],
        json!(["other"])
    );
    let orphaned = count(&s.server.events(), "Orphaned");
    assert_eq!(orphaned, 1, "{:?}", s.server.events());
}

/// However often somebody is in the way of the removal, it is tried again.
#[tokio::test]
async fn a_conflict_at_the_removal_of_the_finalizer_is_tried_again() {
    for others in [&["other"][..], &[]] {
        for conflicts in [1, 3, 40] {
            let s = setup();
            s.until(PROVISIONED, "Applied").await;
            s.server.change("m", |object| {
                let mut all = vec!["example.com/provisioning"];
                all.extend(others);
                object["metadata"]["finalizers"] = json!(all);
            });
            s.delete();
            s.until(PROGRESSING, "JobPending").await;
            s.server.trouble_writing(Trouble::Refused(409), conflicts);
            let ours = || {
                s.server.value("m")["metadata"]["finalizers"]
                    .to_string()
                    .contains("provisioning")
            };
            for _ in 0..100 {
                if !s.server.exists("m") || !ours() {
                    break;
                }
                let action = s.reconcile().await;
                if s.server.exists("m") && ours() {
                    assert_ne!(action, Action::await_change(), "nobody comes back");
                    s.clock
                        .advance(std::time::Duration::from_secs_f64(seconds(&action) + 0.001));
                }
            }
            assert!(!s.server.exists("m") || !ours(), "{conflicts} conflicts");
            assert_eq!(s.fake.count(Function::TriggerDeprovision), 1);
        }
    }
}

#[tokio::test]
async fn an_object_that_does_not_fit_its_type_is_told_so_and_the_others_go_on() {
    let s = setup();
    s.server.change("m", |object| {
        object["spec"] = json!({"secret": "s3cret"});
    });
    let guarded = |value: Value| -> kube::core::DeserializeGuard<Machine> {
        serde_json::from_value(value).unwrap()
    };
    for _ in 0..2 {
        let object = guarded(s.server.value("m"));
        let action = s.provisioner.reconcile_guarded(&object, wanted).await;
        assert!(seconds(&action.unwrap().action) > 60.0);
    }
    let (status, reason, message) = s.server.condition("m", READABLE);
    assert_eq!((status.as_str(), reason.as_str()), ("False", "DoesNotFit"));
    assert!(
        message.to_lowercase().contains("missing field"),
        "{message}"
    );
    assert_eq!(s.server.events(), ["DoesNotFit"]);
    assert!(s.fake.jobs().is_empty());
    // A value of a wrong type does not show.
    s.server
        .change("m", |object| object["spec"] = json!({"cores": "s3cret"}));
    let object = guarded(s.server.value("m"));
    s.provisioner
        .reconcile_guarded(&object, wanted)
        .await
        .unwrap();
    assert!(!s.server.value("m")["status"].to_string().contains("s3cret"));
    // With several targets as well.
    let of_two = |machine: &Machine| {
        ["a", "b"]
            .map(|name| tagged(desired(machine), name, name == "a"))
            .to_vec()
    };
    let action = s.provisioner.reconcile_guarded(&object, plain(of_two));
    assert!(seconds(&action.await.unwrap().action) > 60.0);
    assert!(s.fake.jobs().is_empty());
    // Mended, it is like any other.
    s.server
        .change("m", |object| object["spec"] = json!({"cores": 2}));
    let object = guarded(s.server.value("m"));
    s.provisioner
        .reconcile_guarded(&object, wanted)
        .await
        .unwrap();
    assert_eq!(s.server.condition("m", READABLE).0, "");
    s.until(PROVISIONED, "Applied").await;
}

/// One of several targets, which may have the history from before there were several.
fn tagged(desired: Desired, target: &str, has_history: bool) -> Desired {
    let desired = desired.for_target(target);
    if has_history {
        desired.absorbing_untagged()
    } else {
        desired
    }
}
