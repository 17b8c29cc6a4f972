//! All chance of a world comes from its seed.

use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use kube::runtime::utils::Backoff;
use provider_core::lifecycle::{Entropy, SeededEntropy};

/// Dice; clones roll on together, forks by themselves.
#[derive(Debug, Clone)]
pub(crate) struct Dice(Arc<SeededEntropy>);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(SeededEntropy::new(seed)))
    }

    /// Those of one part of a world: what the other parts draw changes nothing of them.
    pub(crate) fn of(seed: u64, part: impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        (seed, part).hash(&mut hasher);
        Self::new(hasher.finish())
    }

    pub(crate) fn fork(&self) -> Self {
        Self::new(self.0.next())
    }

    /// 0 to `n` - 1.
    pub(crate) fn below(&self, n: u64) -> u64 {
        self.0.next() % n.max(1)
    }

    pub(crate) fn pick(&self, n: usize) -> usize {
        usize::try_from(self.below(n as u64)).unwrap_or(0)
    }

    pub(crate) fn percent(&self, p: u64) -> bool {
        self.below(100) < p
    }

    pub(crate) fn per_mille(&self, p: u64) -> bool {
        self.below(1_000) < p
    }

    pub(crate) fn entropy(&self) -> Arc<SeededEntropy> {
        Arc::new(SeededEntropy::new(self.0.next()))
    }
}

/// Lets others go first, now and then, wherever it waits: which of the tasks that could run does is the seed's.
pub(crate) struct Shuffled<F> {
    inner: Pin<Box<F>>,
    dice: Dice,
}

impl<F: Future> Shuffled<F> {
    pub(crate) fn new(inner: F, dice: Dice) -> Self {
        Self {
            inner: Box::pin(inner),
            dice,
        }
    }
}

impl<F: Future> Future for Shuffled<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        if self.dice.percent(20) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.inner.as_mut().poll(context)
    }
}

/// The pauses of a watch that fails, as kube's own; the varied part of them is the seed's.
#[derive(Debug)]
pub(crate) struct Pauses {
    pub(crate) dice: Dice,
    pub(crate) next: Duration,
}

impl Pauses {
    const FIRST: Duration = Duration::from_millis(800);
    const LONGEST: Duration = Duration::from_secs(30);

    pub(crate) fn new(dice: Dice) -> Self {
        Self {
            dice,
            next: Self::FIRST,
        }
    }
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = self.next;
        self.next = (pause * 2).min(Self::LONGEST);
        Some(
            pause
                + pause.mul_f64(
                    f64::from(u32::try_from(self.dice.below(1_000)).unwrap_or(0)) / 1_000.0,
                ),
        )
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.next = Self::FIRST;
    }
}
