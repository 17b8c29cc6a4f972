//! Lives of objects in a whole world: the real watch, provisioner, engine, provider, monitor and push, in two
//! or three replicas, with an API server and a controller in the same process. No sockets, no real time. A world
//! has a thread of its own, and a seed that decides everything: what people do, what goes wrong and when, what
//! waits for how long, and in which order tasks run: controllers, passes and requests let others go first by
//! its dice, wherever they wait.
//!
//!     cargo test --release --test world -- --nocapture
//!     WORLD_SEED=7 cargo test --test world all_lives -- --nocapture   # one world again, and its timeline
//!     WORLD_TRACE=1 WORLD_SEED=7 …                                    # with every request
//!     WORLD_LIVES=100000 WORLD_FIRST=1 …                              # more of them, from that seed on
//!     WORLD_AGAIN=100 … a_seed                                        # so many worlds, each of them twice

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]

/// Much of what a world does is to allocate.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod alike;
mod api;
#[path = "../../crates/provider-kube/examples/cluster/behaves/mod.rs"]
mod behaves;
mod chronicle;
mod counters;
mod dice;
mod judge;
mod mishaps;
mod objects;
mod people;
mod replica;
mod report;
mod run;
mod schema;
mod script;
mod shrink;
mod told;
mod wire;

use std::collections::BTreeMap;
use std::sync::Mutex;

use chronicle::Chronicle;
use counters::Counters;
use provider_testkit::TimerClock;
use script::{Mischief, OBJECTS, Script};

/// Past the test harness, which keeps what passing tests print to itself.
fn say(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// What happened in a world, by kind; or what must not have, with its timeline.
type Outcome = Result<BTreeMap<&'static str, u64>, String>;

/// A world from its beginning to its end, on a thread of its own: what libraries draw for a thread is the seed's.
fn world(script: &Script, keeps_everything: bool) -> (Outcome, Chronicle) {
    std::thread::scope(|scope| {
        let world = scope.spawn(|| {
            seeded_chance::seed(script.seed);
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap();
            let counters = Counters::default();
            let life = async {
                let clock = TimerClock::new("2026-11-23T04:00:00Z".parse().unwrap());
                let chronicle = Chronicle::new(clock, keeps_everything);
                let outcome = run::world(script, clock, chronicle.clone(), &counters).await;
                (outcome, chronicle)
            };
            metrics::with_local_recorder(&counters, || runtime.block_on(life))
        });
        world.join().unwrap()
    })
}

/// In so many worlds at most a script that goes wrong is made smaller.
const MOST_RUNS: u32 = 300;

/// One world again: its timeline, and what it comes to.
fn again(seed: u64) {
    let script = Script::new(seed);
    // Each request as well, where somebody wants to read them.
    let traces = number("WORLD_TRACE").is_some();
    match world(&script, traces) {
        (Ok(counts), chronicle) => {
            let lines = if traces {
                chronicle.everything()
            } else {
                chronicle.told()
            };
            say(&lines.join("\n"));
            say(&format!("seed {seed}: {counts:?}"));
            say(&format!("digest {:016x}", chronicle.digest()));
        }
        (Err(violation), chronicle) => {
            if traces {
                say(&chronicle.everything().join("\n"));
            }
            panic!("{}", smaller(&script, &violation));
        }
    }
}

/// What is left of a world that goes wrong.
fn smaller(script: &Script, violation: &str) -> String {
    let most = number("WORLD_SHRINK").and_then(|most| most.try_into().ok());
    shrink::shrink(script, violation, most.unwrap_or(MOST_RUNS), |script| {
        world(script, false).0
    })
    .report()
}

#[derive(Default)]
struct Sum {
    counts: BTreeMap<&'static str, u64>,
    violations: Vec<(Script, String)>,
}

/// All these worlds, on all cores.
fn all(seeds: std::ops::RangeInclusive<u64>) -> Sum {
    let next = Mutex::new(seeds);
    let sum = Mutex::new(Sum::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        while sum.lock().unwrap().violations.len() < 5 {
            let Some(seed) = next.lock().unwrap().next() else {
                return;
            };
            let script = Script::new(seed);
            let outcome = world(&script, false).0;
            let mut sum = sum.lock().unwrap();
            match outcome {
                Ok(counts) => {
                    for (what, count) in counts {
                        *sum.counts.entry(what).or_default() += count;
                    }
                }
                Err(violation) => sum.violations.push((script, violation)),
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    sum.into_inner().unwrap()
}

#[test]
fn all_lives_end_well() {
    if let Some(seed) = number("WORLD_SEED") {
        again(seed);
        return;
    }
    let lives = number("WORLD_LIVES").unwrap_or(60);
    let first = number("WORLD_FIRST").unwrap_or(1);
    let worlds = lives.div_ceil(OBJECTS);
    let sum = all(first..=first + worlds - 1);
    for (script, violation) in sum.violations.iter().take(3) {
        say(&smaller(script, violation));
    }
    say(&format!("{:?}", sum.counts));
    let (faults, violations) = (sum.counts.get("faults"), sum.violations.len());
    let (lives, faults) = (worlds * OBJECTS, faults.copied().unwrap_or(0));
    say(&format!(
        "{lives} lives, {faults} faults, {violations} violations"
    ));
    assert!(sum.violations.is_empty(), "see above");
}

/// Where two worlds part, with what came before.
fn difference(one: &[String], other: &[String]) -> Option<String> {
    let same = one.iter().zip(other).take_while(|(a, b)| a == b).count();
    if same == one.len() && same == other.len() {
        return None;
    }
    let before = one[same.saturating_sub(3)..same].join("\n");
    let (a, b) = (one.get(same), other.get(same));
    Some(format!(
        "after {same} steps:\n{before}\n  once: {a:?}\n  then: {b:?}"
    ))
}

#[test]
fn a_seed_is_the_same_world_each_time() {
    let worlds = number("WORLD_AGAIN").unwrap_or(3);
    for seed in 1..=worlds {
        let script = Script::new(seed);
        let (once, then) = (world(&script, true).1, world(&script, true).1);
        if let Some(difference) = difference(&once.everything(), &then.everything()) {
            panic!("seed {seed} is two worlds, {difference}");
        }
        assert_eq!(once.digest(), then.digest(), "seed {seed}");
        if seed > 1 {
            assert_ne!(
                world(&Script::new(seed - 1), false).1.digest(),
                then.digest()
            );
        }
    }
}

#[test]
fn a_seed_is_the_same_world_in_another_process() {
    let here = world(&Script::new(2), false).1.digest();
    let program = std::env::current_exe().unwrap();
    let there = std::process::Command::new(program)
        .args(["all_lives_end_well", "--exact", "--nocapture"])
        .env("WORLD_SEED", "2")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&there.stderr);
    assert!(said.contains(&format!("digest {here:016x}")), "{said}");
}

/// A judge that finds wrong what is not, so that it is known what must be left.
fn planted(script: &Script) -> Outcome {
    let (outcome, chronicle) = world(script, false);
    let told = chronicle.told();
    let edited = told.iter().position(|line| line.ends_with(" edited m3"));
    let crashed = told.iter().rposition(|line| line.contains(" crashes "));
    match (edited, crashed) {
        (Some(edited), Some(crashed)) if edited < crashed => {
            let of_it = told.iter().filter(|line| line.contains("m3"));
            let lines: Vec<&str> = of_it.map(String::as_str).collect();
            Err(format!(
                "uid-m3 was edited before a crash\n{}",
                lines.join("\n")
            ))
        }
        _ => outcome,
    }
}

#[test]
fn a_world_that_goes_wrong_is_made_as_small_as_what_went_wrong() {
    let goes_wrong = |seed: &u64| planted(&Script::new(*seed)).is_err();
    let seed = (1..100).find(goes_wrong).unwrap();
    let script = Script::new(seed);
    let violation = planted(&script).unwrap_err();
    let shrunk = shrink::shrink(&script, &violation, 300, planted);
    let left = &shrunk.script;
    let names: Vec<&str> = left.plans.iter().map(|plan| &*plan.name).collect();
    assert_eq!(names, ["m3"]);
    assert_eq!(left.plans[0].deeds.len(), 3, "created, edited, deleted");
    assert_eq!(left.mischief.len(), 1, "a crash: {:?}", left.mischief);
    // As many processes as it takes to have the one that crashes.
    let crashed = match left.mischief[0].1 {
        Mischief::Crash(one) => one,
        other => panic!("{other:?} is left"),
    };
    assert_eq!(
        (left.replicas, left.weather.refusals, left.trouble.lost),
        (crashed + 1, 0, 0)
    );
    assert!(shrunk.runs < 300, "{} worlds", shrunk.runs);
    let report = shrunk.report();
    let lines = report.lines().count();
    assert!(
        report.contains(&format!("WORLD_SEED={seed}")) && lines < 40,
        "{report}"
    );
}
