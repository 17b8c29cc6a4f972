//! What a reconcile gives back.

use crate::clock::Elapsed as _;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::decision::{Ground, Standing, Why};
use super::event::Event;
use super::store::StoreVersion;
use super::telemetry;
use crate::{JobRecord, JobRef, ObjectKey, ProviderError};

/// Where an object stands after a pass, what happened in it, and when to come back. All of it
/// is data: what a controller does with it (conditions, events, requeue) is its own affair.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Outcome {
    /// Where the object stands.
    pub standing: Standing,
    /// The rule that the standing follows from; none where the store broke the pass off.
    pub why: Option<Why>,
    /// What happened, in order.
    pub events: Vec<Event>,
    /// What happens when the caller makes the write that the store [has left](super::Written::left) to it,
    /// with the records that it is about. See [`recorded`](Self::recorded).
    pub unrecorded: Vec<(Event, JobRecord)>,
    /// When to reconcile again at the latest. None only where the standing
    /// [is final](Standing::is_final).
    pub wake_at: Option<Timestamp>,
    /// Deletion takes longer than the policy's `escalateAfter`: somebody should look.
    pub escalated: bool,
    /// The last call of a provider that failed in this pass. A poll that fails changes no record,
    /// and is repeated at its pace.
    pub trouble: Option<ProviderError>,
    /// The last call of a provider in this pass went well. Neither this nor a trouble: none was made,
    /// and whatever was known about the backend before is all that is known.
    pub answered: bool,
    /// What may be left behind at the backend, when the object is let go nevertheless, or its target is gone
    /// from an object that stays. With [`Ground::Retained`] it was meant to stay.
    pub receipt: Option<OrphanReceipt>,
    /// The records as they are now.
    pub records: Arc<Vec<JobRecord>>,
    /// The version of the records at the store: the precondition for removing a finalizer.
    pub version: Option<StoreVersion>,
    /// How many writes of others got in the way.
    pub conflicts: u32,
}

impl Outcome {
    /// The write that the store has left to the caller is made: logs and counts what it has put on record,
    /// and answers it. A write that fails has put nothing on record, and the next pass finds it again.
    pub fn recorded(&self) -> impl Iterator<Item = &Event> {
        for (event, record) in &self.unrecorded {
            telemetry::record_event(event, record);
        }
        self.unrecorded.iter().map(|(event, _)| event)
    }

    /// Whether the finalizer may be removed. With several targets, each must say so.
    #[must_use]
    pub fn may_release(&self) -> bool {
        matches!(self.standing, Standing::Released(_))
    }

    /// How long after `now` to reconcile again; none where only a change of the object can
    /// change anything.
    #[must_use]
    pub fn wake_after(&self, now: Timestamp) -> Option<Duration> {
        Some(self.wake_at?.elapsed_since(now))
    }
}

/// What may be left behind at a backend after an object was let go. Somebody should look, unless it was
/// [meant to stay](Ground::Retained).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct OrphanReceipt {
    /// The object, as `Kind namespace/name`.
    pub object: String,
    /// Its uid.
    pub uid: String,
    /// Why it was let go.
    pub ground: &'static str,
    /// The jobs whose results may be left.
    pub jobs: Vec<JobRef>,
    /// Those of them that may still be at work: nobody watches them any more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub at_work: Vec<JobRef>,
    /// Launches whose job was never known and that may have been carried out all the same: `attempt 3`,
    /// with the operation token to look for where it has one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub in_doubt: Vec<String>,
}

impl OrphanReceipt {
    /// The receipt for these attempts of an object; none where nothing may be left.
    #[must_use]
    pub fn new(
        key: &ObjectKey,
        ground: Ground,
        left_behind: &[u64],
        records: &[JobRecord],
    ) -> Option<Self> {
        if left_behind.is_empty() {
            return None;
        }
        let left = || {
            records
                .iter()
                .filter(|record| left_behind.contains(&record.attempt))
        };
        let jobs = left().filter_map(JobRecord::job_ref).collect();
        let live = left().filter(|record| record.may_be_live());
        let at_work = live.filter_map(JobRecord::job_ref).collect();
        let in_doubt = left().filter(|record| record.job_id.is_none());
        Some(Self {
            object: key.to_string(),
            uid: key.uid.clone(),
            ground: ground.as_str(),
            jobs,
            at_work,
            in_doubt: in_doubt.map(in_words).collect(),
        })
    }
}

fn in_words(record: &JobRecord) -> String {
    match &record.token {
        Some(token) => format!("attempt {} (token {})", record.attempt, token.as_str()),
        None => format!("attempt {}", record.attempt),
    }
}
