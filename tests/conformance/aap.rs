//! AAP, on its simulator.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use provider_aap::{AapConfig, AapProvider, Auth, HttpConfig};
use provider_core::{Clock, JobType, ManualClock, OperationToken, Provider, Resource};
use provider_testkit::aap::{
    ADMIN_TOKEN, AapSim, Ending, Fault as AapFault, Kind, OnCancel, Route, Run, RunPlan, Template,
    World as Controller,
};
use provider_testkit::conformance::{Deed, Fault, Harness, Ran, World};

pub(crate) const CREATE: &str = "osac-create-compute-instance";
pub(crate) const DELETE: &str = "osac-delete-compute-instance";
pub(crate) const RESTART: &str = "osac-restart-compute-instance";

/// Templates of one kind.
struct AapHarness {
    template: fn(&str) -> Template,
}

struct AapWorld {
    workflows: bool,
    sim: AapSim,
    clock: Arc<ManualClock>,
}

/// At work from its launch on, until told otherwise.
pub(crate) fn at_work() -> RunPlan {
    RunPlan {
        queue: Duration::ZERO,
        ..RunPlan::endless()
    }
}

pub(crate) fn config(sim: &AapSim) -> AapConfig {
    AapConfig::new(sim.url(), Auth::token(ADMIN_TOKEN))
        .with_template_prefix("osac")
        .with_diagnosis()
        .with_http(HttpConfig {
            proxy_from_environment: false,
            ..HttpConfig::default()
        })
}

pub(crate) fn clock() -> Arc<ManualClock> {
    let start: Timestamp = "2026-11-23T04:00:00Z".parse().unwrap();
    Arc::new(ManualClock::new(start))
}

#[async_trait]
impl Harness for AapHarness {
    async fn world(&self, _seed: u64) -> Result<Box<dyn World>, String> {
        let clock = clock();
        let names = [CREATE, DELETE, RESTART];
        let templates = names.map(|name| (self.template)(name).with_plan(at_work()));
        let sim = AapSim::start(Controller::with(templates), clock.clone()).await;
        let sim = sim.map_err(|error| error.to_string())?;
        let workflows = (self.template)(CREATE).kind == Kind::Workflow;
        Ok(Box::new(AapWorld {
            workflows,
            sim,
            clock,
        }))
    }
}

impl AapWorld {
    fn run_of(&self, token: &OperationToken) -> Option<Run> {
        let mut journal = self.sim.journal().into_iter();
        journal.find(|run| token_of(run) == token.as_str() && run.launch_type == "manual")
    }
}

fn token_of(run: &Run) -> &str {
    let token = run.extra_vars.get("provider_operation_token");
    token.and_then(|token| token.as_str()).unwrap_or_default()
}

/// The ways of a launch or a question to go wrong; none when there are no more.
fn ways(fault: Fault) -> Vec<(Route, AapFault)> {
    let of = |route: Route, faults: Vec<AapFault>| {
        faults.into_iter().map(|fault| (route, fault)).collect()
    };
    let elsewhere = AapFault::Redirect(307, "https://elsewhere.example.com/".to_owned());
    match fault {
        Fault::RefusesLaunch => {
            // 409 and 422 can come from what is in front, after it has passed the launch on.
            let codes = [400, 403, 404, 405, 413, 415, 429];
            of(Route::Launch, codes.map(AapFault::Status).to_vec())
        }
        Fault::MissesLaunch => of(
            Route::Launch,
            vec![
                AapFault::DropBefore,
                AapFault::Status(500),
                AapFault::Status(503),
                AapFault::Html(2_000),
                AapFault::HtmlOk(2_000),
                AapFault::Maintenance,
                elsewhere,
            ],
        ),
        Fault::LosesLaunchAnswer => of(
            Route::Launch,
            vec![
                AapFault::DropAfter,
                AapFault::StatusAfter(500),
                AapFault::StatusAfter(502),
                AapFault::StatusAfter(504),
            ],
        ),
        Fault::GarblesLaunchAnswer => of(
            Route::Launch,
            vec![
                AapFault::Truncated,
                AapFault::StatusAfter(200),
                AapFault::StatusAfter(301),
            ],
        ),
        Fault::RateLimits(delay) => of(Route::Launch, vec![AapFault::RateLimited(delay.as_secs())]),
        Fault::Echoes => {
            let codes = [400, 403, 404, 409, 500, 502];
            of(Route::Launch, codes.map(AapFault::Echo).to_vec())
        }
        Fault::FailsRead => of(
            Route::Any,
            vec![
                AapFault::Status(503),
                AapFault::DropBefore,
                AapFault::Maintenance,
                AapFault::RateLimited(1),
                AapFault::Status(401),
                AapFault::Html(2_000),
            ],
        ),
        Fault::FloodsRead => of(
            Route::Any,
            vec![
                AapFault::Html(2 << 20),
                AapFault::HtmlOk(2 << 20),
                AapFault::Truncated,
            ],
        ),
        Fault::RefusesCancel => {
            let codes = [405, 403, 409, 500];
            of(Route::Cancel, codes.map(AapFault::Status).to_vec())
        }
        Fault::LosesCancelAnswer => of(
            Route::Cancel,
            vec![
                AapFault::DropAfter,
                AapFault::StatusAfter(500),
                AapFault::StatusAfter(504),
            ],
        ),
        _ => Vec::new(),
    }
}

#[async_trait]
impl World for AapWorld {
    fn provider(&self) -> Result<Arc<dyn Provider>, String> {
        let provider = AapProvider::with_clock(config(&self.sim), self.clock.clone());
        Ok(Arc::new(provider.map_err(|error| error.to_string())?))
    }

    fn object(&self, name: &str) -> Resource {
        super::resource(super::object(name))
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn pass(&self, by: Duration) {
        self.clock.advance(by);
    }

    async fn break_next(&self, fault: Fault, way: usize) -> bool {
        match fault {
            Fault::RefusesCredentials if way == 0 => {
                self.sim.revoke(ADMIN_TOKEN);
                true
            }
            Fault::IgnoresCancel => {
                let plan = match way {
                    0 => at_work().on_cancel(OnCancel::Ignores),
                    // Its status says `canceled` while the playbook runs on to its end. (That of a
                    // workflow stays so.)
                    1 if !self.workflows => RunPlan {
                        queue: Duration::ZERO,
                        ..RunPlan::lasting(Duration::from_secs(200)).on_cancel(OnCancel::Lies)
                    },
                    _ => return false,
                };
                self.sim.plan_next(CREATE, plan);
                true
            }
            other => match ways(other).get(way) {
                Some((route, fault)) => {
                    self.sim.fault(*route, fault, 1);
                    true
                }
                None => false,
            },
        }
    }

    async fn make(&self, deed: Deed, token: &OperationToken) -> bool {
        let Some(run) = self.run_of(token) else {
            return false;
        };
        let failed = |message: String| Ending::Failed {
            task: "Create the network".to_owned(),
            message,
        };
        match deed {
            Deed::Succeed => {
                run.succeeded || run.stopped.is_some() || self.sim.end(run.id, &Ending::Successful)
            }
            Deed::Fail => self.sim.end(run.id, &failed("quota exceeded".to_owned())),
            Deed::FailLoudly => {
                let text = super::loud(ADMIN_TOKEN, &run.extra_vars);
                self.sim.end(run.id, &failed(text))
            }
            Deed::BeCanceled => {
                self.sim.cancel(run.id);
                true
            }
            Deed::BeForgotten => self.sim.purge(run.id),
            Deed::SpeakUnknownWord => {
                let word = AapFault::Word("hibernating".to_owned());
                self.sim.fault(Route::Any, &word, 1);
                true
            }
            Deed::BeCopied => self.sim.relaunch(run.id).is_some(),
            Deed::FinishCopies => {
                let journal = self.sim.journal();
                let copies = journal.iter().filter(|other| {
                    other.launch_type == "relaunch" && token_of(other) == token.as_str()
                });
                let mut ended = copies.map(|copy| self.sim.end(copy.id, &Ending::Successful));
                ended.all(|is_so| is_so)
            }
            _ => false,
        }
    }

    async fn journal(&self) -> Vec<Ran> {
        let journal = self.sim.journal();
        let launched = journal.iter().filter(|run| run.launch_type != "workflow");
        launched
            .map(|run| Ran {
                id: Some(run.id.to_string()),
                token: OperationToken::from_text(token_of(run)),
                job_type: match run.template.as_str() {
                    CREATE => JobType::Provision,
                    DELETE => JobType::Deprovision,
                    _ => super::acting(),
                },
                object: run.object().unwrap_or_default().replacen("uid-", "", 1),
                live: run.stopped.is_none(),
            })
            .collect()
    }

    fn action(&self) -> Option<&str> {
        Some(super::ACTION)
    }

    fn secrets(&self) -> Vec<String> {
        vec![ADMIN_TOKEN.to_owned()]
    }
}

const LEFT_OUT: [&[&str]; 1] = [&["the_undeclared_is_unsupported", super::ASSUMED]];

#[tokio::test]
async fn aap_passes_with_jobs() {
    let template = |name: &str| Template::job(name);
    super::passes(&AapHarness { template }, &LEFT_OUT).await;
}

#[tokio::test]
async fn aap_passes_with_workflows() {
    let template = |name: &str| Template::workflow(name);
    super::passes(&AapHarness { template }, &LEFT_OUT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_of_aap_are_kept_apart() {
    let template = |name: &str| Template::job(name);
    super::passes_at_once(&AapHarness { template }).await;
}
