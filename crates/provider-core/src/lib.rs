//! The contract between a controller and automation that runs outside the cluster: job model,
//! results, errors, and the [`Provider`] trait that every backend implements.

pub mod clock;
mod error;
mod extra_vars;
pub mod history;
mod job;
pub mod lifecycle;
mod preflight;
mod provider;
mod record;
mod resource;
mod result;
mod state;
pub mod text;
mod version;

pub use clock::{Clock, ManualClock, SystemClock};
pub use error::{Effect, ErrorKind, ProviderError, TriggerError};
pub use extra_vars::ExtraVars;
pub use job::{JobRef, OperationToken, TrackedJob};
pub use preflight::{Finding, Preflight, Severity};
#[cfg(any(test, feature = "mock"))]
pub use provider::MockProvider;
pub use provider::{Capabilities, FindRequest, LaunchRequest, OnAmbiguity, Provider};
pub use record::{JobRecord, Reason};
pub use resource::{ObjectKey, Projection, Resource, ResourceError};
pub use result::{CancelResult, DeprovisionResult, JobStatus, ProvisionResult};
pub use secrecy::SecretString;
pub use state::{JobState, JobType};
pub use version::ConfigVersion;
