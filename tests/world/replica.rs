//! A process of the controller: the real provisioner, engine, provider, monitor and watch.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use kube::runtime::controller::{Action, Config};
use kube::runtime::{Controller, watcher};
use kube::{Api, CustomResource};
use provider_aap::{AapConfig, AapProvider, Auth, HttpConfig, MonitorConfig, Timing};
use provider_core::lifecycle::{ActionRequest, Desired, Lifecycle, Policy, ProviderRegistry};
use provider_core::{Clock, ConfigVersion, ExtraVars};
use provider_kube::{Error, Provisioner, ProvisioningStatus};
use provider_testkit::TimerClock;
use provider_testkit::aap::OPERATOR_TOKEN;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::task::AbortHandle;

use crate::chronicle::Chronicle;
use crate::dice::{Dice, Pauses, Shuffled};
use crate::run::Scene;
use crate::script::Script;
use crate::wire::Wire;

/// The annotation by which people ask for a restart.
pub(crate) const RESTART: &str = "example.com/restart";

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "example.com",
    version = "v1",
    kind = "Machine",
    namespaced,
    status = "ProvisioningStatus"
)]
pub(crate) struct MachineSpec {
    pub(crate) cores: u64,
}

/// The timer's clock, and by how much that of this machine is off.
#[derive(Debug)]
struct Skewed {
    clock: TimerClock,
    off: SignedDuration,
}

impl Clock for Skewed {
    fn now(&self) -> Timestamp {
        self.clock.now() + self.off
    }
}

pub(crate) struct Replica {
    pub(crate) provisioner: Arc<Provisioner<Machine>>,
    reconciles: Arc<AtomicU64>,
    task: AbortHandle,
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn provider(scene: &Scene, script: &Script, wire: Wire, clock: Arc<dyn Clock>) -> AapProvider {
    let http = HttpConfig {
        carrier: Some(Arc::new(wire)),
        ..HttpConfig::default()
    };
    let mut config = AapConfig::new(scene.sim.url(), Auth::token(OPERATOR_TOKEN))
        .with_template_prefix("osac")
        .with_http(http)
        .with_monitor(MonitorConfig {
            batch_from: script.batch_from,
            ..MonitorConfig::default()
        })
        .with_timing(Timing {
            poll_interval: SignedDuration::from_secs(20),
            ..Timing::default()
        });
    if script.has_push {
        config = config.with_push();
    }
    AapProvider::with_clock(config, clock).unwrap()
}

impl Replica {
    /// A process on this machine; so many were begun in this world.
    pub(crate) fn start(scene: &Scene, script: &Script, machine: usize, count: u64) -> Self {
        let dice = Dice::of(script.seed, ("a process", machine, count));
        let who = format!("{machine}/{count}");
        // Most clocks are right. With one that is off by more than nine minutes nothing would be launched.
        let off = i64::try_from(dice.below(1_000)).unwrap() - 500;
        let is_off = script.clocks_differ && dice.percent(50);
        let off = SignedDuration::from_secs(if is_off { off } else { 0 });
        let clock: Arc<dyn Clock> = Arc::new(Skewed {
            clock: scene.clock,
            off,
        });
        let wire = Wire {
            line: scene.sim.line(),
            dice: dice.fork(),
            chronicle: scene.chronicle.clone(),
            who: who.clone(),
        };
        let provider = provider(scene, script, wire, clock.clone());
        let registry = ProviderRegistry::single(Arc::new(provider));
        let policy = Policy::new(script.policy.clone()).unwrap();
        let engine = Lifecycle::with_entropy(policy, dice.entropy());
        let client = scene.server.client(&dice, &who);
        let provisioner = Provisioner::new(client.clone(), engine, registry)
            .with_events("controller".into())
            .with_clock(clock, dice.entropy());
        let provisioner = Arc::new(provisioner);
        let reconciles = Arc::new(AtomicU64::new(0));
        let context = Arc::new(Process {
            provisioner: Arc::clone(&provisioner),
            reconciles: Arc::clone(&reconciles),
            dice: dice.fork(),
            chronicle: scene.chronicle.clone(),
            who: who.clone(),
        });
        let mut watch = watcher::Config::default();
        if script.trouble.lag > 0 {
            // From a cache of the API server.
            watch = watch.any_semantic();
        }
        let controller = Controller::new(Api::<Machine>::all(client), watch)
            .with_config(Config::default().concurrency(8).debounce(script.debounce))
            .trigger_backoff(Pauses::new(dice.fork()))
            .reconcile_on(provisioner.wake_ups())
            .run(
                |machine, context: Arc<Process>| {
                    let turn = context.dice.fork();
                    Shuffled::new(reconcile(machine, context), turn)
                },
                |machine, error, context| context.provisioner.error_policy(&machine, error),
                context,
            )
            .for_each(async |_| {});
        let task = Shuffled::new(controller, dice.fork());
        Self {
            provisioner,
            reconciles,
            task: tokio::spawn(task).abort_handle(),
        }
    }

    pub(crate) fn reconciles(&self) -> u64 {
        self.reconciles.load(Ordering::Relaxed)
    }
}

struct Process {
    provisioner: Arc<Provisioner<Machine>>,
    reconciles: Arc<AtomicU64>,
    dice: Dice,
    chronicle: Chronicle,
    who: String,
}

async fn reconcile(machine: Arc<Machine>, process: Arc<Process>) -> Result<Action, Error> {
    process.reconciles.fetch_add(1, Ordering::Relaxed);
    process.chronicle.count("reconciles", 1);
    let name = machine.metadata.name.as_deref().unwrap_or_default();
    let told = &process.chronicle;
    told.message(&process.who, "reconciles", name, 0, &[]);
    let pass = process
        .provisioner
        .reconcile(&machine, async |machine: Arc<Machine>| {
            let desired = Desired::new(ConfigVersion::of(&machine.spec)?, "aap");
            let annotations = machine.metadata.annotations.as_ref();
            Ok(match annotations.and_then(|all| all.get(RESTART)) {
                Some(request) => {
                    let which = ExtraVars::new().with("request", request.as_str());
                    let restart = ActionRequest::new("restart", request).unwrap();
                    desired.with_action(restart.with_extra_vars(which))
                }
                None => desired,
            })
        });
    // Longer than any request: a pass that hangs is a defect.
    match tokio::time::timeout(Duration::from_secs(900), pass).await {
        Ok(found) => found.map(Action::from),
        Err(_) => panic!("a pass took longer than a quarter of an hour"),
    }
}
