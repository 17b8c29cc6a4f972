//! What the engine can decide, as data.

mod why;

use jiff::Timestamp;

pub use why::Why;

use crate::{ConfigVersion, JobRecord, JobState, JobType, Reason};

/// One step, and the rule that it follows from.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Decision {
    /// What to do now.
    pub action: Action,
    /// The rule, with what it rests on.
    pub why: Why,
}

impl Decision {
    /// A step, and its rule.
    #[must_use]
    pub const fn new(action: Action, why: Why) -> Self {
        Self { action, why }
    }
}

/// What to do now. One at a time: after a write or a call the engine decides afresh.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Action {
    /// Persist these records, under the condition that nobody wrote since they were read.
    /// Success gives the right to make the call in `then`, once, in this pass alone.
    Write {
        /// New records, and replacements for records of the same attempt.
        records: Vec<JobRecord>,
        /// Attempts whose records go: of a target that is gone.
        forget: Vec<u64>,
        /// What the write is the fence for.
        then: Option<Right>,
    },
    /// Call the provider that owns the attempt.
    Call(Call),
    /// Nothing to do until the wake-up, or until something changes.
    Rest(Rest),
}

/// A right to call, given by a successful write. It ends with the pass: a process that crashes
/// or loses a race has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Right {
    /// To launch this attempt.
    Launch(u64),
    /// To ask for the cancel of this attempt.
    Cancel(u64),
}

/// A call of a provider, about one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Call {
    /// Start the job.
    Launch(u64),
    /// Ask for its end.
    Cancel(u64),
    /// Ask where it stands.
    Status(u64),
    /// Look for it by its token.
    Find(u64),
    /// Ask the provider that owns it whether a person has started a copy of any job of the object.
    FindRelaunched(u64),
}

impl Call {
    /// The attempt that it is about.
    #[must_use]
    pub const fn attempt(self) -> u64 {
        match self {
            Self::Launch(n)
            | Self::Cancel(n)
            | Self::Status(n)
            | Self::Find(n)
            | Self::FindRelaunched(n) => n,
        }
    }

    /// A stable word, for logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Launch(_) => "launch",
            Self::Cancel(_) => "cancel",
            Self::Status(_) => "status",
            Self::Find(_) => "find",
            Self::FindRelaunched(_) => "find_relaunched",
        }
    }
}

/// Where the object stands, and when to look again.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Rest {
    /// Where it stands.
    pub standing: Standing,
    /// When to reconcile again at the latest. None only where nothing but a change of the
    /// object can change anything: see [`Standing::is_final`].
    pub wake_at: Option<Timestamp>,
    /// Deletion takes longer than the policy's `escalateAfter`.
    pub escalated: bool,
}

impl Rest {
    /// A rest that only a change of the object ends.
    #[must_use]
    pub const fn new(standing: Standing) -> Self {
        Self {
            standing,
            wake_at: None,
            escalated: false,
        }
    }

    /// The same rest until this moment at the latest.
    #[must_use]
    pub fn until(mut self, at: Timestamp) -> Self {
        self.wake_at = Some(at);
        self
    }

    /// The same rest in a deletion that takes too long.
    #[must_use]
    pub fn escalated(mut self) -> Self {
        self.escalated = true;
        self
    }
}

/// The state of an object, or of one of its targets, after a pass: what conditions, events and metrics are made
/// of. A job has a [`JobState`] of its own; this is what all jobs on record come to, with what is wanted.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Standing {
    /// The desired configuration is applied: the newest attempt succeeded with it.
    Applied {
        /// The version that is applied.
        version: ConfigVersion,
    },
    /// A job is under way, or being looked for.
    InProgress {
        /// The attempt.
        attempt: u64,
        /// What it is for.
        job_type: JobType,
        /// Where it stands, as last seen.
        state: JobState,
    },
    /// The last attempt failed; the next one is due later.
    BackingOff {
        /// When it is due.
        until: Timestamp,
        /// How many failed in a row.
        failures: u32,
    },
    /// The target is to be absent, and nothing of it is here any more.
    Absent {
        /// Attempts whose results may be left behind; empty when nothing is. Their records stay.
        left_behind: Vec<u64>,
    },
    /// Something has to be there before anything is provisioned.
    NotYet {
        /// What is missing.
        reason: String,
    },
    /// The provider asked to wait before deprovisioning, or could not say whether a person has relaunched a
    /// job of the object.
    Waiting {
        /// What is waited for.
        reason: String,
    },
    /// Nothing is done until a person decides.
    Held(Hold),
    /// Something must be mended by a person first. Jobs that are under way are still watched.
    Blocked(Block),
    /// Nothing of the object is left here: the finalizer may be removed.
    Released(Release),
    /// The object is not managed: nothing is looked at.
    Unmanaged,
    /// The caller's object is older than the records: reconcile again with a fresh one.
    Outdated,
    /// The store has no such object any more.
    Gone,
    /// The pass was broken off: the store failed, or others kept writing.
    Interrupted {
        /// What happened.
        reason: String,
    },
}

impl Standing {
    /// Whether nothing but a change of the object can change anything; or, for a hold, what a person does at
    /// the backend: a hold that is looked at again for that has a wake-up.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Applied { .. }
                | Self::Absent { .. }
                | Self::Released(_)
                | Self::Unmanaged
                | Self::Gone
                | Self::Held(_)
        )
    }

    /// A stable word in the Kubernetes manner, for conditions, logs and metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Applied { .. } => "Applied",
            Self::InProgress { .. } => "InProgress",
            Self::BackingOff { .. } => "BackingOff",
            Self::Absent { .. } => "Absent",
            Self::NotYet { .. } => "NotYet",
            Self::Waiting { .. } => "Waiting",
            Self::Held(_) => "Held",
            Self::Blocked(_) => "Blocked",
            Self::Released(_) => "Released",
            Self::Unmanaged => "Unmanaged",
            Self::Outdated => "Outdated",
            Self::Gone => "Gone",
            Self::Interrupted { .. } => "Interrupted",
        }
    }
}

/// A stop that is meant: the engine launches nothing more by itself, because another launch would not help or is
/// not wanted, and waits until a person decides. The variants say why. A new configuration or a retry request ends each of
/// them, except [`Paused`](Self::Paused).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hold {
    /// The object is paused. Live jobs are watched, nothing is started, canceled or released.
    Paused,
    /// In manual mode every job is started by a retry request.
    Manual,
    /// Somebody else canceled the job.
    CanceledByOthers {
        /// The attempt.
        attempt: u64,
    },
    /// The backend has forgotten the job, and the policy says to wait.
    Purged {
        /// The attempt.
        attempt: u64,
    },
    /// The launch started a job without what it was to be given; another one would too.
    Stray {
        /// The attempt.
        attempt: u64,
    },
    /// As many attempts failed in a row as the policy allows.
    FailuresExhausted {
        /// How many.
        failures: u32,
    },
}

/// A stop that is not meant: the engine cannot go on, because something is broken or cannot be known, and a person
/// has to mend it. The variants say what. Unlike a [`Hold`], it is over by itself as soon as that is mended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Block {
    /// A record cannot be read.
    DefectiveRecord {
        /// Its attempt, zero when that is unreadable too.
        attempt: u64,
        /// What is wrong with it.
        defect: String,
    },
    /// A record belongs to a provider that is not registered.
    MissingProvider {
        /// The provider's name.
        provider: String,
    },
    /// A launch is in doubt and cannot be looked up.
    AmbiguousLaunch {
        /// The attempt.
        attempt: u64,
    },
    /// A job has been in an unknown state past the deadline.
    UnknownTooLong {
        /// The attempt.
        attempt: u64,
    },
    /// A job runs past its deadline and cannot be canceled, or does not obey.
    NotEnding {
        /// The attempt.
        attempt: u64,
    },
    /// A job is to be canceled, and the backend refuses to.
    CancelRefused {
        /// The attempt.
        attempt: u64,
    },
}

impl Block {
    /// The attempt that it is about.
    #[must_use]
    pub const fn attempt(&self) -> Option<u64> {
        match self {
            Self::DefectiveRecord { attempt, .. }
            | Self::AmbiguousLaunch { attempt }
            | Self::UnknownTooLong { attempt }
            | Self::NotEnding { attempt }
            | Self::CancelRefused { attempt } => Some(*attempt),
            Self::MissingProvider { .. } => None,
        }
    }
}

/// Why the object may go.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Release {
    /// The ground for it.
    pub ground: Ground,
    /// Attempts whose results may be left behind; empty when nothing is.
    pub left_behind: Vec<u64>,
}

impl Release {
    /// A release that leaves nothing behind.
    #[must_use]
    pub const fn new(ground: Ground) -> Self {
        Self {
            ground,
            left_behind: Vec::new(),
        }
    }

    /// The same release, by which the jobs of these attempts may leave something behind.
    #[must_use]
    pub fn leaving(mut self, attempts: Vec<u64>) -> Self {
        self.left_behind = attempts;
        self
    }
}

/// The reason why an object may be deleted: what proves that nothing is left of it, or which choice of the user's
/// says that it may go all the same. No finalizer is removed without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ground {
    /// A deprovision attempt newer than every provision attempt succeeded.
    Deprovisioned,
    /// The provider says that there is nothing to remove. Attempts whose end was only assumed, after
    /// the deadline of the unknown, are left behind all the same.
    ProviderSkipped,
    /// No launch of a provision job was ever carried out; or the target was to be absent, and nothing of it is
    /// on record.
    NeverProvisioned,
    /// Deprovisioning failed, and the provider does not block deletion on that.
    FailureDoesNotBlock,
    /// The policy's `abandonAfter` has passed.
    Abandoned,
    /// The object is not managed.
    Unmanaged,
    /// What was provisioned is to stay, as was asked for.
    Retained,
}

impl Ground {
    /// What a deprovision that counts as the end of its target has shown.
    pub(super) fn after(deprovision: &JobRecord) -> Self {
        match (deprovision.state, &deprovision.reason) {
            (JobState::Succeeded, Some(Reason::Skipped)) => Self::ProviderSkipped,
            (JobState::Succeeded, _) => Self::Deprovisioned,
            _ => Self::FailureDoesNotBlock,
        }
    }

    /// The word for conditions, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deprovisioned => "Deprovisioned",
            Self::ProviderSkipped => "ProviderSkipped",
            Self::NeverProvisioned => "NeverProvisioned",
            Self::FailureDoesNotBlock => "FailureDoesNotBlock",
            Self::Abandoned => "Abandoned",
            Self::Retained => "Retained",
            Self::Unmanaged => "Unmanaged",
        }
    }
}
