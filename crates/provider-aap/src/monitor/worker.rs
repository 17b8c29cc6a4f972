//! Asks, question by question, as long as somebody wants to know.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use provider_core::{ErrorKind, ProviderError};
use tokio::time::Instant;

use crate::words::{Kind, Lasting};

use super::breaker::{Door, Pass};
use super::parts::{in_parts, may_be_the_row};
use super::schedule::Next;
use super::{Inner, May, Rows, Seen, Source, State};

/// How long single questions are asked at first where lists are refused, and at most.
const WITHOUT_LISTS: Duration = Duration::from_secs(30);
const LONG_WITHOUT_LISTS: Duration = Duration::from_secs(600);
/// How long the task sleeps at most without looking whether its monitor is still there.
const MAX_SLEEP: Duration = Duration::from_secs(30);

/// So many lists in a row are refused before that is taken for a right that we lack: gateways answer 403
/// now and then to what they let through a moment later.
const REFUSALS: u32 = 3;

/// Whether the controller lets us have lists.
#[derive(Default)]
pub(super) struct Lists {
    in_a_row: u32,
    refused_until: Option<Instant>,
    pause: Option<Duration>,
}

impl Lists {
    fn may_be_had(&self, now: Instant) -> bool {
        self.refused_until.is_none_or(|until| until <= now)
    }

    fn served(&mut self) {
        *self = Self::default();
    }

    /// One was refused. Whether none is asked for from now on.
    fn refused(&mut self, now: Instant) -> bool {
        self.in_a_row = self.in_a_row.saturating_add(1);
        if self.in_a_row < REFUSALS {
            return false;
        }
        let pause = self.pause.map_or(WITHOUT_LISTS, |pause| pause * 2);
        let pause = pause.min(LONG_WITHOUT_LISTS);
        (self.pause, self.refused_until) = (Some(pause), Some(now + pause));
        true
    }
}

/// What was asked.
enum Question {
    Page {
        ids: Vec<u64>,
        but: Option<Lasting>,
        /// Whether one of them may be what pages fail of.
        suspicious: bool,
    },
    One(u64, Kind),
}

/// And what came of it.
enum Outcome {
    Page {
        ids: Vec<u64>,
        but: Option<Lasting>,
        answer: Result<Rows, ProviderError>,
        /// Whether the controller serves nevertheless, where this is known.
        serves: bool,
    },
    One(u64, Result<Seen, ProviderError>, bool),
}

/// How many questions are on their way.
#[derive(Default)]
struct Out {
    pages: usize,
    singles: usize,
}

impl Out {
    fn none(&self) -> bool {
        self.pages + self.singles == 0
    }

    fn of(&mut self, is_page: bool) -> &mut usize {
        if is_page {
            &mut self.pages
        } else {
            &mut self.singles
        }
    }
}

/// Sees to it that nobody waits for a task that is no more, however it ended, or that never began.
pub(super) struct Ending(Weak<Inner>);

impl Ending {
    pub(super) fn new(inner: &Arc<Inner>) -> Self {
        Self(Arc::downgrade(inner))
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(inner) = self.0.upgrade() {
            let mut state = inner.lock();
            state.is_running = false;
            state.schedule.abandon();
            inner.measure(&state, Instant::now());
        }
    }
}

/// Runs until there is nothing left to watch, or nobody left to tell.
pub(super) async fn run(mut ending: Ending) {
    let monitor = ending.0.clone();
    let mut questions = FuturesUnordered::new();
    let mut out = Out::default();
    loop {
        let Some(inner) = monitor.upgrade() else {
            return;
        };
        let now = Instant::now();
        let sleep_until = match step(&inner, now, &out) {
            Step::Ask(question, pass) => {
                *out.of(matches!(question, Question::Page { .. })) += 1;
                questions.push(ask(Arc::clone(&inner), question, pass));
                continue;
            }
            Step::Sleep(until) => until.min(now + MAX_SLEEP),
            Step::End => {
                // Whoever asks next starts another task.
                ending.0 = Weak::new();
                return;
            }
        };
        let wake = Arc::clone(&inner.wake);
        drop(inner);
        tokio::select! {
            biased;
            Some((outcome, pass)) = questions.next() => {
                let Some(inner) = monitor.upgrade() else { return };
                *out.of(matches!(outcome, Outcome::Page { .. })) -= 1;
                done(&inner, outcome, &pass);
            }
            () = wake.notified() => {}
            () = tokio::time::sleep_until(sleep_until) => {}
        }
    }
}

enum Step {
    Ask(Question, Pass),
    Sleep(Instant),
    End,
}

fn step(inner: &Inner, now: Instant, out: &Out) -> Step {
    let mut state = inner.lock();
    let pass = match state.breaker.ask(inner.moment(now)) {
        Door::Open(pass) => pass,
        Door::Shut(left) => return Step::Sleep(now + left),
        Door::Trying => return Step::Sleep(now + MAX_SLEEP),
    };
    let may = May {
        page: out.pages < inner.config.max_in_flight(),
        single: out.singles < inner.config.max_singles(),
        lists: state.lists.may_be_had(now),
    };
    let step = match state.schedule.next(now, may) {
        Next::Page(ids, but) => {
            let suspicious = state.schedule.are_suspicious(&ids);
            let question = Question::Page {
                ids,
                but,
                suspicious,
            };
            Step::Ask(question, pass)
        }
        Next::One(id, kind) => Step::Ask(Question::One(id, kind), pass),
        Next::At(at) => Step::Sleep(at),
        Next::Idle if out.none() => {
            state.is_running = false;
            Step::End
        }
        Next::Idle => Step::Sleep(now + MAX_SLEEP),
    };
    if !matches!(step, Step::Sleep(_)) {
        inner.measure(&state, now);
    }
    let left_alone = state.schedule.left_alone(now);
    drop(state);
    if let Some(change) = left_alone {
        inner.events.publish(change);
    }
    step
}

async fn ask(inner: Arc<Inner>, question: Question, pass: Pass) -> (Outcome, Pass) {
    let source = &*inner.source;
    let outcome = match question {
        Question::Page {
            ids,
            but,
            suspicious,
        } => {
            let mut answer = source.page(&ids, but).await;
            let mut serves = suspicious && serves_others(source, &answer).await;
            if serves && let Err(error) = answer {
                answer = in_parts(source, &ids, but, error).await;
                serves = answer.as_ref().is_err_and(may_be_the_row);
            }
            Outcome::Page {
                ids,
                but,
                answer,
                serves,
            }
        }
        Question::One(id, kind) => {
            let answer = source.one(kind, id).await;
            let serves = serves_others(source, &answer).await;
            Outcome::One(id, answer, serves)
        }
    };
    (outcome, pass)
}

/// Whether it is what was asked for that cannot be had, and not the controller that does not serve.
async fn serves_others<T>(source: &dyn Source, answer: &Result<T, ProviderError>) -> bool {
    let may_be = answer.as_ref().is_err_and(may_be_the_row);
    may_be && source.serves().await
}

/// Whether it is the controller that is at fault, and not what was asked.
pub(super) fn is_trouble(error: &ProviderError) -> bool {
    !matches!(
        error.kind(),
        ErrorKind::NotFound | ErrorKind::Forbidden | ErrorKind::Invalid | ErrorKind::Conflict
    )
}

fn done(inner: &Inner, outcome: Outcome, pass: &Pass) {
    let now = Instant::now();
    let mut state = inner.lock();
    let (error, serves) = match &outcome {
        Outcome::Page { answer, serves, .. } => (answer.as_ref().err(), *serves),
        Outcome::One(_, answer, serves) => (answer.as_ref().err(), *serves),
    };
    let (mut is_shut, moment) = (false, inner.moment(now));
    match error.filter(|error| is_trouble(error) && !serves) {
        None => state.breaker.served(pass, moment),
        Some(error) => is_shut = state.breaker.failed(pass, moment, error),
    }
    let mut changes = Vec::new();
    match outcome {
        Outcome::Page {
            ids, but, answer, ..
        } => match answer {
            Ok(rows) => {
                state.lists.served();
                changes = state.schedule.page(&ids, but, rows, now);
            }
            Err(error) if is_trouble(&error) => {
                if may_be_the_row(&error) {
                    state.schedule.suspect(&ids);
                }
                state.schedule.failed(&ids, &error, now);
            }
            Err(error) => refused(&mut state, &ids, &error, now),
        },
        Outcome::One(id, answer, _) => match answer {
            Ok(seen) => changes.extend(state.schedule.one(id, seen, now)),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                changes.extend(state.schedule.gone(id, &error));
            }
            Err(error) => state.schedule.failed(&[id], &error, now),
        },
    }
    if is_shut && let Some(refusal) = state.breaker.refusal(moment) {
        state.schedule.refuse(&refusal, now);
    }
    inner.measure(&state, now);
    drop(state);
    for change in changes {
        inner.events.publish(change);
    }
}

/// It is not the jobs that are wrong: they are asked about in another way, now.
fn refused(state: &mut State, ids: &[u64], error: &ProviderError, now: Instant) {
    // Too long a question, for one.
    if error.kind() == ErrorKind::Invalid && state.schedule.smaller_pages(ids.len()) {
        tracing::warn!(
            "a list of {} jobs is refused, so smaller ones are asked for: {error}",
            ids.len()
        );
        state.schedule.again(ids, now);
        return;
    }
    if state.lists.refused(now) {
        tracing::warn!("lists of jobs are refused, so each job is asked about by itself: {error}");
        state.schedule.each_alone(ids);
    } else {
        tracing::debug!("a list of jobs was refused and is asked for once more: {error}");
        state.schedule.again(ids, now);
    }
}
