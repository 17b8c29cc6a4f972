//! Lists: the filters, the order and the paging of the controller, as measured.

use std::cmp::Ordering;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::jobs::{Job, Jobs};
use super::world::{Template, User};

/// Query parameters that filter nothing, whatever they are set to.
const RESERVED: [&str; 12] = [
    "limit",
    "search",
    "format",
    "order",
    "order_by",
    "host_filter",
    "validate",
    "no_truncate",
    "count_disabled",
    "page",
    "page_size",
    "type",
];

const FORBIDDEN: [&str; 5] = [
    "extra_vars",
    "job_args",
    "job_env",
    "start_args",
    "survey_passwords",
];

const LOOKUPS: [&str; 13] = [
    "exact",
    "iexact",
    "contains",
    "icontains",
    "startswith",
    "istartswith",
    "endswith",
    "iendswith",
    "gt",
    "gte",
    "lt",
    "lte",
    "in",
];

/// A value of a column.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    Null,
    Int(u64),
    Text(String),
    Time(Timestamp),
    Bool(bool),
    Many(Vec<Self>),
}

/// Why a list is refused.
#[derive(Debug)]
pub(super) struct Refusal(pub u16, pub Value);

impl Refusal {
    fn detail(status: u16, text: &str) -> Self {
        Self(status, json!({ "detail": text }))
    }
}

/// One condition of a query.
struct Condition<'a> {
    field: &'a str,
    lookup: &'a str,
    value: &'a str,
    negated: bool,
    any: bool,
}

/// A row that can be filtered.
pub(super) trait Row {
    /// The model, for error texts.
    const MODEL: &'static str;
    /// The value of a column; `None` when there is no such column.
    fn cell(&self, field: &str, context: &Context<'_>) -> Option<Cell>;
}

/// What columns of related rows are read from.
#[derive(Debug)]
pub(super) struct Context<'a> {
    pub jobs: &'a Jobs,
    pub users: &'a [User],
    pub unified: bool,
}

impl Row for Job {
    const MODEL: &'static str = "Job";

    fn cell(&self, field: &str, context: &Context<'_>) -> Option<Cell> {
        let text = |text: &str| Cell::Text(text.to_owned());
        let time = |at: Option<Timestamp>| at.map_or(Cell::Null, Cell::Time);
        let id = |id: Option<u64>| id.map_or(Cell::Null, Cell::Int);
        Some(match field {
            "id" | "pk" => Cell::Int(self.id),
            "name" => text(&self.name),
            "status" => text(self.status),
            "launch_type" => text(self.launch_type),
            "created" => Cell::Time(self.created),
            "started" => time(self.started),
            "finished" => time(self.finished),
            "canceled_on" => time(self.canceled_on),
            "limit" => text(&self.limit),
            "job_explanation" => text(&self.explanation),
            "failed" => Cell::Bool(matches!(self.status, "failed" | "error" | "canceled")),
            "cancel_flag" => Cell::Bool(self.canceled_on.is_some()),
            "unified_job_template" => id(self.template),
            "job_template" | "workflow_job_template" if !context.unified => id(self.template),
            "organization" => Cell::Int(self.organization),
            "organization__name" => text(context.jobs.organization_name(self.organization)),
            "created_by" => Cell::Int(self.user as u64 + 1),
            "created_by__username" => text(context.users.get(self.user).map_or("", |u| &u.name)),
            "labels__name" => Cell::Many(
                self.labels
                    .iter()
                    .map(|id| text(context.jobs.label_name(*id)))
                    .collect(),
            ),
            "labels__id" | "labels" => {
                Cell::Many(self.labels.iter().map(|id| Cell::Int(*id)).collect())
            }
            "unified_job_node__workflow_job" => id(self.parent),
            _ => return None,
        })
    }
}

/// A template with its id.
pub(super) struct NumberedTemplate<'a>(pub u64, pub &'a Template);

impl Row for NumberedTemplate<'_> {
    const MODEL: &'static str = "UnifiedJobTemplate";

    fn cell(&self, field: &str, context: &Context<'_>) -> Option<Cell> {
        let Self(id, template) = self;
        let organization = || {
            context
                .jobs
                .organizations
                .iter()
                .position(|name| *name == template.organization)
                .map_or(Cell::Null, |at| Cell::Int(at as u64 + 1))
        };
        Some(match field {
            "id" | "pk" => Cell::Int(*id),
            "name" => Cell::Text(template.name.clone()),
            "organization" => organization(),
            "organization__name" => Cell::Text(template.organization.clone()),
            "ask_variables_on_launch" if !context.unified => Cell::Bool(template.ask_variables),
            _ => return None,
        })
    }
}

/// Those of the rows that the query asks for, in its order.
pub(super) fn select<R: Row>(
    mut rows: Vec<R>,
    query: &[(String, String)],
    context: &Context<'_>,
) -> Result<Vec<R>, Refusal> {
    let mut conditions = Vec::new();
    for (name, value) in query {
        if RESERVED.contains(&name.as_str()) {
            continue;
        }
        let condition = condition(name, value);
        check::<R>(&condition, rows.first(), context)?;
        conditions.push(condition);
    }
    rows.retain(|row| {
        let holds = |c: &Condition<'_>| {
            row.cell(c.field, context)
                .is_some_and(|cell| matches(&cell, c.lookup, c.value))
                != c.negated
        };
        let mut any = conditions.iter().filter(|c| c.any).peekable();
        conditions.iter().filter(|c| !c.any).all(holds) && (any.peek().is_none() || any.any(holds))
    });
    let order = query
        .iter()
        .rev()
        .find(|(name, _)| name == "order_by" || name == "order")
        .map_or("id", |(_, value)| value);
    for key in order.split(',').rev() {
        let (field, reverse) = key.strip_prefix('-').map_or((key, false), |f| (f, true));
        rows.sort_by(|a, b| {
            let by = compare(
                a.cell(field, context).as_ref(),
                b.cell(field, context).as_ref(),
            );
            if reverse { by.reverse() } else { by }
        });
    }
    Ok(rows)
}

fn condition<'a>(name: &'a str, value: &'a str) -> Condition<'a> {
    let mut field = name;
    let mut any = false;
    let mut negated = false;
    loop {
        if let Some(rest) = field.strip_prefix("or__") {
            (field, any) = (rest, true);
        } else if let Some(rest) = field.strip_prefix("not__") {
            (field, negated) = (rest, true);
        } else {
            break;
        }
    }
    let (field, lookup) = match field.rsplit_once("__") {
        Some((field, lookup)) if LOOKUPS.contains(&lookup) || lookup == "isnull" => (field, lookup),
        _ => (field, "exact"),
    };
    Condition {
        field,
        lookup,
        value,
        negated,
        any,
    }
}

fn check<R: Row>(
    condition: &Condition<'_>,
    example: Option<&R>,
    context: &Context<'_>,
) -> Result<(), Refusal> {
    let Condition {
        field,
        lookup,
        value,
        ..
    } = condition;
    if FORBIDDEN.contains(field) {
        return Err(if context.unified && *field == "extra_vars" {
            Refusal::detail(400, &format!("UnifiedJob has no field named '{field}'"))
        } else {
            Refusal::detail(403, &format!("Filtering on {field} is not allowed."))
        });
    }
    let Some(example) = example else {
        return Ok(());
    };
    let Some(cell) = example.cell(field, context) else {
        let model = if context.unified {
            "UnifiedJob"
        } else {
            R::MODEL
        };
        return Err(Refusal::detail(
            400,
            &format!("{model} has no field named '{field}'"),
        ));
    };
    let is_id = *field == "id" || *field == "pk" || matches!(cell, Cell::Int(_));
    if *lookup == "in" && value.is_empty() {
        return Err(Refusal::detail(400, "cannot provide empty value for __in"));
    }
    if is_id && *lookup != "isnull" {
        for part in value.split(',') {
            if part.parse::<u64>().is_err() {
                return Err(Refusal::detail(
                    400,
                    &format!("Field '{field}' expected a number but got '{part}'."),
                ));
            }
        }
    }
    let is_time = ["created", "started", "finished", "canceled_on"].contains(field);
    if is_time && *lookup != "isnull" && value.parse::<Timestamp>().is_err() {
        return Err(Refusal::detail(
            400,
            &format!("['“{value}” value has an invalid format.']"),
        ));
    }
    Ok(())
}

fn matches(cell: &Cell, lookup: &str, value: &str) -> bool {
    if let Cell::Many(cells) = cell {
        return cells.iter().any(|cell| matches(cell, lookup, value));
    }
    let truth = |value: &str| matches!(value.to_ascii_lowercase().as_str(), "true" | "1");
    if lookup == "isnull" {
        return (*cell == Cell::Null) == truth(value);
    }
    if lookup == "in" {
        return value.split(',').any(|value| matches(cell, "exact", value));
    }
    let ordered = |by: Ordering| match lookup {
        "gt" => by.is_gt(),
        "gte" => by.is_ge(),
        "lt" => by.is_lt(),
        "lte" => by.is_le(),
        _ => by.is_eq(),
    };
    match cell {
        Cell::Null => matches!(value, "None" | "Null" | "none" | "null"),
        Cell::Bool(known) => *known == truth(value),
        Cell::Int(known) => value.parse().is_ok_and(|value| ordered(known.cmp(&value))),
        Cell::Time(known) => value.parse().is_ok_and(|value| ordered(known.cmp(&value))),
        Cell::Text(known) => {
            let (known, value) = if lookup.starts_with('i') && lookup != "in" {
                (known.to_lowercase(), value.to_lowercase())
            } else {
                (known.clone(), value.to_owned())
            };
            match lookup.trim_start_matches('i') {
                "contains" => known.contains(&value),
                "startswith" => known.starts_with(&value),
                "endswith" => known.ends_with(&value),
                _ => ordered(known.cmp(&value)),
            }
        }
        Cell::Many(_) => false,
    }
}

fn compare(a: Option<&Cell>, b: Option<&Cell>) -> Ordering {
    match (a, b) {
        (Some(Cell::Int(a)), Some(Cell::Int(b))) => a.cmp(b),
        (Some(Cell::Text(a)), Some(Cell::Text(b))) => a.cmp(b),
        (Some(Cell::Time(a)), Some(Cell::Time(b))) => a.cmp(b),
        (Some(Cell::Bool(a)), Some(Cell::Bool(b))) => a.cmp(b),
        // The database sorts nothing last.
        (Some(Cell::Null), Some(Cell::Null)) => Ordering::Equal,
        (Some(Cell::Null), _) => Ordering::Greater,
        (_, Some(Cell::Null)) => Ordering::Less,
        _ => Ordering::Equal,
    }
}

/// One page: the rows on it, and what is around them.
pub(super) struct Page<R> {
    pub rows: Vec<R>,
    count: Option<usize>,
    next: Option<String>,
    previous: Option<String>,
}

impl<R> Page<R> {
    pub(super) fn cut(
        rows: Vec<R>,
        path: &str,
        query: &[(String, String)],
        most: usize,
    ) -> Result<Self, Refusal> {
        let get = |name: &str| {
            query
                .iter()
                .rev()
                .find(|(known, _)| known == name)
                .map(|(_, value)| value.as_str())
        };
        let size = get("page_size")
            .and_then(|size| size.parse().ok())
            .filter(|size| *size > 0)
            .unwrap_or(25)
            .min(most);
        let page: usize = match get("page") {
            None => 1,
            Some(page) => page.parse().unwrap_or(0),
        };
        let total = rows.len();
        let pages = total.div_ceil(size).max(1);
        let bare = get("count_disabled").is_some_and(|v| !v.is_empty());
        // Without the count there is one page, whatever is in it.
        let known = if bare { 1 } else { pages };
        if page == 0 || page > known {
            return Err(Refusal::detail(404, "Invalid page."));
        }
        let link = |page: usize| {
            let mut sorted: Vec<(&str, String)> = query
                .iter()
                .filter(|(name, _)| name != "page")
                .map(
                    |(name, value)| match (name.as_str(), value.parse::<usize>()) {
                        ("page_size", Ok(asked)) if asked > most => ("page_size", most.to_string()),
                        (name, _) => (name, value.clone()),
                    },
                )
                .chain([("page", page.to_string())])
                .collect();
            sorted.sort();
            let mut text = url_encoded(&sorted);
            if !text.is_empty() {
                text.insert(0, '?');
            }
            format!("{path}{text}")
        };
        Ok(Self {
            count: (!bare).then_some(total),
            next: (!bare && page < pages).then(|| link(page + 1)),
            previous: (!bare && page > 1).then(|| link(page - 1)),
            rows: rows
                .into_iter()
                .skip((page - 1) * size)
                .take(size)
                .collect(),
        })
    }

    pub(super) fn into_json(self, write: impl FnMut(R) -> Value) -> Value {
        let mut page = Map::new();
        if let Some(count) = self.count {
            page.insert("count".to_owned(), count.into());
            page.insert("next".to_owned(), self.next.into());
            page.insert("previous".to_owned(), self.previous.into());
        }
        // As they are: json! would copy every row.
        let rows = self.rows.into_iter().map(write).collect();
        page.insert("results".to_owned(), Value::Array(rows));
        Value::Object(page)
    }
}

fn url_encoded(pairs: &[(&str, String)]) -> String {
    url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish()
}
