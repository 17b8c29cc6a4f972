//! What an HTTP answer means for a request to a backend: a status code becomes an effect, a kind, a delay and a
//! bounded sentence. For providers of one's own; no HTTP library is needed or known here.
//!
//! ```
//! use provider_core::http::{Intent, Refused};
//! use provider_core::{Effect, ErrorKind, TriggerError};
//!
//! // A launch (`POST …/dispatches`) was answered with 503 and `Retry-After: 120`.
//! let error = Refused::new(503, Intent::Writes)
//!     .with_retry_after(Some("120"), None)
//!     .with_body("upstream connect error")
//!     .error("the launch of nightly.yml");
//! assert_eq!(error.message(), "the launch of nightly.yml was answered with 503: upstream connect error");
//! assert_eq!(error.kind(), ErrorKind::Unavailable);
//! assert_eq!(error.retry_after().map(|wait| wait.as_secs()), Some(120));
//! // It may have been carried out, so it is not made again: `?` in a provider sorts it so.
//! assert_eq!(error.effect(), Effect::MaybeSent);
//! assert!(matches!(TriggerError::from(error), TriggerError::Ambiguous(_)));
//!
//! // A status code that is said before anything is done proves that nothing was launched.
//! let error = Refused::new(401, Intent::Writes).error("the launch of nightly.yml");
//! assert!(matches!(TriggerError::from(error), TriggerError::NotLaunched(_)));
//! ```
//!
//! # What a status code means
//!
//! | answer | kind | effect where the request [reads](Intent::Reads) | where it [writes](Intent::Writes) |
//! |---|---|---|---|
//! | 2xx that was not understood | `Protocol` | `Unreadable` | `Unreadable` |
//! | 3xx that was not followed | `Unavailable` | `Rejected` | `MaybeSent` |
//! | 400, 405, 411, 413, 414, 415, 431, 451 | `Invalid` | `Rejected` | `Rejected` |
//! | 422 | `Invalid` (*) | `Rejected` | `MaybeSent` |
//! | 401 | `Unauthorized` | `Rejected` | `Rejected` |
//! | 403 | `Forbidden` | `Rejected` | `Rejected` |
//! | 404 | `NotFound` (*) | `Rejected` | `Rejected` |
//! | 410 | `NotFound` (*) | `Rejected` | `MaybeSent` |
//! | 409 | `Conflict` (*) | `Rejected` | `MaybeSent` |
//! | 407, 421, 425 | `Unavailable` | `Rejected` | `Rejected` |
//! | 429 | `RateLimited` | `Rejected` | `Rejected` |
//! | 408, 460, 499 | `Timeout` | `Unreadable` | `MaybeSent` |
//! | other 4xx | `Unavailable` | `Rejected` | `MaybeSent` |
//! | 5xx | `Unavailable` | `Unreadable` | `MaybeSent` |
//! | anything else | `Protocol` | `Unreadable` | `MaybeSent` |
//!
//! (*) `Unavailable` where [somebody else](Refused::by_somebody_else) has said it than the backend.
//!
//! A code that [is said beforehand](is_said_beforehand) has started nothing. Of any other code only its backend
//! knows; whoever knows that backend says so by [`Refused::before_anything`]. Where no answer came at all, a
//! connection that was never made is [`Effect::NotSent`], and everything after that is
//! [`Intent::doubt`].
//!
//! # What the words of a backend mean
//!
//! Backends like continuous integration have more words for a run than [`JobState`](crate::JobState) has. What
//! they typically mean:
//!
//! | word of the backend | [`JobState`](crate::JobState) | why |
//! |---|---|---|
//! | `requested`, `created`, `pending`, `preparing` | `Pending` | it is known, and has not started |
//! | `queued`, `scheduled`, `waiting_for_resource` | `Waiting` | the backend's queue holds it back |
//! | `waiting`, `manual`, `blocked`, `action_required`, `paused` | `Waiting` | a person or a condition is waited for; the message says which. It is no end: it may run later |
//! | `in_progress`, `running`, `canceling` | `Running` | something may be done until the end |
//! | `success`, `successful`, `completed` | `Succeeded` | |
//! | `neutral`, `warning`, `unstable` | `Succeeded` | it ended, and the backend calls it no failure; the message keeps the word |
//! | `skipped` | `Failed` | nothing was done, so what was wanted is not there |
//! | `failure`, `failed`, `error`, `startup_failure` | `Failed` | |
//! | `timed_out` | `Failed` | the backend has ended it |
//! | `cancelled`, `canceled`, `aborted` | `Canceled` | with [`settled`](crate::JobStatus::settled) off as long as its work may go on |
//! | `stale` | `Unknown` | the backend has lost it; it may still run |
//! | a word that is not known | `Unknown` | never an end: a newer backend has further words |
//!
//! A backend that splits a word in two (`status: completed` beside `conclusion: skipped`) is read by the second
//! one where the first says that it has ended.

use std::time::Duration;

use jiff::Timestamp;

use crate::clock::Elapsed as _;
use crate::{Effect, ErrorKind, ProviderError, text};

/// What a request does at the backend, which decides what a doubtful answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Intent {
    /// Nothing changes there.
    Reads,
    /// It starts, ends or changes something.
    Writes,
}

impl Intent {
    /// The effect of a request whose answer is missing, broke off, or proves nothing.
    #[must_use]
    pub const fn doubt(self) -> Effect {
        match self {
            Self::Reads => Effect::Unreadable,
            Self::Writes => Effect::MaybeSent,
        }
    }
}

/// Whether a code between 400 and 499 is said before a request is carried out: by a service before it does
/// anything, or by a proxy before it passes the request on. What any other code means is known to whoever
/// gave it: 460 is a load balancer whose client went away, after the request had gone through.
#[must_use]
pub const fn is_said_beforehand(status: u16) -> bool {
    matches!(
        status,
        400 | 401 | 403 | 404 | 405 | 407 | 411 | 413 | 414 | 415 | 421 | 425 | 429 | 431 | 451
    )
}

/// Longer than this nobody is kept waiting.
const MOST: Duration = Duration::from_secs(3_600);

/// The time in a header such as `Date`.
#[must_use]
pub fn date(header: &str) -> Option<Timestamp> {
    let at = jiff::fmt::rfc2822::parse(header.trim()).ok()?;
    Some(at.timestamp())
}

/// How long the header `Retry-After` asks to wait, at most an hour: seconds, with or without a fraction, or a
/// moment by the clock of the answer's own `Date`.
///
/// ```
/// use provider_core::http::retry_after;
///
/// assert_eq!(retry_after("1.5", None).map(|wait| wait.as_millis()), Some(1_500));
/// let (moment, date) = ("Mon, 23 Nov 2026 04:00:09 GMT", "Mon, 23 Nov 2026 04:00:00 GMT");
/// assert_eq!(retry_after(moment, Some(date)).map(|wait| wait.as_secs()), Some(9));
/// ```
#[must_use]
pub fn retry_after(header: &str, date: Option<&str>) -> Option<Duration> {
    let header = header.trim();
    let wait = match header.parse::<f64>() {
        // Too many seconds for a duration are still too many.
        Ok(seconds) if seconds >= MOST.as_secs_f64() => MOST,
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok()?,
        Err(_) => self::date(header)?.elapsed_since(self::date(date?)?),
    };
    Some(wait.min(MOST))
}

/// How much of a body is told.
const MAX_BODY: usize = 400;

/// An answer that is not the one which was hoped for.
///
/// `Debug` shows no body: it may hold what was sent.
#[derive(Clone, Copy)]
pub struct Refused<'a> {
    status: u16,
    intent: Intent,
    retry_after: Option<Duration>,
    body: &'a str,
    beforehand: bool,
    elsewhere: bool,
}

impl std::fmt::Debug for Refused<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Refused")
            .field("status", &self.status)
            .field("intent", &self.intent)
            .field("retry_after", &self.retry_after)
            .finish_non_exhaustive()
    }
}

impl<'a> Refused<'a> {
    /// An answer of this status to a request of this sort.
    #[must_use]
    pub const fn new(status: u16, intent: Intent) -> Self {
        Self {
            status,
            intent,
            retry_after: None,
            body: "",
            beforehand: false,
            elsewhere: false,
        }
    }

    /// With its headers `Retry-After` and `Date`, as far as it has them.
    #[must_use]
    pub fn with_retry_after(mut self, header: Option<&str>, date: Option<&str>) -> Self {
        self.retry_after = header.and_then(|header| retry_after(header, date));
        self
    }

    /// With its body, or with what the body says in it. It is bounded, put on one line, and left out where it is
    /// a page for people.
    ///
    /// *Requires*: no secret in it. A service may repeat what it was sent; whoever knows the secrets takes them
    /// out first ([`Secret::redact`](crate::Secret::redact), [`text::redacted`]), because here the text is
    /// cut, and half a secret is not found any more.
    #[must_use]
    pub const fn with_body(mut self, body: &'a str) -> Self {
        self.body = body;
        self
    }

    /// This backend is known to say this code before it does anything, as a 422 about the parameters of a
    /// launch. For codes from 400 to 499; of a 5xx nobody knows that.
    #[must_use]
    pub const fn before_anything(mut self) -> Self {
        self.beforehand = true;
        self
    }

    /// Not the backend itself has said it, as far as can be told, but something in front of it. A 404, 409, 410 or
    /// 422 then says nothing about what was asked for, is [`ErrorKind::Unavailable`], and must not end a job.
    #[must_use]
    pub const fn by_somebody_else(mut self) -> Self {
        self.elsewhere = true;
        self
    }

    /// What the request has done.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        match self.status {
            200..=299 => Effect::Unreadable,
            400..=499 if self.beforehand || is_said_beforehand(self.status) => Effect::Rejected,
            408 | 460 | 499 => self.intent.doubt(),
            300..=499 if matches!(self.intent, Intent::Reads) => Effect::Rejected,
            _ => self.intent.doubt(),
        }
    }

    /// What sort of failure it is.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self.status {
            401 => ErrorKind::Unauthorized,
            403 => ErrorKind::Forbidden,
            404 | 409 | 410 | 422 if self.elsewhere => ErrorKind::Unavailable,
            404 | 410 => ErrorKind::NotFound,
            409 => ErrorKind::Conflict,
            429 => ErrorKind::RateLimited,
            400 | 405 | 411 | 413 | 414 | 415 | 422 | 431 | 451 => ErrorKind::Invalid,
            // Said by proxies that have lost one side in the middle of the request.
            408 | 460 | 499 => ErrorKind::Timeout,
            300..=599 => ErrorKind::Unavailable,
            _ => ErrorKind::Protocol,
        }
    }

    /// What a person should look at; a provider that knows its backend knows better.
    const fn advice(&self) -> &'static str {
        match self.status {
            200..=299 => "check that the URL is that of the backend, not of a login page or proxy",
            300..=399 => {
                "redirects are not followed; check the URL and what is in front of the backend"
            }
            401 => "check the credentials: that they exist there, and are not expired",
            403 => "check the rights of the credentials",
            404 | 409 | 410 | 422 if self.elsewhere => {
                "check the URL, and the route in front of the backend"
            }
            405 => "check the URL, and its slash at the end",
            407 => "put user and password into the proxy's URL, or except the backend by NO_PROXY",
            413 => "send less: leave large members of the object out (projection)",
            400 | 415 | 422 => "correct what it names: the object, or the configuration",
            404 | 409 | 410 | 429 => "",
            _ => "look at the backend, and at what is in front of it",
        }
    }

    /// The error, with its effect, kind, delay and advice. `what` was asked, in words that begin the sentence:
    /// "the launch of nightly.yml".
    #[must_use]
    pub fn error(&self, what: &str) -> ProviderError {
        let (what, status) = (text::bounded(what, 200), self.status);
        let is_page = self.body.trim_start().starts_with('<');
        let mut message = format!("{what} was answered with {status}");
        if !is_page && !self.body.trim().is_empty() {
            message.push_str(": ");
            message.push_str(&text::bounded(self.body, MAX_BODY));
        }
        let error = ProviderError::new(self.effect(), self.kind(), message);
        let error = error.with_advice(self.advice());
        match self.retry_after {
            Some(wait) => error.with_retry_after(wait),
            None => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TriggerError;

    #[test]
    fn a_delay_is_read_in_every_form_and_bounded() {
        let now = "Mon, 23 Nov 2026 04:00:00 GMT";
        for (given, wait) in [
            ("7", Some(7_000)),
            (" 7 ", Some(7_000)),
            ("1.5", Some(1_500)),
            ("0.25", Some(250)),
            ("1e400", Some(3_600_000)),
            ("99999999999999999999", Some(3_600_000)),
            ("-1", None),
            ("NaN", None),
            ("soon", None),
            ("", None),
            ("Mon, 23 Nov 2026 04:00:09 GMT", Some(9_000)),
            ("Mon, 23 Nov 2026 03:00:00 GMT", Some(0)),
            ("Tue, 24 Nov 2026 03:00:00 GMT", Some(3_600_000)),
        ] {
            let expected = wait.map(Duration::from_millis);
            assert_eq!(retry_after(given, Some(now)), expected, "{given:?}");
        }
        // A moment says nothing without the clock that it is of.
        assert_eq!(retry_after("Mon, 23 Nov 2026 04:00:09 GMT", None), None);
        assert_eq!(retry_after(now, Some("today")), None);
    }

    /// The table of the documentation, to the letter.
    #[test]
    fn every_code_means_what_the_table_says() {
        use Effect::{MaybeSent, Rejected, Unreadable};
        use ErrorKind::{
            Conflict, Forbidden, Invalid, NotFound, Protocol, RateLimited, Timeout, Unauthorized,
            Unavailable,
        };
        for (codes, kind, reads, writes) in [
            (&[200, 204][..], Protocol, Unreadable, Unreadable),
            (&[301, 302, 307], Unavailable, Rejected, MaybeSent),
            (
                &[400, 405, 411, 413, 414, 415, 431, 451],
                Invalid,
                Rejected,
                Rejected,
            ),
            (&[422], Invalid, Rejected, MaybeSent),
            (&[401], Unauthorized, Rejected, Rejected),
            (&[403], Forbidden, Rejected, Rejected),
            (&[404], NotFound, Rejected, Rejected),
            (&[410], NotFound, Rejected, MaybeSent),
            (&[409], Conflict, Rejected, MaybeSent),
            (&[407, 421, 425], Unavailable, Rejected, Rejected),
            (&[429], RateLimited, Rejected, Rejected),
            (&[408, 460, 499], Timeout, Unreadable, MaybeSent),
            (&[402, 418, 423], Unavailable, Rejected, MaybeSent),
            (
                &[500, 502, 503, 504, 599],
                Unavailable,
                Unreadable,
                MaybeSent,
            ),
            (&[0, 100, 600, 999], Protocol, Unreadable, MaybeSent),
        ] {
            for code in codes {
                let (reads_so, writes_so) = (
                    Refused::new(*code, Intent::Reads),
                    Refused::new(*code, Intent::Writes),
                );
                assert_eq!(
                    (reads_so.kind(), reads_so.effect()),
                    (kind, reads),
                    "{code}"
                );
                assert_eq!(
                    (writes_so.kind(), writes_so.effect()),
                    (kind, writes),
                    "{code}"
                );
            }
        }
    }

    #[test]
    fn what_is_known_of_the_backend_outweighs_the_table() {
        let about_inputs = Refused::new(422, Intent::Writes).before_anything();
        let error = TriggerError::from(about_inputs.error("the launch"));
        assert!(matches!(error, TriggerError::NotLaunched(_)), "{error:?}");
        // Of a failure nobody knows that.
        let failed = Refused::new(500, Intent::Writes).before_anything();
        assert_eq!(failed.effect(), Effect::MaybeSent);
        for code in [404, 409, 410, 422] {
            let of_a_gateway = Refused::new(code, Intent::Reads).by_somebody_else();
            assert_eq!(of_a_gateway.kind(), ErrorKind::Unavailable, "{code}");
        }
        let of_a_gateway = Refused::new(401, Intent::Reads).by_somebody_else();
        assert_eq!(of_a_gateway.kind(), ErrorKind::Unauthorized);
    }

    #[test]
    fn a_body_is_one_bounded_line_and_no_page() {
        let long = format!("a\n\tb {}", "x".repeat(10_000));
        let refused = Refused::new(400, Intent::Writes).with_body(&long);
        let error = refused.error("the launch");
        assert!(error.message().contains("400: a b xxx"), "{error}");
        assert!(error.message().len() < 500 && error.message().ends_with('…'));
        assert!(!format!("{refused:?}").contains("xxx"));
        for page in ["<html>secrets", " \n<!DOCTYPE html>", "", "  \n"] {
            let error = Refused::new(502, Intent::Reads).with_body(page).error("it");
            assert_eq!(error.message(), "it was answered with 502", "{page}");
        }
    }
}
