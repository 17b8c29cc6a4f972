//! Requests that change something.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Asked, FORBIDDEN, job, kind_of, label, template_id};
use crate::aap::answer::Answer;
use crate::aap::jobs::{Job, NewJob};
use crate::aap::rows::{self, View};
use crate::aap::state::State;
use crate::aap::world::Kind;
use crate::aap::{approvals, events, launch};

pub(super) fn post(
    state: &mut State,
    asked: &Asked<'_>,
    segments: &[&str],
    user: usize,
    now: Timestamp,
) -> Result<Answer, Answer> {
    match segments {
        [
            collection @ ("job_templates" | "workflow_job_templates"),
            id,
            "launch",
        ] => {
            let kind = kind_of(collection).unwrap_or(Kind::Job);
            let (new, ignored) = prepare(state, kind, id, user, asked.body)?;
            let id = state.jobs.create(new, now);
            let job = id.and_then(|id| state.jobs.jobs.get(&id));
            let Some(job) = job else {
                return Err(Answer::detail(500, "A server error has occurred."));
            };
            let row = rows::job(&state.jobs, &state.users, job, View::Launch, now);
            let mut body = Map::new();
            body.insert(job.kind.job_type().to_owned(), json!(job.id));
            body.insert("ignored_fields".to_owned(), Value::Object(ignored));
            if let Value::Object(row) = row {
                body.extend(row);
            }
            let location = format!("/api/v2/{}/{}/", job.kind.jobs(), job.id);
            let mut answer = Answer::json(201, &Value::Object(body));
            answer.headers.push(("location", location));
            Ok(answer)
        }
        [collection @ ("jobs" | "workflow_jobs"), id, "cancel"] => {
            let found = job(state, collection, id)?;
            let (id, active, launcher) = (found.id, found.is_active(), found.user);
            let superuser = state.users.get(user).is_some_and(|user| user.superuser);
            if !active {
                return Err(if superuser {
                    Answer::detail(405, "Method \"POST\" not allowed.")
                } else {
                    Answer::detail(403, FORBIDDEN)
                });
            }
            if !superuser && launcher != user {
                return Err(Answer::detail(403, FORBIDDEN));
            }
            state.jobs.cancel(id, now);
            Ok(Answer::empty(202))
        }
        [collection @ ("jobs" | "workflow_jobs"), id, "relaunch"] => {
            let first = job(state, collection, id)?;
            let (id, template) = (first.id, first.template);
            let startable = template.and_then(|id| Some((id, state.jobs.templates.get(&id)?)));
            if !startable.is_some_and(|(id, template)| state.may_launch(id, template, user)) {
                return Err(Answer::detail(403, FORBIDDEN));
            }
            if first_has_no_such_hosts(first, &parse(asked.body)?, now) {
                let text = "Cannot relaunch because previous job had 0 failed hosts.";
                return Err(Answer::json(400, &json!({ "hosts": text })));
            }
            let plan = state.plan_of_copy(id);
            let new = state.jobs.relaunch(id, user, plan, now);
            let Some(job) = new.and_then(|id| state.jobs.jobs.get(&id)) else {
                return Err(Answer::detail(404, "Not found."));
            };
            let mut row = rows::job(&state.jobs, &state.users, job, View::Launch, now);
            // Of a workflow's copy the number is in `id` only.
            if let (Value::Object(row), Kind::Job) = (&mut row, job.kind) {
                row.insert("job".to_owned(), json!(job.id));
            }
            Ok(Answer::json(201, &row))
        }
        ["workflow_approvals", id, decision @ ("approve" | "deny")] => {
            approvals::post(state, id, user, *decision == "approve", now)
        }
        ["labels"] => {
            let body: Value = parse(asked.body)?;
            let name = body.get("name").and_then(Value::as_str).unwrap_or_default();
            let organization = body
                .get("organization")
                .and_then(Value::as_u64)
                .unwrap_or(0);
            if name.is_empty() || state.jobs.organization_name(organization).is_empty() {
                return Err(Answer::json(
                    400,
                    &json!({"name": ["This field is required."]}),
                ));
            }
            let new = (name.to_owned(), organization);
            if state.jobs.labels.contains(&new) {
                return Err(Answer::json(
                    400,
                    &json!({"__all__": ["Label with this Name and Organization already exists."]}),
                ));
            }
            state.jobs.labels.push(new);
            Ok(Answer::json(
                201,
                &label(state.jobs.labels.len(), name, organization),
            ))
        }
        _ => Err(Answer::no_such_path()),
    }
}

pub(super) fn delete(state: &mut State, segments: &[&str]) -> Result<Answer, Answer> {
    let [collection @ ("jobs" | "workflow_jobs"), id] = segments else {
        return Err(Answer::detail(405, "Method \"DELETE\" not allowed."));
    };
    let id = job(state, collection, id)?.id;
    if state.jobs.purge(id) {
        Ok(Answer::empty(204))
    } else {
        Err(Answer::detail(403, "Cannot delete running job resource."))
    }
}

/// Whether only the hosts that failed are asked for, of a job of which none has.
fn first_has_no_such_hosts(first: &Job, body: &Value, now: Timestamp) -> bool {
    let only_failed = body.get("hosts").and_then(Value::as_str) == Some("failed");
    let has_failed = |event: &Value| {
        let kind = event.get("event").and_then(Value::as_str);
        let is_ignored = event.pointer("/event_data/ignore_errors") == Some(&json!(true));
        matches!(kind, Some("runner_on_failed" | "runner_on_unreachable")) && !is_ignored
    };
    first.kind == Kind::Job && only_failed && !events::of(first, now).iter().any(has_failed)
}

fn parse(body: &[u8]) -> Result<Value, Answer> {
    if body.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(body)
        .map_err(|error| Answer::detail(400, &format!("JSON parse error - {error}")))
}

pub(super) fn prepare(
    state: &mut State,
    kind: Kind,
    id: &str,
    user: usize,
    body: &[u8],
) -> Result<(NewJob, Map<String, Value>), Answer> {
    let id = template_id(state, kind, id)?;
    let Some(template) = state.jobs.templates.get(&id) else {
        return Err(Answer::detail(404, "Not found."));
    };
    if !state.may_launch(id, template, user) {
        return Err(Answer::detail(403, FORBIDDEN));
    }
    let accepted =
        launch::read(template, &parse(body)?).map_err(|body| Answer::json(400, &body))?;
    for label in &accepted.labels {
        if state.jobs.label_name(*label).is_empty() {
            let text = format!("Invalid pk \"{label}\" - object does not exist.");
            return Err(Answer::json(400, &json!({"labels": [text]})));
        }
    }
    let (name, plan) = (template.name.clone(), template.plan.clone());
    let plan = state.next_plan(&name, plan);
    let new = NewJob {
        template: id,
        extra_vars: accepted.extra_vars,
        limit: accepted.limit,
        labels: accepted.labels,
        launch_type: "manual",
        user,
        plan,
        parent: None,
    };
    Ok((new, accepted.ignored))
}

/// A launch by somebody in this process.
pub(in crate::aap) fn launch(
    state: &mut State,
    template: &str,
    extra_vars: &Map<String, Value>,
    labels: &[String],
    now: Timestamp,
) -> Result<u64, String> {
    let templates = &state.jobs.templates;
    let found = templates.iter().find(|(_, known)| known.name == template);
    let Some((id, kind, organization)) = found.map(|(id, t)| (*id, t.kind, t.organization.clone()))
    else {
        return Err(format!("Job template {template} does not exist."));
    };
    let organization = state.jobs.organization(&organization);
    let mut ids = Vec::new();
    for label in labels {
        let label = (label.clone(), organization);
        let at = state.jobs.labels.iter().position(|known| *known == label);
        let at = at.unwrap_or_else(|| {
            state.jobs.labels.push(label);
            state.jobs.labels.len() - 1
        });
        ids.push(at + 1);
    }
    let body = if ids.is_empty() {
        json!({ "extra_vars": extra_vars })
    } else {
        json!({ "extra_vars": extra_vars, "labels": ids })
    };
    let body = body.to_string();
    let prepared = prepare(state, kind, &id.to_string(), 0, body.as_bytes());
    let (new, _) = prepared.map_err(|answer| String::from_utf8_lossy(&answer.body).into_owned())?;
    let job = state.jobs.create(new, now);
    job.ok_or_else(|| "the template is gone".to_owned())
}
