//! How far the controller's clock is from ours.

use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use provider_core::{Effect, ErrorKind, ProviderError};

/// Launches are found again among the jobs created around the time that our clock showed. With clocks
/// further apart than this, a launch whose answer was lost would not be found, and be made again.
const MOST: SignedDuration = SignedDuration::from_mins(9);

/// The last measurement, of how far the controller's clock is ahead; none before the first answer that
/// carried a time.
#[derive(Debug, Default)]
pub(crate) struct Skew(Mutex<Option<SignedDuration>>);

impl Skew {
    /// Notes that the controller's clock showed `theirs` at some moment between two of ours.
    pub(crate) fn note(&self, asked: Timestamp, theirs: Timestamp, answered: Timestamp) {
        // A slow answer is no skew: only what lies outside of the exchange counts.
        let apart = if theirs < asked {
            theirs.duration_since(asked)
        } else if theirs > answered {
            theirs.duration_since(answered)
        } else {
            SignedDuration::ZERO
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(apart);
    }

    /// What the controller's clock shows when ours shows this.
    pub(crate) fn theirs(&self, ours: Timestamp) -> Timestamp {
        let ahead = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ours.checked_add(ahead.unwrap_or_default()).unwrap_or(ours)
    }

    /// Whether a launch that is made now could be found again.
    pub(crate) fn allows_launches(&self) -> Result<(), ProviderError> {
        let apart = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match apart.map(SignedDuration::abs) {
            Some(apart) if apart > MOST => Err(ProviderError::new(
                Effect::NotSent,
                ErrorKind::Conflict,
                format!(
                    "the clocks of this host and of the controller are {} minutes apart, so a launch could \
                     not be found again",
                    apart.as_mins()
                ),
            )
            .with_advice("set both clocks, for example by NTP")),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_are_far_apart_forbid_launches_and_slow_answers_do_not() {
        let skew = Skew::default();
        assert!(skew.allows_launches().is_ok(), "nothing is known yet");
        let at = |minute: i64| Timestamp::from_second(minute * 60).unwrap();
        for (asked, theirs, answered, fine) in [
            (100, 100, 100, true),
            (100, 109, 100, true),
            (100, 91, 100, true),
            (100, 110, 100, false),
            (100, 90, 100, false),
            (100, 110, 115, true),
            (100, 100, 115, true),
        ] {
            skew.note(at(asked), at(theirs), at(answered));
            assert_eq!(
                skew.allows_launches().is_ok(),
                fine,
                "{asked} {theirs} {answered}"
            );
            let is_within = (asked..=answered).contains(&theirs);
            let shown = if is_within { answered } else { theirs };
            assert_eq!(skew.theirs(at(answered)), at(shown));
        }
    }
}
