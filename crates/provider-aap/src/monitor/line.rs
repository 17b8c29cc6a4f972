//! The jobs that are watched, and the place that each has in the line.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use provider_core::JobState;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::words::{Kind, Lasting};

use super::Seen;
use super::page::Page;
use super::schedule::Told;
use super::table::Jobs;

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In the round, to be asked about then, with others.
    Round(Instant),
    /// In the line of those that are asked about by themselves.
    Alone,
    /// A question about it is on its way.
    Asked,
    /// Nowhere, until somebody wants to know.
    Rest,
}

/// What was seen last.
pub(super) struct Last {
    pub(super) seen: Seen,
    /// How long it may be told without a look.
    pub(super) good_for: Duration,
}

/// A job that is watched. Rounds go through ten thousand of them: what most have not is apart.
pub(super) struct Watched {
    pub(super) place: Place,
    pub(super) asked: Instant,
    pub(super) last: Option<Last>,
    /// The status that it is probably still in; and until when that is believed of a job that pages
    /// leave out.
    pub(super) lasting: Option<Lasting>,
    pub(super) shown_until: Option<Instant>,
    /// With its place in the round: the status that the page may leave out.
    but: Option<Lasting>,
    /// Since when something was heard of it that no look has followed yet.
    hinted: Option<Instant>,
    pub(super) kind: Kind,
    /// Whether what is on its way counts no more.
    pub(super) voided: bool,
    /// Whether a look has come sooner because of its usual end.
    pub(super) has_neared_end: bool,
    /// Whether no list shows it.
    pub(super) is_unlisted: bool,
    /// How many pages with it have failed in a row.
    pub(super) page_failures: u8,
    more: Option<Box<More>>,
}

/// What most jobs have not.
#[derive(Default)]
pub(super) struct More {
    /// Its end is waited for.
    pub(super) canceling_until: Option<Instant>,
    /// Whether somebody was told of its end without what the job itself tells of it.
    pub(super) owes_detail: bool,
    /// How many rows a page had that should have held it.
    pub(super) missed: Option<usize>,
    pub(super) waiters: Vec<oneshot::Sender<Told>>,
}

impl More {
    fn is_nothing(&self) -> bool {
        self.canceling_until.is_none()
            && !self.owes_detail
            && self.missed.is_none()
            && self.waiters.is_empty()
    }
}

impl Watched {
    pub(super) fn new(kind: Kind, now: Instant) -> Self {
        Self {
            place: Place::Rest,
            asked: now,
            last: None,
            lasting: None,
            shown_until: None,
            but: None,
            hinted: None,
            kind,
            voided: false,
            has_neared_end: false,
            is_unlisted: false,
            page_failures: 0,
            more: None,
        }
    }

    /// To add to it.
    pub(super) fn more(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }

    /// Takes something of it, if there is any.
    pub(super) fn take<T: Default>(&mut self, member: impl FnOnce(&mut More) -> &mut T) -> T {
        let Some(more) = &mut self.more else {
            return T::default();
        };
        let taken = std::mem::take(member(more));
        if more.is_nothing() {
            self.more = None;
        }
        taken
    }

    fn is_due(&self, due: Instant, but: Option<Lasting>) -> bool {
        self.place == Place::Round(due) && self.but == but
    }

    /// The status that it is probably still in at that moment, where it was shown lately enough.
    pub(super) fn status_at(&self, at: Instant) -> Option<Lasting> {
        self.lasting.filter(|_| self.shown_until > Some(at))
    }

    pub(super) fn is_canceling(&self, now: Instant) -> bool {
        let more = self.more.as_ref();
        more.is_some_and(|more| more.canceling_until > Some(now))
    }

    pub(super) fn has_waiters(&self) -> bool {
        let more = self.more.as_ref();
        // Who has given up waits no more.
        let waits = |waiter: &oneshot::Sender<Told>| !waiter.is_closed();
        more.is_some_and(|more| more.waiters.iter().any(waits))
    }

    fn seen(&self) -> Option<&Seen> {
        self.last.as_ref().map(|last| &last.seen)
    }

    pub(super) fn has_ended(&self) -> bool {
        self.seen().is_some_and(|seen| seen.state().is_terminal())
    }

    fn has_succeeded(&self) -> bool {
        self.seen()
            .is_some_and(|seen| seen.state() == JobState::Succeeded)
    }

    pub(super) fn has_failed(&self) -> bool {
        self.seen().is_some_and(Seen::has_failed)
    }

    /// Somebody waits from now on.
    pub(super) fn wait(&mut self, waiter: oneshot::Sender<Told>) {
        let waiters = &mut self.more().waiters;
        waiters.retain(|other| !other.is_closed());
        waiters.push(waiter);
    }

    /// Tells everybody who waits.
    pub(super) fn tell(&mut self, told: &Told) {
        for waiter in self.take(|more| &mut more.waiters) {
            let _ = waiter.send(told.clone());
        }
    }
}

/// Who is asked about next. Every change of a job's place goes through here.
#[derive(Default)]
pub(super) struct Line {
    /// Whether jobs are asked about together: else nobody ever comes to those of the round.
    pub(super) has_rounds: bool,
    round: Round,
    /// Jobs that something was heard of, in that order; none of them asked about now.
    hinted: BTreeSet<(Instant, u64)>,
    /// May hold jobs that have left it.
    alone: VecDeque<u64>,
}

impl Line {
    pub(super) fn put(&mut self, id: u64, job: &mut Watched, place: Place) {
        let is_back = job.place == Place::Asked;
        let place = match place {
            // Who waits must not be put where nobody comes.
            Place::Round(_) if !self.has_rounds && job.has_waiters() => Place::Alone,
            place => place,
        };
        job.place = place;
        match place {
            Place::Round(due) => {
                job.but = job.status_at(due);
                self.round
                    .with(job.but)
                    .entry(due)
                    .or_default()
                    .push_back(id);
            }
            Place::Alone => self.alone.push_back(id),
            Place::Asked | Place::Rest => {}
        }
        match (place, job.hinted) {
            // A look follows.
            (Place::Alone | Place::Asked, Some(since)) => {
                self.hinted.remove(&(since, id));
                job.hinted = None;
            }
            // It was heard of while a question was on its way.
            (_, Some(since)) if is_back => _ = self.hinted.insert((since, id)),
            _ => {}
        }
    }

    /// Something was heard of this job.
    pub(super) fn hint(&mut self, id: u64, job: &mut Watched, now: Instant) {
        // Of a success there is nothing more to hear.
        if job.place == Place::Alone || job.hinted.is_some() || job.has_succeeded() {
            return;
        }
        job.hinted = Some(now);
        // What is on its way may have been read before it happened: it is asked about once more then.
        if job.place != Place::Asked {
            self.hinted.insert((now, id));
        }
    }

    /// It could not be asked about: it has its place in the round, if there is anything to wait for.
    pub(super) fn give_up(&mut self, id: u64, job: &mut Watched, retry: Instant) {
        // The next look is late enough for whatever was heard of it.
        if let Some(since) = job.hinted.take() {
            self.hinted.remove(&(since, id));
        }
        job.voided = false;
        let place = if job.has_ended() {
            Place::Rest
        } else {
            Place::Round(retry)
        };
        self.put(id, job, place);
    }

    pub(super) fn remove(&mut self, id: u64, job: &Watched) {
        if let Some(since) = job.hinted {
            self.hinted.remove(&(since, id));
        }
    }

    /// The first of those that are asked about by themselves, which it is from now on.
    pub(super) fn next_alone<'jobs>(
        &mut self,
        jobs: &'jobs mut Jobs,
    ) -> Option<(u64, &'jobs Watched)> {
        let id = loop {
            let id = self.alone.pop_front()?;
            if jobs.get(&id).is_some_and(|job| job.place == Place::Alone) {
                break id;
            }
        };
        let job = jobs.get_mut(&id)?;
        self.put(id, job, Place::Asked);
        Some((id, job))
    }

    /// When the first of the round is due, and the status that its page may leave out.
    pub(super) fn first_due(&mut self, jobs: &Jobs) -> Option<(Instant, Option<Lasting>)> {
        let kinds = Lasting::ALL.map(Some).into_iter().chain([None]);
        let firsts = kinds.filter_map(|but| Some((self.round.first(but, jobs)?, but)));
        firsts.min()
    }

    /// Adds those to a page that something was heard of, and that were last seen in the status of the
    /// first of them, as many as it has room for: that status. They are asked about from now on.
    pub(super) fn take_hinted(&mut self, jobs: &mut Jobs, page: &mut Page) -> Option<Lasting> {
        // Of the status alone: what was not shown for long is shown at its next turn.
        let status = |id: u64| jobs.get(&id).and_then(|job| job.lasting);
        let mut hinted = self.hinted.iter().map(|(_, id)| *id).peekable();
        let but = hinted.peek().copied().and_then(status);
        for id in hinted.filter(|id| status(*id) == but) {
            if page.is_full() {
                break;
            }
            page.add(id);
        }
        for id in &page.ids {
            if let Some(job) = jobs.get_mut(id) {
                self.put(*id, job, Place::Asked);
            }
        }
        but
    }

    /// Adds those to a page that may leave out this status, and that are due until then, as many as it
    /// has room for. They are asked about from now on.
    pub(super) fn take_due(
        &mut self,
        jobs: &mut Jobs,
        but: Option<Lasting>,
        until: Instant,
        page: &mut Page,
    ) {
        while !page.is_full()
            && let Some(first) = self.round.with(but).first_entry()
            && *first.key() <= until
        {
            let (due, mut ids) = first.remove_entry();
            while !page.is_full()
                && let Some(id) = ids.pop_front()
            {
                let job = jobs.get_mut(&id);
                if let Some(job) = job.filter(|job| job.is_due(due, but)) {
                    page.add(id);
                    self.put(id, job, Place::Asked);
                }
            }
            if !ids.is_empty() {
                self.round.with(but).insert(due, ids);
            }
        }
    }

    pub(super) fn first_hint(&self) -> Option<Instant> {
        self.hinted.first().map(|(since, _)| *since)
    }

    /// How many are to be asked about by themselves, or a few more.
    pub(super) fn singles(&self) -> usize {
        self.alone.len()
    }

    pub(super) fn hints(&self) -> usize {
        self.hinted.len()
    }
}

/// Jobs by the moment when they are due. May hold some that have left their place.
type Due = BTreeMap<Instant, VecDeque<u64>>;

/// When jobs are due, apart for each status that their page may leave out.
#[derive(Default)]
struct Round {
    pending: Due,
    waiting: Due,
    running: Due,
    /// Those whose row is to be seen whatever it tells.
    rows: Due,
}

impl Round {
    fn with(&mut self, but: Option<Lasting>) -> &mut Due {
        match but {
            Some(Lasting::Pending) => &mut self.pending,
            Some(Lasting::Waiting) => &mut self.waiting,
            Some(Lasting::Running) => &mut self.running,
            None => &mut self.rows,
        }
    }

    /// When the first of these is due; those before it that have left their place are dropped.
    fn first(&mut self, but: Option<Lasting>, jobs: &Jobs) -> Option<Instant> {
        loop {
            let mut first = self.with(but).first_entry()?;
            let due = *first.key();
            let is_due = |id: &u64| jobs.get(id).is_some_and(|job| job.is_due(due, but));
            let ids = first.get_mut();
            while ids.front().is_some_and(|id| !is_due(id)) {
                ids.pop_front();
            }
            if !ids.is_empty() {
                return Some(due);
            }
            first.remove();
        }
    }
}
