//! The provider's view of the jobs behind its events.

use std::time::Duration;

use futures::future::join_all;
use provider_core::{
    Effect, ErrorKind, JobRecord, JobRef, JobState, JobStatus, JobType, OperationToken,
    ProviderError, Resource, text,
};

use super::{Look, Tracking};
use crate::EdaProvider;
use crate::api::{AT_ONCE, LOOK};
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
    ) -> Result<Look, ProviderError> {
        let (Some(tracker), Some(token)) = (&self.tracker, token) else {
            return Ok(Look::Nothing);
        };
        let mut look = tracker.look(&self.client, resource, token).await?;
        if let Look::Job(status) = &mut look {
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
        }
        Ok(look)
    }

    /// The job of a record, where it can be seen.
    async fn seen_of(
        &self,
        resource: &Resource,
        record: &JobRecord,
    ) -> Result<Look, ProviderError> {
        let (token, kind) = (record.token.as_ref(), record.kind.as_deref());
        match (kind, record.job_id.as_deref()) {
            (Some(kind), Some(id)) if kind::is_copy(kind) => {
                let job = JobRef::new(&self.config.name, kind, id);
                self.copy_seen(resource, token, &job).await
            }
            _ => self.seen(resource, token, kind).await,
        }
    }

    /// Looks at the jobs behind the events of the history that remove nothing: one that is at work is asked
    /// to stop, and the deletion waits for it. Those that are over for sure leave the history.
    pub(crate) async fn others_seen(
        &self,
        resource: &Resource,
        history: &mut Vec<JobRecord>,
    ) -> Result<Option<Verdict>, ProviderError> {
        if self.tracker.is_none() {
            return Ok(None);
        }
        // The launch that waits for this has a lease.
        let looks = tokio::time::timeout(LOOK, self.look_at_others(resource, history)).await;
        let looks = looks.unwrap_or_else(|_| {
            let text = format!(
                "the jobs behind the earlier events were not all seen in {} s",
                LOOK.as_secs()
            );
            let error = ProviderError::new(Effect::NotSent, ErrorKind::Timeout, text);
            Err(error.with_advice("look at the load of the server that the jobs are tracked on"))
        })?;
        let mut wait = None;
        let mut over = Vec::new();
        for (record, look) in looks {
            match self.is_over(resource, &record, look).await? {
                Judged::Unseen => {}
                Judged::Over => over.push(record.attempt),
                // All that are at work are asked to stop, and the first is told.
                Judged::Wait(verdict) => wait = wait.or(Some(verdict)),
            }
        }
        history.retain(|record| !over.contains(&record.attempt));
        Ok(wait)
    }

    async fn look_at_others(
        &self,
        resource: &Resource,
        history: &[JobRecord],
    ) -> Result<Vec<(JobRecord, Look)>, ProviderError> {
        let ours = |record: &JobRecord| {
            let owner = record.provider.as_deref();
            owner.is_none_or(|name| name == self.config.name)
        };
        let others: Vec<&JobRecord> = history
            .iter()
            .filter(|record| {
                record.job_type != JobType::Deprovision && record.may_have_run() && ours(record)
            })
            .collect();
        let mut seen = Vec::with_capacity(others.len());
        for some in others.chunks(AT_ONCE) {
            let mut looks = Vec::with_capacity(some.len());
            for record in some {
                looks.push(self.seen_of(resource, record));
            }
            for (record, look) in some.iter().zip(join_all(looks).await) {
                seen.push(((*record).clone(), look?));
            }
        }
        Ok(seen)
    }

    async fn is_over(
        &self,
        resource: &Resource,
        record: &JobRecord,
        look: Look,
    ) -> Result<Judged, ProviderError> {
        let poll = std_duration(self.config.timing.poll_interval);
        let wait = |reason: String, provision_job| {
            Judged::Wait(Verdict::Wait {
                reason,
                left: poll.min(Duration::from_secs(5)),
                provision_job,
            })
        };
        let mut status = match look {
            Look::Job(status) => status,
            Look::Nothing if self.may_be_hidden(record) => return Err(hidden(record)),
            Look::Nothing => return Ok(Judged::Unseen),
            Look::Unread => {
                let reason = format!(
                    "what became of the event of attempt {} ({}) has not been read to its end yet",
                    record.attempt, record.job_type
                );
                return Ok(wait(reason, None));
            }
        };
        // The engine asks for news of a provision here, and about the others by themselves.
        let known = record.job_id.is_some() && record.job_type == JobType::Provision;
        if !status.state.is_terminal() {
            if kind::is_copy(&status.job.kind) {
                self.cancel_copy(resource, record.token.as_ref(), &status.job)
                    .await?;
            } else if let (Some(tracker), Some(token), true) =
                (&self.tracker, &record.token, self.is_live())
            {
                tracker.cancel(resource, token).await?;
            }
            let reason = format!("{} and is being canceled", status.message);
            return Ok(wait(reason, known.then_some(status)));
        }
        // What the engine has settled was doubted then.
        let was_settled = !record.may_be_live() && record.state == JobState::Succeeded;
        status.settled |= was_settled || self.shows_end(resource, record, &status);
        if !status.settled {
            let reason = format!("the end of {} is not certain yet", status.message);
            return Ok(wait(reason, known.then_some(status)));
        }
        Ok(Judged::Over)
    }

    /// Whether nothing in the list is no proof: the job was seen at work and not at its end. A copy that is not
    /// listed was asked by itself.
    fn may_be_hidden(&self, record: &JobRecord) -> bool {
        let is_copy = record.kind.as_deref().is_some_and(kind::is_copy);
        self.is_live() && record.may_be_live() && record.started_at.is_some() && !is_copy
    }

    /// Whether the object carries the sign of this very success.
    fn shows_end(&self, resource: &Resource, record: &JobRecord, status: &JobStatus) -> bool {
        status.state == JobState::Succeeded
            && !kind::is_copy(&status.job.kind)
            && self.config.completion.has_done(resource, record)
    }

    pub(crate) fn is_live(&self) -> bool {
        let tracking = self.config.tracking.as_ref();
        tracking.is_some_and(Tracking::is_live)
    }
}

/// A job that was seen at work is in no list any more.
fn hidden(record: &JobRecord) -> ProviderError {
    let text = format!(
        "the job of the event of attempt {} ({}) was seen at work, and is not shown any more",
        record.attempt, record.job_type
    );
    ProviderError::new(Effect::NotSent, ErrorKind::Forbidden, text).with_advice(
        "give the user of `tracking` the right to read the rulebook's job templates, which is the right to read \
         their jobs; if the job was deleted on the controller, its record ends by the policy for jobs of which \
         nobody can tell",
    )
}

/// What a look says about a job that is in the way of a deletion.
enum Judged {
    Unseen,
    Over,
    Wait(Verdict),
}
