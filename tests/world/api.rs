//! An API server in the process: what `objects.rs` keeps, by requests and watches, with all that goes wrong
//! between a client and a server. That it behaves as a real one is tested by `behaves.rs`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures::StreamExt;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use jiff::Timestamp;
use kube::Client;
use provider_core::Clock;
use provider_testkit::TimerClock;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::behaves::wrong_in_event;
use crate::chronicle::Chronicle;
use crate::dice::{Dice, Shuffled};
use crate::objects::{Answer, Objects, Query, line, merge, status};

/// The namespace of all objects of a world.
const NAMESPACE: &str = "n";

/// What goes wrong between a client and the server, in a thousand requests.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Trouble {
    /// Refused with 429, 500 or 503 before they are looked at.
    pub(crate) refused: u64,
    /// Carried out, and answered with 500 or 504.
    pub(crate) lost: u64,
    /// Writes of what is there that are answered with 404, as by a proxy that has lost its way.
    pub(crate) astray: u64,
    /// Watches that are closed by the next change, and those that are told `410 Gone`.
    pub(crate) watches_closed: u64,
    pub(crate) watches_gone: u64,
    /// How late changes are told by watches at most, in milliseconds.
    pub(crate) late_ms: u64,
    /// How many changes a list that need not be the newest may lag behind.
    pub(crate) lag: usize,
}

/// What a process has written of an object, in its status.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    pub(crate) at: Timestamp,
    pub(crate) object: Value,
}

/// What a process has told of an object, as an event.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) at: Timestamp,
    pub(crate) process: u64,
    pub(crate) event: Value,
}

/// What was asked of the server, for comparison with what clients count.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Asked {
    pub(crate) reads: u64,
    pub(crate) writes: u64,
    pub(crate) conflicts: u64,
    /// Writes that were carried out without their answer.
    pub(crate) lost: u64,
}

#[derive(Debug)]
struct State {
    objects: Objects,
    trouble: Trouble,
    requests: u64,
    processes: u64,
    wrong: Vec<String>,
    written: Vec<Written>,
    events: BTreeMap<String, Value>,
    told: Vec<Told>,
    asked: Asked,
}

/// The server; clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    state: Arc<Mutex<State>>,
    /// First come, first woken: a `watch` draws who is, and from no seed.
    changed: Arc<Notify>,
    clock: TimerClock,
    /// What is wrong with an object that was written.
    inspect: fn(&Value) -> Option<String>,
    chronicle: Chronicle,
}

fn answered(code: u16, body: Body) -> Response<Body> {
    let status = StatusCode::from_u16(code).unwrap();
    Response::builder().status(status).body(body).unwrap()
}

fn key(name: &str) -> String {
    format!("{NAMESPACE}/{name}")
}

impl State {
    /// Keeps an event, or refuses it.
    fn event(
        &mut self,
        method: &Method,
        path: &str,
        event: Value,
        told: (Timestamp, u64),
    ) -> Answer {
        let (at, process) = told;
        let mut told = |event: &Value| {
            let event = event.clone();
            self.told.push(Told { at, process, event });
        };
        if *method == Method::PATCH {
            let name = path.rsplit('/').next().unwrap_or_default();
            let Some(known) = self.events.get_mut(name) else {
                return status(404, "NotFound", "no such event");
            };
            merge(known, &event);
            told(known);
            return (200, known.clone());
        }
        let wrong = wrong_in_event(&event);
        if !wrong.is_empty() {
            self.wrong
                .push(format!("an event is refused for {wrong:?}: {event}"));
            return status(422, "Invalid", &format!("{wrong:?}"));
        }
        let name = event["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        if self.events.contains_key(&name) {
            self.wrong.push(format!("two events are named {name}"));
            return status(409, "AlreadyExists", "there is such an event");
        }
        told(&event);
        self.events.insert(name, event.clone());
        (201, event)
    }
}

impl Server {
    /// A server of the kind that this definition defines.
    pub(crate) fn new(
        definition: &Value,
        clock: TimerClock,
        inspect: fn(&Value) -> Option<String>,
        chronicle: Chronicle,
    ) -> Self {
        let state = State {
            objects: Objects::new(definition),
            trouble: Trouble::default(),
            requests: 0,
            processes: 0,
            wrong: Vec::new(),
            written: Vec::new(),
            events: BTreeMap::new(),
            told: Vec::new(),
            asked: Asked::default(),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            changed: Arc::default(),
            clock,
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
        self.lock().objects.get(&key(name)).cloned()
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().objects.len()
    }

    /// What was wrong with what was written.
    pub(crate) fn wrong(&self) -> Vec<String> {
        self.lock().wrong.clone()
    }

    /// Every status that was written, and what was told by events.
    pub(crate) fn said(&self) -> (Vec<Written>, Vec<Told>) {
        let state = self.lock();
        (state.written.clone(), state.told.clone())
    }

    pub(crate) fn asked(&self) -> Asked {
        self.lock().asked
    }

    /// A person creates an object.
    pub(crate) fn create(&self, name: &str, object: &Value) {
        let (code, answer) = self
            .lock()
            .objects
            .create(&key(name), object, self.clock.now());
        assert_eq!(code, 201, "{answer}");
        self.tell();
    }

    /// A person changes it, if it is there.
    pub(crate) fn change(&self, name: &str, change: impl FnOnce(&mut Value)) {
        self.lock().objects.edit(&key(name), change);
        self.tell();
    }

    /// A person deletes it, if it is there.
    pub(crate) fn delete(&self, name: &str) {
        let now = self.clock.now();
        self.lock().objects.delete(&key(name), &json!({}), now);
        self.tell();
    }

    /// Another program writes a whole status, which it has read a while ago.
    pub(crate) fn replace_status(&self, name: &str, object: &Value) -> u16 {
        let answer = self.lock().objects.replace(&key(name), true, object);
        self.tell();
        answer.0
    }

    /// A client of one process. Each request takes its time, and meets its trouble.
    pub(crate) fn client(&self, dice: &Dice, who: &str) -> Client {
        let (this, dice, who) = (self.clone(), dice.fork(), who.to_owned());
        let process = {
            let mut state = self.lock();
            state.processes += 1;
            state.processes
        };
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let (this, dice, who) = (this.clone(), dice.clone(), who.clone());
            let turn = dice.fork();
            let serve = async move {
                let answer = this.serve(request, &dice, (&who, process)).await;
                let code = answer.status().as_u16();
                this.chronicle.message(&who, "is answered", "", code, &[]);
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
        (who, process): (&str, u64),
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
        let about = self.path(parts.uri.path());
        let writes = about.is_some() && parts.method == Method::PATCH;
        let trouble = {
            let mut state = self.lock();
            state.requests += 1;
            state.asked.writes += u64::from(writes);
            let one = about.as_ref().is_some_and(|(_, name, _)| name.is_some());
            state.asked.reads += u64::from(one && parts.method == Method::GET);
            state.trouble
        };
        let query = Query::new(parts.uri.query().unwrap_or_default());
        if dice.per_mille(trouble.refused) {
            let code = [429, 500, 503][dice.pick(3)];
            self.chronicle.fault("refused by the API server:", &line);
            let (code, answer) = status(code, "trouble", "trouble");
            return answered(code, Body::from(answer.to_string()));
        }
        if let (Some((namespace, None, _)), Some("true")) = (&about, query.text("watch").as_deref())
        {
            return self.watch(namespace.clone(), &query, dice);
        }
        if writes && dice.per_mille(trouble.astray) {
            self.chronicle.fault("a write went astray:", &line);
            let (code, answer) = status(404, "NotFound", "there is no such resource");
            return answered(code, Body::from(answer.to_string()));
        }
        let lag = dice.pick(trouble.lag + 1);
        let (mut code, mut answer) = match &about {
            Some(about) => self.answer(&parts.method, about, &query, &body, lag),
            None => self.event(&parts.method, parts.uri.path(), &body, process),
        };
        tokio::time::sleep(Duration::from_millis(1 + dice.below(20))).await;
        if dice.per_mille(trouble.lost) {
            self.chronicle
                .fault("the API server's answer was lost:", &line);
            self.lock().asked.lost += u64::from(writes);
            (code, answer) = status([500, 504][dice.pick(2)], "trouble", "the answer was lost");
        } else if writes && code == 409 {
            self.lock().asked.conflicts += 1;
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

    fn event(&self, method: &Method, path: &str, body: &[u8], process: u64) -> Answer {
        if !path.contains("/events.k8s.io/") {
            return status(404, "NotFound", "404 page not found");
        }
        let event = serde_json::from_slice(body).unwrap_or_default();
        let told = (self.clock.now(), process);
        self.lock().event(method, path, event, told)
    }

    /// Namespace, name and subresource of what a path of our kind names.
    fn path(&self, path: &str) -> Option<(Option<String>, Option<String>, bool)> {
        let state = self.lock();
        let (group, plural) = state.objects.place();
        let path = path.strip_prefix("/apis/")?.strip_prefix(group)?;
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let text = |text: &str| Some(text.to_owned());
        match parts[..] {
            [one] if one == plural => Some((None, None, false)),
            ["namespaces", namespace, one] if one == plural => Some((text(namespace), None, false)),
            ["namespaces", namespace, one, name] if one == plural => {
                Some((text(namespace), text(name), false))
            }
            ["namespaces", namespace, one, name, "status"] if one == plural => {
                Some((text(namespace), text(name), true))
            }
            _ => None,
        }
    }

    fn answer(
        &self,
        method: &Method,
        about: &(Option<String>, Option<String>, bool),
        query: &Query,
        body: &[u8],
        lag: usize,
    ) -> Answer {
        let (namespace, name, is_status) = about;
        let now = self.clock.now();
        let read = || serde_json::from_slice::<Value>(body);
        let sent = match read() {
            Ok(sent) => sent,
            Err(_) if body.is_empty() => json!({}),
            Err(_) => return status(400, "BadRequest", "no JSON"),
        };
        let mut state = self.lock();
        let objects = &mut state.objects;
        let Some(name) = name else {
            return match (method, namespace) {
                (&Method::GET, namespace) => objects.list(namespace.as_deref(), query, lag),
                (&Method::POST, Some(namespace)) => {
                    let name = sent["metadata"]["name"].as_str().unwrap_or_default();
                    let answer = objects.create(&format!("{namespace}/{name}"), &sent, now);
                    drop(state);
                    self.tell();
                    answer
                }
                _ => status(405, "MethodNotAllowed", "not here"),
            };
        };
        let key = format!("{}/{name}", namespace.as_deref().unwrap_or_default());
        let answer = match *method {
            Method::GET => match objects.get(&key) {
                Some(object) => return (200, object.clone()),
                None => return objects.not_found(&key),
            },
            Method::PATCH => objects.patch(&key, *is_status, &sent),
            Method::PUT => objects.replace(&key, *is_status, &sent),
            Method::DELETE => objects.delete(&key, &sent, now),
            _ => return status(405, "MethodNotAllowed", "not here"),
        };
        if answer.0 == 200 && *is_status {
            let object = answer.1.clone();
            state.wrong.extend((self.inspect)(&object));
            state.written.push(Written { at: now, object });
        }
        drop(state);
        self.tell();
        answer
    }

    /// Changes as they come, a little late; until the watch is closed.
    fn watch(&self, namespace: Option<String>, query: &Query, dice: &Dice) -> Response<Body> {
        let seconds = query.number("timeoutSeconds");
        let mut after = query.number("resourceVersion").unwrap_or(0);
        let mut there = Vec::new();
        if after == 0 {
            // From no version in particular: what is there comes first.
            let state = self.lock();
            there = state.objects.all(namespace.as_deref());
            after = state.objects.version();
        }
        let watching = Watching {
            there: there.into_iter(),
            server: self.clone(),
            namespace,
            dice: dice.fork(),
            after,
            ends: Instant::now() + Duration::from_secs(seconds.unwrap_or(1_800)),
            bookmarks: query.text("allowWatchBookmarks").as_deref() == Some("true"),
        };
        let lines = futures::stream::unfold(Some(watching), |watching| async move {
            let mut watching = watching?;
            let (event, goes_on) = watching.next().await?;
            Some((event, goes_on.then_some(watching)))
        });
        let lines = lines.map(Ok::<_, std::convert::Infallible>);
        answered(200, Body::from_stream(lines))
    }
}

/// One watch.
struct Watching {
    there: std::vec::IntoIter<Value>,
    server: Server,
    namespace: Option<String>,
    dice: Dice,
    after: u64,
    ends: Instant,
    bookmarks: bool,
}

impl Watching {
    /// The next event, and whether the watch goes on after it.
    async fn next(&mut self) -> Option<(Bytes, bool)> {
        if let Some(object) = self.there.next() {
            return Some((line(&json!({"type": "ADDED", "object": object})), true));
        }
        loop {
            let changed = Arc::clone(&self.server.changed);
            let news = changed.notified();
            let (trouble, next) = {
                let state = self.server.lock();
                let next = state.objects.next(self.namespace.as_deref(), self.after);
                (state.trouble, next)
            };
            let (version, event) = match next {
                Err(gone) => return Some((line(&gone), false)),
                Ok(Some(next)) => next,
                Ok(None) => {
                    if Instant::now() >= self.ends {
                        return None;
                    }
                    // Once a minute, and shortly before the end.
                    let last = self.ends - Duration::from_secs(2).min(self.ends - Instant::now());
                    let minute = Duration::from_secs(60 + self.dice.below(10));
                    let mut quiet = Instant::now() + minute;
                    if last > Instant::now() {
                        quiet = quiet.min(last);
                    }
                    let until = quiet.min(self.ends);
                    match tokio::time::timeout_at(until, news).await {
                        Ok(()) => continue,
                        Err(_) if until == self.ends => return None,
                        Err(_) if !self.bookmarks => continue,
                        Err(_) => {
                            // What this watch does not tell is behind it as well.
                            let told = self.server.lock();
                            let next = told.objects.next(self.namespace.as_deref(), self.after);
                            if next != Ok(None) || told.objects.version() <= self.after {
                                continue;
                            }
                            self.after = self.after.max(told.objects.version());
                            return Some((line(&told.objects.bookmark(self.after)), true));
                        }
                    }
                }
            };
            let late = self.dice.below(trouble.late_ms + 1);
            tokio::time::sleep(Duration::from_millis(late)).await;
            if self.dice.per_mille(trouble.watches_closed) {
                self.server.chronicle.fault("a watch is closed", "");
                return None;
            }
            if self.dice.per_mille(trouble.watches_gone) {
                self.server.chronicle.fault("a watch is told 410", "");
                let (_, status) = status(410, "Expired", "too old resource version");
                let error = json!({"type": "ERROR", "object": status});
                return Some((line(&error), false));
            }
            self.after = version;
            return Some((event, true));
        }
    }
}
