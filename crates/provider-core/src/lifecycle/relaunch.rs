//! Jobs that people start at a backend as copies of ours: looked for before anything is launched or let
//! go, and while something that has failed rests; put on record as attempts of their own.

use std::time::Duration;

use jiff::Timestamp;

use super::absorb::{Context, apply, is_known};
use super::decide::{Rules, decision};
use super::decision::{Action, Call, Decision, Ground, Hold, Release, Right, Standing, Why};
use crate::clock::add;
use crate::{JobRecord, JobType, Reason, Relaunched, history};

/// Of so many copies of one job the ends go on record. Further ones are only taken in while they are alive, so
/// that a job which something copies again and again does not fill the object's status.
const MAX_ENDED: usize = 20;

/// How long a back-off lasts at most without a look whether a person has relaunched what failed.
const LOOK_IN_BACKOFF: Duration = Duration::from_secs(300);

/// A search for copies in this pass.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RelaunchLook {
    /// The provider that was asked.
    pub provider: String,
    /// When it is asked again, because the search failed.
    pub again: Option<Timestamp>,
}

/// What a look is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Nothing may be launched or let go without it.
    Must,
    /// A copy would end the rest; the rest is right without it.
    May,
}

/// What comes before a launch or a release: a look, by every provider that can, whether a person has
/// started a copy of a job of the object. Before a rest after failures as well: the copy continues them.
pub(super) fn first(rules: &Rules<'_>, next: Decision) -> Decision {
    let Some(need) = need(&next.action) else {
        return next;
    };
    let owners = owners(rules);
    for (owner, n) in &owners {
        let mut looks = rules.pass.relaunch_looks.iter();
        match (looks.find(|look| look.provider == *owner), need) {
            (None, _) => return decision(Action::Call(Call::FindRelaunched(*n)), next.why),
            (
                Some(RelaunchLook {
                    again: Some(at), ..
                }),
                Need::Must,
            ) => {
                let reason = format!(
                    "{owner} cannot tell whether a person has relaunched a job of this object; it is \
                     asked again"
                );
                return rules.rest(
                    Standing::Waiting { reason },
                    Some(*at),
                    Why::RelaunchesUnknown(*n),
                );
            }
            // A look that fails is no reason for another standing, where none was needed.
            (Some(_), _) => {}
        }
    }
    match need {
        Need::May if !owners.is_empty() => with_next_look(rules, next),
        _ => next,
    }
}

/// The same for a person who asks what comes next: a look that was not needed is no answer to that.
pub(super) fn told(rules: &Rules<'_>, next: Decision) -> Decision {
    match need(&next.action) {
        Some(Need::May) if !owners(rules).is_empty() => with_next_look(rules, next),
        _ => first(rules, next),
    }
}

fn need(action: &Action) -> Option<Need> {
    match action {
        Action::Write { then, forget, .. } => {
            let launches = matches!(then, Some(Right::Launch(_)));
            (launches || !forget.is_empty()).then_some(Need::Must)
        }
        Action::Rest(rest) => match &rest.standing {
            // The other grounds ask nobody: what is left behind is in the receipt.
            Standing::Released(Release {
                ground:
                    Ground::Deprovisioned
                    | Ground::ProviderSkipped
                    | Ground::NeverProvisioned
                    | Ground::Retained
                    | Ground::FailureDoesNotBlock,
                ..
            })
            | Standing::Absent { .. } => Some(Need::Must),
            Standing::BackingOff { failures, .. } if *failures > 0 => Some(Need::May),
            Standing::Held(Hold::FailuresExhausted { .. } | Hold::CanceledByOthers { .. }) => {
                Some(Need::May)
            }
            _ => None,
        },
        Action::Call(_) => None,
    }
}

/// Who can look for copies, and the newest attempt of each that there may be a copy of.
fn owners<'a>(rules: &Rules<'a>) -> Vec<(&'a str, u64)> {
    let mut copied: Vec<&JobRecord> = rules
        .mine()
        .filter(|record| can_be_copied(record))
        .collect();
    copied.sort_by_key(|record| std::cmp::Reverse(record.attempt));
    let mut owners: Vec<(&str, u64)> = Vec::new();
    for record in copied {
        // Nobody may be left to ask.
        if let Some((owner, capabilities)) = rules.s.backends.owner(record)
            && capabilities.find_relaunched
            && owners.iter().all(|(known, _)| *known != owner)
        {
            owners.push((owner, record.attempt));
        }
    }
    owners
}

/// A rest that ends in time for the next look. A hold may last for weeks, with many others beside it.
fn with_next_look(rules: &Rules<'_>, mut next: Decision) -> Decision {
    let Action::Rest(rest) = &mut next.action else {
        return next;
    };
    let slow = rules.slow_wake();
    let look = match rest.standing {
        Standing::BackingOff { .. } => slow.min(add(rules.s.now, LOOK_IN_BACKOFF)),
        _ => slow,
    };
    rest.wake_at = Some(rest.wake_at.map_or(look, |at| at.min(look)));
    next
}

/// Whether there may be a job of this attempt that a person could copy, and that would be found.
pub(super) fn can_be_copied(record: &JobRecord) -> bool {
    record.token.is_some() && record.may_have_run()
}

/// Puts copies on record that are not on it yet: every one that may be alive, and of those that have ended
/// the ones that count. A copy of the newest attempt continues it. While the object is deleted, anything
/// that was provisioned must be followed by a deprovision.
pub(super) fn put_on_record(
    records: &[JobRecord],
    asked: &JobRecord,
    found: &[Relaunched],
    deleting: bool,
    context: &Context<'_>,
) -> Vec<JobRecord> {
    let mut all = records.to_vec();
    let mut new = Vec::new();
    for copy in found {
        // Copies share the token of their original, which has the lowest number.
        let of_this = |record: &&JobRecord| {
            record.token.as_ref() == Some(&copy.token) && record.provider == asked.provider
        };
        let Some(original) = all
            .iter()
            .filter(of_this)
            .min_by_key(|r| r.attempt)
            .cloned()
        else {
            continue;
        };
        let mut record = copied(&all, &original, copy, context);
        if is_known(&all, &record, &copy.status.job) {
            continue;
        }
        let ended = copy.status.state.is_terminal() && copy.status.settled;
        let newest = newest_ran(&all, &original, asked);
        let continues = newest.is_some_and(|newest| newest.token.as_ref() == Some(&copy.token));
        let counts = continues || (deleting && original.job_type != JobType::Deprovision);
        let is_one_more = || all.iter().filter(of_this).count() > MAX_ENDED;
        if ended && (!counts || is_one_more()) {
            continue;
        }
        apply(&mut record, &copy.status, context);
        all.push(record.clone());
        new.push(record);
    }
    new
}

/// The newest attempt of a target of which a job may have run.
fn newest_ran<'a>(
    records: &'a [JobRecord],
    original: &JobRecord,
    asked: &JobRecord,
) -> Option<&'a JobRecord> {
    let same = |record: &&JobRecord| {
        (record.target == original.target || record.target == asked.target) && record.may_have_run()
    };
    records.iter().filter(same).max_by_key(|r| r.attempt)
}

fn copied(
    records: &[JobRecord],
    original: &JobRecord,
    copy: &Relaunched,
    context: &Context<'_>,
) -> JobRecord {
    let mut record = JobRecord::new(history::next_attempt(records), original.job_type);
    record.target.clone_from(&original.target);
    record.provider.clone_from(&original.provider);
    record.token.clone_from(&original.token);
    record.config_version.clone_from(&original.config_version);
    record.block_deletion_on_failure = original.block_deletion_on_failure;
    record.action_request.clone_from(&original.action_request);
    record.copy_of = Some(original.attempt);
    record.reason = Some(Reason::RelaunchedByPerson);
    record.timestamp = Some(context.now);
    record.state_since = Some(context.now);
    // It began no earlier than what it copies.
    let began = copy.status.created_at.or(copy.status.started_at);
    let began = began.or(original.sent_at).or(original.timestamp);
    record.sent_at = began.map(|at| at.min(context.now));
    let target = original.target.as_deref();
    let last = history::newest(records, original.job_type, target);
    record.failures = last
        .filter(|last| {
            last.job_type == JobType::Deprovision
                || last.config_version == record.config_version
                    && last.action_request == record.action_request
        })
        .map_or(0, |last| last.failures);
    // The newest record carries on what was answered last.
    let newest = records
        .iter()
        .filter(|other| other.target == original.target);
    record.retry_request = newest
        .max_by_key(|other| other.attempt)
        .and_then(|newest| newest.retry_request.clone());
    record
}

/// Whether something else was done since the launch that this copy repeats, so that its success proves
/// nothing: the two may have worked at once.
pub(super) fn is_overtaken(rules: &Rules<'_>, record: &JobRecord) -> bool {
    record.copy_of.is_some_and(|of| {
        rules.mine().any(|other| {
            (of..record.attempt).contains(&other.attempt)
                && other.may_have_run()
                && matches!(other.job_type, JobType::Provision | JobType::Deprovision)
                && (other.job_type != record.job_type
                    || other.config_version != record.config_version
                        && record.job_type == JobType::Provision)
        })
    })
}
