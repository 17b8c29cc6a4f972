//! Lives of many objects in one controller, on tokio's paused time: a line to the simulator, the real
//! provider and the real engine, and nobody waits. The simulator's journal is the judge.

#![allow(dead_code, reason = "an example and a test each use a part of it")]

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use provider_aap::{AapConfig, AapProvider, Auth, HttpConfig};
use provider_core::lifecycle::{
    Desired, Lifecycle, MemoryStore, Outcome, Policy, PolicyConfig, ProviderRegistry,
    SeededEntropy, Standing,
};
use provider_core::{Clock, ConfigVersion, Provider, ProviderError, Resource};
use provider_testkit::TimerClock;
use provider_testkit::aap::{ADMIN_TOKEN, AapSim, RunPlan, Template, World, overlapping};
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout};

pub(crate) const CREATE: &str = "osac-create-compute-instance";
pub(crate) const DELETE: &str = "osac-delete-compute-instance";

/// What the objects go through.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Course {
    pub(crate) objects: u64,
    /// Within so long all of them are created.
    pub(crate) within: Duration,
    pub(crate) fate: Fate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// They come to be.
    Created,
    /// They are created, edited and deleted, and left alone for so long in between.
    Whole(Duration),
    /// They are deleted so long after their creation, whether they have come to be or not.
    DeletedAfter(Duration),
}

/// A part of a life: what the user wants, after how long, and how long it is waited for at most.
#[derive(Debug, Clone, Copy)]
struct Stage {
    after: Duration,
    cores: u64,
    is_deleted: bool,
    at_most: Duration,
}

impl Fate {
    fn stages(self) -> Vec<Stage> {
        let stage = |after, cores, is_deleted, at_most| Stage {
            after,
            cores,
            is_deleted,
            at_most,
        };
        let (now, ever) = (Duration::ZERO, Duration::MAX);
        match self {
            Self::Created => vec![stage(now, 1, false, ever)],
            Self::Whole(rest) => vec![
                stage(now, 1, false, ever),
                stage(rest, 2, false, ever),
                stage(rest, 2, true, ever),
            ],
            Self::DeletedAfter(long) => {
                vec![stage(now, 1, false, long), stage(now, 1, true, ever)]
            }
        }
    }
}

/// How a life went.
#[derive(Debug, Clone, Default)]
pub(crate) struct Life {
    /// When it began, and when its first job was known.
    pub(crate) born: Option<Instant>,
    pub(crate) known: Option<Instant>,
    /// Whether it has come to its end.
    pub(crate) done: bool,
    /// Where it stood last.
    pub(crate) standing: String,
    /// Whether it was ever held or blocked, and as what.
    pub(crate) stuck: Option<String>,
    /// The last call that failed.
    pub(crate) trouble: Option<ProviderError>,
    /// The highest number of an attempt.
    pub(crate) attempts: u64,
    pub(crate) passes: u64,
}

/// A controller process, and the simulated AAP that it talks to.
pub(crate) struct Town {
    pub(crate) sim: AapSim,
    pub(crate) clock: TimerClock,
    lifecycle: Lifecycle,
    registry: ProviderRegistry,
    store: MemoryStore,
    provider: Arc<AapProvider>,
    /// Who is woken for a job.
    woken: Mutex<HashMap<String, Arc<Notify>>>,
    pub(crate) lives: Mutex<Vec<Life>>,
}

/// A controller whose jobs take so long.
pub(crate) fn simulator(run: Duration) -> (AapSim, TimerClock) {
    let start = "2026-11-23T04:00:00Z".parse();
    let clock = TimerClock::new(start.unwrap_or_default());
    let plan = RunPlan {
        queue: Duration::from_secs(1),
        ..RunPlan::lasting(run)
    };
    let template = |name: &str| Template::job(name).with_plan(plan.clone());
    let mut world = World::with([template(CREATE), template(DELETE)]);
    world.record_requests = true;
    (AapSim::start_in_process(world, Arc::new(clock)), clock)
}

pub(crate) fn config(sim: &AapSim) -> AapConfig {
    let http = HttpConfig {
        carrier: Some(sim.line()),
        ..HttpConfig::default()
    };
    AapConfig::new(sim.url(), Auth::token(ADMIN_TOKEN))
        .with_template_prefix("osac")
        .with_http(http)
}

impl Town {
    pub(crate) fn new(
        (sim, clock): (AapSim, TimerClock),
        config: AapConfig,
        policy: PolicyConfig,
        seed: u64,
    ) -> Result<Arc<Self>, Box<dyn std::error::Error>> {
        let provider = Arc::new(AapProvider::with_clock(config, Arc::new(clock))?);
        let entropy = Arc::new(SeededEntropy::new(seed));
        Ok(Arc::new(Self {
            lifecycle: Lifecycle::with_entropy(Policy::new(policy)?, entropy),
            registry: ProviderRegistry::single(provider.clone()),
            store: MemoryStore::new(),
            woken: Mutex::default(),
            lives: Mutex::default(),
            sim,
            clock,
            provider,
        }))
    }

    /// Lives all lives, within this time at most.
    pub(crate) async fn live(self: &Arc<Self>, course: Course, limit: Duration) -> Vec<Life> {
        let count = usize::try_from(course.objects).unwrap_or(usize::MAX);
        *self.lives() = vec![Life::default(); count];
        let waking = tokio::spawn(wake(Arc::clone(self)));
        let mut all: FuturesUnordered<_> = (0..course.objects)
            .map(|n| tokio::spawn(Arc::clone(self).one(n, course)))
            .collect();
        let ended = async { while all.next().await.is_some() {} };
        let _ = timeout(limit, ended).await;
        for life in &all {
            life.abort();
        }
        waking.abort();
        self.lives().clone()
    }

    pub(crate) fn lives(&self) -> std::sync::MutexGuard<'_, Vec<Life>> {
        self.lives.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, n: u64, note: impl FnOnce(&mut Life)) {
        let at = usize::try_from(n).unwrap_or(usize::MAX);
        if let Some(life) = self.lives().get_mut(at) {
            note(life);
        }
    }

    async fn one(self: Arc<Self>, n: u64, course: Course) {
        let part = n as f64 / course.objects.max(1) as f64;
        sleep(course.within.mul_f64(part)).await;
        self.note(n, |life| life.born = Some(Instant::now()));
        let woken = Arc::new(Notify::new());
        for stage in course.fate.stages() {
            sleep(stage.after).await;
            match timeout(stage.at_most, self.stage(n, stage, &woken)).await {
                Ok(true) | Err(_) => {}
                Ok(false) => return,
            }
        }
        self.note(n, |life| life.done = true);
    }

    /// Until the object is what it is to be. Whether anything is left to do for it after that.
    async fn stage(&self, n: u64, stage: Stage, woken: &Arc<Notify>) -> bool {
        let Stage {
            cores, is_deleted, ..
        } = stage;
        let deleted = is_deleted.then(|| self.clock.now().to_string());
        let object = json!({
            "kind": "ComputeInstance",
            "metadata": {
                "name": format!("vm-{n}"), "namespace": "t", "uid": format!("uid-{n}"),
                "deletionTimestamp": deleted,
            },
            "spec": {"cores": cores},
        });
        let Ok(resource) = Resource::from_json(object) else {
            return false;
        };
        let desired = Desired::new(ConfigVersion::of_json(resource.spec()), "aap");
        loop {
            let (store, clock) = (&self.store, &self.clock);
            let pass = self
                .lifecycle
                .reconcile(&self.registry, store, &resource, &desired, clock);
            let outcome = pass.await;
            self.noted(n, &outcome, woken);
            match outcome.standing {
                Standing::Applied { .. } if !is_deleted => return true,
                Standing::Released(_) => return true,
                _ => {}
            }
            // What is final waits for a person, and there is none here.
            let Some(wait) = outcome.wake_after(self.clock.now()) else {
                return false;
            };
            let at = Instant::now() + wait.max(Duration::from_millis(10));
            tokio::select! {
                () = sleep_until(at) => {}
                () = woken.notified() => {}
            }
        }
    }

    fn noted(&self, n: u64, outcome: &Outcome, woken: &Arc<Notify>) {
        let jobs = outcome
            .records
            .iter()
            .filter_map(|record| record.job_id.clone());
        let is_known = {
            let mut all = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
            let before = all.len();
            all.extend(jobs.map(|id| (id, Arc::clone(woken))));
            all.len() > before
        };
        self.note(n, |life| {
            life.passes += 1;
            life.standing = format!("{:?}", outcome.standing);
            let attempts = outcome.records.iter().map(|record| record.attempt);
            life.attempts = life.attempts.max(attempts.max().unwrap_or(0));
            if let Some(trouble) = &outcome.trouble {
                life.trouble = Some(trouble.clone());
            }
            if is_known {
                life.known.get_or_insert_with(Instant::now);
            }
            if matches!(outcome.standing, Standing::Held(_) | Standing::Blocked(_)) {
                life.stuck = Some(life.standing.clone());
            }
        });
    }
}

/// Wakes objects whose jobs the provider tells of.
async fn wake(town: Arc<Town>) {
    let Some(mut wake_ups) = town.provider.wake_ups() else {
        return;
    };
    while let Some(job) = wake_ups.next().await {
        let woken = town.woken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(object) = woken.get(&job.id) {
            object.notify_one();
        }
    }
}

/// What the journal says of the objects.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Judgement {
    /// Objects with more jobs than they wanted, and with fewer.
    pub(crate) doubled: Vec<String>,
    pub(crate) missing: Vec<String>,
    /// Pairs of jobs of one object that were alive at once.
    pub(crate) overlaps: Vec<(u64, u64)>,
}

/// Each object wants one job for what it was created as, one for what it was edited to, and one for its
/// deletion, as far as its life goes.
pub(crate) fn judge(sim: &AapSim, course: Course) -> Judgement {
    let journal = sim.journal();
    let mut counts = BTreeMap::<String, [u64; 2]>::new();
    for run in journal.iter().filter(|run| run.launch_type == "manual") {
        let object = run.object().unwrap_or_default();
        let counts = counts.entry(object).or_default();
        let [creates, deletes] = counts;
        *(if run.template == DELETE {
            deletes
        } else {
            creates
        }) += 1;
    }
    let wanted = match course.fate {
        Fate::Created => [1, 0],
        Fate::Whole(_) => [2, 1],
        Fate::DeletedAfter(_) => [1, 1],
    };
    let mut judgement = Judgement {
        overlaps: overlapping(&journal),
        ..Judgement::default()
    };
    for n in 0..course.objects {
        let object = format!("uid-{n}");
        let had = counts.get(&object).copied().unwrap_or_default();
        let pairs = || had.into_iter().zip(wanted);
        if pairs().any(|(had, wanted)| had > wanted) {
            judgement.doubled.push(object.clone());
        }
        if pairs().any(|(had, wanted)| had < wanted) {
            judgement.missing.push(object);
        }
    }
    judgement
}
