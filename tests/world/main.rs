//! Lives of objects in a whole world: the real watch, provisioner, engine, provider, monitor and push, in two
//! or three replicas, with an API server and a controller in the same process. No sockets, no real time. One seed
//! decides everything: what people do, what goes wrong and when, what waits for how long, and which of the tasks
//! that could run does.
//!
//!     cargo test --release --test world -- --nocapture
//!     WORLD_SEED=7 cargo test --test world -- --nocapture      # one world again, and its timeline
//!     WORLD_LIVES=100000 …                                     # more of them

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]

mod alike;
mod api;
#[path = "../../crates/provider-kube/examples/cluster/behaves/mod.rs"]
mod behaves;
mod chronicle;
mod dice;
mod judge;
mod objects;
mod people;
mod replica;
mod report;
mod run;
mod schema;
mod script;
mod wire;

use std::collections::BTreeMap;
use std::sync::Mutex;

use chronicle::Chronicle;
use provider_testkit::TimerClock;
use script::{OBJECTS, Script};

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
            runtime.block_on(async {
                let clock = TimerClock::new("2026-11-23T04:00:00Z".parse().unwrap());
                let chronicle = Chronicle::new(clock, keeps_everything);
                let outcome = run::world(script, clock, chronicle.clone()).await;
                (outcome, chronicle)
            })
        });
        world.join().unwrap()
    })
}

#[test]
fn all_lives_end_well() {
    if let Some(seed) = number("WORLD_SEED") {
        match world(&Script::new(seed), false) {
            (Ok(counts), chronicle) => {
                say(&chronicle.told().join("\n"));
                say(&format!("seed {seed}: {counts:?}"));
            }
            (Err(violation), _) => panic!("WORLD_SEED={seed}\n{violation}"),
        }
        return;
    }
    let lives = number("WORLD_LIVES").unwrap_or(60);
    let worlds = lives.div_ceil(OBJECTS);
    let next = Mutex::new(1..=worlds);
    let total = Mutex::new(BTreeMap::<&str, u64>::new());
    let violations = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let Some(seed) = next.lock().unwrap().next() else {
                        return;
                    };
                    match world(&Script::new(seed), false).0 {
                        Ok(counts) => {
                            let mut total = total.lock().unwrap();
                            for (what, count) in counts {
                                *total.entry(what).or_default() += count;
                            }
                        }
                        Err(violation) => {
                            let mut violations = violations.lock().unwrap();
                            violations.push((seed, violation));
                            if violations.len() >= 5 {
                                return;
                            }
                        }
                    }
                }
            });
        }
    });
    let violations = violations.into_inner().unwrap();
    for (seed, violation) in violations.iter().take(3) {
        say(&format!("WORLD_SEED={seed}\n{violation}\n"));
    }
    let total = total.into_inner().unwrap();
    say(&format!("{total:?}"));
    say(&format!(
        "{} lives, {} faults, {} violations",
        worlds * OBJECTS,
        total.get("faults").copied().unwrap_or(0),
        violations.len()
    ));
    assert!(violations.is_empty(), "see above");
}

/// Where two worlds part, with what came before.
fn difference(one: &[String], other: &[String]) -> Option<String> {
    let same = one.iter().zip(other).take_while(|(a, b)| a == b).count();
    if same == one.len() && same == other.len() {
        return None;
    }
    let before = one[same.saturating_sub(3)..same].join("\n");
    let (a, b) = (one.get(same), other.get(same));
    Some(format!("after {same} steps:\n{before}\n  once: {a:?}\n  then: {b:?}"))
}

#[test]
fn a_seed_is_the_same_world_each_time() {
    let times = number("WORLD_AGAIN").unwrap_or(1);
    for seed in 1..=times * 3 {
        let script = Script::new(seed);
        let (once, then) = (world(&script, true), world(&script, true));
        let (once, then) = (once.1, then.1);
        if let Some(difference) = difference(&once.everything(), &then.everything()) {
            panic!("seed {seed} is two worlds, {difference}");
        }
        assert_eq!(once.digest(), then.digest(), "seed {seed}");
    }
}
