//! The provider's view of the jobs behind its events.

use std::time::Duration;

use provider_core::{JobRecord, JobStatus, JobType, OperationToken, ProviderError, Resource, text};

use super::{Tracking, is_fresh};
use crate::EdaProvider;
use crate::client::std_duration;
use crate::completion::Verdict;
use crate::kind::{self, EVENT};

impl EdaProvider {
    /// The job behind an event, under the event's name, where it can be seen.
    pub(crate) async fn seen(
        &self,
        resource: &Resource,
        token: Option<&OperationToken>,
        kind: Option<&str>,
    ) -> Result<Option<JobStatus>, ProviderError> {
        let (Some(tracker), Some(token)) = (&self.tracker, token) else {
            return Ok(None);
        };
        let Some(mut status) = tracker.look(&self.client, resource, token).await? else {
            return Ok(None);
        };
        let behind = std::mem::replace(
            &mut status.job,
            kind::event(&self.config.name, kind.unwrap_or(EVENT), token),
        );
        let message = match status.message.as_str() {
            "" => format!("{behind} is {}", status.state),
            message => format!("{behind}: {message}"),
        };
        status.message = text::bounded(&message, text::MAX_TEXT);
        status.job.url = behind.url;
        Ok(Some(status))
    }

    pub(crate) fn settle(&self) -> Duration {
        let tracking = self.config.tracking.as_ref();
        tracking.map(Tracking::settle).unwrap_or_default()
    }

    /// Looks at the jobs behind the provision events of the history: one that is at work is asked
    /// to stop, and the deletion waits for it. Those that are over for sure leave the history.
    pub(crate) async fn provisions_seen(
        &self,
        resource: &Resource,
        history: &mut Vec<JobRecord>,
    ) -> Result<Option<Verdict>, ProviderError> {
        let Some(tracker) = &self.tracker else {
            return Ok(None);
        };
        let ours = |record: &JobRecord| {
            let owner = record.provider.as_deref();
            owner.is_none_or(|name| name == self.config.name)
        };
        let poll = std_duration(self.config.timing.poll_interval);
        let mut over = Vec::new();
        for record in history.iter() {
            if record.job_type != JobType::Provision || !record.may_have_run() || !ours(record) {
                continue;
            }
            let (token, kind) = (record.token.as_ref(), record.kind.as_deref());
            let Some(status) = self.seen(resource, token, kind).await? else {
                continue;
            };
            let fresh = is_fresh(&status, self.settle(), self.clock.now());
            let reason = if !status.state.is_terminal() {
                if let (Some(token), true) = (&record.token, self.is_live()) {
                    tracker.cancel(resource, token).await?;
                }
                format!("{} and is being cancelled", status.message)
            } else if !status.settled {
                format!("the end of {} is not certain yet", status.message)
            } else if fresh && !self.config.completion.has_finalizer(resource) {
                "a provision job has just ended, and its marks may not be in sight yet".to_owned()
            } else {
                over.push(record.attempt);
                continue;
            };
            let known = record.job_id.is_some();
            return Ok(Some(Verdict::Wait {
                reason,
                left: poll.min(Duration::from_secs(5)),
                provision_job: known.then(|| Box::new(status)),
            }));
        }
        history.retain(|record| !over.contains(&record.attempt));
        Ok(None)
    }

    pub(crate) fn is_live(&self) -> bool {
        let tracking = self.config.tracking.as_ref();
        tracking.is_some_and(Tracking::is_live)
    }
}
