//! When a job is asked to end, and asked again. The waits grow with the requests that the backend has
//! taken, and with nothing else: a request that did not arrive was not disobeyed.

use std::time::Duration;

use jiff::Timestamp;

use super::{Observation, Policy};
use crate::clock::{Elapsed, add};
use crate::{CancelResult, ErrorKind, JobRecord};

/// The shortest wait after a request that was not taken.
const SHORTEST: Duration = Duration::from_secs(1);

/// A request to cancel that the backend has not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NotTaken {
    /// When it may be made again.
    pub again: Timestamp,
    /// Whether the backend refused it for a reason that does not pass by itself.
    pub refused: bool,
}

/// When the next request is due, after those that were taken; none when none was.
pub(super) fn due(policy: &Policy, record: &JobRecord) -> Option<Timestamp> {
    let first = record.cancel_accepted_at?;
    Some(add(first, round(policy, record.cancel_requests)))
}

/// Notes that the backend has taken a request.
pub(super) fn taken(policy: &Policy, record: &mut JobRecord, now: Timestamp) {
    record.cancel_requests = match record.cancel_accepted_at {
        Some(first) => next_round(policy, record.cancel_requests, now.elapsed_since(first)),
        None => 1,
    };
    record.cancel_accepted_at.get_or_insert(now);
}

/// What a request that was answered so means for the next one; none where it was taken.
pub(super) fn not_taken(policy: &Policy, answer: &Observation, now: Timestamp) -> Option<NotTaken> {
    let Observation::Canceled(answer) = answer else {
        return None;
    };
    let (wait, refused) = match answer {
        Ok(CancelResult::Requested) => return None,
        Ok(CancelResult::Finished(_) | CancelResult::Gone) => (policy.cancel_poll_interval, false),
        Ok(CancelResult::NotYet { retry_after }) => ((*retry_after).max(SHORTEST), false),
        Err(error) => {
            let refused = matches!(
                error.kind(),
                ErrorKind::Forbidden
                    | ErrorKind::Invalid
                    | ErrorKind::Conflict
                    | ErrorKind::Unsupported
            );
            let ours = if refused {
                policy.cancel_retry
            } else {
                policy.cancel_poll_interval
            };
            let theirs = error.retry_after().map(|delay| delay.max(SHORTEST));
            (theirs.unwrap_or(ours), refused)
        }
    };
    Some(NotTaken {
        again: add(now, wait),
        refused,
    })
}

/// How long after the first request round `n` is due: at once, then after the retry delay, which
/// doubles up to 64 times, so that a job that does not obey is not bombarded.
fn round(policy: &Policy, n: u32) -> Duration {
    let doublings = n.min(6);
    let further = n - doublings;
    let delays = ((1_u32 << doublings) - 1).saturating_add(further.saturating_mul(64));
    policy.cancel_retry.saturating_mul(delays)
}

/// The round after this one, so long after the first. Rounds that were missed are not caught up on.
fn next_round(policy: &Policy, last: u32, elapsed: Duration) -> u32 {
    let mut next = last.saturating_add(1);
    while next <= 6 && round(policy, next) <= elapsed {
        next += 1;
    }
    if next > 6 {
        let beyond = elapsed.saturating_sub(round(policy, 6)).as_nanos();
        let delay = policy.cancel_retry.as_nanos().max(1).saturating_mul(64);
        let missed = u32::try_from(beyond / delay).unwrap_or(u32::MAX);
        next = next.max(missed.saturating_add(7));
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::JobType;

    #[test]
    fn the_waits_double_with_the_requests_that_were_taken() {
        let policy = Policy::default();
        let mut record = JobRecord::new(1, JobType::Provision);
        let mut now = Timestamp::UNIX_EPOCH;
        assert_eq!(due(&policy, &record), None);
        let mut waits = Vec::new();
        for _ in 0..9 {
            taken(&policy, &mut record, now);
            let next = due(&policy, &record).unwrap();
            waits.push(next.elapsed_since(now).as_secs() / 60);
            now = next;
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 64, 64]);
        // After a long pause one is made, and not all that were missed.
        now = add(now, Duration::from_secs(1_000_000));
        taken(&policy, &mut record, now);
        let wait = (due(&policy, &record).unwrap()).elapsed_since(now);
        assert!(wait > Duration::ZERO && wait <= policy.cancel_retry * 64);
    }
}
