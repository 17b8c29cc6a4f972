//! Which node of a workflow failed, down through workflows within it, and what is waited for.

use provider_core::ProviderError;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Diagnosis, Inquiry};
use crate::answer::{Answer, List};
use crate::body::lenient;

/// How deep workflows are looked into.
const DEEPEST: u8 = 4;

/// Pages of nodes that are read of one workflow.
const PAGES: u8 = 3;

/// The job of a node.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub(crate) struct NodeJob {
    #[serde(deserialize_with = "lenient")]
    pub id: u64,
    #[serde(deserialize_with = "lenient")]
    pub name: String,
    #[serde(deserialize_with = "lenient")]
    pub status: String,
    #[serde(rename = "type", deserialize_with = "lenient")]
    pub kind: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Summary {
    #[serde(deserialize_with = "lenient")]
    job: Option<NodeJob>,
}

/// A node of a workflow job.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Node {
    #[serde(deserialize_with = "lenient")]
    pub id: u64,
    #[serde(deserialize_with = "lenient")]
    identifier: String,
    #[serde(deserialize_with = "lenient")]
    summary_fields: Summary,
    #[serde(deserialize_with = "lenient")]
    do_not_run: bool,
    #[serde(deserialize_with = "lenient")]
    job: Option<u64>,
    #[serde(deserialize_with = "lenient")]
    unified_job_template: Option<u64>,
    #[serde(deserialize_with = "lenient")]
    failure_nodes: Vec<u64>,
    #[serde(deserialize_with = "lenient")]
    always_nodes: Vec<u64>,
}

/// The words of an approval that waits, or waited.
pub(crate) fn waiting(approval: &str, node: Option<&str>) -> String {
    let of = node.map_or_else(String::new, |node| format!(" of node \"{node}\""));
    format!("approval \"{approval}\"{of}")
}

impl Node {
    /// The name that a person has given it; without one it has a UUID.
    pub(crate) fn own_name(&self) -> Option<&str> {
        let name = self.identifier.trim();
        let is_hex = |c: char| c.is_ascii_hexdigit() || c == '-';
        let is_uuid = name.len() == 36 && name.chars().all(is_hex);
        (!name.is_empty() && !is_uuid).then_some(name)
    }

    pub(crate) fn job(&self) -> Option<&NodeJob> {
        self.summary_fields.job.as_ref()
    }

    /// The number of its job, where it has one.
    pub(crate) fn job_id(&self) -> Option<u64> {
        self.job.or_else(|| Some(self.job()?.id))
    }

    /// A failure that has a path of its own is none of the workflow (AWX 24.6.1, `dag_workflow.py`).
    fn is_handled(&self) -> bool {
        !self.failure_nodes.is_empty() || !self.always_nodes.is_empty()
    }

    fn has_become(&self, statuses: &[&str]) -> bool {
        let job = self.job();
        job.is_some_and(|job| statuses.contains(&job.status.as_str()))
    }

    /// What it should run is not there any more.
    fn has_lost_its_template(&self) -> bool {
        let is_bare = self.job.is_none() && self.unified_job_template.is_none();
        is_bare && self.job().is_none() && !self.do_not_run && self.id > 0
    }
}

/// Nodes of a workflow job, in the order of their ids.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    pub all: Vec<Node>,
    /// Whether there may be more.
    pub are_cut: bool,
}

/// The nodes of a workflow job, up to a bound.
pub(crate) async fn nodes(inquiry: &mut Inquiry<'_>, id: u64) -> Result<Nodes, ProviderError> {
    let mut nodes = Nodes::default();
    for _ in 0..PAGES {
        let after = nodes.all.last().map_or(0, |node| node.id);
        let (path, query) = page_of_nodes(id, after);
        let query: Vec<(&str, &str)> = query.iter().map(|(name, of)| (*name, &**of)).collect();
        let answer = inquiry
            .get(&path, &query, "the nodes of the workflow")
            .await?;
        let page = read_nodes(&answer)?;
        if page.is_empty() {
            return Ok(nodes);
        }
        let is_further = page.iter().all(|node| node.id > after);
        nodes.all.extend(page);
        nodes.all.sort_by_key(|node| node.id);
        if !is_further {
            break;
        }
    }
    nodes.are_cut = true;
    Ok(nodes)
}

/// Where the nodes after this one are listed. The list ends with an empty page and with nothing else: a
/// controller's `MAX_PAGE_SIZE`, or a proxy, may make any page shorter.
pub(crate) fn page_of_nodes(workflow: u64, after: u64) -> (String, [(&'static str, String); 3]) {
    let path = format!("workflow_jobs/{workflow}/workflow_nodes/");
    let query = [
        ("order_by", "id".to_owned()),
        ("page_size", "200".to_owned()),
        ("id__gt", after.to_string()),
    ];
    (path, query)
}

pub(crate) fn read_nodes(answer: &Answer) -> Result<Vec<Node>, ProviderError> {
    let rows = answer.json::<List<Box<RawValue>>>()?.results;
    let read = |row: &RawValue| serde_json::from_str(row.get()).unwrap_or_default();
    Ok(rows.iter().map(|row| read(row)).collect())
}

impl Inquiry<'_> {
    fn name(&self, node: &Node) -> Option<String> {
        let name = self.bounded(node.own_name()?, 100);
        (!name.is_empty()).then_some(name)
    }

    /// Why a workflow has failed: by its first node that failed without a path for it.
    pub(super) async fn of_workflow(
        &mut self,
        id: u64,
        depth: u8,
    ) -> Result<Diagnosis, ProviderError> {
        let Nodes {
            all: nodes,
            are_cut,
        } = nodes(self, id).await?;
        let rest = if are_cut {
            format!("; only its first {} nodes were looked at", nodes.len())
        } else {
            String::new()
        };
        let with = |statuses: &[&str]| {
            let bad = nodes.iter().filter(|node| !node.is_handled());
            let bad = bad.filter(|node| node.has_become(statuses));
            bad.min_by_key(|node| node.job().map(|job| job.id))
        };
        let lost = || {
            nodes
                .iter()
                .find(|node| node.has_lost_its_template() && !node.is_handled())
        };
        // What was canceled may be so because something else has failed.
        let failed = with(&["failed", "error"]).or_else(|| with(&["canceled"]));
        let Some((node, job)) = failed.and_then(|node| Some((node, node.job()?))) else {
            let lost = lost().map(|node| {
                let name = self.name(node).unwrap_or_else(|| node.id.to_string());
                Diagnosis::saying(format!("node \"{name}\" has no template any more{rest}"))
            });
            let unknown = || match are_cut {
                true => Diagnosis::saying(format!("none of its nodes says why{rest}")),
                false => Diagnosis::default(),
            };
            return Ok(lost.unwrap_or_else(unknown));
        };
        let own = self.name(node);
        if job.kind == "workflow_approval" {
            let why = self.of_approval(job, own.as_deref()).await;
            return Ok(Diagnosis::saying(format!("{why}{rest}")));
        }
        let name = own.unwrap_or_else(|| self.bounded(&job.name, 100));
        let mut found = if job.kind == "workflow_job" {
            match depth.checked_add(1).filter(|depth| *depth < DEEPEST) {
                Some(depth) => {
                    self.row("workflow_jobs", job.id).await?;
                    Box::pin(self.of_workflow(job.id, depth)).await?
                }
                None => Diagnosis::default(),
            }
        } else {
            self.of_job(&job.kind, job.id, true).await?
        };
        let inner = found.message.take();
        let inner =
            inner.unwrap_or_else(|| format!("it ended as {}", self.bounded(&job.status, 40)));
        let kind = self.bounded(&job.kind.replace('_', " "), 40);
        found.message = Some(format!(
            "node \"{name}\" ({kind} {}): {inner}{rest}",
            job.id
        ));
        Ok(found)
    }

    /// What became of an approval, and by whom.
    async fn of_approval(&mut self, job: &NodeJob, node: Option<&str>) -> String {
        let what = waiting(&self.bounded(&job.name, 200), node);
        if job.status == "canceled" {
            return format!("{what} was canceled");
        }
        let Ok(row) = self.row("workflow_approvals", job.id).await else {
            return format!("{what} was not given");
        };
        if row.timed_out {
            return format!("{what} timed out: nobody has decided");
        }
        let by = row.summary_fields.get("approved_or_denied_by");
        let by = by.and_then(|by| by.get("username")?.as_str());
        match by
            .map(|by| self.bounded(by, 100))
            .filter(|by| !by.is_empty())
        {
            Some(by) => format!("{what} was denied by {by}"),
            None if row.status == "failed" => format!("{what} was denied"),
            None => format!("{what} was not given"),
        }
    }

    /// What a workflow was waiting for when it was canceled: approvals that were canceled with it.
    pub(super) async fn of_canceled(&mut self, id: u64) -> Result<Diagnosis, ProviderError> {
        let mut workflows = vec![(id, 0_u8)];
        let mut cut = None;
        while let Some((id, depth)) = workflows.pop() {
            let nodes = nodes(self, id).await?;
            cut = cut.or_else(|| nodes.are_cut.then_some(nodes.all.len()));
            for node in nodes
                .all
                .iter()
                .filter(|node| node.has_become(&["canceled"]))
            {
                let Some(job) = node.job() else { continue };
                match job.kind.as_str() {
                    "workflow_approval" => {
                        let name = self.bounded(&job.name, 200);
                        let what = waiting(&name, self.name(node).as_deref());
                        return Ok(Diagnosis::saying(format!("it was waiting for {what}")));
                    }
                    "workflow_job" if depth < DEEPEST => {
                        workflows.push((job.id, depth.saturating_add(1)));
                    }
                    _ => {}
                }
            }
        }
        let cut = cut.map(|seen| {
            let text = format!("only the first {seen} nodes of a workflow were looked at");
            Diagnosis::saying(text)
        });
        Ok(cut.unwrap_or_default())
    }
}
