//! Asks, page by page, as long as somebody wants to know.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use provider_core::{Effect, ErrorKind, ProviderError};
use tokio::time::Instant;

use super::breaker::Door;
use super::schedule::Next;
use super::{Inner, Rows, Seen};

/// How long single questions are asked where lists are refused.
const WITHOUT_LISTS: Duration = Duration::from_secs(600);
/// How long the task sleeps at most without looking whether its monitor is still there.
const MAX_SLEEP: Duration = Duration::from_secs(30);

/// One page that is being asked for.
struct Page {
    ids: Vec<u64>,
    /// None when each was asked about by itself.
    answer: Option<Result<Rows, ProviderError>>,
    /// Whether jobs were left out because nothing has changed.
    leaves_out: bool,
    /// Those that the page lacks, each asked about by itself.
    singles: Vec<(u64, Result<Seen, ProviderError>)>,
}

/// Runs until there is nothing left to watch, or nobody left to tell.
pub(super) async fn run(monitor: Weak<Inner>) {
    let mut pages = FuturesUnordered::new();
    loop {
        let Some(inner) = monitor.upgrade() else {
            return;
        };
        let now = Instant::now();
        let mut sleep_until = now + MAX_SLEEP;
        if pages.len() < inner.config.max_in_flight() {
            match step(&inner, now) {
                Step::Ask(ids, but) => {
                    pages.push(ask(Arc::clone(&inner), ids, but));
                    continue;
                }
                Step::Sleep(until) => sleep_until = until.min(sleep_until),
                Step::End if pages.is_empty() => return,
                Step::End => {}
            }
        }
        let wake = Arc::clone(&inner.wake);
        drop(inner);
        tokio::select! {
            biased;
            Some(page) = pages.next() => {
                let Some(inner) = monitor.upgrade() else { return };
                done(&inner, page);
            }
            () = wake.notified() => {}
            () = tokio::time::sleep_until(sleep_until) => {}
        }
    }
}

enum Step {
    Ask(Vec<u64>, Option<&'static str>),
    Sleep(Instant),
    End,
}

fn step(inner: &Inner, now: Instant) -> Step {
    let mut state = inner.lock();
    let moment = inner.moment(now);
    if let Some(left) = state.breaker.shut_for(moment) {
        let error = shut(left);
        state.schedule.refuse(&error);
        return Step::Sleep(now + left);
    }
    if state.breaker.is_probing() {
        return Step::Sleep(now + MAX_SLEEP);
    }
    match state.schedule.next(now) {
        Next::Page(ids, but) => match state.breaker.ask(moment) {
            Door::Open | Door::Probe => Step::Ask(ids, but),
            Door::Shut(left) => {
                let error = shut(left);
                state.schedule.failed(&ids, &error, now);
                Step::Sleep(now + left)
            }
        },
        Next::At(at) => Step::Sleep(at),
        Next::Idle => {
            state.is_running = false;
            Step::End
        }
    }
}

pub(super) fn shut(left: Duration) -> ProviderError {
    ProviderError::new(
        Effect::NotSent,
        ErrorKind::Unavailable,
        "the controller did not serve lately; it is left alone for a while",
    )
    .with_advice("check that the controller runs and takes our credentials")
    .with_retry_after(left)
}

async fn ask(inner: Arc<Inner>, ids: Vec<u64>, but: Option<&'static str>) -> Page {
    let lists = {
        let state = inner.lock();
        state
            .without_lists_until
            .is_none_or(|until| until <= Instant::now())
    };
    if ids.len() == 1 || !lists {
        let kinds = inner.lock().schedule.missing(&ids);
        let singles = singles(&inner, kinds).await;
        return Page {
            ids,
            answer: None,
            leaves_out: false,
            singles,
        };
    }
    let answer = inner.source.page(&ids, but).await;
    let mut missing = Vec::new();
    if let (Ok(rows), None) = (&answer, but) {
        let all = inner.lock().schedule.missing(&ids);
        let here = |id: &u64| rows.rows.iter().any(|(row, _)| row == id);
        // A job that is not on the page is gone only when it says so itself.
        missing = all.into_iter().filter(|(id, _)| !here(id)).collect();
    }
    let singles = singles(&inner, missing).await;
    Page {
        ids,
        answer: Some(answer),
        leaves_out: but.is_some(),
        singles,
    }
}

async fn singles(
    inner: &Inner,
    jobs: Vec<(u64, &'static str)>,
) -> Vec<(u64, Result<Seen, ProviderError>)> {
    let mut all = Vec::with_capacity(jobs.len());
    // A few at once: they are exceptions, and may all be at fault together.
    for some in jobs.chunks(4) {
        let asked = some
            .iter()
            .map(async |(id, kind)| (*id, inner.source.one(kind, *id).await));
        all.extend(futures::future::join_all(asked).await);
    }
    all
}

fn done(inner: &Inner, page: Page) {
    let now = Instant::now();
    let mut state = inner.lock();
    let mut changes = Vec::new();
    // Those that it was to ask about were forgotten meanwhile.
    let untried = page.answer.is_none() && page.singles.is_empty();
    match page.answer {
        None => {}
        Some(Ok(mut rows)) => {
            state.breaker.served();
            changes.extend(state.schedule.page(std::mem::take(&mut rows.rows), now));
            if page.leaves_out {
                state.schedule.same(&page.ids, &rows, now);
            }
        }
        Some(Err(error)) => {
            let refused = matches!(
                error.kind(),
                ErrorKind::Forbidden | ErrorKind::NotFound | ErrorKind::Invalid
            );
            if refused {
                state.breaker.served();
                tracing::warn!(
                    "lists of jobs are refused, so each job is asked about by itself: {error}"
                );
                state.without_lists_until = Some(now + WITHOUT_LISTS);
                // It is not the jobs that are wrong: they are asked about one by one, now.
                for id in &page.ids {
                    state.schedule.again(*id, now);
                }
            } else {
                state.breaker.failed(inner.moment(now), error.retry_after());
                state.schedule.failed(&page.ids, &error, now);
            }
        }
    }
    for (id, answer) in page.singles {
        match answer {
            Ok(seen) => {
                state.breaker.served();
                changes.extend(state.schedule.page(vec![(id, seen)], now));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                state.breaker.served();
                state.schedule.gone(id, &error);
            }
            Err(error) => {
                state.breaker.failed(inner.moment(now), error.retry_after());
                state.schedule.failed(&[id], &error, now);
            }
        }
    }
    if untried {
        state.breaker.untried();
    }
    inner.tell_breaker(&state, now);
    drop(state);
    for change in changes {
        inner.events.publish(&change);
    }
}
