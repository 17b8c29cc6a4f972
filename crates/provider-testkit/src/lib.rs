//! What controllers and providers are tested with: a fake provider in memory, and stateful
//! simulators on real sockets.
//!
//! - [`FakeProvider`]: for tests of a controller; no network, every trouble by script.
//! - [`aap`]: the controller API of AAP; also as a program, `aap-sim`.
//! - [`eda`]: the two ways into Event-Driven Ansible, rulebook webhook and event stream.

pub mod aap;
pub mod eda;
mod fake;

pub use fake::{CallRecord, FakeJob, FakeProvider, Function, Trouble};
