//! An API server in memory, as far as the tests need one: objects with versions, merge patches with
//! preconditions, and failures on demand. What the real one does is tested by `scripts/test-kube.sh`.

#![allow(dead_code, unreachable_pub, reason = "no test uses all of it")]

pub mod guard;
pub mod live;
mod setup;
pub mod watch;

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use futures::channel::mpsc::UnboundedSender;
use http::{Method, Request, Response, StatusCode};
use kube::{Client, CustomResource};
use provider_core::ConfigVersion;
use provider_core::lifecycle::Desired;
use provider_kube::{BoxError, ProvisioningStatus};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[allow(unused_imports, reason = "no test uses all of it")]
pub use setup::{
    Setup, fake, process, process_with, seconds, setup, setup_with, setup_with_policy,
};

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "example.com",
    version = "v1",
    kind = "Machine",
    namespaced,
    status = "ProvisioningStatus"
)]
pub struct MachineSpec {
    pub cores: u32,
}

/// What happens to a request instead of, or after, being served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// It is answered with this status and not carried out.
    Refused(u16),
    /// It is answered as where the namespace was removed by force.
    NoNamespace,
    /// It is carried out, and answered with 500.
    Lost,
    /// The object goes for good right before it.
    Gone,
}

type Change = Box<dyn FnOnce(&mut Value) + Send>;

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    version: u64,
    requests: Vec<String>,
    events: Vec<Value>,
    writes: VecDeque<Option<Trouble>>,
    /// What somebody else does to the object right before a write of ours; none: nothing.
    meanwhile: VecDeque<Option<Change>>,
    reads: VecDeque<Trouble>,
    lists: VecDeque<Trouble>,
    /// Whoever is told of changes.
    watchers: Vec<UnboundedSender<Value>>,
    /// Whether the definition has no rule that keeps the records.
    unguarded: bool,
    /// Whether the definition has no status subresource: the status is a part like any other.
    without_subresource: bool,
}

#[derive(Clone, Default)]
pub struct Server(Arc<Mutex<State>>);

fn merge(target: &mut Value, patch: &Value) {
    match patch {
        Value::Object(members) => {
            if !target.is_object() {
                *target = json!({});
            }
            let target = target.as_object_mut().unwrap();
            for (name, value) in members {
                if value.is_null() {
                    target.remove(name);
                } else {
                    merge(target.entry(name.clone()).or_insert(Value::Null), value);
                }
            }
        }
        other => *target = other.clone(),
    }
}

fn status(code: u16, reason: &str) -> (u16, Value) {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
        "message": reason, "reason": reason,
    });
    (code, body)
}

impl Server {
    pub fn client(&self) -> Client {
        let this = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let this = this.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect_bytes().await.unwrap();
                let (code, answer) = match this.collection(&parts) {
                    Some((code, answer)) => (code, answer),
                    None => {
                        let (code, answer) = this.answer(&parts.method, parts.uri.path(), &body);
                        (code, Body::from(answer.to_string()))
                    }
                };
                let response = Response::builder().status(StatusCode::from_u16(code).unwrap());
                Ok::<_, Infallible>(response.body(answer).unwrap())
            }
        });
        Client::new(service, "default")
    }

    fn answer(&self, method: &Method, path: &str, body: &[u8]) -> (u16, Value) {
        let mut state = self.0.lock().unwrap();
        if path.contains("/events.k8s.io/") {
            let mut event: Value = serde_json::from_slice(body).unwrap();
            if *method == Method::PATCH {
                let name = path.rsplit('/').next().unwrap();
                let known = state.events.iter().rfind(|e| e["metadata"]["name"] == name);
                let Some(mut known) = known.cloned() else {
                    return status(404, "NotFound");
                };
                merge(&mut known, &event);
                event = known;
            }
            state.events.push(event.clone());
            return (201, event);
        }
        state.requests.push(format!("{method} {path}"));
        let rest = path.split("/machines/").nth(1).unwrap_or_default();
        let (name, subresource) = rest.split_once('/').unwrap_or((rest, ""));
        let trouble = if *method == Method::GET {
            state.reads.pop_front()
        } else {
            state.writes.pop_front().flatten()
        };
        if let Some(Trouble::Refused(code)) = trouble {
            return status(code, "as the script says");
        }
        if trouble == Some(Trouble::NoNamespace) {
            let (code, mut answer) = status(404, "NotFound");
            answer["message"] = json!("namespaces \"n\" not found");
            answer["details"] = json!({"name": "n", "kind": "namespaces"});
            return (code, answer);
        }
        if trouble == Some(Trouble::Gone) {
            state.remove(name);
        }
        if *method != Method::GET
            && let Some(Some(change)) = state.meanwhile.pop_front()
            && let Some(mut object) = state.objects.get(name).cloned()
        {
            change(&mut object);
            state.store(name, object);
        }
        let answer = state.serve(method, name, subresource, body);
        match trouble {
            Some(Trouble::Lost) => status(500, "the answer was lost"),
            _ => answer,
        }
    }

    pub fn put(&self, name: &str, object: Value) {
        self.0.lock().unwrap().store(name, object);
    }

    /// Somebody else writes right before one of our next writes: after so many that are let be.
    pub fn meanwhile(&self, after: usize, change: impl FnOnce(&mut Value) + Send + 'static) {
        let mut state = self.0.lock().unwrap();
        state.meanwhile.clear();
        state.meanwhile.extend((0..after).map(|_| None));
        state.meanwhile.push_back(Some(Box::new(change)));
    }

    /// A write by somebody else.
    pub fn change(&self, name: &str, change: impl FnOnce(&mut Value)) {
        let mut object = self.value(name);
        change(&mut object);
        self.put(name, object);
    }

    pub fn remove(&self, name: &str) {
        self.0.lock().unwrap().remove(name);
    }

    pub fn value(&self, name: &str) -> Value {
        self.0.lock().unwrap().objects[name].clone()
    }

    pub fn exists(&self, name: &str) -> bool {
        self.0.lock().unwrap().objects.contains_key(name)
    }

    /// The object as a watch cache would hold it now.
    pub fn cached(&self, name: &str) -> Machine {
        serde_json::from_value(self.value(name)).unwrap()
    }

    pub fn trouble_writing(&self, trouble: Trouble, times: usize) {
        let mut state = self.0.lock().unwrap();
        state
            .writes
            .extend(std::iter::repeat_n(Some(trouble), times));
    }

    /// Lets so many writes pass before the trouble that is asked for next.
    pub fn pass_writing(&self, times: usize) {
        let mut state = self.0.lock().unwrap();
        state.writes.extend(std::iter::repeat_n(None, times));
    }

    /// The definition has no status subresource any more, or has it again.
    pub fn without_subresource(&self, is_so: bool) {
        self.0.lock().unwrap().without_subresource = is_so;
    }

    pub fn end_of_trouble(&self) {
        self.0.lock().unwrap().writes.clear();
    }

    pub fn trouble_reading(&self, trouble: Trouble, times: usize) {
        let mut state = self.0.lock().unwrap();
        state.reads.extend(std::iter::repeat_n(trouble, times));
    }

    /// The requests since the last call.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().requests)
    }

    /// Reasons of the events so far.
    pub fn events(&self) -> Vec<String> {
        let state = self.0.lock().unwrap();
        let reasons = state
            .events
            .iter()
            .map(|event| event["reason"].as_str().unwrap().to_owned());
        reasons.collect()
    }

    /// The events so far, with their words; one that is told again is there again, with its count.
    pub fn told(&self) -> Vec<Value> {
        self.0.lock().unwrap().events.clone()
    }

    /// Events are kept for an hour, by default.
    pub fn forget_events(&self) {
        self.0.lock().unwrap().events.clear();
    }

    pub fn condition(&self, name: &str, condition: &str) -> (String, String, String) {
        let object = self.value(name);
        let all = object["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let one = all
            .into_iter()
            .find(|one| one["type"] == condition)
            .unwrap_or_default();
        let text = |member: &str| one[member].as_str().unwrap_or_default().to_owned();
        (text("status"), text("reason"), text("message"))
    }
}

impl State {
    fn store(&mut self, name: &str, mut object: Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let is_new = !self.objects.contains_key(name);
        self.tell(if is_new { "ADDED" } else { "MODIFIED" }, &object);
        self.objects.insert(name.to_owned(), object);
    }

    fn remove(&mut self, name: &str) {
        if let Some(mut object) = self.objects.remove(name) {
            self.version += 1;
            object["metadata"]["resourceVersion"] = json!(self.version.to_string());
            self.tell("DELETED", &object);
        }
    }

    fn serve(
        &mut self,
        method: &Method,
        name: &str,
        subresource: &str,
        body: &[u8],
    ) -> (u16, Value) {
        let Some(object) = self.objects.get(name) else {
            return status(404, "NotFound");
        };
        if *method == Method::GET {
            return (200, object.clone());
        }
        assert_eq!(*method, Method::PATCH);
        if self.without_subresource && subresource == "status" {
            return status(404, "NotFound");
        }
        let mut patch: Value = serde_json::from_slice(body).unwrap();
        let metadata = &object["metadata"];
        for member in ["resourceVersion", "uid"] {
            let wanted = patch.pointer(&format!("/metadata/{member}"));
            if wanted.is_some_and(|wanted| *wanted != metadata[member]) {
                return status(409, "Conflict");
            }
        }
        // Each endpoint writes its own part.
        if subresource == "status" {
            patch = json!({"status": patch["status"]});
        } else if !self.without_subresource {
            patch.as_object_mut().unwrap().remove("status");
        }
        let mut object = object.clone();
        let before = object.clone();
        merge(&mut object, &patch);
        if object == before {
            return (200, object);
        }
        if let Err(rule) = guard::keeps(&before, &object)
            && !self.unguarded
        {
            return status(422, rule);
        }
        let deleting = !object["metadata"]["deletionTimestamp"].is_null();
        let finalizers = object["metadata"]["finalizers"]
            .as_array()
            .is_some_and(|all| !all.is_empty());
        self.store(name, object);
        let object = self.objects[name].clone();
        if deleting && !finalizers {
            self.remove(name);
        }
        (200, object)
    }
}

/// An object as somebody has created it.
pub fn machine() -> Value {
    json!({
        "apiVersion": "example.com/v1", "kind": "Machine",
        "metadata": {"name": "m", "namespace": "n", "uid": "uid-m", "generation": 1},
        "spec": {"cores": 2},
    })
}

pub fn desired(machine: &Machine) -> Desired {
    let version = ConfigVersion::of_json(&json!(machine.spec));
    Desired::new(version, "fake")
}

/// The same as a controller has it.
pub async fn wanted(machine: Arc<Machine>) -> Result<Desired, BoxError> {
    Ok(desired(&machine))
}

/// A plain function of the object as a controller has it.
pub fn plain<T: Send>(
    function: impl Fn(&Machine) -> T + Send + Sync,
) -> impl Fn(Arc<Machine>) -> Ready<Result<T, BoxError>> + Send + Sync {
    move |machine| ready(Ok(function(&machine)))
}
