//! Jobs of Ansible Automation Platform and AWX as a [`Provider`](provider_core::Provider).
//!
//! ```no_run
//! use provider_aap::{AapConfig, AapProvider, Auth};
//! use provider_core::{LaunchRequest, OperationToken, Provider, Resource};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let config = AapConfig::new("https://aap.example.com", Auth::token("…"))
//!     .with_template_prefix("osac");
//! let aap = AapProvider::new(config)?;
//! let vm = Resource::from_json(serde_json::json!({
//!     "apiVersion": "osac.openshift.io/v1alpha1", "kind": "ComputeInstance",
//!     "metadata": {"name": "vm-1", "namespace": "tenant"}, "spec": {"cores": 4},
//! }))?;
//! // Launches `osac-create-compute-instance` with the object in its variables.
//! let started = aap.trigger_provision(&LaunchRequest::new(vm, OperationToken::from_random(1))).await?;
//! println!("{}", started.message);
//! # Ok(()) }
//! ```
//!
//! A controller does not call these functions itself: it hands the provider to
//! [`provider_core::lifecycle::Lifecycle`], which decides when to call what.
//!
//! Where the configuration is to choose between AAP and Event-Driven Ansible, [`ProviderConfig`] of the crate
//! `provider-eda`, with its feature `aap`, reads the settings of either and builds the provider.
//!
//! [`ProviderConfig`]: https://docs.rs/provider-eda/latest/provider_eda/enum.ProviderConfig.html
//!
//! All questions about jobs go through one poller ([`MonitorConfig`]): few jobs are asked about one by one,
//! many in pages. Ends that it has seen are told by [`Provider::wake_ups`](provider_core::Provider::wake_ups),
//! for a controller that wants to reconcile at once; [`AapProvider::job_events`] tells of every change.
//!
//! # Which template does what
//!
//! | setting | default | what it names |
//! |---|---|---|
//! | `templates.prefix` | none | by convention `PREFIX-create-KIND`, `PREFIX-delete-KIND`, `PREFIX-ACTION-KIND`, the kind in kebab case |
//! | `templates.create`, `templates.delete` | none | the template that provisions, or deprovisions, every kind |
//! | `templates.actions.ACTION` | none | the template that does this to every kind |
//! | `templates.usedActions` | none | actions whose templates the preflight looks for although nothing names them |
//! | `templates.kinds.KIND.{create,delete,actions,usedActions}` | none | the same for one kind |
//! | `templates.targets.TARGET.{prefix,create,delete,actions,usedActions,kinds}` | none | the same for one of several targets of an object |
//!
//! The most specific one is meant: the target's entry of the kind, the target's own, the target's convention
//! where it has a prefix; then the entry of the kind, the fixed one, the convention. [`Templates`] has an example,
//! and [`AapConfig::from_vars`] the variables.
//!
//! An action is a job like any other: [`trigger_action`](provider_core::Provider::trigger_action) sends the object
//! in its envelope, the token and the caller's variables. What is to be done is told by the template alone, as with
//! create and delete. One template that does several actions learns which by the extra variables of the action.
//! An action called `create` or `delete` needs a template that is named.
//!
//! [`Provider::preflight`](provider_core::Provider::preflight) looks for all templates that are named or follow from
//! a prefix, with those of every target, and of actions for those that are named or used: `action/restart of KIND`.
//! Where only targets have templates, objects without a target are left out.
//!
//! # Features
//! - `push`: `AapConfig::with_push`, hints from the controller's websocket; the end of a job is then known
//!   within a second.
//! - `webhook`: `AapProvider::notifications`, an axum router for the controller's webhook notifications.
//! - `metrics`: gauges through the `metrics` facade; names are in provider-core's `docs/METRICS.md`.
//!
//! Claims about the server were measured on AWX 24.6.1; AAP 2.4 (controller 4.5) and 2.5
//! (controller 4.6) serve the same API.

mod answer;
mod approvals;
mod body;
mod client;
mod config;
mod diagnose;
mod ends;
mod env;
mod envelope;
mod error;
mod find;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod gate;
#[cfg(any(test, fuzzing))]
mod holds;
#[cfg(test)]
mod hostile;
mod identity;
mod jobs;
mod launch;
mod look;
mod monitor;
mod names;
mod nodes;
mod place;
mod preflight;
mod provider;
#[cfg(feature = "push")]
mod push;
mod refusal;
mod scan;
mod search;
mod shared;
mod skew;
mod status;
mod survey;
mod templates;
mod veil;
mod walk;
#[cfg(feature = "webhook")]
mod webhook;
mod words;

pub use config::{AapConfig, Auth, Timing};
pub use envelope::Envelope;
pub use error::ConfigError;
pub use monitor::{JobEvents, MonitorConfig};
pub use names::{KindTemplates, TargetTemplates, TemplateKind, TemplateName, Templates};
pub use provider::AapProvider;
pub use provider_http::{ClientIdentity, HttpConfig};
pub use status::map_status;

use provider_http::json;

/// The program in this crate's README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
