//! Actions on a living resource: what is still to be done of what was asked for.

use jiff::Timestamp;

use super::Rules;
use crate::lifecycle::decision::{Decision, Why};
use crate::lifecycle::desired::ActionRequest;
use crate::{JobRecord, JobState, JobType, Reason};

/// What becomes of one request.
enum Act<'a> {
    /// It was answered.
    Done,
    /// It is launched for the first time, or once more.
    Launch,
    /// Its launch was turned away, and goes out again under its token.
    Again(&'a JobRecord),
    /// It is tried again at this moment.
    Later(Timestamp),
    /// Nothing more is done about it until another request comes.
    Held(u64),
}

impl<'a> Rules<'a> {
    /// The first action that is to be started now, or what the object rests on with its actions.
    pub(super) fn act(&self) -> Result<Decision, (Option<Timestamp>, Option<Why>)> {
        let mut wake: Option<Timestamp> = None;
        let mut why = None;
        for action in &self.s.desired.actions {
            match self.state_of(action) {
                Act::Done => {}
                Act::Launch if self.can_act() => {
                    let job_type = JobType::Action(action.name);
                    return Ok(self.launch(job_type, Why::ActionRequested));
                }
                Act::Launch => why = why.or(Some(Why::NoActions)),
                Act::Again(record) => {
                    let why = Why::BackoffOver(record.attempt);
                    return Ok(self.send_again(record, why));
                }
                Act::Later(at) => wake = Some(wake.map_or(at, |known| known.min(at))),
                Act::Held(n) => why = why.or(Some(Why::ActionHeld(n))),
            }
        }
        Err((wake, why))
    }

    /// A provider that is not there is another matter, which the launch tells.
    fn can_act(&self) -> bool {
        let caps = self.s.backends.capabilities(&self.s.desired.provider);
        caps.is_none_or(|caps| caps.actions)
    }

    fn state_of(&self, action: &ActionRequest) -> Act<'a> {
        let newest = self.newest(JobType::Action(action.name));
        let Some(newest) = newest.filter(|r| r.action_request.as_ref() == Some(&action.request))
        else {
            return Act::Launch;
        };
        let n = newest.attempt;
        if newest.state == JobState::Succeeded {
            return Act::Done;
        }
        if newest.was_turned_away() {
            return match self.backoff_left(newest) {
                Some(until) => Act::Later(until),
                None if self.is_to_be_sent_again(newest) => Act::Again(newest),
                None => Act::Launch,
            };
        }
        let ours = matches!(
            newest.reason,
            Some(Reason::Superseded | Reason::CanceledByUs | Reason::Duplicate | Reason::Withdrawn)
        );
        // It was ended for something else, and is wanted still. One that ran to an end of its own is not.
        if ours && newest.state == JobState::Canceled && newest.cancel_requested_at.is_some() {
            return Act::Launch;
        }
        // A failure counts also where it was not held against the attempt, because we wanted its end.
        let failures = newest.failures.max(u32::from(newest.may_have_run()));
        let by_others = newest.state == JobState::Canceled && newest.cancel_requested_at.is_none();
        let stray = newest.reason == Some(Reason::Stray);
        if by_others || stray || failures >= self.s.policy.config.action_tries {
            return Act::Held(n);
        }
        match self.backoff_left(newest) {
            Some(until) => Act::Later(until),
            None => Act::Launch,
        }
    }

    /// Whether this very action is still asked for.
    pub(in crate::lifecycle) fn is_asked_for(&self, record: &JobRecord) -> bool {
        let mut actions = self.s.desired.actions.iter();
        actions.any(|action| {
            record.job_type == JobType::Action(action.name)
                && record.action_request.as_ref() == Some(&action.request)
        })
    }
}
