//! What the controller's words about a job mean.

use std::time::Duration;

use jiff::Timestamp;
use provider_core::clock::Elapsed as _;
use provider_core::{JobRef, JobState, JobStatus, text};

use crate::body::JobBody;
use crate::words::Kind;

/// The state that a status word of a job or workflow job means.
///
/// The words are those of AWX 24.6.1; any other word is [`JobState::Unknown`], never an end.
///
/// ```
/// use provider_aap::map_status;
/// use provider_core::JobState;
///
/// assert_eq!(map_status("successful"), JobState::Succeeded);
/// assert_eq!(map_status("something new"), JobState::Unknown);
/// ```
#[must_use]
pub fn map_status(word: &str) -> JobState {
    match word {
        // `new` is left within the transaction of the launch.
        "new" | "pending" => JobState::Pending,
        // Given to a node, not yet taken up there.
        "waiting" => JobState::Waiting,
        "running" => JobState::Running,
        "successful" => JobState::Succeeded,
        // `failed`: the playbook failed. `error`: it could not be run.
        "failed" | "error" => JobState::Failed,
        "canceled" => JobState::Canceled,
        _ => JobState::Unknown,
    }
}

/// Texts that the controller's reaper leaves on a job whose playbook may be running on
/// (AWX 24.6.1, `dispatch/reaper.py`).
const REAPED: [&str; 3] = [
    "was not present in the job queue",
    "Task was marked as running at system start up",
    "Job reaped due to instance shutdown",
];

/// How sure an end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Certainty {
    /// It has not ended, or it has, for good.
    Settled,
    /// The playbook may be running on.
    Doubtful,
    /// It is a workflow whose jobs have to be looked at.
    AskChildren,
}

/// When a terminal status is believed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Confirmation {
    /// Doubted at least so long.
    pub window: Duration,
    /// Doubted at most so long.
    pub limit: Duration,
    /// When the job ended, or was first seen to have.
    pub ended: Timestamp,
    /// The server's clock, or ours where it sent none.
    pub now: Timestamp,
}

impl JobBody {
    /// Where the job stands. What nobody has canceled has failed: AWX itself ends jobs so that were just
    /// starting when its dispatcher was restarted (AWX 24.6.1), and they may be tried again.
    pub(crate) fn state(&self) -> JobState {
        match map_status(&self.status) {
            JobState::Canceled if self.was_never_canceled() => JobState::Failed,
            state => state,
        }
    }

    /// When it ended, where it says so believably.
    pub(crate) fn end(&self, now: Timestamp) -> Option<Timestamp> {
        let is_after_its_start = |end: &Timestamp| self.started.is_none_or(|start| *end >= start);
        self.finished()
            .filter(|end| *end <= now)
            .filter(is_after_its_start)
    }

    /// Whether the status shows an end that may be none.
    ///
    /// `canceled` is set by whoever asks for it, also when no node was reached; the playbook then
    /// runs on and its end overwrites the status. Until that end the controller counts more events
    /// than the job has declared: `event_processing_finished` is false. The reaper's `failed` and
    /// an `error` of a job that was at work are of the same kind.
    pub(crate) fn is_suspect(&self) -> bool {
        let workflow = self.kind == Some(Kind::Workflow);
        let reaped = || REAPED.iter().any(|text| self.explanation().contains(text));
        let suspect = match &*self.status {
            "canceled" | "error" => true,
            // A workflow fails as soon as one of its jobs does, be it that the reaper said so.
            "failed" => workflow || reaped(),
            _ => false,
        };
        let never_at_work = if workflow {
            self.started.is_none()
        } else {
            !self.was_at_work
        };
        suspect && !never_at_work
    }

    /// Whether the end that the status shows is one. It has a moment, whatever the job says of it: nothing
    /// may keep an object for ever.
    pub(crate) fn certainty(&self, confirm: Confirmation) -> Certainty {
        if !self.is_suspect() {
            return Certainty::Settled;
        }
        let workflow = self.kind == Some(Kind::Workflow);
        // The failure of a workflow is its own; what may be a lie are the ends of its jobs.
        let own_end = workflow && &*self.status == "failed";
        let age = confirm.now.elapsed_since(confirm.ended);
        if age >= confirm.limit.max(confirm.window) {
            Certainty::Settled
        } else if age < confirm.window && !own_end {
            Certainty::Doubtful
        } else if workflow {
            Certainty::AskChildren
        } else if self.is_counted {
            Certainty::Settled
        } else {
            Certainty::Doubtful
        }
    }

    /// The status in the words of the contract.
    pub(crate) fn to_status(&self, job: JobRef, redact: impl Fn(&str) -> String) -> JobStatus {
        let state = self.state();
        let mut status = JobStatus::new(job, state);
        status.message = self.message(state, redact);
        status.created_at = self.created;
        status.started_at = self.started;
        status.finished_at = self.finished().filter(|_| state.is_terminal());
        status.elapsed = self
            .elapsed
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        status.outputs = self.artifacts();
        status
    }

    /// The most telling text that the job itself has. Redacted before it is cut, or half a secret would
    /// be left.
    fn message(&self, state: JobState, redact: impl Fn(&str) -> String) -> String {
        let bounded = |text: &str, max| text::bounded(&redact(text), max);
        let explanation = bounded(self.explanation(), text::MAX_TEXT);
        // The reaper's text, where there is one, says of these only that they are gone.
        if state == JobState::Failed && &*self.status == "canceled" {
            let last = bounded(last_line(self.traceback()), 300);
            let last = if last.is_empty() {
                last
            } else {
                format!(": {last}")
            };
            return format!(
                "the controller canceled the job itself, nobody has asked for it{last}"
            );
        }
        if !explanation.is_empty() {
            return explanation;
        }
        match state {
            JobState::Failed => {
                // The last line of a traceback says what, the others say where.
                let last = bounded(last_line(self.traceback()), text::MAX_TEXT);
                if last.is_empty() {
                    format!(
                        "the job ended as {} and gave no reason",
                        bounded(&self.status, 40)
                    )
                } else {
                    last
                }
            }
            JobState::Unknown => format!(
                "the controller reports the unknown status \"{}\"",
                bounded(&self.status, 40)
            ),
            JobState::Pending | JobState::Waiting | JobState::Running if self.is_canceling() => {
                "a cancel was requested".to_owned()
            }
            // What it has waited for is over.
            JobState::Running => "it is running".to_owned(),
            _ => String::new(),
        }
    }
}

fn last_line(text: &str) -> &str {
    text.trim_end().lines().last().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certainty(body: &JobBody, now: &str) -> Certainty {
        let now = now.parse().unwrap();
        body.certainty(Confirmation {
            window: Duration::from_secs(60),
            limit: Duration::from_secs(900),
            ended: body.end(now).unwrap_or(now),
            now,
        })
    }

    fn body(json: &str) -> JobBody {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn odd_members_do_not_hide_the_status() {
        let body = body(
            r#"{"status": "successful", "id": "x", "elapsed": "long", "started": 5, "finished": null,
                "artifacts": [1], "job_explanation": {"a": 1}, "canceled_on": "never"}"#,
        );
        let status = body.to_status(JobRef::new("aap", "job", "1"), str::to_owned);
        assert_eq!(status.state, JobState::Succeeded);
        assert_eq!(
            (status.started_at, status.elapsed, status.message.as_str()),
            (None, None, "")
        );
    }

    #[test]
    fn a_cancel_of_a_job_that_was_at_work_is_doubted_while_events_are_missing() {
        let job = |events: &str| {
            body(&format!(
                r#"{{"type": "job", "status": "canceled", "work_unit_id": "u", "started": "2026-01-01T00:00:00Z",
                    "finished": "2026-01-01T00:01:00.5Z", "event_processing_finished": {events}}}"#
            ))
        };
        assert_eq!(
            certainty(&job("true"), "2026-01-01T00:01:30Z"),
            Certainty::Doubtful
        );
        assert_eq!(
            certainty(&job("true"), "2026-01-01T00:02:30Z"),
            Certainty::Settled
        );
        assert_eq!(
            certainty(&job("false"), "2026-01-01T00:02:30Z"),
            Certainty::Doubtful
        );
        assert_eq!(
            certainty(&job("null"), "2026-01-01T00:02:30Z"),
            Certainty::Doubtful
        );
        assert_eq!(
            certainty(&job("false"), "2026-01-01T00:16:01Z"),
            Certainty::Settled
        );
    }

    #[test]
    fn a_cancel_of_a_job_that_never_worked_is_believed_at_once() {
        let pending = body(r#"{"type": "job", "status": "canceled", "work_unit_id": null}"#);
        assert_eq!(
            certainty(&pending, "2026-01-01T00:00:00Z"),
            Certainty::Settled
        );
        let flow = body(r#"{"type": "workflow_job", "status": "canceled", "started": null}"#);
        assert_eq!(certainty(&flow, "2026-01-01T00:00:00Z"), Certainty::Settled);
    }

    #[test]
    fn the_reapers_verdict_is_doubted_and_a_playbooks_failure_is_not() {
        let job = |text: &str| {
            body(&format!(
                r#"{{"type": "job", "status": "failed", "work_unit_id": "u", "finished": "2026-01-01T00:00:00Z",
                    "job_explanation": "{text}"}}"#
            ))
        };
        let now = "2026-01-01T00:00:10Z";
        for text in REAPED {
            assert_eq!(certainty(&job(text), now), Certainty::Doubtful, "{text}");
        }
        assert_eq!(
            certainty(&job("Job terminated due to timeout"), now),
            Certainty::Settled
        );
    }
}
