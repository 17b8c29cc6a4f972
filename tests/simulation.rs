//! Lives of objects: the real engine and the real AAP provider, by a line to the simulator, with
//! faults everywhere, on a clock that jumps. What really ran, by the simulator's own journal, decides.
//!
//! There are 400 of them, and 10,000 with `PROVIDER_FULL`. `SIMULATION_LIVES` changes the number of lives, `SIMULATION_SEED` runs one world again.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test that panics has failed"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use provider_aap::{AapConfig, AapProvider, Auth, HttpConfig, MonitorConfig, Timing};
use provider_core::lifecycle::{
    ActionRequest, Desired, Entropy, Freshness, Ground, Lifecycle, MemoryStore, Outcome, Policy,
    PolicyConfig, ProviderRegistry, RunningProvision, SeededEntropy, Snapshot, Standing,
    StatusStore, StoreError, StoreFault, StoreVersion, Supersede, Written,
};
use provider_core::{
    Clock, ConfigVersion, ExtraVars, JobRecord, ManualClock, ObjectKey, Resource, clock,
};
use provider_testkit::aap::{
    ADMIN_TOKEN, AapSim, Run, RunPlan, Template, Weather, World, overlapping,
};
use serde_json::{Value, json};

const OBJECTS: u64 = 20;
const START: &str = "2026-11-23T04:00:00Z";

#[derive(Debug)]
struct Dice(SeededEntropy);

impl Dice {
    fn below(&self, n: u64) -> u64 {
        self.0.next() % n.max(1)
    }

    fn percent(&self, p: u64) -> bool {
        self.below(100) < p
    }
}

/// A store that stalls: the process sleeps right after a write, for up to ten minutes.
struct StallingStore {
    inner: MemoryStore,
    clock: Arc<ManualClock>,
    dice: Arc<Dice>,
    stormy: std::sync::atomic::AtomicBool,
}

impl StallingStore {
    fn storm(&self) -> bool {
        self.stormy.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn disturb(&self) {
        if self.storm() && self.dice.percent(15) {
            self.inner.inject(match self.dice.below(5) {
                0 => StoreFault::StaleLoad,
                1 => StoreFault::FailLoad,
                2 => StoreFault::Conflict,
                3 => StoreFault::FailSwap,
                _ => StoreFault::LoseSwapAnswer,
            });
        }
    }
}

#[async_trait]
impl StatusStore for StallingStore {
    async fn load(&self, key: &ObjectKey, freshness: Freshness) -> Result<Snapshot, StoreError> {
        self.disturb();
        self.inner.load(key, freshness).await
    }

    async fn swap(
        &self,
        key: &ObjectKey,
        version: &StoreVersion,
        records: &[JobRecord],
    ) -> Result<Written, StoreError> {
        self.disturb();
        let notes = provider_core::history::check(records);
        assert!(notes.is_empty(), "{notes:?} in {records:#?}");
        let swapped = self.inner.swap(key, version, records).await;
        if self.storm() && self.dice.below(1_000) < 5 {
            self.clock
                .advance(Duration::from_secs(self.dice.below(600)));
        }
        swapped
    }
}

/// Drops a future after so many polls: a crash at any point where it waits.
struct Mortal<F>(Pin<Box<F>>, u64);

impl<F: Future> Future for Mortal<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.1 == 0 {
            return Poll::Ready(None);
        }
        self.1 -= 1;
        self.0.as_mut().poll(context).map(Some)
    }
}

/// One object and what its user is going to do.
struct Object {
    name: String,
    cores: u64,
    deleted_at: Option<Timestamp>,
    delete_after: Timestamp,
    edits: Vec<Timestamp>,
    person_cancels: Option<Timestamp>,
    /// When it is asked to be restarted, and how often it was.
    asks: Vec<Timestamp>,
    asked: u64,
    /// Between these moments it is not wanted, although its object stays.
    absent: Option<(Timestamp, Timestamp)>,
    is_absent: bool,
    /// Whether what was made stays when it goes.
    keeps: bool,
    /// Whether it was there before, with its first configuration.
    already: bool,
    wake: Timestamp,
    released: Option<Ground>,
}

impl Object {
    fn resource(&self) -> Resource {
        let mut object = json!({
            "kind": "ComputeInstance",
            "metadata": {"name": self.name, "namespace": "t", "uid": format!("uid-{}", self.name)},
            "spec": {"cores": self.cores},
        });
        if let Some(at) = self.deleted_at {
            object["metadata"]["deletionTimestamp"] = json!(at.to_string());
        }
        Resource::from_json(object).unwrap()
    }

    fn desired(&self) -> Desired {
        let resource = self.resource();
        let version = |cores: u64| ConfigVersion::of_json(&json!({"cores": cores}));
        let mut desired = Desired::new(ConfigVersion::of_json(resource.spec()), "aap");
        if self.asked > 0 {
            let which = ExtraVars::new().with("request", self.asked);
            let restart = ActionRequest::new("restart", self.asked.to_string()).unwrap();
            desired = desired.with_action(restart.with_extra_vars(which));
        }
        if self.is_absent {
            desired = desired.absent();
        }
        if self.keeps {
            desired = desired.keep_on_delete();
        }
        if self.already {
            desired = desired.already(version(1));
        }
        desired
    }

    fn uid(&self) -> String {
        format!("uid-{}", self.name)
    }
}

struct Simulation {
    seed: u64,
    sim: AapSim,
    clock: Arc<ManualClock>,
    dice: Arc<Dice>,
    store: StallingStore,
    registry: ProviderRegistry,
    replicas: [Lifecycle; 2],
    policy: Policy,
    statistics: BTreeMap<&'static str, u64>,
}

fn policy(dice: &Dice) -> Policy {
    let mut config = PolicyConfig::default();
    if dice.percent(40) {
        config.supersede = Supersede::Cancel;
    }
    if dice.percent(20) {
        config.deletion.running_provision = RunningProvision::Wait;
    }
    config.history_length = 1 + dice.below(5) as usize;
    config.backoff.cap = SignedDuration::from_mins(5);
    Policy::new(config).unwrap()
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let dice = Arc::new(Dice(SeededEntropy::new(seed)));
        let clock = Arc::new(ManualClock::new(START.parse().unwrap()));
        let workflow = dice.percent(30);
        let make = |name: &str| {
            if workflow {
                Template::workflow(name)
            } else {
                Template::job(name)
            }
        };
        let world = World::with([
            make("osac-create-compute-instance")
                .with_plan(RunPlan::lasting(Duration::from_secs(40))),
            make("osac-delete-compute-instance")
                .with_plan(RunPlan::lasting(Duration::from_secs(20))),
            make("osac-restart-compute-instance")
                .with_plan(RunPlan::lasting(Duration::from_secs(30))),
        ]);
        let sim = AapSim::start_in_process(world, clock.clone());
        let config = AapConfig::new(sim.url(), Auth::token(ADMIN_TOKEN))
            .with_template_prefix("osac")
            .with_http(HttpConfig {
                carrier: Some(sim.line()),
                ..HttpConfig::default()
            })
            // Rounds go by real time, which does not pass here: each job is asked about by itself.
            .with_monitor(MonitorConfig {
                batch_from: u32::MAX,
                ..MonitorConfig::default()
            })
            .with_timing(Timing {
                poll_interval: SignedDuration::from_secs(30),
                ..Timing::default()
            });
        let provider = Arc::new(AapProvider::with_clock(config, clock.clone()).unwrap());
        let policy = policy(&dice);
        let replica = |n| Lifecycle::with_entropy(policy.clone(), Arc::new(SeededEntropy::new(n)));
        Self {
            seed,
            sim,
            store: StallingStore {
                inner: MemoryStore::new(),
                clock: clock.clone(),
                dice: dice.clone(),
                stormy: true.into(),
            },
            registry: ProviderRegistry::single(provider),
            replicas: [replica(dice.0.next()), replica(dice.0.next())],
            policy,
            clock,
            dice,
            statistics: BTreeMap::new(),
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.statistics.entry(what).or_default() += 1;
    }

    fn restart(&mut self, n: usize) {
        let entropy = Arc::new(SeededEntropy::new(self.dice.0.next()));
        self.replicas[n] = Lifecycle::with_entropy(self.policy.clone(), entropy);
    }

    /// One reconcile of one replica, which may die in it, or of both at once.
    async fn reconcile(&mut self, object: &Object) -> Vec<Outcome> {
        let resource = object.resource();
        let desired = object.desired();
        let storm = self.store.storm();
        let n = self.dice.below(2) as usize;
        let run = |n: usize| {
            self.replicas[n].reconcile(
                &self.registry,
                &self.store,
                &resource,
                &desired,
                &*self.clock,
            )
        };
        if storm && self.dice.percent(6) {
            let polls = self.dice.below(12);
            let outcome = Mortal(Box::pin(run(n)), polls).await;
            self.count("passes cut off");
            // Most are cut off by a time-out of their own; with some, the whole process goes.
            if self.dice.below(100) < 8 {
                self.restart(n);
                self.count("crashes");
            }
            return outcome.into_iter().collect();
        }
        if storm && self.dice.percent(10) {
            let (one, two) = tokio::join!(run(0), run(1));
            self.count("both replicas at once");
            return vec![one, two];
        }
        vec![run(n).await]
    }

    fn fail(&self, what: &str, object: &Object) -> ! {
        let key = object.resource().key().clone();
        let runs = self.sim.runs_of(&object.uid());
        panic!(
            "SIMULATION_SEED={}: {}: {what}\nnow {}\nrecords {:#?}\nruns {runs:#?}",
            self.seed,
            object.name,
            self.clock.now(),
            self.store.inner.records(&key),
        );
    }

    /// What an outcome claims must be what the journal shows.
    fn judge(&mut self, object: &Object, outcome: &Outcome) {
        if outcome.wake_at.is_none() && !outcome.standing.is_final() {
            self.fail(&format!("no wake-up at {:?}", outcome.standing), object);
        }
        if let Standing::Interrupted { reason } = &outcome.standing
            && reason.contains("defect of the engine")
        {
            self.fail(reason, object);
        }
        let claims_end = matches!(
            outcome.standing,
            Standing::Applied { .. } | Standing::Absent { .. } | Standing::Released(_)
        );
        if !claims_end {
            return;
        }
        let mut runs = self.sim.runs_of(&object.uid());
        runs.retain(|run| run.launch_type == "manual");
        // A restart changes nothing of what is there, and each is made once.
        let is_restart = |run: &&Run| run.template.contains("restart");
        runs.sort_by_key(|run| (run.accepted, run.id));
        let mut made = BTreeSet::new();
        for run in runs.iter().filter(|run| run.succeeded) {
            if run.template.contains("delete") {
                made.clear(); // what comes after that is another resource
            }
            let which = run.extra_vars.get("request").and_then(Value::as_u64);
            if is_restart(&run) && !made.insert(which) {
                self.fail(&format!("restart {which:?} was made twice"), object);
            }
        }
        let restarts = made.len() as u64;
        let changes = runs.iter().filter(|run| !is_restart(run));
        let last = changes.max_by_key(|run| (run.accepted, run.id));
        let removed = last.is_none_or(|run| run.template.contains("delete") && run.succeeded);
        if let Some(run) = runs.iter().find(|run| run.stopped.is_none()) {
            self.fail(
                &format!("{:?} while job {} is alive", outcome.standing, run.id),
                object,
            );
        }
        match (&outcome.standing, last) {
            (Standing::Applied { .. }, Some(last)) => {
                let cores = last
                    .extra_vars
                    .pointer("/ansible_eda/event/payload/spec/cores");
                let create = last.template.contains("create");
                if !(create && last.succeeded && cores == Some(&Value::from(object.cores))) {
                    self.fail("reported as applied, which it is not", object);
                }
                self.count("applied");
            }
            (Standing::Applied { .. }, None) if object.already && object.cores == 1 => {
                self.count("imported");
            }
            (Standing::Applied { .. }, None) => self.fail("applied without any job", object),
            (Standing::Absent { left_behind }, _) => {
                if !removed || !left_behind.is_empty() {
                    self.fail("absent, and something is there", object);
                }
                self.count("absent");
            }
            (Standing::Released(release), last) => {
                let deprovisioned =
                    last.is_some_and(|run| run.template.contains("delete") && run.succeeded);
                let never = removed;
                let proven = match release.ground {
                    Ground::Deprovisioned => deprovisioned,
                    Ground::NeverProvisioned => never,
                    Ground::Retained => object.keeps,
                    _ => false,
                };
                if !proven {
                    self.fail(
                        &format!("released on {:?} without proof", release.ground),
                        object,
                    );
                }
                if release.ground == Ground::Retained {
                    self.count("retained");
                }
                self.count("released");
                for _ in 0..restarts {
                    self.count("restarts");
                }
            }
            _ => {}
        }
    }

    async fn run(mut self) -> BTreeMap<&'static str, u64> {
        self.sim.weather(Some(Weather {
            max_queue_ms: 20_000,
            max_run_ms: 60_000,
            ..Weather::stormy(self.seed)
        }));
        let start: Timestamp = START.parse().unwrap();
        let at = |seconds: u64| clock::add(start, Duration::from_secs(seconds));
        let mut objects: Vec<Object> = (0..OBJECTS)
            .map(|n| Object {
                name: format!("vm-{n}"),
                cores: 1,
                deleted_at: None,
                delete_after: at(30 + self.dice.below(4_000)),
                edits: (0..self.dice.below(3))
                    .map(|_| at(self.dice.below(3_000)))
                    .collect(),
                person_cancels: self.dice.percent(10).then(|| at(self.dice.below(3_000))),
                asks: (0..self.dice.below(3))
                    .map(|_| at(self.dice.below(4_000)))
                    .collect(),
                asked: 0,
                absent: self.dice.percent(20).then(|| {
                    let from = self.dice.below(2_500);
                    (at(from), at(from + self.dice.below(2_500)))
                }),
                is_absent: false,
                keeps: self.dice.percent(10),
                already: self.dice.percent(10),
                wake: at(self.dice.below(600)),
                released: None,
            })
            .collect();
        let storm_ends = at(5_000);
        let gives_up = at(5_000 + 48 * 3_600);
        // A newer version was here before, and has left a word of its own about some of them.
        for object in objects.iter().filter(|_| self.dice.percent(5)) {
            let left = json!([{
                "type": "migrate", "state": "Failed", "jobID": "1", "attempt": 7, "failures": 3,
                "provider": "aap", "kind": "job", "message": "it could not be moved",
            }]);
            let records: Vec<JobRecord> = serde_json::from_value(left).unwrap();
            let key = object.resource().key().clone();
            self.store.inner.overwrite(&key, records);
        }
        // Faults of jobs already planned may outlast the storm; new ones do not come.
        while let Some(n) = (0..objects.len())
            .filter(|n| objects[*n].released.is_none())
            .min_by_key(|n| objects[*n].wake)
        {
            let object = &mut objects[n];
            if object.wake > self.clock.now() {
                self.clock.set(object.wake);
            }
            let now = self.clock.now();
            if now >= storm_ends && self.store.storm() {
                self.store
                    .stormy
                    .store(false, std::sync::atomic::Ordering::Relaxed);
                self.sim.weather(None);
            }
            if now > gives_up {
                let object = &objects[n];
                self.fail("no end, two days after the last fault", object);
            }
            let mut edited = false;
            object.edits.retain(|at| {
                let due = *at <= now;
                edited |= due;
                !due
            });
            if edited && object.deleted_at.is_none() {
                object.cores += 1;
            }
            let before = object.asks.len();
            object.asks.retain(|at| *at > now);
            object.asked += (before - object.asks.len()) as u64;
            object.is_absent = object
                .absent
                .is_some_and(|(from, to)| from <= now && now < to);
            if object.delete_after <= now && object.deleted_at.is_none() {
                object.deleted_at = Some(now);
            }
            if object.person_cancels.is_some_and(|at| at <= now) {
                object.person_cancels = None;
                let runs = self.sim.runs_of(&object.uid());
                let running = runs.iter().rev().find(|run| run.launch_type == "manual");
                if let Some(run) = running.filter(|run| run.template.contains("create")) {
                    self.sim.cancel(run.id);
                }
            }
            let object = &objects[n];
            self.count("reconciles");
            if self
                .statistics
                .get("reconciles")
                .is_some_and(|n| *n > 100_000)
            {
                self.fail("a hot loop", object);
            }
            let outcomes = self.reconcile(object).await;
            let now = self.clock.now();
            let mut wake = clock::add(now, Duration::from_secs(5));
            let mut released = None;
            for outcome in &outcomes {
                // A claim is judged at the moment at which it was made; time may have moved since.
                self.judge(object, outcome);
                wake = outcome.wake_at.unwrap_or(
                    object
                        .delete_after
                        .max(clock::add(now, Duration::from_secs(600))),
                );
                if let Standing::Released(release) = &outcome.standing {
                    released = Some(release.ground);
                }
            }
            // A controller is also woken by changes of the object.
            let absent = object.absent.iter().flat_map(|(from, to)| [*from, *to]);
            let asks = object.asks.iter().copied().chain(absent);
            let changes = object.edits.iter().copied().chain([object.delete_after]);
            let changes = changes.chain(asks);
            let next_change = changes.filter(|at| *at > now).min();
            let object = &mut objects[n];
            object.wake = wake.max(clock::add(now, Duration::from_millis(10)));
            if let Some(change) = next_change.filter(|_| object.deleted_at.is_none()) {
                object.wake = object.wake.min(change);
            }
            object.released = released;
        }
        let journal = self.sim.journal();
        let overlaps = overlapping(&journal);
        assert!(
            overlaps.is_empty(),
            "SIMULATION_SEED={}: alive at once: {overlaps:?}",
            self.seed
        );
        let launched = journal
            .iter()
            .filter(|run| run.launch_type == "manual")
            .count() as u64;
        *self.statistics.entry("jobs launched").or_default() += launched;
        let tokens: BTreeSet<_> = journal
            .iter()
            .filter(|run| run.launch_type == "manual")
            .filter_map(|run| run.extra_vars.get("provider_operation_token")?.as_str())
            .collect();
        assert_eq!(
            tokens.len() as u64,
            launched,
            "SIMULATION_SEED={}: a token was launched twice",
            self.seed
        );
        self.statistics
    }
}

/// Past the test harness, which keeps what passing tests print to itself.
fn say(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(otherwise)
}

fn world(seed: u64) -> BTreeMap<&'static str, u64> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async { Simulation::new(seed).run().await })
}

#[test]
fn lives_with_faults_everywhere_end_well() {
    let mut total = BTreeMap::<&str, u64>::new();
    let lives;
    if let Ok(seed) = std::env::var("SIMULATION_SEED") {
        total = world(seed.parse().unwrap());
        lives = OBJECTS;
    } else {
        let full = std::env::var_os("PROVIDER_FULL").is_some();
        let lives_wanted = number("SIMULATION_LIVES", if full { 10_000 } else { 400 });
        let worlds = lives_wanted.div_ceil(OBJECTS);
        say(&format!("seeds 1 to {worlds}, {OBJECTS} objects each"));
        lives = worlds * OBJECTS;
        let halves: Vec<_> = (0..2)
            .map(|half| {
                std::thread::spawn(move || {
                    let mut total = BTreeMap::<&str, u64>::new();
                    for seed in (1..=worlds).filter(|seed| seed % 2 == half) {
                        for (what, n) in world(seed) {
                            *total.entry(what).or_default() += n;
                        }
                    }
                    total
                })
            })
            .collect();
        for half in halves {
            for (what, n) in half.join().unwrap() {
                *total.entry(what).or_default() += n;
            }
        }
    }
    say(&format!("{lives} lives: {total:?}"));
    assert_eq!(
        total.get("released").copied().unwrap_or(0).min(lives),
        lives
    );
    // One world alone may be spared.
    let everything = [
        "crashes", "applied", "absent", "retained", "imported", "restarts",
    ]
    .iter()
    .all(|what| total.contains_key(what));
    assert!(everything || lives == OBJECTS);
}
