//! One pass over one object as a machine: what has happened goes in, and what is to be done next comes out.
//! It waits for nothing. The driver carries its effects out, and so does the model checker, in a world of its own.

mod question;
mod record;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

pub use question::{Method, Question};

use super::decide::{Backends, LAUNCH_LEASE, Pass, Situation, decide, poll_interval, under_way};
use super::decision::{Action, Call, Decision, Rest, Right, Standing, Why};
use super::event::Event;
use super::pacing::Pace;
use super::store::{Freshness, Snapshot, StoreError, StoreVersion, Written};
use super::{Desired, Observation, Policy, entropy, pacing, telemetry};
use crate::clock::{Elapsed, add};
use crate::{JobRecord, ProviderError, Resource};

/// A pass that has not come to rest after so many steps is broken off. The longest legitimate one
/// (poll, close, confirm, intend, launch, record, each with a conflict) takes half of it.
const MAX_STEPS: u32 = 32;
/// A pass that others keep writing into is broken off and tried again later.
const MAX_CONFLICTS: u32 = 8;
/// How long to wait after a pass was broken off, before jitter.
pub(super) const RETRY_BROKEN_OFF: Duration = Duration::from_secs(5);

/// What stays the same during a pass.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Setting<'a> {
    /// What is wanted.
    pub desired: &'a Desired,
    /// The user's choices.
    pub policy: &'a Policy,
    /// Who can be called.
    pub backends: &'a dyn Backends,
}

impl<'a> Setting<'a> {
    /// What is wanted, by which choices, of whom.
    #[must_use]
    pub const fn new(desired: &'a Desired, policy: &'a Policy, backends: &'a dyn Backends) -> Self {
        Self {
            desired,
            policy,
            backends,
        }
    }
}

/// What the machine wants done next. What came of it is its next step.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Effect {
    /// Read the object's records.
    Load(Freshness),
    /// Replace them, if they are still those of this version.
    Swap {
        /// The version that they were read with.
        version: StoreVersion,
        /// All records as they are to be.
        records: Arc<Vec<JobRecord>>,
    },
    /// Ask a provider.
    Ask(Box<Question>),
    /// Nothing: the pass is over.
    Rest(End),
}

/// What came of an effect.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Happened {
    /// Of [`Effect::Load`].
    Loaded(Result<Snapshot, StoreError>),
    /// Of [`Effect::Swap`].
    Swapped(Result<Written, StoreError>),
    /// Of [`Effect::Ask`].
    Saw(Box<Observation>),
    /// Of [`Effect::Ask`]: the provider is not there any more.
    NotAsked,
}

/// How a pass ends.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum End {
    /// By a decision.
    Rest(Box<Rest>, Why),
    /// Without one.
    Broken(Standing),
}

/// What the machine waits for.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Stage {
    /// The first read.
    Loading,
    /// A write.
    Writing(Purpose, Write),
    /// A read after a conflict in a write for this.
    Rereading(Purpose),
    /// An answer to this call.
    Asking(Box<Asked>),
    /// Nothing: the pass is over.
    Over,
}

/// What records are written for.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Purpose {
    /// A decision, which gives a right where the write succeeds.
    Decision(Option<Right>, Why),
    /// What a call has given.
    Observation(Box<Seen>),
}

/// Records on their way to the store, and what will have happened when they are there.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Write {
    /// All records as they are to be.
    pub records: Arc<Vec<JobRecord>>,
    told: Vec<(Event, JobRecord)>,
}

/// A call that was made.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Asked {
    /// Which.
    pub call: Call,
    /// By which rule.
    pub why: Why,
    /// The attempt, as it was then.
    pub record: JobRecord,
    /// When.
    pub at: Timestamp,
    conflicts: u32,
}

/// A call, and what it gave.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Seen {
    /// The call.
    pub asked: Asked,
    /// What it gave.
    pub observation: Observation,
    /// Whether the object has meanwhile become another than the one that the pass began with.
    pub outdated: bool,
}

/// One pass over one object.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Machine {
    /// The object: the caller's, until the store has shown its own.
    pub resource: Resource,
    /// The records as they were last read or written, [numbered](crate::history::number).
    pub records: Arc<Vec<JobRecord>>,
    /// The version of them.
    pub version: Option<StoreVersion>,
    /// What has happened so far.
    pub pass: Pass,
    /// What it waits for.
    pub stage: Stage,
    /// What happened to attempts in this pass, and is on record.
    pub events: Vec<Event>,
    /// What happens when the caller makes the write that the store has left to it.
    pub unrecorded: Vec<(Event, JobRecord)>,
    /// The last error of a provider in this pass.
    pub trouble: Option<ProviderError>,
    /// Whether the last call was answered.
    pub answered: bool,
    /// How many writes of others came in between.
    pub conflicts: u32,
    seed: u128,
    steps: u32,
}

impl Machine {
    /// A pass over this object, by a process that remembers this of it; and what is done first.
    #[must_use]
    pub fn begin(resource: Resource, remembered: Pass, seed: u128) -> (Self, Effect) {
        let machine = Self {
            resource,
            records: Arc::default(),
            version: None,
            pass: remembered,
            stage: Stage::Loading,
            events: Vec::new(),
            unrecorded: Vec::new(),
            trouble: None,
            answered: false,
            conflicts: 0,
            seed,
            steps: 0,
        };
        (machine, Effect::Load(Freshness::Cached))
    }

    /// Takes in what came of the last effect, and says what is next.
    pub fn step(&mut self, setting: &Setting<'_>, happened: Happened, now: Timestamp) -> Effect {
        let stage = std::mem::replace(&mut self.stage, Stage::Over);
        let next = match (stage, happened) {
            (Stage::Loading, Happened::Loaded(loaded)) => match self.loaded(loaded) {
                Ok(true) => self.next(setting, now),
                Ok(false) => Err(End::Broken(Standing::Outdated)),
                Err(end) => Err(end),
            },
            (Stage::Writing(purpose, write), Happened::Swapped(swapped)) => match swapped {
                Ok(written) => {
                    self.written(write, written);
                    self.done(setting, purpose, now)
                }
                Err(StoreError::Conflict) => self.conflict(purpose),
                Err(error) => Err(broken(&error)),
            },
            (Stage::Rereading(purpose), Happened::Loaded(loaded)) => match self.loaded(loaded) {
                Ok(same) => self.reread(setting, purpose, same, now),
                Err(end) => Err(end),
            },
            (Stage::Asking(asked), Happened::Saw(observation)) => {
                self.saw(setting, *asked, *observation, now)
            }
            (Stage::Asking(_), Happened::NotAsked) => self.next(setting, now),
            _ => Err(End::Broken(Standing::Interrupted {
                reason: "an answer to no question; this is a defect of the engine".to_owned(),
            })),
        };
        next.unwrap_or_else(|end| {
            self.stage = Stage::Over;
            Effect::Rest(end)
        })
    }

    /// Decides until something is to be done.
    fn next(&mut self, setting: &Setting<'_>, now: Timestamp) -> Result<Effect, End> {
        while self.steps < MAX_STEPS {
            self.steps += 1;
            let Decision { action, why } = self.decide(setting, now);
            match action {
                Action::Rest(rest) => return Err(End::Rest(Box::new(rest), why)),
                Action::Write {
                    records,
                    forget,
                    then,
                } => {
                    return self.fence(setting, records, &forget, (then, why));
                }
                Action::Call(call) => {
                    if let Some(effect) = self.call(setting, call, why, now) {
                        return Ok(effect);
                    }
                }
            }
        }
        Err(End::Broken(Standing::Interrupted {
            reason: format!("no rest after {MAX_STEPS} steps; this is a defect of the engine"),
        }))
    }

    fn decide(&mut self, setting: &Setting<'_>, now: Timestamp) -> Decision {
        self.plan(setting, now);
        let situation = Situation {
            records: &self.records,
            desired: setting.desired,
            deleting_since: self.resource.deletion_timestamp(),
            policy: setting.policy,
            backends: setting.backends,
            now,
            seed: self.seed,
        };
        let decision = decide(&situation, &self.pass);
        tracing::debug!(action = telemetry::word(&decision.action), why = %decision.why, "decided");
        decision
    }

    /// What this process meets for the first time was begun by another one: jobs are asked about within an
    /// interval, and a launch that cannot be looked up may still be under way for a while.
    fn plan(&mut self, setting: &Setting<'_>, now: Timestamp) {
        let random = self.random();
        for record in self.records.iter().filter(|r| r.may_be_live()) {
            let mut known = self.pass.paces.iter();
            if known.any(|pace| pace.attempt == record.attempt) {
                continue;
            }
            let Some((_, caps)) = setting.backends.owner(record) else {
                continue;
            };
            let attempt = record.attempt;
            let pace = if record.job_id.is_some() {
                let interval = poll_interval(setting.policy, caps, record, None, u64::MAX / 2);
                pacing::first(self.resource.key(), attempt, now, interval, random)
            } else if caps.find_launched {
                continue;
            } else {
                Pace::new(attempt, now, add(now, under_way(caps)))
            };
            self.pass.paces.push(pace);
        }
    }

    fn call(
        &mut self,
        setting: &Setting<'_>,
        call: Call,
        why: Why,
        now: Timestamp,
    ) -> Option<Effect> {
        self.pass.right = None;
        if !matches!(call, Call::FindRelaunched(_)) {
            self.pass.absent = None;
            // It takes time, in which people may have done anything.
            self.pass.relaunch_looks.clear();
        }
        let n = call.attempt();
        // There is one: decisions are about records that are there.
        let record = self.records.iter().find(|record| record.attempt == n)?;
        if let Call::Launch(_) = call
            && record
                .sent_at
                .is_none_or(|at| now < at || now.elapsed_since(at) > LAUNCH_LEASE)
        {
            // The write took so long that another process may have taken over; or the clock was set
            // back meanwhile, and nobody can tell how long it took.
            tracing::warn!(
                attempt = n,
                "too late to launch; looking for the job instead"
            );
            return None;
        }
        let question = self.question(setting, call, record)?;
        self.stage = Stage::Asking(Box::new(Asked {
            call,
            why,
            record: record.clone(),
            at: now,
            conflicts: self.conflicts,
        }));
        Some(Effect::Ask(Box::new(question)))
    }

    /// Chance for what is decided now.
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the low bits are as random as any"
    )]
    pub(super) fn random(&self) -> u64 {
        entropy::mix(self.seed as u64 ^ (self.events.len() as u64))
    }
}

fn broken(error: &StoreError) -> End {
    End::Broken(match error {
        StoreError::Gone => Standing::Gone,
        StoreError::Conflict | StoreError::Unavailable(_) | StoreError::Refused(_) => {
            Standing::Interrupted {
                reason: error.to_string(),
            }
        }
    })
}
