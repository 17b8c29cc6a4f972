//! A line to a simulator: requests without sockets, so that nothing but the timer of the runtime decides
//! what comes when.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use async_trait::async_trait;
use axum::http::{Request, Response, StatusCode, header};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use provider_http::{Carrier, SendError, SendFailure};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};
use tokio::sync::mpsc;

/// What is on its way in one direction before the writer waits, as in the buffers of a socket.
const BUFFER: usize = 64 << 10;

/// Where a simulator takes its connections from.
pub(crate) type Calls = mpsc::UnboundedReceiver<DuplexStream>;

/// A line to a simulator in the same process. It keeps connections, as a client does, and can lose them, as
/// a network does.
#[derive(Debug)]
pub struct Line {
    calls: mpsc::UnboundedSender<DuplexStream>,
    idle: Mutex<VecDeque<Connection>>,
    made: AtomicU64,
    /// Connections of lower numbers are swallowed.
    swallowed: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Connection(SendRequest<reqwest::Body>);

impl Line {
    pub(crate) fn new(calls: mpsc::UnboundedSender<DuplexStream>) -> Arc<Self> {
        Arc::new(Self {
            calls,
            idle: Mutex::default(),
            made: AtomicU64::new(0),
            swallowed: Arc::default(),
        })
    }

    /// How many connections were made so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.made.load(Ordering::Acquire)
    }

    /// From now on nothing comes through any connection that there is, and neither side hears of it. New
    /// ones work.
    pub fn swallow(&self) {
        self.swallowed.store(self.connections(), Ordering::Release);
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, VecDeque<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connection(&self) -> Result<Connection, SendError> {
        loop {
            let kept = self.idle().pop_back();
            let Some(mut kept) = kept else { break };
            // The service may have closed it meanwhile.
            if kept.0.ready().await.is_ok() {
                return Ok(kept);
            }
        }
        let refused = || SendError::new(SendFailure::Connect, "the simulator has ended");
        let (pipe, far) = duplex(BUFFER);
        self.calls.send(far).map_err(|_| refused())?;
        let near = Near {
            pipe,
            number: self.made.fetch_add(1, Ordering::AcqRel),
            swallowed: Arc::clone(&self.swallowed),
        };
        let (sender, connection) = handshake(TokioIo::new(near)).await.map_err(broken)?;
        tokio::spawn(connection.with_upgrades());
        Ok(Connection(sender))
    }
}

/// The client's end of a connection. Once it is swallowed nothing comes out of it, and what goes in is nowhere;
/// the other side hears of it when the client has given up.
#[derive(Debug)]
struct Near {
    pipe: DuplexStream,
    number: u64,
    swallowed: Arc<AtomicU64>,
}

impl Near {
    fn is_swallowed(&self) -> bool {
        self.number < self.swallowed.load(Ordering::Acquire)
    }

    fn pipe(self: Pin<&mut Self>) -> Pin<&mut DuplexStream> {
        Pin::new(&mut self.get_mut().pipe)
    }
}

impl AsyncRead for Near {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_swallowed() {
            return Poll::Pending;
        }
        self.pipe().poll_read(context, buffer)
    }
}

impl AsyncWrite for Near {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_swallowed() {
            return Poll::Ready(Ok(bytes.len()));
        }
        self.pipe().poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pipe().poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_swallowed() {
            return Poll::Ready(Ok(()));
        }
        self.pipe().poll_shutdown(context)
    }
}

#[async_trait]
impl Carrier for Line {
    async fn carry(&self, request: reqwest::Request) -> Result<reqwest::Response, SendError> {
        let mut connection = self.connection().await?;
        let mut request = Request::<reqwest::Body>::try_from(request)?;
        let host = request.uri().authority().map(|at| at.as_str().to_owned());
        if let Some(host) = host.and_then(|host| host.parse().ok()) {
            request.headers_mut().insert(header::HOST, host);
        }
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = path.map(axum::http::Uri::from).unwrap_or_default();
        let response = connection.0.send_request(request).await.map_err(broken)?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response.map(reqwest::Body::wrap).into());
        }
        let (head, body) = response.into_parts();
        // A connection that broke off is no good any more.
        let body = read(body).await?;
        self.idle().push_back(connection);
        Ok(Response::from_parts(head, body).into())
    }
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn broken(error: hyper::Error) -> SendError {
    let mut text = error.to_string();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(next) = cause.source() {
        text = next.to_string();
        cause = next;
    }
    SendError::new(SendFailure::Broken, &text)
}

/// Reads to the end, while the time-out of the request runs.
async fn read(mut body: Incoming) -> Result<Vec<u8>, SendError> {
    let mut read = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        if let Ok(data) = frame.map_err(broken)?.into_data() {
            read.extend_from_slice(&data);
        }
    }
    Ok(read)
}
