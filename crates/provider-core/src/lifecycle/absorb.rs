//! What an observation does to the records. Pure.

use jiff::Timestamp;

use super::{Policy, backoff, cancel, entropy::mix, live, relaunch, stray};
use crate::clock::add;
use crate::{
    CancelResult, Capabilities, DeprovisionResult, Effect, ErrorKind, JobRecord, JobState,
    JobStatus, ProviderError, ProvisionResult, Reason, Relaunched, TriggerError, clock, history,
};

/// What a call of a provider gave.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Observation {
    /// Of `trigger_provision`.
    Provisioned(Result<ProvisionResult, TriggerError>),
    /// Of `trigger_deprovision`.
    Deprovisioned(Result<DeprovisionResult, TriggerError>),
    /// Of `provision_status` or `deprovision_status`.
    Status(Result<JobStatus, ProviderError>),
    /// Of `cancel`.
    Canceled(Result<CancelResult, ProviderError>),
    /// Of `find_launched`.
    Found(Result<Vec<JobStatus>, ProviderError>),
    /// Of `find_relaunched`, asked of the provider that owns the attempt.
    Relaunched {
        /// What it answered.
        found: Result<Vec<Relaunched>, ProviderError>,
        /// Whether the object was to be deleted when it was asked.
        deleting: bool,
    },
}

impl Observation {
    /// The error that the call ended in, if it did.
    #[must_use]
    pub fn error(&self) -> Option<&ProviderError> {
        match self {
            Self::Provisioned(Err(error)) | Self::Deprovisioned(Err(error)) => Some(error.error()),
            Self::Status(Err(error))
            | Self::Canceled(Err(error))
            | Self::Found(Err(error))
            | Self::Relaunched {
                found: Err(error), ..
            } => Some(error),
            _ => None,
        }
    }

    /// Whether it tells that a launch was not carried out.
    fn is_no_launch(&self) -> bool {
        match self {
            Self::Provisioned(Err(error)) | Self::Deprovisioned(Err(error)) => error.is_certain(),
            Self::Deprovisioned(Ok(
                DeprovisionResult::Waiting { .. } | DeprovisionResult::Skipped { .. },
            )) => true,
            _ => false,
        }
    }

    /// Whether it tells how a job with a name stands, as opposed to how a launch went.
    const fn is_about_a_job(&self) -> bool {
        matches!(self, Self::Status(_) | Self::Canceled(_))
    }
}

/// The circumstances of an observation.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Context<'a> {
    /// The user's choices.
    pub policy: &'a Policy,
    /// What the called provider can do.
    pub capabilities: &'a Capabilities,
    /// The present moment.
    pub now: Timestamp,
    /// Randomness for jitter.
    pub seed: u128,
}

impl<'a> Context<'a> {
    /// These circumstances.
    #[must_use]
    pub const fn new(
        policy: &'a Policy,
        capabilities: &'a Capabilities,
        now: Timestamp,
        seed: u128,
    ) -> Self {
        Self {
            policy,
            capabilities,
            now,
            seed,
        }
    }
}

/// The records that change because of an observation about the attempt `asked`, which is the
/// record as it was when the call was made. Empty when nothing changes.
///
/// `records` may have been read again since: the observation is applied to what is there now. An
/// attempt that has vanished meanwhile (somebody else wrote the status) is put back rather
/// than lost, because its job may be alive.
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
        | Observation::Canceled(Err(_))
        | Observation::Found(Err(_))
        | Observation::Relaunched { .. } => {}
    }
    if there != Some(&record) {
        others.push(record);
    }
    others
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

/// Names the job of a launch, and gives the record that has it.
fn launched<'a>(
    records: &[JobRecord],
    record: &'a mut JobRecord,
    others: &'a mut Vec<JobRecord>,
    job: crate::JobRef,
    state: JobState,
    context: &Context<'_>,
) -> &'a mut JobRecord {
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
            let named = launched(
                records,
                record,
                others,
                job.clone(),
                *initial_state,
                context,
            );
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
        job.clone(),
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

/// Takes over the jobs that were found under the token of an attempt. One token should have
/// one job; where there are several, the first is the attempt's and the others are put on record under
/// numbers of their own, so that they are watched like any other. The last of them is the newest
/// attempt then, and the one that is left to run.
fn adopt(
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
    if !kept && (!verified || record.reason == Some(Reason::PurgeSuspected)) {
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
pub(super) fn shows_absence(
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
fn is_job_of(record: &JobRecord, job: &crate::JobRef) -> bool {
    let kind = record.kind.as_deref().unwrap_or_default();
    record.job_id.as_deref() == Some(&job.id)
        && (kind.is_empty() || job.kind.is_empty() || kind == job.kind)
}

/// Whether a job of this record's provider has another record. Two providers may count alike.
pub(super) fn is_known(records: &[JobRecord], record: &JobRecord, job: &crate::JobRef) -> bool {
    records.iter().any(|other| {
        let both = other.provider.as_ref().zip(record.provider.as_ref());
        other.attempt != record.attempt
            && other.job_type == record.job_type
            && both.is_none_or(|(one, two)| one == two)
            && is_job_of(other, job)
    })
}

/// The record of another job of the same launch.
fn second(first: &JobRecord, job: crate::JobRef, attempt: u64) -> JobRecord {
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

fn next_attempt(records: &[JobRecord], record: &JobRecord) -> u64 {
    history::next_attempt(records).max(record.attempt.saturating_add(1))
}

// ---- statuses ----

/// Brings a record up to date with what the backend just said.
pub(super) fn apply(record: &mut JobRecord, status: &JobStatus, context: &Context<'_>) {
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

/// Notes on a deprovision of unknown state that its work is known not to be done, as long as that is so.
fn unfinished(record: &mut JobRecord, status: &JobStatus) {
    let is_so = status.unfinished
        && record.state == JobState::Unknown
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
    // The backend's clock is another clock: an end outside the job's life is not believed.
    let begin = record
        .sent_at
        .or(record.timestamp)
        .unwrap_or(Timestamp::MIN);
    record.finished_at = Some(
        record
            .finished_at
            .filter(|end| (begin..=now).contains(end))
            .unwrap_or(now),
    );
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

/// Counts a failure and sets when the next attempt is due, from the end of this one.
pub(super) fn failed(record: &mut JobRecord, policy: &Policy, now: Timestamp, seed: u128) {
    record.failures = record.failures.saturating_add(1);
    let random = jitter(seed, record.attempt);
    let delay = backoff::after_failures(policy, record.failures, random);
    record.retry_at = Some(add(record.finished_at.unwrap_or(now), delay));
}

/// The backend says that it does not know the job. What was seen of it before is not weaker for that.
fn unknown_to_backend(record: &mut JobRecord, context: &Context<'_>) {
    if !record.may_be_live() {
        return;
    }
    let now = context.now;
    let sent = record.sent_at.or(record.timestamp);
    let fresh =
        sent.is_some_and(|at| clock::since(now, at) < context.capabilities.visibility_window);
    if fresh {
        return; // an accepted launch may take that long to be seen
    }
    if record.is_missing() {
        // Said twice. Where the token can be looked for, that settles it; otherwise this does, unless
        // both were said in one breath: one mistake is not two proofs.
        let first = record.missing_since.or(record.state_since);
        let apart = first
            .is_none_or(|since| clock::since(now, since) >= context.policy.cancel_poll_interval);
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
fn replaced(record: &mut JobRecord, context: &Context<'_>) {
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
pub(super) fn purged(record: &JobRecord, policy: &Policy, now: Timestamp, seed: u128) -> JobRecord {
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
    record.finished_at = Some(now);
    record.retry_at = None;
    let late = record.reason == Some(Reason::DeadlineExceeded);
    let ours = record.cancel_requested_at.is_some() && !late;
    let replaced = record.reason == Some(Reason::Replaced);
    if record.reason == Some(Reason::Stray) {
        move_to(&mut record, JobState::Failed, now);
        failed(&mut record, policy, now, seed);
    } else if live::purge_succeeds(policy) && !ours && !late && !replaced {
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
fn name(record: &mut JobRecord, job: crate::JobRef) {
    let owner = record
        .provider
        .take()
        .unwrap_or_else(|| job.provider.clone());
    record.set_job_ref(job);
    record.provider = Some(owner);
}

fn move_to(record: &mut JobRecord, state: JobState, now: Timestamp) {
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
fn jitter(seed: u128, attempt: u64) -> u64 {
    mix((seed as u64).wrapping_add(attempt))
}
