//! What most controllers name, in one line: `use provider_core::prelude::*;`

pub use crate::lifecycle::{
    ActionRequest, Desired, Lifecycle, Mode, Outcome, Policy, PolicyConfig, ProviderRegistry,
    Standing, StatusStore,
};
pub use crate::{
    Clock, ConfigVersion, ExtraVars, JobRecord, JobState, JobType, ObjectKey, Provider, Resource,
    Secret, SystemClock,
};
