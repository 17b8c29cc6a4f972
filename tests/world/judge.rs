//! What must be true of a world, by the controller's own journal.

use std::collections::BTreeSet;
use std::time::Duration;

use provider_testkit::aap::{Run, overlapping};
use serde_json::json;

use crate::api::Written;
use crate::replica::Replica;
use crate::report::report;
use crate::run::Scene;
use crate::script::OBJECTS;

/// Nobody turns in circles: bounds on what a life may take once nothing goes wrong any more.
pub(crate) fn hot_loops(
    scene: &Scene,
    calm: Duration,
    reconciles: u64,
    requests: u64,
) -> Result<(), String> {
    let minutes = calm.as_secs() / 60 + 1;
    let most = OBJECTS * (60 + minutes * 4) * 3;
    if reconciles > most || requests > most * 8 {
        let what = format!("a hot loop: {reconciles} reconciles, {requests} requests in {calm:?}");
        return Err(report(scene, &what));
    }
    Ok(())
}

/// Nothing is remembered of objects that are gone.
pub(crate) async fn memory(scene: &mut Scene, replicas: &[Replica]) -> Result<(), String> {
    // The next object that comes along, hours later, has them forgotten.
    tokio::time::sleep(Duration::from_secs(3 * 3_600)).await;
    let object = json!({
        "apiVersion": "example.com/v1", "kind": "Machine",
        "metadata": {"name": "last", "namespace": "n", "uid": "uid-last", "generation": 1},
        "spec": {"cores": 1},
    });
    scene.server.create("last", &object);
    tokio::time::sleep(Duration::from_secs(600)).await;
    for replica in replicas {
        let remembered = replica.provisioner.remembered();
        if remembered > 10 {
            let what = format!("{remembered} things are remembered of objects that are gone");
            return Err(report(scene, &what));
        }
    }
    Ok(())
}

/// Whether it was started without our variables.
pub(crate) fn is_stray(run: &Run) -> bool {
    run.extra_vars.get("provider_operation_token").is_none()
}

/// Whether the name of a job was ever on record.
fn was_named(written: &[Written], uid: &str, id: u64) -> bool {
    let id = id.to_string();
    written.iter().any(|Written { object, .. }| {
        let records = object["status"]["jobs"].as_array();
        let mut records = records.into_iter().flatten();
        object["metadata"]["uid"] == uid && records.any(|record| record["jobID"] == id.as_str())
    })
}

pub(crate) fn journal(scene: &Scene) -> Result<(), String> {
    if let Some(wrong) = scene.server.wrong().first() {
        return Err(report(scene, wrong));
    }
    let journal = scene.sim.journal();
    let ours: Vec<Run> = journal
        .iter()
        .filter(|run| run.launch_type == "manual")
        .cloned()
        .collect();
    let overlaps = overlapping(&ours);
    if !overlaps.is_empty() {
        return Err(report(scene, &format!("alive at once: {overlaps:?}")));
    }
    // What was forgotten is proven absent, and sent again.
    let known = ours.iter().filter(|run| !scene.is_forgotten(run));
    let known: Vec<&Run> = known.collect();
    let tokens: Vec<&str> = known
        .iter()
        .filter_map(|run| run.extra_vars.get("provider_operation_token")?.as_str())
        .collect();
    let different: BTreeSet<&str> = tokens.iter().copied().collect();
    // A template that drops variables drops our token with them.
    let strays = known.iter().filter(|run| is_stray(run)).count();
    if different.len() != tokens.len() || tokens.len() + strays != known.len() {
        return Err(report(scene, "a token was launched twice"));
    }
    // Each restart is made once, in one life of what it restarts.
    for plan in &scene.plans {
        let mut made = BTreeSet::new();
        let of_it = |run: &&Run| run.object().as_deref() == Some(&plan.uid()) && run.succeeded;
        let mut runs: Vec<&Run> = ours.iter().filter(of_it).collect();
        runs.sort_by_key(|run| (run.accepted, run.id));
        for run in runs.into_iter().filter(|run| !scene.is_forgotten(run)) {
            if run.template.contains("delete") {
                made.clear();
            }
            let request = run.extra_vars["request"].as_str();
            if run.template.contains("restart") && !is_stray(run) && !made.insert(request) {
                let what = format!("{} was restarted twice for {request:?}", plan.uid());
                return Err(report(scene, &what));
            }
        }
    }
    let written = scene.server.said().0;
    for plan in scene.plans.iter().filter(|plan| !plan.is_let_alone()) {
        let uid = plan.uid();
        let runs: Vec<&Run> = ours
            .iter()
            .filter(|run| run.object().as_deref() == Some(&uid))
            // A launch whose answer was lost, and that the controller has lost too, nobody can know of.
            .filter(|run| !scene.is_forgotten(run) || was_named(&written, &uid, run.id))
            .collect();
        if let Some(run) = runs.iter().find(|run| run.stopped.is_none()) {
            let what = format!("{uid} is gone while job {} is alive", run.id);
            return Err(report(scene, &what));
        }
        let last = runs.iter().max_by_key(|run| (run.accepted, run.id));
        let removes = |run: &Run| run.template.contains("delete") && run.succeeded;
        // A person may have relaunched the job that was to remove it.
        let all = journal.iter().filter(|run| run.launch_type != "workflow");
        let all = all.filter(|run| run.object().as_deref() == Some(&uid));
        let newest = all.max_by_key(|run| (run.accepted, run.id));
        if !(last.is_none_or(|run| removes(run)) || newest.is_some_and(removes)) {
            return Err(report(scene, &format!("{uid} is gone, and not removed")));
        }
    }
    Ok(())
}
