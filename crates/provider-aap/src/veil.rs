//! What the controller has told, for people: without our own credentials, should it repeat them.

use provider_core::{ProviderError, text};

use crate::client::Client;

impl Client {
    /// A name that the controller told, for people: redacted before it is cut, or half a secret would be left.
    pub(crate) fn shown(&self, name: &str, max: usize) -> String {
        text::bounded(&self.redact(name), max)
    }

    /// An error without our own credentials, whatever part of it the controller has told.
    pub(crate) fn veiled(&self, error: ProviderError) -> ProviderError {
        let (message, advice) = (self.redact(error.message()), self.redact(error.advice()));
        if message == error.message() && advice == error.advice() {
            return error;
        }
        let mut veiled =
            ProviderError::new(error.effect(), error.kind(), message).with_advice(advice);
        if let Some(wait) = error.retry_after() {
            veiled = veiled.with_retry_after(wait);
        }
        match error.stray_job() {
            Some(job) => veiled.with_stray_job(job.clone()),
            None => veiled,
        }
    }
}
