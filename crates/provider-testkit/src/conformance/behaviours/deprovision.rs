//! A deprovision is never started beside a provision that may be at work.

use std::time::Duration;

use provider_core::clock::Elapsed as _;
use provider_core::{
    DeprovisionResult, JobRecord, JobType, LaunchRequest, OperationToken, TriggerError,
};

use super::launch::{FOREIGN_TOKEN, lost};
use crate::conformance::case::{Case, Launched, broken, check, not_applicable};
use crate::conformance::harness::{Deed, Fault};
use crate::conformance::report::{Stop, Verdict};

/// Asked so often while the provision job is at work.
const ROUNDS: usize = 8;

/// While a provision job is at work no deprovision is started. Once it has ended, one is.
pub async fn a_deprovision_waits_for_a_job_at_work(case: &Case) -> Verdict {
    let launched = case.provision("vm").await?;
    case.a_while().await;
    waits(case, &launched.history(), &launched.request).await
}

/// The same for a launch whose answer was lost.
pub async fn a_deprovision_waits_for_a_launch_in_doubt(case: &Case) -> Verdict {
    let request = case.request("vm");
    lost(case, &request).await?;
    case.tick().await;
    let history = [case.intent(&request, JobType::Provision)];
    waits(case, &history, &request).await
}

/// The same for a job that goes on although the engine has asked for its cancel.
pub async fn a_deprovision_waits_after_a_cancel_that_lost(case: &Case) -> Verdict {
    case.needs_cancel()?;
    case.break_next(Fault::IgnoresCancel).await?;
    let mut launched = case.provision("vm").await?;
    case.a_while().await;
    launched.record.cancel_requested_at = Some(case.world().now());
    launched.record.cancel_requests = 1;
    case.cancel(&launched).await?;
    waits(case, &launched.history(), &launched.request).await
}

/// Asks for a deprovision while the newest job of the history is at work, and looks at what really runs.
pub(super) async fn waits(case: &Case, history: &[JobRecord], at_work: &LaunchRequest) -> Verdict {
    let began = case.world().now();
    let job_type = history
        .last()
        .map_or(JobType::Provision, |record| record.job_type);
    if !case.has_live("vm", job_type).await {
        return not_applicable("the job had ended before anybody could ask");
    }
    let request = case.deletion("vm")?;
    for _ in 0..ROUNDS {
        let result = case.provider().trigger_deprovision(&request, history).await;
        let assumed = case
            .world()
            .assumes_over_after()
            .is_some_and(|limit| case.world().now().elapsed_since(began) >= limit);
        // It never works again once it has ended, so it was at work when the answer was made.
        if assumed || !case.has_live("vm", job_type).await {
            break;
        }
        let count = case.ran(&request.token).await.len();
        check(count == 0, || {
            format!("with its {job_type} job at work, {count} deprovision jobs were started")
        })?;
        match result {
            Ok(DeprovisionResult::Waiting { retry_after, .. }) => {
                case.world()
                    .pass(retry_after.min(Duration::from_secs(30)))
                    .await;
            }
            Ok(other) => {
                return broken(format!(
                    "with its {job_type} job at work, it was answered: {other:?}"
                ));
            }
            Err(_) => case.tick().await,
        }
    }
    // Whatever became of the job, it is over now, and the way is free.
    case.world().make(Deed::Succeed, &at_work.token).await;
    if case.ran(&request.token).await.is_empty() {
        let mut history = history.to_vec();
        case.started(&request, &mut history, &mut |_| Ok(()))
            .await?;
    }
    Ok(())
}

/// What was provisioned is deprovisioned although its records were lost: an object that comes from a
/// backup has none.
pub async fn a_deprovision_needs_no_history(case: &Case) -> Verdict {
    case.provisioned("vm").await?;
    let request = case.deletion("vm")?;
    case.started(&request, &mut [], &mut |_| Ok(())).await?;
    let count = case.ran(&request.token).await.len();
    check(count == 1, || format!("{count} jobs were started"))
}

/// A canceled provision job is out of the way, sooner or later.
pub async fn a_canceled_provision_clears_the_way(case: &Case) -> Verdict {
    case.needs_cancel()?;
    let launched = case.provision("vm").await?;
    case.a_while().await;
    let request = case.deletion("vm")?;
    let mut history = launched.history();
    case.started(&request, &mut history, &mut |_| Ok(()))
        .await?;
    let count = case.ran(&request.token).await.len();
    check(count > 0, || "no job was started".to_owned())
}

/// An answer that says to wait has started nothing.
pub async fn waiting_starts_nothing(case: &Case) -> Verdict {
    let launched = case.provision("vm").await?;
    case.a_while().await;
    let request = case.deletion("vm")?;
    let answer = case
        .provider()
        .trigger_deprovision(&request, &launched.history())
        .await;
    if !matches!(answer, Ok(DeprovisionResult::Waiting { .. })) {
        return not_applicable("nothing was waited for");
    }
    let count = case.ran(&request.token).await.len();
    check(count == 0, || {
        format!("it said to wait, and {count} jobs were started")
    })
}

/// The token of a deprovision launch reaches the backend, letter for letter.
pub async fn a_deprovision_launch_carries_its_token(case: &Case) -> Verdict {
    let provisioned = case.provisioned("vm").await?;
    let mut request = case.deletion("vm")?;
    request.token = OperationToken::from_text(FOREIGN_TOKEN);
    let before = case.journal().await.len();
    let mut history = provisioned.history();
    case.started(&request, &mut history, &mut |_| Ok(()))
        .await?;
    let journal = case.journal().await;
    let started = journal.get(before..).unwrap_or_default();
    check(started.iter().any(|ran| ran.token == request.token), || {
        let tokens: Vec<_> = started.iter().map(|ran| ran.token.as_str()).collect();
        format!("sent {}, arrived {tokens:?}", request.token)
    })
}

async fn fails(
    case: &Case,
    fault: Fault,
    way: usize,
) -> Result<Option<(LaunchRequest, TriggerError)>, Stop> {
    let provisioned: Launched = case.provisioned(&format!("vm-{way}")).await?;
    if !case.break_by(fault, way).await? {
        return Ok(None);
    }
    let request = case.deletion(provisioned.name())?;
    let history = provisioned.history();
    match case
        .provider()
        .trigger_deprovision(&request, &history)
        .await
    {
        Err(error) => Ok(Some((request, error))),
        Ok(result) => broken(format!("way {way}: it was answered: {result:?}")),
    }
}

/// A deprovision launch whose answer was lost is in doubt.
pub async fn a_lost_deprovision_answer_is_in_doubt(case: &Case) -> Verdict {
    for way in 0.. {
        match fails(case, Fault::LosesLaunchAnswer, way).await? {
            None => break,
            Some((_, TriggerError::Ambiguous(_))) => {}
            Some((_, error)) => return broken(format!("way {way}: told as not launched: {error}")),
        }
    }
    Ok(())
}

/// A refused deprovision launch was not carried out, and is said not to have been.
pub async fn a_refused_deprovision_is_not_launched(case: &Case) -> Verdict {
    for way in 0.. {
        match fails(case, Fault::RefusesLaunch, way).await? {
            None => break,
            Some((request, TriggerError::NotLaunched(_))) => {
                case.check_not_carried_out(&request).await?;
            }
            Some((_, error)) => return broken(format!("way {way}: {error}")),
        }
    }
    Ok(())
}
