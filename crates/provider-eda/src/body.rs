//! What is sent: the object, and what is ours beside it.

use provider_core::{JobType, LaunchRequest, Projection, ProviderError, text};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value};

use crate::check::{Check, refuse};
use crate::{EdaConfig, Tracking, TransportKind, yaml};

/// The webhook source takes exactly this much (aiohttp's default).
const WEBHOOK_MAX: usize = 1 << 20;
/// The EDA server takes this much (Django's default), and answers 500 to more.
const STREAM_MAX: usize = 2_621_440;
/// A rulebook reports an event to the EDA server with what it did, as ASCII JSON, and a report of 1 MiB or
/// more never arrives. This is what is left for the event, beside the rest of the report.
const REPORT_MAX: usize = (1 << 20) - 16_384;
/// How many lengths an event of a stream may have.
const LENGTHS: u64 = 512;

/// The word for the action in payloads.
pub(crate) fn action(job_type: &JobType) -> &str {
    match job_type {
        JobType::Provision => "create",
        JobType::Deprovision => "delete",
        JobType::Action(name) => name.as_str(),
        other => other.as_str(),
    }
}

impl EdaConfig {
    /// The body of an event, after everything that the other side would reject, drop or change
    /// has been refused.
    pub(crate) fn body(
        &self,
        request: &LaunchRequest,
        job_type: JobType,
    ) -> Result<Vec<u8>, ProviderError> {
        let kind = self.transport.kind();
        let check = Check::new(kind, !self.refuse_templates);
        // Only a projection that reaches into the object needs a copy of it.
        let copy = (!self.projection.without.is_empty())
            .then(|| request.resource.projection(&self.projection));
        let payload = Payload {
            object: match &copy {
                Some(Value::Object(copy)) => copy,
                _ => request.resource.object(),
            },
            projection: &self.projection,
            envelope: &self.envelope,
            ours: ours(request, job_type),
            check: &check,
        };
        if payload.members().any(|(name, _)| *name == self.envelope) {
            return Err(refuse(
                format!(
                    "the object has a member \"{}\" of its own",
                    text::bounded(&self.envelope, 60)
                ),
                "set another name for the envelope",
            ));
        }
        let (written, max) = match kind {
            TransportKind::RulebookWebhook => (serde_json::to_vec(&payload), WEBHOOK_MAX),
            TransportKind::EventStream => (yaml::to_vec(&payload), STREAM_MAX),
        };
        let Ok(mut body) = written else {
            return Err(check.refusal());
        };
        if kind == TransportKind::EventStream && yaml::may_be_cut(body.len()) {
            pad(&mut body, request.token.as_str());
        }
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
        if let Some(Tracking::Audit(_)) = &self.tracking
            // A control character is six bytes there, and one here.
            && body.len().saturating_mul(6) >= REPORT_MAX
        {
            let length = yaml::ascii_length(&payload);
            if length > REPORT_MAX {
                return Err(refuse(
                    format!(
                        "the event has {length} bytes as a rulebook reports it (ASCII JSON), and the \
                         audit of the EDA server takes {REPORT_MAX}: its end would never be seen"
                    ),
                    "exclude large members in the projection, or track its jobs in another way",
                ));
            }
        }
        Ok(body)
    }
}

/// Makes the length of an event one of its attempt. An EDA server that cuts an event into pieces announces
/// one too many when its text is a multiple of theirs, and loses it with 200; what else is in the text
/// (the name of the stream, headers) only the server knows. The next attempt has another token.
fn pad(body: &mut Vec<u8>, token: &str) {
    // FNV-1a: any mixture does that is the same in every process.
    let mixed = token
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |mixed, byte| {
            (mixed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let length = usize::try_from((mixed >> 40) % LENGTHS).unwrap_or(0);
    // What is ours comes last.
    if let Some(before) = body.strip_suffix(b"}}") {
        let at = before.len();
        body.truncate(at);
        body.extend_from_slice(b",\"padding\":\"");
        body.resize(body.len() + length, b'.');
        body.extend_from_slice(b"\"}}");
    }
}

/// What is ours in the payload.
fn ours(request: &LaunchRequest, job_type: JobType) -> Value {
    let mut ours = Map::new();
    ours.insert("action".to_owned(), action(&job_type).into());
    ours.insert("operationToken".to_owned(), request.token.as_str().into());
    if let Some(version) = &request.config_version {
        ours.insert("configVersion".to_owned(), version.as_str().into());
    }
    ours.insert("uid".to_owned(), request.resource.uid().into());
    if !request.extra_vars.is_empty() {
        let vars = request.extra_vars.expose();
        ours.insert("extraVars".to_owned(), Value::Object(vars));
    }
    Value::Object(ours)
}

/// The object with our member beside `metadata` and `spec`, where rulebooks look for them. What
/// [`Resource::projection`](provider_core::Resource::projection) leaves out is left out while it
/// is written: a copy of a large object costs more than sending it.
struct Payload<'a> {
    object: &'a Map<String, Value>,
    projection: &'a Projection,
    envelope: &'a str,
    ours: Value,
    check: &'a Check,
}

/// A copy of the whole object, kept by kubectl for itself.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

impl Payload<'_> {
    fn members(&self) -> impl Iterator<Item = (&String, &Value)> {
        let sent = |name: &str| self.projection.status || name != "status";
        self.object.iter().filter(move |(name, _)| sent(name))
    }

    /// Whether a member of `metadata` is sent.
    fn sends(&self, name: &str) -> bool {
        self.projection.managed_fields || name != "managedFields"
    }
}

impl Serialize for Payload<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.members() {
            self.check.key(name)?;
            match (name.as_str(), value) {
                ("metadata", Value::Object(members)) => {
                    map.serialize_entry(name, &Metadata(self, members))?;
                }
                _ => map.serialize_entry(name, &self.check.value(value, 1))?,
            }
        }
        map.serialize_entry(self.envelope, &self.check.value(&self.ours, 1))?;
        map.end()
    }
}

struct Metadata<'a>(&'a Payload<'a>, &'a Map<String, Value>);

impl Serialize for Metadata<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(payload, members) = self;
        let check = payload.check;
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in members.iter().filter(|(name, _)| payload.sends(name)) {
            check.key(name)?;
            match (name.as_str(), value) {
                ("annotations", Value::Object(all)) if all.contains_key(LAST_APPLIED) => {
                    let mut others = all.clone();
                    others.remove(LAST_APPLIED);
                    map.serialize_entry(name, &check.value(&Value::Object(others), 2))?;
                }
                _ => map.serialize_entry(name, &check.value(value, 2))?,
            }
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Endpoints, RulebookWebhook};
    use provider_core::{OperationToken, Resource};
    use serde_json::json;

    /// What is written without a copy is what the projection would have been.
    #[test]
    fn the_payload_is_the_projection_with_ours() {
        let full = json!({
            "apiVersion": "v1", "kind": "K", "spec": {"a": [1], "secret": "x"}, "status": {"s": 1},
            "metadata": {
                "name": "n", "managedFields": [1], "labels": {"status": "kept"},
                "annotations": {LAST_APPLIED: "{{ x }}", "kept": "1", "managedFields": "kept"},
            },
        });
        let bare = json!({"kind": "K", "metadata": {"name": "n", "annotations": null}});
        let without = |pointer: &str| Projection {
            without: vec![pointer.to_owned()],
            ..Projection::default()
        };
        let all = Projection {
            status: true,
            managed_fields: true,
            without: Vec::new(),
        };
        let urls = Endpoints::one("http://h/x");
        let config = EdaConfig::new(RulebookWebhook::new(urls)).with_templates_refused();
        for object in [full, bare] {
            let resource = Resource::from_json(object).unwrap();
            for projection in [Projection::default(), all.clone(), without("/spec/secret")] {
                let config = config.clone().with_projection(projection.clone());
                let request = LaunchRequest::new(resource.clone(), OperationToken::from_random(1));
                let body = config.body(&request, JobType::Provision).unwrap();
                let mut sent: Map<String, Value> = serde_json::from_slice(&body).unwrap();
                let ours = sent.remove("providerEvent").unwrap();
                assert_eq!(ours["action"], "create");
                assert_eq!(Value::Object(sent), resource.projection(&projection));
            }
        }
    }
}
