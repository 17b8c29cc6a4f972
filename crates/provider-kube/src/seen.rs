//! What this process has written itself: a reconcile never decides on anything older.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::ResourceExt;
use kube::api::DynamicObject;

use crate::object::at_least;

/// Objects as our last writes left them, by uid, until the watch has brought them back.
#[derive(Debug, Default)]
pub(crate) struct Seen(Mutex<HashMap<String, Arc<DynamicObject>>>);

/// Which view of an object to work with.
pub(crate) enum View {
    /// This one is new enough.
    Use(Arc<DynamicObject>),
    /// Only the API server can tell.
    Ask,
}

impl Seen {
    /// Remembers the answer to a write.
    pub(crate) fn wrote(&self, object: &Arc<DynamicObject>) {
        if let Some(uid) = object.uid() {
            self.lock().insert(uid, Arc::clone(object));
        }
    }

    /// Nothing will be reconciled under this uid any more.
    pub(crate) fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    /// The newer of the cached object and our own last write.
    pub(crate) fn newest(&self, cached: Arc<DynamicObject>) -> View {
        let Some(uid) = cached.uid() else {
            return View::Use(cached);
        };
        let mut all = self.lock();
        let Some(own) = all.get(&uid) else {
            return View::Use(cached);
        };
        match at_least(&cached, own) {
            Some(true) => {
                all.remove(&uid);
                View::Use(cached)
            }
            Some(false) => View::Use(Arc::clone(own)),
            None => View::Ask,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<DynamicObject>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
