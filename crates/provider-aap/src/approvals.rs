//! Who is waited for by a workflow that runs: approvals that nobody has given yet.
//!
//! One list of the approvals that are pending serves all workflows, is asked for now and then only, and only
//! while somebody asks about a workflow that runs. What it says of ours is put together with the node's own
//! name, which is read once.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indexmap::IndexMap;
use jiff::Timestamp;
use provider_core::clock::Elapsed as _;
use provider_core::{ErrorKind, JobState, JobStatus, ProviderError, text};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::AapProvider;
use crate::answer::List;
use crate::body::{JobBody, lenient, time};
use crate::diagnose::{Inquiry, nodes, waiting};
use crate::words::Kind;

/// So often the list is asked for.
const PERIOD: Duration = Duration::from_secs(120);

/// What was told is not repeated longer than this, when the list cannot be had any more.
const OLD: Duration = Duration::from_secs(600);

/// How long somebody waits for it at most: nothing depends on it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Pages of the list.
const PAGES: u8 = 3;

/// How many workflows that approvals belong to are looked up at one time: their parents, or their nodes.
const LOOK_UPS: u8 = 4;

/// How deep workflows are within each other.
const DEEPEST: u8 = 4;

/// What is remembered of workflows, each.
const MOST: usize = 2_000;

/// How many approvals one message tells of.
const TOLD: usize = 2;

/// An approval that nobody has given.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pending {
    id: u64,
    /// The workflow that it is a node of.
    source: u64,
    name: String,
    expires: Option<Timestamp>,
}

#[derive(Debug, Default)]
struct Known {
    /// When the list was asked for, and when it was had.
    asked: Option<Timestamp>,
    told: Option<Timestamp>,
    pending: Vec<Pending>,
    /// Workflows that run and are asked about, and when they were last.
    ours: IndexMap<u64, Timestamp>,
    /// The workflow that one is a node of, where it is.
    parents: IndexMap<u64, Option<u64>>,
    /// The names of the nodes, of approvals that wait.
    names: HashMap<u64, Option<String>>,
}

/// What is known of approvals.
#[derive(Debug, Default)]
pub(crate) struct Approvals(Mutex<Known>);

fn put<T>(map: &mut IndexMap<u64, T>, key: u64, value: T) {
    if map.len() >= MOST && !map.contains_key(&key) {
        map.shift_remove_index(0);
    }
    map.insert(key, value);
}

impl Known {
    /// Whether this approval is one of this workflow, or of one within it.
    fn is_within(&self, approval: &Pending, workflow: u64) -> bool {
        let mut at = Some(approval.source);
        for _ in 0..DEEPEST {
            match at {
                Some(id) if id == workflow => return true,
                Some(id) => at = self.parents.get(&id).copied().flatten(),
                None => return false,
            }
        }
        false
    }

    /// The next workflow whose parent has to be known, to tell whose this approval is.
    fn unknown_above(&self, approval: &Pending) -> Option<u64> {
        let mut at = approval.source;
        for _ in 0..DEEPEST {
            if self.ours.contains_key(&at) {
                return None;
            }
            match self.parents.get(&at) {
                Some(parent) => at = (*parent)?,
                None => return Some(at),
            }
        }
        None
    }

    fn is_ours(&self, approval: &Pending) -> bool {
        self.ours
            .keys()
            .any(|workflow| self.is_within(approval, *workflow))
    }

    fn text(&self, workflow: u64) -> Option<String> {
        let ours: Vec<&Pending> = self
            .pending
            .iter()
            .filter(|approval| self.is_within(approval, workflow))
            .collect();
        let told: Vec<String> = ours
            .iter()
            .take(TOLD)
            .map(|one| self.describe(one))
            .collect();
        let more = match ours.len().saturating_sub(TOLD) {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        (!told.is_empty()).then(|| format!("it waits for {}{more}", told.join(", ")))
    }

    fn describe(&self, approval: &Pending) -> String {
        let node = self.names.get(&approval.id).and_then(Option::as_deref);
        let what = waiting(&approval.name, node);
        match approval.expires {
            Some(at) => format!("{what}, which expires at {at}"),
            None => format!("{what}, which does not expire"),
        }
    }
}

impl Approvals {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This workflow runs. Whether the list is due, and ours to ask for.
    fn is_due(&self, workflow: u64, now: Timestamp) -> bool {
        let mut known = self.lock();
        put(&mut known.ours, workflow, now);
        let is_due = known
            .asked
            .is_none_or(|asked| asked > now || now.elapsed_since(asked) >= PERIOD);
        if is_due {
            known.asked = Some(now);
            let lately = |at: &Timestamp| now.elapsed_since(*at) < OLD;
            known.ours.retain(|_, at| lately(at));
        }
        is_due
    }

    fn text(&self, workflow: u64, now: Timestamp) -> Option<String> {
        let known = self.lock();
        let told = known.told?;
        (now.elapsed_since(told) < OLD).then(|| known.text(workflow))?
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Row {
    #[serde(deserialize_with = "lenient")]
    id: u64,
    #[serde(deserialize_with = "lenient")]
    name: String,
    #[serde(deserialize_with = "lenient")]
    approval_expiration: String,
    #[serde(deserialize_with = "lenient")]
    summary_fields: Value,
}

/// The workflow that a job is a node of.
fn source(summary: &Value) -> Option<u64> {
    summary.get("source_workflow_job")?.get("id")?.as_u64()
}

impl AapProvider {
    /// Says who is waited for by a workflow that runs.
    pub(crate) async fn note_wait(&self, status: &mut JobStatus, body: &JobBody) {
        let is_workflow = Kind::of(&status.job.kind) == Some(Kind::Workflow);
        let (JobState::Running, true, Ok(id)) = (status.state, is_workflow, status.job.id.parse())
        else {
            return;
        };
        let now = self.clock.now();
        // Who is waited for by a workflow that is being canceled is on record already.
        if !body.is_canceling() && self.approvals.is_due(id, now) {
            self.ask_for_approvals(now).await;
        }
        if let Some(text) = self.approvals.text(id, now) {
            status.message = match status.message.as_str() {
                said if body.is_canceling() => format!("{said}; {text}"),
                _ => text,
            };
        }
    }

    async fn ask_for_approvals(&self, now: Timestamp) {
        let asked = async {
            let _turn = self.monitor.turn().await;
            let Ok(admission) = self.monitor.admit() else {
                return;
            };
            let answer = self.approvals_now(now).await;
            admission.tell(answer.as_ref().err());
            if let Err(error) = answer {
                tracing::debug!("the approvals are not known: {error}");
            }
        };
        if tokio::time::timeout(PATIENCE, Box::pin(asked))
            .await
            .is_err()
        {
            tracing::debug!("the approvals are not known: it takes too long");
        }
    }

    async fn approvals_now(&self, now: Timestamp) -> Result<(), ProviderError> {
        let mut inquiry = self.inquiry();
        let (mut pending, are_cut) = pending(&mut inquiry).await?;
        {
            let mut known = self.approvals.lock();
            if are_cut {
                // Of what is behind the bound nobody knows more than before.
                tracing::debug!("only the first {} approvals were looked at", pending.len());
                let last = pending.iter().map(|approval| approval.id).max();
                let behind = known.pending.iter();
                let behind = behind.filter(|approval| Some(approval.id) > last);
                pending.extend(behind.take(MOST).cloned());
            }
            let names = |id: &u64| pending.iter().any(|approval| approval.id == *id);
            known.names.retain(|id, _| names(id));
            known.pending.clone_from(&pending);
            known.told = Some(now);
        }
        for _ in 0..LOOK_UPS {
            let unknown = {
                let known = self.approvals.lock();
                pending
                    .iter()
                    .find_map(|approval| known.unknown_above(approval))
            };
            let Some(unknown) = unknown else { break };
            let parent = match inquiry.row("workflow_jobs", unknown).await {
                Ok(row) => source(&row.summary_fields),
                // Somebody else's.
                Err(error)
                    if matches!(error.kind(), ErrorKind::Forbidden | ErrorKind::NotFound) =>
                {
                    None
                }
                Err(error) => return Err(error),
            };
            put(&mut self.approvals.lock().parents, unknown, parent);
        }
        let mut looked_at = Vec::new();
        for _ in 0..LOOK_UPS {
            let unnamed = {
                let known = self.approvals.lock();
                let is_unnamed = |one: &&Pending| {
                    !known.names.contains_key(&one.id) && !looked_at.contains(&one.source)
                };
                let ours = pending
                    .iter()
                    .filter(is_unnamed)
                    .find(|one| known.is_ours(one));
                ours.map(|one| one.source)
            };
            let Some(unnamed) = unnamed else { break };
            looked_at.push(unnamed);
            let nodes = nodes(&mut inquiry, unnamed).await?.all;
            let mut known = self.approvals.lock();
            for approval in pending.iter().filter(|one| one.source == unnamed) {
                let is_its = |job: u64| job == approval.id;
                let node = nodes
                    .iter()
                    .find(|node| node.job().is_some_and(|job| is_its(job.id)));
                // For its first second, a node does not show its approval: it is asked for again.
                if let Some(node) = node {
                    let name = node.own_name().map(|name| inquiry.bounded(name, 100));
                    known.names.insert(approval.id, name);
                }
            }
        }
        Ok(())
    }
}

/// The approvals that wait for somebody, the oldest first; and whether there may be more than the bound.
/// The list ends with an empty page and with nothing else.
async fn pending(inquiry: &mut Inquiry<'_>) -> Result<(Vec<Pending>, bool), ProviderError> {
    let (mut all, mut after) = (Vec::<Pending>::new(), 0_u64);
    for _ in 0..PAGES {
        let last = after.to_string();
        let query = [
            ("status", "pending"),
            ("order_by", "id"),
            ("page_size", "200"),
            ("id__gt", last.as_str()),
        ];
        let what = "the approvals that wait";
        let answer = inquiry.get("workflow_approvals/", &query, what).await?;
        let page = answer.json::<List<Box<RawValue>>>()?.results;
        if page.is_empty() {
            return Ok((all, false));
        }
        let rows = page.iter();
        let rows = rows.filter_map(|row| serde_json::from_str::<Row>(row.get()).ok());
        let mut newest = after;
        for row in rows {
            newest = newest.max(row.id);
            let Some(source) = source(&row.summary_fields) else {
                continue;
            };
            all.push(Pending {
                id: row.id,
                source,
                name: text::bounded(&inquiry.redact(&row.name), 200),
                expires: time(&row.approval_expiration),
            });
        }
        if newest <= after {
            break;
        }
        after = newest;
    }
    Ok((all, true))
}
