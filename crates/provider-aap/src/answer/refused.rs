//! What a refusal means, and what a person reads of it.

use provider_core::http::{self, Intent};
use provider_core::{Effect, ErrorKind, ProviderError, text};
use provider_http::retry_after;
use reqwest::header::HeaderMap;
use reqwest::{StatusCode, header};
use serde_json::Value;

/// A 404 about something that only the controller can know, by somebody else.
pub(crate) fn not_by_the_controller(what: &str) -> ProviderError {
    ProviderError::new(
        Effect::Rejected,
        ErrorKind::Unavailable,
        format!("{what} was answered with 404 by something that is not the controller"),
    )
    .with_advice(
        "check the URL, and the route of the gateway or web server in front of the controller",
    )
}

/// The error for an answer that is none, `is_own` where the controller has marked it. `said` is its body.
pub(super) fn refusal(
    status: StatusCode,
    headers: &HeaderMap,
    said: Option<Value>,
    is_own: bool,
    intent: Intent,
    what: &str,
    redact: impl Fn(&str) -> String,
) -> ProviderError {
    let code = status.as_u16();
    // Two kinds of answer have effects of their own here. A page instead of JSON leaves a launch in doubt like
    // any other answer that is lost. A redirect refuses nothing, not even a read: a search for the API goes on
    // after a refusal, and not past whoever redirects it.
    match code {
        200..=299 => {
            let text = format!("{what} was answered with a page instead of JSON");
            let error = ProviderError::new(intent.doubt(), ErrorKind::Protocol, text);
            return error.with_advice(
                "check that the URL is that of the controller, not of a login page or proxy",
            );
        }
        300..=399 => return redirected(headers, intent, what, redact),
        404 if !is_own => return not_by_the_controller(what),
        _ => {}
    }
    let refused = http::Refused::new(code, intent);
    // A controller marks all that it says (AWX 24.6.1), 409 and 422 too. Of no controller is it known that it
    // says 410 of a job: it must not end one, whatever it is marked with.
    let refused = if is_own && code != 410 {
        refused
    } else {
        refused.by_somebody_else()
    };
    // Here 405 is no wrong request, as it is elsewhere: a controller says so to the cancel of a job that has
    // ended, and the job is looked at then (AWX 24.6.1; a proxy may have taken the mark away).
    let kind = if code == 405 {
        ErrorKind::Conflict
    } else {
        refused.kind()
    };
    let words = said.map(|said| explain(&said, &redact)).unwrap_or_default();
    let (text, advice) = told(code, kind, intent, what, &text::bounded(&words, 400));
    let error = ProviderError::new(refused.effect(), kind, text).with_advice(advice);
    match retry_after(headers) {
        Some(wait) => error.with_retry_after(wait),
        None => error,
    }
}

/// What a person reads of a refusal: what it is, and what helps.
fn told(
    code: u16,
    kind: ErrorKind,
    intent: Intent,
    what: &str,
    words: &str,
) -> (String, &'static str) {
    let said = if words.is_empty() {
        String::new()
    } else {
        format!(": {words}")
    };
    match (kind, code) {
        (ErrorKind::Unauthorized, _) => (
            format!("the controller does not accept our credentials for {what}"),
            "check that the token exists there, is not expired and belongs to this controller",
        ),
        (ErrorKind::Forbidden, _) => (
            format!("the controller does not allow {what}{said}"),
            of_forbidden(words, intent),
        ),
        (ErrorKind::NotFound, _) => (format!("the controller does not know {what}{said}"), ""),
        (ErrorKind::Conflict, _) => (format!("{what} is not possible now{said}"), ""),
        (ErrorKind::RateLimited, _) => (format!("{what} was put off by a rate limit"), ""),
        // Said by what is in front of the controller, possibly after it has passed the request on.
        (ErrorKind::Timeout, _) => (
            format!("{what} was given up with {code} before the controller's answer{said}"),
            "check the time-outs of what is in front of the controller",
        ),
        (ErrorKind::Invalid, 413) => (
            format!("{what} is too large for the controller or for what is in front of it{said}"),
            "exclude large members in the projection, or raise the limit there",
        ),
        (ErrorKind::Invalid, 400 | 415 | 422) => (
            format!("the controller refused {what}{said}"),
            "correct what it names: the template, the object, or the configuration",
        ),
        (ErrorKind::Invalid, _) => (format!("{what} was answered with {code}{said}"), ""),
        (_, 407) => (
            format!("the proxy wants to know who we are before it passes {what} on"),
            "put user and password into the proxy's URL, or except the controller by NO_PROXY",
        ),
        (_, 400..=499) => (
            format!("{what} was answered with {code}, which no controller says{said}"),
            "look at what is in front of the controller",
        ),
        _ => (
            format!(
                "the controller, or what is in front of it, failed at {what} with {code}{said}"
            ),
            "look at the controller's own state and logs",
        ),
    }
}

/// What helps against a 403, by what it says: not every one is about a right.
fn of_forbidden(words: &str, intent: Intent) -> &'static str {
    let words = words.to_ascii_lowercase();
    let says = |parts: &[&str]| parts.iter().any(|part| words.contains(part));
    if says(&["licen", "subscription"]) {
        "renew the controller's subscription, or add one; no right of a user helps"
    } else if says(&["csrf"]) {
        "something on the way adds a session cookie to our requests: take cookies off there; no right of a \
         user helps"
    } else if words.is_empty() {
        "it gives no reason, as a controller does: check what is in front of it; else grant this user the role \
         Execute on the template, and use a token of scope write"
    } else if intent == Intent::Reads {
        "let this user see it: the role Execute or Read on the template, or System Auditor"
    } else {
        "grant this user the role Execute on the template, and use a token of scope write"
    }
}

/// What a place is called that asks people who they are.
const LOGINS: [&str; 7] = [
    "login", "signin", "sign_in", "sso", "oauth", "saml", "/auth",
];

fn redirected(
    headers: &HeaderMap,
    intent: Intent,
    what: &str,
    redact: impl Fn(&str) -> String,
) -> ProviderError {
    let to = headers.get(header::LOCATION);
    let to = to.and_then(|to| to.to_str().ok()).unwrap_or_default();
    // Redacted before it is cut, or half a secret would be left.
    let shown = target(&redact(to));
    let path = shown.to_ascii_lowercase();
    let (text, advice) = if to.contains("migrations_notran") {
        (
            format!("{what} found the controller in the middle of an upgrade"),
            "wait until the upgrade is over",
        )
    } else if LOGINS.iter().any(|login| path.contains(login)) {
        (
            format!("{what} was redirected to a login page ({shown})"),
            "what is there asks people to log in: let requests to the API through with their tokens, or set \
             the URL to the controller behind it",
        )
    } else {
        (
            format!("{what} was redirected to {shown}"),
            "redirects are not followed; set the URL to the place it redirects to",
        )
    };
    ProviderError::new(intent.doubt(), ErrorKind::Unavailable, text).with_advice(advice)
}

/// Scheme, host and path of a redirect; the rest may hold secrets.
fn target(location: &str) -> String {
    let plain = location.split(['?', '#']).next().unwrap_or_default();
    let plain = match plain.split_once("://") {
        Some((scheme, rest)) => {
            let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
            format!("{scheme}://{host}")
        }
        None => plain.to_owned(),
    };
    text::bounded(&plain, 200)
}

/// The texts in an error body: `{"detail": …}`, `{"field": ["text", …]}`, or deeper.
fn explain(body: &Value, redact: &dyn Fn(&str) -> String) -> String {
    let mut texts = Vec::new();
    collect(body, "", 0, redact, &mut texts);
    texts.join("; ")
}

fn collect(
    value: &Value,
    field: &str,
    depth: u8,
    redact: &dyn Fn(&str) -> String,
    texts: &mut Vec<String>,
) {
    if depth > 4 || texts.len() >= 8 {
        return;
    }
    match value {
        Value::String(text) => {
            // Redacted before it is cut, or half a secret would be left. From the first brace on, it
            // may be our own request that is repeated.
            let text = redact(text);
            let text = text.split('{').next().unwrap_or_default();
            let text = text::bounded(text, 300);
            texts.push(match field {
                "" | "detail" | "__all__" => text,
                field => format!("{field}: {text}"),
            });
        }
        Value::Array(items) => {
            for item in items {
                collect(item, field, depth + 1, redact, texts);
            }
        }
        Value::Object(members) => {
            for (name, item) in members {
                let name = text::bounded(&redact(name), 60);
                collect(item, &name, depth + 1, redact, texts);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;

    /// Found by the fuzz target `aap_answers`.
    #[test]
    fn a_redirect_shows_no_secret_that_it_repeats() {
        let redact = |text: &str| text.replace("t0psecret", "***");
        let mut headers = HeaderMap::new();
        for to in [
            "https://sso.example.com/login/t0psecret",
            "https://t0psecret.example.com/",
            "/t0psecret",
        ] {
            headers.insert(header::LOCATION, HeaderValue::from_static(to));
            let error = redirected(&headers, Intent::Reads, "a job", redact);
            assert!(!error.to_string().contains("t0psecret"), "{error}");
            assert!(error.message().contains("***"), "{error}");
        }
    }

    /// A code, whether the controller has marked it, and what it means where we read and where we write.
    #[test]
    fn a_refusal_means_what_it_does_everywhere_but_for_what_a_controller_says_in_its_own_way() {
        use Effect::{MaybeSent, Rejected, Unreadable};
        use ErrorKind::{Conflict, Forbidden, Invalid, NotFound, Timeout, Unavailable};
        for (code, is_own, kind, reads, writes) in [
            (400, false, Invalid, Rejected, Rejected),
            (403, false, Forbidden, Rejected, Rejected),
            (404, true, NotFound, Rejected, Rejected),
            (404, false, Unavailable, Rejected, Rejected),
            // The table has another kind.
            (405, true, Conflict, Rejected, Rejected),
            (405, false, Conflict, Rejected, Rejected),
            (408, true, Timeout, Unreadable, MaybeSent),
            (409, true, Conflict, Rejected, MaybeSent),
            (409, false, Unavailable, Rejected, MaybeSent),
            (410, true, Unavailable, Rejected, MaybeSent),
            (410, false, Unavailable, Rejected, MaybeSent),
            (422, true, Invalid, Rejected, MaybeSent),
            (422, false, Unavailable, Rejected, MaybeSent),
            (423, true, Unavailable, Rejected, MaybeSent),
            (425, true, Unavailable, Rejected, Rejected),
            (503, true, Unavailable, Unreadable, MaybeSent),
        ] {
            for (intent, effect) in [(Intent::Reads, reads), (Intent::Writes, writes)] {
                let (status, none) = (StatusCode::from_u16(code).unwrap(), HeaderMap::new());
                let it = |text: &str| text.to_owned();
                let error = refusal(status, &none, None, is_own, intent, "it", it);
                let means = (error.kind(), error.effect());
                assert_eq!(means, (kind, effect), "{code}, marked: {is_own}: {error}");
            }
        }
    }
}
