//! A store in memory, with the faults of real ones on request.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::store::{Freshness, Snapshot, StatusStore, StoreError, StoreVersion, Written};
use crate::{JobRecord, ObjectKey};

/// Records in memory. They survive the engine, not the process.
///
/// For programs that can afford to lose them, and for tests: [`inject`](Self::inject) makes the
/// next operations fail as real stores do.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    objects: HashMap<ObjectKey, Versions>,
    faults: VecDeque<StoreFault>,
}

#[derive(Debug, Default)]
struct Versions {
    number: u64,
    now: Arc<Vec<JobRecord>>,
    /// The version before, for stale reads.
    before: Arc<Vec<JobRecord>>,
}

/// A way in which the next fitting operation goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoreFault {
    /// The next cached load gives the version before the present one.
    StaleLoad,
    /// The next load fails.
    FailLoad,
    /// The next swap meets a conflict and writes nothing.
    Conflict,
    /// The next swap fails and writes nothing.
    FailSwap,
    /// The next swap writes, and its answer is lost.
    LoseSwapAnswer,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a fitting operation to come go wrong; several are used up in their order.
    pub fn inject(&self, fault: StoreFault) {
        self.lock().faults.push_back(fault);
    }

    /// The present records of an object.
    #[must_use]
    pub fn records(&self, key: &ObjectKey) -> Vec<JobRecord> {
        self.lock()
            .objects
            .get(key)
            .map(|object| (*object.now).clone())
            .unwrap_or_default()
    }

    /// Writes records without any precondition, as a careless second writer would.
    pub fn overwrite(&self, key: &ObjectKey, records: Vec<JobRecord>) {
        let mut state = self.lock();
        write(
            state.objects.entry(key.clone()).or_default(),
            Arc::new(records),
        );
    }

    /// Forgets an object.
    pub fn remove(&self, key: &ObjectKey) {
        self.lock().objects.remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, fits: &[StoreFault]) -> Option<StoreFault> {
        let fault = *self.faults.front()?;
        if fits.contains(&fault) {
            self.faults.pop_front()
        } else {
            None
        }
    }
}

fn write(object: &mut Versions, records: Arc<Vec<JobRecord>>) {
    object.number += 1;
    object.before = std::mem::replace(&mut object.now, records);
}

#[async_trait]
impl StatusStore for MemoryStore {
    async fn load(&self, key: &ObjectKey, freshness: Freshness) -> Result<Snapshot, StoreError> {
        let mut state = self.lock();
        let fits: &[StoreFault] = match freshness {
            Freshness::Cached => &[StoreFault::StaleLoad, StoreFault::FailLoad],
            Freshness::Current => &[StoreFault::FailLoad],
        };
        let fault = state.take(fits);
        if fault == Some(StoreFault::FailLoad) {
            return Err(StoreError::unavailable("injected failure of a load"));
        }
        let Some(object) = state.objects.get(key) else {
            return Ok(Snapshot {
                records: Arc::default(),
                version: StoreVersion::new("0"),
                resource: None,
            });
        };
        let (records, number) = match fault {
            Some(_) => (&object.before, object.number.saturating_sub(1)),
            None => (&object.now, object.number),
        };
        Ok(Snapshot {
            records: Arc::clone(records),
            version: StoreVersion::new(number.to_string()),
            resource: None,
        })
    }

    async fn swap(
        &self,
        key: &ObjectKey,
        version: &StoreVersion,
        records: &[JobRecord],
    ) -> Result<Written, StoreError> {
        let mut state = self.lock();
        let fault = state.take(&[
            StoreFault::Conflict,
            StoreFault::FailSwap,
            StoreFault::LoseSwapAnswer,
        ]);
        match fault {
            Some(StoreFault::Conflict) => return Err(StoreError::Conflict),
            Some(StoreFault::FailSwap) => {
                return Err(StoreError::unavailable("injected failure of a swap"));
            }
            _ => {}
        }
        let present = state.objects.get(key).map_or(0, |object| object.number);
        if version.as_str() != present.to_string() {
            return Err(StoreError::Conflict);
        }
        if !state.objects.contains_key(key) {
            state.objects.insert(key.clone(), Versions::default());
        }
        if let Some(object) = state.objects.get_mut(key) {
            write(object, Arc::new(records.to_vec()));
        }
        if fault == Some(StoreFault::LoseSwapAnswer) {
            return Err(StoreError::unavailable("injected loss of a swap's answer"));
        }
        let version = StoreVersion::new((present + 1).to_string());
        Ok(Written::new(version))
    }
}
