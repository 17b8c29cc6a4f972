//! The controller's websocket: who may listen, and what is told.
//!
//! As recorded from AWX 24.6.1: any credential of the API in the handshake, else 403; a subscription
//! must repeat the value of the cookie `csrftoken`; no replay, and nothing about `waiting`.

use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use axum::http::{HeaderMap, header};
use serde_json::{Value, json};
use tokio::sync::broadcast;

use super::rows;
use super::state::State;

/// How many events a slow listener may be behind before it loses some.
pub(super) const BACKLOG: usize = 65_536;
/// How often the life of jobs is looked at while somebody listens.
pub(super) const TICK: Duration = Duration::from_millis(10);

/// The value of the cookie that a subscription must repeat.
pub(super) fn cookie(headers: &HeaderMap) -> Option<String> {
    let cookies = headers.get(header::COOKIE)?.to_str().ok()?;
    let mut pairs = cookies
        .split(';')
        .filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(name, _)| *name == "csrftoken")?;
    Some(value.to_owned())
}

/// What has changed since the last look.
pub(super) fn changes(state: &mut State) -> Vec<String> {
    let changed = state
        .jobs
        .changed
        .as_mut()
        .map(std::mem::take)
        .unwrap_or_default();
    let mut events = Vec::with_capacity(changed.len());
    for id in changed {
        let Some(job) = state.jobs.jobs.get(&id) else {
            continue;
        };
        // A cancel is told before it is one.
        let status = if job.canceled_on.is_some() && job.is_active() {
            "canceled"
        } else {
            job.status
        };
        if status == "waiting" {
            continue;
        }
        let mut event = json!({
            "unified_job_id": id, "status": status, "type": job.kind.job_type(),
            "group_name": "jobs", "unified_job_template_id": job.template,
        });
        let ended = !job.is_active() && status != "error";
        if let (Some(finished), true, Value::Object(event)) = (job.finished, ended, &mut event) {
            event.insert("finished".to_owned(), rows::time(finished).into());
        }
        events.push(event.to_string());
    }
    events
}

/// One connection. What happens before it subscribes is not told to it.
pub(super) async fn listen(
    mut socket: WebSocket,
    user: usize,
    cookie: Option<String>,
    subscribe: impl Fn() -> broadcast::Receiver<String>,
) {
    let hello = json!({"accept": true, "user": user + 1}).to_string();
    if socket.send(Message::Text(hello.into())).await.is_err() {
        return;
    }
    let mut events = None;
    loop {
        tokio::select! {
            biased;
            received = socket.recv() => {
                let Some(Ok(message)) = received else { return };
                let Message::Text(text) = message else { continue };
                let answer = match subscription(&text, cookie.as_deref()) {
                    Some(groups) => {
                        let subscribed = groups.iter().any(|group| group == "jobs-status_changed");
                        events = subscribed.then(&subscribe);
                        json!({"groups_current": groups, "groups_left": [], "groups_joined": groups})
                    }
                    None => json!({"error": "access denied to channel"}),
                };
                if socket.send(Message::Text(answer.to_string().into())).await.is_err() {
                    return;
                }
            }
            event = next(events.as_mut()) => {
                // A slow one has lost some.
                let Ok(event) = event else { continue };
                if socket.send(Message::Text(event.into())).await.is_err() {
                    return;
                }
            }
        }
    }
}

async fn next(
    events: Option<&mut broadcast::Receiver<String>>,
) -> Result<String, broadcast::error::RecvError> {
    match events {
        Some(events) => events.recv().await,
        None => std::future::pending().await,
    }
}

/// The groups of a subscription, if it repeats the cookie.
fn subscription(text: &str, cookie: Option<&str>) -> Option<Vec<String>> {
    let message: Value = serde_json::from_str(text).ok()?;
    if message.get("xrftoken")?.as_str() != cookie || cookie.is_none() {
        return None;
    }
    let mut names = Vec::new();
    for (group, members) in message.get("groups")?.as_object()? {
        for member in members.as_array().into_iter().flatten() {
            names.push(format!("{group}-{}", member.as_str().unwrap_or_default()));
        }
    }
    Some(names)
}
