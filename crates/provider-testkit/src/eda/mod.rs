//! Simulators of the two ways into Event-Driven Ansible: a rulebook's webhook source
//! (ansible-rulebook 1.3.2) and the event streams of an EDA server (August 2026).
//!
//! They answer with the status codes and texts that were measured on the real programs, on a real
//! socket, and keep a [journal](Event) of the events that they really took, whatever the clients
//! were told.
//!
//! ```
//! use std::sync::Arc;
//! use provider_core::SystemClock;
//! use provider_testkit::eda::{EdaSim, Webhook};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
//! let sim = EdaSim::start(Webhook::new().with_token("secret"), Arc::new(SystemClock)).await?;
//! assert!(sim.url().starts_with("http://127.0.0.1:"));
//! assert!(sim.journal().is_empty());
//! # Ok(()) }
//! ```
//!
//! A [`Rulebook`] links them to the [AAP simulator](crate::aap): its rules turn events into labelled
//! jobs, whose playbooks leave their marks on the objects, and the audit tells how they ended.
//!
//! An event with a member without a name stops the rulebook's queue, one whose text is a multiple of a
//! stream's pieces is lost with 200, and a report of 1 MiB or more never reaches the audit.
//!
//! What they do not simulate: conditions beyond the action of an event, compressed bodies, and the credential types
//! OAuth2, ECDSA, ServiceNow and Dynatrace.

mod api;
pub mod control;
mod fault;
mod journal;
mod known;
mod rulebook;
mod script;
mod server;
mod sign;
mod stream;
mod webhook;
mod world;
mod yaml;

pub use api::{AuditAction, AuditRule};
pub use fault::{Fault, Weather};
pub use journal::{Event, Fate, Trouble};
pub use rulebook::{Cluster, Marks, Objects, Rule, Rulebook};
pub use script::{Script, ScriptedFault};
pub use server::EdaSim;
pub use world::{HmacCheck, HmacHash, Stream, StreamCredential, Webhook, World};
