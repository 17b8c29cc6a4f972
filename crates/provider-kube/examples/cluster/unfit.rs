//! Parts about objects that the operator's Rust type does not know, or does not know whole.

use kube::api::PostParams;
use serde_json::{Value, json};

use crate::parts::{apply, merge};
use crate::world::{World, condition, eventually, jobs, judge};

/// Applies the definition after a change of the schema of its spec, and waits until `probe` of a new
/// object's spec holds.
async fn with_spec(
    world: &World,
    change: impl Fn(&mut Value),
    probe: impl Fn(Result<Value, u16>) -> bool,
) {
    let text = world.printed_definition().await;
    let mut definition: Value = serde_norway::from_str(&text).unwrap();
    let root = &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    change(&mut root["properties"]["spec"]);
    let file = world.directory.path().join("spec.json");
    std::fs::write(&file, definition.to_string()).unwrap();
    apply(world, &file).await;
    let in_force = eventually(10, async || {
        let made = create(world, "probe", json!({"templateID": "t", "memoryGiB": 4})).await;
        world.delete("probe").await;
        probe(made)
    });
    assert!(in_force.await, "the definition is not in force");
}

async fn create(world: &World, name: &str, spec: Value) -> Result<Value, u16> {
    let object = json!({
        "apiVersion": "osac.openshift.io/v1alpha1", "kind": "ComputeInstance",
        "metadata": {"name": name, "namespace": "default"}, "spec": spec,
    });
    let object = serde_json::from_value(object).unwrap();
    let made = world.api().create(&PostParams::default(), &object).await;
    made.map(|object| object.data["spec"].clone())
        .map_err(crate::parts::code)
}

/// An object of an older definition, which lacks what the type needs: it is told so, and no other waits.
pub(crate) async fn object(world: &World) -> String {
    let optional = |spec: &mut Value| spec["required"] = json!(["templateID", "memoryGiB"]);
    with_spec(world, optional, |made| made.is_ok()).await;
    create(
        world,
        "unfit",
        json!({"templateID": "s3cret", "memoryGiB": 4}),
    )
    .await
    .unwrap();
    let aap = jobs(300, 300).await;
    let operator = world.operate(&aap).await;
    world.create("fits").await;
    world.until_applied("fits", 1, 30).await;
    let told = |objects: &[kube::api::DynamicObject]| {
        let said = |o| condition(o, "Readable").is_some_and(|(_, why)| why == "DoesNotFit");
        objects.len() == 1 && objects.iter().all(said)
    };
    world
        .until("unfit", 30, "told that it does not fit", told)
        .await;
    world.until_told("unfit", "DoesNotFit", 1).await;
    assert_eq!(aap.journal().len(), 1);
    merge(world, "unfit", json!({"spec": {"cores": 2}}))
        .await
        .unwrap();
    world.until_applied("unfit", 1, 30).await;
    world.delete("fits").await;
    world.delete("unfit").await;
    world.until_gone("fits", 30).await;
    world.until_gone("unfit", 30).await;
    judge(&aap);
    operator.stop().await;
    with_spec(world, |_| (), |made| made.is_err()).await;
    for entry in std::fs::read_dir(world.directory.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "log") {
            let log = std::fs::read_to_string(&path).unwrap();
            assert!(!log.contains("s3cret"), "a spec is in {}", path.display());
        }
    }
    "an object that does not fit the type: told, the others go on, applied when it is mended"
        .to_owned()
}

/// Nothing can be listed: the operator ends on SIGTERM all the same.
pub(crate) async fn unlisted(world: &World) -> String {
    let aap = jobs(300, 300).await;
    world.server("stop-api").await;
    let operator = world.operate(&aap).await;
    let url = format!("http://127.0.0.1:{}/readyz", operator.port);
    let mut ready = None;
    eventually(30, async || {
        let answer = reqwest::get(&url).await;
        ready = answer.ok().map(|answer| answer.status().as_u16());
        ready.is_some()
    })
    .await;
    assert_eq!(ready, Some(503));
    operator.stop().await;
    world.server("start-api").await;
    world.until("", 30, "listed", |_| true).await;
    "SIGTERM before the first list: the operator ends well".to_owned()
}

/// What backends are sent is the object as the server has it: with members that the type does not know,
/// and with defaults.
pub(crate) async fn whole(world: &World) -> String {
    let more = |spec: &mut Value| {
        spec["properties"]["disk"] = json!({"type": "integer"});
        spec["properties"]["zone"] = json!({"type": "string", "default": "a"});
        spec["required"] = json!(["templateID", "memoryGiB"]);
    };
    with_spec(world, more, |made| {
        made.is_ok_and(|spec| spec["zone"] == "a")
    })
    .await;
    let aap = jobs(300, 300).await;
    let operator = world.operate(&aap).await;
    let spec = json!({"templateID": "t", "memoryGiB": 4, "cores": 2, "disk": 10});
    create(world, "whole", spec).await.unwrap();
    world.until_applied("whole", 1, 30).await;
    let edit = async |cores: u32, generation: u32| {
        merge(world, "whole", json!({"spec": {"cores": cores}}))
            .await
            .unwrap();
        let edited = |objects: &[kube::api::DynamicObject]| {
            objects.iter().all(|o| {
                crate::world::is(o, "Provisioned", "True")
                    && o.data["status"]["observedGeneration"] == generation
            })
        };
        world
            .until("whole", 30, "applied with the change", edited)
            .await;
    };
    edit(4, 2).await;
    operator.stop().await;
    let operator = world.operate(&aap).await;
    edit(8, 3).await;
    world.delete("whole").await;
    world.until_gone("whole", 30).await;
    judge(&aap);
    operator.stop().await;
    with_spec(world, |_| (), |made| made.is_err()).await;
    let journal = aap.journal();
    let payload = "/ansible_eda/event/payload/spec";
    let sent: Vec<_> = journal
        .iter()
        .map(|run| run.extra_vars.pointer(payload))
        .collect();
    let whole = |cores: u32| json!({"templateID": "t", "memoryGiB": 4, "cores": cores, "disk": 10, "zone": "a"});
    let wanted = [whole(2), whole(4), whole(8), whole(8)];
    assert_eq!(sent, wanted.iter().map(Some).collect::<Vec<_>>());
    "create, edit, restart, delete: each launch is sent the object as the server has it".to_owned()
}
