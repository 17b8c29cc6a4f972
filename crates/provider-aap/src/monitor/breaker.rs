//! Leaves a controller alone that does not serve.

use std::sync::{Arc, Weak};
use std::time::Duration;

use jiff::Timestamp;
use provider_core::clock::Elapsed as _;
use provider_core::{Effect, ErrorKind, ProviderError, clock};
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

    /// How long ago that was, by whichever clock says more.
    fn since(self, earlier: Self) -> Duration {
        let timer = self.timer.saturating_duration_since(earlier.timer);
        timer.max(self.clock.elapsed_since(earlier.clock))
    }

    fn until(self, end: Self) -> Duration {
        let timer = end.timer.saturating_duration_since(self.timer);
        timer.min(end.clock.elapsed_since(self.clock))
    }
}

/// A controller that has served within so long is not down, however many questions fail: half of them
/// answered is more than none asked.
const ALIVE: Duration = Duration::from_secs(3);

/// Goes with each question, and comes back with its outcome: what was asked before the door was shut
/// says nothing about whether it may open again. One that does not come back, because whoever asked is no
/// more, tries no more either.
#[derive(Debug)]
pub(super) struct Pass {
    epoch: u64,
    probe: Option<Arc<Probe>>,
}

/// Exists as long as a question is out to try.
#[derive(Debug)]
struct Probe;

/// Whether questions go out.
#[derive(Debug)]
pub(super) enum Door {
    /// This one does.
    Open(Pass),
    /// None does for so long.
    Shut(Duration),
    /// One is out to try; nobody knows for how long.
    Trying,
}

/// Shuts after failures in a row and no success for a while, and lets one question through to try once the pause is over.
#[derive(Debug)]
pub(super) struct Breaker {
    most: u32,
    pause: Duration,
    failures: u32,
    last_served: Option<Now>,
    shut_until: Option<Now>,
    /// The failure that it was shut for.
    cause: Option<ProviderError>,
    probe: Weak<Probe>,
    /// Grows whenever the door is shut.
    epoch: u64,
}

impl Breaker {
    pub(super) fn new(most: u32, pause: Duration) -> Self {
        Self {
            most,
            pause,
            failures: 0,
            last_served: None,
            shut_until: None,
            cause: None,
            probe: Weak::new(),
            epoch: 0,
        }
    }

    /// How it stands. A pass to try is given once, as long as it is there.
    pub(super) fn ask(&mut self, now: Now) -> Door {
        if let Some(left) = self.shut_for(now) {
            return Door::Shut(left);
        }
        if self.probe.strong_count() > 0 {
            return Door::Trying;
        }
        let probe = self.shut_until.is_some().then(|| Arc::new(Probe));
        self.probe = probe.as_ref().map(Arc::downgrade).unwrap_or_default();
        Door::Open(Pass {
            epoch: self.epoch,
            probe,
        })
    }

    /// What somebody is told who may not ask now: why, and for how long.
    pub(super) fn refusal(&self, now: Now) -> Option<ProviderError> {
        let left = self.shut_for(now)?;
        Some(self.refusal_for(left))
    }

    /// The same, to somebody who may ask again after so long.
    pub(super) fn refusal_for(&self, left: Duration) -> ProviderError {
        match &self.cause {
            Some(cause) => cause.left_alone("the controller", left),
            None => ProviderError::new(
                Effect::NotSent,
                ErrorKind::Unavailable,
                "the controller did not serve lately",
            )
            .with_retry_after(left),
        }
    }

    /// How long nothing will be asked; none while questions go out.
    pub(super) fn shut_for(&self, now: Now) -> Option<Duration> {
        let left = now.until(self.shut_until?);
        Some(left).filter(|left| !left.is_zero())
    }

    /// 0 while questions go out, 1 while none does, a half once the next one is to try.
    #[cfg(feature = "metrics")]
    pub(super) fn gauge(&self, now: Now) -> f64 {
        match (self.shut_until, self.shut_for(now)) {
            (None, _) => 0.0,
            (Some(_), Some(_)) => 1.0,
            (Some(_), None) => 0.5,
        }
    }

    /// The controller has served.
    pub(super) fn served(&mut self, pass: &Pass, now: Now) {
        if pass.epoch == self.epoch {
            self.failures = 0;
            self.last_served = Some(now);
            self.shut_until = None;
            self.probe = Weak::new();
        }
    }

    fn is_down(&self, now: Now) -> bool {
        let lately = |at| now.since(at) < ALIVE;
        self.failures >= self.most && !self.last_served.is_some_and(lately)
    }

    /// It has not; with a time that it asked for, at least that long. Whether the door is shut now.
    pub(super) fn failed(&mut self, pass: &Pass, now: Now, error: &ProviderError) -> bool {
        let is_late = pass.epoch != self.epoch;
        if !is_late {
            self.failures = self.failures.saturating_add(1);
        }
        let quiet = match error.retry_after() {
            Some(quiet) => quiet,
            None if is_late => return false,
            None if pass.probe.is_some() || self.is_down(now) => self.pause,
            None => return false,
        };
        let left = self.shut_for(now).unwrap_or_default();
        self.shut_until = Some(now.after(quiet.max(left)));
        self.cause = Some(error.clone());
        self.probe = Weak::new();
        self.epoch += 1;
        true
    }
}
