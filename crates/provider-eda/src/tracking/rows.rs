//! The rows of the audit, and what they say.

use provider_core::clock::Elapsed as _;
use std::time::Duration;

use jiff::Timestamp;
use provider_core::{JobRef, JobState, JobStatus, OperationToken, text};
use provider_http::json::{lenient, time};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// How long the events of a rule may be written after it.
const COMMIT: Duration = Duration::from_secs(60);

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Rule {
    #[serde(deserialize_with = "lenient")]
    pub id: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Detail {
    /// When the row was written, which is when the first action had ended.
    #[serde(deserialize_with = "moment")]
    pub created_at: Option<Timestamp>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Event {
    #[serde(deserialize_with = "payload")]
    pub payload: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Action {
    #[serde(deserialize_with = "lenient")]
    pub id: String,
    /// Empty where it cannot be read.
    #[serde(deserialize_with = "lenient")]
    pub name: String,
    #[serde(deserialize_with = "lenient")]
    pub status: String,
    #[serde(deserialize_with = "lenient")]
    pub status_message: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub url: Option<String>,
    #[serde(deserialize_with = "moment")]
    pub fired_at: Option<Timestamp>,
}

fn moment<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
    let text: String = lenient(from)?;
    Ok(time(&text))
}

/// YAML in a text; of anything else the text that it was written as, for the tokens in it.
fn payload<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let raw = <&RawValue>::deserialize(from)?;
    Ok(serde_json::from_str(raw.get()).unwrap_or_else(|_| raw.get().to_owned()))
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
        let age = read.elapsed_since(self.first_seen);
        let known = self.has_events && age >= COMMIT;
        !known && now.elapsed_since(read) >= interval.max(age)
    }

    /// Whether its events may still be on their way.
    pub(super) fn may_be_uncommitted(&self, now: Timestamp) -> bool {
        self.tokens.is_empty() && now.elapsed_since(self.first_seen) < COMMIT && !self.has_events
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
    let is_named = !action.name.is_empty();
    if is_named && !action.name.starts_with("run_") {
        return None;
    }
    let state = match action.status.as_str() {
        // It may have been one that says nothing.
        _ if !is_named => JobState::Unknown,
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
        let name = if is_named {
            &action.name
        } else {
            "an action whose name cannot be read"
        };
        format!("{name} ended {}", action.status)
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
    use provider_http::json;

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
        let read = |text: &str| -> Action { json::read(text.as_bytes()).unwrap() };
        for odd in ["\"yesterday\"", "7", "{}", "null", "\"\"", "1e400"] {
            let text = format!(
                r#"{{"id": "a", "name": "run_job_template", "status": "failed", "fired_at": {odd}}}"#
            );
            let action = read(&text);
            assert_eq!(action.fired_at, None, "{odd}");
            assert_eq!(action.status, "failed");
            let detail: Detail =
                json::read(format!(r#"{{"created_at": {odd}}}"#).as_bytes()).unwrap();
            assert_eq!(detail.created_at, None, "{odd}");
        }
        for member in ["id", "status", "status_message", "url", "x"] {
            let text = format!(r#"{{"{member}": {{}}, "name": "run_job_template"}}"#);
            assert_eq!(read(&text).name, "run_job_template", "{member}");
        }
        let rule: Rule = json::read(br#"{"id": "x"}"#).unwrap();
        assert_eq!(rule.id, None);
    }

    /// As everywhere: without a zone, or with more digits than a clock has.
    #[test]
    fn a_time_is_read_however_it_is_written() {
        let at: Timestamp = "2026-11-23T04:00:00Z".parse().unwrap();
        for text in [
            "2026-11-23T04:00:00Z",
            "2026-11-23T04:00:00",
            "2026-11-23T05:00:00.000000000000+01:00",
        ] {
            let action: Action =
                json::read(format!(r#"{{"fired_at": "{text}"}}"#).as_bytes()).unwrap();
            assert_eq!(action.fired_at, Some(at), "{text}");
            let detail: Detail =
                json::read(format!(r#"{{"created_at": "{text}"}}"#).as_bytes()).unwrap();
            assert_eq!(detail.created_at, Some(at), "{text}");
        }
    }

    /// What it says is not known, and neither that it says nothing.
    #[test]
    fn an_action_without_a_readable_name_is_in_doubt() {
        for text in [
            "{}",
            r#"{"name": 7, "status": "successful"}"#,
            r#"{"name": {}, "status": "failed"}"#,
        ] {
            let action: Action = json::read(text.as_bytes()).unwrap();
            let token = OperationToken::from_random(1);
            let status = ended(&action, &token, str::to_owned).unwrap();
            assert_eq!(status.state, JobState::Unknown, "{text}");
        }
    }

    #[test]
    fn the_token_is_found_in_an_event_that_is_no_text() {
        let token = OperationToken::from_random(1);
        let token = token.as_str();
        for payload in [
            format!(r#""payload:\n  operationToken: {token}\n  x: 1""#),
            format!(r#"{{"providerEvent": {{"operationToken": "{token}"}}}}"#),
            format!(r#"[{{"operationToken":"{token}"}}]"#),
        ] {
            let text = format!(r#"{{"payload": {payload}}}"#);
            let event: Event = json::read(text.as_bytes()).unwrap();
            let found: Vec<String> = tokens(&event.payload).collect();
            assert_eq!(found, [token], "{payload}");
        }
    }
}
