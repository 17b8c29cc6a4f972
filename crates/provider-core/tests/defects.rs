//! Failures of earlier controllers, each as the same script of events with the outcome that a user
//! would call right. `docs/DEFECTS.md` of this crate lists them.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed"
)]

mod support;

use provider_core::clock::Elapsed as _;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use provider_core::engine::{Context, Observation, absorb};
use provider_core::lifecycle::{
    Block, Desired, EventKind, Ground, Hold, IncomparableVersion, Lifecycle, Policy, PolicyConfig,
    ProviderRegistry, Purge, SeededEntropy, Standing, StoreError, StoreFault, Supersede,
};
use provider_core::{
    ConfigVersion, Effect, ErrorKind, JobRecord, JobRef, JobState, JobStatus, JobType, OnAmbiguity,
    Provider, ProviderError, Reason, Resource, clock,
};
use provider_testkit::{FakeProvider, Function, Trouble};
use support::{Life, applied, endless, failed, object, policy, version};

const HOUR: Duration = Duration::from_secs(3_600);

fn unavailable() -> Option<StoreError> {
    Some(StoreError::unavailable("the API server is away"))
}

fn refusal(kind: ErrorKind) -> Trouble {
    Trouble::Fails(ProviderError::new(
        Effect::Rejected,
        kind,
        "refused, as the script says",
    ))
}

#[tokio::test]
async fn d03_a_launch_whose_record_was_not_written_is_adopted_after_every_restart() {
    let mut life = Life::new(endless());
    // The intent is written, the job is not; three times in a row.
    life.store
        .script([None, unavailable(), unavailable(), unavailable()]);
    for _ in 0..3 {
        let outcome = life.step().await;
        assert!(
            matches!(outcome.standing, Standing::Interrupted { .. }),
            "{:?}",
            outcome.standing
        );
        life.restart();
        life.pass(120);
    }
    let outcome = life.step().await;
    assert!(
        outcome.events.iter().any(|e| e.kind == EventKind::Adopted),
        "{:?}",
        outcome.events
    );
    assert_eq!(life.jobs(), 1);
    life.fake.end(1, JobState::Succeeded);
    life.applied().await;
    assert_eq!(life.jobs(), 1);
}

/// The object was changed while the launch was under way: the pass ends, and the job is not lost by it.
#[tokio::test]
async fn d03_a_launch_during_which_the_object_was_changed_keeps_its_job() {
    let changes: [fn(&mut serde_json::Value); 3] = [
        |object| object["metadata"]["generation"] = 2.into(),
        |object| object["metadata"]["deletionTimestamp"] = "2026-11-23T04:00:00Z".into(),
        |object| object["metadata"]["annotations"] = serde_json::json!({"mode": "paused"}),
    ];
    for change in changes {
        let life = Life::new(endless());
        let mut newer = serde_json::Value::Object(life.object.object().clone());
        change(&mut newer);
        *life.store.newer.lock().unwrap() = Some(Resource::from_json(newer).unwrap());
        life.store
            .script([None, Some(StoreError::Conflict), Some(StoreError::Conflict)]);
        let outcome = life.step().await;
        assert_eq!(outcome.standing, Standing::Outdated);
        assert_eq!(life.records()[0].job_id.as_deref(), Some("1"));
        assert_eq!(outcome.events.last().unwrap().kind, EventKind::Started);
        assert_eq!(life.fake.count(Function::FindLaunched), 0);
    }
    // Before the launch it is another matter: nothing is begun on an object that has changed.
    let life = Life::new(endless());
    let mut newer = serde_json::Value::Object(life.object.object().clone());
    newer["metadata"]["generation"] = 2.into();
    *life.store.newer.lock().unwrap() = Some(Resource::from_json(newer).unwrap());
    life.store.script([Some(StoreError::Conflict)]);
    assert_eq!(life.step().await.standing, Standing::Outdated);
    assert_eq!(life.jobs(), 0);
}

#[tokio::test]
async fn d03_nothing_is_launched_without_a_durable_intent() {
    let life = Life::new(endless());
    life.store.script([unavailable(), unavailable()]);
    for _ in 0..2 {
        life.step().await;
    }
    assert_eq!(life.jobs(), 0);
}

#[tokio::test]
async fn d04_a_launch_without_an_answer_is_looked_up_and_never_repeated() {
    let life = Life::new(FakeProvider::new("fake"));
    life.fake
        .trouble(Function::TriggerProvision, Trouble::LosesAnswer);
    life.applied().await;
    assert_eq!(life.jobs(), 1);
}

#[tokio::test]
async fn d04_a_launch_that_never_arrived_is_sent_again_under_its_token() {
    let life = Life::new(FakeProvider::new("fake"));
    let lost = ProviderError::new(Effect::MaybeSent, ErrorKind::Timeout, "no answer");
    life.fake
        .trouble(Function::TriggerProvision, Trouble::Fails(lost));
    let first = life.step().await;
    let token = first.records[0].token.clone();
    let sent = life.now();
    life.applied().await;
    assert_eq!((life.jobs(), life.records().len()), (1, 1));
    assert_eq!(Some(life.fake.jobs()[0].token.clone()), token);
    assert_eq!(life.records()[0].sends, 2);
    let waited = (life.records()[0].sent_at.unwrap()).elapsed_since(sent);
    assert!(
        waited >= Duration::from_secs(90),
        "window and lease: {waited:?}"
    );
}

#[tokio::test]
async fn d10_back_off_counts_from_the_end_of_the_failed_job() {
    let life = Life::new(endless());
    life.step().await;
    life.for_a_while(Duration::from_secs(45 * 60)).await;
    life.fake.end(1, JobState::Failed);
    let outcome = life
        .until(|o| matches!(o.standing, Standing::BackingOff { .. }))
        .await;
    let wait = outcome.wake_after(life.now()).unwrap();
    assert!((24..=36).contains(&wait.as_secs()), "{wait:?}");
    assert_eq!(life.jobs(), 1);
}

#[tokio::test]
async fn d11_a_stale_cache_after_back_off_launches_nothing_twice() {
    let life = failed(endless()).await;
    life.pass(60);
    life.step().await;
    assert_eq!(life.jobs(), 2);
    // The other replica still sees the failure, and its back-off is over.
    let other = Lifecycle::with_entropy(Policy::default(), Arc::new(SeededEntropy::new(7)));
    for _ in 0..3 {
        life.store.inner.inject(StoreFault::StaleLoad);
        life.step_with(&other).await;
        life.pass(60);
    }
    assert_eq!(life.jobs(), 2);
}

#[tokio::test]
async fn d12_d13_the_highest_attempt_is_the_newest_whatever_the_clocks_said() {
    let life = failed(endless()).await;
    life.pass(60);
    life.step().await;
    // The clock that wrote the failed attempt was ahead of all others.
    let mut records = life.records();
    let ahead = clock::add(life.now(), 3 * HOUR);
    records[0].timestamp = Some(ahead);
    records[0].finished_at = Some(ahead);
    records.reverse();
    life.store.inner.overwrite(life.object.key(), records);
    for _ in 0..5 {
        life.pass(30);
        let outcome = life.step().await;
        assert!(matches!(
            outcome.standing,
            Standing::InProgress { attempt: 2, .. }
        ));
    }
    assert_eq!(life.jobs(), 2);
}

#[tokio::test]
async fn d14_a_history_of_nothing_is_refused_before_anything_runs_and_one_is_enough() {
    let error = Policy::new(PolicyConfig::default().with(|config| config.history_length = 0));
    assert_eq!(
        error.unwrap_err().to_string(),
        "historyLength is 0; it must be at least 1"
    );
    let mut life = Life::with(FakeProvider::new("fake"), policy(|p| p.history_length = 1));
    for name in ["a", "b", "c"] {
        life.want(name);
        life.applied().await;
    }
    life.delete();
    life.released().await;
    assert_eq!(life.jobs(), 4);
}

#[tokio::test]
async fn d15_retries_of_a_deprovision_push_no_live_record_out() {
    let mut life = Life::with(
        endless().ignoring_cancels(),
        policy(|p| p.history_length = 2),
    );
    life.step().await;
    life.delete();
    life.for_a_while(10 * HOUR).await;
    assert_eq!(life.records()[0].job_id.as_deref(), Some("1"));
    assert_eq!(life.jobs(), 1, "and nothing ran beside it");
}

#[tokio::test]
async fn d16_an_old_deprovision_says_nothing_about_what_came_after() {
    let mut life = Life::new(FakeProvider::new("fake"));
    life.applied().await;
    let kept = life.object.clone();
    life.delete();
    life.released().await;
    // The same object is wanted again (attach, detach), and then deleted.
    life.object = kept;
    life.applied().await;
    life.delete();
    let outcome = life.released().await;
    let types: Vec<JobType> = life.fake.jobs().iter().map(|job| job.job_type).collect();
    use JobType::{Deprovision, Provision};
    assert_eq!(types, [Provision, Deprovision, Provision, Deprovision]);
    let Standing::Released(release) = outcome.standing else {
        panic!()
    };
    assert_eq!(release.ground, Ground::Deprovisioned);
}

#[tokio::test]
async fn d17_waiting_is_never_taken_for_done() {
    let mut life = Life::new(FakeProvider::new("fake"));
    life.applied().await;
    life.delete();
    let limited = ProviderError::new(Effect::Rejected, ErrorKind::RateLimited, "slow down")
        .with_retry_after(Duration::ZERO);
    life.fake
        .trouble(Function::TriggerDeprovision, Trouble::Fails(limited));
    let outcome = life.step().await;
    assert!(!outcome.may_release());
    assert!(outcome.wake_after(life.now()).unwrap() > Duration::ZERO);
    life.released().await;
    assert_eq!(life.jobs(), 2);
}

#[tokio::test]
async fn d18_a_launch_that_names_no_job_is_looked_up_and_not_repeated() {
    let life = Life::new(endless());
    let asked = life.step().await.records[0].clone();
    let mut nameless = asked.clone();
    nameless.job_id = None;
    nameless.state = JobState::Pending;
    let policy = Policy::default();
    let capabilities = life.fake.capabilities();
    let context = Context::new(&policy, &capabilities, life.now(), 1);
    let job = JobRef::new("fake", "fake", "");
    let result = provider_core::ProvisionResult::new(job, JobState::Pending, "");
    let changed = absorb(
        std::slice::from_ref(&nameless),
        &nameless,
        &Observation::Provisioned(Ok(result)),
        &context,
    );
    assert_eq!(changed[0].reason, Some(Reason::Ambiguous));
    assert!(changed[0].is_unresolved());
    life.store.inner.overwrite(life.object.key(), changed);
    life.for_a_while(HOUR).await;
    assert_eq!(life.jobs(), 1);
}

#[tokio::test]
async fn d19_success_with_an_older_version_is_not_reported_as_applied() {
    let mut life = Life::new(endless());
    life.step().await;
    life.want("b");
    life.fake.end(1, JobState::Succeeded);
    life.pass(30);
    let outcome = life.step().await;
    assert!(
        matches!(outcome.standing, Standing::InProgress { attempt: 2, .. }),
        "{:?}",
        outcome.standing
    );
    life.fake.end(2, JobState::Succeeded);
    let outcome = life.applied().await;
    assert_eq!(
        outcome.standing,
        Standing::Applied {
            version: version("b")
        }
    );
    assert_eq!(life.jobs(), 2);
}

#[tokio::test]
async fn d19_going_back_to_an_older_version_applies_it_again() {
    let mut life = Life::new(FakeProvider::new("fake"));
    for name in ["a", "b", "a"] {
        life.want(name);
        let outcome = life.applied().await;
        assert_eq!(
            outcome.standing,
            Standing::Applied {
                version: version(name)
            }
        );
    }
    assert_eq!(life.jobs(), 3);
}

#[tokio::test]
async fn d20_a_cancel_by_a_person_is_respected_until_the_spec_changes_or_a_retry_is_asked_for() {
    let mut life = Life::new(endless());
    life.step().await;
    life.fake.end(1, JobState::Canceled);
    let outcome = life.for_a_while(100 * HOUR).await;
    assert_eq!(
        outcome.standing,
        Standing::Held(Hold::CanceledByOthers { attempt: 1 })
    );
    assert_eq!(life.jobs(), 1);
    life.desired.retry_request = Some("please".to_owned());
    life.step().await;
    assert_eq!(life.jobs(), 2);
    life.fake.end(2, JobState::Canceled);
    life.for_a_while(HOUR).await;
    assert_eq!(life.jobs(), 2, "one request is one retry");
    life.want("b");
    life.step().await;
    assert_eq!(life.jobs(), 3);
}

#[tokio::test]
async fn d21_a_legacy_success_without_a_version_does_not_hide_spec_changes() {
    let legacy = || -> Vec<JobRecord> {
        serde_json::from_str(
            r#"[{"jobID": "9", "type": "provision", "state": "Succeeded", "message": ""}]"#,
        )
        .unwrap()
    };
    let life = Life::new(FakeProvider::new("fake"));
    life.store.inner.overwrite(life.object.key(), legacy());
    life.applied().await;
    assert_eq!(life.jobs(), 1, "by default it is applied once more");

    let trust = policy(|p| p.incomparable_version = IncomparableVersion::Trust);
    let mut life = Life::with(FakeProvider::new("fake"), trust);
    life.store.inner.overwrite(life.object.key(), legacy());
    life.applied().await;
    assert_eq!(life.jobs(), 0, "trusted, and from now on known");
    life.want("b");
    life.applied().await;
    assert_eq!(life.jobs(), 1, "and the next change is seen");
}

#[tokio::test]
async fn d22_when_the_current_records_cannot_be_read_nothing_is_launched() {
    let life = failed(endless()).await;
    life.pass(60);
    life.step().await;
    life.fake.end(2, JobState::Succeeded);
    life.applied().await;
    // A replica whose cache still shows the failure, while the API server cannot be reached.
    let other = Lifecycle::with_entropy(Policy::default(), Arc::new(SeededEntropy::new(7)));
    let stale = vec![life.records()[0].clone()];
    let current = life.records();
    life.store.inner.overwrite(life.object.key(), stale);
    life.store.inner.overwrite(life.object.key(), current);
    life.store.inner.inject(StoreFault::StaleLoad);
    life.store.inner.inject(StoreFault::FailLoad);
    let outcome = life.step_with(&other).await;
    assert!(
        matches!(outcome.standing, Standing::Interrupted { .. }),
        "{:?}",
        outcome.standing
    );
    assert!(outcome.wake_at.is_some());
    assert_eq!(life.jobs(), 2);
    // And when it can be reached, it sees that all is done.
    life.store.inner.inject(StoreFault::StaleLoad);
    let outcome = life.step_with(&other).await;
    assert!(matches!(outcome.standing, Standing::Applied { .. }));
    assert_eq!(life.jobs(), 2);
}

#[tokio::test]
async fn d26_every_phase_has_a_deadline() {
    for (state, allowed) in [
        (JobState::Pending, 6),
        (JobState::Waiting, 6),
        (JobState::Running, 24),
    ] {
        let life = Life::new(endless().ignoring_cancels());
        life.step().await;
        life.fake.end(1, state);
        life.for_a_while((allowed - 1) * HOUR).await;
        assert_eq!(life.fake.count(Function::Cancel), 0, "{state}");
        let outcome = life.for_a_while(2 * HOUR).await;
        assert!(life.fake.count(Function::Cancel) > 0, "{state}");
        assert_eq!(
            outcome.standing,
            Standing::Blocked(Block::NotEnding { attempt: 1 }),
            "{state}"
        );
        assert_eq!(life.jobs(), 1, "{state}");
    }
    let life = Life::new(endless());
    life.step().await;
    life.fake.end(1, JobState::Unknown);
    let outcome = life.for_a_while(HOUR).await;
    assert_eq!(
        outcome.standing,
        Standing::Blocked(Block::UnknownTooLong { attempt: 1 })
    );
    assert_eq!(life.jobs(), 1);
}

#[tokio::test]
async fn d28_a_job_that_cannot_be_canceled_is_waited_for() {
    let mut life = Life::new(endless());
    life.step().await;
    life.delete();
    for _ in 0..8 {
        life.fake
            .trouble(Function::Cancel, refusal(ErrorKind::Conflict));
    }
    life.for_a_while(Duration::from_secs(300)).await;
    assert_eq!(life.jobs(), 1, "no deprovision beside it");
    life.fake.end(1, JobState::Succeeded);
    life.until(|o| matches!(o.standing, Standing::InProgress { attempt: 2, .. }))
        .await;
    life.fake.end(2, JobState::Succeeded);
    life.released().await;
    assert_eq!(life.jobs(), 2);
}

#[tokio::test]
async fn d29_a_job_that_does_not_obey_climbs_the_ladder() {
    let give_up = policy(|p| p.deletion.abandon_after = Some(SignedDuration::from_hours(24)));
    let mut life = Life::with(endless().ignoring_cancels(), give_up);
    life.step().await;
    life.delete();
    let outcome = life.for_a_while(HOUR / 4).await;
    assert!(matches!(outcome.standing, Standing::InProgress { .. }) && !outcome.escalated);
    let outcome = life.for_a_while(HOUR).await;
    assert_eq!(
        outcome.standing,
        Standing::Blocked(Block::NotEnding { attempt: 1 })
    );
    assert!(outcome.escalated);
    let outcome = life.for_a_while(24 * HOUR).await;
    let cancels = life.fake.count(Function::Cancel);
    assert!((3..=30).contains(&cancels), "{cancels} cancels in a day");
    let Standing::Released(release) = &outcome.standing else {
        panic!("{:?}", outcome.standing)
    };
    assert_eq!(
        (release.ground, release.left_behind.as_slice()),
        (Ground::Abandoned, &[1][..])
    );
    let receipt = outcome.receipt.unwrap();
    assert_eq!(receipt.jobs[0].id, "1");
    assert_eq!(life.jobs(), 1, "no deprovision was launched beside it");
}

#[tokio::test]
async fn d30_records_are_routed_to_the_provider_that_owns_them() {
    for (ends, expected) in [(JobState::Succeeded, 1), (JobState::Failed, 1)] {
        let eda = Arc::new(FakeProvider::new("eda").ending_after(0));
        let aap = Arc::new(FakeProvider::new("aap"));
        let mut life = Life::new(FakeProvider::new("unused"));
        life.registry = ProviderRegistry::new()
            .with(eda.clone())
            .unwrap()
            .with(aap.clone())
            .unwrap();
        life.desired.provider = "eda".to_owned();
        life.step().await;
        // In mid-flight the object is moved to the other provider, and edited.
        life.desired.provider = "aap".to_owned();
        life.want("b");
        life.for_a_while(Duration::from_secs(120)).await;
        assert_eq!(
            (eda.jobs().len(), aap.jobs().len()),
            (1, 0),
            "the old job is waited for, where it is"
        );
        eda.end(1, ends);
        life.applied().await;
        assert_eq!((eda.jobs().len(), aap.jobs().len()), (1, expected));
        assert!(
            aap.calls()
                .iter()
                .all(|call| call.job.as_deref() != Some("eda-1"))
        );
        life.delete();
        life.released().await;
        assert_eq!((eda.jobs().len(), aap.jobs().len()), (1, 2));
    }
}

#[tokio::test]
async fn d30_deleting_after_a_switch_cancels_where_the_job_is() {
    let eda = Arc::new(FakeProvider::new("eda").ending_after(0));
    let aap = Arc::new(FakeProvider::new("aap"));
    let mut life = Life::new(FakeProvider::new("unused"));
    life.registry = ProviderRegistry::new()
        .with(eda.clone())
        .unwrap()
        .with(aap.clone())
        .unwrap();
    life.desired.provider = "eda".to_owned();
    life.step().await;
    life.desired.provider = "aap".to_owned();
    life.delete();
    life.released().await;
    assert_eq!(
        (eda.count(Function::Cancel), aap.count(Function::Cancel)),
        (1, 0)
    );
    assert_eq!(aap.jobs()[0].job_type, JobType::Deprovision);
}

#[tokio::test]
async fn d30_a_provider_that_is_not_registered_blocks_and_is_named() {
    let mut life = Life::new(endless());
    life.step().await;
    life.registry = ProviderRegistry::new()
        .with(Arc::new(FakeProvider::new("aap")))
        .unwrap();
    life.desired.provider = "aap".to_owned();
    let expected = Standing::Blocked(Block::MissingProvider {
        provider: "fake".to_owned(),
    });
    assert_eq!(life.step().await.standing, expected);
    life.delete();
    assert_eq!(life.for_a_while(HOUR).await.standing, expected);
    assert_eq!(life.jobs(), 1);
}

#[tokio::test]
async fn d31_a_purged_job_is_a_state_with_a_policy() {
    // Run again, by default.
    let life = Life::new(endless());
    life.step().await;
    life.pass(3_600);
    life.fake.purge(1);
    life.until(|o| matches!(o.standing, Standing::InProgress { attempt: 2, .. }))
        .await;
    assert_eq!(life.records()[0].reason, Some(Reason::Purged));
    // Hold for a person.
    let life = Life::with(endless(), policy(|p| p.purge = Purge::Hold));
    life.step().await;
    life.pass(3_600);
    life.fake.purge(1);
    let outcome = life.for_a_while(HOUR).await;
    assert_eq!(
        outcome.standing,
        Standing::Held(Hold::Purged { attempt: 1 })
    );
    // Take as succeeded.
    let life = Life::with(endless(), policy(|p| p.purge = Purge::AssumeSucceeded));
    life.step().await;
    life.pass(3_600);
    life.fake.purge(1);
    life.applied().await;
    assert_eq!(life.records()[0].reason, Some(Reason::Assumed));
    // And deletion is never stuck on it.
    let mut life = Life::new(FakeProvider::new("fake"));
    life.applied().await;
    life.fake.purge(1);
    life.delete();
    life.released().await;
    let mut life = Life::new(endless());
    life.step().await;
    life.pass(3_600);
    life.fake.purge(1);
    life.delete();
    life.until(|o| {
        matches!(
            o.standing,
            Standing::InProgress {
                job_type: JobType::Deprovision,
                ..
            }
        )
    })
    .await;
    life.pass(3_600);
    life.fake.purge(2);
    life.until(|o| matches!(o.standing, Standing::InProgress { attempt: 3, .. }))
        .await;
    life.fake.end(3, JobState::Succeeded);
    life.released().await;
}

#[tokio::test]
async fn d32_equal_ids_of_two_backends_are_two_jobs() {
    let (one, two) = (
        Arc::new(FakeProvider::new("one")),
        Arc::new(FakeProvider::new("two")),
    );
    let mut life = Life::new(FakeProvider::new("unused"));
    life.registry = ProviderRegistry::new()
        .with(one.clone())
        .unwrap()
        .with(two.clone())
        .unwrap();
    life.desired.provider = "one".to_owned();
    life.applied().await;
    life.desired.provider = "two".to_owned();
    life.delete();
    life.released().await;
    let records = life.records();
    assert_eq!(
        records[0].job_id, records[1].job_id,
        "both backends count from 1"
    );
    assert!(
        records
            .iter()
            .all(|record| record.state == JobState::Succeeded)
    );
    let owners: Vec<_> = records
        .iter()
        .map(|r| r.provider.as_deref().unwrap())
        .collect();
    assert_eq!(owners, ["one", "two"]);
}

#[tokio::test]
async fn d34_a_poll_that_sees_a_failure_comes_with_a_wake_up() {
    let life = Life::new(FakeProvider::new("fake"));
    life.fake.next_ending(JobState::Failed);
    let outcome = life
        .until(|o| matches!(o.standing, Standing::BackingOff { .. }))
        .await;
    let Standing::BackingOff { until, failures } = outcome.standing else {
        panic!()
    };
    assert_eq!((outcome.wake_at, failures), (Some(until), 1));
    life.applied().await;
}

#[tokio::test]
async fn d35_a_stale_cache_while_deleting_launches_one_deprovision() {
    let mut life = applied(endless()).await;
    life.delete();
    let other = Lifecycle::with_entropy(Policy::default(), Arc::new(SeededEntropy::new(7)));
    life.step().await;
    for _ in 0..3 {
        life.store.inner.inject(StoreFault::StaleLoad);
        life.step_with(&other).await;
        life.pass(20);
    }
    assert_eq!(life.jobs(), 2);
}

#[tokio::test]
async fn d35_a_stale_reader_does_not_let_go() {
    let mut life = Life::new(FakeProvider::new("fake"));
    life.applied().await;
    let kept = life.object.clone();
    life.delete();
    life.released().await;
    let gone = std::mem::replace(&mut life.object, kept);
    life.want("b");
    life.step().await;
    // A replica that still sees the deleted object with the old records.
    life.object = gone;
    life.store.inner.inject(StoreFault::StaleLoad);
    let other = Lifecycle::with_entropy(Policy::default(), Arc::new(SeededEntropy::new(7)));
    assert!(!life.step_with(&other).await.may_release());
}

#[tokio::test]
async fn d37_two_failures_far_apart_are_the_second_failure_and_no_more() {
    let life = Life::new(FakeProvider::new("fake"));
    life.fake.next_ending(JobState::Failed);
    life.fake.next_ending(JobState::Failed);
    life.until(|o| matches!(o.standing, Standing::BackingOff { failures: 1, .. }))
        .await;
    // Ten hours of downtime.
    life.pass(36_000);
    let outcome = life
        .until(|o| matches!(o.standing, Standing::BackingOff { failures: 2, .. }))
        .await;
    let wait = outcome.wake_after(life.now()).unwrap();
    assert!((48..=72).contains(&wait.as_secs()), "{wait:?}");
}

#[tokio::test]
async fn d37_back_off_survives_a_restart_and_is_reset_by_a_new_version() {
    let mut life = Life::new(FakeProvider::new("fake"));
    for _ in 0..4 {
        life.fake.next_ending(JobState::Failed);
    }
    let outcome = life
        .until(|o| matches!(o.standing, Standing::BackingOff { failures: 3, .. }))
        .await;
    life.restart();
    assert_eq!(life.step().await.wake_at, outcome.wake_at);
    life.want("b");
    let outcome = life
        .until(|o| matches!(o.standing, Standing::BackingOff { .. }))
        .await;
    let Standing::BackingOff { failures, .. } = outcome.standing else {
        panic!()
    };
    assert_eq!(failures, 1);
}

#[tokio::test]
async fn d39_a_record_that_another_writer_erased_is_put_back() {
    let life = Life::new(endless());
    let asked = life.step().await.records[0].clone();
    let policy = Policy::default();
    let capabilities = life.fake.capabilities();
    let context = Context::new(&policy, &capabilities, life.now(), 1);
    let status = JobStatus::new(asked.job_ref().unwrap(), JobState::Running);
    let changed = absorb(
        &[],
        &asked,
        &Observation::Status(Ok(status.clone())),
        &context,
    );
    assert_eq!(
        (changed[0].job_id.clone(), changed.len()),
        (asked.job_id.clone(), 1)
    );
    // Even where another record has taken its number meanwhile.
    let other = JobRecord::new(asked.attempt, JobType::Provision);
    let changed = absorb(&[other], &asked, &Observation::Status(Ok(status)), &context);
    assert_eq!(changed[0].attempt, asked.attempt + 1);
}

#[tokio::test]
async fn d45_a_refused_launch_leaves_a_record_and_a_persisted_back_off() {
    let mut life = Life::new(FakeProvider::new("fake"));
    life.fake
        .trouble(Function::TriggerProvision, refusal(ErrorKind::Forbidden));
    let outcome = life.step().await;
    assert!(matches!(
        outcome.standing,
        Standing::BackingOff { failures: 0, .. }
    ));
    let record = &life.records()[0];
    assert_eq!(
        (record.state, record.reason.clone()),
        (JobState::Failed, Some(Reason::Rejected))
    );
    assert_eq!(record.message, "refused, as the script says");
    life.restart();
    assert_eq!(life.step().await.wake_at, outcome.wake_at);
    life.applied().await;
}

#[tokio::test]
async fn d45_what_was_never_launched_needs_no_deprovision() {
    let mut life = Life::new(FakeProvider::new("fake"));
    life.fake
        .trouble(Function::TriggerProvision, refusal(ErrorKind::Forbidden));
    life.step().await;
    life.delete();
    let Standing::Released(release) = life.released().await.standing else {
        panic!()
    };
    assert_eq!((release.ground, life.jobs()), (Ground::NeverProvisioned, 0));
}

#[tokio::test]
async fn d48_a_spec_change_in_mid_job_waits_or_supersedes_as_the_policy_says() {
    let mut life = Life::new(endless());
    life.step().await;
    life.want("b");
    life.for_a_while(HOUR).await;
    assert_eq!((life.fake.count(Function::Cancel), life.jobs()), (0, 1));

    let mut life = Life::with(endless(), policy(|p| p.supersede = Supersede::Cancel));
    life.step().await;
    life.want("b");
    life.until(|o| matches!(o.standing, Standing::InProgress { attempt: 2, .. }))
        .await;
    assert_eq!(life.fake.count(Function::Cancel), 1);
    assert_eq!(life.fake.jobs()[0].state, JobState::Canceled);
    assert_eq!(life.records()[0].reason, Some(Reason::Superseded));
    life.fake.end(2, JobState::Succeeded);
    life.applied().await;
}

#[tokio::test]
async fn d49_d51_records_say_which_job_where_and_when() {
    let life = Life::new(FakeProvider::new("fake"));
    life.applied().await;
    let record = &life.records()[0];
    assert_eq!(record.attempt, 1);
    assert_eq!(record.provider.as_deref(), Some("fake"));
    assert_eq!(record.kind.as_deref(), Some("fake"));
    assert!(record.token.is_some() && record.finished_at.is_some() && record.sent_at.is_some());
    assert_eq!(record.config_version, Some(version("a")));
}

#[tokio::test]
async fn d50_polls_are_spread_also_after_a_restart() {
    let mut life =
        Life::new(endless().with_capabilities(|c| c.poll_interval = Duration::from_secs(30)));
    let objects: Vec<_> = (0..100).map(|n| object(&format!("vm-{n}"))).collect();
    for object in &objects {
        life.object = object.clone();
        life.step().await;
    }
    life.pass(3_600);
    life.restart();
    let mut wakes = BTreeSet::new();
    let before = life.fake.count(Function::Status);
    for object in &objects {
        life.object = object.clone();
        wakes.insert(life.step().await.wake_at.unwrap());
    }
    let at_once = life.fake.count(Function::Status) - before;
    assert!(
        at_once < 20,
        "{at_once} of 100 were polled in the first moment"
    );
    assert!(wakes.len() > 80, "{} different wake-ups", wakes.len());
    let span = (*wakes.last().unwrap()).elapsed_since(*wakes.first().unwrap());
    assert!(span > Duration::from_secs(15), "{span:?}");
}

#[tokio::test]
async fn d52_an_object_that_is_gone_is_no_error() {
    let life = Life::new(FakeProvider::new("fake"));
    life.applied().await;
    *life.store.gone.lock().unwrap() = true;
    let outcome = life.step().await;
    assert_eq!((outcome.standing, outcome.wake_at), (Standing::Gone, None));
}

#[tokio::test]
async fn d53_an_adopted_job_counts_as_what_it_is() {
    for (state, applied) in [
        (JobState::Failed, false),
        (JobState::Running, false),
        (JobState::Succeeded, true),
    ] {
        let mut life = Life::new(endless());
        life.store.script([None, unavailable()]);
        life.step().await;
        life.fake.end(1, state);
        life.restart();
        life.pass(60);
        let outcome = life.step().await;
        assert_eq!(
            matches!(outcome.standing, Standing::Applied { .. }),
            applied,
            "{state}"
        );
        assert_eq!(life.records()[0].state, state);
        assert_eq!(life.jobs(), 1);
    }
}

#[tokio::test]
async fn an_ambiguous_launch_that_cannot_be_looked_up_is_held_or_assumed_as_the_provider_says() {
    let blind = || endless().with_capabilities(|c| c.find_launched = false);
    let mut life = Life::new(blind());
    life.fake
        .trouble(Function::TriggerProvision, Trouble::LosesAnswer);
    let outcome = life.for_a_while(HOUR).await;
    assert_eq!(
        outcome.standing,
        Standing::Blocked(Block::AmbiguousLaunch { attempt: 1 })
    );
    assert_eq!(life.jobs(), 1);
    // A person has looked, and says so.
    life.desired.retry_request = Some("looked".to_owned());
    life.step().await;
    assert_eq!(life.jobs(), 2);

    let kind = std::borrow::Cow::Borrowed("event");
    let assuming = blind().with_capabilities(|c| c.on_ambiguity = OnAmbiguity::AssumeSent { kind });
    let life = Life::new(assuming);
    life.fake
        .trouble(Function::TriggerProvision, Trouble::LosesAnswer);
    life.step().await;
    let record = &life.records()[0];
    assert_eq!(
        record.job_id.as_deref(),
        record
            .token
            .as_ref()
            .map(provider_core::OperationToken::as_str)
    );
    assert_eq!(life.jobs(), 1);
}

#[tokio::test]
async fn several_targets_live_side_by_side_and_one_absorbs_the_untagged_history() {
    let mut life = Life::new(FakeProvider::new("fake"));
    life.applied().await;
    let untagged = life.desired.clone();
    let net = untagged.clone().for_target("net").absorbing_untagged();
    let disk = untagged.for_target("disk");
    life.desired = net;
    life.applied().await;
    assert_eq!(life.jobs(), 1, "the old history is that of the network");
    life.desired = disk;
    life.applied().await;
    assert_eq!(life.jobs(), 2);
    // Deleting: each is deprovisioned by its own.
    life.delete();
    life.released().await;
    assert_eq!(life.jobs(), 3);
    life.desired = Desired::new(version("a"), "fake")
        .for_target("net")
        .absorbing_untagged();
    life.released().await;
    assert_eq!(life.jobs(), 4);
    let targets: Vec<_> = life.records().iter().map(|r| r.target.clone()).collect();
    assert_eq!(
        targets.iter().flatten().collect::<Vec<_>>(),
        ["disk", "disk", "net"]
    );
    assert_eq!(
        ConfigVersion::of_json(&serde_json::json!({"spec": "a"})),
        version("a")
    );
}
