//! A whole controller on paused time: watch, queue, provisioner and engine. Nothing is reconciled but by a wake-up,
//! so that one that is lost is a test that fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use kube::Api;
use kube::runtime::{Controller, watcher};
use provider_core::Clock;
use provider_core::lifecycle::{Lifecycle, Policy, PolicyConfig, ProviderRegistry, SeededEntropy};
use provider_kube::{BoxError, Guarded, IntoTargets, Provisioner};
use provider_testkit::{FakeProvider, TimerClock};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::{Machine, Server, machine};

/// Longer than anything that is waited for on purpose.
const DAY: Duration = Duration::from_secs(24 * 3_600);

pub struct Live {
    pub server: Server,
    pub fake: Arc<FakeProvider>,
    pub provisioner: Arc<Provisioner<Machine>>,
    /// How often it was asked what is wanted.
    pub asked: Arc<AtomicUsize>,
    pub task: JoinHandle<()>,
    clock: TimerClock,
}

impl Drop for Live {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The members of an object's metadata that a test has set: for functions that say what is wanted.
pub fn metadata<'m>(machine: &'m Machine, annotation: &str) -> Option<&'m str> {
    let all = machine.metadata.annotations.as_ref()?;
    all.get(&format!("test/{annotation}")).map(String::as_str)
}

fn clock() -> TimerClock {
    TimerClock::new("2026-11-23T04:00:00Z".parse().unwrap())
}

/// A provisioner on the timer's time.
pub fn provisioner(
    server: &Server,
    fake: &Arc<FakeProvider>,
    config: PolicyConfig,
) -> Provisioner<Machine> {
    let config = config.with(|config| config.jitter = 0.0);
    let policy = Policy::new(config).unwrap();
    let engine = Lifecycle::with_entropy(policy, Arc::new(SeededEntropy::new(1)));
    Provisioner::new(
        server.client(),
        engine,
        ProviderRegistry::single(fake.clone()),
    )
    .with_events("test".into())
    .with_clock(Arc::new(clock()), Arc::new(SeededEntropy::new(2)))
}

impl Live {
    /// One object and its controller.
    pub fn start<T: IntoTargets + Send + 'static>(
        fake: FakeProvider,
        wish: impl Fn(&Machine) -> Result<T, BoxError> + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(fake, PolicyConfig::default(), |it| it, wish)
    }

    /// With choices of a test.
    pub fn start_with<T: IntoTargets + Send + 'static>(
        fake: FakeProvider,
        config: PolicyConfig,
        with: impl FnOnce(Provisioner<Machine>) -> Provisioner<Machine>,
        wish: impl Fn(&Machine) -> Result<T, BoxError> + Send + Sync + 'static,
    ) -> Self {
        let server = Server::default();
        server.put("m", machine());
        let fake = Arc::new(fake);
        let provisioner = Arc::new(with(provisioner(&server, &fake, config)));
        let api = Api::<Guarded<Machine>>::all(server.client());
        let controller = provisioner.controller(api, watcher::Config::default());
        Self::of(server, fake, provisioner, controller, wish)
    }

    /// With a controller that a test has made itself.
    pub fn of<T: IntoTargets + Send + 'static>(
        server: Server,
        fake: Arc<FakeProvider>,
        provisioner: Arc<Provisioner<Machine>>,
        controller: Controller<Guarded<Machine>>,
        wish: impl Fn(&Machine) -> Result<T, BoxError> + Send + Sync + 'static,
    ) -> Self {
        let asked = Arc::new(AtomicUsize::new(0));
        let (this, counter) = (Arc::clone(&provisioner), Arc::clone(&asked));
        let wish = move |machine: Arc<Machine>| {
            counter.fetch_add(1, Ordering::Relaxed);
            std::future::ready(wish(&machine))
        };
        let task = tokio::spawn(async move {
            this.run(controller, wish, std::future::pending()).await;
        });
        Self {
            server,
            fake,
            provisioner,
            asked,
            task,
            clock: clock(),
        }
    }

    /// Waits until the server holds what a test waits for. Nobody comes by but the controller.
    pub async fn until(&self, what: &str, done: impl Fn(&Server) -> bool) {
        let mut changes = self.server.changes();
        let waits = async {
            while !done(&self.server) {
                changes.next().await;
            }
        };
        if tokio::time::timeout(DAY, waits).await.is_err() {
            panic!("never {what}: {:#}", self.server.all());
        }
    }

    pub async fn until_reason(&self, condition: &str, reason: &str) {
        let is = |server: &Server| server.condition("m", condition).1 == reason;
        self.until(&format!("{condition} {reason}"), is).await;
    }

    pub async fn until_gone(&self) {
        self.until("gone", |server| !server.exists("m")).await;
    }

    /// Whatever is planned for the next hours happens.
    pub async fn hours(&self, hours: u64) {
        self.minutes(60 * hours).await;
    }

    pub async fn minutes(&self, minutes: u64) {
        tokio::time::sleep(Duration::from_secs(60 * minutes)).await;
    }

    /// Somebody annotates the object; null takes the annotation off.
    pub fn annotate(&self, name: &str, value: Value) {
        self.server.change("m", |object| {
            let all = &mut object["metadata"]["annotations"];
            if value.is_null() {
                all.as_object_mut().unwrap().remove(name);
            } else {
                all[name] = value;
            }
        });
    }

    /// Somebody changes the spec.
    pub fn edit(&self, cores: u32) {
        self.server.change("m", |object| {
            object["spec"]["cores"] = json!(cores);
            let generation = object["metadata"]["generation"].as_i64().unwrap();
            object["metadata"]["generation"] = json!(generation + 1);
        });
    }

    pub fn delete(&self) {
        let now = self.clock.now().to_string();
        self.server.change("m", |object| {
            object["metadata"]["deletionTimestamp"] = json!(now);
            let generation = object["metadata"]["generation"].as_i64().unwrap();
            object["metadata"]["generation"] = json!(generation + 1);
        });
    }

    /// The events of this reason, by their notes.
    pub fn told(&self, reason: &str) -> Vec<(String, String)> {
        let told = self.server.told();
        let of_it = told.iter().filter(|event| event["reason"] == reason);
        let text = |event: &Value, name: &str| event[name].as_str().unwrap_or_default().to_owned();
        of_it
            .map(|event| (text(event, "type"), text(event, "note")))
            .collect()
    }
}

impl Server {
    fn all(&self) -> Value {
        json!(self.0.lock().unwrap().objects)
    }
}
