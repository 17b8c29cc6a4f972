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
    /// The targets that the caller names cannot be told apart in the status, or do not fit into it. The
    /// condition [`TARGETS_KNOWN`](crate::TARGETS_KNOWN) of the object and an event say so, too.
    #[error("the targets of the object cannot be kept in its status: {0}")]
    Targets(String),
    /// A definition has no place for the records.
    #[error("the definition has no status.jobs: {0}; flatten ProvisioningStatus into its status")]
    Definition(String),
}

/// What the API server said, or why it could not be asked. The texts of transport errors name
/// hosts, no credentials.
pub(crate) fn reason(error: &kube::Error) -> String {
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

/// Whether an answer is the API server's own word that there is no such object. A proxy on the way, a
/// definition that is not served and a namespace that is gone answer 404 as well.
fn is_gone(error: &kube::Error, name: &str) -> bool {
    let kube::Error::Api(status) = error else {
        return false;
    };
    let of_it = status
        .details
        .as_ref()
        .is_none_or(|details| details.kind != "namespaces" && details.name == name);
    status.code == 404 && status.reason == "NotFound" && of_it
}

/// What a failed read of an object of this name means to the engine.
pub(crate) fn of_read(error: &kube::Error, name: &str) -> StoreError {
    if is_gone(error, name) {
        StoreError::Gone
    } else {
        of_store(error)
    }
}

/// What a failed request means to the engine. No 404 says by itself that the object is gone.
pub(crate) fn of_store(error: &kube::Error) -> StoreError {
    match code(error) {
        Some(409) => StoreError::Conflict,
        Some(400 | 403 | 413 | 422) => StoreError::refused(&reason(error)),
        _ => StoreError::unavailable(&reason(error)),
    }
}
