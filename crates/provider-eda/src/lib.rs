//! Events to Event-Driven Ansible as a [`Provider`](provider_core::Provider).
//!
//! ```no_run
//! use provider_core::{LaunchRequest, OperationToken, Provider, Resource};
//! use provider_eda::{EdaConfig, EdaProvider, Endpoints, RulebookWebhook};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let urls = Endpoints::new("http://rulebook:5000/create-{kind}", "http://rulebook:5000/delete-{kind}");
//! let eda = EdaProvider::new(EdaConfig::new(RulebookWebhook::new(urls).with_token("…")))?;
//! let vm = Resource::from_json(serde_json::json!({
//!     "apiVersion": "osac.openshift.io/v1alpha1", "kind": "ComputeInstance",
//!     "metadata": {"name": "vm-1", "namespace": "tenant"}, "spec": {"cores": 4},
//! }))?;
//! // Sends the object to http://rulebook:5000/create-compute-instance.
//! let sent = eda.trigger_provision(&LaunchRequest::new(vm, OperationToken::from_random(1))).await?;
//! if let Some(job) = sent.job {
//!     println!("{job}");
//! }
//! # Ok(()) }
//! ```
//!
//! An event has no answer: 200 says that it stands in a queue, not that a rule fits it, nor that
//! anything will run. So a job is `Unknown` (provision) or `Running` (deprovision) until the
//! automation leaves a sign on the object: an annotation with the version that it has applied, and
//! its finalizer, which it removes at the end of a deletion. Their names are in the API group of the object
//! (`GROUP/reconciled-config-version`, `GROUP/KIND-aap`), or those that [`Completion`] is given.
//!
//! An action (`restart`) changes no version, so its end is read off the operation annotation alone: the automation
//! writes the event's token there when it has worked the event off. Where an automation does so for actions,
//! it does so for creations too ([`Completion::operation_annotation`]). Events of actions go to the URLs of
//! [`Endpoints::actions`] and [`Endpoints::action`], with the action's name as `action` in the payload; a
//! provider without any such URL has no actions.
//!
//! Where the rulebook launches on AAP and labels its jobs, [`Tracking`] sees them at work: then a
//! provision has states, a failure its diagnosis, and a deletion cancels the job that is in its way.
//! Without AAP in reach, the audit of the EDA server tells ends after the fact. Either way an end without
//! its sign on the object is final only when nothing has followed it for a while (`settle`).
//!
//! # One configuration for either backend
//!
//! With the feature `aap`, `ProviderConfig` holds the settings of AAP or of EDA, from a file (`{"aap": …}`,
//! `{"eda": …}`) or from the environment (`PROVISIONING_PROVIDER`, and the variables of that backend), and builds
//! the provider: the code of the controller is the same for both.
//!
//! # Features
//! - `aap`: `ProviderConfig` over both backends, and tracking of jobs on AAP by their label.
//! - `push`: the same, and the websocket of the controller (`AAP_PUSH`) tells of their ends.
//!
//! Claims about the other side were measured on ansible-rulebook 1.3.2 and on the eda-server of
//! August 2026.

mod activation;
mod answer;
mod api;
#[cfg(feature = "aap")]
mod backend;
mod body;
mod breaker;
mod check;
mod client;
mod completion;
mod config;
mod endpoints;
mod env;
mod error;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod kind;
mod pace;
mod preflight;
mod provider;
mod sights;
mod sign;
mod telling;
mod tracking;
mod transport;
mod yaml;

pub use activation::Activation;
pub use answer::Answer;
#[cfg(feature = "aap")]
pub use backend::ProviderConfig;
pub use config::{Completion, EdaConfig, Pacing, Timing};
pub use endpoints::{Endpoints, KindEndpoints, TargetEndpoints};
pub use error::ConfigError;
pub use provider::EdaProvider;
pub use provider_http::{ClientIdentity, HttpConfig};
#[cfg(feature = "aap")]
pub use tracking::JobTracking;
pub use tracking::{AuditTracking, Tracking};
pub use transport::{
    Algorithm, Encoding, EventStream, Hmac, RulebookWebhook, StreamAuth, Transport, TransportKind,
};

/// The program in this crate's README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
