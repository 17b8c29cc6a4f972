//! Runs of workflows: what their words mean, and how they are found.

use jiff::{SignedDuration, Timestamp};
use provider_core::{
    Effect, ErrorKind, JobRef, JobState, JobStatus, JobType, OperationToken, ProviderError,
    TrackedJob,
};
use serde::Deserialize;
use serde_json::Value;

use super::{Answer, GitHub, NAME};

const PAGE: usize = 100;
/// GitHub shows ten pages of a search, and no more.
const PAGES: usize = 10;

/// A run, as the backend tells it. What is not read here may change.
#[derive(Debug, Deserialize)]
pub(super) struct Run {
    id: u64,
    display_title: String,
    status: String,
    conclusion: Option<String>,
}

impl Run {
    /// By the table in the documentation of `provider_core::http`.
    pub(super) fn state(&self) -> JobState {
        match (self.status.as_str(), self.conclusion.as_deref()) {
            ("completed", Some("success" | "neutral")) => JobState::Succeeded,
            ("completed", Some("failure" | "startup_failure" | "timed_out")) => JobState::Failed,
            // Nothing was done, so what was wanted is not there.
            ("completed", Some("skipped")) => JobState::Failed,
            ("completed", Some("cancelled")) => JobState::Canceled,
            // A person must approve it first: no end.
            ("completed", Some("action_required")) => JobState::Waiting,
            ("queued" | "waiting", _) => JobState::Waiting,
            ("requested" | "pending", _) => JobState::Pending,
            ("in_progress", _) => JobState::Running,
            // `stale`, and the words of a newer backend: never an end.
            _ => JobState::Unknown,
        }
    }

    /// The id is the name that stays: another attempt of the same run has the same.
    pub(super) fn job(&self) -> JobRef {
        JobRef::new(NAME, "run", self.id.to_string())
    }

    pub(super) fn told(&self, tracked: Option<&TrackedJob>) -> JobStatus {
        let word = self.conclusion.as_ref().unwrap_or(&self.status);
        let mut status = JobStatus::new(self.job(), self.state()).with_message(word);
        let provision = tracked.filter(|of| of.job_type == JobType::Provision);
        if let (Some(provision), JobState::Succeeded) = (provision, status.state) {
            // The backend need not know the version: what was launched is on record.
            status
                .reconciled_version
                .clone_from(&provision.config_version);
        }
        status
    }
}

/// The file of the workflow.
pub(super) fn workflow(of: JobType) -> Answer<String> {
    match of {
        JobType::Provision | JobType::Deprovision => Ok(format!("{of}.yml")),
        JobType::Action(name) => Ok(format!("action-{name}.yml")),
        _ => Err(ProviderError::unsupported("jobs of this type")),
    }
}

impl GitHub {
    pub(super) async fn run(&self, job: &JobRef) -> Answer<Run> {
        let path = format!("/actions/runs/{}", job.id);
        let found = self.get(&format!("the status of {job}"), &path).await;
        if let Err(error) = &found
            && error.kind() == ErrorKind::NotFound
        {
            // GitHub says 404 as well to whoever may not see the repository any more. Then nothing
            // is known of the run, and it must not count as gone.
            let seen = self.get::<Value>("the repository", "").await;
            seen.map_err(|error| {
                ProviderError::new(error.effect(), ErrorKind::Unavailable, error.message())
            })?;
        }
        found
    }

    /// All runs of a launch, the oldest first. Whoever is told of none has seen the whole list.
    pub(super) async fn runs(
        &self,
        of: JobType,
        token: &OperationToken,
        since: Option<Timestamp>,
    ) -> Answer<Vec<Run>> {
        #[derive(Deserialize)]
        struct Page {
            workflow_runs: Vec<Run>,
        }
        let file = workflow(of)?;
        let mut query = format!("event=workflow_dispatch&per_page={PAGE}");
        // With slack for clocks that differ; `%3E%3D` is `>=`.
        let slack = SignedDuration::from_mins(10);
        if let Some(since) = since.and_then(|at| at.checked_sub(slack).ok()) {
            query.push_str(&format!("&created=%3E%3D{since:.0}"));
        }
        let mut found = Vec::new();
        for page in 1..=PAGES {
            let path = format!("/actions/workflows/{file}/runs?{query}&page={page}");
            let Page { workflow_runs } = self.get("the list of runs", &path).await?;
            let is_last = workflow_runs.len() < PAGE;
            found.extend(workflow_runs);
            if is_last {
                let is_it = |word: &str| word == token.as_str();
                found.retain(|run: &Run| run.display_title.split(' ').any(is_it));
                // A run that slid to the next page meanwhile is listed twice.
                found.dedup_by_key(|run| run.id);
                found.reverse();
                return Ok(found);
            }
        }
        let text = "there are more runs than GitHub lists: ours may be among the others";
        Err(ProviderError::new(
            Effect::Rejected,
            ErrorKind::Conflict,
            text,
        ))
    }
}
