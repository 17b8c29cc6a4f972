//! The jobs of a workflow's nodes: of any kind, also of those that we never launch.

use std::collections::HashSet;

use provider_core::clock::Elapsed as _;
use provider_core::{ErrorKind, JobState, ProviderError};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::AapProvider;
use crate::body::{JobBody, lenient};
use crate::diagnose::{Node, NodeJob, page_of_nodes, read_nodes};
use crate::status::{Certainty, Confirmation};

/// A job of a node, as a list shows it.
pub(crate) struct Child {
    pub(crate) body: JobBody,
    /// Where it is read by itself, below the API's root.
    pub(crate) path: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Place {
    #[serde(deserialize_with = "lenient")]
    url: String,
}

impl Child {
    pub(crate) fn read(text: &RawValue) -> Self {
        let body: JobBody = serde_json::from_str(text.get()).unwrap_or_default();
        let place: Place = serde_json::from_str(text.get()).unwrap_or_default();
        let known = body.kind.zip(body.id);
        let known = known.map(|(kind, id)| format!("{}/{id}/", kind.collection()));
        Self {
            path: body.id.and_then(|id| below_root(&place.url, id)).or(known),
            body,
        }
    }
}

/// `project_updates/7/` of the url of row 7, whatever a proxy has put before it. Anything else may be a
/// path to somewhere else.
fn below_root(url: &str, id: u64) -> Option<String> {
    let mut parts = url.trim_end_matches('/').rsplit('/');
    let (last, collection) = (parts.next()?, parts.next()?);
    let is_word = |word: &str| {
        let is_fine = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        (1..=60).contains(&word.len()) && word.bytes().all(is_fine)
    };
    (last.parse() == Ok(id) && is_word(collection)).then(|| format!("{collection}/{id}/"))
}

impl AapProvider {
    /// Whether the end of a node's job is one. The list lacks what tells an end from a claimed end; the job
    /// itself has it.
    pub(crate) async fn certainty_of_child(
        &self,
        child: &Child,
        confirm: Confirmation,
    ) -> Result<Certainty, ProviderError> {
        let row = &child.body;
        let confirm = self.confirmation(row, row.id.unwrap_or(0), confirm.now);
        let certainty = row.certainty(confirm);
        if certainty != Certainty::Doubtful || row.id.is_none() {
            return Ok(certainty);
        }
        let is_past_window = confirm.now.elapsed_since(confirm.ended) >= confirm.window;
        // What counts no events has none to wait for, and is no playbook.
        let without_events = if is_past_window {
            Certainty::Settled
        } else {
            Certainty::Doubtful
        };
        let Some(path) = &child.path else {
            return Ok(without_events);
        };
        let answer = self.client.get(path, &[], "a job of the workflow").await;
        let mut whole = match answer {
            Ok(answer) => answer.json::<JobBody>()?,
            // Deleted since.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(without_events),
            // For the limit: nobody has to let us see what others' nodes do.
            Err(error) if error.kind() == ErrorKind::Forbidden => return Ok(Certainty::Doubtful),
            Err(error) => return Err(error),
        };
        whole.kind = row.kind;
        if !crate::map_status(&whole.status).is_terminal() {
            return Ok(Certainty::Doubtful);
        }
        match whole.certainty(confirm) {
            Certainty::Doubtful if row.kind.is_none() && !whole.counts_events => Ok(without_events),
            certainty => Ok(certainty),
        }
    }
}

/// How many pages of nodes are read of one workflow.
const MOST_PAGES: usize = 200;

impl AapProvider {
    /// Whether none of the jobs of a workflow that no list has shown may be running on: those of templates
    /// that our user may not read. A node tells the status of its job to whoever sees the workflow, and not
    /// whether that is a claimed end.
    pub(crate) async fn unseen_nodes_settled(
        &self,
        workflow: &str,
        seen: &HashSet<u64>,
        confirm: Confirmation,
    ) -> Result<bool, ProviderError> {
        // It was read as a number.
        let Ok(workflow) = workflow.parse() else {
            return Ok(false);
        };
        let mut after = 0;
        for _ in 0..MOST_PAGES {
            let (path, query) = page_of_nodes(workflow, after);
            let query: Vec<(&str, &str)> = query.iter().map(|(name, of)| (*name, &**of)).collect();
            let answer = self.client.get(&path, &query, "the nodes of the workflow");
            let nodes = match answer.await {
                Ok(answer) => read_nodes(&answer)?,
                // For the limit: nobody has to let us see them.
                Err(error)
                    if matches!(error.kind(), ErrorKind::Forbidden | ErrorKind::NotFound) =>
                {
                    return Ok(false);
                }
                Err(error) => return Err(error),
            };
            if nodes.is_empty() {
                return Ok(true);
            }
            let is_settled = |node: &Node| {
                let is_seen = node.job_id().is_none_or(|job| seen.contains(&job));
                is_seen || is_over(node.job(), confirm)
            };
            // A node without a number ends no page, and may be any.
            if !nodes.iter().all(|node| node.id > after && is_settled(node)) {
                return Ok(false);
            }
            after = nodes.iter().map(|node| node.id).max().unwrap_or(after);
        }
        Ok(false)
    }
}

/// Whether what a node tells of its job is enough to call it over.
fn is_over(job: Option<&NodeJob>, confirm: Confirmation) -> bool {
    let Some(job) = job else { return false };
    match &*job.kind {
        // It runs nothing.
        "workflow_approval" => true,
        // No playbook of ours, and nothing that counts events which could be waited for.
        "project_update" | "inventory_update" | "system_job" => {
            let is_past_window = confirm.now.elapsed_since(confirm.ended) >= confirm.window;
            crate::map_status(&job.status).is_terminal() && is_past_window
        }
        // Any other end may be a claimed one, until the limit.
        _ => crate::map_status(&job.status) == JobState::Succeeded,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_where_it_says_and_nowhere_else() {
        for (url, path) in [
            ("/api/v2/project_updates/7/", Some("project_updates/7/")),
            ("/x/api/controller/v2/system_jobs/7", Some("system_jobs/7/")),
            ("/api/v2/project_updates/8/", None),
            ("/api/v2/../7/", None),
            ("/api/v2/jobs%2f/7/", None),
            ("7/", None),
            ("", None),
        ] {
            assert_eq!(below_root(url, 7).as_deref(), path, "{url}");
        }
    }
}
