//! Which jobs are asked about next, and together. No IO; the time is told.

mod answers;

use std::collections::VecDeque;
use std::time::Duration;

use indexmap::map::Entry;
use provider_core::{JobState, ProviderError};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::words::{Kind, Lasting};

use super::line::{Line, Place, Watched};
use super::pace::Pace;
use super::page::Page;
use super::table::Jobs;
use super::{MonitorConfig, Seen};

/// The largest page that the controller gives.
pub(super) const PAGE: usize = 200;
/// The smallest page that is worth its name, whatever the server gives.
const MIN_PAGE: usize = 20;
/// A server that gives fewer rows than this at once is not believed in: a page with fewer was not cut short.
const FEWEST: usize = 5;
/// The longest time between two pages of the round, however few there are: somebody may be waiting.
const MAX_GAP: Duration = Duration::from_millis(700);
/// Who asks within so long of each other asks together.
const WINDOW: Duration = Duration::from_millis(20);
/// The time between two pages of jobs that something was heard of.
pub(crate) const HINT_GAP: Duration = Duration::from_millis(700);
/// And before one of those that were left over from it.
const LEFT_OVER_GAP: Duration = Duration::from_millis(100);
/// Live jobs are kept at least so long without a question: engines may poll less often than we do.
const PATIENCE: Duration = Duration::from_secs(300);
/// So many rounds look at a running job before somebody who is told of its end need ask: it is for the
/// case that he was not. And for no longer than that; it stays watched for twice as long.
const SAFETY_NET: u32 = 10;
const MAX_SAFETY_NET: Duration = Duration::from_secs(150);
/// The time between two jobs that are told of because no round looks at them any more.
const LEFT_GAP: Duration = Duration::from_millis(250);
/// While more jobs than this wait to be asked about by themselves, nobody waits for what a page lacks.
const LONG_LINE: usize = 32;
/// For so long after a cancel its end is waited for with short intervals.
const CANCEL_PATIENCE: Duration = Duration::from_secs(300);

/// What somebody who waits for a job is told.
pub(super) type Told = Result<Seen, ProviderError>;

/// The jobs of one controller that somebody wants to know about.
pub(super) struct Schedule {
    interval: Duration,
    batch_from: usize,
    /// Rows that are asked for at once.
    page_size: usize,
    /// The most that the server has lately been seen to give, and when.
    most_rows: usize,
    most_rows_at: Option<Instant>,
    pace: Pace,
    jobs: Jobs,
    line: Line,
    /// The last page of the round or single question, and which of them it was.
    last_asked: Option<Instant>,
    single_was_last: bool,
    /// Whether nothing was to be asked for a while, and until when that is made up for.
    was_shut: bool,
    recovering_until: Option<Instant>,
    last_hints: Option<Instant>,
    last_clearing: Option<Instant>,
    /// Jobs that no round looks at any more and that are still to be told of, and when the last one was.
    left_alone: VecDeque<Change>,
    last_left: Option<Instant>,
}

/// What to do about a question.
pub(super) enum Asked {
    /// This is new enough.
    Known(Seen),
    /// The answer comes here.
    Wait(oneshot::Receiver<Told>),
    /// Nothing is known, and nothing may be asked.
    Refused(ProviderError),
}

/// What may be asked now.
#[derive(Debug, Clone, Copy)]
pub(super) struct May {
    pub(super) page: bool,
    pub(super) single: bool,
    /// Whether the controller lets us have lists.
    pub(super) lists: bool,
}

/// The next thing to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Ask about these together; those that are still in this status need not be shown.
    Page(Vec<u64>, Option<Lasting>),
    /// Ask about this one by itself.
    One(u64, Kind),
    /// Nothing before this moment.
    At(Instant),
    /// Nothing at all.
    Idle,
}

/// A change of a job that was seen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change {
    pub(super) id: u64,
    pub(super) kind: Kind,
    pub(super) state: JobState,
}

impl Change {
    /// Of a job that nobody has looked at.
    fn unseen(id: u64, job: &Watched) -> Self {
        Self {
            id,
            kind: job.kind,
            state: JobState::Unknown,
        }
    }
}

impl Schedule {
    pub(super) fn new(config: &MonitorConfig, interval: Duration, seed: u64) -> Self {
        Self {
            interval,
            batch_from: usize::try_from(config.batch_from).unwrap_or(usize::MAX),
            page_size: PAGE,
            most_rows: 0,
            most_rows_at: None,
            pace: Pace::new(interval, seed),
            jobs: Jobs::default(),
            line: Line::default(),
            last_asked: None,
            single_was_last: false,
            was_shut: false,
            recovering_until: None,
            last_hints: None,
            last_clearing: None,
            left_alone: VecDeque::new(),
            last_left: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    /// So few that each is asked about by itself, when somebody wants to know. Once there were many,
    /// half of them are: a few that come and go must not turn everything over each time.
    pub(super) fn are_few(&self) -> bool {
        let enough = if self.line.has_rounds {
            self.batch_from.div_ceil(2)
        } else {
            self.batch_from
        };
        self.jobs.len() < enough
    }

    /// How long nobody needs to ask about a job who is told of its end.
    pub(super) fn poll_after(&self, id: u64) -> Option<Duration> {
        let job = self.jobs.get(&id).filter(|_| !self.are_few())?;
        let is_in_the_round = matches!(job.place, Place::Round(_) | Place::Asked);
        let is_running = job.lasting == Some(Lasting::Running);
        let net = (self.interval * SAFETY_NET).min(MAX_SAFETY_NET);
        (is_in_the_round && is_running).then(|| net.max(self.interval))
    }

    /// Somebody wants to know. `is_old` says whether what was seen, and is good for so long, is too
    /// old by the caller's clock; `refusal` why no questions go out, when none does.
    pub(super) fn ask(
        &mut self,
        id: u64,
        kind: Kind,
        now: Instant,
        refusal: Option<ProviderError>,
        is_old: impl Fn(&Seen, Duration) -> bool,
    ) -> Asked {
        if let Some(seen) = self.known(id, now, is_old) {
            return Asked::Known(seen);
        }
        let few = self.are_few();
        self.line.has_rounds |= !few;
        let job = self
            .jobs
            .entry(id)
            .or_insert_with(|| Watched::new(kind, now));
        job.asked = now;
        if let Some(refusal) = refusal {
            return Asked::Refused(refusal);
        }
        let (tell, told) = oneshot::channel();
        job.wait(tell);
        let soon = now + WINDOW;
        match job.place {
            Place::Asked | Place::Alone => {}
            // Of such an end only the job itself tells enough.
            _ if few || job.has_failed() => self.line.put(id, job, Place::Alone),
            Place::Round(due) if due <= soon => {}
            Place::Round(_) | Place::Rest => self.line.put(id, job, Place::Round(soon)),
        }
        Asked::Wait(told)
    }

    /// What the rounds have seen of a job that somebody wants to know about, as long as they keep up.
    pub(super) fn known(
        &mut self,
        id: u64,
        now: Instant,
        is_old: impl Fn(&Seen, Duration) -> bool,
    ) -> Option<Seen> {
        if self.are_few() {
            return None;
        }
        let job = self.jobs.get_mut(&id)?;
        job.asked = now;
        let last = job.last.as_ref()?;
        let is_good = now.saturating_duration_since(last.seen.read.timer) < last.good_for
            && !(last.seen.lacks_detail() && self.line.singles() < LONG_LINE)
            && !is_old(&last.seen, last.good_for);
        if !is_good {
            return None;
        }
        let seen = last.seen.clone();
        if seen.lacks_detail() && job.place == Place::Rest {
            job.more().owes_detail = true;
            self.line.put(id, job, Place::Alone);
        }
        Some(seen)
    }

    /// A job that has just been launched: it has its place in the next round, and hints about it count
    /// before anybody has asked.
    pub(super) fn expect(&mut self, id: u64, kind: Kind, now: Instant) {
        if let Entry::Vacant(job) = self.jobs.entry(id) {
            let job = job.insert(Watched::new(kind, now));
            self.line.put(id, job, Place::Round(now + self.interval));
        }
    }

    /// Something may have happened to this job: it is asked about soon. Whether it is known.
    pub(super) fn hint(&mut self, id: u64, now: Instant) -> bool {
        let job = self.jobs.get_mut(&id);
        job.map(|job| self.line.hint(id, job, now)).is_some()
    }

    /// A change of a job that nobody has looked at.
    #[cfg(any(feature = "push", feature = "webhook", test))]
    pub(super) fn unseen(&self, id: u64) -> Option<Change> {
        self.jobs.get(&id).map(|job| Change::unseen(id, job))
    }

    /// We have asked this job to stop: what was seen of it counts no more, nor does what is on its way,
    /// and its end is waited for.
    pub(super) fn distrust(&mut self, id: u64, now: Instant) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.last = None;
            job.lasting = None;
            job.more().canceling_until = Some(now + CANCEL_PATIENCE);
            job.voided = job.place == Place::Asked;
        }
        self.hint(id, now);
    }

    /// The time between two questions: a recovery is at most twice as fast as the steady course.
    pub(super) fn gap(&self) -> Duration {
        let pages = self.jobs.len() / self.page_size;
        if pages == 0 {
            return (self.interval / 40).min(Duration::from_millis(100));
        }
        let pages = u32::try_from(pages + 1).unwrap_or(u32::MAX);
        (self.interval / pages.saturating_mul(2)).min(MAX_GAP)
    }

    /// What to ask next.
    pub(super) fn next(&mut self, now: Instant, may: May) -> Next {
        self.forget(now);
        if self.jobs.is_empty() {
            return Next::Idle;
        }
        let few = self.are_few();
        let had_rounds = std::mem::replace(&mut self.line.has_rounds, !few);
        if few && had_rounds {
            self.leave_the_round(now);
        }
        // Of a few, nobody has waited meanwhile: all were refused, and come back in their own time.
        if std::mem::take(&mut self.was_shut) && !few {
            self.recovering_until = Some(now + self.interval * 3);
        }
        // After an outage much has happened at once. Single questions take turns with pages then, where
        // there are any, and hints have to wait as well: all together go out at the pace of the round.
        let is_recovering = self.recovering_until > Some(now);
        let are_all_single = !few && !may.lists;
        let are_free = are_all_single || !is_recovering;
        let turn = self.last_asked.map_or(now, |at| at + self.gap());
        let may_page = !few && may.page;
        let due = self.line.first_due(&self.jobs).filter(|_| may_page);
        let round = due.map(|(at, _)| at.max(turn));
        let hints = self.line.first_hint().filter(|_| may_page);
        let hints = hints.map(|since| self.hints_at(since, now));
        let hints = hints.map(|at| if is_recovering { at.max(turn) } else { at });
        let page = [hints, round].into_iter().flatten().min();
        let page_waits = self.single_was_last && page.is_some_and(|at| at <= now);
        if may.single
            && (are_free || (turn <= now && !page_waits))
            && let Some((id, job)) = self.line.next_alone(&mut self.jobs)
        {
            if !are_free {
                (self.last_asked, self.single_was_last) = (Some(now), true);
            }
            return Next::One(id, job.kind);
        }
        let never = now + self.interval;
        let some_wait = may.single && self.line.singles() > 0 && turn > now;
        let single = if some_wait { turn } else { never };
        if few {
            return Next::At(self.next_left(now).unwrap_or(never).min(single));
        }
        let at = page.unwrap_or(never);
        if at > now {
            return Next::At(at.min(single));
        }
        let are_hints = hints.is_some_and(|at| at <= now);
        // A page costs little more for being full: those that are due soon come along. Alone, nobody
        // comes along with anybody; and where one page of hints follows the other, each takes along
        // what is due before the next ones, or jobs would be looked at too often.
        let mut early = if may.lists {
            self.interval / 4
        } else {
            Duration::ZERO
        };
        if are_hints && let Some(before) = self.last_hints {
            early = early.min((now - before) * 3 / 2);
        }
        let mut page = Page::new(self.page_size);
        let but = if are_hints {
            self.line.take_hinted(&mut self.jobs, &mut page)
        } else {
            due.and_then(|(_, but)| but)
        };
        // Rows are dear, and what was heard of is waited for.
        if !are_hints || but.is_some() {
            let until = now + early;
            self.line.take_due(&mut self.jobs, but, until, &mut page);
        }
        // What no list shows would only spoil one.
        let is_unlisted = |id: &u64| self.jobs.get(id).is_some_and(|job| job.is_unlisted);
        let (unlisted, listed) = page.ids.into_iter().partition(is_unlisted);
        page.ids = listed;
        self.each_alone(&unlisted);
        let is_page = may.lists && page.ids.len() > 1;
        if !are_hints || is_recovering {
            (self.last_asked, self.single_was_last) = (Some(now), false);
        }
        // A single question keeps no page waiting.
        if are_hints && (is_page || self.line.hints() == 0) {
            self.last_hints = Some(now);
        }
        if is_page {
            return Next::Page(page.ids, but);
        }
        self.each_alone(&page.ids);
        self.next(now, may)
    }

    /// When those are asked about that something was heard of, the first of them then: what comes soon
    /// after it comes along. What fills a page need not wait for more, nor what was in another status
    /// than the page before it, and left over.
    fn hints_at(&self, since: Instant, now: Instant) -> Instant {
        let Some(last) = self.last_hints else {
            return now;
        };
        let gap = if self.line.hints() >= self.page_size {
            self.gap().min(HINT_GAP)
        } else if since <= last {
            LEFT_OVER_GAP
        } else {
            HINT_GAP
        };
        (last + gap).max(now)
    }

    /// Who still waits for a round, now that there are none, is asked about alone; not all at once. And
    /// who relies on being told has to ask from now on.
    fn leave_the_round(&mut self, now: Instant) {
        self.recovering_until = self.recovering_until.max(Some(now + self.interval));
        for (id, job) in &mut self.jobs {
            if matches!(job.place, Place::Round(_)) && job.has_waiters() {
                self.line.put(*id, job, Place::Alone);
            } else if !job.has_ended() {
                self.left_alone.push_back(Change::unseen(*id, job));
            }
        }
    }

    /// A job that no round looks at any more, if it is time to tell of one: whoever is told asks.
    pub(super) fn left_alone(&mut self, now: Instant) -> Option<Change> {
        if self.next_left(now)? > now {
            return None;
        }
        self.last_left = Some(now);
        self.left_alone.pop_front()
    }

    fn next_left(&self, now: Instant) -> Option<Instant> {
        let gap = (self.interval / 40).min(LEFT_GAP);
        (!self.left_alone.is_empty()).then(|| self.last_left.map_or(now, |at| at + gap))
    }

    /// Drops jobs that nobody has asked about for long.
    fn forget(&mut self, now: Instant) {
        let lately = |at: Instant| now.saturating_duration_since(at) < self.interval;
        if self.last_clearing.is_some_and(lately) {
            return;
        }
        self.last_clearing = Some(now);
        let (line, patience) = (&mut self.line, self.interval * 3);
        self.jobs.retain(|id, job| {
            let patience = if job.has_ended() {
                patience
            } else {
                patience.max(PATIENCE)
            };
            let stays = job.place == Place::Asked
                || job.has_waiters()
                || now.saturating_duration_since(job.asked) < patience;
            if !stays {
                line.remove(*id, job);
            }
            stays
        });
    }
}
