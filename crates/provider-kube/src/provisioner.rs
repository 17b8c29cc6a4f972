//! The one thing that a reconcile function calls.

use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{Stream, StreamExt};
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::object::HasStatus;
use kube::runtime::controller::Action;
use kube::runtime::events::Reporter;
use kube::runtime::reflector::ObjectRef;
use kube::{Client, ResourceExt};
#[cfg(doc)]
use provider_core::lifecycle::Desired;
use provider_core::lifecycle::{
    Entropy, Lifecycle, Mode, ProviderRegistry, StoreError, SystemEntropy,
};
use provider_core::{Clock, JobRef, ObjectKey, SystemClock};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::events::Events;
use crate::handle::{Handle, Requests};
use crate::kept::Kept;
use crate::pass::Passed;
use crate::reconciled::{Found, IntoTargets, Reconciled};
use crate::retries::{FIRST, Retries};
use crate::said::Said;
use crate::seen::{Seen, View};
use crate::wake::{self, Jobs};
use crate::{Annotations, BoxError, Error, ProvisioningStatus, finalizer, object};

/// A pass that is broken off because the object was old is begun anew so often.
const MAX_PASSES: u32 = 8;

/// Drives objects of one kind through their lives: finalizer, records, jobs, conditions, events.
///
/// One for a controller, shared by all its objects (`Arc`).
///
/// # Expected flow
/// [`controller`](Self::controller) makes a controller of it, and [`run`](Self::run) runs that with a function that
/// says what is wanted of an object. A reconcile function of one's own calls [`reconcile`](Self::reconcile) with the
/// object that it was given and such a function, and returns the action. The function may be called again, with a
/// newer object than the one that was passed in.
///
/// # Guarantees
/// Those of the [engine](provider_core::lifecycle), for any number of replicas at once: leader
/// election saves requests, and safety does not need it. The object that is passed in may be as old
/// as a watch cache can be: nothing is launched, canceled or let go but right after a write that the
/// API server accepted on the newest version of the object, nothing is decided on an object older
/// than this process' own last write, and what is wanted is always asked of the object that is at hand.
///
/// # Assumptions
/// The kind has a status subresource, whose `jobs` no other program changes. Apply the definition
/// [`guarded`](crate::guarded), and the API server sees to that. Its Rust type carries the whole
/// [`ProvisioningStatus`]: a type without the records would read as an object without jobs, so it does
/// not compile:
///
/// ```compile_fail,E0599
/// # use kube::CustomResource;
/// # use provider_kube::Provisioner;
/// # use schemars::JsonSchema;
/// # use serde::{Deserialize, Serialize};
/// #[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
/// struct Poor { address: String }
///
/// #[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, CustomResource)]
/// #[kube(group = "example.com", version = "v1", kind = "Machine", namespaced, status = "Poor")]
/// struct MachineSpec { cores: u32 }
///
/// # fn with(client: kube::Client, engine: provider_core::lifecycle::Lifecycle, registry: provider_core::lifecycle::ProviderRegistry) {
/// let provisioner = Provisioner::<Machine>::new(client, engine, registry);
/// # }
/// ```
///
/// # Errors
/// What the API server refuses. Requeue after a while: nothing is lost or done twice.
pub struct Provisioner<K> {
    client: Client,
    resource: ApiResource,
    pub(crate) engine: Lifecycle,
    pub(crate) registry: ProviderRegistry,
    pub(crate) finalizer: String,
    pub(crate) annotations: Annotations,
    pub(crate) applied_annotation: bool,
    pub(crate) events: Option<Events>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) seen: Seen,
    pub(crate) jobs: Jobs,
    pub(crate) said: Said,
    pub(crate) requests: Requests,
    pub(crate) retries: Retries,
    kept: Kept,
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
    K: kube::Resource<DynamicType = ()> + HasStatus + Clone + Serialize + DeserializeOwned,
    K::Status: AsRef<ProvisioningStatus>,
{
    /// A provisioner with a finalizer and annotations in the group of the kind: `GROUP/provisioning`, and
    /// [`Annotations::of_group`].
    #[must_use]
    pub fn new(client: Client, engine: Lifecycle, registry: ProviderRegistry) -> Self {
        let resource = ApiResource::erase::<K>(&());
        Self {
            finalizer: format!("{}/provisioning", resource.group),
            annotations: Annotations::of_group(&resource.group),
            applied_annotation: false,
            client,
            resource,
            engine,
            registry,
            events: None,
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            seen: Seen::default(),
            jobs: Jobs::default(),
            said: Said::default(),
            requests: Requests::default(),
            retries: Retries::default(),
            kept: Kept::default(),
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

    /// With an annotation on every object that says what is applied ([`Annotations::applied`]): one more write
    /// after each success, and one before each launch that may change it. An object that has lost its status, but
    /// not its metadata, then takes over what it has instead of running its job again: restored from a backup, or
    /// moved to another cluster.
    ///
    /// The annotation names the object, so that a copy under another name takes nothing over. Whoever creates
    /// an object anew from a file that has the annotation says that everything is there still.
    #[must_use]
    pub fn with_applied_annotation(mut self) -> Self {
        self.applied_annotation = true;
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

    /// Brings one object a step further, and says what was found and when to come back.
    ///
    /// `desired` says what is wanted of an object: one [`Desired`], or several for an object with several
    /// backends at once, each [for a target](Desired::for_target) of its own. Such an object is let go when all of
    /// its targets let it go, and never while there are records of a target that is not named any more and may
    /// have something left: see [`Desired::absent`].
    ///
    /// It is called with the newest object that is known, may read whatever else belongs to what is wanted, and
    /// may fail: then the object says so by the condition [`DESIRED_KNOWN`](crate::DESIRED_KNOWN) and an event,
    /// nothing is started, canceled or let go, and the error comes back, to be tried again. What is only not there
    /// yet is no failure: see [`Desired::not_yet`].
    ///
    /// ```no_run
    /// # use std::sync::Arc;
    /// # use kube::{CustomResource, runtime::controller::Action};
    /// # use provider_core::{ConfigVersion, lifecycle::Desired};
    /// # use provider_kube::{Error, ProvisioningStatus, Provisioner};
    /// # use schemars::JsonSchema;
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, CustomResource)]
    /// # #[kube(group = "example.com", version = "v1", kind = "Machine", namespaced, status = "ProvisioningStatus")]
    /// # struct MachineSpec { cores: u32 }
    /// async fn reconcile(machine: Arc<Machine>, ctx: Arc<Provisioner<Machine>>) -> Result<Action, Error> {
    ///     let found = ctx.reconcile(&machine, |machine| async move {
    ///         Ok(Desired::new(ConfigVersion::of(&machine.spec)?, "aap"))
    ///     });
    ///     found.await.map(Action::from)
    /// }
    /// ```
    ///
    /// # Errors
    /// When the API server could not be asked, or refused, when `desired` failed, and when the status cannot hold
    /// these targets.
    pub async fn reconcile<F, W, T>(&self, object: &K, desired: F) -> Result<Reconciled, Error>
    where
        F: Fn(Arc<K>) -> W + Send + Sync,
        W: Future<Output = Result<T, BoxError>> + Send,
        T: IntoTargets,
    {
        let key = self.key_of(object);
        let idle = self.kept.used(key.clone(), self.clock.now());
        self.forget_all(idle);
        let mut found = Found::default();
        let action = self.work(object, &desired, &mut found).await?;
        self.retries.forget(&key);
        Ok(Reconciled {
            action,
            outcomes: found.0,
        })
    }

    async fn work<F, W, T>(
        &self,
        object: &K,
        desired: &F,
        found: &mut Found,
    ) -> Result<Action, Error>
    where
        F: Fn(Arc<K>) -> W + Send + Sync,
        W: Future<Output = Result<T, BoxError>> + Send,
        T: IntoTargets,
    {
        let cached = Arc::new(object::cached(object)?);
        let mut view = match self.seen.newest(Arc::clone(&cached)) {
            View::Use(object) => object,
            View::Ask => {
                let handle = self.handle(&cached);
                match handle.refresh().await {
                    Ok(fresh) => fresh,
                    Err(StoreError::Gone) => return Ok(self.gone(object)),
                    Err(error) => return Err(handle.error("read the object", &error)),
                }
            }
        };
        for n in 0..MAX_PASSES {
            // What is wanted follows from the object that is worked on, never from an older one.
            let at_hand = if Arc::ptr_eq(&view, &cached) {
                Arc::new(object.clone())
            } else {
                Arc::new(object::typed(&view)?)
            };
            let wanted = match desired(at_hand).await {
                Ok(wanted) => wanted.into_targets(),
                Err(error) => match self.unknown(&view, error).await {
                    Some(error) => return Err(error),
                    None if view.metadata.deletion_timestamp.is_some() => Vec::new(),
                    None => return Ok(Action::await_change()),
                },
            };
            match self.pass(&view, &wanted, n == 0, found).await? {
                Passed::Rest(Some(wait)) => return Ok(Action::requeue(self.spread(wait))),
                Passed::Rest(None) => return Ok(Action::await_change()),
                Passed::Gone => return Ok(self.gone(object)),
                Passed::Again(newer) => view = newer,
            }
        }
        Ok(Action::requeue(self.varied(FIRST)))
    }

    /// Nothing is to be done for this object any more.
    fn gone(&self, object: &K) -> Action {
        let key = self.key_of(object);
        self.kept.forget(&key);
        self.forget_all(vec![key]);
        Action::await_change()
    }

    /// Forgets all that is remembered of these objects.
    fn forget_all(&self, objects: Vec<ObjectKey>) {
        if objects.is_empty() {
            return;
        }
        for key in &objects {
            self.seen.forget(&key.uid);
            self.said.forget(&key.uid);
            self.retries.forget(key);
            self.engine.forget(key);
        }
        let objects: HashSet<ObjectKey> = objects.into_iter().collect();
        self.jobs.forget(&objects);
    }

    /// How many things are remembered about objects: versions, jobs, paces, errors. It does not grow
    /// with objects that are gone: those that nobody has asked for within two hours are forgotten.
    #[must_use]
    pub fn remembered(&self) -> usize {
        let ours = [
            self.seen.len(),
            self.said.len(),
            self.jobs.len(),
            self.retries.len(),
            self.kept.len(),
            self.engine.remembered(),
        ];
        ours.into_iter().sum()
    }

    /// Long waits are spread, so that objects which came together do not come back together. Short
    /// ones the engine has spread already.
    pub(crate) fn spread(&self, wait: Duration) -> Duration {
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

    /// For `Controller::run`: when to try again after an error; later each time in a row. An error that
    /// stays the same is logged once an hour.
    pub fn error_policy(&self, object: &K, error: &Error) -> Action {
        self.failed(object, error)
    }

    pub(crate) fn failed(&self, object: &impl ResourceExt, error: &Error) -> Action {
        let key = self.key_of(object);
        let said = error.to_string();
        #[cfg(feature = "metrics")]
        metrics::counter!("provider_kube_reconcile_errors_total").increment(1);
        if self.retries.is_news(&key, &said, self.clock.now()) {
            tracing::warn!(object = key.name, namespace = key.namespace, "{said}");
        } else {
            tracing::debug!(object = key.name, namespace = key.namespace, "{said}");
        }
        Action::requeue(self.varied(self.retries.failed(key)))
    }

    /// Objects to reconcile at once, for `Controller::reconcile_on`: those whose jobs have ended, as
    /// soon as their backend can tell. Without a backend that can, the stream ends at once. Who holds
    /// it has to reconcile what it names: meanwhile running jobs may be polled less often. Of several
    /// controllers that share a provider, each holds such a stream, or none.
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
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        RequestCounts {
            reads: read(&self.requests.reads),
            writes: read(&self.requests.writes),
            conflicts: read(&self.requests.conflicts),
        }
    }
}

impl<K> Provisioner<K> {
    pub(crate) fn api_resource(&self) -> ApiResource {
        self.resource.clone()
    }

    /// The kind of all its objects.
    pub(crate) fn kind(&self) -> &str {
        &self.resource.kind
    }

    /// Nobody can say what is wanted of an object. Answers the error, unless there is nothing to do for it anyway.
    async fn unknown(&self, view: &Arc<DynamicObject>, error: BoxError) -> Option<Error> {
        let is_deleting = view.metadata.deletion_timestamp.is_some();
        let idle = if is_deleting {
            !finalizer::is_there(view, &self.finalizer)
        } else {
            self.annotations.mode_of(&**view) == Some(Mode::Unmanaged)
        };
        if idle {
            return None;
        }
        let error = Error::desired(error);
        self.show_unknown(view, &error).await;
        Some(error)
    }

    /// An object for one pass.
    pub(crate) fn handle(&self, view: &Arc<DynamicObject>) -> Handle<'_> {
        let api = match view.namespace().as_deref() {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &self.resource),
            _ => Api::all_with(self.client.clone(), &self.resource),
        };
        Handle::new(api, view, &self.seen, &self.requests)
    }
}

pub(crate) fn reference_of(object: &DynamicObject) -> k8s_openapi::api::core::v1::ObjectReference {
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
