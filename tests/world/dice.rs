//! All chance of a world comes from its seed.

use std::sync::Arc;

use provider_core::lifecycle::{Entropy, SeededEntropy};

/// Dice; clones roll on together, forks by themselves.
#[derive(Debug, Clone)]
pub(crate) struct Dice(Arc<SeededEntropy>);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(SeededEntropy::new(seed)))
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
