//! Our finalizer: added before anything is started, removed on the engine's word alone.

use kube::ResourceExt;
use kube::api::DynamicObject;
use provider_core::lifecycle::StoreError;
use serde_json::json;

use crate::handle::Handle;

pub(crate) fn is_there(object: &DynamicObject, finalizer: &str) -> bool {
    object.finalizers().iter().any(|one| one == finalizer)
}

/// Adds the finalizer to the object as it was when it was decided to look after it.
pub(crate) async fn add(handle: &Handle<'_>, finalizer: &str) -> Result<(), StoreError> {
    let object = handle.view();
    let mut all = object.finalizers().to_vec();
    all.push(finalizer.to_owned());
    write(handle, &object, &all).await
}

/// Removes the finalizer from the object as it was when the engine let it go. A conflict means that
/// something has changed since, and that the engine must be asked again.
pub(crate) async fn remove(handle: &Handle<'_>, finalizer: &str) -> Result<(), StoreError> {
    let object = handle.view();
    let mut left = object.finalizers().to_vec();
    left.retain(|one| one != finalizer);
    write(handle, &object, &left).await
}

async fn write(
    handle: &Handle<'_>,
    object: &DynamicObject,
    finalizers: &[String],
) -> Result<(), StoreError> {
    let version = object.resource_version().unwrap_or_default();
    let body = json!({"metadata": {"finalizers": finalizers}});
    handle.patch(body, &version, false).await?;
    Ok(())
}
