//! When each live attempt may be asked about again, and what this process has seen of it itself. In
//! memory: a restart forgets it, and then the first questions are spread over one interval instead of
//! being asked all at once. What is planned is one thing, and what was seen another.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::backoff::{scaled, unit};
use super::cancel::{self, NotTaken};
use super::entropy::mix;
use super::{Observation, Pass, Policy, absorb};
use crate::clock::add;
use crate::{CancelResult, JobRecord, JobState, ObjectKey};

/// When one attempt is due for a question, and what this process has seen of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Pace {
    /// The attempt.
    pub attempt: u64,
    /// When this was planned. A plan from the future, of a clock that was set back since, is void.
    pub planned: Timestamp,
    /// When it is due.
    pub due: Timestamp,
    /// How this process has last looked at it; none while that is planned only.
    pub look: Option<Look>,
    /// Since when this process has looked for its launch in vain.
    pub vain: Option<Vain>,
    /// The last request to cancel it, when the backend did not take it.
    pub cancel: Option<NotTaken>,
}

/// How a process has last looked at an attempt itself: asked where it stands, or searched for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Look {
    /// When it asked.
    pub asked: Timestamp,
    /// Whether there was an answer. An error is none: it says nothing about the job.
    pub answered: bool,
    /// Since when no answer has told where the attempt stands; none when the last one did.
    pub dark_since: Option<Timestamp>,
}

/// A launch that this process looks for in vain.
///
/// The record says when a launch was sent by the clock of whoever sent it. Whether it can still turn
/// up is judged by how long this process itself has been looking: clocks of replicas may differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Vain {
    /// Which launch: when it was sent, by its record,
    pub sent_at: Timestamp,
    /// and the how manieth it was: two clocks may give two sends one time.
    pub sends: u32,
    /// Since when, by our own clock.
    pub since: Timestamp,
}

impl Vain {
    /// Whether it is the last launch of this record.
    pub(super) fn is_of(&self, record: &JobRecord) -> bool {
        record.sent_at.or(record.timestamp) == Some(self.sent_at) && record.sends == self.sends
    }
}

/// What a call of a provider has given, for the pass to learn from.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Lesson<'a> {
    /// The records with what was seen in them.
    pub records: &'a [JobRecord],
    /// The attempt, as it was when the call was made.
    pub asked: &'a JobRecord,
    /// What the call gave.
    pub observation: &'a Observation,
    /// The user's choices.
    pub policy: &'a Policy,
    /// When the call was made: an answer may be old by the time that it is acted on.
    pub asked_at: Timestamp,
    /// The present moment.
    pub now: Timestamp,
    /// How long nobody needs to ask again.
    pub wait: Duration,
}

impl Pace {
    /// An attempt that nobody here has asked about yet.
    #[must_use]
    pub const fn new(attempt: u64, planned: Timestamp, due: Timestamp) -> Self {
        Self {
            attempt,
            planned,
            due,
            look: None,
            vain: None,
            cancel: None,
        }
    }
}

impl<'a> Lesson<'a> {
    /// What a call about an attempt has given, learned at the moment of the call.
    #[must_use]
    pub const fn new(
        records: &'a [JobRecord],
        asked: &'a JobRecord,
        observation: &'a Observation,
        policy: &'a Policy,
        asked_at: Timestamp,
    ) -> Self {
        Self {
            records,
            asked,
            observation,
            policy,
            asked_at,
            now: asked_at,
            wait: Duration::ZERO,
        }
    }

    /// The same, learned at this moment.
    #[must_use]
    pub const fn at(mut self, now: Timestamp) -> Self {
        self.now = now;
        self
    }

    /// The same, after which nobody needs to ask for so long.
    #[must_use]
    pub const fn waiting(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }
}

impl Pass {
    /// Takes in what a call has given, beside what goes on record.
    pub fn learn(&mut self, lesson: &Lesson<'_>) {
        let attempt = lesson.asked.attempt;
        let known = self.paces.iter().find(|pace| pace.attempt == attempt);
        let known = known.filter(|pace| pace.planned <= lesson.now).copied();
        let is_absent = absorb::shows_absence(lesson.records, lesson.asked, lesson.observation);
        self.absent = is_absent.then_some((attempt, lesson.asked_at));
        let pace = Pace {
            attempt,
            planned: lesson.now,
            due: add(lesson.now, lesson.wait),
            look: lesson.look(known.and_then(|pace| pace.look)),
            vain: lesson.vain(known.and_then(|pace| pace.vain), is_absent),
            cancel: match lesson.observation {
                Observation::Canceled(_) => {
                    cancel::not_taken(lesson.policy, lesson.observation, lesson.now)
                }
                _ => known.and_then(|pace| pace.cancel),
            },
        };
        match self.paces.iter_mut().find(|pace| pace.attempt == attempt) {
            Some(known) => *known = pace,
            None => self.paces.push(pace),
        }
    }
}

impl Lesson<'_> {
    fn look(&self, known: Option<Look>) -> Option<Look> {
        // Whether it was answered, and whether the answer has told where the attempt stands.
        let (answered, told) = match self.observation {
            Observation::Status(Ok(status)) => (true, status.state != JobState::Unknown),
            Observation::Found(Ok(_)) | Observation::Canceled(Ok(CancelResult::Finished(_))) => {
                (true, true)
            }
            Observation::Status(Err(_))
            | Observation::Found(Err(_))
            | Observation::Canceled(Err(_) | Ok(CancelResult::Gone)) => (false, false),
            // It says nothing about where the job stands.
            Observation::Canceled(Ok(CancelResult::Requested | CancelResult::NotYet { .. }))
            | Observation::Relaunched { .. }
            | Observation::Provisioned(_)
            | Observation::Deprovisioned(_) => return known,
        };
        let dark = known.and_then(|look| look.dark_since);
        let dark = dark
            .filter(|dark| *dark <= self.asked_at)
            .unwrap_or(self.asked_at);
        Some(Look {
            asked: self.asked_at,
            answered,
            dark_since: (!told).then_some(dark),
        })
    }

    fn vain(&self, known: Option<Vain>, is_absent: bool) -> Option<Vain> {
        let sent_at = self.asked.sent_at.or(self.asked.timestamp)?;
        match self.observation {
            Observation::Found(Ok(_)) if is_absent => known
                .filter(|vain| vain.is_of(self.asked) && vain.since <= self.now)
                .or(Some(Vain {
                    sent_at,
                    sends: self.asked.sends,
                    since: self.asked_at,
                })),
            Observation::Found(Ok(_)) => None,
            _ => known,
        }
    }
}

/// How many nudges are remembered for passes that are under way.
const NUDGES: usize = 1_024;

/// Keyed by a hash of the object: a collision can only misplace a poll.
#[derive(Debug, Default)]
pub(super) struct Pacing(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    paces: HashMap<u64, Vec<Pace>>,
    /// Since when objects have been seen to be deleted, for each of their targets, where that decides anything.
    deleting: HashMap<u64, BTreeMap<Option<String>, Timestamp>>,
    /// The last nudges, newest last: a pass may be under way that they have to reach.
    nudged: VecDeque<u64>,
    /// How many nudges there were in all.
    nudges: u64,
}

/// What was remembered of an object when a pass began.
#[derive(Debug, Default)]
pub(super) struct Begun {
    pub(super) paces: Vec<Pace>,
    pub(super) deleting: Option<Timestamp>,
    nudges: u64,
}

impl Pacing {
    pub(super) fn begin(&self, key: &ObjectKey, target: Option<&String>) -> Begun {
        let state = self.lock();
        let deleting = state.deleting.get(&hash(key));
        Begun {
            paces: state.paces.get(&hash(key)).cloned().unwrap_or_default(),
            deleting: deleting.and_then(|of| of.get(&target.cloned()).copied()),
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

    /// Remembers since when an object has been seen to be deleted; none forgets it. Each target for itself: one
    /// that is let go does not begin the waiting of the others anew.
    pub(super) fn note_deletion(
        &self,
        key: &ObjectKey,
        target: Option<&String>,
        since: Option<Timestamp>,
    ) {
        let key = hash(key);
        let mut state = self.lock();
        if let Some(since) = since {
            let of = state.deleting.entry(key).or_default();
            of.insert(target.cloned(), since);
        } else if let Some(of) = state.deleting.get_mut(&key) {
            of.remove(&target.cloned());
            if of.is_empty() {
                state.deleting.remove(&key);
            }
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
        let mut state = self.lock();
        state.paces.remove(&hash(key));
        state.deleting.remove(&hash(key));
    }

    /// Of how many objects something is remembered.
    pub(super) fn len(&self) -> usize {
        let state = self.lock();
        let deleting = state.deleting.keys();
        let more = deleting.filter(|key| !state.paces.contains_key(*key));
        state.paces.len().saturating_add(more.count())
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
        pace.due = pace.planned;
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
    Pace::new(attempt, now, add(now, scaled(interval, part)))
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

    fn pace(attempt: u64, planned: i64) -> Pace {
        Pace::new(attempt, AT(planned), AT(planned + 30))
    }

    fn records(attempts: &[u64]) -> Vec<JobRecord> {
        let new = |n: &u64| JobRecord::new(*n, JobType::Provision);
        attempts.iter().map(new).collect()
    }

    #[test]
    fn a_nudge_during_a_pass_is_not_lost() {
        let (pacing, key) = (Pacing::default(), key());
        let begun = pacing.begin(&key, None);
        pacing.nudge(&key);
        pacing.keep(&key, &begun, vec![pace(1, 60)], &records(&[1]));
        assert_eq!(pacing.begin(&key, None).paces[0].due, AT(60));
        // It is used up by then.
        let begun = pacing.begin(&key, None);
        pacing.keep(&key, &begun, vec![pace(1, 90)], &records(&[1]));
        assert_eq!(pacing.begin(&key, None).paces[0].due, AT(120));
    }

    #[test]
    fn nudges_of_other_objects_change_nothing_until_there_are_too_many() {
        let (pacing, key) = (Pacing::default(), key());
        let other =
            Resource::from_json(serde_json::json!({"kind": "VM", "metadata": {"name": "b"}}));
        let other = other.unwrap().key().clone();
        let begun = pacing.begin(&key, None);
        for _ in 0..NUDGES {
            pacing.nudge(&other);
        }
        pacing.keep(&key, &begun, vec![pace(1, 60)], &records(&[1]));
        assert_eq!(pacing.begin(&key, None).paces[0].due, AT(90));
        pacing.nudge(&other);
        pacing.keep(&key, &begun, vec![pace(1, 61)], &records(&[1]));
        assert_eq!(pacing.begin(&key, None).paces[0].due, AT(61));
    }

    #[test]
    fn passes_about_two_targets_at_once_keep_what_each_has_learned() {
        let (pacing, key) = (Pacing::default(), key());
        let empty = Begun::default();
        let both = records(&[1, 2]);
        pacing.keep(&key, &empty, vec![pace(1, 0), pace(2, 0)], &both);
        let (one, two) = (pacing.begin(&key, None), pacing.begin(&key, None));
        pacing.keep(&key, &one, vec![pace(1, 60), pace(2, 0)], &both);
        // Attempt 3 is the other pass's, and newer than the records of this one.
        pacing.keep(&key, &empty, vec![pace(3, 60)], &records(&[1, 2, 3]));
        pacing.keep(&key, &two, vec![pace(1, 0), pace(2, 61)], &both);
        let mut kept = pacing.begin(&key, None).paces;
        kept.sort_by_key(|pace| pace.attempt);
        assert_eq!(kept, [pace(1, 60), pace(2, 61), pace(3, 60)]);
    }
}
