//! Our finalizer: added before anything is started, removed on the engine's word alone.

use kube::ResourceExt;
use provider_core::lifecycle::StoreError;
use serde_json::json;

use crate::store::ObjectStore;

/// Others that write all the time are given way to, and it is tried again later.
const MAX_CONFLICTS: u32 = 8;

/// Adds the finalizer, unless it is there. `Ok(false)` when the object is being deleted without it:
/// then nothing was ever started for it, or somebody has taken it off by hand.
pub(crate) async fn ensure(store: &ObjectStore<'_>, finalizer: &str) -> Result<bool, StoreError> {
    let mut object = store.view();
    for _ in 0..MAX_CONFLICTS {
        let present = object.finalizers();
        if present.iter().any(|one| one == finalizer) {
            return Ok(true);
        }
        if object.metadata.deletion_timestamp.is_some() {
            return Ok(false);
        }
        let mut all = present.to_vec();
        all.push(finalizer.to_owned());
        let version = object.resource_version().unwrap_or_default();
        let body = json!({"metadata": {"finalizers": all}});
        match store.patch(body, &version, false).await {
            Ok(_) => return Ok(true),
            Err(StoreError::Conflict) => object = store.refresh().await?,
            Err(error) => return Err(error),
        }
    }
    Err(StoreError::Conflict)
}

/// Removes the finalizer from the object as it was when the engine let it go. A conflict means that
/// something has changed since, and that the engine must be asked again.
pub(crate) async fn remove(
    store: &ObjectStore<'_>,
    finalizer: &str,
    version: &str,
) -> Result<(), StoreError> {
    let object = store.view();
    let present = object.finalizers().iter();
    let left: Vec<&String> = present.filter(|one| *one != finalizer).collect();
    let body = json!({"metadata": {"finalizers": left}});
    match store.patch(body, version, false).await {
        Ok(_) | Err(StoreError::Gone) => Ok(()),
        Err(error) => Err(error),
    }
}
