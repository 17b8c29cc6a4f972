//! What the engine can decide, as data.

use std::fmt;

use jiff::Timestamp;

use crate::{ConfigVersion, JobRecord, JobState, JobType};

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

/// Where an object stands with one target.
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
    /// Whether nothing but a change of the object can change anything.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Applied { .. } | Self::Released(_) | Self::Unmanaged | Self::Gone | Self::Held(_)
        )
    }

    /// A stable word in the Kubernetes manner, for conditions, logs and metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Applied { .. } => "Applied",
            Self::InProgress { .. } => "InProgress",
            Self::BackingOff { .. } => "BackingOff",
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

/// Why a person's decision is waited for. A new configuration or a retry request ends each of
/// them, except [`Paused`](Self::Paused).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hold {
    /// The object is paused. Live jobs are watched, nothing is started, cancelled or released.
    Paused,
    /// In manual mode every job is started by a retry request.
    Manual,
    /// Somebody else cancelled the job.
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

/// What must be mended.
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
    /// A job runs past its deadline and cannot be cancelled, or does not obey.
    NotEnding {
        /// The attempt.
        attempt: u64,
    },
    /// A job is to be cancelled, and the backend refuses to.
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

/// The ground on which an object is let go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ground {
    /// A deprovision attempt newer than every provision attempt succeeded.
    Deprovisioned,
    /// The provider says that there is nothing to remove. Attempts whose end was only assumed, after
    /// the deadline of the unknown, are left behind all the same.
    ProviderSkipped,
    /// No launch of a provision job was ever carried out.
    NeverProvisioned,
    /// Deprovisioning failed, and the provider does not block deletion on that.
    FailureDoesNotBlock,
    /// The policy's `abandonAfter` has passed.
    Abandoned,
    /// The object is not managed.
    Unmanaged,
}

impl Ground {
    /// The word for conditions, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deprovisioned => "Deprovisioned",
            Self::ProviderSkipped => "ProviderSkipped",
            Self::NeverProvisioned => "NeverProvisioned",
            Self::FailureDoesNotBlock => "FailureDoesNotBlock",
            Self::Abandoned => "Abandoned",
            Self::Unmanaged => "Unmanaged",
        }
    }
}

/// The rule that a decision follows from. `Display` gives the sentence for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// No attempt has been made yet.
    NothingYet,
    /// The newest attempt succeeded with the desired version.
    AppliedBy(u64),
    /// The newest attempt has another version than the desired one.
    OtherVersion(u64),
    /// The newest attempt has a version that cannot be compared.
    IncomparableVersion(u64),
    /// The newest attempt failed, and its back-off is over.
    BackoffOver(u64),
    /// The newest attempt failed, and its back-off lasts.
    BackoffLasts(u64),
    /// A retry was asked for.
    RetryRequested,
    /// The attempt was ended by us and is wanted again.
    WantedAgain(u64),
    /// The object was deprovisioned before and is wanted again.
    DeprovisionedBefore(u64),
    /// The write that fences this call has just succeeded.
    Fenced(u64),
    /// An intent without a job: a crash or a lost answer.
    IntentWithoutJob(u64),
    /// The launch is not at the backend, and can no longer turn up there.
    ProvenAbsent(u64),
    /// The launch may still turn up at the backend.
    MayStillAppear(u64),
    /// The provider cannot look launches up, and takes them as sent.
    AssumedSent(u64),
    /// The launch cannot be looked up: the provider has no such function, or fails at it. Doubts are held.
    DoubtIsHeld(u64),
    /// It is time to ask about the job.
    PollDue(u64),
    /// The job was asked about recently.
    PolledRecently(u64),
    /// The job is in the way of deletion.
    InTheWayOfDeletion(u64),
    /// A newer attempt exists, so this one must end.
    NotTheNewest(u64),
    /// The running job has another version, and the policy says not to wait for it.
    SupersededBy(u64),
    /// The job has passed a deadline.
    PastDeadline(u64),
    /// The job has been in an unknown state for as long as the policy allows.
    UnknownPastDeadline(u64),
    /// The backend does not know the job; its token is looked for.
    VerifyPurge(u64),
    /// The backend has forgotten the job.
    Purged(u64),
    /// Somebody else cancelled the job.
    CanceledByOthers(u64),
    /// The job was started without what it was to be given.
    Stray(u64),
    /// The mode of the object says so.
    Mode,
    /// A record cannot be read, so nothing is known for sure.
    DefectiveRecord(u64),
    /// The provider of the attempt, or the desired one, is not registered.
    MissingProvider,
    /// As many failures in a row as the policy allows.
    FailuresExhausted(u64),
    /// The deprovision attempt succeeded and is newer than every provision attempt.
    DeprovisionSucceeded(u64),
    /// Deprovisioning failed, and that does not block deletion.
    DeprovisionFailureIgnored(u64),
    /// Deprovisioning failed or was never tried, and all provision jobs have ended.
    ReadyToDeprovision,
    /// The provider asked to wait.
    HeldBackByProvider(u64),
    /// No provision launch was ever carried out.
    NeverProvisioned,
    /// Deletion has taken as long as the policy allows.
    AbandonDeadline,
    /// Before letting go, it is proven that the records are current.
    ConfirmBeforeRelease,
    /// The provider of the attempt could not say whether a person has started a copy of a job.
    RelaunchesUnknown(u64),
    /// The launch is no longer wanted.
    NoLongerWanted(u64),
}

impl Why {
    /// The attempt that the rule rests on.
    #[must_use]
    pub const fn attempt(self) -> Option<u64> {
        match self {
            Self::AppliedBy(n)
            | Self::OtherVersion(n)
            | Self::IncomparableVersion(n)
            | Self::BackoffOver(n)
            | Self::BackoffLasts(n)
            | Self::WantedAgain(n)
            | Self::DeprovisionedBefore(n)
            | Self::Fenced(n)
            | Self::IntentWithoutJob(n)
            | Self::ProvenAbsent(n)
            | Self::MayStillAppear(n)
            | Self::AssumedSent(n)
            | Self::DoubtIsHeld(n)
            | Self::PollDue(n)
            | Self::PolledRecently(n)
            | Self::InTheWayOfDeletion(n)
            | Self::NotTheNewest(n)
            | Self::SupersededBy(n)
            | Self::PastDeadline(n)
            | Self::UnknownPastDeadline(n)
            | Self::VerifyPurge(n)
            | Self::Purged(n)
            | Self::CanceledByOthers(n)
            | Self::Stray(n)
            | Self::DefectiveRecord(n)
            | Self::FailuresExhausted(n)
            | Self::DeprovisionSucceeded(n)
            | Self::DeprovisionFailureIgnored(n)
            | Self::HeldBackByProvider(n)
            | Self::RelaunchesUnknown(n)
            | Self::NoLongerWanted(n) => Some(n),
            Self::NothingYet
            | Self::RetryRequested
            | Self::Mode
            | Self::MissingProvider
            | Self::ReadyToDeprovision
            | Self::NeverProvisioned
            | Self::AbandonDeadline
            | Self::ConfirmBeforeRelease => None,
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::NothingYet => "no attempt has been made yet",
            Self::AppliedBy(_) => "it succeeded with the desired version",
            Self::OtherVersion(_) => "it has another version than the desired one",
            Self::IncomparableVersion(_) => "its version cannot be compared with the desired one",
            Self::BackoffOver(_) => "it failed, and its back-off is over",
            Self::BackoffLasts(_) => "it failed, and its back-off lasts",
            Self::RetryRequested => "a retry was asked for",
            Self::WantedAgain(_) => "we ended it, and its version is wanted again",
            Self::DeprovisionedBefore(_) => "it deprovisioned the object, which is wanted again",
            Self::Fenced(_) => "its intent has just been written",
            Self::IntentWithoutJob(_) => "its launch was intended, and its job is not known",
            Self::ProvenAbsent(_) => "its launch is not at the backend and cannot turn up any more",
            Self::MayStillAppear(_) => "its launch may still turn up at the backend",
            Self::AssumedSent(_) => "its launch cannot be looked up and is taken as sent",
            Self::DoubtIsHeld(_) => "its launch cannot be looked up, so nothing else is started",
            Self::PollDue(_) => "it is time to ask about it",
            Self::PolledRecently(_) => "it was asked about recently",
            Self::InTheWayOfDeletion(_) => "it must end before the object can be deprovisioned",
            Self::NotTheNewest(_) => "a newer attempt exists, so it must end",
            Self::SupersededBy(_) => "another version is wanted now, so it must end",
            Self::PastDeadline(_) => "it has passed its deadline",
            Self::UnknownPastDeadline(_) => "its state has been unknown past the deadline",
            Self::VerifyPurge(_) => "the backend does not know its job; it is searched by token",
            Self::Purged(_) => "the backend has forgotten its job",
            Self::CanceledByOthers(_) => "somebody else cancelled it",
            Self::Stray(_) => "its job was started without what it was to be given",
            Self::Mode => "the mode of the object says so",
            Self::DefectiveRecord(_) => "its record cannot be read",
            Self::MissingProvider => "a provider that is needed is not registered",
            Self::FailuresExhausted(_) => "it was the last failure that the policy allows",
            Self::DeprovisionSucceeded(_) => {
                "it succeeded, and it is newer than every provision attempt"
            }
            Self::DeprovisionFailureIgnored(_) => "it failed, which does not block deletion",
            Self::ReadyToDeprovision => "deletion is wanted, and no provision job is left",
            Self::HeldBackByProvider(_) => "the provider asked to wait before launching it",
            Self::NeverProvisioned => "no provision launch was ever carried out",
            Self::AbandonDeadline => "deletion has taken as long as the policy allows",
            Self::ConfirmBeforeRelease => "before letting go, the records are proven current",
            Self::RelaunchesUnknown(_) => {
                "its provider could not say whether a person has relaunched a job of the object"
            }
            Self::NoLongerWanted(_) => "its launch is no longer wanted",
        };
        match self.attempt() {
            Some(n) => write!(f, "attempt {n}: {text}"),
            None => f.write_str(text),
        }
    }
}
