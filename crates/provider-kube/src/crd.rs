//! What the API server itself can be made to refuse.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, ValidationRule,
};

/// The record of a job that may be alive stays, and so does the newest record.
///
/// The words are those of `JobRecord::may_be_live`: an end that is not doubtful is one.
const KEEP_RECORDS: &str = "!has(oldSelf.status) || !has(oldSelf.status.jobs) || \
    oldSelf.status.jobs.all(o, o.attempt == 0 || (has(self.status) && has(self.status.jobs) && \
    self.status.jobs.exists(n, n.attempt >= o.attempt) && \
    ((o.state in ['Succeeded', 'Failed', 'Canceled'] && !(has(o.doubtful) && o.doubtful)) || \
    self.status.jobs.exists(n, n.attempt == o.attempt))))";

/// Makes the API server refuse every write that would erase the record of a job which may be alive,
/// or the newest record: whoever writes, and however (a stale copy of the whole status, say).
///
/// Adds a transition rule to each version of the definition that has a status with `jobs`; adding it
/// twice changes nothing. It does not stand in the way of deletion.
///
/// ```
/// # use kube::CustomResource;
/// # use provider_kube::{ProvisioningStatus, guarded};
/// # use schemars::JsonSchema;
/// # use serde::{Deserialize, Serialize};
/// use kube::CustomResourceExt;
///
/// #[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, CustomResource)]
/// #[kube(group = "example.com", version = "v1", kind = "Machine", namespaced, status = "ProvisioningStatus")]
/// struct MachineSpec { cores: u32 }
///
/// let definition = guarded(Machine::crd());
/// assert!(serde_json::to_string(&definition)?.contains("x-kubernetes-validations"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[must_use]
pub fn guarded(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut definition.spec.versions {
        let root = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut());
        let Some(root) = root else { continue };
        let has_jobs = root
            .properties
            .as_ref()
            .and_then(|members| members.get("status")?.properties.as_ref())
            .is_some_and(|members| members.contains_key("jobs"));
        let rules = root.x_kubernetes_validations.get_or_insert_default();
        if has_jobs && rules.iter().all(|rule| rule.rule != KEEP_RECORDS) {
            rules.push(ValidationRule {
                rule: KEEP_RECORDS.to_owned(),
                message: Some(
                    "status.jobs must keep its newest record and every record of a job that may be \
                     alive"
                        .to_owned(),
                ),
                ..ValidationRule::default()
            });
        }
        if root
            .x_kubernetes_validations
            .as_ref()
            .is_some_and(Vec::is_empty)
        {
            root.x_kubernetes_validations = None;
        }
    }
    definition
}
