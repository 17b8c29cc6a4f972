//! The fake, where it does what some backends do: names that follow, cancels that come too early, targets.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed"
)]

use std::time::Duration;

use provider_core::{
    ActionName, CancelResult, DeprovisionResult, FindRequest, JobState, JobType, LaunchRequest,
    OperationToken, Provider, Resource, TrackedJob,
};
use provider_testkit::{FakeProvider, Function};
use serde_json::json;

fn vm() -> Resource {
    let object = json!({"kind": "Vm", "metadata": {"name": "vm", "namespace": "n", "uid": "u"}});
    Resource::from_json(object).unwrap()
}

fn request(n: u128) -> LaunchRequest {
    LaunchRequest::new(vm(), OperationToken::from_random(n))
}

fn restart() -> ActionName {
    "restart".parse().unwrap()
}

async fn found(fake: &FakeProvider, of: JobType, n: u128) -> usize {
    let query = FindRequest::new(vm(), of, OperationToken::from_random(n));
    fake.find_launched(&query).await.unwrap().len()
}

#[tokio::test]
async fn a_launch_without_a_name_is_found_after_so_many_searches_or_when_it_is_shown() {
    let fake = FakeProvider::new("fake").naming_jobs_after(2);
    let launched = fake.trigger_provision(&request(1)).await.unwrap();
    assert_eq!(launched.job, None);
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(found(&fake, JobType::Provision, 1).await);
    }
    assert_eq!(seen, [0, 0, 1, 1]);

    let acted = fake.trigger_action(&restart(), &request(2)).await.unwrap();
    assert_eq!(acted.job, None);
    let action = JobType::Action(restart());
    assert_eq!(found(&fake, action, 2).await, 0);
    fake.hide(2, false);
    assert_eq!(found(&fake, action, 2).await, 1);
    // Under its own type alone.
    assert_eq!(found(&fake, JobType::Provision, 2).await, 0);

    fake.end(1, JobState::Succeeded);
    fake.end(2, JobState::Succeeded);
    let gone = fake.trigger_deprovision(&request(3), &[]).await.unwrap();
    assert!(
        matches!(&gone, DeprovisionResult::Triggered { job: None, .. }),
        "{gone:?}"
    );
    assert_eq!(fake.jobs().len(), 3);
    assert_eq!(fake.count(Function::TriggerAction), 1);
}

#[tokio::test]
async fn so_many_cancels_come_too_early_and_end_nothing() {
    let fake = FakeProvider::new("fake").ending_after(0);
    let launched = fake.trigger_provision(&request(1)).await.unwrap();
    let tracked = TrackedJob::new(JobType::Provision, launched.job.unwrap());
    let retry_after = Duration::from_secs(7);
    fake.cancels_come_too_early(2, retry_after);
    for _ in 0..2 {
        let answer = fake.cancel(&vm(), &tracked).await.unwrap();
        assert_eq!(answer, CancelResult::NotYet { retry_after });
        let status = fake.status(&vm(), &tracked).await.unwrap();
        assert_eq!(status.state, JobState::Running);
    }
    let answer = fake.cancel(&vm(), &tracked).await.unwrap();
    assert_eq!(answer, CancelResult::Requested);
    let status = fake.status(&vm(), &tracked).await.unwrap();
    assert_eq!(status.state, JobState::Canceled);
}

#[tokio::test]
async fn a_deprovision_waits_for_an_action_on_its_own_target() {
    let fake = FakeProvider::new("fake").ending_after(0).ignoring_cancels();
    let east = request(1).for_target("east");
    let acted = fake.trigger_action(&restart(), &east).await.unwrap();
    assert_eq!(fake.jobs()[0].target.as_deref(), Some("east"));
    let delete = request(2).for_target("east");
    let wait = fake.trigger_deprovision(&delete, &[]).await.unwrap();
    let DeprovisionResult::Waiting {
        reason,
        provision_job: None,
        ..
    } = &wait
    else {
        panic!("{wait:?}");
    };
    assert_eq!(reason, "action/restart job 1 was still running");
    let west = request(3).for_target("west");
    let other = fake.trigger_deprovision(&west, &[]).await.unwrap();
    assert!(matches!(other, DeprovisionResult::Triggered { .. }));
    fake.end(acted.job.unwrap().id.parse().unwrap(), JobState::Succeeded);
    let now = fake.trigger_deprovision(&delete, &[]).await.unwrap();
    assert!(matches!(now, DeprovisionResult::Triggered { .. }));
}
