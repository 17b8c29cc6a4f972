//! Hints by websocket and by notification: they make looks come early, and nothing else.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderName, Request, StatusCode};
use common::job_of;
use futures::StreamExt;
use jiff::SignedDuration;
use provider_aap::{AapConfig, AapProvider, Auth, HttpConfig, MonitorConfig, Timing};
use provider_core::{
    JobRef, JobState, JobType, LaunchRequest, ManualClock, OperationToken, Provider, Resource,
    TrackedJob,
};
use provider_testkit::aap::{
    ADMIN_TOKEN, AapSim, Fault, Layout, OnCancel, Route, RunPlan, Template, Weather, Webhook, World,
};
use serde_json::{Map, json};
use tower::ServiceExt;

struct Setup {
    sim: AapSim,
    aap: Arc<AapProvider>,
    clock: Arc<ManualClock>,
}

async fn setup(layout: Layout, auth: Auth, batch_from: u32) -> Setup {
    let clock = Arc::new(ManualClock::new("2026-11-23T04:00:00Z".parse().unwrap()));
    let plan = RunPlan::lasting(Duration::from_secs(60));
    let mut world = World::with([Template::job("work").with_plan(plan)]);
    world.layout = layout;
    let sim = AapSim::start(world, clock.clone()).await.unwrap();
    let config = AapConfig::new(sim.url(), auth)
        .with_http(HttpConfig {
            proxy_from_environment: false,
            ..HttpConfig::default()
        })
        .with_timing(Timing {
            // Nothing is seen by polling within the life of a test.
            poll_interval: SignedDuration::from_hours(1),
            ..Timing::default()
        })
        .with_monitor(MonitorConfig {
            batch_from,
            ..MonitorConfig::default()
        });
    let aap = Arc::new(AapProvider::with_clock(config, clock.clone()).unwrap());
    Setup { sim, aap, clock }
}

impl Setup {
    fn listen(&self) {
        let aap = Arc::clone(&self.aap);
        tokio::spawn(async move { aap.listen().await });
    }

    async fn listeners(&self, count: usize) {
        let there = async {
            while self.sim.listeners() != count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), there)
            .await
            .unwrap();
    }

    async fn state(&self, id: u64) -> JobState {
        let object = json!({"kind": "Machine", "metadata": {"name": "m"}});
        let resource = Resource::from_json(object).unwrap();
        let job = TrackedJob::new(
            JobType::Provision,
            JobRef::new("aap", "job", id.to_string()),
        );
        self.aap.status(&resource, &job).await.unwrap().state
    }

    /// Whoever spins keeps the time from passing by itself.
    async fn state_on_paused_time(&self, id: u64) -> JobState {
        tokio::select! {
            biased;
            state = self.state(id) => state,
            () = until(|| false) => unreachable!(),
        }
    }
}

/// Waits for an event like this.
async fn until_told(
    events: &mut provider_aap::JobEvents,
    is_it: impl Fn(&JobRef, JobState) -> bool,
) {
    until(|| {
        let told = futures::FutureExt::now_or_never(events.next()).flatten();
        told.is_some_and(|(job, state)| is_it(&job, state))
    })
    .await;
}

/// Lets the others go on; of paused time, little passes.
async fn until(mut done: impl FnMut() -> bool) {
    for n in 1..1_000_000 {
        if done() {
            return;
        }
        tokio::task::yield_now().await;
        if n % 1_000 == 0 {
            tokio::time::advance(Duration::from_millis(10)).await;
        }
    }
    assert!(done(), "it does not come");
}

/// What is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(text)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn next(events: &mut provider_aap::JobEvents) -> (JobRef, JobState) {
    let next = tokio::time::timeout(Duration::from_secs(20), events.next());
    next.await.unwrap().unwrap()
}

#[tokio::test]
async fn the_end_of_a_job_is_told_by_the_websocket_and_read_over_rest() {
    for (layout, auth) in [
        (Layout::Controller, Auth::token(ADMIN_TOKEN)),
        (Layout::Gateway, Auth::token(ADMIN_TOKEN)),
        (Layout::Controller, Auth::basic("admin", "admin-password")),
    ] {
        let s = setup(layout, auth, 0).await;
        let job = s.sim.launch("work", &Map::new(), &[]).unwrap();
        s.listen();
        s.listeners(1).await;
        assert_eq!(s.state(job).await, JobState::Pending);
        let mut events = s.aap.job_events();
        s.clock.advance(Duration::from_secs(30));
        assert_eq!(
            next(&mut events).await,
            (
                JobRef::new("aap", "job", job.to_string()),
                JobState::Running
            )
        );
        s.clock.advance(Duration::from_secs(40));
        assert_eq!(next(&mut events).await.1, JobState::Succeeded);
        assert_eq!(s.state(job).await, JobState::Succeeded);
    }
}

/// A handshake that fails is tried again; what the websocket does not tell is not looked at sooner.
#[tokio::test(start_paused = true)]
async fn handshakes_fail_and_events_are_lost() {
    let s = setup(Layout::Controller, Auth::token(ADMIN_TOKEN), 0).await;
    let job = s.sim.launch("work", &Map::new(), &[]).unwrap();
    s.sim.fault(Route::Websocket, &Fault::DropBefore, 1);
    s.sim.fault(Route::Websocket, &Fault::Status(502), 1);
    s.listen();
    until(|| s.sim.listeners() == 1).await;
    assert_eq!(s.sim.count(Route::Websocket), 3);
    assert_eq!(s.state_on_paused_time(job).await, JobState::Pending);
    let mut events = s.aap.job_events();
    s.sim.weather(Some(Weather {
        lost_events: 100,
        ..Weather::default()
    }));
    s.clock.advance(Duration::from_secs(30));
    let began = tokio::time::Instant::now();
    until(|| began.elapsed() > Duration::from_secs(2)).await;
    assert!(futures::FutureExt::now_or_never(events.next()).is_none());
    s.sim.clear_faults();
    s.clock.advance(Duration::from_secs(40));
    until_told(&mut events, |_, state| state == JobState::Succeeded).await;
}

/// What happens while nobody listens is not told again; the connection is made anew all the same.
#[tokio::test(start_paused = true)]
async fn a_lost_connection_is_made_anew() {
    let s = setup(Layout::Controller, Auth::token(ADMIN_TOKEN), 1_000).await;
    let job = s.sim.launch("work", &Map::new(), &[]).unwrap();
    s.listen();
    until(|| s.sim.listeners() == 1).await;
    assert_eq!(s.state_on_paused_time(job).await, JobState::Pending);
    let mut events = s.aap.job_events();
    s.sim.hang_up();
    until(|| s.sim.listeners() == 0).await;
    s.clock.advance(Duration::from_secs(30));
    tokio::time::advance(Duration::from_secs(1)).await;
    until(|| s.sim.listeners() == 1).await;
    // What happened while nobody listened is not told again.
    assert!(futures::FutureExt::now_or_never(events.next()).is_none());
    s.clock.advance(Duration::from_secs(40));
    until_told(&mut events, |told, _| told.id == job.to_string()).await;
}

/// The controller tells of a cancel before there is one: what counts is what REST says.
#[tokio::test]
async fn an_early_word_of_a_cancel_is_not_believed() {
    let s = setup(Layout::Controller, Auth::token(ADMIN_TOKEN), 0).await;
    let stubborn = RunPlan::endless().on_cancel(OnCancel::Ignores);
    s.sim.plan_next("work", stubborn);
    let job = s.sim.launch("work", &Map::new(), &[]).unwrap();
    s.listen();
    s.listeners(1).await;
    s.clock.advance(Duration::from_secs(5));
    s.state(job).await;
    let looks = || s.sim.count(Route::Job) + s.sim.count(Route::Jobs);
    let before = looks();
    s.sim.cancel(job);
    let looked = async {
        while looks() == before {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), looked)
        .await
        .unwrap();
    assert_eq!(s.state(job).await, JobState::Running);
}

/// Where jobs are asked about one by one, a hint is passed on, and whoever wants to know asks.
#[tokio::test]
async fn with_few_jobs_the_hint_itself_is_the_event() {
    let s = setup(Layout::Controller, Auth::token(ADMIN_TOKEN), 32).await;
    let job = s.sim.launch("work", &Map::new(), &[]).unwrap();
    s.listen();
    s.listeners(1).await;
    assert_eq!(s.state(job).await, JobState::Pending);
    let mut events = s.aap.job_events();
    s.clock.advance(Duration::from_secs(70));
    let (told, _) = next(&mut events).await;
    assert_eq!(told.id, job.to_string());
    assert_eq!(s.state(job).await, JobState::Succeeded);
}

/// What a controller attaches: the connection lives as long as the stream, and a job counts from its
/// launch on.
#[tokio::test]
async fn the_stream_of_wake_ups_listens_and_names_jobs_that_have_ended() {
    let mut s = setup(Layout::Controller, Auth::token(ADMIN_TOKEN), 32).await;
    let config = s.aap.config().clone().with_push();
    let config = config.with_template_prefix("osac");
    s.aap = Arc::new(AapProvider::with_clock(config, s.clock.clone()).unwrap());
    s.sim.add_template(
        Template::job("osac-create-machine").with_plan(RunPlan::lasting(Duration::from_secs(60))),
    );
    assert_eq!(s.sim.listeners(), 0);
    let (tell, mut told) = futures::channel::mpsc::unbounded();
    let mut wake_ups = s.aap.wake_ups().unwrap();
    let controller = tokio::spawn(async move {
        while let Some(job) = wake_ups.next().await {
            let _ = tell.unbounded_send(job);
        }
    });
    s.listeners(1).await;
    let object = json!({"kind": "Machine", "metadata": {"name": "m", "uid": "u"}});
    let request = LaunchRequest::new(
        Resource::from_json(object).unwrap(),
        OperationToken::from_random(1),
    );
    let launched = s.aap.trigger_provision(&request).await.unwrap();
    s.clock.advance(Duration::from_secs(90));
    let job = tokio::time::timeout(Duration::from_secs(20), told.next());
    assert_eq!(job.await.unwrap().unwrap().id, job_of(&launched).id);
    controller.abort();
    s.listeners(0).await;
}

/// Who listens twice costs the controller one connection; when the first goes, the other takes over.
#[tokio::test]
async fn one_connection_is_enough() {
    let mut s = setup(Layout::Controller, Auth::token(ADMIN_TOKEN), 32).await;
    let config = s.aap.config().clone().with_push();
    s.aap = Arc::new(AapProvider::with_clock(config, s.clock.clone()).unwrap());
    let listen = || {
        let mut wake_ups = s.aap.wake_ups().unwrap();
        tokio::spawn(async move { while wake_ups.next().await.is_some() {} })
    };
    let (first, second) = (listen(), listen());
    s.listeners(1).await;
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(s.sim.count(Route::Websocket), 1);
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    s.sim.hang_up();
    s.listeners(1).await;
    assert!(!second.is_finished());
}

/// A credential that is refused is tried again, and what is logged of it does not hold it.
#[tokio::test(start_paused = true)]
async fn a_credential_that_is_refused_is_tried_again_later_and_never_shown() {
    let s = setup(Layout::Controller, Auth::token("wr0ng-t0ken"), 0).await;
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer({
            let log = log.clone();
            move || log.clone()
        })
        .finish();
    // While a process has a single subscriber, what a thread without one is the first to log counts as
    // wanted by nobody, on other threads too: other tests lose connections as well. So there are two.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let _guard = tracing::subscriber::set_default(subscriber);
    s.listen();
    // By the log: a connection that is refused is no listener.
    let tries = || log.text().matches("no events of the controller").count();
    for n in 1..4 {
        until(|| tries() >= n).await;
        tokio::time::advance(Duration::from_secs(4)).await;
    }
    let text = log.text();
    assert!(text.contains("websocket answered 403"), "{text}");
    assert!(!text.contains("wr0ng"), "{text}");
    assert_eq!(s.sim.listeners(), 0);
}

#[tokio::test]
async fn notifications_need_the_secret_and_only_hint() {
    let s = setup(Layout::Controller, Auth::token(ADMIN_TOKEN), 0).await;
    let job = s.sim.launch("work", &Map::new(), &[]).unwrap();
    assert_eq!(s.state(job).await, JobState::Pending);
    let header = HeaderName::from_static("x-provider-secret");
    let router = s.aap.notifications(header, "s3cret");
    let post = async |secret: Option<&str>, body: String| {
        let mut request = Request::post("/");
        if let Some(secret) = secret {
            request = request.header("x-provider-secret", secret);
        }
        let request = request.body(Body::from(body)).unwrap();
        router.clone().oneshot(request).await.unwrap().status()
    };
    // As recorded, shortened: what it says of the job's state is not looked at.
    let body = |id: u64| {
        json!({"id": id, "name": "work", "status": "failed", "traceback": ""}).to_string()
    };
    let mut events = s.aap.job_events();
    s.clock.advance(Duration::from_secs(70));
    for secret in [None, Some(""), Some("S3cret"), Some("s3cret ")] {
        assert_eq!(
            post(secret, body(job)).await,
            StatusCode::UNAUTHORIZED,
            "{secret:?}"
        );
    }
    assert!(futures::FutureExt::now_or_never(events.next()).is_none());
    assert_eq!(
        post(Some("s3cret"), "{}".to_owned()).await,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(
        post(Some("s3cret"), "x".repeat(5 << 20)).await,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    assert_eq!(
        post(Some("s3cret"), body(999)).await,
        StatusCode::NO_CONTENT
    );
    assert_eq!(
        post(Some("s3cret"), body(job)).await,
        StatusCode::NO_CONTENT
    );
    assert_eq!(
        next(&mut events).await.1,
        JobState::Succeeded,
        "REST knows better"
    );
}

/// From the end of the job on the controller, through its notification and our receiver, to a look.
#[tokio::test]
async fn a_notification_of_the_controller_makes_the_end_seen() {
    let s = setup(Layout::Controller, Auth::token(ADMIN_TOKEN), 0).await;
    let header = HeaderName::from_static("x-provider-secret");
    let router = axum::Router::new().nest("/aap", s.aap.notifications(header, "s3cret"));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/aap", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let secret = ("X-Provider-Secret".to_owned(), "s3cret".to_owned());
    let template = Template::job("told").notifying(Webhook {
        url,
        headers: [secret].into(),
    });
    s.sim.add_template(template);
    let good = s.sim.launch("told", &Map::new(), &[]).unwrap();
    let pending = s.sim.launch("told", &Map::new(), &[]).unwrap();
    assert_eq!(s.state(good).await, JobState::Pending);
    assert_eq!(s.state(pending).await, JobState::Pending);
    let mut events = s.aap.job_events();
    // Of this one nobody is told: that is for the next round to see.
    s.sim.cancel(pending);
    s.clock.advance(Duration::from_millis(200));
    let of = |id: u64, state| (JobRef::new("aap", "job", id.to_string()), state);
    assert_eq!(next(&mut events).await, of(good, JobState::Running));
    s.clock.advance(Duration::from_secs(3));
    assert_eq!(next(&mut events).await, of(good, JobState::Succeeded));
}
