//! What the rounds have seen, for those who want to act on it at once.

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use futures::Stream;
use provider_core::{JobRef, JobState};
use tokio::sync::mpsc;

use super::schedule::Change;

/// How many events a subscriber may be behind; those beyond are dropped. Nothing is lost by that:
/// an event only makes a look come earlier.
const BACKLOG: usize = 16_384;

/// Changes of jobs, as they are seen: see [`AapProvider::job_events`](crate::AapProvider::job_events).
#[derive(Debug)]
pub struct JobEvents(mpsc::Receiver<(JobRef, JobState)>);

impl Stream for JobEvents {
    type Item = (JobRef, JobState);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx)
    }
}

/// The subscribers.
#[derive(Debug)]
pub(super) struct Events {
    provider: String,
    subscribers: Mutex<Vec<mpsc::Sender<(JobRef, JobState)>>>,
}

impl Events {
    pub(super) fn new(provider: &str) -> Self {
        Self {
            provider: provider.to_owned(),
            subscribers: Mutex::default(),
        }
    }

    pub(super) fn subscribe(&self) -> JobEvents {
        let (send, receive) = mpsc::channel(BACKLOG);
        self.lock().push(send);
        JobEvents(receive)
    }

    pub(super) fn publish(&self, change: &Change) {
        self.lock().retain(|subscriber| {
            let job = JobRef::new(&self.provider, change.kind.word(), change.id.to_string());
            let sent = subscriber.try_send((job, change.state));
            !matches!(sent, Err(mpsc::error::TrySendError::Closed(_)))
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<mpsc::Sender<(JobRef, JobState)>>> {
        self.subscribers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
