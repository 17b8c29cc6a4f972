//! What is said on an object with which nobody can go on as it is.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::DynamicObject;
use serde_json::json;

use crate::conditions::{self, DESIRED_KNOWN, STATUS_WRITABLE, TARGETS_KNOWN};
use crate::handle::Handle;
use crate::provisioner::Provisioner;
use crate::status::MAX_CONDITIONS;
use crate::{Error, events, object};

impl<K> Provisioner<K> {
    /// Says on the object that its targets cannot be kept in its status. Nothing else is done for it.
    pub(crate) async fn show_refused(&self, handle: &Handle<'_>, error: &Error) {
        let view = handle.view();
        let (message, generation) = (error.to_string(), view.metadata.generation);
        let condition = conditions::obstacle(TARGETS_KNOWN, "Refused", &message, generation);
        if self.show(handle, &view, &condition).await {
            self.tell(&view, vec![events::of_obstacle(&condition)])
                .await;
        }
    }

    /// Says on the object that nobody knows what is wanted of it. Nothing else is done for it: its deletion waits
    /// as well, because only who knows what is wanted knows by whom it is deprovisioned.
    pub(crate) async fn show_unknown(&self, view: &Arc<DynamicObject>, error: &Error) {
        let meanwhile = match view.metadata.deletion_timestamp {
            Some(_) => "it is not deprovisioned before, and stays",
            None => "nothing is started for it before",
        };
        let message = format!("{error}; {meanwhile}; it is tried again");
        let generation = view.metadata.generation;
        let condition = conditions::obstacle(DESIRED_KNOWN, "CannotTell", &message, generation);
        let handle = self.handle(view);
        let present = object::condition(view, DESIRED_KNOWN);
        let is_news = present.is_none();
        let is_older = present.is_some_and(|one| {
            let of = one.get("observedGeneration");
            of.and_then(serde_json::Value::as_i64) != condition.observed_generation
        });
        // An error that is another each time would be written at each try, and each write wakes somebody.
        let key = self.key_of(&**view);
        if !is_news && !is_older && !self.retries.may_show(&key, self.clock.now()) {
            return;
        }
        if self.show(&handle, view, &condition).await && is_news {
            self.tell(view, vec![events::of_obstacle(&condition)]).await;
        }
    }

    /// Writes a condition, if the object does not say so already. Answers whether it is news; where there is no
    /// room for it, once an hour.
    async fn show(&self, handle: &Handle<'_>, view: &DynamicObject, condition: &Condition) -> bool {
        let present = object::conditions(view);
        let merged = conditions::merged(present, vec![condition.clone()], self.clock.now());
        if merged == present {
            return false;
        }
        let key = self.key_of(view);
        if merged.len() > MAX_CONDITIONS as usize {
            return self.retries.may_show(&key, self.clock.now());
        }
        let version = view.metadata.resource_version.clone().unwrap_or_default();
        let body = json!({"status": {"conditions": merged}});
        if let Err(error) = handle.patch(body, &version, true).await {
            // It is tried again with the object itself.
            tracing::debug!(object = %key, "the condition was not written: {error}");
            return false;
        }
        true
    }

    /// Says on the object itself that it cannot be written, where that can be: without a status
    /// subresource, the status is a part of the object like any other. An event says the same.
    pub(crate) async fn show_unwritable(
        &self,
        handle: &Handle<'_>,
        found: &DynamicObject,
        error: &Error,
    ) {
        let key = self.key_of(found);
        if !self.retries.may_show(&key, self.clock.now()) {
            return;
        }
        let generation = found.metadata.generation;
        let message = error.to_string();
        let condition = conditions::obstacle(STATUS_WRITABLE, "Refused", &message, generation);
        let present = object::conditions(found);
        let merged = conditions::merged(present, vec![condition.clone()], self.clock.now());
        if merged != present {
            let version = found.metadata.resource_version.clone().unwrap_or_default();
            let body = json!({"status": {"conditions": merged}});
            if let Err(error) = handle.patch(body, &version, false).await {
                tracing::debug!(object = %key, "the condition was not written either: {error}");
            }
        }
        self.tell(found, vec![events::of_obstacle(&condition)])
            .await;
    }
}
