//! What this process has written or read itself: a reconcile never decides on anything older.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::ResourceExt;
use kube::api::DynamicObject;

use crate::object;

/// The newest version of each object that is known here, by uid.
#[derive(Debug, Default)]
pub(crate) struct Seen(Mutex<HashMap<String, Known>>);

#[derive(Debug)]
struct Known {
    version: String,
    /// As our last write or read left it, until the watch has brought it back.
    object: Option<Arc<DynamicObject>>,
}

/// Which view of an object to work with.
pub(crate) enum View {
    /// This one is new enough.
    Use(Arc<DynamicObject>),
    /// Only the API server can tell.
    Ask,
}

impl Seen {
    /// Remembers the answer to a write or a read, unless something newer is known.
    pub(crate) fn knows(&self, object: &Arc<DynamicObject>) {
        let (Some(uid), Some(version)) = (object.uid(), object.resource_version()) else {
            return;
        };
        let mut all = self.lock();
        let older = |known: &Known| object::at_least(&version, &known.version) == Some(false);
        if all.get(&uid).is_some_and(older) {
            return;
        }
        let object = Some(Arc::clone(object));
        all.insert(uid, Known { version, object });
    }

    /// Nothing will be reconciled under this uid any more.
    pub(crate) fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    /// How many objects are known.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// The newer of the cached object and what is known here.
    pub(crate) fn newest(&self, cached: Arc<DynamicObject>) -> View {
        let (Some(uid), Some(version)) = (cached.uid(), cached.resource_version()) else {
            return View::Use(cached);
        };
        let mut all = self.lock();
        let Some(known) = all.get_mut(&uid) else {
            return View::Use(cached);
        };
        match (object::at_least(&version, &known.version), &known.object) {
            (Some(true), _) => {
                // The version stays: a cache may fall back behind what it has shown.
                *known = Known {
                    version,
                    object: None,
                };
                View::Use(cached)
            }
            (Some(false), Some(own)) => View::Use(Arc::clone(own)),
            (Some(false), None) | (None, _) => View::Ask,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(version: &str) -> Arc<DynamicObject> {
        let object = json!({
            "apiVersion": "v1", "kind": "K",
            "metadata": {"name": "n", "uid": "u", "resourceVersion": version},
        });
        Arc::new(serde_json::from_value(object).unwrap())
    }

    fn used(view: View) -> Option<String> {
        match view {
            View::Use(object) => object.resource_version(),
            View::Ask => None,
        }
    }

    #[test]
    fn the_highest_version_counts_whoever_brought_it_and_in_whatever_order() {
        let seen = Seen::default();
        seen.knows(&object("20"));
        seen.knows(&object("10"));
        assert_eq!(used(seen.newest(object("15"))).as_deref(), Some("20"));
        assert_eq!(used(seen.newest(object("30"))).as_deref(), Some("30"));
        // The cache has fallen back, and what it showed is not kept.
        assert_eq!(used(seen.newest(object("25"))), None);
        assert_eq!(used(seen.newest(object("31"))).as_deref(), Some("31"));
        assert_eq!(used(seen.newest(object("no number"))), None);
        seen.forget("u");
        assert_eq!(used(seen.newest(object("1"))).as_deref(), Some("1"));
    }
}
