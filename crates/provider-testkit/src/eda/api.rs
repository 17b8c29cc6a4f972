//! The REST API of the EDA server, as far as senders of events have a use for it: activations and
//! the audit of rules.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::server::{Asked, Outcome};
use super::world::Stream;
use super::yaml;

/// A rule that has fired.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct AuditRule {
    /// The name of the rule.
    pub name: String,
    /// The number of its activation: its place in the order of [`EdaSim::activation`](super::EdaSim::activation),
    /// from 1.
    pub activation: usize,
    /// When it fired.
    pub fired_at: Timestamp,
    /// `event.payload`.
    pub payload: Value,
}

impl AuditRule {
    /// A rule of the first activation that has fired for an event with this payload.
    #[must_use]
    pub fn new(name: &str, fired_at: Timestamp, payload: Value) -> Self {
        Self {
            name: name.to_owned(),
            activation: 1,
            fired_at,
            payload,
        }
    }

    /// Of another activation.
    #[must_use]
    pub fn of_activation(mut self, number: usize) -> Self {
        self.activation = number;
        self
    }
}

/// An action of a rule that has ended.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct AuditAction {
    /// What it did: `run_job_template`, `debug`, …
    pub name: String,
    /// `successful`, `failed`, `error` or `canceled`.
    pub status: String,
    /// Why a launch failed.
    pub status_message: String,
    /// Where people see the job; empty when there is none.
    pub url: String,
}

impl AuditAction {
    /// A job template that was run and ended so.
    #[must_use]
    pub fn ended(status: &str) -> Self {
        Self {
            name: "run_job_template".to_owned(),
            status: status.to_owned(),
            status_message: String::new(),
            url: String::new(),
        }
    }

    /// With a reason.
    #[must_use]
    pub fn with_message(mut self, message: &str) -> Self {
        message.clone_into(&mut self.status_message);
        self
    }

    /// With the place where people see the job.
    #[must_use]
    pub fn with_url(mut self, url: &str) -> Self {
        url.clone_into(&mut self.url);
        self
    }
}

/// The row of a rule: written when its first action has ended, and the other actions later.
#[derive(Debug)]
struct Row {
    rule: AuditRule,
    written: Timestamp,
    actions: Vec<AuditAction>,
    /// Its events are written after it, and not in one transaction with it.
    has_events: bool,
}

/// An activation.
#[derive(Debug)]
struct Activation {
    name: String,
    status: String,
    /// Whether the event streams are mapped to its sources.
    mapped: bool,
}

/// Who may ask.
#[derive(Debug)]
pub(super) enum Login {
    /// Behind a gateway.
    Token(String),
    /// The EDA server by itself, which knows no bearer tokens.
    Basic(String, String),
}

/// What the API knows.
#[derive(Debug, Default)]
pub(super) struct Api {
    /// Who it answers; without one there is no API.
    pub login: Option<Login>,
    /// A user without roles is shown empty lists.
    pub without_roles: bool,
    /// The largest page, where it is less than the real one's.
    pub largest_page: Option<usize>,
    activations: Vec<Activation>,
    /// Fired rules; the id is the place, from 1.
    rules: Vec<Row>,
    /// A report that was far too long has stopped the channel of reports.
    blocked: bool,
}

const PREFIX: &str = "/api/eda/v1/";
/// The longest report of a rulebook that arrives at the server …
const REPORT_MAX: usize = 1 << 20;
/// … and the length from which on one blocks those behind it, too.
const REPORT_BLOCKS: usize = 1_400_000;

impl Api {
    /// The answer, if this is a request for the API.
    pub(super) fn answer(&self, asked: &Asked<'_>, streams: &[Stream]) -> Option<Outcome> {
        let login = self.login.as_ref()?;
        let path = asked.path.strip_prefix(PREFIX)?;
        if path.starts_with("external_event_stream/") {
            return None;
        }
        let expected = match login {
            Login::Token(token) => format!("Bearer {token}"),
            Login::Basic(user, password) => {
                use base64::Engine;
                let pair = format!("{user}:{password}");
                let pair = base64::engine::general_purpose::STANDARD.encode(pair);
                format!("Basic {pair}")
            }
        };
        if asked.header("authorization") != Some(expected.as_bytes()) {
            let detail = "Authentication credentials were not provided.";
            return Some(Outcome::detail(401, detail));
        }
        let segments: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        Some(
            self.route(asked, streams, &segments)
                .unwrap_or_else(|refusal| refusal),
        )
    }

    /// What an activation is from now on.
    pub(super) fn activation(&mut self, name: &str, status: &str, mapped: bool) {
        let known = self.activations.iter_mut().find(|one| one.name == name);
        if let Some(known) = known {
            status.clone_into(&mut known.status);
            known.mapped = mapped;
        } else {
            self.activations.push(Activation {
                name: name.to_owned(),
                status: status.to_owned(),
                mapped,
            });
        }
    }

    /// A rule's first action has ended: its row, unless the report is too long to arrive.
    pub(super) fn report(
        &mut self,
        rule: AuditRule,
        first: AuditAction,
        now: Timestamp,
        has_events: bool,
    ) -> Option<u64> {
        if !self.arrives(&rule) {
            return None;
        }
        self.rules.push(Row {
            rule,
            written: now,
            actions: vec![first],
            has_events,
        });
        u64::try_from(self.rules.len()).ok()
    }

    /// Whether a report about this rule arrives. Each repeats the events as ASCII JSON.
    fn arrives(&mut self, rule: &AuditRule) -> bool {
        let mut text = String::new();
        yaml::python(&rule.payload, &mut text);
        self.blocked |= text.len() >= REPORT_BLOCKS;
        !self.blocked && text.len() < REPORT_MAX
    }

    fn row(&mut self, id: u64) -> Option<&mut Row> {
        let at = usize::try_from(id).ok()?.checked_sub(1)?;
        self.rules.get_mut(at)
    }

    /// A further action of a rule has ended.
    pub(super) fn report_action(&mut self, id: u64, action: AuditAction) {
        if self.blocked {
            return;
        }
        if let Some(row) = self.row(id) {
            row.actions.push(action);
        }
    }

    /// The events of a rule are there as well.
    pub(super) fn commit_events(&mut self, id: u64) {
        if let Some(row) = self.row(id) {
            row.has_events = true;
        }
    }

    fn route(
        &self,
        asked: &Asked<'_>,
        streams: &[Stream],
        segments: &[&str],
    ) -> Result<Outcome, Outcome> {
        let rule = |id: &str| {
            let id: usize = id.parse().ok()?;
            let row = self.rules.get(id.checked_sub(1)?)?;
            (!self.without_roles).then_some((id, row))
        };
        let missing = || Outcome::detail(404, "Not found.");
        match segments {
            ["activations"] => self.activations(asked),
            ["activations", id] => {
                let id: usize = id.parse().map_err(|_| missing())?;
                let known = id.checked_sub(1).and_then(|at| self.activations.get(at));
                let known = known.filter(|_| !self.without_roles).ok_or_else(missing)?;
                let mut row = activation_row(id, known);
                if let Value::Object(row) = &mut row {
                    let all = if known.mapped { streams } else { &[] };
                    row.insert("event_streams".to_owned(), stream_rows(asked, all).into());
                }
                Ok(Outcome::json(200, &row))
            }
            ["event-streams"] => self.page(asked, stream_rows(asked, streams)),
            ["audit-rules"] => self.rules(asked),
            ["audit-rules", id] => {
                let (id, row) = rule(id).ok_or_else(missing)?;
                let mut detail = row.list_row(id);
                if let Value::Object(detail) = &mut detail {
                    detail.insert("ruleset_name".to_owned(), json!("simulated"));
                    detail.insert("created_at".to_owned(), json!(row.written.to_string()));
                }
                Ok(Outcome::json(200, &detail))
            }
            ["audit-rules", id, "events"] => {
                let (id, row) = rule(id).ok_or_else(missing)?;
                let text = yaml::block(&json!({"payload": row.rule.payload}));
                let event = json!({
                    "id": format!("{id:032x}"), "source_name": "simulated",
                    "source_type": "eda.builtin.pg_listener", "payload": text,
                    "received_at": row.rule.fired_at.to_string(),
                    "rule_fired_at": row.rule.fired_at.to_string(),
                });
                let needle = asked.param("payload__icontains").unwrap_or_default();
                let found = text.to_lowercase().contains(&needle.to_lowercase());
                let found = found && row.has_events;
                self.page(asked, if found { vec![event] } else { Vec::new() })
            }
            ["audit-rules", id, "actions"] => {
                let (id, row) = rule(id).ok_or_else(missing)?;
                let actions = row.actions.iter().enumerate().map(|(n, action)| {
                    let message = Some(&action.status_message).filter(|text| !text.is_empty());
                    json!({
                        "id": format!("{id:028x}{n:04x}"), "name": action.name,
                        "status": action.status, "url": action.url,
                        "fired_at": row.rule.fired_at.to_string(),
                        "rule_fired_at": row.rule.fired_at.to_string(), "audit_rule_id": id,
                        "status_message": message,
                    })
                });
                self.page(asked, actions.collect())
            }
            _ => Err(missing()),
        }
    }

    fn activations(&self, asked: &Asked<'_>) -> Result<Outcome, Outcome> {
        // A part of the name is enough for the real one too.
        let part = asked.param("name").unwrap_or_default().to_lowercase();
        let rows = self.activations.iter().enumerate();
        let rows = rows.filter(|(_, one)| one.name.to_lowercase().contains(&part));
        let rows = rows.map(|(at, one)| activation_row(at + 1, one));
        self.page(asked, rows.collect())
    }

    fn rules(&self, asked: &Asked<'_>) -> Result<Outcome, Outcome> {
        let mut rows: Vec<(usize, &Row)> = Vec::new();
        for (at, row) in self.rules.iter().enumerate() {
            let rule = &row.rule;
            let mut fits = true;
            for (name, value) in asked.query() {
                fits &= match name.as_str() {
                    "name" => rule.name == value,
                    "status" => row.status() == value,
                    "activation_instance__activation" => rule.activation.to_string() == value,
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
                rows.push((at + 1, row));
            }
        }
        match asked.param("order_by").as_deref() {
            Some("fired_at") => rows.sort_by_key(|(id, row)| (row.rule.fired_at, *id)),
            Some("-fired_at") => {
                rows.sort_by_key(|(id, row)| std::cmp::Reverse((row.rule.fired_at, *id)));
            }
            _ => {}
        }
        let rows = rows.into_iter().map(|(id, row)| row.list_row(id));
        self.page(asked, rows.collect())
    }

    /// One page of a list: 20 rows, or as many as are asked for, 200 at most.
    fn page(&self, asked: &Asked<'_>, rows: Vec<Value>) -> Result<Outcome, Outcome> {
        let rows = if self.without_roles { Vec::new() } else { rows };
        let number = |name: &str, usual: usize| {
            let given = asked.param(name).and_then(|text| text.parse().ok());
            given.unwrap_or(usual).max(1)
        };
        let size = number("page_size", 20).min(self.largest_page.unwrap_or(200));
        let page = number("page", 1);
        let first = (page - 1).saturating_mul(size);
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
}

fn activation_row(id: usize, activation: &Activation) -> Value {
    json!({
        "id": id, "name": activation.name, "status": activation.status, "status_message": "",
    })
}

fn stream_rows(asked: &Asked<'_>, streams: &[Stream]) -> Vec<Value> {
    let host = String::from_utf8_lossy(asked.header("host").unwrap_or_default());
    let rows = streams.iter().enumerate().map(|(at, stream)| {
        json!({
            "id": at + 1, "name": "simulated", "test_mode": stream.test_mode,
            "additional_data_headers": if stream.all_headers { "*" } else { "" },
            "url": format!("http://{host}{}", stream.path()),
        })
    });
    rows.collect()
}

impl Row {
    /// As the first action ended, and failed when any has.
    fn status(&self) -> &str {
        let failed = self.actions.iter().find(|one| one.status == "failed");
        let told = failed.or(self.actions.first());
        told.map_or("", |action| action.status.as_str())
    }

    fn list_row(&self, id: usize) -> Value {
        let activation = self.rule.activation;
        json!({
            "id": id, "name": self.rule.name, "status": self.status(),
            "activation_instance": {"id": activation, "name": format!("simulated-{activation}")},
            "organization": {"id": 1, "name": "Default", "description": "The default organization"},
            "fired_at": self.rule.fired_at.to_string(),
        })
    }
}
