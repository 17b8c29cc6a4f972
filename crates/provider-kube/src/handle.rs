//! One object at the API server, for one pass over it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::ResourceExt;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use provider_core::lifecycle::StoreError;
use serde_json::{Value, json};

use crate::error::{code, of_store};
use crate::seen::Seen;

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

    fn write(&self) {
        self.writes.fetch_add(1, Ordering::Relaxed);
        #[cfg(feature = "metrics")]
        metrics::counter!("provider_kube_api_writes_total").increment(1);
    }

    fn conflict(&self) {
        self.conflicts.fetch_add(1, Ordering::Relaxed);
        #[cfg(feature = "metrics")]
        metrics::counter!("provider_kube_api_conflicts_total").increment(1);
    }
}

/// The object as this pass knows it, and the two ways to know it better.
///
/// Every write names the version of the whole object that it rests on: whatever anybody has written
/// in between, to any part of it, is a conflict, after which the object is read from the API server.
pub(crate) struct Handle<'a> {
    pub(crate) api: Api<DynamicObject>,
    view: Mutex<Arc<DynamicObject>>,
    refreshes: AtomicU64,
    seen: &'a Seen,
    requests: &'a Requests,
}

impl<'a> Handle<'a> {
    pub(crate) fn new(
        api: Api<DynamicObject>,
        view: &Arc<DynamicObject>,
        seen: &'a Seen,
        requests: &'a Requests,
    ) -> Self {
        Self {
            api,
            view: Mutex::new(Arc::clone(view)),
            refreshes: AtomicU64::new(0),
            seen,
            requests,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Arc<DynamicObject>> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The object as it was read or written last.
    pub(crate) fn view(&self) -> Arc<DynamicObject> {
        Arc::clone(&self.lock())
    }

    /// How often it was read: what was decided before a read rests on an older object.
    pub(crate) fn refreshes(&self) -> u64 {
        self.refreshes.load(Ordering::Relaxed)
    }

    /// Reads the object from the API server.
    pub(crate) async fn refresh(&self) -> Result<Arc<DynamicObject>, StoreError> {
        let known = self.view();
        self.requests.read();
        self.refreshes.fetch_add(1, Ordering::Relaxed);
        let fresh = self.api.get(&known.name_any()).await;
        let fresh = Arc::new(lean(fresh.map_err(|error| of_store(&error))?));
        if fresh.uid() != known.uid() {
            // Another life of the same name.
            return Err(StoreError::Gone);
        }
        self.seen.knows(&fresh);
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
        self.seen.knows(&written);
        *self.lock() = Arc::clone(&written);
        Ok(written)
    }
}

/// Without what is kept for server-side apply alone: it is as large as the rest.
fn lean(mut object: DynamicObject) -> DynamicObject {
    object.metadata.managed_fields = None;
    object
}
