//! When each live attempt may be asked about again. In memory: a restart forgets it, and then
//! the first questions are spread over one interval instead of being asked all at once.

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::backoff::{scaled, unit};
use super::decide::{Pace, Vain};
use super::entropy::mix;
use crate::clock::add;
use crate::{JobRecord, ObjectKey};

/// How many nudges are remembered for passes that are under way.
const NUDGES: usize = 1_024;

/// Keyed by a hash of the object: a collision can only misplace a poll.
#[derive(Debug, Default)]
pub(super) struct Pacing(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    paces: HashMap<u64, Vec<Pace>>,
    /// The last nudges, newest last: a pass may be under way that they have to reach.
    nudged: VecDeque<u64>,
    /// How many nudges there were in all.
    nudges: u64,
}

/// What was remembered of an object when a pass began.
#[derive(Debug, Default)]
pub(super) struct Begun {
    pub(super) paces: Vec<Pace>,
    nudges: u64,
}

impl Pacing {
    pub(super) fn begin(&self, key: &ObjectKey) -> Begun {
        let state = self.lock();
        Begun {
            paces: state.paces.get(&hash(key)).cloned().unwrap_or_default(),
            nudges: state.nudges,
        }
    }

    /// Remembers the paces of the attempts that are still live, as a pass has left them.
    ///
    /// Another pass, about another target of the object, may have come to its end meanwhile: what it
    /// learned stands where this one learned nothing.
    pub(super) fn keep(
        &self,
        key: &ObjectKey,
        begun: &Begun,
        mut paces: Vec<Pace>,
        records: &[JobRecord],
    ) {
        let key = hash(key);
        let mut state = self.lock();
        for known in state.paces.get(&key).into_iter().flatten() {
            match paces.iter_mut().find(|pace| pace.attempt == known.attempt) {
                Some(pace) if begun.paces.contains(pace) => *pace = *known,
                Some(_) => {}
                None => paces.push(*known),
            }
        }
        let newest = records.iter().map(|record| record.attempt).max();
        paces.retain(|pace| {
            match records.iter().find(|r| r.attempt == pace.attempt) {
                Some(record) => record.may_be_live(),
                // Begun by another pass, after these records were read.
                None => newest.is_some_and(|newest| pace.attempt > newest),
            }
        });
        if state.was_nudged(key, begun.nudges) {
            make_due(&mut paces);
        }
        if paces.is_empty() {
            state.paces.remove(&key);
        } else {
            paces.shrink_to_fit();
            state.paces.insert(key, paces);
        }
    }

    /// Makes all attempts of an object due at once; those of a pass under way when it ends.
    pub(super) fn nudge(&self, key: &ObjectKey) {
        let key = hash(key);
        let mut state = self.lock();
        if let Some(paces) = state.paces.get_mut(&key) {
            make_due(paces);
        }
        if state.nudged.len() >= NUDGES {
            state.nudged.pop_front();
        }
        state.nudged.push_back(key);
        state.nudges = state.nudges.wrapping_add(1);
    }

    /// Forgets an object.
    pub(super) fn forget(&self, key: &ObjectKey) {
        self.lock().paces.remove(&hash(key));
    }

    /// How many objects have paces.
    pub(super) fn len(&self) -> usize {
        self.lock().paces.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether the object was nudged after so many nudges in all. When it is not known any more, it is
    /// taken for nudged: that costs a question.
    fn was_nudged(&self, key: u64, before: u64) -> bool {
        let since = usize::try_from(self.nudges.wrapping_sub(before)).unwrap_or(usize::MAX);
        since > self.nudged.len() || self.nudged.iter().rev().take(since).any(|k| *k == key)
    }
}

fn make_due(paces: &mut [Pace]) {
    for pace in paces {
        pace.due = pace.asked;
    }
}

/// Where within the interval the first question about an attempt falls, for a process that has
/// not asked about it before.
pub(super) fn first(
    key: &ObjectKey,
    attempt: u64,
    now: Timestamp,
    interval: Duration,
    random: u64,
) -> Pace {
    let part = unit(mix(hash(key) ^ attempt ^ random));
    Pace {
        attempt,
        asked: now,
        due: add(now, scaled(interval, part)),
        vain: None,
    }
}

/// Notes that a launch was looked for and not found.
pub(super) fn looked_in_vain(paces: &mut [Pace], attempt: u64, sent_at: Timestamp, now: Timestamp) {
    if let Some(pace) = paces.iter_mut().find(|pace| pace.attempt == attempt) {
        let known = pace
            .vain
            .filter(|vain| vain.sent_at == sent_at && vain.since <= now);
        pace.vain = known.or(Some(Vain {
            sent_at,
            since: now,
        }));
    }
}

pub(super) fn set(paces: &mut Vec<Pace>, mut pace: Pace) {
    if let Some(known) = paces.iter().find(|known| known.attempt == pace.attempt) {
        pace.vain = pace.vain.or(known.vain);
    }
    match paces.iter_mut().find(|known| known.attempt == pace.attempt) {
        Some(known) => *known = pace,
        None => paces.push(pace),
    }
}

fn hash(key: &ObjectKey) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{JobType, Resource};

    const AT: fn(i64) -> Timestamp = |second| Timestamp::from_second(second).unwrap();

    fn key() -> ObjectKey {
        let object = serde_json::json!({"kind": "VM", "metadata": {"name": "a", "uid": "u"}});
        Resource::from_json(object).unwrap().key().clone()
    }

    fn pace(attempt: u64, asked: i64) -> Pace {
        Pace {
            attempt,
            asked: AT(asked),
            due: AT(asked + 30),
            vain: None,
        }
    }

    fn records(attempts: &[u64]) -> Vec<JobRecord> {
        let new = |n: &u64| JobRecord::new(*n, JobType::Provision);
        attempts.iter().map(new).collect()
    }

    #[test]
    fn a_nudge_during_a_pass_is_not_lost() {
        let (pacing, key) = (Pacing::default(), key());
        let begun = pacing.begin(&key);
        pacing.nudge(&key);
        pacing.keep(&key, &begun, vec![pace(1, 60)], &records(&[1]));
        assert_eq!(pacing.begin(&key).paces[0].due, AT(60));
        // It is used up by then.
        let begun = pacing.begin(&key);
        pacing.keep(&key, &begun, vec![pace(1, 90)], &records(&[1]));
        assert_eq!(pacing.begin(&key).paces[0].due, AT(120));
    }

    #[test]
    fn nudges_of_other_objects_change_nothing_until_there_are_too_many() {
        let (pacing, key) = (Pacing::default(), key());
        let other =
            Resource::from_json(serde_json::json!({"kind": "VM", "metadata": {"name": "b"}}));
        let other = other.unwrap().key().clone();
        let begun = pacing.begin(&key);
        for _ in 0..NUDGES {
            pacing.nudge(&other);
        }
        pacing.keep(&key, &begun, vec![pace(1, 60)], &records(&[1]));
        assert_eq!(pacing.begin(&key).paces[0].due, AT(90));
        pacing.nudge(&other);
        pacing.keep(&key, &begun, vec![pace(1, 61)], &records(&[1]));
        assert_eq!(pacing.begin(&key).paces[0].due, AT(61));
    }

    #[test]
    fn passes_about_two_targets_at_once_keep_what_each_has_learned() {
        let (pacing, key) = (Pacing::default(), key());
        let empty = Begun::default();
        let both = records(&[1, 2]);
        pacing.keep(&key, &empty, vec![pace(1, 0), pace(2, 0)], &both);
        let (one, two) = (pacing.begin(&key), pacing.begin(&key));
        pacing.keep(&key, &one, vec![pace(1, 60), pace(2, 0)], &both);
        // Attempt 3 is the other pass's, and newer than the records of this one.
        pacing.keep(&key, &empty, vec![pace(3, 60)], &records(&[1, 2, 3]));
        pacing.keep(&key, &two, vec![pace(1, 0), pace(2, 61)], &both);
        let mut kept = pacing.begin(&key).paces;
        kept.sort_by_key(|pace| pace.attempt);
        assert_eq!(kept, [pace(1, 60), pace(2, 61), pace(3, 60)]);
    }
}
