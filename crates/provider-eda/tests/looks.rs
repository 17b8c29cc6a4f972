//! What is asked of slow servers: side by side, and for no longer than a launch can wait.

#![cfg(feature = "aap")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed"
)]

mod common;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use common::{config, record, request, start, tracked, vm};
use jiff::SignedDuration;
use provider_aap::{AapConfig, Auth};
use provider_core::{
    DeprovisionResult, ErrorKind, JobState, JobType, ManualClock, Provider, ProviderError,
};
use provider_eda::{
    AuditTracking, EdaConfig, EdaProvider, Endpoints, HttpConfig, JobTracking, RulebookWebhook,
};
use provider_http::{Carrier, SendError};
use provider_testkit::aap::{ADMIN_TOKEN, AapSim, Template, World};
use reqwest::{Request, Response};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

/// How long a look may take, and how many requests of one are on their way at once.
const LOOK: Duration = Duration::from_secs(10);
const AT_ONCE: usize = 8;

type Answer = Pin<Box<dyn Future<Output = Result<Response, SendError>> + Send>>;

/// A server that takes its time for each answer.
struct Slow {
    after: Duration,
    answer: Box<dyn Fn(Request) -> Answer + Send + Sync>,
    now: AtomicUsize,
    most: AtomicUsize,
    all: AtomicUsize,
}

impl fmt::Debug for Slow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slow")
    }
}

impl Slow {
    fn new(
        after: Duration,
        answer: impl Fn(Request) -> Answer + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            after,
            answer: Box::new(answer),
            now: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            all: AtomicUsize::new(0),
        })
    }

    /// An audit with so many rules, each of which has one event of nobody.
    fn audit(after: Duration, rules: usize) -> Arc<Self> {
        Self::new(after, move |request| {
            let path = request.url().path();
            let rows: Vec<Value> = if path.ends_with("/events/") {
                vec![json!({"id": "e", "payload": "{}"})]
            } else {
                let rule = |id| json!({"id": id, "fired_at": "2026-11-23T03:59:00Z"});
                (1..=rules).map(rule).collect()
            };
            let body = json!({"count": rows.len(), "next": null, "results": rows}).to_string();
            let answer = http::Response::builder().header("content-type", "application/json");
            let answer = Response::from(answer.body(body).unwrap());
            Box::pin(async { Ok(answer) })
        })
    }

    fn http(self: &Arc<Self>) -> HttpConfig {
        HttpConfig {
            request_timeout: SignedDuration::from_secs(60),
            carrier: Some(self.clone()),
            ..common::http()
        }
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    fn all(&self) -> usize {
        self.all.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Carrier for Slow {
    async fn carry(&self, request: Request) -> Result<Response, SendError> {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.all.fetch_add(1, Ordering::SeqCst);
        self.most.fetch_max(now, Ordering::SeqCst);
        sleep(self.after).await;
        let answer = (self.answer)(request).await;
        self.now.fetch_sub(1, Ordering::SeqCst);
        answer
    }
}

fn by_webhook() -> EdaConfig {
    let url = "http://rulebook.example:5000";
    config(RulebookWebhook::new(Endpoints::one(url)))
}

fn provider(config: EdaConfig) -> EdaProvider {
    EdaProvider::with_clock(config, Arc::new(ManualClock::new(start()))).unwrap()
}

fn is_late(error: &ProviderError, what: &str) {
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(error.message().contains(what), "{error}");
    assert!(!error.advice().is_empty(), "{error}");
}

fn by_audit(server: &Arc<Slow>) -> EdaProvider {
    let audit = AuditTracking::new("https://eda.example", "t");
    provider(by_webhook().with_http(server.http()).with_tracking(audit))
}

#[tokio::test(start_paused = true)]
async fn the_events_of_many_rules_are_read_side_by_side() {
    // One after the other they would take 25 s.
    let server = Slow::audit(Duration::from_secs(1), 24);
    let eda = by_audit(&server);
    let begun = Instant::now();
    let status = eda.status(&vm("vm"), &tracked(1)).await;
    assert_eq!(status.unwrap().state, JobState::Unknown);
    assert_eq!((server.all(), server.most()), (25, AT_ONCE));
    assert_eq!(begun.elapsed().as_secs(), 4);
}

#[tokio::test(start_paused = true)]
async fn an_audit_that_is_too_slow_is_given_up_before_a_launch_has_lost_its_lease() {
    let server = Slow::audit(Duration::from_secs(3), 24);
    let eda = by_audit(&server);
    let begun = Instant::now();
    let status = eda.status(&vm("vm"), &tracked(1)).await;
    is_late(&status.unwrap_err(), "not read to its end in 10 s");
    assert_eq!(begun.elapsed(), LOOK);
}

/// The deletion of an object behind six provision events, whose jobs are asked for on a slow controller.
async fn deleted(after: Duration) -> (Result<DeprovisionResult, ProviderError>, Duration, usize) {
    let clock = Arc::new(ManualClock::new(start()));
    let world = World::with([Template::job("create").with_labels()]);
    let sim = AapSim::start(world, clock).await.unwrap();
    let line = sim.line();
    let server = Slow::new(after, move |request| {
        let line = line.clone();
        Box::pin(async move { line.carry(request).await })
    });
    let aap = AapConfig::new(sim.url(), Auth::token(ADMIN_TOKEN)).with_http(server.http());
    let eda = provider(by_webhook().with_tracking(JobTracking::new(aap)));
    let history: Vec<_> = (1..=6)
        .map(|n| record(JobType::Provision, n, JobState::Unknown, start()))
        .collect();
    let begun = Instant::now();
    let answer = eda
        .trigger_deprovision(&request(vm("vm"), 9), &history)
        .await;
    let answer = answer.map_err(|error| error.error().clone());
    (answer, begun.elapsed(), server.most())
}

#[tokio::test(start_paused = true)]
async fn the_jobs_behind_provision_events_are_looked_up_side_by_side() {
    // One after the other they would take 18 s.
    let (answer, took, most) = deleted(Duration::from_secs(3)).await;
    assert!(answer.is_ok(), "{answer:?}");
    assert!(took < LOOK, "{took:?}");
    assert!((2..=AT_ONCE).contains(&most), "{most} at once");
}

#[tokio::test(start_paused = true)]
async fn a_controller_that_is_too_slow_is_given_up_before_the_launch_has_lost_its_lease() {
    let (answer, took, _) = deleted(Duration::from_secs(30)).await;
    is_late(&answer.unwrap_err(), "not all seen in 10 s");
    assert_eq!(took, LOOK);
}
