//! A line to a simulator: requests without sockets, so that nothing but the timer of the runtime decides
//! what comes when.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use async_trait::async_trait;
use axum::body::Bytes;
use axum::http::{Request, Response, StatusCode, header};
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use provider_http::{Carrier, SendError, SendFailure};
use tokio::io::{DuplexStream, copy_bidirectional, duplex};
use tokio::sync::{mpsc, watch};

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
    swallowed: watch::Sender<u64>,
}

#[derive(Debug)]
struct Connection(SendRequest<reqwest::Body>);

impl Line {
    pub(crate) fn new(calls: mpsc::UnboundedSender<DuplexStream>) -> Arc<Self> {
        Arc::new(Self {
            calls,
            idle: Mutex::default(),
            made: AtomicU64::new(0),
            swallowed: watch::channel(0).0,
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
        self.swallowed.send_replace(self.connections());
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
        let (near, mut between) = duplex(BUFFER);
        let (mut there, far) = duplex(BUFFER);
        self.calls.send(far).map_err(|_| refused())?;
        let number = self.made.fetch_add(1, Ordering::AcqRel);
        let mut swallowed = self.swallowed.subscribe();
        tokio::spawn(async move {
            tokio::select! {
                _ = copy_bidirectional(&mut between, &mut there) => return,
                _ = swallowed.wait_for(|below| number < *below) => {}
            }
            let mut nowhere = tokio::io::sink();
            // Until the client gives up; the server's side stays open as well.
            let _ = tokio::io::copy(&mut between, &mut nowhere).await;
        });
        let (sender, connection) = handshake(TokioIo::new(near)).await.map_err(broken)?;
        tokio::spawn(connection.with_upgrades());
        Ok(Connection(sender))
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
        let body = read(body).await;
        // A connection that broke off is no good any more.
        if !body.is_torn {
            self.idle().push_back(connection);
        }
        Ok(Response::from_parts(head, reqwest::Body::wrap(body)).into())
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

/// Reads while the time-out of the request runs.
async fn read(mut body: Incoming) -> Read {
    let mut read = Vec::new();
    loop {
        match std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    read.extend_from_slice(&data);
                }
            }
            end => {
                return Read {
                    data: Some(Bytes::from(read)),
                    is_torn: end.is_some(),
                };
            }
        }
    }
}

/// A body that has arrived, as far as it has.
#[derive(Debug)]
struct Read {
    data: Option<Bytes>,
    is_torn: bool,
}

impl Body for Read {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        if let Some(data) = self.data.take() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let torn = std::mem::take(&mut self.is_torn);
        Poll::Ready(torn.then(|| Err(std::io::ErrorKind::UnexpectedEof.into())))
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        let size = self.data.as_ref().map_or(0, Bytes::len);
        if self.is_torn {
            return hyper::body::SizeHint::default();
        }
        hyper::body::SizeHint::with_exact(u64::try_from(size).unwrap_or(u64::MAX))
    }
}
