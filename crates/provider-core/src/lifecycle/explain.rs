//! Why an object stands where it stands, for the person who looks at it at night.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use super::decide::{Pass, Situation, told};
use super::decision::{Action, Block, Call, Ground, Hold, Right, Standing};
use crate::history::{self, Note};
use crate::{JobRecord, JobState, JobType, ObjectKey};

/// The engine's next step for an object, and what it rests on. `Display` gives it as text.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Explanation {
    /// The object, as `Kind namespace/name`.
    pub object: String,
    /// What the engine does next, in one sentence.
    pub next: String,
    /// The rule that it follows from.
    pub because: String,
    /// What a person can do about it; empty where nothing is to be done.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub advice: String,
    /// When it is looked at again at the latest; none where only a change of the object helps.
    pub wake_at: Option<Timestamp>,
    /// Deletion takes longer than the policy's `escalateAfter`.
    pub escalated: bool,
    /// The attempts, newest first: the evidence.
    pub attempts: Vec<Evidence>,
    /// What is in the records of any target and can never be in a right history.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
}

/// What one record says.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Evidence {
    /// The attempt.
    pub attempt: u64,
    /// What it is for.
    #[serde(rename = "type")]
    pub job_type: JobType,
    /// Where it stands, as last seen.
    pub state: JobState,
    /// Why, in one word.
    pub reason: Option<String>,
    /// Its job, as `provider kind/id`.
    pub job: Option<String>,
    /// Since when it has been in this state.
    pub since: Option<Timestamp>,
    /// Whether its job may be alive.
    pub live: bool,
    /// What the backend said.
    pub message: String,
}

/// Explains the next decision. Does nothing else.
#[must_use]
pub fn explain(key: &ObjectKey, situation: &Situation<'_>, pass: &Pass) -> Explanation {
    let decision = told(situation, pass);
    let mut mine: Vec<&JobRecord> = situation
        .records
        .iter()
        .filter(|record| situation.desired.owns(record))
        .collect();
    mine.sort_by_key(|record| std::cmp::Reverse(record.attempt));
    let (wake_at, escalated) = match &decision.action {
        Action::Rest(rest) => (rest.wake_at, rest.escalated),
        Action::Write { .. } | Action::Call(_) => (Some(situation.now), false),
    };
    Explanation {
        object: key.to_string(),
        next: next(&decision.action),
        because: decision.why.to_string(),
        advice: advice(&decision.action).to_owned(),
        wake_at,
        escalated,
        attempts: mine.into_iter().map(evidence).collect(),
        notes: history::check(situation.records),
    }
}

fn evidence(record: &JobRecord) -> Evidence {
    Evidence {
        attempt: record.attempt,
        job_type: record.job_type,
        state: record.state,
        reason: record.reason.as_ref().map(ToString::to_string),
        job: record.job_ref().map(|job| job.to_string()),
        since: record.state_since.or(record.timestamp),
        live: record.may_be_live(),
        message: record
            .defect
            .clone()
            .unwrap_or_else(|| record.message.clone()),
    }
}

fn next(action: &Action) -> String {
    match action {
        Action::Write {
            then: Some(Right::Launch(n)),
            ..
        } => {
            format!("record the intent of attempt {n}, then launch it")
        }
        Action::Write {
            then: Some(Right::Cancel(n)),
            ..
        } => {
            format!("record that attempt {n} is to be canceled, then ask its backend")
        }
        Action::Write { forget, .. } if !forget.is_empty() => {
            format!("forget {} record(s) of a target that is gone", forget.len())
        }
        Action::Write {
            then: None,
            records,
            ..
        } => match records.as_slice() {
            [] => "prove that the records are current".to_owned(),
            records => format!("bring {} record(s) up to date", records.len()),
        },
        Action::Call(Call::Launch(n)) => format!("launch attempt {n}"),
        Action::Call(Call::Cancel(n)) => format!("ask the backend to cancel attempt {n}"),
        Action::Call(Call::Status(n)) => format!("ask the backend where attempt {n} stands"),
        Action::Call(Call::Find(n)) => format!("look for the job of attempt {n} by its token"),
        Action::Call(Call::FindRelaunched(n)) => {
            format!("ask the backend of attempt {n} whether a person has relaunched a job")
        }
        Action::Rest(rest) => standing(&rest.standing),
    }
}

fn standing(standing: &Standing) -> String {
    match standing {
        Standing::Applied { version } => format!("nothing: version {version} is applied"),
        Standing::InProgress {
            attempt,
            job_type,
            state,
        } => {
            format!("wait: attempt {attempt} ({job_type}) is {state}")
        }
        Standing::BackingOff { until, failures: 0 } => {
            format!("wait until {until}: the launch could not be made")
        }
        Standing::BackingOff { until, failures } => {
            format!("wait until {until}: {failures} attempt(s) in a row have failed")
        }
        Standing::Absent { left_behind } if left_behind.is_empty() => {
            "nothing: the target is absent".to_owned()
        }
        Standing::Absent { .. } => {
            "nothing: the target was removed, and something may be left behind".to_owned()
        }
        Standing::NotYet { reason } => format!("wait for what has to be there first: {reason}"),
        Standing::Waiting { reason } => format!("wait: {reason}"),
        Standing::Held(hold) => match hold {
            Hold::Paused => "nothing: the object is paused".to_owned(),
            Hold::Manual => "nothing: in manual mode a job starts on request".to_owned(),
            Hold::CanceledByOthers { attempt } => {
                format!("hold: attempt {attempt} was canceled by somebody else")
            }
            Hold::Purged { attempt } => {
                format!("hold: the backend has forgotten the job of attempt {attempt}")
            }
            Hold::Stray { attempt } => {
                format!("hold: the job of attempt {attempt} ran without what it was to be given")
            }
            Hold::FailuresExhausted { failures } => {
                format!("hold: {failures} attempts in a row have failed")
            }
        },
        Standing::Blocked(block) => match block {
            Block::DefectiveRecord { attempt, defect } => {
                format!("nothing can be decided: record {attempt} is defective: {defect}")
            }
            Block::MissingProvider { provider } => {
                format!("nothing can be done: provider {provider:?} is not registered")
            }
            Block::AmbiguousLaunch { attempt } => {
                format!("hold: the launch of attempt {attempt} may have been carried out")
            }
            Block::UnknownTooLong { attempt } => {
                format!("watch: the state of attempt {attempt} has been unknown for too long")
            }
            Block::NotEnding { attempt } => {
                format!("watch: attempt {attempt} should have ended and does not")
            }
            Block::CancelRefused { attempt } => {
                format!("watch: attempt {attempt} is to be canceled, and its backend refuses to")
            }
        },
        Standing::Released(release) => match release.ground {
            Ground::Deprovisioned => "let the object go: it was deprovisioned".to_owned(),
            Ground::Retained => "let the object go: what was provisioned stays".to_owned(),
            ground => format!("let the object go: {}", ground.as_str()),
        },
        Standing::Unmanaged => "nothing: the object is not managed".to_owned(),
        Standing::Outdated => "read the object again".to_owned(),
        Standing::Gone => "nothing: the object is gone".to_owned(),
        Standing::Interrupted { reason } => format!("try again: {reason}"),
    }
}

fn advice(action: &Action) -> &'static str {
    let Action::Rest(rest) = action else {
        return "";
    };
    match &rest.standing {
        Standing::Held(Hold::Paused) => "resume the object to go on",
        Standing::Held(Hold::Manual) => "request a retry to start a job",
        Standing::Held(
            Hold::CanceledByOthers { .. } | Hold::Stray { .. } | Hold::FailuresExhausted { .. },
        ) => "find out why, then request a retry or change the configuration",
        Standing::Held(Hold::Purged { .. }) => {
            "look at the resource itself, then request a retry or change the configuration"
        }
        Standing::Blocked(Block::DefectiveRecord { .. }) => {
            "mend or remove the record in the object's status; remove it only when no job of it runs"
        }
        Standing::Blocked(Block::MissingProvider { .. }) => {
            "configure the provider again until its jobs have ended, or rename it back"
        }
        Standing::Blocked(Block::AmbiguousLaunch { .. }) => {
            "look at the backend; when no job of this object runs there, request a retry"
        }
        Standing::Blocked(Block::UnknownTooLong { .. }) => {
            "look at the backend; request a retry to count the attempt as over"
        }
        Standing::Blocked(Block::NotEnding { .. }) => {
            "end the job at the backend; it is followed from here"
        }
        Standing::Blocked(Block::CancelRefused { .. }) => {
            "give the right to cancel it, or end the job at the backend; it is followed from here"
        }
        Standing::Absent { left_behind } if !left_behind.is_empty() => {
            "look at what the attempts named below have left; remove their records when it is gone"
        }
        _ if rest.escalated => "deletion takes long: look at the newest attempt's job",
        _ => "",
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.object)?;
        writeln!(f, "  next:    {}", self.next)?;
        writeln!(f, "  because: {}", self.because)?;
        if !self.advice.is_empty() {
            writeln!(f, "  advice:  {}", self.advice)?;
        }
        match self.wake_at {
            Some(at) => writeln!(f, "  wake-up: {at}")?,
            None => writeln!(f, "  wake-up: when the object changes")?,
        }
        for evidence in &self.attempts {
            write!(
                f,
                "  attempt {}: {} {}",
                evidence.attempt, evidence.job_type, evidence.state
            )?;
            if let Some(reason) = &evidence.reason {
                write!(f, " ({reason})")?;
            }
            if let Some(job) = &evidence.job {
                write!(f, ", {job}")?;
            }
            if let Some(since) = evidence.since {
                write!(f, ", since {since}")?;
            }
            if evidence.live {
                f.write_str(", may be live")?;
            }
            if !evidence.message.is_empty() {
                write!(f, ": {}", evidence.message)?;
            }
            writeln!(f)?;
        }
        for note in &self.notes {
            writeln!(f, "  wrong in the records: {note}")?;
        }
        Ok(())
    }
}
