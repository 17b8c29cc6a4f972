//! What the word of a backend about a job does to its record: states, ends, and silence.

use jiff::Timestamp;

use super::observation::Context;
use crate::clock::{Elapsed, add};
use crate::lifecycle::entropy::mix;
use crate::lifecycle::{Policy, backoff, live, stray};
use crate::{JobRecord, JobState, JobStatus, Reason};

/// Brings a record up to date with what the backend just said.
pub(in crate::lifecycle) fn apply(
    record: &mut JobRecord,
    status: &JobStatus,
    context: &Context<'_>,
) {
    let was_live = record.may_be_live();
    name(record, status.job.clone());
    record.missing_since = None;
    if matches!(
        record.reason,
        Some(Reason::PurgeSuspected | Reason::Replaced)
    ) {
        record.reason = None;
    }
    if status.stray && record.reason != Some(Reason::Stray) {
        record.reason = Some(Reason::Stray);
        record.set_message(stray::message(&status.message));
    }
    let stray = record.reason == Some(Reason::Stray);
    // An end that was seen is no weaker when the backend cannot tell any more.
    let kept = record.state.is_terminal() && status.state == JobState::Unknown;
    let state = match if kept { record.state } else { status.state } {
        // Whatever it did, it did not do what it was launched for.
        JobState::Succeeded | JobState::Canceled if stray => JobState::Failed,
        state => state,
    };
    move_to(record, state, context.now);
    record.started_at = status.started_at.or(record.started_at);
    if kept {
        return;
    }
    record.doubtful = status.state.is_terminal() && !status.settled;
    record.finished_at = if status.state.is_terminal() {
        status.finished_at
    } else {
        None
    };
    if !stray && (!status.message.is_empty() || status.state.is_terminal()) {
        record.set_message(&status.message);
    }
    unfinished(record, status);
    if was_live && !record.may_be_live() {
        ended(record, status, context);
    }
}

/// Notes on a deprovision that failed, or of which nobody can tell, that its work is known not to be done, as
/// long as that is so.
fn unfinished(record: &mut JobRecord, status: &JobStatus) {
    let is_so = status.unfinished
        && matches!(record.state, JobState::Unknown | JobState::Failed)
        && record.job_type == crate::JobType::Deprovision;
    let noted = record.reason == Some(Reason::Unfinished);
    if noted && !is_so {
        record.reason = None;
    }
    let free = matches!(
        record.reason,
        None | Some(Reason::Adopted | Reason::Assumed)
    );
    if is_so && free {
        record.reason = Some(Reason::Unfinished);
    }
}

fn ended(record: &mut JobRecord, status: &JobStatus, context: &Context<'_>) {
    // A copy does what the copied job was launched for.
    if record.state == JobState::Succeeded
        && record.copy_of.is_none()
        && let Some(version) = &status.reconciled_version
    {
        record.config_version = Some(version.clone());
    }
    settle(record, context.policy, context.now, context.seed);
}

/// The end that is on record is final.
fn settle(record: &mut JobRecord, policy: &Policy, now: Timestamp, seed: u128) {
    record.finished_at = Some(end(record, now));
    record.retry_at = None;
    match record.state {
        JobState::Succeeded => {
            record.failures = 0;
            if !matches!(
                record.reason,
                Some(Reason::Adopted | Reason::RelaunchedByPerson)
            ) {
                record.reason = None;
            }
        }
        JobState::Canceled if record.cancel_requested_at.is_none() => {
            record.reason = Some(Reason::CanceledByOthers);
        }
        // Ended because we wanted it: no failure, unless it was for taking too long.
        _ if record.cancel_requested_at.is_some()
            && matches!(
                record.reason,
                Some(Reason::Superseded | Reason::CanceledByUs | Reason::Duplicate)
            ) => {}
        _ => failed(record, policy, now, seed),
    }
}

/// When it ended, as far as that is believed: the backend's clock is another clock, and so is that of the
/// process which launched the job. It did not end before it began.
fn end(record: &JobRecord, now: Timestamp) -> Timestamp {
    let launched = record.sent_at.or(record.timestamp);
    let begin = launched.max(record.started_at).unwrap_or(Timestamp::MIN);
    let told = record.finished_at;
    told.filter(|end| (begin..=now).contains(end))
        .unwrap_or_else(|| now.max(begin))
}

/// Counts a failure and sets when the next attempt is due, from the end of this one.
pub(in crate::lifecycle) fn failed(
    record: &mut JobRecord,
    policy: &Policy,
    now: Timestamp,
    seed: u128,
) {
    record.failures = record.failures.saturating_add(1);
    let random = jitter(seed, record.attempt);
    let delay = backoff::after_failures(policy, record.failures, random);
    // By our own clock, whatever the others show.
    let from = record.finished_at.map_or(now, |end| end.min(now));
    record.retry_at = Some(add(from, delay));
}

/// The backend says that it does not know the job. What was seen of it before is not weaker for that.
pub(super) fn unknown_to_backend(record: &mut JobRecord, context: &Context<'_>) {
    if !record.may_be_live() {
        return;
    }
    let now = context.now;
    let sent = record.sent_at.or(record.timestamp);
    let fresh =
        sent.is_some_and(|at| now.elapsed_since(at) < context.capabilities.visibility_window);
    if fresh {
        return; // an accepted launch may take that long to be seen
    }
    if record.is_missing() {
        // Said twice. Where the token can be looked for, that settles it; otherwise this does, unless
        // both were said in one breath: one mistake is not two proofs.
        let first = record.missing_since.or(record.state_since);
        let apart = first
            .is_none_or(|since| now.elapsed_since(since) >= context.policy.cancel_poll_interval);
        if apart && !record.is_searchable(context.capabilities) {
            *record = purged(record, context.policy, now, context.seed);
        }
        return;
    }
    record.missing_since = Some(now);
    if record.state.is_terminal() {
        return;
    }
    let stray = record.reason == Some(Reason::Stray);
    let late = record.state != JobState::Unknown
        && live::deadline(context.policy, record).is_some_and(|at| at <= now);
    if !stray && late {
        record.reason = Some(Reason::DeadlineExceeded);
    } else if !stray && record.cancel_requested_at.is_none() {
        record.reason = Some(Reason::PurgeSuspected);
    }
    if !stray {
        record.set_message("the backend does not know this job; making sure that it is gone");
    }
    move_to(record, JobState::Unknown, now);
    record.state_since = Some(now);
}

/// Under the name of the job there is another job now. Where ours can be looked for, it may turn up under
/// a name of its own; otherwise that is its end. An end that was seen before stands.
pub(super) fn replaced(record: &mut JobRecord, context: &Context<'_>) {
    record.missing_since.get_or_insert(context.now);
    let stray = record.reason == Some(Reason::Stray);
    if !record.state.is_terminal() && !stray && record.reason != Some(Reason::Replaced) {
        record.reason = Some(Reason::Replaced);
        record.set_message(
            "the backend has given the id of this job to another one, as after a restore from a backup; \
             making sure that ours is gone",
        );
        move_to(record, JobState::Unknown, context.now);
        record.state_since = Some(context.now);
    }
    if stray || !record.is_searchable(context.capabilities) {
        *record = purged(record, context.policy, context.now, context.seed);
    }
}

/// The record of a job that the backend was proven to have forgotten. An end that was seen stands; a job
/// that we wanted to end, or that was late, has not succeeded.
pub(in crate::lifecycle) fn purged(
    record: &JobRecord,
    policy: &Policy,
    now: Timestamp,
    seed: u128,
) -> JobRecord {
    let mut record = record.clone();
    record.doubtful = false;
    record.missing_since = None;
    if record.state.is_terminal() {
        if record.reason == Some(Reason::PurgeSuspected) {
            record.reason = None;
        }
        settle(&mut record, policy, now, seed);
        return record;
    }
    record.finished_at = None;
    record.finished_at = Some(end(&record, now));
    record.retry_at = None;
    let late = record.reason == Some(Reason::DeadlineExceeded);
    let ours = record.cancel_requested_at.is_some() && !late;
    let replaced = record.reason == Some(Reason::Replaced);
    // It was never there: nobody has told its name or seen it at work.
    let named = record.job_id.is_some() && !record.is_assumed();
    let never_seen = !named && record.running_since.is_none();
    if record.reason == Some(Reason::Stray) {
        move_to(&mut record, JobState::Failed, now);
        failed(&mut record, policy, now, seed);
    } else if live::purge_succeeds(policy) && !ours && !late && !replaced && !never_seen {
        record.reason = Some(Reason::Assumed);
        record.set_message("the backend has forgotten this job; taken as succeeded");
        record.failures = 0;
        move_to(&mut record, JobState::Succeeded, now);
    } else {
        if replaced {
            record.set_message(
                "the backend has given the id of this job to another one, as after a restore from a \
                 backup; the result of ours is not known",
            );
        } else {
            record.reason = Some(Reason::Purged);
            record.set_message("the backend has forgotten this job; its result is not known");
        }
        move_to(&mut record, JobState::Failed, now);
        if !ours {
            failed(&mut record, policy, now, seed);
        }
    }
    record
}

// ---- small things ----

/// Names the job. The owner stays: a provider is known to the records by its registered name.
pub(super) fn name(record: &mut JobRecord, job: crate::JobRef) {
    let owner = record
        .provider
        .take()
        .unwrap_or_else(|| job.provider.clone());
    record.set_job_ref(job);
    record.provider = Some(owner);
}

pub(super) fn move_to(record: &mut JobRecord, state: JobState, now: Timestamp) {
    if record.state != state {
        if record.state == JobState::Running {
            record.running_since = record.running_since.or(record.state_since);
        }
        record.state = state;
        record.state_since = Some(now);
    }
    if state == JobState::Running {
        record.running_since.get_or_insert(now);
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "the low bits are as random as any"
)]
pub(super) fn jitter(seed: u128, attempt: u64) -> u64 {
    mix((seed as u64).wrapping_add(attempt))
}
