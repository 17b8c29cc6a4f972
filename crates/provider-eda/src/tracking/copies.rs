//! Jobs that people start on the controller as copies of an event's job. Each is an attempt of its own, and
//! known by itself alone: a sign on the object may be that of the job that was copied.

use futures::future::join_all;
use provider_core::{
    CancelResult, ErrorKind, JobRef, JobState, JobStatus, JobType, OperationToken, ProviderError,
    RelaunchQuery, Relaunched, Resource, TrackedJob, text,
};

use super::Look;
use crate::EdaProvider;
use crate::api::AT_ONCE;
use crate::kind;

impl EdaProvider {
    /// All copies of the jobs behind these events.
    pub(crate) async fn copies(
        &self,
        query: &RelaunchQuery,
    ) -> Result<Vec<Relaunched>, ProviderError> {
        let Some(tracker) = self.tracker.as_ref().filter(|_| self.is_live()) else {
            return Err(ProviderError::unsupported("looking for relaunched jobs"));
        };
        let mut found = Vec::new();
        for some in query.tokens.chunks(AT_ONCE) {
            let lists = some
                .iter()
                .map(|token| tracker.copies(&query.resource, token));
            for (token, copies) in some.iter().zip(join_all(lists).await) {
                for mut status in copies? {
                    status.job = kind::copy(&self.config.name, status.job);
                    found.push(Relaunched::new(token.clone(), status));
                }
            }
        }
        Ok(found)
    }

    /// A copy as it is now, under its name in records.
    pub(crate) async fn copy_seen(
        &self,
        resource: &Resource,
        token: Option<&OperationToken>,
        job: &JobRef,
    ) -> Result<Look, ProviderError> {
        let (Some(tracker), Some(token)) = (&self.tracker, token) else {
            return Ok(Look::Nothing);
        };
        let job = kind::copied(&self.config.name, &job.kind, &job.id);
        let mut look = tracker.look_at_copy(resource, token, &job).await?;
        if let Look::Job(status) = &mut look {
            status.job = kind::copy(&self.config.name, status.job.clone());
            let message = match status.message.as_str() {
                "" => format!("{} is {}", status.job, status.state),
                message => format!("{}: {message}", status.job),
            };
            status.message = text::bounded(&message, text::MAX_TEXT);
        }
        Ok(look)
    }

    /// Where a copy stands.
    pub(crate) async fn copy_status(
        &self,
        resource: &Resource,
        job: &TrackedJob,
    ) -> Result<JobStatus, ProviderError> {
        let seen = self
            .copy_seen(resource, job.token.as_ref(), &job.job)
            .await?;
        let Look::Job(seen) = seen else {
            return Err(gone(job));
        };
        if job.job_type == JobType::Deprovision {
            return Ok(self.as_removal(resource, *seen));
        }
        let mut status = *seen;
        if status.state == JobState::Succeeded && job.job_type == JobType::Provision {
            status.reconciled_version.clone_from(&job.config_version);
        }
        Ok(status)
    }

    /// Asks a copy to stop, and no other job of its event.
    pub(crate) async fn cancel_copy(
        &self,
        resource: &Resource,
        token: Option<&OperationToken>,
        job: &JobRef,
    ) -> Result<CancelResult, ProviderError> {
        let (Some(tracker), Some(token)) = (&self.tracker, token) else {
            return Ok(CancelResult::Gone);
        };
        match self.copy_seen(resource, Some(token), job).await? {
            Look::Job(status) if status.state.is_terminal() => Ok(CancelResult::Finished(status)),
            Look::Job(_) => {
                let job = kind::copied(&self.config.name, &job.kind, &job.id);
                tracker.cancel_copy(resource, token, &job).await
            }
            Look::Nothing | Look::Unread => Ok(CancelResult::Gone),
        }
    }
}

fn gone(job: &TrackedJob) -> ProviderError {
    let job = text::bounded(&job.job.to_string(), 200);
    let text = format!("the controller has no {job} with the label of its event");
    ProviderError::new(provider_core::Effect::Rejected, ErrorKind::NotFound, text)
}
