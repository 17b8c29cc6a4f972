//! Jobs by the operation token that they were launched with, or by a label.
//!
//! The controller refuses to filter by `extra_vars` (AWX 24.6.1: 403, or 400 on the unified list),
//! so the jobs launched since are listed and compared here.

use std::time::Duration;

use jiff::Timestamp;
use provider_core::{Effect, ErrorKind, FindRequest, JobRef, JobStatus, ProviderError, clock};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::AapProvider;
use crate::answer::List;
use crate::body::{JobBody, lenient};

/// How far the controller's clock may be from that of whoever launched: launches are refused when they
/// are further apart than a minute less.
const SLACK: Duration = Duration::from_secs(600);
/// The largest page that the controller gives.
const PAGE: usize = 200;
/// A bound on the work of one search: 20,000 jobs.
const MAX_PAGES: usize = 100;

/// A job, and how it came about; polls have no use for the latter.
struct Row {
    body: JobBody,
    launched: Launched,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Launched {
    #[serde(deserialize_with = "lenient")]
    url: Option<String>,
    #[serde(deserialize_with = "lenient")]
    launch_type: String,
    #[serde(deserialize_with = "lenient")]
    extra_vars: String,
}

impl Row {
    fn read(text: &RawValue) -> Result<Self, ProviderError> {
        let rows = (
            serde_json::from_str(text.get()),
            serde_json::from_str(text.get()),
        );
        match rows {
            (Ok(body), Ok(launched)) => Ok(Self { body, launched }),
            // It may be the one that is looked for.
            _ => Err(no_row()),
        }
    }
}

fn no_row() -> ProviderError {
    ProviderError::new(
        Effect::Unreadable,
        ErrorKind::Protocol,
        "a row of the controller's list of jobs is none",
    )
}

impl AapProvider {
    pub(crate) async fn find(&self, query: &FindRequest) -> Result<Vec<JobStatus>, ProviderError> {
        let text = |at: Timestamp| at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
        let earliest = query
            .not_before
            .map(|at| at.checked_sub(SLACK).unwrap_or(at));
        let latest = query.not_after.map(|at| clock::add(at, SLACK));
        let bounds = [
            ("created__gte", earliest.map(text)),
            ("created__lte", latest.map(text)),
        ];
        let narrow: Vec<(&str, &str)> = bounds
            .iter()
            .filter_map(|(name, at)| Some((*name, at.as_deref()?)))
            .collect();
        self.search(&narrow, |row| self.carries(row, query.token.as_str()))
            .await
    }

    /// All jobs with this label, in the order of their launch, in whatever state: how jobs are
    /// found that something else launched on our behalf, a rulebook for one.
    ///
    /// With `holding`, only those whose variables hold this text. Jobs that a person relaunched carry
    /// the labels of the first job and are not listed. Reads only; may be repeated.
    ///
    /// # Errors
    /// When the controller's list cannot be read to its end.
    pub async fn find_labelled(
        &self,
        label: &str,
        holding: Option<&str>,
    ) -> Result<Vec<JobStatus>, ProviderError> {
        let holds = |row: &Launched| {
            row.launch_type == "manual" && holding.is_none_or(|text| row.extra_vars.contains(text))
        };
        self.search(&[("labels__name", label)], holds).await
    }

    /// The jobs of the unified list that are meant, narrowed down by filters there.
    async fn search(
        &self,
        narrow: &[(&str, &str)],
        is_meant: impl Fn(&Launched) -> bool,
    ) -> Result<Vec<JobStatus>, ProviderError> {
        let mut found = Vec::new();
        let mut last = 0_u64;
        let page_size = PAGE.to_string();
        for _ in 0..MAX_PAGES {
            // Pages by id: jobs that are launched or purged meanwhile shift nothing.
            let after = last.to_string();
            let mut filter = vec![
                ("type", "job,workflow_job"),
                // A relaunch by a person carries the token of another job.
                ("launch_type", "manual"),
                ("order_by", "id"),
                ("page_size", page_size.as_str()),
                ("count_disabled", "1"),
                ("id__gt", after.as_str()),
            ];
            filter.extend_from_slice(narrow);
            let answer = self
                .client
                .get("unified_jobs/", &filter, "the list of jobs")
                .await?;
            let now = answer.date.unwrap_or_else(|| self.clock.now());
            let rows = answer.json::<List<Box<RawValue>>>()?.results;
            let full = rows.len() >= PAGE;
            let rows = rows.iter().map(|text| Row::read(text));
            let rows = rows.collect::<Result<Vec<Row>, _>>()?;
            let newest = rows.iter().filter_map(|row| row.body.id).max();
            for row in rows {
                if is_meant(&row.launched) {
                    found.push(self.row_status(&row, now).await?);
                }
            }
            if !full {
                return Ok(found);
            }
            // Rows whose ids cannot be read would end the search before its end.
            last = newest.filter(|newest| *newest > last).ok_or_else(no_row)?;
        }
        // An incomplete answer must not be read as "there is none".
        Err(ProviderError::new(
            Effect::Unreadable,
            ErrorKind::Unavailable,
            format!(
                "the search for the job went through {} jobs without an end",
                MAX_PAGES * PAGE
            ),
        )
        .with_advice(
            "look for the operation token of the attempt in the controller's list of jobs",
        ))
    }

    fn carries(&self, row: &Launched, token: &str) -> bool {
        // Most rows do not hold the token at all, and need no parsing.
        row.launch_type == "manual"
            && row.extra_vars.contains(token)
            && serde_json::from_str::<Value>(&row.extra_vars).is_ok_and(|vars| {
                vars.get(&self.config.token_variable)
                    .and_then(Value::as_str)
                    == Some(token)
            })
    }

    async fn row_status(
        &self,
        Row { body, launched }: &Row,
        now: Timestamp,
    ) -> Result<JobStatus, ProviderError> {
        // It is one that was looked for; without its name it is not absent.
        let (Some(id), Some(kind)) = (body.id, body.kind) else {
            return Err(no_row());
        };
        let mut job = JobRef::new(&self.config.name, kind.word(), id.to_string());
        if let Some(url) = launched
            .url
            .as_deref()
            .and_then(|url| self.client.on_origin(url))
        {
            job = job.with_url(url);
        }
        self.judge(body, job, now).await
    }
}
