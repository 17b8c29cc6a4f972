//! The other side: it loses answers, commits late, is away, forgets jobs, and says "canceled" while a job
//! works on.

use provider_core::engine::{Call, Effect, Method, Observation, Question};
use provider_core::{
    CancelResult, DeprovisionResult, Effect as Sent, ErrorKind, JobRecord, JobRef, JobState,
    JobStatus, JobType, OperationToken, ProviderError, ProvisionResult, Relaunched, TriggerError,
};

use crate::bounds::Mutant;
use crate::protocol::{LATE_TICKS, Protocol, TICK, is_busy, is_removed};
use crate::state::{Job, Late, Seen, World};

impl Protocol {
    /// In how many ways the other side may take this.
    pub(crate) fn ways(&self, world: &World, effect: &Effect) -> u8 {
        let faulty = world.faults > 0;
        let (silence, everything) = (self.bounds.silence, self.bounds.everything);
        match effect {
            Effect::Swap { .. } => 1 + u8::from(faulty && self.bounds.lost_writes),
            Effect::Ask(question) => match &question.method {
                Method::Trigger(..) if !faulty => 1,
                Method::Trigger(..) if everything => 10,
                Method::Trigger(..) if self.bounds.unnamed => 5,
                Method::Trigger(..) if self.bounds.strays => 6,
                Method::Trigger(..) => 4,
                Method::FindRelaunched(_) => 1 + u8::from(faulty),
                Method::Cancel(_) if !faulty => 2,
                Method::Cancel(_) if everything => 6,
                Method::Cancel(_) if silence => 4,
                Method::Cancel(_) => 3,
                Method::Status(_) | Method::Find(_) if !faulty => 1,
                Method::Status(_) if everything => 6,
                Method::Status(_) if silence => 3,
                Method::Find(_) if everything => 3,
                Method::Find(_) if silence => 2,
                _ => 1,
            },
            _ => 1,
        }
    }

    /// A launch arrives, or does not.
    pub(crate) fn launch(&self, world: &mut World, asked: &JobRecord, way: u8) -> Seen {
        let token = asked
            .token
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        // Another process may have taken it as sent already.
        let intended = |r: &JobRecord| {
            r.token == asked.token && (r.is_unresolved() || r.is_assumed() && r.may_be_live())
        };
        if world.released && !world.given_up || !world.records.0.iter().any(intended) {
            world
                .wrong
                .get_or_insert("I5: launched without a durable intent");
        }
        // Copies of a job whose record has left the history are not looked for.
        let is_known = |job: &Job| {
            let mut tokens = world.records.0.iter().filter_map(|r| r.token.as_ref());
            tokens.any(|token| token.as_str() == job.token)
        };
        if world
            .jobs
            .iter()
            .any(|job| job.alive && job.copy && is_known(job))
        {
            world
                .wrong
                .get_or_insert("I1, I2: launched beside a job that a person has relaunched");
        }
        let down = asked.job_type == JobType::Deprovision;
        let act = asked.job_type.action().map(|_| {
            let request = asked.action_request.as_deref();
            request.and_then(|text| text.parse().ok()).unwrap_or(0)
        });
        // An answer that we have ended ourselves, or that never was, is none.
        let is_answered = |job: &Job| {
            let ended_by_us = job.asked && job.state != JobState::Succeeded;
            job.act == act && act.is_some_and(|n| n > 0) && !job.copy && !ended_by_us
        };
        if world.jobs.iter().any(is_answered) {
            world.wrong.get_or_insert("an action was answered twice");
        }
        let job = Job {
            token,
            at_other: asked.provider.as_deref() == Some("c"),
            down,
            act,
            spec: asked.config_version.clone(),
            state: JobState::Running,
            alive: true,
            canceled: false,
            asked: false,
            forgotten: false,
            copy: false,
            stray: matches!(way, 4 | 5) && !down && (self.bounds.strays || !self.bounds.unnamed),
        };
        if way > 0 {
            world.faults -= 1;
        }
        let unnamed = way == 9 || way == 4 && self.bounds.unnamed && !self.bounds.everything;
        match way {
            // It is listed later, or gone before that.
            _ if unnamed && self.backends.capabilities.find_launched => {
                let until = world.now + LATE_TICKS;
                world.late.push(Late { job, until });
                Seen::Unnamed
            }
            2 => {
                let until = world.now + LATE_TICKS;
                world.late.push(Late { job, until });
                Seen::Lost
            }
            6 => Seen::Rejected,
            7 if down => Seen::HeldBack,
            8 if down && is_removed(world) && !is_busy(world) => Seen::Skipped,
            3 | 7 | 8 => Seen::Refused,
            way => {
                world.jobs.push(job);
                let n = world.jobs.len() - 1;
                match way {
                    0 => Seen::Accepted(n),
                    1 => Seen::Lost,
                    _ if down => Seen::Accepted(n),
                    4 => Seen::Stray(n),
                    _ => Seen::Lost,
                }
            }
        }
    }

    /// The job of this name: the one of this token, or of this number.
    pub(crate) fn ever_named(world: &World, id: &str) -> Option<usize> {
        let of_token = world.jobs.iter().position(|job| job.token == id);
        let number = of_token.or_else(|| id.parse().ok());
        number.filter(|n| *n < world.jobs.len())
    }

    /// The same, where the backend has not forgotten it.
    fn named(world: &World, id: &str) -> Option<usize> {
        Self::ever_named(world, id).filter(|n| !world.jobs[*n].forgotten)
    }

    pub(crate) fn answer(&self, world: &mut World, n: usize, question: &Question, way: u8) -> Seen {
        let at_other = question.provider == "c";
        let away = |world: &mut World, call| {
            world.faults = world.faults.saturating_sub(1);
            Seen::Away(call)
        };
        match &question.method {
            Method::Trigger(request, _) => {
                let records = world.replicas[n].running.as_ref();
                let records = records.map(|running| running.machine.records.clone());
                let records = records.unwrap_or_default();
                let mut asked = records.iter();
                let asked = asked.find(|r| r.token.as_ref() == Some(&request.token));
                self.launch(world, asked.unwrap(), way)
            }
            Method::FindRelaunched(_) if way == 1 => away(world, Call::FindRelaunched(0)),
            Method::FindRelaunched(query) => {
                let is_ours = |job: &Job| {
                    let mut tokens = query.tokens.iter();
                    tokens.any(|token| token.as_str() == job.token)
                };
                let found = world.jobs.iter().enumerate();
                let found =
                    found.filter(|(_, job)| job.copy && job.at_other == at_other && is_ours(job));
                Seen::Copies(found.map(|(i, job)| (i, job.state, !job.alive)).collect())
            }
            Method::Find(_) if way == 1 || world.searches_fail => away(world, Call::Find(0)),
            Method::Find(_) if way == 2 => {
                world.faults -= 1;
                Seen::Denied(Call::Find(0))
            }
            Method::Find(query) => {
                let found = world.jobs.iter().enumerate().filter(|(_, job)| {
                    job.token == query.token.as_str()
                        && job.at_other == at_other
                        && !job.forgotten
                        && !job.copy
                });
                Seen::Found(found.map(|(i, job)| (i, job.state, !job.alive)).collect())
            }
            Method::Status(_) if way == 1 => away(world, Call::Status(0)),
            Method::Status(_) if way == 3 => {
                world.faults -= 1;
                Seen::Denied(Call::Status(0))
            }
            // It does not know a job that is there for a moment, and not twice in a row.
            Method::Status(job) if way == 2 && !self.was_missing(world, &job.job.id) => {
                world.faults -= 1;
                Seen::NotKnown(Call::Status(0))
            }
            Method::Status(job) if way > 3 => {
                let known = Self::ever_named(world, &job.job.id);
                match known.map(|i| (i, &world.jobs[i])) {
                    Some((i, job)) if job.down && job.state != JobState::Succeeded && way == 4 => {
                        world.faults -= 1;
                        // It was lost on its way. What nobody can tell of for so long is over: that is
                        // the assumption.
                        let job = &mut world.jobs[i];
                        job.alive = false;
                        if !job.state.is_terminal() {
                            job.state = JobState::Failed;
                        }
                        Seen::Undone(i)
                    }
                    Some((_, job)) if job.forgotten => Seen::Replaced,
                    Some((i, job)) => Seen::Status(i, job.state, !job.alive),
                    None => Seen::NotKnown(Call::Status(0)),
                }
            }
            Method::Status(job) => match Self::named(world, &job.job.id) {
                Some(i) => Seen::Status(i, world.jobs[i].state, !world.jobs[i].alive),
                None => Seen::NotKnown(Call::Status(0)),
            },
            Method::Cancel(_) if way == 3 => away(world, Call::Cancel(0)),
            Method::Cancel(_) if way == 5 => {
                world.faults -= 1;
                Seen::NotYet
            }
            Method::Cancel(_) if way == 4 => {
                world.faults -= 1;
                Seen::Denied(Call::Cancel(0))
            }
            Method::Cancel(job) => match Self::named(world, &job.job.id) {
                Some(i) => Self::cancel(world, i, way),
                None => Seen::NotKnown(Call::Cancel(0)),
            },
            other => panic!("a question that the model does not know: {other:?}"),
        }
    }

    fn was_missing(&self, world: &World, id: &str) -> bool {
        let named = |r: &&JobRecord| r.job_id.as_deref() == Some(id);
        let record = world.records.0.iter().find(named);
        self.bounds.everything && record.is_some_and(JobRecord::is_missing)
    }

    fn cancel(world: &mut World, i: usize, way: u8) -> Seen {
        let job = &mut world.jobs[i];
        if job.state.is_terminal() {
            return Seen::Ended(i, job.state, !job.alive);
        }
        job.asked = true;
        match way {
            // It stops later, or ends by itself before that.
            1 => job.canceled = true,
            2 => {
                job.state = JobState::Canceled;
                world.faults -= 1;
            }
            _ => {
                job.state = JobState::Canceled;
                job.alive = false;
            }
        }
        Seen::Asked
    }

    /// What a provider makes of it.
    pub(crate) fn observation(
        &self,
        world: &World,
        asked: &JobRecord,
        seen: &Seen,
        deleting: bool,
    ) -> Observation {
        let job = |i: usize| {
            let id = asked.job_id.clone().unwrap_or_else(|| i.to_string());
            let owner = asked.provider.clone().unwrap_or_default();
            JobRef::new(owner, "k", id)
        };
        let other = |i: usize| {
            JobRef::new(
                asked.provider.clone().unwrap_or_default(),
                "k",
                i.to_string(),
            )
        };
        let status = |job: JobRef, i: usize, state: JobState, settled: bool| {
            let mut status = JobStatus::new(job, state);
            status.settled =
                state.is_terminal() && (settled || self.is(Mutant::CanceledIsBelieved));
            status.stray = world.jobs[i].stray && !self.is(Mutant::AdoptedUnchecked);
            if state == JobState::Succeeded && !world.jobs[i].down && world.jobs[i].act.is_none() {
                status.reconciled_version.clone_from(&world.jobs[i].spec);
            }
            status
        };
        let up = asked.job_type != JobType::Deprovision;
        let failed = |error: TriggerError| {
            if up {
                Observation::Provisioned(Err(error))
            } else {
                Observation::Deprovisioned(Err(error))
            }
        };
        let without = |call: Call, error: ProviderError| match call {
            Call::Find(_) => Observation::Found(Err(error)),
            Call::Cancel(_) => Observation::Canceled(Err(error)),
            Call::FindRelaunched(_) => Observation::Relaunched {
                found: Err(error),
                deleting,
            },
            _ => Observation::Status(Err(error)),
        };
        let error = |effect, kind, text: &str| ProviderError::new(effect, kind, text);
        match seen {
            Seen::Accepted(i) if up => {
                Observation::Provisioned(Ok(ProvisionResult::new(job(*i), JobState::Pending, "")))
            }
            Seen::Unnamed if up => Observation::Provisioned(Ok(ProvisionResult::unnamed("taken"))),
            Seen::Unnamed => Observation::Deprovisioned(Ok(DeprovisionResult::Triggered {
                job: None,
                initial_state: JobState::Pending,
                block_deletion_on_failure: self.backends.capabilities.block_deletion_on_failure,
                provision_job: None,
            })),
            Seen::NotYet => Observation::Canceled(Ok(CancelResult::NotYet { retry_after: TICK })),
            Seen::Accepted(i) => Observation::Deprovisioned(Ok(DeprovisionResult::Triggered {
                job: Some(job(*i)),
                initial_state: JobState::Pending,
                block_deletion_on_failure: self.backends.capabilities.block_deletion_on_failure,
                provision_job: None,
            })),
            Seen::HeldBack => Observation::Deprovisioned(Ok(DeprovisionResult::Waiting {
                reason: "not yet".to_owned(),
                retry_after: TICK,
                block_deletion_on_failure: true,
                provision_job: None,
            })),
            Seen::Skipped => Observation::Deprovisioned(Ok(DeprovisionResult::Skipped {
                reason: "there is nothing".to_owned(),
            })),
            Seen::Lost if !self.is(Mutant::LostIsNotSent) => {
                failed(error(Sent::MaybeSent, ErrorKind::Timeout, "lost").into())
            }
            Seen::Lost | Seen::Refused => {
                failed(error(Sent::NotSent, ErrorKind::Unavailable, "refused").into())
            }
            Seen::Rejected => failed(error(Sent::Rejected, ErrorKind::Invalid, "no").into()),
            Seen::Status(i, state, settled) => {
                Observation::Status(Ok(status(job(*i), *i, *state, *settled)))
            }
            Seen::Undone(i) => {
                let mut undone = status(job(*i), *i, JobState::Unknown, false);
                undone.unfinished = true;
                Observation::Status(Ok(undone))
            }
            Seen::Replaced => without(
                Call::Status(0),
                error(Sent::Rejected, ErrorKind::Replaced, "another job's"),
            ),
            Seen::Away(call) => {
                without(*call, error(Sent::NotSent, ErrorKind::Unavailable, "away"))
            }
            Seen::NotKnown(call) => without(
                *call,
                error(Sent::Rejected, ErrorKind::NotFound, "not known"),
            ),
            Seen::Denied(call) => {
                without(*call, error(Sent::Rejected, ErrorKind::Forbidden, "denied"))
            }
            Seen::Asked => Observation::Canceled(Ok(CancelResult::Requested)),
            Seen::Ended(i, state, settled) => Observation::Canceled(Ok(CancelResult::Finished(
                Box::new(status(job(*i), *i, *state, *settled)),
            ))),
            Seen::Stray(i) => failed(
                error(Sent::MaybeSent, ErrorKind::Invalid, "not as wanted")
                    .with_stray_job(job(*i))
                    .into(),
            ),
            Seen::Copies(found) => Observation::Relaunched {
                found: Ok(found
                    .iter()
                    .map(|(i, state, settled)| {
                        let token = OperationToken::from_text(&world.jobs[*i].token);
                        Relaunched::new(token, status(other(*i), *i, *state, *settled))
                    })
                    .collect()),
                deleting,
            },
            Seen::Found(found) => Observation::Found(Ok(found
                .iter()
                .map(|(i, state, settled)| status(other(*i), *i, *state, *settled))
                .collect())),
        }
    }
}

/// When the world's clock stands at the latest for all late launches to have turned up.
pub(crate) fn is_due(world: &World) -> bool {
    world.late.iter().any(|late| late.until <= world.now + 1)
}
