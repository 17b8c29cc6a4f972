//! The controller's words for kinds and statuses of jobs (AWX 24.6.1).

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

/// What AWX shows in the place of the answer to a password question.
pub(crate) const HIDDEN: &str = "$encrypted$";

/// The kinds of jobs that are ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
pub(crate) enum Kind {
    #[serde(rename = "job")]
    Job,
    #[serde(rename = "workflow_job")]
    Workflow,
}

impl Kind {
    pub(crate) fn of(word: &str) -> Option<Self> {
        [Self::Job, Self::Workflow]
            .into_iter()
            .find(|kind| kind.word() == word)
    }

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Job => "job",
            Self::Workflow => "workflow_job",
        }
    }

    /// Where such jobs live below the API's root.
    pub(crate) const fn collection(self) -> &'static str {
        match self {
            Self::Job => "jobs",
            Self::Workflow => "workflow_jobs",
        }
    }
}

/// A status that may last, where the next page need only tell of another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lasting {
    Pending,
    Waiting,
    Running,
}

impl Lasting {
    pub(crate) const ALL: [Self; 3] = [Self::Pending, Self::Waiting, Self::Running];

    pub(crate) fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.word() == word)
    }

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Waiting => "waiting",
            Self::Running => "running",
        }
    }
}

const STATUSES: [&str; 8] = [
    "running",
    "successful",
    "failed",
    "pending",
    "waiting",
    "canceled",
    "error",
    "new",
];

/// A status. Every job has one, so the known ones need no room of their own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Status(Cow<'static, str>);

impl Deref for Status {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Words;
        impl Visitor<'_> for Words {
            type Value = Status;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a status")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Status, E> {
                let known = STATUSES.into_iter().find(|word| *word == text);
                let word = known.map_or_else(|| Cow::Owned(text.to_owned()), Cow::Borrowed);
                Ok(Status(word))
            }
        }
        from.deserialize_str(Words)
    }
}
