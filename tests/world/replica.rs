//! A process of the controller: the real provisioner, engine, provider, monitor and watch.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use kube::runtime::controller::{Action, Config};
use kube::runtime::{Controller, watcher};
use kube::{Api, CustomResource};
use provider_aap::{AapConfig, AapProvider, Auth, HttpConfig, MonitorConfig, Timing};
use provider_core::lifecycle::{Desired, Lifecycle, Policy, ProviderRegistry};
use provider_core::{Clock, ConfigVersion};
use provider_kube::{Error, Provisioner, ProvisioningStatus};
use provider_testkit::TimerClock;
use provider_testkit::aap::{AapSim, OPERATOR_TOKEN};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::task::AbortHandle;

use crate::api::Server;
use crate::dice::Dice;

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

/// Lets others go first, now and then, wherever it waits.
struct Shuffled<F> {
    inner: Pin<Box<F>>,
    dice: Dice,
}

impl<F: Future> Future for Shuffled<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        if self.dice.percent(20) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.inner.as_mut().poll(context)
    }
}

/// What all replicas of a world have in common.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    pub(crate) policy: Policy,
    /// From so many jobs on they are asked about in pages.
    pub(crate) batch_from: u32,
    pub(crate) has_push: bool,
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

fn provider(sim: &AapSim, setting: &Setting, clock: Arc<dyn Clock>) -> AapProvider {
    let http = HttpConfig {
        carrier: Some(sim.line()),
        ..HttpConfig::default()
    };
    let mut config = AapConfig::new(sim.url(), Auth::token(OPERATOR_TOKEN))
        .with_template_prefix("osac")
        .with_http(http)
        .with_monitor(MonitorConfig {
            batch_from: setting.batch_from,
            ..MonitorConfig::default()
        })
        .with_timing(Timing {
            poll_interval: SignedDuration::from_secs(20),
            ..Timing::default()
        });
    if setting.has_push {
        config = config.with_push();
    }
    AapProvider::with_clock(config, clock).unwrap()
}

impl Replica {
    pub(crate) fn start(
        server: &Server,
        sim: &AapSim,
        setting: &Setting,
        clock: TimerClock,
        dice: &Dice,
    ) -> Self {
        // Most clocks are right. With one that is off by more than nine minutes nothing would be launched.
        let off = i64::try_from(dice.below(1_000)).unwrap() - 500;
        let off = SignedDuration::from_secs(if dice.percent(80) { 0 } else { off });
        let clock: Arc<dyn Clock> = Arc::new(Skewed { clock, off });
        let registry = ProviderRegistry::single(Arc::new(provider(sim, setting, clock.clone())));
        let engine = Lifecycle::with_entropy(setting.policy.clone(), dice.entropy());
        let client = server.client(dice);
        let provisioner = Provisioner::new(client.clone(), engine, registry)
            .with_events("controller".into())
            .with_clock(clock, dice.entropy());
        let provisioner = Arc::new(provisioner);
        let reconciles = Arc::new(AtomicU64::new(0));
        let context = Arc::new((Arc::clone(&provisioner), Arc::clone(&reconciles)));
        let controller = Controller::new(Api::<Machine>::all(client), watcher::Config::default())
            .with_config(Config::default().concurrency(8))
            .reconcile_on(provisioner.wake_ups())
            .run(
                reconcile,
                |machine, error, context| context.0.error_policy(&machine, error),
                context,
            )
            .for_each(async |_| {});
        let task = Shuffled {
            inner: Box::pin(controller),
            dice: dice.fork(),
        };
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

type Shared = Arc<(Arc<Provisioner<Machine>>, Arc<AtomicU64>)>;

async fn reconcile(machine: Arc<Machine>, context: Shared) -> Result<Action, Error> {
    context.1.fetch_add(1, Ordering::Relaxed);
    let pass = context.0.reconcile(&machine, |machine: &Machine| {
        Desired::new(ConfigVersion::of_json(&json!(machine.spec)), "aap")
    });
    // Longer than any request: a pass that hangs is a defect.
    match tokio::time::timeout(Duration::from_secs(900), pass).await {
        Ok(action) => action,
        Err(_) => panic!("a pass took longer than a quarter of an hour"),
    }
}
