//! The driver and the store: what is read, and what is written.

use std::sync::Arc;

use super::{End, MAX_CONFLICTS, Run, Swapped, broken};
use crate::lifecycle::decision::{Right, Standing, Why};
use crate::lifecycle::store::{Freshness, Snapshot, StoreError};
use crate::lifecycle::{event, telemetry};
use crate::{JobRecord, history};

impl Run<'_> {
    /// Reads the records. `Ok(false)`: they are read, and the object is no longer the one that this
    /// pass began with, so that nothing may be decided on it.
    pub(super) async fn load(&mut self, freshness: Freshness) -> Result<bool, End> {
        let loaded = self.store.load(self.resource.key(), freshness).await;
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

    /// Writes changed records, if nobody has written since they were read. `asked` is the record that a call
    /// was about: what became of it is told, also where somebody else has taken it off meanwhile.
    pub(super) async fn swap(
        &mut self,
        changed: Vec<JobRecord>,
        asked: Option<&JobRecord>,
    ) -> Result<Swapped, End> {
        let Some(version) = self.version.clone() else {
            return Err(End::Broken(Standing::Outdated));
        };
        let before = Arc::clone(&self.records);
        let mut records = (*before).clone();
        let mut events = Vec::with_capacity(changed.len());
        for record in changed {
            let mut known = before.iter().chain(asked);
            let old = known.find(|known| known.attempt == record.attempt);
            let told = event::between(old, &record);
            events.extend(told.into_iter().map(|event| (event, record.clone())));
            history::put(&mut records, record);
        }
        history::trim(&mut records, self.engine.policy.config.history_length);
        match self
            .store
            .swap(self.resource.key(), &version, &records)
            .await
        {
            Ok(written) => {
                self.records = Arc::new(records);
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
                for (event, record) in events {
                    if written.is_left {
                        self.unrecorded.push((event, record));
                    } else {
                        telemetry::record_event(&event, &record);
                        self.events.push(event);
                    }
                }
                Ok(Swapped::Written)
            }
            Err(StoreError::Conflict) => {
                self.conflicts += 1;
                telemetry::conflict();
                if self.conflicts > MAX_CONFLICTS {
                    return Err(End::Broken(Standing::Interrupted {
                        reason: "others keep writing this object's status".to_owned(),
                    }));
                }
                Ok(if self.load(Freshness::Current).await? {
                    Swapped::Conflict
                } else {
                    Swapped::Outdated
                })
            }
            Err(error) => Err(broken(&error)),
        }
    }

    pub(super) async fn fence(
        &mut self,
        mut changed: Vec<JobRecord>,
        then: Option<Right>,
        why: Why,
    ) -> Result<(), End> {
        self.pass.right = None;
        self.pass.absent = None;
        if let Some(Right::Launch(n)) = then {
            for intent in changed.iter_mut().filter(|record| record.attempt == n) {
                intent.kind = self.launch_kind(intent).or(intent.kind.take());
            }
        }
        match self.swap(changed, None).await? {
            Swapped::Written => {
                tracing::info!(%why, ?then, "recorded");
                self.pass.right = then;
                Ok(())
            }
            Swapped::Conflict => Ok(()),
            Swapped::Outdated => Err(End::Broken(Standing::Outdated)),
        }
    }
}
