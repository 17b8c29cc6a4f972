//! What a job is for.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a job is for.
///
/// In a record: `type: provision`, `type: deprovision`, or `type: action` beside `action: restart`. As one
/// text, for people and for programs: `provision`, `deprovision`, `action/restart`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum JobType {
    /// Brings the resource to its desired configuration: creates or updates it.
    Provision,
    /// Removes the resource.
    Deprovision,
    /// Does something to a living resource that changes nothing of its configuration: restarts it, say.
    Action(ActionName),
    /// What a newer version has written down. Its job is one like any other: while it may be alive its owner is
    /// asked about it, and a deletion ends it first. Once it has ended it neither blocks nor counts.
    Other(ActionName),
}

impl JobType {
    /// The word under `type` in a record: `provision`, `deprovision`, `action`, or what a newer version wrote.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Provision => "provision",
            Self::Deprovision => "deprovision",
            Self::Action(_) => "action",
            Self::Other(word) => word.as_str(),
        }
    }

    /// The name of the action, where it is one.
    #[must_use]
    pub const fn action(&self) -> Option<&ActionName> {
        match self {
            Self::Action(name) => Some(name),
            _ => None,
        }
    }

    /// The type that a record tells by these two members. An action without a usable name is one that this
    /// version does not know.
    pub(crate) fn from_members(word: &str, action: Option<&str>) -> Option<Self> {
        Some(match word {
            "provision" => Self::Provision,
            "deprovision" => Self::Deprovision,
            "action" => match action.and_then(|name| ActionName::new(name).ok()) {
                Some(name) => Self::Action(name),
                None => Self::Other(ActionName::new(word).ok()?),
            },
            _ => Self::Other(ActionName::new(word).ok()?),
        })
    }
}

impl fmt::Display for JobType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Action(name) => write!(f, "action/{name}"),
            other => f.pad(other.as_str()),
        }
    }
}

impl Serialize for JobType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for JobType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (word, action) = match text.split_once('/') {
            Some((word, action)) => (word, Some(action)),
            None => (text.as_str(), None),
        };
        Self::from_members(word, action)
            .ok_or_else(|| serde::de::Error::custom("a job type is a short lower-case word"))
    }
}

/// The name of an action: a label of DNS. Lower-case letters, digits and `-`, a letter first, 1 to 63 bytes:
/// `restart`, `resize-disk`. It is part of names of templates, of paths and of metrics.
///
/// ```
/// # fn main() -> Result<(), provider_core::BadActionName> {
/// let restart: provider_core::ActionName = "restart".parse()?;
/// assert_eq!(restart.as_str(), "restart");
/// assert!("Restart it".parse::<provider_core::ActionName>().is_err());
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ActionName {
    // In place, so that a job's type is copied like the word that it is. Unused bytes are zero.
    bytes: [u8; Self::MAX],
    len: u8,
}

/// A text that cannot be the name of an action. It is not shown: nobody knows what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the name of an action has 1 to 63 lower-case letters, digits and \"-\", begins with a letter and does \
     not end with \"-\""
)]
pub struct BadActionName;

impl ActionName {
    /// The longest name, in bytes.
    pub const MAX: usize = 63;

    /// This name.
    ///
    /// # Errors
    /// When it cannot be one.
    pub fn new(name: &str) -> Result<Self, BadActionName> {
        let usable = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        let begins = name.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
        if !begins || name.ends_with('-') || !name.as_bytes().iter().all(usable) {
            return Err(BadActionName);
        }
        let mut bytes = [0; Self::MAX];
        let place = bytes.get_mut(..name.len()).ok_or(BadActionName)?;
        place.copy_from_slice(name.as_bytes());
        let len = u8::try_from(name.len()).map_err(|_| BadActionName)?;
        Ok(Self { bytes, len })
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..usize::from(self.len));
        bytes
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
            .unwrap_or_default()
    }
}

impl std::str::FromStr for ActionName {
    type Err = BadActionName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::new(name)
    }
}

impl fmt::Display for ActionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for ActionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl Serialize for ActionName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ActionName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

/// A word with a pattern, and no list of words: what a newer version writes must pass an older definition, or a
/// rollback of the operator could not write its records back.
#[cfg(feature = "schema")]
mod schema {
    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

    use super::{ActionName, JobType};

    const PATTERN: &str = "^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$";

    impl JsonSchema for JobType {
        fn schema_name() -> std::borrow::Cow<'static, str> {
            "JobType".into()
        }

        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            json_schema!({
                "type": "string", "pattern": PATTERN, "maxLength": ActionName::MAX,
                "description": "What a job is for: provision, deprovision, or action.",
            })
        }
    }

    impl JsonSchema for ActionName {
        fn schema_name() -> std::borrow::Cow<'static, str> {
            "ActionName".into()
        }

        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            json_schema!({
                "type": "string", "pattern": PATTERN, "maxLength": Self::MAX,
                "description": "The name of an action: a label of DNS.",
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_labels() {
        let longest = "a".repeat(63);
        for good in ["a", "restart", "resize-disk2", &longest] {
            assert_eq!(ActionName::new(good).unwrap().as_str(), good);
        }
        let too_long = "a".repeat(64);
        for bad in ["", "-a", "a-", "A", "a_b", "a.b", "1a", "ä", &too_long] {
            assert_eq!(ActionName::new(bad), Err(BadActionName), "{bad}");
        }
    }

    #[test]
    fn a_type_is_one_text_and_back() {
        let restart = ActionName::new("restart").unwrap();
        let types = [
            JobType::Provision,
            JobType::Deprovision,
            JobType::Action(restart),
            JobType::Other(ActionName::new("migrate").unwrap()),
        ];
        for job_type in types {
            let text = serde_json::to_value(job_type).unwrap();
            assert_eq!(text, job_type.to_string());
            assert_eq!(serde_json::from_value::<JobType>(text).unwrap(), job_type);
        }
        assert_eq!(JobType::Action(restart).to_string(), "action/restart");
    }
}
