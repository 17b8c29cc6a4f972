//! What an answer to an event means. Total: any answer has a meaning.

use std::time::Duration;

use percent_encoding::percent_decode_str;
use provider_core::http::{Intent, Refused};
use provider_core::{Effect, ErrorKind, ProviderError, text};
use url::Url;

use crate::TransportKind;

/// The parts of an answer that are looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// `Location`, of a redirect.
    pub location: Option<String>,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<Duration>,
    /// The beginning of the body.
    pub body: Vec<u8>,
    /// Whether the body went on or broke off.
    pub cut: bool,
}

/// How much of a body is read: the answers that mean something are shorter.
pub(crate) const MAX_BODY: usize = 4_096;

struct Meaning {
    effect: Effect,
    kind: ErrorKind,
    text: String,
    advice: &'static str,
}

fn meaning(
    effect: Effect,
    kind: ErrorKind,
    text: impl Into<String>,
    advice: &'static str,
) -> Meaning {
    Meaning {
        effect,
        kind,
        text: text.into(),
        advice,
    }
}

impl Answer {
    /// What this answer to a `POST` of an event to `url` says: queued, or what went wrong.
    ///
    /// *Behaviour*: `Ok` only for the answer that this transport gives to an event it has queued.
    /// [`Effect::Rejected`] only for answers that are given instead of queueing it.
    ///
    /// # Errors
    /// Everything but "queued". Nothing of the answer's body is repeated in it.
    pub fn judge(&self, transport: TransportKind, url: &Url) -> Result<(), ProviderError> {
        let found = match self.status {
            200 if self.is_queued(transport, url) => return Ok(()),
            200..=299 => meaning(
                Effect::Unreadable,
                ErrorKind::Protocol,
                format!(
                    "{} was answered to the event, but not as a {transport} answers",
                    self.status
                ),
                "check that the URL is that of the rulebook or event stream, not of a login page or proxy",
            ),
            300..=399 => self.redirected(url),
            400..=499 => self.refused(transport),
            status => meaning(
                Effect::MaybeSent,
                ErrorKind::Unavailable,
                format!(
                    "the {transport}, or what is in front of it, failed at the event with {status}"
                ),
                match transport {
                    TransportKind::RulebookWebhook => {
                        "look whether the rulebook's activation is running"
                    }
                    TransportKind::EventStream => "look at the logs of the EDA server",
                },
            ),
        };
        let error =
            ProviderError::new(found.effect, found.kind, found.text).with_advice(found.advice);
        Err(match self.retry_after {
            Some(wait) => error.with_retry_after(wait),
            None => error,
        })
    }

    /// The webhook source repeats the path that it was reached under, which a gateway may have
    /// shortened; an event stream says nothing.
    fn is_queued(&self, transport: TransportKind, url: &Url) -> bool {
        if self.cut {
            return false;
        }
        match transport {
            TransportKind::EventStream => self.body.is_empty(),
            TransportKind::RulebookWebhook => {
                let sent: Vec<u8> = percent_decode_str(url.path()).collect();
                sent.strip_suffix(&*self.body)
                    .is_some_and(|before| before.last() == Some(&b'/'))
            }
        }
    }

    /// Whether this says that a body cannot be read, which both transports look at after the
    /// credential (ansible-rulebook 1.3.2; eda-server of August 2026).
    pub(crate) fn is_about_the_body(&self, transport: TransportKind) -> bool {
        let said = match transport {
            TransportKind::RulebookWebhook => "Invalid JSON payload",
            TransportKind::EventStream => "Invalid content",
        };
        self.status == 400 && self.says(said)
    }

    fn redirected(&self, from: &Url) -> Meaning {
        let to = self.location.as_deref();
        let to = to.and_then(|to| from.join(to).ok());
        let elsewhere = to.as_ref().is_some_and(|to| moved(from, to));
        if elsewhere && matches!(self.status, 301 | 302 | 307 | 308) {
            return meaning(
                Effect::Rejected,
                ErrorKind::Invalid,
                "the event was redirected to the same place under another URL: its scheme, its slash \
                 at the end, or its query",
                "redirects are not followed, because the event would be lost on the way; set the URL \
                 to the place it redirects to",
            );
        }
        let host = to.as_ref().and_then(Url::host_str).unwrap_or("nowhere");
        meaning(
            Effect::MaybeSent,
            ErrorKind::Unavailable,
            format!(
                "the event was redirected ({}) to {}",
                self.status,
                text::bounded(host, 100)
            ),
            "redirects are not followed; check the URL and what is in front of it",
        )
    }

    fn says(&self, part: &str) -> bool {
        let part = part.as_bytes();
        self.body.windows(part.len()).any(|window| window == part)
    }

    fn refused(&self, transport: TransportKind) -> Meaning {
        let rejected = |kind, text: &str, advice| meaning(Effect::Rejected, kind, text, advice);
        match (transport, self.status) {
            (TransportKind::RulebookWebhook, 400) if self.says("Signature header not found") => {
                rejected(
                    ErrorKind::Unauthorized,
                    "the webhook expects a signature in another header, or we sent none",
                    "set the HMAC secret, and the header as the source's hmac_header",
                )
            }
            (TransportKind::RulebookWebhook, 401) if self.says("HMAC verification failed") => {
                rejected(
                    ErrorKind::Unauthorized,
                    "the webhook does not accept our signature",
                    "compare secret, algorithm and encoding with hmac_secret, hmac_algo and hmac_format of the source",
                )
            }
            (TransportKind::RulebookWebhook, 401) => rejected(
                ErrorKind::Unauthorized,
                "the webhook does not accept our token",
                "set the token to that of the rulebook's source",
            ),
            (TransportKind::EventStream, 400) if self.says("bad uuid specified") => rejected(
                ErrorKind::NotFound,
                "the EDA server has no event stream of this uuid",
                "copy the URL from the event stream's page again",
            ),
            (TransportKind::EventStream, 400) if self.says("header is missing") => rejected(
                ErrorKind::Unauthorized,
                "the event stream expects its credential in another header",
                "configure the type and the header of the stream's credential",
            ),
            (TransportKind::EventStream, 400) if self.says("Invalid request") => rejected(
                ErrorKind::Invalid,
                "the EDA server takes events from the gateway alone",
                "set the URL to the event stream's address at the gateway",
            ),
            (TransportKind::EventStream, 403) if self.says("mismatch") || self.says("match") => {
                rejected(
                    ErrorKind::Unauthorized,
                    "the event stream does not accept our credential",
                    "compare token or secret, encoding and prefix with the stream's credential",
                )
            }
            _ => self.in_general(transport),
        }
    }

    /// What neither of the two says in words of its own, or what is in front of it has said.
    fn in_general(&self, transport: TransportKind) -> Meaning {
        let status = self.status;
        // A 404 is none of theirs.
        let refused = Refused::new(status, Intent::Writes).by_somebody_else();
        let (effect, kind) = (refused.effect(), refused.kind());
        let text = match status {
            401 => {
                "something in front of the event stream does not accept our credential".to_owned()
            }
            403 => "the event was forbidden".to_owned(),
            404 => {
                "the event was answered with 404, which neither a rulebook nor an event stream says"
                    .to_owned()
            }
            405 => "the URL takes no events".to_owned(),
            413 => {
                "the event is too large for the service or for what is in front of it".to_owned()
            }
            429 => "the event was put off by a rate limit".to_owned(),
            407 => "the proxy wants to know who we are before it passes the event on".to_owned(),
            421 | 425 => {
                format!("the event was answered with {status} before it was looked at")
            }
            _ if effect == Effect::Rejected => {
                format!("the {transport} refused the event with {status}")
            }
            _ if kind == ErrorKind::Timeout => {
                format!("something in front of the {transport} gave up on the event ({status})")
            }
            // It proves nothing: the event may have been passed on before.
            _ => format!("the event was answered with {status}, which no {transport} says"),
        };
        let advice = match status {
            401 => "check the URL, and what guards it",
            403 => "check the credential, and what is in front of the service",
            404 => "check the URL, the route, and whether the activation is running",
            405 => "check the URL, and its slash at the end",
            413 => "exclude large members in the projection",
            429 => "",
            407 => "put user and password into the proxy's URL, or except the service by NO_PROXY",
            421 | 425 => "look at what is in front of the service",
            _ if effect == Effect::Rejected => "check the object for what the service cannot read",
            _ if kind == ErrorKind::Timeout => "check what is in front of the service",
            _ => "look at what is in front of the service",
        };
        meaning(effect, kind, text, advice)
    }
}

/// Whether it is the same place under another URL: other scheme, port, query or slashes.
fn moved(from: &Url, to: &Url) -> bool {
    let path = |url: &Url| url.path().trim_end_matches('/').to_owned();
    from.host_str() == to.host_str() && path(from) == path(to) && from != to
}
