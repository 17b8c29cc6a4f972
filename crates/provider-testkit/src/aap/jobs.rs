//! The life of jobs: a discrete-event simulation, advanced by whoever looks at it.
//!
//! Nothing ticks. Before any request is answered, every event that is due by the injected clock is
//! carried out in order, so that a test may jump a day and a person may watch in real time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use provider_core::clock;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::journal::Run;
use super::nodes::{Other, Part};
use super::plan::{Ending, RunPlan};
use super::world::{Kind, Template};

mod done;

#[derive(Debug, Clone)]
pub(super) struct Job {
    pub id: u64,
    pub kind: Kind,
    pub template: Option<u64>,
    pub name: String,
    pub organization: u64,
    pub extra_vars: Map<String, Value>,
    pub limit: String,
    pub labels: Vec<u64>,
    pub launch_type: &'static str,
    pub user: usize,
    pub plan: RunPlan,
    pub created: Timestamp,
    pub status: &'static str,
    pub started: Option<Timestamp>,
    pub finished: Option<Timestamp>,
    pub canceled_on: Option<Timestamp>,
    pub explanation: String,
    pub traceback: String,
    pub artifacts: Map<String, Value>,
    /// Whether a playbook was handed to a node.
    pub handed_out: bool,
    pub parent: Option<u64>,
    pub children: Vec<u64>,
    pub sliced: bool,
    /// What it is where it is neither a job nor a workflow job.
    pub other: Option<Other>,
    /// What it has as a node of a workflow.
    pub part: Part,
    /// Whether its work goes on, whatever its status says.
    pub(super) working: bool,
    /// Where the controller cannot show it.
    pub broken: Option<Broken>,
}

/// A job whose row cannot be rendered (a NaN among its artifacts, for one) makes a 500 of every answer
/// that it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Broken {
    /// In lists; by itself the job can be read.
    InLists,
    /// Wherever it would be shown.
    Everywhere,
}

impl Job {
    pub(super) fn is_working(&self) -> bool {
        self.working
    }

    pub(super) fn is_active(&self) -> bool {
        matches!(self.status, "new" | "pending" | "waiting" | "running")
    }
}

#[derive(Debug)]
pub(super) enum Event {
    /// With its id and its `created`, where it has them already.
    Commit(Box<NewJob>, Option<(u64, Timestamp)>),
    Start(u64),
    Finish(u64),
    Stop(u64),
    Notify(u64),
}

/// A launch that was accepted.
#[derive(Debug, Clone)]
pub(super) struct NewJob {
    pub template: u64,
    pub extra_vars: Map<String, Value>,
    pub limit: String,
    pub labels: Vec<u64>,
    pub launch_type: &'static str,
    pub user: usize,
    pub plan: RunPlan,
    pub parent: Option<u64>,
}

#[derive(Debug, Default)]
pub(super) struct Jobs {
    pub templates: BTreeMap<u64, Template>,
    pub organizations: Vec<String>,
    /// Names with their organizations, numbered from 1.
    pub labels: Vec<(String, u64)>,
    pub jobs: BTreeMap<u64, Job>,
    pub journal: BTreeMap<u64, Run>,
    /// When templates were made that were not there from the beginning.
    pub born: BTreeMap<u64, Timestamp>,
    /// What has changed in it.
    pub journal_changed: BTreeSet<u64>,
    /// Jobs whose status has changed and that nobody has been told of, where somebody listens.
    pub changed: Option<Vec<u64>>,
    /// Jobs of which a notification is due.
    pub told: Vec<u64>,
    pub(super) events: BTreeMap<(Timestamp, u64), Event>,
    blocked: BTreeMap<u64, VecDeque<u64>>,
    counter: u64,
    pub(super) last_id: u64,
}

impl Jobs {
    pub(super) fn new(templates: Vec<Template>) -> Self {
        let mut jobs = Self {
            last_id: 6,
            ..Self::default()
        };
        for template in templates {
            jobs.add_template(template);
        }
        jobs
    }

    pub(super) fn add_template(&mut self, template: Template) -> u64 {
        self.last_id += 1;
        self.organization(&template.organization);
        self.templates.insert(self.last_id, template);
        self.last_id
    }

    /// Its number, from 1.
    pub(super) fn organization(&mut self, name: &str) -> u64 {
        let at = self.organizations.iter().position(|known| known == name);
        let at = at.unwrap_or_else(|| {
            self.organizations.push(name.to_owned());
            self.organizations.len() - 1
        });
        at as u64 + 1
    }

    pub(super) fn organization_name(&self, id: u64) -> &str {
        usize::try_from(id)
            .ok()
            .and_then(|id| self.organizations.get(id.checked_sub(1)?))
            .map_or("", String::as_str)
    }

    pub(super) fn label_name(&self, id: u64) -> &str {
        usize::try_from(id)
            .ok()
            .and_then(|id| self.labels.get(id.checked_sub(1)?))
            .map_or("", |(name, _)| name)
    }

    pub(super) fn at(&mut self, when: Timestamp, event: Event) {
        self.counter += 1;
        self.events.insert((when, self.counter), event);
    }

    /// Carries out what is due.
    pub(super) fn advance(&mut self, now: Timestamp) {
        while let Some(entry) = self.events.first_entry() {
            if entry.key().0 > now {
                return;
            }
            let ((when, _), event) = entry.remove_entry();
            match event {
                Event::Commit(new, None) => {
                    self.create(*new, when);
                }
                Event::Commit(new, Some((id, created))) => {
                    self.insert(id, *new, created, when);
                }
                Event::Start(id) => {
                    self.start(id, when);
                    self.note(id);
                }
                Event::Finish(id) => {
                    self.finish(id, when);
                    self.note(id);
                }
                Event::Stop(id) => {
                    self.stop(id, when);
                    self.note(id);
                }
                Event::Notify(id) => self.told.push(id),
            }
        }
    }

    /// Its status, and that of the workflow around it, may have changed.
    pub(super) fn note(&mut self, id: u64) {
        let parent = self.jobs.get(&id).and_then(|job| job.parent);
        if let Some(changed) = &mut self.changed {
            changed.push(id);
            changed.extend(parent);
        }
    }

    /// The next moment at which anything changes.
    pub(super) fn next_event(&self) -> Option<Timestamp> {
        self.events.first_key_value().map(|((when, _), _)| *when)
    }

    pub(super) fn commit_later(&mut self, new: NewJob, when: Timestamp) {
        self.at(when, Event::Commit(Box::new(new), None));
    }

    /// The row has been inserted; its transaction ends later.
    pub(super) fn commit_slowly(&mut self, new: NewJob, now: Timestamp, when: Timestamp) {
        self.last_id += 1;
        let known = Some((self.last_id, now));
        self.at(when, Event::Commit(Box::new(new), known));
    }

    pub(super) fn create(&mut self, new: NewJob, now: Timestamp) -> Option<u64> {
        self.last_id += 1;
        self.insert(self.last_id, new, now, now)
    }

    fn insert(&mut self, id: u64, new: NewJob, created: Timestamp, now: Timestamp) -> Option<u64> {
        let template = self.templates.get(&new.template)?.clone();
        let organization = self.organization(&template.organization);
        let child = new.parent.is_some();
        let sliced = template.slices > 1 && !child;
        let kind = if sliced {
            Kind::Workflow
        } else {
            template.kind
        };
        let job = Job {
            id,
            kind,
            template: Some(new.template),
            name: template.name.clone(),
            organization,
            extra_vars: new.extra_vars,
            limit: new.limit,
            labels: new.labels,
            launch_type: new.launch_type,
            user: new.user,
            plan: new.plan,
            created,
            status: "pending",
            started: None,
            finished: None,
            canceled_on: None,
            explanation: String::new(),
            traceback: String::new(),
            artifacts: Map::new(),
            handed_out: false,
            parent: new.parent,
            children: Vec::new(),
            sliced,
            other: None,
            part: Part::default(),
            working: false,
            broken: None,
        };
        if let Some(changed) = &mut self.changed {
            changed.push(id);
        }
        self.journal_changed.insert(id);
        self.journal.insert(
            id,
            Run {
                id,
                kind,
                template: template.name,
                launch_type: job.launch_type.to_owned(),
                extra_vars: Value::Object(job.extra_vars.clone()),
                accepted: now,
                started: None,
                stopped: None,
                succeeded: false,
            },
        );
        self.at(clock::add(now, job.plan.queue), Event::Start(id));
        self.jobs.insert(id, job);
        Some(id)
    }

    fn start(&mut self, id: u64, now: Timestamp) {
        let Some(job) = self.jobs.get(&id).filter(|job| job.status == "pending") else {
            return;
        };
        if let Some(other) = self.blocker(job) {
            let text = format!("waiting for {other} to finish");
            let template = job.template.unwrap_or_default();
            if let Some(job) = self.jobs.get_mut(&id) {
                job.explanation = text;
            }
            self.blocked.entry(template).or_default().push_back(id);
            return;
        }
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        job.working = true;
        job.explanation.clear();
        // An approval is pending until somebody has decided.
        let waits = job.other == Some(Other::Approval);
        if !waits {
            job.status = "running";
            job.started = Some(now);
        }
        job.handed_out = job.kind == Kind::Job && !waits;
        let (kind, plan, template, sliced) = (job.kind, job.plan.clone(), job.template, job.sliced);
        let child = NewJob {
            template: template.unwrap_or_default(),
            extra_vars: job.extra_vars.clone(),
            limit: job.limit.clone(),
            labels: Vec::new(),
            launch_type: "workflow",
            user: job.user,
            plan: RunPlan {
                queue: Duration::ZERO,
                ..plan.clone()
            },
            parent: Some(id),
        };
        if let Some(run) = self.journal.get_mut(&id) {
            run.started = Some(now);
            self.journal_changed.insert(id);
        }
        self.notify(id, now);
        if kind == Kind::Job {
            if let Some(run) = plan.run {
                self.at(clock::add(now, run), Event::Finish(id));
            }
            return;
        }
        let template = template.and_then(|template| self.templates.get(&template));
        let nested = self.jobs.get(&id).and_then(|job| job.part.nodes.clone());
        let (count, nodes) = match (nested, template) {
            (Some(nodes), _) => (0, nodes),
            (None, Some(template)) if sliced => (template.slices, template.nodes.clone()),
            (None, Some(template)) => (1, template.nodes.clone()),
            (None, None) => (1, Vec::new()),
        };
        let children: Vec<u64> = (0..count)
            .filter_map(|_| self.create(child.clone(), now))
            .collect();
        for child in &children {
            // The playbooks of a workflow's nodes are jobs, whatever their parent came from.
            if let Some(job) = self.jobs.get_mut(child) {
                job.kind = Kind::Job;
            }
            if let Some(run) = self.journal.get_mut(child) {
                run.kind = Kind::Job;
            }
        }
        if let Some(job) = self.jobs.get_mut(&id) {
            job.children = children;
        }
        self.add_nodes(id, &nodes, now);
    }

    /// The end that the plan foresees; it overwrites whatever the status says by then.
    fn finish(&mut self, id: u64, now: Timestamp) {
        let Some(job) = self.jobs.get_mut(&id).filter(|job| job.working) else {
            return;
        };
        if job.other == Some(Other::Approval) {
            self.time_out(id, now);
            return;
        }
        job.working = false;
        // After a cancel that nobody carried out, `finished` keeps the moment of the cancel.
        job.finished.get_or_insert(now);
        match job.plan.ending.clone() {
            Ending::Successful => {
                job.status = "successful";
                job.artifacts = job.plan.artifacts.clone();
            }
            Ending::Failed { .. } | Ending::Played(_) => job.status = "failed",
            Ending::Explained(text) => {
                job.status = "failed";
                job.explanation = text;
            }
            Ending::Error {
                explanation,
                traceback,
            } => {
                job.status = "error";
                job.explanation = explanation;
                job.traceback = traceback;
            }
        }
        let succeeded = job.status == "successful";
        self.stopped(id, now, succeeded);
    }

    /// A job that is at work comes to this end now; of a workflow, the jobs of its nodes.
    pub(super) fn end(&mut self, id: u64, ending: &Ending, now: Timestamp) -> bool {
        let Some(job) = self.jobs.get_mut(&id).filter(|job| job.working) else {
            return false;
        };
        if job.kind == Kind::Workflow {
            for child in job.children.clone() {
                self.end(child, ending, now);
            }
            return true;
        }
        job.plan.ending = ending.clone();
        self.finish(id, now);
        true
    }

    pub(super) fn stop(&mut self, id: u64, now: Timestamp) {
        let Some(job) = self.jobs.get_mut(&id).filter(|job| job.working) else {
            return;
        };
        job.working = false;
        job.status = "canceled";
        job.finished = Some(now);
        self.stopped(id, now, false);
    }

    pub(super) fn stopped(&mut self, id: u64, now: Timestamp, succeeded: bool) {
        if let Some(run) = self.journal.get_mut(&id) {
            run.stopped.get_or_insert(now);
            run.succeeded = succeeded;
            self.journal_changed.insert(id);
        }
        self.notify(id, now);
        let Some(job) = self.jobs.get(&id) else {
            return;
        };
        let (parent, template) = (job.parent, job.template);
        if let Some(waiting) = template.and_then(|template| self.blocked.remove(&template)) {
            for id in waiting {
                self.at(now, Event::Start(id));
            }
        }
        if let Some(parent) = parent {
            self.child_ended(parent, now);
        }
    }

    fn child_ended(&mut self, id: u64, now: Timestamp) {
        let Some(parent) = self.jobs.get(&id) else {
            return;
        };
        let children: Vec<&Job> = parent
            .children
            .iter()
            .filter_map(|child| self.jobs.get(child))
            .collect();
        if children.iter().any(|child| child.is_active()) {
            return;
        }
        // A parent goes by what its children's status says; their work may go on.
        let working = children.iter().any(|child| child.working);
        if !parent.is_active() {
            if let Some(run) = self.journal.get_mut(&id).filter(|_| !working) {
                run.stopped.get_or_insert(now);
                self.journal_changed.insert(id);
            }
            return;
        }
        let all = children
            .iter()
            .all(|child| child.status == "successful" || child.part.is_handled);
        let asked = parent.canceled_on.is_some();
        let artifacts = parent.plan.artifacts.clone();
        let Some(parent) = self.jobs.get_mut(&id) else {
            return;
        };
        parent.working = false;
        parent.finished = Some(now);
        if all {
            parent.status = "successful";
            parent.artifacts = artifacts;
        } else if asked {
            parent.status = "canceled";
        } else {
            parent.status = "failed";
            parent.explanation =
                "No error handling paths found, marking workflow as failed".to_owned();
        }
        let succeeded = parent.status == "successful";
        if !working {
            self.stopped(id, now, succeeded);
        }
    }
}
