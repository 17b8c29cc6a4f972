//! Settings of providers: read so that no error repeats a value, and secrets that may live in files.
//!
//! A configuration holds secrets, and people put them in wrong places: a token as the path of a file, a
//! password without quotes that is read as a number. Parsers like to repeat what they could not read. So
//! every configuration of this workspace is read through [`guarded`], whose errors name the place and what
//! was expected there, and never what was found.

mod guard;
mod secret;
mod tidy;
mod tree;

pub use guard::{SettingError, guarded};
pub use secret::{Print, Secret};
pub use tidy::{as_token, line, tidied, without_line_end};
pub use tree::Tree;

use crate::text;

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct ConfigError {
    field: String,
    message: String,
}

impl ConfigError {
    /// A setting by its name, and what is wrong with it. The message must not repeat the setting's value:
    /// it may be a secret that was put in the wrong place.
    #[must_use]
    pub fn new(field: &str, message: &str) -> Self {
        Self {
            field: field.to_owned(),
            message: text::bounded(message, 500),
        }
    }

    /// The setting, as it is written in the configuration or the environment.
    #[must_use]
    pub fn field(&self) -> &str {
        &self.field
    }

    /// What is wrong with it.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// Reads these types by their derived reader, guarded: each needs `#[serde(remote = "Self")]` beside its
/// `derive(Deserialize)`, which makes that reader an inherent function.
#[macro_export]
macro_rules! guarded_settings {
    ($($name:ty),+ $(,)?) => {$(
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::settings::guarded(deserializer, |tree| <$name>::deserialize(tree))
            }
        }
    )+};
}
