//! What the tests share: a simulator, a clock, a provider, an object.

#![allow(dead_code, unreachable_pub, reason = "no test uses all of it")]

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use provider_core::{
    ActionName, ConfigVersion, JobRecord, JobRef, JobState, JobType, LaunchRequest, ManualClock,
    OperationToken, Provider, ProviderError, ProvisionResult, Resource, TrackedJob, TriggerError,
};
use provider_eda::{
    EdaConfig, EdaProvider, Endpoints, EventStream, HttpConfig, Pacing, RulebookWebhook,
    StreamAuth, Transport,
};
use provider_testkit::eda::{EdaSim, Webhook, World};
use serde_json::{Value, json};

pub struct Setup {
    pub sim: EdaSim,
    pub clock: Arc<ManualClock>,
    pub eda: EdaProvider,
}

pub fn start() -> Timestamp {
    "2026-11-23T04:00:00Z".parse().unwrap()
}

pub fn http() -> HttpConfig {
    HttpConfig {
        proxy_from_environment: false,
        request_timeout: SignedDuration::from_millis(300),
        ..HttpConfig::default()
    }
}

/// A configuration that does not hold events back.
pub fn config(transport: impl Into<Transport>) -> EdaConfig {
    EdaConfig::new(transport)
        .with_http(http())
        .with_pacing(Pacing {
            min_interval: SignedDuration::ZERO,
            breaker_failures: u32::MAX,
            ..Pacing::default()
        })
}

pub fn webhook(sim: &EdaSim) -> RulebookWebhook {
    let url = sim.url();
    RulebookWebhook::new(Endpoints::new(
        format!("{url}/create-{{kind}}"),
        format!("{url}/delete-{{kind}}"),
    ))
}

/// A provider with these endpoints, by paths of the simulator.
pub async fn with(endpoints: Value) -> Setup {
    setup(Webhook::new(), |sim| {
        let text = endpoints.to_string().replace("SIM", &sim.url());
        let urls: Endpoints = serde_json::from_str(&text).unwrap();
        config(RulebookWebhook::new(urls))
    })
    .await
}

/// One URL for every event of every kind.
pub fn all_by_one_template() -> Value {
    let url = "SIM/{action}-{kind}";
    json!({"create": url, "delete": url, "action": url})
}

pub fn stream(sim: &EdaSim, auth: StreamAuth) -> EventStream {
    EventStream::new(Endpoints::one(sim.stream_url()), auth)
}

pub async fn setup(world: impl Into<World>, config_of: impl FnOnce(&EdaSim) -> EdaConfig) -> Setup {
    let clock = Arc::new(ManualClock::new(start()));
    let sim = EdaSim::start(world, clock.clone()).await.unwrap();
    let eda = EdaProvider::with_clock(config_of(&sim), clock.clone()).unwrap();
    Setup { sim, clock, eda }
}

impl Setup {
    /// Sends the event of an action.
    pub async fn act(
        &self,
        name: &str,
        request: &LaunchRequest,
    ) -> Result<ProvisionResult, TriggerError> {
        let name = ActionName::new(name).unwrap();
        self.eda.trigger_action(&name, request).await
    }

    pub fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

pub const FINALIZER: &str = "osac.openshift.io/computeinstance-aap";
pub const APPLIED: &str = "osac.openshift.io/reconciled-config-version";

pub fn object(name: &str, namespace: &str) -> Value {
    json!({
        "apiVersion": "osac.openshift.io/v1alpha1", "kind": "ComputeInstance",
        "metadata": {"name": name, "namespace": namespace, "uid": format!("uid-{name}"),
                     "managedFields": [{"manager": "m"}]},
        "spec": {"cores": 4}, "status": {"jobs": [{"jobID": "1"}]},
    })
}

pub fn resource(object: Value) -> Resource {
    Resource::from_json(object).unwrap()
}

pub fn vm(name: &str) -> Resource {
    resource(object(name, "tenant"))
}

/// An object that the automation has marked.
pub fn marked(name: &str) -> Resource {
    let mut object = object(name, "tenant");
    object["metadata"]["finalizers"] = json!(["other", FINALIZER]);
    resource(object)
}

pub fn version() -> ConfigVersion {
    ConfigVersion::of_json(&json!({"cores": 4}))
}

/// An object on which the automation has reported a version.
pub fn reported(name: &str, version: &ConfigVersion) -> Resource {
    let mut object = object(name, "tenant");
    object["metadata"]["annotations"] = json!({ APPLIED: version.as_str() });
    object["metadata"]["finalizers"] = json!([FINALIZER]);
    resource(object)
}

pub fn token(n: u128) -> OperationToken {
    OperationToken::from_random(n)
}

pub fn request(resource: Resource, n: u128) -> LaunchRequest {
    LaunchRequest::new(resource, token(n)).with_config_version(version())
}

/// The record of an event, as an engine would keep it.
pub fn record(job_type: JobType, n: u128, state: JobState, sent: Timestamp) -> JobRecord {
    let mut record = JobRecord::new(u64::try_from(n).unwrap(), job_type);
    record.set_job_ref(JobRef::new("eda", "event", token(n).as_str()));
    record.token = Some(token(n));
    record.config_version = Some(version());
    record.state = state;
    record.sent_at = Some(sent);
    record.timestamp = Some(sent);
    record
}

/// The job of an event of this type, as its record tells it.
pub fn tracked_as(job_type: JobType, n: u128) -> TrackedJob {
    let job = JobRef::new("eda", "event", token(n).as_str());
    TrackedJob::new(job_type, job)
        .with_token(token(n))
        .with_config_version(version())
}

pub fn tracked(n: u128) -> TrackedJob {
    tracked_as(JobType::Provision, n)
}

pub fn tracked_removal(n: u128) -> TrackedJob {
    tracked_as(JobType::Deprovision, n)
}

pub fn not_launched(error: &TriggerError) -> &ProviderError {
    match error {
        TriggerError::NotLaunched(error) => error,
        TriggerError::Ambiguous(error) => panic!("ambiguous: {error}"),
    }
}

pub fn ambiguous(error: &TriggerError) -> &ProviderError {
    match error {
        TriggerError::Ambiguous(error) => error,
        TriggerError::NotLaunched(error) => panic!("not launched: {error}"),
    }
}
