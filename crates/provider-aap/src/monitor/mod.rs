//! One poller for all jobs of a controller.
//!
//! A process with few live jobs asks about each by itself, when somebody wants to know. From
//! [`MonitorConfig::batch_from`] on, jobs are asked about in pages of up to 200 and in rounds: every
//! job that somebody has asked about lately is looked at once per poll interval, whoever asks in
//! between gets what the round has seen, and what has changed is told to [`JobEvents`]. Either way all
//! questions go through one worker: a job is asked about once however many want to know, so many
//! questions are on their way at once and no more, and one breaker stands before them all.
//!
//! A row of a list costs a controller 10 ms (AWX 24.6.1): ten thousand of them, more than a round has.
//! So a page holds jobs that were last seen in one status, and asks for those that have left it; every
//! tenth look at a job, more or less, asks for its row whatever it is, so that one that was deleted is
//! missed.

mod breaker;
mod events;
mod guest;
mod line;
mod pace;
mod page;
mod parts;
mod schedule;
mod table;
#[cfg(test)]
mod tests;
#[cfg(any(test, fuzzing))]
pub(crate) use pace::usual_times;
mod worker;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use provider_core::clock::Elapsed as _;
use provider_core::{Clock, Effect, ErrorKind, JobState, ProviderError};
use serde::Deserialize;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::body::JobBody;
use crate::client::std_duration;
use crate::words::{Kind, Lasting};
use breaker::{Breaker, Now};
use events::Events;
pub use events::JobEvents;
#[cfg(feature = "push")]
pub(crate) use schedule::HINT_GAP;
use schedule::{Asked, May, Schedule};
use worker::{Ending, Lists};

/// How jobs are watched together.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(
    remote = "Self",
    rename_all = "camelCase",
    default,
    deny_unknown_fields
)]
pub struct MonitorConfig {
    /// From so many live jobs on they are asked about in pages; fewer are asked about one by one, and,
    /// once there were as many, fewer than half of it. Default: 32.
    pub batch_from: u32,
    /// How many pages are asked for at once, and four times as many jobs by themselves. Launches and
    /// cancels do not count, and never wait for polls. Default: 4.
    pub max_in_flight: u32,
    /// After so many failures in a row (no answer, 5xx, 401, 429) nothing is asked for a while. Default: 5.
    pub breaker_failures: u32,
    /// How long; then one question is let through to try. Default: 30s.
    pub breaker_pause: SignedDuration,
}

provider_core::guarded_settings!(MonitorConfig);

impl Default for MonitorConfig {
    fn default() -> Self {
        Self {
            batch_from: 32,
            max_in_flight: 4,
            breaker_failures: 5,
            breaker_pause: SignedDuration::from_secs(30),
        }
    }
}

impl MonitorConfig {
    fn max_in_flight(&self) -> usize {
        usize::try_from(self.max_in_flight)
            .unwrap_or(usize::MAX)
            .max(1)
    }

    /// How long to wait while somebody else's question is out to try.
    fn interval_of_trials(&self) -> Duration {
        std_duration(self.breaker_pause).min(Duration::from_secs(5))
    }

    /// A page costs the controller more than a job.
    fn max_singles(&self) -> usize {
        self.max_in_flight()
            .saturating_mul(4)
            .min(Semaphore::MAX_PERMITS)
    }
}

/// How long somebody waits for a job at most: longer than a round takes, also one after an outage, and
/// longer than any time-out of a request.
const PATIENCE_ROUNDS: u32 = 4;
const MIN_PATIENCE: Duration = Duration::from_secs(180);

/// When an answer was read: all jobs of a page share it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// By the server's clock, or by ours where it told none.
    pub(crate) server: Timestamp,
    /// By our clock.
    pub(crate) clock: Timestamp,
    /// By the timer.
    timer: Instant,
}

impl Moment {
    pub(crate) fn now(server: Option<Timestamp>, clock: Timestamp) -> Arc<Self> {
        Arc::new(Self {
            server: server.unwrap_or(clock),
            clock,
            timer: Instant::now(),
        })
    }
}

/// A job as it was seen at one moment. Ten thousand of them are kept, and looked through in every round.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) body: Arc<JobBody>,
    pub(crate) read: Arc<Moment>,
    state: JobState,
    /// Whether it was read by itself, with what lists lack.
    is_detail: bool,
}

impl Seen {
    pub(crate) fn new(body: impl Into<Arc<JobBody>>, read: &Arc<Moment>, is_detail: bool) -> Self {
        let body = body.into();
        Self {
            state: body.state(),
            is_detail,
            body,
            read: Arc::clone(read),
        }
    }

    pub(crate) fn state(&self) -> JobState {
        self.state
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.state.is_terminal() && self.state != JobState::Succeeded
    }

    /// Lists drop what tells why, and whether the end is one.
    pub(crate) fn lacks_detail(&self) -> bool {
        self.has_failed() && !self.is_detail
    }

    /// Whether it was read by itself.
    pub(crate) fn is_whole(&self) -> bool {
        self.is_detail
    }

    /// The status, where the next page need only tell of another one.
    fn lasting(&self) -> Option<Lasting> {
        Lasting::of(&self.body.status)
    }

    fn since_created(&self) -> Option<Duration> {
        Some(self.read.server.elapsed_since(self.body.created?))
    }

    fn since_started(&self) -> Option<Duration> {
        Some(self.read.server.elapsed_since(self.body.started?))
    }
}

/// An answer about several jobs.
pub(crate) struct Rows {
    pub(crate) rows: Vec<(u64, Seen)>,
    /// How many more there were.
    pub(crate) unreadable: usize,
    /// Jobs that no list shows.
    pub(crate) unlisted: Vec<u64>,
    pub(crate) read: Arc<Moment>,
}

/// Where answers come from.
#[async_trait]
pub(crate) trait Source: Send + Sync {
    /// Those of these jobs that the controller shows, of either kind, but for those of this status.
    async fn page(&self, ids: &[u64], but: Option<Lasting>) -> Result<Rows, ProviderError>;

    /// Whether lists are served at all: one that holds no job.
    async fn serves(&self) -> bool;

    /// One job.
    async fn one(&self, kind: Kind, id: u64) -> Result<Seen, ProviderError>;
}

struct State {
    schedule: Schedule,
    breaker: Breaker,
    lists: Lists,
    is_running: bool,
}

pub(crate) struct Inner {
    config: MonitorConfig,
    clock: Arc<dyn Clock>,
    source: Arc<dyn Source>,
    /// How long somebody waits at most.
    patience: Duration,
    state: Mutex<State>,
    wake: Arc<Notify>,
    /// For what else is asked about jobs that have failed.
    turns: Semaphore,
    events: Events,
    #[cfg_attr(
        not(feature = "metrics"),
        allow(dead_code, reason = "a label of metrics")
    )]
    provider: String,
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// By the caller's clock: it may be another than the timer's.
    fn is_old(&self, seen: &Seen, good_for: Duration) -> bool {
        self.clock.now().elapsed_since(seen.read.clock) >= good_for
    }

    fn moment(&self, timer: Instant) -> Now {
        Now {
            timer,
            clock: self.clock.now(),
        }
    }

    /// What people see of it from outside.
    fn measure(&self, state: &State, now: Instant) {
        #[cfg(feature = "metrics")]
        {
            let provider = self.provider.clone();
            metrics::gauge!("provider_breaker_open", "provider" => provider.clone())
                .set(state.breaker.gauge(self.moment(now)));
            let jobs = u32::try_from(state.schedule.len()).unwrap_or(u32::MAX);
            metrics::gauge!("provider_monitored_jobs", "provider" => provider).set(jobs);
        }
        let shut = state.breaker.shut_for(self.moment(now));
        tracing::trace!(?shut, jobs = state.schedule.len(), "watching");
    }
}

/// The poller. Cheap to clone; its task ends with the last clone, or when there is nothing to watch.
#[derive(Clone)]
pub(crate) struct Monitor(Arc<Inner>);

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitor")
            .field("config", &self.0.config)
            .finish_non_exhaustive()
    }
}

impl Monitor {
    pub(crate) fn new(
        config: &MonitorConfig,
        provider: &str,
        interval: Duration,
        clock: Arc<dyn Clock>,
        source: Arc<dyn Source>,
        seed: u64,
    ) -> Self {
        Self(Arc::new(Inner {
            state: Mutex::new(State {
                schedule: Schedule::new(config, interval, seed),
                breaker: Breaker::new(
                    config.breaker_failures.max(1),
                    std_duration(config.breaker_pause),
                ),
                lists: Lists::default(),
                is_running: false,
            }),
            turns: Semaphore::new(config.max_singles()),
            config: config.clone(),
            patience: (interval * PATIENCE_ROUNDS).max(MIN_PATIENCE),
            clock,
            source,
            wake: Arc::default(),
            events: Events::new(provider),
            provider: provider.to_owned(),
        }))
    }

    /// The job as it was seen within the last round, if it was: the answer to most questions.
    pub(crate) fn known(&self, id: u64) -> Option<Seen> {
        let inner = &self.0;
        let is_old = |seen: &Seen, good_for| inner.is_old(seen, good_for);
        inner.lock().schedule.known(id, Instant::now(), is_old)
    }

    /// The job as it was seen within the last round, or as it is now; an end that is no success with
    /// what lists lack, unless so many jobs have failed at once that this would take long.
    pub(crate) async fn seen(&self, kind: Kind, id: u64) -> Result<Seen, ProviderError> {
        let inner = &self.0;
        let (told, begins) = {
            let mut state = inner.lock();
            let now = Instant::now();
            let refusal = state.breaker.refusal(inner.moment(now));
            let is_old = |seen: &Seen, good_for| inner.is_old(seen, good_for);
            match state.schedule.ask(id, kind, now, refusal, is_old) {
                Asked::Known(seen) => return Ok(seen),
                Asked::Refused(refusal) => return Err(refusal),
                Asked::Wait(told) => (told, !std::mem::replace(&mut state.is_running, true)),
            }
        };
        if begins {
            // Made here: a task that is dropped before its first step has to be ended as well.
            tokio::spawn(worker::run(Ending::new(inner)));
        }
        inner.wake.notify_one();
        let unheard = |kind, text| Err(ProviderError::new(Effect::NotSent, kind, text));
        match tokio::time::timeout(inner.patience, told).await {
            Ok(Ok(told)) => told,
            Ok(Err(_)) => unheard(
                ErrorKind::Unavailable,
                "the round that would have answered was broken off",
            ),
            // Every answer has a time-out of its own; this is for what nobody has thought of.
            Err(_) => unheard(
                ErrorKind::Timeout,
                "no question about the job was answered in a long time",
            ),
        }
    }

    /// A turn to ask what else there is to know about a job that has failed: many may fail at once.
    pub(crate) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.0.turns.acquire().await.ok()
    }

    /// Something may have happened to this job: whether it is one that is watched. It is looked at
    /// soon, or, where jobs are asked about one by one, those who want to know are told to ask.
    #[cfg(any(feature = "push", feature = "webhook", test))]
    pub(crate) fn hint(&self, id: u64) -> bool {
        let (known, ask_yourself) = {
            let mut state = self.0.lock();
            let known = state.schedule.hint(id, Instant::now());
            let by_themselves = !state.is_running || state.schedule.are_few();
            (
                known,
                state.schedule.unseen(id).filter(|_| known && by_themselves),
            )
        };
        if let Some(change) = ask_yourself {
            self.0.events.publish(change);
        }
        if known {
            self.0.wake.notify_one();
        }
        known
    }

    /// We have launched this job: whoever wants to know of it will ask later.
    pub(crate) fn expect(&self, kind: Kind, id: u64) {
        self.0.lock().schedule.expect(id, kind, Instant::now());
    }

    /// We have acted on this job ourselves: what was seen of it counts no more.
    pub(crate) fn distrust(&self, id: u64) {
        self.0.lock().schedule.distrust(id, Instant::now());
        self.0.wake.notify_one();
    }

    pub(crate) fn subscribe(&self) -> JobEvents {
        self.0.events.subscribe(false)
    }

    /// For somebody who asks about every job that he is told of.
    pub(crate) fn wake_ups(&self) -> JobEvents {
        self.0.events.subscribe(true)
    }

    /// How long nobody needs to ask about this job: the rounds look at it, and somebody acts on what
    /// they see.
    pub(crate) fn poll_after(&self, id: u64) -> Option<Duration> {
        let inner = &self.0;
        let after = inner.lock().schedule.poll_after(id)?;
        inner.events.are_acted_on().then_some(after)
    }
}
