//! One event of one action for one object at a time, and not too soon after the one before.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use provider_core::clock::Elapsed as _;
use provider_core::{JobType, LaunchRequest};

/// Slots are looked through for old ones when there are so many, and then at every doubling.
const PRUNE_AT: usize = 1_024;

/// Whose turn it is: a name in its namespace, not a name alone; and each of its targets by itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    kind: String,
    namespace: Option<String>,
    name: String,
    target: Option<String>,
    action: JobType,
}

impl Key {
    pub(crate) fn new(request: &LaunchRequest, action: JobType) -> Self {
        let resource = &request.resource;
        Self {
            kind: resource.kind().to_owned(),
            namespace: resource.namespace().map(str::to_owned),
            name: resource.name().to_owned(),
            target: request.target.clone(),
            action,
        }
    }
}

#[derive(Debug, Default)]
struct Slot {
    sent: Option<Timestamp>,
    busy: bool,
}

#[derive(Debug)]
struct Slots {
    by_key: HashMap<Key, Slot>,
    prune_at: usize,
}

/// When which object's events were last sent.
#[derive(Debug, Clone)]
pub(crate) struct Paces {
    slots: Arc<Mutex<Slots>>,
    interval: Duration,
}

/// The right to send one event; given back when dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    paces: Paces,
    key: Key,
}

impl Paces {
    pub(crate) fn new(interval: Duration) -> Self {
        let slots = Slots {
            by_key: HashMap::new(),
            prune_at: PRUNE_AT,
        };
        Self {
            slots: Arc::new(Mutex::new(slots)),
            interval,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the turn, or says how long to wait for it.
    pub(crate) fn enter(&self, key: Key, now: Timestamp) -> Result<Turn, Duration> {
        let mut slots = self.lock();
        if slots.by_key.len() >= slots.prune_at {
            let interval = self.interval;
            slots
                .by_key
                .retain(|_, slot| slot.busy || left(slot, now, interval).is_some());
            slots.prune_at = (slots.by_key.len() * 2).max(PRUNE_AT);
        }
        let slot = slots.by_key.entry(key.clone()).or_default();
        if slot.busy {
            return Err(self.interval.max(Duration::from_secs(1)));
        }
        if let Some(left) = left(slot, now, self.interval) {
            return Err(left);
        }
        slot.busy = true;
        drop(slots);
        Ok(Turn {
            paces: self.clone(),
            key,
        })
    }

    /// Learns from a record that an event was sent then, perhaps by a process before this one.
    pub(crate) fn remember(&self, key: &Key, sent: Timestamp, now: Timestamp) {
        // A time that lies ahead is of a clock that ran fast.
        let sent = sent.min(now);
        if now.elapsed_since(sent) < self.interval {
            let mut slots = self.lock();
            let slot = slots.by_key.entry(key.clone()).or_default();
            slot.sent = slot.sent.max(Some(sent));
        }
    }
}

/// What is left of the interval, never more than all of it, also when the clock was set back.
fn left(slot: &Slot, now: Timestamp, interval: Duration) -> Option<Duration> {
    let passed = now.elapsed_since(slot.sent?);
    interval.checked_sub(passed).filter(|left| !left.is_zero())
}

impl Turn {
    /// The event goes out now, whatever will become of it.
    pub(crate) fn sent(&self, now: Timestamp) {
        if let Some(slot) = self.paces.lock().by_key.get_mut(&self.key) {
            slot.sent = Some(now);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(slot) = self.paces.lock().by_key.get_mut(&self.key) {
            slot.busy = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use provider_core::clock;

    use super::*;

    fn key(name: &str) -> Key {
        Key {
            kind: "K".to_owned(),
            namespace: None,
            name: name.to_owned(),
            target: None,
            action: JobType::Provision,
        }
    }

    #[test]
    fn old_slots_do_not_pile_up() {
        let paces = Paces::new(Duration::from_secs(2));
        let mut now = Timestamp::UNIX_EPOCH;
        for n in 0..20_000 {
            paces.enter(key(&n.to_string()), now).unwrap().sent(now);
            now = clock::add(now, Duration::from_millis(10));
        }
        assert!(paces.lock().by_key.len() <= 2 * PRUNE_AT);
    }

    #[test]
    fn a_clock_that_is_set_back_costs_one_interval_at_most() {
        let paces = Paces::new(Duration::from_secs(30));
        let late = clock::add(Timestamp::UNIX_EPOCH, Duration::from_secs(86_400));
        paces.enter(key("a"), late).unwrap().sent(late);
        let left = paces.enter(key("a"), Timestamp::UNIX_EPOCH).unwrap_err();
        assert_eq!(left, Duration::from_secs(30));
    }
}
