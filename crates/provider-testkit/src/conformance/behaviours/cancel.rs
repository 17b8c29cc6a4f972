//! A cancel is a request that may lose.

use provider_core::{CancelResult, JobState, JobType};

use super::status::forgotten;
use super::tasks::Polls;
use crate::conformance::case::{Case, broken, check};
use crate::conformance::harness::{Deed, Fault};
use crate::conformance::report::Verdict;

/// A cancel stops a job at work, and its end is seen.
pub async fn a_cancel_stops_the_job(case: &Case) -> Verdict {
    case.needs_cancel()?;
    let launched = case.provision("vm").await?;
    case.a_while().await;
    let result = case.cancel(&launched).await?;
    check(result == CancelResult::Requested, || {
        format!("of a job at work it said {}", said(&result))
    })?;
    let status = case.settled(&launched).await?;
    check(status.state == JobState::Canceled, || {
        format!("it was told as {}", status.state)
    })?;
    check(!case.has_live("vm", JobType::Provision).await, || {
        "it was told as canceled, and is still at work".to_owned()
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

/// A refused cancel of a job at work is an error, or comes too early: it was not taken, and the job has
/// neither ended nor gone.
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
        match answer {
            Err(_) | Ok(CancelResult::NotYet { .. }) => {}
            Ok(result) => return broken(format!("way {way}: it said {}", said(&result))),
        }
    }
    Ok(())
}

/// A cancel whose answer was lost may be asked for again, and the end is seen.
pub async fn a_lost_cancel_answer_does_no_harm(case: &Case) -> Verdict {
    case.needs_cancel()?;
    for way in 0.. {
        let launched = case.provision(&format!("vm-{way}")).await?;
        case.a_while().await;
        if !case.break_by(Fault::LosesCancelAnswer, way).await? {
            break;
        }
        let first = case.try_cancel(&launched).await;
        let gone = matches!(first, Ok(CancelResult::Gone));
        check(!gone, || {
            format!("way {way}: it said that there is no such job")
        })?;
        let again = case.cancel(&launched).await?;
        check(again != CancelResult::Gone, || {
            format!("way {way}: asked again, it said that there is no such job")
        })?;
        let status = case.settled(&launched).await?;
        check(status.state == JobState::Canceled, || {
            format!("way {way}: it was told as {}", status.state)
        })?;
    }
    Ok(())
}

/// Whatever a cancel that meets the end of its job says, it is what is told afterwards.
pub async fn a_cancel_may_meet_the_end(case: &Case) -> Verdict {
    const POINTS: usize = 16;
    case.needs_cancel()?;
    // At point 0 the job ends just before the cancel; from there on, in the middle of it.
    for point in 0..=POINTS {
        let launched = case.provision(&format!("vm-{point}")).await?;
        case.a_while().await;
        let object = case.world().object(launched.name());
        let tracked = launched.tracked();
        let mut cancel = case.provider().cancel(&object, &tracked);
        let early = match point {
            0 => None,
            _ => Polls::new(&mut cancel, point).await,
        };
        case.make(Deed::Succeed, &launched).await?;
        let (was_early, answer) = match early {
            Some(answer) => (true, answer),
            None => (false, cancel.await),
        };
        check(!matches!(answer, Ok(CancelResult::Gone)), || {
            format!("point {point}: it said that there is no such job")
        })?;
        let end = case.settled(&launched).await?.state;
        check(
            matches!(end, JobState::Succeeded | JobState::Canceled),
            || format!("point {point}: it was told as {end}"),
        )?;
        if let Ok(CancelResult::Finished(told)) = answer {
            check(told.state == end || !told.settled, || {
                format!("point {point}: it said {}, and then {end}", told.state)
            })?;
        }
        if was_early {
            break;
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
        CancelResult::NotYet { retry_after } => {
            format!("that it comes too early, to be asked again after {retry_after:?}")
        }
        _ => "something new".to_owned(),
    }
}
