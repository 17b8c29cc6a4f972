//! What a person tells a controller by annotations.

use kube::ResourceExt;
use provider_core::ConfigVersion;
use provider_core::lifecycle::{Desired, Mode};
use provider_core::text;

/// The names of the annotations that steer an object. Of several names for one thing, the first that the
/// object carries counts.
///
/// ```
/// use provider_kube::Annotations;
/// // What a provisioner of kinds of this group takes by itself, and the names of before.
/// let names = Annotations::of_group("example.com").also_of_group("old.example.com");
/// assert_eq!(names.retry, ["example.com/retry", "old.example.com/retry"]);
/// assert_eq!(names.applied, "example.com/applied");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Annotations {
    /// How much is done without asking: `managed` (as without the annotation), `paused`, `manual` or
    /// `unmanaged`; see [`Mode`]. Any other word pauses the object. `GROUP/management-state`.
    pub mode: Vec<String>,
    /// Any text that differs from the last one asks for a retry: it ends a hold, a back-off or a
    /// doubt, once. `GROUP/retry`.
    pub retry: Vec<String>,
    /// What is there already, without a job of ours: `current` for the configuration that is wanted, or its
    /// version. Where there is no record of a target it is taken over, and no job runs; where there is one, it
    /// says nothing. See [`Desired::already`]. `GROUP/import`.
    pub import: Vec<String>,
    /// Where the applied version is written, if the provisioner
    /// [is to](crate::Provisioner::with_applied_annotation). `GROUP/applied`.
    pub applied: String,
}

impl Annotations {
    /// The names in the group of a custom resource.
    #[must_use]
    pub fn of_group(group: &str) -> Self {
        Self {
            mode: vec![format!("{group}/management-state")],
            retry: vec![format!("{group}/retry")],
            import: vec![format!("{group}/import")],
            applied: format!("{group}/applied"),
        }
    }

    /// The same names, and where an object has none of them, those of another group: for objects that were
    /// annotated before the names were changed.
    #[must_use]
    pub fn also_of_group(mut self, group: &str) -> Self {
        let other = Self::of_group(group);
        self.mode.extend(other.mode);
        self.retry.extend(other.retry);
        self.import.extend(other.import);
        self
    }

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
        if let Some((name, word)) =
            first(&self.mode, object).filter(|(_, word)| !word.trim().is_empty())
        {
            // As without the annotation: what the caller wants counts.
            match word.parse() {
                Ok(Mode::Managed) => {}
                Ok(mode) => desired.mode = mode,
                Err(_) => {
                    unknown = Some(format!(
                        "annotation {name} is \"{}\"; expected {}",
                        text::bounded(word.trim(), 60),
                        "managed, paused, manual or unmanaged"
                    ));
                    desired.mode = Mode::Paused;
                }
            }
        }
        if let Some((_, request)) = first(&self.retry, object).filter(|(_, text)| !text.is_empty())
        {
            desired.retry_request = Some(text::bounded(request, 1_024));
        }
        // What is to be absent is not taken over first.
        let import = first(&self.import, object).filter(|_| !desired.absent);
        if let Some((_, word)) = import {
            let version = match word.trim() {
                "" => None,
                "current" => Some(desired.version.clone()),
                version => Some(ConfigVersion::from_text(text::bounded(version, 253))),
            };
            desired.already = version.or(desired.already);
        }
        (desired, unknown)
    }

    /// The mode that the object asks for itself, if it is one.
    pub(crate) fn mode_of<K: ResourceExt>(&self, object: &K) -> Option<Mode> {
        first(&self.mode, object)?.1.parse().ok()
    }
}

/// The first of these annotations that the object carries.
fn first<'o, K: ResourceExt>(names: &'o [String], object: &'o K) -> Option<(&'o str, &'o str)> {
    let all = object.annotations();
    names
        .iter()
        .find_map(|name| Some((name.as_str(), all.get(name)?.as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;

    fn object(annotations: &[(&str, &str)]) -> ConfigMap {
        let mut map = ConfigMap::default();
        let all = annotations
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        map.metadata.annotations = Some(all.collect());
        map
    }

    fn desired() -> Desired {
        Desired::new(ConfigVersion::from_text("v1-now"), "p")
    }

    #[test]
    fn older_names_count_where_the_object_has_none_of_the_new() {
        let names = Annotations::of_group("new.example.com").also_of_group("old.example.com");
        let steered = |annotations: &[(&str, &str)]| {
            let (desired, unknown) = names.applied_to(&desired(), &object(annotations));
            assert_eq!(unknown, None);
            (desired.mode, desired.retry_request)
        };
        let old = [
            ("old.example.com/management-state", " Paused "),
            ("old.example.com/retry", "1"),
        ];
        assert_eq!(steered(&old), (Mode::Paused, Some("1".to_owned())));
        let both = [
            old[0],
            old[1],
            ("new.example.com/management-state", "managed"),
            ("new.example.com/retry", "2"),
        ];
        assert_eq!(steered(&both), (Mode::Managed, Some("2".to_owned())));
        assert_eq!(steered(&[("other.example.com/retry", "3")]).1, None);
    }

    #[test]
    fn what_is_imported_is_the_current_version_or_the_one_that_is_named() {
        let names = Annotations::of_group("example.com");
        let imported = |word: &str, wanted: Desired| {
            let object = object(&[("example.com/import", word)]);
            names.applied_to(&wanted, &object).0.already
        };
        assert_eq!(imported("current", desired()), Some(desired().version));
        let other = ConfigVersion::from_text("v1-before");
        assert_eq!(imported("v1-before", desired()), Some(other.clone()));
        assert_eq!(imported("", desired()), None);
        assert_eq!(imported("", desired().already(other.clone())), Some(other));
        assert_eq!(imported("current", desired().absent()), None);
    }
}
