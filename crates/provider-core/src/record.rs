//! The persisted memory of one attempt.

mod stored;

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    Capabilities, ConfigVersion, JobRef, JobState, JobType, OperationToken, TrackedJob, text,
};

/// One attempt to provision, to deprovision, or to act on what is provisioned, as it is stored in the object's status.
///
/// JSON names are camelCase. The shape that existing operators have stored (`jobID`, `type`,
/// `timestamp`, `state`, `message`, `blockDeletionOnFailure`, `configVersion`, `target`) reads
/// back, and members that this version does not know are kept and written again.
///
/// Reading never fails for a JSON object, and never guesses: a record whose `type` cannot be
/// told, or with a member of a wrong kind, is kept as it was and marked
/// [`defect`](Self::defect); the engine starts nothing while such a record is there.
///
/// It grows with what has to be remembered, so it is made by [`new`](Self::new) and
/// [`with`](Self::with):
///
/// ```
/// use provider_core::{JobRecord, JobState, JobType};
/// let record = JobRecord::new(1, JobType::Provision).with(|record| {
///     record.state = JobState::Running;
///     record.job_id = Some("42".to_owned());
/// });
/// assert!(record.may_be_live());
/// ```
///
/// and not by its members, which another crate cannot count:
///
/// ```compile_fail,E0639
/// use provider_core::{JobRecord, JobState, JobType};
/// let known = JobRecord::new(1, JobType::Provision);
/// let record = JobRecord { state: JobState::Running, ..known };
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct JobRecord {
    /// Orders the records of one object. Grows with every attempt, of either type and any
    /// target; never reused. Zero in records of older operators, whose order is their position.
    pub attempt: u64,
    /// The attempt of which a person started this job as a copy. None for jobs of our own.
    pub copy_of: Option<u64>,
    /// What the job is for.
    pub job_type: JobType,
    /// The request that an action answers; none for other jobs.
    pub action_request: Option<String>,
    /// Where it stands, as last seen.
    pub state: JobState,
    /// Which of several backends of one object it belongs to; none where there is one only.
    pub target: Option<String>,
    /// The provider that owns it. None in records of older operators.
    pub provider: Option<String>,
    /// What the backend calls this sort of job.
    pub kind: Option<String>,
    /// The backend's identifier; none while the launch is intended or in doubt.
    pub job_id: Option<String>,
    /// Where a program reads the job.
    pub url: Option<String>,
    /// The token that the launch carries.
    pub token: Option<OperationToken>,
    /// The configuration that it brings about.
    pub config_version: Option<ConfigVersion>,
    /// When the intent was written. Display and deadlines, never order.
    pub timestamp: Option<Timestamp>,
    /// When the launch was last handed to the backend; the visibility window counts from here.
    pub sent_at: Option<Timestamp>,
    /// How many times the launch was handed to the backend (under the same token).
    pub sends: u32,
    /// How many times in a row the launch was turned away without that being a failure: it was not
    /// sent, or the backend could not serve. Their back-off grows by it.
    pub turned_away: u32,
    /// When the present state was first seen.
    pub state_since: Option<Timestamp>,
    /// When the job was first seen at work: the deadline of that phase counts from here, whatever word
    /// it was told in between.
    pub running_since: Option<Timestamp>,
    /// Since when the backend has said that it does not know the job. What was seen of its end before
    /// stays in [`state`](Self::state).
    pub missing_since: Option<Timestamp>,
    /// When the backend started it.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// When we first decided to ask the backend to cancel it; written before asking.
    pub cancel_requested_at: Option<Timestamp>,
    /// When the backend first took a request to cancel it: whether the job obeys counts from here.
    pub cancel_accepted_at: Option<Timestamp>,
    /// How many requests to cancel it the backend took.
    pub cancel_requests: u32,
    /// Why it is in this state, in one word for programs.
    pub reason: Option<Reason>,
    /// What the backend said, for people. Bounded.
    pub message: String,
    /// Whether a failed deprovision keeps the object.
    pub block_deletion_on_failure: Option<bool>,
    /// The state is terminal and the backend can still take it back: it is asked about again
    /// before anything relies on it. Absent in records of older operators, whose ends count.
    pub doubtful: bool,
    /// How many attempts in a row have failed for this configuration, with this one.
    pub failures: u32,
    /// Nothing new is launched before this moment: the back-off, with its jitter.
    pub retry_at: Option<Timestamp>,
    /// The last retry request (an annotation's value, say) that was answered, by this attempt or by
    /// one before it.
    pub retry_request: Option<String>,
    /// Members that this version does not know; written back unchanged.
    pub unknown: BTreeMap<String, Value>,
    /// Why the stored record could not be read; the original is in
    /// [`unknown`](Self::unknown) then, and is what is written back.
    pub defect: Option<String>,
}

/// Why a record is in its state, for programs and for the engine itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The launch was written down and may be on its way.
    Intended,
    /// The launch may have been carried out; it is being looked for.
    Ambiguous,
    /// The launch was carried out, and the backend has not named its job yet.
    Unnamed,
    /// Nothing was launched here: what is there was taken over with this version.
    Imported,
    /// The provider asked to wait before launching; nothing was launched.
    HeldBack,
    /// The launch did not reach the backend.
    NotSent,
    /// The backend refused the launch.
    Rejected,
    /// The launch was never sent, because it was no longer wanted.
    Withdrawn,
    /// The job was found by its token after its answer was lost.
    Adopted,
    /// The launch is taken as carried out, because the provider cannot tell.
    Assumed,
    /// The backend no longer knows the job; its result will never be known.
    Purged,
    /// Canceled because the object is being deleted, or to make room.
    CanceledByUs,
    /// Canceled by someone else.
    CanceledByOthers,
    /// Canceled because a newer configuration is wanted.
    Superseded,
    /// Canceled because a deadline passed.
    DeadlineExceeded,
    /// A second job of the same launch was found.
    Duplicate,
    /// The backend does not know the job; it is being verified that it is gone.
    PurgeSuspected,
    /// The provider proved that there was nothing to remove.
    Skipped,
    /// The job was started without what it was to be given. It is ended, and has failed however it ends.
    Stray,
    /// The name of the job belongs to another job now, as after a restore of the backend from a backup.
    /// The result of ours will never be known.
    Replaced,
    /// A person started this job at the backend as a copy of one of ours.
    RelaunchedByPerson,
    /// What the job was to remove is known to be there still. It is given time; past that, it has failed.
    Unfinished,
    /// A word of a newer version.
    Other(String),
}

impl Reason {
    const WORDS: [(Self, &'static str); 22] = [
        (Self::Intended, "Intended"),
        (Self::Ambiguous, "Ambiguous"),
        (Self::Unnamed, "Unnamed"),
        (Self::Imported, "Imported"),
        (Self::HeldBack, "HeldBack"),
        (Self::NotSent, "NotSent"),
        (Self::Rejected, "Rejected"),
        (Self::Withdrawn, "Withdrawn"),
        (Self::Adopted, "Adopted"),
        (Self::Assumed, "Assumed"),
        (Self::Purged, "Purged"),
        (Self::CanceledByUs, "CanceledByUs"),
        (Self::CanceledByOthers, "CanceledByOthers"),
        (Self::Superseded, "Superseded"),
        (Self::DeadlineExceeded, "DeadlineExceeded"),
        (Self::Duplicate, "Duplicate"),
        (Self::PurgeSuspected, "PurgeSuspected"),
        (Self::Skipped, "Skipped"),
        (Self::Stray, "Stray"),
        (Self::Replaced, "Replaced"),
        (Self::RelaunchedByPerson, "RelaunchedByPerson"),
        (Self::Unfinished, "Unfinished"),
    ];

    /// The word as it is serialised: CamelCase, as Kubernetes writes reasons.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Other(word) => word,
            known => Self::WORDS
                .iter()
                .find(|(reason, _)| reason == known)
                .map_or("Unknown", |(_, word)| word),
        }
    }

    /// None where the word says nothing. Bounded first: as it will be written, so it is read.
    fn from_word(word: &str) -> Option<Self> {
        let word = text::bounded(word, 128);
        if word.is_empty() {
            return None;
        }
        let known = Self::WORDS.iter().find(|(_, known)| *known == word);
        Some(known.map_or(Self::Other(word), |(reason, _)| reason.clone()))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl JobRecord {
    /// An empty record of an attempt. The engine fills the rest.
    #[must_use]
    pub fn new(attempt: u64, job_type: JobType) -> Self {
        Self {
            attempt,
            copy_of: None,
            job_type,
            action_request: None,
            state: JobState::Pending,
            target: None,
            provider: None,
            kind: None,
            job_id: None,
            url: None,
            token: None,
            config_version: None,
            timestamp: None,
            sent_at: None,
            sends: 0,
            turned_away: 0,
            state_since: None,
            running_since: None,
            missing_since: None,
            started_at: None,
            finished_at: None,
            cancel_requested_at: None,
            cancel_accepted_at: None,
            cancel_requests: 0,
            reason: None,
            message: String::new(),
            block_deletion_on_failure: None,
            doubtful: false,
            failures: 0,
            retry_at: None,
            retry_request: None,
            unknown: BTreeMap::new(),
            defect: None,
        }
    }

    /// The same record with members of the caller's.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// The job's name at its backend, once it has one.
    ///
    /// A record of an older operator names no provider and no kind; both are empty then, and
    /// the registry decides who owns it.
    #[must_use]
    pub fn job_ref(&self) -> Option<JobRef> {
        Some(JobRef {
            provider: self.provider.clone().unwrap_or_default(),
            kind: self.kind.clone().unwrap_or_default(),
            id: self.job_id.clone()?,
            url: self.url.clone(),
        })
    }

    /// What a provider is asked about, once the job has a name.
    #[must_use]
    pub fn tracked(&self) -> Option<TrackedJob> {
        Some(TrackedJob {
            job_type: self.job_type,
            job: self.job_ref()?,
            target: self.target.clone(),
            token: self.token.clone(),
            config_version: self.config_version.clone(),
            launched_at: self.sent_at.or(self.timestamp),
        })
    }

    /// Writes the job's name into the record.
    pub fn set_job_ref(&mut self, job: JobRef) {
        self.provider = Some(job.provider);
        self.kind = Some(job.kind);
        self.job_id = Some(job.id);
        self.url = job.url;
    }

    /// Whether a job of this attempt may have existed at the backend, now or in the past. Only
    /// proof to the contrary makes it false.
    #[must_use]
    pub fn may_have_run(&self) -> bool {
        let proof = matches!(
            self.reason,
            Some(Reason::NotSent | Reason::Rejected | Reason::Withdrawn | Reason::HeldBack)
        );
        self.job_id.is_some() || !proof
    }

    /// Whether nobody knows yet if the launch was carried out: the intent is on record, the
    /// job's name is not.
    #[must_use]
    pub fn is_unresolved(&self) -> bool {
        self.job_id.is_none() && !self.state.is_terminal() && !self.is_held_back()
    }

    /// Whether the provider asked to wait: known not to be launched, still wanted.
    #[must_use]
    pub fn is_held_back(&self) -> bool {
        self.job_id.is_none()
            && self.state == JobState::Waiting
            && self.reason == Some(Reason::HeldBack)
    }

    /// Whether a job of this attempt may be running at this moment, as far as the record knows.
    #[must_use]
    pub fn may_be_live(&self) -> bool {
        self.defect.is_some()
            || self.is_unresolved()
            || (self.job_id.is_some() && (self.doubtful || !self.state.is_terminal()))
    }

    /// Whether its job was taken as started, and is named by its token for want of a better name.
    #[must_use]
    pub fn is_assumed(&self) -> bool {
        let token = self.token.as_ref().map(OperationToken::as_str);
        self.job_id.is_some() && self.job_id.as_deref() == token
    }

    /// Whether its job can be looked for by its token. A search for a copy would find the job that was copied.
    #[must_use]
    pub fn is_searchable(&self, capabilities: &Capabilities) -> bool {
        capabilities.find_launched && self.token.is_some() && self.copy_of.is_none()
    }

    /// Whether the backend has said that it does not know the job, and has not taken that back.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.missing_since.is_some() || self.reason == Some(Reason::PurgeSuspected)
    }

    /// Whether the launch was turned away, so that it may be made again under its token: nothing of it
    /// was carried out.
    #[must_use]
    pub fn was_turned_away(&self) -> bool {
        let proof = matches!(self.reason, Some(Reason::NotSent | Reason::Rejected));
        self.turned_away > 0 && proof && self.job_id.is_none() && self.state == JobState::Failed
    }

    /// Sets the message, bounded.
    pub fn set_message(&mut self, message: &str) {
        self.message = text::bounded(message, text::MAX_TEXT);
    }
}
