//! The writes by which attempts begin, go out again, and are closed.

use super::{Rules, write};
use crate::lifecycle::Mode;
use crate::lifecycle::decision::{Decision, Hold, Right, Standing, Why};
use crate::{JobRecord, JobState, JobType, OperationToken, Reason, history};

impl Rules<'_> {
    /// A new attempt: its intent is written first.
    pub(super) fn launch(&self, job_type: JobType, why: Why) -> Decision {
        let desired = self.s.desired;
        // The request for an action is a person's.
        let action = job_type.action();
        if desired.mode == Mode::Manual && !self.retry_requested() && action.is_none() {
            return self.rest(Standing::Held(Hold::Manual), None, Why::Mode);
        }
        let Some(caps) = self.s.backends.capabilities(&desired.provider) else {
            return self.missing_provider(&desired.provider);
        };
        let n = history::next_attempt(self.s.records);
        let mut record = JobRecord::new(n, job_type);
        record.target.clone_from(&desired.target);
        record.provider = Some(desired.provider.clone());
        record.token = Some(self.token(n));
        record.config_version = Some(desired.version.clone());
        record.reason = Some(Reason::Intended);
        record.timestamp = Some(self.s.now);
        record.sent_at = Some(self.s.now);
        record.state_since = Some(self.s.now);
        record.sends = 1;
        if job_type == JobType::Deprovision {
            record.block_deletion_on_failure = Some(caps.block_deletion_on_failure);
        }
        // What was answered is carried on: the record that answered it is trimmed one day. An action answers
        // its own request, and no other.
        let is_retry = self.retry_requested() && action.is_none();
        record.retry_request = if is_retry {
            desired.retry_request.clone()
        } else {
            self.answered().cloned()
        };
        if let Some(name) = action {
            let mut actions = desired.actions.iter();
            let asked = actions.find(|action| action.name == *name);
            record.action_request = asked.map(|action| action.request.clone());
        }
        if let Some(last) = self.newest(job_type).filter(|_| !is_retry) {
            // Failures in a row: of the same type, for the same configuration or request.
            let in_row = match job_type {
                JobType::Deprovision => true,
                JobType::Action(_) => last.action_request == record.action_request,
                _ => last.config_version.as_ref() == Some(&desired.version),
            };
            record.failures = if in_row { last.failures } else { 0 };
        }
        write(vec![record], Some(Right::Launch(n)), why)
    }

    /// Whether an attempt that was turned away is still what would be launched: it goes out under its
    /// token and on its record, so that an outage does not fill the history.
    pub(super) fn is_to_be_sent_again(&self, record: &JobRecord) -> bool {
        let desired = self.s.desired;
        record.was_turned_away()
            && (desired.mode == Mode::Managed || record.job_type.action().is_some())
            && record.token.is_some()
            && record.config_version.as_ref() == Some(&desired.version)
            && record.provider.as_deref() == Some(desired.provider.as_str())
            && self.s.backends.capabilities(&desired.provider).is_some()
    }

    /// The same attempt, under the same token, once more. The write is the fence: of two
    /// processes that want this at once, one loses.
    pub(in crate::lifecycle) fn send_again(&self, record: &JobRecord, why: Why) -> Decision {
        let n = record.attempt;
        let mut record = record.clone();
        if record.was_turned_away() {
            // Nothing of it was carried out: a search for it begins here.
            record.timestamp = Some(self.s.now);
            record.finished_at = None;
        }
        record.state = JobState::Pending;
        record.reason = Some(Reason::Intended);
        record.sent_at = Some(self.s.now);
        record.state_since = Some(self.s.now);
        record.sends = record.sends.saturating_add(1);
        record.retry_at = None;
        write(vec![record], Some(Right::Launch(n)), why)
    }

    /// Closes an attempt that was proven not to be launched.
    pub(in crate::lifecycle) fn withdraw(&self, record: &JobRecord) -> Decision {
        let n = record.attempt;
        let mut record = self.closed(record, JobState::Canceled, Reason::Withdrawn);
        record.cancel_requested_at.get_or_insert(self.s.now);
        record.set_message("withdrawn before it was launched");
        write(vec![record], None, Why::NoLongerWanted(n))
    }

    /// A record that has ended at this moment, by a rule rather than by the backend's word.
    pub(in crate::lifecycle) fn closed(
        &self,
        record: &JobRecord,
        state: JobState,
        reason: Reason,
    ) -> JobRecord {
        let mut record = record.clone();
        record.state = state;
        record.reason = Some(reason);
        record.doubtful = false;
        record.state_since = Some(self.s.now);
        record.finished_at.get_or_insert(self.s.now);
        record.retry_at = None;
        record
    }

    fn token(&self, attempt: u64) -> OperationToken {
        OperationToken::from_random(self.s.seed.wrapping_add(u128::from(attempt)))
    }
}
