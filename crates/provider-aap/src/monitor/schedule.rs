//! Which jobs are asked about next, and together. No IO; the time is told.

use std::sync::Arc;
use std::time::Duration;

use indexmap::map::Entry;
use provider_core::{JobState, ProviderError};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::words::{Kind, Lasting};

use super::line::{Last, Line, Place, Watched};
use super::pace::{Chance, Pace, Usual};
use super::page::Page;
use super::table::Jobs;
use super::{MonitorConfig, Rows, Seen};

/// The largest page that the controller gives.
pub(super) const PAGE: usize = 200;
/// The smallest page that is worth its name, whatever the server gives.
const MIN_PAGE: usize = 20;
/// The longest time between two pages of the round, however few there are: somebody may be waiting.
const MAX_GAP: Duration = Duration::from_millis(700);
/// Who asks within so long of each other asks together.
const WINDOW: Duration = Duration::from_millis(20);
/// The time between two pages of jobs that something was heard of.
pub(crate) const HINT_GAP: Duration = Duration::from_millis(600);
/// And before one of those that were left over from it.
const LEFT_OVER_GAP: Duration = Duration::from_millis(100);
/// Live jobs are kept at least so long without a question: engines may poll less often than we do.
const PATIENCE: Duration = Duration::from_secs(300);
/// So many rounds look at a running job before somebody who is told of its end need ask: it is for the
/// case that he was not. And for no longer than that; it stays watched for twice as long.
const SAFETY_NET: u32 = 10;
const MAX_SAFETY_NET: Duration = Duration::from_secs(150);
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
    /// The most that the server has been seen to give.
    most_rows: usize,
    pace: Pace,
    jobs: Jobs,
    line: Line,
    usual: Usual,
    /// Whether each is asked about by itself, when somebody wants to know.
    few: bool,
    /// The last page of the round or single question, and which of them it was.
    last_asked: Option<Instant>,
    single_was_last: bool,
    /// Whether nothing was to be asked for a while, and until when that is made up for.
    was_shut: bool,
    recovering_until: Option<Instant>,
    last_hints: Option<Instant>,
    last_clearing: Option<Instant>,
    left_alone: Vec<Change>,
}

/// What to do about a question.
pub(super) enum Asked {
    /// This is new enough.
    Known(Seen),
    /// The answer comes here.
    Wait(oneshot::Receiver<Told>),
    /// Nothing is known, and nothing may be asked.
    Refused,
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
            pace: Pace::new(interval, seed),
            jobs: Jobs::default(),
            line: Line::default(),
            usual: Usual::default(),
            few: true,
            last_asked: None,
            single_was_last: false,
            was_shut: false,
            recovering_until: None,
            last_hints: None,
            last_clearing: None,
            left_alone: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    /// So few that each is asked about by itself, when somebody wants to know. Once there were many,
    /// half of them are: a few that come and go must not turn everything over each time.
    pub(super) fn are_few(&self) -> bool {
        let enough = if self.few {
            self.batch_from
        } else {
            self.batch_from.div_ceil(2)
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
    /// old by the caller's clock; `may_ask` whether questions go out at all.
    pub(super) fn ask(
        &mut self,
        id: u64,
        kind: Kind,
        now: Instant,
        may_ask: bool,
        is_old: impl Fn(&Seen, Duration) -> bool,
    ) -> Asked {
        if let Some(seen) = self.known(id, now, is_old) {
            return Asked::Known(seen);
        }
        let few = self.are_few();
        let job = self
            .jobs
            .entry(id)
            .or_insert_with(|| Watched::new(kind, now));
        job.asked = now;
        if !may_ask {
            return Asked::Refused;
        }
        let (tell, told) = oneshot::channel();
        job.more().waiters.push(tell);
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
            job.more().cancelling_until = Some(now + CANCEL_PATIENCE);
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
        if few && !std::mem::replace(&mut self.few, few) {
            self.leave_the_round(now);
        }
        self.few = few;
        if std::mem::take(&mut self.was_shut) {
            self.recovering_until = Some(now + self.interval * 3);
        }
        // After an outage much has happened at once, and single questions take turns with pages, where
        // there are any: both together go out at the pace of pages.
        let is_recovering = self.recovering_until > Some(now);
        let are_all_single = !few && !may.lists;
        let are_free = are_all_single || !is_recovering;
        let earliest = self.last_asked.map(|at| at + self.gap());
        let is_turn = earliest.is_none_or(|at| at <= now);
        let page_due = self.line.first_due(&self.jobs);
        let page_due = page_due.filter(|_| !few && may.page).map(|(due, _)| due);
        let page_waits = self.single_was_last && page_due.is_some_and(|due| due <= now);
        if may.single
            && (are_free || (is_turn && !page_waits))
            && let Some((id, job)) = self.line.next_alone(&mut self.jobs)
        {
            if !are_free {
                (self.last_asked, self.single_was_last) = (Some(now), true);
            }
            return Next::One(id, job.kind);
        }
        let never = now + self.interval;
        let in_turn = |at: Instant| earliest.map_or(at, |earliest| earliest.max(at));
        let single = (may.single && self.line.singles() > 0).then(|| in_turn(now));
        let single = single.filter(|at| *at > now).unwrap_or(never);
        if few {
            return Next::At(single);
        }
        let hints = self.line.first_hint().filter(|_| may.page);
        let hints = hints.map(|since| self.hints_at(since, now));
        let round = page_due.map(in_turn);
        let at = [hints, round].into_iter().flatten().min().unwrap_or(never);
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
        let (ids, but) = self.fit(now + early, are_hints);
        let is_page = may.lists && ids.len() > 1;
        if !are_hints {
            (self.last_asked, self.single_was_last) = (Some(now), false);
        } else if is_page || self.line.hints() == 0 {
            // A single question keeps no page waiting.
            self.last_hints = Some(now);
        }
        if is_page {
            return Next::Page(ids, but);
        }
        self.each_alone(&ids);
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

    /// As many as fit into one question, in one status, and are due until then: they are asked about now.
    fn fit(&mut self, until: Instant, are_hints: bool) -> (Vec<u64>, Option<Lasting>) {
        let mut page = Page::new(self.page_size);
        let but = if are_hints {
            // Of the status alone: what was not shown for long is shown at its next turn.
            let status = |id| self.jobs.get(&id).and_then(|job| job.lasting);
            let but = self.line.hinted().next().and_then(status);
            for id in self.line.hinted().filter(|id| status(*id) == but) {
                if page.is_full() {
                    break;
                }
                page.add(id);
            }
            for id in &page.ids {
                if let Some(job) = self.jobs.get_mut(id) {
                    self.line.put(*id, job, Place::Asked);
                }
            }
            but
        } else {
            let first = self.line.first_due(&self.jobs);
            first.and_then(|(_, but)| but)
        };
        // Rows are dear, and what was heard of is waited for.
        if !are_hints || but.is_some() {
            let jobs = &mut self.jobs;
            self.line.take_due(jobs, but, until, &mut page);
        }
        (page.ids, but)
    }

    /// Who still waits for a round, now that there are none, is asked about alone; not all at once. And
    /// who relies on being told has to ask from now on.
    fn leave_the_round(&mut self, now: Instant) {
        self.recovering_until = self.recovering_until.max(Some(now + self.interval));
        for (id, job) in &mut self.jobs {
            if matches!(job.place, Place::Round(_)) && job.has_waiters() {
                self.line.put(*id, job, Place::Alone);
            } else if !job.has_ended() {
                self.left_alone.push(Change::unseen(*id, job));
            }
        }
    }

    /// Jobs that no round looks at any more.
    pub(super) fn left_alone(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.left_alone)
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

    /// What was seen of a job, on a page or by itself. Whether that is news.
    fn see(&mut self, id: u64, seen: Seen, chance: Chance, now: Instant) -> Option<Change> {
        let few = self.are_few();
        let state = seen.state();
        let job = self.jobs.get_mut(&id)?;
        if seen.is_detail
            && let Some(rows) = job.take(|more| &mut more.missed)
        {
            // The page was full before it: the server gives less at once than it was asked for.
            self.page_size = self.page_size.min(rows);
            self.most_rows = self.most_rows.min(rows);
        }
        let shown = self.pace.until_shown(&seen, chance);
        (job.shown_until, job.lasting) = (Some(now + shown), seen.lasting());
        if std::mem::take(&mut job.voided) {
            self.line.put(id, job, Place::Alone);
            return None;
        }
        let is_owed = seen.is_detail && job.take(|more| &mut more.owes_detail);
        let is_other = match &job.last {
            Some(last) => last.seen.state() != state,
            // At first sight a job that is alive has changed for nobody who is told of it anyway.
            None => state.is_terminal() || !job.has_waiters(),
        };
        let is_news = is_owed || is_other;
        let (wait, place) = if state.is_terminal() {
            if is_news {
                self.usual.ended(&seen);
                // Who is told of it may not have asked for long, and asks now.
                job.asked = now;
            }
            // A claimed end may have to be looked at again, a success is one.
            let wait = match state {
                JobState::Succeeded => self.interval,
                _ => self.interval / 4,
            };
            (wait, Place::Rest)
        } else {
            let is_cancelling = job.is_cancelling(now);
            let neared = &mut job.has_neared_end;
            let wait = wait(
                &self.pace,
                &self.usual,
                &seen,
                is_cancelling,
                chance,
                neared,
            );
            let place = if few {
                Place::Rest
            } else {
                Place::Round(now + wait)
            };
            (wait, place)
        };
        let lacks_detail = seen.lacks_detail() && job.has_waiters();
        let is_long = self.line.singles() >= LONG_LINE;
        if !lacks_detail || is_long {
            job.tell(&Ok(seen.clone()));
            if lacks_detail {
                job.more().owes_detail = true;
            }
        }
        let place = if lacks_detail { Place::Alone } else { place };
        job.last = Some(Last {
            seen,
            good_for: good_for(wait, self.interval),
        });
        self.line.put(id, job, place);
        is_news.then_some(Change {
            id,
            kind: job.kind,
            state,
        })
    }

    /// One job has answered for itself.
    pub(super) fn one(&mut self, id: u64, seen: Seen, now: Instant) -> Option<Change> {
        let chance = self.pace.chance();
        self.see(id, seen, chance, now)
    }

    /// A page has come about these: some may be on it, and the others are still in the status that need
    /// not be shown, or have to be asked about by themselves.
    pub(super) fn page(
        &mut self,
        ids: &[u64],
        but: Option<Lasting>,
        mut rows: Rows,
        now: Instant,
    ) -> Vec<Change> {
        let count = rows.rows.len();
        let last = rows.rows.iter().map(|(id, _)| *id).max();
        let chance = self.pace.chance();
        let mut changes = Vec::with_capacity(count);
        let mut left = Vec::new();
        for (id, seen) in std::mem::take(&mut rows.rows) {
            changes.extend(self.see(id, seen, chance, now));
        }
        // With rows that cannot be read, nobody knows who was left out.
        if but.is_some() && rows.unreadable == 0 {
            // A server that gives less at once than it was asked for does not say so, but rows come in
            // the order of their ids: what is behind the last of many may have been cut off, unless
            // there have been more before.
            let may_be_cut = count >= MIN_PAGE.max(self.most_rows);
            let end = last.filter(|_| may_be_cut).unwrap_or(u64::MAX);
            let ids = ids.iter().copied();
            let behind: Vec<u64> = ids.clone().filter(|id| *id > end).collect();
            left = self.same(ids.filter(|id| *id <= end), &rows, chance, now);
            self.again(&behind, now);
            left.extend(behind);
        } else {
            left.extend_from_slice(ids);
        }
        self.most_rows = self.most_rows.max(count);
        for id in &left {
            let job = self.jobs.get_mut(id);
            if let Some(job) = job.filter(|job| job.place == Place::Asked) {
                // A job that is not on the page is gone only when it says so itself.
                job.take(|more| &mut more.missed);
                if but.is_none() && count >= MIN_PAGE {
                    job.more().missed = Some(count);
                }
                self.line.put(*id, job, Place::Alone);
            }
        }
        changes
    }

    /// Those of them that were not on the page are still in the status in which they were seen. Answers
    /// those of which nothing was seen that counts.
    fn same(
        &mut self,
        ids: impl Iterator<Item = u64>,
        rows: &Rows,
        chance: Chance,
        now: Instant,
    ) -> Vec<u64> {
        let mut left = Vec::new();
        for id in ids {
            let job = self.jobs.get_mut(&id);
            let Some(job) = job.filter(|job| job.place == Place::Asked) else {
                continue;
            };
            let (is_cancelling, has_waiters) = (job.is_cancelling(now), job.has_waiters());
            // What was seen may have been voided since: it is asked about by itself then.
            let Some(last) = job.last.as_mut().filter(|_| !job.voided) else {
                left.push(id);
                continue;
            };
            last.seen.read = Arc::clone(&rows.read);
            let neared = &mut job.has_neared_end;
            let wait = wait(
                &self.pace,
                &self.usual,
                &last.seen,
                is_cancelling,
                chance,
                neared,
            );
            last.good_for = good_for(wait, self.interval);
            if has_waiters {
                let told = Ok(last.seen.clone());
                job.tell(&told);
            }
            self.line.put(id, job, Place::Round(now + wait));
        }
        left
    }

    /// The controller does not know this job. Nobody may have asked just now, but somebody will.
    pub(super) fn gone(&mut self, id: u64, error: &ProviderError) -> Option<Change> {
        let mut job = self.jobs.swap_remove(&id)?;
        self.line.remove(id, &job);
        let is_news = !job.has_waiters();
        job.tell(&Err(error.clone()));
        is_news.then(|| Change::unseen(id, &job))
    }

    /// These could not be asked about. Whoever waits is told; the next try has its place in the
    /// round, not at once.
    pub(super) fn failed(&mut self, ids: &[u64], error: &ProviderError, now: Instant) {
        for id in ids {
            if let Some(job) = self.jobs.get_mut(id) {
                job.tell(&Err(error.clone()));
                let retry = now + self.pace.until_retry();
                self.line.give_up(*id, job, retry);
            }
        }
    }

    /// These are asked about one by one instead; whoever waits goes on waiting.
    pub(super) fn each_alone(&mut self, ids: &[u64]) {
        for id in ids {
            if let Some(job) = self.jobs.get_mut(id) {
                self.line.put(*id, job, Place::Alone);
            }
        }
    }

    /// The server refuses a question about so many: whether smaller ones are worth a try.
    pub(super) fn smaller_pages(&mut self, asked: usize) -> bool {
        let smaller = (asked / 2).max(MIN_PAGE);
        let is_worth = smaller < asked;
        if is_worth {
            self.page_size = self.page_size.min(smaller);
        }
        is_worth
    }

    /// Those of them that are not answered have their place in the next page, at once.
    pub(super) fn again(&mut self, ids: &[u64], now: Instant) {
        for id in ids {
            let job = self.jobs.get_mut(id);
            if let Some(job) = job.filter(|job| job.place == Place::Asked && !job.voided) {
                self.line.put(*id, job, Place::Round(now));
            }
        }
    }

    /// Everybody who waits is told this error, and what was to be asked soon comes later.
    pub(super) fn refuse(&mut self, error: &ProviderError, now: Instant) {
        self.was_shut = true;
        for (id, job) in &mut self.jobs {
            job.tell(&Err(error.clone()));
            if job.place == Place::Alone {
                let retry = now + self.pace.until_retry();
                self.line.give_up(*id, job, retry);
            }
        }
    }

    /// Nobody asks any more, and nobody will be told.
    pub(super) fn abandon(&mut self) {
        self.jobs.clear();
        self.line = Line::default();
    }
}

/// How soon a job that is not over is looked at again.
fn wait(
    pace: &Pace,
    usual: &Usual,
    seen: &Seen,
    is_cancelling: bool,
    chance: Chance,
    has_neared_end: &mut bool,
) -> Duration {
    let next = pace.until_next(seen, is_cancelling, chance);
    if *has_neared_end {
        return next;
    }
    let usual_end = pace.until_usual_end(seen, usual, next);
    *has_neared_end = usual_end.is_some();
    usual_end.unwrap_or(next)
}

/// How long an answer is good whose job is looked at again after this wait: until then, and as long as
/// that look may be late.
fn good_for(wait: Duration, interval: Duration) -> Duration {
    wait + wait.min(interval) / 2
}
