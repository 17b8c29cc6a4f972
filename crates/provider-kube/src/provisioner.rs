//! The one thing that a reconcile function calls.

use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{Stream, StreamExt};
use kube::api::{Api, ApiResource, DynamicObject};
use kube::runtime::controller::Action;
use kube::runtime::events::Reporter;
use kube::runtime::reflector::ObjectRef;
use kube::{Client, ResourceExt};
use provider_core::lifecycle::{
    Desired, Entropy, Lifecycle, Outcome, ProviderRegistry, Standing, StoreError, SystemEntropy,
};
use provider_core::{Clock, JobRef, SystemClock, text};
use serde::Serialize;

use crate::events::Events;
use crate::seen::{Seen, View};
use crate::store::{ObjectStore, Requests};
use crate::wake::{self, Jobs};
use crate::{Annotations, Error, finalizer, object};

/// A pass that is broken off because the object was old is begun anew so often.
const MAX_PASSES: u32 = 4;
/// When to try again after the API server could not be used.
const RETRY: Duration = Duration::from_secs(5);

/// Drives objects of one kind through their lives: finalizer, records, jobs, conditions, events.
///
/// One for a controller, shared by all its objects (`Arc`).
///
/// # Expected flow
/// The controller's reconcile function calls [`reconcile`](Self::reconcile) with the object that it
/// was given and what is wanted of it, and returns the action.
///
/// # Guarantees
/// Those of the [engine](provider_core::lifecycle), for any number of replicas at once: leader
/// election saves requests, and safety does not need it. The object that is passed in may be as old
/// as a watch cache can be: nothing is launched, cancelled or let go but right after a write that the
/// API server accepted on the newest version of the object, and nothing is decided on an object older
/// than this process' own last write.
///
/// # Assumptions
/// The kind has a status subresource, whose `jobs` no other program changes. Apply the definition
/// [`guarded`](crate::guarded), and the API server sees to that.
///
/// # Errors
/// What the API server refuses. Requeue after a while: nothing is lost or done twice.
pub struct Provisioner<K> {
    client: Client,
    resource: ApiResource,
    engine: Lifecycle,
    registry: ProviderRegistry,
    finalizer: String,
    annotations: Annotations,
    events: Option<Events>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    seen: Seen,
    jobs: Jobs,
    requests: Requests,
    kind: PhantomData<fn() -> K>,
}

impl<K> fmt::Debug for Provisioner<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provisioner")
            .field("kind", &self.resource.kind)
            .field("finalizer", &self.finalizer)
            .field("registry", &self.registry)
            .finish_non_exhaustive()
    }
}

/// What a process has asked of the API server by its provisioner; watches are not in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestCounts {
    /// Objects read.
    pub reads: u64,
    /// Objects written, also in vain.
    pub writes: u64,
    /// Writes that others had overtaken.
    pub conflicts: u64,
}

impl<K> Provisioner<K>
where
    K: kube::Resource<DynamicType = ()> + Serialize,
{
    /// A provisioner with a finalizer of its own: `GROUP/provisioning`.
    #[must_use]
    pub fn new(client: Client, engine: Lifecycle, registry: ProviderRegistry) -> Self {
        let resource = ApiResource::erase::<K>(&());
        Self {
            finalizer: format!("{}/provisioning", resource.group),
            client,
            resource,
            engine,
            registry,
            annotations: Annotations::default(),
            events: None,
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            seen: Seen::default(),
            jobs: Jobs::default(),
            requests: Requests::default(),
            kind: PhantomData,
        }
    }

    /// With another finalizer. Never change it while objects carry it.
    #[must_use]
    pub fn with_finalizer(mut self, finalizer: impl Into<String>) -> Self {
        self.finalizer = finalizer.into();
        self
    }

    /// With other names of annotations.
    #[must_use]
    pub fn with_annotations(mut self, annotations: Annotations) -> Self {
        self.annotations = annotations;
        self
    }

    /// With events in the name of this controller; needs the right to create and patch `events` of
    /// the group `events.k8s.io`.
    #[must_use]
    pub fn with_events(mut self, reporter: Reporter) -> Self {
        self.events = Some(Events::new(self.client.clone(), reporter));
        self
    }

    /// With a clock and a randomness of the caller's.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        self.clock = clock;
        self.entropy = entropy;
        self
    }

    /// Brings one object a step further, and says when to come back.
    ///
    /// # Errors
    /// When the API server could not be asked, or refused.
    pub async fn reconcile(&self, object: &K, desired: &Desired) -> Result<Action, Error> {
        self.reconcile_targets(object, std::slice::from_ref(desired))
            .await
    }

    /// The same for an object with several backends at once, each with its own target: it is let go
    /// when all of them let it go.
    ///
    /// # Errors
    /// As [`reconcile`](Self::reconcile).
    pub async fn reconcile_targets(
        &self,
        object: &K,
        desired: &[Desired],
    ) -> Result<Action, Error> {
        let cached = Arc::new(object::dynamic(object, &())?);
        let mut view = match self.seen.newest(cached) {
            View::Use(object) => object,
            View::Ask => {
                let name = object.name_any();
                self.requests.read();
                let fresh = self.api(object.namespace().as_deref()).get(&name).await;
                match fresh {
                    Ok(fresh) => Arc::new(fresh),
                    Err(error) if crate::error::code(&error) == Some(404) => {
                        return Ok(self.gone(object));
                    }
                    Err(error) => return Err(Error::api("read the object", &error)),
                }
            }
        };
        for _ in 0..MAX_PASSES {
            match self.pass(&view, desired).await? {
                Passed::Done(action) => return Ok(action),
                Passed::Again(newer) => view = newer,
            }
        }
        Ok(Action::requeue(self.varied(RETRY)))
    }

    /// One pass of the engine for every target.
    async fn pass(&self, view: &Arc<DynamicObject>, desired: &[Desired]) -> Result<Passed, Error> {
        let mut view = Arc::clone(view);
        let mut wake: Option<Duration> = None;
        let mut release: Option<String> = None;
        let mut held = false;
        for desired in desired {
            let (desired, note) = self.annotations.applied_to(desired, &*view);
            let store = self.store(&view, &desired, note.as_deref());
            match finalizer::ensure(&store, &self.finalizer).await {
                Ok(true) => {}
                Ok(false) | Err(StoreError::Gone) => return Ok(Passed::Done(self.gone(&*view))),
                Err(error) => return Err(of_write("add the finalizer", &error)),
            }
            let before = store.view();
            let resource = object::resource(&before)?;
            let outcome = self
                .engine
                .reconcile(&self.registry, &store, &resource, &desired, &*self.clock)
                .await;
            self.jobs.learn(resource.key(), &outcome.records);
            match &outcome.standing {
                Standing::Gone => return Ok(Passed::Done(self.gone(&*view))),
                Standing::Outdated => {
                    return match store.refresh().await {
                        Ok(fresh) => Ok(Passed::Again(fresh)),
                        Err(StoreError::Gone) => Ok(Passed::Done(self.gone(&*view))),
                        Err(error) => Err(of_write("read the object", &error)),
                    };
                }
                Standing::Released(_) => {
                    self.jobs.forget(&outcome.records);
                    let version = outcome.version.as_ref();
                    release = version.map(|version| version.as_str().to_owned());
                }
                Standing::Interrupted { reason } => {
                    tracing::warn!(object = %resource.key(), reason, "a pass was broken off");
                    held = true;
                }
                _ => {
                    held = true;
                    match store.settle(&outcome.standing).await {
                        // Whoever wrote wakes us with it.
                        Ok(()) | Err(StoreError::Conflict | StoreError::Gone) => {}
                        Err(error) => return Err(of_write("write the conditions", &error)),
                    }
                }
            }
            self.tell(&before, &outcome).await;
            let next = outcome.wake_after(self.clock.now());
            wake = [wake, next].into_iter().flatten().min();
            view = store.view();
        }
        if let (Some(version), false) = (release, held) {
            return self.release(&view, &version).await;
        }
        Ok(Passed::Done(match wake {
            Some(wait) => Action::requeue(self.spread(wait)),
            None => Action::await_change(),
        }))
    }

    async fn release(&self, view: &Arc<DynamicObject>, version: &str) -> Result<Passed, Error> {
        let none = Desired::new(provider_core::ConfigVersion::from_text(""), "");
        let store = self.store(view, &none, None);
        match finalizer::remove(&store, &self.finalizer, version).await {
            Ok(()) => Ok(Passed::Done(self.gone(&**view))),
            // Something has changed since: the engine is asked again.
            Err(StoreError::Conflict) => match store.refresh().await {
                Ok(fresh) => Ok(Passed::Again(fresh)),
                Err(StoreError::Gone) => Ok(Passed::Done(self.gone(&**view))),
                Err(error) => Err(of_write("read the object", &error)),
            },
            Err(error) => Err(of_write("remove the finalizer", &error)),
        }
    }

    fn store<'a>(
        &'a self,
        view: &Arc<DynamicObject>,
        desired: &'a Desired,
        note: Option<&'a str>,
    ) -> ObjectStore<'a> {
        ObjectStore {
            api: self.api(view.namespace().as_deref()),
            view: Mutex::new(Arc::clone(view)),
            desired,
            note,
            seen: &self.seen,
            requests: &self.requests,
            clock: &*self.clock,
        }
    }

    fn api(&self, namespace: Option<&str>) -> Api<DynamicObject> {
        match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &self.resource),
            _ => Api::all_with(self.client.clone(), &self.resource),
        }
    }

    async fn tell(&self, before: &DynamicObject, outcome: &Outcome) {
        if let Some(events) = &self.events {
            let reference = reference_of(before);
            events.publish(before, &reference, outcome).await;
        }
    }

    /// Nothing is to be done for this object any more.
    fn gone(&self, object: &impl ResourceExt) -> Action {
        if let Some(uid) = object.uid() {
            self.seen.forget(&uid);
        }
        Action::await_change()
    }

    /// Long waits are spread, so that objects which came together do not come back together. Short
    /// ones the engine has spread already.
    fn spread(&self, wait: Duration) -> Duration {
        if wait < Duration::from_secs(60) {
            wait
        } else {
            self.varied(wait)
        }
    }

    /// Up to a tenth more.
    fn varied(&self, wait: Duration) -> Duration {
        let tenth = self.entropy.next() % 1_000;
        wait + wait.mul_f64(f64::from(u32::try_from(tenth).unwrap_or(0)) / 10_000.0)
    }

    /// For `Controller::run`: when to try again after an error.
    pub fn error_policy(&self, object: &K, error: &Error) -> Action {
        tracing::warn!(
            object = object.name_any(),
            namespace = object.namespace(),
            "{error}"
        );
        Action::requeue(self.varied(RETRY))
    }

    /// Objects to reconcile at once, for `Controller::reconcile_on`: those whose jobs have ended, as
    /// soon as their backend can tell. Without a backend that can, the stream ends at once.
    pub fn wake_ups(self: &Arc<Self>) -> impl Stream<Item = ObjectRef<K>> + Send + 'static
    where
        K: 'static,
    {
        let backends = self.registry.iter();
        let jobs = backends.filter_map(|provider| provider.wake_ups());
        self.wake_on(futures::stream::select_all(jobs))
    }

    /// As [`wake_ups`](Self::wake_ups), by hints from elsewhere: an event of the cluster, a webhook.
    ///
    /// A hint about a job that is not known here is dropped. It only ever makes a poll come earlier.
    pub fn wake_on<S>(
        self: &Arc<Self>,
        jobs: S,
    ) -> impl Stream<Item = ObjectRef<K>> + Send + 'static
    where
        S: Stream<Item = JobRef> + Send + 'static,
        K: 'static,
    {
        let this = Arc::clone(self);
        jobs.filter_map(move |job| {
            let key = this.jobs.of(&job);
            if let Some(key) = &key {
                this.engine.nudge(key);
            }
            let reference = key.as_ref().map(wake::reference);
            std::future::ready(reference)
        })
    }

    /// What was asked of the API server so far.
    #[must_use]
    pub fn requests(&self) -> RequestCounts {
        let read = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
        RequestCounts {
            reads: read(&self.requests.reads),
            writes: read(&self.requests.writes),
            conflicts: read(&self.requests.conflicts),
        }
    }

    /// Why an object stands where it stands: the engine's next decision, with its evidence.
    ///
    /// # Errors
    /// When the API server could not be asked.
    pub async fn explain(
        &self,
        object: &K,
        desired: &Desired,
    ) -> Result<provider_core::lifecycle::Explanation, Error> {
        let view = Arc::new(object::dynamic(object, &())?);
        let (desired, note) = self.annotations.applied_to(desired, &*view);
        let store = self.store(&view, &desired, note.as_deref());
        let fresh = store.refresh().await;
        let fresh = fresh.map_err(|error| of_write("read the object", &error))?;
        let resource = object::resource(&fresh)?;
        self.engine
            .explain(&self.registry, &store, &resource, &desired, &*self.clock)
            .await
            .map_err(|error| of_write("read the object", &error))
    }
}

/// How a pass ended.
enum Passed {
    Done(Action),
    /// The object was too old; once more with this one.
    Again(Arc<DynamicObject>),
}

fn of_write(action: &'static str, error: &StoreError) -> Error {
    Error::Api {
        action,
        reason: text::bounded(&error.to_string(), text::MAX_TEXT),
    }
}

fn reference_of(object: &DynamicObject) -> k8s_openapi::api::core::v1::ObjectReference {
    let types = object.types.clone().unwrap_or_default();
    k8s_openapi::api::core::v1::ObjectReference {
        api_version: Some(types.api_version),
        kind: Some(types.kind),
        name: object.metadata.name.clone(),
        namespace: object.metadata.namespace.clone(),
        uid: object.metadata.uid.clone(),
        ..Default::default()
    }
}
