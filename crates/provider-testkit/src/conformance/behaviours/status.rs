//! What is told of a job while it lives, at its end, and after it was forgotten.

use provider_core::{ErrorKind, JobState, JobStatus};

use crate::conformance::case::{Case, Launched, broken, check, version};
use crate::conformance::harness::{Deed, Fault};
use crate::conformance::report::{Stop, Verdict};

/// A job at work has not ended.
pub async fn a_job_at_work_has_not_ended(case: &Case) -> Verdict {
    let launched = case.provision("vm").await?;
    for poll in 1..=3 {
        let status = case.status(&launched).await?;
        check(!status.state.is_terminal() && !status.settled, || {
            format!(
                "at poll {poll} it was {}, settled: {}",
                status.state, status.settled
            )
        })?;
        case.tick().await;
    }
    Ok(())
}

/// A job that succeeds is seen to.
pub async fn a_success_is_seen(case: &Case) -> Verdict {
    let launched = case.provision("vm").await?;
    case.make(Deed::Succeed, &launched).await?;
    ended_as(case, &launched, JobState::Succeeded)
        .await
        .map(drop)
}

/// A job that fails is seen to.
pub async fn a_failure_is_seen(case: &Case) -> Verdict {
    let launched = case.provision("vm").await?;
    case.make(Deed::Fail, &launched).await?;
    ended_as(case, &launched, JobState::Failed).await.map(drop)
}

/// A job that somebody else cancels is seen to be cancelled.
pub async fn a_cancel_by_others_is_seen(case: &Case) -> Verdict {
    let launched = case.provision("vm").await?;
    case.make(Deed::BeCancelled, &launched).await?;
    ended_as(case, &launched, JobState::Canceled)
        .await
        .map(drop)
}

async fn ended_as(case: &Case, of: &Launched, state: JobState) -> Result<JobStatus, Stop> {
    let status = case.settled(of).await?;
    check(status.state == state, || {
        format!("it was told as {}", status.state)
    })?;
    Ok(status)
}

/// A provision that succeeded reports the version that it was launched with.
pub async fn a_success_reports_its_version(case: &Case) -> Verdict {
    let launched = case.provision("vm").await?;
    case.make(Deed::Succeed, &launched).await?;
    let status = case.settled(&launched).await?;
    check(status.reconciled_version == Some(version()), || {
        format!("{:?} was reported as applied", status.reconciled_version)
    })
}

/// A provision job at work, or one that failed, reports no version.
pub async fn only_a_success_reports_a_version(case: &Case) -> Verdict {
    let launched = case.provision("vm").await?;
    let none = |status: &JobStatus| {
        check(status.reconciled_version.is_none(), || {
            format!(
                "a job that was {} reported its version as applied",
                status.state
            )
        })
    };
    none(&case.status(&launched).await?)?;
    if case.world().make(Deed::Fail, launched.token()).await {
        none(&case.settled(&launched).await?)?;
    }
    Ok(())
}

/// A deprovision that succeeds is seen to.
pub async fn a_deprovision_is_seen_to_its_end(case: &Case) -> Verdict {
    let launched = case.deprovision("vm").await?;
    let status = case.status(&launched).await?;
    check(!status.state.is_terminal(), || {
        format!("while it was at work it was told as {}", status.state)
    })?;
    case.make(Deed::Succeed, &launched).await?;
    ended_as(case, &launched, JobState::Succeeded)
        .await
        .map(drop)
}

/// A deprovision reports no version as applied.
pub async fn a_deprovision_reports_no_version(case: &Case) -> Verdict {
    let launched = case.deprovision("vm").await?;
    case.make(Deed::Succeed, &launched).await?;
    let status = case.settled(&launched).await?;
    check(status.reconciled_version.is_none(), || {
        "it reported the version of its launch as applied".to_owned()
    })
}

/// A word that the provider does not know is neither an end nor an error.
pub async fn an_unknown_word_is_no_end(case: &Case) -> Verdict {
    let launched = case.provision("vm").await?;
    case.make(Deed::SpeakUnknownWord, &launched).await?;
    let status = case.status(&launched).await?;
    check(!status.state.is_terminal(), || {
        format!("it was read as {}", status.state)
    })
}

/// A job that the backend has forgotten is not found.
pub async fn a_forgotten_job_is_not_found(case: &Case) -> Verdict {
    let launched = forgotten(case).await?;
    match case.try_status(&launched).await {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => broken(format!("{}: {error}", error.kind().as_str())),
        Ok(status) => broken(format!("it was told as {}", status.state)),
    }
}

/// A job that has succeeded and was forgotten.
pub(super) async fn forgotten(case: &Case) -> Result<Launched, Stop> {
    let launched = case.provision("vm").await?;
    case.make(Deed::Succeed, &launched).await?;
    case.settled(&launched).await?;
    case.make(Deed::BeForgotten, &launched).await?;
    Ok(launched)
}

/// A question that fails says nothing about the job: neither that it ended nor that it is gone.
pub async fn a_failed_question_is_no_verdict(case: &Case) -> Verdict {
    let launched = case.provision("vm").await?;
    for fault in [Fault::FailsRead, Fault::FloodsRead] {
        for way in 0.. {
            if !case.break_by(fault, way).await? {
                break;
            }
            match case.try_status(&launched).await {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    return broken(format!("{fault:?}, way {way}: not found: {error}"));
                }
                Ok(status) if status.state.is_terminal() => {
                    return broken(format!("{fault:?}, way {way}: {}", status.state));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// After a question that failed, the next one is answered.
pub async fn a_failed_question_is_forgotten(case: &Case) -> Verdict {
    let launched = case.provision("vm").await?;
    case.break_next(Fault::FailsRead).await?;
    let _ = case.try_status(&launched).await;
    case.make(Deed::Succeed, &launched).await?;
    ended_as(case, &launched, JobState::Succeeded)
        .await
        .map(drop)
}

/// Questions start nothing.
pub async fn questions_start_nothing(case: &Case) -> Verdict {
    let launched = case.provision("vm").await?;
    let before = case.journal().await.len();
    case.status(&launched).await?;
    if case.capabilities().find_launched {
        case.find(&launched.request, launched.job_type).await?;
    }
    let started = case.journal().await.len() - before;
    check(started == 0, || format!("{started} jobs were started"))
}

/// A provider that has just started sees the jobs of the one before.
pub async fn a_restart_loses_no_job(case: &mut Case) -> Verdict {
    let launched = case.provision("vm").await?;
    case.restart()?;
    let status = case.status(&launched).await?;
    check(!status.state.is_terminal(), || {
        format!("while it was at work it was told as {}", status.state)
    })?;
    case.make(Deed::Succeed, &launched).await?;
    let status = ended_as(case, &launched, JobState::Succeeded).await?;
    check(status.reconciled_version == Some(version()), || {
        "its version was forgotten".to_owned()
    })
}
