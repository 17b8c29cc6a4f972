//! What the tests of actions and of targets share: a controller, and a provider as an ordinary user.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use provider_aap::{AapConfig, AapProvider, Auth, HttpConfig, Templates};
use provider_core::{
    ActionName, JobRecord, JobRef, JobState, JobStatus, JobType, LaunchRequest, ManualClock,
    OperationToken, Provider, ProviderError, Resource, TrackedJob,
};
use provider_testkit::aap::{AapSim, OPERATOR_TOKEN, Template, World};
use serde_json::{Value, json};

pub(crate) const CREATE: &str = "osac-create-compute-instance";
pub(crate) const DELETE: &str = "osac-delete-compute-instance";
pub(crate) const RESTART: &str = "osac-restart-compute-instance";

pub(crate) fn start() -> Timestamp {
    "2026-11-23T04:00:00Z".parse().unwrap()
}

pub(crate) fn vm() -> Resource {
    let vm = json!({"kind": "ComputeInstance", "metadata": {"name": "vm", "uid": "uid-1"}});
    Resource::from_json(vm).unwrap()
}

pub(crate) fn token(n: u128) -> OperationToken {
    OperationToken::from_random(n)
}

pub(crate) fn request(n: u128) -> LaunchRequest {
    LaunchRequest::new(vm(), token(n))
}

pub(crate) fn restart() -> ActionName {
    ActionName::new("restart").unwrap()
}

pub(crate) struct Setup {
    pub(crate) sim: AapSim,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) aap: AapProvider,
}

/// As an ordinary user, who sees the jobs of the templates that it may start.
pub(crate) fn setup_with(templates: Vec<Template>, settings: &Value) -> Setup {
    let clock = Arc::new(ManualClock::new(start()));
    let mut world = World::with(templates);
    world.record_requests = true;
    let sim = AapSim::start_in_process(world, clock.clone());
    let http = HttpConfig {
        carrier: Some(sim.line()),
        ..HttpConfig::default()
    };
    let mut config = AapConfig::new(sim.url(), Auth::token(OPERATOR_TOKEN)).with_http(http);
    config.templates = serde_json::from_str::<Templates>(&settings.to_string()).unwrap();
    let aap = AapProvider::with_clock(config, clock.clone()).unwrap();
    Setup { sim, clock, aap }
}

impl Setup {
    pub(crate) fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// The templates of all jobs, in the order of their launch.
    pub(crate) fn launched(&self) -> Vec<String> {
        let runs = self.sim.journal().into_iter();
        runs.map(|run| run.template).collect()
    }

    pub(crate) async fn status(&self, job: &TrackedJob) -> Result<JobStatus, ProviderError> {
        self.aap.status(&vm(), job).await
    }
}

/// The record of a job, as an engine keeps it; of a launch that was sent, while the job has no name.
pub(crate) fn record(job_type: JobType, n: u128, job: Option<JobRef>) -> JobRecord {
    let mut record = JobRecord::new(1, job_type);
    record.provider = Some("aap".to_owned());
    record.token = Some(token(n));
    record.timestamp = Some(start());
    record.sent_at = Some(start());
    record.state = JobState::Running;
    if let Some(job) = job {
        record.set_job_ref(job);
    }
    record
}
