//! Why a job failed, where the job itself does not say: the task that ended it, the node of a workflow, the
//! line of the output.
//!
//! It is asked for once for each end, within bounds: so many requests, so long, behind the monitor's breaker
//! and its turns. What cannot be found out leaves the status as it is.

mod flow;
#[cfg(test)]
mod hostile;
mod inquiry;
mod output;
mod play;
mod said;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indexmap::IndexMap;
use jiff::Timestamp;
use provider_core::{JobState, JobStatus, ProviderError, text};

use crate::AapProvider;
use crate::body::JobBody;
use crate::words::Kind;
pub(crate) use flow::{Node, NodeJob, nodes, page_of_nodes, read_nodes, waiting};
pub(crate) use inquiry::Inquiry;

/// How long somebody waits for a diagnosis at most: the end itself is known by then.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often it is tried: an answer may get lost.
const TRIES: u8 = 2;

/// The oldest is forgotten for a new one, and would be asked for again.
const MOST: usize = 1_000;

/// What was found out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Diagnosis {
    /// The cause, in one sentence.
    pub message: Option<String>,
    /// The cause, where it is that of the job before this one.
    pub previous: Option<String>,
    /// The end of the output.
    pub details: Option<String>,
}

impl Diagnosis {
    fn saying(message: String) -> Self {
        Self {
            message: Some(message),
            ..Self::default()
        }
    }

    fn is_empty(&self) -> bool {
        self.message.is_none() && self.details.is_none()
    }
}

/// After a restore from a backup, an id is another job's.
type Key = (Kind, u64, Option<Timestamp>);

#[derive(Debug, Default)]
struct Told {
    tries: u8,
    found: Option<Arc<Diagnosis>>,
}

/// What was found out of jobs that have ended.
#[derive(Debug, Default)]
pub(crate) struct Diagnoses(Mutex<IndexMap<Key, Told>>);

impl Diagnoses {
    fn known(&self, key: &Key) -> Option<Arc<Diagnosis>> {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.get(key)?.found.clone()
    }

    /// Whether it may be asked for (once more), which counts.
    fn may_ask(&self, key: Key) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST && !all.contains_key(&key) {
            all.shift_remove_index(0);
        }
        let told = all.entry(key).or_default();
        let may = told.tries < TRIES;
        told.tries = told.tries.saturating_add(1);
        may
    }

    fn found(&self, key: &Key, diagnosis: &Arc<Diagnosis>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(told) = all.get_mut(key) {
            told.found = Some(Arc::clone(diagnosis));
        }
    }
}

impl AapProvider {
    /// Adds what the job's events, or its nodes, tell of its end; a failure to do so leaves the status as
    /// it is.
    pub(crate) async fn explain(&self, status: &mut JobStatus, body: &JobBody) {
        let (Ok(id), Some(kind)) = (status.job.id.parse::<u64>(), Kind::of(&status.job.kind))
        else {
            return;
        };
        let key = (kind, id, body.created);
        let found = match self.diagnoses.known(&key) {
            Some(found) => Some(found),
            None => self.diagnosis(key, status.state).await,
        };
        let Some(found) = found else { return };
        status.details.clone_from(&found.details);
        let Some(message) = &found.message else {
            return;
        };
        let message = match status.state {
            JobState::Canceled if !status.message.is_empty() => {
                format!("{message}; {}", status.message)
            }
            // What the job says itself is better than what was found about it. A workflow only says that a
            // node failed.
            JobState::Failed if kind == Kind::Job && body.says_why() => found
                .previous
                .clone()
                .unwrap_or_else(|| status.message.clone()),
            _ => message.clone(),
        };
        status.message = text::bounded(&message, text::MAX_TEXT);
    }

    async fn diagnosis(&self, key: Key, state: JobState) -> Option<Arc<Diagnosis>> {
        // The wait for a turn counts: many jobs may fail at once.
        let found = tokio::time::timeout(PATIENCE, Box::pin(self.asked(key, state))).await;
        let (kind, id, _) = key;
        let found = match found {
            Ok(found) => found?,
            Err(_) => {
                tracing::debug!("no diagnosis of {} {id}: it takes too long", kind.word());
                return None;
            }
        };
        match found {
            Ok(found) if found.is_empty() => None,
            Ok(found) => {
                let found = Arc::new(found);
                self.diagnoses.found(&key, &found);
                Some(found)
            }
            Err(error) => {
                tracing::debug!("no diagnosis of {} {id}: {error}", kind.word());
                None
            }
        }
    }

    /// None where nothing may be asked.
    async fn asked(&self, key: Key, state: JobState) -> Option<Result<Diagnosis, ProviderError>> {
        let _turn = self.monitor.turn().await;
        let admission = self.monitor.admit().ok()?;
        if !self.diagnoses.may_ask(key) {
            return None;
        }
        let (kind, id, _) = key;
        let mut inquiry = self.inquiry();
        let found = match state {
            JobState::Canceled => inquiry.of_canceled(id).await,
            _ => inquiry.of(kind.word(), id).await,
        };
        admission.tell(found.as_ref().err());
        Some(found)
    }

    /// The questions of one diagnosis.
    pub(crate) fn inquiry(&self) -> Inquiry<'_> {
        let mut ours: Vec<String> = self
            .config
            .envelope
            .path()
            .into_iter()
            .map(Into::into)
            .collect();
        ours.truncate(1);
        ours.push(self.config.token_variable.clone());
        Inquiry::new(&self.client, ours)
    }
}
