//! Many lives in one controller process while what is between it and AAP fails now and then. All on tokio's
//! paused time, over real sockets: half an hour passes in seconds. The simulator's journal is the judge.
//!
//! `SOAK_OBJECTS`, `SOAK_MINUTES` and `SOAK_SEED` change the long one; `scripts/soak.sh` runs it in full.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that panics has failed"
)]

use std::net::SocketAddr;
use std::time::Duration;

use provider_core::lifecycle::PolicyConfig;
use provider_core::{Clock, ErrorKind};
use provider_testkit::aap::{Fault, Route, Script, ScriptedFault, Weather};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

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

async fn town(policy: PolicyConfig, seed: u64) -> std::sync::Arc<Town> {
    town_with(WORK, policy, seed).await
}

async fn town_with(work: Duration, policy: PolicyConfig, seed: u64) -> std::sync::Arc<Town> {
    let simulator = lives::simulator(work).await.unwrap();
    let config = lives::config(simulator.0.url());
    Town::new(simulator, config, policy, seed).unwrap()
}

/// All have come to their ends, each with the jobs that it wanted and no other.
fn all_is_well(what: &str, town: &Town, course: Course, all: &[Life]) {
    assert_eq!(judge(&town.sim, course), Judgement::default(), "{what}");
    for (n, life) in all.iter().enumerate() {
        assert!(life.done, "{what}, object {n}: {life:#?}");
    }
}

/// The gateway of AAP 2.5 refuses now and then what it lets through a moment later. With a policy that holds
/// an object after its first failure, none is.
#[tokio::test(start_paused = true)]
async fn refusals_that_pass_count_as_nothing() {
    let course = whole(60, MINUTE * 5);
    for seed in 1..=3 {
        let policy = PolicyConfig::default().with(|config| config.max_failures = Some(1));
        let town = town(policy, seed).await;
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
        let town = town(PolicyConfig::default(), 1).await;
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

/// A network that forgets connections, as a NAT does: nothing comes through any more, and neither side hears
/// of it. New ones work.
struct Network {
    address: SocketAddr,
    forgets: watch::Sender<u64>,
    task: AbortHandle,
}

impl Network {
    async fn to(url: &str) -> Self {
        let target = url.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (forgets, forgotten) = watch::channel(0);
        let carry = async move {
            let mut connections = JoinSet::new();
            loop {
                let Ok((mut near, _)) = listener.accept().await else {
                    continue;
                };
                let (target, mut forgotten) = (target.clone(), forgotten.clone());
                forgotten.mark_unchanged();
                connections.spawn(async move {
                    let mut far = TcpStream::connect(target).await.unwrap();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => return,
                        _ = forgotten.changed() => {}
                    }
                    // What is sent vanishes, until the sender gives up.
                    let mut nowhere = [0; 4_096];
                    while !matches!(near.read(&mut nowhere).await, Ok(0) | Err(_)) {}
                });
            }
        };
        Self {
            address,
            forgets,
            task: tokio::spawn(carry).abort_handle(),
        }
    }

    fn forget(&self) {
        self.forgets.send_modify(|times| *times += 1);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// All lives of a course; how many requests arrived.
async fn requests_of(course: Course, weather: Weather, forgets: bool, limit: Duration) -> usize {
    let seed = weather.seed;
    let simulator = lives::simulator(WORK).await.unwrap();
    simulator.0.weather(Some(weather));
    let network = Network::to(&simulator.0.url()).await;
    let config = lives::config(format!("http://{}", network.address));
    let town = Town::new(simulator, config, PolicyConfig::default(), seed).unwrap();
    let mischief = async {
        loop {
            tokio::time::sleep(MINUTE).await;
            if forgets {
                network.forget();
            }
        }
    };
    let all = tokio::select! {
        all = town.live(course, limit) => all,
        () = mischief => Vec::new(),
    };
    all_is_well(&format!("SOAK_SEED={seed}"), &town, course, &all);
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
        let town = town_with(MINUTE * 600, PolicyConfig::default(), 1).await;
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
            let late = stopped.map(|at| provider_core::clock::since(at, back));
            say(&format!("{fault:?}: the job is cancelled after {late:?}"));
            assert!(
                late.is_some_and(|late| late < MINUTE * 3 / 2),
                "{fault:?}: {late:?}"
            );
        };
        tokio::join!(town.live(course, MINUTE * 28), trouble);
    });
    futures::future::join_all(towns).await;
}
