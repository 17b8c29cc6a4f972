//! Contract, job model and lifecycle engine.
pub mod clock;
pub use clock::{Clock, ManualClock, SystemClock};
