//! What a seed decides before a world begins: a plain value, of which parts can be taken away.

use std::time::Duration;

use jiff::SignedDuration;
use provider_core::lifecycle::{PolicyConfig, RunningProvision, Supersede};
use provider_testkit::aap::Weather;

use crate::api::Trouble;
use crate::dice::Dice;
use crate::mishaps::{self, Mishap};
use crate::people::Plan;

pub(crate) const OBJECTS: u64 = 10;
/// So long things go wrong, in seconds: mostly what happens is dense, and sometimes long enough for deadlines.
const STORMS: [u64; 5] = [300, 300, 600, 600, 1_500];

/// What is done to the machines and to the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mischief {
    /// A process dies, wherever it waits.
    Crash(usize),
    /// Another one begins in its place.
    Start(usize),
    /// Nothing comes through any connection to the controller any more.
    Swallow,
    /// The controller closes all websockets.
    HangUp,
    /// Something happens to the controller itself.
    Controller(Mishap),
}

#[derive(Debug, Clone)]
pub(crate) struct Script {
    /// What goes on being drawn while the world runs comes from it, too.
    pub(crate) seed: u64,
    /// How long things go wrong.
    pub(crate) storm: Duration,
    pub(crate) replicas: usize,
    pub(crate) policy: PolicyConfig,
    /// From so many jobs on they are asked about in pages.
    pub(crate) batch_from: u32,
    pub(crate) has_push: bool,
    /// How long a controller waits for more changes of an object before it looks at it.
    pub(crate) debounce: Duration,
    /// Whether some clocks are wrong.
    pub(crate) clocks_differ: bool,
    /// Whether the templates are workflows.
    pub(crate) workflow: bool,
    /// The controller's longest page.
    pub(crate) page: Option<usize>,
    /// Whether requests cost the controller something.
    pub(crate) costs: bool,
    /// What goes wrong at the controller, and between it and us.
    pub(crate) weather: Weather,
    /// The same of the API server.
    pub(crate) trouble: Trouble,
    /// Whether it is waited, at the end, for what is forgotten of objects that are gone.
    pub(crate) waits_for_oblivion: bool,
    /// The objects, and what people do with them.
    pub(crate) plans: Vec<Plan>,
    /// In the order of their times.
    pub(crate) mischief: Vec<(Duration, Mischief)>,
}

fn policy(dice: &Dice) -> PolicyConfig {
    let mut config = PolicyConfig::default();
    if dice.percent(40) {
        config.supersede = Supersede::Cancel;
    }
    if dice.percent(20) {
        config.deletion.running_provision = RunningProvision::Wait;
    }
    config.history_length = 1 + dice.pick(5);
    config.backoff.cap = SignedDuration::from_mins(5);
    config
}

fn mischief(seed: u64, storm: Duration, replicas: usize, dice: &Dice) -> Vec<(Duration, Mischief)> {
    let mut all = mishaps::draw(seed, storm);
    let mut at = Duration::from_secs(dice.below(75));
    while at < storm {
        match dice.below(10) {
            0..3 => {
                let one = dice.pick(replicas);
                all.push((at, Mischief::Crash(one)));
                // Another one comes at once, or later.
                let pause = if dice.percent(50) { 1 } else { 300 };
                let pause = Duration::from_millis(dice.below(pause * 1_000));
                all.push((at + pause, Mischief::Start(one)));
            }
            3..5 => all.push((at, Mischief::Swallow)),
            5 => all.push((at, Mischief::HangUp)),
            _ => {}
        }
        at += Duration::from_secs(1 + dice.below(150));
    }
    all.sort_by_key(|(at, _)| *at);
    all
}

impl Script {
    pub(crate) fn new(seed: u64) -> Self {
        let dice = Dice::of(seed, "the script");
        let replicas = if dice.percent(20) { 3 } else { 2 };
        let storm = Duration::from_secs(STORMS[dice.pick(STORMS.len())]);
        Self {
            seed,
            storm,
            replicas,
            policy: policy(&dice),
            batch_from: [1, 4, 1_000][dice.pick(3)],
            has_push: dice.percent(30),
            debounce: Duration::from_millis([0, 200, 2_000][dice.pick(3)]),
            clocks_differ: dice.percent(40),
            workflow: dice.percent(30),
            page: dice.percent(30).then(|| 3 + dice.pick(20)),
            costs: dice.percent(50),
            weather: Weather {
                max_queue_ms: 20_000,
                max_run_ms: 60_000,
                ..Weather::stormy(seed)
            },
            trouble: Trouble {
                refused: 30,
                lost: 20,
                astray: [0, 0, 10][dice.pick(3)],
                watches_closed: 10,
                watches_gone: 5,
                late_ms: [50, 5_000, 60_000][dice.pick(3)],
                lag: [0, 0, 30][dice.pick(3)],
            },
            // It takes hours, of a world where nothing else happens any more.
            waits_for_oblivion: dice.percent(20),
            plans: (0..OBJECTS).map(|n| Plan::new(n, storm, &dice)).collect(),
            mischief: mischief(seed, storm, replicas, &dice),
        }
    }
}
