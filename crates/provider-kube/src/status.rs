//! The part of an object's status that is ours, and its schema.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use provider_core::JobRecord;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// To be flattened into the status of a custom resource.
///
/// ```
/// use provider_kube::ProvisioningStatus;
/// use schemars::JsonSchema;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
/// #[serde(rename_all = "camelCase")]
/// struct ComputeInstanceStatus {
///     address: Option<String>,
///     #[serde(flatten)]
///     provisioning: ProvisioningStatus,
/// }
///
/// // So that the provisioner finds the records, whatever else the status holds.
/// impl AsRef<ProvisioningStatus> for ComputeInstanceStatus {
///     fn as_ref(&self) -> &ProvisioningStatus {
///         &self.provisioning
///     }
/// }
/// ```
///
/// The controller need not write it: [`Provisioner`](crate::Provisioner) does.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(description = "Where the object stands with its backend.")]
pub struct ProvisioningStatus {
    /// The attempts, oldest first. Written by the controller alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "jobs")]
    pub jobs: Vec<JobRecord>,
    /// The configuration that is wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub desired_config_version: Option<String>,
    /// The configuration that is applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub reconciled_config_version: Option<String>,
    /// The generation of the object that all this is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Provisioned`, `Progressing`, `Deprovisioned`, and whatever others write.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Value>,
}

impl ProvisioningStatus {
    /// The condition of this type, if it is there and has the shape of one. The list itself is JSON:
    /// others may write what they like among the conditions, and it is passed on untouched.
    #[must_use]
    pub fn condition(&self, type_: &str) -> Option<Condition> {
        let named = |one: &&Value| one.get("type").and_then(Value::as_str) == Some(type_);
        let one = self.conditions.iter().find(named)?;
        serde_json::from_value(one.clone()).ok()
    }
}

/// For the bound of [`Provisioner`](crate::Provisioner): implement it for a status of your own.
impl AsRef<ProvisioningStatus> for ProvisioningStatus {
    fn as_ref(&self) -> &ProvisioningStatus {
        self
    }
}

/// More than any policy keeps; bounds what the API server has to check.
pub(crate) const MAX_JOBS: u32 = 100;
pub(crate) const MAX_CONDITIONS: u32 = 32;

fn jobs(generator: &mut SchemaGenerator) -> Schema {
    let mut item = JobRecord::json_schema(generator).to_value();
    if let Some(members) = item.as_object_mut() {
        // Members of a newer version are kept.
        members.insert(
            "x-kubernetes-preserve-unknown-fields".to_owned(),
            true.into(),
        );
    }
    // Records of older operators have no number.
    if let Some(attempt) = item.pointer_mut("/properties/attempt") {
        *attempt = json!({"type": "integer", "format": "int64", "minimum": 0, "default": 0});
    }
    inline(&mut item, generator);
    json_schema!({
        "type": "array",
        "description": "The attempts, oldest first. Written by the controller alone.",
        "maxItems": MAX_JOBS,
        "items": item,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["attempt"],
    })
}

fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "description": "Provisioned, Progressing, Deprovisioned, and whatever others write.",
        "maxItems": MAX_CONDITIONS,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["lastTransitionTime", "message", "reason", "status", "type"],
            "properties": {
                "lastTransitionTime": {"type": "string", "format": "date-time"},
                "message": {"type": "string", "maxLength": 32_768},
                "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
                "reason": {
                    "type": "string", "minLength": 1, "maxLength": 1_024,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
                },
                "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
                "type": {
                    "type": "string", "maxLength": 316,
                    "pattern": "^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
                },
            },
        },
    })
}

/// Puts definitions where they are referred to, and drops what a structural schema has no place for.
fn inline(value: &mut Value, generator: &SchemaGenerator) {
    match value {
        Value::Object(members) => {
            let name = members
                .get("$ref")
                .and_then(Value::as_str)
                .and_then(|path| path.rsplit('/').next());
            if let Some(definition) = name.and_then(|name| generator.definitions().get(name)) {
                *value = definition.clone();
                return inline(value, generator);
            }
            members.remove("examples");
            for member in members.values_mut() {
                inline(member, generator);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| inline(item, generator)),
        _ => {}
    }
}
