//! How far an exploration goes, and which rule is broken in it.

use provider_core::lifecycle::Supersede;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// The launch comes first, its intent after it.
    IntentAfterLaunch,
    /// A launch without an answer counts as not launched.
    LostIsNotSent,
    /// Provision jobs are taken for ended as soon as deletion is asked for.
    NoSettleBeforeDeprovision,
    /// "Canceled" is believed at once.
    CanceledIsBelieved,
    /// The success of any deprovision lets the object go.
    ReleaseOnOldSuccess,
    /// An object is let go on records that may be stale.
    ReleaseOnStaleRead,
    /// The newest attempt is the one with the latest time stamp.
    OrderByTimestamp,
    /// A write does not compare versions.
    LastWriterWins,
    /// One look in vain counts as proof, however fresh the launch is.
    AbsentAtOnce,
    /// An answer "it is not there" counts when it is acted on, however old it is by then.
    OldAbsence,
    /// A replica that stalled after its intent launches nevertheless.
    NoLease,
    /// Any success of a provision counts as success of the desired version.
    AnySuccessIsApplied,
    /// A refusal counts, however many sends ago it was given.
    OldRefusalCounts,
    /// A relaunch after a proven absence draws a new attempt and forgets the old one.
    FailureForgetsTheJob,
    /// What was planned counts as a look.
    PlanIsALook,
    /// An error counts as an answer.
    ErrorIsAnAnswer,
    /// What was seen of an end is forgotten when the backend does not know the job any more.
    SilenceWeakens,
    /// A cancel counts as taken that the backend has not heard of.
    CancelCountsUnheard,
    /// A doubt has no end once a search was answered in vain.
    NoEndAfterOneInVain,
    /// Nobody looks for jobs that a person has relaunched.
    NobodyLooks,
    /// Actions are taken for ended as soon as deletion is asked for.
    ActionBesideDeprovision,
    /// Which request an action answers is not on record.
    ActionAnsweredTwice,
    /// The success of an action counts as that of a provision.
    ActionIsApplied,
    /// A launch whose job has no name yet is taken for lost once it was not found.
    UnnamedIsSentAgain,
    /// A target is forgotten without a look whether its deprovision has succeeded.
    ForgottenTooEarly,
    /// An object is let go with what is to stay beside a job that runs.
    KeptBesideAJob,
    /// What is said to be there already is put on record although there is a record.
    ImportOverRecords,
    /// Jobs of types that are not known are taken for ended.
    UnknownTypesAreIgnored,
    /// Jobs are adopted without a look at what they were given.
    AdoptedUnchecked,
}

/// The bounds of one exploration.
#[derive(Debug, Clone)]
pub(crate) struct Bounds {
    pub(crate) replicas: usize,
    pub(crate) ticks: u8,
    /// Lost and late answers, lies, stale reads, refusals: so many in all.
    pub(crate) faults: u8,
    pub(crate) crashes: u8,
    pub(crate) edits: u8,
    pub(crate) failures: u8,
    pub(crate) supersede: Supersede,
    /// The first replica's clock is ahead by so many ticks.
    pub(crate) skew: u8,
    /// After its deletion the object may be wanted again once.
    pub(crate) again: bool,
    /// How many steps are taken, where the ends of all lives are out of reach.
    pub(crate) depth: Option<usize>,
    /// Whether lives also begin in their middle: applied, deleted in mid-provision, launch lost.
    pub(crate) from_the_middle: bool,
    /// Whether lives begin where one replica has stalled on a refusal, and the other has sent again.
    pub(crate) from_a_stall: bool,
    /// The backend may be away, not know a job for a moment, and forget jobs that have ended; people cancel
    /// jobs there. What is unknown is so for one tick at most.
    pub(crate) silence: bool,
    /// So many times a person relaunches a job that has ended, between two passes.
    pub(crate) relaunches: u8,
    /// Whether provision jobs may be started without what they were to be given.
    pub(crate) strays: bool,
    /// So many times the resource is asked to be acted on.
    pub(crate) actions: u8,
    /// Whether launches may be answered without a name.
    pub(crate) unnamed: bool,
    /// Whether the target may be wanted absent.
    pub(crate) absent: bool,
    /// Whether what was provisioned may be wanted to stay.
    pub(crate) keep: bool,
    /// Whether the status may be lost, and is imported then.
    pub(crate) imports: bool,
    /// Whether a newer version was here before, and has left a job of a type that only it knows.
    pub(crate) newer: bool,
    /// Whether the answer to a write may be lost.
    pub(crate) lost_writes: bool,
    /// So many times a person asks for another try, sets a mode, or chooses the other provider.
    pub(crate) people: u8,
    /// Whether providers also reject, ask to wait, know that there is nothing to remove, and deny the right
    /// to ask; and whether moments stay what they are. For walks: no exploration would come to its end.
    pub(crate) everything: bool,
    pub(crate) mutant: Option<Mutant>,
}

impl Bounds {
    pub(crate) fn small() -> Self {
        Self {
            replicas: 2,
            ticks: 5,
            faults: 1,
            crashes: 1,
            edits: 0,
            failures: 0,
            supersede: Supersede::Wait,
            skew: 0,
            again: false,
            depth: None,
            from_the_middle: false,
            from_a_stall: false,
            silence: false,
            relaunches: 0,
            strays: false,
            actions: 0,
            unnamed: false,
            absent: false,
            keep: false,
            imports: false,
            newer: false,
            lost_writes: false,
            people: 0,
            everything: false,
            mutant: None,
        }
    }

    pub(crate) fn broken(mut self, mutant: Mutant) -> Self {
        self.mutant = Some(mutant);
        self
    }
}
