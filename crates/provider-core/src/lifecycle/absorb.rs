//! What an observation does to the records. Pure.

mod observation;
mod search;
mod status;

pub use observation::{Context, Observation};
pub(super) use search::{is_known, shows_absence};
pub(super) use status::{apply, failed, purged};

use super::{backoff, cancel, relaunch, stray};
use crate::clock::add;
use crate::{
    CancelResult, DeprovisionResult, Effect, ErrorKind, JobRecord, JobState, JobStatus, Reason,
    TriggerError, history,
};
use search::{adopt, is_job_of, next_attempt, second};
use status::{jitter, move_to, name, replaced, unknown_to_backend};

/// The records that change because of an observation about the attempt `asked`, which is the
/// record as it was when the call was made. Empty when nothing changes.
///
/// `records` may have been read again since: the observation is applied to what is there now. An
/// attempt that has vanished meanwhile (somebody else wrote the status) is put back rather
/// than lost, because its job may be alive; unless a newer one shows that it had ended.
#[must_use]
pub fn absorb(
    records: &[JobRecord],
    asked: &JobRecord,
    observation: &Observation,
    context: &Context<'_>,
) -> Vec<JobRecord> {
    if let Observation::Relaunched { found, deleting } = observation {
        let found = found.as_deref().unwrap_or_default();
        return relaunch::put_on_record(records, asked, found, *deleting, context);
    }
    let there = records.iter().find(|record| {
        record.attempt == asked.attempt
            && record.token == asked.token
            && record.job_type == asked.job_type
    });
    let mut record = match there {
        Some(record) => record.clone(),
        None => put_back(records, asked),
    };
    let mut others = Vec::new();
    let was_trimmed = there.is_none() && is_followed(records, asked);
    if was_trimmed && observation.is_about_a_job() {
        return others; // it has ended since
    }
    if observation.is_no_launch() && record.sends != asked.sends {
        return others; // it tells of an older send; the newer one may be carried out
    }
    if observation.is_about_a_job() && (record.job_id != asked.job_id || !record.may_be_live()) {
        return others; // another process knows better by now
    }
    match observation {
        Observation::Provisioned(Ok(result)) => {
            let (job, state) = (result.job.clone(), result.initial_state);
            let known = record.job_id.is_some();
            let named = launched(records, &mut record, &mut others, job, state, context);
            // Of a job that is known already, more is known than how its launch went.
            if !known || named.reason == Some(Reason::Duplicate) && named.message.is_empty() {
                named.set_message(&result.message);
            }
        }
        Observation::Deprovisioned(Ok(result)) => {
            deprovisioned(records, &mut record, &mut others, result, context);
        }
        Observation::Provisioned(Err(error)) | Observation::Deprovisioned(Err(error)) => {
            match error.error().stray_job() {
                Some(job) => strayed(records, &mut record, &mut others, job, error, context),
                None => not_launched(&mut record, error, context),
            }
        }
        Observation::Status(Ok(status)) => apply(&mut record, status, context),
        Observation::Canceled(Ok(CancelResult::Finished(status))) => {
            apply(&mut record, status, context);
        }
        Observation::Canceled(Ok(CancelResult::Gone)) => unknown_to_backend(&mut record, context),
        Observation::Status(Err(error)) | Observation::Canceled(Err(error))
            if error.kind() == ErrorKind::NotFound =>
        {
            unknown_to_backend(&mut record, context);
        }
        Observation::Status(Err(error)) | Observation::Canceled(Err(error))
            if error.kind() == ErrorKind::Replaced =>
        {
            replaced(&mut record, context);
        }
        Observation::Found(Ok(found)) => {
            adopt(records, &mut record, &mut others, found, context);
        }
        Observation::Canceled(Ok(CancelResult::Requested)) => {
            cancel::taken(context.policy, &mut record, context.now);
        }
        Observation::Status(Err(_))
        | Observation::Canceled(Err(_) | Ok(CancelResult::NotYet { .. }))
        | Observation::Found(Err(_))
        | Observation::Relaunched { .. } => {}
    }
    // What is known of the job for sure stays: that it is a stranger, or that its name is still to come.
    let for_sure = matches!(record.reason, Some(Reason::Stray | Reason::Unnamed));
    if was_trimmed && record.may_be_live() && !for_sure {
        // It was taken for never launched, or is heard of so late that it has ended since.
        record.reason = Some(Reason::Duplicate);
    }
    if there != Some(&record) {
        others.push(record);
    }
    others
}

/// Whether a newer attempt was made: none is while an older one may be live.
fn is_followed(records: &[JobRecord], asked: &JobRecord) -> bool {
    records.iter().any(|other| {
        other.attempt > asked.attempt
            && other.job_type == asked.job_type
            && other.target == asked.target
            && other.reason != Some(Reason::Duplicate)
    })
}

fn put_back(records: &[JobRecord], asked: &JobRecord) -> JobRecord {
    let mut record = asked.clone();
    if records.iter().any(|other| other.attempt == asked.attempt) {
        record.attempt = history::next_attempt(records);
        // The newest record carries on what was answered last.
        let newest = records.iter().filter(|other| other.target == asked.target);
        if let Some(newest) = newest.max_by_key(|other| other.attempt) {
            record.retry_request.clone_from(&newest.retry_request);
        }
    }
    record
}

// ---- launches ----

/// Names the job of a launch, and gives the record that has it; a job without a name yet is this attempt's.
fn launched<'a>(
    records: &[JobRecord],
    record: &'a mut JobRecord,
    others: &'a mut Vec<JobRecord>,
    job: Option<crate::JobRef>,
    state: JobState,
    context: &Context<'_>,
) -> &'a mut JobRecord {
    let Some(job) = job else {
        unnamed(record, context);
        return record;
    };
    if record.job_id.is_some() {
        // Mostly it was adopted meanwhile by another process, and what that saw is at least as new.
        if job.id.is_empty()
            || record.is_assumed()
            || is_job_of(record, &job)
            || is_known(records, record, &job)
        {
            return record;
        }
        // Both launches were carried out. Nobody else will ever hear of this job.
        let mut other = second(record, job, next_attempt(records, record));
        move_to(&mut other, state, context.now);
        other.state_since = Some(context.now);
        other.doubtful = state.is_terminal();
        others.push(other);
        return others.last_mut().unwrap_or(record);
    }
    if job.id.is_empty() {
        // A launch that nobody can name is a launch in doubt.
        record.reason = Some(Reason::Ambiguous);
        move_to(record, JobState::Pending, context.now);
        return record;
    }
    name(record, job);
    record.reason = None;
    record.turned_away = 0;
    move_to(record, state, context.now);
    // A launch answer says how the job began. Its end is believed when it is asked for.
    record.doubtful = state.is_terminal();
    record
}

/// The launch was carried out, and its job has no name yet. Another process may have found it meanwhile.
fn unnamed(record: &mut JobRecord, context: &Context<'_>) {
    if record.job_id.is_some() {
        return;
    }
    record.reason = Some(Reason::Unnamed);
    record.turned_away = 0;
    record.message.clear();
    move_to(record, JobState::Pending, context.now);
}

fn deprovisioned(
    records: &[JobRecord],
    record: &mut JobRecord,
    others: &mut Vec<JobRecord>,
    result: &DeprovisionResult,
    context: &Context<'_>,
) {
    match result {
        DeprovisionResult::Triggered {
            job,
            initial_state,
            block_deletion_on_failure,
            provision_job,
        } => {
            let job = job.clone();
            let named = launched(records, record, others, job, *initial_state, context);
            named.block_deletion_on_failure = Some(*block_deletion_on_failure);
            others.extend(provision_record(records, provision_job.as_ref(), context));
        }
        DeprovisionResult::Waiting {
            reason,
            retry_after,
            block_deletion_on_failure,
            provision_job,
        } => {
            move_to(record, JobState::Waiting, context.now);
            record.reason = Some(Reason::HeldBack);
            record.set_message(reason);
            record.block_deletion_on_failure = Some(*block_deletion_on_failure);
            // A provider that says "at once" is still not asked in a hot loop.
            let delay = (*retry_after).max(context.policy.cancel_poll_interval);
            record.retry_at = Some(add(context.now, delay));
            others.extend(provision_record(records, provision_job.as_ref(), context));
        }
        DeprovisionResult::Skipped { reason } => {
            move_to(record, JobState::Succeeded, context.now);
            record.finished_at = Some(context.now);
            record.reason = Some(Reason::Skipped);
            record.set_message(reason);
        }
    }
}

/// The provision record that a deprovision answer brings news of.
fn provision_record(
    records: &[JobRecord],
    status: Option<&JobStatus>,
    context: &Context<'_>,
) -> Option<JobRecord> {
    let status = status?;
    let known = records.iter().find(|record| {
        record.job_id.as_deref() == Some(&status.job.id)
            && record.job_type == crate::JobType::Provision
            && record
                .provider
                .as_deref()
                .is_none_or(|name| name == status.job.provider)
    })?;
    let mut record = known.clone();
    if record.may_be_live() {
        apply(&mut record, status, context);
    } else if status.stray {
        // An end that is on record stays, and what counts of the rest is only that.
        stray::mark(&mut record, &status.message, context);
    }
    (record != *known).then_some(record)
}

/// A launch that started a job which is not the one that was wanted.
fn strayed(
    records: &[JobRecord],
    record: &mut JobRecord,
    others: &mut Vec<JobRecord>,
    job: &crate::JobRef,
    error: &TriggerError,
    context: &Context<'_>,
) {
    let named = launched(
        records,
        record,
        others,
        Some(job.clone()),
        JobState::Pending,
        context,
    );
    if is_job_of(named, job) || named.is_assumed() {
        stray::mark(named, &error.error().to_string(), context);
    }
}

fn not_launched(record: &mut JobRecord, error: &TriggerError, context: &Context<'_>) {
    if record.job_id.is_some() {
        return;
    }
    record.set_message(&error.error().to_string());
    if !error.is_certain() {
        record.reason = Some(Reason::Ambiguous);
        move_to(record, JobState::Pending, context.now);
        return;
    }
    let error = error.error();
    record.reason = Some(match error.effect() {
        Effect::NotSent => Reason::NotSent,
        _ => Reason::Rejected,
    });
    move_to(record, JobState::Failed, context.now);
    record.finished_at = Some(context.now);
    if error.is_failure() {
        record.turned_away = 0;
        failed(record, context.policy, context.now, context.seed);
    } else {
        record.turned_away = record.turned_away.saturating_add(1);
        let random = jitter(context.seed, record.attempt);
        let delay = backoff::after_failures(context.policy, record.turned_away, random);
        record.retry_at = Some(add(context.now, delay));
    }
    let asked_for = error.retry_after().map(|delay| add(context.now, delay));
    record.retry_at = record.retry_at.max(asked_for);
}
