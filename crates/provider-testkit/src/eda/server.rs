//! The simulator on a socket.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::{HeaderMap, HeaderValue};
use provider_core::Clock;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

use super::api::Api;
use super::fault::{Fault, Faults, Weather};
use super::journal::{Event, Fate, Trouble};
use super::script::Script;
use super::world::{Stream, World};

mod connections;

/// A running simulator; it stops, and forgets its queue, when this is dropped.
#[derive(Debug)]
pub struct EdaSim {
    pub(super) shared: Arc<Shared>,
    address: SocketAddr,
    tls: bool,
    server: AbortHandle,
}

#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    pub(super) clock: Arc<dyn Clock>,
    worked_off: Notify,
}

#[derive(Debug)]
pub(super) struct State {
    world: World,
    pub(super) api: Api,
    faults: Faults,
    journal: Vec<Event>,
    troubles: Vec<Trouble>,
    /// Events that were taken and not worked off.
    queued: usize,
    /// An event has stopped the queue of the rulebook, whose process lives on.
    poisoned: bool,
    requests: u64,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for EdaSim {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl EdaSim {
    /// Starts the service on a free port of the loopback interface.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(world: impl Into<World>, clock: Arc<dyn Clock>) -> std::io::Result<Self> {
        Self::start_at(world, clock, SocketAddr::from(([127, 0, 0, 1], 0)), None).await
    }

    /// Starts the service on this address, with TLS where a configuration for it is given.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start_at(
        world: impl Into<World>,
        clock: Arc<dyn Clock>,
        address: SocketAddr,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                world: world.into(),
                api: Api::default(),
                faults: Faults::default(),
                journal: Vec::new(),
                troubles: Vec::new(),
                queued: 0,
                poisoned: false,
                requests: 0,
            }),
            clock,
            worked_off: Notify::new(),
        });
        let is_tls = tls.is_some();
        let server = connections::serve(listener, Arc::clone(&shared), tls.map(TlsAcceptor::from));
        Ok(Self {
            shared,
            address,
            tls: is_tls,
            server: tokio::spawn(server).abort_handle(),
        })
    }

    /// `http://127.0.0.1:PORT`, without a path; with TLS `https://localhost:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        if self.tls {
            format!("https://localhost:{}", self.address.port())
        } else {
            format!("http://{}", self.address)
        }
    }

    /// The URL of the first event stream.
    #[must_use]
    pub fn stream_url(&self) -> String {
        let path = match &self.shared.lock().world {
            World::Streams(streams) => streams.first().map(Stream::path),
            World::Webhook(_) => None,
        };
        format!("{}{}", self.url(), path.unwrap_or_default())
    }

    /// The next `times` requests meet this fault.
    pub fn fault(&self, fault: &Fault, times: u32) {
        self.shared.lock().faults.script(fault, times);
    }

    /// Trouble by chance from now on, or, with `None`, none.
    pub fn weather(&self, weather: Option<Weather>) {
        self.shared.lock().faults.set_weather(weather);
    }

    /// No faults any more, neither scripted nor by chance.
    pub fn clear_faults(&self) {
        self.shared.lock().faults.clear();
    }

    /// Everything that a script says.
    pub fn play(&self, script: Script) {
        script.happen(&mut self.shared.lock().faults);
    }

    /// Another service from now on, at the same address: another token, an activation that no
    /// longer listens.
    pub fn change(&self, change: impl FnOnce(&mut World)) {
        change(&mut self.shared.lock().world);
    }

    /// The process of the rulebook starts afresh: what stopped its queue is forgotten.
    pub fn restart_rulebook(&self) {
        self.shared.lock().poisoned = false;
    }

    /// Everything that was really taken so far, in order.
    #[must_use]
    pub fn journal(&self) -> Vec<Event> {
        self.shared.lock().journal.clone()
    }

    /// The same from the event after this one on.
    #[must_use]
    pub fn journal_after(&self, id: u64) -> Vec<Event> {
        let state = self.shared.lock();
        let known = usize::try_from(id).unwrap_or(usize::MAX);
        state.journal.iter().skip(known).cloned().collect()
    }

    /// Everything that went wrong so far, by script or by chance, in order.
    #[must_use]
    pub fn troubles(&self) -> Vec<Trouble> {
        self.shared.lock().troubles.clone()
    }

    /// How many requests came in, also those that were not taken.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.shared.lock().requests
    }

    /// The rulebook works off so many events of its queue; senders that wait are answered.
    pub fn work_off(&self, events: usize) {
        let mut state = self.shared.lock();
        state.queued = state.queued.saturating_sub(events);
        drop(state);
        self.shared.worked_off.notify_waiters();
    }
}

/// A request, as the services look at it.
pub(super) struct Asked<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub query: &'a str,
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
}

impl Asked<'_> {
    pub(super) fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.get(name).map(HeaderValue::as_bytes)
    }

    /// The query, taken apart.
    pub(super) fn query(&self) -> impl Iterator<Item = (String, String)> {
        url::form_urlencoded::parse(self.query.as_bytes()).into_owned()
    }

    pub(super) fn param(&self, name: &str) -> Option<String> {
        let mut pairs = self.query();
        pairs
            .find(|(known, _)| known == name)
            .map(|(_, value)| value)
    }
}

/// What a service does with a request.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    status: u16,
    body: Vec<u8>,
    json: bool,
    reason: Option<&'static str>,
    headers: Vec<(&'static str, String)>,
    taken: Option<Box<(String, Value, Fate)>>,
}

impl Outcome {
    pub(super) fn text(status: u16, body: &str) -> Self {
        Self {
            status,
            body: body.into(),
            ..Self::default()
        }
    }

    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self {
            status,
            body: body.to_string().into(),
            json: true,
            ..Self::default()
        }
    }

    pub(super) fn detail(status: u16, detail: &str) -> Self {
        Self::json(status, &json!({ "detail": detail }))
    }

    pub(super) fn with_reason(mut self, reason: &'static str) -> Self {
        self.reason = Some(reason);
        self
    }

    pub(super) fn with_header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub(super) fn taking(mut self, endpoint: &str, payload: Value, fate: Fate) -> Self {
        self.taken = Some(Box::new((endpoint.to_owned(), payload, fate)));
        self
    }
}
