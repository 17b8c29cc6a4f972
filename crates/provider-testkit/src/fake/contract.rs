//! What the fake answers as a provider.

use std::time::Duration;

use async_trait::async_trait;
use futures::channel::mpsc;
use provider_core::{
    ActionName, CancelResult, Capabilities, DeprovisionResult, Effect, ErrorKind, FindRequest,
    JobRecord, JobRef, JobState, JobStatus, JobType, LaunchRequest, Preflight, Provider,
    ProviderError, ProvisionResult, RelaunchQuery, Relaunched, Resource, TrackedJob, TriggerError,
    WakeUps,
};

use super::{CallRecord, FakeJob, FakeProvider, Function, State};

impl FakeProvider {
    fn enter(
        &self,
        state: &mut State,
        function: Function,
        resource: &Resource,
        job: Option<&JobRef>,
    ) -> Result<Option<ProviderError>, ProviderError> {
        if self.records_calls {
            state.calls.push(CallRecord {
                function,
                object: resource.key().clone(),
                job: job.map(|job| job.id.clone()),
            });
        }
        state.trouble(function)
    }

    /// Starts a job; its name, where a launch is answered with one.
    fn launch(
        &self,
        state: &mut State,
        request: &LaunchRequest,
        job_type: JobType,
    ) -> Option<JobRef> {
        state.last_id += 1;
        let id = state.last_id;
        let ending = state.endings.pop_front().unwrap_or(JobState::Succeeded);
        let object = request.resource.key().clone();
        let stubborn = state.stubborn > 0;
        state.stubborn = state.stubborn.saturating_sub(1);
        state.by_object.entry(object.clone()).or_default().push(id);
        let job = FakeJob {
            id,
            job_type,
            object,
            target: request.target.clone(),
            token: request.token.clone(),
            config_version: request.config_version.clone(),
            sent: request.resource.clone(),
            state: JobState::Running,
            message: String::new(),
            extra_vars: request.extra_vars.clone(),
            obeys_cancels: self.obeys_cancels && !stubborn,
            copied: false,
            stray: false,
            unfinished: false,
            hidden: false,
            unnamed_for: self.unnamed_for.unwrap_or_default(),
            polls_left: self.polls,
            ending,
        };
        state.jobs.insert(id, job);
        self.unnamed_for.is_none().then(|| self.job_ref(id))
    }

    /// A launch of what provisions, or acts on what was provisioned.
    fn start(
        &self,
        function: Function,
        request: &LaunchRequest,
        job_type: JobType,
    ) -> Result<ProvisionResult, TriggerError> {
        let state = &mut *self.lock();
        let lost = self.enter(state, function, &request.resource, None)?;
        let job = self.launch(state, request, job_type);
        match (lost, job) {
            (Some(error), _) => Err(error.into()),
            (None, Some(job)) => Ok(ProvisionResult::new(job, JobState::Pending, "")),
            (None, None) => Ok(ProvisionResult::unnamed("the name of the job follows")),
        }
    }

    fn status_of(&self, job: &FakeJob) -> JobStatus {
        let message = job.extra_vars.redact(&job.message);
        let mut status = JobStatus::new(self.job_ref(job.id), job.state).with_message(&message);
        status.stray = job.stray;
        status.unfinished = job.unfinished;
        if job.state == JobState::Succeeded && job.job_type == JobType::Provision {
            status.reconciled_version.clone_from(&job.config_version);
        }
        status
    }

    fn poll(
        &self,
        function: Function,
        resource: &Resource,
        tracked: &TrackedJob,
    ) -> Result<JobStatus, ProviderError> {
        let state = &mut *self.lock();
        let lost = self.enter(state, function, resource, Some(&tracked.job))?;
        state.check_name(&tracked.job)?;
        let job = state.job(&tracked.job);
        let Some(job) = job else {
            return Err(not_found(&tracked.job));
        };
        if !job.state.is_terminal() && job.polls_left > 0 {
            job.polls_left -= 1;
            if job.polls_left == 0 {
                job.state = job.ending;
            }
        }
        if let Some(error) = lost {
            return Err(error);
        }
        let mut status = self.status_of(job);
        // One that was assumed to be sent keeps the name under which it is known.
        status.job.clone_from(&tracked.job);
        let is_told = state.listeners.iter().any(|one| !one.is_closed());
        if is_told && !status.state.is_terminal() {
            status.poll_after = self.poll_after;
        }
        Ok(status)
    }
}

fn not_found(job: &JobRef) -> ProviderError {
    ProviderError::new(
        Effect::Rejected,
        ErrorKind::NotFound,
        format!("there is no job {job}"),
    )
}

#[async_trait]
impl Provider for FakeProvider {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }

    async fn trigger_provision(
        &self,
        request: &LaunchRequest,
    ) -> Result<ProvisionResult, TriggerError> {
        self.start(Function::TriggerProvision, request, JobType::Provision)
    }

    async fn trigger_action(
        &self,
        action: &ActionName,
        request: &LaunchRequest,
    ) -> Result<ProvisionResult, TriggerError> {
        if !self.capabilities.actions {
            return Err(ProviderError::unsupported("actions").into());
        }
        let job_type = JobType::Action(*action);
        self.start(Function::TriggerAction, request, job_type)
    }

    async fn status(
        &self,
        resource: &Resource,
        job: &TrackedJob,
    ) -> Result<JobStatus, ProviderError> {
        self.poll(Function::Status, resource, job)
    }

    async fn trigger_deprovision(
        &self,
        request: &LaunchRequest,
        _history: &[JobRecord],
    ) -> Result<DeprovisionResult, TriggerError> {
        let state = &mut *self.lock();
        let lost = self.enter(state, Function::TriggerDeprovision, &request.resource, None)?;
        let block = self.capabilities.block_deletion_on_failure;
        let live = state
            .by_object
            .get(request.resource.key())
            .into_iter()
            .flatten()
            .find(|id| {
                state.jobs.get(id).is_some_and(|job| {
                    job.job_type != JobType::Deprovision
                        && job.target == request.target
                        && !job.state.is_terminal()
                })
            })
            .copied();
        if let Some(job) = live.and_then(|id| state.jobs.get_mut(&id)) {
            let too_early = state.too_early.0 > 0;
            state.too_early.0 = state.too_early.0.saturating_sub(1);
            if self.capabilities.cancel && job.obeys_cancels && !too_early {
                job.state = JobState::Canceled;
            }
            let status = (job.job_type == JobType::Provision).then(|| self.status_of(job));
            return Ok(DeprovisionResult::Waiting {
                reason: format!("{} job {} was still running", job.job_type, job.id),
                retry_after: Duration::from_secs(1),
                block_deletion_on_failure: block,
                provision_job: status,
            });
        }
        let job = self.launch(state, request, JobType::Deprovision);
        if let Some(error) = lost {
            return Err(error.into());
        }
        Ok(DeprovisionResult::Triggered {
            job,
            initial_state: JobState::Pending,
            block_deletion_on_failure: block,
            provision_job: None,
        })
    }

    async fn cancel(
        &self,
        resource: &Resource,
        tracked: &TrackedJob,
    ) -> Result<CancelResult, ProviderError> {
        if !self.capabilities.cancel {
            return Err(ProviderError::unsupported("canceling jobs"));
        }
        let state = &mut *self.lock();
        let lost = self.enter(state, Function::Cancel, resource, Some(&tracked.job))?;
        state.check_name(&tracked.job)?;
        let (early, retry_after) = state.too_early;
        let job = state.job(&tracked.job);
        let Some(job) = job else {
            return Ok(CancelResult::Gone);
        };
        if job.state.is_terminal() {
            let mut status = self.status_of(job);
            status.job.clone_from(&tracked.job);
            return Ok(CancelResult::Finished(Box::new(status)));
        }
        if early > 0 {
            state.too_early.0 = early - 1;
            return Ok(CancelResult::NotYet { retry_after });
        }
        if job.obeys_cancels {
            job.state = JobState::Canceled;
        }
        if let Some(error) = lost {
            return Err(error);
        }
        Ok(CancelResult::Requested)
    }

    async fn find_launched(&self, query: &FindRequest) -> Result<Vec<JobStatus>, ProviderError> {
        if !self.capabilities.find_launched {
            return Err(ProviderError::unsupported("looking jobs up"));
        }
        let state = &mut *self.lock();
        self.enter(state, Function::FindLaunched, &query.resource, None)?;
        let ids = state
            .by_object
            .get(query.resource.key())
            .into_iter()
            .flatten();
        let mut found = Vec::new();
        for id in ids {
            let Some(job) = state.jobs.get_mut(id) else {
                continue;
            };
            if job.token != query.token || job.job_type != query.job_type || job.copied {
                continue;
            }
            let named = job.unnamed_for == 0;
            job.unnamed_for = job.unnamed_for.saturating_sub(1);
            if named && !job.hidden {
                found.push(self.status_of(job));
            }
        }
        Ok(found)
    }

    async fn find_relaunched(
        &self,
        query: &RelaunchQuery,
    ) -> Result<Vec<Relaunched>, ProviderError> {
        if !self.capabilities.find_relaunched {
            return Err(ProviderError::unsupported("looking for relaunched jobs"));
        }
        let state = &mut *self.lock();
        self.enter(state, Function::FindRelaunched, &query.resource, None)?;
        let ids = state.by_object.get(query.resource.key());
        let jobs = ids
            .into_iter()
            .flatten()
            .filter_map(|id| state.jobs.get(id));
        let found = jobs.filter(|job| job.copied && query.tokens.contains(&job.token));
        Ok(found
            .map(|job| Relaunched::new(job.token.clone(), self.status_of(job)))
            .collect())
    }

    async fn preflight(&self, _kinds: &[String]) -> Preflight {
        let mut report = Preflight::new();
        match self.lock().trouble(Function::Preflight) {
            Err(error) | Ok(Some(error)) => {
                report.error("provider", error.message(), error.advice());
            }
            Ok(None) => report.ok("provider", "it is a fake and always ready"),
        }
        report
    }

    fn wake_ups(&self) -> Option<WakeUps> {
        let (listener, jobs) = mpsc::unbounded();
        self.lock().listeners.push(listener);
        Some(Box::pin(jobs))
    }
}
