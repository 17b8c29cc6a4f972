//! Why a job failed, where the job itself does not say: the first failed task, and the last lines.

use provider_core::{ProviderError, text};
use serde::Deserialize;
use serde_json::Value;

use crate::answer::List;
use crate::client::Client;

/// Lines of a text of several that tell something: shorter ones are brackets and the like.
const MIN_LINE: usize = 8;

/// What was found out.
#[derive(Debug, Default)]
pub(crate) struct Diagnosis {
    /// The failed task and its message.
    pub message: Option<String>,
    /// The end of the output.
    pub details: Option<String>,
}

#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    event: String,
    #[serde(default)]
    event_data: EventData,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct EventData {
    task: Option<String>,
    host: Option<String>,
    ignore_errors: Option<bool>,
    res: Value,
}

#[derive(Deserialize)]
struct Node {
    #[serde(default)]
    summary_fields: NodeSummary,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NodeSummary {
    job: Option<NodeJob>,
}

#[derive(Deserialize)]
struct NodeJob {
    id: u64,
    #[serde(default)]
    name: String,
    #[serde(default)]
    status: String,
    #[serde(rename = "type", default)]
    kind: String,
}

/// Takes out of a text what must not be repeated: before the text is cut and its lines are joined, or
/// half a secret would be left, and one of several lines not be found.
pub(crate) type Redact<'a> = &'a (dyn Fn(&str) -> String + Sync);

/// Looks into a failed job; finding nothing is no error, because events lag behind the status.
pub(crate) async fn diagnose(
    client: &Client,
    kind: &str,
    id: &str,
    redact: Redact<'_>,
) -> Result<Diagnosis, ProviderError> {
    if kind != "workflow_job" {
        return of_job(client, id, redact).await;
    }
    let path = format!("workflow_jobs/{id}/workflow_nodes/");
    let answer = client
        .get(&path, &[("page_size", "200")], "the nodes of the workflow")
        .await?;
    let failed = answer
        .json::<List<Node>>()?
        .results
        .into_iter()
        .filter_map(|node| node.summary_fields.job)
        .find(|job| matches!(job.status.as_str(), "failed" | "error"));
    let Some(failed) = failed else {
        return Ok(Diagnosis::default());
    };
    let name = text::bounded(&redact(&failed.name), 100);
    let mut diagnosis = if failed.kind == "job" {
        of_job(client, &failed.id.to_string(), redact).await?
    } else {
        Diagnosis::default()
    };
    let inner = diagnosis
        .message
        .take()
        .unwrap_or_else(|| format!("it ended as {}", failed.status));
    diagnosis.message = Some(format!("node \"{name}\" (job {}): {inner}", failed.id));
    Ok(diagnosis)
}

/// The texts among the caller's variables of a job: what no diagnosis may repeat. `ours` are the variables
/// that hold the object and the token; an event carries the caller's inside, as `extraVars`.
pub(crate) async fn variables(
    client: &Client,
    kind: &str,
    id: &str,
    ours: &[&str],
) -> Result<Vec<String>, ProviderError> {
    #[derive(Deserialize)]
    struct Row {
        #[serde(default)]
        extra_vars: String,
    }
    let path = format!("{kind}s/{id}/");
    let answer = client.get(&path, &[], "the variables of the job").await?;
    let row = answer.json::<Row>()?;
    let variables = serde_json::from_str(&row.extra_vars).unwrap_or_default();
    let mut found = Vec::new();
    if let Value::Object(variables) = variables {
        for (name, value) in variables {
            texts(&value, !ours.contains(&name.as_str()), &mut found);
        }
    }
    Ok(found)
}

fn texts(value: &Value, of_caller: bool, found: &mut Vec<String>) {
    match value {
        Value::String(text) if of_caller => {
            found.push(text.clone());
            // The end of an output may hold some lines of it.
            let lines = text.lines().map(str::trim);
            let telling = lines.filter(|line| line.len() >= MIN_LINE && line.len() < text.len());
            found.extend(telling.map(str::to_owned));
        }
        Value::Array(items) => items.iter().for_each(|item| texts(item, of_caller, found)),
        Value::Object(members) => {
            for (name, member) in members {
                texts(member, of_caller || name == "extraVars", found);
            }
        }
        _ => {}
    }
}

async fn of_job(client: &Client, id: &str, redact: Redact<'_>) -> Result<Diagnosis, ProviderError> {
    let query = [
        ("event__in", "runner_on_failed,runner_on_unreachable"),
        ("order_by", "counter"),
        ("page_size", "20"),
    ];
    let path = format!("jobs/{id}/job_events/");
    let events = client.get(&path, &query, "the events of the job").await?;
    let events = events.json::<List<Event>>()?.results;
    let cause = events
        .iter()
        .find(|event| event.event_data.ignore_errors != Some(true));
    let path = format!("jobs/{id}/stdout/");
    let query = [
        ("format", "json"),
        ("start_line", "-5"),
        ("end_line", "1000000"),
    ];
    // The output is an extra: a job without any still has its failed task.
    let details = match client.get(&path, &query, "the output of the job").await {
        Ok(answer) => answer
            .json::<Value>()
            .ok()
            .and_then(|body| {
                Some(text::bounded(
                    &redact(body.get("content")?.as_str()?),
                    text::MAX_TEXT,
                ))
            })
            .filter(|text| !text.is_empty()),
        Err(_) => None,
    };
    // What a task hides from the log must not come back through the output.
    let hidden = cause.is_some_and(|event| is_hidden(&event.event_data.res));
    Ok(Diagnosis {
        message: cause.map(|event| describe(event, redact)),
        details: details.filter(|_| !hidden),
    })
}

fn is_hidden(res: &Value) -> bool {
    res.get("_ansible_no_log").and_then(Value::as_bool) == Some(true)
        || res.get("censored").is_some()
}

fn describe(event: &Event, redact: Redact<'_>) -> String {
    let bounded = |text: &str, max| text::bounded(&redact(text), max);
    let data = &event.event_data;
    let task = bounded(data.task.as_deref().unwrap_or("a task"), 200);
    let host = bounded(data.host.as_deref().unwrap_or("a host"), 100);
    if is_hidden(&data.res) {
        return format!("task \"{task}\" failed on {host}; its output is hidden by no_log");
    }
    let verb = if event.event == "runner_on_unreachable" {
        "could not reach"
    } else {
        "failed on"
    };
    let why = ["msg", "stderr", "reason", "exception"]
        .iter()
        .find_map(|name| data.res.get(*name)?.as_str())
        .map(|why| bounded(why, 500))
        .filter(|why| !why.is_empty());
    match why {
        Some(why) => format!("task \"{task}\" {verb} {host}: {why}"),
        None => format!("task \"{task}\" {verb} {host}"),
    }
}
