//! Backends that are away or do not know, and what must not be concluded from their silence.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed"
)]

mod support;

use provider_core::clock::Elapsed as _;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use provider_core::engine::{Context, Observation, absorb};
use provider_core::lifecycle::{
    Block, Ground, Hold, Lifecycle, Outcome, Policy, Purge, SeededEntropy, Standing, Supersede,
};
use provider_core::{
    Capabilities, Effect, ErrorKind, JobRecord, JobState, JobType, OnAmbiguity, OperationToken,
    ProviderError, Reason, TriggerError, clock,
};
use provider_testkit::{Function, Trouble};
use support::{Life, applied, endless, policy};

const MINUTE: Duration = Duration::from_secs(60);

fn error(effect: Effect, kind: ErrorKind) -> ProviderError {
    ProviderError::new(effect, kind, "away, as the script says")
}

fn unreachable() -> ProviderError {
    error(Effect::NotSent, ErrorKind::Unavailable)
}

fn not_found() -> ProviderError {
    error(Effect::Rejected, ErrorKind::NotFound)
}

/// A life with one job that was seen at work.
async fn at_work(policy: Policy) -> Life {
    let life = Life::with(endless(), policy);
    life.step().await;
    life.for_a_while(2 * MINUTE).await;
    assert_eq!(life.records()[0].state, JobState::Running);
    life
}

/// The same, whose backend said once that it does not know the job, and cannot be searched since.
async fn suspected(policy: Policy) -> Life {
    let life = at_work(policy).await;
    life.fake.away(&[Function::FindLaunched], unreachable());
    life.fake
        .trouble(Function::Status, Trouble::Fails(not_found()));
    life.until(|o| o.records[0].reason == Some(Reason::PurgeSuspected))
        .await;
    life
}

/// Reconciles at every wake-up for this long, and looks at every outcome.
async fn watched(life: &Life, length: Duration, look: impl Fn(&Outcome)) {
    let end = clock::add(life.now(), length);
    while life.now() < end {
        let outcome = life.step().await;
        look(&outcome);
        let wait = outcome.wake_after(life.now()).unwrap_or(MINUTE);
        life.clock
            .advance(wait.clamp(Duration::from_millis(1), 10 * MINUTE));
    }
}

fn runs(life: &Life, id: u64) -> bool {
    life.fake
        .jobs()
        .iter()
        .any(|job| job.id == id && !job.state.is_terminal())
}

fn launches_of_deletion(life: &Life) -> usize {
    life.fake.count(Function::TriggerDeprovision)
}

#[tokio::test]
async fn a_launch_that_was_only_taken_as_sent_has_not_succeeded_because_nobody_knows_it() {
    let fake = endless().with_capabilities(|c| {
        c.find_launched = false;
        c.on_ambiguity = OnAmbiguity::AssumeSent { kind: "job".into() };
    });
    let life = Life::with(fake, policy(|p| p.purge = Purge::AssumeSucceeded));
    let lost = error(Effect::MaybeSent, ErrorKind::Timeout);
    life.fake
        .trouble(Function::TriggerProvision, Trouble::Fails(lost));
    life.step().await;
    assert_eq!(life.jobs(), 0);
    let outcome = life.until(|_| life.jobs() == 1).await;
    assert!(!matches!(outcome.standing, Standing::Applied { .. }));
    life.fake.end(1, JobState::Succeeded);
    life.applied().await;
    assert_eq!(life.jobs(), 1);
}

// ---- what was planned is no look ----

#[tokio::test]
async fn after_a_restart_a_job_is_not_taken_as_over_before_it_is_asked_about() {
    let mut life = suspected(Policy::default()).await;
    life.fake.away(&Function::ALL, unreachable());
    life.pass(20 * 60);
    life.restart();
    life.delete();
    life.step().await;
    assert!(life.records()[0].may_be_live(), "{:#?}", life.records());
    life.fake.back();
    life.until(|_| launches_of_deletion(&life) > 0 || !runs(&life, 1))
        .await;
    assert_eq!(launches_of_deletion(&life), 0, "and nothing ran beside it");
    assert!(life.fake.count(Function::Cancel) > 0);
    life.until(|_| life.jobs() == 2).await;
    life.fake.end(2, JobState::Succeeded);
    life.released().await;
}

#[tokio::test]
async fn a_deprovision_that_succeeded_during_the_outage_is_a_success() {
    let fake = endless().with_capabilities(|c| c.block_deletion_on_failure = false);
    let mut life = applied(fake).await;
    life.delete();
    life.step().await;
    life.fake.end(2, JobState::Unknown);
    life.for_a_while(MINUTE).await;
    assert_eq!(life.records()[1].state, JobState::Unknown);
    life.fake.end(2, JobState::Succeeded);
    life.pass(20 * 60);
    life.restart();
    let outcome = life.released().await;
    let Standing::Released(release) = &outcome.standing else {
        panic!("{:?}", outcome.standing)
    };
    assert_eq!(release.ground, Ground::Deprovisioned);
    assert!(outcome.receipt.is_none());
}

#[tokio::test]
async fn a_look_that_failed_is_no_look() {
    let mut life = suspected(Policy::default()).await;
    life.fake.away(&Function::ALL, unreachable());
    life.delete();
    let block = Standing::Blocked(Block::UnknownTooLong { attempt: 1 });
    let outcome = life.for_a_while(130 * MINUTE).await;
    assert_eq!(outcome.standing, block);
    assert!(outcome.wake_at.is_some() && outcome.trouble.is_some());
    assert!(life.records()[0].may_be_live());
    assert_eq!(life.jobs(), 1);
    // A restart changes nothing of that.
    life.restart();
    assert_eq!(life.for_a_while(MINUTE).await.standing, block);
    // A person ends it.
    life.desired.retry_request = Some("looked".to_owned());
    life.step().await;
    let record = &life.records()[0];
    assert_eq!(record.reason, Some(Reason::Assumed));
    assert!(!record.may_be_live());
}

#[tokio::test]
async fn a_state_that_the_backend_cannot_tell_is_taken_as_over_on_deletion() {
    let mut life = Life::new(endless().ignoring_cancels());
    life.step().await;
    life.fake.end(1, JobState::Unknown);
    life.delete();
    life.for_a_while(10 * MINUTE).await;
    assert_eq!(life.fake.count(Function::TriggerDeprovision), 0);
    life.for_a_while(10 * MINUTE).await;
    assert_eq!(life.records()[0].reason, Some(Reason::Assumed));
    assert!(life.fake.count(Function::TriggerDeprovision) > 0);
}

/// A route that is gone answers every request with 404, also the search.
#[tokio::test]
async fn a_job_that_a_gateway_hid_is_canceled_before_its_object_is_deprovisioned() {
    for restarts in [false, true] {
        let mut life = at_work(Policy::default()).await;
        life.fake.away(&Function::ALL, not_found());
        life.for_a_while(30 * MINUTE).await;
        life.delete();
        life.for_a_while(100 * MINUTE).await;
        assert_eq!(launches_of_deletion(&life), 0, "nobody has looked");
        if restarts {
            life.restart();
        }
        life.fake.back();
        life.until(|_| launches_of_deletion(&life) > 0 || !runs(&life, 1))
            .await;
        assert_eq!(launches_of_deletion(&life), 0);
        assert_ne!(life.records()[0].reason, Some(Reason::Assumed));
        assert_eq!(life.fake.jobs()[0].state, JobState::Canceled);
        life.until(|_| life.jobs() == 2).await;
    }
}

// ---- an end that was seen ----

/// A life whose job has claimed this end before the backend forgot it.
async fn forgotten(policy: Policy, change: impl FnOnce(&mut JobRecord)) -> Life {
    let life = at_work(policy).await;
    life.fake.purge(1);
    let mut records = life.records();
    records[0].doubtful = true;
    change(&mut records[0]);
    life.store.inner.overwrite(life.object.key(), records);
    life
}

#[tokio::test]
async fn an_end_that_was_seen_is_no_weaker_when_the_backend_forgets_the_job() {
    for purge in [Purge::Rerun, Purge::AssumeSucceeded, Purge::Hold] {
        let policy = || policy(|p| p.purge = purge);
        let life = forgotten(policy(), |record| record.state = JobState::Canceled).await;
        let outcome = life.for_a_while(60 * MINUTE).await;
        let hold = Hold::CanceledByOthers { attempt: 1 };
        assert_eq!(outcome.standing, Standing::Held(hold), "{purge:?}");
        assert_eq!(life.jobs(), 0, "a person's cancel is respected");

        let life = forgotten(policy(), |record| record.state = JobState::Succeeded).await;
        life.applied().await;
        assert_eq!((life.jobs(), life.records()[0].failures), (0, 0));

        let life = forgotten(policy(), |record| record.state = JobState::Failed).await;
        let outcome = life.until(|o| !o.records[0].may_be_live()).await;
        let failed = matches!(outcome.standing, Standing::BackingOff { failures: 1, .. });
        assert!(failed, "{purge:?}: {:?}", outcome.standing);
        assert_eq!(life.records()[0].state, JobState::Failed);
    }
}

/// A life whose job has claimed this end before the backend lost its state.
async fn claimed(state: JobState) -> Life {
    let life = at_work(Policy::default()).await;
    let mut records = life.records();
    records[0].state = state;
    records[0].doubtful = true;
    records[0].message = "it has ended".to_owned();
    records[0].finished_at = Some(life.now());
    life.store.inner.overwrite(life.object.key(), records);
    life.fake.end(1, JobState::Unknown);
    life
}

#[tokio::test]
async fn an_end_that_was_seen_is_no_weaker_when_the_backend_cannot_tell_any_more() {
    for state in [JobState::Succeeded, JobState::Failed, JobState::Canceled] {
        let mut life = claimed(state).await;
        let finished = life.records()[0].finished_at;
        let kept = |life: &Life| {
            let record = &life.records()[0];
            assert_eq!((record.state, record.doubtful), (state, true));
            assert_eq!(record.message, "it has ended");
            assert_eq!(record.finished_at, finished);
        };
        life.for_a_while(MINUTE).await;
        kept(&life);
        // It is not waited for in silence.
        let outcome = life.for_a_while(20 * MINUTE).await;
        let block = Standing::Blocked(Block::UnknownTooLong { attempt: 1 });
        assert_eq!(outcome.standing, block, "{state}");
        kept(&life);
        // On deletion it counts as what was seen.
        life.restart();
        life.delete();
        life.until(|_| launches_of_deletion(&life) > 0).await;
        let record = &life.records()[0];
        assert_eq!((record.state, record.doubtful), (state, false));
        assert_ne!(record.reason, Some(Reason::Assumed));
        // As long as it can be told, an end can be taken back.
        let life = claimed(state).await;
        life.fake.end(1, JobState::Running);
        life.for_a_while(MINUTE).await;
        assert_eq!(life.records()[0].state, JobState::Running);
    }
}

/// A backend that is away has not said that it cannot tell.
#[tokio::test]
async fn while_the_backend_is_away_nobody_is_called_to_a_job_whose_end_was_seen() {
    let life = claimed(JobState::Failed).await;
    life.fake.away(&Function::ALL, unreachable());
    watched(&life, 60 * MINUTE, |outcome| {
        let waits = matches!(outcome.standing, Standing::InProgress { .. });
        assert!(waits, "{:?}", outcome.standing);
    })
    .await;
}

#[tokio::test]
async fn a_job_that_we_canceled_does_not_succeed_by_being_forgotten() {
    for state in [JobState::Running, JobState::Canceled, JobState::Unknown] {
        for (reason, failures) in [(Reason::Superseded, 0), (Reason::DeadlineExceeded, 1)] {
            let life = forgotten(
                policy(|p| {
                    p.purge = Purge::AssumeSucceeded;
                    p.supersede = Supersede::Cancel;
                }),
                |record| {
                    record.state = state;
                    record.doubtful = state.is_terminal();
                    record.reason = Some(reason.clone());
                    record.cancel_requested_at = record.sent_at;
                    record.cancel_requests = 1;
                },
            )
            .await;
            life.until(|o| !o.records[0].may_be_live()).await;
            let record = &life.records()[0];
            let told = format!("{state} {reason}: {record:#?}");
            assert_ne!(record.state, JobState::Succeeded, "{told}");
            assert_eq!(record.failures, failures, "{told}");
        }
    }
}

#[tokio::test]
async fn a_job_past_its_deadline_does_not_succeed_by_being_forgotten() {
    let fake = endless().with_capabilities(|c| c.cancel = false);
    let life = Life::with(fake, policy(|p| p.purge = Purge::AssumeSucceeded));
    life.step().await;
    life.for_a_while(25 * 60 * MINUTE).await;
    life.fake.purge(1);
    life.until(|o| !o.records[0].may_be_live()).await;
    let record = &life.records()[0];
    assert_eq!((record.state, record.failures), (JobState::Failed, 1));
}

// ---- launches that were not made ----

#[test]
fn a_doubtful_error_among_those_of_launches_that_were_not_made_is_a_doubt() {
    let policy = Policy::default();
    let capabilities = Capabilities::none();
    let context = Context::new(&policy, &capabilities, support::START.parse().unwrap(), 1);
    for effect in [Effect::MaybeSent, Effect::Unreadable] {
        for job_type in [JobType::Provision, JobType::Deprovision] {
            let mut asked = JobRecord::new(1, job_type);
            asked.token = Some(OperationToken::from_random(1));
            asked.reason = Some(Reason::Intended);
            asked.sends = 1;
            let wrong = TriggerError::NotLaunched(error(effect, ErrorKind::Timeout));
            let seen = match job_type {
                JobType::Provision => Observation::Provisioned(Err(wrong)),
                _ => Observation::Deprovisioned(Err(wrong)),
            };
            let changed = absorb(std::slice::from_ref(&asked), &asked, &seen, &context);
            assert_eq!(changed[0].reason, Some(Reason::Ambiguous));
            assert!(changed[0].is_unresolved());
        }
    }
}

const LAUNCHES: [Function; 2] = [Function::TriggerProvision, Function::TriggerDeprovision];

#[tokio::test]
async fn what_was_never_sent_is_no_failure() {
    for (effect, kind) in [
        (Effect::NotSent, ErrorKind::Unavailable),
        (Effect::NotSent, ErrorKind::Timeout),
        (Effect::NotSent, ErrorKind::Protocol),
        (Effect::NotSent, ErrorKind::Invalid),
        (Effect::NotSent, ErrorKind::Unsupported),
        (Effect::Rejected, ErrorKind::RateLimited),
        (Effect::Rejected, ErrorKind::Unavailable),
        (Effect::Rejected, ErrorKind::Unauthorized),
        (Effect::Rejected, ErrorKind::Forbidden),
    ] {
        let mut life = Life::with(endless(), policy(|p| p.max_failures = Some(2)));
        life.fake.away(&LAUNCHES, error(effect, kind));
        watched(&life, 130 * MINUTE, |outcome| {
            let backs_off = matches!(outcome.standing, Standing::BackingOff { failures: 0, .. });
            assert!(backs_off, "{kind:?}: {:?}", outcome.standing);
        })
        .await;
        let tries = life.fake.count(Function::TriggerProvision);
        assert!((6..=14).contains(&tries), "{kind:?}: {tries} tries");
        let records = life.records();
        assert_eq!((records.len(), records[0].failures), (1, 0), "{kind:?}");
        assert!(records[0].message.contains("away"), "it is told");
        life.fake.back();
        life.until(|_| life.jobs() == 1).await;
        life.fake.end(1, JobState::Succeeded);
        life.applied().await;
        // The same of a deprovision.
        life.delete();
        life.fake.away(&LAUNCHES, error(effect, kind));
        life.for_a_while(130 * MINUTE).await;
        assert_eq!(life.records().len(), 2, "{kind:?}");
        life.fake.back();
        life.until(|_| life.jobs() == 2).await;
        life.fake.end(2, JobState::Succeeded);
        life.released().await;
    }
}

#[tokio::test]
async fn what_is_asked_for_in_vain_for_good_is_a_failure() {
    let life = Life::with(endless(), policy(|p| p.max_failures = Some(2)));
    life.fake
        .away(&LAUNCHES, error(Effect::Rejected, ErrorKind::Invalid));
    let outcome = life.for_a_while(130 * MINUTE).await;
    let hold = Hold::FailuresExhausted { failures: 2 };
    assert_eq!(outcome.standing, Standing::Held(hold));
    assert_eq!(life.records().len(), 2);
}

#[tokio::test]
async fn a_launch_that_was_turned_away_goes_out_when_it_was_told_to() {
    let life = Life::new(endless());
    let wait = Duration::from_secs(600);
    let limited = error(Effect::Rejected, ErrorKind::RateLimited).with_retry_after(wait);
    life.fake
        .trouble(Function::TriggerProvision, Trouble::Fails(limited));
    let first = life.step().await;
    assert!(first.wake_after(life.now()).unwrap() >= wait);
    life.until(|_| life.jobs() == 1).await;
    // The same attempt, under the same token; and another version is another attempt at once.
    let token = first.records[0].token.clone();
    assert_eq!(Some(life.fake.jobs()[0].token.clone()), token);
    let mut life = Life::new(endless());
    life.fake.away(&LAUNCHES, unreachable());
    life.step().await;
    life.fake.back();
    life.want("b");
    life.step().await;
    assert_eq!((life.jobs(), life.records().len()), (1, 2));
}

// ---- cancels that nobody took ----

#[tokio::test]
async fn a_cancel_that_was_not_sent_goes_out_when_it_was_told_to() {
    let mut life = at_work(Policy::default()).await;
    let soon = unreachable().with_retry_after(Duration::from_secs(3));
    life.fake.trouble(Function::Cancel, Trouble::Fails(soon));
    life.delete();
    life.step().await;
    assert_eq!(life.records()[0].cancel_requests, 0);
    let asked = life.now();
    life.until(|_| life.fake.jobs()[0].state == JobState::Canceled)
        .await;
    let late = life.now().elapsed_since(asked);
    assert!(late <= Duration::from_secs(6), "{late:?}");
}

#[tokio::test]
async fn after_an_outage_the_first_cancel_goes_out_at_once() {
    for (effect, kind) in [
        (Effect::NotSent, ErrorKind::Unavailable),
        (Effect::MaybeSent, ErrorKind::Timeout),
        (Effect::Rejected, ErrorKind::Unavailable),
        (Effect::Rejected, ErrorKind::RateLimited),
        (Effect::Rejected, ErrorKind::Unauthorized),
        (Effect::Rejected, ErrorKind::Forbidden),
        (Effect::Rejected, ErrorKind::NotFound),
    ] {
        let mut life = at_work(Policy::default()).await;
        life.fake.away(&Function::ALL, error(effect, kind));
        life.delete();
        let not_ending = Standing::Blocked(Block::NotEnding { attempt: 1 });
        watched(&life, 130 * MINUTE, |outcome| {
            assert_ne!(outcome.standing, not_ending, "{kind:?}");
        })
        .await;
        assert_eq!(life.records()[0].cancel_requests, 0, "{kind:?}");
        life.fake.back();
        let back = life.now();
        life.until(|_| life.fake.jobs()[0].state == JobState::Canceled)
            .await;
        let late = life.now().elapsed_since(back);
        assert!(late <= Duration::from_secs(75), "{kind:?}: {late:?}");
    }
}

#[tokio::test]
async fn a_job_disobeys_from_the_request_on_that_was_taken() {
    let mut life = Life::new(endless().ignoring_cancels());
    life.step().await;
    life.fake.away(&[Function::Cancel], unreachable());
    life.delete();
    life.for_a_while(60 * MINUTE).await;
    life.fake.back();
    let not_ending = Standing::Blocked(Block::NotEnding { attempt: 1 });
    let outcome = life.for_a_while(29 * MINUTE).await;
    assert_ne!(outcome.standing, not_ending);
    let outcome = life.for_a_while(3 * MINUTE).await;
    assert_eq!(outcome.standing, not_ending);
    let taken = life.records()[0].cancel_requests;
    assert!((4..=6).contains(&taken), "it doubles: {taken}");
}

/// A person is called for, and not by saying that the job disobeys.
#[tokio::test]
async fn a_cancel_that_is_refused_for_good_is_told() {
    let mut life = at_work(Policy::default()).await;
    life.fake.away(
        &[Function::Cancel],
        error(Effect::Rejected, ErrorKind::Forbidden),
    );
    life.delete();
    let outcome = life.for_a_while(60 * MINUTE).await;
    let refused = Block::CancelRefused { attempt: 1 };
    assert_eq!(outcome.standing, Standing::Blocked(refused));
    let asked = life.fake.count(Function::Cancel);
    assert!((30..=70).contains(&asked), "once a minute: {asked}");
}

// ---- doubts ----

#[tokio::test]
async fn a_retry_request_ends_a_doubt_although_one_search_was_answered_in_vain() {
    let mut life = Life::new(endless());
    let lost = error(Effect::MaybeSent, ErrorKind::Timeout);
    life.fake
        .trouble(Function::TriggerProvision, Trouble::Fails(lost));
    life.step().await;
    assert_eq!(life.fake.count(Function::FindLaunched), 1, "in vain");
    life.fake.away(&[Function::FindLaunched], unreachable());
    let outcome = life.for_a_while(60 * MINUTE).await;
    let block = Block::AmbiguousLaunch { attempt: 1 };
    assert_eq!(outcome.standing, Standing::Blocked(block));
    assert_eq!(life.jobs(), 0);
    life.desired.retry_request = Some("looked".to_owned());
    life.step().await;
    assert_eq!(life.jobs(), 1);
}

#[tokio::test]
async fn of_two_jobs_of_one_launch_one_can_be_forgotten() {
    let life = at_work(Policy::default()).await;
    let mut records = life.records();
    let mut second = records[0].clone();
    second.attempt = 2;
    second.job_id = Some("2".to_owned());
    second.reason = Some(Reason::Duplicate);
    records.push(second);
    assert_eq!(life.fake.double(1), Some(2));
    life.store.inner.overwrite(life.object.key(), records);
    life.fake.purge(1);
    let before = life.fake.count(Function::FindLaunched);
    life.for_a_while(60 * MINUTE).await;
    let records = life.records();
    assert_eq!(records[0].reason, Some(Reason::Purged));
    assert_eq!(records[1].state, JobState::Running);
    let searches = life.fake.count(Function::FindLaunched) - before;
    assert!(searches <= 10, "{searches} searches");
}

// ---- deadlines ----

#[tokio::test]
async fn a_job_that_moves_between_two_queues_is_still_queued() {
    let life = Life::new(endless());
    life.step().await;
    life.fake.end(1, JobState::Pending);
    for n in 0..8 {
        let word = [JobState::Waiting, JobState::Pending][n % 2];
        life.fake.end(1, word);
        life.for_a_while(60 * MINUTE).await;
    }
    assert!(life.fake.count(Function::Cancel) > 0);
    assert_eq!(
        life.records()[0].reason,
        Some(Reason::DeadlineExceeded),
        "{:#?}",
        life.records()
    );
}

#[tokio::test]
async fn a_job_that_cannot_be_seen_now_and_then_is_still_running() {
    let life = at_work(Policy::default()).await;
    for _ in 0..26 {
        life.fake.end(1, JobState::Unknown);
        life.for_a_while(MINUTE).await;
        life.fake.end(1, JobState::Running);
        life.for_a_while(60 * MINUTE).await;
    }
    assert!(life.fake.count(Function::Cancel) > 0);
}

#[tokio::test]
async fn a_job_gone_astray_that_cannot_be_canceled_has_a_deadline() {
    let fake = endless().with_capabilities(|c| c.cancel = false);
    let life = Life::new(fake);
    life.step().await;
    let mut records = life.records();
    records[0].reason = Some(Reason::Stray);
    life.store.inner.overwrite(life.object.key(), records);
    let not_ending = Standing::Blocked(Block::NotEnding { attempt: 1 });
    let outcome = life.for_a_while(20 * 60 * MINUTE).await;
    assert_ne!(outcome.standing, not_ending);
    let outcome = life.for_a_while(6 * 60 * MINUTE).await;
    assert_eq!(outcome.standing, not_ending);
}

// ---- clocks ----

/// Another replica, whose clock is ahead, reconciles once.
async fn ahead(life: &Life, other: &Lifecycle, by: Duration) -> Outcome {
    let now = life.now();
    life.clock.advance(by);
    let outcome = life.step_with(other).await;
    life.clock.set(now);
    outcome
}

fn replica(policy: Policy) -> Lifecycle {
    Lifecycle::with_entropy(policy, Arc::new(SeededEntropy::new(7)))
}

#[tokio::test]
async fn a_clock_that_is_ahead_settles_nothing_that_is_unknown() {
    let mut life = Life::new(endless().ignoring_cancels());
    life.step().await;
    life.fake.end(1, JobState::Unknown);
    life.for_a_while(MINUTE).await;
    life.delete();
    let other = replica(Policy::default());
    for _ in 0..10 {
        ahead(&life, &other, 20 * MINUTE).await;
        life.pass(30);
    }
    assert_eq!(
        (life.records()[0].state, life.jobs()),
        (JobState::Unknown, 1)
    );
    for _ in 0..40 {
        ahead(&life, &other, 20 * MINUTE).await;
        life.pass(30);
    }
    assert_eq!(life.records()[0].reason, Some(Reason::Assumed));
}

#[tokio::test]
async fn a_clock_that_is_ahead_forgets_no_job_that_cannot_be_seen_yet() {
    let life = Life::new(endless());
    life.step().await;
    // It is not in the list yet, nor can it be read.
    life.fake.away(&[Function::Status], not_found());
    life.fake.hide(1, true);
    let other = replica(Policy::default());
    for _ in 0..4 {
        ahead(&life, &other, 5 * MINUTE).await;
        life.pass(10);
    }
    life.fake.back();
    life.fake.hide(1, false);
    for _ in 0..10 {
        ahead(&life, &other, 5 * MINUTE).await;
        life.pass(10);
    }
    assert_eq!((life.jobs(), life.records().len()), (1, 1));
    assert_eq!(life.records()[0].state, JobState::Running);
}

#[tokio::test]
async fn a_clock_that_is_ahead_gives_nobody_up_who_is_not_late() {
    let give_up = || policy(|p| p.deletion.abandon_after = Some(SignedDuration::from_hours(2)));
    let mut life = Life::with(endless().ignoring_cancels(), give_up());
    life.step().await;
    life.delete();
    let other = replica(give_up());
    for _ in 0..50 {
        let outcome = ahead(&life, &other, 24 * 60 * MINUTE).await;
        assert!(!outcome.may_release(), "{:?}", outcome.standing);
        life.pass(60);
    }
    // By a clock that is right it is given up in time, also by a process that was started meanwhile.
    life.for_a_while(60 * MINUTE).await;
    life.restart();
    let outcome = life.for_a_while(61 * MINUTE).await;
    assert!(outcome.may_release(), "{:?}", outcome.standing);
}

#[tokio::test]
async fn no_process_remembers_the_deletion_of_an_object_that_is_gone() {
    let give_up = || policy(|p| p.deletion.abandon_after = Some(SignedDuration::from_hours(2)));
    let mut life = Life::with(endless().ignoring_cancels(), give_up());
    life.step().await;
    life.delete();
    let other = replica(give_up());
    life.step_with(&other).await;
    let outcome = life.for_a_while(130 * MINUTE).await;
    assert!(outcome.may_release(), "{:?}", outcome.standing);
    assert!(life.engine.remembered() == 1 && other.remembered() == 1);
    life.engine.forget(life.object.key());
    other.forget(life.object.key());
    assert_eq!((life.engine.remembered(), other.remembered()), (0, 0));
}

/// One target is let go at once, and each pass says so again while the other one waits.
#[tokio::test]
async fn a_target_is_given_up_in_time_although_another_one_was_let_go_long_before() {
    let give_up = policy(|p| p.deletion.abandon_after = Some(SignedDuration::from_hours(2)));
    let mut life = Life::with(endless().ignoring_cancels(), give_up);
    let two = ["done", "stuck"].map(|name| life.desired.clone().for_target(name));
    for (id, desired) in (1..).zip(two.clone()) {
        life.desired = desired;
        life.step().await;
        life.fake.end(id, JobState::Succeeded);
        life.applied().await;
    }
    life.delete();
    let mut let_go = [None, None];
    for minute in 0..180_u64 {
        for (n, desired) in two.iter().enumerate() {
            life.desired = desired.clone();
            let outcome = life.step().await;
            if let Standing::Released(release) = outcome.standing {
                let_go[n].get_or_insert((minute, release.ground));
            }
        }
        // The deprovision job of the first one; that of the other one runs for ever.
        life.fake.end(3, JobState::Succeeded);
        life.pass(60);
    }
    let [
        Some((early, Ground::Deprovisioned)),
        Some((late, Ground::Abandoned)),
    ] = let_go
    else {
        panic!("{let_go:?}")
    };
    assert!(early < 60 && (119..=122).contains(&late), "{early}, {late}");
}
