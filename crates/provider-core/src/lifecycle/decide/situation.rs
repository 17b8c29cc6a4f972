//! What a decision rests on.

use jiff::Timestamp;

use crate::lifecycle::decision::Right;
use crate::lifecycle::pacing::Pace;
use crate::lifecycle::relaunch::RelaunchLook;
use crate::lifecycle::{Desired, Policy};
use crate::{Capabilities, JobRecord, LaunchRequest};

/// Everything that a decision may rest on.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Situation<'a> {
    /// All records of the object, of every target, [numbered](crate::history::number).
    pub records: &'a [JobRecord],
    /// What is wanted.
    pub desired: &'a Desired,
    /// When deletion was asked for; none while the object is to exist.
    pub deleting_since: Option<Timestamp>,
    /// The user's choices.
    pub policy: &'a Policy,
    /// Who can be called.
    pub backends: &'a dyn Backends,
    /// The present moment.
    pub now: Timestamp,
    /// Randomness for a token and for jitter; drawn anew for each pass.
    pub seed: u128,
}

impl<'a> Situation<'a> {
    /// An object that is to exist, without any record of it.
    #[must_use]
    pub const fn new(
        desired: &'a Desired,
        policy: &'a Policy,
        backends: &'a dyn Backends,
        now: Timestamp,
    ) -> Self {
        Self {
            records: &[],
            desired,
            deleting_since: None,
            policy,
            backends,
            now,
            seed: 0,
        }
    }

    /// The same with these records.
    #[must_use]
    pub const fn with_records(mut self, records: &'a [JobRecord]) -> Self {
        self.records = records;
        self
    }

    /// The same with an object whose deletion was asked for then; none while it is to exist.
    #[must_use]
    pub const fn deleting_since(mut self, since: Option<Timestamp>) -> Self {
        self.deleting_since = since;
        self
    }

    /// The same with this randomness.
    #[must_use]
    pub const fn with_seed(mut self, seed: u128) -> Self {
        self.seed = seed;
        self
    }
}

/// What the rules need to know of the registered providers.
pub trait Backends: std::fmt::Debug + Send + Sync {
    /// The name and the capabilities of the provider that owns a record, if it is registered.
    fn owner<'a>(&'a self, record: &'a JobRecord) -> Option<(&'a str, &'a Capabilities)>;

    /// The capabilities of a provider, if it is registered.
    fn capabilities(&self, name: &str) -> Option<&Capabilities>;

    /// What kind of job the provider that owns a record would start, where it can tell before it does.
    fn launch_kind(&self, intent: &JobRecord, request: &LaunchRequest) -> Option<String> {
        let _ = (intent, request);
        None
    }
}

/// What has happened in this pass so far. Forgotten at its end, and by a crash.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Pass {
    /// The right that the last write gave, until it is used.
    pub right: Option<Right>,
    /// A write in this pass has succeeded, so the records are known to be current.
    pub current: bool,
    /// The attempt whose token was just looked for in vain, and when that was asked: an answer may
    /// be old by the time that it is acted on.
    pub absent: Option<(u64, Timestamp)>,
    /// What this process plans and has seen of the live attempts.
    pub paces: Vec<Pace>,
    /// The searches for copies that people have started, since anything else was asked.
    pub relaunch_looks: Vec<RelaunchLook>,
    /// Since when this process has seen that the object is being deleted, by its own clock.
    pub deleting: Option<Timestamp>,
}
