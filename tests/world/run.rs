//! One world from its beginning to its end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::CustomResourceExt;
use provider_core::{Clock, JobRecord};
use provider_kube::guarded;
use provider_testkit::TimerClock;
use provider_testkit::aap::{AapSim, Costs, World};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};

use crate::Outcome;
use crate::api::{Server, Trouble};
use crate::chronicle::Chronicle;
use crate::counters::Counters;
use crate::judge;
use crate::people::{Deed, Plan};
use crate::replica::{Machine, RESTART, Replica};
use crate::report::report;
use crate::script::{Mischief, Script};
use crate::told;

/// So long after the last fault everything has come to rest.
const PEACE: Duration = Duration::from_secs(48 * 3_600);
/// So often a person looks at what is left then.
const PERSON: Duration = Duration::from_secs(900);

const MODE: &str = "example.com/management-state";

/// What there is in a world, and what was done in it.
pub(crate) struct Scene {
    pub(crate) sim: AapSim,
    pub(crate) server: Server,
    pub(crate) clock: TimerClock,
    pub(crate) plans: Vec<Plan>,
    /// Jobs that the controller has forgotten: their ids may be those of others.
    pub(crate) forgotten: BTreeSet<(u64, Timestamp)>,
    pub(crate) workflow: bool,
    /// How many ended attempts of a kind are kept on record.
    pub(crate) history: usize,
    /// The ids of the templates, while they are there.
    pub(crate) templates: [Option<u64>; 3],
    /// What happened.
    pub(crate) chronicle: Chronicle,
}

impl Scene {
    pub(crate) fn note(&mut self, what: &'static str, text: &str) {
        self.chronicle.note(what, text);
    }

    fn newest_run(&self, uid: &str) -> Option<provider_testkit::aap::Run> {
        self.sim.runs_of(uid).into_iter().max_by_key(|run| run.id)
    }

    /// What is done of it now.
    fn act(&mut self, n: usize, deed: Deed) {
        let (name, uid) = (self.plans[n].name.clone(), self.plans[n].uid());
        let now = self.clock.now().to_string();
        match deed {
            Deed::Create => self.server.create(&name, &self.plans[n].object()),
            Deed::Edit => self.server.change(&name, |object| {
                let cores = object["spec"]["cores"].as_u64().unwrap_or(0);
                object["spec"]["cores"] = json!(cores + 1);
            }),
            Deed::Delete => self.server.delete(&name),
            Deed::Retry => self.server.change(&name, |object| {
                object["metadata"]["annotations"]["example.com/retry"] = json!(now);
            }),
            Deed::Ask => self.server.change(&name, |object| {
                object["metadata"]["annotations"][RESTART] = json!(now);
            }),
            Deed::Mode(mode) => self.server.change(&name, |object| {
                object["metadata"]["annotations"][MODE] = json!(mode);
            }),
            Deed::Overwrite => {
                // With a copy that it has just read, and a type that has no records.
                if let Some(mut object) = self.server.object(&name) {
                    let generation = object["metadata"]["generation"].clone();
                    object["status"] = json!({"observedGeneration": generation});
                    self.server.replace_status(&name, &object);
                }
            }
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
            Deed::Ask => "restarts asked for",
            Deed::Cancel => "canceled by people",
            Deed::Relaunch => "relaunched by people",
            Deed::Purge => "purged",
            Deed::Mode("managed") => "managed again",
            Deed::Mode(_) => "taken in hand",
            Deed::Overwrite => "statuses overwritten by others",
            Deed::Strip => "stripped",
        };
        self.note(what, &name);
    }

    /// People do what the conditions ask of them.
    fn help(&mut self) {
        for n in 0..self.plans.len() {
            let object = self.server.object(&self.plans[n].name).unwrap_or_default();
            let conditions = object
                .pointer("/status/conditions")
                .and_then(Value::as_array);
            let asks = conditions.into_iter().flatten().any(|condition| {
                let message = condition["message"].as_str().unwrap_or_default();
                condition["type"] == "Progressing" && message.contains("ask for a retry")
            });
            if asks {
                self.act(n, Deed::Retry);
            }
        }
    }

    /// Nobody holds anything up any more.
    fn let_go_on(&mut self) {
        for n in 0..self.plans.len() {
            self.act(n, Deed::Mode("managed"));
        }
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

/// As a cluster has it.
fn definition() -> Value {
    json!(guarded(Machine::crd()).unwrap())
}

fn simulator(clock: TimerClock, script: &Script) -> AapSim {
    let mut world = World::default();
    if let Some(rows) = script.page {
        world.max_page_size = rows;
    }
    world.costs = script.costs.then(Costs::default);
    AapSim::start_in_process(world, Arc::new(clock))
}

/// The processes of a world, and those that are dead.
struct Machines<'a> {
    script: &'a Script,
    all: Vec<Option<Replica>>,
    /// How many were begun so far.
    begun: u64,
}

impl<'a> Machines<'a> {
    fn new(script: &'a Script) -> Self {
        Self {
            script,
            all: (0..script.replicas).map(|_| None).collect(),
            begun: 0,
        }
    }

    fn start(&mut self, scene: &Scene, one: usize) {
        if let Some(place @ None) = self.all.get_mut(one) {
            self.begun += 1;
            *place = Some(Replica::start(scene, self.script, one, self.begun));
        }
    }

    fn start_all(&mut self, scene: &Scene) {
        for one in 0..self.all.len() {
            self.start(scene, one);
        }
    }

    fn suffer(&mut self, scene: &Scene, mischief: Mischief) {
        let told = &scene.chronicle;
        match mischief {
            Mischief::Crash(one) => {
                let dead = self.all.get_mut(one).and_then(Option::take);
                if dead.is_some() {
                    told.fault("crashes", &format!("of process {one}"));
                }
            }
            Mischief::Start(one) => self.start(scene, one),
            Mischief::Swallow => {
                scene.sim.line().swallow();
                told.fault("connections swallowed", "");
            }
            Mischief::Controller(_) => {}
            Mischief::HangUp => {
                scene.sim.hang_up();
                told.fault("websockets closed", "");
            }
        }
    }
}

enum Step {
    Deed(usize, Deed),
    Mischief(Mischief),
}

/// What is done, in the order of its time.
fn steps(script: &Script) -> Vec<(Duration, Step)> {
    let mut steps: Vec<(Duration, Step)> = Vec::new();
    for (n, plan) in script.plans.iter().enumerate() {
        let deeds = plan.deeds.iter();
        steps.extend(deeds.map(|(at, deed)| (*at, Step::Deed(n, *deed))));
    }
    let mischief = script.mischief.iter();
    steps.extend(mischief.map(|(at, mischief)| (*at, Step::Mischief(*mischief))));
    steps.sort_by_key(|(at, _)| *at);
    steps
}

pub(crate) async fn world(
    script: &Script,
    clock: TimerClock,
    chronicle: Chronicle,
    counters: &Counters,
) -> Outcome {
    let mut scene = Scene {
        sim: simulator(clock, script),
        server: Server::new(&definition(), clock, inspect, chronicle.clone()),
        clock,
        plans: script.plans.clone(),
        forgotten: BTreeSet::new(),
        workflow: script.workflow,
        history: script.policy.history_length,
        templates: [None; 3],
        chronicle,
    };
    scene.mend();
    scene.sim.weather(Some(script.weather.clone()));
    scene.server.set_trouble(script.trouble);
    let mut machines = Machines::new(script);
    machines.start_all(&scene);
    let began = Instant::now();
    for (at, step) in steps(script) {
        sleep_until(began + at).await;
        match step {
            Step::Deed(n, deed) => scene.act(n, deed),
            Step::Mischief(Mischief::Controller(mishap)) => scene.meet(mishap),
            Step::Mischief(mischief) => machines.suffer(&scene, mischief),
        }
    }
    sleep_until(began + script.storm).await;
    scene.sim.weather(None);
    scene.mend();
    scene.let_go_on();
    scene.server.set_trouble(Trouble::default());
    machines.start_all(&scene);
    scene.note("the storm ends", "");
    let replicas: Vec<Replica> = machines.all.into_iter().flatten().collect();
    let before: Vec<u64> = replicas.iter().map(Replica::reconciles).collect();
    let requests = scene.server.requests();
    let storm_ends = Instant::now();
    let mut looked = storm_ends;
    while scene.server.count() > 0 {
        if storm_ends.elapsed() > PEACE {
            return Err(report(&scene, "no end, two days after the last fault"));
        }
        sleep(Duration::from_secs(30)).await;
        if looked.elapsed() > PERSON {
            looked = Instant::now();
            scene.help();
        }
    }
    let calm = storm_ends.elapsed();
    scene.note("all are gone", &format!("after {calm:?}"));
    let reconciles: u64 = replicas
        .iter()
        .zip(before)
        .map(|(replica, before)| replica.reconciles() - before)
        .sum();
    let requests = scene.server.requests() - requests;
    scene.chronicle.count("reconciles in peace", reconciles);
    scene.chronicle.count("requests in peace", requests);
    judge::hot_loops(&scene, calm, reconciles, requests)?;
    if script.waits_for_oblivion {
        judge::memory(&mut scene, &replicas).await?;
    }
    judge::journal(&scene)?;
    told::everything(&scene, counters)?;
    let all = scene.server.requests();
    scene.chronicle.count("requests to the API server", all);
    for run in scene.sim.journal() {
        let text = format!("{run:?}");
        scene
            .chronicle
            .message("the journal", "", "", 0, text.as_bytes());
    }
    Ok(scene.chronicle.counts())
}
