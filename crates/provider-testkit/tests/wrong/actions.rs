//! What the wrapper does to actions.

use provider_core::{
    ActionName, Effect, ErrorKind, JobState, JobStatus, JobType, LaunchRequest, OperationToken,
    Provider, ProviderError, ProvisionResult, Resource, TrackedJob, TriggerError,
};

use super::provider::{Wrong, error};

impl Wrong {
    pub(super) async fn act(
        &self,
        action: &ActionName,
        request: &LaunchRequest,
    ) -> Result<ProvisionResult, TriggerError> {
        let mut request = request.clone();
        self.pause().await;
        match self.defect {
            "the_undeclared_is_unsupported/acts" => {
                let _ = self.fake.trigger_provision(&request).await;
                return Err(error(Effect::NotSent, ErrorKind::Unsupported).into());
            }
            "an_action_is_a_job_like_any_other/token" => {
                let text = request.token.as_str().to_lowercase().replace('-', "");
                request.token = OperationToken::from_text(&text);
            }
            _ => {}
        }
        let launched = self.fake.trigger_action(action, &request).await;
        self.pause().await;
        let mut result = match launched {
            Ok(result) => result,
            Err(trouble) => {
                let original = trouble.error().clone();
                if self.is("a_refused_action_is_not_launched/launches")
                    && original.kind() == ErrorKind::Invalid
                {
                    let _ = self.fake.trigger_action(action, &request).await;
                }
                return Err(self.changed(original, JobType::Action(*action)).into());
            }
        };
        if self.is("an_action_is_a_job_like_any_other") {
            self.extra_job(&request.resource).await;
        }
        if let Some(job) = &mut result.job {
            self.memory().known.insert(job.id.clone());
            if self.is("an_action_is_a_job_like_any_other/named") {
                job.provider = "another".to_owned();
            }
        }
        Ok(result)
    }

    pub(super) async fn action_status(
        &self,
        resource: &Resource,
        job: &TrackedJob,
    ) -> Result<JobStatus, ProviderError> {
        let (known, canceled) = {
            let memory = self.memory();
            let id = &job.job.id;
            (memory.known.contains(id), memory.canceled.contains_key(id))
        };
        if self.is("a_restart_loses_no_action") && !known {
            return Err(error(Effect::Rejected, ErrorKind::NotFound));
        }
        let mut status = self.fake.status(resource, job).await?;
        match (self.defect, status.state) {
            ("an_action_is_a_job_like_any_other/end", JobState::Succeeded)
                if known && !canceled =>
            {
                status.state = JobState::Failed;
            }
            ("an_action_reports_no_version", JobState::Succeeded) => {
                status.reconciled_version.clone_from(&job.config_version);
            }
            _ => {}
        }
        Ok(status)
    }
}
