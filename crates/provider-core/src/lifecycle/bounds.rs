//! Names of jobs that are too long to go on record are refused where they come in.

use super::Observation;
use crate::{CancelResult, DeprovisionResult, JobRef, JobStatus, ProviderError, TriggerError};

impl Observation {
    /// The same observation, or an error in its place when it names a job in more bytes than
    /// [fit on record](JobRef::check). A launch whose job cannot be named is in doubt.
    #[must_use]
    pub fn checked(self) -> Self {
        match self {
            Self::Provisioned(Ok(result)) => Self::Provisioned(match all(result.job.iter()) {
                Ok(()) => Ok(result),
                Err(error) => Err(TriggerError::Ambiguous(error)),
            }),
            Self::Provisioned(Err(error)) => Self::Provisioned(Err(without_long_stray(error))),
            Self::Deprovisioned(Ok(result)) => Self::Deprovisioned(deprovisioned(result)),
            Self::Deprovisioned(Err(error)) => Self::Deprovisioned(Err(without_long_stray(error))),
            Self::Status(Ok(status)) => Self::Status(status.job.check().map(|()| status)),
            Self::Canceled(Ok(CancelResult::Finished(status))) => {
                let checked = status.job.check();
                Self::Canceled(checked.map(|()| CancelResult::Finished(status)))
            }
            Self::Found(Ok(found)) => {
                let checked = all(found.iter().map(|status| &status.job));
                Self::Found(checked.map(|()| found))
            }
            Self::Relaunched {
                found: Ok(found),
                deleting,
            } => {
                let checked = all(found.iter().map(|copy| &copy.status.job));
                let found = checked.map(|()| found);
                Self::Relaunched { found, deleting }
            }
            other @ (Self::Status(Err(_))
            | Self::Canceled(_)
            | Self::Found(Err(_))
            | Self::Relaunched { found: Err(_), .. }) => other,
        }
    }
}

fn all<'a>(mut jobs: impl Iterator<Item = &'a JobRef>) -> Result<(), ProviderError> {
    jobs.try_for_each(JobRef::check)
}

fn without_long_stray(error: TriggerError) -> TriggerError {
    match error.error().stray_job().map(JobRef::check) {
        Some(Err(long)) => TriggerError::Ambiguous(long),
        Some(Ok(())) | None => error,
    }
}

fn deprovisioned(mut result: DeprovisionResult) -> Result<DeprovisionResult, TriggerError> {
    if let DeprovisionResult::Triggered { job, .. } = &result {
        all(job.iter()).map_err(TriggerError::Ambiguous)?;
    }
    if let DeprovisionResult::Triggered { provision_job, .. }
    | DeprovisionResult::Waiting { provision_job, .. } = &mut result
    {
        drop_long(provision_job);
    }
    Ok(result)
}

/// News of another job, without which the answer is as good.
fn drop_long(news: &mut Option<JobStatus>) {
    if let Some(Err(error)) = news.as_ref().map(|status| status.job.check()) {
        tracing::warn!("{error}");
        *news = None;
    }
}
