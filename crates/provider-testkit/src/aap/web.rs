//! The web server of a controller: so many workers, a queue before them, and a front that does not wait
//! for ever. Times are those of the timer: with tokio's paused time nobody waits for them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::answer::Answer;
use super::fault::Route;
use super::journal::object_in;
use super::plan::millis;

/// What makes a controller slow: how many requests it works on at once, and what each of them costs.
///
/// A worker goes on with a request whose client has gone away, and one that waits in the queue gets its
/// turn all the same: uWSGI does not notice. As measured on AWX 24.6.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Costs {
    /// How many requests are worked on at once.
    pub workers: u32,
    /// How many more wait; the front answers 502 to those beyond.
    pub queue: u32,
    /// A row of a list, beside what any request costs (milliseconds, as all times here).
    #[serde(with = "millis", rename = "row_ms")]
    pub row: Duration,
    /// Any request: one job by itself, for one.
    #[serde(with = "millis", rename = "detail_ms")]
    pub detail: Duration,
    /// A launch; the job is there at its end.
    #[serde(with = "millis", rename = "launch_ms")]
    pub launch: Duration,
    /// After so long the front answers 504, and the request goes on.
    #[serde(with = "millis", rename = "patience_ms")]
    pub patience: Duration,
}

impl Default for Costs {
    /// A quiet controller.
    fn default() -> Self {
        Self {
            workers: 5,
            queue: 128,
            row: Duration::from_millis(10),
            detail: Duration::from_millis(60),
            launch: Duration::from_millis(150),
            patience: Duration::from_secs(120),
        }
    }
}

impl Costs {
    /// The same on two cores that have other things to do: a page of 200 jobs takes seven seconds, and
    /// of seventy launches at once forty take longer than half a minute.
    #[must_use]
    pub fn busy() -> Self {
        Self {
            row: Duration::from_millis(35),
            detail: Duration::from_millis(200),
            launch: Duration::from_secs(5),
            ..Self::default()
        }
    }

    /// With so many workers.
    #[must_use]
    pub const fn with_workers(mut self, workers: u32) -> Self {
        self.workers = workers;
        self
    }

    /// With a queue of so many.
    #[must_use]
    pub const fn with_queue(mut self, queue: u32) -> Self {
        self.queue = queue;
        self
    }

    /// With this cost of a launch.
    #[must_use]
    pub const fn with_launch(mut self, launch: Duration) -> Self {
        self.launch = launch;
        self
    }

    /// With this cost of a row.
    #[must_use]
    pub const fn with_row(mut self, row: Duration) -> Self {
        self.row = row;
        self
    }

    /// With this cost of any request.
    #[must_use]
    pub const fn with_detail(mut self, detail: Duration) -> Self {
        self.detail = detail;
        self
    }

    /// With a front that waits so long.
    #[must_use]
    pub const fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// What this request costs before its answer is known.
    fn before(&self, route: Route) -> Duration {
        match route {
            Route::Launch => self.launch,
            _ => self.detail,
        }
    }

    fn of_rows(&self, answer: &Answer) -> Duration {
        let rows = u32::try_from(answer.rows).unwrap_or(u32::MAX);
        self.row.saturating_mul(rows)
    }
}

/// What the web server has seen of its own load.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Load {
    /// Requests that were worked on to their end.
    pub served: u64,
    /// Requests whose client went away before its answer, and how often each did: by their line and the
    /// object in their body.
    pub abandoned: BTreeMap<String, u64>,
    /// What the front answered for workers that were too slow (504).
    pub given_up: u64,
    /// What it answered because the queue was full (502).
    pub turned_away: u64,
    /// The most that have waited at once.
    pub longest_queue: u32,
    /// The time that workers have spent, in milliseconds.
    pub worked_ms: u64,
}

/// What a worker needs to know of a request.
pub(super) struct Work {
    pub route: Route,
    pub writes: bool,
    pub line: String,
    pub body: axum::body::Bytes,
}

#[derive(Debug)]
pub(super) struct Web {
    costs: Costs,
    turns: Arc<Semaphore>,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    /// At work or in the queue. Ended with the simulator.
    tasks: JoinSet<()>,
    entered: u32,
    load: Load,
}

impl Web {
    pub(super) fn new(costs: Costs) -> Arc<Self> {
        let workers = usize::try_from(costs.workers.max(1)).unwrap_or(usize::MAX);
        Arc::new(Self {
            turns: Arc::new(Semaphore::new(workers.min(Semaphore::MAX_PERMITS))),
            costs,
            inside: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn load(&self) -> Load {
        self.lock().load.clone()
    }

    /// Nobody works any more.
    pub(super) fn close(&self) {
        self.lock().tasks.abort_all();
    }

    /// Has this worked on by a worker. What reads sees the database at the beginning of its work, what
    /// writes has written at the end of it.
    pub(super) async fn serve(
        self: Arc<Self>,
        work: Work,
        carry_out: impl FnOnce() -> Answer + Send + 'static,
    ) -> Answer {
        let workers = self.costs.workers.max(1);
        let (tell, told) = oneshot::channel();
        {
            let mut inside = self.lock();
            while inside.tasks.try_join_next().is_some() {}
            if inside.entered >= workers.saturating_add(self.costs.queue) {
                inside.load.turned_away += 1;
                return Answer::html(502, 500);
            }
            inside.entered += 1;
            let waiting = inside.entered.saturating_sub(workers);
            inside.load.longest_queue = inside.load.longest_queue.max(waiting);
            let web = Arc::clone(&self);
            inside.tasks.spawn(async move {
                let _ = tell.send(web.work(work.route, work.writes, carry_out).await);
            });
        }
        let mut client = Client {
            web: &self,
            line: &work.line,
            body: &work.body,
            is_answered: false,
        };
        let answer = timeout(self.costs.patience, told).await;
        client.is_answered = true;
        match answer {
            Ok(Ok(answer)) => answer,
            _ => {
                self.lock().load.given_up += 1;
                Answer::html(504, 500)
            }
        }
    }

    async fn work(&self, route: Route, writes: bool, carry_out: impl FnOnce() -> Answer) -> Answer {
        // It is never closed.
        let turn = self.turns.acquire().await;
        let (began, before) = (Instant::now(), self.costs.before(route));
        let answer = if writes {
            sleep(before).await;
            carry_out()
        } else {
            let answer = carry_out();
            sleep(before.saturating_add(self.costs.of_rows(&answer))).await;
            answer
        };
        drop(turn);
        let mut inside = self.lock();
        inside.entered = inside.entered.saturating_sub(1);
        inside.load.served += 1;
        let worked = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        inside.load.worked_ms = inside.load.worked_ms.saturating_add(worked);
        answer
    }
}

/// Somebody who waits for an answer.
struct Client<'a> {
    web: &'a Web,
    line: &'a str,
    body: &'a [u8],
    is_answered: bool,
}

impl Drop for Client<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            let object = object_in(self.body).unwrap_or_default();
            let request = format!("{} {object}", self.line);
            let request = request.trim_end().to_owned();
            let mut inside = self.web.lock();
            *inside.load.abandoned.entry(request).or_default() += 1;
        }
    }
}
