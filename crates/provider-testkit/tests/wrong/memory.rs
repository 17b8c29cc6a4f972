//! What a wrong provider remembers of its own calls; gone after a restart.

use std::collections::{BTreeMap, BTreeSet};

use provider_core::{JobRef, OperationToken};

#[derive(Debug, Default)]
pub struct Memory {
    /// Launches that were answered, by object.
    pub launched: BTreeMap<String, JobRef>,
    /// Their tokens, by object, the newest last.
    pub tokens: BTreeMap<String, Vec<OperationToken>>,
    /// Jobs that were launched or found.
    pub known: BTreeSet<String>,
    /// Jobs that were found by a search.
    pub found: BTreeSet<String>,
    /// How often a job was asked about.
    pub asked: BTreeMap<String, u32>,
    /// How often its cancel was asked for.
    pub canceled: BTreeMap<String, u32>,
    /// What is being worked on.
    pub busy: BTreeSet<String>,
    /// The job of the last call.
    pub last: Option<JobRef>,
    pub failed: bool,
    pub listening: bool,
}
