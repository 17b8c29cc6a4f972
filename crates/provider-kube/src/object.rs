//! An object as the API server keeps it, whatever its Rust type.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use kube::api::DynamicObject;
use provider_core::{JobRecord, Resource, ResourceError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The object for a value of its own type. What the type does not know is not in it.
pub(crate) fn dynamic<K>(
    object: &K,
    dynamic_type: &K::DynamicType,
) -> Result<DynamicObject, ResourceError>
where
    K: kube::Resource + Serialize,
{
    let malformed = |error: serde_json::Error| ResourceError::Malformed(error.to_string());
    let mut value = serde_json::to_value(object).map_err(malformed)?;
    if let Value::Object(members) = &mut value {
        // Types from the Kubernetes API itself, and from watches, may come without these.
        let known = [
            ("apiVersion", K::api_version(dynamic_type).into_owned()),
            ("kind", K::kind(dynamic_type).into_owned()),
        ];
        for (name, text) in known {
            members.insert(name.to_owned(), text.into());
        }
    }
    serde_json::from_value(value).map_err(malformed)
}

/// The object of any Kubernetes type, as providers see it: for those who call the engine themselves.
///
/// # Errors
/// When it has no name, or cannot be written as JSON.
pub fn resource_of<K>(object: &K) -> Result<Resource, ResourceError>
where
    K: kube::Resource<DynamicType = ()> + Serialize,
{
    resource(&dynamic(object, &())?)
}

/// The object for providers.
pub(crate) fn resource(object: &DynamicObject) -> Result<Resource, ResourceError> {
    Resource::from_serializable(object)
}

fn status<T: DeserializeOwned>(object: &DynamicObject, name: &str) -> Option<T> {
    let value = object.data.get("status")?.get(name)?;
    serde_json::from_value(value.clone()).ok()
}

/// The records in its status. Each is read by itself, so none hides the others.
pub(crate) fn records(object: &DynamicObject) -> Vec<JobRecord> {
    status(object, "jobs").unwrap_or_default()
}

/// All conditions in its status, ours and others'.
pub(crate) fn conditions(object: &DynamicObject) -> Vec<Condition> {
    status(object, "conditions").unwrap_or_default()
}

/// A member of its status that is a text or a number.
pub(crate) fn member(object: &DynamicObject, name: &str) -> Value {
    status(object, name).unwrap_or_default()
}

/// Whether the first is at least as new as the second; none where that cannot be told.
///
/// Versions of one resource can be compared as numbers: documented since Kubernetes 1.35, and true of
/// every version that stores in etcd.
pub(crate) fn at_least(first: &DynamicObject, second: &DynamicObject) -> Option<bool> {
    let number = |object: &DynamicObject| object.resource_version()?.parse::<u64>().ok();
    Some(number(first)? >= number(second)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(version: &str) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "K", "metadata": {"name": "n", "resourceVersion": version},
            "status": {"jobs": [{"jobID": 7, "type": "provision", "state": "Running"}, {"jobID": "8"}]},
        }))
        .unwrap()
    }

    #[test]
    fn versions_are_compared_as_numbers_or_not_at_all() {
        assert_eq!(at_least(&object("10"), &object("9")), Some(true));
        assert_eq!(at_least(&object("9"), &object("10")), Some(false));
        assert_eq!(at_least(&object("9"), &object("9")), Some(true));
        assert_eq!(at_least(&object("a"), &object("9")), None);
    }

    #[test]
    fn types_of_kubernetes_itself_are_resources_too() {
        let mut map = k8s_openapi::api::core::v1::ConfigMap::default();
        map.metadata.name = Some("settings".to_owned());
        let resource = resource_of(&map).unwrap();
        assert_eq!(
            (resource.kind(), resource.name()),
            ("ConfigMap", "settings")
        );
        map.metadata.name = None;
        assert!(resource_of(&map).is_err());
    }

    #[test]
    fn records_are_read_one_by_one() {
        let records = records(&object("1"));
        assert_eq!(records.len(), 2);
        assert!(
            records
                .first()
                .is_some_and(|r| r.job_id.as_deref() == Some("7"))
        );
        assert!(records.last().is_some_and(|r| r.defect.is_some()));
    }
}
