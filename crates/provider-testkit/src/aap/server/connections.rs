//! Connections: requests come in by them, and notifications go out.

use std::sync::Arc;
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
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::Shared;
use crate::aap::answer::{Answer, By, End};
use crate::aap::fault::Route;
use crate::aap::notify::Notice;
use crate::aap::push;
use crate::aap::received::Received;
use crate::aap::routes::{self, Asked};
use crate::aap::state::State;
use crate::aap::world::Template;
use crate::line::Calls;

/// Marks an answer that must not be sent.
#[derive(Debug, Clone, Copy)]
struct Closed;

#[derive(Debug, thiserror::Error)]
#[error("the connection is closed, as the script says")]
struct ConnectionClosed;

pub(super) async fn serve(listener: Option<TcpListener>, mut calls: Calls, shared: Arc<Shared>) {
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
            biased;
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
        match shared.tick {
            Some(tick) => tokio::time::sleep(tick).await,
            None => until_something_happens(&shared).await,
        }
        let mut state = shared.lock();
        if shared.pushes.receiver_count() > 0 {
            state.jobs.changed.get_or_insert_default();
        } else {
            state.jobs.changed = None;
        }
        if !tells(&state, &shared) {
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

/// Until a moment after something was done, or the next job changes by itself. While nobody is told, it lasts.
async fn until_something_happens(shared: &Shared) {
    let next = loop {
        {
            let mut state = shared.lock();
            if tells(&state, shared) {
                break state.jobs.next_event();
            }
            state.jobs.changed = None;
        }
        shared.stirred.notified().await;
    };
    match next {
        None => shared.stirred.notified().await,
        Some(next) => {
            let left = next.duration_since(shared.clock.now());
            let left = Duration::try_from(left).unwrap_or_default();
            let left = left.saturating_sub(push::TICK);
            let _ = tokio::time::timeout(left, shared.stirred.notified()).await;
        }
    }
    tokio::time::sleep(push::TICK).await;
}

/// Whether anybody is told of what happens.
fn tells(state: &State, shared: &Shared) -> bool {
    let notifies = |template: &Template| template.notifies.is_some();
    shared.pushes.receiver_count() > 0 || state.jobs.templates.values().any(notifies)
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
    drop(state);
    let cookie = push::cookie(headers);
    let pushing = Arc::clone(shared);
    let subscribe = move || {
        pushing.lock().jobs.changed.get_or_insert_default();
        pushing.stirred.notify_one();
        pushing.pushes.subscribe()
    };
    let hung_up = Arc::clone(&shared.hang_up).notified_owned();
    // Clients say little; the whole buffer is cleared before each read.
    let upgrade = upgrade.read_buffer_size(4 << 10);
    upgrade.on_upgrade(async move |socket| {
        tokio::select! {
            biased;
            () = push::listen(socket, user, cookie, subscribe) => {}
            () = hung_up => {}
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
    shared.stirred.notify_one();
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
