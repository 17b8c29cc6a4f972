//! Parts that wear operators down: several at once, a broken fence, restarts, kills, a thousand objects.

use std::time::Duration;

use kube::ResourceExt;
use provider_core::lifecycle::{Entropy, SeededEntropy};
use serde_json::{Value, json};

use crate::parts::{apply, merge, merge_status};
use crate::proxy;
use crate::world::{World, eventually, is, jobs, judge, violations};

const SEED: u64 = 1;

/// Two operators at once, without leader election.
pub(crate) async fn replicas(world: &World) -> String {
    const OBJECTS: usize = 200;
    let aap = jobs(1_500, 800).await;
    let (one, two) = (world.operate(&aap).await, world.operate(&aap).await);
    world.create_all("pair", OBJECTS).await;
    world.until_applied("pair", OBJECTS, 180).await;
    assert_eq!(violations(&aap, false), Vec::<String>::new());
    world.delete_all("pair").await;
    world.until_gone("pair", 180).await;
    judge(&aap);
    let conflicts = one.metric("provider_kube_api_conflicts_total").await
        + two.metric("provider_kube_api_conflicts_total").await;
    let launched = aap.journal().len();
    one.stop().await;
    two.stop().await;
    assert_eq!(launched, 2 * OBJECTS);
    assert!(conflicts > 0, "the two never met");
    format!(
        "two operators over {OBJECTS} objects: {launched} jobs, {conflicts} lost races, no violation"
    )
}

/// Applies the definition with or without its rules, and waits until that is in force.
async fn guard(world: &World, guarded: bool) {
    let text = world.printed_definition().await;
    let mut definition: Value = serde_norway::from_str(&text).unwrap();
    if !guarded {
        let root = &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        root.as_object_mut()
            .unwrap()
            .remove("x-kubernetes-validations");
    }
    let file = world.directory.path().join("rules.json");
    std::fs::write(&file, definition.to_string()).unwrap();
    apply(world, &file).await;
    world.create("probe").await;
    let with = |token: usize| {
        let live = json!({
            "attempt": 1, "jobID": "1", "type": "provision", "state": "Running",
            "token": token.to_string(),
        });
        json!({"status": {"jobs": [live]}})
    };
    merge_status(world, "probe", with(0)).await.unwrap();
    let wanted = if guarded { Err(422) } else { Ok(()) };
    let mut tries = 0;
    let in_force = eventually(10, async || {
        tries += 1;
        merge_status(world, "probe", with(tries)).await == wanted
    });
    assert!(in_force.await, "the definition is not in force");
    world.delete("probe").await;
}

/// The same without the precondition of writes, and without the rule of the definition, which stops a
/// second launch by itself: the judge must notice.
pub(crate) async fn broken_fence(world: &World) -> String {
    const OBJECTS: usize = 40;
    guard(world, false).await;
    let aap = jobs(1_500, 800).await;
    let broken = proxy::start(&world.kubeconfig, world.directory.path(), false).await;
    let broken = &broken.kubeconfig;
    let one = world.operate_with(&aap, broken, "300ms", "false").await;
    let two = world.operate_with(&aap, broken, "300ms", "false").await;
    world.create_all("broken", OBJECTS).await;
    let mut found = Vec::new();
    let noticed = eventually(20, async || {
        found = violations(&aap, false);
        !found.is_empty()
    });
    let noticed = noticed.await;
    one.kill().await;
    two.kill().await;
    assert!(noticed, "the judge did not notice that the fence is broken");
    // What the broken ones have left is not the next part's affair.
    for object in world.list("broken").await {
        merge(
            world,
            &object.name_any(),
            json!({"metadata": {"finalizers": null}}),
        )
        .await
        .unwrap();
    }
    world.delete_all("broken").await;
    guard(world, true).await;
    format!(
        "without the fence the judge finds {} violations",
        found.len()
    )
}

/// The API server goes away in the middle of everything, and comes back.
pub(crate) async fn restart(world: &World) -> String {
    const OBJECTS: usize = 40;
    let aap = jobs(2_000, 1_500).await;
    let operator = world.operate(&aap).await;
    world.create_all("restart", OBJECTS).await;
    let busy = eventually(60, async || aap.journal().len() >= OBJECTS / 2).await;
    assert!(busy, "hardly anything starts");
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        world.server("stop-api").await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        world.server("start-api").await;
        world.until("restart", 30, "listed", |_| true).await;
        world.delete_all("restart").await;
    }
    world.until_gone("restart", 120).await;
    judge(&aap);
    let jobs = aap.journal().len();
    assert!(
        jobs > OBJECTS / 2,
        "only {jobs} jobs: hardly anything was under way"
    );
    operator.stop().await;
    format!("the API server restarted twice under {OBJECTS} objects: {jobs} jobs, no violation")
}

/// The operator sleeps while its watch expires: it lists anew, and misses nothing.
pub(crate) async fn expired_watch(world: &World) -> String {
    const OBJECTS: usize = 10;
    let aap = jobs(500, 300).await;
    let operator = world.operate(&aap).await;
    world.create_all("expire", OBJECTS).await;
    world.until_applied("expire", OBJECTS, 60).await;
    let before = world
        .api()
        .list(&kube::api::ListParams::default())
        .await
        .unwrap();
    let before = before.metadata.resource_version.unwrap();
    operator.signal("-STOP");
    for n in 0..OBJECTS {
        merge(world, &format!("expire-{n}"), json!({"spec": {"cores": 4}}))
            .await
            .unwrap();
    }
    world.server("stop-api").await;
    world.server("compact").await;
    world.server("start-api").await;
    // The version that the operator's watch stands at is no more.
    let watch = world
        .api()
        .watch(&kube::api::WatchParams::default(), &before)
        .await;
    let expired = match watch {
        Err(kube::Error::Api(status)) => status.code,
        Err(error) => panic!("{error}"),
        Ok(stream) => {
            let first = futures::StreamExt::next(&mut std::pin::pin!(stream)).await;
            match first {
                Some(Ok(kube::api::WatchEvent::Error(status))) => status.code,
                Some(Err(kube::Error::Api(status))) => status.code,
                other => panic!("the watch did not expire: {other:?}"),
            }
        }
    };
    assert_eq!(expired, 410);
    operator.signal("-CONT");
    let edited = |objects: &[kube::api::DynamicObject]| {
        objects
            .iter()
            .all(|o| is(o, "Provisioned", "True") && o.data["status"]["observedGeneration"] == 2)
    };
    world
        .until("expire", 90, "applied with the change", edited)
        .await;
    world.delete_all("expire").await;
    world.until_gone("expire", 60).await;
    judge(&aap);
    assert_eq!(aap.journal().len(), 3 * OBJECTS);
    operator.stop().await;
    format!("a watch that expired (410): all {OBJECTS} changes were seen")
}

/// SIGKILL at random moments, users deleting in between.
pub(crate) async fn kills(world: &World) -> String {
    const OBJECTS: usize = 100;
    const KILLS: usize = 100;
    let dice = SeededEntropy::new(SEED);
    let aap = jobs(1_200, 700).await;
    world.create_all("kill", OBJECTS).await;
    let so_far = || {
        let launched = aap.journal().len();
        (launched, world.proxy.log.events("kill", "Adopted"))
    };
    let enough = |(launched, adopted)| launched >= OBJECTS / 4 && adopted >= 1;
    let mut kills = 0;
    // On a busy machine an operator gets less far in the same time: there are more of them then, and they
    // live longer and longer, up to half a minute.
    while kills < KILLS || (!enough(so_far()) && kills < KILLS * 4) {
        let operator = world.operate(&aap).await;
        let doublings = kills.saturating_sub(KILLS) / (KILLS / 10);
        let longest = 400 << doublings.min(6);
        tokio::time::sleep(Duration::from_millis(60 + dice.next() % longest)).await;
        operator.kill().await;
        if dice.next().is_multiple_of(2) && kills < KILLS {
            world
                .delete(&format!("kill-{}", kills * OBJECTS / KILLS))
                .await;
        }
        kills += 1;
    }
    let (launched, adopted) = so_far();
    let busy = format!("{launched} jobs were launched and {adopted} adopted while it was killed");
    assert!(enough((launched, adopted)), "{busy}");
    let in_mid = violations(&aap, false);
    assert_eq!(in_mid, Vec::<String>::new(), "seed {SEED}");
    let operator = world.operate(&aap).await;
    world.delete_all("kill").await;
    world.until_gone("kill", 240).await;
    judge(&aap);
    let jobs = aap.journal().len();
    operator.stop().await;
    format!(
        "{kills} SIGKILLs over {OBJECTS} objects (seed {SEED}): {jobs} jobs, none twice, none left; \
         {busy}"
    )
}

/// A thousand objects through a whole life, and what that costs.
pub(crate) async fn thousand(world: &World) -> String {
    const OBJECTS: u64 = 1_000;
    let aap = jobs(4_000, 3_000).await;
    let operator = world
        .operate_with(&aap, &world.proxy.kubeconfig, "2s", "false")
        .await;
    let count = usize::try_from(OBJECTS).unwrap();
    let before = world.proxy.log.writes();
    world.create_all("many", count).await;
    world.until_applied("many", count, 240).await;
    let settled = operator.metric("operator_reconciles_total").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let idle = operator.metric("operator_reconciles_total").await - settled;
    world.delete_all("many").await;
    world.until_gone("many", 240).await;
    judge(&aap);
    assert_eq!(aap.journal().len(), 2 * count);
    // All that writes, events too, as the server is asked for it.
    let writes = world.proxy.log.writes() - before;
    let objects = operator.metric("provider_kube_api_writes_total").await;
    let reads = operator.metric("provider_kube_api_reads_total").await;
    let reconciles = operator.metric("operator_reconciles_total").await;
    let [now, most] = operator.memory();
    operator.stop().await;
    #[allow(clippy::cast_precision_loss, reason = "small numbers")]
    let each = |n: u64| n as f64 / OBJECTS as f64;
    let figures = format!(
        "{OBJECTS} objects: {:.2} writes a life (bar: 12), {:.2} of them to objects, the others events; \
         {:.1} reads, {:.1} reconciles; {idle} reconciles in 5 s at rest; memory {} MiB, at most {} MiB \
         (bar: 64)",
        each(writes),
        each(objects),
        each(reads),
        each(reconciles),
        now / 1_024,
        most / 1_024
    );
    assert!(writes <= 12 * OBJECTS, "{figures}");
    assert!(
        reconciles <= 12 * OBJECTS && idle <= OBJECTS / 10,
        "{figures}"
    );
    assert!(most < 64 * 1_024, "{figures}");
    figures
}
