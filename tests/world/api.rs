//! An API server in the process: versions, the status subresource, finalizers, conflicts, lists, watches with
//! bookmarks and `410 Gone`. What the real one does is measured by `scripts/test-kube.sh`, whose list of
//! behaviours `behaves.rs` goes through as well.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures::StreamExt;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::chronicle::Chronicle;
use crate::dice::{Dice, Shuffled};

/// How many changes are kept for watches that come late.
const KEPT: usize = 200;
const GROUP: &str = "/apis/example.com/v1/";

/// What goes wrong between a client and the server, in a thousand requests.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Trouble {
    /// Refused with 429, 500 or 503 before they are looked at.
    pub(crate) refused: u64,
    /// Carried out, and answered with 500 or 504.
    pub(crate) lost: u64,
    /// Watches that are closed by the next change, and those that are told `410 Gone`.
    pub(crate) watches_closed: u64,
    pub(crate) watches_gone: u64,
    /// How late changes are told by watches at most, in milliseconds.
    pub(crate) late_ms: u64,
}

#[derive(Debug)]
struct Change {
    version: u64,
    /// As watches tell it.
    line: Bytes,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, Value>,
    version: u64,
    changes: VecDeque<Change>,
    trouble: Trouble,
    requests: u64,
    wrong: Vec<String>,
}

/// The server; clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    state: Arc<Mutex<State>>,
    /// First come, first woken: a `watch` draws who is, and from no seed.
    changed: Arc<Notify>,
    /// What is wrong with an object that was written.
    inspect: fn(&Value) -> Option<String>,
    chronicle: Chronicle,
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(members) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in members {
        let target = target.as_object_mut().unwrap();
        if value.is_null() {
            target.remove(name);
        } else {
            merge(target.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

fn status(code: u16, reason: &str) -> (u16, Value) {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
        "message": reason, "reason": reason,
    });
    (code, body)
}

fn line_of(event: &Value) -> Bytes {
    Bytes::from(format!("{event}\n"))
}

fn answered(code: u16, body: Body) -> Response<Body> {
    let status = StatusCode::from_u16(code).unwrap();
    Response::builder().status(status).body(body).unwrap()
}

impl State {
    fn put(&mut self, name: &str, mut object: Value, kind: &'static str) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.changes.push_back(Change {
            version: self.version,
            line: Bytes::from(format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n")),
        });
        if kind == "DELETED" {
            self.objects.remove(name);
        } else {
            self.objects.insert(name.to_owned(), object.clone());
        }
        while self.changes.len() > KEPT {
            self.changes.pop_front();
        }
        object
    }

    /// An object that is being deleted goes with its last finalizer; a change of what is wanted has a
    /// generation of its own.
    fn write(&mut self, name: &str, before: &Value, mut after: Value) -> Value {
        if after["spec"] != before["spec"] {
            let generation = before["metadata"]["generation"].as_i64().unwrap_or(0);
            after["metadata"]["generation"] = json!(generation + 1);
        }
        if after == *before {
            return after;
        }
        let finalizers = after["metadata"]["finalizers"].as_array();
        let is_held = finalizers.is_some_and(|all| !all.is_empty());
        let is_deleted = !after["metadata"]["deletionTimestamp"].is_null();
        let kind = if is_deleted && !is_held {
            "DELETED"
        } else {
            "MODIFIED"
        };
        self.put(name, after, kind)
    }

    fn patch(&mut self, name: &str, is_status: bool, body: &[u8]) -> (u16, Value) {
        let Some(before) = self.objects.get(name).cloned() else {
            return status(404, "NotFound");
        };
        let Ok(mut patch) = serde_json::from_slice::<Value>(body) else {
            return status(400, "BadRequest");
        };
        for member in ["resourceVersion", "uid"] {
            let wanted = patch.pointer(&format!("/metadata/{member}"));
            if wanted.is_some_and(|wanted| *wanted != before["metadata"][member]) {
                return status(409, "Conflict");
            }
        }
        // Each endpoint writes its own part.
        if is_status {
            patch = json!({"status": patch["status"]});
        } else {
            patch.as_object_mut().unwrap().remove("status");
        }
        let mut after = before.clone();
        merge(&mut after, &patch);
        (200, self.write(name, &before, after))
    }

    fn list(&self) -> Value {
        let items: Vec<&Value> = self.objects.values().collect();
        json!({
            "kind": "MachineList", "apiVersion": "example.com/v1",
            "metadata": {"resourceVersion": self.version.to_string()},
            "items": items,
        })
    }

    /// The first change after this version; or why there can be none.
    fn next(&self, after: u64) -> Result<Option<(u64, Bytes)>, ()> {
        let oldest = self.changes.front().map_or(0, |change| change.version);
        if after + 1 < oldest {
            return Err(());
        }
        let next = self.changes.iter().find(|change| change.version > after);
        Ok(next.map(|change| (change.version, change.line.clone())))
    }
}

impl Server {
    pub(crate) fn new(inspect: fn(&Value) -> Option<String>, chronicle: Chronicle) -> Self {
        Self {
            state: Arc::default(),
            changed: Arc::default(),
            inspect,
            chronicle,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.changed.notify_waiters();
    }

    pub(crate) fn set_trouble(&self, trouble: Trouble) {
        self.lock().trouble = trouble;
    }

    pub(crate) fn requests(&self) -> u64 {
        self.lock().requests
    }

    pub(crate) fn object(&self, name: &str) -> Option<Value> {
        self.lock().objects.get(name).cloned()
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().objects.len()
    }

    /// What was wrong with what was written.
    pub(crate) fn wrong(&self) -> Vec<String> {
        self.lock().wrong.clone()
    }

    /// A person creates an object.
    pub(crate) fn create(&self, name: &str, object: Value) {
        self.lock().put(name, object, "ADDED");
        self.tell();
    }

    /// A person changes it, if it is there.
    pub(crate) fn change(&self, name: &str, change: impl FnOnce(&mut Value)) {
        let mut state = self.lock();
        if let Some(before) = state.objects.get(name).cloned() {
            let mut after = before.clone();
            change(&mut after);
            state.write(name, &before, after);
        }
        drop(state);
        self.tell();
    }

    /// A client of one process. Each request takes its time, and meets its trouble.
    pub(crate) fn client(&self, dice: &Dice, who: &str) -> Client {
        let (this, dice, who) = (self.clone(), dice.fork(), who.to_owned());
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let (this, dice, who) = (this.clone(), dice.clone(), who.clone());
            let turn = dice.fork();
            let serve = async move {
                let answer = this.serve(request, &dice, &who).await;
                this.chronicle
                    .message(&who, "is answered", "", answer.status().as_u16(), &[]);
                Ok::<_, std::convert::Infallible>(answer)
            };
            Shuffled::new(serve, turn)
        });
        Client::new(service, "default")
    }

    async fn serve(
        &self,
        request: Request<kube::client::Body>,
        dice: &Dice,
        who: &str,
    ) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let body = body.collect_bytes().await.unwrap_or_default();
        // Names of events have the time of the machine's clock in them.
        let path = parts.uri.path();
        let path = match path.split_once("/events/") {
            Some((_, event)) => event.split('.').next().unwrap_or_default(),
            None => path,
        };
        let line = format!("{who} {} {path}", parts.method);
        self.tell_of(who, &parts, &body);
        tokio::time::sleep(Duration::from_millis(1 + dice.below(20))).await;
        let trouble = {
            let mut state = self.lock();
            state.requests += 1;
            state.trouble
        };
        let query = parts.uri.query().unwrap_or_default();
        if query.contains("watch=") {
            return self.watch(query, dice);
        }
        if dice.per_mille(trouble.refused) {
            let code = [429, 500, 503][dice.pick(3)];
            self.chronicle.fault("refused by the API server:", &line);
            let (code, answer) = status(code, "trouble");
            return answered(code, Body::from(answer.to_string()));
        }
        let (mut code, mut answer) = self.answer(&parts.method, parts.uri.path(), &body);
        tokio::time::sleep(Duration::from_millis(1 + dice.below(20))).await;
        if dice.per_mille(trouble.lost) {
            self.chronicle
                .fault("the API server's answer was lost:", &line);
            (code, answer) = status([500, 504][dice.pick(2)], "the answer was lost");
        }
        answered(code, Body::from(answer.to_string()))
    }

    /// kube writes the time of the machine's clock into events, and that of no world.
    fn tell_of(&self, who: &str, parts: &Parts, body: &[u8]) {
        let (method, uri) = (parts.method.as_str(), parts.uri.to_string());
        if !uri.contains("/events.k8s.io/") {
            self.chronicle.message(who, method, &uri, 0, body);
            return;
        }
        let event: Value = serde_json::from_slice(body).unwrap_or_default();
        let said = json!([event["regarding"]["name"], event["reason"], event["note"]]);
        let said = said.to_string();
        self.chronicle
            .message(who, method, "events", 0, said.as_bytes());
    }

    fn answer(&self, method: &Method, path: &str, body: &[u8]) -> (u16, Value) {
        if path.contains("/events.k8s.io/") {
            let event = serde_json::from_slice(body).unwrap_or_default();
            return (201, event);
        }
        let Some(path) = path.strip_prefix(GROUP) else {
            return status(404, "NotFound");
        };
        let parts: Vec<&str> = path.split('/').collect();
        let answer = match (method, &parts[..]) {
            (&Method::GET, ["machines"] | ["namespaces", _, "machines"]) => {
                (200, self.lock().list())
            }
            (&Method::GET, ["namespaces", _, "machines", name]) => match self.object(name) {
                Some(object) => (200, object),
                None => status(404, "NotFound"),
            },
            (&Method::PATCH, ["namespaces", _, "machines", name, rest @ ..]) => {
                let answer = self.lock().patch(name, *rest == ["status"], body);
                let wrong = (self.inspect)(&answer.1);
                self.lock().wrong.extend(wrong);
                answer
            }
            _ => status(405, "MethodNotAllowed"),
        };
        self.tell();
        answer
    }

    /// Changes as they come, a little late; until the watch is closed.
    fn watch(&self, query: &str, dice: &Dice) -> Response<Body> {
        let after = query
            .split('&')
            .find_map(|part| part.strip_prefix("resourceVersion=")?.parse().ok())
            .unwrap_or(0);
        let start = (self.clone(), dice.fork(), after);
        let lines = futures::stream::unfold(Some(start), |watch| async move {
            let (server, dice, after) = watch?;
            let changed = Arc::clone(&server.changed);
            let gone = |server: &Self| {
                let (_, status) = status(410, "Expired");
                let _ = server;
                line_of(&json!({"type": "ERROR", "object": status}))
            };
            loop {
                let news = changed.notified();
                let trouble = server.lock().trouble;
                let next = server.lock().next(after);
                let (version, event) = match next {
                    Err(()) => return Some((gone(&server), None)),
                    Ok(Some(next)) => next,
                    Ok(None) => {
                        let quiet = Duration::from_secs(60 + dice.below(60));
                        match tokio::time::timeout(quiet, news).await {
                            Ok(()) => continue,
                            Err(_) => {
                                let version = server.lock().version.max(after);
                                let event = json!({"type": "BOOKMARK", "object": {
                                    "kind": "Machine", "apiVersion": "example.com/v1",
                                    "metadata": {"resourceVersion": version.to_string()},
                                }});
                                let event = line_of(&event);
                                return Some((event, Some((server, dice, after))));
                            }
                        }
                    }
                };
                tokio::time::sleep(Duration::from_millis(dice.below(trouble.late_ms + 1))).await;
                if dice.per_mille(trouble.watches_closed) {
                    server.chronicle.fault("a watch is closed", "");
                    return None;
                }
                if dice.per_mille(trouble.watches_gone) {
                    server.chronicle.fault("a watch is told 410", "");
                    return Some((gone(&server), None));
                }
                return Some((event, Some((server, dice, version))));
            }
        });
        let lines = lines.map(Ok::<_, std::convert::Infallible>);
        answered(200, Body::from_stream(lines))
    }
}
