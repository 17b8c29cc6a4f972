//! What stands between the two simulators: a rulebook that turns events into jobs, and playbooks
//! that leave their marks on the objects.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value, json};

use super::api::AuditRule;
use super::journal::{Event, Fate};
use super::server::EdaSim;
use crate::aap::{AapSim, Run};

/// Where the playbooks find their objects.
pub trait Cluster: Send + Sync {
    /// Changes one object, if it is there.
    fn edit(&self, namespace: &str, name: &str, change: &mut dyn FnMut(&mut Value));
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
    fn edit(&self, namespace: &str, name: &str, change: &mut dyn FnMut(&mut Value)) {
        if let Some(object) = self.lock().get_mut(&format!("{namespace}/{name}")) {
            change(object);
        }
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
    job: u64,
    tries_left: u32,
}

impl Rulebook {
    /// A rulebook that works off one event after the other.
    #[must_use]
    pub fn sequential(rules: impl IntoIterator<Item = Rule>) -> Self {
        Self {
            rules: rules.into_iter().collect(),
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
                mark(run, self.marks, cluster);
                run.stopped.is_none()
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
                if let Ok(job) = self.launch(aap, running.rule, &running.event) {
                    running.job = job;
                    going_on.push(running);
                    continue;
                }
            }
            let link = format!("{}/#/jobs/playbook/{}/details/", aap.url(), running.job);
            self.audit(eda, &running, status.unwrap_or("error"), "", &link);
            eda.work_off(1);
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
        let tries_left = self.rules.get(rule).map_or(0, |rule| rule.retries);
        let mut running = Running {
            event,
            rule,
            job: 0,
            tries_left,
        };
        match self.launch(aap, rule, &running.event) {
            Ok(job) => {
                running.job = job;
                self.running.push(running);
            }
            Err(message) => {
                self.audit(eda, &running, "failed", &message, "");
                eda.work_off(1);
            }
        }
    }

    fn launch(&mut self, aap: &AapSim, rule: usize, event: &Event) -> Result<u64, String> {
        let rule = self.rules.get(rule).ok_or("the rule is gone")?;
        let vars = json!({"ansible_eda": {
            "ruleset": "simulated", "rule": rule.name,
            "event": {"payload": event.payload, "meta": {"endpoint": event.endpoint}},
        }});
        let labels: Vec<String> = rule.labels.iter().map(|l| filled(l, event)).collect();
        let none = Map::new();
        let vars = vars.as_object().unwrap_or(&none);
        let job = aap.launch(&rule.template, vars, &labels)?;
        self.marking.push(job);
        Ok(job)
    }

    fn audit(&self, eda: &EdaSim, running: &Running, status: &str, message: &str, link: &str) {
        let Some(rule) = self.rules.get(running.rule) else {
            return;
        };
        eda.audit(AuditRule {
            name: rule.name.clone(),
            fired_at: running.event.at,
            payload: running.event.payload.clone(),
            action: "run_job_template".to_owned(),
            status: status.to_owned(),
            status_message: message.to_owned(),
            url: link.to_owned(),
        });
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

const APPLIED: &str = "osac.openshift.io/reconciled-config-version";
const OPERATION: &str = "osac.openshift.io/reconciled-operation";

/// What a playbook has done to its object so far: the finalizer when a creation begins, the
/// version and the operation when it ends, no finalizer when a deletion ends.
fn mark(run: &Run, marks: Marks, cluster: &dyn Cluster) {
    let Some(payload) = run.extra_vars.pointer("/ansible_eda/event/payload") else {
        return;
    };
    let text = |pointer: &str| {
        let value = payload.pointer(pointer).and_then(Value::as_str);
        value.unwrap_or_default()
    };
    let kind = text("/kind").to_lowercase();
    let finalizer = format!("osac.openshift.io/{kind}-aap");
    let create = text("/providerEvent/action") == "create";
    let change = &mut |object: &mut Value| {
        let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
            return;
        };
        let finalizers = metadata.entry("finalizers").or_insert_with(|| json!([]));
        if let Value::Array(finalizers) = finalizers {
            let there = finalizers.iter().any(|one| *one == finalizer.as_str());
            if create && run.started.is_some() && !there {
                finalizers.push(json!(finalizer));
            } else if !create && run.succeeded && marks.removes_finalizer {
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
            annotate(APPLIED, text("/providerEvent/configVersion"));
        }
        if run.succeeded && marks.reports_operation {
            annotate(OPERATION, text("/providerEvent/operationToken"));
        }
    };
    cluster.edit(text("/metadata/namespace"), text("/metadata/name"), change);
}
