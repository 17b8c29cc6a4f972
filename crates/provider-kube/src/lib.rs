//! The lifecycle engine for [kube](https://docs.rs/kube) controllers.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use kube::runtime::watcher;
//! use kube::{Api, Client, CustomResource};
//! use provider_core::ConfigVersion;
//! use provider_core::lifecycle::{Desired, Lifecycle, Policy, ProviderRegistry};
//! use provider_kube::{BoxError, ProvisioningStatus, Provisioner};
//! use schemars::JsonSchema;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, CustomResource)]
//! #[kube(group = "example.com", version = "v1", kind = "Machine", namespaced, status = "ProvisioningStatus")]
//! struct MachineSpec { cores: u32 }
//!
//! async fn wanted(machine: Arc<Machine>) -> Result<Desired, BoxError> {
//!     Ok(Desired::new(ConfigVersion::of(&machine.spec)?, "aap"))
//! }
//!
//! async fn run(registry: ProviderRegistry) -> Result<(), BoxError> {
//!     let client = Client::try_default().await?;
//!     let engine = Lifecycle::new(Policy::default());
//!     let provisioner = Arc::new(Provisioner::<Machine>::new(client.clone(), engine, registry));
//!     let controller = provisioner.controller(Api::all(client), watcher::Config::default());
//!     provisioner.run(controller, wanted, std::future::pending()).await;
//!     Ok(())
//! }
//! ```
//!
//! The name of a provider is all that the function says of a backend: which one does the work is the registry's
//! affair.
//!
//! - [`Provisioner`] does what a reconcile function would: finalizer, records, jobs, conditions, events.
//! - What is wanted is a function of the object, because the object at hand may be newer than the one that
//!   the controller was given: a conflict brings the present one, and the decision is made on that. It may read
//!   Secrets and other objects, and may fail: the object says so, and it is tried again.
//! - [`Provisioner::controller`] is a kube `Controller` that wakes an object when somebody
//!   [wants](predicate) something of it, and when its job has ended; [`Provisioner::run`] runs it. Who builds one by
//!   hand calls [`Provisioner::reconcile`] and filters by [`predicate`]: by generations alone, requests to try again
//!   are lost.
//! - [`ProvisioningStatus`] is the part of the status that is its own; [`guarded`] makes the API server
//!   refuse writes that would erase it.
//! - Objects that do not fit the Rust type are [guarded](Guarded): without the guard, one of them hides all others, and
//!   kube's client logs the whole list, specs and all, at `WARN` (silence `kube_client::client`).
//! - [`Annotations`] are how people pause an object, take it in hand, or ask for a retry, and how something that
//!   is there already is imported.
//!
//! # Features
//! - `controller` (default): [`Provisioner::controller`]. Enables kube's `unstable-runtime`.
//! - `metrics`: counters through the `metrics` facade.
//!
//! The version of Kubernetes is the application's choice: it enables one of `k8s-openapi`'s features, as
//! every program with `kube` does.

mod annotations;
mod applied;
mod conditions;
mod control;
mod crd;
mod error;
mod events;
mod explain;
mod finalizer;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod guard;
mod handle;
mod kept;
mod object;
mod pass;
mod provisioner;
mod reconciled;
mod retries;
mod said;
mod seen;
mod show;
mod status;
mod store;
mod targets;
mod wake;

// The tests of this crate share a server with its integration tests.
#[cfg(test)]
extern crate self as provider_kube;
#[cfg(test)]
#[path = "../tests/common/mod.rs"]
#[allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that panics has failed"
)]
mod mock;

/// The versions whose types this crate's are made of.
pub use {k8s_openapi, kube};

pub use annotations::Annotations;
pub use conditions::{
    DEPROVISIONED, DESIRED_KNOWN, PROGRESSING, PROVISIONED, READABLE, STATUS_WRITABLE,
    TARGETS_KNOWN,
};
pub use control::{Guarded, predicate};
pub use crd::guarded;
pub use error::{BoxError, Error};
pub use object::resource_of;
pub use provisioner::{Provisioner, RequestCounts};
pub use reconciled::{IntoTargets, Reconciled};
pub use status::ProvisioningStatus;

/// The program in this crate's README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
