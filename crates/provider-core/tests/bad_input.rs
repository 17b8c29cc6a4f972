//! Records, clocks and configurations that are not as they should be: no panic, nothing launched on
//! doubt, and a clear outcome.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed"
)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use proptest::prelude::*;
use provider_core::engine::{Context, Observation, Pass, Situation, absorb, decide};
use provider_core::lifecycle::{
    Block, Hold, Mode, Policy, PolicyConfig, ProviderRegistry, Standing,
};
use provider_core::{JobRecord, JobState, JobStatus, Provider, Resource, TriggerError, history};
use provider_testkit::FakeProvider;
use serde_json::{Value, json};
use support::{Life, endless, version};

fn records(json: Value) -> Vec<JobRecord> {
    serde_json::from_value(json).unwrap()
}

#[tokio::test]
async fn a_corrupt_record_blocks_names_itself_and_is_kept() {
    let life = Life::new(FakeProvider::new("fake"));
    let corrupt = json!([{"jobID": {"not": "a text"}, "type": 17, "state": []}]);
    life.store
        .inner
        .overwrite(life.object.key(), records(corrupt.clone()));
    let outcome = life.for_a_while(Duration::from_secs(7_200)).await;
    let Standing::Blocked(Block::DefectiveRecord { defect, .. }) = outcome.standing else {
        panic!("{:?}", outcome.standing);
    };
    assert!(!defect.is_empty());
    assert_eq!(life.jobs(), 0);
    let kept = serde_json::to_value(life.records()).unwrap();
    assert_eq!(kept, corrupt, "kept as it was, for a person to repair");
}

#[tokio::test]
async fn a_foreign_job_id_is_routed_by_prefix_or_blocks() {
    let foreign = records(json!([
        {"jobID": "eda-webhook-3", "type": "provision", "state": "Running", "message": ""}
    ]));
    let mut life = Life::new(FakeProvider::new("fake"));
    let eda = Arc::new(FakeProvider::new("eda"));
    life.registry = ProviderRegistry::new()
        .with(life.fake.clone())
        .unwrap()
        .with(eda.clone())
        .unwrap();
    life.store.inner.overwrite(life.object.key(), foreign);
    let outcome = life.step().await;
    assert!(matches!(
        outcome.standing,
        Standing::Blocked(Block::MissingProvider { .. })
    ));
    life.registry = life.registry.clone().with_unnamed_owner("eda-", "eda");
    life.for_a_while(Duration::from_secs(60)).await;
    let asked = |fake: &FakeProvider| {
        let about =
            |call: &provider_testkit::CallRecord| call.job.as_deref() == Some("eda-webhook-3");
        fake.calls().iter().any(about)
    };
    assert!(asked(&eda) && !asked(&life.fake));
}

#[tokio::test]
async fn an_unknown_state_word_is_not_an_end() {
    let life = Life::new(endless());
    life.step().await;
    let mut value = serde_json::to_value(life.records()).unwrap();
    value[0]["state"] = json!("Exploding");
    life.store
        .inner
        .overwrite(life.object.key(), records(value));
    let outcome = life.step().await;
    assert!(matches!(outcome.standing, Standing::InProgress { .. }));
    assert_eq!(life.jobs(), 1);
}

#[tokio::test]
async fn members_of_a_newer_version_survive_an_older_writer() {
    let life = Life::new(FakeProvider::new("fake"));
    life.step().await;
    let mut value = serde_json::to_value(life.records()).unwrap();
    value[0]["invented"] = json!({"in": 2031});
    value[0]["reason"] = json!("InventedReason");
    life.store
        .inner
        .overwrite(life.object.key(), records(value));
    life.applied().await;
    let after = serde_json::to_value(life.records()).unwrap();
    assert_eq!(after[0]["invented"], json!({"in": 2031}));
    assert_eq!(life.jobs(), 1);
}

#[tokio::test]
async fn a_clock_that_jumps_back_an_hour_neither_launches_nor_stalls() {
    let life = Life::new(endless());
    life.step().await;
    life.pass(7_200);
    life.step().await;
    let back = life.now().checked_sub(Duration::from_secs(3_600)).unwrap();
    life.clock.set(back);
    let outcome = life.step().await;
    assert_eq!(life.jobs(), 1);
    let wait = outcome.wake_after(life.now()).unwrap();
    assert!(
        wait < Duration::from_secs(60),
        "it is still polled: {wait:?}"
    );
    life.fake.end(1, JobState::Succeeded);
    life.applied().await;
    assert_eq!(life.jobs(), 1);
}

#[tokio::test]
async fn a_back_off_beyond_a_clock_that_was_set_back_is_waited_for_and_not_skipped() {
    let life = Life::new(FakeProvider::new("fake"));
    life.fake.next_ending(JobState::Failed);
    life.until(|o| matches!(o.standing, Standing::BackingOff { .. }))
        .await;
    let back = life.now().checked_sub(Duration::from_secs(3_600)).unwrap();
    life.clock.set(back);
    let outcome = life.step().await;
    assert!(matches!(outcome.standing, Standing::BackingOff { .. }));
    assert_eq!(life.jobs(), 1);
    life.applied().await;
}

#[tokio::test]
async fn modes_are_respected() {
    let mut life = Life::new(endless());
    life.desired.mode = Mode::Paused;
    assert_eq!(life.step().await.standing, Standing::Held(Hold::Paused));
    life.desired.mode = Mode::Manual;
    assert_eq!(life.step().await.standing, Standing::Held(Hold::Manual));
    assert_eq!(life.jobs(), 0);
    life.desired.retry_request = Some("now".to_owned());
    life.step().await;
    assert_eq!(life.jobs(), 1);
    // Paused in mid-job: it is watched, and nothing is started or canceled.
    life.desired.mode = Mode::Paused;
    life.delete();
    life.for_a_while(Duration::from_secs(7_200)).await;
    assert_eq!(life.fake.count(provider_testkit::Function::Cancel), 0);
    life.fake.end(1, JobState::Succeeded);
    let outcome = life.for_a_while(Duration::from_secs(7_200)).await;
    assert_eq!(outcome.standing, Standing::Held(Hold::Paused));
    life.desired.mode = Mode::Unmanaged;
    let outcome = life.step().await;
    assert!(outcome.may_release());
    assert_eq!(
        outcome.receipt.unwrap().jobs.len(),
        1,
        "what it leaves is told"
    );
}

#[test]
fn no_two_records_share_a_number_whoever_edited_them() {
    let mut list = records(json!([
        {"jobID": "1", "type": "provision", "state": "Failed", "attempt": 3},
        {"jobID": "2", "type": "provision", "state": "Running"},
        {"jobID": "3", "type": "deprovision", "state": "Failed", "attempt": 3},
        {"jobID": "4", "type": "provision", "state": "Failed", "attempt": u64::MAX},
    ]));
    history::number(&mut list);
    let numbers: Vec<u64> = list.iter().map(|record| record.attempt).collect();
    assert_eq!(numbers, [3, 4, 5, 6]);
}

#[tokio::test]
async fn edited_numbers_are_corrected_before_anything_rests_on_them() {
    let life = Life::new(FakeProvider::new("fake").ending_after(0));
    life.step().await;
    let mut twice = life.records();
    twice.push(twice[0].clone());
    life.store.inner.overwrite(life.object.key(), twice);
    let numbers: Vec<u64> = life
        .step()
        .await
        .records
        .iter()
        .map(|r| r.attempt)
        .collect();
    assert_eq!(numbers, [1, 2]);
    let mut last = life.records();
    last.truncate(1);
    last[0].attempt = u64::MAX;
    life.store.inner.overwrite(life.object.key(), last);
    assert_eq!(life.step().await.records[0].attempt, 1);
}

#[tokio::test]
async fn a_count_of_cancels_beyond_all_bounds_is_a_count() {
    let mut life = Life::new(FakeProvider::new("fake").ending_after(0));
    life.step().await;
    let mut records = life.records();
    records[0].cancel_requested_at = Some(life.now());
    records[0].cancel_requests = u32::MAX;
    life.store.inner.overwrite(life.object.key(), records);
    life.delete();
    life.pass(60);
    assert!(life.step().await.wake_at.is_some());
}

#[test]
fn nonsense_policies_are_refused_when_they_are_made() {
    let refused = |change: fn(&mut PolicyConfig)| {
        let mut config = PolicyConfig::default();
        change(&mut config);
        Policy::new(config).unwrap_err().to_string()
    };
    assert!(refused(|p| p.history_length = 0).starts_with("historyLength is 0"));
    assert!(refused(|p| p.jitter = -1.0).starts_with("jitter is -1"));
    assert!(refused(|p| p.jitter = f64::NAN).starts_with("jitter is NaN"));
    assert!(refused(|p| p.max_failures = Some(0)).starts_with("maxFailures is 0"));
    let negative = SignedDuration::from_secs(-1);
    assert!(refused(|p| p.poll_interval = Some(SignedDuration::ZERO)).starts_with("pollInterval"));
    assert!(refused(|p| p.cancel_retry = SignedDuration::ZERO).starts_with("cancelRetry"));
    let mut config = PolicyConfig::default();
    config.backoff.base = negative;
    assert!(
        Policy::new(config)
            .unwrap_err()
            .to_string()
            .starts_with("backoff.base")
    );
    let mut config = PolicyConfig::default();
    config.backoff.cap = SignedDuration::from_secs(1);
    assert!(
        Policy::new(config)
            .unwrap_err()
            .to_string()
            .contains("at least backoff.base")
    );
    let unknown = serde_json::from_value::<PolicyConfig>(json!({"pollIntervall": "1s"}));
    assert!(unknown.unwrap_err().to_string().contains("unknown field"));
}

#[test]
fn objects_that_are_none_are_refused_with_the_reason() {
    for (value, part) in [
        (json!([]), "not an object"),
        (json!({"metadata": {"name": "x"}}), "kind is missing"),
        (json!({"kind": "K"}), "metadata is missing"),
        (
            json!({"kind": "K", "metadata": {"name": ""}}),
            "metadata.name is missing",
        ),
        (
            json!({"kind": "K", "metadata": {"name": "x", "deletionTimestamp": "soon"}}),
            "RFC 3339",
        ),
    ] {
        let error = Resource::from_json(value).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

fn wild_record() -> impl Strategy<Value = JobRecord> {
    let word = prop::sample::select(vec![
        "Pending",
        "Waiting",
        "Running",
        "Succeeded",
        "Failed",
        "Canceled",
        "Unknown",
        "Odd",
        "",
    ]);
    let reason = prop::sample::select(vec![
        "Intended",
        "Ambiguous",
        "HeldBack",
        "NotSent",
        "Rejected",
        "Withdrawn",
        "Adopted",
        "Assumed",
        "Purged",
        "CanceledByUs",
        "Superseded",
        "DeadlineExceeded",
        "Duplicate",
        "PurgeSuspected",
        "Skipped",
        "Stray",
        "Invented",
    ]);
    let time = prop::sample::select(vec![
        "1970-01-01T00:00:00Z",
        "2026-11-23T04:00:00Z",
        "2026-11-23T05:00:00Z",
        "9999-01-01T00:00:00Z",
    ]);
    (
        (0_u64..6, any::<bool>(), word, prop::option::of(reason)),
        (
            any::<bool>(),
            any::<bool>(),
            any::<bool>(),
            prop::option::of("[ab]"),
        ),
        prop::collection::vec(prop::option::of(time), 5),
        (
            0_u32..40,
            0_u32..5,
            prop::sample::select(vec!["fake", "other", ""]),
        ),
    )
        .prop_map(
            |(
                (attempt, up, state, reason),
                (job, token, doubtful, target),
                times,
                (n, f, owner),
            )| {
                let mut value = json!({
                    "attempt": attempt, "type": if up { "provision" } else { "deprovision" },
                    "state": state, "message": "", "doubtful": doubtful, "cancelRequests": n,
                    "failures": f, "jobID": if job { "7" } else { "" },
                });
                let mut put = |name: &str, given: Option<Value>| {
                    if let Some(given) = given {
                        value[name] = given;
                    }
                };
                put("reason", reason.map(Value::from));
                put("target", target.map(Value::from));
                put(
                    "token",
                    token.then(|| json!("00000000000000000000000000000001")),
                );
                put("provider", (!owner.is_empty()).then(|| json!(owner)));
                for (name, at) in [
                    "timestamp",
                    "sentAt",
                    "stateSince",
                    "cancelRequestedAt",
                    "retryAt",
                ]
                .iter()
                .zip(times)
                {
                    put(name, at.map(Value::from));
                }
                serde_json::from_value(value).unwrap()
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// `decide` and `absorb` are total, and `decide` gives one answer to one question.
    #[test]
    fn any_records_give_one_decision(
        records in prop::collection::vec(wild_record(), 0..6),
        deleting in any::<bool>(),
        right in prop::option::of(0_u64..7),
        mode in prop::sample::select(vec![Mode::Managed, Mode::Paused, Mode::Manual, Mode::Unmanaged]),
    ) {
        let mut records = records;
        history::number(&mut records);
        let fake = FakeProvider::new("fake");
        let capabilities = fake.capabilities();
        let registry = ProviderRegistry::single(Arc::new(fake));
        let policy = Policy::default();
        let now = "2026-11-23T04:30:00Z".parse().unwrap();
        let desired = provider_core::lifecycle::Desired::new(version("a"), "fake").in_mode(mode);
        let situation = Situation::new(&desired, &policy, &registry, now)
            .with_records(&records)
            .deleting_since(deleting.then_some(now))
            .with_seed(5);
        let mut pass = Pass::default();
        pass.right = right.map(provider_core::engine::Right::Launch);
        let first = decide(&situation, &pass);
        prop_assert_eq!(&first, &decide(&situation, &pass));
        for asked in &records {
            let context = Context::new(&policy, &capabilities, now, 1);
            let lost = provider_core::ProviderError::unsupported("x");
            for seen in [
                Observation::Provisioned(Err(TriggerError::Ambiguous(lost.clone()))),
                Observation::Found(Ok(Vec::new())),
                Observation::Status(Err(lost)),
                Observation::Status(Ok(JobStatus::new(
                    provider_core::JobRef::new("fake", "k", "7"), JobState::Succeeded))),
            ] {
                let changed = absorb(&records, asked, &seen, &context);
                prop_assert!(changed.len() <= 1);
                prop_assert!(changed.iter().all(|r| r.job_type == asked.job_type));
            }
        }
    }
}
