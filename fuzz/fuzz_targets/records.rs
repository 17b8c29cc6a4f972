//! Records of older and newer writers: a list in JSON, read, kept, checked, explained, and worked on by the real
//! engine. The first line says in which situation, and how the backend answers.
#![no_main]

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use provider_core::lifecycle::{
    Desired, Lifecycle, MemoryStore, Mode, Policy, ProviderRegistry, SeededEntropy,
};
use provider_core::{
    CancelResult, Capabilities, ConfigVersion, DeprovisionResult, Effect, ErrorKind, FindRequest,
    JobRecord, JobRef, JobState, JobStatus, LaunchRequest, Preflight, Provider, ProviderError,
    ProvisionResult, Resource, TrackedJob, TriggerError, history, text,
};
use provider_fuzz::{check_error, now, object, run};
use serde_json::{Value, json};

/// A backend that gives one sort of answer.
#[derive(Debug)]
struct Backend {
    words: HashSet<String>,
    launches: AtomicUsize,
    calls: AtomicUsize,
}

impl Backend {
    fn answer<T>(&self, good: T) -> Result<T, ProviderError> {
        let calls = self.calls.fetch_add(1, Ordering::Relaxed);
        assert!(calls < 500, "it asks without end");
        let says = |word: &str| self.words.contains(word);
        let failed = |effect, kind| Err(ProviderError::new(effect, kind, "made up"));
        if says("away") {
            return failed(Effect::NotSent, ErrorKind::Unavailable);
        }
        if says("lost") {
            return failed(Effect::MaybeSent, ErrorKind::Timeout);
        }
        if says("gone") {
            return failed(Effect::Rejected, ErrorKind::NotFound);
        }
        Ok(good)
    }

    fn state(&self) -> JobState {
        let ended = if self.words.contains("failed") {
            JobState::Failed
        } else {
            JobState::Succeeded
        };
        if self.words.contains("ended") {
            ended
        } else {
            JobState::Running
        }
    }

    fn launch(&self) -> Result<JobRef, TriggerError> {
        self.launches.fetch_add(1, Ordering::Relaxed);
        Ok(self.answer(JobRef::new("aap", "job", "1000"))?)
    }

    fn known(&self, job: &TrackedJob) -> Result<JobStatus, ProviderError> {
        self.answer(JobStatus::new(job.job.clone(), self.state()))
    }
}

#[async_trait]
impl Provider for Backend {
    fn name(&self) -> &str {
        "aap"
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::none();
        capabilities.cancel = !self.words.contains("dull");
        capabilities.find_launched = !self.words.contains("dull");
        capabilities
    }

    async fn trigger_provision(&self, _: &LaunchRequest) -> Result<ProvisionResult, TriggerError> {
        Ok(ProvisionResult::new(self.launch()?, JobState::Pending, ""))
    }

    async fn status(&self, _: &Resource, job: &TrackedJob) -> Result<JobStatus, ProviderError> {
        self.known(job)
    }

    async fn trigger_deprovision(
        &self,
        _: &LaunchRequest,
        _: &[JobRecord],
    ) -> Result<DeprovisionResult, TriggerError> {
        if self.words.contains("wait") {
            return Ok(self.answer(DeprovisionResult::Waiting {
                reason: "made up".to_owned(),
                retry_after: Duration::from_secs(1),
                block_deletion_on_failure: true,
                provision_job: None,
            })?);
        }
        Ok(DeprovisionResult::Triggered {
            job: Some(self.launch()?),
            initial_state: JobState::Pending,
            block_deletion_on_failure: true,
            provision_job: None,
        })
    }

    async fn cancel(&self, _: &Resource, _: &TrackedJob) -> Result<CancelResult, ProviderError> {
        self.answer(CancelResult::Requested)
    }

    async fn find_launched(&self, _: &FindRequest) -> Result<Vec<JobStatus>, ProviderError> {
        let found = JobStatus::new(JobRef::new("aap", "job", "1001"), self.state());
        let found = if self.words.contains("found") {
            vec![found]
        } else {
            Vec::new()
        };
        self.answer(found)
    }

    async fn preflight(&self, _: &[String]) -> Preflight {
        Preflight::new()
    }
}

/// What was read and is written again reads the same.
fn check_record(given: &Value) -> Option<JobRecord> {
    let record: JobRecord = serde_json::from_value(given.clone()).ok()?;
    let written = serde_json::to_string(&record).expect("a record is written");
    let again: JobRecord = serde_json::from_str(&written).expect("a record is read again");
    assert_eq!(again, record, "written as {written}");
    let twice = serde_json::to_string(&again).expect("a record is written");
    assert_eq!(twice, written);
    assert!(
        record.message.len() <= text::MAX_TEXT,
        "a message without bound"
    );
    if record.defect.is_some() {
        assert_eq!(
            &serde_json::to_value(&record).expect("JSON"),
            given,
            "it was not kept"
        );
        assert!(record.may_be_live());
    }
    Some(record)
}

fn check_history(records: &[JobRecord]) {
    let mut numbered = records.to_vec();
    history::number(&mut numbered);
    let mut seen = HashSet::new();
    for record in numbered.iter().filter(|record| record.defect.is_none()) {
        assert!(
            record.attempt > 0 && seen.insert(record.attempt),
            "a number twice"
        );
    }
    let whole: Vec<JobRecord> = numbered
        .iter()
        .filter(|record| record.defect.is_none())
        .cloned()
        .collect();
    let next = history::next_attempt(&whole);
    assert!(whole.iter().all(|record| record.attempt < next));
    let mut kept = numbered.clone();
    history::trim(&mut kept, 3);
    for record in &numbered {
        assert!(
            !record.may_be_live() || kept.contains(record),
            "a live record was dropped"
        );
    }
    for note in history::check(&numbered) {
        let _ = note.to_string();
    }
}

async fn work(words: HashSet<String>, records: Vec<JobRecord>) {
    let says = |word: &str| words.contains(word);
    let mut resource = object();
    if says("deleting") {
        let mut deleted = Value::Object(resource.object().clone());
        deleted["metadata"]["deletionTimestamp"] = json!("2026-09-21T14:00:00Z");
        deleted["metadata"]["finalizers"] = json!(["ours"]);
        resource = Resource::from_json(deleted).expect("an object");
    }
    let mut desired = Desired::new(ConfigVersion::from_text("v1-00"), "aap");
    if says("retry") {
        desired = desired.with_retry_request("again");
    }
    if says("east") {
        desired = desired.for_target("east");
        desired.absorbs_untagged = says("all");
    }
    for (word, mode) in [
        ("paused", Mode::Paused),
        ("manual", Mode::Manual),
        ("unmanaged", Mode::Unmanaged),
    ] {
        if says(word) {
            desired = desired.in_mode(mode);
        }
    }
    let backend = Arc::new(Backend {
        words,
        launches: AtomicUsize::new(0),
        calls: AtomicUsize::new(0),
    });
    let registry = ProviderRegistry::single(backend.clone());
    let store = MemoryStore::new();
    let mut numbered = records.clone();
    history::number(&mut numbered);
    store.overwrite(resource.key(), records);
    let engine = Lifecycle::with_entropy(Policy::default(), Arc::new(SeededEntropy::new(1)));
    let told = engine
        .explain(&registry, &store, &resource, &desired, &now())
        .await;
    let _ = told.expect("a memory can be read").to_string();
    let outcome = engine
        .reconcile(&registry, &store, &resource, &desired, &now())
        .await;
    let launches = backend.launches.load(Ordering::Relaxed);
    assert!(launches <= 1, "{launches} launches in one pass");
    if numbered
        .iter()
        .any(|record| record.defect.is_some() && desired.owns(record))
    {
        assert_eq!(launches, 0, "a launch beside a record that cannot be read");
    }
    if let Some(trouble) = &outcome.trouble {
        check_error(trouble);
    }
    let left = store.records(resource.key());
    for record in numbered.iter().filter(|record| record.defect.is_some()) {
        assert!(left.contains(record), "what cannot be read was not kept");
    }
    for record in &left {
        assert!(record.message.len() <= text::MAX_TEXT);
        check_record(&serde_json::to_value(record).expect("JSON"));
    }
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (words, list) = text.split_once('\n').unwrap_or(("", text));
    let given: Vec<Value> = serde_json::from_str(list).unwrap_or_default();
    let records: Vec<JobRecord> = given.iter().filter_map(check_record).take(40).collect();
    check_history(&records);
    let words = words.split(' ').map(str::to_owned).collect();
    run(work(words, records));
});
