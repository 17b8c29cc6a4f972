//! What is said of an event whose end cannot be seen: what was expected, where, and what to do.

use std::time::Duration;

use jiff::SignedDuration;
use provider_core::{
    ConfigVersion, JobState, JobStatus, OperationToken, ProviderError, Resource, TrackedJob, text,
};

use crate::client::std_duration;
use crate::kind::is_blind;
use crate::tracking::Look;
use crate::{EdaProvider, Tracking};

impl EdaProvider {
    async fn activation_told(&self) -> String {
        let activation = self.config.activation.as_ref();
        let now = self.clock.now();
        self.watch.told(&self.client, activation, now).await
    }

    /// Why it is not known whether a provision event has been worked off.
    pub(crate) async fn not_applied(
        &self,
        resource: &Resource,
        version: Option<&ConfigVersion>,
        token: Option<&OperationToken>,
        kind: Option<&str>,
    ) -> String {
        let completion = &self.config.completion;
        let Some(version) = version else {
            return "the event carried no version, so its end cannot be seen".to_owned();
        };
        let operation = || {
            let token = token.map(OperationToken::as_str).unwrap_or_default();
            expected(&completion.operation_annotation(resource), token)
        };
        let expected = if is_blind(kind) {
            format!(
                "the object carried this version before the event, so its end is seen only where the \
                 automation reports the operation too; {}",
                operation()
            )
        } else if completion.shows_version(resource, Some(version)) {
            format!(
                "the object carries this version, but by the report of another operation; {}",
                operation()
            )
        } else {
            format!(
                "the automation has not reported this version as applied; {}",
                expected(&completion.version_annotation(resource), version.as_str())
            )
        };
        self.waited_for(expected).await
    }

    /// Why it is not known whether the event of an action has been worked off.
    pub(crate) async fn not_worked_off(
        &self,
        resource: &Resource,
        token: Option<&OperationToken>,
    ) -> String {
        let Some(token) = token else {
            return "the event carried no operation token, so its end cannot be seen".to_owned();
        };
        let annotation = self.config.completion.operation_annotation(resource);
        let expected = format!(
            "the automation has not reported this operation as worked off, and an action changes no version \
             that would tell; {}",
            expected(&annotation, token.as_str())
        );
        self.waited_for(expected).await
    }

    /// What is expected, what else would tell, and whether somebody is there to do it.
    async fn waited_for(&self, expected: String) -> String {
        let job = match self.config.tracking.as_ref().map(Tracking::is_live) {
            None => "",
            Some(true) => {
                ", or a job with the event's label: let the rule label its job, and the template prompt for \
                 labels"
            }
            Some(false) => ", or an action for this event in the audit",
        };
        format!("{expected}{job}; {}", self.activation_told().await)
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
        let finalizer = self.config.completion.finalizer(resource);
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

fn expected(name: &str, value: &str) -> String {
    let (name, value) = (text::bounded(name, 120), text::bounded(value, 140));
    format!("expected the annotation {name}: {value}")
}

fn shown(duration: Duration) -> String {
    let duration = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    format!("{duration:#}")
}
