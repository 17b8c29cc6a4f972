//! What happened, as data: told from how a record changed.

use serde::Serialize;

use crate::{JobRecord, JobRef, JobState, JobType, Reason};

/// Something that happened to an attempt in a pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The attempt.
    pub attempt: u64,
    /// What the attempt is for.
    #[serde(rename = "type")]
    pub job_type: JobType,
    /// The state that it is in now.
    pub state: JobState,
    /// Its provider.
    pub provider: Option<String>,
    /// Its job, where it has one.
    pub job: Option<JobRef>,
    /// For people; bounded.
    pub message: String,
}

impl Event {
    /// This, of the attempt of a record.
    #[must_use]
    pub fn new(kind: EventKind, record: &JobRecord) -> Self {
        Self {
            kind,
            attempt: record.attempt,
            job_type: record.job_type,
            state: record.state,
            provider: record.provider.clone(),
            job: record.job_ref(),
            message: record.message.clone(),
        }
    }
}

/// What can happen to an attempt. The words suit reasons of Kubernetes events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub enum EventKind {
    /// Its intent was written; the launch follows.
    Intended,
    /// The backend accepted the launch.
    Started,
    /// The launch may have been carried out, and its job is not known.
    Ambiguous,
    /// The launch did not reach the backend, or was refused.
    NotLaunched,
    /// The provider asked to wait before launching.
    HeldBack,
    /// Its job was found by its token.
    Adopted,
    /// Its launch was proven absent and is made again, under the same token.
    SentAgain,
    /// Its job moved on.
    Progressed,
    /// A request to cancel it follows.
    Canceling,
    /// Its job ended well.
    Succeeded,
    /// Its job ended badly.
    Failed,
    /// Its job was canceled.
    Canceled,
    /// The backend has forgotten its job.
    Purged,
    /// It was closed without being launched.
    Withdrawn,
    /// Its outcome was assumed, as the policy says.
    Assumed,
    /// A second job of the same launch was found.
    Duplicate,
    /// What is there was taken over, and no job ran.
    Imported,
    /// A job was found that a person started as a copy of one of ours.
    Relaunched,
}

impl EventKind {
    /// The word as it is serialised.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Intended => "Intended",
            Self::Started => "Started",
            Self::Ambiguous => "Ambiguous",
            Self::NotLaunched => "NotLaunched",
            Self::HeldBack => "HeldBack",
            Self::Adopted => "Adopted",
            Self::SentAgain => "SentAgain",
            Self::Progressed => "Progressed",
            Self::Canceling => "Canceling",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Canceled => "Canceled",
            Self::Purged => "Purged",
            Self::Withdrawn => "Withdrawn",
            Self::Assumed => "Assumed",
            Self::Duplicate => "Duplicate",
            Self::Relaunched => "Relaunched",
            Self::Imported => "Imported",
        }
    }
}

/// What a change of a record means, in order; nothing when it means nothing to anybody.
pub(super) fn between(old: Option<&JobRecord>, new: &JobRecord) -> Vec<Event> {
    let kinds = match old {
        None => of_new(new),
        Some(old) => of_change(old, new),
    };
    let told = kinds.into_iter().flatten();
    told.map(|kind| Event::new(kind, new)).collect()
}

/// How it came on record, and its end where that came before.
fn of_new(new: &JobRecord) -> [Option<EventKind>; 2] {
    let how = match new.reason {
        _ if new.copy_of.is_some() => EventKind::Relaunched,
        Some(Reason::Duplicate) => EventKind::Duplicate,
        Some(Reason::Imported) => return [Some(EventKind::Imported), None],
        _ if new.is_unresolved() => EventKind::Intended,
        // It was on record before, and somebody else has taken it off.
        _ => EventKind::Progressed,
    };
    [Some(how), (!new.may_be_live()).then(|| closed(new))]
}

fn of_change(old: &JobRecord, new: &JobRecord) -> [Option<EventKind>; 2] {
    // The wish, and from the second one on the requests that were taken.
    let wished = new.cancel_requested_at.is_some() && old.cancel_requested_at.is_none();
    if (wished && new.may_be_live()) || new.cancel_requests > old.cancel_requests.max(1) {
        return [Some(EventKind::Canceling), None];
    }
    if !new.may_be_live() {
        // Nobody but a search names the job of an attempt and its end at once.
        let unnamed = old.reason == Some(Reason::Unnamed);
        let named = old.job_id.is_none() && new.job_id.is_some() && !unnamed;
        let adopted = new.reason == Some(Reason::Adopted) && new.reason != old.reason;
        let found = (named || adopted).then_some(EventKind::Adopted);
        if found.is_some() || old.may_be_live() {
            return [found, Some(closed(new))];
        }
    }
    [alive(old, new), None]
}

/// What happened to an attempt that goes on, or to the record of one that has ended before.
fn alive(old: &JobRecord, new: &JobRecord) -> Option<EventKind> {
    if new.sends > old.sends {
        return Some(EventKind::SentAgain);
    }
    if old.job_id != new.job_id {
        return Some(match new.reason {
            Some(Reason::Adopted) => EventKind::Adopted,
            Some(Reason::Assumed) => EventKind::Assumed,
            _ if old.reason == Some(Reason::Unnamed) => EventKind::Progressed, // it was told before
            _ => EventKind::Started,
        });
    }
    if new.reason != old.reason {
        match new.reason {
            Some(Reason::Ambiguous) => return Some(EventKind::Ambiguous),
            Some(Reason::Unnamed) => return Some(EventKind::Started),
            Some(Reason::Adopted) => return Some(EventKind::Adopted),
            _ => {}
        }
    }
    (old.state != new.state || old.doubtful != new.doubtful || old.message != new.message)
        .then_some(EventKind::Progressed)
}

fn closed(new: &JobRecord) -> EventKind {
    match (&new.reason, new.state) {
        (Some(Reason::HeldBack), _) => EventKind::HeldBack,
        (Some(Reason::NotSent | Reason::Rejected), _) => EventKind::NotLaunched,
        (Some(Reason::Withdrawn), _) => EventKind::Withdrawn,
        (Some(Reason::Purged | Reason::Replaced), _) => EventKind::Purged,
        (Some(Reason::Assumed), _) => EventKind::Assumed,
        (_, JobState::Succeeded) => EventKind::Succeeded,
        (_, JobState::Canceled) => EventKind::Canceled,
        _ => EventKind::Failed,
    }
}
