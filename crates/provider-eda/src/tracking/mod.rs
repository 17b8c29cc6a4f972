//! Where an event's job can be seen at work, beside the signs on the object.

#[cfg(feature = "aap")]
mod alive;
mod audit;
mod behind;
mod copies;
mod ends;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
#[cfg(feature = "aap")]
mod jobs;
mod rows;

#[cfg(feature = "aap")]
use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::SignedDuration;
use provider_core::{
    CancelResult, Clock, JobRef, JobStatus, OperationToken, Preflight, ProviderError, Resource,
    WakeUps,
};
use serde::Deserialize;

use crate::client::{Client, std_duration};
use crate::{ConfigError, EdaConfig};

use audit::Audit;
pub use audit::AuditTracking;
#[cfg(feature = "aap")]
pub use jobs::JobTracking;

/// How the jobs behind events are seen. Without it, an event's end is known only by the signs that
/// the automation leaves on the object.
#[derive(Debug, Clone, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
#[non_exhaustive]
pub enum Tracking {
    /// On the AAP controller that the rulebook launches on, by the label of the job: its state at
    /// any time, its diagnosis, and cancels.
    #[cfg(feature = "aap")]
    Jobs(Box<JobTracking>),
    /// In the audit of the EDA server: how the actions of a rule ended, once they have.
    Audit(AuditTracking),
}

provider_core::guarded_settings!(Tracking);

#[cfg(feature = "aap")]
impl From<JobTracking> for Tracking {
    fn from(jobs: JobTracking) -> Self {
        Self::Jobs(Box::new(jobs))
    }
}

impl From<AuditTracking> for Tracking {
    fn from(audit: AuditTracking) -> Self {
        Self::Audit(audit)
    }
}

/// How long the consequences of a job's end may take: a rulebook's own retry of a failed job, a further
/// action or rule for the same event, the annotation or the finalizer in our view of the object.
pub(crate) const SETTLE: SignedDuration = SignedDuration::from_secs(60);

impl Tracking {
    pub(crate) fn tidy(&mut self) -> Result<(), ConfigError> {
        match self {
            #[cfg(feature = "aap")]
            Self::Jobs(jobs) => jobs.tidy(),
            Self::Audit(audit) => audit.tidy(),
        }
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        match self {
            #[cfg(feature = "aap")]
            Self::Jobs(jobs) => jobs.validate(),
            Self::Audit(audit) => audit.validate(),
        }
    }

    /// Whether a job can be seen, and stopped, while it is at work.
    pub(crate) const fn is_live(&self) -> bool {
        match self {
            #[cfg(feature = "aap")]
            Self::Jobs(_) => true,
            Self::Audit(_) => false,
        }
    }
}

/// What a look at the jobs of an event has shown.
#[derive(Debug)]
pub(crate) enum Look {
    /// Where the event stands. An end is settled when nothing has followed it for a while.
    Job(Box<JobStatus>),
    /// There is no job of this event.
    Nothing,
    /// Not everything has been read yet, so it cannot be told.
    Unread,
}

/// The running part of [`Tracking`].
pub(crate) enum Tracker {
    #[cfg(feature = "aap")]
    Jobs(Box<jobs::Jobs>),
    Audit(Box<Audit>),
}

impl Tracker {
    pub(crate) fn new(
        config: &EdaConfig,
        clock: &Arc<dyn Clock>,
    ) -> Result<Option<Self>, ConfigError> {
        Ok(match &config.tracking {
            None => None,
            #[cfg(feature = "aap")]
            Some(Tracking::Jobs(jobs)) => Some(Self::Jobs(Box::new(jobs::Jobs::new(
                jobs,
                Arc::clone(clock),
                config.timing.poll_interval,
            )?))),
            Some(Tracking::Audit(audit)) => {
                let mut audit = audit.clone();
                if audit.activations.is_empty() {
                    let same = config.activation.iter().filter(|one| one.url == audit.url);
                    audit.activations.extend(same.map(|one| one.name.clone()));
                }
                let poll = std_duration(config.timing.poll_interval);
                let audit = Audit::new(audit, Arc::clone(clock), poll);
                Some(Self::Audit(Box::new(audit)))
            }
        })
    }

    /// The job that an event has led to, if it can be seen.
    pub(crate) async fn look(
        &self,
        client: &Client,
        resource: &Resource,
        token: &OperationToken,
    ) -> Result<Look, ProviderError> {
        match self {
            #[cfg(feature = "aap")]
            Self::Jobs(jobs) => jobs.look(resource, token).await,
            Self::Audit(audit) => {
                let _ = resource;
                audit.look(client, token).await
            }
        }
    }

    /// Asks the event's jobs to stop; none where there is no job to be seen.
    pub(crate) async fn cancel(
        &self,
        resource: &Resource,
        token: &OperationToken,
    ) -> Result<Option<CancelResult>, ProviderError> {
        match self {
            #[cfg(feature = "aap")]
            Self::Jobs(jobs) => jobs.cancel(resource, token).await,
            Self::Audit(_) => {
                let _ = (resource, token);
                Err(ProviderError::unsupported("canceling an event"))
            }
        }
    }

    /// The jobs that people started as copies of the event's, oldest first.
    pub(crate) async fn copies(
        &self,
        resource: &Resource,
        token: &OperationToken,
    ) -> Result<Vec<JobStatus>, ProviderError> {
        match self {
            #[cfg(feature = "aap")]
            Self::Jobs(jobs) => jobs.copies(resource, token).await,
            Self::Audit(_) => {
                let _ = (resource, token);
                Ok(Vec::new())
            }
        }
    }

    /// One of those, if it is there.
    pub(crate) async fn look_at_copy(
        &self,
        resource: &Resource,
        token: &OperationToken,
        job: &JobRef,
    ) -> Result<Look, ProviderError> {
        match self {
            #[cfg(feature = "aap")]
            Self::Jobs(jobs) => jobs.look_at_copy(resource, token, job).await,
            Self::Audit(_) => {
                let _ = (resource, token, job);
                Ok(Look::Nothing)
            }
        }
    }

    /// Asks one of those to stop.
    pub(crate) async fn cancel_copy(
        &self,
        resource: &Resource,
        token: &OperationToken,
        job: &JobRef,
    ) -> Result<CancelResult, ProviderError> {
        match self {
            #[cfg(feature = "aap")]
            Self::Jobs(jobs) => jobs.cancel_copy(resource, token, job).await,
            Self::Audit(_) => {
                let _ = (resource, token, job);
                Ok(CancelResult::Gone)
            }
        }
    }

    /// Events whose job may have ended, by the name of the provider, where that is told.
    pub(crate) fn wake_ups(&self, provider: &str) -> Option<WakeUps> {
        match self {
            #[cfg(feature = "aap")]
            Self::Jobs(jobs) => jobs.wake_ups(provider),
            Self::Audit(_) => {
                let _ = provider;
                None
            }
        }
    }

    pub(crate) async fn check(&self, client: &Client, report: &mut Preflight) {
        match self {
            #[cfg(feature = "aap")]
            Self::Jobs(jobs) => jobs.check(report).await,
            Self::Audit(audit) => audit.check(client, report).await,
        }
    }
}

/// Of several jobs of one event, oldest first, each with its template, the one that tells where the event
/// stands: one that is alive, else one whose end is in doubt, else the worst. A rulebook that repeats a failed
/// job makes a new one from the same template; one of another template is a further step, whose success does
/// not undo the failure of the first.
#[cfg(feature = "aap")]
fn telling(jobs: Vec<(Option<u64>, JobStatus)>) -> Option<JobStatus> {
    let alive = jobs.iter().rposition(|(_, job)| !job.state.is_terminal());
    let unsettled = jobs.iter().rposition(|(_, job)| !job.settled);
    let mut repeated = BTreeSet::new();
    let newest_of_each = jobs.iter().enumerate().rev();
    let worst = newest_of_each
        .filter(|(_, (template, _))| repeated.insert(*template))
        // Of equals the last, which comes first here.
        .min_by_key(|(_, (_, job))| std::cmp::Reverse(rows::rank(job)))
        .map(|(at, _)| at);
    let at = alive.or(unsettled).or(worst)?;
    jobs.into_iter().nth(at).map(|(_, job)| job)
}
