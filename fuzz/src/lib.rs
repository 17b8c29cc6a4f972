//! What the fuzz targets share: answers out of a text, and what must hold of whatever they lead to.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use provider_core::{JobRef, JobStatus, ManualClock, Preflight, ProviderError, Resource, text};
use provider_http::{Carrier, HttpConfig, SendError, SendFailure};
use serde_json::json;

/// A secret of ours. An input has `@@` in its place, and no part of it of its own.
pub const CANARY: &str = "c4nary-0f-the-m1ne";
const MARK: &str = "@@";
const PART: &str = "c4n";

/// The input as text, with the secret in its place. None where it spells the secret itself: what is put
/// together of pieces cannot be known again.
pub fn text_of(data: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(data).ok()?;
    (!text.contains(PART)).then(|| text.replace(MARK, CANARY))
}

/// The moment at which everything happens.
pub fn now() -> Timestamp {
    Timestamp::from_second(1_790_000_000).expect("a moment")
}

/// A clock that shows it.
pub fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(now()))
}

/// The object that everything is about.
pub fn object() -> Resource {
    let object = json!({
        "apiVersion": "osac.openshift.io/v1alpha1", "kind": "ComputeInstance",
        "metadata": {"name": "vm-1", "namespace": "tenant", "uid": "u-1"}, "spec": {"cores": 4},
    });
    Resource::from_json(object).expect("an object")
}

/// Runs something to its end on paused time, which passes when nothing else can happen.
pub fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime
        .block_on(async { tokio::time::timeout(Duration::from_secs(7 * 86_400), work).await })
        .expect("it has not ended within a week")
}

/// A server out of a text: the answers to requests, one after the other, with a line `=====` between them. The
/// first line of an answer is its status, or how the connection breaks; then come headers, an empty line, and the
/// body. What is asked after the last one finds no connection.
#[derive(Debug)]
pub struct Answers {
    left: Mutex<VecDeque<String>>,
    asked: Mutex<usize>,
}

/// More requests than any question leads to.
const MOST_ASKED: usize = 20_000;

impl Answers {
    pub fn of(text: &str) -> Arc<Self> {
        let left = text.split("\n=====\n").map(str::to_owned).collect();
        Arc::new(Self {
            left: Mutex::new(left),
            asked: Mutex::new(0),
        })
    }

    fn next(&self) -> Result<reqwest::Response, SendError> {
        let mut asked = self.asked.lock().expect("no panic before");
        *asked += 1;
        assert!(*asked < MOST_ASKED, "it asks without end");
        let next = self.left.lock().expect("no panic before").pop_front();
        let broken = |failure| Err(SendError::new(failure, "made up"));
        let Some(next) = next else {
            return broken(SendFailure::Connect);
        };
        let (head, body) = next.split_once("\n\n").unwrap_or((&next, ""));
        let mut lines = head.lines();
        let status = match lines.next().unwrap_or_default().trim() {
            "timeout" => return broken(SendFailure::Timeout),
            "broken" => return broken(SendFailure::Broken),
            "connect" => return broken(SendFailure::Connect),
            number => number.parse::<u16>().ok(),
        };
        let status = status.and_then(|code| http::StatusCode::from_u16(code).ok());
        let mut response = http::Response::new(body.as_bytes().to_vec());
        *response.status_mut() = status.unwrap_or(http::StatusCode::OK);
        let mut lines = lines.filter_map(|line| line.split_once(':')).peekable();
        if lines.peek().is_none() {
            // What a controller always says.
            let headers = response.headers_mut();
            headers.insert(
                "content-type",
                http::HeaderValue::from_static("application/json"),
            );
            headers.insert("x-api-product-name", http::HeaderValue::from_static("AWX"));
        }
        for (name, value) in lines {
            let name = http::HeaderName::try_from(name.trim());
            let value = http::HeaderValue::try_from(value.trim());
            if let (Ok(name), Ok(value)) = (name, value) {
                response.headers_mut().append(name, value);
            }
        }
        Ok(response.into())
    }
}

#[async_trait]
impl Carrier for Answers {
    async fn carry(&self, _: reqwest::Request) -> Result<reqwest::Response, SendError> {
        self.next()
    }
}

/// Connections to such a server. None is ever made, so certificates need not be looked for.
pub fn http_of(answers: &Arc<Answers>) -> HttpConfig {
    let carrier: Arc<dyn Carrier> = answers.clone();
    HttpConfig {
        insecure: true,
        proxy_from_environment: false,
        carrier: Some(carrier),
        ..HttpConfig::default()
    }
}

/// Text that people are shown: on one line, bounded, and without our secret.
pub fn check_text(text: &str, max: usize) {
    assert!(
        text.len() <= max,
        "{} bytes of text: {text:.200}",
        text.len()
    );
    assert!(!text.contains(char::is_control), "several lines: {text:?}");
    check_secret(text);
}

/// Nothing that we write holds our secret.
pub fn check_secret(written: &str) {
    assert!(
        !written.contains(CANARY),
        "a secret is shown: {written:.2000}"
    );
}

/// An error of a provider.
pub fn check_error(error: &ProviderError) {
    check_text(error.message(), text::MAX_TEXT);
    check_text(error.advice(), text::MAX_TEXT);
    check_text(&error.to_string(), text::MAX_TEXT);
    check_secret(&format!("{error:?}"));
    assert!(
        error
            .retry_after()
            .is_none_or(|wait| wait <= Duration::from_secs(3_600))
    );
    if let Some(job) = error.stray_job() {
        check_job(job);
    }
}

fn check_job(job: &JobRef) {
    assert!(!job.id.is_empty() && job.id.len() <= JobRef::MAX_ID);
    assert!(job.kind.len() <= JobRef::MAX_KIND);
    assert!(job.url.as_deref().unwrap_or_default().len() <= JobRef::MAX_URL);
    check_secret(&job.to_string());
}

/// What a provider says of a job.
pub fn check_status(status: &JobStatus) {
    check_job(&status.job);
    check_text(&status.message, text::MAX_TEXT);
    check_text(
        status.details.as_deref().unwrap_or_default(),
        text::MAX_TEXT,
    );
    // Ten years are longer than any job.
    assert!(
        status
            .elapsed
            .is_none_or(|took| took <= Duration::from_secs(315_360_000))
    );
    assert!(
        !status.settled || status.state.is_terminal(),
        "settled without an end"
    );
}

pub fn check_answer<T: Debug>(answer: Result<T, ProviderError>, check: impl FnOnce(&T)) {
    match answer {
        Ok(answer) => check(&answer),
        Err(error) => check_error(&error),
    }
}

/// What a preflight finds.
pub fn check_preflight(report: &Preflight) {
    for finding in &report.findings {
        for text in [&finding.check, &finding.message, &finding.advice] {
            check_text(text, text::MAX_TEXT);
        }
    }
}
