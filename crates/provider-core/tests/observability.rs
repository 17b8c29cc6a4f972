//! What a person and a dashboard see of the engine: explanations, events, metrics, the schema.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed"
)]

mod support;

use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshot};
use provider_core::lifecycle::{EventKind, Mode, Outcome, Standing, StoreError};
use provider_core::{Effect, ErrorKind, JobState, ProviderError};
use provider_testkit::{FakeProvider, Function, Trouble};
use serde_json::{Value, json};
use support::{Life, applied, endless, failed};

async fn explained(life: &Life) -> (String, Value) {
    let explanation = life
        .engine
        .explain(
            &life.registry,
            &life.store,
            &life.object,
            &life.desired,
            &life.clock,
        )
        .await
        .unwrap();
    (
        explanation.to_string(),
        serde_json::to_value(&explanation).unwrap(),
    )
}

#[tokio::test]
async fn an_explanation_names_the_decision_its_evidence_and_the_wake_up() {
    let mut life = Life::new(endless());
    let (text, _) = explained(&life).await;
    assert!(text.contains("no attempt has been made yet"), "{text}");
    life.step().await;
    let (text, data) = explained(&life).await;
    assert!(text.contains("attempt 1: provision"), "{text}");
    assert!(text.contains("fake fake/1"), "{text}");
    assert!(data["wakeAt"].is_string(), "{data}");
    life.fake.end(1, JobState::Canceled);
    life.until(|o| matches!(o.standing, Standing::Held(_)))
        .await;
    let (text, data) = explained(&life).await;
    assert!(text.contains("somebody else canceled it"), "{text}");
    assert!(
        text.contains("advice:"),
        "a hold says how it is ended: {text}"
    );
    // Somebody may relaunch it at the backend.
    assert!(data["wakeAt"].is_string(), "{data}");
    life.desired.mode = Mode::Unmanaged;
    let (text, _) = explained(&life).await;
    assert!(text.contains("the mode of the object says so"), "{text}");
    // Explaining changes nothing.
    assert_eq!((life.jobs(), life.records().len()), (1, 1));
}

/// What is measured while this is done.
fn measured(work: impl Future<Output = ()>) -> Snapshot {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    metrics::with_local_recorder(&recorder, || runtime.block_on(work));
    snapshotter.snapshot()
}

#[test]
fn metrics_count_launches_adoptions_doubts_conflicts_and_phases() {
    let snapshot = measured(async {
        let mut life = Life::new(FakeProvider::new("fake"));
        life.fake
            .trouble(Function::TriggerProvision, Trouble::LosesAnswer);
        life.applied().await;
        let refused = ProviderError::new(Effect::Rejected, ErrorKind::Forbidden, "no");
        life.delete();
        life.fake
            .trouble(Function::TriggerDeprovision, Trouble::Fails(refused));
        life.released().await;
    });
    let mut counters = std::collections::BTreeMap::new();
    let mut histograms = Vec::new();
    for (key, _, _, value) in snapshot.into_vec() {
        let labels: Vec<String> = key
            .key()
            .labels()
            .map(|l| format!("{}={}", l.key(), l.value()))
            .collect();
        let name = format!("{} {}", key.key().name(), labels.join(" "));
        match value {
            DebugValue::Counter(n) => {
                counters.insert(name, n);
            }
            DebugValue::Histogram(values) => histograms.push((name, values)),
            DebugValue::Gauge(_) => {}
        }
    }
    let count = |event: &str, of: &str| {
        let name = format!("provider_attempt_events_total provider=fake type={of} event={event}");
        counters.get(&name).copied().unwrap_or(0)
    };
    assert_eq!(count("Ambiguous", "provision"), 1, "{counters:?}");
    assert_eq!(count("Adopted", "provision"), 1);
    assert_eq!(count("Succeeded", "provision"), 1);
    assert_eq!(count("NotLaunched", "deprovision"), 1);
    assert_eq!(count("Started", "deprovision"), 1);
    let refused = "provider_calls_total provider=fake call=launch result=forbidden";
    assert_eq!(counters.get(refused), Some(&1), "{counters:?}");
    assert!(
        histograms
            .iter()
            .all(|(name, _)| name.starts_with("provider_phase_seconds"))
    );
}

/// What is left behind by a target that is gone is counted with what has brought it about, and once; what is to
/// stay is none.
#[test]
fn orphans_are_counted_once_and_what_is_to_stay_is_no_orphan() {
    let orphans = |snapshot: Snapshot| -> u64 {
        let all = snapshot.into_vec().into_iter();
        all.filter(|(key, ..)| key.key().name() == "provider_orphans_total")
            .map(|(_, _, _, value)| match value {
                DebugValue::Counter(n) => n,
                _ => 0,
            })
            .sum()
    };
    let without_block = || endless().with_capabilities(|c| c.block_deletion_on_failure = false);
    let absent = measured(async {
        let mut life = applied(without_block()).await;
        life.desired = life.desired.clone().absent();
        life.step().await;
        life.fake.end(2, JobState::Failed);
        let is_absent = |o: &Outcome| matches!(o.standing, Standing::Absent { .. });
        life.until(is_absent).await;
        for _ in 0..5 {
            life.pass(3_600);
            life.step().await;
        }
    });
    assert_eq!(orphans(absent), 1);
    let kept = measured(async {
        let mut life = applied(endless()).await;
        life.desired = life.desired.clone().keep_on_delete();
        life.delete();
        life.released().await;
    });
    assert_eq!(orphans(kept), 0);
}

/// Three others write while the job of a launch goes on record.
#[test]
fn what_happened_is_told_once_however_often_its_record_had_to_be_written() {
    let snapshot = measured(async {
        let life = Life::new(endless());
        let conflict = || Some(StoreError::Conflict);
        let script = [None, conflict(), conflict(), conflict()];
        life.store.script(script);
        let outcome = life.step().await;
        let started = outcome
            .events
            .iter()
            .filter(|e| e.kind == EventKind::Started);
        assert_eq!((started.count(), outcome.conflicts), (1, 3));
    });
    let started = snapshot
        .into_vec()
        .into_iter()
        .find(|(key, ..)| key.key().labels().any(|label| label.value() == "Started"));
    let (.., value) = started.unwrap();
    assert_eq!(value, DebugValue::Counter(1));
}

/// What was told in the passes until something held, without what only moves on.
async fn told_until(life: &Life, done: impl Fn(&Outcome) -> bool) -> Vec<EventKind> {
    let told = std::cell::RefCell::new(Vec::new());
    let noted = |outcome: &Outcome| {
        let kinds = outcome.events.iter().map(|event| event.kind);
        told.borrow_mut()
            .extend(kinds.filter(|kind| *kind != EventKind::Progressed));
        done(outcome)
    };
    life.until(noted).await;
    told.into_inner()
}

/// Its launch has lost its answer, and its end comes before it is found.
#[tokio::test]
async fn a_job_that_is_found_after_its_end_is_told_as_adopted_once_and_then_as_ended() {
    for (state, end) in [
        (JobState::Succeeded, EventKind::Succeeded),
        (JobState::Failed, EventKind::Failed),
        (JobState::Canceled, EventKind::Canceled),
    ] {
        let life = Life::new(endless());
        let away = ProviderError::new(Effect::NotSent, ErrorKind::Unavailable, "away");
        life.fake
            .trouble(Function::TriggerProvision, Trouble::LosesAnswer);
        life.fake.away(&[Function::FindLaunched], away);
        life.step().await;
        life.fake.end(1, state);
        life.fake.back();
        let told = told_until(&life, |o| !o.records[0].may_be_live()).await;
        assert_eq!(told, [EventKind::Adopted, end]);
        // Told once: nothing of it comes again.
        let later = life.step().await;
        let again = |kind| later.events.iter().any(|event| event.kind == kind);
        assert!(!again(EventKind::Adopted) && !again(end));
    }
}

#[tokio::test]
async fn a_relaunch_that_is_found_after_its_end_is_told_with_its_end() {
    let life = failed(endless()).await;
    let copy = life.fake.copy(1).unwrap();
    life.fake.end(copy, JobState::Succeeded);
    let told = told_until(&life, |o| matches!(o.standing, Standing::Applied { .. })).await;
    assert_eq!(told, [EventKind::Relaunched, EventKind::Succeeded]);
}

/// Another writer has erased the record in the meantime.
#[tokio::test]
async fn a_record_that_is_put_back_is_told_by_what_happened_and_not_as_a_new_intent() {
    let life = Life::new(endless());
    life.step().await;
    life.fake.end(1, JobState::Succeeded);
    life.pass(60);
    *life.store.erases.lock().unwrap() = true;
    life.store.script([Some(StoreError::Conflict)]);
    let outcome = life.step().await;
    let told: Vec<EventKind> = outcome.events.iter().map(|event| event.kind).collect();
    assert_eq!((told, outcome.conflicts), (vec![EventKind::Succeeded], 1));
}

#[test]
fn the_schema_of_a_record_closes_the_states_and_describes_every_member() {
    let schema = serde_json::to_value(schemars::schema_for!(provider_core::JobRecord)).unwrap();
    let text = schema.to_string();
    let seven = json!([
        "Pending",
        "Waiting",
        "Running",
        "Succeeded",
        "Failed",
        "Canceled",
        "Unknown"
    ]);
    assert!(text.contains(&seven.to_string()), "{text}");
    let members = schema["properties"].as_object().unwrap();
    let life = serde_json::json!({
        "jobID": "1", "type": "provision", "state": "Running", "message": "", "attempt": 1,
        "blockDeletionOnFailure": true, "configVersion": "v1-0", "target": "t", "provider": "p",
        "kind": "k", "url": "u", "token": "t", "startedAt": null, "finishedAt": null,
        "cancelRequestedAt": null, "reason": "Adopted", "timestamp": null,
    });
    for name in life.as_object().unwrap().keys() {
        assert!(
            members.contains_key(name),
            "{name} is not in the schema: {text}"
        );
    }
}
