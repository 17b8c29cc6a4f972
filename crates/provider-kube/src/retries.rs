//! How often in a row an object could not be reconciled, and when that was told.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use provider_core::ObjectKey;

/// When to try again after the first error.
pub(crate) const FIRST: Duration = Duration::from_secs(5);
/// Doubled so often at most: up to 80 s.
const MAX_DOUBLINGS: u32 = 4;

/// An error that stays is told once in this time.
const TELL_AGAIN: SignedDuration = SignedDuration::from_hours(1);

/// Errors in a row, by object.
#[derive(Debug, Default)]
pub(crate) struct Retries(Mutex<HashMap<ObjectKey, Failing>>);

#[derive(Debug, Default)]
struct Failing {
    times: u32,
    told: Option<(Timestamp, String)>,
    shown: Option<Timestamp>,
}

impl Retries {
    /// How long to wait after one more.
    pub(crate) fn failed(&self, object: ObjectKey) -> Duration {
        let mut all = self.lock();
        let failing = all.entry(object).or_default();
        let wait = FIRST.saturating_mul(1 << failing.times.min(MAX_DOUBLINGS));
        failing.times = failing.times.saturating_add(1);
        wait
    }

    /// Whether this error is news: another one than before, or one that was told long ago.
    pub(crate) fn is_news(&self, object: &ObjectKey, error: &str, now: Timestamp) -> bool {
        let mut all = self.lock();
        let failing = all.entry(object.clone()).or_default();
        let known = failing.told.as_ref();
        if known.is_some_and(|(at, text)| text == error && is_recent(*at, now)) {
            return false;
        }
        failing.told = Some((now, error.to_owned()));
        true
    }

    /// Whether it is time to show on the object itself that it cannot be written.
    pub(crate) fn may_show(&self, object: &ObjectKey, now: Timestamp) -> bool {
        let mut all = self.lock();
        let failing = all.entry(object.clone()).or_default();
        if failing.shown.is_some_and(|at| is_recent(at, now)) {
            return false;
        }
        failing.shown = Some(now);
        true
    }

    /// How many objects there are errors of.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// It went well, or the object is gone.
    pub(crate) fn forget(&self, object: &ObjectKey) {
        self.lock().remove(object);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ObjectKey, Failing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A clock that was set back makes it old.
fn is_recent(at: Timestamp, now: Timestamp) -> bool {
    let since = now.duration_since(at);
    !since.is_negative() && since < TELL_AGAIN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_stays_is_told_once_an_hour_and_another_one_at_once() {
        let key = ObjectKey {
            kind: "K".to_owned(),
            namespace: None,
            name: "n".to_owned(),
            uid: String::new(),
        };
        let retries = Retries::default();
        let at = |second| Timestamp::from_second(second).unwrap();
        let told = |text, second| retries.is_news(&key, text, at(second));
        let all = [
            ("a", 0),
            ("a", 3_599),
            ("b", 3_599),
            ("b", 7_000),
            ("b", 7_199),
            ("b", 0),
        ];
        let told = all.map(|(text, second)| told(text, second));
        assert_eq!(told, [true, false, true, false, true, true]);
        assert!(retries.may_show(&key, at(0)) && !retries.may_show(&key, at(60)));
        retries.forget(&key);
        assert_eq!(retries.len(), 0);
    }
}
