//! Hints from the controller's websocket.
//!
//! It tells of every job's changes of status, once, and not of those that happen while nobody listens
//! (AWX 24.6.1). A cancel is told before it has happened. So an event only ever makes a look come
//! earlier: what is true is read over REST, always.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, SinkExt, StreamExt};
use provider_core::{Effect, ErrorKind, ProviderError, text};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Message, handshake};

use crate::AapProvider;
use crate::client::Client;
use crate::monitor::Monitor;

/// The longest pause between two tries to connect.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// A connection that says nothing for so long is asked whether it is there, and given up after twice
/// that.
const SILENCE: Duration = Duration::from_secs(30);
/// Between two looks at the connection.
const BREATH: Duration = Duration::from_millis(50);
/// Repeated by the subscription: the server only compares the two.
const CSRF: &str = "provider-aap";

/// Statuses of a job that has not begun.
const QUEUED: [&str; 3] = ["new", "pending", "waiting"];

#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    unified_job_id: Option<u64>,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    accept: Option<bool>,
    #[serde(default)]
    groups_current: Option<Vec<String>>,
    #[serde(default)]
    error: Option<String>,
}

impl AapProvider {
    /// Listens to the controller's websocket for ever, and looks at once at jobs that it tells of.
    /// Connects anew, with growing pauses, whenever the connection is lost; while there is none, jobs
    /// are seen by polling, as without it.
    ///
    /// With [`job_events`](Self::job_events), the end of a job is then known within a second. The
    /// stream of [`Provider::wake_ups`](provider_core::Provider::wake_ups) does this by itself where
    /// [`AapConfig::push`](crate::AapConfig::push) is set.
    pub async fn listen(&self) -> Infallible {
        listen(Arc::clone(&self.client), self.monitor.clone()).await
    }
}

/// As [`AapProvider::listen`], for a stream that outlives the borrow.
pub(crate) async fn listen(client: Arc<Client>, monitor: Monitor) -> Infallible {
    let mut pause = Duration::from_secs(1);
    loop {
        let began = Instant::now();
        let Err(error) = follow(&client, &monitor).await;
        if began.elapsed() > MAX_PAUSE {
            pause = Duration::from_secs(1);
        }
        tracing::info!(
            ?pause,
            "no events of the controller until the next try: {error}"
        );
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

/// One connection, until it is lost.
async fn follow(client: &Client, monitor: &Monitor) -> Result<Infallible, ProviderError> {
    let lost = |what: &str| {
        ProviderError::new(
            Effect::Unreadable,
            ErrorKind::Unavailable,
            text::bounded(what, 300),
        )
    };
    let key = handshake::client::generate_key();
    let upgraded = client.upgrade("websocket/", &key, CSRF).await?;
    let mut socket = WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await;
    let groups = json!({"xrftoken": CSRF, "groups": {"jobs": ["status_changed"]}});
    let mut asked_whether_there = false;
    loop {
        let next = match socket.next().now_or_never() {
            Some(next) => Ok(next),
            // Hints are acted upon together, so they are read together.
            None => {
                tokio::time::sleep(BREATH).await;
                timeout(SILENCE, socket.next()).await
            }
        };
        let message = match next {
            Ok(Some(Ok(message))) => message,
            Ok(Some(Err(error))) => return Err(lost(&error.to_string())),
            Ok(None) => return Err(lost("the connection was closed")),
            Err(_) if asked_whether_there => return Err(lost("the connection says nothing")),
            Err(_) => {
                asked_whether_there = true;
                let ping = socket.send(Message::Ping(Vec::new().into())).await;
                ping.map_err(|error| lost(&error.to_string()))?;
                continue;
            }
        };
        asked_whether_there = false;
        let Ok(text) = message.into_text() else {
            continue;
        };
        let Ok(event) = serde_json::from_str::<Event>(&text) else {
            continue;
        };
        if event.accept == Some(true) {
            let subscribe = Message::Text(groups.to_string().into());
            let sent = socket.send(subscribe).await;
            sent.map_err(|error| lost(&error.to_string()))?;
        } else if event.error.is_some() {
            return Err(lost(
                "the controller does not let us subscribe to events of jobs",
            ));
        } else if event.groups_current.is_some() {
            tracing::info!("the controller tells of changes of jobs");
        } else if let (Some(id), Some(status)) = (event.unified_job_id, event.status) {
            // Nobody waits for a job to be queued.
            if !QUEUED.contains(&status.as_str()) {
                monitor.hint(id);
            }
        }
    }
}
