//! What an object is wanted to be, beside being there and being gone: absent targets, things that stay, things
//! that were there before, prerequisites, and launches whose job is named later.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed"
)]

mod support;

use std::time::Duration;

use provider_core::lifecycle::{
    Desired, EventKind, Ground, Mode, NeverProvisioned, Outcome, RunningProvision, Standing,
    Supersede, Why,
};
use provider_core::{JobState, JobType, Reason, history};
use provider_testkit::Function;
use support::{Life, applied, endless, policy, version};

fn in_progress(outcome: &Outcome, n: u64) -> bool {
    matches!(outcome.standing, Standing::InProgress { attempt, .. } if attempt == n)
}

fn is_absent(outcome: &Outcome) -> bool {
    matches!(outcome.standing, Standing::Absent { .. })
}

// ---- a target that goes ----

#[tokio::test]
async fn an_absent_target_is_deprovisioned_and_forgotten_while_the_object_stays() {
    let mut life = applied(endless()).await;
    life.desired = life.desired.clone().absent();
    life.until(|o| in_progress(o, 2)).await;
    assert_eq!(life.fake.jobs()[1].job_type, JobType::Deprovision);
    life.fake.end(2, JobState::Succeeded);
    let outcome = life.until(is_absent).await;
    assert_eq!(
        outcome.standing,
        Standing::Absent {
            left_behind: vec![]
        }
    );
    assert!(!outcome.may_release() && outcome.wake_at.is_none());
    assert_eq!((life.records().len(), outcome.receipt.is_none()), (0, true));
    // It may be said for ever, and costs nothing.
    life.restart();
    life.pass(86_400);
    assert!(is_absent(&life.step().await));
    assert_eq!(life.jobs(), 2);
    // Wanted again, it is provisioned again.
    life.desired.absent = false;
    life.step().await;
    assert_eq!(life.fake.jobs()[2].job_type, JobType::Provision);
}

#[tokio::test]
async fn nothing_is_launched_for_an_absent_target_that_nobody_has_a_record_of() {
    for never in [NeverProvisioned::Deprovision, NeverProvisioned::Release] {
        let mut life = Life::with(endless(), policy(|p| p.deletion.never_provisioned = never));
        life.desired = life.desired.clone().absent();
        assert!(is_absent(&life.step().await));
        life.delete();
        let outcome = life.released().await;
        assert_eq!(life.jobs(), 0, "{never:?}");
        let expected = Ground::NeverProvisioned;
        assert!(matches!(outcome.standing, Standing::Released(ref r) if r.ground == expected));
    }
}

#[tokio::test]
async fn an_absent_target_that_is_said_to_be_there_is_removed_once() {
    let mut life = Life::new(endless());
    let ready = life.desired.clone().absent();
    life.desired = ready.clone().already(version("a"));
    life.until(|o| in_progress(o, 2)).await;
    assert_eq!(life.fake.jobs()[0].job_type, JobType::Deprovision);
    life.fake.end(1, JobState::Succeeded);
    for _ in 0..3 {
        let outcome = life.until(is_absent).await;
        assert_eq!(
            outcome.standing,
            Standing::Absent {
                left_behind: vec![]
            }
        );
        life.restart();
        life.pass(3_600);
    }
    // What was removed is not forgotten as long as somebody says that it is there.
    assert_eq!((life.jobs(), life.records().len()), (1, 2));
    life.desired = ready;
    life.until(is_absent).await;
    assert_eq!((life.jobs(), life.records().len()), (1, 0));
}

#[tokio::test]
async fn a_job_that_runs_is_ended_before_its_target_goes() {
    let mut life = Life::new(endless());
    life.step().await;
    life.desired = life.desired.clone().absent();
    life.until(|o| in_progress(o, 2)).await;
    let jobs = life.fake.jobs();
    assert_eq!(jobs[0].state, JobState::Canceled);
    assert_eq!(jobs[1].job_type, JobType::Deprovision);
}

#[tokio::test]
async fn an_absent_target_is_not_forgotten_before_it_is_gone() {
    let mut life = applied(endless()).await;
    life.desired = life.desired.clone().absent();
    life.until(|o| in_progress(o, 2)).await;
    life.fake.end(2, JobState::Failed);
    let outcome = life
        .until(|o| matches!(o.standing, Standing::BackingOff { .. }))
        .await;
    assert_eq!(outcome.records.len(), 2);
    life.until(|o| in_progress(o, 3)).await;
    life.fake.end(3, JobState::Succeeded);
    life.until(is_absent).await;
}

#[tokio::test]
async fn what_an_absent_target_may_have_left_stays_on_record_with_a_receipt() {
    let fake = endless().with_capabilities(|c| c.block_deletion_on_failure = false);
    let mut life = applied(fake).await;
    life.desired = life.desired.clone().absent();
    life.until(|o| in_progress(o, 2)).await;
    life.fake.end(2, JobState::Failed);
    for _ in 0..2 {
        let outcome = life.until(is_absent).await;
        assert_eq!(
            outcome.standing,
            Standing::Absent {
                left_behind: vec![1, 2]
            }
        );
        let receipt = outcome.receipt.unwrap();
        let (ground, jobs) = (receipt.ground, receipt.jobs.len());
        assert_eq!((ground, jobs), ("FailureDoesNotBlock", 2));
        assert_eq!(life.records().len(), 2);
        life.restart();
    }
}

#[tokio::test]
async fn the_receipt_of_an_absent_target_says_that_its_removal_went_well() {
    let mut life = Life::new(endless().ignoring_cancels());
    life.step().await;
    life.fake.end(1, JobState::Unknown);
    life.desired = life.desired.clone().absent();
    life.until(|o| !o.records[0].may_be_live()).await;
    life.fake.end(1, JobState::Failed); // nobody asks any more
    life.until(|o| in_progress(o, 2)).await;
    life.fake.end(2, JobState::Succeeded);
    let outcome = life.until(is_absent).await;
    // The end of the first job was never known.
    assert_eq!(outcome.records[0].reason, Some(Reason::Assumed));
    let receipt = outcome.receipt.unwrap();
    assert_eq!((receipt.ground, receipt.jobs.len()), ("Deprovisioned", 1));
}

#[tokio::test]
async fn a_job_of_a_target_that_goes_is_not_ended_for_a_configuration_that_nobody_wants() {
    let waits = policy(|p| {
        p.deletion.running_provision = RunningProvision::Wait;
        p.supersede = Supersede::Cancel;
    });
    let mut life = Life::with(endless(), waits);
    life.step().await;
    life.desired.version = version("b");
    life.desired = life.desired.clone().absent();
    for _ in 0..5 {
        let outcome = life.step().await;
        assert!(in_progress(&outcome, 1), "{:?}", outcome.standing);
        life.clock.advance(outcome.wake_after(life.now()).unwrap());
    }
    assert_eq!(life.fake.count(Function::Cancel), 0);
    life.fake.end(1, JobState::Succeeded);
    life.until(|o| in_progress(o, 2)).await;
    assert_eq!(life.fake.jobs()[1].job_type, JobType::Deprovision);
}

#[tokio::test]
async fn what_a_person_has_relaunched_of_an_absent_target_is_removed_before_it_is_forgotten() {
    let mut life = applied(endless()).await;
    life.desired = life.desired.clone().absent();
    life.until(|o| in_progress(o, 2)).await;
    // It has ended before anybody looks.
    let copy = life.fake.copy(1).unwrap();
    life.fake.end(copy, JobState::Succeeded);
    life.fake.end(2, JobState::Succeeded);
    life.until(|o| matches!(o.standing, Standing::InProgress { attempt: 4, .. }))
        .await;
    let last = life.fake.jobs().pop().unwrap();
    assert_eq!(last.job_type, JobType::Deprovision);
    life.fake.end(last.id, JobState::Succeeded);
    life.until(is_absent).await;
    assert!(life.records().is_empty());
}

#[tokio::test]
async fn other_targets_know_nothing_of_one_that_goes() {
    let mut life = Life::new(endless());
    let [dns, vm] = ["dns", "vm"].map(|name| life.desired.clone().for_target(name));
    for (id, desired) in [(1, &dns), (2, &vm)] {
        life.desired = desired.clone();
        life.step().await;
        life.fake.end(id, JobState::Succeeded);
        life.applied().await;
    }
    life.desired = dns.clone().absent();
    life.until(|o| in_progress(o, 3)).await;
    assert_eq!(life.fake.jobs()[2].target.as_deref(), Some("dns"));
    life.fake.end(3, JobState::Succeeded);
    life.until(is_absent).await;
    let left = life.records();
    assert_eq!((left.len(), left[0].target.as_deref()), (1, Some("vm")));
    life.desired = vm;
    assert!(matches!(
        life.step().await.standing,
        Standing::Applied { .. }
    ));
}

// ---- what stays ----

#[tokio::test]
async fn what_is_to_stay_is_let_go_without_a_job() {
    for by_policy in [false, true] {
        let mut life = Life::with(endless(), policy(|p| p.deletion.keep = by_policy));
        life.step().await;
        life.fake.end(1, JobState::Succeeded);
        life.applied().await;
        if !by_policy {
            life.desired = life.desired.clone().keep_on_delete();
        }
        life.delete();
        let outcome = life.released().await;
        assert!(
            matches!(outcome.standing, Standing::Released(ref r) if r.ground == Ground::Retained)
        );
        assert_eq!(outcome.why, Some(Why::Kept));
        let receipt = outcome.receipt.unwrap();
        assert_eq!((receipt.ground, receipt.jobs.len()), ("Retained", 1));
        assert_eq!((receipt.at_work.len(), life.jobs()), (0, 1));
    }
}

#[tokio::test]
async fn an_object_can_say_otherwise_than_the_policy() {
    let mut life = Life::with(endless(), policy(|p| p.deletion.keep = true));
    life.step().await;
    life.fake.end(1, JobState::Succeeded);
    life.applied().await;
    life.desired.keep_on_delete = Some(false);
    life.delete();
    life.until(|o| in_progress(o, 2)).await;
    assert_eq!(life.fake.jobs()[1].job_type, JobType::Deprovision);
}

#[tokio::test]
async fn what_is_to_stay_waits_for_a_job_that_runs_and_cancels_nothing() {
    let mut life = Life::new(endless());
    life.step().await;
    life.desired = life.desired.clone().keep_on_delete();
    life.delete();
    for _ in 0..5 {
        let outcome = life.step().await;
        assert!(in_progress(&outcome, 1), "{:?}", outcome.standing);
        life.clock.advance(outcome.wake_after(life.now()).unwrap());
    }
    assert_eq!(life.fake.count(Function::Cancel), 0);
    life.fake.end(1, JobState::Succeeded);
    life.released().await;
    assert_eq!(life.jobs(), 1);
}

#[tokio::test]
async fn a_relaunch_by_a_person_is_waited_for_before_what_stays_is_let_go() {
    let mut life = applied(endless()).await;
    life.desired = life.desired.clone().keep_on_delete();
    let copy = life.fake.copy(1).unwrap();
    life.delete();
    let outcome = life.step().await;
    assert!(in_progress(&outcome, 2), "{:?}", outcome.standing);
    life.fake.end(copy, JobState::Succeeded);
    life.released().await;
}

#[tokio::test]
async fn an_unmanaged_object_tells_what_is_still_at_work_when_it_goes() {
    let mut life = Life::new(endless());
    life.step().await;
    life.desired.mode = Mode::Unmanaged;
    life.delete();
    let receipt = life.released().await.receipt.unwrap();
    assert_eq!(receipt.at_work, receipt.jobs);
    assert_eq!(receipt.at_work.len(), 1);
}

#[tokio::test]
async fn an_object_has_choices_of_its_own() {
    let mut life = applied(endless()).await;
    let own = policy(|p| p.deletion.abandon_after = Some("1h".parse().unwrap()));
    life.desired = life.desired.clone().with_policy(own);
    life.delete();
    life.until(|o| in_progress(o, 2)).await;
    life.fake.next_ignores_cancels();
    let outcome = life.released().await;
    assert!(matches!(outcome.standing, Standing::Released(ref r) if r.ground == Ground::Abandoned));
}

// ---- what was there before ----

#[tokio::test]
async fn what_is_there_already_is_put_on_record_and_no_job_runs() {
    let mut life = Life::new(endless());
    life.desired = life.desired.clone().already(version("a"));
    let outcome = life.step().await;
    assert_eq!(
        outcome.standing,
        Standing::Applied {
            version: version("a")
        }
    );
    let told: Vec<_> = outcome.events.iter().map(|event| event.kind).collect();
    assert_eq!(told, [EventKind::Imported]);
    assert_eq!(outcome.records[0].reason, Some(Reason::Imported));
    assert_eq!(
        (life.jobs(), history::check(&outcome.records).len()),
        (0, 0)
    );
    // Everything after is as ever.
    life.want("b");
    life.step().await;
    assert_eq!(life.jobs(), 1);
    life.fake.end(1, JobState::Succeeded);
    life.applied().await;
    life.delete();
    life.until(|o| in_progress(o, 3)).await;
    life.fake.end(2, JobState::Succeeded);
    life.released().await;
}

#[tokio::test]
async fn an_older_version_that_is_there_is_brought_up_to_date() {
    let mut life = Life::new(endless());
    life.desired = life.desired.clone().already(version("before"));
    let outcome = life.step().await;
    assert!(in_progress(&outcome, 2));
    assert_eq!(life.fake.jobs()[0].config_version, Some(version("a")));
}

#[tokio::test]
async fn where_there_is_a_record_it_counts_and_not_what_is_said_to_be_there() {
    let mut life = Life::new(endless());
    life.step().await;
    life.fake.end(1, JobState::Failed);
    life.desired = life.desired.clone().already(version("a"));
    let outcome = life
        .until(|o| matches!(o.standing, Standing::BackingOff { .. }))
        .await;
    assert_eq!(outcome.records.len(), 1);
}

#[tokio::test]
async fn what_is_there_already_is_removed_with_its_object() {
    // Even if its deletion is the first that is seen of it, and the policy lets go what was never provisioned.
    let release = policy(|p| p.deletion.never_provisioned = NeverProvisioned::Release);
    let mut life = Life::with(endless(), release);
    life.desired = life.desired.clone().already(version("a"));
    life.delete();
    let outcome = life.step().await;
    assert!(in_progress(&outcome, 2), "{:?}", outcome.standing);
    assert_eq!(life.fake.jobs()[0].job_type, JobType::Deprovision);
}

#[tokio::test]
async fn a_status_that_was_lost_is_imported_and_no_job_runs_again() {
    let mut life = applied(endless()).await;
    life.store.inner.overwrite(life.object.key(), Vec::new());
    life.restart();
    life.desired = life.desired.clone().already(version("a"));
    assert!(matches!(
        life.step().await.standing,
        Standing::Applied { .. }
    ));
    assert_eq!(life.jobs(), 1);
}

// ---- prerequisites ----

#[tokio::test]
async fn nothing_is_provisioned_before_its_prerequisite_is_there() {
    let mut life = Life::new(endless());
    let ready = life.desired.clone();
    life.desired = ready
        .clone()
        .not_yet("Secret db is missing", Duration::from_secs(90));
    let outcome = life.step().await;
    assert_eq!(
        outcome.standing,
        Standing::NotYet {
            reason: "Secret db is missing".to_owned()
        }
    );
    assert_eq!(
        outcome.wake_after(life.now()),
        Some(Duration::from_secs(90))
    );
    assert_eq!((life.jobs(), outcome.records.len()), (0, 0));
    life.desired = ready;
    life.step().await;
    assert_eq!(life.jobs(), 1);
}

#[tokio::test]
async fn what_runs_is_watched_and_what_is_applied_stays_while_a_prerequisite_is_missing() {
    let mut life = Life::new(endless());
    life.step().await;
    life.desired = life.desired.clone().not_yet("gone again", Duration::ZERO);
    life.want("b");
    assert!(in_progress(&life.step().await, 1));
    life.fake.end(1, JobState::Succeeded);
    let outcome = life
        .until(|o| matches!(o.standing, Standing::NotYet { .. }))
        .await;
    assert_eq!(
        (life.jobs(), outcome.records[0].state),
        (1, JobState::Succeeded)
    );
    // "At once" is no hot loop.
    assert!(outcome.wake_after(life.now()).unwrap() >= Duration::from_secs(5));
}

#[tokio::test]
async fn a_missing_prerequisite_keeps_no_deletion() {
    let mut life = applied(endless()).await;
    life.desired = life
        .desired
        .clone()
        .not_yet("missing", Duration::from_secs(60));
    life.delete();
    life.until(|o| in_progress(o, 2)).await;
    life.fake.end(2, JobState::Succeeded);
    life.released().await;
}

#[test]
fn a_target_is_named_by_two_words() {
    let desired = Desired::new(version("a"), "fake").for_target("net");
    assert!(!desired.absorbs_untagged);
    assert!(desired.absorbing_untagged().absorbs_untagged);
}
