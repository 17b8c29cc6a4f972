//! Approvals of workflows: a person is waited for, and says yes, no, or nothing in time.

use provider_core::clock::Elapsed as _;
use std::time::Duration;

use jiff::Timestamp;
use provider_core::clock;
use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::jobs::{Job, Jobs};
use super::nodes::Other;
use super::rows::{self, time};
use super::server::AapSim;
use super::state::State;
use super::world::User;

/// For so long the row of a node does not show the approval that it has begun (as measured).
pub(super) const UNSHOWN: Duration = Duration::from_secs(1);

/// When nobody can decide any more.
fn expires(job: &Job) -> Option<Timestamp> {
    Some(clock::add(job.created, job.plan.run?))
}

/// What only the row of an approval has, and what it lacks.
pub(super) fn in_row(
    job: &Job,
    parent: Option<&Job>,
    users: &[User],
    row: &mut Map<String, Value>,
) {
    for name in ["event_processing_finished", "artifacts", "limit"] {
        row.remove(name);
    }
    let mut put = |name: &str, value: Value| {
        row.insert(name.to_owned(), value);
    };
    put("timed_out", json!(job.part.timed_out));
    put("can_approve_or_deny", json!(job.is_active()));
    // Of one that is decided, none is shown.
    let expires = expires(job).filter(|_| job.is_active()).map(time);
    put("approval_expiration", json!(expires));
    let Some(Value::Object(summary)) = row.get_mut("summary_fields") else {
        return;
    };
    let source = json!({
        "id": job.parent, "name": parent.map_or("", |parent| &parent.name), "description": "",
        "status": parent.map_or("running", |parent| parent.status), "failed": false, "elapsed": 0.0,
    });
    summary.insert("source_workflow_job".to_owned(), source);
    if let Some(by) = job.part.decided_by {
        let name = users.get(by).map_or("", |user| &user.name);
        let by = json!({"id": by + 1, "username": name, "first_name": "", "last_name": ""});
        summary.insert("approved_or_denied_by".to_owned(), by);
    }
}

impl Jobs {
    fn pending(&self, id: u64) -> bool {
        let job = self.jobs.get(&id);
        job.is_some_and(|job| job.other == Some(Other::Approval) && job.is_active())
    }

    fn decided(&mut self, id: u64, status: &'static str, now: Timestamp) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        job.working = false;
        job.status = status;
        job.finished = Some(now);
        self.note(id);
        self.stopped(id, now, status == "successful");
    }

    /// Nobody has decided in time.
    pub(super) fn time_out(&mut self, id: u64, now: Timestamp) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        job.part.timed_out = true;
        job.explanation = format!(
            "The approval node {} ({id}) has expired after {} seconds.",
            job.name,
            job.plan.run.unwrap_or_default().as_secs()
        );
        self.decided(id, "failed", now);
    }

    /// A user decides; whether it was still to be decided.
    pub(super) fn decide(&mut self, id: u64, user: usize, yes: bool, now: Timestamp) -> bool {
        if !self.pending(id) {
            return false;
        }
        if let Some(job) = self.jobs.get_mut(&id) {
            job.part.decided_by = Some(user);
        }
        self.decided(id, if yes { "successful" } else { "failed" }, now);
        true
    }
}

/// `POST workflow_approvals/ID/approve/`, `…/deny/`.
pub(super) fn post(
    state: &mut State,
    id: &str,
    user: usize,
    yes: bool,
    now: Timestamp,
) -> Result<Answer, Answer> {
    let id = id.parse().unwrap_or(0);
    let is_one = |job: &Job| job.other == Some(Other::Approval);
    if !state.jobs.jobs.get(&id).is_some_and(is_one) {
        let text = "No WorkflowApproval matches the given query.";
        return Err(Answer::detail(404, text));
    }
    if state.jobs.decide(id, user, yes, now) {
        return Ok(Answer::empty(204));
    }
    let text = "This workflow step has already been approved or denied.";
    Err(Answer::json(400, &json!({ "error": text })))
}

/// One row of `workflow_nodes`, as it is at this moment.
pub(super) fn node(parent: &Job, number: usize, child: &Job, now: Timestamp) -> Value {
    let mut row = rows::node(parent, number, child, now);
    let is_unshown =
        child.other == Some(Other::Approval) && now.elapsed_since(child.created) < UNSHOWN;
    if is_unshown && let Value::Object(row) = &mut row {
        row.insert("job".to_owned(), Value::Null);
        if let Some(Value::Object(summary)) = row.get_mut("summary_fields") {
            summary.remove("job");
        }
    }
    row
}

impl AapSim {
    /// The first user says yes or no to an approval; whether it was still to be decided.
    pub fn decide(&self, id: u64, yes: bool) -> bool {
        let (mut state, now) = self.at_work();
        state.jobs.decide(id, 0, yes, now)
    }

    /// The approvals that wait for somebody, by name.
    #[must_use]
    pub fn approvals(&self) -> Vec<(u64, String)> {
        let (state, _) = self.at_work();
        let jobs = state.jobs.jobs.values();
        let waiting = jobs.filter(|job| job.other == Some(Other::Approval) && job.is_active());
        waiting.map(|job| (job.id, job.name.clone())).collect()
    }
}
