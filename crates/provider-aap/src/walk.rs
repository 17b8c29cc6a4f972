//! The one way through a list of jobs, to its end.
//!
//! A list ends with an empty page and with nothing else: a controller's `MAX_PAGE_SIZE`, or a proxy, may
//! make any page shorter than was asked for. Pages go by id, so that what is launched or purged meanwhile
//! shifts nothing. A page that cannot be had (too large, a 5xx, no answer in time) is asked for again with
//! fewer rows, down to one; a row that cannot be had alone is passed by, and named.

use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use provider_core::{Effect, ErrorKind, ProviderError};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::answer::{List, is_too_large};
use crate::body::lenient;
use crate::client::Client;

/// The largest page that is asked for.
const MOST_ROWS: usize = 200;
/// Bounds of one walk.
const MAX_ROWS: usize = 20_000;
const MAX_REQUESTS: usize = 1_000;
/// A page is asked for with so many rows that it stays below this.
const FINE_SIZE: usize = 8 << 20;
/// What AWX's own web server waits at most.
const LONGEST_PATIENCE: Duration = Duration::from_secs(120);

/// How many rows are asked for at once, and how long an answer may take; learned from the answers.
#[derive(Debug)]
pub(crate) struct Pace(Mutex<Learned>);

#[derive(Debug, Clone, Copy)]
struct Learned {
    rows: usize,
    patience: Duration,
    /// What the configuration says.
    usual: Duration,
    /// Whether the controller insists on counting what a list could show.
    counts: bool,
}

impl Pace {
    pub(crate) fn new(usual: Duration) -> Self {
        Self(Mutex::new(Learned {
            rows: MOST_ROWS,
            patience: usual,
            usual,
            counts: false,
        }))
    }

    fn now(&self) -> Learned {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn learn(&self, learn: impl FnOnce(&mut Learned)) {
        learn(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Learned {
    /// So many rows of this size came after this time.
    fn answered(&mut self, rows: usize, size: usize, took: Duration) {
        let mut next = self.rows.saturating_mul(4);
        if rows > 0 {
            next = next.min(FINE_SIZE.saturating_mul(rows) / size.max(1));
        }
        // A few rows tell what a request costs, and not what a row does.
        if rows >= 10 {
            let fine = self.usual.as_secs_f64() / 4.0;
            let each = (took.as_secs_f64() / rows as f64).max(1e-6);
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a float is cut at the bounds of the integer, which are far away"
            )]
            let affordable = (fine / each) as usize;
            next = next.min(affordable);
        }
        self.rows = next.clamp(1, MOST_ROWS);
        let fine = self.patience / 2;
        self.patience = fine
            .max(took.saturating_mul(3))
            .clamp(self.usual, self.longest());
    }

    fn longest(&self) -> Duration {
        LONGEST_PATIENCE.max(self.usual)
    }

    /// A page of so many rows could not be had.
    fn failed(&mut self, rows: usize, kind: ErrorKind) {
        if kind == ErrorKind::Timeout {
            self.rows = rows / 8;
            self.patience = self.patience.saturating_mul(2).min(self.longest());
        } else {
            self.rows = rows / 4;
        }
        self.rows = self.rows.clamp(1, MOST_ROWS);
    }
}

/// A row of a list, as it was written.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) id: Option<u64>,
    pub(crate) text: Box<RawValue>,
}

impl Row {
    pub(crate) fn new(text: Box<RawValue>) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Named {
            #[serde(deserialize_with = "lenient")]
            id: Option<u64>,
        }
        let named = serde_json::from_str::<Named>(text.get()).unwrap_or_default();
        Self { id: named.id, text }
    }
}

/// The error for a row that may be one of ours, and says too little.
pub(crate) fn no_row() -> ProviderError {
    ProviderError::new(
        Effect::Unreadable,
        ErrorKind::Protocol,
        "a row of the controller's list of jobs is none",
    )
}

/// Why a row cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lack {
    /// The controller cannot show it.
    Unshown,
    /// It can, but one row alone is larger than what is read.
    TooLarge,
}

impl Lack {
    fn of(error: &ProviderError) -> Self {
        if is_too_large(error) {
            Self::TooLarge
        } else {
            Self::Unshown
        }
    }
}

/// How a walk goes on.
pub(crate) enum Step {
    /// More rows.
    Rows(Vec<Row>),
    /// The row of this job cannot be had.
    Unshown(u64, Lack),
    /// There are no more.
    End,
}

/// Which rows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Range {
    /// After this id.
    pub(crate) after: u64,
    /// Up to this one.
    pub(crate) until: Option<u64>,
    /// But for these.
    pub(crate) but: Vec<u64>,
}

impl Range {
    /// One row.
    pub(crate) fn only(id: u64) -> Self {
        Self {
            after: id.saturating_sub(1),
            until: Some(id),
            but: Vec::new(),
        }
    }
}

/// A walk through the unified list of jobs, in the order of their ids.
pub(crate) struct Walk<'a> {
    client: &'a Client,
    pace: &'a Pace,
    what: &'a str,
    filter: &'a [(&'a str, &'a str)],
    range: Range,
    but: String,
    requests: usize,
    rows: usize,
    /// When the first question was asked, by the server's clock.
    pub(crate) begun: Option<Timestamp>,
    /// The server's clock at the last answer.
    pub(crate) date: Option<Timestamp>,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(
        client: &'a Client,
        pace: &'a Pace,
        what: &'a str,
        filter: &'a [(&'a str, &'a str)],
        range: Range,
    ) -> Self {
        let mut but = String::new();
        for id in &range.but {
            let comma = if but.is_empty() { "" } else { "," };
            let _ = write!(but, "{comma}{id}");
        }
        Self {
            client,
            pace,
            what,
            filter,
            range,
            but,
            requests: 0,
            rows: 0,
            begun: None,
            date: None,
        }
    }

    /// The next rows. After an error the walk goes on, if it is asked to, where it was.
    pub(crate) async fn next(&mut self) -> Result<Step, ProviderError> {
        let mut first = None;
        let mut late = 0;
        loop {
            if self.requests >= MAX_REQUESTS || self.rows >= MAX_ROWS {
                return Err(endless(self.what, self.rows));
            }
            let asked = self.pace.now().rows;
            let error = match self.page(self.range.after, self.range.until, asked).await {
                Ok(rows) if rows.is_empty() => return Ok(Step::End),
                Ok(rows) => return self.came(rows),
                Err(error) => error,
            };
            if !is_about_the_page(&error) {
                return Err(error);
            }
            self.pace.learn(|pace| pace.failed(asked, error.kind()));
            late += u8::from(error.kind() == ErrorKind::Timeout);
            let first = first.get_or_insert(error);
            if asked > 1 {
                // The next walk begins with what this one has learned.
                if late >= 2 {
                    return Err(first.clone());
                }
                continue;
            }
            // Is it the row, or the controller? A page that is empty by its question shows no row.
            let after = self.range.after;
            if !self
                .page(after, Some(after), 1)
                .await
                .is_ok_and(|rows| rows.is_empty())
            {
                return Err(first.clone());
            }
            if let Some(step) = self.corner().await? {
                return Ok(step);
            }
        }
    }

    /// The one row of a [range of one](Range::only).
    pub(crate) async fn row(&mut self) -> Result<ByItself, ProviderError> {
        match self.page(self.range.after, self.range.until, 1).await {
            Ok(rows) => Ok(rows
                .into_iter()
                .next()
                .map_or(ByItself::Gone, ByItself::Row)),
            Err(error) if is_about_the_page(&error) => Ok(ByItself::Unreadable(Lack::of(&error))),
            Err(error) => Err(error),
        }
    }

    fn came(&mut self, rows: Vec<Row>) -> Result<Step, ProviderError> {
        self.rows = self.rows.saturating_add(rows.len());
        let newest = rows.iter().filter_map(|row| row.id).max();
        // Rows whose ids cannot be read would end the walk before its end, or never.
        let newest = newest.filter(|newest| *newest > self.range.after);
        self.range.after = newest.ok_or_else(no_row)?;
        Ok(Step::Rows(rows))
    }

    /// The next row cannot be shown. Its id is found by ranges: one that is empty is passed by.
    async fn corner(&mut self) -> Result<Option<Step>, ProviderError> {
        let mut width = 1_u64;
        for _ in 0..64 {
            let mut end = self.range.after.saturating_add(width);
            if let Some(until) = self.range.until {
                end = end.min(until);
            }
            match self.page(self.range.after, Some(end), 1).await {
                Ok(rows) if rows.is_empty() => {
                    self.range.after = end;
                    width = width.saturating_mul(2).min(1 << 20);
                    if self.range.until == Some(end) {
                        return Ok(Some(Step::End));
                    }
                }
                Ok(rows) => return self.came(rows).map(Some),
                Err(error) if !is_about_the_page(&error) => return Err(error),
                Err(error) if end - self.range.after <= 1 => {
                    self.range.after = end;
                    self.rows += 1;
                    return Ok(Some(Step::Unshown(end, Lack::of(&error))));
                }
                Err(_) => width = (width / 2).max(1),
            }
        }
        // It was shown, or deleted, meanwhile.
        Ok(None)
    }

    /// One page of the rows in this range.
    async fn page(
        &mut self,
        after: u64,
        until: Option<u64>,
        rows: usize,
    ) -> Result<Vec<Row>, ProviderError> {
        let counts = self.pace.now().counts;
        let mut answer = self.ask(after, until, rows, counts).await;
        let is_refused = |error: &ProviderError| error.kind() == ErrorKind::Invalid;
        if !counts && answer.as_ref().is_err_and(is_refused) {
            // A controller that does not know the switch, or something else that it does not like.
            answer = self.ask(after, until, rows, true).await;
            let is_ok = answer.is_ok();
            self.pace.learn(|pace| pace.counts = is_ok);
        }
        answer
    }

    async fn ask(
        &mut self,
        after: u64,
        until: Option<u64>,
        rows: usize,
        counts: bool,
    ) -> Result<Vec<Row>, ProviderError> {
        self.requests += 1;
        let (size, after) = (rows.to_string(), after.to_string());
        let until = until.map(|until| until.to_string());
        let mut query: Vec<(&str, &str)> = self.filter.to_vec();
        query.extend([
            ("order_by", "id"),
            ("page_size", size.as_str()),
            ("id__gt", after.as_str()),
        ]);
        query.extend((!counts).then_some(("count_disabled", "1")));
        query.extend(until.as_deref().map(|until| ("id__lte", until)));
        query.extend((!self.but.is_empty()).then_some(("not__id__in", self.but.as_str())));
        let asked = Instant::now();
        let patience = self.pace.now().patience;
        let answer = self
            .client
            .get_within(patience, "unified_jobs/", &query, self.what)
            .await?;
        let took = asked.elapsed();
        let size = answer.body.len();
        let texts = answer.json::<List<Box<RawValue>>>()?.results;
        let came = texts.len();
        self.pace.learn(|pace| pace.answered(came, size, took));
        self.date = answer.date;
        if self.begun.is_none() {
            self.begun = answer.date.and_then(|date| date.checked_sub(took).ok());
        }
        Ok(texts.into_iter().map(Row::new).collect())
    }
}

/// An incomplete answer must not be read as "there is none".
pub(crate) fn endless(what: &str, rows: usize) -> ProviderError {
    ProviderError::new(
        Effect::Unreadable,
        ErrorKind::Unavailable,
        format!("{what} was gone through for {rows} jobs without an end"),
    )
    .with_advice("look for the operation token of the attempt in the controller's list of jobs")
}

/// Whether fewer rows may go better.
pub(crate) fn is_about_the_page(error: &ProviderError) -> bool {
    match error.kind() {
        ErrorKind::Protocol | ErrorKind::Timeout => true,
        // Not a connection that cannot be made: the controller has answered, or has begun to.
        ErrorKind::Unavailable => error.effect() == Effect::Unreadable,
        _ => false,
    }
}

/// What is known of a job that no list shows.
pub(crate) enum ByItself {
    Row(Row),
    Gone,
    Unreadable(Lack),
}

/// Looks at a job by itself, whose row no list shows.
pub(crate) async fn by_itself(client: &Client, id: u64) -> Result<ByItself, ProviderError> {
    for collection in ["jobs", "workflow_jobs"] {
        let what = format!("job {id}");
        let answer = client.get(&format!("{collection}/{id}/"), &[], &what).await;
        match answer.and_then(|answer| answer.json::<Box<RawValue>>()) {
            Ok(text) => return Ok(ByItself::Row(Row::new(text))),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) if is_about_the_page(&error) => {
                return Ok(ByItself::Unreadable(Lack::of(&error)));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(ByItself::Gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned() -> Learned {
        Pace::new(Duration::from_secs(30)).now()
    }

    #[test]
    fn a_slow_controller_is_asked_for_less_and_given_more_time() {
        let mut pace = learned();
        pace.failed(200, ErrorKind::Timeout);
        assert_eq!((pace.rows, pace.patience), (25, Duration::from_secs(60)));
        pace.failed(25, ErrorKind::Timeout);
        pace.failed(3, ErrorKind::Timeout);
        assert_eq!((pace.rows, pace.patience), (1, LONGEST_PATIENCE));
        // A row takes half a minute: nobody who waits for so long is impatient the next time.
        pace.answered(1, 2_000, Duration::from_secs(35));
        assert_eq!((pace.rows, pace.patience), (4, Duration::from_secs(105)));
    }

    #[test]
    fn pages_are_as_large_as_time_and_room_allow() {
        let mut pace = learned();
        // As measured on a busy machine: 7 s for 200 rows are fine.
        pace.answered(200, 222_000, Duration::from_secs(7));
        assert_eq!((pace.rows, pace.patience), (200, Duration::from_secs(30)));
        pace.answered(200, 222_000, Duration::from_secs(15));
        assert_eq!(pace.rows, 100);
        pace.answered(100, 100 << 20, Duration::from_secs(1));
        assert_eq!(pace.rows, 8);
        for _ in 0..3 {
            pace.answered(8, 16_000, Duration::from_millis(100));
        }
        assert_eq!(pace.rows, 200);
        pace.failed(200, ErrorKind::Protocol);
        assert_eq!((pace.rows, pace.patience), (50, Duration::from_secs(30)));
        pace.answered(0, 20, Duration::ZERO);
        assert_eq!(pace.rows, 200);
    }
}
