//! Lists and watches of that server.

use axum::body::{Body, Bytes};
use futures::StreamExt;
use futures::channel::mpsc::{UnboundedReceiver, unbounded};
use http::request::Parts;
use serde_json::{Value, json};
use std::convert::Infallible;

use super::{Server, State, Trouble, status};

impl State {
    pub(super) fn tell(&mut self, what: &str, object: &Value) {
        let event = json!({"type": what, "object": object});
        self.watchers
            .retain(|watcher| watcher.unbounded_send(event.clone()).is_ok());
    }
}

impl Server {
    /// The answer to a list or a watch of all objects; none where it is about one of them.
    pub(super) fn collection(&self, parts: &Parts) -> Option<(u16, Body)> {
        if !parts.uri.path().ends_with("/machines") {
            return None;
        }
        let query = parts.uri.query().unwrap_or_default();
        if query.contains("watch=") {
            let lines = self.changes().map(|event| {
                let line = Bytes::from(format!("{event}\n"));
                Ok::<_, Infallible>(line)
            });
            return Some((200, Body::from_stream(lines)));
        }
        let mut state = self.0.lock().unwrap();
        if let Some(Trouble::Refused(code)) = state.lists.pop_front() {
            let (code, answer) = status(code, "as the script says");
            return Some((code, Body::from(answer.to_string())));
        }
        let list = json!({
            "apiVersion": "example.com/v1", "kind": "MachineList",
            "metadata": {"resourceVersion": state.version.to_string()},
            "items": state.objects.values().collect::<Vec<_>>(),
        });
        Some((200, Body::from(list.to_string())))
    }

    /// All changes from now on.
    pub fn changes(&self) -> UnboundedReceiver<Value> {
        let (sender, receiver) = unbounded();
        self.0.lock().unwrap().watchers.push(sender);
        receiver
    }

    pub fn trouble_listing(&self, trouble: Trouble, times: usize) {
        let mut state = self.0.lock().unwrap();
        state.lists.extend(std::iter::repeat_n(trouble, times));
    }
}
