//! What this process has said of an object by its conditions.
//!
//! Two processes may see an object differently for a while: one has asked about a job and the other has not,
//! or their clocks differ. Each write of the one wakes the other, so that they would overwrite each other
//! as fast as the API server bears it. So a word that somebody else has replaced is said again later, and later
//! each time.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// How long a word that somebody else has replaced is left so at first.
const FIRST: SignedDuration = SignedDuration::from_secs(15);
/// Doubled so often at most: up to 16 minutes.
const MAX_DOUBLINGS: u32 = 6;

/// The last word on each target of each object, by uid.
#[derive(Debug, Default)]
pub(crate) struct Said(Mutex<HashMap<String, Vec<Word>>>);

#[derive(Debug)]
struct Word {
    target: Option<String>,
    digest: u64,
    at: Timestamp,
    /// How often it was said, since anything else was.
    times: u32,
}

impl Word {
    /// Whether it is left as somebody else has put it.
    fn rests(&self, now: Timestamp) -> bool {
        let doublings = self.times.saturating_sub(1).min(MAX_DOUBLINGS);
        let since = now.duration_since(self.at);
        // A clock that was set back makes it old.
        !since.is_negative() && since < FIRST * (1 << doublings)
    }
}

/// What tells one word from another.
pub(crate) fn digest(conditions: &[Condition]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for one in conditions {
        (&one.type_, &one.status, &one.reason, &one.message).hash(&mut hasher);
    }
    hasher.finish()
}

impl Said {
    /// Whether conditions of this [`digest`] may be written. The object says something else at present.
    pub(crate) fn may_say(
        &self,
        uid: &str,
        target: Option<&str>,
        digest: u64,
        now: Timestamp,
    ) -> bool {
        let all = self.lock();
        let mut words = all.get(uid).into_iter().flatten();
        !words.any(|word| {
            word.target.as_deref() == target && word.digest == digest && word.rests(now)
        })
    }

    /// They were written.
    pub(crate) fn say(&self, uid: &str, target: Option<&str>, digest: u64, now: Timestamp) {
        let mut all = self.lock();
        let words = all.entry(uid.to_owned()).or_default();
        match words
            .iter_mut()
            .find(|word| word.target.as_deref() == target)
        {
            Some(word) => {
                let again = word.digest == digest;
                word.times = if again {
                    word.times.saturating_add(1)
                } else {
                    1
                };
                (word.digest, word.at) = (digest, now);
            }
            None => words.push(Word {
                target: target.map(str::to_owned),
                digest,
                at: now,
                times: 1,
            }),
        }
    }

    /// Nothing will be said of this object any more.
    pub(crate) fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    /// Of how many objects something was said.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<Word>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
