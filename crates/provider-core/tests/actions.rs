//! Actions on a living resource: jobs like any other, each request answered once.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed"
)]

mod support;

use std::time::Duration;

use jiff::SignedDuration;
use provider_core::lifecycle::{ActionRequest, EventKind, Mode, Outcome, Standing, Supersede, Why};
use provider_core::{
    ActionName, Effect, ErrorKind, ExtraVars, JobState, JobType, ProviderError, Reason,
};
use provider_testkit::{FakeProvider, Function, Trouble};
use support::{Life, endless, policy, version};

fn restart(request: &str) -> ActionRequest {
    ActionRequest::new("restart", request).unwrap()
}

fn of_restart() -> JobType {
    JobType::Action(ActionName::new("restart").unwrap())
}

fn acting(fake: FakeProvider) -> FakeProvider {
    fake.with_capabilities(|capabilities| capabilities.actions = true)
}

/// A life whose first job has been applied, and of which a restart is asked for.
async fn asked(change: impl FnOnce(&mut provider_core::lifecycle::PolicyConfig)) -> Life {
    let mut life = Life::with(acting(endless()), policy(change));
    life.step().await;
    life.fake.end(1, JobState::Succeeded);
    life.applied().await;
    life.desired = life.desired.with_action(restart("one"));
    life
}

fn ask(life: &mut Life, request: &str) {
    life.desired.actions = vec![restart(request)];
}

fn runs(life: &Life) -> usize {
    let jobs = life.fake.jobs();
    jobs.iter()
        .filter(|job| job.job_type == of_restart())
        .count()
}

fn is_acting(outcome: &Outcome) -> bool {
    matches!(outcome.standing, Standing::InProgress { job_type, .. } if job_type == of_restart())
}

#[tokio::test]
async fn a_request_is_answered_once_and_changes_nothing_of_what_is_applied() {
    let mut life = asked(|_| {}).await;
    let outcome = life.step().await;
    assert!(is_acting(&outcome), "{:?}", outcome.standing);
    life.fake.end(2, JobState::Succeeded);
    let outcome = life.applied().await;
    assert_eq!(outcome.why, Some(Why::AppliedBy(1)));
    assert_eq!(outcome.wake_at, None);
    let record = &outcome.records[1];
    assert_eq!(record.job_type, of_restart());
    assert_eq!(record.action_request.as_deref(), Some("one"));
    assert_eq!(record.config_version, Some(version("a")));
    // It stays where it stands, over restarts of the controller too.
    for _ in 0..3 {
        life.restart();
        life.pass(3_600);
        life.step().await;
    }
    assert_eq!(runs(&life), 1);
    // Another request is another job, and the first one again is a third.
    for (n, request) in [(3, "two"), (4, "one")] {
        ask(&mut life, request);
        life.step().await;
        life.fake.end(n, JobState::Succeeded);
        life.applied().await;
    }
    assert_eq!((runs(&life), life.jobs()), (3, 4));
}

#[tokio::test]
async fn nothing_is_acted_on_before_it_is_applied() {
    let mut life = Life::new(acting(endless()));
    life.desired = life.desired.clone().with_action(restart("one"));
    life.step().await;
    life.pass(60);
    life.step().await;
    assert_eq!((runs(&life), life.jobs()), (0, 1));
    life.fake.end(1, JobState::Failed);
    life.until(|o| matches!(o.standing, Standing::BackingOff { .. }))
        .await;
    assert_eq!(runs(&life), 0);
}

#[tokio::test]
async fn actions_run_one_after_the_other_in_their_order() {
    let mut life = asked(|_| {}).await;
    let resize = ActionRequest::new("resize", "r").unwrap();
    life.desired = life.desired.clone().with_action(resize);
    life.step().await;
    life.pass(60);
    life.step().await;
    assert_eq!(life.jobs(), 2);
    life.fake.end(2, JobState::Succeeded);
    life.until(|o| matches!(o.standing, Standing::InProgress { attempt: 3, .. }))
        .await;
    let names: Vec<_> = life.fake.jobs()[1..]
        .iter()
        .map(|job| job.job_type.to_string())
        .collect();
    assert_eq!(names, ["action/restart", "action/resize"]);
}

#[tokio::test]
async fn a_failed_action_is_held_and_nothing_else_is() {
    let mut life = asked(|_| {}).await;
    life.step().await;
    life.fake.end(2, JobState::Failed);
    let outcome = life.applied().await;
    assert_eq!(
        (outcome.why, outcome.wake_at),
        (Some(Why::ActionHeld(2)), None)
    );
    // A configuration is applied as ever, and the same request is not tried again.
    life.want("b");
    life.step().await;
    life.fake.end(3, JobState::Succeeded);
    let outcome = life.applied().await;
    assert_eq!(
        outcome.standing,
        Standing::Applied {
            version: version("b")
        }
    );
    assert_eq!(runs(&life), 1);
    ask(&mut life, "two");
    assert!(is_acting(&life.step().await));
}

#[tokio::test]
async fn an_action_has_as_many_tries_as_the_policy_says_with_back_offs_of_its_own() {
    let life = asked(|p| {
        p.action_tries = 2;
        p.jitter = 0.0;
        p.backoff.base = SignedDuration::from_secs(40);
    })
    .await;
    life.step().await;
    life.fake.end(2, JobState::Failed);
    let outcome = life.applied().await;
    assert!(outcome.wake_after(life.now()).unwrap() <= Duration::from_secs(40));
    life.until(is_acting).await;
    life.fake.end(3, JobState::Failed);
    let outcome = life.applied().await;
    assert_eq!((outcome.why, runs(&life)), (Some(Why::ActionHeld(3)), 2));
    // Failures of actions are none of provisions.
    assert_eq!(outcome.records[0].failures, 0);
}

#[tokio::test]
async fn what_somebody_else_has_canceled_or_what_was_something_else_is_held() {
    for stray in [false, true] {
        let life = asked(|_| {}).await;
        life.step().await;
        if stray {
            life.fake.stray(2);
        }
        life.fake.end(
            2,
            if stray {
                JobState::Succeeded
            } else {
                JobState::Canceled
            },
        );
        let outcome = life.applied().await;
        assert_eq!(outcome.why, Some(Why::ActionHeld(2)), "{stray}");
        life.pass(86_400);
        life.step().await;
        assert_eq!(runs(&life), 1, "{stray}");
    }
}

#[tokio::test]
async fn a_deletion_ends_a_live_action_before_anything_is_removed() {
    let mut life = asked(|_| {}).await;
    life.step().await;
    life.delete();
    life.until(|o| matches!(o.standing, Standing::InProgress { attempt: 3, .. }))
        .await;
    let jobs = life.fake.jobs();
    assert_eq!(jobs[1].state, JobState::Canceled);
    assert_eq!(jobs[2].job_type, JobType::Deprovision);
    // It is not asked for any more while the object goes.
    life.fake.end(3, JobState::Succeeded);
    life.released().await;
    assert_eq!(life.jobs(), 3);
}

#[tokio::test]
async fn another_configuration_waits_for_an_action_or_ends_it_by_the_policy() {
    // It waits.
    let mut life = asked(|_| {}).await;
    life.step().await;
    life.want("b");
    life.pass(60);
    assert!(is_acting(&life.step().await));
    life.fake.end(2, JobState::Succeeded);
    life.until(|o| matches!(o.standing, Standing::InProgress { attempt: 3, .. }))
        .await;
    // It ends it, and the request is answered when the new one is applied.
    let mut life = asked(|p| p.supersede = Supersede::Cancel).await;
    life.step().await;
    life.want("b");
    life.until(|o| matches!(o.standing, Standing::InProgress { attempt: 3, .. }))
        .await;
    assert_eq!(life.fake.jobs()[1].state, JobState::Canceled);
    life.fake.end(3, JobState::Succeeded);
    life.until(is_acting).await;
    assert_eq!(
        (runs(&life), life.records()[3].config_version.clone()),
        (2, Some(version("b")))
    );
}

#[tokio::test]
async fn an_action_that_ended_by_itself_before_it_could_be_canceled_is_not_repeated() {
    let mut life = asked(|p| p.supersede = Supersede::Cancel).await;
    life.step().await;
    life.fake.end(2, JobState::Failed);
    life.want("b");
    life.until(|o| matches!(o.standing, Standing::InProgress { attempt: 3, .. }))
        .await;
    life.fake.end(3, JobState::Succeeded);
    let outcome = life.applied().await;
    assert_eq!((outcome.why, runs(&life)), (Some(Why::ActionHeld(2)), 1));
}

#[tokio::test]
async fn a_provider_without_actions_is_told_and_not_asked() {
    let without = endless().with_capabilities(|capabilities| capabilities.actions = false);
    let mut life = support::applied(without).await;
    life.desired = life.desired.clone().with_action(restart("one"));
    let outcome = life.step().await;
    assert_eq!(outcome.why, Some(Why::NoActions));
    assert_eq!(
        outcome.standing,
        Standing::Applied {
            version: version("a")
        }
    );
    assert_eq!(life.fake.count(Function::TriggerAction), 0);
}

#[tokio::test]
async fn a_lost_answer_is_looked_up_and_its_job_is_not_started_twice() {
    let life = asked(|_| {}).await;
    life.fake
        .trouble(Function::TriggerAction, Trouble::LosesAnswer);
    let outcome = life
        .until(|o| o.records.get(1).is_some_and(|r| r.job_id.is_some()))
        .await;
    assert_eq!(outcome.records[1].reason, Some(Reason::Adopted));
    life.fake.end(2, JobState::Succeeded);
    life.applied().await;
    assert_eq!(runs(&life), 1);
}

#[tokio::test]
async fn what_was_not_sent_is_no_try() {
    let life = asked(|_| {}).await;
    let error = ProviderError::new(Effect::NotSent, ErrorKind::Unavailable, "away");
    life.fake.away(&[Function::TriggerAction], error);
    let outcome = life
        .until(|o| o.records.len() > 1 && o.records[1].turned_away > 1)
        .await;
    assert!(
        matches!(outcome.standing, Standing::Applied { .. }),
        "{:?}",
        outcome.standing
    );
    life.fake.back();
    life.until(is_acting).await;
    assert_eq!((runs(&life), life.records().len()), (1, 2));
}

#[tokio::test]
async fn a_request_that_is_taken_back_before_it_was_sent_is_withdrawn() {
    let mut life = asked(|_| {}).await;
    let lost = ProviderError::new(Effect::MaybeSent, ErrorKind::Timeout, "lost");
    life.fake
        .trouble(Function::TriggerAction, Trouble::Fails(lost));
    life.step().await;
    life.desired.actions.clear();
    let outcome = life.applied().await;
    assert_eq!(outcome.records[1].reason, Some(Reason::Withdrawn));
    assert_eq!(runs(&life), 0);
}

#[tokio::test]
async fn in_manual_mode_a_request_is_a_persons() {
    let mut life = asked(|_| {}).await;
    life.desired.mode = Mode::Manual;
    assert!(is_acting(&life.step().await));
    let mut life = asked(|_| {}).await;
    life.desired.mode = Mode::Paused;
    life.step().await;
    assert_eq!(runs(&life), 0);
}

#[tokio::test]
async fn an_action_answers_no_request_to_try_again() {
    let mut life = asked(|_| {}).await;
    life.desired.retry_request = Some("r".to_owned());
    life.step().await;
    life.fake.end(2, JobState::Failed);
    life.applied().await;
    // Nor does such a request start the action once more.
    assert_eq!(
        (runs(&life), life.records()[1].retry_request.clone()),
        (1, None)
    );
}

#[tokio::test]
async fn an_action_has_variables_of_its_own() {
    let mut life = asked(|_| {}).await;
    life.desired.extra_vars = ExtraVars::new().with("zone", "a").with("force", false);
    let own = ExtraVars::new()
        .with("force", true)
        .with_secret("key", "s3cret");
    life.desired.actions = vec![restart("one").with_extra_vars(own)];
    life.step().await;
    let sent = life.fake.jobs()[1].extra_vars.expose();
    let sent = serde_json::Value::Object(sent);
    assert_eq!(
        sent,
        serde_json::json!({"zone": "a", "force": true, "key": "s3cret"})
    );
}

#[tokio::test]
async fn an_action_that_the_backend_has_forgotten_is_a_failure_of_its_own() {
    let life = asked(|_| {}).await;
    life.step().await;
    life.fake.purge(2);
    life.pass(3_600);
    let outcome = life.applied().await;
    assert_eq!(outcome.why, Some(Why::ActionHeld(2)));
    assert_eq!(outcome.records[1].reason, Some(Reason::Purged));
}

#[tokio::test]
async fn a_relaunched_action_is_followed_before_the_next_request_is_answered() {
    let mut life = asked(|_| {}).await;
    life.step().await;
    life.fake.end(2, JobState::Failed);
    life.applied().await;
    // A person does at the backend what was asked for, while another request comes in: one after the other.
    let copy = life.fake.copy(2).unwrap();
    ask(&mut life, "two");
    let outcome = life.step().await;
    assert!(
        outcome
            .events
            .iter()
            .any(|e| e.kind == EventKind::Relaunched)
    );
    let relaunched = outcome
        .records
        .iter()
        .find(|r| r.copy_of == Some(2))
        .unwrap();
    assert_eq!(relaunched.action_request.as_deref(), Some("one"));
    life.fake.end(copy, JobState::Succeeded);
    life.until(|o| {
        o.records
            .iter()
            .any(|r| r.action_request.as_deref() == Some("two"))
    })
    .await;
    assert_eq!(runs(&life), 3);
}

/// A job of a type that only a newer version knows.
#[tokio::test]
async fn a_job_of_an_unknown_type_is_watched_and_ended_and_then_counts_no_more() {
    let other = JobType::Other(ActionName::new("migrate").unwrap());
    // Not even a policy that ends jobs for a new version ends it: nobody here knows what it does.
    let mut life = Life::with(endless(), policy(|p| p.supersede = Supersede::Cancel));
    life.step().await;
    life.fake.end(1, JobState::Succeeded);
    life.applied().await;
    // The newer version has launched it before it was rolled back.
    let mut records = life.records();
    let mut record = records[0].clone();
    (record.attempt, record.job_type, record.state) = (2, other, JobState::Running);
    record.finished_at = None;
    record.token = Some(provider_core::OperationToken::from_random(7));
    let id = life.fake.double(1).unwrap();
    record.job_id = Some(id.to_string());
    records.push(record);
    life.store.inner.overwrite(life.object.key(), records);
    let outcome = life.step().await;
    assert!(
        matches!(outcome.standing, Standing::InProgress { attempt: 2, job_type, .. } if job_type == other)
    );
    // A new version waits for it, a deletion ends it.
    life.want("b");
    life.pass(60);
    life.step().await;
    assert_eq!(life.jobs(), 2);
    assert_eq!(life.fake.jobs()[1].state, JobState::Running);
    life.delete();
    life.until(|o| matches!(o.standing, Standing::InProgress { attempt: 3, .. }))
        .await;
    assert_eq!(life.fake.jobs()[1].state, JobState::Canceled);
    life.fake.end(3, JobState::Succeeded);
    life.released().await;
}

#[tokio::test]
async fn an_unknown_type_that_has_ended_blocks_nothing() {
    let other = JobType::Other(ActionName::new("migrate").unwrap());
    let mut life = support::applied(endless()).await;
    let mut records = life.records();
    let mut record = records[0].clone();
    (record.attempt, record.job_type, record.state) = (2, other, JobState::Failed);
    record.failures = 9;
    records.push(record);
    life.store.inner.overwrite(life.object.key(), records);
    let outcome = life.step().await;
    assert_eq!(
        outcome.standing,
        Standing::Applied {
            version: version("a")
        }
    );
    life.want("b");
    life.step().await;
    assert_eq!(life.jobs(), 2);
}
