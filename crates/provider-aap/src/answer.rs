//! From an HTTP answer, or the lack of one, to a value or an error that says what happened.

use jiff::Timestamp;
use provider_core::http::Intent;
use provider_core::{Effect, ErrorKind, ProviderError, text};
use provider_http::{SendError, SendFailure, date};
use reqwest::header::HeaderMap;
use reqwest::{StatusCode, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::json;

mod refused;

pub(crate) use refused::not_by_the_controller;

/// The largest body that is read: a page of 200 jobs with large variables stays far below.
const MAX_BODY: usize = 32 << 20;

/// What is said of an answer beyond that, and of nothing else.
const TOO_LARGE: &str = "find out what makes it so large: the variables or the artifacts of a job for the most \
                         part, or leave large members of the object out of what is sent (projection)";

/// Whether an answer came, or began to, that is larger than what is read.
pub(crate) fn is_too_large(error: &ProviderError) -> bool {
    error.kind() == ErrorKind::Protocol && error.advice() == TOO_LARGE
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
        error: refused::refusal(status, &headers, said, is_own, intent, what, redact),
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

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;

    /// Found by the fuzz target `aap_answers`.
    #[test]
    fn an_odd_header_shows_no_secret_that_it_repeats() {
        let redact = |text: &str| text.replace("t0psecret", "***");
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_ENCODING,
            HeaderValue::from_static("x-t0psecret"),
        );
        assert_eq!(packed(&headers, redact).as_deref(), Some("x-***"));
    }
}
