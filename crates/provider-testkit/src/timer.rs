//! A clock that goes with tokio's timer.

use jiff::Timestamp;
use provider_core::{Clock, clock};
use tokio::time::Instant;

/// Shows the time of tokio's timer, from a moment on: with paused time (tokio's `test-util`), what waits
/// for a timer and what reads the clock live in one time, and nobody waits for it.
///
/// Over sockets, tokio moves a paused timer to its next deadline whenever nothing else is to do, also while
/// an answer is on its way. The simulator of [`aap`](crate::aap) has a deadline every ten milliseconds, so
/// that a way takes ten of them and no more, on a machine that is not busy. Without sockets
/// ([`start_in_process`](crate::aap::AapSim::start_in_process)) nothing is left to chance.
#[derive(Debug, Clone, Copy)]
pub struct TimerClock {
    start: Timestamp,
    began: Instant,
}

impl TimerClock {
    /// A clock that shows `start` now.
    #[must_use]
    pub fn new(start: Timestamp) -> Self {
        Self {
            start,
            began: Instant::now(),
        }
    }
}

impl Clock for TimerClock {
    fn now(&self) -> Timestamp {
        clock::add(self.start, self.began.elapsed())
    }
}
