//! Does not knock at a door behind which nobody has been for a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use provider_core::clock::Elapsed as _;
use provider_core::{ProviderError, clock};

#[derive(Debug, Default)]
struct Door {
    failures: u32,
    /// With the failure that it was closed for.
    closed_until: Option<(Timestamp, ProviderError)>,
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

    /// Lets an event through, or says why none is, and for how long.
    pub(crate) fn enter(&self, host: &str, now: Timestamp) -> Result<Ticket, ProviderError> {
        let mut doors = self.lock();
        let mut probe = false;
        if let Some(door) = doors.get_mut(host)
            && let Some((until, cause)) = &door.closed_until
        {
            let closed = |left| cause.left_alone(&format!("the service at {host}"), left);
            // More than the pause is left only after the clock was set back.
            let left = (*until).elapsed_since(now).min(self.pause);
            if !left.is_zero() {
                return Err(closed(left));
            }
            if door.probing {
                return Err(closed(Duration::from_secs(1)));
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
    /// Somebody answered, or nobody did and this is how.
    pub(crate) fn done(self, nobody: Option<&ProviderError>, now: Timestamp) {
        let mut doors = self.breaker.lock();
        let Some(cause) = nobody else {
            doors.remove(&self.host);
            return;
        };
        let door = doors.entry(self.host.clone()).or_default();
        door.failures = door.failures.saturating_add(1);
        if self.probe || door.failures >= self.breaker.failures {
            door.closed_until = Some((clock::add(now, self.breaker.pause), cause.clone()));
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

#[cfg(test)]
mod tests {
    use provider_core::{Effect, ErrorKind};

    use super::*;

    #[test]
    fn after_a_probe_that_was_given_up_the_next_one_may_try() {
        let pause = Duration::from_secs(30);
        let breaker = Breaker::new(1, pause);
        let nobody = ProviderError::new(Effect::NotSent, ErrorKind::Unavailable, "refused");
        let start = Timestamp::UNIX_EPOCH;
        let first = breaker.enter("h", start).unwrap();
        first.done(Some(&nobody), start);
        assert!(breaker.enter("h", start).is_err());
        let later = clock::add(start, pause);
        let probe = breaker.enter("h", later).unwrap();
        assert!(breaker.enter("h", later).is_err());
        // Whoever sent it was canceled.
        drop(probe);
        let probe = breaker.enter("h", later).unwrap();
        assert!(probe.probe);
        probe.done(None, later);
        assert!(!breaker.enter("h", later).unwrap().probe);
    }
}
