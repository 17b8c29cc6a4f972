//! The lifecycle engine: when to launch, poll, cancel, back off, give up, and let go.
//!
//! # Expected flow
//! A controller calls [`Lifecycle::reconcile`] for an object whenever something about it changed
//! and whenever the last outcome's wake-up is due. Each call reads the records from the
//! [`StatusStore`], [`decide`]s step by step, and gives an [`Outcome`]: where the object stands,
//! what happened, when to come back, and whether the finalizer may go.
//!
//! # Guarantees
//! Whatever crashes, however many replicas run, however old a read is:
//! 1. At most one live job per object and target, as far as the backend's answers allow to know.
//! 2. No deprovision job is launched while a provision job may run.
//! 3. The object is let go only on a [`Ground`].
//! 4. Every standing that is not final has a wake-up.
//! 5. Nothing is launched before its intent is durable.
//! 6. A version is reported as applied only when the newest attempt succeeded with it.
//!
//! # Assumptions
//! - The store keeps its [guarantees](StatusStore).
//! - A launch is sent within [`LAUNCH_LEASE`] of its intent, and is visible at the backend
//!   within the provider's [visibility window](crate::Capabilities::visibility_window) or never.
//! - Clocks of replicas may differ by any amount, and may be set back. What is concluded from silence
//!   (a launch that is absent, a job that is forgotten, a state that nobody can tell) rests on how long
//!   a process has looked itself. What only paces or warns moves by the difference: back-offs, repeated
//!   cancels, the deadlines `queued` and `running`, `escalateAfter`. So does `abandonAfter`, but nobody
//!   gives an object up before having seen its deletion for an hour (for `abandonAfter`, where that is
//!   shorter).
//! - The controller adds its finalizer before the first call, and removes it only when
//!   [`Outcome::may_release`] says so.
//!
//! # Caveats
//! A person who copies a job at the backend (a "relaunch") starts a job that the engine learns of before it
//! launches the next one or lets the object go, and every few minutes of a back-off or half hours of a hold
//! after a failure, where the provider [can find it](crate::Capabilities::find_relaunched). Copies of jobs whose records have left the
//! history are not looked for, and two people may run two at once. An assumed outcome (see [`Policy`])
//! is marked on the record as [`Reason::Assumed`](crate::Reason::Assumed).

mod absorb;
mod backoff;
mod bounds;
mod cancel;
mod decide;
mod decision;
mod driver;
mod entropy;
mod event;
mod explain;
mod live;
mod machine;
mod memory;
mod outcome;
mod pacing;
mod policy;
mod registry;
mod relaunch;
mod store;
mod stray;
mod telemetry;

pub use absorb::{Context, Observation, absorb};
pub use cancel::NotTaken;
pub use decide::{Backends, LAUNCH_LEASE, Pass, Situation, decide, poll_interval};
pub use decision::{
    Action, Block, Call, Decision, Ground, Hold, Release, Rest, Right, Standing, Why,
};
pub use driver::Lifecycle;
pub use entropy::{Entropy, SeededEntropy, SystemEntropy};
pub use event::{Event, EventKind};
pub use explain::{Explanation, explain};
pub use machine::{
    Asked, Effect, End, Happened, Machine, Method, Purpose, Question, Seen, Setting, Stage, Write,
};
pub use memory::{MemoryStore, StoreFault};
pub use outcome::{OrphanReceipt, Outcome};
pub use pacing::{Lesson, Look, Pace, Vain};
pub use policy::{
    Ambiguity, BackoffConfig, DeadlinesConfig, DeletionConfig, IncomparableVersion,
    NeverProvisioned, Policy, PolicyConfig, PolicyError, Purge, RunningProvision, Supersede,
};
pub use registry::{DuplicateProvider, ProviderRegistry};
pub use relaunch::RelaunchLook;
pub use store::{Freshness, Snapshot, StatusStore, StoreError, StoreVersion, Written};

use crate::{ConfigVersion, ExtraVars, JobRecord};

/// What is wanted of an object, for one target.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Desired {
    /// The configuration that is to be applied.
    pub version: ConfigVersion,
    /// The provider that new attempts go to, by its registered name.
    pub provider: String,
    /// What is added to launches.
    pub extra_vars: ExtraVars,
    /// Which of several backends of the object this is about; none where there is one only.
    pub target: Option<String>,
    /// Whether records without a target belong to this one: the history from before the object
    /// had several. At most one target of an object may say so.
    pub absorbs_untagged: bool,
    /// How much is done without asking.
    pub mode: Mode,
    /// A person's request to try again, as any text that differs from the last one (an
    /// annotation's value). It ends a hold, a back-off or a doubt, once. A doubt about a launch that cannot be
    /// looked up is one when that launch cannot be under way any more, a few minutes after it was made.
    pub retry_request: Option<String>,
}

impl Desired {
    /// A configuration, to be brought about by a provider.
    #[must_use]
    pub fn new(version: ConfigVersion, provider: impl Into<String>) -> Self {
        Self {
            version,
            provider: provider.into(),
            extra_vars: ExtraVars::new(),
            target: None,
            absorbs_untagged: false,
            mode: Mode::Managed,
            retry_request: None,
        }
    }

    /// The same with variables that are added to launches.
    #[must_use]
    pub fn with_extra_vars(mut self, extra_vars: ExtraVars) -> Self {
        self.extra_vars = extra_vars;
        self
    }

    /// The same for one of several targets of the object.
    #[must_use]
    pub fn for_target(mut self, target: impl Into<String>, absorbs_untagged: bool) -> Self {
        self.target = Some(target.into());
        self.absorbs_untagged = absorbs_untagged;
        self
    }

    /// The same in another mode.
    #[must_use]
    pub fn in_mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// The same with a person's request to try again.
    #[must_use]
    pub fn with_retry_request(mut self, request: impl Into<String>) -> Self {
        self.retry_request = Some(request.into());
        self
    }

    /// Whether a record belongs to this target.
    #[must_use]
    pub fn owns(&self, record: &JobRecord) -> bool {
        record.target == self.target || (record.target.is_none() && self.absorbs_untagged)
    }
}

/// How much is done without asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Mode {
    /// Everything.
    #[default]
    Managed,
    /// Nothing is started, cancelled or let go. Live jobs are watched.
    Paused,
    /// Jobs start on a [retry request](Desired::retry_request) only. What runs is watched, and
    /// is cancelled where deletion or a deadline asks for it.
    Manual,
    /// Nothing at all, not even a look. Deletion lets the object go, with a receipt for what
    /// is left behind.
    Unmanaged,
}

impl Mode {
    /// The word for it, as annotations write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Managed => "managed",
            Self::Paused => "paused",
            Self::Manual => "manual",
            Self::Unmanaged => "unmanaged",
        }
    }
}
