//! An object as the API server keeps it, whatever its Rust type.

use kube::api::{DynamicObject, TypeMeta};
use kube::core::object::HasStatus;
use provider_core::{JobRecord, JobType, Resource, ResourceError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::ProvisioningStatus;

fn malformed(what: &str) -> ResourceError {
    ResourceError::Malformed(what.to_owned())
}

/// The object for a value of its own type. What the type does not know is not in it.
fn dynamic<K>(object: &K) -> Result<Value, ResourceError>
where
    K: kube::Resource<DynamicType = ()> + Serialize,
{
    let value = serde_json::to_value(object);
    let mut value = value.map_err(|_| malformed("the object cannot be written as JSON"))?;
    if let Value::Object(members) = &mut value {
        // Types from the Kubernetes API itself, and from watches, may come without these.
        let known = [
            ("apiVersion", K::api_version(&()).into_owned()),
            ("kind", K::kind(&()).into_owned()),
        ];
        for (name, text) in known {
            members.insert(name.to_owned(), text.into());
        }
    }
    Ok(value)
}

/// The object of a watch cache, with all of our part of its status: however the rest of its type is
/// written as JSON, the records are in it.
pub(crate) fn cached<K>(object: &K) -> Result<DynamicObject, ResourceError>
where
    K: kube::Resource<DynamicType = ()> + Serialize + HasStatus,
    K::Status: AsRef<ProvisioningStatus>,
{
    let value = serde_json::to_value(object);
    let Ok(Value::Object(mut members)) = value else {
        return Err(malformed("it cannot be written as an object of JSON"));
    };
    if let Some(status) = object.status() {
        let ours = serde_json::to_value(status.as_ref());
        let ours = ours.map_err(|_| malformed("its status cannot be written as JSON"))?;
        let there = members.entry("status").or_insert(Value::Null);
        match (there, ours) {
            (Value::Object(there), Value::Object(ours)) => there.extend(ours),
            (there, ours) => *there = ours,
        }
    }
    for apart in ["apiVersion", "kind", "metadata"] {
        members.remove(apart);
    }
    Ok(DynamicObject {
        types: Some(TypeMeta {
            api_version: K::api_version(&()).into_owned(),
            kind: K::kind(&()).into_owned(),
        }),
        metadata: object.meta().clone(),
        data: Value::Object(members),
    })
}

/// The object as its own type. Records that the type cannot read are left out of it: what is wanted
/// does not follow from them, and [`records`] reads them for itself.
pub(crate) fn typed<K: DeserializeOwned>(object: &DynamicObject) -> Result<K, ResourceError> {
    // The error would show values of the object.
    let unfit = |_| malformed("what the API server holds does not fit the object's Rust type");
    let mut value = serde_json::to_value(object).map_err(unfit)?;
    if records(object).iter().any(|record| record.defect.is_some())
        && let Some(Value::Object(status)) = value.get_mut("status")
    {
        status.remove("jobs");
    }
    serde_json::from_value(value).map_err(unfit)
}

/// The object of any Kubernetes type, as providers see it: for those who call the engine themselves.
///
/// # Errors
/// When it has no name, or cannot be written as JSON.
pub fn resource_of<K>(object: &K) -> Result<Resource, ResourceError>
where
    K: kube::Resource<DynamicType = ()> + Serialize,
{
    Resource::from_json(dynamic(object)?)
}

/// The object for providers.
pub(crate) fn resource(object: &DynamicObject) -> Result<Resource, ResourceError> {
    Resource::from_serializable(object)
}

fn status<'o>(object: &'o DynamicObject, name: &str) -> Option<&'o Value> {
    let value = object.data.get("status")?.get(name)?;
    (!value.is_null()).then_some(value)
}

/// The records in its status. Each is read by itself, so none hides the others, and what cannot be
/// read is a defective record: whatever it stands for may be alive.
pub(crate) fn records(object: &DynamicObject) -> Vec<JobRecord> {
    let read = |value: &Value| match value {
        Value::Object(members) => JobRecord::from_json(members),
        _ => defective("a member of status.jobs is not an object"),
    };
    match status(object, "jobs") {
        None => Vec::new(),
        Some(Value::Array(all)) => all.iter().map(read).collect(),
        Some(_) => vec![defective("status.jobs is not a list")],
    }
}

fn defective(defect: &str) -> JobRecord {
    let mut record = JobRecord::new(0, JobType::Provision);
    record.defect = Some(defect.to_owned());
    record
}

/// All conditions in its status, as they are: those of others may have any shape.
pub(crate) fn conditions(object: &DynamicObject) -> &[Value] {
    status(object, "conditions")
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// A condition in its status.
pub(crate) fn condition<'o>(object: &'o DynamicObject, condition: &str) -> Option<&'o Value> {
    let named = |one: &&Value| one.get("type").and_then(Value::as_str) == Some(condition);
    conditions(object).iter().find(named)
}

/// The reason of a condition.
pub(crate) fn reason<'o>(object: &'o DynamicObject, named: &str) -> Option<&'o str> {
    condition(object, named)?.get("reason")?.as_str()
}

/// A member of its status; null where there is none.
pub(crate) fn member(object: &DynamicObject, name: &str) -> Value {
    status(object, name).cloned().unwrap_or_default()
}

/// Whether the first version is at least as new as the second; none where that cannot be told.
///
/// Versions of one resource can be compared as numbers: documented since Kubernetes 1.35, and true of
/// every version that stores in etcd.
pub(crate) fn at_least(first: &str, second: &str) -> Option<bool> {
    Some(first.parse::<u64>().ok()? >= second.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(jobs: &Value) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "K", "metadata": {"name": "n", "resourceVersion": "1"},
            "status": {"jobs": jobs},
        }))
        .unwrap()
    }

    #[test]
    fn versions_are_compared_as_numbers_or_not_at_all() {
        assert_eq!(at_least("10", "9"), Some(true));
        assert_eq!(at_least("9", "10"), Some(false));
        assert_eq!(at_least("9", "9"), Some(true));
        assert_eq!(at_least("a", "9"), None);
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

    #[derive(Debug, Clone, serde::Deserialize, schemars::JsonSchema, kube::CustomResource)]
    #[kube(
        group = "example.com",
        version = "v1",
        kind = "Shy",
        status = "ShyStatus"
    )]
    #[derive(Serialize)]
    struct ShySpec {}

    /// A status that is written in a way of its own: without the records.
    #[derive(Debug, Clone, Default, Serialize, serde::Deserialize, schemars::JsonSchema)]
    struct ShyStatus {
        address: String,
        #[serde(skip)]
        provisioning: ProvisioningStatus,
    }

    impl AsRef<ProvisioningStatus> for ShyStatus {
        fn as_ref(&self) -> &ProvisioningStatus {
            &self.provisioning
        }
    }

    #[test]
    fn records_do_not_depend_on_how_the_rest_of_the_status_is_written() {
        let mut shy = Shy::new("n", ShySpec {});
        assert!(records(&cached(&shy).unwrap()).is_empty());
        let mut status = ShyStatus {
            address: "192.0.2.1".to_owned(),
            ..ShyStatus::default()
        };
        status.provisioning.jobs = vec![JobRecord::new(1, JobType::Provision)];
        shy.status = Some(status);
        let object = cached(&shy).unwrap();
        assert_eq!(records(&object).len(), 1);
        assert_eq!(member(&object, "address"), "192.0.2.1");
    }

    #[test]
    fn records_are_read_one_by_one_and_none_is_overlooked() {
        let good = json!({"jobID": 7, "type": "provision", "state": "Running"});
        let all = records(&object(&json!([good, {"jobID": "8"}, "text", null])));
        let defects: Vec<bool> = all.iter().map(|record| record.defect.is_some()).collect();
        assert_eq!(defects, [false, true, true, true]);
        assert_eq!(all.first().and_then(|r| r.job_id.as_deref()), Some("7"));
        for not_a_list in [json!({"0": good}), json!("text"), json!(7)] {
            let all = records(&object(&not_a_list));
            assert!(all.len() == 1 && all.iter().all(|record| record.defect.is_some()));
        }
        assert!(records(&object(&Value::Null)).is_empty());
    }
}
