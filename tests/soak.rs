//! Many lives in one controller process while what is between it and AAP fails now and then. All on tokio's
//! paused time and without sockets, so that half an hour passes in seconds and a busy machine changes nothing. The simulator's journal is the judge.
//!
//! `SOAK_OBJECTS`, `SOAK_MINUTES` and `SOAK_SEED` change the long one; `scripts/soak.sh` runs it in full.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that panics has failed"
)]

use provider_core::clock::Elapsed as _;
use std::cell::Cell;
use std::time::Duration;

use provider_core::lifecycle::{Entropy, PolicyConfig, SeededEntropy};
use provider_core::{Clock, ErrorKind};
use provider_testkit::aap::{AapSim, Broken, Costs, Fault, Route, Script, ScriptedFault, Weather};

#[path = "../examples/support/lives.rs"]
mod lives;

use lives::{Course, Fate, Judgement, Life, Town, judge};

const MINUTE: Duration = Duration::from_secs(60);
/// How long a job takes.
const WORK: Duration = MINUTE;

fn say(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn number(name: &str, otherwise: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn refusals(seed: u64, percent: u8, statuses: &[u16]) -> Weather {
    Weather {
        seed,
        refusals: percent,
        statuses: statuses.to_vec(),
        max_queue_ms: 1_000,
        max_run_ms: 60_000,
        ..Weather::default()
    }
}

fn whole(objects: u64, within: Duration) -> Course {
    Course {
        objects,
        within,
        fate: Fate::Whole(MINUTE / 2),
    }
}

fn town(policy: PolicyConfig, seed: u64) -> std::sync::Arc<Town> {
    town_with(WORK, policy, seed)
}

fn town_with(work: Duration, policy: PolicyConfig, seed: u64) -> std::sync::Arc<Town> {
    let simulator = lives::simulator(work);
    let config = lives::config(&simulator.0);
    Town::new(simulator, config, policy, seed).unwrap()
}

/// All have come to their ends, each with the jobs that it wanted and no other.
fn all_is_well(what: &str, town: &Town, course: Course, all: &[Life]) {
    let undone: Vec<_> = all
        .iter()
        .enumerate()
        .filter(|(_, life)| !life.done)
        .collect();
    if let Some((n, life)) = undone.first() {
        panic!(
            "{what}: {} lives have not ended, among them object {n}: {life:#?}",
            undone.len()
        );
    }
    assert_eq!(judge(&town.sim, course), Judgement::default(), "{what}");
}

/// The gateway of AAP 2.5 refuses now and then what it lets through a moment later. With a policy that holds
/// an object after its first failure, none is.
#[tokio::test(start_paused = true)]
async fn refusals_that_pass_count_as_nothing() {
    let course = whole(60, MINUTE * 5);
    for seed in 1..=3 {
        let policy = PolicyConfig::default().with(|config| config.max_failures = Some(1));
        let town = town(policy, seed);
        town.sim.weather(Some(refusals(seed, 2, &[401, 403])));
        let all = town.live(course, MINUTE * 60).await;
        let what = format!("seed {seed}");
        let met = all.iter().filter(|life| life.trouble.is_some()).count();
        say(&format!("{what}: {met} of 60 lives met a refusal"));
        assert!(met > 2, "{what}: the test is about refusals");
        all_is_well(&what, &town, course, &all);
        for life in &all {
            assert_eq!(life.stuck, None, "{what}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_lasts_is_told_as_what_it_is() {
    for (status, kind, cause) in [
        (401, ErrorKind::Unauthorized, "credentials"),
        (403, ErrorKind::Forbidden, "does not allow"),
    ] {
        let town = town(PolicyConfig::default(), 1);
        // The first look is at what everybody may see.
        let lasts = ScriptedFault {
            route: Route::Any,
            fault: Fault::Gateway(status),
            after: 1,
            times: u32::MAX,
            percent: 100,
        };
        town.sim.play(Script {
            faults: vec![lasts],
            ..Script::default()
        });
        let all = town.live(whole(1, MINUTE), MINUTE * 30).await;
        let trouble = all[0].trouble.as_ref().unwrap();
        assert_eq!(trouble.kind(), kind, "{trouble}");
        assert!(trouble.message().contains(cause), "{trouble}");
        assert!(!trouble.advice().is_empty());
        assert!(all[0].known.is_none() && town.sim.journal().is_empty());
    }
}

/// Every minute all connections are swallowed. Of the new jobs some cannot be shown in lists any more, and
/// some nowhere for three minutes.
async fn mischief(sim: &AapSim, seed: u64, broken: &Cell<[usize; 2]>) {
    let dice = SeededEntropy::new(seed);
    let mut seen = 0;
    let mut hidden = Vec::new();
    for step in 1_u64.. {
        tokio::time::sleep(MINUTE / 12).await;
        if step.is_multiple_of(12) {
            sim.line().swallow();
        }
        let [mut in_lists, mut everywhere] = broken.get();
        let jobs: Vec<u64> = sim.journal().iter().map(|run| run.id).collect();
        for id in jobs.iter().skip(seen) {
            match dice.next() % 50 {
                0 | 1 => {
                    sim.break_row(*id, Some(Broken::InLists));
                    in_lists += 1;
                }
                2 => {
                    sim.break_row(*id, Some(Broken::Everywhere));
                    hidden.push((step + 36, *id));
                    everywhere += 1;
                }
                _ => {}
            }
        }
        seen = jobs.len();
        hidden.retain(|(until, id)| {
            let is_over = step >= *until;
            if is_over {
                sim.break_row(*id, None);
            }
            !is_over
        });
        broken.set([in_lists, everywhere]);
    }
}

/// All lives of a course; how many requests arrived.
async fn requests_of(course: Course, weather: Weather, is_foul: bool, limit: Duration) -> usize {
    let seed = weather.seed;
    let town = town(PolicyConfig::default(), seed);
    town.sim.costs(Some(Costs::default()));
    town.sim.weather(Some(weather));
    let broken = Cell::new([0, 0]);
    let trouble = async {
        if is_foul {
            mischief(&town.sim, seed, &broken).await;
        }
        std::future::pending::<()>().await;
    };
    let all = tokio::select! {
        all = town.live(course, limit) => all,
        () = trouble => Vec::new(),
    };
    let what = format!("SOAK_SEED={seed}");
    all_is_well(&what, &town, course, &all);
    if is_foul {
        let stuck = all.iter().filter(|life| life.stuck.is_some()).count();
        let [in_lists, everywhere] = broken.get();
        say(&format!(
            "{what}: {} connections; {in_lists} jobs could not be listed, {everywhere} not be shown; {stuck} \
             objects were held or blocked meanwhile",
            town.sim.line().connections()
        ));
        assert!(town.sim.line().connections() > 4 && in_lists > 0, "{what}");
    }
    town.sim.requests().len()
}

#[tokio::test(start_paused = true)]
async fn lives_in_all_kinds_of_trouble_end_well_and_cost_little_more() {
    let objects = number("SOAK_OBJECTS", 60);
    let within = MINUTE * u32::try_from(number("SOAK_MINUTES", 6)).unwrap();
    let seed = number("SOAK_SEED", 1);
    let course = whole(objects, within);
    let limit = within + MINUTE * 120;
    let fair = requests_of(course, refusals(seed, 0, &[]), false, limit).await;
    let statuses = [401, 403, 404, 500, 502, 503, 504];
    let foul = requests_of(course, refusals(seed, 2, &statuses), true, limit).await;
    let a_life = |requests| requests as f64 / objects as f64;
    say(&format!(
        "SOAK_SEED={seed}: {objects} lives within {within:?}; requests a life: {:.1} without trouble, {:.1} with",
        a_life(fair),
        a_life(foul)
    ));
    assert!(foul <= fair * 3, "{foul} requests against {fair}");
}

/// While nothing arrives, nothing is disobeyed: the first cancel that can arrive does so at once, however
/// long that took and whatever was answered meanwhile.
#[tokio::test(start_paused = true)]
async fn the_first_cancel_arrives_soon_after_an_outage() {
    let outages = [
        Fault::DropBefore,
        Fault::RateLimited(20),
        Fault::Gateway(401),
        Fault::Gateway(403),
        Fault::Gateway(503),
        Fault::Html(2_000),
    ];
    let towns = outages.map(|fault| async move {
        let town = town_with(MINUTE * 600, PolicyConfig::default(), 1);
        let course = Course {
            objects: 1,
            within: Duration::ZERO,
            fate: Fate::DeletedAfter(MINUTE * 2),
        };
        let (outage, end) = (MINUTE, MINUTE * 26);
        let trouble = async {
            tokio::time::sleep(outage).await;
            town.sim.fault(Route::Any, &fault, u32::MAX);
            tokio::time::sleep(end - outage).await;
            // A refusal that lasts is one that a person has to hear of.
            let stuck = town.lives()[0].stuck.clone();
            let may_be =
                |stuck: String| fault == Fault::Gateway(403) && stuck.contains("CancelRefused");
            assert!(stuck.clone().is_none_or(may_be), "{fault:?}: {stuck:?}");
            town.sim.clear_faults();
            let back = town.clock.now();
            tokio::time::sleep(MINUTE * 2).await;
            let stopped = town.sim.journal()[0].stopped;
            let late = stopped.map(|at| at.elapsed_since(back));
            say(&format!("{fault:?}: the job is canceled after {late:?}"));
            assert!(
                late.is_some_and(|late| late < MINUTE * 3 / 2),
                "{fault:?}: {late:?}"
            );
        };
        tokio::join!(town.live(course, MINUTE * 28), trouble);
    });
    futures::future::join_all(towns).await;
}
