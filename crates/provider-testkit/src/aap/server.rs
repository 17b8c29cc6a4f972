//! The simulator on a socket.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ws::WebSocketUpgrade;
use axum::http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header};
use axum::response::IntoResponse;
use hyper::service::{Service, service_fn};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use provider_core::Clock;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use super::answer::{Answer, By, End};
use super::fault::{Fault, Route, Weather};
use super::jobs::Broken;
use super::journal::{Run, overlapping};
use super::notify::Notice;
use super::plan::{Ending, RunPlan};
use super::push;
use super::received::Received;
use super::routes::{self, Asked};
use super::script::Script;
use super::state::State;
use super::web::{Costs, Load, Web};
use super::world::{Layout, Template, World};
use crate::line::{Calls, Line};

/// A running simulator; it stops when this is dropped.
#[derive(Debug)]
pub struct AapSim {
    shared: Arc<Shared>,
    /// None without sockets.
    address: Option<SocketAddr>,
    line: Arc<Line>,
    server: AbortHandle,
}

#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    pub(super) clock: Arc<dyn Clock>,
    latency: Duration,
    /// What websockets are told; and how they are all closed.
    pushes: tokio::sync::broadcast::Sender<String>,
    hang_up: tokio::sync::watch::Sender<u64>,
    /// How often it is looked whether something has happened that somebody is told of.
    tick: Duration,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for AapSim {
    fn drop(&mut self) {
        self.server.abort();
        if let Some(web) = &self.shared.lock().web {
            web.close();
        }
    }
}

impl AapSim {
    /// Starts a controller on a free port of the loopback interface.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(world: World, clock: Arc<dyn Clock>) -> std::io::Result<Self> {
        Self::start_at(world, clock, SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// Starts a controller on this address.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start_at(
        world: World,
        clock: Arc<dyn Clock>,
        address: SocketAddr,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self::run(world, clock, Some((listener, address))))
    }

    /// Starts a controller without sockets: only its [line](Self::line) leads to it. With tokio's paused
    /// time nothing is left to chance then.
    #[must_use]
    pub fn start_in_process(world: World, clock: Arc<dyn Clock>) -> Self {
        Self::run(world, clock, None)
    }

    fn run(
        world: World,
        clock: Arc<dyn Clock>,
        listens: Option<(TcpListener, SocketAddr)>,
    ) -> Self {
        let shared = Arc::new(Shared {
            latency: world.latency,
            state: Mutex::new(State::new(world)),
            clock,
            pushes: tokio::sync::broadcast::channel(push::BACKLOG).0,
            hang_up: tokio::sync::watch::channel(0).0,
            tick: match listens {
                Some(_) => push::TICK,
                // No answer has to be on its way when the paused timer runs on.
                None => push::TICK * 50,
            },
        });
        let (listener, address) = listens.unzip();
        let (calls, called) = tokio::sync::mpsc::unbounded_channel();
        let server = serve(listener, called, Arc::clone(&shared));
        Self {
            shared,
            address,
            line: Line::new(calls),
            server: tokio::spawn(server).abort_handle(),
        }
    }

    /// `http://127.0.0.1:PORT`, without a path; without sockets, a host that only the line knows.
    #[must_use]
    pub fn url(&self) -> String {
        match self.address {
            Some(address) => format!("http://{address}"),
            None => "http://controller.invalid".to_owned(),
        }
    }

    /// A line to this controller, for `HttpConfig::carrier`.
    #[must_use]
    pub fn line(&self) -> Arc<Line> {
        Arc::clone(&self.line)
    }

    /// The next `times` requests of this route meet this fault.
    pub fn fault(&self, route: Route, fault: &Fault, times: u32) {
        self.shared.lock().faults.script(route, fault, times, 100);
    }

    /// Trouble by chance from now on, or, with `None`, none.
    pub fn weather(&self, weather: Option<Weather>) {
        self.shared.lock().faults.set_weather(weather);
    }

    /// No faults any more, neither scripted nor by chance.
    pub fn clear_faults(&self) {
        self.shared.lock().faults.clear();
    }

    /// What requests cost from now on, or, with `None`, nothing.
    pub fn costs(&self, costs: Option<Costs>) {
        self.shared.lock().set_costs(costs);
    }

    /// What the workers have done since costs were set.
    #[must_use]
    pub fn load(&self) -> Load {
        let web = self.shared.lock().web.clone();
        web.as_deref().map(Web::load).unwrap_or_default()
    }

    /// A person revokes this token.
    pub fn revoke(&self, token: &str) {
        let users = &mut self.shared.lock().users;
        // Users are known by their number, so they stay.
        for user in users.iter_mut().filter(|user| user.token == token) {
            user.token.insert_str(0, "revoked ");
        }
    }

    /// The API is at another place from now on, as after an upgrade.
    pub fn move_to(&self, layout: Layout) {
        self.shared.lock().layout = layout;
    }

    /// Everything that a script says.
    pub fn play(&self, script: Script) {
        script.happen(&mut self.shared.lock());
    }

    /// Adds a template and returns its id.
    pub fn add_template(&self, template: Template) -> u64 {
        let now = self.shared.clock.now();
        let mut state = self.shared.lock();
        let id = state.jobs.add_template(template);
        state.jobs.born.insert(id, now);
        id
    }

    /// The user with this token loses every role on the template of this name, or has them again.
    /// Jobs are shown to whoever may read their template.
    pub fn estrange(&self, token: &str, template: &str, is_stranger: bool) {
        let mut state = self.shared.lock();
        let user = state.users.iter().position(|user| user.token == token);
        let named = |(_, known): &(&u64, &Template)| known.name == template;
        let ids: Vec<u64> = state
            .jobs
            .templates
            .iter()
            .filter(named)
            .map(|(id, _)| *id)
            .collect();
        for key in ids.into_iter().filter_map(|id| Some((user?, id))) {
            if is_stranger {
                state.strangers.insert(key);
            } else {
                state.strangers.remove(&key);
            }
        }
    }

    /// The controller cannot show this job any more, or can again.
    pub fn break_row(&self, id: u64, broken: Option<Broken>) {
        self.advanced().jobs.break_row(id, broken);
    }

    /// Somebody edits the template of this id: it is this one from now on.
    pub fn edit_template(&self, id: u64, template: Template) {
        if let Some(known) = self.shared.lock().jobs.templates.get_mut(&id) {
            *known = template;
        }
    }

    /// Deletes the template of this id.
    pub fn remove_template(&self, id: u64) {
        self.shared.lock().jobs.templates.remove(&id);
    }

    /// The course of the next job of this template; further calls are for the jobs after it.
    pub fn plan_next(&self, template: &str, plan: RunPlan) {
        let mut state = self.shared.lock();
        let plans = state.plans.entry(template.to_owned()).or_default();
        plans.push_back(plan);
    }

    /// Everything that was accepted so far, by id.
    #[must_use]
    pub fn journal(&self) -> Vec<Run> {
        self.advanced().jobs.journal.values().cloned().collect()
    }

    /// What has changed in the journal since the last call; everything, at the first.
    #[must_use]
    pub fn journal_changes(&self) -> Vec<Run> {
        let mut state = self.advanced();
        let changed = std::mem::take(&mut state.jobs.journal_changed);
        let runs = changed.iter().filter_map(|id| state.jobs.journal.get(id));
        runs.cloned().collect()
    }

    /// What was accepted for one object, by id; see [`Run::object`].
    #[must_use]
    pub fn runs_of(&self, object: &str) -> Vec<Run> {
        let state = self.advanced();
        let of_it = |run: &&Run| run.object().as_deref() == Some(object);
        state.jobs.journal.values().filter(of_it).cloned().collect()
    }

    /// Pairs of jobs of one object that were alive at one moment: empty, or a defect.
    #[must_use]
    pub fn overlaps(&self) -> Vec<(u64, u64)> {
        overlapping(&self.journal())
    }

    /// All websockets are closed, as when the controller's web server restarts.
    pub fn hang_up(&self) {
        self.shared.hang_up.send_modify(|times| *times += 1);
    }

    /// How many websockets are open.
    #[must_use]
    pub fn listeners(&self) -> usize {
        self.shared.pushes.receiver_count()
    }

    /// How many requests of this route came in.
    #[must_use]
    pub fn count(&self, route: Route) -> u64 {
        self.shared.lock().counts.get(&route).copied().unwrap_or(0)
    }

    /// `METHOD path?query` of every request, where [`World::record_requests`] is set.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        self.shared.lock().requests.clone()
    }

    /// The status that the API shows for this job.
    #[must_use]
    pub fn status(&self, id: u64) -> Option<&'static str> {
        self.advanced().jobs.jobs.get(&id).map(|job| job.status)
    }

    /// A person cancels this job.
    pub fn cancel(&self, id: u64) {
        let now = self.shared.clock.now();
        self.advanced().jobs.cancel(id, now);
    }

    /// This job comes to this end now, whatever its plan; whether it was at work.
    pub fn end(&self, id: u64, ending: &Ending) -> bool {
        let now = self.shared.clock.now();
        self.advanced().jobs.end(id, ending, now)
    }

    /// The reaper marks this job failed while its work goes on; whether it was active.
    pub fn reap(&self, id: u64) -> bool {
        let now = self.shared.clock.now();
        self.advanced().jobs.reap(id, now)
    }

    /// The database is that of a backup again: it knows no job after this one, and gives their ids to others.
    /// What was at work was stopped with the controller.
    pub fn restore(&self, newest: u64) {
        let now = self.shared.clock.now();
        self.advanced().jobs.restore(newest, now);
    }

    /// The dispatcher is restarted while this job is just starting, and cancels it; whether it was active.
    pub fn interrupt(&self, id: u64) -> bool {
        let now = self.shared.clock.now();
        self.advanced().jobs.interrupt(id, now)
    }

    /// An administrator sets this status in the database and no time with it; whether there is such a job.
    pub fn set_in_database(&self, id: u64, status: &'static str) -> bool {
        let now = self.shared.clock.now();
        self.advanced().jobs.set_in_database(id, status, now)
    }

    /// The clean-up deletes this job; whether there was an ended one.
    pub fn purge(&self, id: u64) -> bool {
        self.advanced().jobs.purge(id)
    }

    /// A person relaunches this job; the new id. Its course is the planned one, or that of the first job.
    pub fn relaunch(&self, id: u64) -> Option<u64> {
        let now = self.shared.clock.now();
        let mut state = self.advanced();
        let plan = state.plan_of_copy(id);
        state.jobs.relaunch(id, 0, plan, now)
    }

    /// Somebody with every right launches a job of this template, as a rulebook does: labels that do
    /// not exist come into being, and what the template does not prompt for is ignored. Answers the
    /// new id.
    ///
    /// # Errors
    /// With the controller's words, when it refuses.
    pub fn launch(
        &self,
        template: &str,
        extra_vars: &serde_json::Map<String, serde_json::Value>,
        labels: &[String],
    ) -> Result<u64, String> {
        let now = self.shared.clock.now();
        routes::launch(&mut self.advanced(), template, extra_vars, labels, now)
    }

    /// The next moment at which a job changes by itself: where a simulation may jump to.
    #[must_use]
    pub fn next_event(&self) -> Option<jiff::Timestamp> {
        self.advanced().jobs.next_event()
    }

    fn advanced(&self) -> MutexGuard<'_, State> {
        self.at_work().0
    }

    /// All that is known at this moment, and the moment.
    pub(super) fn at_work(&self) -> (MutexGuard<'_, State>, jiff::Timestamp) {
        let now = self.shared.clock.now();
        let mut state = self.shared.lock();
        state.jobs.advance(now);
        (state, now)
    }
}

/// Marks an answer that must not be sent.
#[derive(Debug, Clone, Copy)]
struct Closed;

#[derive(Debug, thiserror::Error)]
#[error("the connection is closed, as the script says")]
struct ConnectionClosed;

async fn serve(listener: Option<TcpListener>, mut calls: Calls, shared: Arc<Shared>) {
    let for_pushes = Arc::clone(&shared);
    let websocket = axum::routing::any(move |upgrade: WebSocketUpgrade, headers: HeaderMap| {
        std::future::ready(websocket(&for_pushes, upgrade, &headers))
    });
    let for_ticks = Arc::clone(&shared);
    let router = Router::new()
        .route("/websocket/", websocket.clone())
        .route("/api/websocket/", websocket.clone())
        .route("/api/controller/v2/websocket/", websocket)
        .fallback(move |method, uri, headers, body| {
            handle(Arc::clone(&shared), method, uri, headers, body)
        });
    let router = TowerToHyperService::new(router);
    // Dropped with this task, and all connections with it.
    let mut connections = JoinSet::new();
    connections.spawn(tick(for_ticks));
    loop {
        let stream: Box<dyn Stream> = tokio::select! {
            Some(call) = calls.recv() => Box::new(call),
            accepted = accept(listener.as_ref()) => match accepted {
                Ok(stream) => Box::new(stream),
                Err(_) => continue,
            },
        };
        while connections.try_join_next().is_some() {}
        let router = router.clone();
        // An error of the service closes the connection without an answer: that is how an answer
        // is lost.
        let service = service_fn(move |request: Request<hyper::body::Incoming>| {
            let router = router.clone();
            async move {
                match router.call(request).await {
                    Ok(response) if response.extensions().get::<Closed>().is_none() => Ok(response),
                    _ => Err(ConnectionClosed),
                }
            }
        });
        connections.spawn(async move {
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades()
                .await;
        });
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

async fn accept(listener: Option<&TcpListener>) -> std::io::Result<TcpStream> {
    let Some(listener) = listener else {
        return std::future::pending().await;
    };
    let (stream, _) = listener.accept().await?;
    // Small answers must not wait for the peer's acknowledgement.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// Tells websockets and webhooks of what happens, while there are any.
async fn tick(shared: Arc<Shared>) {
    // Dropped with this task, and what is on its way with it.
    let mut sent = JoinSet::new();
    let client = Client::builder(TokioExecutor::new()).build_http();
    loop {
        tokio::time::sleep(shared.tick).await;
        let mut state = shared.lock();
        let listened_to = shared.pushes.receiver_count() > 0;
        let notifies = |template: &Template| template.notifies.is_some();
        if listened_to {
            state.jobs.changed.get_or_insert_default();
        } else {
            state.jobs.changed = None;
        }
        if !listened_to && !state.jobs.templates.values().any(notifies) {
            continue;
        }
        state.jobs.advance(shared.clock.now());
        for event in push::changes(&mut state) {
            if !state.faults.loses_event() {
                let _ = shared.pushes.send(event);
            }
        }
        for notice in state.notices() {
            sent.spawn(deliver(client.clone(), notice, state.version.clone()));
        }
        drop(state);
        while sent.try_join_next().is_some() {}
    }
}

/// Once, whatever comes back.
async fn deliver(client: Client<HttpConnector, Body>, notice: Notice, version: String) {
    let mut request = Request::post(&notice.webhook.url)
        .header(header::USER_AGENT, format!("AWX {version} (open)"))
        .header(header::CONTENT_TYPE, "application/json");
    for (name, value) in &notice.webhook.headers {
        request = request.header(name, value);
    }
    if let Ok(request) = request.body(Body::from(notice.body.to_string())) {
        let _ = client.request(request).await;
    }
}

fn websocket(
    shared: &Arc<Shared>,
    upgrade: WebSocketUpgrade,
    headers: &HeaderMap,
) -> Response<Body> {
    let authorization = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let mut state = shared.lock();
    *state.counts.entry(Route::Websocket).or_default() += 1;
    if let Some(fault) = state.faults.next(Route::Websocket) {
        let asked = Asked {
            method: "GET",
            path: "/websocket/",
            query: Vec::new(),
            authorization,
            body: &[],
        };
        let now = shared.clock.now();
        return match routes::instead(&mut state, &fault, &asked, &["websocket"], now) {
            Some(answer) if answer.end == End::Answered => write(answer, now),
            // There is no half of a handshake.
            _ => closed(),
        };
    }
    let Some(user) = state.user(authorization) else {
        return StatusCode::FORBIDDEN.into_response();
    };
    state.jobs.changed.get_or_insert_default();
    drop(state);
    let (cookie, events) = (push::cookie(headers), shared.pushes.subscribe());
    let mut hung_up = shared.hang_up.subscribe();
    hung_up.mark_unchanged();
    upgrade.on_upgrade(async move |socket| {
        tokio::select! {
            () = push::listen(socket, user, cookie, events) => {}
            _ = hung_up.changed() => {}
        }
    })
}

async fn handle(
    shared: Arc<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    if !shared.latency.is_zero() {
        tokio::time::sleep(shared.latency).await;
    }
    let request = Received {
        method,
        uri,
        headers,
        body,
    };
    let answer = request.answer(&shared).await;
    let now = shared.clock.now();
    match answer.end {
        End::Answered => write(answer, now),
        End::Silent => std::future::pending().await,
        End::Closed => closed(),
    }
}

fn closed() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(Closed);
    response
}

fn write(answer: Answer, now: jiff::Timestamp) -> Response<Body> {
    let mut response = Response::builder()
        .status(StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
        .header(
            header::DATE,
            now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string(),
        );
    if answer.by == By::View {
        response = response
            .header("x-api-product-name", "AWX")
            .header("x-api-node", "controller-1")
            .header("x-api-time", "0.050s");
    }
    if answer.by != By::Gateway {
        response = response
            .header("x-api-total-time", "0.060s")
            .header("x-api-request-id", "7912ca1acb874367a5428f80758c5584");
    }
    if answer.json {
        response = response.header(header::CONTENT_TYPE, "application/json");
    }
    if answer.json && answer.by != By::Gateway {
        response = response
            .header(header::VARY, "Accept, Accept-Language, origin, Cookie")
            .header(header::ALLOW, "GET, POST, HEAD, OPTIONS");
    }
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    response
        .body(Body::from(answer.body))
        .unwrap_or_else(|_| Response::new(Body::empty()))
}
