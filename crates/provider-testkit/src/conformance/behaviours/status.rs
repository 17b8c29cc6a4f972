//! What is told of a job while it lives, at its end, and after it was forgotten.

use futures::{FutureExt, StreamExt};
use provider_core::{ErrorKind, JobRef, JobState, JobStatus, JobType, OnAmbiguity};

use super::launch::lost;
use crate::conformance::case::{
    Case, Launched, Ways, broken, check, keeps_its_name, not_applicable, version,
};
use crate::conformance::harness::{Deed, Fault};
use crate::conformance::report::{Stop, Verdict};

/// A job at work has not ended.
pub async fn a_job_at_work_has_not_ended(case: &Case) -> Verdict {
    let launched = case.provision("vm").await?;
    for poll in 1..=3 {
        let status = case.status(&launched).await?;
        if !case.at_work(&launched).await {
            return not_applicable("jobs have ended before anybody can ask");
        }
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

/// Asks about a job, which may have ended with its launch: no end is told while it is at work.
pub(super) async fn no_early_end(case: &Case, launched: &Launched) -> Result<JobStatus, Stop> {
    let status = case.status(launched).await?;
    let at_work = case.at_work(launched).await;
    check(!(at_work && status.state.is_terminal()), || {
        format!("while it was at work it was told as {}", status.state)
    })?;
    Ok(status)
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

/// A job that somebody else cancels is seen to be canceled.
pub async fn a_cancel_by_others_is_seen(case: &Case) -> Verdict {
    let launched = case.provision("vm").await?;
    case.make(Deed::BeCanceled, &launched).await?;
    ended_as(case, &launched, JobState::Canceled)
        .await
        .map(drop)
}

pub(super) async fn ended_as(
    case: &Case,
    of: &Launched,
    state: JobState,
) -> Result<JobStatus, Stop> {
    let status = case.settled(of).await?;
    check(status.state == state, || {
        format!("{} was told as {}", of.called(&status.job), status.state)
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
    let status = case.status(&launched).await?;
    let at_work = case.at_work(&launched).await;
    if at_work {
        none(&status)?;
    }
    if case.world().make(Deed::Fail, launched.token()).await {
        return none(&case.settled(&launched).await?);
    }
    if at_work {
        return Ok(());
    }
    not_applicable("jobs end with their launch, and all of them well")
}

/// A deprovision that succeeds is seen to.
pub async fn a_deprovision_is_seen_to_its_end(case: &Case) -> Verdict {
    let launched = case.deprovision("vm").await?;
    no_early_end(case, &launched).await?;
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

/// A job that has succeeded and was forgotten, and that nobody takes for one which is not visible yet.
pub(super) async fn forgotten(case: &Case) -> Result<Launched, Stop> {
    let launched = case.provision("vm").await?;
    case.make(Deed::Succeed, &launched).await?;
    case.settled(&launched).await?;
    case.make(Deed::BeForgotten, &launched).await?;
    case.world()
        .pass(case.capabilities().visibility_window)
        .await;
    Ok(launched)
}

/// A question that fails says nothing about the job: neither that it ended nor that it is gone.
pub async fn a_failed_question_is_no_verdict(case: &Case) -> Verdict {
    let launched = case.provision("vm").await?;
    let mut ways = Ways::of(&[Fault::FailsRead, Fault::FloodsRead]);
    while let Some((fault, way)) = ways.next(case).await? {
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

/// A job has one name for all its life: from its launch on, at every look and in every search.
pub async fn a_job_keeps_its_name(case: &Case) -> Verdict {
    let launched = case.provision("vm").await?;
    for _ in 0..2 {
        let told = case.status(&launched).await?.job;
        keeps_its_name(&launched, "its status", &told)?;
        case.tick().await;
    }
    case.world().make(Deed::Succeed, launched.token()).await;
    let told = case.settled(&launched).await?.job;
    keeps_its_name(&launched, "its end", &told)?;
    if case.capabilities().find_launched {
        case.world()
            .pass(case.capabilities().visibility_window)
            .await;
        for found in case.find(&launched.request, launched.job_type).await? {
            keeps_its_name(&launched, "a search", &found.job)?;
        }
    }
    Ok(())
}

/// A provider that has just started sees the jobs of the one before, under the same names.
pub async fn a_restart_loses_no_job(case: &mut Case) -> Verdict {
    let launched = case.provision("vm").await?;
    case.restart()?;
    let status = no_early_end(case, &launched).await?;
    keeps_its_name(&launched, "a provider that has just started", &status.job)?;
    case.make(Deed::Succeed, &launched).await?;
    let status = ended_as(case, &launched, JobState::Succeeded).await?;
    check(status.reconciled_version == Some(version()), || {
        "its version was forgotten".to_owned()
    })
}

/// A provider that has just started sees the deprovision jobs of the one before as well.
pub async fn a_restart_loses_no_deprovision(case: &mut Case) -> Verdict {
    let launched = case.deprovision("vm").await?;
    case.restart()?;
    no_early_end(case, &launched).await?;
    case.make(Deed::Succeed, &launched).await?;
    ended_as(case, &launched, JobState::Succeeded)
        .await
        .map(drop)
}

/// A provider that takes launches in doubt as sent answers for them: they are called by their token.
pub async fn an_assumed_job_is_answered_for(case: &Case) -> Verdict {
    let OnAmbiguity::AssumeSent { kind } = case.capabilities().on_ambiguity else {
        return not_applicable("launches in doubt are not taken as sent");
    };
    let request = case.request("vm");
    lost(case, &request).await?;
    let job = JobRef::new(case.provider().name(), kind, request.token.as_str());
    let assumed = case.launched(request, job, JobType::Provision, JobState::Unknown);
    no_early_end(case, &assumed).await?;
    case.make(Deed::Succeed, &assumed).await?;
    let status = ended_as(case, &assumed, JobState::Succeeded).await?;
    check(status.reconciled_version == Some(version()), || {
        "it succeeded, and its version was not reported".to_owned()
    })
}

/// A wake-up names a job as its launch did: whoever hears of it knows the provider and the id.
pub async fn a_wake_up_names_its_job(case: &Case) -> Verdict {
    let Some(mut wake_ups) = case.provider().wake_ups() else {
        return not_applicable("the provider has no wake-ups");
    };
    let launched = case.provision("vm").await?;
    let mut ended = false;
    for _ in 0..20 {
        let woken = wake_ups.next().now_or_never().flatten();
        if let Some(job) = woken {
            let same = job.provider == case.provider().name() && job.id == launched.job.id;
            return check(same, || {
                format!("{} was launched, {job} wakes", launched.job)
            });
        }
        case.tick().await;
        case.status(&launched).await?;
        if !ended {
            case.make(Deed::Succeed, &launched).await?;
            ended = true;
        }
    }
    not_applicable("no end was told, which is allowed")
}

/// Only who is told of ends may ask less often: while nobody listens to wake-ups, no job says that it need
/// not be asked about.
pub async fn polls_are_put_off_for_nobody_who_is_not_told(case: &Case) -> Verdict {
    let launched = case.provision("vm").await?;
    for round in ["before anybody listened", "after everybody had gone"] {
        for _ in 0..3 {
            let status = case.status(&launched).await?;
            check(status.poll_after.is_none(), || {
                format!(
                    "{round} it need not be asked about for {:?}",
                    status.poll_after
                )
            })?;
            case.tick().await;
        }
        let mut wake_ups = case.provider().wake_ups();
        if let Some(wake_ups) = &mut wake_ups {
            let _ = wake_ups.next().now_or_never();
        }
        case.status(&launched).await?;
    }
    Ok(())
}
