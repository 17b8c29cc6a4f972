//! What a provider may see of the object.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{finite, text};

/// A Kubernetes-style object: `apiVersion`, `kind`, `metadata`, `spec`, and whatever else it has.
///
/// Cheap to clone. Its `Debug` shows the name alone: a spec may hold anything.
#[derive(Clone, PartialEq)]
pub struct Resource(Arc<Inner>);

#[derive(PartialEq)]
struct Inner {
    key: ObjectKey,
    deletion_timestamp: Option<Timestamp>,
    object: Map<String, Value>,
}

/// The identity of an object: one life of one name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// The kind, for example `ComputeInstance`.
    pub kind: String,
    /// The namespace; none for an object of the cluster.
    pub namespace: Option<String>,
    /// The name.
    pub name: String,
    /// The uid; empty where the source has none. An object deleted and made again under the
    /// same name is another object.
    pub uid: String,
}

impl fmt::Display for ObjectKey {
    /// `ComputeInstance default/vm-1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

/// Why something is not a [`Resource`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResourceError {
    /// It is not an object, or a member has the wrong kind.
    #[error("{0}; expected a Kubernetes object with apiVersion, kind and metadata.name")]
    Malformed(String),
    /// It holds a number that is NaN or infinite.
    #[error("{0}; send it as a text, or leave it out")]
    NotFinite(String),
}

impl Resource {
    /// The resource for anything that serialises to a Kubernetes-style object.
    ///
    /// # Errors
    /// When it does not: see [`from_json`](Self::from_json). [`ResourceError::NotFinite`] when it
    /// holds a number that JSON has no word for, which would be gone without a word.
    pub fn from_serializable<T: Serialize + ?Sized>(object: &T) -> Result<Self, ResourceError> {
        if let Some(trouble) = finite::not_finite(object) {
            let text = text::bounded(&trouble.to_string(), 300);
            return Err(ResourceError::NotFinite(text));
        }
        let value = serde_json::to_value(object).map_err(|error| {
            ResourceError::Malformed(format!(
                "the object cannot be written as JSON ({})",
                text::bounded(&error.to_string(), 200)
            ))
        })?;
        Self::from_json(value)
    }

    /// The resource for a JSON object.
    ///
    /// # Errors
    /// [`ResourceError::Malformed`] when it is not an object, when `kind` or `metadata.name` is
    /// missing, or when `metadata.deletionTimestamp` is not a time.
    pub fn from_json(value: Value) -> Result<Self, ResourceError> {
        let malformed = |what: &str| ResourceError::Malformed(what.to_owned());
        let Value::Object(object) = value else {
            return Err(malformed("the input is not an object"));
        };
        let text_at = |map: &Map<String, Value>, name: &str| {
            map.get(name)
                .and_then(Value::as_str)
                .filter(|s| !s.is_empty())
                .map(str::to_owned)
        };
        let kind = text_at(&object, "kind").ok_or_else(|| malformed("kind is missing"))?;
        let metadata = object
            .get("metadata")
            .and_then(Value::as_object)
            .ok_or_else(|| malformed("metadata is missing"))?;
        let name =
            text_at(metadata, "name").ok_or_else(|| malformed("metadata.name is missing"))?;
        let deletion_timestamp = match metadata.get("deletionTimestamp") {
            None | Some(Value::Null) => None,
            Some(value) => Some(
                value
                    .as_str()
                    .and_then(|time| time.parse().ok())
                    .ok_or_else(|| {
                        malformed("metadata.deletionTimestamp is not an RFC 3339 time")
                    })?,
            ),
        };
        let key = ObjectKey {
            kind,
            namespace: text_at(metadata, "namespace"),
            name,
            uid: text_at(metadata, "uid").unwrap_or_default(),
        };
        Ok(Self(Arc::new(Inner {
            key,
            deletion_timestamp,
            object,
        })))
    }

    /// The object's identity.
    #[must_use]
    pub fn key(&self) -> &ObjectKey {
        &self.0.key
    }

    /// The kind, for example `ComputeInstance`.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.0.key.kind
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.key.name
    }

    /// The namespace; none for an object of the cluster.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        self.0.key.namespace.as_deref()
    }

    /// The uid; empty where the source has none.
    #[must_use]
    pub fn uid(&self) -> &str {
        &self.0.key.uid
    }

    /// `metadata.generation`; zero where the source has none.
    #[must_use]
    pub fn generation(&self) -> i64 {
        self.metadata("generation")
            .and_then(Value::as_i64)
            .unwrap_or(0)
    }

    /// When deletion was asked for.
    #[must_use]
    pub fn deletion_timestamp(&self) -> Option<Timestamp> {
        self.0.deletion_timestamp
    }

    /// Whether the object is being deleted.
    #[must_use]
    pub fn is_deleting(&self) -> bool {
        self.0.deletion_timestamp.is_some()
    }

    /// Whether the object carries this finalizer.
    #[must_use]
    pub fn has_finalizer(&self, finalizer: &str) -> bool {
        self.metadata("finalizers")
            .and_then(Value::as_array)
            .is_some_and(|all| all.iter().any(|one| one.as_str() == Some(finalizer)))
    }

    /// The value of an annotation.
    #[must_use]
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.metadata("annotations")?.get(name)?.as_str()
    }

    /// The value of a label.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        self.metadata("labels")?.get(name)?.as_str()
    }

    /// The desired configuration; `null` where the object has none.
    #[must_use]
    pub fn spec(&self) -> &Value {
        self.0.object.get("spec").unwrap_or(&Value::Null)
    }

    /// Whether a decision that was made on the other holds on this one too: nothing differs that people
    /// and other programs ask with (generation, deletion, finalizers, annotations, labels).
    #[must_use]
    pub fn asks_the_same(&self, other: &Self) -> bool {
        let same = |name: &&str| self.asked(name) == other.asked(name);
        self.uid() == other.uid()
            && self.generation() == other.generation()
            && self.is_deleting() == other.is_deleting()
            && ["finalizers", "annotations", "labels"].iter().all(same)
    }

    /// A member of the metadata; empty ones are as good as none.
    fn asked(&self, name: &str) -> Option<&Value> {
        let value = self.0.object.get("metadata")?.get(name)?;
        let empty = match value {
            Value::Null => true,
            Value::Array(all) => all.is_empty(),
            Value::Object(all) => all.is_empty(),
            _ => false,
        };
        (!empty).then_some(value)
    }

    /// The whole object. What leaves the process is [`projection`](Self::projection) instead.
    #[must_use]
    pub fn object(&self) -> &Map<String, Value> {
        &self.0.object
    }

    /// What is sent to a backend: the object without what is none of its business.
    #[must_use]
    pub fn projection(&self, projection: &Projection) -> Value {
        let mut object = self.0.object.clone();
        if !projection.status {
            object.remove("status");
        }
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            if !projection.managed_fields {
                metadata.remove("managedFields");
            }
            if let Some(annotations) = metadata
                .get_mut("annotations")
                .and_then(Value::as_object_mut)
            {
                // A copy of the whole object, kept by kubectl for itself.
                annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
            }
        }
        let mut value = Value::Object(object);
        for pointer in &projection.without {
            remove(&mut value, pointer);
        }
        value
    }

    fn metadata(&self, name: &str) -> Option<&Value> {
        self.0.object.get("metadata")?.get(name)
    }
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Resource({})", self.0.key)
    }
}

/// Removes the member that an RFC 6901 pointer names, if it is there.
fn remove(value: &mut Value, pointer: &str) {
    let Some((parent, last)) = pointer.rsplit_once('/') else {
        return;
    };
    let last = last.replace("~1", "/").replace("~0", "~");
    match value.pointer_mut(parent) {
        Some(Value::Object(members)) => {
            members.remove(&last);
        }
        Some(Value::Array(items)) => {
            if let Some(index) = last.parse().ok().filter(|index| *index < items.len()) {
                items.remove(index);
            }
        }
        _ => {}
    }
}

/// Which parts of an object are sent to a backend. By default all but `status`,
/// `metadata.managedFields` and kubectl's copy of the object: backends keep what they get for
/// years, and a job history inside a job's variables grows with every job.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Projection {
    /// Send `status` too. Default: off.
    pub status: bool,
    /// Send `metadata.managedFields` too. Default: off.
    pub managed_fields: bool,
    /// JSON pointers (RFC 6901) of members that are not sent, for example
    /// `/spec/credentials/password`. Default: none.
    pub without: Vec<String>,
}
