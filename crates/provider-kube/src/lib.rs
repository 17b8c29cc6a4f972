//! The lifecycle engine for [kube](https://docs.rs/kube) controllers.
//!
//! ```no_run
//! use std::sync::Arc;
//! use futures::StreamExt;
//! use kube::runtime::{Controller, controller::Action, watcher};
//! use kube::{Api, Client, CustomResource};
//! use provider_core::ConfigVersion;
//! use provider_core::lifecycle::{Desired, Lifecycle, Policy, ProviderRegistry};
//! use provider_kube::{Error, ProvisioningStatus, Provisioner};
//! use schemars::JsonSchema;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, CustomResource)]
//! #[kube(group = "example.com", version = "v1", kind = "Machine", namespaced, status = "ProvisioningStatus")]
//! struct MachineSpec { cores: u32 }
//!
//! async fn reconcile(machine: Arc<Machine>, ctx: Arc<Provisioner<Machine>>) -> Result<Action, Error> {
//!     ctx.reconcile(&machine, |machine| {
//!         let version = ConfigVersion::of_json(&serde_json::json!(machine.spec));
//!         Desired::new(version, "aap")
//!     })
//!     .await
//! }
//!
//! # async fn run(registry: ProviderRegistry) -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::try_default().await?;
//! let provisioner = Arc::new(Provisioner::new(client.clone(), Lifecycle::new(Policy::default()), registry));
//! Controller::new(Api::<Machine>::all(client), watcher::Config::default())
//!     .reconcile_on(provisioner.wake_ups()) // optional: at the end of a job, not at the next poll
//!     .run(reconcile, |machine, error, ctx| ctx.error_policy(&machine, error), provisioner)
//!     .for_each(async |_| {})
//!     .await;
//! # Ok(()) }
//! ```
//!
//! The function names no backend: which provider does the work is the registry's affair.
//!
//! - [`Provisioner`] does what a reconcile function would: finalizer, records, jobs, conditions, events.
//! - What is wanted is a function of the object, because the object at hand may be newer than the one that
//!   the controller was given: a conflict brings the present one, and the decision is made on that.
//! - [`ProvisioningStatus`] is the part of the status that is its own; [`guarded`] makes the API server
//!   refuse writes that would erase it.
//! - [`Provisioner::wake_ups`] is a stream for `Controller::reconcile_on` (kube's feature
//!   `unstable-runtime`): objects whose jobs have ended, as soon as a backend can tell.
//! - [`Provisioner::reconcile_guarded`] (for several targets,
//!   [`Provisioner::reconcile_targets_guarded`]) is for a watch of `DeserializeGuard<K>`: without the guard, one
//!   stored object that does not fit the Rust type hides all others, and kube's client logs the whole list, specs
//!   and all, at `WARN` (silence `kube_client::client`). Before the first list a `Controller` does not end
//!   when it is told to: see the example operator for what ends it.
//! - [`Annotations`] are how people pause an object, take it in hand, or ask for a retry.
//!
//! # Features
//! - `metrics`: counters through the `metrics` facade.
//!
//! The version of Kubernetes is the application's choice: it enables one of `k8s-openapi`'s features, as
//! every program with `kube` does.

mod annotations;
mod conditions;
mod crd;
mod error;
mod events;
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
mod retries;
mod said;
mod seen;
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

pub use annotations::Annotations;
pub use conditions::{
    DEPROVISIONED, PROGRESSING, PROVISIONED, READABLE, STATUS_WRITABLE, TARGETS_KNOWN,
};
pub use crd::guarded;
pub use error::Error;
pub use object::resource_of;
pub use provisioner::{Provisioner, RequestCounts};
pub use status::ProvisioningStatus;

/// The program in this crate's README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
