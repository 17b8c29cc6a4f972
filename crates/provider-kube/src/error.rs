//! What can go wrong between a reconcile function and the API server.

use std::fmt;
use std::sync::Arc;

use provider_core::lifecycle::StoreError;
use provider_core::{ResourceError, text};

/// What a function that says what is wanted may fail with: any error. `?` makes one of whatever it meets.
///
/// Its text is shown on the object, bounded: it must hold no secret.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A reconcile that could not be carried out. Try again: nothing is lost or done twice by that.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Error {
    /// The object is not one that a provider can be told about.
    Object(ResourceError),
    /// The API server did not do what it was asked.
    Api {
        /// What it was asked to do.
        action: &'static str,
        /// What it said, bounded.
        reason: String,
        /// The answer itself, or why there was none.
        source: Option<Arc<kube::Error>>,
    },
    /// The targets that the caller names cannot be told apart in the status, or do not fit into it. The
    /// condition [`TARGETS_KNOWN`](crate::TARGETS_KNOWN) of the object and an event say so, too.
    Targets(String),
    /// The caller's function could not say what is wanted. Nothing is started meanwhile, and nothing is
    /// deprovisioned. The condition [`DESIRED_KNOWN`](crate::DESIRED_KNOWN) of the object and an event say so,
    /// too.
    Desired(Arc<dyn std::error::Error + Send + Sync>),
    /// A definition has no place for the records.
    Definition(String),
}

impl Error {
    /// What the API server answered, where it did.
    #[must_use]
    pub fn status(&self) -> Option<&kube::core::Status> {
        match self {
            Self::Api { source, .. } => match source.as_deref()? {
                kube::Error::Api(status) => Some(status),
                _ => None,
            },
            _ => None,
        }
    }

    /// What was wrong with the function that says what is wanted.
    pub(crate) fn desired(error: BoxError) -> Self {
        Self::Desired(error.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(error) => write!(f, "the object cannot be passed on: {error}"),
            Self::Api { action, reason, .. } => {
                write!(f, "the API server did not {action}: {reason}")
            }
            Self::Targets(why) => {
                write!(
                    f,
                    "the targets of the object cannot be kept in its status: {why}"
                )
            }
            Self::Desired(error) => {
                let why = text::bounded(&error.to_string(), text::MAX_TEXT);
                write!(f, "what is wanted of the object cannot be told: {why}")
            }
            Self::Definition(where_) => write!(
                f,
                "the definition has no status.jobs: {where_}; flatten ProvisioningStatus into its status"
            ),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Object(error) => Some(error),
            Self::Api { source, .. } => source.as_deref().map(|error| error as _),
            Self::Desired(error) => Some(&**error),
            Self::Targets(_) | Self::Definition(_) => None,
        }
    }
}

impl From<ResourceError> for Error {
    fn from(error: ResourceError) -> Self {
        Self::Object(error)
    }
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
