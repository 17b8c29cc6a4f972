//! A value that is made once, by one of those who need it at the moment.

use std::sync::atomic::{AtomicU64, Ordering};

use provider_core::ProviderError;
use tokio::sync::{Mutex, OnceCell};

/// Like [`OnceCell`], except that those who wait for an attempt share its failure. With a cell alone,
/// each of them would make an attempt of its own, one after another: the last of twenty waits for
/// twenty time-outs.
#[derive(Debug)]
pub(crate) struct Shared<T> {
    value: OnceCell<T>,
    /// How many attempts have failed.
    failures: AtomicU64,
    /// Held during an attempt; the last failure.
    last: Mutex<Option<ProviderError>>,
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Shared<T> {
    pub(crate) fn new() -> Self {
        Self {
            value: OnceCell::new(),
            failures: AtomicU64::new(0),
            last: Mutex::new(None),
        }
    }

    /// The value, if it was made.
    pub(crate) fn get(&self) -> Option<&T> {
        self.value.get()
    }

    /// The value; `make` is called when there is none and nobody else is making it.
    pub(crate) async fn get_or_make<F: Future<Output = Result<T, ProviderError>>>(
        &self,
        make: impl FnOnce() -> F,
    ) -> Result<&T, ProviderError> {
        if let Some(value) = self.value.get() {
            return Ok(value);
        }
        let before = self.failures.load(Ordering::Acquire);
        let mut last = self.last.lock().await;
        if let Some(error) = &*last
            && self.value.get().is_none()
            && self.failures.load(Ordering::Acquire) != before
        {
            return Err(error.clone());
        }
        let made = self.value.get_or_try_init(make).await;
        if let Err(error) = &made {
            *last = Some(error.clone());
            self.failures.fetch_add(1, Ordering::Release);
        }
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use provider_core::{Effect, ErrorKind};
    use std::sync::atomic::AtomicU32;

    #[tokio::test]
    async fn those_who_wait_share_a_failure_and_the_next_one_tries_again() {
        let (shared, attempts) = (Shared::<u32>::new(), AtomicU32::new(0));
        let gate = tokio::sync::Notify::new();
        let ask = || {
            shared.get_or_make(|| async {
                attempts.fetch_add(1, Ordering::Relaxed);
                gate.notified().await;
                Err(ProviderError::new(
                    Effect::NotSent,
                    ErrorKind::Timeout,
                    "no",
                ))
            })
        };
        let asked = futures::future::join_all((0..20).map(|_| ask()));
        let open = async {
            gate.notify_one();
            std::future::pending::<()>().await;
        };
        let answers =
            tokio::select! { biased; answers = asked => answers, () = open => Vec::new() };
        assert!(answers.iter().all(Result::is_err) && answers.len() == 20);
        assert_eq!(attempts.load(Ordering::Relaxed), 1);
        assert_eq!(shared.get_or_make(|| async { Ok(7) }).await, Ok(&7));
        assert_eq!(shared.get(), Some(&7));
    }
}
