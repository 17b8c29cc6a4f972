//! An action on a living resource is a job like any other.

use provider_core::{
    ActionName, CancelResult, JobState, JobType, LaunchRequest, OperationToken, TriggerError,
};

use super::cancel::said;
use super::deprovision::waits;
use super::launch::{FOREIGN_TOKEN, told};
use super::status::{ended_as, no_early_end};
use crate::conformance::case::{Case, broken, check, found_alone};
use crate::conformance::harness::{Deed, Fault};
use crate::conformance::report::{Stop, Verdict};

/// The launch of an action starts one job, of its type, for its object, with its token letter for letter. Its
/// name is told, and it is seen to its end.
pub async fn an_action_is_a_job_like_any_other(case: &Case) -> Verdict {
    let action = case.needs_actions()?;
    for name in ["vm", "vm-2"] {
        let provisioned = case.provisioned(name).await?;
        let mut request = case.request(name);
        if name == "vm-2" {
            request.token = OperationToken::from_text(FOREIGN_TOKEN);
        }
        let before = case.journal().await.len();
        let sent = request.token.clone();
        let acted = case.act_on(&provisioned, action, request).await?;
        let journal = case.journal().await;
        let started = journal.get(before..).unwrap_or_default();
        let [ran] = started else {
            return broken(format!("{} jobs were started", started.len()));
        };
        let fits = ran.job_type == JobType::Action(action) && ran.object == name;
        check(fits, || {
            format!(
                "{action} was asked for on \"{name}\", a {} job for \"{}\" was started",
                ran.job_type, ran.object
            )
        })?;
        check(ran.token == sent, || {
            format!("sent {sent}, arrived {}", ran.token)
        })?;
        let (owner, ours) = (&acted.job.provider, case.provider().name());
        // A name that changes, or is wrong from the start, is for other behaviours.
        check(owner == ours || *owner == provisioned.job.provider, || {
            format!("the job belongs to \"{owner}\", the provider is \"{ours}\"")
        })?;
        no_early_end(case, &acted).await?;
        case.make(Deed::Succeed, &acted).await?;
        ended_as(case, &acted, JobState::Succeeded).await?;
    }
    Ok(())
}

/// An action changes nothing of the configuration: its success reports no version.
pub async fn an_action_reports_no_version(case: &Case) -> Verdict {
    let acted = case.act("vm").await?;
    case.make(Deed::Succeed, &acted).await?;
    let status = case.settled(&acted).await?;
    check(status.reconciled_version.is_none(), || {
        "it reported the version of its launch as applied".to_owned()
    })
}

/// A provider that has just started sees the actions of the one before.
pub async fn a_restart_loses_no_action(case: &mut Case) -> Verdict {
    let acted = case.act("vm").await?;
    case.restart()?;
    no_early_end(case, &acted).await?;
    case.make(Deed::Succeed, &acted).await?;
    ended_as(case, &acted, JobState::Succeeded).await.map(drop)
}

/// A cancel stops an action at work, and its end is seen.
pub async fn a_cancel_stops_an_action(case: &Case) -> Verdict {
    case.needs_cancel()?;
    let acted = case.act("vm").await?;
    case.a_while().await;
    let result = case.cancel(&acted).await?;
    check(result == CancelResult::Requested, || {
        format!("of an action at work it said {}", said(&result))
    })?;
    ended_as(case, &acted, JobState::Canceled).await?;
    check(!case.at_work(&acted).await, || {
        "it was told as canceled, and is still at work".to_owned()
    })
}

/// Actions are found by their token as well.
pub async fn an_action_is_found_by_its_token(case: &Case) -> Verdict {
    case.needs_find()?;
    let acted = case.act("vm").await?;
    case.world()
        .pass(case.capabilities().visibility_window)
        .await;
    let found = case.find(&acted.request, acted.job_type).await?;
    found_alone(&acted, &found)
}

/// While an action is at work no deprovision is started. Once it has ended, one is.
pub async fn a_deprovision_waits_for_an_action(case: &Case) -> Verdict {
    let acted = case.act("vm").await?;
    case.a_while().await;
    waits(case, &acted.history(), &acted.request).await
}

/// What the launch of an action ends in whose answer is spoilt in this way; none when there are no more.
async fn fails(
    case: &Case,
    fault: Fault,
    way: usize,
) -> Result<Option<(LaunchRequest, TriggerError)>, Stop> {
    let action: ActionName = case.needs_actions()?;
    let provisioned = case.provisioned(&format!("vm-{way}")).await?;
    if !case.break_by(fault, way).await? {
        return Ok(None);
    }
    let request = case.request(provisioned.name());
    match case.provider().trigger_action(&action, &request).await {
        Err(error) => Ok(Some((request, error))),
        answer => broken(format!("way {way}: {}", told(&answer))),
    }
}

/// The launch of an action whose answer was lost is in doubt.
pub async fn a_lost_action_answer_is_in_doubt(case: &Case) -> Verdict {
    for way in 0.. {
        match fails(case, Fault::LosesLaunchAnswer, way).await? {
            None => break,
            Some((_, TriggerError::Ambiguous(_))) => {}
            Some((_, error)) => return broken(format!("way {way}: {}", told(&Err(error)))),
        }
    }
    Ok(())
}

/// An action that was refused was not carried out, and is said not to have been.
pub async fn a_refused_action_is_not_launched(case: &Case) -> Verdict {
    for way in 0.. {
        match fails(case, Fault::RefusesLaunch, way).await? {
            None => break,
            Some((request, TriggerError::NotLaunched(_))) => {
                case.check_not_carried_out(&request).await?;
            }
            Some((_, error)) => return broken(format!("way {way}: {}", told(&Err(error)))),
        }
    }
    Ok(())
}
