//! From an HTTP answer, or the lack of one, to a value or an error that says what happened.

use jiff::Timestamp;
use provider_core::{Effect, ErrorKind, ProviderError, text};
use provider_http::{SendError, SendFailure, date, is_said_beforehand, retry_after};
use reqwest::header::HeaderMap;
use reqwest::{StatusCode, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::json;

/// The largest body that is read: a page of 200 jobs with large variables stays far below.
const MAX_BODY: usize = 32 << 20;

/// What is said of an answer beyond that, and of nothing else.
const TOO_LARGE: &str = "find out what makes it so large: the variables or the artifacts of a job for the most \
                         part, or leave large members of the object out of what is sent (projection)";

/// Whether an answer came, or began to, that is larger than what is read.
pub(crate) fn is_too_large(error: &ProviderError) -> bool {
    error.kind() == ErrorKind::Protocol && error.advice() == TOO_LARGE
}

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
        json::read(&self.body).ok_or_else(|| {
            ProviderError::new(
                self.intent.doubt(),
                ErrorKind::Protocol,
                "the controller's answer breaks off or is not the expected JSON",
            )
            .with_advice("check that the URL is that of an AAP or AWX controller")
        })
    }
}

/// An answer that is none, and what else is to be known of it.
#[derive(Debug)]
pub(crate) struct Refused {
    pub error: ProviderError,
    pub status: u16,
    /// Where a redirect leads.
    pub location: Option<String>,
    /// A 404 in the controller's own words, but without what it marks its answers with: it counts as the
    /// controller's where the controller answers under the same URL at the same moment.
    pub is_in_its_words: bool,
}

impl From<ProviderError> for Refused {
    fn from(error: ProviderError) -> Self {
        Self {
            error,
            status: 0,
            location: None,
            is_in_its_words: false,
        }
    }
}

/// No answer came.
pub(crate) fn transport(error: &SendError, intent: Intent, what: &str) -> ProviderError {
    let cause = &error.cause;
    let text = &cause.text;
    if error.failure == SendFailure::Invalid {
        return ProviderError::new(
            Effect::NotSent,
            ErrorKind::Invalid,
            format!("{what} cannot be asked: {text}"),
        );
    }
    if cause.refused_certificate {
        // Without an accepted certificate nothing that we send is ever read.
        return ProviderError::new(
            Effect::NotSent,
            ErrorKind::Unauthorized,
            format!("our certificate was not accepted: {text}"),
        )
        .with_advice(cause.advice.unwrap_or_default());
    }
    if error.failure == SendFailure::Connect {
        return ProviderError::new(
            Effect::NotSent,
            ErrorKind::Unavailable,
            format!("no connection to the controller: {text}"),
        )
        .with_advice(cause.advice.unwrap_or(
            "check the URL, the network, the proxy settings and, for certificate errors, the CA file",
        ));
    }
    if error.failure == SendFailure::Timeout {
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
        format!("the connection broke before the answer to {what}: {text}"),
    )
}

/// Whether the media type says that the body is JSON. Where it does not, the body itself tells.
fn is_named_json(headers: &HeaderMap) -> bool {
    let given = headers.get(header::CONTENT_TYPE);
    let given = given
        .and_then(|given| given.to_str().ok())
        .unwrap_or_default();
    let media = given.split(';').next().unwrap_or_default().trim();
    let media = media.to_ascii_lowercase();
    matches!(media.as_str(), "application/json" | "text/json")
        || (media.starts_with("application/") && media.ends_with("+json"))
}

/// How the body is packed, although we ask for it as it is.
fn packed(headers: &HeaderMap, redact: impl Fn(&str) -> String) -> Option<String> {
    let given = headers.get(header::CONTENT_ENCODING)?.to_str().ok()?;
    let given = redact(given.trim()).to_ascii_lowercase();
    (!given.is_empty() && given != "identity").then(|| text::bounded(&given, 40))
}

/// Reads an answer to its end, within bounds.
pub(crate) async fn read(
    mut response: reqwest::Response,
    intent: Intent,
    what: &str,
    redact: impl Fn(&str) -> String,
) -> Result<Answer, Refused> {
    let status = response.status();
    let headers = std::mem::take(response.headers_mut());
    let length = response.content_length();
    let packed = packed(&headers, &redact);
    let body = match &packed {
        Some(_) => None,
        None => read_body(&mut response, is_named_json(&headers), intent, what).await?,
    };
    let is_empty = status == StatusCode::ACCEPTED || length == Some(0);
    if status.is_success() && (is_empty || body.is_some()) {
        return Ok(Answer {
            date: date(&headers, &header::DATE),
            body: body.unwrap_or_default(),
            intent,
        });
    }
    if let (true, Some(packed)) = (status.is_success(), packed) {
        let error = ProviderError::new(
            intent.doubt(),
            ErrorKind::Protocol,
            format!("the answer to {what} is compressed ({packed}), which nobody asked for"),
        );
        let advice = "let what is in front of the controller obey Accept-Encoding, or switch its compression off";
        return Err(error.with_advice(advice).into());
    }
    let location = headers.get(header::LOCATION);
    let location = location.and_then(|to| to.to_str().ok()).map(str::to_owned);
    let said = body.as_deref().and_then(json::leniently);
    let is_marked = headers.contains_key(OWN);
    let is_in_its_words = status == StatusCode::NOT_FOUND
        && !is_marked
        && said.as_ref().is_some_and(is_said_by_a_controller);
    let is_own = is_marked || is_in_its_words;
    Err(Refused {
        error: refusal(status, &headers, said, is_own, intent, what, redact),
        status: status.as_u16(),
        location,
        is_in_its_words,
    })
}

/// What a controller puts on every answer of its own, and a gateway on none (AWX 24.6.1).
const OWN: &str = "x-api-product-name";

/// The whole body of a 404 of a controller, about something that it does not have.
fn is_said_by_a_controller(body: &Value) -> bool {
    let members = body.as_object().filter(|members| members.len() == 1);
    let detail = members.and_then(|members| members.get("detail")?.as_str());
    detail.is_some_and(|detail| {
        matches!(detail, "Not found." | "Invalid page.")
            || (detail.starts_with("No ") && detail.ends_with(" matches the given query."))
    })
}

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

/// None for a page for people, which is not read to its end: it may have any size.
async fn read_body(
    response: &mut reqwest::Response,
    is_named_json: bool,
    intent: Intent,
    what: &str,
) -> Result<Option<Vec<u8>>, ProviderError> {
    let expected = response.content_length().unwrap_or(0);
    let too_large = || {
        ProviderError::new(
            intent.doubt(),
            ErrorKind::Protocol,
            format!("the answer to {what} is larger than {} MiB", MAX_BODY >> 20),
        )
        .with_advice(TOO_LARGE)
    };
    let is_too_large = expected > MAX_BODY as u64;
    if is_named_json && is_too_large {
        return Err(too_large());
    }
    // A header may promise what never comes.
    let room = if is_named_json { expected } else { 0 };
    let mut body = Vec::with_capacity(usize::try_from(room).unwrap_or(0));
    loop {
        let chunk = response.chunk().await;
        match chunk.map_err(|error| transport(&error.into(), intent, what))? {
            Some(chunk) if body.len().saturating_add(chunk.len()) > MAX_BODY => {
                return Err(too_large());
            }
            Some(chunk) => body.extend_from_slice(&chunk),
            None => break,
        }
        if !is_named_json && json::begins(&body) == Some(false) {
            return Ok(None);
        }
    }
    let is_json = is_named_json || json::begins(&body) == Some(true);
    Ok(is_json.then_some(body))
}

fn refusal(
    status: StatusCode,
    headers: &HeaderMap,
    said: Option<Value>,
    is_own: bool,
    intent: Intent,
    what: &str,
    redact: impl Fn(&str) -> String,
) -> ProviderError {
    let words = said.map(|said| explain(&said, &redact)).unwrap_or_default();
    let words = text::bounded(&words, 400);
    let said = if words.is_empty() {
        String::new()
    } else {
        format!(": {words}")
    };
    let code = status.as_u16();
    let effect = if is_said_beforehand(code) || (code < 500 && intent == Intent::Reads) {
        Effect::Rejected
    } else {
        intent.doubt()
    };
    let error = |kind, text: String| ProviderError::new(effect, kind, text);
    let later = |error: ProviderError| match retry_after(headers) {
        Some(wait) => error.with_retry_after(wait),
        None => error,
    };
    match code {
        200..=299 => ProviderError::new(
            intent.doubt(),
            ErrorKind::Protocol,
            format!("{what} was answered with a page instead of JSON"),
        )
        .with_advice("check that the URL is that of the controller, not of a login page or proxy"),
        300..=399 => redirected(headers, intent, what, redact),
        400 | 415 | 422 => error(
            ErrorKind::Invalid,
            format!("the controller refused {what}{said}"),
        )
        .with_advice("correct what it names: the template, the object, or the configuration"),
        401 => error(
            ErrorKind::Unauthorized,
            format!("the controller does not accept our credentials for {what}"),
        )
        .with_advice(
            "check that the token exists there, is not expired and belongs to this controller",
        ),
        403 => error(
            ErrorKind::Forbidden,
            format!("the controller does not allow {what}{said}"),
        )
        .with_advice(of_forbidden(&words, intent)),
        404 if is_own => error(
            ErrorKind::NotFound,
            format!("the controller does not know {what}{said}"),
        ),
        404 => not_by_the_controller(what),
        405 | 409 => error(
            ErrorKind::Conflict,
            format!("{what} is not possible now{said}"),
        ),
        407 => error(
            ErrorKind::Unavailable,
            format!("the proxy wants to know who we are before it passes {what} on"),
        )
        .with_advice(
            "put user and password into the proxy's URL, or except the controller by NO_PROXY",
        ),
        413 => error(
            ErrorKind::Invalid,
            format!("{what} is too large for the controller or for what is in front of it{said}"),
        )
        .with_advice("exclude large members in the projection, or raise the limit there"),
        429 => later(error(
            ErrorKind::RateLimited,
            format!("{what} was put off by a rate limit"),
        )),
        // Said by what is in front of the controller, possibly after it has passed the request on.
        408 | 460 | 499 => ProviderError::new(
            intent.doubt(),
            ErrorKind::Timeout,
            format!("{what} was given up with {code} before the controller's answer{said}"),
        )
        .with_advice("check the time-outs of what is in front of the controller"),
        411 | 414 | 431 | 451 => error(
            ErrorKind::Invalid,
            format!("{what} was answered with {code}{said}"),
        ),
        400..=499 => later(
            error(
                ErrorKind::Unavailable,
                format!("{what} was answered with {code}, which no controller says{said}"),
            )
            .with_advice("look at what is in front of the controller"),
        ),
        code => later(
            ProviderError::new(
                intent.doubt(),
                ErrorKind::Unavailable,
                format!(
                    "the controller, or what is in front of it, failed at {what} with {code}{said}"
                ),
            )
            .with_advice("look at the controller's own state and logs"),
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
    fn a_redirect_and_an_odd_header_show_no_secret_that_they_repeat() {
        let redact = |text: &str| text.replace("t0psecret", "***");
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_ENCODING,
            HeaderValue::from_static("x-t0psecret"),
        );
        assert_eq!(packed(&headers, redact).as_deref(), Some("x-***"));
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
}
