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
        match inner.lock().breaker.ask(now) {
            Door::Open(pass) => Ok(Admission {
                monitor: self.clone(),
                pass: Some(pass),
            }),
            Door::Shut(left) => Err(worker::shut(left)),
            Door::Trying => Err(worker::shut(inner.config.interval_of_trials())),
        }
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
            None => state.breaker.served(pass, moment),
            Some(error) => {
                if state.breaker.failed(pass, moment, error.retry_after()) {
                    let left = state.breaker.shut_for(moment).unwrap_or_default();
                    state.schedule.refuse(&worker::shut(left), now);
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
        if let Some(pass) = self.pass.take() {
            self.monitor.0.lock().breaker.untried(pass);
            self.monitor.0.wake.notify_one();
        }
    }
}
