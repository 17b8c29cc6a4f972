//! Answers that are not what was asked for.

use jiff::Timestamp;
use serde_json::Value;

use super::writes::prepare;
use super::{Asked, FORBIDDEN, NO_CREDENTIALS, kind_of};
use crate::aap::answer::{Answer, End};
use crate::aap::fault::Fault;
use crate::aap::state::State;

/// The same answer with this word as the status of every job in it.
pub(super) fn in_other_words(mut answer: Answer, word: &str) -> Answer {
    let mut body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let tell = |job: &mut Value| {
        if let Some(status) = job.get_mut("status") {
            *status = word.into();
        }
    };
    match body.get_mut("results").and_then(Value::as_array_mut) {
        Some(jobs) => jobs.iter_mut().for_each(tell),
        None => tell(&mut body),
    }
    answer.body = body.to_string().into_bytes();
    answer
}

/// The answer of a fault that keeps the request from being carried out as it was meant.
pub(in crate::aap) fn instead(
    state: &mut State,
    fault: &Fault,
    asked: &Asked<'_>,
    segments: &[&str],
    now: Timestamp,
) -> Option<Answer> {
    Some(match fault {
        Fault::DropBefore => Answer::empty(500).ends(End::Closed),
        Fault::CommitLate(delay) => {
            let accepted = match segments {
                [templates, id, "launch"] => {
                    let kind = kind_of(templates)?;
                    let user = state.user(asked.authorization)?;
                    prepare(state, kind, id, user, asked.body).ok()?.0
                }
                _ => return None,
            };
            let when = provider_core::clock::add(now, std::time::Duration::from_millis(*delay));
            state.jobs.commit_later(accepted, when);
            Answer::empty(500).ends(End::Closed)
        }
        Fault::CommitSlowly(delay) => {
            let accepted = match segments {
                [templates, id, "launch"] => {
                    let kind = kind_of(templates)?;
                    let user = state.user(asked.authorization)?;
                    prepare(state, kind, id, user, asked.body).ok()?.0
                }
                _ => return None,
            };
            let when = provider_core::clock::add(now, std::time::Duration::from_millis(*delay));
            state.jobs.commit_slowly(accepted, now, when);
            Answer::empty(500).ends(End::Closed)
        }
        Fault::Status(status) => Answer::detail(
            *status,
            match status {
                401 => NO_CREDENTIALS,
                403 => FORBIDDEN,
                404 => "Not found.",
                405 => "Method \"POST\" not allowed.",
                _ => "A server error has occurred.",
            },
        ),
        Fault::Gateway(status) => Answer::gateway(*status),
        Fault::RateLimited(seconds) => {
            let mut answer = Answer::detail(429, "Request was throttled.");
            answer.headers.push(("retry-after", seconds.to_string()));
            answer
        }
        Fault::Html(size) => Answer::html(502, *size),
        Fault::HtmlOk(size) => Answer::html(200, *size),
        Fault::Maintenance => Answer::redirect(302, "/migrations_notran/"),
        Fault::Redirect(status, location) => Answer::redirect(*status, location),
        Fault::Echo(status) => Answer::detail(
            *status,
            &format!(
                "{} {} Authorization: {} {}",
                asked.method,
                asked.path,
                asked.authorization.unwrap_or_default(),
                String::from_utf8_lossy(asked.body)
            ),
        ),
        Fault::DropAfter
        | Fault::Hang
        | Fault::StatusAfter(_)
        | Fault::Truncated
        | Fault::Word(_) => return None,
    })
}
