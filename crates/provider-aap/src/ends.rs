//! When ends were first seen that may not be ends, for those that do not tell their own time.

use std::sync::{Mutex, PoisonError};

use indexmap::IndexMap;
use jiff::Timestamp;

use crate::words::Kind;

/// The oldest is forgotten for a new one: its doubt begins anew then.
const MOST: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct Ends(Mutex<IndexMap<(Option<Kind>, u64), Timestamp>>);

impl Ends {
    /// When the end of this job was first seen, if not before, then now.
    pub(crate) fn first_seen(&self, kind: Option<Kind>, id: u64, now: Timestamp) -> Timestamp {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = seen.get(&(kind, id)) {
            return *at;
        }
        if seen.len() >= MOST {
            seen.shift_remove_index(0);
        }
        seen.insert((kind, id), now);
        now
    }

    /// The same, if it was seen before.
    pub(crate) fn known(&self, kind: Option<Kind>, id: u64) -> Option<Timestamp> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(&(kind, id)).copied()
    }

    /// It was no end.
    pub(crate) fn forget(&self, kind: Option<Kind>, id: u64) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.is_empty() {
            seen.swap_remove(&(kind, id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_look_counts_until_the_job_is_forgotten() {
        let ends = Ends::default();
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(ends.first_seen(None, 1, at(1)), at(1));
        assert_eq!(ends.first_seen(None, 1, at(9)), at(1));
        assert_eq!(ends.first_seen(Some(Kind::Job), 1, at(9)), at(9));
        ends.forget(None, 1);
        assert_eq!(ends.first_seen(None, 1, at(10)), at(10));
        for id in 2..=u64::try_from(MOST).unwrap() + 2 {
            ends.first_seen(None, id, at(20));
        }
        assert_eq!(ends.first_seen(None, 1, at(30)), at(30));
    }
}
