//! A controller process, killed by SIGKILL again and again at random moments while it drives fifty
//! objects through create and delete. The simulator lives in this process, the records in files. At the
//! end, what really ran decides: never two jobs of an object at once, nothing orphaned, every object
//! done.
//!
//! There are 40 kills, and 200 with `PROVIDER_FULL`. `CRASH_KILLS` changes their number, `CRASH_SEED` the
//! moments.

#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that panics has failed"
)]

mod again;
#[path = "../examples/controller.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "a program of its own, with its own main"
)]
mod example;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use example::Flags;
use provider_core::SystemClock;
use provider_core::lifecycle::{Entropy, SeededEntropy};
use provider_testkit::aap::{ADMIN_TOKEN, AapSim, RunPlan, Template, World};
use serde_json::{Value, json};

const OBJECTS: u64 = 50;

/// Past the test harness, which keeps what passing tests print to itself.
fn say(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn number(name: &str, otherwise: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn file(directory: &Path, n: u64) -> PathBuf {
    directory.join(format!("vm-{n}.json"))
}

/// Written beside and renamed, so that the controller never reads a half.
fn write(directory: &Path, n: u64, object: &Value) {
    let new = directory.with_extension("new");
    std::fs::write(&new, object.to_string()).unwrap();
    std::fs::rename(new, file(directory, n)).unwrap();
}

fn object(n: u64, deleted: bool) -> Value {
    let mut object = json!({
        "kind": "ComputeInstance",
        "metadata": {"name": format!("vm-{n}"), "namespace": "t", "uid": format!("uid-{n}")},
        "spec": {"cores": 2},
    });
    if deleted
        && let Some(metadata) = object
            .pointer_mut("/metadata")
            .and_then(Value::as_object_mut)
    {
        metadata.insert(
            "deletionTimestamp".to_owned(),
            json!("2026-11-23T04:00:00Z"),
        );
    }
    object
}

/// No test, but the controller, when this program was started as one.
#[tokio::test]
async fn the_controller() {
    if let Some(line) = again::command_line() {
        example::run(&Flags::parse_from(line)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_leave_no_double_and_no_orphan() {
    let full = std::env::var_os("PROVIDER_FULL").is_some();
    let kills = number("CRASH_KILLS", if full { 200 } else { 40 });
    let seed = number("CRASH_SEED", 1);
    say(&format!("{kills} kills, seed {seed}"));
    let dice = SeededEntropy::new(seed);
    let plan = |run| RunPlan {
        queue: Duration::from_millis(100),
        ..RunPlan::lasting(Duration::from_millis(run))
    };
    let world = World::with([
        Template::job("osac-create-compute-instance").with_plan(plan(900)),
        Template::job("osac-delete-compute-instance").with_plan(plan(500)),
    ]);
    let sim = AapSim::start(world, Arc::new(SystemClock)).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (objects, state) = (
        directory.path().join("objects"),
        directory.path().join("state"),
    );
    std::fs::create_dir(&objects).unwrap();
    for n in 0..OBJECTS {
        write(&objects, n, &object(n, false));
    }
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let mut arguments: Vec<String> = ["--token", ADMIN_TOKEN, "--until-empty", "--json"]
        .into_iter()
        .chain(["--poll-interval", "200ms", "--windows", "1s"])
        .map(str::to_owned)
        .collect();
    arguments.extend(["--url".to_owned(), sim.url()]);
    arguments.extend(["--objects".to_owned(), path(&objects)]);
    arguments.extend(["--state".to_owned(), path(&state)]);
    let start = || again::start(&arguments);
    for kill in 0..kills {
        let mut child = start();
        // Long enough to get somewhere, at any point of its work.
        let life = Duration::from_millis(30 + dice.next() % 220);
        let ended = tokio::time::timeout(life, child.wait()).await;
        assert!(
            !matches!(ended, Ok(Ok(status)) if !status.success()),
            "{ended:?}"
        );
        child.kill().await.unwrap();
        // Users delete in between, in any phase of a life.
        let n = kill * OBJECTS / kills;
        if dice.next().is_multiple_of(2) && file(&objects, n).exists() {
            write(&objects, n, &object(n, true));
        }
    }
    for n in 0..OBJECTS {
        if file(&objects, n).exists() {
            write(&objects, n, &object(n, true));
        }
    }
    let mut child = start();
    // What hangs is found, and a busy machine is not taken for it.
    let ended = tokio::time::timeout(Duration::from_secs(600), child.wait()).await;
    let left = std::fs::read_dir(&objects).unwrap().count();
    assert!(
        matches!(ended, Ok(Ok(status)) if status.success()),
        "{ended:?}, {left} objects left"
    );

    let journal = sim.journal();
    assert_eq!(sim.overlaps(), [], "CRASH_SEED={seed}: alive at once");
    let mut tokens = std::collections::BTreeSet::new();
    for run in &journal {
        assert!(
            run.stopped.is_some(),
            "CRASH_SEED={seed}: job {} was left behind",
            run.id
        );
        let token = run.extra_vars.get("provider_operation_token").unwrap();
        assert!(
            tokens.insert(token.to_string()),
            "CRASH_SEED={seed}: launched twice: {token}"
        );
    }
    let mut provisioned = 0;
    for n in 0..OBJECTS {
        let uid = format!("uid-{n}");
        let runs = journal
            .iter()
            .filter(|run| run.object().as_deref() == Some(&uid));
        let last = runs.clone().max_by_key(|run| run.accepted);
        let created = runs
            .clone()
            .any(|run| run.template.contains("create") && run.started.is_some());
        provisioned += u64::from(created);
        let deleted = last.is_some_and(|run| run.template.contains("delete") && run.succeeded);
        assert!(
            deleted || !created,
            "CRASH_SEED={seed}: vm-{n} was let go and not deprovisioned"
        );
    }
    say(&format!(
        "{} jobs, {provisioned} of {OBJECTS} objects were provisioned",
        journal.len()
    ));
    assert!(provisioned > 0);
}
