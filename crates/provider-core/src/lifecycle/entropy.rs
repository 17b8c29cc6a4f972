//! Where randomness comes from.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// A source of random numbers, for tokens and jitter.
pub trait Entropy: Send + Sync + fmt::Debug {
    /// The next number. Tokens need numbers that no other process draws.
    fn next(&self) -> u64;
}

/// The operating system's randomness.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn next(&self) -> u64 {
        let mut bytes = [0; 8];
        // Without randomness tokens of two launches could be the same, and one would adopt the
        // other's job. There is no safe way on; every supported system has it.
        #[allow(clippy::expect_used, reason = "see above")]
        getrandom::fill(&mut bytes).expect("the operating system gives random numbers");
        u64::from_ne_bytes(bytes)
    }
}

/// Repeatable numbers for tests and simulations (the SplitMix64 generator).
#[derive(Debug)]
pub struct SeededEntropy(AtomicU64);

impl SeededEntropy {
    /// The sequence that belongs to this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }
}

impl Entropy for SeededEntropy {
    fn next(&self) -> u64 {
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        mix(self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP))
    }
}

/// Spreads the bits of a number over all its bits.
pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
