//! The rules that decisions follow from, by name.

use std::fmt;

/// The reason for a step of the engine: the rule that it follows from, and the number of the attempt that the rule
/// was applied to, where there is one. `Display` gives the sentence for people.
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
    /// Somebody else canceled the job.
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
    /// An action was asked for.
    ActionRequested,
    /// An action was asked for, and the provider has none.
    NoActions,
    /// An action has failed as often as the policy allows, was canceled by somebody else, or did something else.
    ActionHeld(u64),
    /// What is there was taken over, and no job ran.
    Imported,
    /// What was provisioned is to stay.
    Kept,
    /// The target is to be absent, and nothing of it is on record.
    Absent,
    /// The target is to be absent and was deprovisioned: its records are forgotten.
    Forgotten,
    /// Something has to be there first.
    PrerequisiteMissing,
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
            | Self::ActionHeld(n)
            | Self::NoLongerWanted(n) => Some(n),
            Self::NothingYet
            | Self::RetryRequested
            | Self::ActionRequested
            | Self::NoActions
            | Self::Imported
            | Self::Kept
            | Self::Absent
            | Self::Forgotten
            | Self::PrerequisiteMissing
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
            Self::CanceledByOthers(_) => "somebody else canceled it",
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
            Self::ActionRequested => "an action was asked for",
            Self::NoActions => "an action was asked for, and the provider has none",
            Self::ActionHeld(_) => "the action that it was for is not tried again",
            Self::Imported => "what is there already is taken over as it is",
            Self::Kept => "what was provisioned is to stay",
            Self::Absent => "the target is to be absent, and nothing of it is on record",
            Self::Forgotten => "the target is to be absent, and is deprovisioned",
            Self::PrerequisiteMissing => "something has to be there first",
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
