//! Walks by chance through everything that can happen: every policy, people who retry, pause, unmanage and
//! switch providers, jobs without a way to cancel or find them, lost writes, hours of real moments. Counts
//! which decision was made by which rule, so that a rule that nothing walks is noticed.
//!
//!     cargo test -p provider-core --test model walks -- --nocapture
//!     WALK_SEED=7 cargo test -p provider-core --test model walks -- --nocapture    # one of them, step by step

use std::collections::BTreeMap;

use jiff::SignedDuration;
use provider_core::lifecycle::{
    Ambiguity, Effect, End, Entropy, IncomparableVersion, Method, NeverProvisioned, Policy,
    PolicyConfig, Purge, Purpose, RunningProvision, SeededEntropy, Stage, Supersede,
};
use provider_core::{Capabilities, OnAmbiguity};

use crate::bounds::Bounds;
use crate::protocol::{Both, LATE_TICKS, Protocol, TICK};
use crate::state::{Move, World};
use crate::{say, sized};

/// How many steps a walk takes before everything is left to come to its end.
const STEPS: u64 = 160;

struct Dice(SeededEntropy);

impl Dice {
    fn below(&self, n: u64) -> u64 {
        self.0.next() % n
    }

    fn percent(&self, n: u64) -> bool {
        self.below(100) < n
    }

    fn pick<T: Copy>(&self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }
}

fn policy(dice: &Dice) -> Policy {
    let ticks = |n: u32| SignedDuration::try_from(TICK * n).unwrap();
    let mut config = PolicyConfig::default();
    config.poll_interval = Some(ticks(1));
    config.cancel_poll_interval = ticks(1);
    config.cancel_retry = ticks(1);
    config.jitter = 0.0;
    config.supersede = dice.pick(&[Supersede::Wait, Supersede::Cancel]);
    config.history_length = dice.pick(&[1, 2, 5]);
    config.backoff.base = ticks(1);
    config.backoff.cap = ticks(2);
    // A launch turns up before anybody may take it for lost.
    config.deadlines.unknown = ticks(u32::from(LATE_TICKS) + 2);
    config.deadlines.queued = dice.pick(&[None, Some(ticks(2))]);
    config.deadlines.running = dice.pick(&[None, Some(ticks(3))]);
    config.deadlines.cancelling = ticks(2);
    config.purge = dice.pick(&[Purge::Rerun, Purge::AssumeSucceeded, Purge::Hold]);
    config.ambiguity = dice.pick(&[None, Some(Ambiguity::Hold)]);
    config.incomparable_version =
        dice.pick(&[IncomparableVersion::Rerun, IncomparableVersion::Trust]);
    config.max_failures = dice.pick(&[None, Some(1), Some(2)]);
    config.deletion.running_provision =
        dice.pick(&[RunningProvision::Cancel, RunningProvision::Wait]);
    config.deletion.never_provisioned =
        dice.pick(&[NeverProvisioned::Release, NeverProvisioned::Deprovision]);
    config.deletion.escalate_after = ticks(4);
    config.deletion.abandon_after = dice.percent(10).then(|| ticks(8));
    Policy::new(config).unwrap()
}

fn capabilities(dice: &Dice) -> Capabilities {
    let mut capabilities = Capabilities::none();
    capabilities.cancel = dice.percent(80);
    capabilities.find_launched = dice.percent(75);
    capabilities.find_relaunched = true;
    capabilities.visibility_window = TICK * u32::from(LATE_TICKS);
    capabilities.poll_interval = TICK;
    capabilities.block_deletion_on_failure = dice.percent(60);
    if dice.percent(50) {
        capabilities.on_ambiguity = OnAmbiguity::AssumeSent { kind: "k".into() };
    }
    capabilities
}

fn protocol(dice: &Dice) -> Protocol {
    let bounds = Bounds {
        replicas: dice.pick(&[1, 2]),
        ticks: 60,
        faults: dice.pick(&[0, 3, 8]),
        crashes: dice.pick(&[0, 2]),
        edits: dice.pick(&[0, 1, 4]),
        failures: dice.pick(&[0, 1, 4]),
        skew: dice.pick(&[0, 0, 6]),
        again: dice.percent(20),
        relaunches: dice.pick(&[0, 1, 2]),
        strays: true,
        lost_writes: true,
        people: dice.pick(&[0, 2, 6]),
        everything: true,
        ..Bounds::small()
    };
    Protocol {
        bounds,
        policy: policy(dice),
        backends: Both {
            capabilities: capabilities(dice),
            has_other: dice.percent(80),
        },
    }
}

/// How often each rule led to each action, and each reason went on record.
#[derive(Default)]
struct Walked {
    decisions: BTreeMap<(String, &'static str), u64>,
    reasons: BTreeMap<String, u64>,
}

/// The name of a rule, without what it rests on.
fn name(debug: &impl std::fmt::Debug) -> String {
    let text = format!("{debug:?}");
    text.split('(').next().unwrap_or_default().to_owned()
}

impl Walked {
    fn count(&mut self, world: &World, n: usize, effect: &Effect) {
        let (why, action) = match effect {
            Effect::Rest(End::Rest(rest, why)) => (*why, rest.standing.as_str()),
            Effect::Ask(question) => {
                let asked = world.replicas[n].running.as_ref();
                let Some(Stage::Asking(asked)) = asked.map(|running| &running.machine.stage) else {
                    return;
                };
                let call = match question.method {
                    Method::Trigger(..) => "launch",
                    Method::Status(_) => "status",
                    Method::Cancel(_) => "cancel",
                    Method::Find(_) => "find",
                    _ => "find_relaunched",
                };
                (asked.why, call)
            }
            Effect::Swap { .. } => {
                let running = world.replicas[n].running.as_ref();
                match running.map(|running| &running.machine.stage) {
                    Some(Stage::Writing(Purpose::Decision(right, why), _)) => {
                        let action = if right.is_some() { "fence" } else { "write" };
                        (*why, action)
                    }
                    _ => return,
                }
            }
            _ => return,
        };
        *self.decisions.entry((name(&why), action)).or_default() += 1;
    }

    fn add(&mut self, other: Self) {
        for (row, n) in other.decisions {
            *self.decisions.entry(row).or_default() += n;
        }
        for (row, n) in other.reasons {
            *self.reasons.entry(row).or_default() += n;
        }
    }
}

/// One walk, or what was wrong with it and the moves that led there.
fn walk(seed: u64, walked: &mut Walked) -> Result<(), String> {
    let dice = Dice(SeededEntropy::new(seed));
    let protocol = protocol(&dice);
    let mut world = protocol.fresh();
    let mut path: Vec<Move> = Vec::new();
    let mut moves = Vec::new();
    for _ in 0..STEPS {
        moves.clear();
        protocol.moves(&world, &mut moves);
        if moves.is_empty() {
            break;
        }
        // Passes go on for the most part; time passes, and what others do comes in between.
        let passes = moves
            .iter()
            .filter(|next| matches!(next, Move::Act { .. } | Move::Load { .. }));
        let passes: Vec<Move> = passes.cloned().collect();
        let next = match dice.below(10) {
            0..6 if !passes.is_empty() => passes[dice.below(passes.len() as u64) as usize].clone(),
            6..8 if moves.contains(&Move::Tick) => Move::Tick,
            _ => moves[dice.below(moves.len() as u64) as usize].clone(),
        };
        path.push(next.clone());
        if let Move::Act { replica, .. } = next
            && let Some(running) = &world.replicas[replica].running
        {
            let mut told = running.clone();
            let effect = protocol.feed(&world, &mut told, protocol.clock(&world, replica));
            let mut shown = world.clone();
            shown.replicas[replica].running = Some(told);
            walked.count(&shown, replica, &effect);
        }
        world = protocol.step(&world, &next);
        for record in world.records.0.iter() {
            if let Some(reason) = &record.reason {
                *walked.reasons.entry(name(reason)).or_default() += 1;
            }
        }
        if let Some(wrong) = world.wrong {
            return Err(format!("{wrong}\n{path:#?}\n{world:#?}"));
        }
    }
    if world.released {
        return Ok(());
    }
    protocol.end(&world, false).map_err(|last| {
        let policy = protocol.policy.config();
        format!("it does not end\n{path:#?}\n{world:#?}\nand at last {last:#?}\n{policy:#?}")
    })
}

#[test]
fn walks_through_everything_end_well() {
    let seed = std::env::var("WALK_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    if let Some(seed) = seed {
        let ended = walk(seed, &mut Walked::default());
        say(&format!("{ended:?}"));
        assert!(ended.is_ok(), "see above");
        return;
    }
    let walks = sized(5_000, 100_000);
    let half = |odd: u64| {
        let mut walked = Walked::default();
        for seed in (0..walks).filter(|seed| seed % 2 == odd) {
            if let Err(wrong) = walk(seed, &mut walked) {
                panic!("WALK_SEED={seed}: {wrong}");
            }
        }
        walked
    };
    let mut walked = Walked::default();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| half(1));
        walked.add(half(0));
        walked.add(other.join().unwrap());
    });
    for ((why, action), n) in &walked.decisions {
        say(&format!("{why:28} {action:16} {n:9}"));
    }
    for (reason, n) in &walked.reasons {
        say(&format!("{reason:45} {n:9}"));
    }
}
