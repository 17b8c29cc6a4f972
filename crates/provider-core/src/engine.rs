//! The inside of the engine, for whoever proves it, drives it by hand, or shows what it would do.
//!
//! A controller needs [`lifecycle`](crate::lifecycle) alone. This is what that is made of:
//! - [`decide`] says from records, wishes and time which one step is next. Pure.
//! - [`absorb`] says what an answer of a provider does to the records. Pure.
//! - [`Machine`] is one pass over one object: what has happened goes in, what is to be done comes out. It waits for
//!   nothing; [`Lifecycle`](crate::lifecycle::Lifecycle) carries its effects out, and so does a model checker.
//! - [`Pace`], [`Look`] and [`Vain`] are what a process plans and has seen itself, between two passes.
//!
//! It may change in any version.

pub use crate::lifecycle::inside::*;
