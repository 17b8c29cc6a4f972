//! The driver and the providers: what is asked, and what becomes of the answers.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{End, RETRY_BROKEN_OFF, Run, Swapped};
use crate::clock::{add, since};
use crate::lifecycle::absorb::{Context, Observation, absorb};
use crate::lifecycle::decide::{Backends, LAUNCH_LEASE, poll_interval};
use crate::lifecycle::decision::{Call, Standing, Why};
use crate::lifecycle::pacing::Lesson;
use crate::lifecycle::relaunch::{self, RelaunchLook};
use crate::lifecycle::{backoff, telemetry};
use crate::{
    FindRequest, JobRecord, JobRef, JobType, LaunchRequest, ProviderError, RelaunchQuery, history,
};

impl Run<'_> {
    pub(super) async fn call(&mut self, call: Call, why: Why) -> Result<(), End> {
        self.pass.right = None;
        if !matches!(call, Call::FindRelaunched(_)) {
            self.pass.absent = None;
            // It takes time, in which people may have done anything.
            self.pass.relaunch_looks.clear();
        }
        let n = call.attempt();
        let Some(asked) = self
            .records
            .iter()
            .find(|record| record.attempt == n)
            .cloned()
        else {
            return Ok(()); // cannot be: decisions are about records that are there
        };
        if let Call::Launch(_) = call
            && asked.sent_at.is_none_or(|at| {
                let now = self.clock.now();
                now < at || since(now, at) > LAUNCH_LEASE
            })
        {
            // The write took so long that another process may have taken over; or the clock was set
            // back meanwhile, and nobody can tell how long it took.
            tracing::warn!(
                attempt = n,
                "too late to launch; looking for the job instead"
            );
            return Ok(());
        }
        let (asked_at, conflicts) = (self.clock.now(), self.conflicts);
        let Some(observation) = self.ask(call, &asked).await else {
            return Ok(());
        };
        let observation = observation.checked();
        let error = observation.error().cloned();
        telemetry::call(call, &asked, error.as_ref(), why);
        // The records may have been written by others during the call, and the object may have been
        // changed. What was seen is put on record all the same: a job whose name is known must not
        // become one that has to be looked for.
        let mut outdated = false;
        loop {
            let changed = self.absorb(&asked, &observation);
            if changed.is_empty() {
                break;
            }
            match self.swap(changed, Some(&asked)).await? {
                Swapped::Written => break,
                Swapped::Conflict => {}
                Swapped::Outdated => outdated = true,
            }
        }
        if let Observation::Relaunched { found, .. } = &observation {
            // On records that were read again meanwhile, it is looked again.
            if self.conflicts == conflicts {
                self.looked(&asked, found.as_ref().err());
            }
        } else {
            self.learn(call, &asked, &observation, asked_at);
        }
        self.answered = error.is_none();
        if let Some(error) = error {
            self.trouble = Some(error);
        }
        if outdated {
            return Err(End::Broken(Standing::Outdated));
        }
        Ok(())
    }

    /// What the provider says of a launch before it is made.
    pub(super) fn launch_kind(&self, intent: &JobRecord) -> Option<String> {
        let (owner, _) = self.registry.owner(intent)?;
        let provider = self.registry.get(owner)?;
        let kind = provider.launch_kind(&self.request(intent)?, intent.job_type)?;
        if kind.len() > JobRef::MAX_KIND {
            tracing::error!(owner, "the kind of the launch is too long to go on record");
            return None;
        }
        Some(kind.into_owned())
    }

    fn request(&self, asked: &JobRecord) -> Option<LaunchRequest> {
        let mut request = LaunchRequest::new(self.resource.clone(), asked.token.clone()?)
            .with_extra_vars(self.desired.extra_vars.clone());
        request.config_version.clone_from(&asked.config_version);
        request.last_sent = history::last_sent(&self.records, asked);
        request.send_by = asked.sent_at.map(|at| add(at, LAUNCH_LEASE));
        Some(request)
    }

    async fn ask(&self, call: Call, asked: &JobRecord) -> Option<Observation> {
        let (owner, caps) = self.registry.owner(asked)?;
        let provider = self.registry.get(owner)?;
        Some(match call {
            Call::Launch(_) => {
                let request = self.request(asked)?;
                match asked.job_type {
                    JobType::Provision => {
                        Observation::Provisioned(provider.trigger_provision(&request).await)
                    }
                    JobType::Deprovision => {
                        let history: Vec<JobRecord> = self
                            .records
                            .iter()
                            .filter(|r| self.desired.owns(r))
                            .cloned()
                            .collect();
                        Observation::Deprovisioned(
                            provider.trigger_deprovision(&request, &history).await,
                        )
                    }
                }
            }
            Call::Status(_) => {
                let job = asked.tracked()?;
                Observation::Status(match asked.job_type {
                    JobType::Provision => provider.provision_status(&self.resource, &job).await,
                    JobType::Deprovision => provider.deprovision_status(&self.resource, &job).await,
                })
            }
            Call::Cancel(_) => {
                Observation::Canceled(provider.cancel(&self.resource, &asked.tracked()?).await)
            }
            Call::Find(_) => {
                let mut query =
                    FindRequest::new(self.resource.clone(), asked.job_type, asked.token.clone()?);
                // What was sent with another version may have been something else: no job is called
                // stray for the lack of it.
                if asked.config_version.as_ref() == Some(&self.desired.version) {
                    query = query.with_extra_vars(self.desired.extra_vars.clone());
                }
                // From the first launch of the token to the last one, whose clock may be another's.
                let moments = || asked.timestamp.into_iter().chain(asked.sent_at);
                let window = caps.visibility_window.saturating_add(LAUNCH_LEASE);
                query.not_before = moments().min();
                query.not_after = moments().max().map(|at| add(at, window));
                Observation::Found(provider.find_launched(&query).await)
            }
            Call::FindRelaunched(_) => Observation::Relaunched {
                found: provider.find_relaunched(&self.relaunch_query(owner)).await,
                deleting: self.resource.deletion_timestamp().is_some(),
            },
        })
    }

    /// A search for copies that people have started has been made.
    fn looked(&mut self, asked: &JobRecord, error: Option<&ProviderError>) {
        let Some((owner, caps)) = self.registry.owner(asked) else {
            return;
        };
        let provider = owner.to_owned();
        let again = error.map(|error| {
            let pace = caps.poll_interval.max(RETRY_BROKEN_OFF);
            let wait = pace.max(error.retry_after().unwrap_or_default());
            let jitter = self.engine.policy.jitter;
            add(self.clock.now(), backoff::vary(wait, jitter, self.random()))
        });
        self.pass
            .relaunch_looks
            .push(RelaunchLook { provider, again });
    }

    /// Which copies are looked for: those of every job of the object that this provider may have run.
    fn relaunch_query(&self, owner: &str) -> RelaunchQuery {
        let owned = |record: &&JobRecord| {
            self.desired.owns(record)
                && relaunch::can_be_copied(record)
                && self.registry.owner(record).is_some_and(|(o, _)| o == owner)
        };
        let owned = || self.records.iter().filter(owned);
        let mut query = RelaunchQuery::new(self.resource.clone(), Vec::new());
        for token in owned().filter_map(|record| record.token.clone()) {
            if !query.tokens.contains(&token) {
                query.tokens.push(token);
            }
        }
        let moments = owned().flat_map(|record| record.timestamp.into_iter().chain(record.sent_at));
        query.not_before = moments.min();
        query
    }

    fn absorb(&self, asked: &JobRecord, observation: &Observation) -> Vec<JobRecord> {
        let Some((_, capabilities)) = self.registry.owner(asked) else {
            return Vec::new();
        };
        let context = Context {
            policy: &self.engine.policy,
            capabilities,
            now: self.clock.now(),
            seed: self.seed,
        };
        absorb(&self.records, asked, observation, &context)
    }

    /// Takes in what a call has given, and sets when the attempt is due again.
    fn learn(
        &mut self,
        call: Call,
        asked: &JobRecord,
        observation: &Observation,
        asked_at: Timestamp,
    ) {
        let records = Arc::clone(&self.records);
        let record = records
            .iter()
            .find(|record| record.attempt == asked.attempt);
        let Some(record) = record else { return };
        let Some((_, caps)) = self.registry.owner(record) else {
            return;
        };
        let told = match observation {
            Observation::Status(Ok(status)) => status.poll_after,
            _ => None,
        };
        let interval = poll_interval(&self.engine.policy, caps, record, told, self.random());
        let wait = match (call, observation.error()) {
            // A launch in doubt is looked for at once.
            (Call::Launch(_), Some(_)) => Duration::ZERO,
            // The backend does not know the job, and did: its token is looked for at once.
            (Call::Status(_) | Call::Cancel(_), _)
                if record.is_missing() && !asked.is_missing() && record.is_searchable(caps) =>
            {
                Duration::ZERO
            }
            (_, Some(error)) => interval.max(error.retry_after().unwrap_or_default()),
            _ => interval,
        };
        self.pass.learn(&Lesson {
            records: &records,
            asked,
            observation,
            policy: &self.engine.policy,
            asked_at,
            now: self.clock.now(),
            wait,
        });
    }
}
