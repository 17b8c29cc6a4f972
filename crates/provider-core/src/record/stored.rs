//! How a record is stored, and read whatever is stored.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::{JobRecord, Reason};
use crate::{ConfigVersion, JobState, JobType, OperationToken};

/// The stored shape. Each member is read by hand below, so that one bad member does not take
/// the record with it.
impl Serialize for JobRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        if self.defect.is_some() {
            return self.unknown.serialize(serializer);
        }
        let mut map = serializer.serialize_map(None)?;
        macro_rules! put {
            ($name:literal, $value:expr) => {
                if let Some(value) = $value {
                    map.serialize_entry($name, value)?;
                }
            };
        }
        // Older operators always wrote these five, and their readers expect them.
        map.serialize_entry("jobID", self.job_id.as_deref().unwrap_or_default())?;
        map.serialize_entry("type", self.job_type.as_str())?;
        put!("action", self.job_type.action());
        put!("actionRequest", &self.action_request);
        put!("timestamp", &self.timestamp);
        map.serialize_entry("state", &self.state)?;
        map.serialize_entry("message", &self.message)?;
        put!("attempt", Some(&self.attempt).filter(|n| **n > 0));
        put!("copyOf", &self.copy_of);
        put!("target", &self.target);
        put!("provider", &self.provider);
        put!("kind", &self.kind);
        put!("url", &self.url);
        put!("token", &self.token);
        put!("configVersion", &self.config_version);
        put!("sentAt", &self.sent_at);
        put!("sends", Some(&self.sends).filter(|n| **n > 0));
        put!("turnedAway", Some(&self.turned_away).filter(|n| **n > 0));
        put!("stateSince", &self.state_since);
        put!("runningSince", &self.running_since);
        put!("missingSince", &self.missing_since);
        put!("startedAt", &self.started_at);
        put!("finishedAt", &self.finished_at);
        put!("cancelRequestedAt", &self.cancel_requested_at);
        put!("cancelAcceptedAt", &self.cancel_accepted_at);
        put!(
            "cancelRequests",
            Some(&self.cancel_requests).filter(|n| **n > 0)
        );
        put!("reason", self.reason.as_ref().map(Reason::as_str).as_ref());
        put!("blockDeletionOnFailure", &self.block_deletion_on_failure);
        put!("doubtful", Some(&self.doubtful).filter(|yes| **yes));
        put!("failures", Some(&self.failures).filter(|n| **n > 0));
        put!("retryAt", &self.retry_at);
        put!("retryRequest", &self.retry_request);
        for (name, value) in &self.unknown {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for JobRecord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let members = BTreeMap::<String, Value>::deserialize(deserializer)?;
        Ok(Self::read(&|name| members.get(name), members.iter()))
    }
}

impl JobRecord {
    /// The record that is stored as this JSON object, whatever is in it.
    #[must_use]
    pub fn from_json(members: &Map<String, Value>) -> Self {
        Self::read(&|name| members.get(name), members.iter())
    }

    fn read<'m>(
        members: &dyn Fn(&str) -> Option<&'m Value>,
        all: impl ExactSizeIterator<Item = (&'m String, &'m Value)>,
    ) -> Self {
        let mut reader = Reader {
            members,
            known: Vec::with_capacity(all.len()),
            defect: None,
        };
        let mut record = Self::new(0, reader.job_type().unwrap_or(JobType::Provision));
        if record.job_type.action().is_some() {
            record.action_request = reader.text("actionRequest");
        }
        record.attempt = reader.take("attempt").unwrap_or(0);
        record.copy_of = reader.take("copyOf");
        record.state = reader.take("state").unwrap_or(JobState::Unknown);
        record.target = reader.text("target");
        record.provider = reader.text("provider");
        record.kind = reader.text("kind");
        record.job_id = reader.id("jobID");
        record.url = reader.text("url");
        record.token = reader
            .text("token")
            .map(|text| OperationToken::from_text(&text))
            .filter(|token| !token.as_str().is_empty());
        record.config_version = reader.text("configVersion").map(ConfigVersion::from_text);
        record.timestamp = reader.take("timestamp");
        record.sent_at = reader.take("sentAt");
        record.sends = reader.take("sends").unwrap_or(0);
        record.turned_away = reader.take("turnedAway").unwrap_or(0);
        record.state_since = reader.take("stateSince");
        record.running_since = reader.take("runningSince");
        record.missing_since = reader.take("missingSince");
        record.started_at = reader.take("startedAt");
        record.finished_at = reader.take("finishedAt");
        record.cancel_requested_at = reader.take("cancelRequestedAt");
        record.cancel_accepted_at = reader.take("cancelAcceptedAt");
        record.cancel_requests = reader.take("cancelRequests").unwrap_or(0);
        let reason = reader.text("reason");
        record.reason = reason.and_then(|word| Reason::from_word(&word));
        record.set_message(&reader.text("message").unwrap_or_default());
        record.block_deletion_on_failure = reader.take("blockDeletionOnFailure");
        record.doubtful = reader.take("doubtful").unwrap_or(false);
        record.failures = reader.take("failures").unwrap_or(0);
        record.retry_at = reader.take("retryAt");
        record.retry_request = reader.text("retryRequest");
        let Reader { known, defect, .. } = reader;
        let unknown = all.filter(|(name, _)| defect.is_some() || !known.contains(&name.as_str()));
        record.unknown = unknown
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        record.defect = defect;
        record
    }
}

struct Reader<'r, 'm> {
    members: &'r dyn Fn(&str) -> Option<&'m Value>,
    /// Those of them that have been read.
    known: Vec<&'static str>,
    defect: Option<String>,
}

impl<'m> Reader<'_, 'm> {
    fn get(&mut self, name: &'static str) -> Option<&'m Value> {
        let value = (self.members)(name)?;
        self.known.push(name);
        Some(value)
    }

    /// Takes a member; absent and null are the same.
    fn take<T: Deserialize<'m>>(&mut self, name: &'static str) -> Option<T> {
        let value = self.get(name).filter(|value| !value.is_null())?;
        match T::deserialize(value) {
            Ok(value) => Some(value),
            Err(_) => {
                self.defect
                    .get_or_insert_with(|| format!("member \"{name}\" is not readable"));
                None
            }
        }
    }

    /// Takes a text; empty and absent are the same, as in the Go types that wrote them.
    fn text(&mut self, name: &'static str) -> Option<String> {
        self.take::<String>(name).filter(|text| !text.is_empty())
    }

    /// What the job is for. Members of an action are left where they are when its name cannot be read.
    fn job_type(&mut self) -> Option<JobType> {
        let word = self.text("type");
        let action = (self.members)("action").and_then(Value::as_str);
        let job_type = word
            .as_deref()
            .and_then(|word| JobType::from_members(word, action));
        if job_type.is_some_and(|job_type| job_type.action().is_some()) {
            self.known.push("action");
        }
        if job_type.is_none() {
            self.defect.get_or_insert_with(|| match word {
                None => "member \"type\" is missing".to_owned(),
                Some(_) => "member \"type\" is no word for what a job is for".to_owned(),
            });
        }
        job_type
    }

    /// Takes an id, which older writers stored as text or as a number.
    fn id(&mut self, name: &'static str) -> Option<String> {
        match (self.members)(name) {
            Some(Value::Number(number)) => {
                self.known.push(name);
                Some(number.to_string())
            }
            _ => self.text(name),
        }
    }
}

#[cfg(feature = "schema")]
mod schema {
    use super::{JobRecord, Reason};
    use crate::{ActionName, JobState, JobType};
    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

    /// What is written; reading accepts more (see [`JobRecord`]).
    impl JsonSchema for JobRecord {
        fn schema_name() -> std::borrow::Cow<'static, str> {
            "JobRecord".into()
        }

        fn json_schema(generator: &mut SchemaGenerator) -> Schema {
            let time = || json_schema!({"type": "string", "format": "date-time"});
            let text = |max: u32| json_schema!({"type": "string", "maxLength": max});
            let count = || json_schema!({"type": "integer", "minimum": 0});
            let reasons: Vec<&str> = Reason::WORDS.iter().map(|(_, word)| *word).collect();
            json_schema!({
                "type": "object",
                "description": "One attempt to provision, to deprovision, or to act on what is provisioned.",
                "required": ["jobID", "type", "state"],
                "properties": {
                    "jobID": text(256),
                    "type": generator.subschema_for::<JobType>(),
                    "action": generator.subschema_for::<ActionName>(),
                    "actionRequest": text(1024),
                    "timestamp": time(),
                    "state": generator.subschema_for::<JobState>(),
                    "message": text(1024),
                    "attempt": count(),
                    "copyOf": count(),
                    "target": text(253),
                    "provider": text(253),
                    "kind": text(253),
                    "url": text(2048),
                    "token": text(128),
                    "configVersion": text(253),
                    "sentAt": time(),
                    "sends": count(),
                    "turnedAway": count(),
                    "stateSince": time(),
                    "runningSince": time(),
                    "missingSince": time(),
                    "startedAt": time(),
                    "finishedAt": time(),
                    "cancelRequestedAt": time(),
                    "cancelAcceptedAt": time(),
                    "cancelRequests": count(),
                    "reason": {"type": "string", "maxLength": 128, "examples": reasons},
                    "blockDeletionOnFailure": {"type": "boolean"},
                    "doubtful": {"type": "boolean"},
                    "failures": count(),
                    "retryAt": time(),
                    "retryRequest": text(1024),
                },
            })
        }
    }
}
