//! The rows of the audit, and what they say.

use std::time::Duration;

use jiff::Timestamp;
use provider_core::{JobRef, JobState, JobStatus, OperationToken, clock, text};
use serde::Deserialize;

/// How long the events of a rule may be written after it.
const COMMIT: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
pub(super) struct Rule {
    pub id: u64,
}

#[derive(Deserialize)]
pub(super) struct Detail {
    /// When the row was written, which is when the first action had ended.
    pub created_at: Option<Timestamp>,
}

#[derive(Deserialize)]
pub(super) struct Event {
    #[serde(default)]
    pub payload: String,
}

#[derive(Deserialize)]
pub(super) struct Action {
    #[serde(default)]
    pub id: String,
    pub name: String,
    #[serde(default)]
    pub status: String,
    #[serde(default)]
    pub status_message: Option<String>,
    #[serde(default)]
    pub url: Option<String>,
    #[serde(default)]
    pub fired_at: Option<Timestamp>,
}

/// A rule of the audit, as far as it is known.
pub(super) struct Fired {
    pub first_seen: Timestamp,
    pub read: Option<Timestamp>,
    /// Whether it had any event when it was read.
    pub has_events: bool,
    /// The operation tokens of its events.
    pub tokens: Vec<String>,
}

impl Fired {
    /// Whether its events are to be read (again). Those of a rule that had none are asked for at doubling
    /// distances: they may not have been written yet, and nothing that was not there is remembered.
    pub(super) fn is_due(&self, interval: Duration, now: Timestamp) -> bool {
        let Some(read) = self.read else {
            return true;
        };
        let age = clock::since(read, self.first_seen);
        let known = !self.tokens.is_empty() || (self.has_events && age >= COMMIT);
        !known && clock::since(now, read) >= interval.max(age)
    }

    /// Whether its events may still be on their way.
    pub(super) fn may_be_uncommitted(&self, now: Timestamp) -> bool {
        self.tokens.is_empty() && clock::since(now, self.first_seen) < COMMIT && !self.has_events
    }
}

/// The operation tokens in the YAML text of an event.
pub(super) fn tokens(payload: &str) -> impl Iterator<Item = String> {
    payload.split("operationToken").skip(1).map(|rest| {
        let rest = rest.trim_start_matches(['"', '\'', ':', ' ']);
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        rest.chars().take_while(|c| is_part(*c)).collect()
    })
}

/// What an action that ran automation says about the event; others say nothing. `redact` takes out what must
/// not be repeated, before anything is cut.
pub(super) fn ended(
    action: &Action,
    token: &OperationToken,
    redact: impl Fn(&str) -> String,
) -> Option<JobStatus> {
    if !action.name.starts_with("run_") {
        return None;
    }
    let state = match action.status.as_str() {
        "successful" => JobState::Succeeded,
        "failed" | "error" => JobState::Failed,
        "canceled" => JobState::Canceled,
        _ => JobState::Unknown,
    };
    let mut job = JobRef::new("eda", "action", token.as_str());
    if let Some(url) = action.url.as_deref().filter(|url| !url.is_empty()) {
        job = job.with_url(text::bounded(&redact(url), 300));
    }
    let message = action.status_message.as_deref().unwrap_or_default();
    let message = if message.is_empty() {
        format!("{} ended {}", action.name, action.status)
    } else {
        message.to_owned()
    };
    let mut status = JobStatus::new(job, state).with_message(&redact(&message));
    status.started_at = action.fired_at;
    Some(status)
}

/// Of several actions of one event, the worst tells how it went.
pub(super) const fn rank(status: &JobStatus) -> u8 {
    match status.state {
        JobState::Succeeded => 0,
        JobState::Canceled => 1,
        JobState::Failed => 2,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_from_yaml_in_any_quotes() {
        let text = "payload:\n  providerEvent:\n    action: create\n    operationToken: 0a1b\n  other:\n    \
                    operationToken: '123'\n  third: {\"operationToken\": \"zz-9\", \"a\": 1}\n";
        let found: Vec<String> = tokens(text).collect();
        assert_eq!(found, ["0a1b", "123", "zz-9"]);
        assert_eq!(tokens("payload: operationToke").count(), 0);
    }

    #[test]
    fn what_an_action_says_is_redacted_before_it_is_cut() {
        let long = "x".repeat(text::MAX_TEXT - 4);
        let action = Action {
            id: String::new(),
            name: "run_job_template".to_owned(),
            status: "failed".to_owned(),
            status_message: Some(format!("t0psecret {long} t0psecret")),
            url: Some("https://h/t0psecret".to_owned()),
            fired_at: None,
        };
        let redact = |text: &str| text.replace("t0psecret", "***");
        let status = ended(&action, &OperationToken::from_random(1), redact).unwrap();
        let shown = format!("{status:?}");
        assert!(!shown.contains("t0p"), "{shown}");
    }

    /// Nothing that was not there is remembered, and asking again for it does not go on at one pace for ever.
    #[test]
    fn a_rule_without_events_is_read_again_at_growing_distances() {
        let at = |seconds: i64| Timestamp::from_second(1_000_000 + seconds).unwrap();
        let mut rule = Fired {
            first_seen: at(0),
            read: None,
            has_events: false,
            tokens: Vec::new(),
        };
        let mut reads = Vec::new();
        for second in (0..4 * 3_600).step_by(15) {
            if rule.is_due(Duration::from_secs(15), at(second)) {
                rule.read = Some(at(second));
                reads.push(second);
            }
        }
        assert_eq!(reads[..5], [0, 15, 30, 60, 120]);
        assert!(reads.len() < 15, "{reads:?}");
        rule.has_events = true;
        assert!(!rule.is_due(Duration::from_secs(15), at(100_000)));
    }
}
