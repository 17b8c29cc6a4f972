//! What controllers and providers are tested with: a fake provider in memory, and stateful
//! simulators on real sockets, that of AAP also without.
//!
//! - [`FakeProvider`]: for tests of a controller; no network, every trouble by script.
//! - [`FileStore`]: records in files, for programs without a cluster.
//! - [`TimerClock`]: for tests on paused time.
//! - [`aap`]: the controller API of AAP.
//! - [`eda`]: the two ways into Event-Driven Ansible, rulebook webhook and event stream.
//! - [`Line`]: requests to a simulator without sockets, for tests on paused time.
//! - [`Forwarder`] and [`Front`]: a network that swallows connections, a gateway with HTTP/2.
//! - [`conformance`]: whether a provider keeps the contract.
//!
//! The simulators are a program too, `provider-sim aap|eda`, for test-suites in any language; its fault
//! scripts and controls are in `docs/SIMULATORS.md`.

pub mod aap;
pub mod conformance;
pub mod eda;
mod fake;
mod file_store;
mod line;
mod network;
mod timer;

pub use fake::{CallRecord, FakeJob, FakeProvider, Function, Trouble};
pub use file_store::FileStore;
pub use line::Line;
pub use network::{Forwarder, Front};
pub use timer::TimerClock;

/// The program in this crate's README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
