//! What a launch does, and what every way of failing means.

use std::time::Duration;

use provider_core::{
    ActionName, Capabilities, ErrorKind, JobType, LaunchRequest, OperationToken, ProvisionResult,
    TriggerError,
};

use crate::conformance::case::{Case, Ways, broken, check};
use crate::conformance::harness::Fault;
use crate::conformance::report::{Stop, Verdict};

/// A token that somebody else has made: in capitals, with dashes.
pub(super) const FOREIGN_TOKEN: &str = "6F9619FF-8B86-D011-B42D-00C04FC964FF";

pub(super) async fn launch(
    case: &Case,
    request: &LaunchRequest,
) -> Result<ProvisionResult, TriggerError> {
    case.provider().trigger_provision(request).await
}

/// A launch whose answer nobody gets: lost on its way where the world can do that, and else because the
/// caller has died before it could write it down.
pub(super) async fn lost(case: &Case, request: &LaunchRequest) -> Verdict {
    match case.break_next(Fault::LosesLaunchAnswer).await {
        Ok(()) | Err(Stop::NotApplicable(_)) => {}
        stop => return stop,
    }
    let _ = launch(case, request).await;
    case.a_while().await;
    Ok(())
}

/// A launch starts one job, for its object, of its type.
pub async fn a_launch_starts_one_job(case: &Case) -> Verdict {
    case.provision("vm").await?;
    let journal = case.journal().await;
    let [ran] = journal.as_slice() else {
        return broken(format!("{} jobs were started", journal.len()));
    };
    check(
        ran.job_type == JobType::Provision && ran.object == "vm",
        || format!("a {} job for \"{}\" was started", ran.job_type, ran.object),
    )
}

/// The token of a provision launch reaches the backend, letter for letter.
pub async fn a_provision_launch_carries_its_token(case: &Case) -> Verdict {
    for name in ["vm", "vm-2"] {
        let mut request = case.request(name);
        if name == "vm-2" {
            request.token = OperationToken::from_text(FOREIGN_TOKEN);
        }
        let answer = launch(case, &request).await;
        check(answer.is_ok(), || told(&answer))?;
        let journal = case.journal().await;
        check(journal.iter().any(|ran| ran.token == request.token), || {
            let tokens: Vec<_> = journal.iter().map(|ran| ran.token.as_str()).collect();
            format!("sent {}, arrived {tokens:?}", request.token)
        })?;
    }
    Ok(())
}

/// The answer names the job: by the provider's own name, an id, and the id that the backend has.
pub async fn a_launched_job_is_named(case: &Case) -> Verdict {
    let launched = case.provision("vm").await?;
    let job = &launched.job;
    check(job.provider == case.provider().name(), || {
        format!(
            "the job belongs to \"{}\", the provider is \"{}\"",
            job.provider,
            case.provider().name()
        )
    })?;
    check(!job.id.is_empty() && !job.kind.is_empty(), || {
        format!("its kind is \"{}\", its id \"{}\"", job.kind, job.id)
    })?;
    let known = case
        .ran(launched.token())
        .await
        .into_iter()
        .find_map(|ran| ran.id);
    check(known.is_none() || known.as_ref() == Some(&job.id), || {
        format!(
            "the provider calls it {}, the backend {}: a job has one name",
            job.id,
            known.as_deref().unwrap_or_default()
        )
    })
}

/// Two launches are two jobs: the provider does not guess that one is meant.
pub async fn two_launches_are_two_jobs(case: &Case) -> Verdict {
    let (first, second) = (case.provision("vm").await?, case.provision("vm").await?);
    for token in [first.token(), second.token()] {
        let count = case.ran(token).await.len();
        check(count == 1, || format!("one of them started {count} jobs"))?;
    }
    check(first.job != second.job, || {
        format!("both launches are called {}", first.job)
    })
}

/// A launch that the backend refused was not carried out, and is said not to have been.
pub async fn a_refused_launch_is_not_launched(case: &Case) -> Verdict {
    for way in 0.. {
        if !case.break_by(Fault::RefusesLaunch, way).await? {
            break;
        }
        let request = case.request("vm");
        match launch(case, &request).await {
            Err(TriggerError::NotLaunched(_)) => case.check_not_carried_out(&request).await?,
            other => return broken(format!("way {way}: {}", told(&other))),
        }
    }
    Ok(())
}

/// A launch that was not carried out is never told as one that was. (To be in doubt is allowed.)
pub async fn a_missed_launch_is_no_job(case: &Case) -> Verdict {
    for way in 0.. {
        if !case.break_by(Fault::MissesLaunch, way).await? {
            break;
        }
        let request = case.request("vm");
        let answer = launch(case, &request).await;
        check(answer.is_err(), || format!("way {way}: {}", told(&answer)))?;
        if let Err(TriggerError::NotLaunched(_)) = answer {
            case.check_not_carried_out(&request).await?;
        }
    }
    Ok(())
}

/// A launch whose answer was lost is in doubt.
pub async fn a_lost_answer_is_in_doubt(case: &Case) -> Verdict {
    in_doubt(case, Fault::LosesLaunchAnswer).await
}

/// A launch whose answer makes no sense is in doubt.
pub async fn an_unreadable_answer_is_in_doubt(case: &Case) -> Verdict {
    in_doubt(case, Fault::GarblesLaunchAnswer).await
}

async fn in_doubt(case: &Case, fault: Fault) -> Verdict {
    for way in 0.. {
        if !case.break_by(fault, way).await? {
            break;
        }
        match launch(case, &case.request("vm")).await {
            Err(TriggerError::Ambiguous(_)) => {}
            other => return broken(format!("way {way}: {}", told(&other))),
        }
    }
    Ok(())
}

/// A launch in doubt is not sent a second time.
pub async fn a_launch_in_doubt_is_not_repeated(case: &Case) -> Verdict {
    let mut ways = Ways::of(&[Fault::LosesLaunchAnswer, Fault::GarblesLaunchAnswer]);
    while let Some((fault, way)) = ways.next(case).await? {
        let request = case.request("vm");
        let _ = launch(case, &request).await;
        case.tick().await;
        let count = case.ran(&request.token).await.len();
        check(count == 1, || {
            format!("{fault:?}, way {way}: {count} jobs were started by one launch")
        })?;
    }
    Ok(())
}

/// A rate limit is told with its delay, and nothing was launched.
pub async fn a_rate_limit_tells_its_delay(case: &Case) -> Verdict {
    const DELAY: Duration = Duration::from_secs(120);
    case.break_next(Fault::RateLimits(DELAY)).await?;
    let request = case.request("vm");
    match launch(case, &request).await {
        Err(TriggerError::NotLaunched(error))
            if error.kind() == ErrorKind::RateLimited && error.retry_after() == Some(DELAY) =>
        {
            case.check_not_carried_out(&request).await
        }
        Err(error) => broken(format!(
            "{}, to be tried again after {:?}: {error}",
            error.error().kind().as_str(),
            error.error().retry_after()
        )),
        Ok(_) => broken("it was told as launched"),
    }
}

/// Refused credentials are called so, and nothing was launched.
pub async fn refused_credentials_are_called_so(case: &Case) -> Verdict {
    case.break_next(Fault::RefusesCredentials).await?;
    let request = case.request("vm");
    let answer = launch(case, &request).await;
    match &answer {
        Err(TriggerError::NotLaunched(error))
            if matches!(error.kind(), ErrorKind::Unauthorized | ErrorKind::Forbidden) =>
        {
            case.check_not_carried_out(&request).await
        }
        other => broken(told(other)),
    }
}

/// How an answer reads in a complaint.
pub(super) fn told(answer: &Result<ProvisionResult, TriggerError>) -> String {
    match answer {
        Ok(result) => match &result.job {
            Some(job) => format!("it was told as launched: {job}"),
            None => "it was told as launched, with a name to follow".to_owned(),
        },
        Err(TriggerError::NotLaunched(error)) => format!("it was told as not launched: {error}"),
        Err(TriggerError::Ambiguous(error)) => format!("it was told as in doubt: {error}"),
    }
}

/// A provider is the same thing whenever it is asked what it is.
pub async fn a_provider_does_not_change_what_it_is(case: &Case) -> Verdict {
    let before = (case.provider().name().to_owned(), case.capabilities());
    check(!before.0.is_empty(), || "its name is empty".to_owned())?;
    let launched = case.provision("vm").await?;
    case.status(&launched).await?;
    let after = (case.provider().name().to_owned(), case.capabilities());
    check(before == after, || {
        format!("before a job {before:?}, after it {after:?}")
    })
}

/// What is not declared answers that it is unsupported, and did nothing.
pub async fn the_undeclared_is_unsupported(case: &Case) -> Verdict {
    let capabilities = case.capabilities();
    let Capabilities {
        cancel,
        find_launched,
        find_relaunched,
        actions,
        ..
    } = capabilities;
    if cancel && find_launched && find_relaunched && actions {
        return Err(Stop::NotApplicable("everything is declared".to_owned()));
    }
    let launched = case.provision("vm").await?;
    let before = (case.journal().await.len(), case.at_work(&launched).await);
    let unsupported = |what: &str, error: Option<provider_core::ProviderError>| match error {
        Some(error) if error.kind() == ErrorKind::Unsupported => Ok(()),
        Some(error) => broken(format!(
            "{what} ended in {}: {error}",
            error.kind().as_str()
        )),
        None => broken(format!("{what} was answered")),
    };
    if !cancel {
        let object = case.world().object("vm");
        let answer = case.provider().cancel(&object, &launched.tracked()).await;
        unsupported("cancel", answer.err())?;
    }
    if !find_launched {
        let query = case.query(&launched.request, JobType::Provision);
        let answer = case.provider().find_launched(&query).await;
        unsupported("find_launched", answer.err())?;
    }
    if !find_relaunched {
        let query = case.relaunch_query(&[&launched]);
        let answer = case.provider().find_relaunched(&query).await;
        unsupported("find_relaunched", answer.err())?;
    }
    if !actions {
        let name = case.world().action().unwrap_or("restart");
        let action = ActionName::new(name).or_else(|error| broken(error.to_string()))?;
        let request = case.request("vm");
        match case.provider().trigger_action(&action, &request).await {
            Err(TriggerError::Ambiguous(error)) => {
                return broken(format!("trigger_action was told as in doubt: {error}"));
            }
            answer => {
                let error = answer.err().map(|error| error.error().clone());
                unsupported("trigger_action", error)?;
            }
        }
    }
    case.tick().await;
    let after = (case.journal().await.len(), case.at_work(&launched).await);
    check(before == after, || {
        format!(
            "of {} jobs, with ours at work: {}, it made {}, with ours at work: {}",
            before.0, before.1, after.0, after.1
        )
    })
}
