//! Objects that do not fit their Rust type.

use std::time::Duration;

use kube::ResourceExt;
use kube::api::DynamicObject;
use kube::core::DeserializeGuard;
use kube::core::error_boundary::InvalidObject;
use kube::core::object::HasStatus;
use kube::runtime::controller::Action;
use provider_core::lifecycle::StoreError;
use provider_core::text;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::sync::Arc;

use crate::conditions::{self, READABLE};
use crate::provisioner::Provisioner;
use crate::reconciled::{IntoTargets, Reconciled};
use crate::{BoxError, Error, ProvisioningStatus, events, object};

/// When to look again at an object that a person must mend first.
const LOOK_AGAIN: Duration = Duration::from_secs(30 * 60);

impl<K> Provisioner<K>
where
    K: kube::Resource<DynamicType = ()> + HasStatus + Clone + Serialize + DeserializeOwned,
    K::Status: AsRef<ProvisioningStatus>,
{
    /// As [`reconcile`](Self::reconcile), for a controller that watches guarded objects
    /// (`Api<DeserializeGuard<K>>`): one that does not fit the type is told so, by the condition
    /// [`READABLE`] and an event, and all others go on. A watch of bare objects stands still for all of
    /// them when one does not fit.
    ///
    /// # Errors
    /// As [`reconcile`](Self::reconcile).
    pub async fn reconcile_guarded<F, W, T>(
        &self,
        object: &DeserializeGuard<K>,
        desired: F,
    ) -> Result<Reconciled, Error>
    where
        F: Fn(Arc<K>) -> W + Send + Sync,
        W: Future<Output = Result<T, BoxError>> + Send,
        T: IntoTargets,
    {
        match &object.0 {
            Ok(object) => self.reconcile(object, desired).await,
            Err(invalid) => self.unreadable(invalid).await.map(Reconciled::from),
        }
    }

    /// [`error_policy`](Self::error_policy) for guarded objects.
    pub fn guarded_error_policy(&self, object: &DeserializeGuard<K>, error: &Error) -> Action {
        self.failed(object, error)
    }

    /// Says on the object that it cannot be read. Nothing else is done for it.
    async fn unreadable(&self, invalid: &InvalidObject) -> Result<Action, Error> {
        let mut named = DynamicObject::new("", &self.api_resource());
        named.metadata = invalid.metadata.clone();
        let handle = self.handle(&Arc::new(named));
        let found = match handle.refresh().await {
            Ok(found) => found,
            Err(StoreError::Gone) => return Ok(Action::await_change()),
            Err(error) => return Err(handle.error("read the object", &error)),
        };
        if object::typed::<K>(&found).is_ok() {
            // It was mended meanwhile; the watch brings it.
            return Ok(Action::requeue(crate::retries::FIRST));
        }
        let message = format!(
            "the object does not fit what this controller knows of its kind ({}), so nothing is done for \
             it; mend the object, or the definition and the controller",
            without_values(&invalid.error)
        );
        let generation = found.metadata.generation;
        let condition = conditions::obstacle(READABLE, "DoesNotFit", &message, generation);
        let present = object::conditions(&found);
        let merged = conditions::merged(present, vec![condition.clone()], self.clock.now());
        if merged != present {
            let version = found.resource_version().unwrap_or_default();
            let body = json!({"status": {"conditions": merged}});
            match handle.patch(body, &version, true).await {
                Ok(_) => {}
                Err(StoreError::Conflict) => return Ok(Action::requeue(crate::retries::FIRST)),
                Err(StoreError::Gone) => return Ok(Action::await_change()),
                Err(error) => return Err(handle.error("write the conditions", &error)),
            }
            if object::reason(&found, READABLE).is_none() {
                tracing::warn!(
                    object = found.name_any(),
                    namespace = found.namespace(),
                    "{message}"
                );
                self.tell(&found, vec![events::of_obstacle(&condition)])
                    .await;
            }
        }
        Ok(Action::requeue(self.spread(LOOK_AGAIN)))
    }
}

/// What is wrong, without the value that is: a spec may hold anything.
pub(crate) fn without_values(error: &str) -> String {
    // ASCII alone keeps its length, so that a place in the one text is the same in the other.
    let lower = error.to_ascii_lowercase();
    let is = |word: &str| lower.starts_with(word);
    // These name members of the type, and nothing of the object.
    let safe = if is("missing field") || is("duplicate field") {
        error.to_owned()
    } else if let Some(kind) = [
        "invalid type",
        "invalid value",
        "invalid length",
        "unknown variant",
    ]
    .into_iter()
    .find(|kind| is(kind))
    {
        // The last one is the decoder's own: a value may say so too.
        let expected = lower.rfind("expected ").and_then(|at| error.get(at..));
        match expected {
            Some(expected) => format!("{kind}, {expected}"),
            None => kind.to_owned(),
        }
    } else {
        "its shape is another".to_owned()
    };
    text::bounded(&safe, 200)
}

#[cfg(test)]
mod tests {
    use super::without_values;

    #[test]
    fn what_does_not_fit_is_told_without_its_value() {
        for (error, told) in [
            ("missing field `cores`", "missing field `cores`"),
            ("Missing field cores", "Missing field cores"),
            (
                "Invalid type string \"s3cret\". Expected u32",
                "invalid type, Expected u32",
            ),
            (
                "invalid type: string \"expected s3cret\", expected u32",
                "invalid type, expected u32",
            ),
            ("Invalid value integer `7`", "invalid value"),
            ("it must not be s3cret", "its shape is another"),
            // Letters that become shorter, or longer, when they are made small.
            (
                "invalid type: string \"\u{212a}\u{212a}\u{212a}\u{212a}\u{212a}\u{212a} s3cret\", expected u32",
                "invalid type, expected u32",
            ),
            (
                "invalid type: string \"\u{130}\u{130}\u{130}\u{130}\", expected u32",
                "invalid type, expected u32",
            ),
        ] {
            assert_eq!(without_values(error), told, "{error}");
        }
    }
}
