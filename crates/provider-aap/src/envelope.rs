//! Where in `extra_vars` the object is put.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::ConfigError;

/// Where in `extra_vars` the object is put. In text: `ansible_eda`, `osac_job_vars`, or a path of
/// members with dots between them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
#[non_exhaustive]
pub enum Envelope {
    /// `ansible_eda.event.payload`: what playbooks read that a rulebook used to start.
    #[default]
    AnsibleEda,
    /// `osac_job_vars.resource`.
    OsacJobVars,
    /// A path of members.
    Custom(Vec<String>),
}

impl TryFrom<String> for Envelope {
    type Error = ConfigError;

    fn try_from(text: String) -> Result<Self, ConfigError> {
        text.parse()
    }
}

impl std::str::FromStr for Envelope {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        match text.trim() {
            "ansible_eda" => Ok(Self::AnsibleEda),
            "osac_job_vars" => Ok(Self::OsacJobVars),
            path => {
                let members: Vec<String> = path.split('.').map(str::to_owned).collect();
                if members.iter().any(String::is_empty) {
                    return Err(ConfigError::new(
                        "envelope",
                        "expected ansible_eda, osac_job_vars, or member names with dots between",
                    ));
                }
                Ok(Self::Custom(members))
            }
        }
    }
}

impl Envelope {
    /// The members from the root of `extra_vars` to the object.
    pub(crate) fn path(&self) -> Vec<&str> {
        match self {
            Self::AnsibleEda => vec!["ansible_eda", "event", "payload"],
            Self::OsacJobVars => vec!["osac_job_vars", "resource"],
            Self::Custom(path) => path.iter().map(String::as_str).collect(),
        }
    }

    /// The object at its place.
    pub(crate) fn wrap(&self, object: Value) -> Map<String, Value> {
        let mut value = object;
        for member in self.path().into_iter().rev() {
            let mut outer = Map::new();
            outer.insert(member.to_owned(), value);
            value = Value::Object(outer);
        }
        match value {
            Value::Object(members) => members,
            // An envelope has at least one member.
            _ => Map::new(),
        }
    }
}
