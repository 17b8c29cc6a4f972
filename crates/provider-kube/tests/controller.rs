//! A whole controller: which changes wake an object, and that no wake-up is lost.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed"
)]

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::live::{self, Live};
use common::{Machine, Server, Trouble, desired, machine};
use jiff::SignedDuration;
use kube::Api;
use kube::ResourceExt;
use kube::runtime::{
    Controller, Predicate, PredicateConfig, WatchStreamExt, predicates, reflector, watcher,
};
use provider_core::JobState;
use provider_core::lifecycle::{Desired, PolicyConfig};
use provider_kube::{
    BoxError, DEPROVISIONED, DESIRED_KNOWN, Guarded, PROGRESSING, PROVISIONED, READABLE, predicate,
};
use provider_testkit::{FakeProvider, Function};
use serde_json::{Value, json};

fn one(machine: &Machine) -> Result<Desired, BoxError> {
    Ok(desired(machine))
}

#[tokio::test(start_paused = true)]
async fn a_whole_life_by_the_controller_alone() {
    let live = Live::start(common::fake(), one);
    live.until_reason(PROVISIONED, "Applied").await;
    live.edit(8);
    live.until("edited", |server| {
        server.value("m")["status"]["observedGeneration"] == 2
            && server.condition("m", PROVISIONED).1 == "Applied"
    })
    .await;
    live.delete();
    live.until_gone().await;
    assert_eq!(live.fake.count(Function::TriggerProvision), 2);
    assert_eq!(live.fake.count(Function::TriggerDeprovision), 1);
}

/// A backend where nobody relaunches: what a person has canceled is not looked at again.
fn once() -> FakeProvider {
    common::fake().with_capabilities(|can| can.find_relaunched = false)
}

/// A controller with a filter of a test's own.
fn filtered<P>(filter: P) -> Live
where
    P: Predicate<Guarded<Machine>> + Send + Sync + 'static,
{
    let server = Server::default();
    server.put("m", machine());
    let fake = Arc::new(once());
    let provisioner = Arc::new(live::provisioner(&server, &fake, PolicyConfig::default()));
    let (reader, writer) = reflector::store();
    let api = Api::<Guarded<Machine>>::all(server.client());
    let objects = watcher(api, watcher::Config::default())
        .default_backoff()
        .reflect(writer)
        .applied_objects()
        .predicate_filter(filter, PredicateConfig::default());
    let controller = Controller::for_stream(objects, reader);
    Live::of(server, fake, provisioner, controller, one)
}

#[tokio::test(start_paused = true)]
async fn a_retry_is_lost_by_the_filter_of_generations_and_not_by_ours() {
    let held = async |live: &Live| {
        live.fake.next_ending(JobState::Canceled);
        live.until_reason(PROGRESSING, "CanceledByOthers").await;
        // Whatever was on its way has come.
        live.hours(1).await;
        live.annotate("example.com/retry", json!("please"));
    };
    let theirs = filtered(predicates::generation);
    held(&theirs).await;
    theirs.hours(12).await;
    assert_eq!(
        theirs.server.condition("m", PROGRESSING).1,
        "CanceledByOthers",
        "the usual filter loses nothing any more: say so in the docs"
    );
    for by_hand in [true, false] {
        let ours = match by_hand {
            true => filtered(predicate()),
            false => Live::start(once(), one),
        };
        held(&ours).await;
        ours.until_reason(PROVISIONED, "Applied").await;
        assert_eq!(ours.fake.jobs().len(), 2);
    }
}

#[test]
fn wishes_pass_the_filter_and_writes_of_the_status_do_not() {
    let of = |object: &Value| {
        let object: Machine = serde_json::from_value(object.clone()).unwrap();
        Predicate::<Machine>::hash_property(&predicate(), &object).unwrap()
    };
    let before = machine();
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut after = before.clone();
        change(&mut after);
        after["metadata"]["resourceVersion"] = json!("77");
        of(&after) != of(&before)
    };
    assert!(!changed(&|_| ()));
    assert!(!changed(&|o| o["status"] = json!({"observedGeneration": 1})));
    assert!(!changed(&|o| o["metadata"]["managedFields"] = json!([])));
    assert!(changed(&|o| o["metadata"]["generation"] = json!(2)));
    assert!(changed(&|o| {
        o["metadata"]["annotations"] = json!({"example.com/retry": "1"});
    }));
    assert!(changed(&|o| o["metadata"]["finalizers"] = json!(["a"])));
    assert!(changed(&|o| {
        o["metadata"]["deletionTimestamp"] = json!("2026-11-23T04:00:00Z");
    }));
    // Without a generation nobody knows which part it was.
    let without = |version: &str| {
        let mut object = machine();
        object["metadata"]
            .as_object_mut()
            .unwrap()
            .remove("generation");
        object["metadata"]["resourceVersion"] = json!(version);
        of(&object)
    };
    assert_ne!(without("1"), without("2"));
}

#[tokio::test(start_paused = true)]
async fn writes_of_the_status_by_others_wake_nobody() {
    let live = Live::start(common::fake(), one);
    live.until_reason(PROVISIONED, "Applied").await;
    live.hours(1).await;
    let asked = live.asked.load(Ordering::Relaxed);
    for n in 0..20 {
        live.server
            .change("m", |object| object["status"]["address"] = json!(n));
        live.hours(1).await;
    }
    assert_eq!(live.asked.load(Ordering::Relaxed), asked);
    live.annotate("example.com/other", json!("1"));
    live.hours(1).await;
    assert_eq!(live.asked.load(Ordering::Relaxed), asked + 1);
}

/// Nothing is polled within the hour: the end of the job is told by its backend.
#[tokio::test(start_paused = true)]
async fn the_end_of_a_job_wakes_its_object() {
    let seldom = PolicyConfig::default().with(|config| {
        config.poll_interval = Some(SignedDuration::from_hours(6));
    });
    let fake = FakeProvider::new("fake").ending_after(u32::MAX);
    let live = Live::start_with(fake, seldom, |it| it, one);
    live.until_reason(PROVISIONED, "JobPending").await;
    live.hours(1).await;
    live.fake.end(1, JobState::Succeeded);
    live.fake.hint(1);
    let applied = live.until_reason(PROVISIONED, "Applied");
    let soon = tokio::time::timeout(Duration::from_secs(60), applied).await;
    assert!(soon.is_ok(), "the hint was lost");
}

#[tokio::test(start_paused = true)]
async fn the_cache_holds_no_managed_fields_and_an_unfit_object_hides_no_other() {
    let server = Server::default();
    let mut managed = machine();
    managed["metadata"]["managedFields"] = json!([{"manager": "kubectl", "operation": "Apply"}]);
    server.put("m", managed);
    let mut unfit = machine();
    unfit["metadata"]["name"] = json!("unfit");
    unfit["metadata"]["uid"] = json!("uid-unfit");
    unfit["spec"] = json!({"cores": "many"});
    server.put("unfit", unfit);
    let fake = Arc::new(common::fake());
    let provisioner = Arc::new(live::provisioner(&server, &fake, PolicyConfig::default()));
    let api = Api::<Guarded<Machine>>::all(server.client());
    let controller = provisioner.controller(api, watcher::Config::default());
    let store = controller.store();
    let live = Live::of(server, fake, provisioner, controller, one);
    live.until_reason(PROVISIONED, "Applied").await;
    live.until("told", |server| {
        server.condition("unfit", READABLE).1 == "DoesNotFit"
    })
    .await;
    assert_eq!(store.len(), 2);
    for object in store.state() {
        assert!(object.managed_fields().is_empty(), "{object:?}");
    }
}

/// A controller that has never seen a list would wait for it.
#[tokio::test(start_paused = true)]
async fn a_controller_ends_when_it_is_told_to_before_its_first_list_and_after() {
    for unlisted in [true, false] {
        let server = Server::default();
        server.put("m", machine());
        if unlisted {
            server.trouble_listing(Trouble::Refused(503), 100_000);
        }
        let fake = Arc::new(common::fake());
        let provisioner = Arc::new(live::provisioner(&server, &fake, PolicyConfig::default()));
        let api = Api::<Guarded<Machine>>::all(server.client());
        let controller = provisioner.controller(api, watcher::Config::default());
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let stop_on = async {
            let _ = stopped.await;
        };
        let wish = common::wanted;
        let task = tokio::spawn(async move { provisioner.run(controller, wish, stop_on).await });
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        assert_eq!(fake.jobs().len(), usize::from(!unlisted));
        assert!(!task.is_finished(), "it has ended by itself");
        stop.send(()).unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(3_600), task).await;
        ended.expect("it does not end").unwrap();
    }
}

/// What is wanted may have to be read, and that may fail: it is told, nothing is done, and it is tried again.
#[tokio::test(start_paused = true)]
async fn while_nobody_can_say_what_is_wanted_nothing_is_done_and_the_object_says_so() {
    let wish = |machine: &Machine| -> Result<Desired, BoxError> {
        match live::metadata(machine, "broken") {
            Some(why) => Err(why.to_owned().into()),
            None => Ok(desired(machine)),
        }
    };
    // The secret that is read is not a part of the object: nobody is told when it is there.
    let live = Live::start(common::fake(), {
        let secret = Arc::new(std::sync::atomic::AtomicBool::new(false));
        SECRET.with(|slot| *slot.borrow_mut() = Some(Arc::clone(&secret)));
        move |machine: &Machine| match secret.load(Ordering::Relaxed) {
            true => wish(machine),
            false => Err("secret \"key\" cannot be read".into()),
        }
    });
    let secret = SECRET.with(|slot| slot.borrow_mut().take().unwrap());
    live.until_reason(DESIRED_KNOWN, "CannotTell").await;
    live.hours(3).await;
    let (status, _, message) = live.server.condition("m", DESIRED_KNOWN);
    assert_eq!(status, "False");
    assert!(
        message.contains("secret \"key\" cannot be read") && message.contains("nothing is started"),
        "{message}"
    );
    assert!(live.fake.jobs().is_empty());
    let tries = live.asked.load(Ordering::Relaxed);
    assert!((100..400).contains(&tries), "{tries} tries in three hours");
    assert_eq!(
        live.told("CannotTell").len(),
        1,
        "{:?}",
        live.server.events()
    );
    secret.store(true, Ordering::Relaxed);
    live.until_reason(PROVISIONED, "Applied").await;
    assert_eq!(live.server.condition("m", DESIRED_KNOWN).0, "");
    // A deletion waits as well: only who knows what is wanted knows who deprovisions it.
    live.annotate("test/broken", json!("no such class"));
    live.until_reason(DESIRED_KNOWN, "CannotTell").await;
    live.delete();
    live.until("told that it stays", |server| {
        let (.., message) = server.condition("m", DESIRED_KNOWN);
        message.contains("not deprovisioned before")
    })
    .await;
    live.hours(3).await;
    assert!(live.server.exists("m"));
    assert_eq!(live.fake.count(Function::TriggerDeprovision), 0);
    live.annotate("test/broken", Value::Null);
    live.until_gone().await;
    assert_eq!(live.fake.count(Function::TriggerDeprovision), 1);
}

thread_local! {
    static SECRET: std::cell::RefCell<Option<Arc<std::sync::atomic::AtomicBool>>> =
        const { std::cell::RefCell::new(None) };
}

/// An error whose words are others each time is written once an hour, not at each try.
#[tokio::test(start_paused = true)]
async fn an_error_that_changes_its_words_does_not_write_at_each_try() {
    let count = std::sync::atomic::AtomicUsize::new(0);
    let live = Live::start(
        common::fake(),
        move |_: &Machine| -> Result<Desired, BoxError> {
            let n = count.fetch_add(1, Ordering::Relaxed);
            Err(format!("request {n} was refused").into())
        },
    );
    live.until_reason(DESIRED_KNOWN, "CannotTell").await;
    live.hours(4).await;
    let writes = live.provisioner.requests().writes;
    assert!((1..=6).contains(&writes), "{writes}");
    assert_eq!(live.told("CannotTell").len(), 1);
}

/// Nothing is to be done for it, so nothing is asked, and nothing is told.
#[tokio::test(start_paused = true)]
async fn an_object_that_is_nobodys_business_is_told_nothing() {
    let broken = |_: &Machine| -> Result<Desired, BoxError> { Err("broken".into()) };
    for (unmanaged, deleting) in [(true, false), (false, true)] {
        let server = Server::default();
        let mut object = machine();
        if unmanaged {
            object["metadata"]["annotations"] =
                json!({"example.com/management-state": "unmanaged"});
        }
        if deleting {
            object["metadata"]["deletionTimestamp"] = json!("2026-11-23T04:00:00Z");
            object["metadata"]["finalizers"] = json!(["other"]);
        }
        server.put("m", object.clone());
        let fake = Arc::new(common::fake());
        let provisioner = Arc::new(live::provisioner(&server, &fake, PolicyConfig::default()));
        let api = Api::<Guarded<Machine>>::all(server.client());
        let controller = provisioner.controller(api, watcher::Config::default());
        let live = Live::of(server, fake, provisioner, controller, broken);
        live.hours(1).await;
        assert_eq!(live.asked.load(Ordering::Relaxed), 1);
        assert_eq!(live.server.value("m")["status"], Value::Null);
        assert_eq!(live.server.condition("m", DEPROVISIONED).0, "");
    }
}
