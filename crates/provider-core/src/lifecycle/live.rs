//! Rules for attempts whose job may be alive: find it, watch it, end it.

use std::time::Duration;

use jiff::Timestamp;

use super::decide::{Rules, decision, under_way, write};
use super::decision::{Action, Block, Call, Decision, Right, Standing, Why};
use super::policy::{Ambiguity, Policy, Purge};
use super::{Mode, cancel};
use crate::clock::{Elapsed, add};
use crate::{Capabilities, JobRecord, JobState, JobType, OnAmbiguity, Reason};

/// What one live attempt asks for.
enum Need {
    /// This, now.
    Now(Decision),
    /// Nothing before this moment.
    Later(Timestamp, Why),
    /// A person, with a look from time to time.
    Person(Block, Timestamp, Why),
}

/// The next step for the live attempts of the target, oldest first; none when all have ended.
pub(super) fn step(rules: &Rules<'_>) -> Option<Decision> {
    let mut newest: Option<&JobRecord> = None;
    let mut wake: Option<(Timestamp, Why)> = None;
    let mut person: Option<(Block, Why)> = None;
    for record in rules.mine().filter(|record| record.may_be_live()) {
        let (at, why) = match need(rules, record) {
            Need::Now(decision) => return Some(decision),
            Need::Later(at, why) => (at, why),
            Need::Person(block, at, why) => {
                person.get_or_insert((block, why));
                (at, why)
            }
        };
        if wake.is_none_or(|(earliest, _)| at < earliest) {
            wake = Some((at, why));
        }
        if newest.is_none_or(|known| known.attempt < record.attempt) {
            newest = Some(record);
        }
    }
    let (record, (at, why)) = (newest?, wake?);
    Some(match person {
        Some((block, why)) => rules.rest(Standing::Blocked(block), Some(at), why),
        None => {
            let standing = Standing::InProgress {
                attempt: record.attempt,
                job_type: record.job_type,
                state: record.state,
            };
            rules.rest(standing, Some(at), why)
        }
    })
}

fn need(rules: &Rules<'_>, record: &JobRecord) -> Need {
    let Some((_, capabilities)) = rules.s.backends.owner(record) else {
        let provider = record.provider.clone().unwrap_or_default();
        let block = Block::MissingProvider { provider };
        return Need::Person(block, rules.slow_wake(), Why::MissingProvider);
    };
    if record.is_unresolved() {
        resolve(rules, record, capabilities)
    } else {
        watch(rules, record, capabilities)
    }
}

// ---- an intent without a job ----

fn resolve(rules: &Rules<'_>, record: &JobRecord, caps: &Capabilities) -> Need {
    let n = record.attempt;
    let now = rules.s.now;
    if !caps.find_launched || record.token.is_none() {
        return resolve_blindly(rules, record, caps);
    }
    let Some(sent_at) = record.sent_at.or(record.timestamp) else {
        // Only a hand-edited record has neither; the window starts at this moment.
        let mut record = record.clone();
        record.sent_at = Some(now);
        return Need::Now(write(vec![record], None, Why::IntentWithoutJob(n)));
    };
    // Judged by how long this process has looked itself: the sender's clock is another clock.
    let certain_from = add(looking_since(rules, record), under_way(caps));
    if is_absent(rules, n, certain_from) {
        return if rules.s.desired.mode == Mode::Paused {
            Need::Later(rules.slow_wake(), Why::Mode)
        } else if record.reason == Some(Reason::Unnamed) {
            // It was taken for sure, and never turned up: gone, and no reason to send it again by itself.
            Need::Now(write(vec![purged(rules, record)], None, Why::Purged(n)))
        } else if is_wanted(rules, record) {
            Need::Now(rules.send_again(record, Why::ProvenAbsent(n)))
        } else {
            Need::Now(rules.withdraw(record))
        };
    }
    let due = due(rules, n);
    if due <= now {
        return Need::Now(decision(
            Action::Call(Call::Find(n)),
            Why::IntentWithoutJob(n),
        ));
    }
    // It was looked for, and there was no answer; nor is there one for as long as a state may be unknown.
    let unanswered = rules.look(n).is_some_and(|look| !look.answered);
    if unanswered && (now.elapsed_since(sent_at) >= rules.s.policy.unknown || is_dark(rules, n)) {
        return doubt(rules, record, due);
    }
    // The look that gives certainty is not missed by an interval.
    let due = if certain_from > now {
        due.min(certain_from)
    } else {
        due
    };
    Need::Later(due, Why::MayStillAppear(n))
}

/// Since when this process has looked for a launch in vain. The moment at which it was sent is one of
/// the sender's clock, which is another clock.
fn looking_since(rules: &Rules<'_>, record: &JobRecord) -> Timestamp {
    let now = rules.s.now;
    rules
        .pace(record.attempt)
        .and_then(|pace| pace.vain)
        .filter(|vain| vain.is_of(record) && vain.since <= now)
        .map_or(now, |vain| vain.since)
}

/// Whether it was just seen that the job of an attempt is not there, by a look not before this moment.
fn is_absent(rules: &Rules<'_>, attempt: u64, certain_from: Timestamp) -> bool {
    rules
        .pass
        .absent
        .is_some_and(|(absent, asked)| absent == attempt && asked >= certain_from)
}

/// Whether this process has not been told where an attempt stands for as long as a state may be unknown.
fn is_dark(rules: &Rules<'_>, attempt: u64) -> bool {
    rules
        .look(attempt)
        .and_then(|look| look.dark_since)
        .is_some_and(|dark| rules.s.now.elapsed_since(dark) >= rules.s.policy.unknown)
}

/// The provider cannot look launches up.
fn resolve_blindly(rules: &Rules<'_>, record: &JobRecord, caps: &Capabilities) -> Need {
    let n = record.attempt;
    let held = rules.s.policy.config.ambiguity == Some(Ambiguity::Hold);
    match (&caps.on_ambiguity, &record.token) {
        (OnAmbiguity::AssumeSent { kind }, Some(token)) if !held => {
            let mut record = record.clone();
            record.job_id = Some(token.as_str().to_owned());
            record.kind.get_or_insert_with(|| kind.clone().into_owned());
            record.state = JobState::Unknown;
            record.state_since = Some(rules.s.now);
            record.reason = Some(Reason::Assumed);
            Need::Now(write(vec![record], None, Why::AssumedSent(n)))
        }
        _ => {
            // While another process may be launching, nobody can have looked.
            let settled = rules.pace(record.attempt).map(|pace| pace.due);
            match settled.filter(|at| *at > rules.s.now) {
                Some(at) => in_doubt(record, at),
                None => doubt(rules, record, rules.slow_wake()),
            }
        }
    }
}

/// A doubt that only a person can end.
fn doubt(rules: &Rules<'_>, record: &JobRecord, wake: Timestamp) -> Need {
    if rules.retry_requested() && rules.s.desired.mode != Mode::Paused {
        // The person has looked. It stays on record that a job may have run.
        let mut record = rules.closed(record, JobState::Failed, Reason::Ambiguous);
        record.set_message("released from doubt by a request to retry");
        Need::Now(write(vec![record], None, Why::RetryRequested))
    } else {
        in_doubt(record, wake)
    }
}

fn in_doubt(record: &JobRecord, wake: Timestamp) -> Need {
    let attempt = record.attempt;
    let block = if record.reason == Some(Reason::Unnamed) {
        Block::UnknownTooLong { attempt } // that it runs is no question
    } else {
        Block::AmbiguousLaunch { attempt }
    };
    Need::Person(block, wake, Why::DoubtIsHeld(attempt))
}

/// Whether this very launch would be made now.
fn is_wanted(rules: &Rules<'_>, record: &JobRecord) -> bool {
    let desired = rules.s.desired;
    let newest = rules.mine().all(|other| other.attempt <= record.attempt);
    let alone = rules
        .mine()
        .all(|r| r.attempt == record.attempt || !r.may_be_live());
    let same_owner = record.provider.as_deref() == Some(desired.provider.as_str());
    let same_version = record.config_version.as_ref() == Some(&desired.version);
    let same_purpose = match record.job_type {
        JobType::Provision => rules.lives() && same_version,
        JobType::Deprovision => rules.removing(),
        JobType::Action(_) => rules.lives() && same_version && rules.is_asked_for(record),
        JobType::Other(_) => false,
    };
    newest && alone && same_owner && same_purpose
}

// ---- a job with a name ----

fn watch(rules: &Rules<'_>, record: &JobRecord, caps: &Capabilities) -> Need {
    let n = record.attempt;
    let now = rules.s.now;
    let mut certain = None;
    if record.is_missing() && record.is_searchable(caps) {
        let certain_from = gone_from(rules, record, caps);
        if is_absent(rules, n, certain_from) {
            return Need::Now(write(vec![purged(rules, record)], None, Why::Purged(n)));
        }
        if due(rules, n) <= now {
            return Need::Now(decision(Action::Call(Call::Find(n)), Why::VerifyPurge(n)));
        }
        certain = Some(certain_from).filter(|at| *at > now);
    }
    let late = deadline(rules.s.policy, record);
    let unclear = record.state == JobState::Unknown || record.is_missing();
    // It has claimed an end, and then answered for all that time that it cannot tell.
    let lost = record.state.is_terminal() && rules.look(n).is_some_and(|look| look.answered);
    let too_long =
        unclear && late.is_some_and(|at| at <= now) || (unclear || lost) && is_dark(rules, n);
    if too_long && let Some(need) = unknown_too_long(rules, record) {
        return need;
    }
    let end = must_end(rules, record, late);
    let mut wake = late.into_iter().chain(certain).filter(|at| *at > now).min();
    if let Some((reason, why)) = &end
        && caps.cancel
        && rules.s.desired.mode != Mode::Paused
    {
        let next = next_cancel(rules, record);
        if next <= now {
            let mut record = record.clone();
            record.cancel_requested_at.get_or_insert(now);
            record.reason = Some(reason.clone());
            return Need::Now(write(vec![record], Some(Right::Cancel(n)), *why));
        }
        wake = Some(wake.map_or(next, |at| at.min(next)));
    }
    let due = due(rules, n);
    if due <= now {
        return Need::Now(decision(Action::Call(Call::Status(n)), Why::PollDue(n)));
    }
    let at = wake.map_or(due, |at| at.min(due));
    if too_long {
        let block = Block::UnknownTooLong { attempt: n };
        return Need::Person(block, at, Why::UnknownPastDeadline(n));
    }
    let Some((_, why)) = end else {
        return Need::Later(at, Why::PolledRecently(n));
    };
    // A job disobeys what the backend was asked for, and not what it has never heard of.
    let longer = |at: Option<Timestamp>| {
        at.is_some_and(|at| now.elapsed_since(at) >= rules.s.policy.canceling)
    };
    let past = !caps.cancel && late.is_some_and(|at| at <= now);
    if past || longer(record.cancel_accepted_at) {
        return Need::Person(Block::NotEnding { attempt: n }, at, Why::PastDeadline(n));
    }
    let refused = rules
        .pace(n)
        .and_then(|pace| pace.cancel)
        .is_some_and(|cancel| cancel.refused);
    if refused && record.cancel_accepted_at.is_none() && longer(record.cancel_requested_at) {
        return Need::Person(Block::CancelRefused { attempt: n }, at, why);
    }
    Need::Later(at, why)
}

/// From when on a search in vain proves that the backend has forgotten the job. One that was seen there
/// is seen as long as it is there; a launch that never was may still turn up.
fn gone_from(rules: &Rules<'_>, record: &JobRecord, caps: &Capabilities) -> Timestamp {
    let seen = record.running_since.is_some()
        || record.started_at.is_some()
        || record.state.is_terminal()
        || record.cancel_accepted_at.is_some();
    match record.sent_at.or(record.timestamp) {
        Some(_) if !seen => add(looking_since(rules, record), caps.visibility_window),
        _ => Timestamp::MIN,
    }
}

/// Why a job must end before its time, if it must.
fn must_end(
    rules: &Rules<'_>,
    record: &JobRecord,
    late: Option<Timestamp>,
) -> Option<(Reason, Why)> {
    let n = record.attempt;
    if record.state.is_terminal() {
        return None; // only its confirmation is awaited
    }
    if record.reason == Some(Reason::Stray) {
        return Some((Reason::Stray, Why::Stray(n)));
    }
    if record.reason == Some(Reason::Replaced) {
        return None; // under its name, a cancel would meet a stranger
    }
    // An action, and what a newer version has launched, are in the way as a provision is.
    let provision = record.job_type != JobType::Deprovision;
    let newer = matches!(record.job_type, JobType::Other(_));
    if rules.removing() && provision && rules.deletion_cancels() {
        return Some((Reason::CanceledByUs, Why::InTheWayOfDeletion(n)));
    }
    if rules
        .mine()
        .any(|other| other.attempt > n && other.may_have_run())
    {
        return Some((Reason::Duplicate, Why::NotTheNewest(n)));
    }
    let other_version = record.config_version.as_ref() != Some(&rules.s.desired.version);
    if provision && !newer && rules.lives() && other_version && rules.supersede_cancels() {
        return Some((Reason::Superseded, Why::SupersededBy(n)));
    }
    if record.state != JobState::Unknown && late.is_some_and(|at| at <= rules.s.now) {
        return Some((Reason::DeadlineExceeded, Why::PastDeadline(n)));
    }
    // A cancel that was begun is seen through, unless what was asked for is wanted again.
    match &record.reason {
        Some(reason @ Reason::DeadlineExceeded) => Some((reason.clone(), Why::PastDeadline(n))),
        _ => None,
    }
}

/// When the present phase of a job has lasted too long. A phase lasts from its first moment, whatever
/// word the job was told in between: the queues are one phase, and a job that was seen at work is at work.
pub(super) fn deadline(policy: &Policy, record: &JobRecord) -> Option<Timestamp> {
    let launched = record.sent_at.or(record.timestamp);
    let since = record.state_since.or(record.timestamp);
    let (began, allowed): (_, Duration) = match record.state {
        JobState::Pending | JobState::Waiting if record.running_since.is_none() => {
            (launched.or(since), policy.queued?)
        }
        JobState::Pending | JobState::Waiting | JobState::Running => {
            (record.running_since.or(since), policy.running?)
        }
        JobState::Unknown => (since, policy.unknown),
        JobState::Succeeded | JobState::Failed | JobState::Canceled => {
            (Some(record.missing_since?), policy.unknown)
        }
    };
    Some(add(began?, allowed))
}

/// A job that nobody has been able to tell anything of for as long as the policy allows.
fn unknown_too_long(rules: &Rules<'_>, record: &JobRecord) -> Option<Need> {
    let n = record.attempt;
    // One more look first: the answer may have come since. A plan is no look.
    let look = rules.look(n)?;
    if due(rules, n) <= rules.s.now || rules.s.desired.mode == Mode::Paused {
        return None;
    }
    let policy = rules.s.policy;
    let provision = record.job_type != JobType::Deprovision;
    // Only what this process was answered itself, after all that time by its own clock, says that nobody
    // can tell. A backend that is away has said nothing.
    let told = look.answered
        && look
            .dark_since
            .is_some_and(|dark| look.asked.elapsed_since(dark) >= policy.unknown);
    if told && rules.goes() && record.reason == Some(Reason::Unfinished) {
        let mut closed = rules.closed(record, JobState::Failed, Reason::Unfinished);
        super::absorb::failed(&mut closed, policy, rules.s.now, rules.s.seed);
        let why = Why::UnknownPastDeadline(n);
        return Some(Need::Now(write(vec![closed], None, why)));
    }
    let assumed_over = told && rules.goes() && (provision || !blocks(rules, record));
    if !assumed_over && !rules.retry_requested() {
        return None;
    }
    let closed = if record.state.is_terminal() {
        purged(rules, record) // its end was seen
    } else {
        let reason = match record.reason {
            Some(Reason::Stray) => Reason::Stray,
            _ => Reason::Assumed,
        };
        let mut closed = rules.closed(record, JobState::Failed, reason);
        closed.missing_since = None;
        closed.set_message("its outcome was never known; taken as over after the deadline");
        closed
    };
    Some(Need::Now(write(
        vec![closed],
        None,
        Why::UnknownPastDeadline(n),
    )))
}

fn blocks(rules: &Rules<'_>, record: &JobRecord) -> bool {
    record.block_deletion_on_failure.unwrap_or_else(|| {
        rules
            .s
            .backends
            .owner(record)
            .is_none_or(|(_, caps)| caps.block_deletion_on_failure)
    })
}

/// The record of a job that the backend was proven to have forgotten.
fn purged(rules: &Rules<'_>, record: &JobRecord) -> JobRecord {
    super::absorb::purged(record, rules.s.policy, rules.s.now, rules.s.seed)
}

/// When the backend may be asked to cancel (again).
fn next_cancel(rules: &Rules<'_>, record: &JobRecord) -> Timestamp {
    let again = rules.pace(record.attempt).and_then(|pace| pace.cancel);
    let ladder = cancel::due(rules.s.policy, record);
    ladder
        .max(again.map(|cancel| cancel.again))
        .unwrap_or(rules.s.now)
}

/// When an attempt may be asked about again.
fn due(rules: &Rules<'_>, attempt: u64) -> Timestamp {
    rules.pace(attempt).map_or(rules.s.now, |pace| pace.due)
}

/// Whether the policy takes a forgotten job as succeeded.
pub(super) fn purge_succeeds(policy: &super::Policy) -> bool {
    policy.config.purge == Purge::AssumeSucceeded
}
