//! Providers that are wrong in one way each, named after the behaviour that they break.

mod actions;
pub mod harness;
mod memory;
mod provider;
pub mod store;

pub use provider::Wrong;
