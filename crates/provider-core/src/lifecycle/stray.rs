//! Jobs that were started without what they were to be given.

use super::absorb::{Context, failed};
use crate::{JobRecord, JobState, Reason};

/// Puts on record that a job is stray: whatever it did, it did not do what it was launched for. Of one that
/// has ended, that is its end, however it ended.
pub(super) fn mark(record: &mut JobRecord, message: &str, context: &Context<'_>) {
    if record.reason == Some(Reason::Stray) {
        return;
    }
    record.reason = Some(Reason::Stray);
    record.set_message(self::message(message));
    if !record.state.is_terminal() || record.state == JobState::Failed {
        return;
    }
    let ended = !record.may_be_live();
    record.state = JobState::Failed;
    record.state_since = Some(context.now);
    if ended {
        failed(record, context.policy, context.now, context.seed);
    }
}

/// What is said of a stray job of which the provider says nothing.
pub(super) fn message(told: &str) -> &str {
    if told.is_empty() {
        "the job was started without what it was to be given"
    } else {
        told
    }
}
