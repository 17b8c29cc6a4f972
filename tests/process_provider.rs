//! The example of a third backend under fire: its controller is killed by SIGKILL fifty times at random
//! moments while it drives objects through create and delete by real processes. What the processes
//! themselves wrote down decides: none ran twice, never two of an object at once, none is left.
//!
//! `PROCESS_KILLS` changes the number of kills, `PROCESS_SEED` the moments.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that panics has failed"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use provider_core::lifecycle::{Entropy, SeededEntropy};
use serde_json::json;

const OBJECTS: u64 = 12;

/// What every job does: its lines are written at once, and appended, so they are whole and in order.
const JOB: &str = r#"
say() { echo "$1 $TYPE $JOB_NAME $JOB_TOKEN $$" >>"$JOURNAL"; }
trap 'say stopped; exit 143' TERM
say started
sleep "$TIME" & wait $!
say ended
"#;

/// Past the test harness, which keeps what passing tests print to itself.
fn say(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn number(name: &str, otherwise: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn controller() -> PathBuf {
    let mut directory: PathBuf = std::env::current_exe().unwrap();
    while !directory.join("examples").is_dir() {
        assert!(
            directory.pop(),
            "build the examples with `cargo build --examples`"
        );
    }
    directory.join("examples/process_provider")
}

fn file(directory: &Path, n: u64) -> PathBuf {
    directory.join(format!("vm-{n}.json"))
}

/// Written beside and renamed, so that the controller never reads a half.
fn write(directory: &Path, n: u64, deleted: bool) {
    let mut metadata = json!({"name": format!("vm-{n}"), "uid": format!("uid-{n}")});
    if let (true, Some(metadata)) = (deleted, metadata.as_object_mut()) {
        let at = json!("2026-11-23T04:00:00Z");
        metadata.insert("deletionTimestamp".to_owned(), at);
    }
    let object = json!({"kind": "ComputeInstance", "metadata": metadata, "spec": {"cores": 2}});
    let new = directory.with_extension("new");
    std::fs::write(&new, object.to_string()).unwrap();
    std::fs::rename(new, file(directory, n)).unwrap();
}

/// One line of a job's own words.
#[derive(Debug, PartialEq)]
struct Line<'a> {
    what: &'a str,
    job_type: &'a str,
    object: &'a str,
    token: &'a str,
    pid: &'a str,
}

fn line(text: &str) -> Line<'_> {
    let words: Vec<&str> = text.split(' ').collect();
    let [what, job_type, object, token, pid] = words.try_into().unwrap();
    Line {
        what,
        job_type,
        object,
        token,
        pid,
    }
}

fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(") ").next();
    state.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

/// How many jobs were ever made.
fn jobs(state: &Path) -> usize {
    std::fs::read_dir(state.join("jobs")).map_or(0, Iterator::count)
}

/// Whether there is a job that no record names: its controller was killed in between.
fn unrecorded(state: &Path) -> bool {
    let records: String = std::fs::read_dir(state)
        .into_iter()
        .flatten()
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap_or_default())
        .collect();
    let made = std::fs::read_dir(state.join("jobs")).into_iter().flatten();
    let mut tokens = made.map(|job| job.unwrap().file_name().into_string().unwrap());
    tokens.any(|token| !records.contains(&format!("\"jobID\": \"{token}\"")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_kills_run_no_process_twice_and_leave_none() {
    let (kills, seed) = (number("PROCESS_KILLS", 50), number("PROCESS_SEED", 1));
    say(&format!("{kills} kills, seed {seed}"));
    let dice = SeededEntropy::new(seed);
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let (objects, journal) = (path("objects"), path("journal"));
    std::fs::create_dir(&objects).unwrap();
    let job = |job_type: &str, time: &str| {
        let journal = journal.display();
        format!("JOURNAL='{journal}' TYPE={job_type} TIME={time}\n{JOB}")
    };
    let start = || {
        tokio::process::Command::new(controller())
            .args(["--create", &job("create", "0.5")])
            .args(["--delete", &job("delete", "0.2")])
            .arg("--objects")
            .arg(&objects)
            .arg("--state")
            .arg(path("state"))
            .args(["--until-empty", "--json"])
            .stdout(std::process::Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    };
    let mut caught = 0;
    for kill in 0..kills {
        // Users make objects, and delete them, in between.
        let n = kill * OBJECTS / kills;
        let made = path(&format!("made-{n}"));
        if !made.exists() {
            std::fs::write(made, "").unwrap();
            write(&objects, n, false);
        }
        let older = dice.next() % (n + 1);
        if dice.next().is_multiple_of(4) && file(&objects, older).exists() {
            write(&objects, older, true);
        }
        let mut child = start();
        // At any moment; or at the worst one: a job was made, and is not on record yet.
        let life = Duration::from_millis(5 + dice.next() % 250);
        let before = jobs(&path("state"));
        let worst = dice.next().is_multiple_of(2);
        let ended = tokio::time::timeout(life, async {
            while !worst || jobs(&path("state")) == before {
                tokio::select! {
                    ended = child.wait() => return Some(ended),
                    () = tokio::time::sleep(Duration::from_micros(200)) => {}
                }
            }
            None
        });
        let ended = ended.await.ok().flatten();
        assert!(
            !matches!(&ended, Some(Ok(status)) if !status.success()),
            "{ended:?}"
        );
        child.kill().await.unwrap();
        caught += u32::from(unrecorded(&path("state")));
    }
    for n in 0..OBJECTS {
        if file(&objects, n).exists() {
            write(&objects, n, true);
        }
    }
    let mut child = start();
    let ended = tokio::time::timeout(Duration::from_secs(120), child.wait()).await;
    let left = std::fs::read_dir(&objects).unwrap().count();
    assert!(
        matches!(ended, Ok(Ok(status)) if status.success()),
        "{ended:?}, {left} objects left"
    );

    let text = std::fs::read_to_string(&journal).unwrap();
    let mut tokens = BTreeSet::new();
    let mut at_work = BTreeMap::new();
    let mut last = BTreeMap::new();
    for line in text.lines().map(line) {
        if line.what == "started" {
            assert!(
                tokens.insert(line.token.to_owned()),
                "PROCESS_SEED={seed}: ran twice: {line:?}"
            );
            let other = at_work.insert(line.object.to_owned(), line.token.to_owned());
            assert_eq!(other, None, "PROCESS_SEED={seed}: beside another: {line:?}");
        } else {
            let own = at_work.remove(line.object);
            assert_eq!(own.as_deref(), Some(line.token), "{line:?}");
        }
        assert!(!is_alive(line.pid), "PROCESS_SEED={seed}: left: {line:?}");
        last.insert(
            line.object.to_owned(),
            (line.what.to_owned(), line.job_type.to_owned()),
        );
    }
    assert!(at_work.is_empty(), "PROCESS_SEED={seed}: left: {at_work:?}");
    let deleted = ("ended".to_owned(), "delete".to_owned());
    for (object, end) in &last {
        assert_eq!(
            *end, deleted,
            "PROCESS_SEED={seed}: the last word of {object}"
        );
    }
    let stopped = text
        .lines()
        .filter(|text| line(text).what == "stopped")
        .count();
    say(&format!(
        "{} processes for {} objects, {stopped} of them stopped by a cancel; {caught} kills between a \
         launch and its record",
        tokens.len(),
        last.len()
    ));
    assert!(
        caught > 0,
        "PROCESS_SEED={seed}: no kill met the worst moment"
    );
    // An object whose first launch never came about is let go without a process.
    assert!(last.len() > usize::try_from(OBJECTS / 2).unwrap());
}
