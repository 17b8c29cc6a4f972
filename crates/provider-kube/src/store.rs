//! The records of one object, in its status.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use kube::api::DynamicObject;
use provider_core::lifecycle::{
    Desired, Freshness, Snapshot, Standing, StatusStore, StoreError, StoreVersion, Written,
};
use provider_core::{Clock, JobRecord, ObjectKey, Resource};
use serde_json::{Value, json};

use crate::conditions::{self, DEPROVISIONED, Findings, OVERDUE};
use crate::handle::Handle;
use crate::said::{self, Said};
use crate::wake::Jobs;
use crate::{applied, object, targets};

/// The status of one object as a [`StatusStore`], for one target and one pass over it.
///
/// Writes are merge patches of `status.jobs` and what goes with it.
pub(crate) struct ObjectStore<'a> {
    pub(crate) handle: &'a Handle<'a>,
    /// The object that `desired` was made from. Nothing is said about any other.
    pub(crate) basis: &'a Resource,
    pub(crate) desired: &'a Desired,
    /// All that is wanted of the object, this one too.
    pub(crate) all: &'a [Desired],
    pub(crate) note: Option<&'a str>,
    pub(crate) jobs: &'a Jobs,
    pub(crate) said: &'a Said,
    pub(crate) clock: &'a dyn Clock,
    /// The object goes with the removal of our finalizer, so that its last record need not be written.
    pub(crate) may_leave_last: bool,
    /// The annotation that says what is applied, where there is to be one.
    pub(crate) applied: Option<&'a String>,
    left_last: AtomicBool,
    failure: Mutex<Option<StoreError>>,
}

impl<'a> ObjectStore<'a> {
    pub(crate) fn new(
        handle: &'a Handle<'a>,
        basis: &'a Resource,
        desired: &'a Desired,
        all: &'a [Desired],
        jobs: &'a Jobs,
        said: &'a Said,
        clock: &'a dyn Clock,
    ) -> Self {
        Self {
            handle,
            basis,
            desired,
            all,
            note: None,
            jobs,
            said,
            clock,
            may_leave_last: false,
            applied: None,
            left_last: AtomicBool::new(false),
            failure: Mutex::default(),
        }
    }

    /// Whether the end of the deprovision was left unwritten, for the removal of the finalizer.
    pub(crate) fn left_last(&self) -> bool {
        self.left_last.load(Ordering::Relaxed)
    }

    /// What the API server could not do, or refused, other than by a conflict.
    pub(crate) fn failure(&self) -> Option<StoreError> {
        let failure = self.failure.lock();
        failure.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn noted<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error @ (StoreError::Unavailable(_) | StoreError::Refused(_))) = &result {
            let failure = self.failure.lock();
            *failure.unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
        }
        result
    }

    /// Writes what was found, if the object does not say so already. Answers those of our conditions
    /// that have another reason than before.
    pub(crate) async fn settle(
        &self,
        findings: &Findings<'_>,
    ) -> Result<Vec<Condition>, StoreError> {
        let object = self.handle.view();
        let Ok((resource, records)) = self.handle.contents(&object) else {
            return Ok(Vec::new());
        };
        let ours = conditions::of(findings, &records, &resource, self.desired, self.note);
        let news: Vec<Condition> = ours
            .iter()
            .flatten()
            .filter(|one| object::reason(&object, &one.type_) != Some(one.reason.as_str()))
            .cloned()
            .collect();
        let word = ours.as_ref().map(|ours| said::digest(ours));
        let body = self.status(&object, &resource, &records, ours);
        let same = |(name, value): (&String, &Value)| object::member(&object, name) == *value;
        if body
            .as_object()
            .is_none_or(|members| members.iter().all(same))
        {
            return Ok(Vec::new());
        }
        let (uid, target) = (self.basis.uid(), self.desired.target.as_deref());
        let now = self.clock.now();
        if word.is_some_and(|word| !self.said.may_say(uid, target, word, now)) {
            return Ok(Vec::new());
        }
        let version = object.resource_version().unwrap_or_default();
        self.handle
            .patch(json!({ "status": body }), &version, true)
            .await?;
        if let Some(word) = word {
            self.said.say(uid, target, word, now);
        }
        Ok(news)
    }

    /// What goes with the records: versions, generation and conditions.
    fn status(
        &self,
        object: &DynamicObject,
        resource: &Resource,
        records: &[JobRecord],
        ours: Option<[Condition; 3]>,
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
            let applied = conditions::applied(records, self.desired);
            members.insert("desiredConfigVersion".to_owned(), version.into());
            // Null removes it.
            members.insert(
                "reconciledConfigVersion".to_owned(),
                json!(applied.and_then(|record| record.config_version.as_ref())),
            );
        } else if self.all.iter().all(|desired| desired.target.is_some()) {
            // From the time when the object had one target: of several, no version is the object's.
            for name in ["desiredConfigVersion", "reconciledConfigVersion"] {
                members.insert(name.to_owned(), Value::Null);
            }
        }
        if let Some(ours) = ours {
            let named = targets::names(self.all);
            let present = conditions::without_former(object::conditions(object), &named);
            let merged = conditions::merged(&present, ours.into(), self.clock.now());
            members.insert("conditions".to_owned(), json!(merged));
        }
        status
    }
}

/// Writes an annotation of the object as it is known here; an empty text takes it off.
pub(crate) async fn annotate(
    handle: &Handle<'_>,
    name: &str,
    text: &str,
) -> Result<(), StoreError> {
    let version = handle.view().resource_version().unwrap_or_default();
    // Null removes it.
    let text = (!text.is_empty()).then_some(text);
    let body = json!({"metadata": {"annotations": {name: text}}});
    handle.patch(body, &version, false).await?;
    Ok(())
}

#[async_trait]
impl StatusStore for ObjectStore<'_> {
    async fn load(&self, _: &ObjectKey, freshness: Freshness) -> Result<Snapshot, StoreError> {
        let object = match freshness {
            Freshness::Cached => self.handle.view(),
            Freshness::Current => self.noted(self.handle.refresh().await)?,
        };
        let contents = self.handle.contents(&object);
        let contents = contents.map_err(|error| StoreError::refused(&error.to_string()))?;
        let (resource, records) = contents;
        let version = StoreVersion::new(object.resource_version().unwrap_or_default());
        Ok(Snapshot::new(records, version).with_resource(resource))
    }

    async fn swap(
        &self,
        _: &ObjectKey,
        version: &StoreVersion,
        records: &[JobRecord],
    ) -> Result<Written, StoreError> {
        let object = self.handle.view();
        let contents = self.handle.contents(&object);
        let contents = contents.map_err(|error| StoreError::refused(&error.to_string()))?;
        let (resource, present) = contents;
        if let Some(name) = self.applied
            && let Some(text) = applied::withdrawn(&object, name, records, self.all)
            && object.resource_version().as_deref() == Some(version.as_str())
        {
            // The object is another after this, so all is decided afresh.
            self.noted(annotate(self.handle, name, &text).await)?;
            return Err(StoreError::Conflict);
        }
        self.jobs.learn(resource.key(), records);
        let readable = records.iter().all(|record| record.defect.is_none());
        // The object has been changed since `desired` was made: then only the records are brought up to
        // date, and the next pass says where the object stands.
        let mut status = json!({});
        let mut word = None;
        if resource.asks_the_same(self.basis) {
            let standing = conditions::implied(records, &resource, self.desired);
            let released = matches!(standing, Some(Standing::Released(_)));
            if self.may_leave_last && released && readable {
                // The finalizer goes next, under the precondition of this same version: a write in
                // between would only cost. After a crash the job is asked about once more.
                self.left_last.store(true, Ordering::Relaxed);
                return Ok(Written::left(version.clone()));
            }
            // A write that changes no record only proves that they are current: what the object says is by the
            // end of the pass before.
            let standing = standing.filter(|_| **present != *records);
            let ours = standing.and_then(|standing| {
                let name = conditions::name(self.desired, DEPROVISIONED);
                let findings = Findings {
                    standing: &standing,
                    why: None,
                    trouble: None,
                    // Once it is late it stays late.
                    overdue: object::reason(&object, &name) == Some(OVERDUE),
                };
                conditions::of(&findings, records, &resource, self.desired, self.note)
            });
            word = ours.as_ref().map(|ours| said::digest(ours));
            status = self.status(&object, &resource, records, ours);
        }
        if let Some(members) = status.as_object_mut()
            && readable
        {
            // Beside a record that cannot be read nothing changes, and it stays as it is.
            let kept = targets::without_former(records, self.all);
            members.insert("jobs".to_owned(), json!(kept));
        }
        let body = json!({ "status": status });
        let written = self.handle.patch(body, version.as_str(), true).await;
        let written = self.noted(written)?;
        if let Some(word) = word {
            let (uid, target) = (self.basis.uid(), self.desired.target.as_deref());
            self.said.say(uid, target, word, self.clock.now());
        }
        let version = StoreVersion::new(written.resource_version().unwrap_or_default());
        let contents = self.handle.contents(&written);
        let contents = contents.map_err(|error| StoreError::refused(&error.to_string()))?;
        let (resource, _) = contents;
        Ok(Written::new(version).with_resource(resource))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handle::Requests;
    use crate::mock::{Machine, Server, desired};
    use crate::seen::Seen;
    use kube::Api;
    use kube::api::ApiResource;
    use provider_core::SystemClock;
    use provider_testkit::conformance::store::{StoreHarness, check};
    use std::sync::Arc;

    /// The store of one object, without its borrows: a handle lives for one operation.
    struct Whole {
        server: Server,
        view: Mutex<Arc<DynamicObject>>,
        seen: Seen,
        requests: Requests,
        jobs: Jobs,
        said: Said,
    }

    impl Whole {
        async fn with<T>(
            &self,
            work: impl AsyncFnOnce(&ObjectStore<'_>) -> Result<T, StoreError>,
        ) -> Result<T, StoreError> {
            let view = Arc::clone(&self.view.lock().unwrap());
            let namespace = view.namespace().unwrap();
            let resource = ApiResource::erase::<Machine>(&());
            let api = Api::namespaced_with(self.server.client(), &namespace, &resource);
            let handle = Handle::new(api, &view, &self.seen, &self.requests);
            let basis = object::resource(&view).unwrap();
            let wanted = desired(&object::typed(&view).unwrap());
            let all = std::slice::from_ref(&wanted);
            let store = ObjectStore::new(
                &handle,
                &basis,
                &wanted,
                all,
                &self.jobs,
                &self.said,
                &SystemClock,
            );
            let result = work(&store).await;
            *self.view.lock().unwrap() = handle.view();
            result
        }
    }

    #[async_trait]
    impl StatusStore for Whole {
        async fn load(&self, key: &ObjectKey, fresh: Freshness) -> Result<Snapshot, StoreError> {
            self.with(async |store| store.load(key, fresh).await).await
        }

        async fn swap(
            &self,
            key: &ObjectKey,
            version: &StoreVersion,
            records: &[JobRecord],
        ) -> Result<Written, StoreError> {
            self.with(async |store| store.swap(key, version, records).await)
                .await
        }
    }

    struct Harness(Server);

    #[async_trait]
    impl StoreHarness for Harness {
        async fn open(&self, key: &ObjectKey) -> Arc<dyn StatusStore> {
            let there = self.0.exists(&key.name)
                && self.0.value(&key.name)["metadata"]["uid"] == key.uid.as_str();
            if !there {
                let object = json!({
                    "apiVersion": "example.com/v1", "kind": "Machine", "spec": {"cores": 2},
                    "metadata": {"name": key.name, "namespace": key.namespace, "uid": key.uid,
                        "generation": 1},
                });
                self.0.put(&key.name, object);
            }
            let view = serde_json::from_value(self.0.value(&key.name)).unwrap();
            Arc::new(Whole {
                server: self.0.clone(),
                view: Mutex::new(Arc::new(view)),
                seen: Seen::default(),
                requests: Requests::default(),
                jobs: Jobs::default(),
                said: Said::default(),
            })
        }

        fn accepts(&self, key: &ObjectKey) -> bool {
            // Those of the API server.
            let label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            key.kind == "Machine"
                && key
                    .namespace
                    .as_ref()
                    .is_some_and(|name| name.chars().all(label))
                && key.name.chars().all(|c| label(c) || c == '.')
                && !key.name.starts_with('.')
        }
    }

    #[tokio::test]
    async fn the_status_of_an_object_keeps_the_contract_of_a_store() {
        assert_eq!(check(&Harness(Server::default().unguarded())).await, []);
    }
}
