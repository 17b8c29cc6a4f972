//! What can go wrong between a reconcile function and the API server.

use provider_core::lifecycle::StoreError;
use provider_core::{ResourceError, text};

/// A reconcile that could not be carried out. Try again: nothing is lost or done twice by that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The object is not one that a provider can be told about.
    #[error("the object cannot be passed on: {0}")]
    Object(#[from] ResourceError),
    /// The API server did not do what it was asked.
    #[error("the API server did not {action}: {reason}")]
    Api {
        /// What it was asked to do.
        action: &'static str,
        /// What it said, bounded.
        reason: String,
    },
}

impl Error {
    pub(crate) fn api(action: &'static str, error: &kube::Error) -> Self {
        Self::Api {
            action,
            reason: reason(error),
        }
    }
}

/// What the API server said, or why it could not be asked. The texts of transport errors name
/// hosts, no credentials.
fn reason(error: &kube::Error) -> String {
    let text = match error {
        kube::Error::Api(status) if status.code == 403 => format!(
            "{} (give the service account of this controller the right)",
            status.message
        ),
        kube::Error::Api(status) => format!("{} ({})", status.message, status.code),
        other => other.to_string(),
    };
    text::bounded(&text, text::MAX_TEXT)
}

/// The HTTP status of an answer; none where there was no answer.
pub(crate) fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// What a failed request means to the engine.
pub(crate) fn of_store(error: &kube::Error) -> StoreError {
    match code(error) {
        Some(409) => StoreError::Conflict,
        Some(404 | 410) => StoreError::Gone,
        Some(400 | 403 | 413 | 422) => StoreError::refused(&reason(error)),
        _ => StoreError::unavailable(&reason(error)),
    }
}
