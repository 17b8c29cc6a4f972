//! How a job is named: by the backend once it exists, by our token before that.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{ConfigVersion, Effect, ErrorKind, JobType, ProviderError, text};

/// Where a job can be found again: enough to route a question about it to the right provider
/// and the right endpoint, also after an object was switched to another provider.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JobRef {
    /// Name of the provider that owns the job, as registered.
    pub provider: String,
    /// What the backend calls this sort of job, for example `job`, `workflow_job` or `event`. At most
    /// [`MAX_KIND`](Self::MAX_KIND) bytes.
    pub kind: String,
    /// The backend's identifier. Never empty, and at most [`MAX_ID`](Self::MAX_ID) bytes.
    pub id: String,
    /// Where a program (not a browser) reads the job, if the backend has such a place. At most
    /// [`MAX_URL`](Self::MAX_URL) bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

impl JobRef {
    /// The longest [`id`](Self::id) that fits on record.
    pub const MAX_ID: usize = 256;
    /// The longest [`kind`](Self::kind) that fits on record.
    pub const MAX_KIND: usize = 253;
    /// The longest [`url`](Self::url) that fits on record.
    pub const MAX_URL: usize = 2_048;

    /// Whether the name fits on record.
    ///
    /// # Errors
    /// When it does not: a store would refuse the record, at every try.
    pub fn check(&self) -> Result<(), ProviderError> {
        let url = self.url.as_deref().unwrap_or_default();
        for (what, length, most) in [
            ("an id", self.id.len(), Self::MAX_ID),
            ("a kind", self.kind.len(), Self::MAX_KIND),
            ("a url", url.len(), Self::MAX_URL),
        ] {
            if length > most {
                let message = format!(
                    "provider {} named a job by {what} of {length} bytes, and {most} fit on record",
                    self.provider
                );
                let error = ProviderError::new(Effect::Unreadable, ErrorKind::Protocol, message);
                return Err(error.with_advice("the provider must name its jobs in fewer bytes"));
            }
        }
        Ok(())
    }

    /// A job without a URL.
    #[must_use]
    pub fn new(
        provider: impl Into<String>,
        kind: impl Into<String>,
        id: impl Into<String>,
    ) -> Self {
        Self {
            provider: provider.into(),
            kind: kind.into(),
            id: id.into(),
            url: None,
        }
    }

    /// The same job with a URL.
    #[must_use]
    pub fn with_url(mut self, url: impl Into<String>) -> Self {
        self.url = Some(url.into());
        self
    }
}

impl fmt::Display for JobRef {
    /// `aap job/42`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.provider, self.kind, self.id)
    }
}

/// The name of one launch, made before the launch and carried to the backend, so that a job
/// whose answer was lost can be found again. Unique per attempt; not a secret.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct OperationToken(String);

impl OperationToken {
    /// A token from 128 random bits.
    #[must_use]
    pub fn from_random(bits: u128) -> Self {
        Self(format!("{bits:032x}"))
    }

    /// A token as stored or received. Text beyond 128 bytes is cut: a token goes into queries.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        Self(text::bounded(text, 128))
    }

    /// The token's text: 32 lower-case hexadecimal digits for our own.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OperationToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for OperationToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OperationToken({})", self.0)
    }
}

/// A job under observation: its name, and what we remember of its launch.
///
/// A provider that learns completion from the resource (an annotation that equals the version
/// sent) needs more than the name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrackedJob {
    /// What the job is for.
    pub job_type: JobType,
    /// The job's name at the backend.
    pub job: JobRef,
    /// Which of several backends of the object it belongs to; none where there is one only.
    pub target: Option<String>,
    /// The token that its launch carried; records of older operators have none.
    pub token: Option<OperationToken>,
    /// The configuration that it was launched with.
    pub config_version: Option<ConfigVersion>,
    /// When it was launched, by our clock.
    pub launched_at: Option<Timestamp>,
}

impl TrackedJob {
    /// A job of this type and name, of whose launch nothing is remembered.
    #[must_use]
    pub const fn new(job_type: JobType, job: JobRef) -> Self {
        Self {
            job_type,
            job,
            target: None,
            token: None,
            config_version: None,
            launched_at: None,
        }
    }

    /// The same job of one of several targets of the object.
    #[must_use]
    pub fn for_target(mut self, target: impl Into<String>) -> Self {
        self.target = Some(target.into());
        self
    }

    /// The same job with the version that it was launched with.
    #[must_use]
    pub fn with_config_version(mut self, version: ConfigVersion) -> Self {
        self.config_version = Some(version);
        self
    }

    /// The same job with the token that its launch carried.
    #[must_use]
    pub fn with_token(mut self, token: OperationToken) -> Self {
        self.token = Some(token);
        self
    }

    /// The same job with the time of its launch.
    #[must_use]
    pub fn with_launched_at(mut self, at: Timestamp) -> Self {
        self.launched_at = Some(at);
        self
    }
}
