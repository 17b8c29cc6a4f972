//! Launches whose job is named later, and cancels that come too early.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed"
)]

mod support;

use std::time::Duration;

use provider_core::lifecycle::{Block, EventKind, Outcome, Purge, Standing};
use provider_core::{JobState, Reason};
use provider_testkit::{FakeProvider, Function, Trouble};
use support::{Life, endless, policy};

fn in_progress(outcome: &Outcome, n: u64) -> bool {
    matches!(outcome.standing, Standing::InProgress { attempt, .. } if attempt == n)
}

fn unnamed(searches: u32) -> FakeProvider {
    endless().naming_jobs_after(searches)
}

#[tokio::test]
async fn a_launch_without_a_name_is_no_doubt_and_its_name_follows() {
    let life = Life::new(unnamed(2));
    let outcome = life.step().await;
    let record = &outcome.records[0];
    assert_eq!(
        (record.reason.clone(), record.job_id.clone()),
        (Some(Reason::Unnamed), None)
    );
    let mut told: Vec<_> = outcome.events.iter().map(|event| event.kind).collect();
    for _ in 0..50 {
        let outcome = life.step().await;
        told.extend(outcome.events.iter().map(|event| event.kind));
        if outcome.records[0].job_id.is_some() {
            break;
        }
        life.clock.advance(outcome.wake_after(life.now()).unwrap());
    }
    assert_eq!(life.records()[0].reason, None);
    life.fake.end(1, JobState::Succeeded);
    let outcome = life.applied().await;
    told.extend(outcome.events.iter().map(|event| event.kind));
    told.retain(|kind| *kind != EventKind::Progressed);
    assert_eq!(
        told,
        [
            EventKind::Intended,
            EventKind::Started,
            EventKind::Succeeded
        ]
    );
    assert_eq!((life.jobs(), outcome.records[0].sends), (1, 1));
}

#[tokio::test]
async fn a_job_without_a_name_is_canceled_once_it_has_one() {
    let mut life = Life::new(unnamed(3));
    life.step().await;
    life.delete();
    life.until(|o| in_progress(o, 2)).await;
    let jobs = life.fake.jobs();
    assert_eq!(jobs[0].state, JobState::Canceled);
    assert_eq!(life.fake.count(Function::TriggerProvision), 1);
    life.until(|o| {
        o.records
            .iter()
            .any(|r| r.attempt == 2 && r.job_id.is_some())
    })
    .await;
    life.fake.end(2, JobState::Succeeded);
    life.released().await;
}

#[tokio::test]
async fn a_launch_that_was_taken_and_never_turns_up_is_gone_and_is_not_sent_again() {
    for purge in [Purge::Rerun, Purge::Hold, Purge::AssumeSucceeded] {
        let life = Life::with(unnamed(0), policy(|p| p.purge = purge));
        life.step().await;
        life.fake.purge(1);
        let outcome = life.until(|o| !o.records[0].may_be_live()).await;
        let record = &outcome.records[0];
        assert_eq!(
            (record.state, record.sends),
            (JobState::Failed, 1),
            "{purge:?}"
        );
        assert_eq!(record.reason, Some(Reason::Purged), "{purge:?}");
    }
}

#[tokio::test]
async fn a_name_that_cannot_be_looked_up_for_long_calls_for_a_person() {
    let life = Life::new(unnamed(0));
    let away = provider_core::ProviderError::new(
        provider_core::Effect::NotSent,
        provider_core::ErrorKind::Unavailable,
        "away",
    );
    life.fake.away(&[Function::FindLaunched], away);
    let outcome = life
        .until(|o| matches!(o.standing, Standing::Blocked(_)))
        .await;
    assert_eq!(
        outcome.standing,
        Standing::Blocked(Block::UnknownTooLong { attempt: 1 })
    );
    life.fake.back();
    life.until(|o| o.records[0].job_id.is_some()).await;
    assert_eq!(life.jobs(), 1);
}

#[tokio::test]
async fn a_crash_before_the_answer_is_on_record_is_a_doubt_like_any_other() {
    let life = Life::new(unnamed(0));
    life.fake
        .trouble(Function::TriggerProvision, Trouble::LosesAnswer);
    let outcome = life.step().await;
    assert_eq!(life.jobs(), 1);
    assert!(
        outcome
            .events
            .iter()
            .any(|event| event.kind == EventKind::Ambiguous)
            || outcome.records[0].reason == Some(Reason::Adopted)
    );
}

#[tokio::test]
async fn a_cancel_that_comes_too_early_is_asked_for_again_when_the_provider_says() {
    let mut life = Life::new(endless());
    life.step().await;
    life.fake.cancels_come_too_early(2, Duration::from_secs(40));
    life.delete();
    let outcome = life.step().await;
    assert_eq!(life.fake.count(Function::Cancel), 1);
    assert_eq!(outcome.records[0].cancel_requests, 0, "none was taken");
    life.pass(39);
    life.step().await;
    assert_eq!(life.fake.count(Function::Cancel), 1);
    life.pass(1);
    life.step().await;
    assert_eq!(life.fake.count(Function::Cancel), 2);
    life.until(|o| in_progress(o, 2)).await;
}
