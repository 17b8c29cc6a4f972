//! Questions about an object's records, and the one way to shorten them.

mod check;

pub use check::{Note, Rule, check};
use jiff::Timestamp;

use crate::{JobRecord, JobType, OperationToken, Reason};

/// Gives every record a number of its own. A record of an older operator (attempt zero) gets its
/// place in the order: after the records before it in the list, which is how those operators
/// appended. So does one whose number is taken, or leaves no room for others: no two attempts may
/// be taken for one, whoever edited the list.
pub fn number(records: &mut [JobRecord]) {
    let mut last = 0;
    let mut seen = std::collections::HashSet::new();
    for record in records.iter_mut().filter(|record| record.defect.is_none()) {
        if !is_usable(record.attempt) || seen.contains(&record.attempt) {
            record.attempt = last + 1;
        }
        seen.insert(record.attempt);
        last = last.max(record.attempt);
    }
}

/// Whether [`number`] has nothing to do.
pub(crate) fn is_numbered(records: &[JobRecord]) -> bool {
    // Histories are short: comparing all pairs is cheaper than a set.
    let mut rest = records.iter().filter(|record| record.defect.is_none());
    std::iter::from_fn(|| rest.next().map(|record| (record, rest.clone()))).all(
        |(record, mut later)| {
            is_usable(record.attempt) && later.all(|other| other.attempt != record.attempt)
        },
    )
}

/// Whether an attempt can have this number, and leaves room for others.
fn is_usable(attempt: u64) -> bool {
    (1..=u64::MAX / 2).contains(&attempt)
}

/// The attempt number for the next record: greater than every number in use.
#[must_use]
pub fn next_attempt(records: &[JobRecord]) -> u64 {
    records
        .iter()
        .map(|record| record.attempt)
        .max()
        .unwrap_or(0)
        .saturating_add(1)
}

/// The newest attempt of a type for a target, by attempt number; time stamps play no part.
#[must_use]
pub fn newest<'a>(
    records: &'a [JobRecord],
    job_type: JobType,
    target: Option<&str>,
) -> Option<&'a JobRecord> {
    records
        .iter()
        .filter(|record| record.job_type == job_type && record.target.as_deref() == target)
        .max_by_key(|record| record.attempt)
}

/// When the provider of this attempt was last sent another launch of its type for its target, whatever
/// became of it; launches that did not reach the backend do not count.
#[must_use]
pub fn last_sent(records: &[JobRecord], attempt: &JobRecord) -> Option<Timestamp> {
    let before = records.iter().filter(|other| {
        other.attempt != attempt.attempt
            && other.job_type == attempt.job_type
            && other.target == attempt.target
            && (other.provider.is_none() || other.provider == attempt.provider)
            && (other.may_have_run() || other.reason == Some(Reason::Rejected))
    });
    before
        .filter_map(|other| other.sent_at.or(other.timestamp))
        .max()
}

/// Replaces the record of the same attempt, or appends.
pub fn put(records: &mut Vec<JobRecord>, record: JobRecord) {
    match records
        .iter_mut()
        .find(|known| known.attempt == record.attempt)
    {
        Some(known) => *known = record,
        None => records.push(record),
    }
}

/// Shortens the history to `keep` records of each type and target, oldest out first.
///
/// Never dropped, whatever `keep` says: a record of a job that may be live or cannot be read,
/// the newest of its type and target, and the newest of its type and target that is known
/// to have reached the backend (it is the evidence that there is something to deprovision). Jobs that people
/// have started as copies of one another stay together: one whose record is gone would be found by the
/// token of the others, and taken for a new one.
pub fn trim(records: &mut Vec<JobRecord>, keep: usize) {
    let drop: Vec<u64> = records
        .iter()
        .filter(|record| !record.may_be_live())
        .filter(|record| {
            let newer = || {
                records.iter().filter(|other| {
                    other.defect.is_none()
                        && other.job_type == record.job_type
                        && other.target == record.target
                        && other.attempt > record.attempt
                })
            };
            // Not by one that may still prove never to have been launched.
            let ran = |other: &JobRecord| other.may_have_run() && !other.is_unresolved();
            let replaced = !record.may_have_run() || newer().any(ran);
            newer().count() >= keep.max(1) && replaced
        })
        .map(|record| record.attempt)
        .collect();
    if drop.is_empty() {
        return;
    }
    let goes = |record: &JobRecord| !record.may_be_live() && drop.contains(&record.attempt);
    let stay = records.iter().filter(|record| !goes(record));
    let tokens = stay.filter_map(|record| record.token.clone());
    let tokens: Vec<OperationToken> = tokens.collect();
    records.retain(|record| {
        let is_of_one = |token| tokens.contains(token);
        !goes(record) || record.token.as_ref().is_some_and(is_of_one)
    });
}
