//! Since when the jobs of an event have stood as they do: an end is final only when nothing has followed it.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use provider_core::OperationToken;
use provider_core::clock::Elapsed as _;

/// More than this many are those of objects that went away without a word; the others begin anew.
const MAX: usize = 100_000;

/// What this process has seen itself, by its own clock. The times of a backend are of another clock, and
/// the audit of the EDA server does not tell when an action ended.
#[derive(Default)]
pub(crate) struct Ends(Mutex<HashMap<OperationToken, (u64, Timestamp)>>);

impl Ends {
    /// Whether these jobs, all of which have ended, have been all there is for so long.
    pub(super) fn have_rested(
        &self,
        token: &OperationToken,
        jobs: impl Hash,
        settle: Duration,
        now: Timestamp,
    ) -> bool {
        let mut hasher = DefaultHasher::new();
        jobs.hash(&mut hasher);
        let jobs = hasher.finish();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX {
            known.clear();
        }
        let seen = known.entry(token.clone()).or_insert((jobs, now));
        if seen.0 != jobs || seen.1 > now {
            *seen = (jobs, now);
        }
        now.elapsed_since(seen.1) >= settle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_follows_an_end_begins_its_rest_anew() {
        let ends = Ends::default();
        let token = OperationToken::from_random(1);
        let at = |seconds: i64| Timestamp::from_second(1_000_000 + seconds).unwrap();
        let minute = Duration::from_secs(60);
        let rested = |jobs: &[&str], second| ends.have_rested(&token, jobs, minute, at(second));
        assert!(!rested(&["1"], 0));
        assert!(!rested(&["1"], 59));
        assert!(rested(&["1"], 60));
        assert!(!rested(&["1", "2"], 70));
        assert!(rested(&["1", "2"], 130));
        // A clock that was set back has seen nothing yet.
        assert!(!rested(&["1", "2"], 10));
        assert!(rested(&["1", "2"], 70));
    }
}
