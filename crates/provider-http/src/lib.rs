//! Connections to one service: how they are made, kept and given up, and what went wrong with them.
//!
//! Shared by `provider-aap` and `provider-eda`, which say what is sent and what answers mean.

mod carrier;
mod cause;
mod certificate;
mod config;
mod header;
pub mod json;
mod pool;

pub use carrier::{Carrier, SendError, SendFailure};
pub use cause::Cause;
pub use config::{ClientIdentity, HttpConfig};
pub use header::{date, retry_after};
pub use pool::{Manner, Pool};

use std::time::Duration;

use jiff::SignedDuration;

/// A length that validation has proved not to be negative.
#[must_use]
pub fn std_duration(duration: SignedDuration) -> Duration {
    Duration::try_from(duration).unwrap_or_default()
}

/// The program in this crate's README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
