//! What is wanted beside a configuration: what was there before, and targets that go while their object stays.

use super::{Rules, decision, write};
use crate::lifecycle::Mode;
use crate::lifecycle::decision::{Action, Decision, Rest, Standing, Why};
use crate::{JobRecord, JobState, JobType, Reason, history};

impl Rules<'_> {
    /// What is there without a record of it, and is said to be there, goes on record: as applied, so that a
    /// deletion removes it.
    pub(super) fn import(&self) -> Option<Decision> {
        let desired = self.s.desired;
        let version = desired.already.as_ref()?;
        if desired.mode == Mode::Paused || self.mine().next().is_some() {
            return None;
        }
        let mut record = JobRecord::new(history::next_attempt(self.s.records), JobType::Provision);
        record.target.clone_from(&desired.target);
        record.provider = Some(desired.provider.clone());
        record.config_version = Some(version.clone());
        record.reason = Some(Reason::Imported);
        record.state = JobState::Succeeded;
        record.timestamp = Some(self.s.now);
        record.state_since = Some(self.s.now);
        record.finished_at = Some(self.s.now);
        record.set_message("taken over as it is; no job was launched");
        Some(write(vec![record], None, Why::Imported))
    }

    /// A target that is to go while the object stays: deprovisioned as if the object were deleted, and
    /// forgotten then. What may be left behind keeps its records.
    pub(super) fn remove(&self) -> Decision {
        if self.mine().next().is_none() {
            let left_behind = Vec::new();
            return self.rest(Standing::Absent { left_behind }, None, Why::Absent);
        }
        let next = self.deprovision();
        let Action::Rest(Rest {
            standing: Standing::Released(release),
            ..
        }) = &next.action
        else {
            return next;
        };
        // Who says that it was there already would have it taken over once more.
        let is_said_to_be_there = self.s.desired.already.is_some();
        if release.left_behind.is_empty() && !is_said_to_be_there {
            let forget = self.mine().map(|record| record.attempt).collect();
            let action = Action::Write {
                records: Vec::new(),
                forget,
                then: None,
            };
            return decision(action, Why::Forgotten);
        }
        let left_behind = release.left_behind.clone();
        self.rest(Standing::Absent { left_behind }, None, next.why)
    }
}
