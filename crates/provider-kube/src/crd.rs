//! What the API server itself can be made to refuse.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, ValidationRule,
};

use crate::Error;

/// The record of a job that may be alive stays, with its token and the name of its job, and so does the
/// newest record; the records of a target that was deprovisioned may go, up to that deprovision, because
/// such a target may be [absent](provider_core::lifecycle::Desired::absent) on a living object.
///
/// The words are those of `JobRecord::may_be_live`: an end that is not doubtful is one. A job may get
/// another name (the one behind an event becomes known), and none is taken away.
const KEEP_RECORDS: &str = "!has(oldSelf.status) || !has(oldSelf.status.jobs) || \
    oldSelf.status.jobs.all(o, o.attempt == 0 || (has(self.status) && has(self.status.jobs) && \
    (self.status.jobs.exists(n, n.attempt >= o.attempt) || \
    oldSelf.status.jobs.exists(d, d.attempt >= o.attempt && d.type == 'deprovision' && \
    d.state == 'Succeeded' && !(has(d.doubtful) && d.doubtful) && \
    (!has(o.target) || (has(d.target) && d.target == o.target)))) && \
    ((o.state in ['Succeeded', 'Failed', 'Canceled'] && !(has(o.doubtful) && o.doubtful)) || \
    self.status.jobs.exists(n, n.attempt == o.attempt && (o.jobID == '' || n.jobID != '') && \
    (!has(o.token) || (has(n.token) && n.token == o.token))))))";

/// Makes the API server refuse every write that would erase the record of a job which may be alive,
/// or the newest record: whoever writes, and however (a stale copy of the whole status, say).
///
/// Adds a transition rule to each version of the definition; adding it twice changes nothing. It does not
/// stand in the way of deletion.
///
/// # Errors
/// [`Error::Definition`] when a version has no `status.jobs`: there would be nothing to guard, and the
/// records, wherever they are, would be unprotected.
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
/// let definition = guarded(Machine::crd())?;
/// assert!(serde_json::to_string(&definition)?.contains("x-kubernetes-validations"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn guarded(
    mut definition: CustomResourceDefinition,
) -> Result<CustomResourceDefinition, Error> {
    for version in &mut definition.spec.versions {
        let root = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut());
        let has_jobs = |root: &&mut JSONSchemaProps| {
            let status = root.properties.as_ref().and_then(|all| all.get("status"));
            let members = status.and_then(|status| status.properties.as_ref());
            members.is_some_and(|members| members.contains_key("jobs"))
        };
        let Some(root) = root.filter(has_jobs) else {
            return Err(Error::Definition(format!("version {:.63}", version.name)));
        };
        let rules = root.x_kubernetes_validations.get_or_insert_default();
        if rules.iter().all(|rule| rule.rule != KEEP_RECORDS) {
            rules.push(ValidationRule {
                rule: KEEP_RECORDS.to_owned(),
                message: Some(
                    "status.jobs must keep its newest record and every record of a job that may be \
                     alive, with its token and job"
                        .to_owned(),
                ),
                ..ValidationRule::default()
            });
        }
    }
    Ok(definition)
}
