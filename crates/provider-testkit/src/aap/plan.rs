//! What a simulated job is going to do, decided when it is launched.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::play::Play;

/// The course of one job: how long it queues, how long it works, how it ends, how it takes a cancel.
///
/// In JSON, durations are milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", default, deny_unknown_fields)]
pub struct RunPlan {
    /// Time spent `pending`.
    #[serde(with = "millis")]
    pub queue: Duration,
    /// Time spent `running`; `None` runs until it is canceled.
    #[serde(with = "optional_millis")]
    pub run: Option<Duration>,
    /// The end it comes to when nobody interferes.
    pub ending: Ending,
    /// What a cancel does while it is running.
    pub on_cancel: OnCancel,
    /// What the play leaves with `set_stats`.
    pub artifacts: Map<String, Value>,
}

impl Default for RunPlan {
    fn default() -> Self {
        Self {
            queue: Duration::from_millis(100),
            run: Some(Duration::from_secs(1)),
            ending: Ending::Successful,
            on_cancel: OnCancel::default(),
            artifacts: Map::new(),
        }
    }
}

impl RunPlan {
    /// A job that succeeds after `run`.
    #[must_use]
    pub fn lasting(run: Duration) -> Self {
        Self {
            run: Some(run),
            ..Self::default()
        }
    }

    /// A job that never ends by itself.
    #[must_use]
    pub fn endless() -> Self {
        Self {
            run: None,
            ..Self::default()
        }
    }

    /// The same with another end.
    #[must_use]
    pub fn ending(mut self, ending: Ending) -> Self {
        self.ending = ending;
        self
    }

    /// The same with another behaviour under a cancel.
    #[must_use]
    pub fn on_cancel(mut self, on_cancel: OnCancel) -> Self {
        self.on_cancel = on_cancel;
        self
    }

    /// The same with artifacts.
    #[must_use]
    pub fn artifacts(mut self, artifacts: Map<String, Value>) -> Self {
        self.artifacts = artifacts;
        self
    }
}

/// How a job ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ending {
    /// `successful`.
    Successful,
    /// `failed` by a task; explanation and traceback stay empty, as on a real controller.
    Failed {
        /// The name of the failed task.
        task: String,
        /// The message of its module.
        message: String,
    },
    /// `failed` by what happened in its playbook, in more detail.
    Played(Play),
    /// `failed` with a text in `job_explanation`: a time-out, a failed dependency.
    Explained(String),
    /// `error`: it could not be run at all.
    Error {
        /// `job_explanation`.
        explanation: String,
        /// `result_traceback`.
        traceback: String,
    },
}

/// What a cancel does to a running job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OnCancel {
    /// It stops this many milliseconds after the request, unless it ends by itself before that.
    Obeys(#[serde(with = "millis")] Duration),
    /// It goes on as if nothing had been asked (a lost node).
    Ignores,
    /// The dispatcher does not answer: `canceled` at once, while the playbook runs on to its end,
    /// which then overwrites the status.
    Lies,
}

impl Default for OnCancel {
    fn default() -> Self {
        Self::Obeys(Duration::from_millis(300))
    }
}

pub(super) mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(in crate::aap) fn serialize<S: Serializer>(
        value: &Duration,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        u64::try_from(value.as_millis())
            .unwrap_or(u64::MAX)
            .serialize(to)
    }

    pub(in crate::aap) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

mod optional_millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[allow(clippy::ref_option, reason = "the signature that serde calls")]
    pub(super) fn serialize<S: Serializer>(
        value: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        value
            .map(|v| u64::try_from(v.as_millis()).unwrap_or(u64::MAX))
            .serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(from)?.map(Duration::from_millis))
    }
}
