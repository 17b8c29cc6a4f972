//! A provider whose jobs are processes of this machine (Linux): the worked example of the guide.
//!
//! The backend is a directory, so a job is found again by whoever looks there: nothing is kept in
//! memory. A launch with a token that is there already starts nothing.

mod jobs;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use async_trait::async_trait;
use provider_core::{
    CancelResult, Capabilities, Clock, DeprovisionResult, Effect, ErrorKind, FindRequest,
    JobRecord, JobRef, JobState, JobStatus, JobType, LaunchRequest, Preflight, Provider,
    ProviderError, ProvisionResult, Resource, TrackedJob, TriggerError,
};

use jobs::{Job, Launch, Seen};

/// Runs `create` and `delete`, commands of the shell, as jobs.
#[derive(Debug)]
pub(crate) struct ProcessProvider {
    pub(crate) directory: PathBuf,
    pub(crate) create: String,
    pub(crate) delete: String,
    pub(crate) clock: Arc<dyn Clock>,
}

const NAME: &str = "processes";
const PACE: Duration = Duration::from_millis(200);

/// No question has an effect, and a launch that fails here has started nothing.
fn failed(what: &str, error: &io::Error) -> ProviderError {
    let text = format!("{what}: {}", error.kind());
    ProviderError::new(Effect::NotSent, ErrorKind::Unavailable, text)
        .with_advice("check the directory of jobs")
}

impl ProcessProvider {
    /// Tokens are names of directories, so they must look like names.
    fn job(&self, id: &str) -> Result<Job, ProviderError> {
        if !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
            return Ok(Job::at(&self.directory, id));
        }
        let text = "the job's name is not one of ours";
        Err(ProviderError::new(
            Effect::NotSent,
            ErrorKind::Invalid,
            text,
        ))
    }

    fn start(&self, request: &LaunchRequest, job_type: JobType) -> Result<JobRef, ProviderError> {
        let job = self.job(request.token.as_str())?;
        let launch = Launch {
            job_type,
            version: request.config_version.clone(),
            at: self.clock.now(),
        };
        let command = match job_type {
            JobType::Provision => &self.create,
            JobType::Deprovision => &self.delete,
        };
        fs::create_dir_all(&self.directory).map_err(|e| failed("no directory of jobs", &e))?;
        if job
            .create(&launch)
            .map_err(|e| failed("the job cannot be made", &e))?
        {
            let started = job.start(command, request);
            started.map_err(|e| failed("the job cannot be started", &e))?;
        }
        Ok(JobRef::new(NAME, "process", request.token.as_str()))
    }

    /// Where the job stands; none when there is none.
    fn read(&self, of: &JobRef) -> Result<Option<JobStatus>, ProviderError> {
        let job = self.job(&of.id)?;
        let unreadable = |e: io::Error| failed("the job cannot be read", &e);
        let Some(launch) = job.launch().map_err(unreadable)? else {
            return Ok(None);
        };
        let seen = job.look(launch.at, self.clock.now()).map_err(unreadable)?;
        let (state, message) = match seen {
            Seen::Starting => (JobState::Pending, String::new()),
            Seen::Running => (JobState::Running, String::new()),
            Seen::Vanished if job.is_cancelled() => (JobState::Canceled, "killed".to_owned()),
            Seen::Vanished => {
                let text =
                    "its process is gone: killed, never started, or the machine was restarted";
                (JobState::Failed, text.to_owned())
            }
            Seen::Exited(code) => match code.parse::<u8>() {
                Ok(0) => (JobState::Succeeded, String::new()),
                // A shell's words for: ended by INT, KILL, TERM.
                Ok(130 | 137 | 143) => (JobState::Canceled, "ended by a signal".to_owned()),
                Ok(code) => (
                    JobState::Failed,
                    format!("exit status {code}: {}", job.output()),
                ),
                Err(_) => (
                    JobState::Unknown,
                    "its exit status is not a number".to_owned(),
                ),
            },
        };
        let mut status = JobStatus::new(of.clone(), state).with_message(&message);
        status.created_at = Some(launch.at);
        if state == JobState::Succeeded && launch.job_type == JobType::Provision {
            status.reconciled_version = launch.version;
        }
        Ok(Some(status))
    }

    fn status(&self, of: &JobRef) -> Result<JobStatus, ProviderError> {
        let text = "there is no directory of this job";
        let gone = || ProviderError::new(Effect::Rejected, ErrorKind::NotFound, text);
        self.read(of)?.ok_or_else(gone)
    }

    fn stop(&self, of: &JobRef) -> Result<CancelResult, ProviderError> {
        match self.read(of)? {
            None => Ok(CancelResult::Gone),
            Some(status) if status.state.is_terminal() => {
                Ok(CancelResult::Finished(Box::new(status)))
            }
            Some(_) => {
                let asked = self.job(&of.id)?.stop(self.clock.now());
                asked.map_err(|e| failed("the job cannot be signalled", &e))?;
                Ok(CancelResult::Requested)
            }
        }
    }
}

#[async_trait]
impl Provider for ProcessProvider {
    fn name(&self) -> &str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::none();
        capabilities.cancel = true;
        capabilities.find_launched = true;
        // A launch is there before its call ends, or never.
        capabilities.visibility_window = Duration::from_secs(1);
        capabilities.poll_interval = PACE;
        capabilities
    }

    async fn trigger_provision(
        &self,
        request: &LaunchRequest,
    ) -> Result<ProvisionResult, TriggerError> {
        let job = self.start(request, JobType::Provision)?;
        Ok(ProvisionResult::new(job, JobState::Pending, "started"))
    }

    async fn provision_status(
        &self,
        _resource: &Resource,
        job: &TrackedJob,
    ) -> Result<JobStatus, ProviderError> {
        self.status(&job.job)
    }

    async fn trigger_deprovision(
        &self,
        request: &LaunchRequest,
        history: &[JobRecord],
    ) -> Result<DeprovisionResult, TriggerError> {
        for record in history {
            if record.job_type != JobType::Provision || !record.may_be_live() {
                continue;
            }
            let ours = record.provider.as_deref().is_none_or(|name| name == NAME);
            // Before its name is known, a job goes by its token, which is the same.
            let id = record.job_id.as_deref().or(record
                .token
                .as_ref()
                .map(provider_core::OperationToken::as_str));
            let job = JobRef::new(NAME, "process", id.unwrap_or_default());
            let in_the_way = match (ours, id) {
                (true, Some(_)) => self.read(&job)?.filter(|status| !status.settled),
                (true, None) => None,
                (false, _) => Some(JobStatus::new(job.clone(), JobState::Unknown)),
            };
            if let Some(status) = in_the_way {
                if ours {
                    self.stop(&job)?;
                }
                return Ok(DeprovisionResult::Waiting {
                    reason: format!("attempt {} has not ended", record.attempt),
                    retry_after: PACE,
                    block_deletion_on_failure: true,
                    provision_job: ours.then_some(status),
                });
            }
        }
        Ok(DeprovisionResult::Triggered {
            job: self.start(request, JobType::Deprovision)?,
            initial_state: JobState::Pending,
            block_deletion_on_failure: true,
            provision_job: None,
        })
    }

    async fn deprovision_status(
        &self,
        _resource: &Resource,
        job: &TrackedJob,
    ) -> Result<JobStatus, ProviderError> {
        self.status(&job.job)
    }

    async fn cancel(
        &self,
        _resource: &Resource,
        job: &TrackedJob,
    ) -> Result<CancelResult, ProviderError> {
        self.stop(&job.job)
    }

    async fn find_launched(&self, query: &FindRequest) -> Result<Vec<JobStatus>, ProviderError> {
        let found = self.read(&JobRef::new(NAME, "process", query.token.as_str()))?;
        Ok(found.into_iter().collect())
    }

    async fn preflight(&self, _kinds: &[String]) -> Preflight {
        let mut report = Preflight::new();
        match fs::create_dir_all(&self.directory) {
            Ok(()) => report.ok("directory of jobs", "it is there"),
            Err(error) => {
                let advice = "make it, or name another one";
                report.error("directory of jobs", &error.kind().to_string(), advice);
            }
        }
        report
    }
}
