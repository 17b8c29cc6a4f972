//! Errors that say what happened to the request, why, and what to do.

use std::fmt;
use std::time::Duration;

use crate::{JobRef, text};

/// What a failed request did at the backend. The first thing to know about any error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Effect {
    /// The request did not reach the backend: nothing happened there.
    NotSent,
    /// The backend understood and refused: nothing happened there.
    Rejected,
    /// The request may have reached the backend and been carried out (time-out, dropped
    /// connection, 5xx or redirect after sending).
    MaybeSent,
    /// The backend answered, and the answer was not understood. For a launch this is as
    /// doubtful as [`MaybeSent`](Self::MaybeSent).
    Unreadable,
}

impl Effect {
    /// Whether something may have been started by the request that failed.
    #[must_use]
    pub const fn is_doubtful(self) -> bool {
        matches!(self, Self::MaybeSent | Self::Unreadable)
    }
}

/// What sort of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// What was asked for does not exist (any more).
    NotFound,
    /// The name of the job that was asked about belongs to another job now: one of another token, of
    /// another template, or created before our launch. Nothing that is said of it is about ours.
    Replaced,
    /// The credentials were not accepted.
    Unauthorized,
    /// The credentials are fine, the right is missing.
    Forbidden,
    /// Too many requests; [`ProviderError::retry_after`] says for how long to be quiet.
    RateLimited,
    /// The input or the configuration is wrong; the same request will fail again.
    Invalid,
    /// The backend's present state does not allow it.
    Conflict,
    /// The backend cannot serve at present.
    Unavailable,
    /// No answer in time.
    Timeout,
    /// The provider has no such function; see [`Capabilities`](crate::Capabilities).
    Unsupported,
    /// The answer is not what this backend answers.
    Protocol,
}

impl ErrorKind {
    /// A short stable word, for logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Replaced => "replaced",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::RateLimited => "rate_limited",
            Self::Invalid => "invalid",
            Self::Conflict => "conflict",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Unsupported => "unsupported",
            Self::Protocol => "protocol",
        }
    }
}

/// A failed call of a provider.
///
/// # Redaction
/// The message and the advice are bounded to [`text::MAX_TEXT`] bytes together, on one line. A
/// provider must put neither secrets nor bodies of requests and answers into them; no inner
/// error is kept, because other libraries' errors print URLs and headers.
#[derive(Clone, PartialEq, Eq)]
pub struct ProviderError(Box<Inner>);

#[derive(Clone, PartialEq, Eq)]
struct Inner {
    effect: Effect,
    kind: ErrorKind,
    message: String,
    advice: String,
    retry_after: Option<Duration>,
    stray_job: Option<JobRef>,
}

impl ProviderError {
    /// An error with its effect, its kind and one sentence that says what happened.
    #[must_use]
    pub fn new(effect: Effect, kind: ErrorKind, message: impl AsRef<str>) -> Self {
        Self(Box::new(Inner {
            effect,
            kind,
            message: text::bounded(message.as_ref(), text::MAX_TEXT * 3 / 4),
            advice: String::new(),
            retry_after: None,
            stray_job: None,
        }))
    }

    /// The error for a function that the provider does not have.
    #[must_use]
    pub fn unsupported(function: &str) -> Self {
        Self::new(
            Effect::NotSent,
            ErrorKind::Unsupported,
            format!("this provider does not support {function}"),
        )
    }

    /// Adds what a person should do about it.
    #[must_use]
    pub fn with_advice(mut self, advice: impl AsRef<str>) -> Self {
        self.0.advice = text::bounded(advice.as_ref(), text::MAX_TEXT / 4 - 2);
        self
    }

    /// Adds the delay that the backend asked for.
    #[must_use]
    pub fn with_retry_after(mut self, delay: Duration) -> Self {
        self.0.retry_after = Some(delay);
        self
    }

    /// Adds the job that a launch has started although it failed: one without what it was to be given.
    /// The engine ends it, and counts it as failed however it ends. For doubtful effects only.
    #[must_use]
    pub fn with_stray_job(mut self, job: JobRef) -> Self {
        self.0.stray_job = Some(job);
        self
    }

    /// The error of a request that is not sent, for so long, because others before it have failed like
    /// this one: of the same kind, with its cause and its advice. "It did not serve lately" tells nobody
    /// that the token has expired.
    #[must_use]
    pub fn left_alone(&self, whom: &str, left: Duration) -> Self {
        let text = format!(
            "{whom} is left alone for a while, after failures of which this was the last: {}",
            self.message()
        );
        Self::new(Effect::NotSent, self.kind(), text)
            .with_advice(self.advice())
            .with_retry_after(left)
    }

    /// The job that a failed launch has started nevertheless.
    #[must_use]
    pub fn stray_job(&self) -> Option<&JobRef> {
        self.0.stray_job.as_ref()
    }

    /// What the request did.
    #[must_use]
    pub fn effect(&self) -> Effect {
        self.0.effect
    }

    /// What sort of failure it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The sentence that says what happened, without the advice.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What a person should do about it; may be empty.
    #[must_use]
    pub fn advice(&self) -> &str {
        &self.0.advice
    }

    /// How long the backend asked us to wait.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Whether a launch that ended so, and was certainly not made, has failed by something that is wrong
    /// with it. What was never sent has not, whatever the reason, nor what the backend could not serve at
    /// that moment or did not let us in for: it waits and is told, however often, until that is over.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        self.0.effect != Effect::NotSent
            && !matches!(
                self.0.kind,
                ErrorKind::RateLimited
                    | ErrorKind::Unavailable
                    | ErrorKind::Timeout
                    | ErrorKind::Unauthorized
                    | ErrorKind::Forbidden
            )
    }

    /// Whether the same call can end better later without anybody changing anything.
    ///
    /// This is about reading, and about requests with no effect. A launch with a doubtful
    /// effect never arrives here as an error to retry: it is [`TriggerError::Ambiguous`].
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            self.0.kind,
            ErrorKind::RateLimited
                | ErrorKind::Unavailable
                | ErrorKind::Timeout
                | ErrorKind::Conflict
                | ErrorKind::Protocol
        )
    }
}

impl fmt::Display for ProviderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        if !self.0.advice.is_empty() {
            write!(f, "; {}", self.0.advice)?;
        }
        Ok(())
    }
}

impl fmt::Debug for ProviderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderError")
            .field("effect", &self.0.effect)
            .field("kind", &self.0.kind)
            .field("message", &self.0.message)
            .field("advice", &self.0.advice)
            .field("retry_after", &self.0.retry_after)
            .finish()
    }
}

impl std::error::Error for ProviderError {}

/// Why a trigger did not end in a known job. The two cases are two types, because one may be
/// tried again and the other must not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TriggerError {
    /// Nothing was started. Another attempt may be made.
    #[error(transparent)]
    NotLaunched(ProviderError),
    /// A job may have been started. Sending again could start a second one: ask
    /// [`Provider::find_launched`](crate::Provider::find_launched) instead. Where it is known which job
    /// was started, and that it is not the one that was wanted, the error names it:
    /// [`stray_job`](ProviderError::stray_job).
    #[error("the launch may have been carried out: {0}")]
    Ambiguous(ProviderError),
}

impl TriggerError {
    /// The error itself, whatever its effect.
    #[must_use]
    pub fn error(&self) -> &ProviderError {
        match self {
            Self::NotLaunched(error) | Self::Ambiguous(error) => error,
        }
    }

    /// Whether nothing was started, for sure. An error whose effect is in doubt proves nothing, in
    /// whichever case a provider has put it.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        match self {
            Self::NotLaunched(error) => !error.effect().is_doubtful(),
            Self::Ambiguous(_) => false,
        }
    }
}

/// Sorted by the error's effect, so that `?` in a provider does the right thing.
impl From<ProviderError> for TriggerError {
    fn from(error: ProviderError) -> Self {
        if error.effect().is_doubtful() {
            Self::Ambiguous(error)
        } else {
            Self::NotLaunched(error)
        }
    }
}
