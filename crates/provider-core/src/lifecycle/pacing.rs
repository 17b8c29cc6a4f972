//! When each live attempt may be asked about again. In memory: a restart forgets it, and then
//! the first questions are spread over one interval instead of being asked all at once.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::backoff::unit;
use super::decide::{Pace, Vain};
use super::entropy::mix;
use crate::clock::add;
use crate::{JobRecord, ObjectKey};

/// Keyed by a hash of the object: a collision can only misplace a poll.
#[derive(Debug, Default)]
pub(super) struct Pacing(Mutex<HashMap<u64, Vec<Pace>>>);

impl Pacing {
    pub(super) fn of(&self, key: &ObjectKey) -> Vec<Pace> {
        self.lock().get(&hash(key)).cloned().unwrap_or_default()
    }

    /// Remembers the paces of the attempts that are still live.
    pub(super) fn keep(&self, key: &ObjectKey, mut paces: Vec<Pace>, records: &[JobRecord]) {
        paces.retain(|pace| {
            records
                .iter()
                .any(|r| r.attempt == pace.attempt && r.may_be_live())
        });
        let mut all = self.lock();
        if paces.is_empty() {
            all.remove(&hash(key));
        } else {
            paces.shrink_to_fit();
            all.insert(hash(key), paces);
        }
    }

    /// Makes all attempts of an object due at once.
    pub(super) fn nudge(&self, key: &ObjectKey) {
        if let Some(paces) = self.lock().get_mut(&hash(key)) {
            for pace in paces {
                pace.due = pace.asked;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Vec<Pace>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        due: add(now, interval.mul_f64(part)),
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
