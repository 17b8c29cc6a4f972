//! Wake-ups: objects whose job has moved, as soon as a backend can tell.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kube::runtime::reflector::ObjectRef;
use provider_core::{JobRecord, JobRef, ObjectKey};

/// Which object a live job belongs to, by provider and id.
#[derive(Debug, Default)]
pub(crate) struct Jobs(Mutex<HashMap<(String, String), ObjectKey>>);

impl Jobs {
    /// Learns the live jobs of an object, and forgets its others.
    pub(crate) fn learn(&self, key: &ObjectKey, records: &[JobRecord]) {
        let mut all = self.lock();
        for record in records {
            let Some(job) = record.job_ref() else {
                continue;
            };
            let name = (job.provider, job.id);
            if record.may_be_live() {
                all.insert(name, key.clone());
            } else {
                all.remove(&name);
            }
        }
    }

    /// Forgets all jobs of these objects.
    pub(crate) fn forget(&self, objects: &HashSet<ObjectKey>) {
        self.lock().retain(|_, object| !objects.contains(object));
    }

    /// How many jobs are known.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// The object of a job.
    pub(crate) fn of(&self, job: &JobRef) -> Option<ObjectKey> {
        let name = (job.provider.clone(), job.id.clone());
        self.lock().get(&name).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, String), ObjectKey>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The object for a controller's queue.
pub(crate) fn reference<K>(key: &ObjectKey) -> ObjectRef<K>
where
    K: kube::Resource<DynamicType = ()>,
{
    let reference = ObjectRef::new(&key.name);
    match &key.namespace {
        Some(namespace) => reference.within(namespace),
        None => reference,
    }
}
