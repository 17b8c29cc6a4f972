//! How the monitor's questions are asked: pages of jobs of both kinds, and single jobs.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use jiff::Timestamp;
use provider_core::{Clock, ErrorKind, ProviderError};
use serde_json::value::RawValue;

use crate::answer::{Answer, List};
use crate::body::JobBody;
use crate::client::Client;
use crate::monitor::{Moment, Rows, Seen, Source};
use crate::words::{Kind, Lasting};

/// The controller, as the monitor asks it.
pub(crate) struct Jobs {
    client: Arc<Client>,
    clock: Arc<dyn Clock>,
    /// The variable with the token of a launch.
    variable: String,
    /// Whether it insists on counting what a list could show.
    counts: AtomicBool,
}

impl Jobs {
    pub(crate) fn new(client: Arc<Client>, clock: Arc<dyn Clock>, variable: &str) -> Self {
        Self {
            client,
            clock,
            variable: variable.to_owned(),
            counts: AtomicBool::new(false),
        }
    }

    async fn list(
        &self,
        ids: &str,
        but: Option<Lasting>,
        counts: bool,
    ) -> Result<Answer, ProviderError> {
        let mut filter = vec![("id__in", ids), ("page_size", "200"), ("order_by", "id")];
        filter.extend((!counts).then_some(("count_disabled", "1")));
        filter.extend(but.map(|status| ("not__status", status.word())));
        let what = "the list of jobs";
        self.client.get("unified_jobs/", &filter, what).await
    }
}

#[async_trait]
impl Source for Jobs {
    async fn page(&self, ids: &[u64], but: Option<Lasting>) -> Result<Rows, ProviderError> {
        let mut list = String::with_capacity(ids.len() * 8);
        for id in ids {
            let comma = if list.is_empty() { "" } else { "," };
            let _ = write!(list, "{comma}{id}");
        }
        let counts = self.counts.load(Ordering::Relaxed);
        let mut answer = self.list(&list, but, counts).await;
        let is_refused = |error: &ProviderError| error.kind() == ErrorKind::Invalid;
        if !counts && answer.as_ref().is_err_and(is_refused) {
            // A controller that does not know the switch, or something else that it does not like.
            answer = self.list(&list, but, true).await;
            self.counts.store(answer.is_ok(), Ordering::Relaxed);
        }
        let answer = answer?;
        let read = Moment::now(answer.date, self.clock.now());
        let rows = answer.json::<List<Box<RawValue>>>()?.results;
        let mut page = Rows {
            rows: Vec::with_capacity(rows.len()),
            unreadable: 0,
            unlisted: Vec::new(),
            read,
        };
        for text in rows {
            // Where it stays: bodies are large.
            let body = Arc::new(JobBody::read(&text, &self.variable));
            match (body.id, body.kind) {
                (Some(id), Some(_)) => page.rows.push((id, Seen::new(body, &page.read, false))),
                _ => page.unreadable += 1,
            }
        }
        Ok(page)
    }

    async fn serves(&self) -> bool {
        // A list that shows no row.
        let counts = self.counts.load(Ordering::Relaxed);
        self.list("0", None, counts).await.is_ok()
    }

    async fn one(&self, kind: Kind, id: u64) -> Result<Seen, ProviderError> {
        let read = read_job(&self.client, kind, id, &self.variable).await?;
        let moment = Moment::now(read.date, self.clock.now());
        Ok(Seen::new(read.body, &moment, true))
    }
}

/// A job that was read by itself.
pub(crate) struct Read {
    pub(crate) body: JobBody,
    pub(crate) text: Box<RawValue>,
    /// The server's clock.
    pub(crate) date: Option<Timestamp>,
}

/// Reads one job by itself; `variable` is where it carries its token.
pub(crate) async fn read_job(
    client: &Client,
    kind: Kind,
    id: u64,
    variable: &str,
) -> Result<Read, ProviderError> {
    let path = format!("{}/{id}/", kind.collection());
    let what = format!("{} {id}", kind.word().replace('_', " "));
    let answer = client.get(&path, &[], &what).await?;
    let text: Box<RawValue> = answer.json()?;
    let mut body = JobBody::read(&text, variable);
    body.kind = Some(kind);
    Ok(Read {
        body,
        text,
        date: answer.date,
    })
}
