//! `POST …/launch/`: what is refused, what is ignored, what goes into the job.

use serde_json::{Map, Value, json};

use super::world::{Kind, Template};

/// A launch that the controller accepts.
#[derive(Debug)]
pub(super) struct Accepted {
    pub extra_vars: Map<String, Value>,
    pub limit: String,
    pub labels: Vec<u64>,
    pub ignored: Map<String, Value>,
}

/// Reads the body as the controller does; `Err` is the body of the 400.
pub(super) fn read(template: &Template, body: &Value) -> Result<Accepted, Value> {
    let empty = Map::new();
    let body = match body {
        Value::Object(members) => members,
        Value::Null => &empty,
        _ => {
            return Err(json!({
                "non_field_errors": ["Invalid data. Expected a dictionary, but got list."]
            }));
        }
    };
    for name in ["extra_vars", "limit", "labels"] {
        if body.get(name) == Some(&Value::Null) {
            return Err(json!({ name: ["This field may not be null."] }));
        }
    }
    let given = variables(body.get("extra_vars"))?;
    let mut ignored = Map::new();
    let mut refused = Map::new();
    let mut accepted = Map::new();
    let mut dropped = Map::new();
    let survey = template.survey();
    // Answers are checked whatever else may be given.
    let complaints: Vec<String> = survey
        .iter()
        .flat_map(|question| question.complaints(&given))
        .collect();
    for (name, value) in given {
        let is_asked = survey.iter().any(|question| question.variable == name);
        if template.ask_variables || is_asked {
            accepted.insert(name, value);
        } else {
            dropped.insert(name, value);
        }
    }
    if !dropped.is_empty() {
        let names: Vec<&str> = dropped.keys().map(String::as_str).collect();
        refused.insert(
            "extra_vars".to_owned(),
            json!([format!(
                "Variables {} are not allowed on launch. Check the Prompt on Launch setting on \
                 the Workflow Job Template to include Extra Variables.",
                names.join(", ")
            )]),
        );
        ignored.insert("extra_vars".to_owned(), Value::Object(dropped));
    }
    let mut errors = Map::new();
    if !complaints.is_empty() {
        let complaints = json!(complaints);
        errors.insert("variables_needed_to_start".to_owned(), complaints);
    }
    if template.kind == Kind::Job && !template.asked_passwords.is_empty() {
        let asked = json!(template.asked_passwords);
        errors.insert("passwords_needed_to_start".to_owned(), asked);
    }
    if template.kind == Kind::Job {
        let inventory = template.ask_inventory && body.get("inventory").is_some();
        let lacks = [
            ("project", template.no_project),
            ("inventory", template.no_inventory && !inventory),
        ];
        let lacks = lacks.iter().filter(|(_, lacks)| *lacks);
        let texts: Vec<String> = lacks
            .map(|(what, _)| format!("Job Template {what} is missing or undefined."))
            .collect();
        if !texts.is_empty() {
            errors.insert("resources_needed_to_start".to_owned(), json!(texts));
        }
        if template.no_project {
            let text = json!(["A project is required to run a job."]);
            errors.insert("project".to_owned(), text);
        }
    }
    if !errors.is_empty() {
        return Err(Value::Object(errors));
    }
    if let Some(limit) = body.get("limit").filter(|limit| *limit != "") {
        refused.insert(
            "limit".to_owned(),
            json!(["Field is not configured to prompt on launch."]),
        );
        ignored.insert("limit".to_owned(), limit.clone());
    }
    let mut labels = Vec::new();
    if let Some(given) = body.get("labels") {
        for label in given.as_array().into_iter().flatten() {
            let Some(id) = label.as_u64() else {
                return Err(json!({
                    "labels": ["Incorrect type. Expected pk value, received str."]
                }));
            };
            labels.push(id);
        }
        if !template.ask_labels {
            labels.clear();
            refused.insert(
                "labels".to_owned(),
                json!(["Field is not configured to prompt on launch."]),
            );
            ignored.insert("labels".to_owned(), given.clone());
        }
    }
    // A workflow refuses what a job template ignores.
    if template.kind == Kind::Workflow && !refused.is_empty() {
        return Err(Value::Object(refused));
    }
    Ok(Accepted {
        extra_vars: accepted,
        limit: String::new(),
        labels,
        ignored,
    })
}

fn variables(given: Option<&Value>) -> Result<Map<String, Value>, Value> {
    let unreadable = || {
        json!({"extra_vars": [
            "Cannot parse as JSON (error: Expecting value: line 1 column 1 (char 0)) or YAML \
             (error: Input type `list` is not a dictionary)."
        ]})
    };
    match given {
        None => Ok(Map::new()),
        Some(Value::Object(members)) => Ok(members.clone()),
        Some(Value::String(text)) if text.trim().is_empty() => Ok(Map::new()),
        Some(Value::String(text)) => serde_json::from_str(text).map_err(|_| unreadable()),
        Some(_) => Err(unreadable()),
    }
}
