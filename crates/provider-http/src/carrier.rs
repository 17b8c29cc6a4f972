//! What carries requests, and how it failed.

use std::fmt;

use async_trait::async_trait;

use crate::Cause;

/// Carries requests in place of connections, to something in the same process: a simulator, so that
/// tests need no sockets and no real time.
#[async_trait]
pub trait Carrier: Send + Sync + fmt::Debug {
    /// Carries one request, once. A request whose carrying was given up may have arrived.
    ///
    /// # Errors
    /// When no answer came.
    async fn carry(&self, request: reqwest::Request) -> Result<reqwest::Response, SendError>;
}

/// Why a request, or the rest of its answer, was of no avail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendFailure {
    /// It could not be made: nothing was sent.
    Invalid,
    /// There was no connection: nothing was sent.
    Connect,
    /// Nothing came in time.
    Timeout,
    /// The connection broke.
    Broken,
}

/// A request that was not answered, or not to the end.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SendError {
    /// In which way.
    pub failure: SendFailure,
    /// What is at the bottom of it.
    pub cause: Cause,
}

impl SendError {
    /// Without any cause but this text.
    #[must_use]
    pub fn new(failure: SendFailure, text: &str) -> Self {
        let cause = Cause {
            text: provider_core::text::bounded(text, 200),
            ..Cause::default()
        };
        Self { failure, cause }
    }

    pub(crate) fn with_cause(error: &reqwest::Error, cause: Cause) -> Self {
        let failure = if error.is_builder() {
            SendFailure::Invalid
        } else if error.is_connect() {
            SendFailure::Connect
        } else if error.is_timeout() {
            SendFailure::Timeout
        } else {
            SendFailure::Broken
        };
        Self { failure, cause }
    }
}

impl From<reqwest::Error> for SendError {
    fn from(error: reqwest::Error) -> Self {
        Self::with_cause(&error, Cause::of(&error))
    }
}
