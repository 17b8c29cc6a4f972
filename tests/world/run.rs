//! One world from its beginning to its end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use provider_core::lifecycle::{Policy, PolicyConfig, RunningProvision, Supersede};
use provider_core::{Clock, JobRecord};
use provider_testkit::TimerClock;
use provider_testkit::aap::{AapSim, Costs, RunPlan, Template, Weather, World};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};

use crate::Outcome;
use crate::api::{Server, Trouble};
use crate::dice::Dice;
use crate::judge;
use crate::people::{Deed, Plan};
use crate::replica::{Replica, Setting};

pub(crate) const OBJECTS: u64 = 10;
const STORM: Duration = Duration::from_secs(4_000);
/// So long after the last fault everything has come to rest.
const PEACE: Duration = Duration::from_secs(48 * 3_600);

/// What there is in a world, and what was done in it.
pub(crate) struct Scene {
    pub(crate) sim: AapSim,
    pub(crate) server: Server,
    pub(crate) clock: TimerClock,
    pub(crate) plans: Vec<Plan>,
    /// What happened, in words, by the world's clock.
    pub(crate) timeline: Vec<String>,
    pub(crate) counts: BTreeMap<&'static str, u64>,
}

impl Scene {
    pub(crate) fn note(&mut self, what: &'static str, text: &str) {
        *self.counts.entry(what).or_default() += 1;
        self.timeline
            .push(format!("{} {what} {text}", self.clock.now()));
    }

    fn newest_run(&self, uid: &str) -> Option<provider_testkit::aap::Run> {
        self.sim.runs_of(uid).into_iter().max_by_key(|run| run.id)
    }

    /// What is done of it now.
    fn act(&mut self, n: usize, deed: Deed) {
        let (name, uid) = (self.plans[n].name.clone(), self.plans[n].uid());
        let now = self.clock.now().to_string();
        match deed {
            Deed::Create => self.server.create(&name, self.plans[n].object()),
            Deed::Edit => self.server.change(&name, |object| {
                let cores = object["spec"]["cores"].as_u64().unwrap_or(0);
                object["spec"]["cores"] = json!(cores + 1);
            }),
            Deed::Delete => self.server.change(&name, |object| {
                object["metadata"]["deletionTimestamp"] = json!(now);
            }),
            Deed::Retry => self.server.change(&name, |object| {
                object["metadata"]["annotations"]["osac.openshift.io/retry"] = json!(now);
            }),
            Deed::Strip => self.server.change(&name, |object| {
                object["metadata"]
                    .as_object_mut()
                    .unwrap()
                    .remove("finalizers");
            }),
            Deed::Cancel => {
                if let Some(run) = self.newest_run(&uid).filter(|run| run.stopped.is_none()) {
                    self.sim.cancel(run.id);
                }
            }
            Deed::Relaunch => {
                let run = self.newest_run(&uid);
                if let Some(run) = run.filter(|run| run.stopped.is_some() && !run.succeeded) {
                    self.sim.relaunch(run.id);
                }
            }
            Deed::Purge => {
                for run in self.sim.runs_of(&uid) {
                    if run.stopped.is_some() {
                        self.sim.purge(run.id);
                    }
                }
            }
        }
        let what = match deed {
            Deed::Create => "created",
            Deed::Edit => "edited",
            Deed::Delete => "deleted",
            Deed::Retry => "retries asked for",
            Deed::Cancel => "cancelled by people",
            Deed::Relaunch => "relaunched by people",
            Deed::Purge => "purged",
            Deed::Strip => "stripped",
        };
        self.note(what, &name);
    }
}

/// What can never be in a right history.
fn inspect(object: &Value) -> Option<String> {
    let jobs = object.pointer("/status/jobs")?.clone();
    let records: Vec<JobRecord> = match serde_json::from_value(jobs) {
        Ok(records) => records,
        Err(error) => return Some(format!("records that cannot be read: {error}")),
    };
    let notes = provider_core::history::check(&records);
    (!notes.is_empty()).then(|| format!("{notes:?} in {records:#?}"))
}

fn policy(dice: &Dice) -> Policy {
    let mut config = PolicyConfig::default();
    if dice.percent(40) {
        config.supersede = Supersede::Cancel;
    }
    if dice.percent(20) {
        config.deletion.running_provision = RunningProvision::Wait;
    }
    config.history_length = 1 + dice.pick(5);
    config.backoff.cap = SignedDuration::from_mins(5);
    Policy::new(config).unwrap()
}

fn simulator(clock: TimerClock, dice: &Dice) -> AapSim {
    let workflow = dice.percent(30);
    let make = |name: &str, seconds| {
        let template = if workflow {
            Template::workflow(name)
        } else {
            Template::job(name)
        };
        template.with_plan(RunPlan::lasting(Duration::from_secs(seconds)))
    };
    let mut world = World::with([
        make("osac-create-machine", 40),
        make("osac-delete-machine", 20),
    ]);
    if dice.percent(30) {
        world.max_page_size = 3 + dice.pick(20);
    }
    if dice.percent(50) {
        world.costs = Some(Costs::default());
    }
    AapSim::start_in_process(world, Arc::new(clock))
}

pub(crate) async fn world(seed: u64) -> Outcome {
    let dice = Dice::new(seed);
    let clock = TimerClock::new("2026-11-23T04:00:00Z".parse().unwrap());
    let setting = Setting {
        policy: policy(&dice),
        batch_from: [1, 4, 1_000][dice.pick(3)],
        has_push: dice.percent(30),
    };
    let mut scene = Scene {
        sim: simulator(clock, &dice),
        server: Server::new(inspect),
        clock,
        plans: (0..OBJECTS).map(|n| Plan::new(n, STORM, &dice)).collect(),
        timeline: Vec::new(),
        counts: BTreeMap::new(),
    };
    scene.sim.weather(Some(Weather {
        max_queue_ms: 20_000,
        max_run_ms: 60_000,
        ..Weather::stormy(seed)
    }));
    scene.server.set_trouble(Trouble {
        refused: 30,
        lost: 20,
        watches_closed: 20,
        watches_gone: 10,
        late_ms: [50, 5_000][dice.pick(2)],
    });
    let count = if dice.percent(20) { 3 } else { 2 };
    let start = |scene: &Scene| Replica::start(&scene.server, &scene.sim, &setting, clock, &dice);
    let mut replicas: Vec<Option<Replica>> = (0..count).map(|_| Some(start(&scene))).collect();

    let mut deeds: Vec<(Duration, usize, Deed)> = Vec::new();
    for (n, plan) in scene.plans.iter().enumerate() {
        deeds.extend(plan.deeds.iter().map(|(at, deed)| (*at, n, *deed)));
    }
    deeds.sort_by_key(|(at, n, _)| (*at, *n));
    let began = Instant::now();
    let mut mischief = Duration::from_secs(dice.below(120));
    for (at, n, deed) in deeds {
        while mischief < at {
            sleep_until(began + mischief).await;
            mischief += Duration::from_secs(1 + dice.below(240));
            let one = dice.pick(replicas.len());
            match dice.below(10) {
                0..3 => {
                    // A process dies, wherever it waits, and another one comes at once or later.
                    replicas[one] = None;
                    scene.note("crashes", &one.to_string());
                }
                3..5 => {
                    scene.sim.line().swallow();
                    scene.note("connections swallowed", "");
                }
                5 => scene.sim.hang_up(),
                _ => {}
            }
            for replica in &mut replicas {
                if replica.is_none() && dice.percent(60) {
                    *replica = Some(start(&scene));
                }
            }
        }
        sleep_until(began + at).await;
        scene.act(n, deed);
    }
    sleep_until(began + STORM).await;
    scene.sim.weather(None);
    scene.server.set_trouble(Trouble::default());
    for replica in &mut replicas {
        if replica.is_none() {
            *replica = Some(start(&scene));
        }
    }
    scene.note("the storm ends", "");
    let replicas: Vec<Replica> = replicas.into_iter().flatten().collect();
    let before: Vec<u64> = replicas.iter().map(Replica::reconciles).collect();
    let requests = scene.server.requests();
    let storm_ends = Instant::now();
    while scene.server.count() > 0 {
        if storm_ends.elapsed() > PEACE {
            return Err(judge::report(
                &scene,
                "no end, two days after the last fault",
            ));
        }
        sleep(Duration::from_secs(30)).await;
    }
    let calm = storm_ends.elapsed();
    scene.note("all are gone", &format!("after {calm:?}"));
    let reconciles: u64 = replicas
        .iter()
        .zip(before)
        .map(|(replica, before)| replica.reconciles() - before)
        .sum();
    *scene.counts.entry("reconciles in peace").or_default() += reconciles;
    *scene.counts.entry("requests in peace").or_default() += scene.server.requests() - requests;
    judge::hot_loops(&scene, calm, reconciles, scene.server.requests() - requests)?;
    judge::memory(&mut scene, &replicas).await?;
    judge::journal(&scene)?;
    Ok(scene.counts)
}
