//! What happened in a playbook that failed, task by task.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::plan::millis;

/// A playbook that failed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Play {
    /// The tasks that went wrong, in this order, whatever became of them.
    pub tasks: Vec<Task>,
    /// Of a playbook that could not even begin (a syntax error, a missing module): the lines that it
    /// printed, which is all that there is.
    pub output: Vec<String>,
    /// How long after the end of the job its events are stored: until then they, and the output that is
    /// made of them, are not there (as measured, up to seconds).
    #[serde(with = "millis")]
    pub lag: Duration,
}

impl Play {
    /// A playbook with these tasks.
    #[must_use]
    pub fn of(tasks: impl IntoIterator<Item = Task>) -> Self {
        Self {
            tasks: tasks.into_iter().collect(),
            ..Self::default()
        }
    }

    /// A playbook that could not begin, and what it printed.
    #[must_use]
    pub fn not_begun(output: &[&str]) -> Self {
        Self {
            output: output.iter().map(|&line| line.to_owned()).collect(),
            ..Self::default()
        }
    }

    /// The same with events that are stored so late.
    #[must_use]
    pub fn lagging(mut self, lag: Duration) -> Self {
        self.lag = lag;
        self
    }
}

/// A task that went wrong on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// Its name.
    pub name: String,
    /// On which host.
    #[serde(default = "default_host")]
    pub host: String,
    /// What became of it.
    #[serde(default)]
    pub outcome: Outcome,
    /// What its module answered: `event_data.res`. A mapping with `censored` is that of a task with
    /// `no_log`; one with `results` is that of a loop.
    #[serde(default)]
    pub res: Value,
}

/// What became of a task that went wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// The play is over for this host.
    #[default]
    Failed,
    /// A `rescue` handled it. Its event is the same; only the statistics tell.
    Rescued,
    /// By `ignore_errors`, which its event tells.
    Ignored,
    /// The host could not be reached, and the play is over for it.
    Unreachable,
    /// By `ignore_unreachable`, which only the statistics tell.
    UnreachableIgnored,
}

impl Outcome {
    pub(super) const fn event(self) -> (&'static str, &'static str) {
        match self {
            Self::Failed | Self::Rescued | Self::Ignored => ("runner_on_failed", "Host Failed"),
            Self::Unreachable | Self::UnreachableIgnored => {
                ("runner_on_unreachable", "Host Unreachable")
            }
        }
    }

    /// The column of the statistics in which it is counted.
    pub(super) const fn column(self) -> &'static str {
        match self {
            Self::Failed => "failures",
            Self::Rescued => "rescued",
            Self::Ignored | Self::UnreachableIgnored => "ignored",
            Self::Unreachable => "dark",
        }
    }
}

fn default_host() -> String {
    "h0".to_owned()
}

impl Task {
    /// A task that failed with this answer of its module.
    #[must_use]
    pub fn failed(name: impl Into<String>, res: Value) -> Self {
        Self {
            name: name.into(),
            host: default_host(),
            outcome: Outcome::Failed,
            res,
        }
    }

    /// A task that failed with this message.
    #[must_use]
    pub fn saying(name: impl Into<String>, message: &str) -> Self {
        let res = json!({"msg": message, "_ansible_no_log": false, "changed": false});
        Self::failed(name, res)
    }

    /// The same on another host.
    #[must_use]
    pub fn on(mut self, host: impl Into<String>) -> Self {
        self.host = host.into();
        self
    }

    /// The same with another outcome.
    #[must_use]
    pub fn that(mut self, outcome: Outcome) -> Self {
        self.outcome = outcome;
        self
    }
}
