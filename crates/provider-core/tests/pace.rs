//! How often jobs are asked about whose ends are told.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that panics has failed"
)]

mod support;

use provider_core::clock::Elapsed as _;
use std::time::Duration;

use jiff::SignedDuration;
use provider_core::lifecycle::Policy;
use provider_core::{JobState, Provider, WakeUps};
use provider_testkit::Function;
use support::{Life, endless, policy};

/// A life whose provider wants to be asked once a minute of a job whose end it tells, every ten seconds
/// otherwise.
fn life(policy: Policy) -> Life {
    let fake = endless().telling_ends(Duration::from_secs(60));
    let fake = fake.with_capabilities(|caps| caps.poll_interval = Duration::from_secs(10));
    Life::with(fake, policy)
}

/// Runs it for five minutes, and says how often it was polled.
async fn polls(life: &Life) -> usize {
    let before = life.fake.count(Function::Status);
    life.for_a_while(Duration::from_secs(300)).await;
    life.fake.count(Function::Status) - before
}

fn listening(life: &Life) -> WakeUps {
    life.fake.wake_ups().unwrap()
}

#[tokio::test]
async fn polls_are_put_off_while_somebody_is_told() {
    let life = life(Policy::default());
    let often = polls(&life).await;
    assert!(often > 20, "{often}");
    let wake_ups = listening(&life);
    let seldom = polls(&life).await;
    assert!((4..8).contains(&seldom), "{seldom}");
    drop(wake_ups);
    polls(&life).await;
    let often = polls(&life).await;
    assert!(often > 20, "{often}");
}

/// An end that is told is seen then, and one whose telling was lost at the next poll.
#[tokio::test]
async fn an_end_that_is_told_is_seen_at_once_and_any_other_at_the_next_poll() {
    for is_told in [true, false] {
        let life = life(Policy::default());
        let wake_ups = listening(&life);
        life.for_a_while(Duration::from_secs(100)).await;
        life.fake.end(1, JobState::Succeeded);
        let ended = life.now();
        if is_told {
            life.engine.nudge(life.object.key());
            life.step().await;
        }
        life.applied().await;
        let late = life.now().elapsed_since(ended);
        let most = if is_told { 0 } else { 75 };
        assert!(late <= Duration::from_secs(most), "{late:?}");
        drop(wake_ups);
    }
}

/// What the policy says outright is done.
#[tokio::test]
async fn a_policy_that_names_an_interval_is_followed() {
    let life = life(policy(|policy| {
        policy.poll_interval = Some(SignedDuration::from_secs(10));
    }));
    let _wake_ups = listening(&life);
    let often = polls(&life).await;
    assert!(often > 20, "{often}");
}

/// The end of a job that was asked to stop is waited for.
#[tokio::test]
async fn after_a_cancel_polls_are_not_put_off() {
    let fake = endless()
        .ignoring_cancels()
        .telling_ends(Duration::from_secs(60));
    let mut life = Life::new(fake);
    let _wake_ups = listening(&life);
    life.for_a_while(Duration::from_secs(100)).await;
    life.delete();
    life.for_a_while(Duration::from_secs(30)).await;
    let often = polls(&life).await;
    assert!(often > 20, "{often}");
}
