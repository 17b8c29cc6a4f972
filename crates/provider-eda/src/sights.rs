//! Since when this process has known of an event: a window that no other clock has a part in.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use provider_core::clock::Elapsed as _;
use provider_core::{JobRecord, OperationToken, Resource, TrackedJob};

/// More than this many are those of objects that went away without a word; the others begin anew.
const MAX: usize = 100_000;

/// The first sight of each event: when it was sent here, or when its record was first looked at.
#[derive(Debug, Default)]
pub(crate) struct Sights(Mutex<HashMap<String, Timestamp>>);

impl Sights {
    /// How long an event of this token has been known.
    pub(crate) fn of_token(&self, token: &OperationToken, now: Timestamp) -> Duration {
        self.of(token.as_str(), now)
    }

    /// How long the event of a record has been known.
    pub(crate) fn of_record(
        &self,
        resource: &Resource,
        record: &JobRecord,
        now: Timestamp,
    ) -> Duration {
        match &record.token {
            Some(token) => self.of_token(token, now),
            None => self.of(&format!("{}#{}", resource.key(), record.attempt), now),
        }
    }

    /// How long the event of a job has been known.
    pub(crate) fn of_job(&self, resource: &Resource, job: &TrackedJob, now: Timestamp) -> Duration {
        match &job.token {
            Some(token) => self.of_token(token, now),
            // Names that older operators gave are not of one object alone.
            None => self.of(&format!("{}#{}", resource.uid(), job.job.id), now),
        }
    }

    fn of(&self, name: &str, now: Timestamp) -> Duration {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX {
            known.clear();
        }
        match known.get_mut(name) {
            Some(first) if *first <= now => now.elapsed_since(*first),
            _ => {
                known.insert(name.to_owned(), now);
                Duration::ZERO
            }
        }
    }
}
