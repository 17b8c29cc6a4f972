//! The protocol, model-checked: the real engine's machine, which decides, writes, asks and learns, in a world
//! of a store with stale reads and lost answers, of two replicas that may crash between any two steps, and of
//! a backend that loses answers, commits late, is away, forgets jobs, and says "canceled" while a job works on.
//! Only what carries the machine's effects out is the model's own.
//!
//! Every interleaving up to the bounds of each configuration is visited. Broken variants of the rules
//! are run too, and each must be caught: a check that cannot fail proves nothing. `walks.rs` goes further by
//! chance, with everything that can happen, and counts which decisions were made.
//!
//! The bounds are small, so that this is over in seconds; with `PROVIDER_FULL` they are those that CI visits.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test that panics has failed"
)]

mod backend;
mod bounds;
mod broken;
mod judge;
mod moves;
mod protocol;
mod starts;
mod state;
mod walks;
mod wishes;

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use bounds::{Bounds, Mutant};
use protocol::Protocol;
use provider_core::lifecycle::Supersede;
use provider_core::{JobRecord, JobState, JobType};
use serde_json::json;
use state::{Move, Records, Replica, World};
use stateright::{Checker, Model, Property};

impl Model for Protocol {
    type State = World;
    type Action = Move;

    fn init_states(&self) -> Vec<World> {
        self.starts()
    }

    fn actions(&self, world: &World, moves: &mut Vec<Move>) {
        self.moves(world, moves);
    }

    fn next_state(&self, world: &World, action: Move) -> Option<World> {
        Some(self.step(world, &action))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("I1 to I6", |_, world: &World| world.wrong.is_none()),
            Property::always(
                "once faults stop, it ends",
                |model: &Self, world: &World| {
                    // Between two passes is enough: every pass comes to its end.
                    let between = world.replicas.iter().all(Replica::is_idle);
                    world.wrong.is_some()
                        || world.released
                        || !between
                        || (model.ends(world, false)
                            && (!model.bounds.silence || model.ends(world, true)))
                },
            ),
            Property::sometimes("an object is let go", |_, world: &World| world.released),
        ]
    }
}

/// Past the test harness, which keeps what passing tests print to itself.
fn say(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// The bounds of an ordinary run, or those of a full one.
fn sized<T>(small: T, full: T) -> T {
    match std::env::var_os("PROVIDER_FULL") {
        Some(_) => full,
        None => small,
    }
}

fn check(name: &str, bounds: Bounds) {
    let depth = bounds.depth;
    let steps = depth.map_or_else(|| "to the end".to_owned(), |depth| format!("{depth} steps"));
    let name = format!("{name}, {} ticks, {steps}", bounds.ticks);
    let checker = Protocol::new(bounds).checker().threads(2);
    let checker = match depth {
        Some(depth) => checker.target_max_depth(depth),
        None => checker,
    };
    let checker = checker.spawn_bfs().join();
    say(&format!(
        "{name}: {} states, {} distinct, depth {}",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth()
    ));
    for property in ["I1 to I6", "once faults stop, it ends"] {
        if let Some(path) = checker.discovery(property) {
            let wrong = path.last_state().wrong;
            panic!("{name}: {property}: {wrong:?}\n{:#?}", path.into_actions());
        }
    }
    assert!(
        depth.is_some() || checker.discovery("an object is let go").is_some(),
        "{name} reached no end"
    );
}

fn caught(bounds: Bounds) {
    let mutant = bounds.mutant.unwrap();
    let depth = bounds.depth;
    let checker = Protocol::new(bounds).checker().threads(2);
    let checker = match depth {
        Some(depth) => checker.target_max_depth(depth),
        None => checker,
    };
    let checker = checker
        .finish_when(stateright::HasDiscoveries::AnyOf(
            ["I1 to I6", "once faults stop, it ends"].into(),
        ))
        .spawn_bfs()
        .join();
    let found = ["I1 to I6", "once faults stop, it ends"]
        .iter()
        .find_map(|name| Some((name, checker.discovery(name)?)));
    let Some((property, path)) = found else {
        panic!(
            "{mutant:?} was not caught in {} states",
            checker.unique_state_count()
        );
    };
    let wrong = path.last_state().wrong;
    say(&format!(
        "{mutant:?}: caught by {property} ({wrong:?}) after {} steps, {} states",
        path.into_actions().len(),
        checker.unique_state_count()
    ));
}

#[test]
fn two_replicas() {
    let bounds = Bounds {
        ticks: 2,
        faults: 0,
        crashes: 0,
        depth: Some(sized(13, 18)),
        from_the_middle: true,
        ..Bounds::small()
    };
    check("two replicas", bounds);
}

#[test]
fn two_replicas_with_a_fault_and_a_crash() {
    let bounds = Bounds {
        ticks: 3,
        depth: Some(sized(10, 13)),
        from_the_middle: true,
        ..Bounds::small()
    };
    check("two replicas, a fault, a crash", bounds);
}

#[test]
fn one_replica_with_a_fault_and_a_crash() {
    let bounds = Bounds {
        replicas: 1,
        ticks: sized(2, 5),
        ..Bounds::small()
    };
    check("one replica, a fault, a crash", bounds);
}

#[test]
fn one_replica_with_two_faults() {
    let bounds = Bounds {
        replicas: 1,
        ticks: sized(1, 4),
        faults: 2,
        crashes: 0,
        ..Bounds::small()
    };
    check("one replica, two faults", bounds);
}

#[test]
fn edits_and_failures() {
    for supersede in [Supersede::Wait, Supersede::Cancel] {
        let bounds = Bounds {
            replicas: 1,
            ticks: sized(1, 3),
            faults: 0,
            crashes: 0,
            edits: 1,
            failures: 1,
            supersede,
            ..Bounds::small()
        };
        check("one replica, an edit, a failure", bounds);
    }
}

#[test]
fn wanted_again_after_a_deletion() {
    let bounds = Bounds {
        replicas: 1,
        ticks: sized(1, 3),
        faults: 0,
        again: true,
        ..Bounds::small()
    };
    check("one replica, wanted again, a crash", bounds);
}

#[test]
fn clocks_that_differ_by_minutes() {
    let bounds = Bounds {
        ticks: 3,
        faults: 0,
        crashes: 1,
        skew: 6,
        depth: Some(sized(11, 14)),
        from_the_middle: true,
        ..Bounds::small()
    };
    check("two replicas, a clock three minutes ahead", bounds);
}

fn a_stall() -> Bounds {
    Bounds {
        ticks: 5,
        crashes: 1,
        depth: Some(sized(12, 13)),
        from_a_stall: true,
        ..Bounds::small()
    }
}

#[test]
fn a_refusal_that_comes_after_the_next_send() {
    check("two replicas, an old refusal, a crash", a_stall());
}

fn silence() -> Bounds {
    Bounds {
        replicas: 1,
        ticks: 6,
        faults: 1,
        depth: Some(12),
        silence: true,
        ..Bounds::small()
    }
}

#[test]
fn a_backend_that_is_away_or_does_not_know() {
    check("one replica, silence, a fault, a crash", silence());
}

fn relaunched() -> Bounds {
    Bounds {
        replicas: 1,
        ticks: sized(1, 2),
        faults: 0,
        crashes: 0,
        failures: 1,
        relaunches: 1,
        ..Bounds::small()
    }
}

#[test]
fn a_person_who_relaunches_a_job() {
    check("one replica, a relaunch, a failure", relaunched());
    let two = Bounds {
        replicas: 2,
        ticks: 2,
        failures: 0,
        depth: Some(sized(11, 12)),
        from_the_middle: true,
        ..relaunched()
    };
    check("two replicas, a relaunch", two);
}

fn strays() -> Bounds {
    Bounds {
        replicas: 1,
        ticks: sized(1, 2),
        strays: true,
        ..Bounds::small()
    }
}

#[test]
fn a_job_that_was_started_without_what_it_was_to_be_given() {
    check("one replica, a stray job, a crash", strays());
    let two = Bounds {
        replicas: 2,
        ticks: 2,
        crashes: 0,
        depth: Some(sized(11, 12)),
        ..strays()
    };
    check("two replicas, a stray job", two);
}

#[test]
fn every_broken_rule_is_caught() {
    let one = || Bounds {
        replicas: 1,
        ..Bounds::small()
    };
    caught(one().broken(Mutant::IntentAfterLaunch));
    caught(one().broken(Mutant::LostIsNotSent));
    caught(one().broken(Mutant::NoSettleBeforeDeprovision));
    // Each within the bounds that it takes: what is wrong there is wrong in all that are wider.
    let few = || Bounds {
        ticks: 2,
        crashes: 0,
        ..one()
    };
    caught(few().broken(Mutant::CanceledIsBelieved));
    caught(
        Bounds {
            again: true,
            faults: 0,
            ..few()
        }
        .broken(Mutant::ReleaseOnOldSuccess),
    );
    caught(
        Bounds {
            replicas: 2,
            again: true,
            ..few()
        }
        .broken(Mutant::ReleaseOnStaleRead),
    );
    caught(
        Bounds {
            replicas: 2,
            skew: 6,
            failures: 1,
            faults: 0,
            ..few()
        }
        .broken(Mutant::OrderByTimestamp),
    );
    caught(Bounds::small().broken(Mutant::LastWriterWins));
    caught(
        Bounds {
            crashes: 0,
            ..one()
        }
        .broken(Mutant::AbsentAtOnce),
    );
    caught(
        Bounds {
            ticks: 6,
            crashes: 0,
            ..one()
        }
        .broken(Mutant::OldAbsence),
    );
    caught(
        Bounds {
            replicas: 2,
            ticks: 3,
            faults: 0,
            ..few()
        }
        .broken(Mutant::NoLease),
    );
    caught(Bounds { edits: 1, ..few() }.broken(Mutant::AnySuccessIsApplied));
    caught(one().broken(Mutant::FailureForgetsTheJob));
    caught(a_stall().broken(Mutant::OldRefusalCounts));
    caught(relaunched().broken(Mutant::NobodyLooks));
    caught(strays().broken(Mutant::AdoptedUnchecked));
}

#[test]
fn every_broken_rule_about_silence_is_caught() {
    for mutant in [
        Mutant::PlanIsALook,
        Mutant::SilenceWeakens,
        Mutant::CancelCountsUnheard,
        Mutant::NoEndAfterOneInVain,
    ] {
        caught(silence().broken(mutant));
    }
    let twice = Bounds {
        faults: 2,
        crashes: 0,
        depth: Some(15),
        ..silence()
    };
    caught(twice.broken(Mutant::ErrorIsAnAnswer));
}

/// The model's own assumption: JSON and hashing see the same records as different.
#[test]
fn records_that_differ_hash_differently() {
    let mut one = JobRecord::new(1, JobType::Provision);
    let hash = |record: &JobRecord| {
        let mut hasher = std::hash::DefaultHasher::new();
        Records(Arc::new(vec![record.clone()])).hash(&mut hasher);
        hasher.finish()
    };
    let before = hash(&one);
    one.state = JobState::Running;
    assert_ne!(before, hash(&one));
    assert_eq!(
        serde_json::to_value(&one).unwrap().get("state"),
        Some(&json!("Running"))
    );
}
