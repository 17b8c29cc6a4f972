//! Hints from the controller's websocket.
//!
//! It tells of every job's changes of status, once, and not of those that happen while nobody listens
//! (AWX 24.6.1). A cancel is told before it has happened. So an event only ever makes a look come
//! earlier: what is true is read over REST, always.

use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, SinkExt, Stream, StreamExt};
use provider_core::lifecycle::{Entropy, SeededEntropy};
use provider_core::{Effect, ErrorKind, ProviderError, text};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Mutex;
use tokio::task::coop;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, handshake};

use crate::AapProvider;
use crate::client::Client;
use crate::monitor::{HINT_GAP, Monitor};

/// The pause before the second try to connect, and the longest between two tries.
const MIN_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// A connection that says nothing for so long is asked whether it is there, and given up after twice
/// that.
const SILENCE: Duration = Duration::from_secs(30);
/// How long messages are left unread. Hints are acted upon together, so they are read together: a little
/// less often than pages of them may be asked for, so that what is read is asked about at once.
const UNREAD: Duration = HINT_GAP.saturating_add(Duration::from_millis(150));
/// Bytes. Messages are small, and the room is cleared before each read.
const READ_AT_ONCE: usize = 16 << 10;
/// Repeated by the subscription: the server only compares the two.
const CSRF: &str = "provider-aap";

/// Statuses of a job that has not begun.
const QUEUED: [&str; 3] = ["new", "pending", "waiting"];

#[derive(Deserialize)]
struct Event<'text> {
    #[serde(default)]
    unified_job_id: Option<u64>,
    #[serde(default, borrow)]
    status: Option<Cow<'text, str>>,
    #[serde(default)]
    accept: Option<bool>,
    #[serde(default)]
    groups_current: Option<IgnoredAny>,
    #[serde(default)]
    error: Option<IgnoredAny>,
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
        let listening = Arc::clone(&self.listening);
        listen(Arc::clone(&self.client), self.monitor.clone(), listening).await
    }
}

/// As [`AapProvider::listen`], for a stream that outlives the borrow. One of all that listen has a
/// connection; the next one takes over when it is dropped.
pub(crate) async fn listen(
    client: Arc<Client>,
    monitor: Monitor,
    listening: Arc<Mutex<Pauses>>,
) -> Infallible {
    let mut pauses = listening.lock().await;
    loop {
        let began = Instant::now();
        let Err(error) = follow(&client, &monitor).await;
        let pause = pauses.next(began.elapsed());
        tracing::info!(
            ?pause,
            "no events of the controller until the next try: {error}"
        );
        tokio::time::sleep(pause).await;
    }
}

/// The pauses between tries to connect: they grow until a connection has lasted, and are not the same
/// for all who lost theirs at once.
pub(crate) struct Pauses {
    next: Duration,
    dice: SeededEntropy,
}

impl Pauses {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            next: MIN_PAUSE,
            dice: SeededEntropy::new(seed),
        }
    }

    /// The next pause, after a connection that has lasted so long.
    fn next(&mut self, lasted: Duration) -> Duration {
        if lasted > MAX_PAUSE {
            self.next = MIN_PAUSE;
        }
        let pause = self.next;
        self.next = (pause * 2).min(MAX_PAUSE);
        let part = u32::try_from(self.dice.next() % 1_000).unwrap_or(0);
        pause.mul_f64(0.5 + f64::from(part) / 2_000.0)
    }
}

/// The next message, if one comes in time: the first at once, and those that come soon after it together.
async fn next<S: Stream + Unpin>(messages: &mut S) -> Result<Option<S::Item>, Elapsed> {
    loop {
        match messages.next().now_or_never() {
            Some(next) => return Ok(next),
            // There may be more: it is the turn of others.
            None if !coop::has_budget_remaining() => tokio::task::yield_now().await,
            None => break,
        }
    }
    tokio::time::sleep(UNREAD).await;
    timeout(SILENCE, messages.next()).await
}

/// One connection, until it is lost.
async fn follow(client: &Client, monitor: &Monitor) -> Result<Infallible, ProviderError> {
    let key = handshake::client::generate_key();
    let upgraded = client.upgrade("websocket/", &key, CSRF).await?;
    attend(upgraded, |id| {
        monitor.hint(id);
    })
    .await
}

/// What is said on a connection, until it is lost: the jobs that something has happened to.
pub(crate) async fn attend<S: AsyncRead + AsyncWrite + Unpin>(
    connection: S,
    mut hint: impl FnMut(u64),
) -> Result<Infallible, ProviderError> {
    let lost = |what: &str| {
        ProviderError::new(
            Effect::Unreadable,
            ErrorKind::Unavailable,
            text::bounded(what, 300),
        )
    };
    let config = WebSocketConfig::default().read_buffer_size(READ_AT_ONCE);
    let mut socket = WebSocketStream::from_raw_socket(connection, Role::Client, Some(config)).await;
    let groups = json!({"xrftoken": CSRF, "groups": {"jobs": ["status_changed"]}});
    let mut asked_whether_there = false;
    loop {
        let message = match next(&mut socket).await {
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
        let Ok(event) = serde_json::from_str::<Event<'_>>(&text) else {
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
            if !QUEUED.contains(&&*status) {
                hint(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn messages_are_read_together_however_many_have_come() {
        let (send, mut receive) = tokio::sync::mpsc::unbounded_channel();
        let mut messages = futures::stream::poll_fn(move |cx| receive.poll_recv(cx));
        // More than a task may read in one turn.
        let began = Instant::now();
        for n in 0..1_000 {
            send.send(n).unwrap();
        }
        for n in 0..1_000 {
            assert_eq!(next(&mut messages).await.unwrap(), Some(n));
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
        let soon = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            send.send(1_000).unwrap();
            send
        });
        assert_eq!(next(&mut messages).await.unwrap(), Some(1_000));
        assert_eq!(began.elapsed(), UNREAD);
        let send = soon.await.unwrap();
        assert!(next(&mut messages).await.is_err(), "nothing comes");
        assert_eq!(began.elapsed(), UNREAD * 2 + SILENCE);
        drop(send);
        assert_eq!(next(&mut messages).await.unwrap(), None);
    }

    #[test]
    fn pauses_grow_to_a_bound_are_varied_and_begin_anew_after_a_connection_that_lasted() {
        let mut pauses = Pauses::new(7);
        let short = Duration::from_secs(1);
        let tries: Vec<Duration> = (0..20).map(|_| pauses.next(short)).collect();
        for (n, pause) in tries.iter().enumerate() {
            let most = MAX_PAUSE.min(MIN_PAUSE * 2_u32.pow(u32::try_from(n.min(10)).unwrap()));
            assert!(
                *pause >= most / 2 && *pause <= most,
                "{n}: {pause:?} of {most:?}"
            );
        }
        assert_ne!(tries[18], tries[19]);
        assert!(pauses.next(MAX_PAUSE * 2) <= MIN_PAUSE);
        assert!(pauses.next(short) > MIN_PAUSE / 2);
        let others = Pauses::new(8).next(short);
        assert_ne!(others, Pauses::new(7).next(short));
    }
}
