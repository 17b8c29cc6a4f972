//! Whether a provider keeps the contract: every promise of [`Provider`](provider_core::Provider) that
//! the lifecycle engine relies on, looked at from outside.
//!
//! # Expected flow
//! Write a [`Harness`] that makes [`World`]s, and [`run`] the suite. [`guide`] does so step by step.
//!
//! # Guarantees
//! - Each behaviour has a world of its own, and judges by its journal, not by what the provider says.
//! - What the provider does not declare is not asked of it, except that it says so
//!   (`the_undeclared_is_unsupported`).
//! - Testkit's own tests hold a wrong provider for each behaviour, which this behaviour alone finds.
//!
//! # Assumptions
//! - The provider is built so that nothing but the backend holds launches back: a minimum interval
//!   between launches, or a circuit breaker, is set wide.
//! - The harness is honest. A world that breaks nothing makes every behaviour about failures
//!   [`NotApplicable`](Stop::NotApplicable): compare that list with what you expect.
//! - It runs on one thread of a tokio runtime (`#[tokio::test]`), so that the await points at which callers go
//!   away are the same in every run. What several callers do at once may be looked at again on several
//!   threads, by [`run_one`].
//!
//! # Caveats
//! It cannot prove that a backend keeps its own promises: that a launch is visible within the declared
//! window, for one.

#[doc = include_str!("../../docs/CONFORMANCE.md")]
pub mod guide {}

mod asking;
pub mod behaviours;
mod case;
mod harness;
mod report;
mod steps;
pub mod store;
mod suite;

pub use case::{Case, SECRET};
pub use harness::{Deed, Fault, Harness, Ran, World};
pub use report::{Report, Row, Stop, Verdict};
pub use suite::{Behaviour, all, run, run_one};
