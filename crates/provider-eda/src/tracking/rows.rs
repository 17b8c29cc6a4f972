//! The rows of the audit, and what they say.

use std::time::Duration;

use jiff::Timestamp;
use provider_core::{JobRef, JobState, JobStatus, OperationToken, clock, text};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// How long the events of a rule may be written after it.
const COMMIT: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
pub(super) struct Rule {
    pub id: u64,
}

#[derive(Deserialize)]
pub(super) struct Detail {
    /// When the row was written, which is when the first action had ended.
    #[serde(default, deserialize_with = "lenient")]
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
    #[serde(default, deserialize_with = "lenient")]
    pub status: String,
    #[serde(default, deserialize_with = "lenient")]
    pub status_message: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub url: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub fired_at: Option<Timestamp>,
}

/// A member that cannot be read is one that is not there: it is no reason to lose the list around it.
fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(
    from: D,
) -> Result<T, D::Error> {
    let value = Value::deserialize(from)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
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
    /// Whether its events are to be read (again). They are written one by one after the rule, so they are asked
    /// for at doubling distances until all that it has must be there; those of a rule without any, for ever.
    pub(super) fn is_due(&self, interval: Duration, now: Timestamp) -> bool {
        let Some(read) = self.read else {
            return true;
        };
        let age = clock::since(read, self.first_seen);
        let known = self.has_events && age >= COMMIT;
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

    /// Each event is written by itself.
    #[test]
    fn a_rule_is_read_again_until_all_its_events_must_be_there() {
        let at = |seconds: i64| Timestamp::from_second(1_000_000 + seconds).unwrap();
        let mut rule = Fired {
            first_seen: at(0),
            read: Some(at(0)),
            has_events: true,
            tokens: vec!["first".to_owned()],
        };
        let interval = Duration::from_secs(15);
        assert!(!rule.is_due(interval, at(14)));
        assert!(rule.is_due(interval, at(15)));
        rule.read = Some(at(59));
        assert!(rule.is_due(interval, at(118)));
        rule.read = Some(at(60));
        assert!(!rule.is_due(interval, at(100_000)));
    }

    #[test]
    fn an_odd_member_costs_no_list() {
        for odd in [
            "\"yesterday\"",
            "\"2026-11-23T04:00:00\"",
            "7",
            "{}",
            "null",
        ] {
            let text = format!(
                r#"[{{"id": "a", "name": "run_job_template", "status": "failed", "fired_at": {odd}}},
                    {{"id": "b", "name": "debug", "fired_at": "2026-11-23T04:00:00Z"}}]"#
            );
            let actions: Vec<Action> = serde_json::from_str(&text).unwrap();
            assert_eq!(actions[0].fired_at, None, "{odd}");
            assert_eq!(actions[0].status, "failed");
            assert!(actions[1].fired_at.is_some());
            let detail: Detail =
                serde_json::from_str(&format!(r#"{{"created_at": {odd}}}"#)).unwrap();
            assert_eq!(detail.created_at, None, "{odd}");
        }
        for member in ["status", "status_message", "url"] {
            let text = format!(r#"{{"id": "a", "name": "run_job_template", "{member}": {{}}}}"#);
            assert!(serde_json::from_str::<Action>(&text).is_ok(), "{member}");
        }
    }
}
