//! What a person tells a controller by annotations.

use kube::ResourceExt;
use provider_core::lifecycle::{Desired, Mode};
use provider_core::text;

/// The names of the annotations that steer an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotations {
    /// How much is done without asking: `managed` (as without the annotation), `paused`, `manual` or
    /// `unmanaged`; see [`Mode`]. Any other word pauses the object.
    pub mode: String,
    /// Any text that differs from the last one asks for a retry: it ends a hold, a back-off or a
    /// doubt, once.
    pub retry: String,
}

impl Default for Annotations {
    fn default() -> Self {
        Self {
            mode: "osac.openshift.io/management-state".to_owned(),
            retry: "osac.openshift.io/retry".to_owned(),
        }
    }
}

impl Annotations {
    /// The desired state, with what the annotations of the object say; beside it, what is wrong with
    /// the mode, where it is none and the object is paused therefore. [`Provisioner`](crate::Provisioner)
    /// does this itself.
    #[must_use]
    pub fn applied_to<K: ResourceExt>(
        &self,
        desired: &Desired,
        object: &K,
    ) -> (Desired, Option<String>) {
        let mut desired = desired.clone();
        let mut unknown = None;
        let given = object.annotations();
        if let Some(word) = given.get(&self.mode).map(|word| word.trim()) {
            desired.mode = match word.to_ascii_lowercase().as_str() {
                "" | "managed" => desired.mode,
                "paused" => Mode::Paused,
                "manual" => Mode::Manual,
                "unmanaged" => Mode::Unmanaged,
                _ => {
                    unknown = Some(format!(
                        "annotation {} is \"{}\"; expected managed, paused, manual or unmanaged",
                        self.mode,
                        text::bounded(word, 60)
                    ));
                    Mode::Paused
                }
            };
        }
        if let Some(request) = given.get(&self.retry).filter(|text| !text.is_empty()) {
            desired.retry_request = Some(text::bounded(request, 1_024));
        }
        (desired, unknown)
    }
}
