//! A provider for a backend that answers a launch with 204 and no more, and lists the run some
//! seconds later: GitHub's workflow dispatch. The workflows are `provision.yml`, `deprovision.yml`
//! and, for an action `restart`, `action-restart.yml`. Each one says
//! `run-name: ${{ inputs.object }} ${{ inputs.token }}`: by that name a run is found.

mod github;
mod runs;
pub(crate) mod world;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use provider_core::clock::Elapsed;
use provider_core::*;
use serde_json::{Value, json};

pub(crate) use github::GitHub;

/// Runs workflows of one repository as jobs.
#[derive(Debug)]
pub(crate) struct DispatchProvider {
    pub(crate) github: GitHub,
    pub(crate) clock: Arc<dyn Clock>,
}

const NAME: &str = "dispatch";
/// So long after its launch a run may be missing in the list.
const WINDOW: Duration = Duration::from_secs(60);
const PACE: Duration = Duration::from_secs(10);

type Answer<T> = Result<T, ProviderError>;
type Launched<T> = Result<T, TriggerError>;

impl DispatchProvider {
    async fn launch(&self, request: &LaunchRequest, of: JobType) -> Launched<ProvisionResult> {
        let file = runs::workflow(of)?;
        let object = request.resource.projection(&Projection::default());
        // Inputs are texts, and whoever may see the run sees them: real secrets belong into the
        // repository. The token is none.
        let inputs = json!({
            "token": request.token.as_str(),
            "object": request.resource.name(),
            "manifest": object.to_string(),
            "vars": Value::Object(request.extra_vars.expose()).to_string(),
        });
        let body = json!({"ref": "main", "inputs": inputs});
        let path = format!("/actions/workflows/{file}/dispatches");
        let what = format!("the launch of {file}");
        // Asked last of all: another replica may have taken over.
        request.in_time(self.clock.now())?;
        // Sent once. Only 204 is a promise. After anything else the run may be there nevertheless,
        // and the error says so: the engine then looks for it, and sends nothing before it knows.
        self.github.post(&what, &path, Some(body), 204).await?;
        // Launched for sure, under a name that is not known yet: `find_launched` tells it.
        Ok(ProvisionResult::unnamed("listed in a few seconds"))
    }

    /// The answer to a deprovision as long as something else may be at work, after a cancel of it.
    async fn in_the_way(
        &self,
        object: &Resource,
        history: &[JobRecord],
    ) -> Answer<Option<DeprovisionResult>> {
        let wait = |reason: String, provision_job| {
            Ok(Some(DeprovisionResult::Waiting {
                reason,
                retry_after: PACE,
                block_deletion_on_failure: true,
                provision_job,
            }))
        };
        let may_live = |r: &&JobRecord| r.job_type != JobType::Deprovision && r.may_be_live();
        for record in history.iter().filter(may_live) {
            if record.provider.as_deref().is_some_and(|name| name != NAME) {
                return wait("the job of another provider may be alive".to_owned(), None);
            }
            let jobs = match (record.job_ref(), &record.token) {
                (Some(job), _) => vec![job],
                // Launched, or perhaps launched, and not named on record yet.
                (None, Some(token)) => {
                    let found = self.github.runs(record.job_type, token, record.sent_at);
                    let runs = found.await?;
                    let age = |at| self.clock.now().elapsed_since(at);
                    if runs.is_empty() && record.sent_at.is_some_and(|at| age(at) <= WINDOW) {
                        return wait("a launch may still turn up in the list".to_owned(), None);
                    }
                    runs.iter().map(runs::Run::job).collect()
                }
                (None, None) => Vec::new(),
            };
            for job in jobs {
                let tracked = TrackedJob::new(record.job_type, job);
                match self.status(object, &tracked).await {
                    Ok(status) if status.settled => {}
                    Ok(status) => {
                        // Where it comes too early, it is made again with the next question.
                        self.cancel(object, &tracked).await?;
                        let reason = format!("{} {} has not ended", record.job_type, status.job);
                        let provision = record.job_type == JobType::Provision;
                        return wait(reason, provision.then_some(status));
                    }
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(None)
    }
}

#[async_trait]
impl Provider for DispatchProvider {
    fn name(&self) -> &str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::none();
        (capabilities.cancel, capabilities.actions) = (true, true);
        // A must for such a backend: nothing else ever tells the name of a job.
        capabilities.find_launched = true;
        capabilities.visibility_window = WINDOW;
        capabilities.poll_interval = PACE;
        capabilities
    }

    async fn trigger_provision(&self, request: &LaunchRequest) -> Launched<ProvisionResult> {
        self.launch(request, JobType::Provision).await
    }

    async fn trigger_action(
        &self,
        action: &ActionName,
        request: &LaunchRequest,
    ) -> Launched<ProvisionResult> {
        self.launch(request, JobType::Action(*action)).await
    }

    async fn trigger_deprovision(
        &self,
        request: &LaunchRequest,
        history: &[JobRecord],
    ) -> Launched<DeprovisionResult> {
        // However a question ends, nothing was launched yet.
        let asked = self.in_the_way(&request.resource, history).await;
        if let Some(wait) = asked.map_err(TriggerError::NotLaunched)? {
            return Ok(wait);
        }
        let launched = self.launch(request, JobType::Deprovision).await?;
        Ok(DeprovisionResult::Triggered {
            job: launched.job,
            initial_state: launched.initial_state,
            block_deletion_on_failure: true,
            provision_job: None,
        })
    }

    async fn status(&self, _: &Resource, job: &TrackedJob) -> Answer<JobStatus> {
        Ok(self.github.run(&job.job).await?.told(Some(job)))
    }

    async fn cancel(&self, _: &Resource, job: &TrackedJob) -> Answer<CancelResult> {
        let path = format!("/actions/runs/{}/cancel", job.job.id);
        match self.github.post("the cancel", &path, None, 202).await {
            Ok(_) => return Ok(CancelResult::Requested),
            // 409 is said of a run that has ended, and of one that has not begun.
            Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound) => {}
            Err(error) => return Err(error),
        }
        match self.github.run(&job.job).await {
            Ok(run) if run.state().is_terminal() => {
                Ok(CancelResult::Finished(Box::new(run.told(Some(job)))))
            }
            // Not `Requested`, which it was not: the engine asks again after this delay.
            Ok(_) => Ok(CancelResult::NotYet { retry_after: PACE }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(CancelResult::Gone),
            Err(error) => Err(error),
        }
    }

    async fn find_launched(&self, query: &FindRequest) -> Answer<Vec<JobStatus>> {
        let (of, since) = (query.job_type, query.not_before);
        let runs = self.github.runs(of, &query.token, since).await?;
        Ok(runs.iter().map(|run| run.told(None)).collect())
    }

    async fn preflight(&self, _: &[String]) -> Preflight {
        let mut report = Preflight::new();
        for file in ["provision.yml", "deprovision.yml"] {
            let path = format!("/actions/workflows/{file}");
            match self.github.get::<Value>(file, &path).await {
                Ok(_) => report.ok(file, "it is there"),
                Err(error) => report.error(file, error.message(), error.advice()),
            }
        }
        report
    }
}
