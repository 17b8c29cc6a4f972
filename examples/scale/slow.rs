//! A controller with five workers on which everybody launches at once.
//!
//! On paused time: the controller of that day needs a quarter of an hour for a thousand launches, and this
//! a few seconds.

use std::time::Duration;

use provider_core::lifecycle::PolicyConfig;
use provider_testkit::aap::{Costs, Fault, Route};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::bars::Bar;
use crate::lives::{self, Course, Fate, Town};
use crate::support::Failure;

/// What a launch costs: of seventy at once, forty take longer than half a minute.
const LAUNCH: Duration = Duration::from_secs(5);
const MINUTE: Duration = Duration::from_secs(60);

/// What came of so many launches at once. Times are in seconds of the controller's clock.
#[derive(Debug, Serialize)]
pub(crate) struct Slow {
    pub(crate) trouble: &'static str,
    pub(crate) jobs: u64,
    /// How many answers to launches were lost.
    pub(crate) lost: u64,
    pub(crate) workers: u32,
    /// What its workers need for the launches alone.
    pub(crate) launches_alone_s: f64,
    /// When the last object knew its job; the whole time where some never did.
    pub(crate) all_known_s: f64,
    pub(crate) unknown: usize,
    /// Objects with another number of jobs than one.
    pub(crate) doubled: usize,
    pub(crate) missing: usize,
    /// What was read, without the pages of the round: searches, and what they and launches look up, a minute,
    /// until all were known.
    pub(crate) searches_a_minute: f64,
    /// All requests in a minute after that, with all jobs running.
    pub(crate) quiet_a_minute: f64,
    /// Requests whose answer we did not wait for, and the most that one was sent so.
    pub(crate) abandoned: u64,
    pub(crate) abandoned_most: u64,
    pub(crate) turned_away: u64,
    pub(crate) longest_queue: u32,
    pub(crate) requests: usize,
}

/// So many objects are created at once, and the answers to the first of their launches are lost. The timer
/// has to be paused.
pub(crate) async fn run(jobs: u64, lost: u64) -> Result<Slow, Failure> {
    let costs = Costs::default().with_launch(LAUNCH);
    let alone = LAUNCH.mul_f64(jobs as f64 / f64::from(costs.workers));
    // Nothing ends before everything has been measured.
    let town = lives::simulator(MINUTE * 60 * 24 * 30);
    let config = lives::config(&town.0);
    let town = Town::new(town, config, PolicyConfig::default(), 1)?;
    town.sim.costs(Some(costs));
    let losses = u32::try_from(lost)?;
    town.sim.fault(Route::Launch, &Fault::DropAfter, losses);
    let began = Instant::now();
    let limit = alone * 4 + MINUTE * 30;
    let course = Course {
        objects: jobs,
        within: Duration::ZERO,
        fate: Fate::Created,
    };
    let living = {
        let town = town.clone();
        tokio::spawn(async move { town.live(course, limit + MINUTE * 60).await })
    };
    let unknown = || {
        town.lives()
            .iter()
            .filter(|life| life.known.is_none())
            .count()
    };
    sleep(MINUTE / 60).await;
    while unknown() > 0 && began.elapsed() < limit {
        sleep(MINUTE / 60).await;
    }
    let all_known = began.elapsed();
    let requests = town.sim.requests();
    // What is read for launches and for those in doubt: not what the round reads beside that, which is pages
    // of known jobs, and single ones while they are few.
    let is_of_the_round = |line: &str| line.contains("id__in") || line.contains("/jobs/");
    let is_doubt = |line: &&String| line.starts_with("GET ") && !is_of_the_round(line);
    let searches = requests.iter().filter(is_doubt).count();
    // What was still on its way is no part of the quiet.
    sleep(MINUTE * 3).await;
    let before = town.sim.requests().len();
    sleep(MINUTE * 5).await;
    let quiet = town.sim.requests().len() - before;
    living.abort();
    let judgement = lives::judge(&town.sim, course);
    let load = town.sim.load();
    let minutes = |time: Duration| time.as_secs_f64() / 60.0;
    Ok(Slow {
        trouble: "slow",
        jobs,
        lost,
        workers: costs.workers,
        launches_alone_s: alone.as_secs_f64(),
        all_known_s: all_known.as_secs_f64(),
        unknown: unknown(),
        doubled: judgement.doubled.len(),
        missing: judgement.missing.len(),
        searches_a_minute: searches as f64 / minutes(all_known),
        quiet_a_minute: quiet as f64 / 5.0,
        abandoned: load.abandoned.values().sum(),
        abandoned_most: load.abandoned.values().copied().max().unwrap_or(0),
        turned_away: load.turned_away,
        longest_queue: load.longest_queue,
        requests: requests.len(),
    })
}

impl Slow {
    pub(crate) fn bars(&self) -> Vec<Bar> {
        let of = format!(
            "{} launches at once, {} workers, {} answers lost",
            self.jobs, self.workers, self.lost
        );
        let bar = |what, is: f64, most| Bar::of(of.clone(), what, is, most);
        let unsettled = self.doubled + self.missing + self.unknown;
        let known = self.all_known_s / self.launches_alone_s;
        vec![
            bar(
                "objects without exactly one job that they know:",
                unsettled as f64,
                0.0,
            ),
            bar(
                "all are known after, in times of what the launches alone take:",
                known,
                2.0,
            ),
            bar(
                "what is read in doubt, a minute, against all requests of a quiet one:",
                self.searches_a_minute / self.quiet_a_minute.max(1.0),
                1.0,
            ),
            bar(
                "times that one request was abandoned:",
                self.abandoned_most as f64,
                2.0,
            ),
        ]
    }
}
