//! What goes wrong between a client and the controller, by script or by seed.

use std::collections::VecDeque;
use std::time::Duration;

use provider_core::lifecycle::{Entropy, SeededEntropy};
use serde::{Deserialize, Serialize};

use super::plan::{Ending, OnCancel, RunPlan};

/// Which requests a fault applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Route {
    /// Every request.
    Any,
    /// `POST …/launch/`.
    Launch,
    /// `GET …/launch/`.
    LaunchOptions,
    /// `POST …/cancel/`.
    Cancel,
    /// `GET` of one job or workflow job.
    Job,
    /// `GET` of a list of jobs.
    Jobs,
    /// `GET` of a list or of one template.
    Templates,
    /// Job events, standard output, workflow nodes.
    Diagnosis,
    /// The handshake of a websocket.
    Websocket,
    /// Everything else: ping, me, roots.
    Other,
}

/// One thing that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fault {
    /// The connection closes before the request is looked at.
    DropBefore,
    /// The request is carried out, and the connection closes without an answer.
    DropAfter,
    /// A launch whose connection closes at once, and which commits this much later (milliseconds).
    CommitLate(u64),
    /// A launch whose connection closes at once; its job has its id and its `created` already, and is
    /// visible this much later (milliseconds), after others with higher ids.
    CommitSlowly(u64),
    /// The request is carried out, and no answer ever comes.
    Hang,
    /// An answer of this status, with a JSON `detail`; the request is not carried out.
    Status(u16),
    /// An answer of this status by a gateway in front, in JSON and without the controller's headers; the
    /// request is not carried out. AAP 2.5's answers 401 and 403 now and then while its own database is
    /// slow, and 404 where a route is gone.
    Gateway(u16),
    /// The request is carried out, and this status is answered nevertheless (a gateway in between).
    StatusAfter(u16),
    /// 429 with `Retry-After` in seconds.
    RateLimited(u64),
    /// 502 with an HTML body of this many bytes.
    Html(usize),
    /// 200 with an HTML body of this many bytes (a login page in between).
    HtmlOk(usize),
    /// 302 to the page that a controller shows while it is upgraded.
    Maintenance,
    /// A redirect of this status to this location.
    Redirect(u16, String),
    /// The answer ends in the middle of its JSON; the request is carried out.
    Truncated,
    /// An answer of this status, whose `detail` repeats the request, credentials and body (what
    /// debugging pages do); the request is not carried out.
    Echo(u16),
    /// The answer tells the status of jobs in this word (what a newer controller may do).
    Word(String),
}

/// Probabilities of trouble, in percent; all randomness comes from the seed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", default, deny_unknown_fields)]
pub struct Weather {
    /// Where randomness starts.
    pub seed: u64,
    /// A launch that is carried out without the client being told.
    pub lost_answers: u8,
    /// A launch that commits up to two minutes after its connection closed.
    pub late_commits: u8,
    /// Any request that is refused before it is looked at (connection, 5xx, 429, maintenance).
    pub refusals: u8,
    /// With what such requests are refused instead, by the gateway in front: one of these statuses, by
    /// chance. The usual mixture where there are none.
    pub statuses: Vec<u16>,
    /// An event that no websocket is told of.
    pub lost_events: u8,
    /// A job that ends `failed` or `error`.
    pub failures: u8,
    /// A cancel that is answered with `canceled` while the job runs on.
    pub lying_cancels: u8,
    /// A job that is slow to stop.
    pub slow_cancels: u8,
    /// Longest time in the queue, milliseconds.
    pub max_queue_ms: u64,
    /// Longest run, milliseconds.
    pub max_run_ms: u64,
}

impl Default for Weather {
    fn default() -> Self {
        Self {
            seed: 1,
            lost_answers: 0,
            late_commits: 0,
            refusals: 0,
            statuses: Vec::new(),
            lost_events: 0,
            failures: 0,
            lying_cancels: 0,
            slow_cancels: 0,
            max_queue_ms: 30_000,
            max_run_ms: 300_000,
        }
    }
}

impl Weather {
    /// Every kind of trouble at once.
    #[must_use]
    pub fn stormy(seed: u64) -> Self {
        Self {
            seed,
            lost_answers: 10,
            late_commits: 5,
            refusals: 10,
            lost_events: 10,
            failures: 15,
            lying_cancels: 20,
            slow_cancels: 20,
            ..Self::default()
        }
    }
}

/// What the next requests of a route meet; nothing, for some.
#[derive(Debug)]
struct Scripted {
    route: Route,
    fault: Option<Fault>,
    times: u32,
    percent: u8,
}

#[derive(Debug)]
pub(super) struct Faults {
    script: VecDeque<Scripted>,
    /// Which of them meet a fault of less than a hundred percent.
    dice: SeededEntropy,
    weather: Option<(Weather, SeededEntropy)>,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            script: VecDeque::new(),
            dice: SeededEntropy::new(1),
            weather: None,
        }
    }
}

impl Faults {
    /// So many of the next requests of this route meet this fault, and of a hundred that come in so
    /// many.
    pub(super) fn script(&mut self, route: Route, fault: &Fault, times: u32, percent: u8) {
        self.push(route, Some(fault.clone()), times, percent);
    }

    /// So many requests of this route go well.
    pub(super) fn spare(&mut self, route: Route, times: u32) {
        self.push(route, None, times, 100);
    }

    fn push(&mut self, route: Route, fault: Option<Fault>, times: u32, percent: u8) {
        if times > 0 && percent > 0 {
            self.script.push_back(Scripted {
                route,
                fault,
                times,
                percent,
            });
        }
    }

    pub(super) fn set_weather(&mut self, weather: Option<Weather>) {
        self.weather = weather.map(|weather| {
            let seed = weather.seed;
            (weather, SeededEntropy::new(seed))
        });
    }

    pub(super) fn clear(&mut self) {
        self.script.clear();
        self.weather = None;
    }

    /// The fault of this request: the first in the script that fits, else by chance.
    pub(super) fn next(&mut self, route: Route) -> Option<Fault> {
        let fits = |entry: &Scripted| entry.route == route || entry.route == Route::Any;
        if let Some(at) = self.script.iter().position(fits) {
            let entry = self.script.get_mut(at)?;
            if entry.percent < 100 && !chance(&self.dice, entry.percent) {
                return None;
            }
            entry.times -= 1;
            if entry.times > 0 {
                return entry.fault.clone();
            }
            return self.script.remove(at).and_then(|entry| entry.fault);
        }
        let (weather, dice) = self.weather.as_mut()?;
        if route == Route::Launch {
            if chance(dice, weather.lost_answers) {
                return Some(match dice.next() % 3 {
                    0 => Fault::DropAfter,
                    1 => Fault::StatusAfter(504),
                    _ => Fault::Truncated,
                });
            }
            if chance(dice, weather.late_commits) {
                return Some(Fault::CommitLate(dice.next() % 120_000));
            }
        }
        if chance(dice, weather.refusals) {
            if let Some(status) = one_of(dice, &weather.statuses) {
                return Some(Fault::Gateway(status));
            }
            return Some(match dice.next() % 5 {
                0 => Fault::DropBefore,
                1 => Fault::Status(500),
                2 => Fault::RateLimited(1 + dice.next() % 20),
                3 => Fault::Html(2_000),
                _ => Fault::Maintenance,
            });
        }
        None
    }

    /// Whether the next event of websockets is lost.
    pub(super) fn loses_event(&self) -> bool {
        let weather = self.weather.as_ref();
        weather.is_some_and(|(weather, dice)| chance(dice, weather.lost_events))
    }

    /// The course of the next job, by chance.
    pub(super) fn plan(&mut self) -> Option<RunPlan> {
        let (weather, dice) = self.weather.as_mut()?;
        let up_to = |dice: &SeededEntropy, max: u64| {
            Duration::from_millis(dice.next() % max.saturating_add(1))
        };
        let mut plan = RunPlan {
            queue: up_to(dice, weather.max_queue_ms),
            run: Some(up_to(dice, weather.max_run_ms)),
            ..RunPlan::default()
        };
        if chance(dice, weather.failures) {
            plan.ending = if dice.next() % 3 == 0 {
                Ending::Error {
                    explanation: "Failed to JSON parse a line from worker stream.".to_owned(),
                    traceback: String::new(),
                }
            } else {
                Ending::Failed {
                    task: "Create the network".to_owned(),
                    message: "quota exceeded".to_owned(),
                }
            };
        }
        if chance(dice, weather.lying_cancels) {
            plan.on_cancel = OnCancel::Lies;
            // As measured, such a job runs on for seconds, not for ever.
            plan.run = Some(up_to(dice, weather.max_run_ms.min(60_000)));
        } else if chance(dice, weather.slow_cancels) {
            plan.on_cancel = OnCancel::Obeys(up_to(dice, 60_000));
        }
        Some(plan)
    }
}

fn one_of(dice: &SeededEntropy, statuses: &[u16]) -> Option<u16> {
    let count = u64::try_from(statuses.len())
        .ok()
        .filter(|count| *count > 0)?;
    let at = usize::try_from(dice.next() % count).ok()?;
    statuses.get(at).copied()
}

fn chance(dice: &SeededEntropy, percent: u8) -> bool {
    percent > 0 && dice.next() % 100 < u64::from(percent)
}
