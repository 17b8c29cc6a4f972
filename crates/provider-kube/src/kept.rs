//! Which objects this process remembers something of.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use provider_core::ObjectKey;

/// An object that was not worked on for so long is forgotten: it is at rest, or gone. Nobody may ever say
/// which: of two replicas only one sees the finalizer off, and a controller is not called for what is not
/// there. Longer than any wait between two looks at a job.
const IDLE: SignedDuration = SignedDuration::from_hours(2);
/// How often it is looked for such, while objects come: where none comes, nothing grows.
const EVERY: SignedDuration = SignedDuration::from_mins(10);

/// When each object was worked on last.
#[derive(Debug, Default)]
pub(crate) struct Kept(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    used: HashMap<ObjectKey, Timestamp>,
    looked: Option<Timestamp>,
}

impl Kept {
    /// Notes that an object is worked on. Answers those that are to be forgotten.
    pub(crate) fn used(&self, key: ObjectKey, now: Timestamp) -> Vec<ObjectKey> {
        let mut state = self.lock();
        state.used.insert(key, now);
        let looked = *state.looked.get_or_insert(now);
        // A clock that was set back begins anew.
        if now.duration_since(looked).abs() < EVERY {
            return Vec::new();
        }
        state.looked = Some(now);
        let idle = |at: &Timestamp| now.duration_since(*at).abs() >= IDLE;
        let idle: Vec<ObjectKey> = state
            .used
            .iter()
            .filter(|(_, at)| idle(at))
            .map(|(key, _)| key.clone())
            .collect();
        for key in &idle {
            state.used.remove(key);
        }
        state.used.shrink_to_fit();
        idle
    }

    /// An object is gone.
    pub(crate) fn forget(&self, key: &ObjectKey) {
        self.lock().used.remove(key);
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().used.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
