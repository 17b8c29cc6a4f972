//! A store that is wrong in one way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use provider_core::lifecycle::{
    Freshness, Snapshot, StatusStore, StoreError, StoreVersion, Written,
};
use provider_core::{JobRecord, ObjectKey, Resource};
use provider_testkit::conformance::store::StoreHarness;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    None,
    StartsWithARecord,
    KeepsToItself,
    DropsMessages,
    IgnoresVersions,
    AnswersTheOldVersion,
    RefusesTheSame,
    LosesRaces,
    NeverEmpties,
    IgnoresUids,
    WritesToWhoeverIsThere,
    MergesNames,
    RefusesLongNames,
    ShowsOneSide,
}

type Objects = Arc<Mutex<HashMap<String, (u64, Vec<JobRecord>)>>>;

pub struct Harness(pub Flaw, Objects);

impl Harness {
    pub fn new(flaw: Flaw) -> Self {
        Self(flaw, Objects::default())
    }
}

#[async_trait]
impl StoreHarness for Harness {
    async fn open(&self, _: &ObjectKey) -> Arc<dyn StatusStore> {
        let objects = match self.0 {
            Flaw::KeepsToItself => Objects::default(),
            _ => Arc::clone(&self.1),
        };
        Arc::new(Store(self.0, objects))
    }
}

struct Store(Flaw, Objects);

impl Store {
    fn name(&self, key: &ObjectKey, writes: bool) -> String {
        let mut key = key.clone();
        match self.0 {
            Flaw::IgnoresUids => key.uid.clear(),
            Flaw::WritesToWhoeverIsThere if writes && key.name == "former" => {
                key.uid = "former-2".to_owned();
            }
            Flaw::MergesNames => key.name = key.name.replace(':', "_"),
            _ => {}
        }
        format!("{key:?}")
    }
}

#[async_trait]
impl StatusStore for Store {
    async fn load(&self, key: &ObjectKey, _: Freshness) -> Result<Snapshot, StoreError> {
        let all = self.1.lock().unwrap();
        let (number, mut records) = all.get(&self.name(key, false)).cloned().unwrap_or_default();
        if self.0 == Flaw::StartsWithARecord && number == 0 && key.name == "new" {
            records.push(JobRecord::new(1, provider_core::JobType::Provision));
        }
        if self.0 == Flaw::RefusesLongNames && key.name.len() > 200 {
            return Err(StoreError::unavailable("name too long"));
        }
        let version = StoreVersion::new(number.to_string());
        let snapshot = Snapshot::new(Arc::new(records), version);
        Ok(if self.0 == Flaw::ShowsOneSide {
            let object = serde_json::json!({"kind": key.kind, "metadata": {"name": key.name}});
            snapshot.with_resource(Resource::from_json(object).unwrap())
        } else {
            snapshot
        })
    }

    async fn swap(
        &self,
        key: &ObjectKey,
        version: &StoreVersion,
        records: &[JobRecord],
    ) -> Result<Written, StoreError> {
        let mut all = self.1.lock().unwrap();
        let object = all.entry(self.name(key, true)).or_default();
        let free = match self.0 {
            Flaw::IgnoresVersions => key.name == "old",
            Flaw::LosesRaces => key.name == "race",
            Flaw::WritesToWhoeverIsThere => key.name == "former",
            _ => false,
        };
        if version.as_str() != object.0.to_string() && !free {
            return Err(StoreError::Conflict);
        }
        if self.0 == Flaw::RefusesTheSame && object.1 == records && !records.is_empty() {
            return Err(StoreError::Conflict);
        }
        if !(self.0 == Flaw::NeverEmpties && records.is_empty()) {
            object.1 = records.to_vec();
        }
        object.0 += 1;
        if self.0 == Flaw::DropsMessages {
            object
                .1
                .iter_mut()
                .for_each(|record| record.message.clear());
        }
        let answer = match self.0 {
            Flaw::AnswersTheOldVersion => object.0 - 1,
            _ => object.0,
        };
        Ok(Written::new(StoreVersion::new(answer.to_string())))
    }
}
