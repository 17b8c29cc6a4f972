//! Jobs that were at work when they were last seen: they are asked about by name, and need no search.

use std::collections::HashMap;

use provider_core::{JobRef, OperationToken};

/// More than this many are those of objects that went away without a word; a search finds the others.
const MAX: usize = 200_000;

/// The jobs of events, both ways.
#[derive(Default)]
pub(super) struct Alive {
    jobs: HashMap<OperationToken, JobRef>,
    /// By the job's id, which no two jobs of a controller share.
    events: HashMap<String, OperationToken>,
}

impl Alive {
    pub(super) fn job(&self, event: &OperationToken) -> Option<JobRef> {
        self.jobs.get(event).cloned()
    }

    pub(super) fn event(&self, job: &JobRef) -> Option<OperationToken> {
        self.events.get(&job.id).cloned()
    }

    pub(super) fn learn(&mut self, event: &OperationToken, job: &JobRef) {
        if self.jobs.len() >= MAX {
            *self = Self::default();
        }
        self.forget(event);
        self.events.insert(job.id.clone(), event.clone());
        self.jobs.insert(event.clone(), job.clone());
    }

    pub(super) fn forget(&mut self, event: &OperationToken) {
        if let Some(job) = self.jobs.remove(event) {
            self.events.remove(&job.id);
        }
    }
}
