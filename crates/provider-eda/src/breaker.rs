//! Does not knock at a door behind which nobody has been for a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use provider_core::clock;

#[derive(Debug, Default)]
struct Door {
    failures: u32,
    closed_until: Option<Timestamp>,
    probing: bool,
}

/// One door for each host.
#[derive(Debug, Clone)]
pub(crate) struct Breaker {
    doors: Arc<Mutex<HashMap<String, Door>>>,
    failures: u32,
    pause: Duration,
}

/// The right to send to one host.
#[derive(Debug)]
pub(crate) struct Ticket {
    breaker: Breaker,
    host: String,
    probe: bool,
}

impl Breaker {
    pub(crate) fn new(failures: u32, pause: Duration) -> Self {
        Self {
            doors: Arc::default(),
            failures,
            pause,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Door>> {
        self.doors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets an event through, or says for how long none is.
    pub(crate) fn enter(&self, host: &str, now: Timestamp) -> Result<Ticket, Duration> {
        let mut doors = self.lock();
        let mut probe = false;
        if let Some(door) = doors.get_mut(host)
            && let Some(until) = door.closed_until
        {
            // More than the pause is left only after the clock was set back.
            let left = clock::since(until, now).min(self.pause);
            if !left.is_zero() {
                return Err(left);
            }
            if door.probing {
                return Err(Duration::from_secs(1));
            }
            door.probing = true;
            probe = true;
        }
        Ok(Ticket {
            breaker: self.clone(),
            host: host.to_owned(),
            probe,
        })
    }
}

impl Ticket {
    /// Somebody answered, or nobody.
    pub(crate) fn done(self, somebody: bool, now: Timestamp) {
        let mut doors = self.breaker.lock();
        if somebody {
            doors.remove(&self.host);
            return;
        }
        let door = doors.entry(self.host.clone()).or_default();
        door.failures = door.failures.saturating_add(1);
        if self.probe || door.failures >= self.breaker.failures {
            door.closed_until = Some(clock::add(now, self.breaker.pause));
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.probe
            && let Some(door) = self.breaker.lock().get_mut(&self.host)
        {
            door.probing = false;
        }
    }
}
