//! The custom resource.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{CustomResource, CustomResourceExt};
use provider_kube::{Error, ProvisioningStatus, guarded};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A virtual machine, as a tenant orders it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "osac.openshift.io",
    version = "v1alpha1",
    kind = "ComputeInstance",
    shortname = "ci",
    namespaced,
    status = "ProvisioningStatus",
    printcolumn = r#"{"name":"Provisioned","type":"string","jsonPath":".status.conditions[?(@.type=='Provisioned')].status"}"#,
    printcolumn = r#"{"name":"Progressing","type":"string","jsonPath":".status.conditions[?(@.type=='Progressing')].reason"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ComputeInstanceSpec {
    /// Which template of the automation makes it.
    #[serde(rename = "templateID")]
    #[schemars(length(max = 253))]
    pub(crate) template_id: String,
    /// Parameters of the template, as JSON in a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65_536))]
    pub(crate) template_parameters: Option<String>,
    /// Virtual CPUs.
    #[schemars(range(min = 1, max = 512))]
    pub(crate) cores: u32,
    /// Memory in GiB.
    #[serde(rename = "memoryGiB")]
    #[schemars(range(min = 1, max = 16_384))]
    pub(crate) memory_gib: u32,
}

/// The definition to apply, with the rule that keeps the records.
pub(crate) fn definition() -> Result<CustomResourceDefinition, Error> {
    guarded(ComputeInstance::crd())
}
