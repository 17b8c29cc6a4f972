//! What answers, or the lack of one, change.

use std::sync::Arc;

use provider_core::{JobState, ProviderError};
use tokio::time::Instant;

use crate::monitor::line::{Last, Line, Place};
use crate::monitor::pace::Chance;
use crate::monitor::parts::SUSPICIOUS;
use crate::monitor::{Rows, Seen};
use crate::words::Lasting;

use super::{Change, FEWEST, LONG_LINE, MIN_PAGE, Schedule};

impl Schedule {
    /// The most rows that a page is known to have: none for longer than a round, because that may change.
    fn most_rows(&self, now: Instant) -> usize {
        let lately = |at: Instant| now.saturating_duration_since(at) <= self.interval;
        let is_lately = self.most_rows_at.is_some_and(lately);
        if is_lately { self.most_rows } else { 0 }
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
            self.page_size = self.page_size.min(rows.max(FEWEST));
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
                self.pace.ended(&seen);
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
            let is_canceling = job.is_canceling(now);
            let neared = &mut job.has_neared_end;
            let wait = self.pace.wait(&seen, is_canceling, chance, neared);
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
            good_for: self.pace.good_for(wait),
        });
        self.line.put(id, job, place);
        is_news.then_some(Change {
            id,
            kind: job.kind,
            state,
        })
    }

    /// One job has answered for itself.
    pub(in crate::monitor) fn one(&mut self, id: u64, seen: Seen, now: Instant) -> Option<Change> {
        let chance = self.pace.chance();
        self.see(id, seen, chance, now)
    }

    /// A page has come about these: some may be on it, and the others are still in the status that need
    /// not be shown, or have to be asked about by themselves.
    pub(in crate::monitor) fn page(
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
        for id in ids {
            if let Some(job) = self.jobs.get_mut(id) {
                job.page_failures = 0;
            }
        }
        for (id, seen) in std::mem::take(&mut rows.rows) {
            changes.extend(self.see(id, seen, chance, now));
        }
        for id in &rows.unlisted {
            if let Some(job) = self.jobs.get_mut(id) {
                job.is_unlisted = true;
            }
        }
        self.each_alone(&rows.unlisted);
        // With rows that cannot be read, nobody knows who was left out.
        if but.is_some() && rows.unreadable == 0 {
            // A server that gives less at once than it was asked for does not say so, but rows come in
            // the order of their ids: what is behind the last one may have been cut off, unless there
            // have been more lately.
            let may_be_cut = count >= FEWEST.max(self.most_rows(now));
            let end = last.filter(|_| may_be_cut).unwrap_or(u64::MAX);
            let ids = ids.iter().copied();
            let behind: Vec<u64> = ids.clone().filter(|id| *id > end).collect();
            left = self.same(ids.filter(|id| *id <= end), &rows, chance, now);
            self.again(&behind, now);
        } else {
            left.extend_from_slice(ids);
        }
        if count > 0 && count >= self.most_rows(now) {
            (self.most_rows, self.most_rows_at) = (count, Some(now));
        }
        let behind = ids.iter().filter(|id| Some(**id) > last).count();
        let may_be_cap =
            but.is_none() && count > 0 && (count >= MIN_PAGE || behind >= count.max(FEWEST));
        for id in &left {
            let job = self.jobs.get_mut(id);
            if let Some(job) = job.filter(|job| job.place == Place::Asked) {
                // A job that is not on the page is gone only when it says so itself.
                job.take(|more| &mut more.missed);
                if may_be_cap && Some(*id) > last {
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
            let (is_canceling, has_waiters) = (job.is_canceling(now), job.has_waiters());
            // What was seen may have been voided since: it is asked about by itself then.
            let Some(last) = job.last.as_mut().filter(|_| !job.voided) else {
                left.push(id);
                continue;
            };
            last.seen.read = Arc::clone(&rows.read);
            let neared = &mut job.has_neared_end;
            let wait = self.pace.wait(&last.seen, is_canceling, chance, neared);
            last.good_for = self.pace.good_for(wait);
            if has_waiters {
                let told = Ok(last.seen.clone());
                job.tell(&told);
            }
            self.line.put(id, job, Place::Round(now + wait));
        }
        left
    }

    /// The controller does not know this job. Nobody may have asked just now, but somebody will.
    pub(in crate::monitor) fn gone(&mut self, id: u64, error: &ProviderError) -> Option<Change> {
        let mut job = self.jobs.swap_remove(&id)?;
        self.line.remove(id, &job);
        let is_news = !job.has_waiters();
        job.tell(&Err(error.clone()));
        is_news.then(|| Change::unseen(id, &job))
    }

    /// These could not be asked about. Whoever waits is told; the next try has its place in the
    /// round, not at once.
    pub(in crate::monitor) fn failed(&mut self, ids: &[u64], error: &ProviderError, now: Instant) {
        for id in ids {
            if let Some(job) = self.jobs.get_mut(id) {
                job.tell(&Err(error.clone()));
                let retry = now + self.pace.until_retry();
                self.line.give_up(*id, job, retry);
            }
        }
    }

    /// The page of these could not be had, perhaps because of one of them.
    pub(in crate::monitor) fn suspect(&mut self, ids: &[u64]) {
        for id in ids {
            if let Some(job) = self.jobs.get_mut(id) {
                job.page_failures = job.page_failures.saturating_add(1);
            }
        }
    }

    /// Whether one of these may be what pages fail of.
    pub(in crate::monitor) fn are_suspicious(&self, ids: &[u64]) -> bool {
        let failures = |id: &u64| self.jobs.get(id).map(|job| job.page_failures);
        ids.iter().filter_map(failures).max() >= Some(SUSPICIOUS)
    }

    /// These are asked about one by one instead; whoever waits goes on waiting.
    pub(in crate::monitor) fn each_alone(&mut self, ids: &[u64]) {
        for id in ids {
            if let Some(job) = self.jobs.get_mut(id) {
                self.line.put(*id, job, Place::Alone);
            }
        }
    }

    /// The server refuses a question about so many: whether smaller ones are worth a try.
    pub(in crate::monitor) fn smaller_pages(&mut self, asked: usize) -> bool {
        let smaller = (asked / 2).max(MIN_PAGE);
        let is_worth = smaller < asked;
        if is_worth {
            self.page_size = self.page_size.min(smaller);
        }
        is_worth
    }

    /// Those of them that are not answered have their place in the next page, at once; those of which
    /// what was seen counts no more are asked about by themselves.
    pub(in crate::monitor) fn again(&mut self, ids: &[u64], now: Instant) {
        for id in ids {
            let job = self.jobs.get_mut(id);
            if let Some(job) = job.filter(|job| job.place == Place::Asked) {
                let place = if std::mem::take(&mut job.voided) {
                    Place::Alone
                } else {
                    Place::Round(now)
                };
                self.line.put(*id, job, place);
            }
        }
    }

    /// Everybody who waits is told this error, and what was to be asked soon comes later.
    pub(in crate::monitor) fn refuse(&mut self, error: &ProviderError, now: Instant) {
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
    pub(in crate::monitor) fn abandon(&mut self) {
        self.jobs.clear();
        self.line = Line::default();
    }
}
