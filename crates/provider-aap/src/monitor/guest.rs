//! Questions that others ask: they stand behind the same breaker.

use provider_core::ProviderError;
use tokio::time::Instant;

use super::breaker::{Door, Pass};
use super::{Monitor, worker};

/// The right to ask; what comes of it is told, or it is given back.
pub(crate) struct Admission {
    monitor: Monitor,
    pass: Option<Pass>,
}

impl Monitor {
    /// Lets somebody else ask, while the controller serves.
    pub(crate) fn admit(&self) -> Result<Admission, ProviderError> {
        let inner = &self.0;
        let now = inner.moment(Instant::now());
        let mut state = inner.lock();
        let left = match state.breaker.ask(now) {
            Door::Open(pass) => {
                return Ok(Admission {
                    monitor: self.clone(),
                    pass: Some(pass),
                });
            }
            Door::Shut(left) => left,
            Door::Trying => inner.config.interval_of_trials(),
        };
        Err(state.breaker.refusal_for(left))
    }
}

impl Admission {
    /// What came of the questions: nothing wrong, or the error that ended them.
    pub(crate) fn tell(mut self, error: Option<&ProviderError>) {
        let Some(pass) = self.pass.take() else {
            return;
        };
        let inner = &self.monitor.0;
        let now = Instant::now();
        let moment = inner.moment(now);
        let mut state = inner.lock();
        match error.filter(|error| worker::is_trouble(error)) {
            None => state.breaker.served(&pass, moment),
            Some(error) => {
                if state.breaker.failed(&pass, moment, error)
                    && let Some(refusal) = state.breaker.refusal(moment)
                {
                    state.schedule.refuse(&refusal, now);
                }
            }
        }
        inner.measure(&state, now);
        drop(state);
        inner.wake.notify_one();
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        // A pass that does not come back tries no more: the next question may.
        if self.pass.take().is_some() {
            self.monitor.0.wake.notify_one();
        }
    }
}
