//! Answers that come late or twice, and what must not be concluded from them.

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

use async_trait::async_trait;
use jiff::Timestamp;
use provider_core::engine::{Context, LAUNCH_LEASE, Observation, absorb};
use provider_core::lifecycle::{Block, Hold, Policy, ProviderRegistry, Standing};
use provider_core::{
    CancelResult, Capabilities, Clock, DeprovisionResult, Effect, ErrorKind, FindRequest,
    JobRecord, JobRef, JobState, JobStatus, JobType, LaunchRequest, OperationToken, Preflight,
    Provider, ProviderError, ProvisionResult, Reason, Resource, TrackedJob, TriggerError, clock,
};
use provider_testkit::{FakeProvider, Function, Trouble};
use support::{Life, START, applied, endless, object, policy};

fn at(seconds: u64) -> Timestamp {
    clock::add(START.parse().unwrap(), Duration::from_secs(seconds))
}

/// An attempt that was handed to the backend so many times.
fn sent(job_type: JobType, sends: u32) -> JobRecord {
    let mut record = JobRecord::new(1, job_type);
    record.token = Some(OperationToken::from_random(1));
    record.provider = Some("fake".to_owned());
    record.reason = Some(Reason::Intended);
    (record.timestamp, record.sent_at) = (Some(at(0)), Some(at(0)));
    record.sends = sends;
    record
}

fn seen(records: &[JobRecord], asked: &JobRecord, observation: &Observation) -> Vec<JobRecord> {
    let policy = Policy::default();
    let mut capabilities = Capabilities::none();
    (capabilities.cancel, capabilities.find_launched) = (true, true);
    let context = Context::new(&policy, &capabilities, at(600), 1);
    absorb(records, asked, observation, &context)
}

fn launched(id: &str) -> Observation {
    let job = JobRef::new("fake", "job", id);
    Observation::Provisioned(Ok(ProvisionResult::new(job, JobState::Pending, "launched")))
}

#[test]
fn a_refusal_of_an_older_send_does_not_close_the_attempt() {
    let not_sent = || ProviderError::new(Effect::NotSent, ErrorKind::Timeout, "too late");
    let waiting = DeprovisionResult::Waiting {
        reason: "a job is in the way".to_owned(),
        retry_after: Duration::from_secs(5),
        block_deletion_on_failure: true,
        provision_job: None,
    };
    let skipped = DeprovisionResult::Skipped {
        reason: "nothing there".to_owned(),
    };
    for (job_type, old) in [
        (
            JobType::Provision,
            Observation::Provisioned(Err(not_sent().into())),
        ),
        (
            JobType::Deprovision,
            Observation::Deprovisioned(Err(not_sent().into())),
        ),
        (
            JobType::Deprovision,
            Observation::Deprovisioned(Ok(waiting)),
        ),
        (
            JobType::Deprovision,
            Observation::Deprovisioned(Ok(skipped)),
        ),
    ] {
        let (asked, there) = (sent(job_type, 1), sent(job_type, 2));
        assert_eq!(
            seen(std::slice::from_ref(&there), &asked, &old),
            [],
            "{old:?}"
        );
        // The answer to the newest send counts.
        assert_ne!(
            seen(std::slice::from_ref(&there), &there, &old),
            [],
            "{old:?}"
        );
    }
}

#[test]
fn a_second_job_of_one_launch_is_put_on_record() {
    let asked = sent(JobType::Provision, 1);
    let mut there = sent(JobType::Provision, 2);
    there.set_job_ref(JobRef::new("fake", "job", "501"));
    there.state = JobState::Running;
    let changed = seen(std::slice::from_ref(&there), &asked, &launched("502"));
    let [second] = &changed[..] else {
        panic!("{changed:?}");
    };
    assert_eq!((second.attempt, second.job_id.as_deref()), (2, Some("502")));
    assert_eq!(second.reason, Some(Reason::Duplicate));
    assert_eq!(second.message, "launched");
    assert!(second.may_be_live());
    // What was adopted meanwhile is no second job, and neither is one that has its record.
    for id in ["501", "502"] {
        let again = seen(&[there.clone(), second.clone()], &asked, &launched(id));
        assert!(again.iter().all(|record| record.attempt == 1), "{again:?}");
        assert!(again.iter().all(|record| record.job_id == there.job_id));
    }
}

#[test]
fn a_second_deprovision_job_is_put_on_record_too() {
    let asked = sent(JobType::Deprovision, 1);
    let mut there = sent(JobType::Deprovision, 2);
    there.set_job_ref(JobRef::new("fake", "job", "501"));
    let answer = DeprovisionResult::Triggered {
        job: Some(JobRef::new("fake", "job", "502")),
        initial_state: JobState::Pending,
        block_deletion_on_failure: false,
        provision_job: None,
    };
    let changed = seen(&[there], &asked, &Observation::Deprovisioned(Ok(answer)));
    assert_eq!((changed.len(), changed[0].attempt), (1, 2));
    assert_eq!(changed[0].block_deletion_on_failure, Some(false));
}

/// A backend that was restored from a backup gives ids again: the job of a launch in doubt has the id of one that
/// an earlier attempt had.
#[test]
fn a_job_with_the_id_of_an_earlier_one_is_adopted_by_the_launch_whose_token_it_carries() {
    let mut asked = sent(JobType::Provision, 1);
    (asked.attempt, asked.token) = (2, Some(OperationToken::from_random(2)));
    let mut earlier = sent(JobType::Provision, 1);
    earlier.token = Some(OperationToken::from_random(1));
    earlier.set_job_ref(JobRef::new("fake", "job", "18"));
    earlier.state = JobState::Succeeded;
    let found = Observation::Found(Ok(vec![JobStatus::new(
        JobRef::new("fake", "job", "18"),
        JobState::Running,
    )]));
    let changed = seen(&[earlier.clone(), asked.clone()], &asked, &found);
    assert_eq!((changed.len(), changed[0].attempt), (1, 2));
    assert_eq!(changed[0].job_id.as_deref(), Some("18"));
    // As long as the earlier one may be alive, it is asked first what became of it.
    earlier.state = JobState::Running;
    assert!(seen(&[earlier, asked.clone()], &asked, &found).is_empty());
}

#[test]
fn equal_ids_at_two_providers_are_two_jobs_when_one_is_adopted() {
    let unresolved = sent(JobType::Provision, 1);
    let found = Observation::Found(Ok(vec![JobStatus::new(
        JobRef::new("fake", "job", "7"),
        JobState::Running,
    )]));
    let other = |provider: &str, kind: &str| {
        let mut other = JobRecord::new(2, JobType::Provision);
        other.set_job_ref(JobRef::new(provider, kind, "7"));
        other
    };
    for (provider, kind, known) in [
        ("elsewhere", "job", false),
        ("fake", "workflow_job", false),
        ("fake", "job", true),
        ("fake", "", true),
    ] {
        let records = [unresolved.clone(), other(provider, kind)];
        let changed = seen(&records, &unresolved, &found);
        assert_eq!(changed.is_empty(), known, "{provider} {kind}: {changed:?}");
    }
}

#[test]
fn the_survivor_of_a_double_launch_fails_like_any_other_job() {
    let unresolved = sent(JobType::Provision, 1);
    let status = |id: &str, state| JobStatus::new(JobRef::new("fake", "job", id), state);
    let found = Observation::Found(Ok(vec![
        status("7", JobState::Running),
        status("8", JobState::Running),
    ]));
    let changed = seen(std::slice::from_ref(&unresolved), &unresolved, &found);
    let survivor = changed.iter().find(|record| record.attempt == 2).unwrap();
    assert_eq!(survivor.job_id.as_deref(), Some("8"));
    let mut failed = status("8", JobState::Failed);
    failed.settled = true;
    let ended = seen(&changed, survivor, &Observation::Status(Ok(failed)));
    assert_eq!(ended[0].failures, 1);
    assert!(ended[0].retry_at.is_some());
}

#[tokio::test]
async fn a_retry_that_was_answered_stays_answered_when_its_record_is_trimmed() {
    let mut life = Life::with(endless(), policy(|p| p.history_length = 1));
    life.desired.retry_request = Some("once".to_owned());
    life.step().await;
    for n in 1..=3 {
        life.want(&format!("version {n}"));
        life.fake.end(n, JobState::Failed);
        life.until(|_| life.jobs() > usize::try_from(n).unwrap())
            .await;
    }
    assert!(life.records().iter().all(|record| record.attempt > 1));
    // A person cancels the newest job: the old request is no reason to launch again.
    life.fake.end(4, JobState::Canceled);
    let outcome = life
        .until(|o| matches!(o.standing, Standing::Held(_)))
        .await;
    let hold = Hold::CanceledByOthers { attempt: 4 };
    assert_eq!(outcome.standing, Standing::Held(hold));
    life.pass(3_600);
    life.step().await;
    assert_eq!(life.jobs(), 4);
    life.desired.retry_request = Some("twice".to_owned());
    life.step().await;
    assert_eq!(life.jobs(), 5);
}

#[tokio::test]
async fn one_moment_without_an_old_job_does_not_purge_it() {
    let mut life = Life::new(endless());
    life.step().await;
    // A job of an older operator: without a token, it cannot be looked for.
    let mut records = life.records();
    records[0].token = None;
    life.store.inner.overwrite(life.object.key(), records);
    life.pass(600);
    life.restart();
    life.fake.purge(1);
    let outcome = life
        .until(|o| o.records[0].reason == Some(Reason::PurgeSuspected))
        .await;
    let wait = outcome.wake_after(life.now()).unwrap();
    assert!(wait >= Duration::from_secs(3), "{wait:?}");
    let outcome = life.step().await;
    assert_eq!(outcome.records[0].reason, Some(Reason::PurgeSuspected));
    life.until(|o| o.records[0].reason == Some(Reason::Purged))
        .await;
}

/// Takes its time with the preparations of a launch.
#[derive(Debug)]
struct Slow {
    inner: FakeProvider,
    clock: Arc<provider_core::ManualClock>,
    takes: Duration,
}

#[async_trait]
impl Provider for Slow {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn trigger_provision(
        &self,
        request: &LaunchRequest,
    ) -> Result<ProvisionResult, TriggerError> {
        self.clock.advance(self.takes);
        request.in_time(self.clock.now())?;
        self.inner.trigger_provision(request).await
    }

    async fn status(
        &self,
        resource: &Resource,
        job: &TrackedJob,
    ) -> Result<JobStatus, ProviderError> {
        self.inner.status(resource, job).await
    }

    async fn trigger_deprovision(
        &self,
        request: &LaunchRequest,
        history: &[JobRecord],
    ) -> Result<DeprovisionResult, TriggerError> {
        self.inner.trigger_deprovision(request, history).await
    }

    async fn cancel(
        &self,
        resource: &Resource,
        job: &TrackedJob,
    ) -> Result<CancelResult, ProviderError> {
        self.inner.cancel(resource, job).await
    }

    async fn find_launched(&self, query: &FindRequest) -> Result<Vec<JobStatus>, ProviderError> {
        self.inner.find_launched(query).await
    }

    async fn preflight(&self, kinds: &[String]) -> Preflight {
        self.inner.preflight(kinds).await
    }
}

#[tokio::test]
async fn a_launch_leaves_within_its_lease_or_not_at_all() {
    for (takes, launched) in [(LAUNCH_LEASE, true), (LAUNCH_LEASE * 2, false)] {
        let clock = Arc::new(provider_core::ManualClock::new(at(0)));
        let slow = Slow {
            inner: endless(),
            clock: Arc::clone(&clock),
            takes,
        };
        let life = Life::new(endless());
        let registry = ProviderRegistry::single(Arc::new(slow));
        let outcome = life
            .engine
            .reconcile(
                &registry,
                &life.store,
                &object("vm"),
                &life.desired,
                &*clock,
            )
            .await;
        let record = &outcome.records[0];
        assert_eq!(record.job_id.is_some(), launched, "{takes:?}");
        if !launched {
            assert_eq!(record.reason, Some(Reason::NotSent));
            assert!(matches!(outcome.standing, Standing::BackingOff { .. }));
        }
    }
}

#[tokio::test]
async fn a_receipt_names_launches_whose_job_was_never_known() {
    let mut life = Life::with(
        endless().with_capabilities(|c| c.find_launched = false),
        policy(|p| p.deletion.abandon_after = Some("2h".parse().unwrap())),
    );
    life.fake
        .trouble(Function::TriggerProvision, Trouble::LosesAnswer);
    life.step().await;
    life.delete();
    life.pass(3 * 3_600);
    let receipt = life.released().await.receipt.unwrap();
    assert_eq!(receipt.jobs, []);
    let token = life.records()[0].token.clone().unwrap();
    assert_eq!(receipt.in_doubt.len(), 1);
    assert!(receipt.in_doubt[0].contains(token.as_str()), "{receipt:?}");
}

// ---- jobs that are not what was launched ----

/// A life whose launch starts a job without what it was to be given.
async fn astray(policy: Policy) -> Life {
    let life = Life::with(endless(), policy);
    let request = LaunchRequest::new(object("vm"), OperationToken::from_random(9));
    let job = life.fake.trigger_provision(&request).await.unwrap().job;
    let error = ProviderError::new(
        Effect::MaybeSent,
        ErrorKind::Invalid,
        "variables are ignored",
    );
    life.fake.trouble(
        Function::TriggerProvision,
        Trouble::Fails(error.with_stray_job(job.unwrap())),
    );
    life
}

#[tokio::test]
async fn d33_a_job_gone_astray_is_ended_and_not_repeated() {
    let mut life = astray(Policy::default()).await;
    life.fake.next_ending(JobState::Succeeded);
    let outcome = life
        .until(|o| matches!(o.standing, Standing::Held(_)))
        .await;
    assert_eq!(outcome.standing, Standing::Held(Hold::Stray { attempt: 1 }));
    assert!(life.fake.count(Function::Cancel) >= 1);
    let record = &life.records()[0];
    assert_eq!((record.state, record.failures), (JobState::Failed, 1));
    assert_eq!(record.message, "variables are ignored");
    life.for_a_while(Duration::from_secs(100 * 3_600)).await;
    assert_eq!(life.jobs(), 1);
    life.desired.retry_request = Some("mended".to_owned());
    life.step().await;
    assert_eq!(life.jobs(), 2);
}

#[tokio::test]
async fn deletion_waits_for_the_end_of_a_job_gone_astray() {
    let mut life = astray(Policy::default()).await;
    life.fake.trouble(
        Function::Cancel,
        Trouble::Fails(ProviderError::new(
            Effect::Rejected,
            ErrorKind::Forbidden,
            "not allowed",
        )),
    );
    life.step().await;
    life.delete();
    let outcome = life.step().await;
    assert!(
        matches!(outcome.standing, Standing::InProgress { attempt: 1, .. }),
        "{:?}",
        outcome.standing
    );
    assert_eq!(life.jobs(), 1);
    life.until(|_| life.jobs() == 2).await;
    assert!(life.fake.jobs()[0].state.is_terminal());
    assert_eq!(life.fake.jobs()[1].job_type, JobType::Deprovision);
}

#[test]
fn a_job_gone_astray_has_failed_however_it_ends() {
    let mut stray = sent(JobType::Deprovision, 1);
    stray.set_job_ref(JobRef::new("fake", "job", "9"));
    (stray.reason, stray.state) = (Some(Reason::Stray), JobState::Running);
    for state in [JobState::Succeeded, JobState::Failed, JobState::Canceled] {
        let mut status = JobStatus::new(JobRef::new("fake", "job", "9"), state);
        status.settled = true;
        let ended = seen(
            std::slice::from_ref(&stray),
            &stray,
            &Observation::Status(Ok(status)),
        );
        assert_eq!(
            (ended[0].state, &ended[0].reason),
            (JobState::Failed, &Some(Reason::Stray))
        );
    }
    // It is not taken for succeeded when it is purged either, and not purged by one mistake.
    let gone = || ProviderError::new(Effect::Rejected, ErrorKind::NotFound, "gone");
    let once = seen(
        std::slice::from_ref(&stray),
        &stray,
        &Observation::Status(Err(gone())),
    );
    assert!(once[0].may_be_live());
    assert_eq!(seen(&once, &once[0], &Observation::Status(Err(gone()))), []);
    let mut later = once[0].clone();
    (later.missing_since, later.token) = (Some(at(0)), None);
    let twice = seen(
        std::slice::from_ref(&later),
        &later,
        &Observation::Status(Err(gone())),
    );
    assert_eq!(
        (twice[0].state, &twice[0].reason),
        (JobState::Failed, &Some(Reason::Stray))
    );
}

#[tokio::test]
async fn a_search_that_always_fails_is_ended_by_a_person() {
    let mut life = Life::new(endless());
    life.fake
        .trouble(Function::TriggerProvision, Trouble::LosesAnswer);
    for _ in 0..500 {
        let error = ProviderError::new(Effect::Unreadable, ErrorKind::Unavailable, "no end");
        life.fake
            .trouble(Function::FindLaunched, Trouble::Fails(error));
    }
    let block = Block::AmbiguousLaunch { attempt: 1 };
    life.until(|o| o.standing == Standing::Blocked(block.clone()))
        .await;
    life.for_a_while(Duration::from_secs(3_600)).await;
    assert_eq!(life.jobs(), 1);
    life.desired.retry_request = Some("looked".to_owned());
    life.step().await;
    assert_eq!(life.jobs(), 2);
}

#[tokio::test]
async fn a_retry_request_ends_no_doubt_while_another_replica_may_be_launching() {
    let fake = endless().with_capabilities(|c| c.find_launched = false);
    let mut life = Life::new(fake);
    let intent = sent(JobType::Provision, 1).with(|r| {
        r.config_version = Some(life.desired.version.clone());
    });
    life.store.inner.overwrite(life.object.key(), vec![intent]);
    // A person had asked for it before, about something else.
    life.desired.retry_request = Some("again".to_owned());
    let block = Block::AmbiguousLaunch { attempt: 1 };
    let outcome = life.step().await;
    assert_eq!(outcome.standing, Standing::Blocked(block));
    life.until(|_| life.jobs() == 1).await;
    let window = life.fake.capabilities().visibility_window;
    let waited = life.now().elapsed_since(at(0));
    assert!(waited >= LAUNCH_LEASE + window, "{waited:?}");
}

#[test]
fn what_is_told_of_a_job_whose_record_was_trimmed_does_not_revive_it() {
    let asked = sent(JobType::Provision, 1).with(|r| {
        r.set_job_ref(JobRef::new("fake", "job", "501"));
        r.state = JobState::Running;
    });
    let newer = sent(JobType::Provision, 1).with(|r| {
        r.attempt = 2;
        r.token = Some(OperationToken::from_random(2));
        r.set_job_ref(JobRef::new("fake", "job", "502"));
    });
    let running = JobStatus::new(JobRef::new("fake", "job", "501"), JobState::Running);
    let capabilities = Capabilities::none();
    let policy = Policy::default();
    for observation in [
        Observation::Canceled(Ok(CancelResult::Requested)),
        Observation::Status(Ok(running)),
        Observation::Status(Err(ProviderError::new(
            Effect::Rejected,
            ErrorKind::NotFound,
            "not known",
        ))),
    ] {
        let context = Context::new(&policy, &capabilities, at(60), 1);
        let changed = absorb(std::slice::from_ref(&newer), &asked, &observation, &context);
        assert!(changed.is_empty(), "{observation:?}: {changed:#?}");
        // Where nothing newer is on record, somebody has lost it: the job may be alive.
        let changed = absorb(&[], &asked, &observation, &context);
        assert_eq!(changed.len(), 1, "{observation:?}");
    }
}

#[test]
fn a_job_that_is_found_after_the_next_was_launched_is_one_too_many() {
    let asked = sent(JobType::Provision, 1);
    let newer = sent(JobType::Provision, 1).with(|r| {
        r.attempt = 2;
        r.token = Some(OperationToken::from_random(2));
        r.set_job_ref(JobRef::new("fake", "job", "502"));
    });
    let job = JobRef::new("fake", "job", "501");
    let running = JobStatus::new(job.clone(), JobState::Running);
    let accepted = ProvisionResult::new(job, JobState::Pending, "");
    for observation in [
        Observation::Found(Ok(vec![running])),
        Observation::Provisioned(Ok(accepted)),
    ] {
        let (policy, capabilities) = (Policy::default(), Capabilities::none());
        let context = Context::new(&policy, &capabilities, at(60), 1);
        let changed = absorb(std::slice::from_ref(&newer), &asked, &observation, &context);
        assert_eq!(changed.len(), 1);
        assert_eq!(changed[0].reason, Some(Reason::Duplicate), "{changed:#?}");
        assert!(changed[0].may_be_live());
    }
}

#[test]
fn a_launch_that_was_taken_stays_so_after_the_next_was_launched() {
    for job_type in [JobType::Provision, JobType::Deprovision] {
        let asked = sent(job_type, 1);
        let newer = sent(job_type, 1).with(|r| {
            r.attempt = 2;
            r.token = Some(OperationToken::from_random(2));
            r.set_job_ref(JobRef::new("fake", "job", "502"));
        });
        let observation = match job_type {
            JobType::Provision => Observation::Provisioned(Ok(ProvisionResult::unnamed("taken"))),
            _ => Observation::Deprovisioned(Ok(DeprovisionResult::Triggered {
                job: None,
                initial_state: JobState::Pending,
                block_deletion_on_failure: true,
                provision_job: None,
            })),
        };
        let changed = seen(std::slice::from_ref(&newer), &asked, &observation);
        assert_eq!(changed.len(), 1, "{job_type}");
        // Its name is still looked for, and in vain it is gone rather than never launched.
        assert_eq!(changed[0].reason, Some(Reason::Unnamed), "{job_type}");
        assert!(changed[0].may_be_live(), "{job_type}");
    }
}

#[tokio::test]
async fn two_sends_that_two_clocks_give_one_time_are_two_launches() {
    let life = Life::new(endless());
    let lost = ProviderError::new(Effect::MaybeSent, ErrorKind::Timeout, "no answer");
    life.fake
        .trouble(Function::TriggerProvision, Trouble::Fails(lost));
    life.step().await;
    assert_eq!((life.jobs(), life.records()[0].sends), (0, 1));
    // Long enough for a proof; but another replica, whose clock is behind, has just sent it once more.
    let window = life.fake.capabilities().visibility_window;
    life.clock.advance(window + LAUNCH_LEASE);
    let again = life.records()[0].clone().with(|r| r.sends = 2);
    life.store.inner.overwrite(life.object.key(), vec![again]);
    life.step().await;
    assert_eq!(
        (life.jobs(), life.records()[0].sends),
        (0, 2),
        "it may still turn up"
    );
    life.until(|_| life.jobs() == 1).await;
}

// ---- jobs that prove stray, in every order of events ----

fn stray_answer(id: &str) -> Observation {
    let error = ProviderError::new(Effect::MaybeSent, ErrorKind::Invalid, "variables ignored")
        .with_stray_job(JobRef::new("fake", "job", id));
    Observation::Provisioned(Err(TriggerError::Ambiguous(error)))
}

fn adopted(state: JobState) -> JobRecord {
    let mut record = sent(JobType::Provision, 1);
    record.set_job_ref(JobRef::new("fake", "job", "501"));
    record.reason = Some(Reason::Adopted);
    record.state = state;
    record.finished_at = state.is_terminal().then(|| at(300));
    record
}

#[test]
fn a_job_that_proves_stray_after_its_end_has_failed_however_it_ended() {
    let asked = sent(JobType::Provision, 1);
    for state in [JobState::Succeeded, JobState::Canceled, JobState::Failed] {
        let mut there = adopted(state);
        there.failures = u32::from(state == JobState::Failed);
        let changed = seen(std::slice::from_ref(&there), &asked, &stray_answer("501"));
        let [record] = &changed[..] else {
            panic!("{changed:?}")
        };
        assert_eq!(record.state, JobState::Failed, "{state}");
        assert_eq!(record.reason, Some(Reason::Stray), "{state}");
        assert_eq!(record.failures, 1, "{state}: counted once");
        assert!(record.message.contains("variables ignored"));
        // Said again, it changes nothing.
        assert_eq!(seen(&changed, &asked, &stray_answer("501")), []);
    }
    // One that is at work goes on until it is ended.
    let there = adopted(JobState::Running);
    let changed = seen(std::slice::from_ref(&there), &asked, &stray_answer("501"));
    assert_eq!(changed[0].state, JobState::Running);
    assert_eq!(changed[0].reason, Some(Reason::Stray));
}

/// Another process has launched it, whose clock is five minutes ahead of ours.
#[test]
fn an_end_that_a_slower_clock_sees_is_not_before_the_begin_and_is_waited_for_by_that_clock() {
    let mut there = adopted(JobState::Running);
    (there.timestamp, there.sent_at) = (Some(at(900)), Some(at(900)));
    there.started_at = Some(at(910));
    let job = there.job_ref().unwrap();
    let mut end = JobStatus::new(job, JobState::Failed);
    (end.settled, end.finished_at) = (true, Some(at(960)));
    let observation = Observation::Status(Ok(end));
    let changed = seen(std::slice::from_ref(&there), &there, &observation);
    assert_eq!(changed[0].finished_at, Some(at(910)));
    assert_eq!(provider_core::history::check(&changed), []);
    let wait = (changed[0].retry_at.unwrap()).elapsed_since(at(600));
    assert!(wait < Duration::from_secs(60), "{wait:?}");
}

#[test]
fn a_launch_answer_says_nothing_of_a_job_that_is_known() {
    let asked = sent(JobType::Provision, 1);
    let mut there = adopted(JobState::Failed);
    there.message = "quota exceeded".to_owned();
    assert_eq!(seen(&[there], &asked, &launched("501")), []);
}

#[tokio::test]
async fn a_job_that_is_found_stray_is_not_applied_after_a_crash_either() {
    for (ended, lost) in [(true, true), (false, true), (true, false), (false, false)] {
        let mut life = Life::new(endless());
        if lost {
            // The controller dies before the answer is on record.
            life.store.script([
                None,
                Some(provider_core::lifecycle::StoreError::unavailable("dead")),
            ]);
        }
        life.step().await;
        life.fake.stray(1);
        if ended {
            life.fake.end(1, JobState::Succeeded);
        }
        life.restart();
        let outcome = life.for_a_while(Duration::from_secs(3_600)).await;
        assert_eq!(
            outcome.standing,
            Standing::Held(Hold::Stray { attempt: 1 }),
            "ended {ended}, lost {lost}"
        );
        let cancels = life.fake.count(Function::Cancel);
        assert_eq!(cancels, usize::from(!ended), "ended {ended}, lost {lost}");
        assert_eq!(life.jobs(), 1);
    }
}

// ---- searches that are answered late ----

fn found(id: &str, state: JobState) -> Observation {
    let status = JobStatus::new(JobRef::new("fake", "job", id), state);
    Observation::Found(Ok(vec![status]))
}

#[test]
fn a_late_search_revives_no_attempt_that_has_ended() {
    let asked = sent(JobType::Provision, 1);
    for end in [JobState::Succeeded, JobState::Canceled, JobState::Failed] {
        let mut there = adopted(end);
        there.failures = 1;
        for state in [JobState::Running, JobState::Failed, JobState::Succeeded] {
            let answer = found("501", state);
            assert_eq!(seen(std::slice::from_ref(&there), &asked, &answer), []);
        }
        // A job that nobody has heard of is another matter.
        let changed = seen(
            std::slice::from_ref(&there),
            &asked,
            &found("502", JobState::Running),
        );
        let [second] = &changed[..] else {
            panic!("{changed:?}")
        };
        assert_eq!((second.attempt, second.job_id.as_deref()), (2, Some("502")));
        assert!(second.may_be_live() && second.finished_at.is_none());
    }
    // A search that could tell what the job was given is believed in that.
    let mut status = JobStatus::new(JobRef::new("fake", "job", "501"), JobState::Succeeded);
    status.stray = true;
    let there = adopted(JobState::Succeeded);
    let changed = seen(&[there], &asked, &Observation::Found(Ok(vec![status])));
    assert_eq!(changed[0].reason, Some(Reason::Stray));
    assert_eq!(changed[0].state, JobState::Failed);
}

#[test]
fn news_of_a_job_whose_end_is_on_record_change_nothing_of_it() {
    let asked = sent(JobType::Deprovision, 1);
    let ends = [JobState::Succeeded, JobState::Canceled, JobState::Failed];
    let all = ends.iter().chain(&[JobState::Unknown, JobState::Running]);
    for (end, told) in ends
        .iter()
        .flat_map(|end| all.clone().map(|told| (*end, *told)))
    {
        let mut ended = adopted(end);
        ended.attempt = 2;
        let job = ended.job_ref().unwrap();
        let answer = Observation::Deprovisioned(Ok(DeprovisionResult::Waiting {
            reason: "a provision job is in the way".to_owned(),
            retry_after: Duration::from_secs(30),
            block_deletion_on_failure: true,
            provision_job: Some(JobStatus::new(job, told)),
        }));
        let changed = seen(&[asked.clone(), ended], &asked, &answer);
        let types: Vec<JobType> = changed.iter().map(|record| record.job_type).collect();
        assert_eq!(types, [JobType::Deprovision], "{changed:#?}");
    }
}

#[test]
fn a_launch_that_was_taken_for_refused_and_is_found_failed_once() {
    let asked = sent(JobType::Provision, 1);
    let mut there = asked.clone();
    (there.state, there.reason) = (JobState::Failed, Some(Reason::Rejected));
    there.failures = 1;
    let changed = seen(&[there], &asked, &found("501", JobState::Failed));
    assert_eq!(changed[0].job_id.as_deref(), Some("501"));
    assert_eq!(changed[0].failures, 1);
}

// ---- ends that are assumed, or known not to be reached ----

#[tokio::test]
async fn an_end_that_was_only_assumed_gives_a_receipt() {
    // A provision job that nobody could tell of was taken as over; the object is deprovisioned.
    let mut life = Life::new(FakeProvider::new("fake"));
    let mut unknown = adopted(JobState::Failed);
    unknown.reason = Some(Reason::Assumed);
    life.store.inner.overwrite(life.object.key(), vec![unknown]);
    life.delete();
    let receipt = life.released().await.receipt.unwrap();
    let ids: Vec<_> = receipt.jobs.iter().map(|job| job.id.as_str()).collect();
    assert_eq!((receipt.ground, ids), ("Deprovisioned", vec!["501"]));
    assert_eq!(life.jobs(), 1);
    // A deprovision that the backend has forgotten is taken as succeeded.
    let assume = policy(|p| p.purge = provider_core::lifecycle::Purge::AssumeSucceeded);
    let mut life = Life::with(endless(), assume);
    life.step().await;
    life.fake.end(1, JobState::Succeeded);
    life.applied().await;
    life.delete();
    life.until(|o| matches!(o.standing, Standing::InProgress { attempt: 2, .. }))
        .await;
    life.pass(3_600);
    life.fake.purge(2);
    let receipt = life.released().await.receipt.unwrap();
    let ids: Vec<_> = receipt.jobs.iter().map(|job| job.id.as_str()).collect();
    assert_eq!(ids, ["1", "2"]);
    // What was seen to its end leaves none.
    let mut life = Life::new(FakeProvider::new("fake"));
    life.applied().await;
    life.delete();
    assert_eq!(life.released().await.receipt, None);
}

#[tokio::test]
async fn a_deprovision_that_is_known_to_have_removed_nothing_is_sent_again() {
    for (blocks, state) in [
        (false, JobState::Unknown),
        (true, JobState::Unknown),
        (false, JobState::Failed),
        (true, JobState::Failed),
    ] {
        let fake = endless().with_capabilities(|c| {
            c.block_deletion_on_failure = blocks;
            c.cancel = false;
        });
        let mut life = Life::with(fake, policy(|p| p.max_failures = Some(2)));
        life.step().await;
        life.fake.end(1, JobState::Succeeded);
        life.applied().await;
        life.delete();
        for attempt in [2, 3] {
            life.until(
                |o| matches!(o.standing, Standing::InProgress { attempt: n, .. } if n == attempt),
            )
            .await;
            life.fake.unfinished(attempt, true);
            life.fake.end(attempt, state);
            life.fake.say(attempt, "finalizer aap is still there");
        }
        let outcome = life
            .until(|o| matches!(o.standing, Standing::Held(_)))
            .await;
        assert_eq!(
            outcome.standing,
            Standing::Held(Hold::FailuresExhausted { failures: 2 })
        );
        let record = outcome.records.last().unwrap();
        assert_eq!(record.reason, Some(Reason::Unfinished));
        assert_eq!(record.message, "finalizer aap is still there");
        assert_eq!(life.jobs(), 3);
    }
    // When it is no longer known, the provider's choice counts.
    let fake = endless().with_capabilities(|c| c.block_deletion_on_failure = false);
    let mut life = applied(fake).await;
    life.delete();
    life.until(|o| matches!(o.standing, Standing::InProgress { attempt: 2, .. }))
        .await;
    life.fake.end(2, JobState::Unknown);
    life.fake.unfinished(2, true);
    life.for_a_while(Duration::from_secs(60)).await;
    life.fake.unfinished(2, false);
    life.released().await;
}

#[tokio::test]
async fn what_the_provider_says_of_a_provision_that_nobody_can_tell_of_is_shown() {
    let life = Life::new(endless());
    life.step().await;
    life.fake.end(1, JobState::Unknown);
    life.fake.say(1, "annotation done is to be v1-00");
    let outcome = life.for_a_while(Duration::from_secs(3_600)).await;
    assert_eq!(
        outcome.standing,
        Standing::Blocked(Block::UnknownTooLong { attempt: 1 })
    );
    let explained = life
        .engine
        .explain(
            &life.registry,
            &life.store,
            &life.object,
            &life.desired,
            &life.clock,
        )
        .await;
    let text = explained.unwrap().to_string();
    assert!(text.contains("annotation done is to be v1-00"), "{text}");
}

// ---- names that do not fit on record ----

#[tokio::test]
async fn a_job_whose_id_does_not_fit_on_record_is_in_doubt_and_launched_once() {
    let life = Life::new(endless().naming_jobs_in(300));
    let outcome = life.for_a_while(Duration::from_secs(7_200)).await;
    assert_eq!(
        outcome.standing,
        Standing::Blocked(Block::AmbiguousLaunch { attempt: 1 })
    );
    assert_eq!(life.jobs(), 1);
    assert_eq!(life.records()[0].job_id, None);
    let message = life.records()[0].message.clone();
    assert!(
        message.contains("an id of 300 bytes, and 256 fit"),
        "{message}"
    );
    // The longest that fits.
    let life = Life::new(FakeProvider::new("fake").naming_jobs_in(256));
    life.applied().await;
    assert_eq!(life.jobs(), 1);
}

#[test]
fn names_that_do_not_fit_are_refused_wherever_they_come_in() {
    let long = [
        JobRef::new("fake", "job", "1".repeat(257)),
        JobRef::new("fake", "k".repeat(254), "1"),
        JobRef::new("fake", "job", "1").with_url("u".repeat(2_049)),
    ];
    for job in long {
        let status = JobStatus::new(job.clone(), JobState::Running);
        let copy = provider_core::Relaunched::new(OperationToken::from_random(1), status.clone());
        let result = ProvisionResult::new(job.clone(), JobState::Pending, "");
        let triggered = DeprovisionResult::Triggered {
            job: Some(job.clone()),
            initial_state: JobState::Pending,
            block_deletion_on_failure: true,
            provision_job: None,
        };
        let stray = ProviderError::new(Effect::MaybeSent, ErrorKind::Invalid, "no")
            .with_stray_job(job.clone());
        for observation in [
            Observation::Provisioned(Ok(result)),
            Observation::Deprovisioned(Ok(triggered)),
            Observation::Provisioned(Err(TriggerError::Ambiguous(stray.clone()))),
            Observation::Deprovisioned(Err(TriggerError::Ambiguous(stray))),
            Observation::Status(Ok(status.clone())),
            Observation::Canceled(Ok(CancelResult::Finished(Box::new(status.clone())))),
            Observation::Found(Ok(vec![status])),
            Observation::Relaunched {
                found: Ok(vec![copy]),
                deleting: false,
            },
        ] {
            let checked = observation.checked();
            let error = checked.error().unwrap_or_else(|| panic!("{checked:?}"));
            assert!(error.message().contains("fit on record"), "{error}");
            assert_eq!(error.stray_job(), None);
        }
    }
}
