//! Walks by chance through everything that can happen: every policy, people who retry, pause, unmanage and
//! switch providers, jobs without a way to cancel or find them, lost writes, hours of real moments. Counts
//! which decision was made by which rule, so that a rule that nothing walks is noticed.
//!
//!     cargo test -p provider-core --test model walks -- --nocapture
//!     WALK_SEED=7 cargo test -p provider-core --test model walks -- --nocapture    # one of them, step by step

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::SignedDuration;
use provider_core::engine::{Effect, End, Purpose, Stage};
use provider_core::lifecycle::{
    Ambiguity, Entropy, IncomparableVersion, NeverProvisioned, Policy, PolicyConfig, Purge,
    RunningProvision, SeededEntropy, Supersede,
};
use provider_core::{Capabilities, ConfigVersion, JobRecord, JobState, JobType, OnAmbiguity};

use crate::bounds::Bounds;
use crate::protocol::{Both, LATE_TICKS, Protocol, TICK};
use crate::starts::left_by_a_newer_version;
use crate::state::{Job, Move, Records, World};
use crate::{say, sized};

/// How many steps a walk takes before everything is left to come to its end.
const STEPS: u64 = 160;

/// Every decision that there is: a rule, and what follows from it. A new one is added here when a walk has made
/// it; one that no walk makes any more is a rule that nothing needs, or that the walks have lost.
const ROWS: &[(&str, &str)] = &[
    ("AbandonDeadline", "Released"),
    ("Absent", "Absent"),
    ("Absent", "Released"),
    ("ActionHeld", "Applied"),
    ("ActionRequested", "fence"),
    ("ActionRequested", "find_relaunched"),
    ("AppliedBy", "Applied"),
    ("AssumedSent", "write"),
    ("BackoffLasts", "BackingOff"),
    ("BackoffLasts", "find_relaunched"),
    ("BackoffOver", "fence"),
    ("BackoffOver", "find_relaunched"),
    ("CanceledByOthers", "Held"),
    ("CanceledByOthers", "find_relaunched"),
    ("ConfirmBeforeRelease", "write"),
    ("DeprovisionFailureIgnored", "Absent"),
    ("DeprovisionFailureIgnored", "Released"),
    ("DeprovisionFailureIgnored", "find_relaunched"),
    ("DeprovisionSucceeded", "Absent"),
    ("DeprovisionSucceeded", "Released"),
    ("DeprovisionSucceeded", "find_relaunched"),
    ("DeprovisionedBefore", "fence"),
    ("DeprovisionedBefore", "find_relaunched"),
    ("DoubtIsHeld", "Blocked"),
    ("FailuresExhausted", "Held"),
    ("FailuresExhausted", "find_relaunched"),
    ("Fenced", "cancel"),
    ("Fenced", "launch"),
    ("Forgotten", "find_relaunched"),
    ("Forgotten", "write"),
    ("HeldBackByProvider", "Waiting"),
    ("Imported", "write"),
    ("InTheWayOfDeletion", "Blocked"),
    ("InTheWayOfDeletion", "InProgress"),
    ("InTheWayOfDeletion", "fence"),
    ("IncomparableVersion", "fence"),
    ("IncomparableVersion", "write"),
    ("IntentWithoutJob", "find"),
    ("Kept", "Released"),
    ("Kept", "find_relaunched"),
    ("MayStillAppear", "InProgress"),
    ("MissingProvider", "Blocked"),
    ("Mode", "Held"),
    ("Mode", "InProgress"),
    ("Mode", "Released"),
    ("Mode", "Unmanaged"),
    ("NeverProvisioned", "Released"),
    ("NoActions", "Applied"),
    ("NoLongerWanted", "write"),
    ("NotTheNewest", "InProgress"),
    ("NotTheNewest", "fence"),
    ("NothingYet", "fence"),
    ("OtherVersion", "fence"),
    ("OtherVersion", "find_relaunched"),
    ("PastDeadline", "Blocked"),
    ("PastDeadline", "InProgress"),
    ("PastDeadline", "fence"),
    ("PollDue", "status"),
    ("PolledRecently", "InProgress"),
    ("PrerequisiteMissing", "NotYet"),
    ("ProvenAbsent", "fence"),
    ("ProvenAbsent", "find_relaunched"),
    ("Purged", "Held"),
    ("Purged", "write"),
    ("ReadyToDeprovision", "fence"),
    ("ReadyToDeprovision", "find_relaunched"),
    ("RelaunchesUnknown", "Waiting"),
    ("RetryRequested", "fence"),
    ("RetryRequested", "find_relaunched"),
    ("RetryRequested", "write"),
    ("Stray", "Blocked"),
    ("Stray", "Held"),
    ("Stray", "InProgress"),
    ("Stray", "fence"),
    ("SupersededBy", "Blocked"),
    ("SupersededBy", "InProgress"),
    ("SupersededBy", "fence"),
    ("UnknownPastDeadline", "Blocked"),
    ("UnknownPastDeadline", "write"),
    ("VerifyPurge", "find"),
    ("WantedAgain", "fence"),
    ("WantedAgain", "find_relaunched"),
];

/// Decisions that so few walks make that an ordinary run may make none: an older job that must end for a newer one,
/// and is not ended.
const RARE: &[(&str, &str)] = &[("NotTheNewest", "Blocked")];

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
    config.deadlines.canceling = ticks(2);
    config.purge = dice.pick(&[Purge::Rerun, Purge::AssumeSucceeded, Purge::Hold]);
    config.ambiguity = dice.pick(&[None, Some(Ambiguity::Hold)]);
    config.incomparable_version =
        dice.pick(&[IncomparableVersion::Rerun, IncomparableVersion::Trust]);
    config.max_failures = dice.pick(&[None, Some(1), Some(2)]);
    config.deletion.running_provision =
        dice.pick(&[RunningProvision::Cancel, RunningProvision::Wait]);
    config.deletion.never_provisioned =
        dice.pick(&[NeverProvisioned::Release, NeverProvisioned::Deprovision]);
    config.deletion.keep = dice.percent(5);
    config.deletion.escalate_after = ticks(4);
    config.deletion.abandon_after = dice.percent(10).then(|| ticks(8));
    Policy::new(config).unwrap()
}

fn capabilities(dice: &Dice) -> Capabilities {
    let mut capabilities = Capabilities::none();
    capabilities.cancel = dice.percent(80);
    capabilities.find_launched = dice.percent(75);
    capabilities.find_relaunched = true;
    capabilities.actions = dice.percent(80);
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
        actions: dice.pick(&[0, 0, 1, 3]),
        unnamed: true,
        absent: dice.percent(30),
        keep: dice.percent(20),
        imports: dice.percent(20),
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

/// An older operator has provisioned the object, and wrote down what it did in its own way.
fn older(world: &mut World) {
    let record = JobRecord::new(1, JobType::Provision).with(|record| {
        record.provider = Some("b".to_owned());
        record.state = JobState::Succeeded;
        record.job_id = Some("0".to_owned());
        record.config_version = Some(ConfigVersion::from_text("older-hash".to_owned()));
    });
    world.records = Records(Arc::new(vec![record]));
    world.jobs.push(Job {
        token: "none".to_owned(),
        at_other: false,
        down: false,
        act: None,
        spec: None,
        state: JobState::Succeeded,
        alive: false,
        canceled: false,
        asked: false,
        forgotten: false,
        copy: false,
        stray: false,
    });
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
    /// What a pass decides in this move.
    fn look(&mut self, protocol: &Protocol, world: &World, next: &Move) {
        let (replica, loads) = match next {
            Move::Act { replica, .. } => (*replica, false),
            Move::Load { replica, .. } => (*replica, true),
            _ => return,
        };
        let mut world = world.clone();
        if loads {
            protocol.begin(&mut world, replica, false);
        }
        let Some(mut running) = world.replicas[replica].running.take() else {
            return;
        };
        let effect = protocol.feed(&world, &mut running, protocol.clock(&world, replica));
        // One that does more than look and rest decides in its next move.
        if !loads || matches!(effect, Effect::Rest(_)) {
            self.count(&running.machine.stage, &effect);
        }
    }

    fn count(&mut self, stage: &Stage, effect: &Effect) {
        let (why, action) = match (effect, stage) {
            (Effect::Rest(End::Rest(rest, why)), _) => (why, rest.standing.as_str()),
            (Effect::Ask(_), Stage::Asking(asked)) => (&asked.why, asked.call.as_str()),
            (Effect::Swap { .. }, Stage::Writing(Purpose::Decision(right, why), _)) => {
                (why, if right.is_some() { "fence" } else { "write" })
            }
            _ => return,
        };
        *self.decisions.entry((name(why), action)).or_default() += 1;
    }

    /// Every rule that there is was walked, or cannot be here.
    fn is_whole(&self) {
        let walked: BTreeSet<&str> = self.decisions.keys().map(|(why, _)| &**why).collect();
        let why = include_str!("../../src/lifecycle/decision/why.rs");
        compare(
            "a rule",
            &walked,
            &variants(why, "pub enum Why {"),
            &["DefectiveRecord"],
        );
        let walked: BTreeSet<&str> = self.reasons.keys().map(String::as_str).collect();
        let reason = include_str!("../../src/record.rs");
        compare(
            "a reason",
            &walked,
            &variants(reason, "pub enum Reason {"),
            &["Other"],
        );
        let rows: BTreeSet<(&str, &str)> = self
            .decisions
            .keys()
            .map(|(why, action)| (&**why, *action))
            .collect();
        let known: BTreeSet<(&str, &str)> = ROWS.iter().copied().collect();
        let rare: BTreeSet<(&str, &str)> = RARE.iter().copied().collect();
        let new: Vec<_> = rows
            .difference(&known)
            .filter(|row| !rare.contains(row))
            .collect();
        assert!(new.is_empty(), "decisions that are not in ROWS: {new:?}");
        let missing: Vec<_> = known.difference(&rows).collect();
        assert!(
            missing.is_empty(),
            "decisions that nothing walked: {missing:?}"
        );
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

/// The names of an enum's variants, by its source.
fn variants<'a>(source: &'a str, head: &str) -> BTreeSet<&'a str> {
    let from = source.find(head).unwrap() + head.len();
    let body = &source[from..];
    let body = &body[..body.find("\n}").unwrap()];
    let lines = body.lines().map(str::trim);
    let names = lines.filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()));
    names
        .map(|line| line.split(['(', ',', ' ']).next().unwrap())
        .collect()
}

/// What is impossible: nothing here writes records that cannot be read, or that a later version has written;
/// `bad_input.rs` and `records.rs` are about those.
fn compare(what: &str, walked: &BTreeSet<&str>, all: &BTreeSet<&str>, impossible: &[&str]) {
    assert!(all.len() > 15, "{all:?}");
    for name in all {
        let expected = !impossible.contains(name);
        assert_eq!(
            walked.contains(name),
            expected,
            "{what} that was walked, or was not: {name}"
        );
    }
}

/// One walk, or what was wrong with it and the moves that led there.
fn walk(seed: u64, walked: &mut Walked) -> Result<(), String> {
    let dice = Dice(SeededEntropy::new(seed));
    let protocol = protocol(&dice);
    let mut world = protocol.fresh();
    if dice.percent(15) {
        older(&mut world);
    } else if dice.percent(10) {
        left_by_a_newer_version(&mut world);
    }
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
        walked.look(&protocol, &world, &next);
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
    let walks = sized(20_000, 100_000);
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
    walked.is_whole();
}
