//! Jobs and templates as the controller writes them.

use provider_core::clock::Elapsed as _;
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::jobs::{Job, Jobs};
use super::shape;
use super::survey::Question;
use super::world::{Kind, Template, User};

/// How much of a job an answer shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    Detail,
    Launch,
    List,
    Unified,
}

/// UTC with microseconds, and no fraction when it is zero, as the controller's framework does it.
pub(super) fn time(at: Timestamp) -> String {
    let format = if at.subsec_nanosecond() / 1_000 == 0 {
        "%Y-%m-%dT%H:%M:%SZ"
    } else {
        "%Y-%m-%dT%H:%M:%S.%6fZ"
    };
    at.strftime(format).to_string()
}

fn maybe(at: Option<Timestamp>) -> Value {
    at.map_or(Value::Null, |at| Value::from(time(at)))
}

/// Replaces the zero in the paths of a shape by the id.
fn number(related: &mut Map<String, Value>, collection: &str, id: u64) {
    let (zero, real) = (format!("/{collection}/0/"), format!("/{collection}/{id}/"));
    for value in related.values_mut() {
        if let Value::String(path) = value
            && path.contains(&zero)
        {
            *path = path.replace(&zero, &real);
        }
    }
}

fn object<'a>(row: &'a mut Map<String, Value>, name: &str) -> Option<&'a mut Map<String, Value>> {
    row.get_mut(name)?.as_object_mut()
}

fn summary(row: &mut Map<String, Value>, name: &str, with: Value) {
    if let (Some(fields), Value::Object(with)) = (object(row, "summary_fields"), with) {
        if let Some(Value::Object(known)) = fields.get_mut(name) {
            known.extend(with);
        } else {
            fields.insert(name.to_owned(), Value::Object(with));
        }
    }
}

/// The variables of a job as its row shows them: a text that Python wrote, so that NaN is a number.
fn variables(job: &Job, template: Option<&Template>) -> String {
    let mut members = BTreeMap::new();
    if let Some(template) = template {
        members.clone_from(&template.own_variables);
    }
    for (name, value) in &job.extra_vars {
        let hidden = template.is_some_and(|t| t.hides(name)) && value.is_string();
        let shown = if hidden {
            "\"$encrypted$\"".to_owned()
        } else {
            value.to_string()
        };
        members.insert(name.clone(), shown);
    }
    let members: Vec<String> = members
        .iter()
        .map(|(name, value)| format!("{}:{value}", Value::from(name.as_str())))
        .collect();
    format!("{{{}}}", members.join(","))
}

pub(super) fn job(jobs: &Jobs, users: &[User], job: &Job, view: View, now: Timestamp) -> Value {
    let shape = match job.kind {
        Kind::Job => &*shape::JOB,
        Kind::Workflow => &*shape::WORKFLOW_JOB,
    };
    let mut row = shape.clone();
    let template = job
        .template
        .and_then(|id| Some((id, jobs.templates.get(&id)?)));
    let template_id = template.map(|(id, _)| id);
    if let Some(related) = object(&mut row, "related") {
        number(related, job.kind.jobs(), job.id);
        number(related, "organizations", job.organization);
        number(related, "job_templates", template_id.unwrap_or(0));
        number(related, "workflow_job_templates", template_id.unwrap_or(0));
        if template_id.is_none() {
            related.remove("job_template");
            related.remove("workflow_job_template");
            related.remove("unified_job_template");
        }
        if let Some(parent) = job.parent {
            related.insert(
                "source_workflow_job".to_owned(),
                json!(format!("/api/v2/workflow_jobs/{parent}/")),
            );
        }
        if job.started.is_some() && job.kind == Kind::Job {
            related.insert(
                "execution_environment".to_owned(),
                json!("/api/v2/execution_environments/1/"),
            );
        }
    }
    summary(
        &mut row,
        "organization",
        json!({"id": job.organization, "name": jobs.organization_name(job.organization)}),
    );
    if let Some(id) = template_id {
        let named = json!({"id": id, "name": job.name});
        summary(&mut row, "unified_job_template", named.clone());
        match job.kind {
            Kind::Job => summary(&mut row, "job_template", named),
            Kind::Workflow => summary(&mut row, "workflow_job_template", named),
        }
    }
    let labels: Vec<Value> = job
        .labels
        .iter()
        .map(|id| json!({"id": id, "name": jobs.label_name(*id)}))
        .collect();
    summary(
        &mut row,
        "labels",
        json!({"count": labels.len(), "results": labels}),
    );
    let user = users.get(job.user);
    summary(
        &mut row,
        "created_by",
        json!({"id": job.user + 1, "username": user.map_or("", |user| &user.name)}),
    );

    let end = job.finished.or(job.started.map(|_| now));
    let elapsed = match (job.started, end) {
        (Some(started), Some(end)) => end.elapsed_since(started).as_millis() as f64 / 1_000.0,
        _ => 0.0,
    };
    let mut put = |name: &str, value: Value| {
        row.insert(name.to_owned(), value);
    };
    put("id", json!(job.id));
    put(
        "url",
        json!(format!("/api/v2/{}/{}/", job.kind.jobs(), job.id)),
    );
    put("created", json!(time(job.created)));
    put("modified", json!(time(job.started.unwrap_or(job.created))));
    put("name", json!(job.name));
    put("unified_job_template", json!(template_id));
    put("launch_type", json!(job.launch_type));
    put("status", json!(job.status));
    put(
        "failed",
        json!(matches!(job.status, "failed" | "error" | "canceled")),
    );
    put("started", maybe(job.started));
    put("finished", maybe(job.finished));
    put("canceled_on", maybe(job.canceled_on));
    put("elapsed", json!(elapsed));
    put("job_explanation", json!(job.explanation));
    put("result_traceback", json!(job.traceback));
    put(
        "extra_vars",
        json!(variables(job, template.map(|(_, template)| template))),
    );
    put(
        "launched_by",
        json!({
            "id": job.user + 1,
            "name": user.map_or("", |user| &user.name),
            "type": "user",
            "url": format!("/api/v2/users/{}/", job.user + 1),
        }),
    );
    let simultaneous = template.is_some_and(|(_, template)| template.allow_simultaneous);
    put("allow_simultaneous", json!(simultaneous));
    match job.kind {
        Kind::Job => {
            put("organization", json!(job.organization));
            put("job_template", json!(template_id));
            put("limit", json!(job.limit));
            put("artifacts", Value::Object(job.artifacts.clone()));
            put(
                "event_processing_finished",
                json!(!job.is_active() && !job.is_working() && super::events::are_stored(job, now)),
            );
            if job.handed_out {
                put("work_unit_id", json!(format!("unit{}", job.id)));
                put("execution_node", json!("controller-1"));
                put("controller_node", json!("controller-1"));
                put("execution_environment", json!(1));
                put("instance_group", json!(2));
                put("job_cwd", json!("/runner/project"));
                put("job_env", json!({"JOB_ID": job.id.to_string()}));
            }
            if !job.is_active() && job.handed_out {
                let ok = u8::from(job.status == "successful");
                put("host_status_counts", json!({"ok": ok, "failures": 1 - ok}));
                put("playbook_counts", json!({"play_count": 1, "task_count": 1}));
            }
        }
        Kind::Workflow => {
            put(
                "limit",
                if job.limit.is_empty() {
                    Value::Null
                } else {
                    json!(job.limit)
                },
            );
            let (plain, sliced) = if job.sliced {
                (None, template_id)
            } else {
                (template_id, None)
            };
            put("workflow_job_template", json!(plain));
            put("job_template", json!(sliced));
            put("is_sliced_job", json!(job.sliced));
        }
    }
    let parent = job.parent.and_then(|parent| jobs.jobs.get(&parent));
    super::nodes::in_row(job, parent, users, &mut row);
    if let Some(parent) = parent {
        let source = json!({"id": parent.id, "name": parent.name, "status": parent.status});
        summary(&mut row, "source_workflow_job", source);
    }
    drop_fields(&mut row, view);
    Value::Object(row)
}

/// What lists and launch answers leave out of the detail.
fn drop_fields(row: &mut Map<String, Value>, view: View) {
    const LAUNCH: [&str; 3] = ["custom_virtualenv", "host_status_counts", "playbook_counts"];
    const UNIFIED: [&str; 8] = [
        "custom_virtualenv",
        "event_processing_finished",
        "host_status_counts",
        "job_args",
        "job_cwd",
        "job_env",
        "playbook_counts",
        "result_traceback",
    ];
    let dropped: &[&str] = match view {
        View::Detail => &[],
        View::Launch => &LAUNCH,
        View::List | View::Unified => &UNIFIED,
    };
    for name in dropped {
        row.remove(*name);
    }
}

pub(super) fn template(jobs: &Jobs, id: u64, template: &Template, startable: bool) -> Value {
    let shape = match template.kind {
        Kind::Job => &*shape::JOB_TEMPLATE,
        Kind::Workflow => &*shape::WORKFLOW_JOB_TEMPLATE,
    };
    let organization = jobs
        .organizations
        .iter()
        .position(|name| *name == template.organization)
        .map_or(0, |at| at as u64 + 1);
    let mut row = shape.clone();
    if let Some(related) = object(&mut row, "related") {
        number(related, template.kind.templates(), id);
        number(related, "organizations", organization);
        related.insert(
            "named_url".to_owned(),
            json!(format!(
                "/api/v2/{}/{}++{}/",
                template.kind.templates(),
                template.name,
                template.organization
            )),
        );
    }
    summary(
        &mut row,
        "organization",
        json!({"id": organization, "name": template.organization}),
    );
    summary(&mut row, "user_capabilities", json!({"start": startable}));
    let last = jobs
        .jobs
        .values()
        .rev()
        .find(|job| job.template == Some(id));
    let mut put = |name: &str, value: Value| {
        row.insert(name.to_owned(), value);
    };
    put("id", json!(id));
    put(
        "url",
        json!(format!("/api/v2/{}/{id}/", template.kind.templates())),
    );
    put("name", json!(template.name));
    if let Some(born) = jobs.born.get(&id) {
        put("created", json!(time(*born)));
    }
    put("organization", json!(organization));
    put("ask_variables_on_launch", json!(template.ask_variables));
    put("ask_labels_on_launch", json!(template.ask_labels));
    put("survey_enabled", json!(template.has_survey()));
    put("allow_simultaneous", json!(template.allow_simultaneous));
    if let Some(last) = last {
        put("status", json!(last.status));
        put("last_job_run", maybe(last.finished));
        put("last_job_failed", json!(last.status == "failed"));
    }
    if template.kind == Kind::Job {
        put("job_slice_count", json!(template.slices));
        if template.no_inventory {
            put("inventory", Value::Null);
        }
        put("ask_inventory_on_launch", json!(template.ask_inventory));
        if template.no_project {
            put("project", Value::Null);
        }
    }
    Value::Object(row)
}

/// `GET …/launch/`.
pub(super) fn launch_options(id: u64, template: &Template) -> Value {
    let (shape, data) = match template.kind {
        Kind::Job => (&*shape::LAUNCH_JOB_TEMPLATE, "job_template_data"),
        Kind::Workflow => (
            &*shape::LAUNCH_WORKFLOW_JOB_TEMPLATE,
            "workflow_job_template_data",
        ),
    };
    let mut row = shape.clone();
    let mut put = |name: &str, value: Value| {
        row.insert(name.to_owned(), value);
    };
    put("ask_variables_on_launch", json!(template.ask_variables));
    put("ask_labels_on_launch", json!(template.ask_labels));
    put("survey_enabled", json!(template.has_survey()));
    let survey = template.survey();
    let needed = survey.iter().filter(|question| question.required);
    let needed: Vec<&String> = needed.map(|question| &question.variable).collect();
    let nothing_is_needed = needed.is_empty();
    put("variables_needed_to_start", json!(needed));
    if template.kind == Kind::Job {
        let (none, passwords) = (template.no_inventory, &template.asked_passwords);
        put("inventory_needed_to_start", json!(none));
        put("ask_inventory_on_launch", json!(template.ask_inventory));
        put("passwords_needed_to_start", json!(passwords));
    }
    put(
        "can_start_without_user_input",
        json!(nothing_is_needed && !template.ask_variables),
    );
    put(
        data,
        json!({"name": template.name, "id": id, "description": ""}),
    );
    Value::Object(row)
}

/// `GET …/survey_spec/`.
pub(super) fn survey(template: &Template) -> Value {
    if !template.has_survey() {
        return json!({});
    }
    let spec: Vec<Value> = template.survey().iter().map(Question::row).collect();
    json!({"name": "", "description": "", "spec": spec})
}

pub(super) fn user(id: usize, user: &User) -> Value {
    let mut row = shape::USER.clone();
    if let Some(related) = object(&mut row, "related") {
        number(related, "users", id as u64 + 1);
    }
    row.insert("id".to_owned(), json!(id + 1));
    row.insert(
        "url".to_owned(),
        json!(format!("/api/v2/users/{}/", id + 1)),
    );
    row.insert("username".to_owned(), json!(user.name));
    row.insert("is_superuser".to_owned(), json!(user.superuser));
    row.insert("is_system_auditor".to_owned(), json!(user.auditor));
    Value::Object(row)
}

/// One row of `workflow_nodes`.
pub(super) fn node(parent: &Job, number_: usize, child: &Job, now: Timestamp) -> Value {
    let mut row = shape::WORKFLOW_NODE.clone();
    let id = parent.id * 100 + number_ as u64;
    if let Some(related) = object(&mut row, "related") {
        number(related, "workflow_job_nodes", id);
        number(related, "jobs", child.id);
        number(related, "workflow_jobs", parent.id);
        number(related, "job_templates", child.template.unwrap_or(0));
    }
    let end = child.finished.unwrap_or(now);
    let elapsed = child
        .started
        .map_or(0.0, |started| end.elapsed_since(started).as_secs_f64());
    summary(
        &mut row,
        "job",
        json!({
            "id": child.id, "name": child.name, "status": child.status,
            "failed": matches!(child.status, "failed" | "error" | "canceled"),
            "elapsed": elapsed, "type": child.job_type(),
        }),
    );
    summary(
        &mut row,
        "workflow_job",
        json!({"id": parent.id, "name": parent.name}),
    );
    let mut put = |name: &str, value: Value| {
        row.insert(name.to_owned(), value);
    };
    put("id", json!(id));
    put("url", json!(format!("/api/v2/workflow_job_nodes/{id}/")));
    put("created", json!(time(parent.created)));
    put("modified", json!(time(parent.created)));
    put("job", json!(child.id));
    put("workflow_job", json!(parent.id));
    put("unified_job_template", json!(child.template));
    let identifier = match child.part.identifier.as_str() {
        "" => format!("node-{number_}"),
        own => own.to_owned(),
    };
    put("identifier", json!(identifier));
    if child.part.is_handled {
        put("failure_nodes", json!([id + 1]));
    }
    Value::Object(row)
}
