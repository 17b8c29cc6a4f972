//! How the end of a job is seen on the object.

use std::borrow::Cow;
use std::collections::BTreeMap;

use provider_core::Resource;
use provider_core::text::kebab;
use serde::Deserialize;
use serde_json::Value;

use super::tidy_text;
use crate::ConfigError;

/// What stands for the object's API group in a name.
const GROUP: &str = "{group}";
/// What stands for its kind.
const KIND: &str = "{kind}";

/// How the end of a job is seen on the object, since an event has no answer.
///
/// In each name, `{group}` becomes the object's API group (`example.com` of `example.com/v1`), and `{kind}` its
/// kind in kebab case without dashes. So one setting serves kinds of several groups. An object without a group
/// has names without one: `{group}/NAME` is `NAME` there.
///
/// ```
/// use provider_core::Resource;
/// use provider_eda::Completion;
///
/// let vm = Resource::from_json(serde_json::json!({
///     "apiVersion": "example.com/v1", "kind": "ComputeInstance", "metadata": {"name": "vm"},
/// }))?;
/// let by_default = Completion::default();
/// assert_eq!(by_default.version_annotation(&vm), "example.com/reconciled-config-version");
/// assert_eq!(by_default.operation_annotation(&vm), "example.com/reconciled-operation");
/// assert_eq!(by_default.finalizer(&vm), "example.com/computeinstance-aap");
///
/// // Automation that writes the same names whatever the object's group is.
/// let ours = Completion { version_annotation: "acme.io/applied".to_owned(), ..Completion::default() };
/// assert_eq!(ours.version_annotation(&vm), "acme.io/applied");
/// # Ok::<(), provider_core::ResourceError>(())
/// ```
#[derive(Debug, Clone, Deserialize)]
#[serde(
    remote = "Self",
    rename_all = "camelCase",
    default,
    deny_unknown_fields
)]
pub struct Completion {
    /// The annotation in which the automation writes the version that it has applied. Default:
    /// `{group}/reconciled-config-version`.
    pub version_annotation: String,
    /// The annotation in which the automation writes the operation token of an event that it has worked off.
    /// It is the only sign of the end of an action, which changes no version, beside its job where
    /// that is tracked. For the others it may be left out; but where it is there, it must be the event's: an
    /// older event for the same version is no proof. So an automation that reports the operations of
    /// actions reports those of creations too, or their end is not seen after the first action. Default:
    /// `{group}/reconciled-operation`.
    pub operation_annotation: String,
    /// The automation's finalizer. Default: `{group}/{kind}-aap`.
    pub finalizer: String,
    /// Finalizers of single kinds, by kind (`ComputeInstance`). Default: none.
    pub finalizers: BTreeMap<String, String>,
}

impl Default for Completion {
    fn default() -> Self {
        Self {
            version_annotation: "{group}/reconciled-config-version".to_owned(),
            operation_annotation: "{group}/reconciled-operation".to_owned(),
            finalizer: "{group}/{kind}-aap".to_owned(),
            finalizers: BTreeMap::new(),
        }
    }
}

provider_core::guarded_settings!(Completion);

impl Completion {
    pub(super) fn tidy(&mut self) -> Result<(), ConfigError> {
        let Self {
            version_annotation,
            operation_annotation,
            finalizer,
            finalizers,
        } = self;
        tidy_text("completion.versionAnnotation", version_annotation)?;
        tidy_text("completion.operationAnnotation", operation_annotation)?;
        tidy_text("completion.finalizer", finalizer)?;
        for finalizer in finalizers.values_mut() {
            tidy_text("completion.finalizers", finalizer)?;
        }
        Ok(())
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let single = [
            ("completion.versionAnnotation", &self.version_annotation),
            ("completion.operationAnnotation", &self.operation_annotation),
            ("completion.finalizer", &self.finalizer),
        ];
        let of_kinds = self.finalizers.values();
        let of_kinds = of_kinds.map(|finalizer| ("completion.finalizers", finalizer));
        for (field, name) in single.into_iter().chain(of_kinds) {
            if name.is_empty() {
                return Err(ConfigError::new(field, "expected a name that is not empty"));
            }
            // A misspelt placeholder would be a name that no automation ever writes.
            if name
                .replace(GROUP, "")
                .replace(KIND, "")
                .contains(['{', '}'])
            {
                let what = "expected a name with no other placeholders than {group} and {kind}";
                return Err(ConfigError::new(field, what));
            }
        }
        Ok(())
    }

    /// The annotation with the applied version, as this object has it.
    #[must_use]
    pub fn version_annotation<'a>(&'a self, object: &Resource) -> Cow<'a, str> {
        filled(&self.version_annotation, object)
    }

    /// The annotation with the operation that was worked off, as this object has it.
    #[must_use]
    pub fn operation_annotation<'a>(&'a self, object: &Resource) -> Cow<'a, str> {
        filled(&self.operation_annotation, object)
    }

    /// The automation's finalizer on this object.
    #[must_use]
    pub fn finalizer<'a>(&'a self, object: &Resource) -> Cow<'a, str> {
        let own = self.finalizers.get(object.kind());
        filled(own.unwrap_or(&self.finalizer), object)
    }
}

/// A name with the group and the kind of the object in it.
fn filled<'a>(name: &'a str, object: &Resource) -> Cow<'a, str> {
    if !name.contains('{') {
        return Cow::Borrowed(name);
    }
    let group = group(object);
    // A name that begins with a slash is none.
    let name = match name.strip_prefix("{group}/") {
        Some(rest) if group.is_empty() => rest,
        _ => name,
    };
    let kind = kebab(object.kind()).replace('-', "");
    Cow::Owned(name.replace(GROUP, group).replace(KIND, &kind))
}

/// The group in the object's `apiVersion`; empty in those that have a version alone, or none.
fn group(object: &Resource) -> &str {
    let version = object.object().get("apiVersion").and_then(Value::as_str);
    let group = version.and_then(|version| version.split_once('/'));
    group.map_or("", |(group, _)| group)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(version: Option<&str>) -> Resource {
        let mut object = json!({"kind": "VMPool", "metadata": {"name": "p"}});
        if let Some(version) = version {
            object["apiVersion"] = json!(version);
        }
        Resource::from_json(object).unwrap()
    }

    #[test]
    fn names_are_of_the_objects_own_group_and_kind() {
        let completion = Completion::default();
        for (version, prefix) in [
            (Some("example.com/v1"), "example.com/"),
            (Some("acme.io/v1alpha1"), "acme.io/"),
            (Some("v1"), ""),
            (None, ""),
        ] {
            let object = object(version);
            for (name, expected) in [
                (
                    completion.version_annotation(&object),
                    "reconciled-config-version",
                ),
                (
                    completion.operation_annotation(&object),
                    "reconciled-operation",
                ),
                (completion.finalizer(&object), "vmpool-aap"),
            ] {
                assert_eq!(name, format!("{prefix}{expected}"), "{version:?}");
            }
        }
    }

    /// What is written out means the same on every object, as it did when it was the default.
    #[test]
    fn a_name_that_is_written_out_is_taken_as_it_is() {
        let mut completion = Completion {
            version_annotation: "acme.io/applied".to_owned(),
            operation_annotation: "acme.io/{kind}".to_owned(),
            finalizer: "acme.io/done".to_owned(),
            ..Completion::default()
        };
        let object = object(Some("example.com/v1"));
        assert_eq!(completion.version_annotation(&object), "acme.io/applied");
        assert_eq!(completion.operation_annotation(&object), "acme.io/vmpool");
        assert_eq!(completion.finalizer(&object), "acme.io/done");
        let own = "own.{group}/{kind}".to_owned();
        completion.finalizers.insert("VMPool".to_owned(), own);
        assert_eq!(completion.finalizer(&object), "own.example.com/vmpool");
    }

    #[test]
    fn a_name_with_a_misspelt_placeholder_is_refused() {
        type Change = fn(&mut Completion, String);
        let fields: [(&str, Change); 4] = [
            ("completion.versionAnnotation", |c, name| {
                c.version_annotation = name;
            }),
            ("completion.operationAnnotation", |c, name| {
                c.operation_annotation = name;
            }),
            ("completion.finalizer", |c, name| c.finalizer = name),
            ("completion.finalizers", |c, name| {
                c.finalizers.insert("K".to_owned(), name);
            }),
        ];
        assert!(Completion::default().validate().is_ok());
        for (field, change) in fields {
            for name in ["", "{Group}/x", "{group/x", "{namespace}/{kind}"] {
                let mut completion = Completion::default();
                change(&mut completion, name.to_owned());
                assert_eq!(completion.validate().unwrap_err().field(), field, "{name}");
            }
        }
    }
}
