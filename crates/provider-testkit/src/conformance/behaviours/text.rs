//! What people read: bounded, on one line, and without a secret; and the check of a configuration.

use provider_core::{ExtraVars, JobStatus, text};

use super::launch::launch;
use crate::conformance::case::{Case, check, not_applicable};
use crate::conformance::harness::{Deed, Fault};
use crate::conformance::report::Verdict;

/// The most that a status may carry as details, in bytes.
pub const MAX_DETAILS: usize = 64 * 1024;

const SECRET: &str = "s3cret-of-the-caller";

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

fn without(what: &str, text: &str, secrets: &[String]) -> Verdict {
    let seen = secrets.iter().find(|secret| text.contains(secret.as_str()));
    check(seen.is_none(), || format!("{what} holds a secret"))
}

fn secrets(case: &Case) -> Vec<String> {
    let mut secrets = case.world().secrets();
    secrets.push(SECRET.to_owned());
    secrets
}

/// The messages of statuses are bounded and on one line, whatever the job says.
pub async fn messages_are_bounded(case: &Case) -> Verdict {
    let status = loud(case).await?;
    one_bounded_line("the message", &status.message, text::MAX_TEXT)?;
    let details = status.details.as_deref().unwrap_or_default();
    check(details.len() <= MAX_DETAILS, || {
        format!(
            "the details have {} bytes; {MAX_DETAILS} are allowed",
            details.len()
        )
    })
}

/// The texts of statuses hold no credential of the provider, whatever the job says.
pub async fn messages_hold_no_secret(case: &Case) -> Verdict {
    let status = loud(case).await?;
    without("the status", &format!("{status:?}"), &secrets(case))
}

async fn loud(case: &Case) -> Result<JobStatus, crate::conformance::report::Stop> {
    let launched = case.provision("vm").await?;
    case.make(Deed::FailLoudly, &launched).await?;
    case.settled(&launched).await
}

/// Errors hold no credential and no secret variable, even when the backend repeats them.
pub async fn errors_hold_no_secret(case: &Case) -> Verdict {
    for way in 0.. {
        if !case.break_by(Fault::Echoes, way).await? {
            break;
        }
        let vars = ExtraVars::new().with_secret("password", SECRET);
        let request = case.request("vm").with_extra_vars(vars);
        if let Err(error) = launch(case, &request).await {
            let what = format!("way {way}: the error");
            without(&what, &format!("{error} {error:?}"), &secrets(case))?;
        }
    }
    Ok(())
}

/// The provider's own `Debug` holds no credential.
pub async fn debug_holds_no_secret(case: &Case) -> Verdict {
    case.provision("vm").await?;
    let shown = format!("{:?} {:#?}", case.provider(), case.provider());
    without("it", &shown, &secrets(case))
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
