//! The questions of one diagnosis: so many of them, and nothing that they find is repeated as it is.

use provider_core::{Effect, ErrorKind, ProviderError, text};
use serde::Deserialize;
use serde_json::Value;

use super::Diagnosis;
use super::output::Output;
use super::play::{self, Events};
use crate::answer::Answer;
use crate::body::lenient;
use crate::client::Client;
use crate::json;

/// How much is asked for one diagnosis. A workflow costs three: its row, its nodes, and the empty page behind
/// them.
const MOST: u8 = 20;

/// Lines of a text of several that tell something: shorter ones are brackets and the like.
const MIN_LINE: usize = 8;

/// Events are stored up to seconds after the end. How often they are asked for again where the controller
/// says that some are missing, and how long after.
const REPEATS: u8 = 2;
const PAUSE: std::time::Duration = std::time::Duration::from_millis(1_500);

/// A job of any kind, as far as it tells why it failed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Row {
    #[serde(deserialize_with = "lenient")]
    pub status: String,
    #[serde(deserialize_with = "lenient")]
    pub timed_out: bool,
    #[serde(deserialize_with = "lenient")]
    pub summary_fields: Value,
    #[serde(deserialize_with = "lenient")]
    extra_vars: String,
    #[serde(deserialize_with = "lenient")]
    job_explanation: String,
    #[serde(deserialize_with = "lenient")]
    result_traceback: String,
    #[serde(deserialize_with = "lenient")]
    event_processing_finished: Option<bool>,
}

/// What a job says that failed because another one did (AWX 24.6.1).
const PREVIOUS: &str = "Previous Task Failed:";

impl Row {
    /// What the job says itself. The last line of a traceback says what, the others say where.
    fn own_words(&self) -> &str {
        let lines = self.result_traceback.trim_end().lines();
        match self.job_explanation.trim() {
            "" => lines.last().unwrap_or_default(),
            explanation => explanation,
        }
    }

    /// The job that had to succeed before this one.
    fn previous(&self) -> Option<(String, u64)> {
        let told = self.job_explanation.trim().strip_prefix(PREVIOUS)?;
        let told: Value = serde_json::from_str(told.trim()).ok()?;
        let id = told.get("job_id")?;
        let id = id.as_u64().or_else(|| id.as_str()?.parse().ok())?;
        Some((told.get("job_type")?.as_str()?.to_owned(), id))
    }
}

/// Where jobs of this kind live, and their events, where those are about tasks.
fn places(kind: &str) -> Option<(&'static str, Option<&'static str>)> {
    Some(match kind {
        "job" => ("jobs", Some("job_events")),
        "project_update" => ("project_updates", Some("events")),
        "inventory_update" => ("inventory_updates", None),
        "ad_hoc_command" => ("ad_hoc_commands", None),
        "system_job" => ("system_jobs", None),
        _ => return None,
    })
}

pub(crate) struct Inquiry<'a> {
    client: &'a Client,
    /// The variables that hold the object and the token.
    ours: Vec<String>,
    /// The texts among the callers' variables of the jobs that were looked at: what is not repeated.
    hidden: Vec<String>,
    left: u8,
}

impl<'a> Inquiry<'a> {
    pub(super) fn new(client: &'a Client, ours: Vec<String>) -> Self {
        Self {
            client,
            ours,
            hidden: Vec::new(),
            left: MOST,
        }
    }

    /// Takes out of a text what must not be repeated: before the text is cut and its lines are joined, or
    /// half a secret would be left, and one of several lines not be found.
    pub(crate) fn redact(&self, text: &str) -> String {
        let text = text::redacted(text, self.hidden.iter().map(String::as_str));
        self.client.redact(&text)
    }

    /// The same, as long as it may be.
    pub(crate) fn bounded(&self, text: &str, max: usize) -> String {
        text::bounded(&self.redact(text), max)
    }

    pub(crate) async fn get(
        &mut self,
        path: &str,
        query: &[(&str, &str)],
        what: &str,
    ) -> Result<Answer, ProviderError> {
        let Some(left) = self.left.checked_sub(1) else {
            let text = "enough was asked about one job";
            return Err(ProviderError::new(
                Effect::NotSent,
                ErrorKind::Invalid,
                text,
            ));
        };
        self.left = left;
        self.client.get(path, query, what).await
    }

    /// A job of any kind; from then on its variables are hidden.
    pub(crate) async fn row(&mut self, collection: &str, id: u64) -> Result<Row, ProviderError> {
        let path = format!("{collection}/{id}/");
        let answer = self.get(&path, &[], "a job that is looked into").await?;
        let row: Row = answer.json()?;
        if let Some(Value::Object(variables)) = json::leniently(row.extra_vars.as_bytes()) {
            for (name, value) in variables {
                texts(&value, !self.ours.contains(&name), &mut self.hidden);
            }
        }
        Ok(row)
    }

    /// Why this job of this kind has failed; a workflow by the job of its node.
    pub(super) async fn of(&mut self, kind: &str, id: u64) -> Result<Diagnosis, ProviderError> {
        if kind == "workflow_job" {
            self.row("workflow_jobs", id).await?;
            return self.of_workflow(id, 0).await;
        }
        self.of_job(kind, id, true).await
    }

    /// Why this job has failed, which is none of a workflow.
    pub(super) async fn of_job(
        &mut self,
        kind: &str,
        id: u64,
        follow: bool,
    ) -> Result<Diagnosis, ProviderError> {
        let Some((collection, events)) = places(kind) else {
            return Ok(Diagnosis::default());
        };
        let row = self.row(collection, id).await?;
        if let Some((kind, id)) = row.previous().filter(|_| follow) {
            let mut found = Box::pin(self.of_job(&kind, id, false)).await?;
            let kind = self.bounded(&kind.replace('_', " "), 40);
            let why = found.message.unwrap_or_else(|| "it failed".to_owned());
            let why = format!("the {kind} {id} before it failed: {why}");
            (found.message, found.previous) = (Some(why.clone()), Some(why));
            return Ok(found);
        }
        let own = self.bounded(row.own_words(), text::MAX_TEXT);
        let is_late = row.event_processing_finished == Some(false);
        let events = match events {
            Some(events) => {
                let path = format!("{collection}/{id}/{events}/");
                self.events(&path, is_late).await?
            }
            None => Events::default(),
        };
        // What a task hides from the log must not come back through the output.
        let output = if events.are_hidden() {
            None
        } else {
            self.output(collection, id).await
        };
        let told = events.cause(&|text| self.redact(text));
        let message = match (own.is_empty(), told) {
            (false, _) => Some(own),
            (true, Some(told)) => Some(told),
            // An output has the lines of failures that were handled, too.
            (true, None) if events.is_over() => None,
            (true, None) => {
                let line = output.as_ref().and_then(Output::line);
                line.map(|line| format!("the output says: {line}"))
            }
        };
        Ok(Diagnosis {
            message,
            previous: None,
            details: output.and_then(|output| output.end()),
        })
    }

    /// The newest failures, and the statistics: an old failure may have been rescued.
    async fn events(&mut self, path: &str, is_late: bool) -> Result<Events, ProviderError> {
        let mut events = self.events_now(path).await?;
        for _ in 0..REPEATS {
            if events.is_whole() || !is_late {
                break;
            }
            tokio::time::sleep(PAUSE).await;
            events = self.events_now(path).await?;
        }
        Ok(events)
    }

    async fn events_now(&mut self, path: &str) -> Result<Events, ProviderError> {
        let query = [
            ("event__in", play::WANTED),
            ("order_by", "-counter"),
            ("page_size", "25"),
        ];
        let answer = self.get(path, &query, "the events of the job").await?;
        Events::read(&answer)
    }

    /// The end of what was printed. It is an extra: a job without any still has its failed task.
    async fn output(&mut self, collection: &str, id: u64) -> Option<Output> {
        let path = format!("{collection}/{id}/stdout/");
        let query = [
            ("format", "json"),
            ("start_line", "-40"),
            ("end_line", "1000000"),
        ];
        let answer = self
            .get(&path, &query, "the output of the job")
            .await
            .ok()?;
        Output::read(&answer, &|text| self.redact(text))
    }
}

/// The texts of the caller: an event carries them inside, as `extraVars`.
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
