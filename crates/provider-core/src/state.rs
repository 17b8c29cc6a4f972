//! The seven words a job's state is told in.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

/// Where a job stands, in the same seven words for every backend.
///
/// Serialised exactly as written here. A word that is not one of the seven reads as
/// [`Unknown`](Self::Unknown), never as an error: a record written by a newer version must not
/// stop a controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
pub enum JobState {
    /// Known to the backend (or intended by us), not started.
    Pending,
    /// Held back: by the backend's queue, or by a condition that must be met first.
    Waiting,
    /// Executing.
    Running,
    /// Ended well. Terminal.
    Succeeded,
    /// Ended badly, or could not be run. Terminal.
    Failed,
    /// Ended by request. Terminal.
    Canceled,
    /// Cannot be told. Not terminal: the job may still be running.
    #[default]
    Unknown,
}

impl JobState {
    /// All states, in the order of a job's life.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Waiting,
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::Canceled,
        Self::Unknown,
    ];

    /// Whether the backend calls this an end. Some backends take an end back: see
    /// [`JobStatus::settled`](crate::JobStatus::settled).
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Canceled)
    }

    /// Whether the job ended well.
    #[must_use]
    pub const fn is_successful(self) -> bool {
        matches!(self, Self::Succeeded)
    }

    /// The word as it is serialised.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Waiting => "Waiting",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Canceled => "Canceled",
            Self::Unknown => "Unknown",
        }
    }

    /// Reads a word; anything that is not one of the seven is [`Unknown`](Self::Unknown).
    #[must_use]
    pub fn from_word(word: &str) -> Self {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == word)
            .unwrap_or(Self::Unknown)
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl<'de> Deserialize<'de> for JobState {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Word;
        impl serde::de::Visitor<'_> for Word {
            type Value = JobState;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a job state")
            }
            fn visit_str<E>(self, word: &str) -> Result<JobState, E> {
                Ok(JobState::from_word(word))
            }
            fn visit_unit<E>(self) -> Result<JobState, E> {
                Ok(JobState::Unknown)
            }
            fn visit_none<E>(self) -> Result<JobState, E> {
                Ok(JobState::Unknown)
            }
        }
        deserializer.deserialize_any(Word)
    }
}

/// A plain enum of words: what a structural schema of Kubernetes can hold.
#[cfg(feature = "schema")]
mod schema {
    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

    use super::JobState;

    impl JsonSchema for JobState {
        fn schema_name() -> std::borrow::Cow<'static, str> {
            "JobState".into()
        }

        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            let words = Self::ALL.map(Self::as_str);
            json_schema!({
                "type": "string", "enum": words,
                "description": "Where a job stands, in the same words for every backend.",
            })
        }
    }
}
