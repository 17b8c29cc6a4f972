//! Somebody who wants to know of the end of every job.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use jiff::{SignedDuration, Timestamp};
use provider_aap::{AapConfig, AapProvider, Auth, HttpConfig, JobEvents, Timing};
use provider_core::{Clock, JobRef, JobState, Provider, Resource, SystemClock, TrackedJob, clock};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::Instant;

use crate::load;
use crate::measure::{Usage, client};
use crate::support::{self, Failure};

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
    pub(crate) usage: Usage,
}

/// The state of a job, and when it ended.
type Look = Result<(JobState, Option<Timestamp>), Failure>;

type Looking = BoxFuture<'static, (u64, Look)>;

/// How a job is looked at.
enum Eyes {
    Get(reqwest::Client),
    Provider(Arc<AapProvider>, Arc<Resource>),
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
                        Ok((provider_aap::map_status(&body.status), body.finished))
                    };
                    (id, look.await)
                })
            }
            Self::Provider(aap, resource) => {
                let (aap, resource) = (Arc::clone(aap), Arc::clone(resource));
                Box::pin(async move {
                    let job = TrackedJob::from(JobRef::new("aap", "job", id.to_string()));
                    let status = aap.provision_status(&resource, &job).await;
                    let look = status.map(|status| (status.state, status.finished_at));
                    (id, look.map_err(Failure::from))
                })
            }
        }
    }
}

impl Task {
    fn eyes(&self) -> Result<(Eyes, Option<JobEvents>), Failure> {
        if self.way == Way::Get {
            return Ok((Eyes::Get(client()?), None));
        }
        let config = AapConfig::new(&self.url, Auth::token(self.token.clone()))
            .with_http(HttpConfig {
                proxy_from_environment: false,
                ..HttpConfig::default()
            })
            .with_timing(Timing {
                poll_interval: SignedDuration::try_from(self.interval())?,
                ..Timing::default()
            });
        let aap = Arc::new(AapProvider::new(config)?);
        if self.way == Way::Push {
            let aap = Arc::clone(&aap);
            tokio::spawn(async move { aap.listen().await });
        }
        let events = aap.job_events();
        let resource = json!({"kind": "Machine", "metadata": {"name": "m"}});
        let resource = Arc::new(Resource::from_json(resource)?);
        Ok((Eyes::Provider(aap, resource), Some(events)))
    }

    fn interval(&self) -> Duration {
        Duration::from_millis(self.interval_ms)
    }

    /// Asks about each job once per interval, as a controller does, and at once when an event comes.
    pub(crate) async fn run(&self) -> Result<(), Failure> {
        let (eyes, mut events) = self.eyes()?;
        let at_once = if self.way == Way::Get {
            GETS
        } else {
            usize::MAX
        };
        let now = Instant::now();
        // The first looks are spread over an interval.
        let mut due: BinaryHeap<Reverse<(Instant, u64)>> = (0..self.jobs)
            .map(|n| {
                Reverse((
                    now + self.interval().mul_f64(n as f64 / self.jobs as f64),
                    self.first + n,
                ))
            })
            .collect();
        let mut looks: FuturesUnordered<Looking> = FuturesUnordered::new();
        let mut delays: Vec<Option<f64>> = vec![None; usize::try_from(self.jobs)?];
        let (mut seen, mut wrong, mut trouble) = (0, 0, 0_u32);
        let step = (self.jobs / 100).max(1);
        while seen < self.jobs {
            let next = due.peek().map_or(now, |Reverse((at, _))| *at);
            let may_ask = !due.is_empty() && looks.len() < at_once;
            let event = async {
                match &mut events {
                    Some(events) => events.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some((id, look)) = looks.next() => {
                    let n = usize::try_from(id - self.first)?;
                    let known: Option<&mut Option<f64>> = delays.get_mut(n);
                    match (look, known) {
                        (_, Some(Some(_)) | None) => {}
                        (Ok((state, finished)), Some(delay)) if state.is_terminal() => {
                            let late = finished.map(|end| clock::since(SystemClock.now(), end));
                            *delay = Some(late.unwrap_or_default().as_secs_f64());
                            seen += 1;
                            wrong += u64::from(state != load::end(id - self.first) || late.is_none());
                            if seen % step == 0 {
                                support::print(&seen.to_string());
                            }
                        }
                        (look, _) => {
                            if let Err(error) = look {
                                trouble += 1;
                                if trouble > 100 {
                                    return Err(error);
                                }
                            }
                            due.push(Reverse((Instant::now() + self.interval(), id)));
                        }
                    }
                }
                Some((job, state)) = event => {
                    if state.is_terminal() || state == JobState::Unknown {
                        looks.push(eyes.look(self, job.id.parse()?));
                    }
                }
                () = tokio::time::sleep_until(next), if may_ask => {
                    if let Some(Reverse((_, id))) = due.pop()
                        && delays.get(usize::try_from(id - self.first)?).is_some_and(Option::is_none)
                    {
                        looks.push(eyes.look(self, id));
                    }
                }
            }
        }
        let watched = Watched {
            delays: delays.into_iter().flatten().collect(),
            wrong,
            usage: Usage::of_this_process()?,
        };
        support::print(&serde_json::to_string(&watched)?);
        Ok(())
    }
}
