//! What the caller adds to a launch.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

use crate::text;

/// Variables that the caller adds to a launch beside the resource, some of them secret.
///
/// Secret ones go to the backend and nowhere else: `Debug` masks them. What the backend does
/// with them is its own affair (AWX 24.6.1 stores extra variables of a job in clear, unless they
/// answer a password question of a survey). A job that prints one has it in its output, and in the
/// diagnosis of its failure where a provider gives one: use `no_log` there.
#[derive(Clone, Default)]
pub struct ExtraVars {
    plain: Map<String, Value>,
    secret: Vec<(String, SecretString)>,
}

impl ExtraVars {
    /// No variables.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a variable; the last one of a name wins.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        let name = name.into();
        self.secret.retain(|(known, _)| *known != name);
        self.plain.insert(name, value.into());
        self
    }

    /// Adds a variable whose value is a secret text; the last one of a name wins.
    #[must_use]
    pub fn with_secret(mut self, name: impl Into<String>, value: impl Into<SecretString>) -> Self {
        let name = name.into();
        self.plain.remove(&name);
        self.secret.retain(|(known, _)| *known != name);
        self.secret.push((name, value.into()));
        self
    }

    /// These and the others; of two values of one name, the other one counts.
    #[must_use]
    pub fn merged(mut self, others: &Self) -> Self {
        for (name, value) in &others.plain {
            self = self.with(name.clone(), value.clone());
        }
        for (name, value) in &others.secret {
            self = self.with_secret(name.clone(), value.clone());
        }
        self
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.secret.is_empty()
    }

    /// The names of all variables.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.plain
            .keys()
            .map(String::as_str)
            .chain(self.secret.iter().map(|(name, _)| &**name))
    }

    /// All variables with the secrets in clear, for the request body alone.
    #[must_use]
    pub fn expose(&self) -> Map<String, Value> {
        let mut all = self.plain.clone();
        for (name, value) in &self.secret {
            all.insert(name.clone(), Value::from(value.expose_secret()));
        }
        all
    }

    /// Replaces every secret value that occurs in `text`.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        text::redacted(
            text,
            self.secret.iter().map(|(_, value)| value.expose_secret()),
        )
    }
}

impl fmt::Debug for ExtraVars {
    /// Names and masks only: plain values may be large, and may be less harmless than thought.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.names().map(|name| (name, text::MASK)))
            .finish()
    }
}
