//! Why an object stands where it stands, for people.

use std::sync::Arc;

use kube::core::object::HasStatus;
use provider_core::lifecycle::Explanation;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::store::ObjectStore;
use crate::{BoxError, Error, IntoTargets, Provisioner, ProvisioningStatus, object};

impl<K> Provisioner<K>
where
    K: kube::Resource<DynamicType = ()> + HasStatus + Clone + Serialize + DeserializeOwned,
    K::Status: AsRef<ProvisioningStatus>,
{
    /// Why an object stands where it stands: for each target the engine's next decision, with its evidence.
    ///
    /// # Errors
    /// When the API server could not be asked, or `desired` failed.
    pub async fn explain<F, W, T>(
        &self,
        object: &K,
        desired: F,
    ) -> Result<Vec<(Option<String>, Explanation)>, Error>
    where
        F: Fn(Arc<K>) -> W + Send + Sync,
        W: Future<Output = Result<T, BoxError>> + Send,
        T: IntoTargets,
    {
        let cached = Arc::new(object::cached(object)?);
        let handle = self.handle(&cached);
        let fresh = handle.refresh().await;
        let fresh = fresh.map_err(|error| handle.error("read the object", &error))?;
        let wanted = desired(Arc::new(object::typed(&fresh)?)).await;
        let wanted = wanted.map_err(Error::desired)?.into_targets();
        let resource = object::resource(&fresh)?;
        let mut all = Vec::with_capacity(wanted.len());
        for desired in &wanted {
            let (desired, _) = self.steered(desired, &fresh);
            let (jobs, said) = (&self.jobs, &self.said);
            let store = ObjectStore::new(
                &handle,
                &resource,
                &desired,
                &wanted,
                jobs,
                said,
                &*self.clock,
            );
            let explained = self
                .engine
                .explain(&self.registry, &store, &resource, &desired, &*self.clock)
                .await
                .map_err(|error| handle.error("read the object", &error))?;
            all.push((desired.target.clone(), explained));
        }
        Ok(all)
    }
}
