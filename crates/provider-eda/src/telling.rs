//! What is said of an event whose end cannot be seen: what was expected, where, and what to do.

use std::time::Duration;

use jiff::SignedDuration;
use provider_core::{
    ConfigVersion, JobState, JobStatus, OperationToken, ProviderError, Resource, TrackedJob, text,
};

use crate::EdaProvider;
use crate::client::std_duration;
use crate::kind::is_blind;
use crate::tracking::Look;

impl EdaProvider {
    async fn activation_told(&self) -> String {
        let activation = self.config.activation.as_ref();
        let now = self.clock.now();
        self.watch.told(&self.client, activation, now).await
    }

    /// Why it is not known whether an event has been worked off.
    pub(crate) async fn not_applied(
        &self,
        version: Option<&ConfigVersion>,
        token: Option<&OperationToken>,
        kind: Option<&str>,
    ) -> String {
        let completion = &self.config.completion;
        let Some(version) = version else {
            return "the event carried no version, so its end cannot be seen".to_owned();
        };
        let expected = |name: &str, value: &str| {
            let (name, value) = (text::bounded(name, 120), text::bounded(value, 140));
            format!("expected the annotation {name}: {value}")
        };
        let expected = if is_blind(kind) {
            let token = token.map(OperationToken::as_str).unwrap_or_default();
            format!(
                "the object carried this version before the event, so its end is seen only where the \
                 automation reports the operation too; {}",
                expected(&completion.operation_annotation, token)
            )
        } else {
            format!(
                "the automation has not reported this version as applied; {}",
                expected(&completion.version_annotation, version.as_str())
            )
        };
        format!("{expected}; {}", self.activation_told().await)
    }

    /// Where a deprovision stands.
    pub(crate) async fn removal(
        &self,
        resource: &Resource,
        job: &TrackedJob,
    ) -> Result<JobStatus, ProviderError> {
        let status =
            |state, message: &str| Ok(JobStatus::new(job.job.clone(), state).with_message(message));
        let (completion, kind) = (&self.config.completion, Some(job.job.kind.as_str()));
        if completion.has_removed(resource, job.token.as_ref(), kind) {
            return status(
                JobState::Succeeded,
                "the automation has removed its finalizer",
            );
        }
        let marked = completion.has_finalizer(resource);
        let seen = match self.seen(resource, job.token.as_ref(), kind).await? {
            Look::Job(seen) => seen,
            Look::Nothing | Look::Unread if !marked => {
                return status(
                    JobState::Unknown,
                    "the object did not carry the automation's finalizer when the event was sent, so \
                     its end is seen only where the automation reports the operation",
                );
            }
            Look::Nothing | Look::Unread => return self.kept_finalizer(resource, job).await,
        };
        Ok(self.as_removal(resource, *seen))
    }

    /// What a job that was to remove is worth: as long as the automation keeps its finalizer, nothing.
    pub(crate) fn as_removal(&self, resource: &Resource, seen: JobStatus) -> JobStatus {
        let marked = self.config.completion.has_finalizer(resource);
        if seen.state != JobState::Succeeded || !marked {
            return seen;
        }
        let (state, rest) = if seen.settled {
            (
                JobState::Failed,
                "it has left its finalizer on the object; let the playbook remove it at its end",
            )
        } else {
            (JobState::Running, "its finalizer is still in sight")
        };
        let mut left =
            JobStatus::new(seen.job, state).with_message(&format!("{}, but {rest}", seen.message));
        left.started_at = seen.started_at;
        left.finished_at = seen.finished_at.filter(|_| state.is_terminal());
        left
    }

    /// Of a deprovision event nothing is seen, and the automation's finalizer is still there.
    async fn kept_finalizer(
        &self,
        resource: &Resource,
        job: &TrackedJob,
    ) -> Result<JobStatus, ProviderError> {
        let limit = std_duration(self.config.timing.deprovision_limit);
        let now = self.clock.now();
        // By our own clock: whoever sent the event may have had another.
        let known_for = self.sights.of_job(resource, job, now);
        let finalizer = self.config.completion.finalizer(resource.kind());
        if known_for < limit {
            let status = JobStatus::new(job.job.clone(), JobState::Running);
            return Ok(status.with_message("the automation has not removed its finalizer yet"));
        }
        // Nobody can tell what became of it, but it is known that nothing was removed.
        let status = JobStatus::new(job.job.clone(), JobState::Unknown);
        Ok(status.with_message(&format!(
            "the automation has kept its finalizer {} beyond the limit of {}: the event was lost, no \
             rule fits it, or the playbook does not remove it; {}; start the activation, or look at its \
             rules and the playbook",
            text::bounded(&finalizer, 120),
            shown(limit),
            self.activation_told().await
        )))
    }
}

fn shown(duration: Duration) -> String {
    let duration = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    format!("{duration:#}")
}
