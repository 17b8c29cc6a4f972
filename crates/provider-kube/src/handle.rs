//! One object at the API server, for one pass over it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::ResourceExt;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use provider_core::lifecycle::StoreError;
use provider_core::{JobRecord, Resource, ResourceError, text};
use serde_json::{Value, json};

use crate::error::{code, of_read, of_store, reason};
use crate::seen::Seen;
use crate::{Error, object};

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

    #[allow(clippy::unused_self, reason = "beside its sisters")]
    fn unwritable(&self) {
        #[cfg(feature = "metrics")]
        metrics::counter!("provider_kube_api_unwritable_total").increment(1);
    }
}

/// What a person is told whose object can be read and not written.
const UNWRITABLE: &str = "the object is there and cannot be written; its definition may have no status \
    subresource, its namespace may have been removed by force, or something between this controller and \
    the API server may answer in its place";

/// What was read from an object.
struct Read {
    object: Arc<DynamicObject>,
    resource: Resource,
    records: Arc<Vec<JobRecord>>,
}

/// The object as this pass knows it, and the two ways to know it better.
///
/// Every write names the version of the whole object that it rests on: whatever anybody has written
/// in between, to any part of it, is a conflict, after which the object is read from the API server.
pub(crate) struct Handle<'a> {
    pub(crate) api: Api<DynamicObject>,
    view: Mutex<Arc<DynamicObject>>,
    read: Mutex<Option<Read>>,
    refreshes: AtomicU64,
    unwritable: Mutex<Option<Arc<DynamicObject>>>,
    failure: Mutex<Option<Arc<kube::Error>>>,
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
            read: Mutex::default(),
            refreshes: AtomicU64::new(0),
            unwritable: Mutex::default(),
            failure: Mutex::default(),
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

    /// The object for providers, and the records in its status: read once from each object that was seen.
    pub(crate) fn contents(
        &self,
        object: &Arc<DynamicObject>,
    ) -> Result<(Resource, Arc<Vec<JobRecord>>), ResourceError> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(read) = &*read
            && Arc::ptr_eq(&read.object, object)
        {
            return Ok((read.resource.clone(), Arc::clone(&read.records)));
        }
        let resource = object::resource(object)?;
        let records = Arc::new(object::records(object));
        *read = Some(Read {
            object: Arc::clone(object),
            resource: resource.clone(),
            records: Arc::clone(&records),
        });
        Ok((resource, records))
    }

    /// How often it was read: what was decided before a read rests on an older object.
    pub(crate) fn refreshes(&self) -> u64 {
        self.refreshes.load(Ordering::Relaxed)
    }

    /// Reads the object from the API server.
    pub(crate) async fn refresh(&self) -> Result<Arc<DynamicObject>, StoreError> {
        self.refreshes.fetch_add(1, Ordering::Relaxed);
        let fresh = self.read().await?;
        self.seen.knows(&fresh);
        *self.lock() = Arc::clone(&fresh);
        Ok(fresh)
    }

    /// The object as the API server has it, if it is still the same life.
    async fn read(&self) -> Result<Arc<DynamicObject>, StoreError> {
        let known = self.view();
        let name = known.name_any();
        self.requests.read();
        let fresh = self.api.get(&name).await;
        let fresh = match fresh {
            Ok(fresh) => Arc::new(lean(fresh)),
            Err(error) => {
                let means = of_read(&error, &name);
                self.has_failed(error);
                return Err(means);
            }
        };
        if fresh.uid() != known.uid() {
            // Another life of the same name.
            return Err(StoreError::Gone);
        }
        Ok(fresh)
    }

    /// The object as it was read after a write of it had been answered with "there is none".
    pub(crate) fn unwritable(&self) -> Option<Arc<DynamicObject>> {
        let found = self.unwritable.lock();
        found.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn has_failed(&self, error: kube::Error) {
        let failure = self.failure.lock();
        *failure.unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(error));
    }

    /// What could not be done, for the caller: with the answer of the request that failed last.
    pub(crate) fn error(&self, action: &'static str, error: &StoreError) -> Error {
        let failure = self.failure.lock();
        Error::Api {
            action,
            reason: text::bounded(&error.to_string(), text::MAX_TEXT),
            source: failure.unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// What a write that failed means. That there is nothing to write to is believed when there is
    /// nothing to read either.
    async fn failed(&self, error: kube::Error) -> StoreError {
        let means = match code(&error) {
            Some(409) => {
                self.requests.conflict();
                StoreError::Conflict
            }
            Some(404 | 410) => match self.read().await {
                Ok(found) => {
                    self.requests.unwritable();
                    let unwritable = self.unwritable.lock();
                    *unwritable.unwrap_or_else(PoisonError::into_inner) = Some(found);
                    StoreError::refused(&format!("{}; {UNWRITABLE}", reason(&error)))
                }
                Err(means) => return means,
            },
            _ => of_store(&error),
        };
        self.has_failed(error);
        means
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
        let written = match written {
            Ok(written) => Arc::new(lean(written)),
            Err(error) => return Err(self.failed(error).await),
        };
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
