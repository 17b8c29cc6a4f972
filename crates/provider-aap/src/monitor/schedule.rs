//! Which jobs are asked about next, and together. No IO; the time is told.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use foldhash::fast::RandomState;
use provider_core::{JobState, ProviderError};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::pace::{Pace, Usual};
use super::{MonitorConfig, Rows, Seen};

/// The largest page that the controller gives.
pub(super) const PAGE: usize = 200;
/// Ids in one request line: 4 kB are refused by some web servers (AWX 24.6.1: gunicorn).
const MAX_ID_BYTES: usize = 2_800;
/// The longest time between two pages of the round, however few there are: somebody may be waiting.
const MAX_GAP: Duration = Duration::from_millis(700);
/// The time between two pages of jobs that something was heard of.
const HINT_GAP: Duration = Duration::from_millis(400);

/// For so many rounds a job is believed to be where it was because a page leaves it out.
const LEFT_OUT: u32 = 10;

/// What somebody who waits for a job is told.
pub(super) type Told = Result<Seen, ProviderError>;

struct Watched {
    kind: &'static str,
    due: Instant,
    in_flight: bool,
    /// Whether something was heard of it since it is in flight.
    hinted: bool,
    asked: Instant,
    seen: Option<(Seen, Instant)>,
    /// The status that it is probably still in; and when it was last shown, and not only left out.
    lasting: Option<&'static str>,
    shown: Option<Instant>,
    waiters: Vec<oneshot::Sender<Told>>,
}

impl Watched {
    fn new(kind: &'static str, now: Instant) -> Self {
        Self {
            kind,
            due: now,
            in_flight: false,
            hinted: false,
            asked: now,
            seen: None,
            lasting: None,
            shown: None,
            waiters: Vec::new(),
        }
    }
}

/// The jobs of one controller that somebody wants to know about.
pub(super) struct Schedule {
    interval: Duration,
    batch_from: usize,
    pace: Pace,
    jobs: HashMap<u64, Watched, RandomState>,
    due: BTreeSet<(Instant, u64)>,
    /// Jobs that something was heard of, none of them in flight.
    hinted: BTreeSet<u64>,
    usual: Usual,
    last_page: Option<Instant>,
    last_hints: Option<Instant>,
    last_clearing: Option<Instant>,
}

/// What to do about a question.
pub(super) enum Asked {
    /// This is new enough.
    Known(Seen),
    /// The answer comes here.
    Wait(oneshot::Receiver<Told>),
    /// There are few jobs: ask about this one alone, at once.
    Alone,
}

/// The next thing to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Ask about these together; those that are still in this status need not be shown.
    Page(Vec<u64>, Option<&'static str>),
    /// Nothing before this moment.
    At(Instant),
    /// Nothing at all.
    Idle,
}

/// A change of a job that was seen.
pub(super) struct Change {
    pub(super) id: u64,
    pub(super) kind: &'static str,
    pub(super) state: JobState,
}

impl Schedule {
    pub(super) fn new(config: &MonitorConfig, interval: Duration, seed: u64) -> Self {
        Self {
            interval,
            batch_from: usize::try_from(config.batch_from).unwrap_or(usize::MAX),
            pace: Pace::new(interval, seed),
            jobs: HashMap::default(),
            due: BTreeSet::new(),
            hinted: BTreeSet::new(),
            usual: Usual::default(),
            last_page: None,
            last_hints: None,
            last_clearing: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Somebody wants to know. `is_old` says whether what was seen is too old by the caller's clock.
    pub(super) fn ask(
        &mut self,
        id: u64,
        kind: &'static str,
        now: Instant,
        is_old: impl Fn(&Seen) -> bool,
    ) -> Asked {
        let keep = self.keep();
        let few = self.are_few();
        let job = self
            .jobs
            .entry(id)
            .or_insert_with(|| Watched::new(kind, now));
        job.asked = now;
        if few {
            return Asked::Alone;
        }
        // As long as the rounds keep up, what they have seen is good; else it is waited for.
        if let Some((seen, at)) = &job.seen
            && now.saturating_duration_since(*at) < keep
            && !is_old(seen)
        {
            return Asked::Known(seen.clone());
        }
        let (tell, told) = oneshot::channel();
        job.waiters.push(tell);
        self.hurry(id, now);
        Asked::Wait(told)
    }

    /// A job that has just been launched: it has its place in the next round, and hints about it count
    /// before anybody has asked.
    pub(super) fn expect(&mut self, id: u64, kind: &'static str, now: Instant) {
        let due = now + self.interval;
        let job = self.jobs.entry(id);
        if let std::collections::hash_map::Entry::Vacant(job) = job {
            let job = job.insert(Watched::new(kind, now));
            job.due = due;
            self.due.insert((due, id));
        }
    }

    /// So few that each is asked about by itself, by whoever wants to know.
    pub(super) fn are_few(&self) -> bool {
        self.jobs.len() < self.batch_from
    }

    /// How old an answer may be: one round and a half.
    fn keep(&self) -> Duration {
        self.interval.mul_f64(1.5)
    }

    /// What was seen of a job by a request of its own.
    pub(super) fn learn(&mut self, id: u64, seen: &Seen, now: Instant) -> Option<Change> {
        self.page(vec![(id, seen.clone())], now).pop()
    }

    /// Somebody waits for this job: it is asked about in the next page of the round.
    fn hurry(&mut self, id: u64, now: Instant) {
        if let Some(job) = self.jobs.get_mut(&id).filter(|job| !job.in_flight) {
            self.due.remove(&(job.due, id));
            job.due = job.due.min(now);
            self.due.insert((job.due, id));
        }
    }

    /// Something may have happened to this job: it is asked about soon. Whether it is known.
    pub(super) fn hint(&mut self, id: u64) -> bool {
        let Some(job) = self.jobs.get_mut(&id) else {
            return false;
        };
        if job.in_flight {
            // What is on its way may have been read before it happened.
            job.hinted = true;
        } else {
            self.hinted.insert(id);
        }
        true
    }

    /// A change of a job that nobody has looked at.
    #[cfg(any(feature = "push", feature = "webhook", test))]
    pub(super) fn unseen(&self, id: u64) -> Option<Change> {
        let job = self.jobs.get(&id)?;
        Some(Change {
            id,
            kind: job.kind,
            state: JobState::Unknown,
        })
    }

    /// Forgets what was seen of a job, because we have just acted on it ourselves.
    pub(super) fn distrust(&mut self, id: u64) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.seen = None;
            job.lasting = None;
        }
        self.hint(id);
    }

    /// The time between two pages: a recovery is at most twice as fast as the steady course.
    pub(super) fn gap(&self) -> Duration {
        let pages = self.jobs.len() / PAGE;
        if pages == 0 {
            return Duration::ZERO;
        }
        let pages = u32::try_from(pages + 1).unwrap_or(u32::MAX);
        (self.interval / pages.saturating_mul(2)).min(MAX_GAP)
    }

    /// What to ask next.
    pub(super) fn next(&mut self, now: Instant) -> Next {
        self.forget(now);
        if self.are_few() {
            // Few jobs are asked about one by one, by those who want to know.
            let any_waits = self.jobs.values().any(|job| !job.waiters.is_empty());
            if !any_waits {
                return if self.jobs.is_empty() {
                    Next::Idle
                } else {
                    Next::At(now + self.interval)
                };
            }
        }
        let hints = self.hinted.first().map(|_| {
            // What fills a page need not wait for more.
            let gap = match self.hinted.len() < PAGE {
                true => HINT_GAP,
                false => self.gap().min(HINT_GAP),
            };
            let earliest = self.last_hints.map(|at| at + gap);
            earliest.map_or(now, |at| at.max(now))
        });
        let round = self.due.first().map(|(first, _)| {
            let earliest = self.last_page.map(|at| at + self.gap());
            earliest.map_or(*first, |at| at.max(*first))
        });
        let at = match (hints, round) {
            (Some(hints), Some(round)) => hints.min(round),
            (Some(at), None) | (None, Some(at)) => at,
            (None, None) if self.jobs.is_empty() => return Next::Idle,
            (None, None) => now + self.interval,
        };
        if at > now {
            return Next::At(at);
        }
        let shown_since = now.checked_sub(self.interval * LEFT_OUT);
        let (page, but) = if hints.is_some_and(|at| at <= now) {
            self.last_hints = Some(now);
            fit(&mut self.jobs, self.hinted.iter().copied(), shown_since)
        } else {
            self.last_page = Some(now);
            // A page costs little more for being full: those that are due soon come along.
            let soon = now + self.interval / 8;
            let due = self.due.iter().take_while(|(due, _)| *due <= soon);
            let ids = due.map(|(_, id)| *id);
            fit(&mut self.jobs, ids, shown_since)
        };
        for (due, id) in &page {
            self.hinted.remove(id);
            self.due.remove(&(*due, *id));
        }
        Next::Page(page.into_iter().map(|(_, id)| id).collect(), but)
    }

    /// Drops jobs that nobody has asked about for three rounds.
    fn forget(&mut self, now: Instant) {
        let patience = self.interval * 3;
        let lately = |at: Instant| now.saturating_duration_since(at) < self.interval;
        if self.last_clearing.is_some_and(lately) {
            return;
        }
        self.last_clearing = Some(now);
        let (due, hinted) = (&mut self.due, &mut self.hinted);
        self.jobs.retain(|id, job| {
            let stays = job.in_flight
                || !job.waiters.is_empty()
                || now.saturating_duration_since(job.asked) < patience;
            if !stays {
                due.remove(&(job.due, *id));
                hinted.remove(id);
            }
            stays
        });
    }

    fn see(&mut self, id: u64, seen: Seen, now: Instant) -> Option<Change> {
        let state = seen.state();
        if state.is_terminal() {
            self.usual.ended(&seen);
        }
        let job = self.jobs.get_mut(&id)?;
        if !std::mem::take(&mut job.in_flight) {
            self.due.remove(&(job.due, id));
        }
        if std::mem::take(&mut job.hinted) {
            self.hinted.insert(id);
        }
        let changed = job
            .seen
            .as_ref()
            .is_none_or(|(old, _)| old.state() != state);
        let change = changed.then_some(Change {
            id,
            kind: job.kind,
            state,
        });
        for waiter in job.waiters.drain(..) {
            let _ = waiter.send(Ok(seen.clone()));
        }
        if !state.is_terminal() {
            job.due = now + self.pace.until_next(&seen, &self.usual);
            self.due.insert((job.due, id));
        }
        job.seen = Some((seen, now));
        change
    }

    /// A page has come: these were on it.
    pub(super) fn page(&mut self, rows: Vec<(u64, Seen)>, now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        for (id, seen) in rows {
            if let Some(job) = self.jobs.get_mut(&id) {
                (job.shown, job.lasting) = (Some(now), seen.lasting());
            }
            changes.extend(self.see(id, seen, now));
        }
        changes
    }

    /// These were left out, because they are still in the status in which they were seen.
    pub(super) fn same(&mut self, ids: &[u64], rows: &Rows, now: Instant) {
        for id in ids {
            let Some(job) = self.jobs.get_mut(id).filter(|job| job.in_flight) else {
                continue;
            };
            job.in_flight = false;
            // Without it, what was seen has been voided since: it is asked about anew.
            job.due = now;
            if let Some((seen, at)) = &mut job.seen {
                seen.again(rows.now, rows.at);
                *at = now;
                for waiter in job.waiters.drain(..) {
                    let _ = waiter.send(Ok(seen.clone()));
                }
                job.due += self.pace.until_next(seen, &self.usual);
            }
            if std::mem::take(&mut job.hinted) {
                self.hinted.insert(*id);
            }
            self.due.insert((job.due, *id));
        }
    }

    /// The kinds of those that were asked about and did not come.
    pub(super) fn missing(&self, asked: &[u64]) -> Vec<(u64, &'static str)> {
        let missing = asked.iter().filter_map(|id| {
            let job = self.jobs.get(id).filter(|job| job.in_flight)?;
            Some((*id, job.kind))
        });
        missing.collect()
    }

    /// The controller does not know this job.
    pub(super) fn gone(&mut self, id: u64, error: &ProviderError) {
        if let Some(job) = self.jobs.remove(&id) {
            self.due.remove(&(job.due, id));
            self.hinted.remove(&id);
            for waiter in job.waiters {
                let _ = waiter.send(Err(error.clone()));
            }
        }
    }

    /// These could not be asked about. Whoever waits is told; the next try has its place in the
    /// round, not at once.
    pub(super) fn failed(&mut self, ids: &[u64], error: &ProviderError, now: Instant) {
        for id in ids {
            let Some(job) = self.jobs.get_mut(id) else {
                continue;
            };
            self.due.remove(&(job.due, *id));
            job.in_flight = false;
            // The next look is late enough for whatever was heard of it.
            job.hinted = false;
            for waiter in job.waiters.drain(..) {
                let _ = waiter.send(Err(error.clone()));
            }
            job.due = now + self.pace.until_retry();
            self.due.insert((job.due, *id));
        }
    }

    /// These are asked about once more, in another way; whoever waits goes on waiting.
    pub(super) fn again(&mut self, id: u64, now: Instant) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.in_flight = false;
            job.due = now;
            self.due.insert((now, id));
        }
    }

    /// Everybody who waits is told this error; nothing was asked.
    pub(super) fn refuse(&mut self, error: &ProviderError) {
        for job in self.jobs.values_mut() {
            for waiter in job.waiters.drain(..) {
                let _ = waiter.send(Err(error.clone()));
            }
        }
    }
}

/// As many of these as fit into one question, in one status and in one line: they are in flight now.
fn fit(
    jobs: &mut HashMap<u64, Watched, RandomState>,
    ids: impl Iterator<Item = u64>,
    shown_since: Option<Instant>,
) -> (Vec<(Instant, u64)>, Option<&'static str>) {
    let mut page = Vec::new();
    let mut but = None;
    let mut bytes = 0;
    for id in ids {
        let Some(job) = jobs.get_mut(&id) else {
            continue;
        };
        // The status that it is probably still in, where it was shown lately enough.
        let lately = job.shown.is_some_and(|at| Some(at) > shown_since);
        let status = job.lasting.filter(|_| lately);
        if page.is_empty() {
            but = status;
        }
        if page.len() == PAGE || bytes > MAX_ID_BYTES {
            break;
        }
        if status == but {
            bytes += 1 + usize::try_from(id.max(1).ilog10()).unwrap_or(20) + 1;
            job.in_flight = true;
            page.push((job.due, id));
        }
    }
    (page, but)
}
