//! Delays, with their randomness passed in.

use std::time::Duration;

use super::Policy;

/// Varies a duration by up to `jitter` of itself in either direction. `random` decides where:
/// its lowest value gives the shortest, its highest the longest, its middle the duration itself.
pub(crate) fn vary(duration: Duration, jitter: f64, random: u64) -> Duration {
    let unit = unit(random).mul_add(2.0, -1.0);
    scaled(duration, 1.0 + jitter * unit)
}

/// A multiple of a duration, as long as durations get at most.
pub(crate) fn scaled(duration: Duration, by: f64) -> Duration {
    Duration::try_from_secs_f64(duration.as_secs_f64() * by).unwrap_or(Duration::MAX)
}

/// A number from 0 to 1.
pub(crate) fn unit(random: u64) -> f64 {
    // 53 bits are what an f64 holds exactly.
    #[allow(clippy::cast_precision_loss, reason = "53 bits fit")]
    let (value, most) = ((random >> 11) as f64, ((1_u64 << 53) - 1) as f64);
    value / most
}

/// How long to wait after this many failures in a row.
pub(crate) fn after_failures(policy: &Policy, failures: u32, random: u64) -> Duration {
    let doublings = failures.saturating_sub(1).min(31);
    let delay = policy
        .backoff_base
        .saturating_mul(1 << doublings)
        .min(policy.backoff_cap);
    vary(delay, policy.jitter, random)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::PolicyConfig;

    #[test]
    fn the_delay_doubles_to_its_cap_and_varies_within_the_jitter() {
        let policy = Policy::default();
        let middle = u64::MAX / 2;
        let seconds = |failures, random| {
            after_failures(&policy, failures, random)
                .as_secs_f64()
                .round()
        };
        assert_eq!(
            [1, 2, 3, 7, 40].map(|n| seconds(n, middle)),
            [30., 60., 120., 1800., 1800.]
        );
        assert_eq!([seconds(1, 0), seconds(1, u64::MAX)], [24., 36.]);
        assert_eq!(seconds(0, middle), 30.);
    }

    #[test]
    fn the_longest_duration_can_be_varied_too() {
        assert_eq!(vary(Duration::MAX, 0.5, u64::MAX), Duration::MAX);
        assert!(vary(Duration::MAX, 0.5, 0) < Duration::MAX);
        assert_eq!(scaled(Duration::MAX, 1.0), Duration::MAX);
    }

    #[test]
    fn without_jitter_there_is_no_randomness() {
        let policy = Policy::new(PolicyConfig {
            jitter: 0.0,
            ..PolicyConfig::default()
        })
        .unwrap();
        assert_eq!(
            after_failures(&policy, 3, 0),
            after_failures(&policy, 3, u64::MAX)
        );
    }
}
