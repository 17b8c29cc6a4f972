//! What a standing is called, and what is said of it.

use provider_core::lifecycle::{Block, Desired, Hold, Release, Standing, Why};
use provider_core::{JobRecord, JobState, JobType};

use super::Findings;

/// The reason of [`PROGRESSING`](super::PROGRESSING) when something has to be there first.
pub(crate) const PREREQUISITE: &str = "PrerequisiteMissing";
/// When an action has failed.
pub(crate) const ACTION_FAILED: &str = "ActionFailed";
/// When an action was asked for that the provider does not have.
pub(crate) const ACTION_UNSUPPORTED: &str = "ActionUnsupported";
/// When a target is absent, as is wanted.
pub(crate) const ABSENT: &str = "Absent";

/// What is said of an attempt.
fn told(record: Option<&JobRecord>) -> String {
    let Some(record) = record else {
        return String::new();
    };
    let job = record
        .job_ref()
        .map_or_else(String::new, |job| format!(", {job}"));
    let colon = if record.message.is_empty() { "" } else { ": " };
    let what = of_action(&record.job_type);
    format!(
        "{what}attempt {}{job}{colon}{}",
        record.attempt, record.message
    )
}

/// Which action an attempt is for, before its number; nothing for other jobs.
pub(crate) fn of_action(job_type: &JobType) -> String {
    match job_type {
        JobType::Action(name) => format!("action {name}, "),
        _ => String::new(),
    }
}

/// The reason, whether things move by themselves, and a message.
pub(super) fn progress(
    findings: &Findings<'_>,
    records: &[JobRecord],
    desired: &Desired,
) -> Option<(String, bool, String)> {
    let mine = records.iter().filter(|record| desired.owns(record));
    let newest = mine.max_by_key(|record| record.attempt);
    Some(match findings.standing {
        Standing::Applied { version } => {
            return Some(action(findings.why, records, desired).unwrap_or_else(|| {
                (
                    "Applied".to_owned(),
                    false,
                    format!("configuration {} is applied", version.as_str()),
                )
            }));
        }
        Standing::InProgress {
            attempt,
            job_type,
            state,
        } => {
            let record = records.iter().find(|record| record.attempt == *attempt);
            let canceling = record.is_some_and(|r| r.cancel_requested_at.is_some());
            let reason = if canceling {
                "Canceling"
            } else {
                in_progress(*job_type, *state)
            };
            (reason.to_owned(), true, told(record))
        }
        // Nothing has failed: the backend was away, or did not let us in.
        Standing::BackingOff { until, failures: 0 } => (
            "BackingOff".to_owned(),
            true,
            format!(
                "the launch could not be made; next try at {until}; {}",
                told(newest)
            ),
        ),
        Standing::BackingOff { until, failures } => (
            "BackingOff".to_owned(),
            true,
            format!(
                "{failures} failed in a row; next try at {until}; {}",
                told(newest)
            ),
        ),
        Standing::Absent { left_behind } => {
            let left = records.iter().filter(|r| left_behind.contains(&r.attempt));
            let left: Vec<String> = left.map(|record| told(Some(record))).collect();
            let message = match left.is_empty() {
                true => "the target is absent, as is wanted".to_owned(),
                false => format!(
                    "nothing more is done to remove the target, and something may be left behind by {}; \
                     look at the backend",
                    left.join("; ")
                ),
            };
            (ABSENT.to_owned(), false, message)
        }
        Standing::NotYet { reason } => {
            let missing = match reason.is_empty() {
                true => "something has to be there first".to_owned(),
                false => format!("something has to be there first: {reason}"),
            };
            (PREREQUISITE.to_owned(), true, missing)
        }
        Standing::Waiting { reason } => ("Waiting".to_owned(), true, reason.clone()),
        Standing::Held(hold) => {
            let (word, what) = held(*hold);
            (word.to_owned(), false, format!("{what}; {}", told(newest)))
        }
        Standing::Blocked(block) => {
            let (word, what) = blocked(block);
            let about = block.attempt();
            let record = records.iter().find(|r| Some(r.attempt) == about);
            let said =
                record.filter(|record| record.defect.is_none() && !record.message.is_empty());
            let what = match said {
                Some(_) => format!("{what}; {}", told(said)),
                None => what,
            };
            (word.to_owned(), false, what)
        }
        Standing::Released(Release { ground, .. }) => {
            (ground.as_str().to_owned(), false, told(newest))
        }
        _ => return None,
    })
}

const fn in_progress(job_type: JobType, state: JobState) -> &'static str {
    match (job_type, state) {
        (_, JobState::Unknown) => "JobUnknown",
        (_, JobState::Succeeded | JobState::Failed | JobState::Canceled) => "JobEnding",
        (JobType::Provision, JobState::Running) => "Provisioning",
        (JobType::Deprovision, JobState::Running) => "Deprovisioning",
        (JobType::Provision | JobType::Deprovision, JobState::Pending | JobState::Waiting) => {
            "JobPending"
        }
        _ => "Acting",
    }
}

/// What is to be said of the actions of an object that stands otherwise well.
fn action(
    why: Option<Why>,
    records: &[JobRecord],
    desired: &Desired,
) -> Option<(String, bool, String)> {
    let by_number = |n: u64| records.iter().find(|record| record.attempt == n);
    match why {
        Some(Why::ActionHeld(n)) => {
            let message = format!(
                "{}; the action is not tried again until another request for it comes",
                told(by_number(n))
            );
            return Some((ACTION_FAILED.to_owned(), false, message));
        }
        Some(Why::NoActions) => {
            let names = desired.actions.iter().map(|action| action.name.as_str());
            let message = format!(
                "action {} was asked for, and provider \"{}\" has no actions; take the request back, or let \
                 the provider have them",
                names.collect::<Vec<_>>().join(", "),
                desired.provider
            );
            return Some((ACTION_UNSUPPORTED.to_owned(), false, message));
        }
        _ => {}
    }
    // One that has failed and is tried again.
    desired.actions.iter().find_map(|action| {
        let of_it = records.iter().filter(|record| {
            desired.owns(record) && record.job_type == JobType::Action(action.name)
        });
        let newest = of_it.max_by_key(|record| record.attempt)?;
        let asked = newest.action_request.as_ref() == Some(&action.request);
        let ended = newest.state != JobState::Succeeded && !newest.may_be_live();
        let until = newest.retry_at.filter(|_| asked && ended)?;
        let message = format!("{}; next try at {until}", told(Some(newest)));
        Some((ACTION_FAILED.to_owned(), true, message))
    })
}

/// A hold in one word, and what a person can do about it.
pub(crate) const fn held(hold: Hold) -> (&'static str, &'static str) {
    match hold {
        Hold::Paused => (
            "Paused",
            "paused; nothing is started until the annotation goes",
        ),
        Hold::Manual => ("Manual", "jobs start on a retry request only"),
        Hold::CanceledByOthers { .. } => (
            "CanceledByOthers",
            "somebody canceled the job; change the spec or ask for a retry",
        ),
        Hold::Purged { .. } => (
            "Purged",
            "the backend has forgotten the job; look at the resource, then ask for a retry",
        ),
        Hold::Stray { .. } => (
            "Stray",
            "the job ran without what it was to be given; mend the automation, then ask for a retry",
        ),
        Hold::FailuresExhausted { .. } => (
            "FailuresExhausted",
            "as many attempts failed as the policy allows; mend the cause, then ask for a retry",
        ),
        _ => ("Held", "a person's decision is waited for"),
    }
}

/// A block in one word, and what must be mended.
pub(crate) fn blocked(block: &Block) -> (&'static str, String) {
    match block {
        Block::DefectiveRecord { attempt, defect } => (
            "DefectiveRecord",
            format!("the record of attempt {attempt} cannot be read: {defect}"),
        ),
        Block::MissingProvider { provider } => (
            "MissingProvider",
            format!("provider \"{provider}\" is not registered here; its jobs cannot be looked at"),
        ),
        Block::AmbiguousLaunch { attempt } => (
            "AmbiguousLaunch",
            format!(
                "attempt {attempt} may have been launched and cannot be looked up; look at the \
                 backend, then ask for a retry"
            ),
        ),
        Block::UnknownTooLong { attempt } => (
            "UnknownTooLong",
            format!("the outcome of attempt {attempt} is still unknown; look at the backend"),
        ),
        Block::NotEnding { attempt } => (
            "NotEnding",
            format!("the job of attempt {attempt} does not end; end it at the backend"),
        ),
        Block::CancelRefused { attempt } => (
            "CancelRefused",
            format!(
                "the backend refuses to cancel the job of attempt {attempt}; give the right to, or end \
                 the job there"
            ),
        ),
        _ => ("Blocked", "something must be mended first".to_owned()),
    }
}
