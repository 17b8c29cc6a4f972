//! How soon a job is looked at again.

use std::collections::HashMap;
use std::time::Duration;

use foldhash::fast::RandomState;
use provider_core::JobState;
use provider_core::lifecycle::{Entropy, SeededEntropy};

use super::Seen;

/// After so long in the queue, a job is looked at less often.
const LONG_QUEUE: Duration = Duration::from_secs(600);
/// How often a job is looked at that we have asked to stop: its end is waited for.
const CANCELING: Duration = Duration::from_secs(5);
/// The golden ratio, without its one.
const GOLDEN: f64 = 0.618_033_988_749_895;
/// Templates whose usual duration is remembered.
const MAX_TEMPLATES: usize = 1_000;

/// How long jobs of each template usually take, learned from their ends.
#[derive(Debug, Default)]
struct Usual(HashMap<u64, Duration, RandomState>);

impl Usual {
    /// A job has ended. The newest counts for a quarter.
    fn ended(&mut self, seen: &Seen) {
        let (Some(template), Some(took)) = (seen.body.template, seen.body.elapsed) else {
            return;
        };
        let Ok(took) = Duration::try_from_secs_f64(took) else {
            return;
        };
        if seen.state() != JobState::Succeeded {
            return;
        }
        if let Some(usual) = self.0.get_mut(&template) {
            *usual = (*usual * 3 + took) / 4;
        } else if self.0.len() < MAX_TEMPLATES {
            self.0.insert(template, took);
        }
    }

    fn of(&self, seen: &Seen) -> Option<Duration> {
        self.0.get(&seen.body.template?).copied()
    }
}

/// By how much times are varied, both from nothing to one: alike for all jobs of an answer, so that they
/// stay together. A page whose jobs are due at one moment is the next page again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chance {
    sooner: f64,
    shown: f64,
}

/// The policy's interval, and what is made of it for one job.
#[derive(Debug)]
pub(super) struct Pace {
    interval: Duration,
    dice: SeededEntropy,
    shown: f64,
    usual: Usual,
}

impl Pace {
    pub(super) fn new(interval: Duration, seed: u64) -> Self {
        Self {
            interval,
            dice: SeededEntropy::new(seed),
            shown: 0.0,
            usual: Usual::default(),
        }
    }

    /// A job has ended: its template's usual duration is learned.
    pub(super) fn ended(&mut self, seen: &Seen) {
        self.usual.ended(seen);
    }

    /// How soon a job that is not over is looked at again.
    pub(super) fn wait(
        &self,
        seen: &Seen,
        is_canceling: bool,
        chance: Chance,
        has_neared_end: &mut bool,
    ) -> Duration {
        let next = self.until_next(seen, is_canceling, chance);
        if *has_neared_end {
            return next;
        }
        let usual_end = self.until_usual_end(seen, next);
        *has_neared_end = usual_end.is_some();
        usual_end.unwrap_or(next)
    }

    /// How long an answer is good whose job is looked at again after this wait: until then, and as long
    /// as that look may be late.
    pub(super) fn good_for(&self, wait: Duration) -> Duration {
        wait + wait.min(self.interval) / 2
    }

    pub(super) fn chance(&mut self) -> Chance {
        // Dice may fall alike for many pages, and whole pages of rows are dear: steps of this length
        // come to lie as far from each other as can be.
        self.shown = (self.shown + GOLDEN).fract();
        Chance {
            sooner: self.part(),
            shown: self.shown,
        }
    }

    fn part(&self) -> f64 {
        f64::from(u32::try_from(self.dice.next() % 1_000).unwrap_or(0)) / 1_000.0
    }

    /// For a job that is not over, and that we have asked to stop or have not. Up to a tenth sooner: an
    /// interval is the longest that an end may stay unseen.
    pub(super) fn until_next(&self, seen: &Seen, is_canceling: bool, chance: Chance) -> Duration {
        let interval = self.interval.mul_f64(1.0 - chance.sooner / 10.0);
        if is_canceling {
            return interval.min(CANCELING);
        }
        match seen.state() {
            JobState::Pending | JobState::Waiting => {
                // A job that has waited for an hour can wait a little longer for us.
                let waited = seen.since_created().unwrap_or_default();
                let times = (waited.as_secs_f64() / LONG_QUEUE.as_secs_f64()).clamp(1.0, 4.0);
                interval.mul_f64(times)
            }
            _ => interval,
        }
    }

    /// For a job whose usual end comes before the next look: until just after it. Once for each job:
    /// many that began together and end one after the other move what is usual along with them.
    pub(super) fn until_usual_end(&self, seen: &Seen, next: Duration) -> Option<Duration> {
        if seen.state() != JobState::Running {
            return None;
        }
        let left = self.usual.of(seen)?.checked_sub(seen.since_started()?)?;
        let until = (left + self.interval / 20).max(self.interval / 5);
        (until < next).then_some(until)
    }

    /// For so long a job is believed to be where it was because pages leave it out: ten rounds on
    /// average, not the same for all, or all rows would be asked for in one round. A job that waits is
    /// shown more often: the reason why it waits may change, and pages tell of statuses alone.
    pub(super) fn until_shown(&self, seen: &Seen, chance: Chance) -> Duration {
        let (least, spread) = match seen.state() {
            JobState::Running => (6.0, 9.0),
            _ => (2.0, 3.0),
        };
        self.interval
            .mul_f64(least + (chance.shown * spread).floor())
    }

    /// After a question that was not answered: anywhere in the next round, so that a recovery is
    /// spread like the steady course.
    pub(super) fn until_retry(&self) -> Duration {
        self.interval.mul_f64(0.25 + 0.75 * self.part())
    }
}

/// What a pace learns and plans from a job that it sees so often.
#[cfg(any(test, fuzzing))]
pub(crate) fn usual_times(seen: &Seen, times: u32) {
    let mut pace = Pace::new(Duration::from_secs(30), 1);
    for _ in 0..times {
        pace.ended(seen);
        let (chance, mut neared) = (pace.chance(), false);
        let wait = pace.wait(seen, false, chance, &mut neared);
        let _ = pace.good_for(wait);
        let _ = pace.until_shown(seen, chance);
    }
}
