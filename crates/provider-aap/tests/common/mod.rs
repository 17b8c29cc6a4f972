//! What the tests of this crate share.

use provider_core::{JobRef, ProvisionResult};

/// The job of a launch. A controller names it in its answer.
pub(crate) fn job_of(launched: &ProvisionResult) -> JobRef {
    launched.job.clone().unwrap()
}
