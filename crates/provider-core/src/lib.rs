//! Resources that automation outside the cluster creates and deletes: the contract of a backend,
//! the job model, and the lifecycle engine that drives one through the other.
//!
//! ```
//! use std::sync::Arc;
//! use provider_core::lifecycle::{Desired, Lifecycle, MemoryStore, Policy, ProviderRegistry, Standing};
//! use provider_core::{Clock, ConfigVersion, ManualClock, Resource};
//! use provider_testkit::FakeProvider;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let registry = ProviderRegistry::single(Arc::new(FakeProvider::new("fake")));
//! let (lifecycle, store) = (Lifecycle::new(Policy::default()), MemoryStore::new());
//! let clock = ManualClock::new("2026-01-01T00:00:00Z".parse()?);
//! let vm = Resource::from_json(serde_json::json!({
//!     "kind": "ComputeInstance", "metadata": {"name": "vm", "uid": "1"}, "spec": {"cores": 4},
//! }))?;
//! let desired = Desired::new(ConfigVersion::of_json(vm.spec()), "fake");
//! loop {
//!     let outcome = lifecycle.reconcile(&registry, &store, &vm, &desired, &clock).await;
//!     if matches!(outcome.standing, Standing::Applied { .. }) {
//!         break;
//!     }
//!     clock.advance(outcome.wake_after(clock.now()).ok_or("it rests")?);
//! }
//! # Ok(()) }
//! ```
//!
//! - [`Provider`] is what a backend implements: `AapProvider` of the crate [`provider-aap`] (jobs of AAP and AWX),
//!   `EdaProvider` of [`provider-eda`] (events to Event-Driven Ansible). Where the configuration is to choose
//!   between the two, [`ProviderConfig`] of `provider-eda`, with its feature `aap`, reads the settings of either
//!   and builds the provider.
//! - [`lifecycle`] is what a controller calls: when to launch, poll, cancel, retry, let go.
//! - [`JobRecord`] is what is kept in the object's status, and all that survives a crash.
//! - Time comes from a [`Clock`], randomness from a [`lifecycle::Entropy`], records from a
//!   [`lifecycle::StatusStore`]; this crate itself opens no socket, and no file but one that a
//!   [`Secret`] names.
//!
//! [`provider-aap`]: https://docs.rs/provider-aap
//! [`provider-eda`]: https://docs.rs/provider-eda
//! [`ProviderConfig`]: https://docs.rs/provider-eda/latest/provider_eda/enum.ProviderConfig.html
//!
//! The [`guide`] goes from the concepts to a controller and to a provider of one's own.
//!
//! # Features
//! - `mock`: [`Provider`] as a mockall mock, `MockProvider`.
//! - `schema`: `schemars::JsonSchema` for everything that is persisted.
//! - `metrics`: counters and histograms through the `metrics` facade; names are in
//!   `docs/METRICS.md`.

pub mod clock;
pub mod engine;
mod error;
mod extra_vars;
mod finite;
#[doc = include_str!("../docs/GUIDE.md")]
pub mod guide {}
pub mod history;
pub mod http;
mod job;
mod job_type;
pub mod lifecycle;
mod preflight;
pub mod prelude;
mod provider;
mod record;
mod resource;
mod result;
pub mod settings;
mod state;
pub mod text;
mod version;

pub use clock::{Clock, ManualClock, SystemClock};
pub use error::{Effect, ErrorKind, ProviderError, TriggerError};
pub use extra_vars::ExtraVars;
/// Moments and durations of this crate's types are jiff's.
pub use jiff;
pub use job::{JobRef, OperationToken, TrackedJob};
pub use job_type::{ActionName, BadActionName, JobType};
pub use preflight::{Finding, Preflight, Severity};
#[cfg(any(test, feature = "mock"))]
pub use provider::MockProvider;
pub use provider::{
    Capabilities, FindRequest, LaunchRequest, OnAmbiguity, Provider, RelaunchQuery, Relaunched,
    WakeUps,
};
pub use record::{JobRecord, Reason};
pub use resource::{ObjectKey, Projection, Resource, ResourceError};
pub use result::{CancelResult, DeprovisionResult, JobStatus, ProvisionResult};
pub use secrecy::SecretString;
pub use settings::{ConfigError, Secret};
pub use state::JobState;
pub use version::ConfigVersion;

/// The program in this crate's README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
