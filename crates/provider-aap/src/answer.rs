//! From an HTTP answer, or the lack of one, to a value or an error that says what happened.

use std::time::Duration;

use jiff::Timestamp;
use provider_core::{Effect, ErrorKind, ProviderError, text};
use reqwest::header::{HeaderMap, HeaderName};
use reqwest::{StatusCode, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The largest body that is read: a page of 200 jobs with large variables stays far below.
const MAX_BODY: usize = 32 << 20;

/// What a request does on the server, which decides what a missing answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Intent {
    /// Nothing changes.
    Reads,
    /// Something changes.
    Writes,
}

impl Intent {
    /// The effect of a request whose answer is missing or means nothing.
    const fn doubt(self) -> Effect {
        match self {
            Self::Reads => Effect::Unreadable,
            Self::Writes => Effect::MaybeSent,
        }
    }
}

/// A page of a list.
#[derive(Deserialize)]
pub(crate) struct List<T> {
    pub results: Vec<T>,
}

/// A successful answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub body: Vec<u8>,
    /// The server's clock.
    pub date: Option<Timestamp>,
    intent: Intent,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, ProviderError> {
        // Every answer that we read is an object; a list would fill a struct by position.
        let is_object = self.body.trim_ascii_start().first() == Some(&b'{');
        let read = is_object.then(|| match str::from_utf8(&self.body) {
            // Looked at once, and not again at each of its texts.
            Ok(text) => serde_json::from_str(text).ok(),
            Err(_) => serde_json::from_slice(&self.body).ok(),
        });
        read.flatten().ok_or_else(|| {
            ProviderError::new(
                self.intent.doubt(),
                ErrorKind::Protocol,
                "the controller's answer breaks off or is not the expected JSON",
            )
            .with_advice("check that the URL is that of an AAP or AWX controller")
        })
    }
}

/// No answer came.
pub(crate) fn transport(error: &reqwest::Error, intent: Intent, what: &str) -> ProviderError {
    let cause = root_cause(error);
    if error.is_builder() {
        return ProviderError::new(
            Effect::NotSent,
            ErrorKind::Invalid,
            format!("{what} cannot be asked: {cause}"),
        );
    }
    if error.is_connect() {
        return ProviderError::new(
            Effect::NotSent,
            ErrorKind::Unavailable,
            format!("no connection to the controller: {cause}"),
        )
        .with_advice(
            "check the URL, the network, the proxy settings and, for certificate errors, the CA file",
        );
    }
    if error.is_timeout() {
        return ProviderError::new(
            intent.doubt(),
            ErrorKind::Timeout,
            format!("no answer to {what} in time"),
        )
        .with_advice("check the load of the controller, or raise the request time-out");
    }
    ProviderError::new(
        intent.doubt(),
        ErrorKind::Unavailable,
        format!("the connection broke before the answer to {what}: {cause}"),
    )
}

/// The innermost cause; the outer texts of the HTTP client repeat the URL.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    text::bounded(&cause.to_string(), 200)
}

/// Reads an answer to its end, within bounds.
pub(crate) async fn read(
    mut response: reqwest::Response,
    intent: Intent,
    what: &str,
    redact: impl Fn(&str) -> String,
) -> Result<Answer, ProviderError> {
    let status = response.status();
    let headers = std::mem::take(response.headers_mut());
    let is_json = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with("application/json"));
    // A body that is not JSON is not read at all: it is a page for people, of any size.
    let length = response.content_length();
    let body = if is_json {
        read_body(&mut response, intent, what).await?
    } else {
        Vec::new()
    };
    if status.is_success() && (is_json || status == StatusCode::ACCEPTED || length == Some(0)) {
        return Ok(Answer {
            date: date(&headers, &header::DATE),
            body,
            intent,
        });
    }
    Err(refusal(
        status,
        &headers,
        is_json.then_some(&body),
        intent,
        what,
        redact,
    ))
}

async fn read_body(
    response: &mut reqwest::Response,
    intent: Intent,
    what: &str,
) -> Result<Vec<u8>, ProviderError> {
    let expected = response.content_length().unwrap_or(0);
    let too_large = || {
        ProviderError::new(
            intent.doubt(),
            ErrorKind::Protocol,
            format!("the answer to {what} is larger than {} MiB", MAX_BODY >> 20),
        )
    };
    if expected > MAX_BODY as u64 {
        return Err(too_large());
    }
    let mut body = Vec::with_capacity(usize::try_from(expected).unwrap_or(0));
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > MAX_BODY => return Err(too_large()),
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body),
            Err(error) => return Err(transport(&error, intent, what)),
        }
    }
}

pub(crate) fn date(headers: &HeaderMap, name: &HeaderName) -> Option<Timestamp> {
    let text = headers.get(name)?.to_str().ok()?;
    Some(jiff::fmt::rfc2822::parse(text).ok()?.timestamp())
}

/// The seconds of `Retry-After`, in either of its forms, at most an hour.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    let wait = match text.trim().parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => provider_core::clock::since(
            date(headers, &header::RETRY_AFTER)?,
            date(headers, &header::DATE)?,
        ),
    };
    Some(wait.min(Duration::from_secs(3_600)))
}

fn refusal(
    status: StatusCode,
    headers: &HeaderMap,
    body: Option<&Vec<u8>>,
    intent: Intent,
    what: &str,
    redact: impl Fn(&str) -> String,
) -> ProviderError {
    let said = body.and_then(|body| serde_json::from_slice::<Value>(body).ok());
    let by_controller = said.is_some();
    let words = said.map(|said| explain(&said, &redact)).unwrap_or_default();
    let words = text::bounded(&words, 400);
    let said = if words.is_empty() {
        String::new()
    } else {
        format!(": {words}")
    };
    let error = |effect, kind, text: String| ProviderError::new(effect, kind, text);
    match status.as_u16() {
        200..=299 => error(
            intent.doubt(),
            ErrorKind::Protocol,
            format!("{what} was answered with a page instead of JSON"),
        )
        .with_advice("check that the URL is that of the controller, not of a login page or proxy"),
        300..=399 => {
            let to = headers
                .get(header::LOCATION)
                .and_then(|to| to.to_str().ok())
                .unwrap_or_default();
            let maintenance = to.contains("migrations_notran");
            let text = if maintenance {
                format!("{what} found the controller in the middle of an upgrade")
            } else {
                format!("{what} was redirected to {}", target(to))
            };
            let advice = if maintenance {
                "wait until the upgrade is over"
            } else {
                "redirects are not followed; set the URL to the place it redirects to"
            };
            error(intent.doubt(), ErrorKind::Unavailable, text).with_advice(advice)
        }
        400 | 415 | 422 => error(
            Effect::Rejected,
            ErrorKind::Invalid,
            format!("the controller refused {what}{said}"),
        ),
        401 => error(
            Effect::Rejected,
            ErrorKind::Unauthorized,
            format!("the controller does not accept our credentials for {what}"),
        )
        .with_advice(
            "check that the token exists there, is not expired and belongs to this controller",
        ),
        403 => error(
            Effect::Rejected,
            ErrorKind::Forbidden,
            format!("the controller does not allow {what}{said}"),
        )
        .with_advice(
            "grant this user the role Execute on the template, and use a token of scope write",
        ),
        404 if by_controller => error(
            Effect::Rejected,
            ErrorKind::NotFound,
            format!("the controller does not know {what}{said}"),
        ),
        404 => error(
            Effect::Rejected,
            ErrorKind::Unavailable,
            format!("{what} was answered with 404 by something that is not the controller"),
        )
        .with_advice("check the URL and the web server in front of the controller"),
        405 | 409 => error(
            Effect::Rejected,
            ErrorKind::Conflict,
            format!("{what} is not possible now{said}"),
        ),
        429 => {
            let limited = error(
                Effect::Rejected,
                ErrorKind::RateLimited,
                format!("{what} was put off by a rate limit"),
            );
            match retry_after(headers) {
                Some(wait) => limited.with_retry_after(wait),
                None => limited,
            }
        }
        // Said by what is in front of the controller, possibly after it has passed the request on.
        code @ (408 | 499) => error(
            intent.doubt(),
            ErrorKind::Timeout,
            format!("{what} was given up with {code} before the controller's answer{said}"),
        )
        .with_advice("check the time-outs of what is in front of the controller"),
        code @ 400..=499 => error(
            Effect::Rejected,
            ErrorKind::Invalid,
            format!("{what} was answered with {code}{said}"),
        ),
        code => {
            let unavailable = error(
                intent.doubt(),
                ErrorKind::Unavailable,
                format!(
                    "the controller, or what is in front of it, failed at {what} with {code}{said}"
                ),
            )
            .with_advice("look at the controller's own state and logs");
            match retry_after(headers) {
                Some(wait) => unavailable.with_retry_after(wait),
                None => unavailable,
            }
        }
    }
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
