//! A stateful simulator of the controller API of AAP (AWX 24.6.1).
//!
//! It answers with the fields and the status codes that were measured on the real program, on a
//! real socket, and keeps a [journal](Run) of what really ran. Its time is the injected clock: with
//! a [`ManualClock`](provider_core::ManualClock) a day passes at once, with the
//! [`SystemClock`](provider_core::SystemClock) a person can watch.
//!
//! ```
//! use std::sync::Arc;
//! use provider_core::SystemClock;
//! use provider_testkit::aap::{AapSim, Template, World};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
//! let world = World::with([Template::job("osac-create-compute-instance")]);
//! let sim = AapSim::start(world, Arc::new(SystemClock)).await?;
//! assert!(sim.url().starts_with("http://127.0.0.1:"));
//! # Ok(()) }
//! ```
//!
//! What it does not simulate: projects, inventories, credentials beyond their presence in answers,
//! schedules, and the creation of templates over REST.

mod answer;
mod approvals;
pub mod control;
mod events;
mod fault;
mod jobs;
mod journal;
mod launch;
mod lists;
mod nodes;
mod notify;
mod options;
mod plan;
mod play;
mod push;
mod query;
mod received;
mod routes;
mod rows;
mod script;
mod server;
mod shape;
mod state;
mod survey;
mod web;
mod world;

pub use fault::{Fault, Route, Weather};
pub use jobs::Broken;
pub use journal::{Run, overlapping};
pub use nodes::{Node, Other};
pub use notify::Webhook;
pub use plan::{Ending, OnCancel, RunPlan};
pub use play::{Outcome, Play, Task};
pub use script::{Script, ScriptedFault, ScriptedPlan};
pub use server::AapSim;
pub use survey::{Answers, Question};
pub use web::{Costs, Load};
pub use world::{ADMIN_TOKEN, Kind, Layout, OPERATOR_TOKEN, READER_TOKEN, Template, User, World};
