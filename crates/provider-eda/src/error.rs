//! Errors of the configuration; errors of requests are [`ProviderError`](provider_core::ProviderError)s.

use provider_core::text;

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct ConfigError {
    field: String,
    message: String,
}

impl ConfigError {
    pub(crate) fn new(field: &str, message: &str) -> Self {
        Self {
            field: field.to_owned(),
            message: text::bounded(message, 300),
        }
    }

    /// The setting, as it is written in the configuration or the environment.
    #[must_use]
    pub fn field(&self) -> &str {
        &self.field
    }
}
