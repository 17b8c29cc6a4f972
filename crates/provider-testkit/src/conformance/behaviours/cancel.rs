//! A cancel is a request that may lose.

use provider_core::{CancelResult, JobState, JobType};

use super::status::forgotten;
use crate::conformance::case::{Case, broken, check};
use crate::conformance::harness::{Deed, Fault};
use crate::conformance::report::Verdict;

/// A cancel stops a job at work, and its end is seen.
pub async fn a_cancel_stops_the_job(case: &Case) -> Verdict {
    case.needs_cancel()?;
    let launched = case.provision("vm").await?;
    case.tick().await;
    let result = case.cancel(&launched).await?;
    check(result == CancelResult::Requested, || {
        format!("of a job at work it said {}", said(&result))
    })?;
    let status = case.settled(&launched).await?;
    check(status.state == JobState::Canceled, || {
        format!("it was told as {}", status.state)
    })?;
    check(!case.has_live("vm", JobType::Provision).await, || {
        "it was told as cancelled, and is still at work".to_owned()
    })
}

/// A cancel may be asked for again.
pub async fn a_cancel_may_be_repeated(case: &Case) -> Verdict {
    case.needs_cancel()?;
    let launched = case.provision("vm").await?;
    case.tick().await;
    case.cancel(&launched).await?;
    for _ in 0..3 {
        let result = case.cancel(&launched).await?;
        check(result != CancelResult::Gone, || {
            "the second one said that there is no such job".to_owned()
        })?;
        case.tick().await;
    }
    Ok(())
}

/// The cancel of a job that has ended says how it ended.
pub async fn a_late_cancel_says_how_it_ended(case: &Case) -> Verdict {
    case.needs_cancel()?;
    let launched = case.provisioned("vm").await?;
    match case.cancel(&launched).await? {
        CancelResult::Finished(status) if status.state == JobState::Succeeded => Ok(()),
        other => broken(format!("it said {}", said(&other))),
    }
}

/// The cancel of a job that the backend has forgotten says so.
pub async fn a_cancel_of_a_forgotten_job_says_so(case: &Case) -> Verdict {
    case.needs_cancel()?;
    let launched = forgotten(case).await?;
    let result = case.cancel(&launched).await?;
    check(result == CancelResult::Gone, || {
        format!("it said {}", said(&result))
    })
}

/// A refused cancel of a job at work is an error: the job has not ended, and is not gone.
pub async fn a_refused_cancel_is_an_error(case: &Case) -> Verdict {
    case.needs_cancel()?;
    let launched = case.provision("vm").await?;
    case.tick().await;
    for way in 0.. {
        if !case.break_by(Fault::RefusesCancel, way).await? {
            break;
        }
        let object = case.world().object("vm");
        let answer = case.provider().cancel(&object, &launched.tracked()).await;
        if let Ok(result) = answer {
            return broken(format!("way {way}: it said {}", said(&result)));
        }
    }
    Ok(())
}

/// A job that goes on after a cancel is not believed to have stopped, and its end is what counts.
pub async fn a_cancel_that_loses_is_not_believed(case: &Case) -> Verdict {
    case.needs_cancel()?;
    for way in 0.. {
        if !case.break_by(Fault::IgnoresCancel, way).await? {
            break;
        }
        let name = format!("vm-{way}");
        let launched = case.provision(&name).await?;
        case.tick().await;
        let _ = case.cancel(&launched).await?;
        for _ in 0..3 {
            let status = case.status(&launched).await?;
            let at_work = case.has_live(&name, JobType::Provision).await;
            let believed = status.state.is_terminal() && status.settled;
            check(!(believed && at_work), || {
                format!(
                    "way {way}: told as {} for good, while it was at work",
                    status.state
                )
            })?;
            case.tick().await;
        }
        case.make(Deed::Succeed, &launched).await?;
        let status = case.settled(&launched).await?;
        check(status.state == JobState::Succeeded, || {
            format!("way {way}: it succeeded, and was told as {}", status.state)
        })?;
    }
    Ok(())
}

pub(super) fn said(result: &CancelResult) -> String {
    match result {
        CancelResult::Requested => "that it was requested".to_owned(),
        CancelResult::Finished(status) => format!("that it had ended as {}", status.state),
        CancelResult::Gone => "that there is no such job".to_owned(),
        _ => "something new".to_owned(),
    }
}
