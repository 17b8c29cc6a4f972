//! Failures of earlier operators, each as the same script of events with the outcome that a user
//! would call right. The numbers name them in the table of `docs/DEFECTS.md`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that panics has failed"
)]

mod common;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use common::{
    Setup, config, marked, not_launched, object, record, reported, request, resource, setup, start,
    token, tracked, tracked_removal, version, vm, webhook,
};
use futures::future::join_all;
use jiff::SignedDuration;
use provider_core::engine::Backends;
use provider_core::lifecycle::{
    Desired, Lifecycle, MemoryStore, Policy, ProviderRegistry, Standing,
};
use provider_core::{
    Clock, DeprovisionResult, Effect, ErrorKind, JobRecord, JobRef, JobState, JobType, Provider,
    TrackedJob,
};
use provider_eda::Pacing;
use provider_testkit::FakeProvider;
use provider_testkit::eda::{EdaSim, Fault, Webhook};
use serde_json::json;

fn paced(sim: &EdaSim, seconds: i64) -> provider_eda::EdaConfig {
    config(webhook(sim)).with_pacing(Pacing {
        min_interval: SignedDuration::from_secs(seconds),
        breaker_failures: u32::MAX,
        ..Pacing::default()
    })
}

async fn paced_setup(seconds: i64) -> Setup {
    setup(Webhook::new(), |sim| paced(sim, seconds)).await
}

/// A record of an older operator's EDA provider stays EDA's after the switch to AAP, and the
/// answer comes from the object.
#[tokio::test]
async fn d30_an_event_of_an_older_operator_is_answered_by_eda_after_a_switch_to_aap() {
    let s = setup(Webhook::new(), |sim| config(webhook(sim))).await;
    let registry = ProviderRegistry::new()
        .with_unnamed_owner("", "aap")
        .with_unnamed_owner("eda-webhook-", "eda")
        .with(Arc::new(s.eda))
        .unwrap();
    let old: JobRecord = serde_json::from_value(json!({
        "jobID": "eda-webhook-3", "type": "provision", "state": "Running", "message": "",
        "timestamp": "2026-11-23T03:00:00Z", "configVersion": version().as_str(),
    }))
    .unwrap();
    assert_eq!(registry.owner(&old).unwrap().0, "eda");
    let job = old.tracked().unwrap();
    let eda = registry.get("eda").unwrap();
    let status = eda.status(&vm("vm"), &job).await.unwrap();
    assert_eq!(status.state, JobState::Unknown);
    let status = eda.status(&reported("vm", &version()), &job).await.unwrap();
    assert_eq!(status.state, JobState::Succeeded);
    let mut removal = old;
    removal.job_type = JobType::Deprovision;
    let job = removal.tracked().unwrap();
    let status = eda.status(&marked("vm"), &job).await.unwrap();
    assert_eq!(status.state, JobState::Running);
    let status = eda.status(&vm("vm"), &job).await.unwrap();
    assert_eq!(status.state, JobState::Succeeded);
    // The job of another provider is not answered for.
    let foreign = TrackedJob::new(JobType::Provision, JobRef::new("aap", "job", "42"));
    let error = eda.status(&vm("vm"), &foreign).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

/// The same through the engine, in the middle of a deletion.
#[tokio::test]
async fn d30_a_switch_to_aap_in_mid_deletion_ends_when_the_finalizer_goes() {
    let s = setup(Webhook::new(), |sim| config(webhook(sim))).await;
    let clock = s.clock.clone();
    let fake = Arc::new(FakeProvider::new("aap"));
    let registry = ProviderRegistry::new()
        .with(Arc::new(s.eda))
        .unwrap()
        .with(fake.clone())
        .unwrap();
    let mut object = object("vm", "tenant");
    object["metadata"]["finalizers"] = json!([common::FINALIZER]);
    object["metadata"]["deletionTimestamp"] = json!("2026-11-23T04:00:00Z");
    let deleting = resource(object.clone());
    object["metadata"]["finalizers"] = json!([]);
    let gone = resource(object);
    let provision = record(
        JobType::Provision,
        1,
        JobState::Succeeded,
        "2026-11-23T01:00:00Z".parse().unwrap(),
    );
    let store = MemoryStore::new();
    store.overwrite(deleting.key(), vec![provision]);
    let engine = Lifecycle::new(Policy::default());
    let by_eda = Desired::new(version(), "eda");
    let outcome = engine
        .reconcile(&registry, &store, &deleting, &by_eda, &*clock)
        .await;
    assert!(
        matches!(
            outcome.standing,
            Standing::InProgress {
                job_type: JobType::Deprovision,
                ..
            }
        ),
        "{:?}",
        outcome.standing
    );
    assert_eq!(s.sim.journal().len(), 1);
    // The user switches the object to AAP; the event is still EDA's.
    let by_aap = Desired::new(version(), "aap");
    clock.advance(Duration::from_secs(60));
    let outcome = engine
        .reconcile(&registry, &store, &deleting, &by_aap, &*clock)
        .await;
    assert!(
        matches!(outcome.standing, Standing::InProgress { .. }),
        "{:?}",
        outcome.standing
    );
    clock.advance(Duration::from_secs(60));
    let outcome = engine
        .reconcile(&registry, &store, &gone, &by_aap, &*clock)
        .await;
    assert!(
        matches!(outcome.standing, Standing::Released(_)),
        "{:?}",
        outcome.standing
    );
    assert_eq!(s.sim.journal().len(), 1);
    assert!(fake.calls().is_empty(), "{:?}", fake.calls());
}

#[tokio::test]
async fn d40_the_remaining_time_is_returned_not_the_time_that_passed() {
    let s = paced_setup(2).await;
    s.eda
        .trigger_provision(&request(vm("vm"), 1))
        .await
        .unwrap();
    for (advance, remaining) in [(50, 1_950), (1_800, 150), (149, 1)] {
        s.clock.advance(Duration::from_millis(advance));
        let error = s
            .eda
            .trigger_provision(&request(vm("vm"), 2))
            .await
            .unwrap_err();
        let error = not_launched(&error);
        assert_eq!(
            (error.effect(), error.kind(), error.retry_after()),
            (
                Effect::NotSent,
                ErrorKind::RateLimited,
                Some(Duration::from_millis(remaining))
            )
        );
    }
    s.clock.advance(Duration::from_millis(1));
    s.eda
        .trigger_provision(&request(vm("vm"), 2))
        .await
        .unwrap();
    assert_eq!(s.sim.requests(), 2);
}

#[tokio::test]
async fn d41_the_same_name_in_another_namespace_is_not_held_back() {
    let s = paced_setup(60).await;
    for (n, namespace) in [(1, "a"), (2, "b")] {
        let vm = resource(object("vm", namespace));
        s.eda.trigger_provision(&request(vm, n)).await.unwrap();
    }
    // Nor is the other action of the same object.
    let mut object = object("vm", "a");
    object["metadata"]["finalizers"] = json!([common::FINALIZER]);
    let deleted = s
        .eda
        .trigger_deprovision(&request(resource(object), 3), &[])
        .await
        .unwrap();
    assert!(matches!(deleted, DeprovisionResult::Triggered { .. }));
    assert_eq!(s.sim.journal().len(), 3);
}

#[tokio::test]
async fn d42_of_eight_triggers_at_once_one_event_is_sent() {
    let s = paced_setup(2).await;
    let requests: Vec<_> = (0..8).map(|n| request(vm("vm"), n + 1)).collect();
    let results = join_all(requests.iter().map(|r| s.eda.trigger_provision(r))).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    for error in results.iter().filter_map(|result| result.as_ref().err()) {
        let error = not_launched(error);
        assert_eq!(error.kind(), ErrorKind::RateLimited);
        let wait = error.retry_after().unwrap();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(2));
    }
    assert_eq!(s.sim.requests(), 1);
}

#[tokio::test]
async fn d43_a_call_that_was_given_up_sends_nothing_more() {
    // Two events fill the only place; the third waits for it and is given up.
    let s = setup(Webhook::new(), |sim| {
        config(webhook(sim)).with_pacing(Pacing {
            min_interval: SignedDuration::ZERO,
            max_in_flight: 1,
            ..Pacing::default()
        })
    })
    .await;
    s.sim.fault(&Fault::HangAfter, 1);
    let (first, second) = (request(vm("a"), 1), request(vm("b"), 2));
    let mut hangs = Box::pin(s.eda.trigger_provision(&first));
    let mut waits = Box::pin(s.eda.trigger_provision(&second));
    while s.sim.requests() == 0 {
        assert!(futures::poll!(&mut hangs).is_pending());
        tokio::task::yield_now().await;
    }
    assert!(futures::poll!(&mut waits).is_pending());
    drop(waits);
    drop(hangs);
    // Whoever is given up gives its place and its turn back.
    s.eda.trigger_provision(&request(vm("b"), 3)).await.unwrap();
    let names: Vec<_> = s
        .sim
        .journal()
        .iter()
        .map(|event| {
            event
                .text("/providerEvent/operationToken")
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(names, [token(1).as_str(), token(3).as_str()]);
}

/// Through the engine, which knows the time from its records: `tests/lifecycle.rs`.
#[tokio::test]
async fn d44_a_restart_does_not_forget_when_the_last_event_was_sent() {
    let s = paced_setup(30).await;
    s.pass(10);
    let launch = |n| request(marked("vm"), n).with_last_sent(start());
    let error = s.eda.trigger_provision(&launch(1)).await.unwrap_err();
    assert_eq!(
        not_launched(&error).retry_after(),
        Some(Duration::from_secs(20))
    );
    let error = s
        .eda
        .trigger_deprovision(&launch(2), &[])
        .await
        .unwrap_err();
    assert_eq!(
        not_launched(&error).retry_after(),
        Some(Duration::from_secs(20))
    );
    s.pass(20);
    s.eda.trigger_provision(&launch(3)).await.unwrap();
    s.eda.trigger_deprovision(&launch(4), &[]).await.unwrap();
}

#[tokio::test]
async fn d44_events_that_failed_are_held_back_too() {
    let s = paced_setup(30).await;
    for (n, fault) in [
        (1, Fault::Status(500)),
        (2, Fault::Status(404)),
        (3, Fault::DropBefore),
    ] {
        s.sim.fault(&fault, 1);
        s.eda
            .trigger_provision(&request(vm("vm"), n))
            .await
            .unwrap_err();
        let error = s
            .eda
            .trigger_provision(&request(vm("vm"), n + 10))
            .await
            .unwrap_err();
        assert_eq!(not_launched(&error).kind(), ErrorKind::RateLimited);
        s.pass(30);
    }
    assert_eq!(s.sim.requests(), 3);
}

/// 200 does not say that a rule fits: the job is never called running or done for it.
#[tokio::test]
async fn d44_an_event_that_no_rule_fits_stays_unknown_and_has_an_end() {
    let s = setup(Webhook::new(), |sim| {
        let mut config = config(webhook(sim));
        config.timing.deprovision_limit = SignedDuration::from_mins(30);
        config
    })
    .await;
    s.sim.fault(&Fault::Lose, 2);
    let sent = s
        .eda
        .trigger_provision(&request(vm("vm"), 1))
        .await
        .unwrap();
    assert_eq!(sent.initial_state, JobState::Unknown);
    s.pass(3_600);
    let status = s.eda.status(&vm("vm"), &tracked(1)).await.unwrap();
    assert_eq!(
        (status.state, status.reconciled_version),
        (JobState::Unknown, None)
    );
    // The limit runs from the event that this process has sent.
    let asked = request(marked("vm"), 2);
    let sent = s.eda.trigger_deprovision(&asked, &[]).await.unwrap();
    assert!(matches!(sent, DeprovisionResult::Triggered { .. }));
    let job = tracked_removal(2).with_launched_at(s.clock.now());
    s.pass(29 * 60);
    let status = s.eda.status(&marked("vm"), &job).await.unwrap();
    assert_eq!(status.state, JobState::Running);
    s.pass(60);
    let status = s.eda.status(&marked("vm"), &job).await.unwrap();
    assert_eq!((status.state, status.unfinished), (JobState::Unknown, true));
    assert!(!s.eda.capabilities().block_deletion_on_failure);
}

/// Names of jobs are the tokens of their launches, so that none comes twice.
#[tokio::test]
async fn d44_names_of_jobs_are_never_used_again() {
    let s = setup(Webhook::new(), |sim| config(webhook(sim))).await;
    let mut names = HashSet::new();
    for n in 1..=20 {
        let sent = s
            .eda
            .trigger_provision(&request(vm("vm"), n))
            .await
            .unwrap();
        let job = sent.job.unwrap();
        assert_eq!(job.id, token(n).as_str());
        assert!(names.insert(job.id));
    }
}
