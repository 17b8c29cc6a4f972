//! A controller around the provisioner: which changes wake an object, and what becomes of errors.

use std::fmt::Debug;
use std::sync::Arc;

use futures::{FutureExt, StreamExt};
use kube::core::DeserializeGuard;
use kube::core::object::HasStatus;
use kube::runtime::controller::{self, Action, Controller};
use kube::runtime::{Predicate, predicates};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{BoxError, IntoTargets, Provisioner, ProvisioningStatus};

/// An object as a controller watches it: one that does not fit its Rust type hides no other.
pub type Guarded<K> = DeserializeGuard<K>;

/// Which changes of an object are somebody's wish, for
/// [`predicate_filter`](kube::runtime::WatchStreamExt::predicate_filter): those of its generation, annotations,
/// finalizers and of the time of its deletion. Writes of the status alone, most of which are our own, are none.
///
/// By [`predicates::generation`] alone an annotation is not seen: a person's request to try again would do
/// nothing. [`Provisioner::controller`] filters by this one.
#[must_use]
pub fn predicate<K: kube::Resource>() -> impl Predicate<K> + Send + Sync + Copy {
    let deletion = |object: &K| {
        let at = object.meta().deletion_timestamp.as_ref();
        at.map(|at| u64::from_ne_bytes(at.0.as_second().to_ne_bytes()))
    };
    // Without a generation, any change may be one of the spec.
    predicates::generation
        .fallback(predicates::resource_version)
        .combine(predicates::annotations)
        .combine(predicates::finalizers)
        .combine(deletion)
}

impl<K> Provisioner<K>
where
    K: kube::Resource<DynamicType = ()> + HasStatus + Clone + Debug + Serialize + DeserializeOwned,
    K: Send + Sync + 'static,
    K::Status: AsRef<ProvisioningStatus>,
{
    /// A controller for these objects, which wakes an object when somebody [wants](predicate) something of it and
    /// when [its job has ended](Self::wake_ups), and keeps no managed fields in its cache. Objects that do not
    /// fit their type hide no others. [`run`](Self::run) it.
    ///
    /// ```no_run
    /// # use std::sync::Arc;
    /// # use kube::{Api, Client, CustomResource, runtime::watcher};
    /// # use provider_core::{ConfigVersion, lifecycle::Desired};
    /// # use provider_kube::{BoxError, ProvisioningStatus, Provisioner};
    /// # use schemars::JsonSchema;
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, CustomResource)]
    /// # #[kube(group = "example.com", version = "v1", kind = "Machine", namespaced, status = "ProvisioningStatus")]
    /// # struct MachineSpec { cores: u32 }
    /// async fn wanted(machine: Arc<Machine>) -> Result<Desired, BoxError> {
    ///     Ok(Desired::new(ConfigVersion::of(&machine.spec)?, "aap"))
    /// }
    ///
    /// # async fn run(client: Client, provisioner: Arc<Provisioner<Machine>>) {
    /// let controller = provisioner.controller(Api::all(client), watcher::Config::default());
    /// provisioner.run(controller, wanted, std::future::pending()).await;
    /// # }
    /// ```
    ///
    /// Needs the feature `controller`, which is on by default, and uses what kube calls unstable: a later minor
    /// version of kube may take it away. Without the feature, [`run`](Self::run) takes
    /// `Controller::new(Api::<Guarded<Machine>>::all(client), watcher::Config::default())` as well: it wakes objects
    /// at their own status writes too, which cost no request, and not at the ends of jobs, which are polled.
    #[cfg(feature = "controller")]
    #[must_use]
    pub fn controller(
        self: &Arc<Self>,
        api: kube::Api<Guarded<K>>,
        config: kube::runtime::watcher::Config,
    ) -> Controller<Guarded<K>> {
        use kube::ResourceExt;
        use kube::runtime::{PredicateConfig, WatchStreamExt, reflector, watcher};

        let (reader, writer) = reflector::store();
        let objects = watcher(api, config)
            .default_backoff()
            .modify(|object| object.managed_fields_mut().clear())
            .reflect(writer)
            .applied_objects()
            .predicate_filter(predicate(), PredicateConfig::default());
        let ended_jobs = self.wake_ups();
        Controller::for_stream(objects, reader)
            .reconcile_on(ended_jobs.map(|reference| reference.into_kind_unchecked(())))
    }

    /// Runs a controller until `stop`: [`reconcile`](Self::reconcile) for each object, later each time in a row
    /// where that fails, and a word in the log about what goes wrong. Passes that have begun are ended.
    ///
    /// Ends by itself only when the watch does, which it does not.
    pub async fn run<F, W, T, S>(
        self: &Arc<Self>,
        controller: Controller<Guarded<K>>,
        desired: F,
        stop: S,
    ) where
        F: Fn(Arc<K>) -> W + Send + Sync + 'static,
        W: Future<Output = Result<T, BoxError>> + Send + 'static,
        T: IntoTargets + Send + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let stop = stop.shared();
        let store = controller.store();
        let desired = Arc::new(desired);
        let passes = controller
            .graceful_shutdown_on(stop.clone())
            .run(
                move |object: Arc<Guarded<K>>, this: Arc<Self>| {
                    let desired = Arc::clone(&desired);
                    async move {
                        let found = this.reconcile_guarded(&object, &*desired).await;
                        found.map(Action::from)
                    }
                },
                |object, error, this: Arc<Self>| this.guarded_error_policy(&object, error),
                Arc::clone(self),
            )
            .for_each(async |result| match result {
                // The error policy has told of these.
                Ok(_) | Err(controller::Error::ReconcilerFailed(..)) => {}
                // Gone between its event and its turn.
                Err(error @ controller::Error::ObjectNotFound(_)) => tracing::debug!("{error}"),
                Err(error) => tracing::warn!("the watch: {error}"),
            });
        // Before the first list nothing has begun, and a controller would wait for it all the same.
        let unlisted = async {
            stop.await;
            if store.wait_until_ready().now_or_never().is_none() {
                return;
            }
            std::future::pending::<()>().await;
        };
        futures::future::select(std::pin::pin!(passes), std::pin::pin!(unlisted)).await;
    }
}
