//! Webhook notifications: who is told of which job, when, and in which words.
//!
//! As recorded from AWX 24.6.1: at the start; some seconds after the end, and never of a job that was
//! canceled while pending; each once, without a signature, whatever the answer.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::jobs::Job;
use super::world::{Kind, User};

/// A notification template of the type webhook, attached to the start, success and error of a template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub struct Webhook {
    /// Where to: `http` only.
    pub url: String,
    /// Sent with each: a secret, because nothing else tells who sends it.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

/// One that is due.
#[derive(Debug)]
pub(super) struct Notice {
    pub webhook: Webhook,
    pub body: Value,
}

/// How long after the end it is sent; never, for some.
pub(super) fn delay(job: &Job) -> Option<Duration> {
    match job.status {
        "successful" => Some(Duration::from_millis(1_700)),
        "canceled" if job.started.is_none() => None,
        "canceled" => Some(Duration::from_secs(5)),
        _ => Some(Duration::ZERO),
    }
}

fn time(at: Option<Timestamp>) -> Value {
    at.map_or(Value::Null, |at| {
        at.strftime("%Y-%m-%dT%H:%M:%S.%6f+00:00")
            .to_string()
            .into()
    })
}

/// `{{ job_metadata }}`, the default of the body.
pub(super) fn body(job: &Job, users: &[User]) -> Value {
    let of_workflow = job.kind == Kind::Workflow;
    // A workflow that has just started says so without the time.
    let started = job.started.filter(|_| !of_workflow || !job.is_active());
    let page = if of_workflow { "workflow" } else { "playbook" };
    let mut body = json!({
        "id": job.id, "name": job.name, "status": job.status, "traceback": job.traceback,
        "url": format!("https://towerhost/#/jobs/{page}/{}", job.id),
        "created_by": users.get(job.user).map_or("", |user| &user.name),
        "started": time(started), "finished": time(job.finished), "inventory": "inv",
        "limit": job.limit,
        "extra_vars": serde_json::to_string(&job.extra_vars).unwrap_or_default(),
    });
    let rest = match job.kind {
        Kind::Workflow => json!({"body": format!("Workflow job summary of {}", job.name)}),
        Kind::Job => json!({
            "project": "demo", "playbook": "play.yml", "credential": null, "hosts": {},
        }),
    };
    if let (Value::Object(body), Value::Object(rest)) = (&mut body, rest) {
        body.extend(rest);
    }
    body
}
