//! Nodes of workflows that run no playbook of a template, and what happens to jobs behind the API's back.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::approvals;
use super::jobs::{Event, Job, Jobs, NewJob};
use super::plan::RunPlan;
use super::world::{Kind, Template, User};

/// What a node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Other {
    /// A playbook, as a job of its own.
    Job,
    /// Another workflow, of the nodes that the node names.
    Workflow,
    /// A project is synchronised.
    ProjectUpdate,
    /// An inventory source is synchronised.
    InventoryUpdate,
    /// A management job of the controller.
    SystemJob,
    /// A command on hosts.
    AdHocCommand,
    /// A person is waited for, as long as the plan's `run`; then the approval has timed out.
    Approval,
    /// Something of a newer controller, of which nobody here has heard.
    Unheard,
}

impl Other {
    const ALL: [Self; 6] = [
        Self::ProjectUpdate,
        Self::InventoryUpdate,
        Self::SystemJob,
        Self::AdHocCommand,
        Self::Approval,
        Self::Unheard,
    ];

    pub(super) const fn job_type(self) -> &'static str {
        match self {
            Self::Job => "job",
            Self::Workflow => "workflow_job",
            Self::ProjectUpdate => "project_update",
            Self::InventoryUpdate => "inventory_update",
            Self::SystemJob => "system_job",
            Self::AdHocCommand => "ad_hoc_command",
            Self::Approval => "workflow_approval",
            Self::Unheard => "unheard_thing",
        }
    }

    pub(super) fn of_collection(collection: &str) -> Option<Self> {
        let word = collection.strip_suffix('s')?;
        Self::ALL.into_iter().find(|other| other.job_type() == word)
    }
}

/// A node of a workflow template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// The name of what it runs.
    pub name: String,
    /// What that is.
    pub runs: Other,
    /// How that goes.
    #[serde(default)]
    pub plan: RunPlan,
    /// The nodes of a workflow within the workflow.
    #[serde(default)]
    pub nodes: Vec<Self>,
    /// The node's own name, for people.
    #[serde(default)]
    pub identifier: String,
    /// Whether there is a path for its failure, which then is none of the workflow.
    #[serde(default)]
    pub is_handled: bool,
}

/// What a job has as a node of a workflow.
#[derive(Debug, Clone, Default)]
pub(super) struct Part {
    pub identifier: String,
    pub is_handled: bool,
    /// Of a workflow within a workflow.
    pub nodes: Option<Vec<Node>>,
    /// Of an approval: who has decided, and whether nobody did in time.
    pub decided_by: Option<usize>,
    pub timed_out: bool,
}

impl Node {
    /// A node that runs this.
    #[must_use]
    pub fn new(name: impl Into<String>, runs: Other, plan: RunPlan) -> Self {
        Self {
            name: name.into(),
            runs,
            plan,
            nodes: Vec::new(),
            identifier: String::new(),
            is_handled: false,
        }
    }

    /// A node that runs a workflow of these nodes.
    #[must_use]
    pub fn workflow(name: impl Into<String>, nodes: impl IntoIterator<Item = Self>) -> Self {
        let mut node = Self::new(name, Other::Workflow, RunPlan::default());
        node.nodes = nodes.into_iter().collect();
        node
    }

    /// The same with a name of its own.
    #[must_use]
    pub fn called(mut self, identifier: impl Into<String>) -> Self {
        self.identifier = identifier.into();
        self
    }

    /// The same with a path for its failure.
    #[must_use]
    pub fn handled(mut self) -> Self {
        self.is_handled = true;
        self
    }
}

impl Job {
    pub(super) fn job_type(&self) -> &'static str {
        self.other
            .map_or(self.kind.job_type(), |other| other.job_type())
    }

    pub(super) fn collection(&self) -> String {
        format!("{}s", self.job_type())
    }
}

/// What is told of a job that is neither a job nor a workflow job.
pub(super) fn in_row(
    job: &Job,
    parent: Option<&Job>,
    users: &[User],
    row: &mut Map<String, Value>,
) {
    let Some(other) = job.other else { return };
    row.insert("type".to_owned(), json!(other.job_type()));
    let url = format!("/api/v2/{}/{}/", job.collection(), job.id);
    row.insert("url".to_owned(), json!(url));
    if other == Other::Approval {
        approvals::in_row(job, parent, users, row);
    }
}

impl Jobs {
    pub(super) fn add_nodes(&mut self, workflow: u64, nodes: &[Node], now: Timestamp) {
        let Some(parent) = self.jobs.get(&workflow).cloned() else {
            return;
        };
        for node in nodes {
            // Where there is a template of that name, the job is one of that, and shown to whoever may read it.
            let named = |template: &Template| {
                template.name == node.name && template.kind.job_type() == node.runs.job_type()
            };
            let mut templates = self.templates.iter();
            let template = templates.find(|(_, template)| named(template));
            let template = template.map(|(id, _)| *id).or(parent.template);
            let new = NewJob {
                template: template.unwrap_or_default(),
                extra_vars: Map::new(),
                limit: String::new(),
                labels: Vec::new(),
                launch_type: "workflow",
                user: parent.user,
                plan: RunPlan {
                    queue: std::time::Duration::ZERO,
                    ..node.plan.clone()
                },
                parent: Some(workflow),
            };
            let Some(id) = self.create(new, now) else {
                continue;
            };
            let kind = match node.runs {
                Other::Workflow => Kind::Workflow,
                _ => Kind::Job,
            };
            if let Some(job) = self.jobs.get_mut(&id) {
                job.kind = kind;
                job.name.clone_from(&node.name);
                job.part.identifier.clone_from(&node.identifier);
                job.part.is_handled = node.is_handled;
                match node.runs {
                    Other::Job => {}
                    Other::Workflow => job.part.nodes = Some(node.nodes.clone()),
                    other => {
                        job.other = Some(other);
                        job.template = None;
                    }
                }
            }
            if let Some(run) = self.journal.get_mut(&id) {
                run.kind = kind;
                run.template.clone_from(&node.name);
            }
            if let Some(parent) = self.jobs.get_mut(&workflow) {
                parent.children.push(id);
            }
        }
    }

    /// The database is that of a backup again: it knows no job after this one, and gives their ids again.
    /// What was at work was stopped with the controller.
    pub(super) fn restore(&mut self, newest: u64, now: Timestamp) {
        for id in self.jobs.split_off(&newest.saturating_add(1)).into_keys() {
            if let Some(mut run) = self.journal.remove(&id) {
                run.stopped.get_or_insert(now);
                let older = self.journal.range(u64::MAX / 2..).count() as u64;
                self.journal.insert(u64::MAX - older, run);
            }
        }
        let is_known = |id: &u64| *id <= newest;
        self.events.retain(|_, event| match event {
            Event::Start(id) | Event::Finish(id) | Event::Stop(id) | Event::Notify(id) => {
                is_known(id)
            }
            Event::Commit(..) => true,
        });
        // When the backup was made, a workflow whose jobs it lacks had not begun: it begins now.
        let lacks = |job: &&mut Job| job.children.iter().any(|child| *child > newest);
        let mut begins = Vec::new();
        for job in self.jobs.values_mut().filter(lacks) {
            job.children.clear();
            if job.is_active() {
                (job.status, job.started, job.working) = ("pending", None, false);
                begins.push(job.id);
            }
        }
        for id in begins {
            self.at(now, Event::Start(id));
        }
        self.last_id = newest;
    }

    /// The dispatcher was restarted while this job was just starting, and cancels it of its own accord (as
    /// measured: with a text of the reaper, and without a `canceled_on`).
    pub(super) fn interrupt(&mut self, id: u64, now: Timestamp) -> bool {
        let Some(job) = self.jobs.get_mut(&id).filter(|job| job.is_active()) else {
            return false;
        };
        job.status = "canceled";
        job.started.get_or_insert(now);
        job.finished = Some(now);
        job.handed_out = false;
        job.working = false;
        "Task was marked as running but was not present in the job queue, so it has been marked as failed."
            .clone_into(&mut job.explanation);
        "Traceback (most recent call last):\nRuntimeError: not starting canceled task\n"
            .clone_into(&mut job.traceback);
        self.note(id);
        self.stopped(id, now, false);
        true
    }

    /// An administrator sets this status in the database, and nothing else; the work stops.
    pub(super) fn set_in_database(
        &mut self,
        id: u64,
        status: &'static str,
        now: Timestamp,
    ) -> bool {
        let Some(job) = self.jobs.get_mut(&id) else {
            return false;
        };
        job.status = status;
        job.working = false;
        job.finished = None;
        self.stopped(id, now, false);
        true
    }
}
