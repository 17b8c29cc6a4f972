//! The REST API of the EDA server, as far as senders of events have a use for it: activations and
//! the audit of rules.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::server::{Asked, Outcome};
use super::yaml;

/// A rule that has fired and whose action has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditRule {
    /// The name of the rule.
    pub name: String,
    /// When it fired.
    pub fired_at: Timestamp,
    /// `event.payload`.
    pub payload: Value,
    /// What it did: `run_job_template`, `debug`, …
    pub action: String,
    /// `successful`, `failed`, `error` or `canceled`.
    pub status: String,
    /// Why a launch failed.
    pub status_message: String,
    /// Where people see the job; empty when there is none.
    pub url: String,
}

/// What the API knows.
#[derive(Debug, Default)]
pub(super) struct Api {
    /// The token that it asks for; without one there is no API.
    pub token: Option<String>,
    /// Names and states of activations.
    pub activations: Vec<(String, String)>,
    /// Fired rules with the moment at which their row was written; the id is the place, from 1.
    pub rules: Vec<(AuditRule, Timestamp)>,
}

const PREFIX: &str = "/api/eda/v1/";

impl Api {
    /// The answer, if this is a request for the API.
    pub(super) fn answer(&self, asked: &Asked<'_>) -> Option<Outcome> {
        let token = self.token.as_ref()?;
        let path = asked.path.strip_prefix(PREFIX)?;
        if path.starts_with("external_event_stream/") {
            return None;
        }
        if asked.header("authorization") != Some(format!("Bearer {token}").as_bytes()) {
            let detail = "Authentication credentials were not provided.";
            return Some(Outcome::detail(401, detail));
        }
        let segments: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        Some(
            self.route(asked, &segments)
                .unwrap_or_else(|refusal| refusal),
        )
    }

    fn route(&self, asked: &Asked<'_>, segments: &[&str]) -> Result<Outcome, Outcome> {
        let rule = |id: &str| {
            let id: usize = id.parse().ok()?;
            let (rule, written) = self.rules.get(id.checked_sub(1)?)?;
            Some((id, rule, *written))
        };
        let missing = || Outcome::detail(404, "Not found.");
        match segments {
            ["activations"] => self.activations(asked),
            ["audit-rules"] => self.rules(asked),
            ["audit-rules", id] => {
                let (id, rule, written) = rule(id).ok_or_else(missing)?;
                let mut row = row(id, rule);
                if let Value::Object(row) = &mut row {
                    row.insert("ruleset_name".to_owned(), json!("simulated"));
                    row.insert("created_at".to_owned(), json!(written.to_string()));
                }
                Ok(Outcome::json(200, &row))
            }
            ["audit-rules", id, "events"] => {
                let (id, rule, _) = rule(id).ok_or_else(missing)?;
                let text = yaml::block(&json!({"payload": rule.payload}));
                let event = json!({
                    "id": format!("{id:032x}"), "source_name": "simulated",
                    "source_type": "eda.builtin.pg_listener", "payload": text,
                    "received_at": rule.fired_at.to_string(),
                    "rule_fired_at": rule.fired_at.to_string(),
                });
                let needle = asked.param("payload__icontains").unwrap_or_default();
                let found = text.to_lowercase().contains(&needle.to_lowercase());
                page(asked, if found { vec![event] } else { Vec::new() })
            }
            ["audit-rules", id, "actions"] => {
                let (id, rule, _) = rule(id).ok_or_else(missing)?;
                let message = Some(&rule.status_message).filter(|text| !text.is_empty());
                let action = json!({
                    "id": format!("{id:032x}"), "name": rule.action, "status": rule.status,
                    "url": rule.url, "fired_at": rule.fired_at.to_string(),
                    "rule_fired_at": rule.fired_at.to_string(), "audit_rule_id": id,
                    "status_message": message,
                });
                page(asked, vec![action])
            }
            _ => Err(missing()),
        }
    }

    fn activations(&self, asked: &Asked<'_>) -> Result<Outcome, Outcome> {
        // A part of the name is enough for the real one too.
        let part = asked.param("name").unwrap_or_default().to_lowercase();
        let rows = self.activations.iter().enumerate();
        let rows = rows.filter(|(_, (name, _))| name.to_lowercase().contains(&part));
        let rows = rows.map(|(at, (name, status))| {
            json!({"id": at + 1, "name": name, "status": status, "status_message": ""})
        });
        page(asked, rows.collect())
    }

    fn rules(&self, asked: &Asked<'_>) -> Result<Outcome, Outcome> {
        let mut rows: Vec<(usize, &AuditRule)> = Vec::new();
        for (at, (rule, _)) in self.rules.iter().enumerate() {
            let mut fits = true;
            for (name, value) in asked.query() {
                fits &= match name.as_str() {
                    "name" => rule.name == value,
                    "status" => rule.status == value,
                    "fired_at__gte" => {
                        let from: Timestamp = value
                            .parse()
                            .map_err(|_| Outcome::detail(400, "Enter a valid date/time."))?;
                        rule.fired_at >= from
                    }
                    "order_by" | "page" | "page_size" => true,
                    other => {
                        let detail = format!("AuditRule has no field named '{other}'");
                        return Err(Outcome::detail(400, &detail));
                    }
                };
            }
            if fits {
                rows.push((at + 1, rule));
            }
        }
        match asked.param("order_by").as_deref() {
            Some("fired_at") => rows.sort_by_key(|(id, rule)| (rule.fired_at, *id)),
            Some("-fired_at") => {
                rows.sort_by_key(|(id, rule)| std::cmp::Reverse((rule.fired_at, *id)));
            }
            _ => {}
        }
        page(
            asked,
            rows.into_iter().map(|(id, rule)| row(id, rule)).collect(),
        )
    }
}

fn row(id: usize, rule: &AuditRule) -> Value {
    json!({
        "id": id, "name": rule.name, "status": rule.status,
        "activation_instance": {"id": 1, "name": "simulated-1"},
        "organization": {"id": 1, "name": "Default", "description": "The default organization"},
        "fired_at": rule.fired_at.to_string(),
    })
}

/// One page of a list: 20 rows, or as many as are asked for, 200 at most.
fn page(asked: &Asked<'_>, rows: Vec<Value>) -> Result<Outcome, Outcome> {
    let number = |name: &str, usual: usize| {
        let given = asked.param(name).and_then(|text| text.parse().ok());
        given.unwrap_or(usual).max(1)
    };
    let size = number("page_size", 20).min(200);
    let page = number("page", 1);
    let first = (page - 1) * size;
    if first > 0 && first >= rows.len() {
        return Err(Outcome::detail(404, "Invalid page."));
    }
    let count = rows.len();
    let more = first + size < count;
    let next = more.then(|| format!("{}?page={}&page_size={size}", asked.path, page + 1));
    let results: Vec<Value> = rows.into_iter().skip(first).take(size).collect();
    Ok(Outcome::json(
        200,
        &json!({
            "count": count, "next": next, "previous": null, "page_size": size, "page": page,
            "results": results,
        }),
    ))
}
