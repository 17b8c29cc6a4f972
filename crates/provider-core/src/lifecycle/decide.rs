//! The rules: which one step follows from what is on record. Pure and total.

mod act;
mod launch;
mod release;
mod situation;
mod wishes;

use std::time::Duration;

use jiff::Timestamp;

pub use situation::{Backends, Pass, Situation};

use super::backoff;
use super::decision::{Action, Block, Call, Decision, Ground, Hold, Rest, Right, Standing, Why};
use super::pacing::{Look, Pace};
use super::policy::{
    IncomparableVersion, NeverProvisioned, Policy, Purge, RunningProvision, Supersede,
};
use super::{Mode, live, relaunch};
use crate::clock::{Elapsed, add};
use crate::{Capabilities, JobRecord, JobState, JobType, Reason};

/// How long after its intent was written a launch may be sent at the latest.
///
/// A process that stalls longer has lost the right to launch: another may have found nothing at
/// the backend by then and launched again. Lookups count this on top of the visibility window.
pub const LAUNCH_LEASE: Duration = Duration::from_secs(30);

/// How long after its intent a launch may still be under way, or turn up at its backend.
pub(super) fn under_way(capabilities: &Capabilities) -> Duration {
    capabilities.visibility_window.saturating_add(LAUNCH_LEASE)
}

/// Decides the next step. The same arguments give the same decision; any arguments give one.
#[must_use]
pub fn decide(situation: &Situation<'_>, pass: &Pass) -> Decision {
    let rules = Rules { s: situation, pass };
    relaunch::first(&rules, rules.decide())
}

/// The same, for a person: see [`relaunch::told`].
pub(super) fn told(situation: &Situation<'_>, pass: &Pass) -> Decision {
    let rules = Rules { s: situation, pass };
    relaunch::told(&rules, rules.decide())
}

pub(super) struct Rules<'a> {
    pub(super) s: &'a Situation<'a>,
    pub(super) pass: &'a Pass,
}

impl<'a> Rules<'a> {
    fn decide(&self) -> Decision {
        if let Some(decision) = self.abandon() {
            return decision;
        }
        if self.s.desired.mode == Mode::Unmanaged {
            return if self.deleting() {
                self.release(Ground::Unmanaged, Why::Mode)
            } else {
                self.rest(Standing::Unmanaged, None, Why::Mode)
            };
        }
        // A record that cannot be read may stand for a live job of any target.
        if let Some(record) = self.s.records.iter().find(|record| record.defect.is_some()) {
            let block = Block::DefectiveRecord {
                attempt: record.attempt,
                defect: record.defect.clone().unwrap_or_default(),
            };
            return self.rest(
                Standing::Blocked(block),
                Some(self.slow_wake()),
                Why::DefectiveRecord(record.attempt),
            );
        }
        match self.pass.right {
            Some(Right::Launch(n)) if self.record(n).is_some_and(JobRecord::is_unresolved) => {
                return decision(Action::Call(Call::Launch(n)), Why::Fenced(n));
            }
            Some(Right::Cancel(n)) if self.record(n).is_some_and(JobRecord::may_be_live) => {
                return decision(Action::Call(Call::Cancel(n)), Why::Fenced(n));
            }
            _ => {}
        }
        if let Some(decision) = self.import() {
            return decision;
        }
        if let Some(decision) = live::step(self) {
            return decision;
        }
        if self.s.desired.mode == Mode::Paused {
            return self.rest(Standing::Held(Hold::Paused), None, Why::Mode);
        }
        if self.keeps() {
            self.release(Ground::Retained, Why::Kept)
        } else if self.deleting() {
            self.deprovision()
        } else if self.s.desired.absent {
            self.remove()
        } else if let Some(missing) = &self.s.desired.not_yet {
            let reason = missing.reason.clone();
            // Whoever waits for something says when to look, and zero is no answer.
            let wait = missing.retry_after.max(self.s.policy.cancel_poll_interval);
            let wake = Some(add(self.s.now, wait));
            self.rest(Standing::NotYet { reason }, wake, Why::PrerequisiteMissing)
        } else {
            self.provision()
        }
    }

    // ---- provisioning: no attempt of the target is live ----

    fn provision(&self) -> Decision {
        let provision = self.newest(JobType::Provision);
        let deprovision = self.newest(JobType::Deprovision);
        let Some(newest) = provision else {
            return match deprovision {
                Some(record) => self.provision_again_after(record),
                None => self.launch(JobType::Provision, Why::NothingYet),
            };
        };
        if let Some(record) = deprovision.filter(|record| record.attempt > newest.attempt) {
            return self.provision_again_after(record);
        }
        let n = newest.attempt;
        let wanted = &self.s.desired.version;
        if self.retry_requested() && newest.state != JobState::Succeeded {
            return self.launch(JobType::Provision, Why::RetryRequested);
        }
        let comparable = newest
            .config_version
            .as_ref()
            .is_some_and(|v| v.is_comparable(wanted));
        if newest.config_version.as_ref() == Some(wanted) {
            self.provision_same_version(newest)
        } else if comparable || newest.state != JobState::Succeeded {
            self.launch(JobType::Provision, Why::OtherVersion(n))
        } else {
            match self.s.policy.config.incomparable_version {
                IncomparableVersion::Rerun => {
                    self.launch(JobType::Provision, Why::IncomparableVersion(n))
                }
                IncomparableVersion::Trust => {
                    let mut record = newest.clone();
                    record.config_version = Some(wanted.clone());
                    record.reason = Some(Reason::Assumed);
                    write(vec![record], None, Why::IncomparableVersion(n))
                }
            }
        }
    }

    /// The newest attempt is a provision with the desired version, and it has ended.
    fn provision_same_version(&self, newest: &JobRecord) -> Decision {
        let n = newest.attempt;
        if newest.state == JobState::Succeeded && relaunch::is_overtaken(self, newest) {
            return self.launch(JobType::Provision, Why::WantedAgain(n));
        }
        if newest.state == JobState::Succeeded {
            let (wake, why) = match self.act() {
                Ok(decision) => return decision,
                Err(rest) => rest,
            };
            let version = self.s.desired.version.clone();
            let why = why.unwrap_or(Why::AppliedBy(n));
            return self.rest(Standing::Applied { version }, wake, why);
        }
        if let Some(decision) = self.hold_after(newest) {
            return decision;
        }
        let again = match newest.failures {
            0 => Why::WantedAgain(n),
            _ => Why::BackoffOver(n),
        };
        self.next_try(newest, again)
    }

    fn provision_again_after(&self, deprovision: &JobRecord) -> Decision {
        if deprovision.is_held_back() {
            return self.withdraw(deprovision);
        }
        self.launch(
            JobType::Provision,
            Why::DeprovisionedBefore(deprovision.attempt),
        )
    }

    // ---- deprovisioning: no attempt of the target is live ----

    fn deprovision(&self) -> Decision {
        let provision = self.newest(JobType::Provision);
        let newest_provision = provision.map_or(0, |record| record.attempt);
        // An older deprovision says nothing about what was provisioned after it.
        let deprovision = self
            .newest(JobType::Deprovision)
            .filter(|record| record.attempt > newest_provision)
            .filter(|record| !relaunch::is_overtaken(self, record));
        match deprovision {
            Some(record) => self.deprovision_after(record),
            None if self.s.desired.absent && self.mine().next().is_none() => {
                self.release(Ground::NeverProvisioned, Why::Absent)
            }
            None => {
                let ever_ran = self.mine().any(JobRecord::may_have_run);
                let release = match provision {
                    Some(_) => !ever_ran,
                    None => {
                        !ever_ran
                            && self.s.policy.config.deletion.never_provisioned
                                == NeverProvisioned::Release
                    }
                };
                if release {
                    self.release(Ground::NeverProvisioned, Why::NeverProvisioned)
                } else {
                    self.launch(JobType::Deprovision, Why::ReadyToDeprovision)
                }
            }
        }
    }

    fn deprovision_after(&self, newest: &JobRecord) -> Decision {
        let n = newest.attempt;
        if newest.state == JobState::Succeeded {
            return self.release(Ground::after(newest), Why::DeprovisionSucceeded(n));
        }
        if self.retry_requested() && !newest.is_held_back() {
            return self.launch(JobType::Deprovision, Why::RetryRequested);
        }
        if newest.is_held_back() {
            return match self.backoff_left(newest) {
                Some(until) => {
                    let reason = newest.message.clone();
                    self.rest(
                        Standing::Waiting { reason },
                        Some(until),
                        Why::HeldBackByProvider(n),
                    )
                }
                None => self.send_again(newest, Why::ReadyToDeprovision),
            };
        }
        let blocks = newest.block_deletion_on_failure.unwrap_or_else(|| {
            self.s
                .backends
                .owner(newest)
                .is_none_or(|(_, caps)| caps.block_deletion_on_failure)
        });
        // The provider's choice is about jobs that fail. A launch that was not carried out
        // is tried again, whatever the choice.
        // One that is known to have removed nothing is not done, nor is one that did something else.
        let undone = matches!(newest.reason, Some(Reason::Stray | Reason::Unfinished));
        if newest.state == JobState::Failed && newest.may_have_run() && !blocks && !undone {
            return self.release(Ground::after(newest), Why::DeprovisionFailureIgnored(n));
        }
        if let Some(decision) = self.hold_after(newest) {
            return decision;
        }
        self.next_try(newest, Why::BackoffOver(n))
    }

    // ---- shared rules ----

    /// A failed, canceled or forgotten attempt after which a person must decide.
    fn hold_after(&self, newest: &JobRecord) -> Option<Decision> {
        let n = newest.attempt;
        if newest.state == JobState::Canceled && newest.cancel_requested_at.is_none() {
            let hold = Hold::CanceledByOthers { attempt: n };
            return Some(self.rest(Standing::Held(hold), None, Why::CanceledByOthers(n)));
        }
        if newest.reason == Some(Reason::Stray) {
            let hold = Hold::Stray { attempt: n };
            return Some(self.rest(Standing::Held(hold), None, Why::Stray(n)));
        }
        let gone = matches!(newest.reason, Some(Reason::Purged | Reason::Replaced));
        if gone && self.s.policy.config.purge == Purge::Hold {
            let hold = Hold::Purged { attempt: n };
            return Some(self.rest(Standing::Held(hold), None, Why::Purged(n)));
        }
        let exhausted = self
            .s
            .policy
            .config
            .max_failures
            .is_some_and(|most| newest.failures >= most);
        exhausted.then(|| {
            let hold = Hold::FailuresExhausted {
                failures: newest.failures,
            };
            self.rest(Standing::Held(hold), None, Why::FailuresExhausted(n))
        })
    }

    /// What follows an attempt that has ended in vain: its back-off, and then the same launch where it was
    /// turned away, or a new attempt.
    fn next_try(&self, newest: &JobRecord, why: Why) -> Decision {
        let n = newest.attempt;
        if let Some(until) = self.backoff_left(newest) {
            let standing = Standing::BackingOff {
                until,
                failures: newest.failures,
            };
            return self.rest(standing, Some(until), Why::BackoffLasts(n));
        }
        if self.is_to_be_sent_again(newest) {
            self.send_again(newest, Why::BackoffOver(n))
        } else {
            self.launch(newest.job_type, why)
        }
    }

    fn backoff_left(&self, record: &JobRecord) -> Option<Timestamp> {
        record.retry_at.filter(|until| *until > self.s.now)
    }

    pub(super) fn missing_provider(&self, provider: &str) -> Decision {
        let block = Block::MissingProvider {
            provider: provider.to_owned(),
        };
        self.rest(
            Standing::Blocked(block),
            Some(self.slow_wake()),
            Why::MissingProvider,
        )
    }

    pub(super) fn rest(
        &self,
        standing: Standing,
        wake_at: Option<Timestamp>,
        why: Why,
    ) -> Decision {
        let s = self.s;
        let started = s.deleting_since;
        let released = matches!(standing, Standing::Released(_));
        let escalated = !released
            && started.is_some_and(|at| s.now.elapsed_since(at) >= s.policy.escalate_after);
        // A deletion that waits for a person still has its deadlines to meet.
        let wake_at = if released {
            None
        } else {
            let escalation = started
                .filter(|_| !escalated)
                .map(|at| add(at, s.policy.escalate_after));
            let abandon =
                started.and_then(|at| Some(self.abandoned_from(at, s.policy.abandon_after?)));
            [wake_at, escalation, abandon.filter(|at| *at > s.now)]
                .into_iter()
                .flatten()
                .min()
        };
        decision(
            Action::Rest(Rest {
                standing,
                wake_at,
                escalated,
            }),
            why,
        )
    }

    // ---- views ----

    /// What this process plans for an attempt. A clock that was set back makes a plan void.
    pub(super) fn pace(&self, attempt: u64) -> Option<&'a Pace> {
        let mut paces = self.pass.paces.iter();
        paces.find(|pace| pace.attempt == attempt && pace.planned <= self.s.now)
    }

    /// How this process has last looked at an attempt itself, if it has.
    pub(super) fn look(&self, attempt: u64) -> Option<Look> {
        self.pace(attempt)?.look
    }

    pub(super) fn deleting(&self) -> bool {
        self.s.deleting_since.is_some()
    }

    /// Whether the target goes, with its object or without.
    pub(super) fn goes(&self) -> bool {
        self.deleting() || self.s.desired.absent
    }

    /// Whether the target is wanted, and now.
    pub(super) fn lives(&self) -> bool {
        !self.goes() && self.s.desired.not_yet.is_none()
    }

    /// Whether what was provisioned is to be removed.
    pub(super) fn removing(&self) -> bool {
        self.goes() && !self.keeps()
    }

    /// Whether the object goes and what was provisioned stays.
    pub(super) fn keeps(&self) -> bool {
        let keep = self.s.desired.keep_on_delete;
        self.deleting() && keep.unwrap_or(self.s.policy.config.deletion.keep)
    }

    /// The records of the target at hand.
    pub(super) fn mine(&self) -> impl Iterator<Item = &'a JobRecord> {
        let desired = self.s.desired;
        self.s
            .records
            .iter()
            .filter(move |record| desired.owns(record))
    }

    pub(super) fn newest(&self, job_type: JobType) -> Option<&'a JobRecord> {
        self.mine()
            .filter(|r| r.job_type == job_type)
            .max_by_key(|r| r.attempt)
    }

    pub(super) fn record(&self, attempt: u64) -> Option<&'a JobRecord> {
        self.mine().find(|record| record.attempt == attempt)
    }

    /// Whether a retry was asked for that is not the last one to be answered.
    pub(super) fn retry_requested(&self) -> bool {
        let asked = self.s.desired.retry_request.as_ref();
        asked.is_some() && asked != self.answered()
    }

    /// The last retry request that was answered: every record carries on that of the record before it.
    fn answered(&self) -> Option<&'a String> {
        let newest = self.mine().max_by_key(|record| record.attempt);
        newest.and_then(|record| record.retry_request.as_ref())
    }

    /// When to look again at something that only a person can change.
    pub(super) fn slow_wake(&self) -> Timestamp {
        add(self.s.now, self.s.policy.backoff_cap)
    }

    pub(super) fn supersede_cancels(&self) -> bool {
        self.s.policy.config.supersede == Supersede::Cancel
    }

    pub(super) fn deletion_cancels(&self) -> bool {
        self.s.policy.config.deletion.running_provision == RunningProvision::Cancel
    }
}

pub(super) fn decision(action: Action, why: Why) -> Decision {
    Decision { action, why }
}

pub(super) fn write(records: Vec<JobRecord>, then: Option<Right>, why: Why) -> Decision {
    let forget = Vec::new();
    let action = Action::Write {
        records,
        forget,
        then,
    };
    decision(action, why)
}

/// How long to wait between two questions about an attempt, whose status said that it
/// [need not be asked about before](crate::JobStatus::poll_after), or did not. What the policy says
/// outright, and an end that is waited for, count more.
#[must_use]
pub fn poll_interval(
    policy: &Policy,
    capabilities: &Capabilities,
    record: &JobRecord,
    poll_after: Option<Duration>,
    random: u64,
) -> Duration {
    let ending = record.cancel_requested_at.is_some() || record.doubtful;
    let least = poll_after.filter(|_| !ending).unwrap_or_default();
    let theirs = capabilities.poll_interval.max(least);
    let interval = policy.poll_interval.unwrap_or(theirs);
    let interval = if ending {
        policy.cancel_poll_interval.min(interval)
    } else {
        interval
    };
    backoff::vary(interval, policy.jitter, random)
}
