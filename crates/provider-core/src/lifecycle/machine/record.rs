//! What is read, what is written, and what a pass learns from the answers of providers.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{
    Asked, Effect, End, MAX_CONFLICTS, Machine, Purpose, RETRY_BROKEN_OFF, Seen, Setting, Stage,
    Write, broken, under_way,
};
use crate::clock::add;
use crate::lifecycle::absorb::{Context, Observation, absorb};
use crate::lifecycle::decide::poll_interval;
use crate::lifecycle::decision::{Call, Right, Standing, Why};
use crate::lifecycle::pacing::Lesson;
use crate::lifecycle::relaunch::RelaunchLook;
use crate::lifecycle::store::{Freshness, Snapshot, StoreError, Written};
use crate::lifecycle::{backoff, event, telemetry};
use crate::{JobRecord, ProviderError, history};

impl Machine {
    /// Takes in records. `Ok(false)`: the object is no longer the one that this pass began with, so that
    /// nothing may be decided on it.
    pub(super) fn loaded(&mut self, loaded: Result<Snapshot, StoreError>) -> Result<bool, End> {
        let Snapshot {
            mut records,
            version,
            resource,
        } = loaded.map_err(|error| broken(&error))?;
        // Another life of the same name: these records are none of this pass' business.
        if resource
            .as_ref()
            .is_some_and(|newer| newer.uid() != self.resource.uid())
        {
            return Err(End::Broken(Standing::Outdated));
        }
        if !history::is_numbered(&records) {
            history::number(Arc::<Vec<JobRecord>>::make_mut(&mut records));
        }
        self.records = records;
        self.version = Some(version);
        // What was decided on other records is void.
        self.pass.right = None;
        self.pass.absent = None;
        self.pass.relaunch_looks.clear();
        self.pass.current = false;
        Ok(resource.is_none_or(|newer| newer.asks_the_same(&self.resource)))
    }

    pub(super) fn fence(
        &mut self,
        setting: &Setting<'_>,
        mut changed: Vec<JobRecord>,
        forget: &[u64],
        (then, why): (Option<Right>, Why),
    ) -> Result<Effect, End> {
        self.pass.right = None;
        self.pass.absent = None;
        if let Some(Right::Launch(n)) = then {
            for intent in changed.iter_mut().filter(|record| record.attempt == n) {
                intent.kind = self.launch_kind(setting, intent).or(intent.kind.take());
            }
        }
        self.swap(setting, changed, forget, Purpose::Decision(then, why))
    }

    /// Writes changed records, if nobody has written since they were read. What became of the record that a
    /// call was about is told, also where somebody else has taken it off meanwhile.
    fn swap(
        &mut self,
        setting: &Setting<'_>,
        changed: Vec<JobRecord>,
        forget: &[u64],
        purpose: Purpose,
    ) -> Result<Effect, End> {
        let Some(version) = self.version.clone() else {
            return Err(End::Broken(Standing::Outdated));
        };
        let asked = match &purpose {
            Purpose::Observation(seen) => Some(&seen.asked.record),
            Purpose::Decision(..) => None,
        };
        let mut records = (*self.records).clone();
        let mut told = Vec::with_capacity(changed.len());
        for record in changed {
            let mut known = self.records.iter().chain(asked);
            let old = known.find(|known| known.attempt == record.attempt);
            let events = event::between(old, &record);
            told.extend(events.into_iter().map(|event| (event, record.clone())));
            history::put(&mut records, record);
        }
        records.retain(|record| !forget.contains(&record.attempt));
        history::trim(&mut records, setting.policy.config.history_length);
        let records = Arc::new(records);
        let write = Write {
            records: Arc::clone(&records),
            told,
        };
        self.stage = Stage::Writing(purpose, write);
        Ok(Effect::Swap { version, records })
    }

    pub(super) fn written(&mut self, write: Write, written: Written) {
        self.records = write.records;
        self.version = Some(written.version);
        // What is launched next is sent the object as the store has it. One that asks for
        // something else is another pass' affair.
        if let Some(whole) = written
            .resource
            .filter(|whole| whole.asks_the_same(&self.resource))
        {
            self.resource = whole;
        }
        self.pass.current = true;
        // Told when it is on record: a write that fails is made again, or by another process.
        for (event, record) in write.told {
            if written.is_left {
                self.unrecorded.push((event, record));
            } else {
                telemetry::record_event(&event, &record);
                self.events.push(event);
            }
        }
    }

    /// A write for this has succeeded.
    pub(super) fn done(
        &mut self,
        setting: &Setting<'_>,
        purpose: Purpose,
        now: Timestamp,
    ) -> Result<Effect, End> {
        match purpose {
            Purpose::Decision(then, why) => {
                tracing::info!(%why, ?then, "recorded");
                self.pass.right = then;
                self.next(setting, now)
            }
            Purpose::Observation(seen) => self.recorded(setting, &seen, now),
        }
    }

    pub(super) fn conflict(&mut self, purpose: Purpose) -> Result<Effect, End> {
        self.conflicts += 1;
        telemetry::conflict();
        if self.conflicts > MAX_CONFLICTS {
            return Err(End::Broken(Standing::Interrupted {
                reason: "others keep writing this object's status".to_owned(),
            }));
        }
        self.stage = Stage::Rereading(purpose);
        Ok(Effect::Load(Freshness::Current))
    }

    /// The records were read again, because somebody else wrote first.
    pub(super) fn reread(
        &mut self,
        setting: &Setting<'_>,
        purpose: Purpose,
        is_same: bool,
        now: Timestamp,
    ) -> Result<Effect, End> {
        match purpose {
            Purpose::Decision(..) if is_same => self.next(setting, now),
            Purpose::Decision(..) => Err(End::Broken(Standing::Outdated)),
            Purpose::Observation(mut seen) => {
                seen.outdated |= !is_same;
                self.record(setting, *seen, now)
            }
        }
    }

    pub(super) fn saw(
        &mut self,
        setting: &Setting<'_>,
        asked: Asked,
        observation: Observation,
        now: Timestamp,
    ) -> Result<Effect, End> {
        let observation = observation.checked();
        telemetry::call(asked.call, &asked.record, observation.error(), asked.why);
        let seen = Seen {
            asked,
            observation,
            outdated: false,
        };
        self.record(setting, seen, now)
    }

    /// Puts on record what was seen.
    ///
    /// The records may have been written by others during the call, and the object may have been changed.
    /// What was seen is put on record all the same: a job whose name is known must not become one that has
    /// to be looked for.
    fn record(&mut self, setting: &Setting<'_>, seen: Seen, now: Timestamp) -> Result<Effect, End> {
        let changed = self.absorb(setting, &seen, now);
        if changed.is_empty() {
            return self.recorded(setting, &seen, now);
        }
        self.swap(setting, changed, &[], Purpose::Observation(Box::new(seen)))
    }

    fn absorb(&self, setting: &Setting<'_>, seen: &Seen, now: Timestamp) -> Vec<JobRecord> {
        let asked = &seen.asked.record;
        let Some((_, capabilities)) = setting.backends.owner(asked) else {
            return Vec::new();
        };
        let context = Context {
            policy: setting.policy,
            capabilities,
            now,
            seed: self.seed,
        };
        absorb(&self.records, asked, &seen.observation, &context)
    }

    /// What was seen is on record.
    fn recorded(
        &mut self,
        setting: &Setting<'_>,
        seen: &Seen,
        now: Timestamp,
    ) -> Result<Effect, End> {
        if let Observation::Relaunched { found, .. } = &seen.observation {
            // On records that were read again meanwhile, it is looked again.
            if self.conflicts == seen.asked.conflicts {
                self.looked(setting, &seen.asked.record, found.as_ref().err(), now);
            }
        } else {
            self.learn(setting, seen, now);
        }
        let error = seen.observation.error().cloned();
        self.answered = error.is_none();
        if let Some(error) = error {
            self.trouble = Some(error);
        }
        if seen.outdated {
            return Err(End::Broken(Standing::Outdated));
        }
        self.next(setting, now)
    }

    /// A search for copies that people have started has been made.
    fn looked(
        &mut self,
        setting: &Setting<'_>,
        asked: &JobRecord,
        error: Option<&ProviderError>,
        now: Timestamp,
    ) {
        let Some((owner, caps)) = setting.backends.owner(asked) else {
            return;
        };
        let provider = owner.to_owned();
        let again = error.map(|error| {
            let pace = caps.poll_interval.max(RETRY_BROKEN_OFF);
            let wait = pace.max(error.retry_after().unwrap_or_default());
            let jitter = setting.policy.jitter;
            add(now, backoff::vary(wait, jitter, self.random()))
        });
        self.pass
            .relaunch_looks
            .push(RelaunchLook { provider, again });
    }

    /// Takes in what a call has given, and sets when the attempt is due again.
    fn learn(&mut self, setting: &Setting<'_>, seen: &Seen, now: Timestamp) {
        let (asked, observation) = (&seen.asked.record, &seen.observation);
        let records = Arc::clone(&self.records);
        let record = records
            .iter()
            .find(|record| record.attempt == asked.attempt);
        let Some(record) = record else { return };
        let Some((_, caps)) = setting.backends.owner(record) else {
            return;
        };
        let told = match observation {
            Observation::Status(Ok(status)) => status.poll_after,
            _ => None,
        };
        let interval = poll_interval(setting.policy, caps, record, told, self.random());
        let wait = match (seen.asked.call, observation.error()) {
            // A launch in doubt is looked for at once, where it can be.
            (Call::Launch(_), Some(_)) if caps.find_launched => Duration::ZERO,
            (Call::Launch(_), Some(_)) => under_way(caps),
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
            policy: setting.policy,
            asked_at: seen.asked.at,
            now,
            wait,
        });
    }
}
