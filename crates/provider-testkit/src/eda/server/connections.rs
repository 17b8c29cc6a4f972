//! Connections: a request comes in, an answer goes out, or does not.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header};
use futures::StreamExt;
use hyper::ext::ReasonPhrase;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::{Asked, Outcome, Shared, State};
use crate::eda::control::{self, Reach};
use crate::eda::fault::Fault;
use crate::eda::journal::{Event, Fate, Trouble};
use crate::eda::world::World;
use crate::eda::{stream, webhook};

/// Marks an answer that must not be sent.
#[derive(Debug, Clone, Copy)]
struct Closed;

#[derive(Debug, thiserror::Error)]
#[error("the connection is closed, as the script says")]
struct ConnectionClosed;

pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>, tls: Option<TlsAcceptor>) {
    let router = Router::new()
        .fallback(move |method, uri, headers, body| {
            handle(Arc::clone(&shared), method, uri, headers, body)
        })
        .layer(DefaultBodyLimit::disable());
    // Dropped with this task, and all connections with it.
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        while connections.try_join_next().is_some() {}
        // Small answers must not wait for the peer's acknowledgement.
        let _ = stream.set_nodelay(true);
        let (router, tls) = (router.clone(), tls.clone());
        connections.spawn(async move {
            match tls {
                None => connection(router, stream).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        connection(router, stream).await;
                    }
                }
            }
        });
    }
}

async fn connection(router: Router, stream: impl AsyncRead + AsyncWrite + Unpin) {
    let router = TowerToHyperService::new(router);
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
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn handle(
    shared: Arc<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let asked = Asked {
        method: method.as_str(),
        path: uri.path(),
        query: uri.query().unwrap_or_default(),
        headers: &headers,
        body: &body,
    };
    let fault = {
        let mut state = shared.lock();
        if asked.path.starts_with("/_sim/") {
            let State {
                faults,
                journal,
                queued,
                requests,
                ..
            } = &mut *state;
            let requests = *requests;
            let mut reach = Reach {
                faults,
                journal,
                queued,
                requests,
            };
            let outcome = control::answer(&mut reach, &asked);
            drop(state);
            shared.worked_off.notify_waiters();
            return write(outcome);
        }
        state.requests += 1;
        // Trouble is meant for the events.
        let streams = match &state.world {
            World::Streams(streams) => streams.as_slice(),
            World::Webhook(_) => &[],
        };
        if let Some(outcome) = state.api.answer(&asked, streams) {
            return write(outcome);
        }
        let fault = state.faults.next();
        if let Some(fault) = &fault {
            state.troubles.push(Trouble {
                body: asked.body.to_vec(),
                fault: fault.clone(),
            });
        }
        fault
    };
    if let Some(Fault::Echo(status)) = fault {
        let text = String::from_utf8_lossy(asked.body);
        return write(Outcome::text(
            status,
            &format!("{:?} {text}", asked.headers),
        ));
    }
    if let Some(instead) = fault.as_ref().and_then(before) {
        return match instead {
            Instead::Close => closed(),
            Instead::Hang => std::future::pending().await,
            Instead::Answer(outcome) => write(outcome),
        };
    }
    let (outcome, full) = {
        let mut state = shared.lock();
        let mut outcome = match &state.world {
            World::Webhook(webhook) => webhook::answer(webhook, &asked),
            World::Streams(streams) => stream::answer(streams, &asked),
        };
        if let Some(taken) = outcome.taken.take() {
            let (endpoint, payload, fate) = *taken;
            // The library that a rulebook reads paths with raises at a member without a name, and that
            // ends the task of the queue.
            let poison = fate == Fate::Queued && has_nameless_member(&payload);
            let lost = fault == Some(Fault::Lose) || (state.poisoned && fate == Fate::Queued);
            state.poisoned |= poison;
            let fate = if poison { Fate::Dropped } else { fate };
            let event = Event {
                id: u64::try_from(state.journal.len()).unwrap_or(0) + 1,
                at: shared.clock.now(),
                endpoint,
                payload,
                fate: if lost { Fate::Lost } else { fate },
            };
            // What is lost or dropped takes up no place.
            state.queued += usize::from(event.fate == Fate::Queued);
            state.journal.push(event);
        }
        (outcome, is_full(&state))
    };
    if full {
        // The event is in already; only its answer waits.
        wait_for_room(&shared).await;
    }
    match fault {
        Some(Fault::DropAfter) => closed(),
        Some(Fault::HangAfter) => std::future::pending().await,
        Some(Fault::StatusAfter(status)) => write(page(status)),
        Some(Fault::Truncated) => broken_off(write(outcome)),
        _ => write(outcome),
    }
}

fn has_nameless_member(value: &Value) -> bool {
    match value {
        Value::Object(members) => members
            .iter()
            .any(|(name, item)| name.is_empty() || has_nameless_member(item)),
        Value::Array(items) => items.iter().any(has_nameless_member),
        _ => false,
    }
}

fn is_full(state: &State) -> bool {
    match &state.world {
        World::Webhook(webhook) => webhook.queue.is_some_and(|room| state.queued > room),
        World::Streams(_) => false,
    }
}

async fn wait_for_room(shared: &Shared) {
    loop {
        let worked_off = shared.worked_off.notified();
        tokio::pin!(worked_off);
        worked_off.as_mut().enable();
        if !is_full(&shared.lock()) {
            return;
        }
        worked_off.await;
    }
}

/// The answer with a body that ends in an error instead of its end. Its beginning goes out first.
fn broken_off(answer: Response<Body>) -> Response<Body> {
    let begin = futures::stream::iter([Ok(Bytes::from_static(b"crea"))]);
    let end = futures::stream::once(async {
        tokio::task::yield_now().await;
        Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset))
    });
    answer.map(|_| Body::from_stream(begin.chain(end)))
}

/// What happens instead of the service being asked.
enum Instead {
    Close,
    Hang,
    Answer(Outcome),
}

fn before(fault: &Fault) -> Option<Instead> {
    let answer = |outcome| Some(Instead::Answer(outcome));
    match fault {
        Fault::DropBefore => Some(Instead::Close),
        Fault::HangBefore => Some(Instead::Hang),
        Fault::Status(status) => answer(page(*status)),
        Fault::RateLimited(seconds) => {
            answer(page(429).with_header("retry-after", &seconds.to_string()))
        }
        Fault::LoginPage(bytes) => answer(Outcome::text(200, &"<p>".repeat(bytes / 3 + 1))),
        Fault::Redirect(status, to) => answer(page(*status).with_header("location", to)),
        Fault::DropAfter
        | Fault::HangAfter
        | Fault::StatusAfter(_)
        | Fault::Truncated
        | Fault::Lose
        | Fault::Echo(_) => None,
    }
}

/// The answer of something in front of the service.
fn page(status: u16) -> Outcome {
    Outcome::text(
        status,
        "<html><body>Application is not available</body></html>",
    )
}

fn closed() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(Closed);
    response
}

fn write(outcome: Outcome) -> Response<Body> {
    let content_type = if outcome.json {
        "application/json"
    } else {
        "text/plain; charset=utf-8"
    };
    let mut response = Response::builder()
        .status(StatusCode::from_u16(outcome.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
        .header(header::CONTENT_TYPE, content_type);
    for (name, value) in outcome.headers {
        response = response.header(name, value);
    }
    let mut response = response
        .body(Body::from(outcome.body))
        .unwrap_or_else(|_| Response::new(Body::empty()));
    if let Some(reason) = outcome.reason {
        let phrase = ReasonPhrase::from_static(reason.as_bytes());
        response.extensions_mut().insert(phrase);
    }
    response
}
