//! What people read: bounded, on one line, and without a secret; and the check of a configuration.

use provider_core::{CancelResult, DeprovisionResult, Preflight, ProviderError, text};

use super::launch::launch;
use crate::conformance::case::{Case, Launched, SECRET, check, not_applicable};
use crate::conformance::harness::{Deed, Fault};
use crate::conformance::report::{Stop, Verdict};

/// The most that a status may carry as details, in bytes.
pub const MAX_DETAILS: usize = 64 * 1024;

fn one_bounded_line(what: &str, text: &str, max: usize) -> Verdict {
    check(text.len() <= max, || {
        format!("{what} has {} bytes; {max} are allowed", text.len())
    })?;
    check(!text.contains(char::is_control), || {
        format!(
            "{what} holds control characters: {:?}",
            text::bounded(text, 80)
        )
    })
}

/// Neither a credential of the provider nor the variable that all launches of the suite carry.
fn without_secret(case: &Case, what: &str, text: &str) -> Verdict {
    let mut secrets = case.world().secrets();
    secrets.push(SECRET.to_owned());
    let seen = secrets.iter().find(|secret| text.contains(secret.as_str()));
    check(seen.is_none(), || format!("{what} holds a secret"))
}

/// The messages of statuses are bounded and on one line, whatever the job says.
pub async fn messages_are_bounded(case: &Case) -> Verdict {
    let status = case.settled(&loud(case).await?).await?;
    one_bounded_line("the message", &status.message, text::MAX_TEXT)?;
    let details = status.details.as_deref().unwrap_or_default();
    check(details.len() <= MAX_DETAILS, || {
        format!(
            "the details have {} bytes; {MAX_DETAILS} are allowed",
            details.len()
        )
    })
}

/// The texts of statuses hold no credential and no secret variable, whatever the job says.
pub async fn messages_hold_no_secret(case: &mut Case) -> Verdict {
    let launched = loud(case).await?;
    let shown = format!("{:?}", case.settled(&launched).await?);
    without_secret(case, "the status", &shown)?;
    // The secrets of a launch are no longer known to a provider that has just started.
    case.restart()?;
    let shown = format!("{:?}", case.try_status(&launched).await);
    without_secret(case, "the status after a restart", &shown)
}

async fn loud(case: &Case) -> Result<Launched, Stop> {
    let launched = case.provision("vm-loud").await?;
    case.make(Deed::FailLoudly, &launched).await?;
    Ok(launched)
}

/// Errors hold no credential and no secret variable, even when the backend repeats them.
pub async fn errors_hold_no_secret(case: &Case) -> Verdict {
    let mut seen = 0;
    let mut look = |what: String, error: Option<ProviderError>| {
        seen += usize::from(error.is_some());
        let shown = error.map(|error| format!("{error} {error:?}"));
        without_secret(case, &what, &shown.unwrap_or_default())
    };
    let (world, provider) = (case.world(), case.provider());
    for fault in [Fault::Echoes, Fault::RefusesLaunch] {
        for way in 0.. {
            if !world.break_next(fault, way).await {
                break;
            }
            let answer = launch(case, &case.request("vm")).await;
            let error = answer.err().map(|error| error.error().clone());
            look(format!("{fault:?}, way {way}: the error"), error)?;
        }
    }
    let launched = case.provision("vm").await?;
    let object = world.object("vm");
    for fault in [Fault::FailsRead, Fault::FloodsRead] {
        for way in 0.. {
            if !world.break_next(fault, way).await {
                break;
            }
            let error = case.try_status(&launched).await.err();
            look(
                format!("{fault:?}, way {way}: the error of a status"),
                error,
            )?;
            if case.capabilities().find_launched && world.break_next(fault, way).await {
                let query = case.query(&launched.request, launched.job_type);
                let error = provider.find_launched(&query).await.err();
                look(
                    format!("{fault:?}, way {way}: the error of a search"),
                    error,
                )?;
            }
            if case.capabilities().find_relaunched && world.break_next(fault, way).await {
                let query = case.relaunch_query(&[&launched]);
                let error = provider.find_relaunched(&query).await.err();
                look(
                    format!("{fault:?}, way {way}: the error of a search for relaunches"),
                    error,
                )?;
            }
        }
    }
    for way in 0.. {
        if !case.capabilities().cancel || !world.break_next(Fault::RefusesCancel, way).await {
            break;
        }
        let error = provider.cancel(&object, &launched.tracked()).await.err();
        look(format!("way {way}: the error of a cancel"), error)?;
    }
    if seen == 0 {
        return not_applicable("the harness cannot make anything fail");
    }
    Ok(())
}

/// Answers hold no credential and no secret variable: to launches, to a deprovision that must wait, to
/// the cancel of a job that has ended loudly, and of the check of the configuration.
pub async fn answers_hold_no_secret(case: &Case) -> Verdict {
    for answer in answers(case).await? {
        without_secret(case, answer.what, &answer.whole)?;
    }
    Ok(())
}

/// The texts of the same answers are bounded and on one line.
pub async fn answers_are_bounded(case: &Case) -> Verdict {
    for answer in answers(case).await? {
        for text in answer.texts {
            one_bounded_line(answer.what, &text, text::MAX_TEXT)?;
        }
    }
    Ok(())
}

/// What a provider has answered.
struct Answer {
    what: &'static str,
    /// All of it.
    whole: String,
    /// What people read of it.
    texts: Vec<String>,
}

impl Answer {
    fn new(what: &'static str, whole: &dyn std::fmt::Debug, texts: Vec<String>) -> Self {
        let whole = format!("{whole:?}");
        Self { what, whole, texts }
    }

    fn of_preflight(report: &Preflight) -> Self {
        let findings = report.findings.iter();
        let texts = findings.flat_map(|finding| {
            let texts = [&finding.check, &finding.message, &finding.advice];
            texts.map(Clone::clone)
        });
        Self::new("a finding of the preflight", report, texts.collect())
    }
}

async fn answers(case: &Case) -> Result<Vec<Answer>, Stop> {
    let mut answers = Vec::new();
    let request = case.request("vm");
    if let Ok(result) = launch(case, &request).await {
        let texts = vec![result.message.clone()];
        answers.push(Answer::new("the answer to a launch", &result, texts));
        let job_type = provider_core::JobType::Provision;
        let job = case.named(&request, job_type, result.job).await?;
        let launched = case.launched(request, job, job_type, result.initial_state);
        let deletion = case.deletion("vm")?;
        let history = launched.history();
        let asked = case.provider().trigger_deprovision(&deletion, &history);
        if let Ok(result) = asked.await {
            let texts = match &result {
                DeprovisionResult::Waiting { reason, .. }
                | DeprovisionResult::Skipped { reason } => vec![reason.clone()],
                _ => Vec::new(),
            };
            answers.push(Answer::new("the answer to a deprovision", &result, texts));
        }
    }
    if case.capabilities().cancel
        && let Ok(launched) = loud(case).await
    {
        case.settled(&launched).await?;
        if let CancelResult::Finished(status) = case.cancel(&launched).await? {
            let texts = vec![status.message.clone()];
            answers.push(Answer::new("the answer to a late cancel", &status, texts));
        }
    }
    let report = case.provider().preflight(&kinds(case)).await;
    answers.push(Answer::of_preflight(&report));
    if case.world().break_next(Fault::RefusesCredentials, 0).await {
        let report = case.provider().preflight(&kinds(case)).await;
        answers.push(Answer::of_preflight(&report));
    }
    Ok(answers)
}

/// The provider's own `Debug` holds no credential and no variable of a launch.
pub async fn debug_holds_no_secret(case: &Case) -> Verdict {
    case.provision("vm").await?;
    let shown = format!("{:?} {:#?}", case.provider(), case.provider());
    without_secret(case, "it", &shown)
}

fn kinds(case: &Case) -> Vec<String> {
    vec![case.world().object("vm").kind().to_owned()]
}

/// A check of the configuration starts nothing.
pub async fn a_preflight_starts_nothing(case: &Case) -> Verdict {
    case.provider().preflight(&kinds(case)).await;
    let count = case.journal().await.len();
    check(count == 0, || format!("{count} jobs were started"))
}

/// A check of a configuration that works finds nothing wrong.
pub async fn a_preflight_likes_what_works(case: &Case) -> Verdict {
    let report = case.provider().preflight(&kinds(case)).await;
    check(report.is_ok(), || text::bounded(&report.to_string(), 500))
}

/// A check of refused credentials says so.
pub async fn a_preflight_sees_refused_credentials(case: &Case) -> Verdict {
    if !case.world().tells_credentials_beforehand() {
        return not_applicable("the backend looks at credentials with a launch only");
    }
    case.break_next(Fault::RefusesCredentials).await?;
    let report = case.provider().preflight(&kinds(case)).await;
    check(!report.is_ok(), || "it found nothing wrong".to_owned())
}
