//! Jobs that people start at the backend, and names that the backend gives away.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed"
)]

mod support;

use provider_core::clock::Elapsed as _;
use std::time::Duration;

use provider_core::lifecycle::{
    EventKind, Ground, Hold, Lifecycle, Outcome, Policy, PolicyConfig, Purge, SeededEntropy,
    Standing, Why,
};
use provider_core::{Effect, ErrorKind, JobState, JobType, ProviderError, Reason};
use provider_testkit::{FakeProvider, Function, Trouble};
use support::{Life, applied, endless, failed, policy, version};

const HOUR: Duration = Duration::from_secs(3_600);

fn in_progress(outcome: &Outcome, n: u64) -> bool {
    matches!(outcome.standing, Standing::InProgress { attempt, .. } if attempt == n)
}

fn in_progress_of(outcome: &Outcome, of: JobType) -> bool {
    matches!(outcome.standing, Standing::InProgress { job_type, .. } if job_type == of)
}

fn away() -> Trouble {
    let error = ProviderError::new(Effect::MaybeSent, ErrorKind::Unavailable, "it is away");
    Trouble::Fails(error)
}

#[tokio::test]
async fn a_relaunched_create_job_is_canceled_before_the_object_is_deprovisioned() {
    let mut life = applied(endless()).await;
    let copy = life.fake.copy(1).unwrap();
    life.delete();
    let outcome = life.until(|o| in_progress(o, 3)).await;
    assert!(
        outcome
            .records
            .iter()
            .any(|record| record.job_id == Some(copy.to_string())
                && record.job_type == JobType::Provision
                && record.copy_of == Some(1)
                && record.state == JobState::Canceled)
    );
    let jobs = life.fake.jobs();
    assert_eq!((jobs[1].id, jobs[1].state), (copy, JobState::Canceled));
    assert_eq!(jobs[2].job_type, JobType::Deprovision);
    assert_eq!(life.fake.count(Function::Cancel), 1);
    life.fake.end(3, JobState::Succeeded);
    life.released().await;
}

#[tokio::test]
async fn a_relaunch_that_does_not_obey_keeps_the_deprovision_waiting() {
    let mut life = applied(endless().ignoring_cancels()).await;
    let copy = life.fake.copy(1).unwrap();
    life.delete();
    life.for_a_while(10 * HOUR).await;
    assert_eq!(life.jobs(), 2, "nothing was started beside it");
    life.fake.end(copy, JobState::Failed);
    life.until(|o| in_progress(o, 3)).await;
    assert_eq!(life.jobs(), 3);
}

#[tokio::test]
async fn a_create_job_that_was_relaunched_during_the_deprovision_is_removed_after_it() {
    for ended in [false, true] {
        let mut life = applied(endless()).await;
        life.delete();
        life.until(|o| in_progress(o, 2)).await;
        let copy = life.fake.copy(1).unwrap();
        if ended {
            life.fake.end(copy, JobState::Succeeded);
        }
        life.fake.end(2, JobState::Succeeded);
        life.until(|o| in_progress(o, 4)).await;
        let jobs = life.fake.jobs();
        assert_eq!(jobs.len(), 4);
        assert!(jobs[2].state.is_terminal());
        assert_eq!(jobs[3].job_type, JobType::Deprovision);
        life.fake.end(4, JobState::Succeeded);
        life.released().await;
        assert_eq!(life.jobs(), 4, "the copy is put on record once");
    }
}

#[tokio::test]
async fn a_relaunch_of_a_failed_job_is_its_continuation_and_not_a_reason_for_a_second_one() {
    // Seen while it runs, and seen after its end.
    for late in [false, true] {
        let life = failed(endless()).await;
        let copy = life.fake.copy(1).unwrap();
        if late {
            life.fake.end(copy, JobState::Succeeded);
        } else {
            let outcome = life.until(|o| in_progress(o, 2)).await;
            let event = outcome
                .events
                .iter()
                .find(|e| e.kind == EventKind::Relaunched);
            assert_eq!(event.unwrap().attempt, 2);
            assert_eq!(outcome.records[1].reason, Some(Reason::RelaunchedByPerson));
            assert_eq!(outcome.records[1].token, outcome.records[0].token);
            life.fake.end(copy, JobState::Succeeded);
        }
        let outcome = life.applied().await;
        assert_eq!(outcome.why, Some(Why::AppliedBy(2)));
        assert_eq!((life.jobs(), life.records().len()), (2, 2));
        assert_eq!(outcome.records[1].config_version, Some(version("a")));
    }
}

#[tokio::test]
async fn a_relaunch_that_fails_as_well_is_the_next_failure_in_a_row() {
    let life = Life::with(endless(), policy(|p| p.max_failures = Some(2)));
    life.step().await;
    life.fake.end(1, JobState::Failed);
    life.until(|o| matches!(o.standing, Standing::BackingOff { failures: 1, .. }))
        .await;
    let copy = life.fake.copy(1).unwrap();
    life.fake.end(copy, JobState::Failed);
    let outcome = life
        .until(|o| matches!(o.standing, Standing::Held(_)))
        .await;
    assert_eq!(
        outcome.standing,
        Standing::Held(Hold::FailuresExhausted { failures: 2 })
    );
    assert_eq!(life.jobs(), 2);
}

/// A life whose first job has failed, and whose back-off is a long one.
async fn backing_off_for_long() -> (Life, Outcome) {
    let life = Life::with(
        endless(),
        policy(|p| p.backoff.base = jiff::SignedDuration::from_mins(30)),
    );
    life.step().await;
    life.fake.end(1, JobState::Failed);
    let outcome = life
        .until(|o| matches!(o.standing, Standing::BackingOff { failures: 1, .. }))
        .await;
    (life, outcome)
}

fn ends_at(outcome: &Outcome) -> jiff::Timestamp {
    match outcome.standing {
        Standing::BackingOff { until, .. } => until,
        ref other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_relaunch_is_seen_long_before_a_back_off_ends() {
    for ended in [false, true] {
        let (life, outcome) = backing_off_for_long().await;
        let until = ends_at(&outcome);
        let copy = life.fake.copy(1).unwrap();
        if ended {
            life.fake.end(copy, JobState::Succeeded);
        }
        life.until(|o| in_progress(o, 2) || matches!(o.standing, Standing::Applied { .. }))
            .await;
        assert!(until.elapsed_since(life.now()) > Duration::from_secs(600));
        life.fake.end(copy, JobState::Succeeded);
        life.applied().await;
        assert_eq!((life.jobs(), life.records().len()), (2, 2));
    }
}

#[tokio::test]
async fn a_relaunch_is_seen_where_a_person_is_waited_for() {
    for end in [JobState::Failed, JobState::Canceled] {
        for deleting in [false, true] {
            let mut life = Life::with(endless(), policy(|p| p.max_failures = Some(1)));
            if deleting {
                life.step().await;
                life.fake.end(1, JobState::Succeeded);
                life.applied().await;
                life.delete();
            }
            let n = if deleting { 2 } else { 1 };
            life.until(|o| in_progress(o, n)).await;
            life.fake.end(n, end);
            let outcome = life
                .until(|o| matches!(o.standing, Standing::Held(_)))
                .await;
            let expected = match end {
                JobState::Failed => Hold::FailuresExhausted { failures: 1 },
                _ => Hold::CanceledByOthers { attempt: n },
            };
            assert_eq!(outcome.standing, Standing::Held(expected));
            life.for_a_while(HOUR).await;
            let copy = life.fake.copy(n).unwrap();
            life.fake.end(copy, JobState::Succeeded);
            let outcome = life.for_a_while(HOUR).await;
            match &outcome.standing {
                Standing::Applied { .. } => assert!(!deleting),
                Standing::Released(release) => {
                    assert!(deleting && release.ground == Ground::Deprovisioned);
                }
                other => panic!("{other:?}"),
            }
            assert_eq!(life.jobs(), usize::try_from(n).unwrap() + 1);
        }
    }
}

#[tokio::test]
async fn a_rest_in_which_nobody_can_tell_of_relaunches_stays_what_it_is() {
    let (life, outcome) = backing_off_for_long().await;
    let until = ends_at(&outcome);
    for n in 1..=6 {
        life.fake.trouble(Function::FindRelaunched, away());
        let before = life.fake.count(Function::FindRelaunched);
        life.pass(60);
        let outcome = life.step().await;
        assert_eq!(ends_at(&outcome), until, "{n}");
        assert_eq!(life.fake.count(Function::FindRelaunched), before + 1);
        let wait = outcome.wake_at.unwrap().elapsed_since(life.now());
        assert!(wait >= Duration::from_secs(60), "{wait:?}");
        assert_eq!(outcome.trouble.unwrap().message(), "it is away");
    }
    // Who cannot tell at all is not asked, and a hold is a rest until somebody acts.
    let deaf = endless().with_capabilities(|c| c.find_relaunched = false);
    let life = Life::with(deaf, policy(|p| p.max_failures = Some(1)));
    life.step().await;
    life.fake.end(1, JobState::Failed);
    let outcome = life
        .until(|o| matches!(o.standing, Standing::Held(_)))
        .await;
    assert_eq!(
        (outcome.wake_at, life.fake.count(Function::FindRelaunched)),
        (None, 0)
    );
}

#[tokio::test]
async fn a_relaunch_of_an_older_version_is_waited_for_and_applies_nothing_else() {
    let mut life = applied(endless()).await;
    life.want("b");
    let copy = life.fake.copy(1).unwrap();
    life.until(|o| in_progress(o, 2)).await;
    assert_eq!(life.jobs(), 2, "the copy is waited for");
    life.fake.end(copy, JobState::Succeeded);
    life.until(|o| in_progress(o, 3)).await;
    life.fake.end(3, JobState::Succeeded);
    let outcome = life.applied().await;
    let version = version("b");
    assert_eq!(outcome.standing, Standing::Applied { version });
}

/// Back to the first version, of which a copy ran while the second one was brought about.
#[tokio::test]
async fn a_relaunch_beside_another_version_proves_nothing_of_its_own() {
    let mut life = applied(endless()).await;
    life.want("b");
    life.step().await;
    let copy = life.fake.copy(1).unwrap();
    life.fake.end(2, JobState::Succeeded);
    life.applied().await;
    life.want("a");
    life.until(|o| in_progress(o, 3)).await;
    assert_eq!(life.jobs(), 3, "the copy is waited for");
    life.fake.end(copy, JobState::Succeeded);
    life.until(|o| in_progress(o, 4)).await;
    life.fake.end(4, JobState::Succeeded);
    life.applied().await;
    // One that had ended long before is none of anybody's business.
    let mut life = applied(endless()).await;
    let copy = life.fake.copy(1).unwrap();
    life.fake.end(copy, JobState::Succeeded);
    life.want("b");
    life.step().await;
    life.fake.end(3, JobState::Failed);
    life.pass(60);
    life.step().await;
    life.want("a");
    let outcome = life.step().await;
    assert!(!matches!(outcome.standing, Standing::Applied { .. }));
}

#[tokio::test]
async fn an_old_relaunch_of_a_deprovision_lets_nothing_go_that_came_after() {
    let mut life = applied(endless()).await;
    let kept = life.object.clone();
    life.delete();
    life.until(|o| in_progress(o, 2)).await;
    life.fake.end(2, JobState::Succeeded);
    life.released().await;
    life.object = kept;
    life.until(|o| in_progress(o, 3)).await;
    let copy = life.fake.copy(2).unwrap();
    life.fake.end(3, JobState::Succeeded);
    life.applied().await;
    life.delete();
    life.step().await;
    assert_eq!(life.jobs(), 4, "the copy is waited for");
    life.fake.end(copy, JobState::Succeeded);
    life.until(|o| in_progress(o, 5)).await;
    assert_eq!(life.jobs(), 5, "its success is none of what came after it");
    life.fake.end(5, JobState::Succeeded);
    life.released().await;
}

#[tokio::test]
async fn a_person_who_relaunches_a_failed_deprovision_has_deprovisioned() {
    let mut life = applied(endless()).await;
    life.delete();
    life.until(|o| in_progress(o, 2)).await;
    life.fake.end(2, JobState::Failed);
    life.until(|o| matches!(o.standing, Standing::BackingOff { .. }))
        .await;
    let copy = life.fake.copy(2).unwrap();
    life.fake.end(copy, JobState::Succeeded);
    let outcome = life.released().await;
    let Standing::Released(release) = outcome.standing else {
        panic!()
    };
    assert_eq!((release.ground, life.jobs()), (Ground::Deprovisioned, 3));
}

#[tokio::test]
async fn while_nobody_can_tell_of_relaunches_nothing_is_launched_or_let_go_and_it_is_said() {
    let mut life = applied(endless()).await;
    life.want("b");
    for _ in 0..20 {
        life.fake.trouble(Function::FindRelaunched, away());
    }
    for n in 1..=20 {
        let outcome = life.step().await;
        assert!(
            matches!(outcome.standing, Standing::Waiting { .. }),
            "{:?}",
            outcome.standing
        );
        assert_eq!(outcome.trouble.unwrap().message(), "it is away");
        assert_eq!(
            life.fake.count(Function::FindRelaunched),
            n,
            "one look a pass"
        );
        let wait = outcome.wake_at.unwrap();
        assert!(wait.elapsed_since(life.now()) >= Duration::from_secs(5));
        life.clock.set(wait);
    }
    assert_eq!(life.jobs(), 1);
    life.step().await;
    assert_eq!(life.jobs(), 2);
    life.fake.end(2, JobState::Succeeded);
    life.applied().await;
    life.delete();
    life.until(|o| in_progress(o, 3)).await;
    life.fake.end(3, JobState::Succeeded);
    life.pass(60);
    life.fake.trouble(Function::FindRelaunched, away());
    let outcome = life.step().await;
    assert!(!outcome.may_release(), "{:?}", outcome.standing);
    life.released().await;
}

#[tokio::test]
async fn nobody_is_asked_about_relaunches_who_cannot_tell_or_has_launched_nothing() {
    let life = Life::new(FakeProvider::new("fake"));
    life.applied().await;
    assert_eq!(life.fake.count(Function::FindRelaunched), 0);
    let mut life = applied(endless().with_capabilities(|c| c.find_relaunched = false)).await;
    life.delete();
    life.until(|o| in_progress(o, 2)).await;
    assert_eq!(life.fake.count(Function::FindRelaunched), 0);
}

#[tokio::test]
async fn relaunches_of_other_objects_and_of_other_targets_are_left_alone() {
    let mut life = applied(endless()).await;
    let first = life.object.clone();
    life.object = support::object("other");
    life.step().await;
    life.fake.end(2, JobState::Succeeded);
    life.applied().await;
    life.fake.copy(2).unwrap();
    life.object = first;
    life.delete();
    life.until(|o| in_progress(o, 2)).await;
    assert_eq!(life.fake.count(Function::Cancel), 0);
    assert_eq!(life.records().len(), 2);
}

/// The original can be found by the token, the copy cannot.
#[tokio::test]
async fn a_relaunch_that_the_backend_forgets_is_not_taken_for_its_original() {
    let life = failed(endless()).await;
    let copy = life.fake.copy(1).unwrap();
    life.until(|o| in_progress(o, 2)).await;
    life.pass(3_600);
    life.fake.purge(copy);
    life.until(|o| in_progress(o, 3)).await;
    let record = &life.records()[1];
    assert_eq!(record.reason, Some(Reason::Purged));
    assert_eq!(record.job_id, Some(copy.to_string()));
    assert_eq!(life.fake.count(Function::FindLaunched), 0);
}

#[tokio::test]
async fn two_relaunches_at_once_are_one_too_many() {
    let mut life = applied(endless()).await;
    life.want("b");
    let (one, two) = (life.fake.copy(1).unwrap(), life.fake.copy(1).unwrap());
    life.for_a_while(Duration::from_secs(120)).await;
    assert_eq!(life.jobs(), 3);
    let state = |id: u64| life.fake.jobs()[usize::try_from(id).unwrap() - 1].state;
    assert_eq!(
        (state(one), state(two)),
        (JobState::Canceled, JobState::Running)
    );
}

/// An object with a short history that is deleted, and whose job was copied so often, each time with success.
async fn copied_and_deleted(times: u32) -> Life {
    let mut life = Life::with(endless(), policy(|p| p.history_length = 1));
    life.step().await;
    life.fake.end(1, JobState::Succeeded);
    life.applied().await;
    for _ in 0..times {
        let copy = life.fake.copy(1).unwrap();
        life.fake.end(copy, JobState::Succeeded);
    }
    life.delete();
    life
}

#[tokio::test]
async fn copies_that_have_ended_start_no_endless_deprovisions_where_the_history_is_short() {
    let life = copied_and_deleted(3).await;
    let alive = |life: &Life| {
        life.fake
            .jobs()
            .into_iter()
            .find(|job| !job.state.is_terminal())
    };
    for _ in 0..10 {
        let outcome = life
            .until(|o| matches!(o.standing, Standing::Released(_)) || alive(&life).is_some())
            .await;
        let Some(job) = alive(&life) else {
            assert!(matches!(outcome.standing, Standing::Released(_)));
            break;
        };
        life.fake.end(job.id, JobState::Succeeded);
    }
    assert_eq!(life.fake.count(Function::TriggerDeprovision), 1);
}

#[tokio::test]
async fn a_job_that_is_copied_a_hundred_times_does_not_fill_the_status() {
    let life = copied_and_deleted(100).await;
    life.until(|o| in_progress_of(o, JobType::Deprovision))
        .await;
    assert!(life.records().len() <= 32, "{}", life.records().len());
    let last = life.fake.copy(1).unwrap();
    life.fake.end(last - 1, JobState::Succeeded);
    // One that is alive is seen, however many there were before.
    let is_over = |life: &Life| {
        let mut jobs = life.fake.jobs().into_iter();
        jobs.any(|job| job.id == last && job.state.is_terminal())
    };
    life.until(|_| is_over(&life)).await;
}

#[tokio::test]
async fn two_replicas_that_see_one_relaunch_put_it_on_record_once() {
    let life = failed(endless()).await;
    life.fake.copy(1).unwrap();
    life.pass(60);
    // Its write meets that of another one, which has seen the same.
    let other = Lifecycle::with_entropy(
        Policy::default(),
        std::sync::Arc::new(SeededEntropy::new(7)),
    );
    life.store
        .script([Some(provider_core::lifecycle::StoreError::Conflict)]);
    life.step().await;
    life.store
        .inner
        .inject(provider_core::lifecycle::StoreFault::StaleLoad);
    life.step_with(&other).await;
    assert_eq!((life.records().len(), life.jobs()), (2, 2));
}

// ---- ids that were given to strangers ----

#[tokio::test]
async fn a_job_whose_id_belongs_to_a_stranger_is_neither_believed_nor_canceled() {
    for purge in [Purge::Rerun, Purge::AssumeSucceeded] {
        let change = move |p: &mut PolicyConfig| p.purge = purge;
        let life = Life::with(endless(), policy(change));
        life.step().await;
        life.pass(3_600);
        life.fake.replace(1);
        life.until(|o| in_progress(o, 2)).await;
        let record = &life.records()[0];
        assert_eq!(record.state, JobState::Failed);
        assert_eq!(record.reason, Some(Reason::Replaced));
        assert!(record.message.contains("another"), "{}", record.message);
        assert_eq!(life.fake.count(Function::Cancel), 0);
        assert!(
            life.fake.count(Function::FindLaunched) > 0,
            "it was looked for"
        );
    }
    let life = Life::with(endless(), policy(|p| p.purge = Purge::Hold));
    life.step().await;
    life.pass(3_600);
    life.fake.replace(1);
    life.until(|o| matches!(o.standing, Standing::Held(Hold::Purged { attempt: 1 })))
        .await;
}

#[tokio::test]
async fn on_deletion_a_stranger_is_not_canceled_twice() {
    for find in [true, false] {
        let mut life = Life::new(endless().with_capabilities(|c| c.find_launched = find));
        life.step().await;
        life.pass(3_600);
        life.fake.replace(1);
        life.delete();
        life.until(|o| in_progress(o, 2)).await;
        assert!(life.fake.count(Function::Cancel) <= 1);
        assert_eq!(life.records()[0].reason, Some(Reason::Replaced));
    }
}

#[tokio::test]
async fn a_job_that_lives_on_under_another_id_is_found() {
    let life = Life::new(endless());
    life.step().await;
    life.pass(3_600);
    let id = life.fake.renumber(1).unwrap();
    life.for_a_while(Duration::from_secs(120)).await;
    assert_eq!(life.records()[0].job_id, Some(id.to_string()));
    life.fake.end(id, JobState::Succeeded);
    life.applied().await;
    assert_eq!((life.jobs(), life.records().len()), (1, 1));
}
