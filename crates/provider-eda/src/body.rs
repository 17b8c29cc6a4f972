//! What is sent: the object, and what is ours beside it.

use provider_core::{Effect, ErrorKind, JobType, LaunchRequest, ProviderError, text};
use serde_json::{Map, Value};

use crate::{EdaConfig, TransportKind, yaml};

/// The webhook source takes exactly this much (aiohttp's default).
const WEBHOOK_MAX: usize = 1 << 20;
/// The EDA server takes this much (Django's default), and answers 500 to more.
const STREAM_MAX: usize = 2_621_440;
/// Levels of nesting. The parsers on the other side work by recursion; this is far below where
/// they end and far above what objects have.
const MAX_DEPTH: usize = 100;

/// The word for the action in payloads.
pub(crate) const fn action(job_type: JobType) -> &'static str {
    match job_type {
        JobType::Provision => "create",
        JobType::Deprovision => "delete",
    }
}

fn refuse(message: impl AsRef<str>, advice: &str) -> ProviderError {
    ProviderError::new(Effect::NotSent, ErrorKind::Invalid, message).with_advice(advice)
}

impl EdaConfig {
    /// The body of an event, after everything that the other side would reject, drop or change
    /// has been refused.
    pub(crate) fn body(
        &self,
        request: &LaunchRequest,
        job_type: JobType,
    ) -> Result<Vec<u8>, ProviderError> {
        let payload = self.payload(request, job_type)?;
        let kind = self.transport.kind();
        Check {
            kind,
            templates: !self.refuse_templates,
        }
        .value(&payload, 0)?;
        let (body, max) = match kind {
            TransportKind::RulebookWebhook => (yaml::to_json(&payload), WEBHOOK_MAX),
            TransportKind::EventStream => (yaml::to_vec(&payload), STREAM_MAX),
        };
        let body = body.map_err(|_| refuse("the object cannot be written as JSON", ""))?;
        if body.len() > max {
            return Err(refuse(
                format!(
                    "the event has {} bytes and a {kind} takes {max}",
                    body.len()
                ),
                "exclude large members in the projection",
            ));
        }
        if kind == TransportKind::EventStream && !yaml::fits_notifications(&payload, body.len()) {
            return Err(refuse(
                "the event is too dense in quotes and backslashes: an event stream would fail to pass it on",
                "send documents as nested objects instead of JSON inside a text, exclude them in the \
                 projection, or use the transport rulebookWebhook",
            ));
        }
        Ok(body)
    }

    /// The object with our member beside `metadata` and `spec`, where rulebooks look for them.
    fn payload(&self, request: &LaunchRequest, job_type: JobType) -> Result<Value, ProviderError> {
        let mut payload = request.resource.projection(&self.projection);
        let Some(members) = payload.as_object_mut() else {
            return Err(refuse("the object is not a JSON object", ""));
        };
        let mut ours = Map::new();
        ours.insert("action".to_owned(), action(job_type).into());
        ours.insert("operationToken".to_owned(), request.token.as_str().into());
        if let Some(version) = &request.config_version {
            ours.insert("configVersion".to_owned(), version.as_str().into());
        }
        ours.insert("uid".to_owned(), request.resource.uid().into());
        if !request.extra_vars.is_empty() {
            let vars = request.extra_vars.expose();
            ours.insert("extraVars".to_owned(), Value::Object(vars));
        }
        if members
            .insert(self.envelope.clone(), Value::Object(ours))
            .is_some()
        {
            return Err(refuse(
                format!(
                    "the object has a member \"{}\" of its own",
                    text::bounded(&self.envelope, 60)
                ),
                "set another name for the envelope",
            ));
        }
        Ok(payload)
    }
}

struct Check {
    kind: TransportKind,
    templates: bool,
}

impl Check {
    fn value(&self, value: &Value, depth: usize) -> Result<(), ProviderError> {
        if depth > MAX_DEPTH {
            return Err(refuse(
                format!("the object is nested deeper than {MAX_DEPTH} levels"),
                "exclude the deep member in the projection",
            ));
        }
        match value {
            Value::Number(number) if !number.as_f64().is_some_and(f64::is_finite) => {
                // Accepted with 200 and then dropped by a rulebook's engine.
                Err(refuse(
                    "the object holds a number that is not finite",
                    "send it as a text",
                ))
            }
            Value::String(text) => self.text(text),
            Value::Array(items) => items
                .iter()
                .try_for_each(|item| self.value(item, depth + 1)),
            Value::Object(members) => members.iter().try_for_each(|(name, item)| {
                self.key(name)?;
                self.value(item, depth + 1)
            }),
            Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
        }
    }

    fn key(&self, name: &str) -> Result<(), ProviderError> {
        let stream = self.kind == TransportKind::EventStream;
        if stream && yaml::key_length(name) > yaml::MAX_KEY {
            return Err(refuse(
                format!(
                    "the object has a member name longer than the {} characters that an event stream reads",
                    yaml::MAX_KEY
                ),
                "exclude that member in the projection",
            ));
        }
        self.text(name)
    }

    fn text(&self, text: &str) -> Result<(), ProviderError> {
        if !self.templates && (text.contains("{{") || text.contains("{%")) {
            return Err(refuse(
                "the object holds a text with \"{{\" or \"{%\", which a playbook could execute",
                "remove it, or allow templates when the rulebook starts job templates only",
            ));
        }
        Ok(())
    }
}
