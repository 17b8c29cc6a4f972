//! What providers answer.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{ConfigVersion, JobRef, JobState, text};

/// A job was started that provisions, or that acts on what was provisioned.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ProvisionResult {
    /// The job; none where the backend took the launch for sure and names the job later only. Its name
    /// follows by [`find_launched`](crate::Provider::find_launched), which such a provider has.
    pub job: Option<JobRef>,
    /// Its state right after the launch.
    pub initial_state: JobState,
    /// What the backend said, for people.
    pub message: String,
}

impl ProvisionResult {
    /// A started job.
    #[must_use]
    pub fn new(job: JobRef, initial_state: JobState, message: &str) -> Self {
        Self {
            job: Some(job),
            initial_state,
            message: text::bounded(message, text::MAX_TEXT),
        }
    }

    /// A launch that the backend took for sure, and whose job it names later only.
    #[must_use]
    pub fn unnamed(message: &str) -> Self {
        Self {
            job: None,
            initial_state: JobState::Pending,
            message: text::bounded(message, text::MAX_TEXT),
        }
    }
}

/// What became of the wish to deprovision.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum DeprovisionResult {
    /// A deprovision job was started.
    Triggered {
        /// The job; none where the backend took the launch for sure and names the job later only, as in
        /// [`ProvisionResult::job`].
        job: Option<JobRef>,
        /// Its state right after the launch.
        initial_state: JobState,
        /// Whether the object must stay when this job fails.
        block_deletion_on_failure: bool,
        /// What became of the newest provision job, so that its record can be brought up to date.
        provision_job: Option<JobStatus>,
    },
    /// Not yet: something must end first. Nothing was started; ask again after the delay.
    Waiting {
        /// What is waited for, for people.
        reason: String,
        /// When to ask again.
        retry_after: Duration,
        /// Whether the object must stay while this lasts.
        block_deletion_on_failure: bool,
        /// The provision job that is in the way, as just seen.
        provision_job: Option<JobStatus>,
    },
    /// The provider knows that there is nothing to remove. Nothing was started, nothing will be.
    Skipped {
        /// How it knows, for people.
        reason: String,
    },
}

/// A job, as the backend just told it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct JobStatus {
    /// The job. It may name another place than was asked for, when the backend has moved it.
    pub job: JobRef,
    /// Where it stands.
    pub state: JobState,
    /// The state is terminal and the backend will not take it back. AWX, for one, can report
    /// `canceled` for a playbook that runs on and later ends `successful`.
    pub settled: bool,
    /// The job was started without what it was to be given (the template drops our variables, say). It is
    /// ended, and has failed however it ends.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stray: bool,
    /// What the job was to bring about is known not to be there yet: an automation's finalizer that is
    /// still on an object proves that nothing was removed. A job of unknown state that is out of time
    /// has failed then, and is not taken as over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unfinished: bool,
    /// The most telling short sentence about it. Bounded, one line.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// More, when it was asked for: the end of the output, say. Bounded by the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<String>,
    /// How far it is, in percent, where the backend knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<u8>,
    /// When the backend created it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// When it started to execute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// How long it has executed, as the backend counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elapsed: Option<Duration>,
    /// How long nobody needs to ask about it, because [`Provider::wake_ups`](crate::Provider::wake_ups)
    /// tells of its end: a poll after that is for the case that it does not. Only while somebody holds
    /// that stream; otherwise it is asked about once per
    /// [`Capabilities::poll_interval`](crate::Capabilities::poll_interval).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll_after: Option<Duration>,
    /// The version that is now applied: filled when, and only when, this is a provision job
    /// that carried this version and succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reconciled_version: Option<ConfigVersion>,
    /// What the job left for its caller.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub outputs: Map<String, Value>,
}

impl JobStatus {
    /// A status with nothing but its state; a terminal one is settled.
    #[must_use]
    pub fn new(job: JobRef, state: JobState) -> Self {
        Self {
            job,
            state,
            settled: state.is_terminal(),
            stray: false,
            unfinished: false,
            message: String::new(),
            details: None,
            progress: None,
            created_at: None,
            started_at: None,
            finished_at: None,
            elapsed: None,
            poll_after: None,
            reconciled_version: None,
            outputs: Map::new(),
        }
    }

    /// The same status with a message, bounded.
    #[must_use]
    pub fn with_message(mut self, message: &str) -> Self {
        self.message = text::bounded(message, text::MAX_TEXT);
        self
    }
}

/// What became of the wish to cancel a job. Canceling is a request that may lose.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum CancelResult {
    /// The backend took the request. The job may run on for a while, and may end otherwise.
    Requested,
    /// There was nothing to cancel: the job had ended, as told here.
    Finished(Box<JobStatus>),
    /// The backend does not know the job (any more).
    Gone,
    /// The backend does not cancel the job at this moment, though it may later: right after its launch, say.
    NotYet {
        /// When to ask again.
        retry_after: Duration,
    },
}
