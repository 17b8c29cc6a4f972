//! How the monitor's questions are asked: pages of jobs of both kinds, and single jobs.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use provider_core::{Clock, ErrorKind, ProviderError};

use crate::answer::{Answer, List};
use crate::client::Client;
use crate::monitor::{Rows, Seen, Source};
use crate::status::{JobBody, collection, known_kind};

/// The controller, as the monitor asks it.
pub(crate) struct Jobs {
    client: Arc<Client>,
    clock: Arc<dyn Clock>,
    /// Whether it insists on counting what a list could show.
    counts: AtomicBool,
}

impl Jobs {
    pub(crate) fn new(client: Arc<Client>, clock: Arc<dyn Clock>) -> Self {
        Self {
            client,
            clock,
            counts: AtomicBool::new(false),
        }
    }

    async fn list(
        &self,
        ids: &str,
        but: Option<&'static str>,
        counts: bool,
    ) -> Result<Answer, ProviderError> {
        let mut filter = vec![("id__in", ids), ("page_size", "200"), ("order_by", "id")];
        filter.extend((!counts).then_some(("count_disabled", "1")));
        filter.extend(but.map(|status| ("not__status", status)));
        let what = "the list of jobs";
        self.client.get("unified_jobs/", &filter, what).await
    }
}

#[async_trait]
impl Source for Jobs {
    async fn page(&self, ids: &[u64], but: Option<&'static str>) -> Result<Rows, ProviderError> {
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
        let at = self.clock.now();
        let now = answer.date.unwrap_or(at);
        let mut page = Rows {
            rows: Vec::new(),
            unreadable: 0,
            now,
            at,
        };
        for body in answer.json::<List<JobBody>>()?.results {
            match (body.id, known_kind(&body.kind)) {
                (Some(id), Some(_)) => page.rows.push((id, Seen::new(body, now, at, false))),
                _ => page.unreadable += 1,
            }
        }
        Ok(page)
    }

    async fn one(&self, kind: &'static str, id: u64) -> Result<Seen, ProviderError> {
        let path = format!("{}/{id}/", collection(kind).unwrap_or("jobs"));
        let what = format!("{} {id}", kind.replace('_', " "));
        let answer = self.client.get(&path, &[], &what).await?;
        let at = self.clock.now();
        let mut body: JobBody = answer.json()?;
        kind.clone_into(&mut body.kind);
        let now = answer.date.unwrap_or(at);
        Ok(Seen::new(body, now, at, true))
    }
}
