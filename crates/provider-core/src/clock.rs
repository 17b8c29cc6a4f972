//! Where time comes from. Nothing else in the workspace reads a clock (clippy enforces it).

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;

/// A source of wall-clock time.
///
/// Time is used for deadlines, back-off and display. It never orders records: that is what
/// [`JobRecord::attempt`](crate) is for, so a clock that jumps can delay
/// work but cannot start a job twice.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The present moment.
    fn now(&self) -> Timestamp;
}

/// A fixed moment is a clock that stands still: handy for one reconcile in a test.
impl Clock for Timestamp {
    fn now(&self) -> Timestamp {
        *self
    }
}

/// The operating system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(
        clippy::disallowed_methods,
        reason = "the one place that reads the clock"
    )]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A clock that moves only when told to, for tests and simulations. Its copies are the same clock.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<Mutex<Timestamp>>);

impl ManualClock {
    /// A clock that shows `start` until it is moved.
    #[must_use]
    pub fn new(start: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(start)))
    }

    /// Moves the clock forward; stops at the largest representable time.
    pub fn advance(&self, by: Duration) {
        let mut now = self.lock();
        *now = add(*now, by);
    }

    /// Sets the clock, also backwards: real clocks do that too.
    pub fn set(&self, to: Timestamp) {
        *self.lock() = to;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Timestamp> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.lock()
    }
}

/// `at + by`, stopping at the largest representable time instead of failing.
#[must_use]
pub fn add(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// How long ago another moment was: `now.elapsed_since(launched)`, in the order in which it is said.
pub trait Elapsed {
    /// The time from `earlier` to this moment; zero when it is not later (clocks jump back).
    fn elapsed_since(self, earlier: Timestamp) -> Duration;
}

impl Elapsed for Timestamp {
    fn elapsed_since(self, earlier: Timestamp) -> Duration {
        Duration::try_from(self.duration_since(earlier)).unwrap_or(Duration::ZERO)
    }
}
