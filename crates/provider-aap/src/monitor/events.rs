//! What the rounds have seen, for those who want to act on it at once.

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use futures::Stream;
use provider_core::{JobRef, JobState};
use tokio::sync::mpsc;

use super::schedule::Change;

/// How many events a subscriber may be behind; those beyond are dropped. Nothing is lost by that:
/// an event only makes a look come earlier.
const BACKLOG: usize = 16_384;

/// Changes of jobs, as they are seen: see [`AapProvider::job_events`](crate::AapProvider::job_events).
#[derive(Debug)]
pub struct JobEvents {
    provider: String,
    changes: mpsc::Receiver<Change>,
}

impl Stream for JobEvents {
    type Item = (JobRef, JobState);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let change = ready!(self.changes.poll_recv(cx));
        // Made here, where it is used up: ten thousand of them would lie in the backlog.
        Poll::Ready(change.map(|Change { id, kind, state }| {
            let job = JobRef::new(&self.provider, kind.word(), id.to_string());
            (job, state)
        }))
    }
}

/// Somebody who is told.
#[derive(Debug)]
struct Subscriber {
    changes: mpsc::Sender<Change>,
    /// Whether it asks about what it is told of.
    acts: bool,
}

/// The subscribers.
#[derive(Debug)]
pub(super) struct Events {
    provider: String,
    subscribers: Mutex<Vec<Subscriber>>,
}

impl Events {
    pub(super) fn new(provider: &str) -> Self {
        Self {
            provider: provider.to_owned(),
            subscribers: Mutex::default(),
        }
    }

    pub(super) fn subscribe(&self, acts: bool) -> JobEvents {
        let (send, changes) = mpsc::channel(BACKLOG);
        let subscriber = Subscriber {
            changes: send,
            acts,
        };
        self.lock().push(subscriber);
        JobEvents {
            provider: self.provider.clone(),
            changes,
        }
    }

    pub(super) fn publish(&self, change: Change) {
        self.lock().retain(|subscriber| {
            let sent = subscriber.changes.try_send(change);
            !matches!(sent, Err(mpsc::error::TrySendError::Closed(_)))
        });
    }

    /// Whether somebody acts on what is told.
    pub(super) fn are_acted_on(&self) -> bool {
        let acts = |subscriber: &Subscriber| subscriber.acts && !subscriber.changes.is_closed();
        self.lock().iter().any(acts)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Subscriber>> {
        self.subscribers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
