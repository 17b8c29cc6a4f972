//! What can never be in a right history: a linter of records.

use std::fmt;

use serde::Serialize;

use crate::{JobRecord, JobState, JobType, Reason};

/// Something in a history that the engine never writes.
///
/// It is there because somebody else has written the status, or because of a defect of the engine.
/// `Display` gives it as one sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Note {
    /// The rule that is broken.
    pub rule: Rule,
    /// The attempts that break it, in the order of the list.
    pub attempts: Vec<u64>,
}

/// A rule that every history of the engine keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub enum Rule {
    /// Every record can be read.
    Readable,
    /// An attempt has one record.
    OneRecordAnAttempt,
    /// A job has one record.
    OneRecordAJob,
    /// A token belongs to one launch. Only jobs of the same launch share it, each with a name of its own.
    OneLaunchAToken,
    /// At most one attempt of a target is alive. Jobs that turned up beside it, because one launch made
    /// several or a person made a copy, are marked as such.
    OneLiveAttempt,
    /// What has succeeded in provisioning says which version it has brought about.
    SuccessHasAVersion,
    /// A job ends after it has started.
    EndAfterStart,
    /// What has ended for sure says when.
    EndHasATime,
    /// Only an end can be in doubt.
    OnlyEndsAreDoubtful,
    /// Only a deprovision is held back, or skipped.
    OnlyDeprovisionsWait,
    /// A cancel that was asked for says since when.
    CancelHasATime,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Readable => "the record cannot be read",
            Self::OneRecordAnAttempt => "one attempt has several records",
            Self::OneRecordAJob => "one job has several records",
            Self::OneLaunchAToken => "one token stands for several launches",
            Self::OneLiveAttempt => "several attempts of one target may be alive at once",
            Self::SuccessHasAVersion => "a provision has succeeded with no version",
            Self::EndAfterStart => "a job has ended before it has started",
            Self::EndHasATime => "an attempt has ended at no time",
            Self::OnlyEndsAreDoubtful => "an end is in doubt that is none",
            Self::OnlyDeprovisionsWait => "a launch is held back or skipped that is no deprovision",
            Self::CancelHasATime => "a cancel was asked for at no time",
        })
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (attempt", self.rule)?;
        for (place, attempt) in self.attempts.iter().enumerate() {
            let before = if place == 0 { " " } else { ", " };
            write!(f, "{before}{attempt}")?;
        }
        f.write_str(")")
    }
}

/// What is in these records and can never be in a right history; empty for every history of the engine.
///
/// Records of older operators, which have no token, are held to less: those operators left out versions
/// and times.
#[must_use]
pub fn check(records: &[JobRecord]) -> Vec<Note> {
    let mut notes = Vec::new();
    for (place, record) in records.iter().enumerate() {
        if record.defect.is_some() {
            notes.push(note(Rule::Readable, &[record]));
            continue; // nothing else that it says counts
        }
        notes.extend(alone(record).map(|rule| note(rule, &[record])));
        let earlier = records.iter().take(place);
        for other in earlier.filter(|other| other.defect.is_none()) {
            notes.extend(together(other, record).map(|rule| note(rule, &[other, record])));
        }
    }
    notes
}

fn note(rule: Rule, records: &[&JobRecord]) -> Note {
    let attempts = records.iter().map(|record| record.attempt).collect();
    Note { rule, attempts }
}

/// The rules that one record breaks by itself.
fn alone(record: &JobRecord) -> impl Iterator<Item = Rule> {
    let ours = record.token.is_some();
    let provision = record.job_type == JobType::Provision;
    let ended = record.state.is_terminal();
    let succeeded = record.state == JobState::Succeeded;
    let times = record.started_at.zip(record.finished_at);
    let broken = [
        (
            Rule::SuccessHasAVersion,
            ours && provision && succeeded && record.config_version.is_none(),
        ),
        (
            Rule::EndAfterStart,
            times.is_some_and(|(start, end)| end < start),
        ),
        (
            Rule::EndHasATime,
            ours && ended && !record.doubtful && record.finished_at.is_none(),
        ),
        (Rule::OnlyEndsAreDoubtful, record.doubtful && !ended),
        (
            Rule::OnlyDeprovisionsWait,
            record.job_type != JobType::Deprovision
                && matches!(record.reason, Some(Reason::HeldBack | Reason::Skipped)),
        ),
        (
            Rule::CancelHasATime,
            record.cancel_requests > 0 && record.cancel_requested_at.is_none(),
        ),
    ];
    broken
        .into_iter()
        .filter(|(_, is)| *is)
        .map(|(rule, _)| rule)
}

/// The rules that two records break together.
fn together(one: &JobRecord, two: &JobRecord) -> impl Iterator<Item = Rule> {
    let same_target = one.target == two.target;
    let same_type = one.job_type == two.job_type;
    let same_job = one.job_id.is_some()
        && (&one.job_id, &one.kind, &one.provider) == (&two.job_id, &two.kind, &two.provider);
    let same_token = one.token.is_some() && one.token == two.token;
    // A controller whose database was restored gives the ids of jobs that it has lost to others.
    let given_again = one.token != two.token && !(one.may_be_live() && two.may_be_live());
    // Jobs of one launch: each has a name. One that a person has copied may have gone without.
    let copied = one.copy_of.is_some() || two.copy_of.is_some();
    let named = one.job_id.is_some() && two.job_id.is_some();
    let twins = same_type && same_target && (named || copied);
    // What was not meant to be: a copy, one too many, or one that does something else.
    let beside = |record: &JobRecord| {
        let reason = record.reason.as_ref();
        record.copy_of.is_some() || matches!(reason, Some(Reason::Duplicate | Reason::Stray))
    };
    let broken = [
        (Rule::OneRecordAnAttempt, one.attempt == two.attempt),
        (Rule::OneRecordAJob, same_job && same_type && !given_again),
        (Rule::OneLaunchAToken, same_token && !twins),
        (
            Rule::OneLiveAttempt,
            same_target && one.may_be_live() && two.may_be_live() && !beside(one) && !beside(two),
        ),
    ];
    broken
        .into_iter()
        .filter(|(_, is)| *is)
        .map(|(rule, _)| rule)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ConfigVersion, OperationToken};

    fn ended(attempt: u64, token: u128) -> JobRecord {
        let mut record = JobRecord::new(attempt, JobType::Provision);
        record.state = JobState::Succeeded;
        record.token = Some(OperationToken::from_random(token));
        record.config_version = Some(ConfigVersion::from_text("v1-a".to_owned()));
        record.job_id = Some(attempt.to_string());
        record.started_at = Some("2026-01-01T00:00:00Z".parse().unwrap());
        record.finished_at = Some("2026-01-01T00:01:00Z".parse().unwrap());
        record
    }

    fn live(attempt: u64, token: u128) -> JobRecord {
        let mut record = ended(attempt, token);
        record.state = JobState::Running;
        record.finished_at = None;
        record
    }

    fn rules(records: &[JobRecord]) -> Vec<Rule> {
        check(records).into_iter().map(|note| note.rule).collect()
    }

    #[test]
    fn a_right_history_has_no_notes() {
        let mut twin = live(3, 2);
        twin.reason = Some(Reason::Duplicate);
        assert_eq!(rules(&[ended(1, 1), live(2, 2), twin]), []);
        let mut older = JobRecord::new(1, JobType::Provision);
        older.state = JobState::Succeeded;
        assert_eq!(rules(&[older]), []);
        // A job without a name that a person has found, and started once more.
        let mut doubt = ended(1, 1);
        (doubt.state, doubt.job_id) = (JobState::Failed, None);
        let mut copy = live(2, 1);
        copy.copy_of = Some(1);
        assert_eq!(rules(&[doubt, copy]), []);
    }

    #[test]
    fn each_rule_is_noted_when_it_is_broken_and_by_itself() {
        let change = |change: &dyn Fn(&mut JobRecord)| {
            let mut record = ended(1, 1);
            change(&mut record);
            vec![record]
        };
        let second = |change: &dyn Fn(&mut JobRecord)| {
            let mut record = ended(2, 2);
            change(&mut record);
            vec![ended(1, 1), record]
        };
        let cases = [
            (
                Rule::Readable,
                change(&|r| r.defect = Some("no type".to_owned())),
            ),
            (Rule::OneRecordAnAttempt, second(&|r| r.attempt = 1)),
            (
                Rule::OneRecordAJob,
                second(&|r| {
                    r.job_id = Some("1".to_owned());
                    r.token = Some(OperationToken::from_random(1));
                }),
            ),
            (
                Rule::OneLaunchAToken,
                second(&|r| {
                    r.token = Some(OperationToken::from_random(1));
                    r.job_type = JobType::Deprovision;
                }),
            ),
            (Rule::OneLiveAttempt, vec![live(1, 1), live(2, 2)]),
            (
                Rule::SuccessHasAVersion,
                change(&|r| r.config_version = None),
            ),
            (
                Rule::EndAfterStart,
                change(&|r| std::mem::swap(&mut r.started_at, &mut r.finished_at)),
            ),
            (Rule::EndHasATime, change(&|r| r.finished_at = None)),
            (
                Rule::OnlyEndsAreDoubtful,
                change(&|r| (r.state, r.doubtful) = (JobState::Running, true)),
            ),
            (
                Rule::OnlyDeprovisionsWait,
                change(&|r| r.reason = Some(Reason::Skipped)),
            ),
            (Rule::CancelHasATime, change(&|r| r.cancel_requests = 1)),
        ];
        for (rule, records) in cases {
            assert_eq!(rules(&records), [rule], "{rule:?}");
        }
    }

    #[test]
    fn a_note_names_its_attempts() {
        let notes = check(&[live(1, 1), live(2, 2)]);
        let text = notes[0].to_string();
        assert_eq!(
            text,
            "several attempts of one target may be alive at once (attempt 1, 2)"
        );
    }
}
