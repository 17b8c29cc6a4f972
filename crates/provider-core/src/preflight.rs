//! What a provider found out about its own configuration.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::text;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// It works, with something to know.
    Warning,
    /// Jobs will fail until this is mended.
    Error,
}

/// One checked thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Finding {
    /// What was checked, in a few words: `authentication`, `template osac-create-vm`.
    pub check: String,
    /// The verdict.
    pub severity: Severity,
    /// What was found.
    pub message: String,
    /// What to do about it; empty where nothing is to be done.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub advice: String,
}

/// Everything that was checked, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Preflight {
    /// The findings.
    pub findings: Vec<Finding>,
}

impl Preflight {
    /// A report with nothing in it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a good finding.
    pub fn ok(&mut self, check: &str, message: &str) {
        self.add(check, Severity::Ok, message, "");
    }

    /// Adds something to know.
    pub fn warning(&mut self, check: &str, message: &str, advice: &str) {
        self.add(check, Severity::Warning, message, advice);
    }

    /// Adds something to mend.
    pub fn error(&mut self, check: &str, message: &str, advice: &str) {
        self.add(check, Severity::Error, message, advice);
    }

    /// Whether nothing stands in the way of jobs.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.findings
            .iter()
            .all(|finding| finding.severity < Severity::Error)
    }

    fn add(&mut self, check: &str, severity: Severity, message: &str, advice: &str) {
        self.findings.push(Finding {
            check: text::bounded(check, text::MAX_TEXT),
            severity,
            message: text::bounded(message, text::MAX_TEXT),
            advice: text::bounded(advice, text::MAX_TEXT),
        });
    }
}

impl fmt::Display for Preflight {
    /// One line a finding.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            let mark = match finding.severity {
                Severity::Ok => "ok     ",
                Severity::Warning => "warning",
                Severity::Error => "ERROR  ",
            };
            write!(f, "{mark} {}: {}", finding.check, finding.message)?;
            if !finding.advice.is_empty() {
                write!(f, "; {}", finding.advice)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
