//! An API server in memory, as far as the tests need one: objects with versions, merge patches with
//! preconditions, and failures on demand. What the real one does is tested by `scripts/test-kube.sh`.

#![allow(dead_code, unreachable_pub, reason = "no test uses all of it")]

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::{Method, Request, Response, StatusCode};
use kube::client::Body;
use kube::{Client, CustomResource};
use provider_core::lifecycle::{
    Desired, Lifecycle, Policy, PolicyConfig, ProviderRegistry, SeededEntropy,
};
use provider_core::{Clock, ConfigVersion, ManualClock};
use provider_kube::{Provisioner, ProvisioningStatus};
use provider_testkit::FakeProvider;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

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
        let service = tower::service_fn(move |request: Request<Body>| {
            let this = this.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect_bytes().await.unwrap();
                let (code, answer) = this.answer(&parts.method, parts.uri.path(), &body);
                let response = Response::builder().status(StatusCode::from_u16(code).unwrap());
                Ok::<_, Infallible>(
                    response
                        .body(Body::from(answer.to_string().into_bytes()))
                        .unwrap(),
                )
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
            state.objects.remove(name);
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
        self.0.lock().unwrap().objects.remove(name);
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
        self.objects.insert(name.to_owned(), object);
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
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let deleting = !object["metadata"]["deletionTimestamp"].is_null();
        let finalizers = object["metadata"]["finalizers"]
            .as_array()
            .is_some_and(|all| !all.is_empty());
        if deleting && !finalizers {
            self.objects.remove(name);
        } else {
            self.objects.insert(name.to_owned(), object.clone());
        }
        (200, object)
    }
}

pub struct Setup {
    pub server: Server,
    pub clock: Arc<ManualClock>,
    pub fake: Arc<FakeProvider>,
    pub provisioner: Arc<Provisioner<Machine>>,
}

pub fn fake() -> FakeProvider {
    FakeProvider::new("fake").ending_after(1)
}

/// A controller's process on a server.
pub fn process(
    server: &Server,
    fake: &Arc<FakeProvider>,
    clock: &Arc<ManualClock>,
) -> Arc<Provisioner<Machine>> {
    process_with(server, fake, clock, PolicyConfig::default())
}

/// The same with choices of a test.
pub fn process_with(
    server: &Server,
    fake: &Arc<FakeProvider>,
    clock: &Arc<ManualClock>,
    config: PolicyConfig,
) -> Arc<Provisioner<Machine>> {
    let config = config.with(|config| config.jitter = 0.0);
    let policy = Policy::new(config).unwrap();
    let engine = Lifecycle::with_entropy(policy, Arc::new(SeededEntropy::new(1)));
    let registry = ProviderRegistry::single(fake.clone());
    let provisioner = Provisioner::new(server.client(), engine, registry)
        .with_events("test".into())
        .with_clock(clock.clone(), Arc::new(SeededEntropy::new(2)));
    Arc::new(provisioner)
}

pub fn setup_with(fake: FakeProvider) -> Setup {
    setup_with_policy(fake, PolicyConfig::default())
}

pub fn setup_with_policy(fake: FakeProvider, config: PolicyConfig) -> Setup {
    let server = Server::default();
    server.put(
        "m",
        json!({
            "apiVersion": "example.com/v1", "kind": "Machine",
            "metadata": {"name": "m", "namespace": "n", "uid": "uid-m", "generation": 1},
            "spec": {"cores": 2},
        }),
    );
    let clock = Arc::new(ManualClock::new("2026-11-23T04:00:00Z".parse().unwrap()));
    let fake = Arc::new(fake);
    Setup {
        provisioner: process_with(&server, &fake, &clock, config),
        server,
        clock,
        fake,
    }
}

pub fn setup() -> Setup {
    setup_with(fake())
}

pub fn desired(machine: &Machine) -> Desired {
    let version = ConfigVersion::of_json(&json!(machine.spec));
    Desired::new(version, "fake")
}

/// How long an action waits.
pub fn seconds(action: &kube::runtime::controller::Action) -> f64 {
    let text = format!("{action:?}");
    let text = text.split("Some(").nth(1).unwrap().trim_end_matches(") }");
    let units = [("ns", 1e-9), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0)];
    let (unit, size) = units.iter().find(|(unit, _)| text.ends_with(unit)).unwrap();
    text.trim_end_matches(unit).parse::<f64>().unwrap() * size
}

impl Setup {
    /// A reconcile with the object as it is now.
    pub async fn reconcile(&self) -> kube::runtime::controller::Action {
        self.with(&self.server.cached("m")).await.unwrap()
    }

    pub async fn with(
        &self,
        machine: &Machine,
    ) -> Result<kube::runtime::controller::Action, provider_kube::Error> {
        self.provisioner.reconcile(machine, desired).await
    }

    pub fn pass(&self, seconds: u64) {
        self.clock.advance(std::time::Duration::from_secs(seconds));
    }

    pub fn delete(&self) {
        let now = self.clock.now().to_string();
        self.server.change("m", |object| {
            object["metadata"]["deletionTimestamp"] = json!(now);
            object["metadata"]["generation"] =
                json!(object["metadata"]["generation"].as_i64().unwrap() + 1);
        });
    }

    /// Lets a controller run until the condition has this reason.
    pub async fn until(&self, condition: &str, reason: &str) {
        let is = || self.server.condition("m", condition).1 == reason;
        self.run(reason, is).await;
    }

    /// Lets a controller run until there is no object.
    pub async fn until_gone(&self) {
        self.run("gone", || !self.server.exists("m")).await;
    }

    /// As a controller calls us: once at the beginning, and then when the last action said so. What we
    /// write ourselves wakes nobody, so an action that says "never" before the end is a lost wake-up.
    async fn run(&self, what: &str, done: impl Fn() -> bool) {
        for n in 0..200 {
            if n > 0 && done() {
                return;
            }
            if !self.server.exists("m") {
                break;
            }
            let machine = self.server.cached("m");
            let action = match self.with(&machine).await {
                Ok(action) => action,
                Err(error) => self.provisioner.error_policy(&machine, &error),
            };
            if done() {
                return;
            }
            assert_ne!(
                action,
                kube::runtime::controller::Action::await_change(),
                "nobody comes back before it is {what}"
            );
            let wait = std::time::Duration::from_secs_f64(seconds(&action));
            self.clock
                .advance(wait.max(std::time::Duration::from_millis(1)));
        }
        assert!(done(), "never {what}");
    }
}
