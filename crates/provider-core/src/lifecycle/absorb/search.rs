//! What a search for the jobs of a launch does to the records.

use super::observation::{Context, Observation};
use super::status::{apply, move_to, name};
use crate::lifecycle::stray;
use crate::{JobRecord, JobState, JobStatus, Reason, history};

/// Takes over the jobs that were found under the token of an attempt. One token should have
/// one job; where there are several, the first is the attempt's and the others are put on record under
/// numbers of their own, so that they are watched like any other. The last of them is the newest
/// attempt then, and the one that is left to run.
pub(super) fn adopt(
    records: &[JobRecord],
    record: &mut JobRecord,
    others: &mut Vec<JobRecord>,
    found: &[JobStatus],
    context: &Context<'_>,
) {
    let ended = !record.may_be_live();
    if ended && record.job_id.is_some() {
        return late(records, record, others, found, context);
    }
    let before = record.clone();
    // A job that was missing is looked for first, whatever else turns up.
    let (own, others_found): (Vec<_>, Vec<_>) = found
        .iter()
        .partition(|status| is_job_of(&before, &status.job));
    let new = others_found
        .into_iter()
        .filter(|status| !is_known(records, &before, &status.job));
    let mut found = own.into_iter().chain(new);
    let Some(first) = found.next() else { return };
    if ended {
        // It was taken for never launched; where that was counted, its own end counts in its place.
        let refused = matches!(record.reason, Some(Reason::NotSent | Reason::Rejected));
        if refused && record.turned_away == 0 {
            record.failures = record.failures.saturating_sub(1);
        }
        move_to(record, JobState::Pending, context.now);
        (record.finished_at, record.retry_at) = (None, None);
    }
    let verified = record.job_id.is_some();
    name(record, first.job.clone());
    let kept = record.cancel_requested_at.is_some() || record.reason == Some(Reason::Stray);
    if record.reason == Some(Reason::Unnamed) {
        record.reason = None; // it was launched for sure; only its name was missing
    } else if !kept && (!verified || record.reason == Some(Reason::PurgeSuspected)) {
        record.reason = Some(Reason::Adopted);
    }
    record.turned_away = 0;
    if record.reason != Some(Reason::Stray) {
        record.message.clear();
    }
    if verified {
        // It was taken for purged, at a place where it never was.
        record.state_since = Some(context.now);
    }
    let template = record.clone();
    apply(record, first, context);
    let mut attempt = next_attempt(records, record);
    for status in found {
        let mut other = second(&template, status.job.clone(), attempt);
        attempt = attempt.saturating_add(1);
        apply(&mut other, status, context);
        others.push(other);
    }
}

/// What a search found whose attempt has come to its end meanwhile. The attempt stays at its end; what
/// nobody has heard of goes on record beside it.
fn late(
    records: &[JobRecord],
    record: &mut JobRecord,
    others: &mut Vec<JobRecord>,
    found: &[JobStatus],
    context: &Context<'_>,
) {
    let mut attempt = next_attempt(records, record);
    for status in found {
        if is_job_of(record, &status.job) {
            if status.stray {
                stray::mark(record, &status.message, context);
            }
        } else if !is_known(records, record, &status.job) && !record.is_assumed() {
            let mut other = second(record, status.job.clone(), attempt);
            move_to(&mut other, JobState::Pending, context.now);
            apply(&mut other, status, context);
            attempt = attempt.saturating_add(1);
            others.push(other);
        }
    }
}

/// Whether a search has shown that the job of an attempt is not there: nothing was found, or jobs alone
/// that have records of their own. `records` are those that have taken in what was found.
pub(in crate::lifecycle) fn shows_absence(
    records: &[JobRecord],
    asked: &JobRecord,
    observation: &Observation,
) -> bool {
    let Observation::Found(Ok(found)) = observation else {
        return false;
    };
    let named = asked.job_id.is_some();
    found.is_empty()
        || (named
            && found.iter().all(|status| {
                !is_job_of(asked, &status.job) && is_known(records, asked, &status.job)
            }))
}

/// Whether the record is of this job. The record's provider is the name that the registry has for it,
/// which the job need not know.
pub(super) fn is_job_of(record: &JobRecord, job: &crate::JobRef) -> bool {
    let kind = record.kind.as_deref().unwrap_or_default();
    record.job_id.as_deref() == Some(&job.id)
        && (kind.is_empty() || job.kind.is_empty() || kind == job.kind)
}

/// Whether a job of this record's provider has another record. Two providers may count alike, and one that was
/// restored from a backup gives ids again: a record of another launch that has ended is that of another job.
pub(in crate::lifecycle) fn is_known(
    records: &[JobRecord],
    record: &JobRecord,
    job: &crate::JobRef,
) -> bool {
    records.iter().any(|other| {
        let both = other.provider.as_ref().zip(record.provider.as_ref());
        let tokens = other.token.as_ref().zip(record.token.as_ref());
        let given_again = tokens.is_some_and(|(one, two)| one != two) && !other.may_be_live();
        !given_again
            && other.attempt != record.attempt
            && other.job_type == record.job_type
            && both.is_none_or(|(one, two)| one == two)
            && is_job_of(other, job)
    })
}

/// The record of another job of the same launch.
pub(super) fn second(first: &JobRecord, job: crate::JobRef, attempt: u64) -> JobRecord {
    let mut other = first.clone();
    other.attempt = attempt;
    name(&mut other, job);
    other.reason = Some(Reason::Duplicate);
    (other.started_at, other.finished_at, other.retry_at) = (None, None, None);
    // Nobody has asked this one to end.
    (other.cancel_requested_at, other.cancel_accepted_at) = (None, None);
    other.cancel_requests = 0;
    (other.running_since, other.missing_since) = (None, None);
    other.message.clear();
    other
}

pub(super) fn next_attempt(records: &[JobRecord], record: &JobRecord) -> u64 {
    history::next_attempt(records).max(record.attempt.saturating_add(1))
}
