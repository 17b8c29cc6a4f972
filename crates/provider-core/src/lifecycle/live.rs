//! Rules for attempts whose job may be alive: find it, watch it, end it.

use std::time::Duration;

use jiff::Timestamp;

use super::Mode;
use super::decide::{LAUNCH_LEASE, Rules, decision, write};
use super::decision::{Action, Block, Call, Decision, Right, Standing, Why};
use super::policy::{Ambiguity, Purge};
use crate::clock::{add, since};
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
    let window = caps.visibility_window.saturating_add(LAUNCH_LEASE);
    // Judged by how long this process has looked itself: the sender's clock is another clock.
    let pace = rules.pass.paces.iter().find(|pace| pace.attempt == n);
    let looking_since = pace
        .and_then(|pace| pace.vain)
        .filter(|vain| vain.sent_at == sent_at && vain.since <= now)
        .map_or(now, |vain| vain.since);
    let certain_from = add(looking_since, window);
    let proven = rules
        .pass
        .absent
        .is_some_and(|(attempt, asked)| attempt == n && asked >= certain_from);
    if proven {
        return if rules.s.desired.mode == Mode::Paused {
            Need::Later(rules.slow_wake(), Why::Mode)
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
    // It was looked for, and there is no answer; nor was there one for as long as a state may be unknown.
    let no_answer = pace.is_some_and(|pace| pace.vain.is_none());
    if no_answer && since(now, sent_at) >= rules.s.policy.unknown {
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
        _ => doubt(rules, record, rules.slow_wake()),
    }
}

/// A doubt that only a person can end.
fn doubt(rules: &Rules<'_>, record: &JobRecord, wake: Timestamp) -> Need {
    let n = record.attempt;
    if rules.retry_requested() && rules.s.desired.mode != Mode::Paused {
        // The person has looked. It stays on record that a job may have run.
        let mut record = rules.closed(record, JobState::Failed, Reason::Ambiguous);
        record.set_message("released from doubt by a request to retry");
        Need::Now(write(vec![record], None, Why::RetryRequested))
    } else {
        let block = Block::AmbiguousLaunch { attempt: n };
        Need::Person(block, wake, Why::DoubtIsHeld(n))
    }
}

/// Whether this very launch would be made now.
fn is_wanted(rules: &Rules<'_>, record: &JobRecord) -> bool {
    let desired = rules.s.desired;
    let newest = rules.mine().all(|other| other.attempt <= record.attempt);
    let alone = rules
        .mine()
        .all(|r| r.attempt == record.attempt || !r.may_be_live());
    let same_owner = record.provider.as_deref() == Some(desired.provider.as_str());
    let same_purpose = match record.job_type {
        JobType::Provision => {
            !rules.deleting() && record.config_version.as_ref() == Some(&desired.version)
        }
        JobType::Deprovision => rules.deleting(),
    };
    newest && alone && same_owner && same_purpose
}

// ---- a job with a name ----

fn watch(rules: &Rules<'_>, record: &JobRecord, caps: &Capabilities) -> Need {
    let n = record.attempt;
    let now = rules.s.now;
    let missing = matches!(
        record.reason,
        Some(Reason::PurgeSuspected | Reason::Replaced)
    );
    if missing && record.is_searchable(caps) {
        if rules.pass.absent.is_some_and(|(attempt, _)| attempt == n) {
            return Need::Now(write(vec![purged(rules, record)], None, Why::Purged(n)));
        }
        if due(rules, n) <= now {
            return Need::Now(decision(Action::Call(Call::Find(n)), Why::VerifyPurge(n)));
        }
    }
    let late = deadline(rules, record);
    if record.state == JobState::Unknown
        && late.is_some_and(|at| at <= now)
        && let Some(need) = unknown_too_long(rules, record)
    {
        return need;
    }
    let end = must_end(rules, record, late);
    let mut wake = late.filter(|at| *at > now);
    if let Some((reason, why)) = &end
        && caps.cancel
        && rules.s.desired.mode != Mode::Paused
    {
        let next = next_cancel(rules, record);
        if next <= now {
            let round = next_round(rules, record);
            let mut record = record.clone();
            record.cancel_requested_at.get_or_insert(now);
            record.cancel_requests = round;
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
    if record.state == JobState::Unknown && late.is_some_and(|at| at <= now) {
        let block = Block::UnknownTooLong { attempt: n };
        return Need::Person(block, at, Why::UnknownPastDeadline(n));
    }
    let disobeyed = record
        .cancel_requested_at
        .is_some_and(|asked| since(now, asked) >= rules.s.policy.cancelling);
    let stuck = match &end {
        Some((_, why)) => disobeyed || (!caps.cancel && matches!(why, Why::PastDeadline(_))),
        None => false,
    };
    if stuck {
        return Need::Person(Block::NotEnding { attempt: n }, at, Why::PastDeadline(n));
    }
    Need::Later(at, end.map_or(Why::PolledRecently(n), |(_, why)| why))
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
    let provision = record.job_type == JobType::Provision;
    if rules.deleting() && provision && rules.deletion_cancels() {
        return Some((Reason::CanceledByUs, Why::InTheWayOfDeletion(n)));
    }
    if rules
        .mine()
        .any(|other| other.attempt > n && other.may_have_run())
    {
        return Some((Reason::Duplicate, Why::NotTheNewest(n)));
    }
    let other_version = record.config_version.as_ref() != Some(&rules.s.desired.version);
    if provision && !rules.deleting() && other_version && rules.supersede_cancels() {
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

/// When the present phase of a job has lasted too long.
fn deadline(rules: &Rules<'_>, record: &JobRecord) -> Option<Timestamp> {
    let policy = rules.s.policy;
    let began = record.state_since.or(record.timestamp)?;
    let allowed: Duration = match record.state {
        JobState::Pending | JobState::Waiting => policy.queued?,
        JobState::Running => policy.running?,
        JobState::Unknown => policy.unknown,
        JobState::Succeeded | JobState::Failed | JobState::Canceled => return None,
    };
    Some(add(began, allowed))
}

/// A job whose state has been unknown for as long as the policy allows.
fn unknown_too_long(rules: &Rules<'_>, record: &JobRecord) -> Option<Need> {
    let n = record.attempt;
    // One more look first: the answer may have come since.
    if due(rules, n) <= rules.s.now || rules.s.desired.mode == Mode::Paused {
        return None;
    }
    if rules.deleting() && record.reason == Some(Reason::Unfinished) {
        let mut closed = rules.closed(record, JobState::Failed, Reason::Unfinished);
        super::absorb::out_of_time(&mut closed, rules.s.policy, rules.s.now, rules.s.seed);
        let why = Why::UnknownPastDeadline(n);
        return Some(Need::Now(write(vec![closed], None, why)));
    }
    let provision = record.job_type == JobType::Provision;
    let assumed_over = rules.deleting() && (provision || !blocks(rules, record));
    if !assumed_over && !rules.retry_requested() {
        return None;
    }
    let mut closed = rules.closed(record, JobState::Failed, Reason::Assumed);
    closed.set_message("its outcome was never known; taken as over after the deadline");
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
    match record.cancel_requested_at {
        Some(first) => add(first, cancel_round(rules, record.cancel_requests)),
        None => rules.s.now,
    }
}

/// How long after the first cancel round `n` is due: at once, then after the retry delay, which
/// doubles up to 64 times, so that a job that does not obey is not bombarded.
fn cancel_round(rules: &Rules<'_>, n: u32) -> Duration {
    let doublings = n.min(6);
    let further = n - doublings;
    let delays = ((1_u32 << doublings) - 1).saturating_add(further.saturating_mul(64));
    rules.s.policy.cancel_retry.saturating_mul(delays)
}

/// The round after this one. Rounds that were missed are not caught up on.
fn next_round(rules: &Rules<'_>, record: &JobRecord) -> u32 {
    let Some(first) = record.cancel_requested_at else {
        return 1;
    };
    let elapsed = since(rules.s.now, first);
    let mut round = record.cancel_requests.saturating_add(1);
    while round <= 6 && cancel_round(rules, round) <= elapsed {
        round += 1;
    }
    if round > 6 {
        let beyond = elapsed.saturating_sub(cancel_round(rules, 6)).as_nanos();
        let delay = rules.s.policy.cancel_retry.as_nanos().max(1) * 64;
        let missed = u32::try_from(beyond / delay).unwrap_or(u32::MAX);
        round = round.max(missed.saturating_add(7));
    }
    round
}

/// When an attempt may be asked about again. A clock that was set back makes it due.
fn due(rules: &Rules<'_>, attempt: u64) -> Timestamp {
    let pace = rules.pass.paces.iter().find(|pace| pace.attempt == attempt);
    match pace {
        Some(pace) if pace.asked <= rules.s.now => pace.due,
        _ => rules.s.now,
    }
}

/// Whether the policy takes a forgotten job as succeeded.
pub(super) fn purge_succeeds(policy: &super::Policy) -> bool {
    policy.config.purge == Purge::AssumeSucceeded
}
