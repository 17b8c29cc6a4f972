//! What stands between the two simulators: a rulebook that turns events into jobs, and playbooks
//! that leave their marks on the objects.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value, json};

use super::api::{AuditAction, AuditRule};
use super::journal::{Event, Fate};
use super::server::EdaSim;
use crate::aap::{AapSim, Run};

/// Where the playbooks find their objects.
pub trait Cluster: Send + Sync {
    /// Changes one object, if it is there. False when the write was refused, as on a conflict: the
    /// playbook does it again.
    fn edit(&self, namespace: &str, name: &str, change: &mut dyn FnMut(&mut Value)) -> bool;
}

/// Objects in memory, by `namespace/name`.
#[derive(Debug, Clone, Default)]
pub struct Objects(Arc<Mutex<BTreeMap<String, Value>>>);

impl Objects {
    /// Adds an object, or replaces it.
    pub fn put(&self, object: Value) {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        let key = format!(
            "{}/{}",
            text("/metadata/namespace").unwrap_or_default(),
            text("/metadata/name").unwrap_or_default()
        );
        self.lock().insert(key, object);
    }

    /// The object, as it is now.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<Value> {
        self.lock().get(&format!("{namespace}/{name}")).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Value>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cluster for Objects {
    fn edit(&self, namespace: &str, name: &str, change: &mut dyn FnMut(&mut Value)) -> bool {
        if let Some(object) = self.lock().get_mut(&format!("{namespace}/{name}")) {
            change(object);
        }
        true
    }
}

/// A rule with the action `run_job_template`.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// It fits events whose `payload.providerEvent.action` is this.
    pub action: String,
    /// The template that it launches.
    pub template: String,
    /// Labels of the job; `{{ event.payload.… }}` is filled in.
    pub labels: Vec<String>,
    /// How often a job that ended `failed` is launched anew.
    pub retries: u32,
    /// The templates of its further actions, which are run one after the other.
    pub then: Vec<String>,
}

impl Rule {
    /// A rule for this action.
    #[must_use]
    pub fn new(action: &str, template: &str) -> Self {
        Self {
            name: action.to_owned(),
            action: action.to_owned(),
            template: template.to_owned(),
            labels: Vec::new(),
            retries: 0,
            then: Vec::new(),
        }
    }

    /// With a further action behind the others.
    #[must_use]
    pub fn then(mut self, template: &str) -> Self {
        self.then.push(template.to_owned());
        self
    }

    fn template(&self, action: usize) -> Option<&str> {
        match action.checked_sub(1) {
            None => Some(&self.template),
            Some(further) => self.then.get(further).map(String::as_str),
        }
    }

    /// With a label on its jobs.
    #[must_use]
    pub fn with_label(mut self, label: &str) -> Self {
        self.labels.push(label.to_owned());
        self
    }

    /// With failed jobs repeated.
    #[must_use]
    pub fn with_retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }
}

/// What the playbooks do to their objects, beside adding their finalizer at the start of a creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    /// At its end, a creation writes the version into an annotation.
    pub reports_version: bool,
    /// At the end of a job, its operation is written into an annotation.
    pub reports_operation: bool,
    /// At its end, a deletion removes the finalizer.
    pub removes_finalizer: bool,
}

impl Default for Marks {
    fn default() -> Self {
        Self {
            reports_version: true,
            reports_operation: true,
            removes_finalizer: true,
        }
    }
}

/// A running rulebook. It does nothing by itself: [`step`](Self::step) carries on.
///
/// As measured on ansible-rulebook 1.3.2: the first rule that fits takes the event, without a
/// strategy the next event waits for the end of the job, and with `parallel` up to 25 run at once.
#[derive(Debug)]
pub struct Rulebook {
    rules: Vec<Rule>,
    /// The number of its activation.
    activation: usize,
    at_once: usize,
    marks: Marks,
    seen: u64,
    queue: VecDeque<Event>,
    running: Vec<Running>,
    /// Jobs whose marks are not complete.
    marking: Vec<u64>,
}

#[derive(Debug)]
struct Running {
    event: Event,
    rule: usize,
    /// Which of the rule's actions is at work, from 0, …
    action: usize,
    /// … and the row of the audit, once there is one.
    row: Option<u64>,
    job: u64,
    tries_left: u32,
}

impl Rulebook {
    /// A rulebook that works off one event after the other.
    #[must_use]
    pub fn sequential(rules: impl IntoIterator<Item = Rule>) -> Self {
        Self {
            rules: rules.into_iter().collect(),
            activation: 1,
            at_once: 1,
            marks: Marks::default(),
            seen: 0,
            queue: VecDeque::new(),
            running: Vec::new(),
            marking: Vec::new(),
        }
    }

    /// A rulebook with `execution_strategy: parallel`.
    #[must_use]
    pub fn parallel(rules: impl IntoIterator<Item = Rule>) -> Self {
        Self {
            at_once: 25,
            ..Self::sequential(rules)
        }
    }

    /// As the rulebook of another activation, which sees the same events.
    #[must_use]
    pub fn of_activation(mut self, number: usize) -> Self {
        self.activation = number;
        self
    }

    /// With other playbooks behind the templates.
    #[must_use]
    pub fn with_marks(mut self, marks: Marks) -> Self {
        self.marks = marks;
        self
    }

    /// The process ends and starts again: events that stood in its queue are lost, also those that
    /// it had not looked at, and nobody watches the jobs that run.
    pub fn restart(&mut self, eda: &EdaSim) {
        self.seen = eda.journal().last().map_or(self.seen, |event| event.id);
        self.queue.clear();
        self.running.clear();
        eda.restart_rulebook();
        eda.work_off(usize::MAX);
    }

    /// Does what is due: takes events, launches jobs, sees their ends; and what the playbooks of
    /// those jobs have done to their objects meanwhile.
    pub fn step(&mut self, eda: &EdaSim, aap: &AapSim, cluster: &dyn Cluster) {
        for event in eda.journal() {
            if event.id > self.seen {
                self.seen = event.id;
                if event.fate == Fate::Queued {
                    self.queue.push_back(event);
                }
            }
        }
        let runs: BTreeMap<u64, Run> = aap.journal().into_iter().map(|run| (run.id, run)).collect();
        self.marking.retain(|job| {
            runs.get(job).is_some_and(|run| {
                // The last marks too are left until they were taken.
                let taken = mark(run, self.marks, cluster);
                run.stopped.is_none() || !taken
            })
        });
        let mut going_on = Vec::new();
        for mut running in std::mem::take(&mut self.running) {
            let status = aap.status(running.job);
            let active = matches!(status, Some("new" | "pending" | "waiting" | "running"));
            if active {
                going_on.push(running);
                continue;
            }
            // Only `failed` is repeated, and by a job of its own.
            if status == Some("failed") && running.tries_left > 0 {
                running.tries_left -= 1;
                if let Ok(job) = self.launch(aap, &running) {
                    running.job = job;
                    going_on.push(running);
                    continue;
                }
            }
            let link = format!("{}/#/jobs/playbook/{}/details/", aap.url(), running.job);
            let ended = AuditAction::ended(status.unwrap_or("error")).with_url(&link);
            self.audit(eda, &mut running, ended);
            running.action += 1;
            going_on.extend(self.go_on(eda, aap, running));
        }
        self.running = going_on;
        while self.running.len() < self.at_once
            && let Some(event) = self.queue.pop_front()
        {
            self.begin(eda, aap, event);
        }
    }

    fn begin(&mut self, eda: &EdaSim, aap: &AapSim, event: Event) {
        let action = event.text("/providerEvent/action").unwrap_or_default();
        let Some(rule) = self.rules.iter().position(|rule| rule.action == action) else {
            eda.work_off(1);
            return;
        };
        let running = Running {
            event,
            rule,
            action: 0,
            row: None,
            job: 0,
            tries_left: 0,
        };
        let begun = self.go_on(eda, aap, running);
        self.running.extend(begun);
    }

    /// Launches the next action of a rule; after the last one the event is worked off.
    fn go_on(&mut self, eda: &EdaSim, aap: &AapSim, mut running: Running) -> Option<Running> {
        let rule = self.rules.get(running.rule);
        let (retries, actions) = rule.map_or((0, 0), |rule| (rule.retries, 1 + rule.then.len()));
        while running.action < actions {
            running.tries_left = retries;
            match self.launch(aap, &running) {
                Ok(job) => {
                    running.job = job;
                    return Some(running);
                }
                Err(message) => {
                    let failed = AuditAction::ended("failed").with_message(&message);
                    self.audit(eda, &mut running, failed);
                    running.action += 1;
                }
            }
        }
        eda.work_off(1);
        None
    }

    fn launch(&mut self, aap: &AapSim, running: &Running) -> Result<u64, String> {
        let event = &running.event;
        let rule = self.rules.get(running.rule).ok_or("the rule is gone")?;
        let template = rule.template(running.action).ok_or("the action is gone")?;
        let vars = json!({"ansible_eda": {
            "ruleset": "simulated", "rule": rule.name,
            "event": {"payload": event.payload, "meta": {"endpoint": event.endpoint}},
        }});
        let labels: Vec<String> = rule.labels.iter().map(|l| filled(l, event)).collect();
        let none = Map::new();
        let vars = vars.as_object().unwrap_or(&none);
        let job = aap.launch(template, vars, &labels)?;
        self.marking.push(job);
        Ok(job)
    }

    /// The row of a rule is written when its first action ends; the others are added to it.
    fn audit(&self, eda: &EdaSim, running: &mut Running, ended: AuditAction) {
        if let Some(row) = running.row {
            return eda.audit_action(row, ended);
        }
        if let Some(rule) = self.rules.get(running.rule) {
            let event = &running.event;
            let fired = AuditRule::new(&rule.name, event.at, event.payload.clone());
            running.row = eda.audit(fired.of_activation(self.activation), ended);
        }
    }
}

/// A label with the parts of the event in it.
fn filled(label: &str, event: &Event) -> String {
    let mut out = String::new();
    let mut rest = label;
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(before);
        let Some((name, after)) = after.split_once("}}") else {
            break;
        };
        let path = name
            .trim()
            .strip_prefix("event.payload")
            .unwrap_or_default();
        out.push_str(event.text(&path.replace('.', "/")).unwrap_or_default());
        rest = after;
    }
    out.push_str(rest);
    out
}

/// What a playbook has done to its object so far: the finalizer when a creation begins, the
/// version and the operation when it ends, no finalizer when a deletion ends. Their names are in the API group
/// of the object. False when the object could not be written.
fn mark(run: &Run, marks: Marks, cluster: &dyn Cluster) -> bool {
    let Some(payload) = run.extra_vars.pointer("/ansible_eda/event/payload") else {
        return true;
    };
    let text = |pointer: &str| {
        let value = payload.pointer(pointer).and_then(Value::as_str);
        value.unwrap_or_default()
    };
    let kind = text("/kind").to_lowercase();
    let named = |name: &str| match text("/apiVersion").split_once('/') {
        Some((group, _)) => format!("{group}/{name}"),
        None => name.to_owned(),
    };
    let finalizer = named(&format!("{kind}-aap"));
    let (applied, operation) = (
        named("reconciled-config-version"),
        named("reconciled-operation"),
    );
    let action = text("/providerEvent/action");
    let (create, delete) = (action == "create", action == "delete");
    let change = &mut |object: &mut Value| {
        let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
            return;
        };
        let finalizers = metadata.entry("finalizers").or_insert_with(|| json!([]));
        if let Value::Array(finalizers) = finalizers {
            let there = finalizers.iter().any(|one| *one == finalizer.as_str());
            if create && run.started.is_some() && !there {
                finalizers.push(json!(finalizer));
            } else if delete && run.succeeded && marks.removes_finalizer {
                finalizers.retain(|one| *one != finalizer.as_str());
            }
        }
        let mut annotate = |name: &str, value: &str| {
            let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
            if let Value::Object(annotations) = annotations {
                annotations.insert(name.to_owned(), json!(value));
            }
        };
        if create && run.succeeded && marks.reports_version {
            annotate(&applied, text("/providerEvent/configVersion"));
        }
        if run.succeeded && marks.reports_operation {
            annotate(&operation, text("/providerEvent/operationToken"));
        }
    };
    cluster.edit(text("/metadata/namespace"), text("/metadata/name"), change)
}
