//! How the status of a job is come by: what the rounds have seen of it, what only the job itself tells,
//! and whether its end is one.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use provider_core::{
    Effect, ErrorKind, JobRef, JobState, JobStatus, JobType, ProviderError, Resource, TrackedJob,
    text,
};
use serde_json::value::RawValue;

use crate::AapProvider;
use crate::body::JobBody;
use crate::client::std_duration;
use crate::identity::Verdict;
use crate::jobs::read_job;
use crate::monitor::Seen;
use crate::nodes::Child;
use crate::status::{Certainty, Confirmation};
use crate::walk::{Range, Step, Walk};
use crate::words::Kind;

/// A bound on the look into one workflow.
const MAX_CHILDREN: usize = 20_000;

/// A job that is watched.
struct Watched {
    body: Arc<JobBody>,
    job: JobRef,
    /// By the server's clock, or ours where it sent none.
    now: Timestamp,
    /// Whether it was read by itself.
    is_detail: bool,
    /// Whether it should have been: after many failures at once that comes later.
    lacks_detail: bool,
}

/// A job that was read just now, by itself.
pub(crate) struct Found {
    pub(crate) body: Arc<JobBody>,
    pub(crate) text: Box<RawValue>,
    pub(crate) job: JobRef,
    /// By the server's clock, or ours where it sent none.
    pub(crate) now: Timestamp,
}

impl AapProvider {
    /// The status of a job, by its reference alone.
    pub(crate) async fn standing(
        &self,
        resource: &Resource,
        tracked: &TrackedJob,
    ) -> Result<JobStatus, ProviderError> {
        // Most polls are answered by what the last round has seen. What is rarer is kept apart: it needs
        // more room.
        let known = self.known(&tracked.job);
        let is_plain = |seen: &&Seen| {
            // A job that is waited for or has succeeded is never in doubt, if it is ours.
            !seen.has_failed()
                && self.launch_of(tracked).verdict(&seen.body, seen.is_whole()) == Verdict::Ours
        };
        match known.as_ref().filter(is_plain) {
            Some(seen) => {
                let job = self.own(&tracked.job);
                let mut status = seen.body.to_status(job, |text| self.client.redact(text));
                note_version(&mut status, tracked);
                self.note_pace(&mut status);
                let may_wait =
                    status.state == JobState::Running && seen.body.kind == Some(Kind::Workflow);
                if may_wait && self.config.diagnose {
                    Box::pin(self.note_wait(&mut status, &seen.body)).await;
                }
                Ok(status)
            }
            None => Box::pin(self.asked_status(resource, tracked, known)).await,
        }
    }

    /// All that is left to know of a running job is its end, and that may be told.
    fn note_pace(&self, status: &mut JobStatus) {
        if status.state == JobState::Running
            && let Ok(id) = status.job.id.parse()
        {
            status.poll_after = self.monitor.poll_after(id);
        }
    }

    /// What the last round has seen of a job.
    fn known(&self, job: &JobRef) -> Option<Seen> {
        Kind::of(&job.kind)?;
        self.monitor.known(job.id.parse().ok()?)
    }

    /// A record of another name for this provider is one of ours, now that it was found here.
    fn own(&self, job: &JobRef) -> JobRef {
        let mut found = job.clone();
        found.provider.clone_from(&self.config.name);
        found
    }

    /// The status of a job that has failed, is asked about, or waited for.
    async fn asked_status(
        &self,
        resource: &Resource,
        tracked: &TrackedJob,
        known: Option<Seen>,
    ) -> Result<JobStatus, ProviderError> {
        let mut seen = self.watch(&tracked.job, known).await?;
        self.is_it(resource, tracked, &seen.body, seen.is_detail)
            .await?;
        if seen.body.hides_who_canceled() && !seen.is_detail {
            let read = self.read(&tracked.job).await?;
            (seen.body, seen.is_detail, seen.lacks_detail) = (read.body, true, false);
        }
        let mut status = self.judge(&seen.body, seen.job, seen.now).await?;
        if seen.lacks_detail {
            status.settled = false;
            "it has ended; what the controller knows of it is asked in turn"
                .clone_into(&mut status.message);
            return Ok(status);
        }
        note_version(&mut status, tracked);
        self.note_pace(&mut status);
        Box::pin(self.tell_more(&mut status, &seen.body)).await;
        Ok(status)
    }

    /// A job as the rounds have seen it, or as it is now.
    async fn watch(&self, job: &JobRef, known: Option<Seen>) -> Result<Watched, ProviderError> {
        let (Ok(id), Some(kind)) = (job.id.parse(), Kind::of(&job.kind)) else {
            let read = self.read(job).await?;
            return Ok(Watched {
                body: read.body,
                job: read.job,
                now: read.now,
                is_detail: true,
                lacks_detail: false,
            });
        };
        let seen = match known {
            Some(seen) => seen,
            None => self.monitor.seen(kind, id).await?,
        };
        Ok(Watched {
            body: Arc::clone(&seen.body),
            job: self.own(job),
            now: seen.read.server,
            is_detail: seen.is_whole(),
            lacks_detail: seen.lacks_detail(),
        })
    }

    /// Reads a job; a reference without a kind (written by older operators) is tried as both.
    pub(crate) async fn read(&self, job: &JobRef) -> Result<Found, ProviderError> {
        let id = own_id(job)?;
        let kinds: &[Kind] = match job.kind.as_str() {
            "" => &[Kind::Job, Kind::Workflow],
            word => &[Kind::of(word).unwrap_or(Kind::Job)],
        };
        let mut last = None;
        for kind in kinds {
            match read_job(&self.client, *kind, id, &self.config.token_variable).await {
                Ok(read) => {
                    let mut job = self.own(job);
                    kind.word().clone_into(&mut job.kind);
                    return Ok(Found {
                        body: Arc::new(read.body),
                        text: read.text,
                        job,
                        now: read.date.unwrap_or_else(|| self.clock.now()),
                    });
                }
                Err(error) if error.kind() == ErrorKind::NotFound => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| {
            ProviderError::new(Effect::NotSent, ErrorKind::Invalid, "the job has no kind")
        }))
    }

    /// When the end of a job is believed.
    pub(crate) fn confirmation(&self, body: &JobBody, id: u64, now: Timestamp) -> Confirmation {
        let (own, first) = (body.end(now), self.ends.known(body.kind, id));
        let ended = match (own, first) {
            _ if !body.is_suspect() => now,
            (Some(own), Some(first)) => own.min(first),
            (Some(own), None) => own,
            // It does not say when, or nothing that can be.
            (None, _) => self.ends.first_seen(body.kind, id, now),
        };
        Confirmation {
            window: std_duration(self.config.timing.confirm_window),
            limit: std_duration(self.config.timing.confirm_limit),
            ended,
            now,
        }
    }

    /// The status of a body, and whether its end is certain.
    pub(crate) async fn judge(
        &self,
        body: &JobBody,
        job: JobRef,
        now: Timestamp,
    ) -> Result<JobStatus, ProviderError> {
        let id = own_id(&job)?;
        let confirm = self.confirmation(body, id, now);
        let certain = match body.certainty(confirm) {
            Certainty::Settled => true,
            Certainty::Doubtful => false,
            Certainty::AskChildren => Box::pin(self.children_settled(&job.id, confirm)).await?,
        };
        let mut status = body.to_status(job, |text| self.client.redact(text));
        status.settled = status.state.is_terminal() && certain;
        if !status.state.is_terminal() {
            self.ends.forget(body.kind, id);
        } else if !certain && status.message.is_empty() {
            "the end is not certain yet: the playbook may be running on"
                .clone_into(&mut status.message);
        }
        Ok(status)
    }

    /// Whether no job of a canceled or failed workflow may be running on.
    async fn children_settled(
        &self,
        id: &str,
        confirm: Confirmation,
    ) -> Result<bool, ProviderError> {
        let mut workflows = vec![id.to_owned()];
        let mut looked_at = 0_usize;
        while let Some(workflow) = workflows.pop() {
            let filter = [("unified_job_node__workflow_job", workflow.as_str())];
            let what = "the jobs of the workflow";
            let all = Range::default();
            let mut walk = Walk::new(&self.client, &self.page_pace, what, &filter, all);
            let mut seen = HashSet::new();
            loop {
                let rows = match walk.next().await? {
                    Step::Rows(rows) => rows,
                    Step::End => break,
                    // It may be at work.
                    Step::Unshown(..) => return Ok(false),
                };
                looked_at = looked_at.saturating_add(rows.len());
                for row in rows {
                    let row = Child::read(&row.text);
                    seen.extend(row.body.id);
                    if !crate::map_status(&row.body.status).is_terminal() {
                        return Ok(false);
                    }
                    match (self.certainty_of_child(&row, confirm).await?, row.body.id) {
                        (Certainty::AskChildren, Some(id)) => workflows.push(id.to_string()),
                        (Certainty::Settled, _) => {}
                        _ => return Ok(false),
                    }
                }
                if looked_at >= MAX_CHILDREN {
                    // More than was looked at: not certain before the limit.
                    return Ok(false);
                }
            }
            // What our user may not see is not absent: nodes are shown with their workflow.
            if !self.unseen_nodes_settled(&workflow, &seen, confirm).await? {
                return Ok(false);
            }
            // At most a hundred workflows within it.
            looked_at = looked_at.saturating_add(MAX_CHILDREN / 100);
            if looked_at >= MAX_CHILDREN && !workflows.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The status of a job that was to be canceled: its end, where it has one, is told as any other.
    pub(crate) async fn judge_end(&self, read: Found) -> Result<JobStatus, ProviderError> {
        let mut status = self.judge(&read.body, read.job, read.now).await?;
        Box::pin(self.tell_more(&mut status, &read.body)).await;
        Ok(status)
    }

    /// What else is worth knowing: why it failed, or for whom it waits.
    async fn tell_more(&self, status: &mut JobStatus, body: &JobBody) {
        if !self.config.diagnose {
            return;
        }
        let is_workflow = body.kind == Some(Kind::Workflow);
        match status.state {
            // Once: an end that is in doubt may be none.
            JobState::Failed if status.settled => self.explain(status, body).await,
            JobState::Canceled if is_workflow => self.explain(status, body).await,
            JobState::Running => self.note_wait(status, body).await,
            _ => {}
        }
    }
}

/// A provision that has succeeded has applied what it carried.
fn note_version(status: &mut JobStatus, tracked: &TrackedJob) {
    if status.state == JobState::Succeeded && tracked.job_type == JobType::Provision {
        status
            .reconciled_version
            .clone_from(&tracked.config_version);
    }
}

/// The id of a job of a controller. Anything else may be a path to somewhere else.
pub(crate) fn own_id(job: &JobRef) -> Result<u64, ProviderError> {
    job.id.parse().map_err(|_| {
        ProviderError::new(
            Effect::NotSent,
            ErrorKind::Invalid,
            format!(
                "\"{}\" is not the id of a controller's job",
                text::bounded(&job.id, 60)
            ),
        )
        .with_advice("this record belongs to another provider; register that one as well")
    })
}
