//! Leaves a controller alone that does not serve.

use std::time::Duration;

use tokio::time::Instant;

/// Whether questions go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    /// They do.
    Open,
    /// One does, to try.
    Probe,
    /// None does for so long.
    Shut(Duration),
}

/// Shuts after failures in a row, and lets one question through to try once the pause is over.
#[derive(Debug)]
pub(super) struct Breaker {
    most: u32,
    pause: Duration,
    failures: u32,
    shut_until: Option<Instant>,
    probing: bool,
}

impl Breaker {
    pub(super) const fn new(most: u32, pause: Duration) -> Self {
        Self {
            most,
            pause,
            failures: 0,
            shut_until: None,
            probing: false,
        }
    }

    /// How it stands. [`Door::Probe`] is given once, until its outcome is told.
    pub(super) fn ask(&mut self, now: Instant) -> Door {
        let Some(until) = self.shut_until else {
            return Door::Open;
        };
        if now < until {
            return Door::Shut(until - now);
        }
        if self.probing {
            return Door::Shut(Duration::from_millis(100));
        }
        self.probing = true;
        Door::Probe
    }

    /// Whether a question is out to try.
    pub(super) const fn is_probing(&self) -> bool {
        self.probing
    }

    /// How long nothing will be asked; none while questions go out.
    pub(super) fn shut_for(&self, now: Instant) -> Option<Duration> {
        let left = self.shut_until?.saturating_duration_since(now);
        Some(left).filter(|left| !left.is_zero())
    }

    /// The controller has served.
    pub(super) fn served(&mut self) {
        self.failures = 0;
        self.shut_until = None;
        self.probing = false;
    }

    /// It has not; with a time that it asked for, at least that long.
    pub(super) fn failed(&mut self, now: Instant, asked_for: Option<Duration>) {
        let was_probe = std::mem::take(&mut self.probing);
        self.failures = self.failures.saturating_add(1);
        if let Some(quiet) = asked_for {
            self.shut_until = self.shut_until.max(Some(now + quiet));
        } else if was_probe || self.failures >= self.most {
            self.shut_until = Some(now + self.pause);
        }
    }
}
