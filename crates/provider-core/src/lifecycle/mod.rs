//! The lifecycle engine: when to launch, poll, cancel, back off, give up, and let go.
//!
//! # Expected flow
//! A controller calls [`Lifecycle::reconcile`] for an object whenever something about it changed
//! and whenever the last outcome's wake-up is due. Each call reads the records from the
//! [`StatusStore`], [decides](crate::engine::decide) step by step, and gives an [`Outcome`]: where the object stands,
//! what happened, when to come back, and whether the finalizer may go.
//!
//! # Guarantees
//! Whatever crashes, however many replicas run, however old a read is:
//! 1. At most one live job per object and target, as far as the backend's answers allow to know.
//! 2. No deprovision job is launched while another job of its target may run.
//! 3. The object is let go only on a [`Ground`].
//! 4. Every standing that is not final has a wake-up.
//! 5. Nothing is launched before its intent is durable.
//! 6. A version is reported as applied only when the newest attempt succeeded with it.
//!
//! # Assumptions
//! - The store keeps its [guarantees](StatusStore).
//! - A launch is sent within [`LAUNCH_LEASE`](crate::engine::LAUNCH_LEASE) of its intent, and is visible at the backend
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
mod desired;
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

pub use decision::{Block, Ground, Hold, Release, Standing, Why};
pub use desired::{ActionRequest, BadMode, Desired, Mode, NotYet};
pub use driver::Lifecycle;
pub use entropy::{Entropy, SeededEntropy, SystemEntropy};
pub use event::{Event, EventKind};
pub use explain::Explanation;
pub use memory::{MemoryStore, StoreFault};
pub use outcome::{OrphanReceipt, Outcome};
pub use policy::{
    Ambiguity, BackoffConfig, DeadlinesConfig, DeletionConfig, IncomparableVersion,
    NeverProvisioned, Policy, PolicyConfig, PolicyError, Purge, RunningProvision, Supersede,
};
pub use registry::{DuplicateProvider, ProviderRegistry};
pub use store::{Freshness, Snapshot, StatusStore, StoreError, StoreVersion, Written};

use absorb::{Observation, absorb};
use decide::Pass;
use explain::explain;

/// What a controller never touches; see [`crate::engine`].
pub(crate) mod inside {
    pub use super::absorb::{Context, Observation, absorb};
    pub use super::cancel::NotTaken;
    pub use super::decide::{Backends, LAUNCH_LEASE, Pass, Situation, decide, poll_interval};
    pub use super::decision::{Action, Call, Decision, Rest, Right};
    pub use super::explain::{Evidence, explain};
    pub use super::machine::{
        Asked, Effect, End, Happened, Machine, Method, Purpose, Question, Seen, Setting, Stage,
        Write,
    };
    pub use super::pacing::{Lesson, Look, Pace, Vain};
    pub use super::relaunch::RelaunchLook;
}
