//! How many launches are on their way.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use provider_core::clock::Elapsed as _;
use provider_core::{Clock, Effect, ErrorKind, LaunchRequest, ProviderError};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// Lets so many launches through at once. To wait is no failure: who cannot leave in time has sent
/// nothing, and is told when to come again.
#[derive(Debug)]
pub(crate) struct Gate {
    permits: Semaphore,
    most: u64,
    /// Who waits.
    queue: AtomicU64,
    /// How long a launch takes lately, in milliseconds.
    usual: AtomicU64,
}

/// A launch on its way.
pub(crate) struct Passage<'a> {
    gate: &'a Gate,
    begun: Instant,
    _permit: SemaphorePermit<'a>,
}

impl Drop for Passage<'_> {
    fn drop(&mut self) {
        let took = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let usual = self.gate.usual.load(Ordering::Relaxed);
        let usual = (usual / 4).saturating_mul(3).saturating_add(took / 4);
        self.gate.usual.store(usual, Ordering::Relaxed);
    }
}

/// Somebody who waits, until he is let through or gives up.
struct InQueue<'a>(&'a AtomicU64);

impl Drop for InQueue<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Gate {
    pub(crate) fn new(most: u32) -> Self {
        let permits = usize::try_from(most).unwrap_or(usize::MAX);
        Self {
            permits: Semaphore::new(permits.clamp(1, Semaphore::MAX_PERMITS)),
            most: u64::from(most).max(1),
            queue: AtomicU64::new(0),
            usual: AtomicU64::new(1_000),
        }
    }

    /// Waits for a turn, as long as the launch may leave at all.
    pub(crate) async fn pass(
        &self,
        request: &LaunchRequest,
        clock: &dyn Clock,
    ) -> Result<Passage<'_>, ProviderError> {
        let ahead = self.queue.fetch_add(1, Ordering::Relaxed);
        let _place = InQueue(&self.queue);
        let came = Instant::now();
        let too_late = || self.too_late(ahead, came.elapsed());
        let turn = self.permits.acquire();
        let permit = match request.send_by {
            None => turn.await.ok(),
            Some(last) => {
                let left = last.elapsed_since(clock.now());
                // A clock that stands still must not keep anybody here.
                match tokio::time::timeout(left, turn).await {
                    Ok(permit) => permit.ok(),
                    Err(_) => return Err(too_late()),
                }
            }
        };
        let Some(permit) = permit.filter(|_| request.in_time(clock.now()).is_ok()) else {
            return Err(too_late());
        };
        Ok(Passage {
            gate: self,
            begun: Instant::now(),
            _permit: permit,
        })
    }

    fn too_late(&self, ahead: u64, waited: Duration) -> ProviderError {
        let usual = Duration::from_millis(self.usual.load(Ordering::Relaxed));
        let rounds = u32::try_from(ahead / self.most).unwrap_or(u32::MAX);
        // When its turn would have come.
        let wait = usual.saturating_mul(rounds.saturating_add(1));
        let wait = wait.saturating_sub(waited);
        ProviderError::new(
            Effect::NotSent,
            ErrorKind::RateLimited,
            "the launch waits its turn: as many as are allowed at once are on their way",
        )
        .with_advice("maxLaunches allows more, if the controller can bear it")
        .with_retry_after(wait.clamp(Duration::from_secs(1), Duration::from_secs(300)))
    }
}
