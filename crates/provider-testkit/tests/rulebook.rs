//! The rulebook between the simulators does what ansible-rulebook 1.3.2 was seen to do, and the API of
//! the EDA server answers as that of August 2026.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]

use std::sync::Arc;
use std::time::Duration;

use provider_core::{Clock, ManualClock};
use provider_testkit::aap::{AapSim, Ending, RunPlan, Template, World};
use provider_testkit::eda::{
    Cluster, EdaSim, Fate, Fault, Marks, Objects, Rule, Rulebook, Webhook,
};
use reqwest::Client;
use serde_json::{Value, json};

struct Setup {
    eda: EdaSim,
    aap: AapSim,
    rulebook: Rulebook,
    objects: Objects,
    clock: Arc<ManualClock>,
    client: Client,
}

async fn setup(rulebook: Rulebook) -> Setup {
    with_webhook(rulebook, Webhook::new()).await
}

async fn with_webhook(rulebook: Rulebook, hook: Webhook) -> Setup {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let clock = Arc::new(ManualClock::new("2026-11-23T04:00:00Z".parse().unwrap()));
    let eda = EdaSim::start(hook, clock.clone()).await.unwrap();
    let plan = RunPlan {
        queue: Duration::ZERO,
        ..RunPlan::lasting(Duration::from_secs(5))
    };
    let world = World::with([Template::job("create").with_labels().with_plan(plan)]);
    Setup {
        eda,
        aap: AapSim::start(world, clock.clone()).await.unwrap(),
        rulebook,
        objects: Objects::default(),
        clock,
        client: Client::builder().no_proxy().build().unwrap(),
    }
}

fn rule() -> Rule {
    Rule::new("create", "create").with_label("osac-{{ event.payload.metadata.uid }}")
}

impl Setup {
    async fn send(&self, name: &str, action: &str) {
        let object = json!({
            "apiVersion": "example.com/v1",
            "kind": "ComputeInstance",
            "metadata": {"name": name, "namespace": "n", "uid": format!("uid-{name}")},
            "providerEvent": {"action": action, "operationToken": name, "configVersion": "v1"},
        });
        self.objects.put(object.clone());
        let sent = self
            .client
            .post(format!("{}/x", self.eda.url()))
            .json(&object);
        assert_eq!(sent.send().await.unwrap().status().as_u16(), 200);
    }

    fn step(&mut self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
        self.rulebook.step(&self.eda, &self.aap, &self.objects);
    }

    fn launched(&self) -> usize {
        self.aap.journal().len()
    }

    async fn api(&self, path: &str) -> (u16, Value) {
        let url = format!("{}/api/eda/v1/{path}", self.eda.url());
        let answer = self.client.get(url).bearer_auth("t").send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }
}

#[tokio::test]
async fn without_a_strategy_the_next_event_waits_for_the_end_of_the_job() {
    let mut s = setup(Rulebook::sequential([rule()])).await;
    for name in ["a", "b", "c"] {
        s.send(name, "create").await;
    }
    s.step(0);
    assert_eq!(s.launched(), 1);
    s.step(4);
    assert_eq!(s.launched(), 1);
    s.step(2);
    assert_eq!(s.launched(), 2);
    s.step(6);
    assert_eq!(s.launched(), 3);
}

#[tokio::test]
async fn in_parallel_twenty_five_run_at_once() {
    let mut s = setup(Rulebook::parallel([rule()])).await;
    for n in 0..30 {
        s.send(&format!("vm-{n}"), "create").await;
        s.step(0);
        if n >= 25 {
            break;
        }
    }
    assert_eq!(s.launched(), 25);
    s.step(6);
    assert_eq!(s.launched(), 26);
}

/// Thirteen are taken at once; the sender of the next waits, and its event is in all the same.
#[tokio::test]
async fn a_full_queue_makes_its_senders_wait() {
    let hook = Webhook::new().with_queue(13);
    let mut s = with_webhook(Rulebook::sequential([rule()]), hook).await;
    for n in 0..13 {
        s.send(&format!("vm-{n}"), "create").await;
    }
    s.step(0);
    let waits = s.send("late", "create");
    let early = tokio::time::timeout(Duration::from_millis(50), waits).await;
    assert!(early.is_err(), "the sender was answered");
    assert_eq!(s.eda.journal().len(), 14);
    s.step(6);
    s.step(6);
    s.send("later", "create").await;
}

#[tokio::test]
async fn a_restart_loses_what_was_queued_and_watches_nothing() {
    let hook = Webhook::new().with_queue(2);
    let mut s = with_webhook(Rulebook::sequential([rule().with_retries(1)]), hook).await;
    let failing =
        RunPlan::lasting(Duration::from_secs(1)).ending(Ending::Explained("no".to_owned()));
    s.aap.plan_next("create", failing);
    s.send("a", "create").await;
    s.step(0);
    s.send("b", "create").await;
    s.rulebook.restart(&s.eda);
    s.step(60);
    s.step(60);
    assert_eq!(s.launched(), 1, "neither repeated nor worked off");
    // The queue is empty as well: there is room for as many as at the beginning.
    s.send("c", "create").await;
    s.send("d", "create").await;
}

/// What never gets into the queue does not fill it.
#[tokio::test]
async fn lost_and_dropped_events_take_up_no_place() {
    let hook = Webhook::new().with_queue(1);
    let s = with_webhook(Rulebook::sequential([rule()]), hook).await;
    s.eda.fault(&Fault::Lose, 3);
    for name in ["a", "b", "c"] {
        s.send(name, "create").await;
    }
    for _ in 0..3 {
        let sent = s.client.post(s.eda.url() + "/x").body("{\"a\": NaN}");
        assert_eq!(sent.send().await.unwrap().status().as_u16(), 200);
    }
    s.send("d", "create").await;
    let fates: Vec<Fate> = s.eda.journal().iter().map(|event| event.fate).collect();
    let expected = [[Fate::Lost; 3], [Fate::Dropped; 3]].concat();
    assert_eq!(fates, [expected, vec![Fate::Queued]].concat());
    assert_eq!(s.eda.troubles().len(), 3);
    assert_eq!(s.eda.troubles()[0].fault, Fault::Lose);
}

/// A playbook may report the version alone.
#[tokio::test]
async fn the_operation_is_reported_by_choice() {
    let marks = Marks {
        reports_operation: false,
        ..Marks::default()
    };
    let mut s = setup(Rulebook::sequential([rule()]).with_marks(marks)).await;
    s.send("a", "create").await;
    s.step(0);
    s.step(6);
    let object = s.objects.get("n", "a").unwrap();
    let expected = json!({"example.com/reconciled-config-version": "v1"});
    assert_eq!(object["metadata"]["annotations"], expected);
}

/// A cluster that refuses the writes that fall on these turns.
struct Conflicting<'a>(&'a Objects, std::sync::Mutex<Vec<bool>>);

impl Cluster for Conflicting<'_> {
    fn edit(&self, namespace: &str, name: &str, change: &mut dyn FnMut(&mut Value)) -> bool {
        let refused = self.1.lock().unwrap().pop().unwrap_or_default();
        !refused && self.0.edit(namespace, name, change)
    }
}

/// A controller that writes to the object at the same moment makes a playbook's write a conflict.
#[tokio::test]
async fn marks_that_the_server_refused_are_left_at_the_next_step() {
    let mut s = setup(Rulebook::sequential([rule()])).await;
    s.send("a", "create").await;
    s.step(0);
    s.clock.advance(Duration::from_secs(6));
    let cluster = Conflicting(&s.objects, vec![true, true].into());
    for marked in [false, false, true, true] {
        s.rulebook.step(&s.eda, &s.aap, &cluster);
        let object = s.objects.get("n", "a").unwrap();
        let version =
            object.pointer("/metadata/annotations/example.com~1reconciled-config-version");
        assert_eq!(version.is_some(), marked);
    }
}

#[tokio::test]
async fn a_failed_job_is_repeated_by_one_of_its_own_and_a_canceled_one_is_not() {
    let mut s = setup(Rulebook::sequential([rule().with_retries(1)])).await;
    let failing =
        RunPlan::lasting(Duration::from_secs(1)).ending(Ending::Explained("no".to_owned()));
    s.aap.plan_next("create", failing.clone());
    s.aap.plan_next("create", failing);
    s.send("a", "create").await;
    s.step(0);
    s.step(3);
    assert_eq!(s.launched(), 2);
    s.step(3);
    assert_eq!(s.launched(), 2, "one retry");
    s.send("b", "create").await;
    s.step(0);
    s.aap.cancel(s.aap.journal()[2].id);
    s.step(3);
    s.step(3);
    assert_eq!(s.launched(), 3);
}

#[tokio::test]
async fn playbooks_leave_their_marks() {
    let mut s = setup(Rulebook::sequential([
        rule(),
        Rule::new("delete", "create"),
    ]))
    .await;
    s.send("a", "create").await;
    s.step(0);
    s.step(1);
    let object = s.objects.get("n", "a").unwrap();
    assert_eq!(
        object["metadata"]["finalizers"],
        json!(["example.com/computeinstance-aap"])
    );
    assert!(object["metadata"]["annotations"].is_null());
    s.step(6);
    let marked = s.objects.get("n", "a").unwrap();
    let annotations = &marked["metadata"]["annotations"];
    assert_eq!(annotations["example.com/reconciled-config-version"], "v1");
    assert_eq!(annotations["example.com/reconciled-operation"], "a");
    s.send("a", "delete").await;
    s.objects.put(marked);
    s.step(0);
    s.step(6);
    let object = s.objects.get("n", "a").unwrap();
    assert_eq!(object["metadata"]["finalizers"], json!([]));
    s.send("a", "no-rule").await;
    s.step(6);
    assert_eq!(s.launched(), 2);
}

#[tokio::test]
async fn the_audit_appears_when_the_job_has_ended() {
    let mut s = setup(Rulebook::sequential([
        rule(),
        Rule::new("broken", "missing"),
    ]))
    .await;
    s.eda.serve_api("t");
    s.send("a", "create").await;
    s.step(0);
    s.step(3);
    assert_eq!(s.api("audit-rules/").await.1["count"], 0);
    s.step(3);
    s.send("b", "broken").await;
    s.step(0);
    let (_, list) = s.api("audit-rules/?order_by=-fired_at&page_size=1").await;
    assert_eq!((&list["count"], &list["page_size"]), (&json!(2), &json!(1)));
    assert!(!list["next"].is_null());
    assert_eq!(list["results"][0]["name"], "broken");
    let (_, detail) = s.api("audit-rules/1/").await;
    assert_eq!(detail["created_at"], s.clock.now().to_string().as_str());
    let (_, actions) = s.api("audit-rules/1/actions/").await;
    let action = &actions["results"][0];
    assert_eq!(
        (&action["name"], &action["status"]),
        (&json!("run_job_template"), &json!("successful"))
    );
    assert!(
        action["url"]
            .as_str()
            .unwrap()
            .ends_with("/#/jobs/playbook/8/details/"),
        "{action}"
    );
    let (_, events) = s
        .api("audit-rules/1/events/?payload__icontains=OPERATIONTOKEN")
        .await;
    let payload = events["results"][0]["payload"].as_str().unwrap();
    assert!(payload.contains("\n    operationToken: a\n"), "{payload}");
    assert_eq!(
        s.api("audit-rules/1/events/?payload__icontains=zzz")
            .await
            .1["count"],
        0
    );
    let (_, failed) = s.api("audit-rules/2/actions/").await;
    assert_eq!(failed["results"][0]["status"], "failed");
    assert!(
        failed["results"][0]["status_message"]
            .as_str()
            .unwrap()
            .contains("missing")
    );
    let (status, body) = s.api("audit-rules/?bogus=x").await;
    assert_eq!(
        (status, &body["detail"]),
        (400, &json!("AuditRule has no field named 'bogus'"))
    );
    assert_eq!(s.api("audit-rules/9/").await.0, 404);
    s.eda.activation("mine", "failed");
    let (_, list) = s.api("activations/?name=MIN").await;
    assert_eq!(list["results"][0]["status"], "failed");
    let url = format!("{}/api/eda/v1/audit-rules/", s.eda.url());
    let answer = s.client.get(url).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 401);
}

#[tokio::test]
async fn labels_are_filled_in_and_come_into_being() {
    let mut s = setup(Rulebook::sequential([rule()])).await;
    s.send("a", "create").await;
    s.step(0);
    let url = format!(
        "{}/api/v2/unified_jobs/?labels__name=osac-uid-a",
        s.aap.url()
    );
    let request = s
        .client
        .get(url)
        .bearer_auth(provider_testkit::aap::ADMIN_TOKEN);
    let list: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(list["count"], 1, "{list}");
}
