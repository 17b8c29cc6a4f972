//! Where each broken rule does its harm: in what a pass is told, in what it wants, or in what is written for it.

use std::sync::Arc;

use jiff::Timestamp;
use provider_core::engine::{Call, Effect, End, Look, Machine, Purpose, Rest, Right, Stage};
use provider_core::lifecycle::{Block, Ground, Release, Standing, Why};
use provider_core::{JobRecord, JobState, JobType, Reason};

use crate::bounds::Mutant;
use crate::protocol::{Protocol, at, version};
use crate::state::{Records, Running, Seen, What, Wish, World};

impl Protocol {
    /// The records as a pass reads them.
    pub(crate) fn altered(&self, records: Records, wish: Wish, deleting: Option<u8>) -> Records {
        let mut altered = (*records.0).clone();
        if self.is(Mutant::NoSettleBeforeDeprovision) && deleting.is_some() {
            for record in &mut altered {
                if record.job_type == JobType::Provision {
                    record.state = JobState::Canceled;
                    record.doubtful = false;
                    record.cancel_requested_at = record.sent_at;
                    record.job_id.get_or_insert_with(|| "gone".to_owned());
                }
            }
        } else if let Some(change) = self.changes_wishes(wish, deleting) {
            altered.iter_mut().for_each(change);
        } else if self.is(Mutant::ImportOverRecords) && wish.already > 0 {
            altered.clear();
        } else if self.is(Mutant::OrderByTimestamp) {
            altered.sort_by_key(|record| record.timestamp);
            for (n, record) in altered.iter_mut().enumerate() {
                record.attempt = n as u64 + 1;
            }
        } else if self.is(Mutant::AnySuccessIsApplied) {
            for record in &mut altered {
                if record.state == JobState::Succeeded && record.job_type == JobType::Provision {
                    record.config_version = Some(version(wish.spec));
                }
            }
        } else {
            return records;
        }
        Records(Arc::new(altered))
    }

    /// What the mutants about wishes make of each record.
    fn changes_wishes(&self, wish: Wish, deleting: Option<u8>) -> Option<fn(&mut JobRecord)> {
        fn end(record: &mut JobRecord) {
            record.state = JobState::Succeeded;
            record.doubtful = false;
            record.job_id.get_or_insert_with(|| "gone".to_owned());
        }
        Some(match self.bounds.mutant? {
            Mutant::ActionBesideDeprovision if deleting.is_some() => |record| {
                if record.job_type.action().is_some() {
                    end(record);
                }
            },
            Mutant::ActionAnsweredTwice => |record| record.action_request = None,
            Mutant::ActionIsApplied => |record| {
                if record.job_type.action().is_some() && record.state == JobState::Succeeded {
                    record.job_type = JobType::Provision;
                    record.config_version = Some(version(2));
                }
            },
            Mutant::UnnamedIsSentAgain => |record| {
                if record.reason == Some(Reason::Unnamed) {
                    record.reason = Some(Reason::Ambiguous);
                }
            },
            Mutant::ForgottenTooEarly if wish.absent => |record| {
                if record.job_type == JobType::Deprovision {
                    end(record);
                }
            },
            Mutant::UnknownTypesAreIgnored => |record| {
                if matches!(record.job_type, JobType::Other(_)) {
                    end(record);
                }
            },
            Mutant::KeptBesideAJob if wish.keep && deleting.is_some() => end,
            _ => return None,
        })
    }

    /// What a pass is told, and the moment that it takes for now.
    pub(crate) fn twisted(&self, running: &mut Running, now: Timestamp) -> Timestamp {
        let machine = &mut running.machine;
        for pace in &mut machine.pass.paces {
            if self.is(Mutant::PlanIsALook) && pace.look.is_none() {
                pace.look = Some(Look {
                    asked: pace.planned,
                    answered: true,
                    dark_since: Some(at(0)),
                });
            }
            if self.is(Mutant::ErrorIsAnAnswer)
                && let Some(look) = &mut pace.look
            {
                look.answered = true;
            }
        }
        match &mut machine.stage {
            Stage::Asking(asked) => {
                if self.is(Mutant::OldAbsence) {
                    asked.at = now;
                }
                if self.is(Mutant::CancelCountsUnheard)
                    && matches!(running.what, What::Saw(Seen::Away(Call::Cancel(_))))
                {
                    running.what = What::Saw(Seen::Asked);
                }
            }
            Stage::Rereading(Purpose::Observation(seen)) if self.is(Mutant::OldRefusalCounts) => {
                if let What::Loaded(records, ..) = &running.what {
                    let mut known = records.0.iter();
                    let known = known.find(|known| known.attempt == seen.asked.record.attempt);
                    seen.asked.record.sends = known.map_or(0, |known| known.sends);
                }
            }
            Stage::Writing(Purpose::Decision(Some(Right::Launch(n)), _), write)
                if self.is(Mutant::NoLease) =>
            {
                let intent = write.records.iter().find(|record| record.attempt == *n);
                return intent.and_then(|intent| intent.sent_at).unwrap_or(now);
            }
            _ => {}
        }
        now
    }

    /// What a pass wants.
    pub(crate) fn broken(&self, running: &Running, effect: Effect) -> Effect {
        let machine = &running.machine;
        let old_success = self.is(Mutant::ReleaseOnOldSuccess)
            && machine.resource.is_deleting()
            && machine
                .records
                .iter()
                .any(|r| r.job_type == JobType::Deprovision && r.state == JobState::Succeeded);
        if old_success {
            let released = Standing::Released(Release::new(Ground::Deprovisioned));
            return Effect::Rest(End::Rest(
                Box::new(Rest::new(released)),
                Why::ReadyToDeprovision,
            ));
        }
        let releases = matches!(
            machine.stage,
            Stage::Writing(Purpose::Decision(None, Why::RetryRequested), _)
        );
        let in_vain = machine.pass.paces.iter().find(|pace| pace.vain.is_some());
        if self.is(Mutant::NoEndAfterOneInVain)
            && releases
            && let Some(pace) = in_vain
        {
            let block = Block::AmbiguousLaunch {
                attempt: pace.attempt,
            };
            let rest = Rest::new(Standing::Blocked(block)).until(pace.due);
            return Effect::Rest(End::Rest(Box::new(rest), Why::DoubtIsHeld(pace.attempt)));
        }
        effect
    }

    /// Whether a write only claims to have been made.
    pub(crate) fn is_sham(&self, machine: &Machine) -> bool {
        let confirms = matches!(
            machine.stage,
            Stage::Writing(Purpose::Decision(_, Why::ConfirmBeforeRelease), _)
        );
        self.is(Mutant::ReleaseOnStaleRead) && confirms
    }

    /// What is written for a pass.
    pub(crate) fn mistaken(
        &self,
        world: &mut World,
        n: usize,
        records: &[JobRecord],
    ) -> Vec<JobRecord> {
        let mut records = records.to_vec();
        let Some(running) = world.replicas[n].running.clone() else {
            return records;
        };
        match &running.machine.stage {
            Stage::Writing(Purpose::Decision(Some(Right::Launch(n)), _), _)
                if self.is(Mutant::IntentAfterLaunch) =>
            {
                if let Some(intent) = records.iter().find(|record| record.attempt == *n) {
                    self.launch(world, intent, 0);
                }
            }
            Stage::Writing(Purpose::Observation(seen), _) => {
                let asked = &seen.asked.record;
                let record = records.iter_mut().find(|r| r.attempt == asked.attempt);
                let Some(record) = record else { return records };
                let was_seen = asked.state.is_terminal() && record.is_missing();
                if self.is(Mutant::SilenceWeakens) && was_seen {
                    record.state = JobState::Unknown;
                    record.doubtful = false;
                }
                if self.is(Mutant::FailureForgetsTheJob) && running.seen == Some(Seen::Lost) {
                    // The open attempt is closed as if nothing had been sent.
                    record.state = JobState::Failed;
                    record.reason = Some(Reason::NotSent);
                }
            }
            _ => {}
        }
        records
    }
}
