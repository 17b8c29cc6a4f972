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

mod again;
#[path = "../examples/process_provider.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "a program of its own, with its own main"
)]
mod example;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use example::Flags;
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

#[derive(Debug)]
struct Process {
    pid: i32,
    group: i32,
}

/// The processes of this machine, zombies aside.
fn processes() -> impl Iterator<Item = Process> {
    let stats = std::fs::read_dir("/proc").unwrap().map(|entry| {
        let stat = entry.unwrap().path().join("stat");
        std::fs::read_to_string(stat).unwrap_or_default()
    });
    stats.filter_map(|stat| {
        let pid = stat.split(' ').next()?.parse().ok()?;
        // The name of the program is in brackets, and may hold anything.
        let mut rest = stat.rsplit(") ").next()?.split(' ');
        let alive = rest.next()? != "Z";
        let group = rest.nth(1)?.parse().ok()?;
        alive.then_some(Process { pid, group })
    })
}

/// The process groups of all jobs.
fn groups(state: &Path) -> BTreeSet<i32> {
    let jobs = std::fs::read_dir(state.join("jobs")).into_iter().flatten();
    let group = |job: PathBuf| std::fs::read_to_string(job.join("group")).ok();
    jobs.filter_map(|job| group(job.unwrap().path())?.trim().parse().ok())
        .collect()
}

/// Kills the shell of a job whose command lives on; false when no job is that far.
fn orphan(state: &Path) -> bool {
    let groups = groups(state);
    let all: Vec<Process> = processes().collect();
    let is_shell = |p: &&Process| groups.contains(&p.pid) && p.pid == p.group;
    let has_more = |shell: &Process| all.iter().filter(|p| p.group == shell.group).count() > 2;
    match all.iter().filter(is_shell).find(|shell| has_more(shell)) {
        Some(shell) => {
            let pid = rustix::process::Pid::from_raw(shell.pid).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).is_ok()
        }
        None => false,
    }
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

/// No test, but the controller, when this program was started as one.
#[tokio::test]
async fn the_controller() {
    if let Some(line) = again::command_line() {
        example::run(&Flags::parse_from(line)).await.unwrap();
    }
}

#[test]
fn the_provider_has_under_250_lines() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/processes");
    let files = std::fs::read_dir(directory).unwrap();
    let lines = files.map(|file| {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        text.lines().count()
    });
    let lines: usize = lines.sum();
    assert!(lines < 250, "{lines}");
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
    let mut arguments: Vec<String> = vec!["--json".to_owned()];
    for (flag, value) in [
        ("--create", job("create", "0.5")),
        ("--delete", job("delete", "0.2")),
        ("--objects", objects.display().to_string()),
        ("--state", path("state").display().to_string()),
    ] {
        arguments.extend([flag.to_owned(), value]);
    }
    let (mut caught, mut orphaned) = (0, 0);
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
        let mut child = again::start(&arguments);
        // At any moment; or at the worst one: a job was made, and is not on record yet.
        let life = Duration::from_millis(5 + dice.next() % 250);
        let before = jobs(&path("state"));
        let worst = dice.next().is_multiple_of(2);
        let moment = async {
            while !worst || jobs(&path("state")) == before {
                tokio::time::sleep(Duration::from_micros(200)).await;
            }
        };
        let _ = tokio::time::timeout(life, moment).await;
        child.start_kill().unwrap();
        let ended = child.wait().await.unwrap();
        // So that each kill counts: it was at work until then.
        assert_eq!(ended.signal(), Some(9), "PROCESS_SEED={seed}: {ended:?}");
        caught += u32::from(unrecorded(&path("state")));
        if dice.next().is_multiple_of(4) {
            orphaned += u32::from(orphan(&path("state")));
        }
    }
    for n in 0..OBJECTS {
        if file(&objects, n).exists() {
            write(&objects, n, true);
        }
    }
    arguments.push("--until-empty".to_owned());
    let mut child = again::start(&arguments);
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
        last.insert(
            line.object.to_owned(),
            (line.what.to_owned(), line.job_type.to_owned()),
        );
    }
    assert!(at_work.is_empty(), "PROCESS_SEED={seed}: left: {at_work:?}");
    let groups = groups(&path("state"));
    let left: Vec<_> = processes().filter(|p| groups.contains(&p.group)).collect();
    assert!(left.is_empty(), "PROCESS_SEED={seed}: left: {left:?}");
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
        "{} processes for {} objects, {stopped} of them stopped by a cancel; of {kills} kills \
         {caught} between a launch and its record; {orphaned} jobs lost their shell and worked on",
        tokens.len(),
        last.len()
    ));
    assert!(
        caught > 0,
        "PROCESS_SEED={seed}: no kill met the worst moment"
    );
    assert!(orphaned > 0, "PROCESS_SEED={seed}: no job lost its shell");
    // An object whose first launch never came about is let go without a process.
    assert!(last.len() > usize::try_from(OBJECTS / 2).unwrap());
}
