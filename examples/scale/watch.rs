//! Somebody who wants to know of the end of every job.

use provider_core::clock::Elapsed as _;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use clap::{Args, ValueEnum};
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use jiff::{SignedDuration, Timestamp};
use provider_aap::{AapConfig, AapProvider, Auth, HttpConfig, Timing};
use provider_core::{
    Clock, JobRef, JobState, JobType, Provider, Resource, SystemClock, TrackedJob, WakeUps,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::Instant;

use crate::load;
use crate::measure::{Usage, client};
use crate::support::{self, Failure};

/// Objects that are due within so long are looked at together, as a work queue does.
const TICK: Duration = Duration::from_millis(20);
/// How many GETs other controllers have on their way at once.
const GETS: usize = 64;

#[derive(Debug, Clone, Args)]
pub(crate) struct Task {
    way: Way,
    url: String,
    first: u64,
    jobs: u64,
    interval_ms: u64,
    token: String,
    /// Looks may fail.
    #[arg(long)]
    trouble: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Way {
    Get,
    Monitor,
    Push,
}

/// What it saw.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Watched {
    /// Seconds from the end of each job to its being known.
    pub(crate) delays: Vec<f64>,
    /// Ends that were told otherwise than they were.
    pub(crate) wrong: u64,
    /// Looks that were not answered.
    #[serde(default)]
    pub(crate) failures: u64,
    pub(crate) usage: Usage,
}

/// What was seen of a job.
struct Seen {
    state: JobState,
    finished: Option<Timestamp>,
    /// How long it need not be looked at, if that was said.
    rest: Option<Duration>,
}

type Look = Result<Seen, Failure>;

type Looking = BoxFuture<'static, (u64, Look)>;

/// How a job is looked at.
enum Eyes {
    Get(reqwest::Client),
    /// The jobs as records have them.
    Provider(Arc<AapProvider>, Arc<Resource>, Arc<Vec<TrackedJob>>),
}

#[derive(Deserialize)]
struct Body {
    status: String,
    finished: Option<Timestamp>,
}

impl Eyes {
    fn look(&self, task: &Task, id: u64) -> Looking {
        match self {
            Self::Get(client) => {
                let request = client
                    .get(format!("{}/api/v2/jobs/{id}/", task.url))
                    .bearer_auth(&task.token);
                Box::pin(async move {
                    let look = async {
                        let answer = request.send().await?.error_for_status()?;
                        let body: Body = answer.json().await?;
                        Ok(Seen {
                            state: provider_aap::map_status(&body.status),
                            finished: body.finished,
                            rest: None,
                        })
                    };
                    (id, look.await)
                })
            }
            Self::Provider(aap, resource, jobs) => {
                let (aap, resource) = (Arc::clone(aap), Arc::clone(resource));
                let (jobs, n) = (Arc::clone(jobs), id - task.first);
                Box::pin(async move {
                    let look = async {
                        let job = jobs.get(usize::try_from(n)?).ok_or("no such job")?;
                        let status = aap.status(&resource, job).await?;
                        Ok(Seen {
                            state: status.state,
                            finished: status.finished_at,
                            rest: status.poll_after,
                        })
                    };
                    (id, look.await)
                })
            }
        }
    }
}

impl Task {
    fn eyes(&self) -> Result<(Eyes, Option<WakeUps>), Failure> {
        if self.way == Way::Get {
            return Ok((Eyes::Get(client()?), None));
        }
        let mut config = AapConfig::new(&self.url, Auth::token(self.token.clone()))
            .with_http(HttpConfig {
                proxy_from_environment: false,
                ..HttpConfig::default()
            })
            .with_timing(Timing {
                poll_interval: SignedDuration::try_from(self.interval())?,
                ..Timing::default()
            });
        config.push = self.way == Way::Push;
        let aap = Arc::new(AapProvider::new(config)?);
        let wake_ups = aap.wake_ups();
        let resource = json!({"kind": "Machine", "metadata": {"name": "m"}});
        let resource = Arc::new(Resource::from_json(resource)?);
        let job = |id: u64| {
            TrackedJob::new(
                JobType::Provision,
                JobRef::new("aap", "job", id.to_string()),
            )
        };
        let jobs = (self.first..self.first + self.jobs).map(job).collect();
        Ok((Eyes::Provider(aap, resource, Arc::new(jobs)), wake_ups))
    }

    fn interval(&self) -> Duration {
        Duration::from_millis(self.interval_ms)
    }

    /// Asks about each job once per interval, or as seldom as its status says, as a controller does; and
    /// at once when it is woken up.
    pub(crate) async fn run(&self) -> Result<(), Failure> {
        let (eyes, mut wake_ups) = self.eyes()?;
        let at_once = if self.way == Way::Get {
            GETS
        } else {
            usize::MAX
        };
        // What it takes to start, such as the reading of certificates, is paid once.
        let before = Usage::of_this_process()?;
        let mut watch = Watch::new(self)?;
        let mut looks: FuturesUnordered<Looking> = FuturesUnordered::new();
        while watch.seen < self.jobs {
            let next = watch.due.peek().map(|Reverse((at, _))| *at + TICK);
            let may_ask = next.is_some() && looks.len() < at_once;
            let woken = async {
                match &mut wake_ups {
                    Some(wake_ups) => wake_ups.next().await,
                    None => std::future::pending().await,
                }
            };
            let mut wanted = Vec::new();
            tokio::select! {
                biased;
                Some((id, look)) = looks.next() => watch.told(id, look)?,
                Some(job) = woken => {
                    // With those that have come along with it.
                    let mut more = Some(job);
                    while let Some(job) = more {
                        wanted.push(job.id.parse()?);
                        let wake_ups = wake_ups.as_mut();
                        more = wake_ups.and_then(|jobs| jobs.next().now_or_never().flatten());
                    }
                }
                () = tokio::time::sleep_until(next.unwrap_or(watch.began)), if may_ask => {
                    wanted = watch.due(at_once - looks.len());
                }
            }
            for id in wanted {
                let mut look = eyes.look(self, id);
                match futures::poll!(&mut look) {
                    Poll::Ready((id, look)) => watch.told(id, look)?,
                    Poll::Pending => looks.push(look),
                }
            }
        }
        let watched = Watched {
            delays: watch.delays.into_iter().flatten().collect(),
            wrong: watch.wrong,
            failures: watch.failures,
            usage: Usage::of_this_process()?.since(before),
        };
        support::print(&serde_json::to_string(&watched)?);
        Ok(())
    }
}

/// What is known of the jobs so far, and when each is looked at again.
struct Watch {
    began: Instant,
    interval: Duration,
    first: u64,
    due: BinaryHeap<Reverse<(Instant, u64)>>,
    /// Of each job that has been seen to end.
    delays: Vec<Option<f64>>,
    seen: u64,
    wrong: u64,
    /// How many looks may fail, and how many have.
    most_failures: u64,
    failures: u64,
}

impl Watch {
    fn new(task: &Task) -> Result<Self, Failure> {
        let began = Instant::now();
        // The first looks are spread over an interval.
        let at = |n: u64| began + task.interval().mul_f64(n as f64 / task.jobs as f64);
        Ok(Self {
            began,
            interval: task.interval(),
            first: task.first,
            due: (0..task.jobs)
                .map(|n| Reverse((at(n), task.first + n)))
                .collect(),
            delays: vec![None; usize::try_from(task.jobs)?],
            seen: 0,
            wrong: 0,
            most_failures: if task.trouble { u64::MAX } else { 100 },
            failures: 0,
        })
    }

    /// The jobs that are to be looked at now, at most so many.
    fn due(&mut self, most: usize) -> Vec<u64> {
        let now = Instant::now();
        let mut due = Vec::new();
        while due.len() < most
            && let Some(Reverse((at, id))) = self.due.peek().copied()
            && at <= now
        {
            self.due.pop();
            let delay = usize::try_from(id - self.first).map(|n| self.delays.get(n));
            if matches!(delay, Ok(Some(None))) {
                due.push(id);
            }
        }
        due
    }

    /// What a look has shown.
    fn told(&mut self, id: u64, look: Look) -> Result<(), Failure> {
        let n = id - self.first;
        let Some(delay @ None) = self.delays.get_mut(usize::try_from(n)?) else {
            return Ok(());
        };
        let mut rest = self.interval;
        match look {
            Ok(Seen {
                state, finished, ..
            }) if state.is_terminal() => {
                let late = finished.map(|end| SystemClock.now().elapsed_since(end));
                *delay = Some(late.unwrap_or_default().as_secs_f64());
                self.seen += 1;
                self.wrong += u64::from(state != load::end(n) || late.is_none());
                if self
                    .seen
                    .is_multiple_of((self.delays.len() as u64 / 100).max(1))
                {
                    support::print(&self.seen.to_string());
                }
                return Ok(());
            }
            Ok(seen) => rest = seen.rest.unwrap_or(rest),
            Err(error) if self.failures == self.most_failures => return Err(error),
            Err(_) => self.failures += 1,
        }
        self.due.push(Reverse((Instant::now() + rest, id)));
        Ok(())
    }
}
