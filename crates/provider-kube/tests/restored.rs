//! Objects that have something already: imported by a person, or restored without their status.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed"
)]

mod common;

use std::sync::Arc;

use common::live::{self, Live};
use common::{Machine, Server, desired, machine};
use futures::{FutureExt, StreamExt};
use kube::Api;
use kube::runtime::watcher;
use provider_core::lifecycle::{Desired, PolicyConfig};
use provider_core::{ConfigVersion, JobState, JobType};
use provider_kube::{Annotations, BoxError, Guarded, PROGRESSING, PROVISIONED, Provisioner};
use provider_testkit::{FakeProvider, Function};
use serde_json::{Value, json};

const APPLIED: &str = "example.com/applied";

fn one(machine: &Machine) -> Result<Desired, BoxError> {
    Ok(desired(machine))
}

fn fake() -> FakeProvider {
    common::fake().with_capabilities(|can| can.find_relaunched = false)
}

fn version(cores: u32) -> String {
    ConfigVersion::of_json(&json!({ "cores": cores }))
        .as_str()
        .to_owned()
}

/// A controller for an object as somebody has created it.
fn created(
    object: Value,
    fake: FakeProvider,
    with: impl FnOnce(Provisioner<Machine>) -> Provisioner<Machine>,
) -> Live {
    let server = Server::default();
    let name = object["metadata"]["name"].as_str().unwrap().to_owned();
    server.put(&name, object);
    let fake = Arc::new(fake);
    let provisioner = live::provisioner(&server, &fake, PolicyConfig::default());
    let provisioner = Arc::new(with(provisioner));
    let api = Api::<Guarded<Machine>>::all(server.client());
    let controller = provisioner.controller(api, watcher::Config::default());
    Live::of(server, fake, provisioner, controller, one)
}

#[tokio::test(start_paused = true)]
async fn what_is_there_already_is_imported_and_no_job_runs() {
    let mut object = machine();
    object["metadata"]["annotations"] = json!({"example.com/import": "current"});
    let live = created(object, fake(), |it| it);
    live.until_reason(PROVISIONED, "Applied").await;
    live.hours(12).await;
    assert!(live.fake.jobs().is_empty());
    let told = live.told("Imported");
    assert!(told.len() == 1 && told[0].0 == "Normal", "{told:?}");
    let status = live.server.value("m")["status"].clone();
    assert_eq!(status["reconciledConfigVersion"], version(2));
    // From here on it is like any other.
    live.edit(8);
    live.until("changed", |server| {
        server.value("m")["status"]["reconciledConfigVersion"] == version(8)
    })
    .await;
    live.delete();
    live.until_gone().await;
    assert_eq!(live.fake.count(Function::TriggerProvision), 1);
    assert_eq!(live.fake.count(Function::TriggerDeprovision), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_there_in_another_version_is_imported_and_brought_up_to_date() {
    let mut object = machine();
    object["metadata"]["annotations"] = json!({"old.example.com/import": version(1)});
    let live = created(object, fake(), |it| {
        let names = Annotations::of_group("example.com").also_of_group("old.example.com");
        it.with_annotations(names)
    });
    live.until_reason(PROVISIONED, "Applied").await;
    let object = live.server.value("m");
    assert_eq!(object["status"]["jobs"][0]["configVersion"], version(1));
    assert_eq!(object["status"]["jobs"][0]["reason"], "Imported");
    assert_eq!(object["status"]["jobs"][1]["configVersion"], version(2));
    assert_eq!(live.fake.jobs().len(), 1);
}

fn kept(provisioner: Provisioner<Machine>) -> Provisioner<Machine> {
    provisioner.with_applied_annotation()
}

fn note(server: &Server) -> Value {
    let object = server.value("m");
    let text = object["metadata"]["annotations"][APPLIED].as_str();
    text.map_or(Value::Null, |text| serde_json::from_str(text).unwrap())
}

/// As from a backup: the metadata, without what the server gives, and no status.
fn restored(object: &Value) -> Value {
    let mut new = machine();
    new["metadata"]["uid"] = json!("uid-of-the-new-one");
    new["metadata"]["annotations"] = object["metadata"]["annotations"].clone();
    new["metadata"]["finalizers"] = object["metadata"]["finalizers"].clone();
    new["spec"] = object["spec"].clone();
    new
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_restored_without_its_status_takes_over_what_it_has() {
    let live = Live::start_with(fake(), PolicyConfig::default(), kept, one);
    live.until("noted", |server| note(server) != Value::Null)
        .await;
    let said = note(&live.server);
    assert_eq!(said["object"], "n/m");
    assert_eq!(
        said["applied"],
        json!([{"version": version(2), "attempt": 1}])
    );
    live.hours(1).await;
    let writes = live.provisioner.requests().writes;
    live.hours(48).await;
    assert_eq!(live.provisioner.requests().writes, writes, "it rests");
    let backup = restored(&live.server.value("m"));

    // Elsewhere, by a controller that knows nothing of it.
    let again = created(backup.clone(), fake(), kept);
    again.until_reason(PROVISIONED, "Applied").await;
    again.hours(12).await;
    assert!(again.fake.jobs().is_empty());
    again.delete();
    again.until_gone().await;
    assert_eq!(again.fake.count(Function::TriggerDeprovision), 1);

    // What is wanted now is another configuration.
    let mut edited = backup.clone();
    edited["spec"]["cores"] = json!(8);
    let again = created(edited, fake(), kept);
    again.until_reason(PROVISIONED, "Applied").await;
    assert_eq!(again.fake.jobs().len(), 1);

    // A controller without the switch, a text that is none of ours, and a copy under another name take nothing
    // over.
    let off = created(backup.clone(), fake(), |it| it);
    off.until_reason(PROVISIONED, "Applied").await;
    assert_eq!(off.fake.jobs().len(), 1);
    let mut odd = backup.clone();
    odd["metadata"]["annotations"][APPLIED] = json!("v1");
    let odd = created(odd, fake(), kept);
    odd.until_reason(PROVISIONED, "Applied").await;
    assert_eq!(odd.fake.jobs().len(), 1);
    let mut copy = backup;
    copy["metadata"]["name"] = json!("copy");
    let copy = created(copy, fake(), kept);
    copy.until("provisioned", |server| {
        server.condition("copy", PROVISIONED).1 == "Applied"
    })
    .await;
    assert_eq!(copy.fake.jobs().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn each_of_several_targets_is_noted_and_taken_over() {
    let two = |machine: &Machine| -> Result<Vec<Desired>, BoxError> {
        let dns = desired(machine).for_target("dns");
        Ok(vec![
            desired(machine).for_target("compute"),
            match live::metadata(machine, "drop") {
                Some(_) => dns.absent(),
                None => dns,
            },
        ])
    };
    let live = Live::start_with(fake(), PolicyConfig::default(), kept, two);
    let names = |server: &Server| -> Vec<String> {
        let all = note(server)["applied"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        all.iter()
            .map(|one| one["target"].as_str().unwrap().to_owned())
            .collect()
    };
    live.until("both", |server| names(server) == ["compute", "dns"])
        .await;
    // The status is lost.
    let jobs = live.fake.jobs().len();
    live.server.change("m", |object| {
        object["status"] = json!({});
        object["metadata"]["uid"] = json!("uid-of-the-new-one");
        object["metadata"]["generation"] = json!(5);
    });
    live.until_reason("dns/Provisioned", "Applied").await;
    assert_eq!(live.fake.jobs().len(), jobs);
    // What goes is noted no more, before it is touched.
    live.annotate("test/drop", json!("yes"));
    live.until_reason("dns/Deprovisioned", "Absent").await;
    live.until("one", |server| names(server) == ["compute"])
        .await;
}

/// Whatever is applied at the end was brought by a job of this configuration, wherever in its life the object has
/// lost its status.
#[tokio::test(start_paused = true)]
async fn a_status_that_is_lost_at_any_step_takes_nothing_for_applied_that_is_not() {
    let (mut lost, mut imported) = (0, 0);
    for step in 1..40 {
        let live = Live::start_with(fake().ending_after(3), PolicyConfig::default(), kept, one);
        let server = live.server.clone();
        let mut changes = server.changes();
        let mut all = server.changes();
        let thief = tokio::spawn(async move {
            for _ in 0..step {
                changes.next().await;
            }
            server.change("m", |object| {
                object["status"] = json!({});
                // Somebody sees that it was restored.
                object["metadata"]["annotations"]["test/restored"] = json!("yes");
            });
        });
        live.until_reason(PROVISIONED, "Applied").await;
        live.edit(8);
        live.until_reason(PROGRESSING, "Provisioning").await;
        live.edit(2);
        live.hours(2).await;
        lost += usize::from(thief.is_finished());
        thief.abort();
        let (status, reason, _) = live.server.condition("m", PROVISIONED);
        assert_eq!((&*status, &*reason), ("True", "Applied"), "step {step}");
        let jobs = live.fake.jobs();
        let last = jobs
            .iter()
            .rfind(|job| job.job_type == JobType::Provision)
            .unwrap();
        let there = last.config_version.as_ref().unwrap().as_str();
        assert_eq!(there, version(2), "step {step}: what is there is another");
        assert_eq!(last.state, JobState::Succeeded);
        imported += live.told("Imported").len();
        // From before a launch until its end nothing is said to be applied, whenever somebody stops us.
        while let Some(Some(change)) = all.next().now_or_never() {
            let object = &change["object"];
            let ended = |job: &Value| {
                ["Succeeded", "Failed"].contains(&job["state"].as_str().unwrap_or_default())
            };
            let jobs = object["status"]["jobs"].as_array();
            let live = jobs.is_some_and(|jobs| jobs.iter().any(|job| !ended(job)));
            let said = &object["metadata"]["annotations"][APPLIED];
            assert!(
                !live || said.is_null(),
                "step {step}: {said} beside a live job"
            );
        }
    }
    assert!(
        lost > 15 && imported > 0,
        "{lost} were lost, {imported} imported"
    );
}

/// A target that is to go, of an object whose status was lost, has something all the same.
#[tokio::test(start_paused = true)]
async fn what_an_object_without_its_status_has_of_an_absent_target_is_removed_once() {
    fn gone(machine: &Machine) -> Result<Desired, BoxError> {
        Ok(desired(machine).absent())
    }
    let live = Live::start_with(fake(), PolicyConfig::default(), kept, one);
    live.until("noted", |server| note(server) != Value::Null)
        .await;
    let backup = restored(&live.server.value("m"));

    let server = Server::default();
    server.put("m", backup);
    let fake = Arc::new(fake());
    let provisioner = live::provisioner(&server, &fake, PolicyConfig::default());
    let provisioner = Arc::new(kept(provisioner));
    let api = Api::<Guarded<Machine>>::all(server.client());
    let controller = provisioner.controller(api, watcher::Config::default());
    let again = Live::of(server, fake, provisioner, controller, gone);
    again
        .until("removed and forgotten", |server| {
            let object = server.value("m");
            let jobs = object["status"]["jobs"].as_array();
            jobs.is_none_or(Vec::is_empty) && note(server) == Value::Null
        })
        .await;
    again.hours(48).await;
    assert_eq!(again.fake.count(Function::TriggerDeprovision), 1);
    assert_eq!(again.fake.count(Function::TriggerProvision), 0);
}
