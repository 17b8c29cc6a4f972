//! What calls of a provider give, and the circumstances of that.

use jiff::Timestamp;

use crate::lifecycle::Policy;
use crate::{
    CancelResult, Capabilities, DeprovisionResult, JobStatus, ProviderError, ProvisionResult,
    Relaunched, TriggerError,
};

/// What a call of a provider gave.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Observation {
    /// Of `trigger_provision` or `trigger_action`.
    Provisioned(Result<ProvisionResult, TriggerError>),
    /// Of `trigger_deprovision`.
    Deprovisioned(Result<DeprovisionResult, TriggerError>),
    /// Of `status`.
    Status(Result<JobStatus, ProviderError>),
    /// Of `cancel`.
    Canceled(Result<CancelResult, ProviderError>),
    /// Of `find_launched`.
    Found(Result<Vec<JobStatus>, ProviderError>),
    /// Of `find_relaunched`, asked of the provider that owns the attempt.
    Relaunched {
        /// What it answered.
        found: Result<Vec<Relaunched>, ProviderError>,
        /// Whether what was provisioned was to go when it was asked, with its object or without.
        deleting: bool,
    },
}

impl Observation {
    /// The error that the call ended in, if it did.
    #[must_use]
    pub fn error(&self) -> Option<&ProviderError> {
        match self {
            Self::Provisioned(Err(error)) | Self::Deprovisioned(Err(error)) => Some(error.error()),
            Self::Status(Err(error))
            | Self::Canceled(Err(error))
            | Self::Found(Err(error))
            | Self::Relaunched {
                found: Err(error), ..
            } => Some(error),
            _ => None,
        }
    }

    /// Whether it tells that a launch was not carried out.
    pub(super) fn is_no_launch(&self) -> bool {
        match self {
            Self::Provisioned(Err(error)) | Self::Deprovisioned(Err(error)) => error.is_certain(),
            Self::Deprovisioned(Ok(
                DeprovisionResult::Waiting { .. } | DeprovisionResult::Skipped { .. },
            )) => true,
            _ => false,
        }
    }

    /// Whether it tells how a job with a name stands, as opposed to how a launch went.
    pub(super) const fn is_about_a_job(&self) -> bool {
        matches!(self, Self::Status(_) | Self::Canceled(_))
    }
}

/// The circumstances of an observation.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Context<'a> {
    /// The user's choices.
    pub policy: &'a Policy,
    /// What the called provider can do.
    pub capabilities: &'a Capabilities,
    /// The present moment.
    pub now: Timestamp,
    /// Randomness for jitter.
    pub seed: u128,
}

impl<'a> Context<'a> {
    /// These circumstances.
    #[must_use]
    pub const fn new(
        policy: &'a Policy,
        capabilities: &'a Capabilities,
        now: Timestamp,
        seed: u128,
    ) -> Self {
        Self {
            policy,
            capabilities,
            now,
            seed,
        }
    }
}
