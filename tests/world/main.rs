//! Lives of objects in a whole world: the real watch, provisioner, engine, provider, monitor and push, in two
//! or three replicas, with an API server and a controller in the same process. No sockets, no threads, no
//! real time. A seed decides what people do and what goes wrong; what libraries draw by themselves (the order of
//! `select!` and of hash maps, the back-off of a watch) is not its own, so that a world is nearly, and not to the
//! letter, the same each time.
//!
//!     cargo test --release --test world -- --nocapture
//!     WORLD_SEED=7 cargo test --test world -- --nocapture      # one world again
//!     WORLD_LIVES=100000 …                                     # more of them

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]

mod api;
mod dice;
mod judge;
mod people;
mod replica;
mod run;

use std::collections::BTreeMap;
use std::sync::Mutex;

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

fn world(seed: u64) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(run::world(seed))
}

#[test]
fn all_lives_end_well() {
    if let Some(seed) = number("WORLD_SEED") {
        match world(seed) {
            Ok(counts) => say(&format!("seed {seed}: {counts:?}")),
            Err(violation) => panic!("WORLD_SEED={seed}\n{violation}"),
        }
        return;
    }
    let lives = number("WORLD_LIVES").unwrap_or(60);
    let worlds = lives.div_ceil(run::OBJECTS);
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
                    match world(seed) {
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
    say(&format!("{:?}", total.into_inner().unwrap()));
    let lives = worlds * run::OBJECTS;
    say(&format!("{lives} lives, {} violations", violations.len()));
    assert!(violations.is_empty(), "see above");
}
