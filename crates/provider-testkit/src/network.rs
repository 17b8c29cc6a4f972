//! What is between a client and a service: a network that swallows connections, a gateway with HTTP/2.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{Request, Response, StatusCode, Uri, Version, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// Carries connections to a service, and swallows them when it is told to, as a NAT does that has forgotten
/// them, or a stuck proxy: nothing comes through any more, and neither side hears of it. New connections
/// work.
#[derive(Debug)]
pub struct Forwarder {
    shared: Arc<Shared>,
    address: SocketAddr,
    task: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    accepted: AtomicU64,
    /// Connections of lower numbers are swallowed.
    swallowed: watch::Sender<u64>,
    /// How many swallowed ones were closed by their clients.
    given_up: watch::Sender<u64>,
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Forwarder {
    /// Carries connections of a free port of the loopback interface to this address.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(target: SocketAddr) -> std::io::Result<Self> {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), target).await
    }

    /// Carries connections of this address to that one.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start_at(listen: SocketAddr, target: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            target,
            accepted: AtomicU64::new(0),
            swallowed: watch::channel(0).0,
            given_up: watch::channel(0).0,
        });
        let task = tokio::spawn(forward(listener, Arc::clone(&shared))).abort_handle();
        Ok(Self {
            shared,
            address,
            task,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections were made so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared.accepted.load(Ordering::Acquire)
    }

    /// From now on nothing comes through any connection that there is.
    pub fn swallow(&self) {
        let connections = self.connections();
        self.shared.swallowed.send_replace(connections);
    }

    /// Done when so many swallowed connections were closed by their clients.
    pub async fn given_up(&self, connections: u64) {
        let mut given_up = self.shared.given_up.subscribe();
        // The sender lives as long as this does.
        let _ = given_up.wait_for(|so_far| *so_far >= connections).await;
    }
}

async fn forward(listener: TcpListener, shared: Arc<Shared>) {
    // Dropped with this task, and all connections with it.
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        while connections.try_join_next().is_some() {}
        let number = shared.accepted.fetch_add(1, Ordering::AcqRel);
        connections.spawn(carry(stream, number, Arc::clone(&shared)));
    }
}

async fn carry(mut client: TcpStream, number: u64, shared: Arc<Shared>) {
    let Ok(mut server) = TcpStream::connect(shared.target).await else {
        return;
    };
    for stream in [&client, &server] {
        let _ = stream.set_nodelay(true);
    }
    let mut swallowed = shared.swallowed.subscribe();
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => return,
        _ = swallowed.wait_for(|below| number < *below) => {}
    }
    // What the client sends vanishes; the server's side stays open as well.
    let mut nowhere = [0; 4_096];
    while !matches!(client.read(&mut nowhere).await, Ok(0) | Err(_)) {}
    shared.given_up.send_modify(|so_far| *so_far += 1);
}

/// A gateway in front of a service: TLS outside, with HTTP/2 where the client offers it, and HTTP/1.1
/// inside.
#[derive(Debug)]
pub struct Front {
    address: SocketAddr,
    task: AbortHandle,
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Front {
    /// Starts the gateway on a free port of the loopback interface, in front of the service at this
    /// address. The protocols that are offered are set by this function.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(target: SocketAddr, mut tls: rustls::ServerConfig) -> std::io::Result<Self> {
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let address = listener.local_addr()?;
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let task = tokio::spawn(serve(listener, acceptor, target)).abort_handle();
        Ok(Self { address, task })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

type Inside = Client<HttpConnector, Incoming>;

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, target: SocketAddr) {
    let inside: Inside = Client::builder(TokioExecutor::new()).build_http();
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        while connections.try_join_next().is_some() {}
        let (acceptor, inside) = (acceptor.clone(), inside.clone());
        connections.spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let service = service_fn(move |request| pass_on(inside.clone(), request, target));
            let stream = TokioIo::new(stream);
            if is_http2 {
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(stream, service).await;
            } else {
                let server = hyper::server::conn::http1::Builder::new();
                let _ = server.serve_connection(stream, service).await;
            }
        });
    }
}

async fn pass_on(
    inside: Inside,
    mut request: Request<Incoming>,
    target: SocketAddr,
) -> Result<Response<axum::body::Body>, std::convert::Infallible> {
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str());
    let to: Uri = format!("http://{target}{path}").parse().unwrap_or_default();
    *request.uri_mut() = to;
    *request.version_mut() = Version::HTTP_11;
    let answer = match inside.request(request).await {
        Ok(mut response) => {
            for name in [header::CONNECTION, header::TRANSFER_ENCODING] {
                response.headers_mut().remove(name);
            }
            *response.version_mut() = Version::default();
            response.map(axum::body::Body::new)
        }
        Err(_) => {
            let mut response = Response::new(axum::body::Body::empty());
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response
        }
    };
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    #[tokio::test]
    async fn what_is_swallowed_stays_silent_and_new_connections_work() {
        let echo = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = echo.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = echo.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        let forwarder = Forwarder::start(target).await.unwrap();
        let connect = || TcpStream::connect(forwarder.address());
        let mut first = connect().await.unwrap();
        let (mut byte, mut other) = ([0], [0]);
        first.write_all(b"a").await.unwrap();
        first.read_exact(&mut byte).await.unwrap();
        forwarder.swallow();
        let mut second = connect().await.unwrap();
        first.write_all(b"b").await.unwrap();
        second.write_all(b"c").await.unwrap();
        tokio::select! {
            biased;
            _ = first.read(&mut other) => panic!("it was swallowed"),
            read = second.read_exact(&mut byte) => { read.unwrap(); }
        }
        assert_eq!((byte, forwarder.connections()), (*b"c", 2));
        drop(first);
        forwarder.given_up(1).await;
    }
}
