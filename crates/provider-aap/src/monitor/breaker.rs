//! Leaves a controller alone that does not serve.

use std::time::Duration;

use jiff::Timestamp;
use provider_core::clock;
use tokio::time::Instant;

/// The present moment by the timer and by the caller's clock, which may be another. A pause is over
/// when either says so: a question too early costs little, a door that stays shut stops everything.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) timer: Instant,
    pub(super) clock: Timestamp,
}

impl Now {
    pub(super) fn after(self, wait: Duration) -> Self {
        Self {
            timer: self.timer + wait,
            clock: clock::add(self.clock, wait),
        }
    }

    fn until(self, end: Self) -> Duration {
        let timer = end.timer.saturating_duration_since(self.timer);
        timer.min(clock::since(end.clock, self.clock))
    }
}

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
    shut_until: Option<Now>,
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
    pub(super) fn ask(&mut self, now: Now) -> Door {
        if self.shut_until.is_none() {
            return Door::Open;
        }
        if let Some(left) = self.shut_for(now) {
            return Door::Shut(left);
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
    pub(super) fn shut_for(&self, now: Now) -> Option<Duration> {
        let left = now.until(self.shut_until?);
        Some(left).filter(|left| !left.is_zero())
    }

    /// The question that was to try has come to nothing, for reasons of ours: another may try.
    pub(super) const fn untried(&mut self) {
        self.probing = false;
    }

    /// The controller has served.
    pub(super) fn served(&mut self) {
        self.failures = 0;
        self.shut_until = None;
        self.probing = false;
    }

    /// It has not; with a time that it asked for, at least that long.
    pub(super) fn failed(&mut self, now: Now, asked_for: Option<Duration>) {
        let was_probe = std::mem::take(&mut self.probing);
        self.failures = self.failures.saturating_add(1);
        if let Some(quiet) = asked_for {
            let left = self.shut_for(now).unwrap_or_default();
            self.shut_until = Some(now.after(quiet.max(left)));
        } else if was_probe || self.failures >= self.most {
            self.shut_until = Some(now.after(self.pause));
        }
    }
}
