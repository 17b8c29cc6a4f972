//! When an object is let go, and what may be left behind then.

use std::time::Duration;

use jiff::Timestamp;

use super::{Rules, write};
use crate::clock::add;
use crate::lifecycle::decision::{Decision, Ground, Release, Standing, Why};
use crate::lifecycle::{Mode, relaunch};
use crate::{JobRecord, JobState, JobType, Reason};

/// How long a process has to have seen a deletion itself before it gives the object up, where the
/// policy's `abandonAfter` is longer.
const SEEN_DELETING: Duration = Duration::from_secs(3_600);

impl Rules<'_> {
    pub(super) fn abandon(&self) -> Option<Decision> {
        let since_when = self.s.deleting_since?;
        let after = self.s.policy.abandon_after?;
        if self.s.desired.mode == Mode::Paused
            || self.s.now < self.abandoned_from(since_when, after)
        {
            return None;
        }
        // What is done is done: only what may be left behind needs the deadline.
        let newest_provision = self
            .newest(JobType::Provision)
            .map_or(0, |record| record.attempt);
        let done = self.mine().all(|record| !record.may_be_live())
            && self.newest(JobType::Deprovision).is_some_and(|record| {
                record.attempt > newest_provision
                    && record.state == JobState::Succeeded
                    && !relaunch::is_overtaken(self, record)
            });
        (!done).then(|| self.release(Ground::Abandoned, Why::AbandonDeadline))
    }

    /// When deletion has lasted as long as the policy allows. The request for it was stamped by another
    /// clock: what this process has seen of the deletion itself counts as well, for an hour at most.
    pub(super) fn abandoned_from(&self, since_when: Timestamp, after: Duration) -> Timestamp {
        let now = self.s.now;
        let seen = self.pass.deleting.filter(|at| *at <= now).unwrap_or(now);
        add(since_when, after).max(add(seen, after.min(SEEN_DELETING)))
    }

    /// Lets the object go, on current records only: a stale reader would let go too early.
    pub(super) fn release(&self, ground: Ground, why: Why) -> Decision {
        if !self.pass.current {
            return write(Vec::new(), None, Why::ConfirmBeforeRelease);
        }
        let assumed = |record: &JobRecord| record.reason == Some(Reason::Assumed);
        // A removal that was only assumed may have left everything.
        let removed = ground == Ground::ProviderSkipped
            || self
                .newest(JobType::Deprovision)
                .is_some_and(|record| !assumed(record));
        let may_be_left = |record: &&JobRecord| match ground {
            Ground::NeverProvisioned => false,
            // What was removed may come back from a job whose end was only assumed.
            Ground::Deprovisioned | Ground::ProviderSkipped if removed => {
                record.job_type != JobType::Deprovision
                    && record.state == JobState::Failed
                    && assumed(record)
            }
            _ => record.may_have_run(),
        };
        let left_behind = self.mine().filter(may_be_left);
        let left_behind = left_behind.map(|record| record.attempt).collect();
        self.rest(
            Standing::Released(Release {
                ground,
                left_behind,
            }),
            None,
            why,
        )
    }
}
