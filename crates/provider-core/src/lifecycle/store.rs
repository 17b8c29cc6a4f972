//! Where an object's records live.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::{JobRecord, ObjectKey, Resource, text};

/// Keeps the records of each object, with optimistic concurrency.
///
/// # Guarantees that the engine relies on
/// - A [`swap`](Self::swap) succeeds only if nothing was written to the object (its records,
///   and for stores that keep the whole object, any part of it) since the version was read.
/// - A swap that succeeded is durable: the records survive a crash.
/// - A [`Freshness::Current`] load sees every swap that has succeeded before it began.
///
/// Cached loads may be old. The engine may look at old records, but it launches, cancels and
/// lets go only right after a swap.
#[async_trait]
pub trait StatusStore: Send + Sync {
    /// Reads the records of an object; none where nothing was written yet.
    ///
    /// # Errors
    /// [`StoreError::Gone`] when the object does not exist any more, else
    /// [`StoreError::Unavailable`].
    async fn load(&self, key: &ObjectKey, freshness: Freshness) -> Result<Snapshot, StoreError>;

    /// Replaces the records of an object, if they are still those of `version`.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when somebody wrote in between; nothing was written then.
    /// [`StoreError::Unavailable`] leaves it open whether it was written.
    async fn swap(
        &self,
        key: &ObjectKey,
        version: &StoreVersion,
        records: &[JobRecord],
    ) -> Result<Written, StoreError>;
}

/// How new a load must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// A cache will do.
    Cached,
    /// From the source of truth.
    Current,
}

/// The records of one object as they were at one version.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The records, in the order in which they are stored.
    pub records: Arc<Vec<JobRecord>>,
    /// What a swap must name.
    pub version: StoreVersion,
    /// The object as it was read with the records, where the store keeps both. The engine breaks
    /// off when the caller's object is older than this one.
    pub resource: Option<Resource>,
}

impl Snapshot {
    /// The records of a store that keeps records alone.
    #[must_use]
    pub fn new(records: Arc<Vec<JobRecord>>, version: StoreVersion) -> Self {
        Self {
            records,
            version,
            resource: None,
        }
    }

    /// The same of a store that keeps the whole object.
    #[must_use]
    pub fn with_resource(mut self, resource: Resource) -> Self {
        self.resource = Some(resource);
        self
    }
}

/// What a swap has left.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Written {
    /// What the next swap must name.
    pub version: StoreVersion,
    /// The whole object as the store has it now, where the store keeps it. This is what backends are
    /// sent from then on: the caller's object may have come through a type that knows less.
    pub resource: Option<Resource>,
    /// Nothing is on record yet: the caller of the engine makes this write together with one of its own,
    /// or not at all. What it tells is in [`Outcome::unrecorded`](super::Outcome::unrecorded) until then.
    pub is_left: bool,
}

impl Written {
    /// A write by a store that keeps records alone.
    #[must_use]
    pub fn new(version: StoreVersion) -> Self {
        Self {
            version,
            resource: None,
            is_left: false,
        }
    }

    /// A write that the store leaves to the caller of the engine, as the last of an object may be.
    #[must_use]
    pub fn left(version: StoreVersion) -> Self {
        Self {
            is_left: true,
            ..Self::new(version)
        }
    }

    /// The same by a store that keeps the whole object.
    #[must_use]
    pub fn with_resource(mut self, resource: Resource) -> Self {
        self.resource = Some(resource);
        self
    }
}

/// The version of an object's records; opaque.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StoreVersion(String);

impl StoreVersion {
    /// A version as the store names it.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The store's name of it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StoreVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Why a store could not serve.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Somebody else wrote in between. Nothing was written.
    #[error("somebody else wrote the object's records at the same time")]
    Conflict,
    /// The object does not exist any more.
    #[error("the object does not exist any more")]
    Gone,
    /// The store could not be asked, or its answer was lost: it may have been written.
    #[error("the store of the object's records cannot be used: {0}")]
    Unavailable(String),
    /// The store refused the records as they are. Nothing was written.
    #[error("the store refused the object's records: {0}")]
    Refused(String),
}

impl StoreError {
    /// A failure with its reason, bounded.
    #[must_use]
    pub fn unavailable(reason: &str) -> Self {
        Self::Unavailable(text::bounded(reason, text::MAX_TEXT))
    }

    /// A refusal with its reason, bounded.
    #[must_use]
    pub fn refused(reason: &str) -> Self {
        Self::Refused(text::bounded(reason, text::MAX_TEXT))
    }
}
