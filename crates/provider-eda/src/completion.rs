//! What the object tells about the jobs that were started for it.

use std::time::Duration;

use jiff::Timestamp;
use provider_core::{
    ConfigVersion, JobRecord, JobRef, JobState, JobStatus, JobType, OperationToken, Reason,
    Resource,
};

use crate::client::std_duration;
use crate::kind::{is_blind, is_copy};
use crate::{Completion, EdaProvider};

impl Completion {
    /// Whether the object carries this version, whoever has applied it.
    pub(crate) fn shows_version(
        &self,
        resource: &Resource,
        version: Option<&ConfigVersion>,
    ) -> bool {
        let shown = resource.annotation(&self.version_annotation(resource));
        version.is_some_and(|version| shown == Some(version.as_str()))
    }

    /// Whether the operation that is shown is this event's; none where none is shown.
    pub(crate) fn shows_operation(
        &self,
        resource: &Resource,
        token: Option<&OperationToken>,
    ) -> Option<bool> {
        let seen = resource.annotation(&self.operation_annotation(resource))?;
        token.map(|token| seen == token.as_str())
    }

    /// Whether the automation has applied this version at this event.
    pub(crate) fn has_applied(
        &self,
        resource: &Resource,
        version: Option<&ConfigVersion>,
        token: Option<&OperationToken>,
        kind: Option<&str>,
    ) -> bool {
        let at_this_event = self.shows_operation(resource, token);
        self.shows_version(resource, version) && at_this_event.unwrap_or(!is_blind(kind))
    }

    /// Whether the automation has removed what it had made, at this event.
    pub(crate) fn has_removed(
        &self,
        resource: &Resource,
        token: Option<&OperationToken>,
        kind: Option<&str>,
    ) -> bool {
        let by_report = || self.has_worked_off(resource, token);
        !self.has_finalizer(resource) && (!is_blind(kind) || by_report())
    }

    /// Whether the automation has worked off this very event, whatever it was for.
    pub(crate) fn has_worked_off(
        &self,
        resource: &Resource,
        token: Option<&OperationToken>,
    ) -> bool {
        self.shows_operation(resource, token) == Some(true)
    }

    /// Whether the object carries the sign of the good end of an event that removes nothing. An action changes
    /// no version, so its sign is its operation alone.
    pub(crate) fn has_done(&self, resource: &Resource, record: &JobRecord) -> bool {
        let (token, kind) = (record.token.as_ref(), record.kind.as_deref());
        match record.job_type {
            JobType::Provision => {
                self.has_applied(resource, record.config_version.as_ref(), token, kind)
            }
            _ => self.has_worked_off(resource, token),
        }
    }

    pub(crate) fn has_finalizer(&self, resource: &Resource) -> bool {
        resource.has_finalizer(&self.finalizer(resource))
    }
}

/// What the history and the object say about the wish to deprovision.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    /// The delete event may go out.
    Send {
        /// What just became of a provision job.
        provision_job: Option<Box<JobStatus>>,
    },
    /// There is nothing to remove.
    Nothing(String),
    /// Something else may be at work or on its way.
    Wait {
        reason: String,
        left: Duration,
        provision_job: Option<Box<JobStatus>>,
    },
}

impl EdaProvider {
    /// Decides from the records, oldest question first: is everything that was started over, and
    /// is there something to remove?
    pub(crate) fn may_deprovision(
        &self,
        resource: &Resource,
        history: &[JobRecord],
        now: Timestamp,
    ) -> Verdict {
        let poll = std_duration(self.config.timing.poll_interval);
        let marked = self.config.completion.has_finalizer(resource);
        let mut settled = None;
        let mut of_others = false;
        let mut assumed = false;
        // What was removed since leaves nothing to ask about.
        let removed = history
            .iter()
            .filter(|record| {
                record.job_type == JobType::Deprovision && record.state == JobState::Succeeded
            })
            .map(|record| record.attempt)
            .max();
        // Actions too: two jobs of one object are never at work at once.
        let others = history.iter().filter(|record| {
            record.job_type != JobType::Deprovision
                && record.may_have_run()
                && removed.is_none_or(|removed| record.attempt > removed)
        });
        for record in others {
            let ours = record
                .provider
                .as_deref()
                .is_none_or(|name| name == self.config.name);
            if !ours {
                if record.may_be_live() {
                    return Verdict::Wait {
                        reason: format!(
                            "attempt {} of provider {} has not ended",
                            record.attempt,
                            record.provider.as_deref().unwrap_or_default()
                        ),
                        left: poll,
                        provision_job: None,
                    };
                }
                // It may have made something, and leaves no mark that is ours.
                of_others = true;
                continue;
            }
            let live = record.may_be_live();
            if !live && record.state == JobState::Succeeded {
                // Nothing of ours was launched, so nothing has left a finalizer either.
                of_others |= record.reason == Some(Reason::Imported);
                continue;
            }
            let is_copy = record.kind.as_deref().is_some_and(is_copy);
            if !is_copy && self.config.completion.has_done(resource, record) {
                if live && record.job_type == JobType::Provision {
                    let job = record.job_ref();
                    settled = job.map(|job| applied(job, record.config_version.as_ref()));
                }
                continue;
            }
            // Ended without a sign: the engine has given it up. With the finalizer there, the
            // automation has seen the object, and a delete event will reach it.
            if !live && marked {
                continue;
            }
            if let Some(left) = self.still_on_its_way(resource, record, now) {
                return Verdict::Wait {
                    reason: format!(
                        "the event of attempt {} may still be on its way or at work",
                        record.attempt
                    ),
                    left: left.min(poll),
                    provision_job: settled.map(Box::new),
                };
            }
            assumed = true;
        }
        if marked || of_others {
            return Verdict::Send {
                provision_job: settled.map(Box::new),
            };
        }
        let finalizer = self.config.completion.finalizer(resource);
        let rest = if assumed {
            "and it is assumed, not known, that after so long no event for it will still be worked off"
        } else {
            "and no event for it is on its way"
        };
        Verdict::Nothing(format!(
            "the object does not carry the automation's finalizer {finalizer}, {rest}"
        ))
    }

    /// How long an event of this record may still start to work. Counted by this process's own clock from
    /// when it first knew of the event: whoever sent it may have had another clock.
    fn still_on_its_way(
        &self,
        resource: &Resource,
        record: &JobRecord,
        now: Timestamp,
    ) -> Option<Duration> {
        let window = std_duration(self.config.timing.in_flight_window);
        let known_for = self.sights.of_record(resource, record, now);
        window.checked_sub(known_for).filter(|left| !left.is_zero())
    }
}

/// An event whose operation the object carries.
pub(crate) fn worked_off(job: JobRef) -> JobStatus {
    JobStatus::new(job, JobState::Succeeded)
        .with_message("the automation has reported this operation as worked off")
}

/// A provision job whose version the object carries.
pub(crate) fn applied(job: JobRef, version: Option<&ConfigVersion>) -> JobStatus {
    let mut status = JobStatus::new(job, JobState::Succeeded)
        .with_message("the automation has applied this version");
    status.reconciled_version = version.cloned();
    status
}
