//! `OPTIONS`: what the official client builds its command line from.

use serde_json::{Map, Value, json};

use super::shape;

fn field(kind: &str, label: &str) -> Value {
    json!({
        "type": kind, "required": false, "hidden": false, "label": label,
        "filterable": true, "write_only": true,
    })
}

fn readable(shape: &Map<String, Value>) -> Value {
    let fields = shape.iter().map(|(name, value)| {
        let kind = match value {
            Value::Bool(_) => "boolean",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Null | Value::Array(_) | Value::Object(_) => "field",
        };
        let label = name.replace('_', " ");
        (
            name.clone(),
            json!({"type": kind, "hidden": false, "label": label, "filterable": true}),
        )
    });
    Value::Object(fields.collect())
}

/// The answer for a path below the API's root, or nothing where there is no such resource.
pub(super) fn answer(segments: &[&str]) -> Option<Value> {
    let (name, actions) = match segments {
        ["job_templates", _, "launch"] => (
            "Job Template Launch",
            json!({"GET": readable(&shape::LAUNCH_JOB_TEMPLATE), "POST": {
                "extra_vars": field("json", "Extra vars"),
                "inventory": field("id", "Inventory"),
                "limit": field("string", "Limit"),
                "scm_branch": field("string", "Scm branch"),
                "job_tags": field("string", "Job tags"),
                "skip_tags": field("string", "Skip tags"),
                "labels": field("field", "Labels"),
            }}),
        ),
        ["workflow_job_templates", _, "launch"] => (
            "Workflow Job Template Launch",
            json!({"GET": readable(&shape::LAUNCH_WORKFLOW_JOB_TEMPLATE), "POST": {
                "extra_vars": field("json", "Extra vars"),
                "inventory": field("id", "Inventory"),
                "limit": field("string", "Limit"),
                "labels": field("field", "Labels"),
            }}),
        ),
        ["jobs" | "workflow_jobs", _, "cancel" | "relaunch"] => ("Job Action", json!({"POST": {}})),
        ["job_templates", ..] => (
            "Job Template",
            json!({"GET": readable(&shape::JOB_TEMPLATE), "POST": {"name": field("string", "Name")}}),
        ),
        ["workflow_job_templates", ..] => (
            "Workflow Job Template",
            json!({
                "GET": readable(&shape::WORKFLOW_JOB_TEMPLATE),
                "POST": {"name": field("string", "Name")},
            }),
        ),
        ["jobs", ..] => ("Job", json!({"GET": readable(&shape::JOB)})),
        ["workflow_jobs", ..] | ["unified_jobs", ..] => (
            "Workflow Job",
            json!({"GET": readable(&shape::WORKFLOW_JOB)}),
        ),
        _ => return None,
    };
    Some(json!({
        "name": name,
        "description": "",
        "renders": ["application/json", "text/html"],
        "parses": ["application/json"],
        "actions": actions,
    }))
}
