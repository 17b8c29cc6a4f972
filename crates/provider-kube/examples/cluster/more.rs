//! Parts about what the server and the judge are trusted with: merging, older records, events, EDA.

use kube::api::{Patch, PatchParams};
use provider_testkit::aap::RunPlan;
use serde_json::{Value, json};

use crate::parts::{apply, code, merge, merge_status};
use crate::world::{
    FINALIZER, World, condition, eventually, is, jobs, judge, records, violations_in,
};

/// Two programs that apply their parts of one status: lists are merged by their keys.
pub(crate) async fn field_managers(world: &World) -> String {
    world.create("merge").await;
    let applied = async |manager: &str, status: Value| {
        let body = json!({
            "apiVersion": "osac.openshift.io/v1alpha1", "kind": "ComputeInstance",
            "metadata": {"name": "merge"}, "status": status,
        });
        let params = PatchParams::apply(manager);
        let patched = world
            .api()
            .patch_status("merge", &params, &Patch::Apply(&body))
            .await;
        patched.map(drop).map_err(code)
    };
    let condition = |name: &str, status: &str| {
        json!({
            "type": name, "status": status, "reason": "R", "message": "",
            "lastTransitionTime": "2026-11-23T04:00:00Z",
        })
    };
    let job = |n: u64, state: &str| json!({"attempt": n, "jobID": n.to_string(), "type": "provision", "state": state});
    let one = json!({"conditions": [condition("A", "True")], "jobs": [job(1, "Failed")]});
    let two = json!({"conditions": [condition("B", "True")], "jobs": [job(2, "Running")]});
    assert_eq!(applied("one", one).await, Ok(()));
    assert_eq!(applied("two", two).await, Ok(()));
    let object = world.api().get("merge").await.unwrap();
    assert!(is(&object, "A", "True") && is(&object, "B", "True"));
    assert_eq!(
        records(&object).len(),
        2,
        "records are merged by their attempt"
    );
    // What the other one owns is a conflict, in both lists.
    let theirs = json!({"conditions": [condition("A", "False")]});
    assert_eq!(applied("two", theirs).await, Err(409));
    let theirs = json!({"jobs": [job(1, "Succeeded"), job(2, "Running")]});
    assert_eq!(applied("two", theirs).await, Err(409));
    // Whoever stops applying its record takes it away: not one that may be alive.
    let less = json!({"conditions": [condition("B", "True")]});
    assert_eq!(applied("two", less).await, Err(422));
    world.delete("merge").await;
    "two field managers: lists merged by key, conflicts where they overlap".to_owned()
}

/// Objects whose records were stored before they had numbers, under a definition without keys.
pub(crate) async fn older_records(world: &World) -> String {
    let text = world.printed_definition().await;
    let good = world.directory.path().join("crd.yaml");
    let mut old: Value = serde_norway::from_str(&text).unwrap();
    let root = &mut old["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    root.as_object_mut()
        .unwrap()
        .remove("x-kubernetes-validations");
    let jobs_schema = &mut root["properties"]["status"]["properties"]["jobs"];
    jobs_schema["x-kubernetes-list-type"] = json!("atomic");
    jobs_schema
        .as_object_mut()
        .unwrap()
        .remove("x-kubernetes-list-map-keys");
    jobs_schema["items"]["properties"]["attempt"]
        .as_object_mut()
        .unwrap()
        .remove("default");
    let file = world.directory.path().join("old.json");
    std::fs::write(&file, old.to_string()).unwrap();
    apply(world, &file).await;
    world.create("older").await;
    let two = json!({"status": {"jobs": [
        {"jobID": "7", "type": "provision", "state": "Failed", "message": ""},
        {"jobID": "8", "type": "provision", "state": "Succeeded", "message": ""},
    ]}});
    let stores = async || merge_status(world, "older", two.clone()).await.is_ok();
    let older = eventually(10, stores).await;
    assert!(older, "the older definition is not in force");
    apply(world, &good).await;
    world.create("newer").await;
    let equal = json!({"status": {"jobs": [
        {"attempt": 1, "jobID": "7", "type": "provision", "state": "Failed"},
        {"attempt": 1, "jobID": "8", "type": "provision", "state": "Failed"},
    ]}});
    let refuses = async || merge_status(world, "newer", equal.clone()).await == Err(422);
    let newer = eventually(10, refuses).await;
    assert!(newer, "the definition is not in force again");
    world.delete("newer").await;
    let aap = jobs(300, 300).await;
    let operator = world.operate(&aap).await;
    world.until_applied("older", 1, 30).await;
    let object = world.api().get("older").await.unwrap();
    let numbers: Vec<Value> = records(&object)
        .iter()
        .map(|r| r["attempt"].clone())
        .collect();
    assert_eq!(numbers[..2], [json!(1), json!(2)]);
    world.delete("older").await;
    world.until_gone("older", 30).await;
    assert!(
        aap.journal()
            .iter()
            .any(|run| run.template.contains("delete"))
    );
    operator.stop().await;
    "two records without numbers, stored under an older definition: numbered, then a whole life"
        .to_owned()
}

/// The judge notices each sort of violation: shown with journals that were tampered with.
pub(crate) async fn judged(world: &World) -> String {
    let aap = jobs(300, 300).await;
    let operator = world.operate(&aap).await;
    world.create("judge").await;
    world.until_applied("judge", 1, 30).await;
    world.delete("judge").await;
    world.until_gone("judge", 30).await;
    operator.stop().await;
    judge(&aap);
    let journal = aap.journal();
    let found = |journal: &[_]| violations_in(journal, Vec::new(), true).join("; ");
    let mut left = journal.clone();
    left[1].stopped = None;
    assert!(found(&left).contains("was left behind"), "{}", found(&left));
    let forgotten = &journal[..1];
    assert!(
        found(forgotten).contains("not deprovisioned"),
        "{}",
        found(forgotten)
    );
    let mut failed = journal.clone();
    failed[1].succeeded = false;
    assert!(
        found(&failed).contains("not deprovisioned"),
        "{}",
        found(&failed)
    );
    let mut twice = journal.clone();
    twice.push(journal[1].clone());
    assert!(
        found(&twice).contains("carried out twice"),
        "{}",
        found(&twice)
    );
    assert!(violations_in(&journal, vec![(1, 2)], true).len() == 1);
    "the judge notices a job left behind, an object let go unremoved, a launch made twice"
        .to_owned()
}

/// Events of what does not happen in an ordinary life.
pub(crate) async fn events_of_edges(world: &World) -> String {
    let aap = jobs(300, 300).await;
    aap.plan_next("osac-create-compute-instance", RunPlan::endless());
    let operator = world.operate(&aap).await;
    world.create("edge").await;
    let running = |objects: &[kube::api::DynamicObject]| {
        let reason = |o| condition(o, "Progressing").is_some_and(|(_, r)| r == "Provisioning");
        objects.iter().all(reason)
    };
    world.until("edge", 30, "running", running).await;
    // Somebody takes our finalizer off while the job runs, and another one keeps the object.
    let finalizers = |all: Value| json!({"metadata": {"finalizers": all}});
    operator.signal("-STOP");
    let both = json!([FINALIZER, "example.com/other"]);
    merge(world, "edge", finalizers(both)).await.unwrap();
    merge(world, "edge", finalizers(json!(["example.com/other"])))
        .await
        .unwrap();
    world.delete("edge").await;
    operator.signal("-CONT");
    world.until_told("edge", "Started", 1).await;
    world.until_told("edge", "Orphaned", 1).await;
    merge(world, "edge", finalizers(Value::Null)).await.unwrap();
    world.until_gone("edge", 10).await;
    operator.stop().await;
    "a finalizer that was taken off under a live job is told as Orphaned".to_owned()
}

/// The same operator with EDA: provisioned when the playbook says so on the object, gone when its
/// finalizer is.
pub(crate) async fn eda(world: &World) -> String {
    const OBJECTS: usize = 3;
    let variables = [("PROVISIONING_PROVIDER", "eda-simulator")];
    let operator = world.spawn(&world.proxy.kubeconfig, &variables);
    world.create_all("event", OBJECTS).await;
    world.until_applied("event", OBJECTS, 60).await;
    for object in world.list("event").await {
        assert_eq!(records(&object).len(), 1);
        assert_eq!(object.metadata.finalizers.unwrap_or_default().len(), 2);
    }
    world.delete_all("event").await;
    world.until_gone("event", 60).await;
    for reason in ["Started", "Released"] {
        world.until_told("event", reason, OBJECTS).await;
    }
    operator.stop().await;
    format!("{OBJECTS} lives by EDA: marks of playbooks on real objects")
}
