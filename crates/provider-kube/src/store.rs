//! The records of one object, in its status.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use kube::ResourceExt;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use provider_core::lifecycle::{
    Desired, Freshness, Snapshot, Standing, StatusStore, StoreError, StoreVersion,
};
use provider_core::{Clock, ConfigVersion, JobRecord, JobState, JobType, ObjectKey, Resource};
use serde_json::{Value, json};

use crate::error::{code, of_store};
use crate::seen::Seen;
use crate::{conditions, object};

/// Requests of a process to the API server, as far as they went out from here.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    pub(crate) reads: AtomicU64,
    pub(crate) writes: AtomicU64,
    pub(crate) conflicts: AtomicU64,
}

impl Requests {
    pub(crate) fn read(&self) {
        self.reads.fetch_add(1, Ordering::Relaxed);
        #[cfg(feature = "metrics")]
        metrics::counter!("provider_kube_api_reads_total").increment(1);
    }

    pub(crate) fn write(&self) {
        self.writes.fetch_add(1, Ordering::Relaxed);
        #[cfg(feature = "metrics")]
        metrics::counter!("provider_kube_api_writes_total").increment(1);
    }

    pub(crate) fn conflict(&self) {
        self.conflicts.fetch_add(1, Ordering::Relaxed);
        #[cfg(feature = "metrics")]
        metrics::counter!("provider_kube_api_conflicts_total").increment(1);
    }
}

/// The status of one object as a [`StatusStore`], for one pass over it.
///
/// Writes are merge patches of `status.jobs` and what goes with it, under the precondition of the
/// object's `resourceVersion`: whatever anybody has written in between, to any part of the object, is
/// a conflict, after which the object is read from the API server, never from a cache.
pub(crate) struct ObjectStore<'a> {
    pub(crate) api: Api<DynamicObject>,
    pub(crate) view: Mutex<Arc<DynamicObject>>,
    pub(crate) desired: &'a Desired,
    pub(crate) note: Option<&'a str>,
    pub(crate) seen: &'a Seen,
    pub(crate) requests: &'a Requests,
    pub(crate) clock: &'a dyn Clock,
}

impl ObjectStore<'_> {
    fn lock(&self) -> MutexGuard<'_, Arc<DynamicObject>> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The object as it was read or written last.
    pub(crate) fn view(&self) -> Arc<DynamicObject> {
        Arc::clone(&self.lock())
    }

    /// Reads the object from the API server.
    pub(crate) async fn refresh(&self) -> Result<Arc<DynamicObject>, StoreError> {
        let known = self.view();
        self.requests.read();
        let fresh = self.api.get(&known.name_any()).await;
        let fresh = Arc::new(lean(fresh.map_err(|error| of_store(&error))?));
        if fresh.uid() != known.uid() {
            // Another life of the same name.
            return Err(StoreError::Gone);
        }
        *self.lock() = Arc::clone(&fresh);
        Ok(fresh)
    }

    /// Writes under the precondition that nothing was written since `version`.
    pub(crate) async fn patch(
        &self,
        mut body: Value,
        version: &str,
        status: bool,
    ) -> Result<Arc<DynamicObject>, StoreError> {
        let known = self.view();
        if let Some(members) = body.as_object_mut() {
            let metadata = members.entry("metadata").or_insert_with(|| json!({}));
            if let Some(metadata) = metadata.as_object_mut() {
                metadata.insert("resourceVersion".to_owned(), version.into());
                metadata.insert("uid".to_owned(), json!(known.uid()));
            }
        }
        let (name, params, patch) = (
            known.name_any(),
            PatchParams::default(),
            Patch::Merge(&body),
        );
        self.requests.write();
        let written = if status {
            self.api.patch_status(&name, &params, &patch).await
        } else {
            self.api.patch(&name, &params, &patch).await
        };
        let written = Arc::new(lean(written.map_err(|error| {
            if code(&error) == Some(409) {
                self.requests.conflict();
            }
            of_store(&error)
        })?));
        self.seen.wrote(&written);
        *self.lock() = Arc::clone(&written);
        Ok(written)
    }

    /// Writes the conditions of a standing, if the object does not carry them already.
    pub(crate) async fn settle(&self, standing: &Standing) -> Result<(), StoreError> {
        let object = self.view();
        let Ok(resource) = object::resource(&object) else {
            return Ok(());
        };
        let records = object::records(&object);
        let body = self.status(&object, &resource, &records, Some(standing));
        let same = |(name, value): (&String, &Value)| object::member(&object, name) == *value;
        if body
            .as_object()
            .is_none_or(|members| members.iter().all(same))
        {
            return Ok(());
        }
        let version = object.resource_version().unwrap_or_default();
        self.patch(json!({ "status": body }), &version, true)
            .await?;
        Ok(())
    }

    /// What goes with the records: versions, generation and conditions.
    fn status(
        &self,
        object: &DynamicObject,
        resource: &Resource,
        records: &[JobRecord],
        standing: Option<&Standing>,
    ) -> Value {
        let mut status = json!({});
        let Some(members) = status.as_object_mut() else {
            return status;
        };
        if resource.generation() > 0 {
            members.insert(
                "observedGeneration".to_owned(),
                resource.generation().into(),
            );
        }
        if self.desired.target.is_none() {
            let version = self.desired.version.as_str();
            members.insert("desiredConfigVersion".to_owned(), version.into());
            // Null removes it.
            members.insert(
                "reconciledConfigVersion".to_owned(),
                json!(reconciled(records)),
            );
        }
        let ours = standing.and_then(|standing| {
            conditions::of(standing, records, resource, self.desired, self.note)
        });
        if let Some(ours) = ours {
            let present = object::conditions(object);
            let merged = conditions::merged(&present, ours, self.clock.now());
            members.insert("conditions".to_owned(), json!(merged));
        }
        status
    }
}

/// Without what is kept for server-side apply alone: it is as large as the rest.
fn lean(mut object: DynamicObject) -> DynamicObject {
    object.metadata.managed_fields = None;
    object
}

/// The version that is applied: that of the newest provision that succeeded, unless something was
/// deprovisioned since.
fn reconciled(records: &[JobRecord]) -> Option<&str> {
    let done = records
        .iter()
        .filter(|record| record.state == JobState::Succeeded);
    let newest = done.max_by_key(|record| record.attempt)?;
    if newest.job_type == JobType::Deprovision {
        return None;
    }
    newest.config_version.as_ref().map(ConfigVersion::as_str)
}

#[async_trait]
impl StatusStore for ObjectStore<'_> {
    async fn load(&self, _: &ObjectKey, freshness: Freshness) -> Result<Snapshot, StoreError> {
        let object = match freshness {
            Freshness::Cached => self.view(),
            Freshness::Current => self.refresh().await?,
        };
        let resource = object::resource(&object);
        Ok(Snapshot {
            records: Arc::new(object::records(&object)),
            version: StoreVersion::new(object.resource_version().unwrap_or_default()),
            resource: Some(resource.map_err(|error| StoreError::refused(&error.to_string()))?),
        })
    }

    async fn swap(
        &self,
        _: &ObjectKey,
        version: &StoreVersion,
        records: &[JobRecord],
    ) -> Result<StoreVersion, StoreError> {
        let object = self.view();
        let resource = object::resource(&object);
        let resource = resource.map_err(|error| StoreError::refused(&error.to_string()))?;
        let standing = conditions::implied(records, &resource, self.desired);
        let mut status = self.status(&object, &resource, records, standing.as_ref());
        if let Some(members) = status.as_object_mut() {
            members.insert("jobs".to_owned(), json!(records));
        }
        let body = json!({ "status": status });
        let written = self.patch(body, version.as_str(), true).await?;
        Ok(StoreVersion::new(
            written.resource_version().unwrap_or_default(),
        ))
    }
}
