//! The parts: each drives real objects, looks at what became of them, and says so with its figures.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams, PostParams};
use provider_testkit::aap::{Ending, Run, RunPlan};
use serde_json::{Value, json};

use crate::behaves;
use crate::world::{FINALIZER, World, condition, eventually, is, jobs, judge, records};

pub(crate) async fn merge(world: &World, name: &str, body: Value) -> Result<(), u16> {
    let patched = world
        .api()
        .patch(name, &PatchParams::default(), &Patch::Merge(&body))
        .await;
    patched.map(drop).map_err(code)
}

pub(crate) async fn merge_status(world: &World, name: &str, body: Value) -> Result<(), u16> {
    let patched = world
        .api()
        .patch_status(name, &PatchParams::default(), &Patch::Merge(&body))
        .await;
    patched.map(drop).map_err(code)
}

pub(crate) fn code(error: kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        other => panic!("{other}"),
    }
}

/// The definition is applied, and the server itself refuses what must not be in a status.
pub(crate) async fn definition(world: &World) -> String {
    let file = world.directory.path().join("crd.yaml");
    let text = world.printed_definition().await;
    std::fs::write(&file, &text).unwrap();
    apply(world, &file).await;
    let list = kube::api::ListParams::default();
    let served = eventually(10, async || world.api().list(&list).await.is_ok()).await;
    assert!(served, "the resource is not served");
    world.create("shape").await;
    let job = |member: &str, value: Value| {
        let mut job = json!({"attempt": 1, "jobID": "1", "type": "provision", "state": "Running"});
        job[member] = value;
        json!({"status": {"jobs": [job]}})
    };
    let refused = [
        ("a state that is none", job("state", json!("Runing"))),
        ("a type that is no word", job("type", json!("Upgrade it"))),
        (
            "an oversize message",
            job("message", json!("x".repeat(1_025))),
        ),
        ("an oversize token", job("token", json!("x".repeat(200)))),
        ("a number that is a text", job("attempt", json!("1"))),
        (
            "a condition without a reason",
            json!({"status": {"conditions": [{
                "type": "Provisioned", "status": "True", "message": "", "reason": "",
                "lastTransitionTime": "2026-11-23T04:00:00Z",
            }]}}),
        ),
        (
            "two records of one number",
            json!({"status": {"jobs": [
                {"attempt": 1, "jobID": "1", "type": "provision", "state": "Running"},
                {"attempt": 1, "jobID": "2", "type": "provision", "state": "Running"},
            ]}}),
        ),
    ];
    for (what, body) in &refused {
        assert_eq!(
            merge_status(world, "shape", body.clone()).await,
            Err(422),
            "{what}"
        );
    }
    // Of a newer version: what it writes must stay writable by this one.
    let mut good = job("fromTheFuture", json!({"kept": true}));
    good["status"]["jobs"][0]["type"] = json!("migrate");
    assert_eq!(merge_status(world, "shape", good).await, Ok(()));
    let kept = world.api().get("shape").await.unwrap();
    assert_eq!(records(&kept)[0]["fromTheFuture"]["kept"], true);
    world.delete("shape").await;
    format!(
        "definition applied by kubectl; {} sorts of nonsense refused by the server",
        refused.len()
    )
}

/// What simulations take for granted of an API server is so.
pub(crate) async fn behaviours(world: &World) -> String {
    let definitions: Api<CustomResourceDefinition> = Api::all(world.client.clone());
    let definition = behaves::definition();
    definitions
        .create(&PostParams::default(), &definition)
        .await
        .unwrap();
    let served = eventually(20, async || !behaves::is_away(&world.client).await).await;
    assert!(served, "the probes are not served");
    let (count, differ) = behaves::differences(&world.client).await;
    assert!(differ.is_empty(), "the API server is another: {differ:?}");
    format!("{count} behaviours of the API server as simulations have them")
}

/// By kubectl: what a user does.
pub(crate) async fn apply(world: &World, file: &std::path::Path) {
    let kubectl = tokio::process::Command::new("kubectl")
        .args(["apply", "--validate=false", "-f"])
        .arg(file)
        .env("KUBECONFIG", &world.proxy.kubeconfig)
        .output();
    let output = kubectl
        .await
        .expect("kubectl is needed: Debian's kubernetes-client has it");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "kubectl apply: {said}");
}

/// D39: no other writer of the status can erase a record that matters, with a stale copy or a fresh one.
pub(crate) async fn erasure(world: &World) -> String {
    let stale = world.create("erase").await;
    let live = json!({"attempt": 2, "jobID": "501", "type": "provision", "state": "Running", "token": "t"});
    let ended = json!({"attempt": 1, "jobID": "500", "type": "provision", "state": "Failed"});
    let doubtful = json!({"attempt": 3, "jobID": "502", "type": "provision", "state": "Canceled", "doubtful": true});
    let all = json!({"status": {"jobs": [ended, live, doubtful]}});
    merge_status(world, "erase", all).await.unwrap();
    let put = async |object: &kube::api::DynamicObject| {
        let put = world
            .api()
            .replace_status("erase", &PostParams::default(), object)
            .await;
        put.map(drop).map_err(code)
    };
    let with = |mut object: kube::api::DynamicObject, status: Value| {
        object.data["status"] = status;
        object
    };
    assert_eq!(put(&with(stale, json!({}))).await, Err(409), "a stale copy");
    let fresh = world.api().get("erase").await.unwrap();
    let other = json!({"conditions": []});
    assert_eq!(
        put(&with(fresh.clone(), other)).await,
        Err(422),
        "a typed status without jobs"
    );
    let less = json!({"jobs": [ended, live]});
    assert_eq!(
        put(&with(fresh.clone(), less)).await,
        Err(422),
        "without the newest, a doubtful one"
    );
    let less = json!({"jobs": [ended, doubtful]});
    assert_eq!(
        put(&with(fresh.clone(), less)).await,
        Err(422),
        "without a live one"
    );
    for (member, value) in [
        ("token", json!("u")),
        ("token", Value::Null),
        ("jobID", json!("")),
    ] {
        let mut other = live.clone();
        other[member] = value;
        other
            .as_object_mut()
            .unwrap()
            .retain(|_, value| !value.is_null());
        let less = json!({"jobs": [ended, other, doubtful]});
        assert_eq!(
            put(&with(fresh.clone(), less)).await,
            Err(422),
            "a live one without its {member}"
        );
    }
    let mut known = live.clone();
    known["jobID"] = json!("777");
    let more = json!({"status": {"jobs": [ended, known, doubtful]}});
    merge_status(world, "erase", more)
        .await
        .expect("a job may become known by another name");
    let fresh = world.api().get("erase").await.unwrap();
    let null = json!({"status": {"jobs": null}});
    assert_eq!(merge_status(world, "erase", null).await, Err(422));
    let null = json!({"status": null});
    assert_eq!(merge_status(world, "erase", null).await, Err(422));
    let trimmed = json!({"jobs": [known, doubtful]});
    assert_eq!(
        put(&with(fresh, trimmed)).await,
        Ok(()),
        "an ended one may be trimmed"
    );
    world.delete("erase").await;
    forgetting(world).await;
    "nine ways to erase a record refused by the server, trimming and forgetting what is gone allowed".to_owned()
}

/// The records of a target that was deprovisioned may go, all of them, and nothing else goes with them.
async fn forgetting(world: &World) {
    world.create("forget").await;
    let job = |attempt: u64, kind: &str, target: &str| {
        json!({"attempt": attempt, "jobID": attempt.to_string(), "type": kind, "state": "Succeeded",
            "target": target})
    };
    let of_other = job(1, "provision", "compute");
    let mine = [job(2, "provision", "dns"), job(3, "deprovision", "dns")];
    let status = |jobs: Value| json!({"status": {"jobs": jobs}});
    let all = status(json!([of_other, mine[0], mine[1]]));
    merge_status(world, "forget", all).await.unwrap();
    let nothing = status(json!([]));
    let refused = merge_status(world, "forget", nothing.clone()).await;
    assert_eq!(refused, Err(422), "another target has something left");
    let left = status(json!([of_other]));
    assert_eq!(merge_status(world, "forget", left).await, Ok(()));
    // Of the only target as well, and the list is empty then.
    let removed = status(json!([of_other, job(4, "deprovision", "compute")]));
    merge_status(world, "forget", removed).await.unwrap();
    assert_eq!(merge_status(world, "forget", nothing).await, Ok(()));
    world.delete("forget").await;
}

/// Create, applied, delete, gone; a clean end of the operator.
pub(crate) async fn whole_life(world: &World) -> String {
    let aap = jobs(600, 400).await;
    let operator = world.operate(&aap).await;
    world.create("life").await;
    world.until_applied("life", 1, 30).await;
    let object = world.api().get("life").await.unwrap();
    assert!(object.finalizers().contains(&FINALIZER.to_owned()));
    assert_eq!(object.data["status"]["observedGeneration"], 1);
    let version = &object.data["status"]["desiredConfigVersion"];
    assert!(version.is_string());
    assert_eq!(&object.data["status"]["reconciledConfigVersion"], version);
    assert_eq!(condition(&object, "Progressing").unwrap().0, "False");
    world.delete("life").await;
    world.until_gone("life", 30).await;
    judge(&aap);
    assert_eq!(aap.journal().len(), 2);
    let url = format!("http://127.0.0.1:{}/readyz", operator.port);
    assert_eq!(reqwest::get(url).await.unwrap().status().as_u16(), 200);
    operator.stop().await;
    "a life: create, applied, delete, gone; the operator ends well on SIGTERM".to_owned()
}

/// Nothing is polled within the life of this part: the ends of jobs are told by the websocket alone.
pub(crate) async fn wake_ups(world: &World) -> String {
    let aap = jobs(600, 400).await;
    let operator = world
        .operate_with(&aap, &world.proxy.kubeconfig, "1h", "true")
        .await;
    let listens = eventually(10, async || aap.listeners() == 1).await;
    assert!(listens, "the operator does not listen");
    // Sooner than the engine asks about what a backend tells of (after 150 s), on a busy machine too.
    world.create_all("told", 5).await;
    world.until_applied("told", 5, 25).await;
    world.delete_all("told").await;
    world.until_gone("told", 25).await;
    judge(&aap);
    assert_eq!(aap.journal().len(), 10);
    operator.stop().await;
    "5 lives with a poll interval of an hour: each end told by the websocket".to_owned()
}

/// Our finalizer goes after the deprovision, and another one keeps the object, deprovisioned.
pub(crate) async fn foreign_finalizer(world: &World) -> String {
    let aap = jobs(300, 600).await;
    let operator = world.operate(&aap).await;
    world.create("order").await;
    world.until_applied("order", 1, 30).await;
    let object = world.api().get("order").await.unwrap();
    let mut all = object.finalizers().to_vec();
    all.push("example.com/other".to_owned());
    merge(world, "order", json!({"metadata": {"finalizers": all}}))
        .await
        .unwrap();
    world.delete("order").await;
    let ours =
        |object: &kube::api::DynamicObject| object.finalizers().contains(&FINALIZER.to_owned());
    let removal = |run: &Run| run.template.contains("delete") && run.succeeded;
    let let_go = eventually(30, async || {
        let object = world.api().get("order").await.unwrap();
        let gone = !ours(&object);
        if gone {
            let deprovisioned = aap.journal().iter().any(removal);
            assert!(deprovisioned, "let go before its deprovision");
            assert!(is(&object, "Deprovisioned", "True"));
        }
        gone
    });
    assert!(let_go.await, "it is not let go");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(aap.journal().len(), 2, "nothing more is launched for it");
    assert!(!ours(&world.api().get("order").await.unwrap()));
    merge(world, "order", json!({"metadata": {"finalizers": null}}))
        .await
        .unwrap();
    world.until_gone("order", 10).await;
    judge(&aap);
    operator.stop().await;
    "finalizer goes after the deprovision, others keep the object".to_owned()
}

/// A change of the spec while a job runs: the job ends, then the next one brings the change.
pub(crate) async fn spec_edit(world: &World) -> String {
    let aap = jobs(300, 300).await;
    // It runs until the test ends it, so that nobody has to be quick to see it.
    aap.plan_next("osac-create-compute-instance", RunPlan::endless());
    let operator = world.operate(&aap).await;
    world.create("edit").await;
    let running = |objects: &[kube::api::DynamicObject]| {
        objects.iter().all(|object| {
            condition(object, "Progressing").is_some_and(|(_, r)| r == "Provisioning")
        })
    };
    world.until("edit", 30, "running", running).await;
    merge(world, "edit", json!({"spec": {"cores": 8}}))
        .await
        .unwrap();
    let seen = |objects: &[kube::api::DynamicObject]| {
        let all = |o: &kube::api::DynamicObject| o.data["status"]["observedGeneration"] == 2;
        objects.iter().all(all)
    };
    world.until("edit", 30, "seen with the change", seen).await;
    assert_eq!(aap.journal().len(), 1, "launched beside a job that runs");
    assert!(aap.end(aap.journal()[0].id, &Ending::Successful));
    let edited = |objects: &[kube::api::DynamicObject]| {
        objects
            .iter()
            .all(|o| is(o, "Provisioned", "True") && o.data["status"]["observedGeneration"] == 2)
    };
    let objects = world
        .until("edit", 30, "applied with the change", edited)
        .await;
    let jobs = records(&objects[0]);
    assert_eq!(jobs.len(), 2);
    assert_ne!(jobs[0]["configVersion"], jobs[1]["configVersion"]);
    let cores = |n: usize| {
        aap.journal()[n]
            .extra_vars
            .pointer("/ansible_eda/event/payload/spec/cores")
            .cloned()
    };
    assert_eq!((cores(0), cores(1)), (Some(json!(2)), Some(json!(8))));
    world.delete("edit").await;
    world.until_gone("edit", 30).await;
    judge(&aap);
    operator.stop().await;
    "spec edited in mid-job: two jobs, one after the other".to_owned()
}

/// The job is canceled and seen to end before the deprovision is launched.
pub(crate) async fn deletion_in_mid_provision(world: &World) -> String {
    let aap = jobs(600, 400).await;
    aap.plan_next("osac-create-compute-instance", RunPlan::endless());
    let operator = world.operate(&aap).await;
    world.create("cut").await;
    let running = |objects: &[kube::api::DynamicObject]| {
        objects.iter().all(|object| {
            condition(object, "Progressing").is_some_and(|(_, r)| r == "Provisioning")
        })
    };
    world.until("cut", 30, "running", running).await;
    world.delete("cut").await;
    world.until_gone("cut", 60).await;
    judge(&aap);
    let runs = aap.journal();
    assert!(runs.len() == 2 && !runs[0].succeeded && runs[1].succeeded);
    operator.stop().await;
    "deleted in mid-provision: canceled, seen ended, deprovisioned".to_owned()
}

/// Paused, an unknown word, and a retry after a person's cancel.
pub(crate) async fn annotations(world: &World) -> String {
    let aap = jobs(300, 300).await;
    // It runs until it is canceled, so that nobody has to be quick to see it.
    aap.plan_next("osac-create-compute-instance", RunPlan::endless());
    let mode = |word: Value| json!({"metadata": {"annotations": {"osac.openshift.io/management-state": word}}});
    let object = world.create("person").await;
    merge(world, &object.name_any(), mode(json!("pased")))
        .await
        .unwrap();
    let operator = world.operate(&aap).await;
    let paused = |objects: &[kube::api::DynamicObject]| {
        objects
            .iter()
            .all(|o| condition(o, "Progressing").is_some_and(|(_, reason)| reason == "Paused"))
    };
    let objects = world.until("person", 20, "paused", paused).await;
    let told = json!(objects[0].data).to_string();
    assert!(
        told.contains("\\\"pased\\\"; expected managed, paused"),
        "{told}"
    );
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(aap.journal().is_empty(), "nothing is launched while paused");
    merge(world, "person", mode(Value::Null)).await.unwrap();
    let running = |objects: &[kube::api::DynamicObject]| {
        objects.iter().all(|object| {
            condition(object, "Progressing").is_some_and(|(_, r)| r == "Provisioning")
        })
    };
    world.until("person", 20, "running", running).await;
    aap.cancel(aap.journal()[0].id);
    let held = |objects: &[kube::api::DynamicObject]| {
        objects
            .iter()
            .all(|o| condition(o, "Progressing").is_some_and(|(_, r)| r == "CanceledByOthers"))
    };
    world.until("person", 20, "held", held).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(aap.journal().len(), 1);
    let retry = json!({"metadata": {"annotations": {"osac.openshift.io/retry": "1"}}});
    merge(world, "person", retry).await.unwrap();
    world.until_applied("person", 1, 20).await;
    world.delete("person").await;
    world.until_gone("person", 30).await;
    judge(&aap);
    operator.stop().await;
    "pause, a word that is none, a person's cancel and a retry".to_owned()
}

/// Others write the status of the objects all the time; nobody loses anything.
pub(crate) async fn writers(world: &World) -> String {
    const OBJECTS: usize = 20;
    let aap = jobs(900, 500).await;
    let operator = world.operate(&aap).await;
    world.create_all("storm", OBJECTS).await;
    let mut written = 0_u64;
    let storm = async |seconds: u64, written: &mut u64| {
        let end = tokio::time::Instant::now() + Duration::from_secs(seconds);
        while tokio::time::Instant::now() < end {
            let writes = (0..OBJECTS).map(async |n| {
                let name = format!("storm-{n}");
                // As a careful writer: read, change what is its own, write what was read.
                let Ok(mut object) = world.api().get(&name).await else {
                    return 0;
                };
                object.data["status"]["conditions"] = others(&object, *written);
                let put = world
                    .api()
                    .replace_status(&name, &PostParams::default(), &object)
                    .await;
                u64::from(put.is_ok())
            });
            let done: Vec<u64> = futures::future::join_all(writes).await;
            *written += done.iter().sum::<u64>();
        }
    };
    storm(8, &mut written).await;
    world.until_applied("storm", OBJECTS, 60).await;
    for object in world.list("storm").await {
        assert!(
            condition(&object, "example.com/Other").is_some(),
            "another's condition was lost"
        );
    }
    world.delete_all("storm").await;
    storm(6, &mut written).await;
    world.until_gone("storm", 90).await;
    judge(&aap);
    let conflicts = operator.metric("provider_kube_api_conflicts_total").await;
    assert!(conflicts > 0, "there was no storm");
    assert_eq!(aap.journal().len(), 2 * OBJECTS);
    operator.stop().await;
    format!(
        "{written} writes of the status by others, {conflicts} conflicts, {OBJECTS} objects, 2 jobs each"
    )
}

fn others(object: &kube::api::DynamicObject, n: u64) -> Value {
    let mut all = object.data["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    all.retain(|one| one["type"] != "example.com/Other");
    all.push(json!({
        "type": "example.com/Other", "status": "True", "reason": "Storm", "message": n.to_string(),
        "lastTransitionTime": "2026-11-23T04:00:00Z",
    }));
    all.into()
}
