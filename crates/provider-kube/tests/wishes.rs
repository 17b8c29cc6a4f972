//! What may be wanted of an object beside its configuration: actions, targets that go, prerequisites, what is
//! there already, and what stays.

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

use common::live::{Live, metadata};
use common::{Machine, Server, desired, plain, setup};
use provider_core::lifecycle::{ActionRequest, Desired, Policy, PolicyConfig, Why};
use provider_core::{JobState, JobType};
use provider_kube::{BoxError, DEPROVISIONED, PROGRESSING, PROVISIONED, TARGETS_KNOWN};
use provider_testkit::{FakeProvider, Function};
use serde_json::{Value, json};

/// A backend that has actions, and where nobody relaunches.
fn fake() -> FakeProvider {
    common::fake().with_capabilities(|can| {
        can.actions = true;
        can.find_relaunched = false;
    })
}

/// One whose jobs end when a test ends them.
fn endless() -> FakeProvider {
    fake().ending_after(u32::MAX)
}

fn warnings(server: &Server) -> Vec<Value> {
    let mut told = server.told();
    told.retain(|event| event["type"] != "Normal");
    told
}

/// With what the annotations of a test ask for.
fn acting(machine: &Machine) -> Result<Desired, BoxError> {
    let mut wanted = desired(machine);
    if let Some(request) = metadata(machine, "restart") {
        wanted = wanted.with_action(ActionRequest::new("restart", request)?);
    }
    Ok(wanted)
}

async fn applied(live: &Live) {
    live.until_reason(PROGRESSING, "JobPending").await;
    live.fake
        .end(live.fake.jobs().last().unwrap().id, JobState::Succeeded);
    live.until_reason(PROVISIONED, "Applied").await;
}

#[tokio::test(start_paused = true)]
async fn a_live_action_leaves_the_object_as_it_stands_and_is_named() {
    let live = Live::start(endless(), acting);
    applied(&live).await;
    let status = live.server.value("m")["status"].clone();
    live.annotate("test/restart", json!("1"));
    live.until_reason(PROGRESSING, "Acting").await;
    let (is, _, message) = live.server.condition("m", PROGRESSING);
    assert_eq!(is, "True");
    assert!(
        message.starts_with("action restart, attempt 2, fake "),
        "{message}"
    );
    let stands = |live: &Live| {
        let now = live.server.value("m")["status"].clone();
        assert_eq!(now["conditions"][0], status["conditions"][0], "Provisioned");
        assert_eq!(
            now["reconciledConfigVersion"],
            status["reconciledConfigVersion"]
        );
        assert_eq!(live.server.condition("m", PROVISIONED).0, "True");
        assert_eq!(live.server.condition("m", DEPROVISIONED).1, "NotDeleted");
    };
    stands(&live);
    live.fake.end(2, JobState::Succeeded);
    live.until_reason(PROGRESSING, "Applied").await;
    stands(&live);
    let told = live.told("Started");
    assert!(
        told[1].1.starts_with("action restart, attempt 2"),
        "{told:?}"
    );
    let told = live.told("ActionSucceeded");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].0 == "Normal" && told[0].1.contains("restart"),
        "{told:?}"
    );
    live.hours(12).await;
    assert_eq!(live.fake.jobs().len(), 2, "it is answered once");
    // Beside another configuration that is wanted, the object is not in it.
    live.annotate("test/restart", json!("2"));
    live.until_reason(PROGRESSING, "Acting").await;
    live.edit(8);
    live.until("another is wanted", |server| {
        server.value("m")["status"]["observedGeneration"] == 2
    })
    .await;
    assert_eq!(live.server.condition("m", PROVISIONED).0, "False");
    assert_eq!(warnings(&live.server), Vec::<Value>::new());
}

#[tokio::test(start_paused = true)]
async fn a_failed_action_is_told_and_holds_nothing_else() {
    let live = Live::start(endless(), acting);
    applied(&live).await;
    live.annotate("test/restart", json!("1"));
    live.until_reason(PROGRESSING, "Acting").await;
    live.fake.say(2, "the guest does not answer");
    live.fake.end(2, JobState::Failed);
    live.until_reason(PROGRESSING, "ActionFailed").await;
    let (is, _, message) = live.server.condition("m", PROGRESSING);
    assert_eq!(is, "False");
    for part in [
        "action restart, attempt 2",
        "the guest does not answer",
        "another request",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert_eq!(live.server.condition("m", PROVISIONED).0, "True");
    live.hours(12).await;
    assert_eq!(live.fake.jobs().len(), 2);
    let told = live.told("ActionFailed");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].0 == "Warning" && told[0].1.contains("action restart"),
        "{told:?}"
    );
    // The configuration goes on, and another request is another action.
    live.edit(8);
    live.until_reason(PROGRESSING, "JobPending").await;
    live.annotate("test/restart", json!("2"));
    live.fake.end(3, JobState::Succeeded);
    live.until_reason(PROGRESSING, "Acting").await;
    live.fake.end(4, JobState::Succeeded);
    live.until_reason(PROGRESSING, "Applied").await;
    assert_eq!(live.fake.jobs().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn an_action_that_is_tried_again_says_when() {
    let twice = PolicyConfig::default().with(|config| config.action_tries = 2);
    let live = Live::start_with(fake(), twice, |it| it, acting);
    live.until_reason(PROVISIONED, "Applied").await;
    live.fake.next_ending(JobState::Failed);
    live.annotate("test/restart", json!("1"));
    live.until_reason(PROGRESSING, "ActionFailed").await;
    let (is, _, message) = live.server.condition("m", PROGRESSING);
    assert_eq!(is, "True");
    assert!(
        message.contains("restart") && message.contains("next try at 2026-"),
        "{message}"
    );
    assert_eq!(live.server.condition("m", PROVISIONED).0, "True");
    live.until_reason(PROGRESSING, "Applied").await;
    assert_eq!(live.fake.jobs().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_action_that_the_provider_does_not_have_is_told() {
    let without = fake().with_capabilities(|can| can.actions = false);
    let live = Live::start(without, acting);
    live.until_reason(PROVISIONED, "Applied").await;
    live.annotate("test/restart", json!("1"));
    live.until_reason(PROGRESSING, "ActionUnsupported").await;
    let (.., message) = live.server.condition("m", PROGRESSING);
    assert!(
        message.contains("restart") && message.contains("\"fake\""),
        "{message}"
    );
    assert_eq!(live.server.condition("m", PROVISIONED).0, "True");
    live.hours(12).await;
    assert_eq!(live.told("ActionUnsupported").len(), 1);
    assert_eq!(live.fake.jobs().len(), 1);
}

#[tokio::test]
async fn a_reconcile_returns_what_the_engine_found_of_each_target() {
    let s = setup();
    let two = |machine: &Machine| ["compute", "dns"].map(|name| desired(machine).for_target(name));
    let machine = s.server.cached("m");
    let found = s.provisioner.reconcile(&machine, plain(two)).await.unwrap();
    let names: Vec<_> = found
        .outcomes
        .iter()
        .map(|(name, _)| name.as_deref())
        .collect();
    assert_eq!(names, [Some("compute"), Some("dns")]);
    let outcome = found.outcome(Some("dns")).unwrap();
    assert_eq!(outcome.standing.as_str(), "InProgress");
    assert_eq!(outcome.events.last().unwrap().kind.as_str(), "Started");
    assert!(found.outcome(None).is_none());
    let action: kube::runtime::controller::Action = found.into();
    assert_ne!(action, kube::runtime::controller::Action::await_change());
    // What happened before a pass was begun anew, on a newer object, is told as well.
    let s = setup();
    s.server.meanwhile(2, |object| {
        object["spec"]["cores"] = json!(8);
        object["metadata"]["generation"] = json!(2);
    });
    let machine = s.server.cached("m");
    let found = s.provisioner.reconcile(&machine, common::wanted);
    let found = found.await.unwrap();
    let happened = &found.outcome(None).unwrap().events;
    let words: Vec<_> = happened.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(words, ["Intended", "Started"]);
    assert_eq!(s.server.value("m")["status"]["observedGeneration"], 2);
    // What is held, and by which rule.
    let s = common::setup_with(fake());
    s.until(PROVISIONED, "Applied").await;
    s.fake.next_ending(JobState::Failed);
    s.server.change("m", |object| {
        object["metadata"]["annotations"] = json!({"test/restart": "1"});
    });
    let wish = |machine: Arc<Machine>| std::future::ready(acting(&machine));
    let mut why = None;
    for _ in 0..4 {
        s.pass(60);
        let found = s
            .provisioner
            .reconcile(&s.server.cached("m"), wish)
            .await
            .unwrap();
        why = found.outcome(None).unwrap().why;
    }
    assert_eq!(why, Some(Why::ActionHeld(2)));
}

#[tokio::test(start_paused = true)]
async fn a_missing_prerequisite_is_no_failure_and_is_looked_for_again() {
    let there = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&there);
    let live = Live::start(fake(), move |machine: &Machine| {
        let wanted = desired(machine);
        Ok(match seen.load(Ordering::Relaxed) {
            true => wanted,
            false => wanted.not_yet("network blue is not ready", Duration::from_secs(600)),
        })
    });
    live.until_reason(PROGRESSING, "PrerequisiteMissing").await;
    for (condition, status) in [(PROGRESSING, "True"), (PROVISIONED, "False")] {
        let (is, reason, message) = live.server.condition("m", condition);
        assert_eq!((&*is, &*reason), (status, "PrerequisiteMissing"));
        assert!(message.contains("network blue is not ready"), "{message}");
    }
    live.hours(3).await;
    assert!(live.fake.jobs().is_empty());
    let asked = live.asked.load(Ordering::Relaxed);
    assert!((15..25).contains(&asked), "{asked} times in three hours");
    assert_eq!(live.server.told(), Vec::<Value>::new());
    there.store(true, Ordering::Relaxed);
    live.until_reason(PROVISIONED, "Applied").await;
    // What is applied stays so while something is missing for the next job.
    there.store(false, Ordering::Relaxed);
    live.annotate("test/any", json!("1"));
    live.until_reason(PROGRESSING, "PrerequisiteMissing").await;
    assert_eq!(live.server.condition("m", PROVISIONED).0, "True");
    // Its deletion goes on as ever.
    live.delete();
    live.until_gone().await;
    assert_eq!(live.fake.count(Function::TriggerDeprovision), 1);
    assert_eq!(warnings(&live.server), Vec::<Value>::new());
}

/// Two targets, of which one goes when an annotation says so.
fn dropping(machine: &Machine) -> Result<Vec<Desired>, BoxError> {
    let of = |name: &str| {
        let wanted = desired(machine).for_target(name);
        match metadata(machine, "drop") == Some(name) {
            true => wanted.absent(),
            false => wanted,
        }
    };
    Ok(["compute", "dns"].map(of).to_vec())
}

fn targets(server: &Server) -> Vec<String> {
    let object = server.value("m");
    let jobs = object["status"]["jobs"].as_array().cloned();
    let name = |job: &Value| job["target"].as_str().unwrap_or_default().to_owned();
    jobs.unwrap_or_default().iter().map(name).collect()
}

#[tokio::test(start_paused = true)]
async fn a_target_goes_while_its_object_stays_and_comes_again() {
    let live = Live::start(fake(), dropping);
    live.until_reason("compute/Provisioned", "Applied").await;
    live.until_reason("dns/Provisioned", "Applied").await;
    live.annotate("test/drop", json!("dns"));
    live.until_reason("dns/Deprovisioned", "Absent").await;
    assert_eq!(live.server.condition("m", "dns/Deprovisioned").0, "True");
    assert_eq!(live.server.condition("m", "dns/Provisioned").0, "False");
    assert_eq!(live.server.condition("m", "compute/Provisioned").0, "True");
    live.hours(3).await;
    assert_eq!(
        targets(&live.server),
        ["compute"],
        "its records are forgotten"
    );
    assert_eq!(live.fake.count(Function::TriggerDeprovision), 1);
    assert_eq!(live.server.condition("m", TARGETS_KNOWN).0, "");
    // It comes again, and goes again.
    live.annotate("test/drop", Value::Null);
    live.until_reason("dns/Provisioned", "Applied").await;
    live.annotate("test/drop", json!("dns"));
    live.until_reason("dns/Deprovisioned", "Absent").await;
    // What is absent is in the way of nothing.
    live.delete();
    live.until_gone().await;
    assert_eq!(live.fake.count(Function::TriggerProvision), 3);
    assert_eq!(live.fake.count(Function::TriggerDeprovision), 3);
    assert_eq!(warnings(&live.server), Vec::<Value>::new());
}

/// The last record that there is may go, too: that of the only target.
#[tokio::test(start_paused = true)]
async fn the_only_target_may_go_with_all_records() {
    let live = Live::start(fake(), |machine: &Machine| {
        let wanted = desired(machine);
        Ok(match metadata(machine, "drop") {
            Some(_) => wanted.absent(),
            None => wanted,
        })
    });
    live.until_reason(PROVISIONED, "Applied").await;
    live.annotate("test/drop", json!("all"));
    live.until_reason(DEPROVISIONED, "Absent").await;
    assert_eq!(targets(&live.server), Vec::<String>::new());
    live.hours(3).await;
    let writes = live.provisioner.requests().writes;
    live.hours(24).await;
    assert_eq!(live.provisioner.requests().writes, writes, "it rests");
    live.delete();
    live.until_gone().await;
    assert_eq!(live.fake.count(Function::TriggerDeprovision), 1);
}

#[tokio::test(start_paused = true)]
async fn what_an_absent_target_may_have_left_is_told_once() {
    let careless = fake().with_capabilities(|can| can.block_deletion_on_failure = false);
    let live = Live::start(careless, dropping);
    live.until_reason("compute/Provisioned", "Applied").await;
    live.until_reason("dns/Provisioned", "Applied").await;
    live.fake.next_ending(JobState::Failed);
    live.annotate("test/drop", json!("dns"));
    live.until_reason("dns/Deprovisioned", "Absent").await;
    let (is, _, message) = live.server.condition("m", "dns/Deprovisioned");
    assert_eq!(is, "Unknown");
    assert!(
        message.contains("may be left behind by attempt"),
        "{message}"
    );
    for n in 0..5 {
        live.annotate("test/other", json!(n.to_string()));
        live.hours(1).await;
    }
    let told = live.told("Orphaned");
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].0, "Warning");
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_stays_and_nobody_is_warned() {
    let keep = |machine: &Machine| Ok(desired(machine).keep_on_delete());
    let live = Live::start(fake(), keep);
    live.until_reason(PROVISIONED, "Applied").await;
    live.delete();
    live.until_gone().await;
    assert_eq!(live.fake.count(Function::TriggerDeprovision), 0);
    assert_eq!(live.server.events(), ["Started", "Released", "Retained"]);
    let told = live.told("Retained");
    assert!(
        told[0].0 == "Normal" && told[0].1.contains("fake fake/1"),
        "{told:?}"
    );
    // Others keep the object: it says what became of it, and nobody takes that for a theft.
    let live = Live::start(endless(), keep);
    live.until_reason(PROGRESSING, "JobPending").await;
    live.server.change("m", |object| {
        object["metadata"]["finalizers"] = json!(["example.com/provisioning", "other"]);
    });
    live.delete();
    live.minutes(30).await;
    assert!(
        live.server.value("m")["metadata"]["finalizers"]
            .to_string()
            .contains("provisioning"),
        "let go beside a live job"
    );
    live.fake.end(1, JobState::Succeeded);
    live.until_reason(DEPROVISIONED, "Retained").await;
    live.until("let go", |server| {
        server.value("m")["metadata"]["finalizers"] == json!(["other"])
    })
    .await;
    assert_eq!(live.server.condition("m", DEPROVISIONED).0, "False");
    live.annotate("test/other", json!("1"));
    live.hours(2).await;
    assert_eq!(warnings(&live.server), Vec::<Value>::new());
}

#[tokio::test(start_paused = true)]
async fn an_object_may_have_a_policy_of_its_own() {
    let live = Live::start(fake(), |machine: &Machine| {
        let wanted = desired(machine);
        Ok(match metadata(machine, "fragile") {
            Some(_) => {
                let once = PolicyConfig::default().with(|config| config.max_failures = Some(1));
                wanted.with_policy(Policy::new(once)?)
            }
            None => wanted,
        })
    });
    live.fake.next_ending(JobState::Failed);
    live.until_reason(PROVISIONED, "Applied").await;
    assert_eq!(
        live.fake.jobs().len(),
        2,
        "by the engine's policy it is tried again"
    );
    live.annotate("test/fragile", json!("yes"));
    live.fake.next_ending(JobState::Failed);
    live.edit(8);
    live.until_reason(PROGRESSING, "FailuresExhausted").await;
    live.hours(24).await;
    assert_eq!(live.fake.jobs().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_unmanaged_object_that_goes_beside_a_live_job_is_told() {
    let live = Live::start(endless(), |machine: &Machine| Ok(desired(machine)));
    live.until_reason(PROGRESSING, "JobPending").await;
    live.annotate("example.com/management-state", json!("unmanaged"));
    live.delete();
    live.until_gone().await;
    let told = live.told("StillAtWork");
    assert_eq!(told.len(), 1, "{:?}", live.server.events());
    assert!(
        told[0].0 == "Warning" && told[0].1.contains("fake fake/1"),
        "{told:?}"
    );
    // One whose job has ended leaves something behind, and nothing at work.
    let live = Live::start(fake(), |machine: &Machine| Ok(desired(machine)));
    live.until_reason(PROVISIONED, "Applied").await;
    live.annotate("example.com/management-state", json!("unmanaged"));
    live.delete();
    live.until_gone().await;
    assert_eq!(live.told("StillAtWork").len(), 0);
    assert_eq!(live.told("Orphaned").len(), 1);
    assert!(
        live.fake
            .jobs()
            .iter()
            .all(|job| job.job_type == JobType::Provision)
    );
}
