//! How often in a row an object could not be reconciled.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// When to try again after the first error.
pub(crate) const FIRST: Duration = Duration::from_secs(5);
/// Doubled so often at most: up to 80 s.
const MAX_DOUBLINGS: u32 = 4;

/// Errors in a row, by object.
#[derive(Debug, Default)]
pub(crate) struct Retries(Mutex<HashMap<String, u32>>);

impl Retries {
    /// How long to wait after one more.
    pub(crate) fn failed(&self, object: String) -> Duration {
        let mut all = self.lock();
        let failures = all.entry(object).or_default();
        let wait = FIRST.saturating_mul(1 << (*failures).min(MAX_DOUBLINGS));
        *failures = failures.saturating_add(1);
        wait
    }

    /// It went well, or the object is gone.
    pub(crate) fn forget(&self, object: &str) {
        self.lock().remove(object);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
