//! A proxy in front of the API server. It counts what operators ask, and keeps events, which a server of
//! custom resources alone does not have. It answers the two documents that kubectl asks for first. And it
//! can break the fence on purpose, by taking the precondition out of writes, so that the judge can be seen
//! to notice.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::Response;
use serde_json::{Value, json};

use crate::behaves::wrong_in_event;

/// What went through a proxy.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// How often each verb was used on each resource, by `verb group/resource`.
    requests: Mutex<BTreeMap<String, u64>>,
    /// The events by their name: of which object, and why.
    events: Mutex<BTreeMap<String, (String, String)>>,
    /// What the API server would have refused of them.
    refused: Mutex<Vec<String>>,
}

impl Log {
    pub(crate) fn requests(&self) -> BTreeMap<String, u64> {
        self.requests.lock().unwrap().clone()
    }

    /// Requests that write.
    pub(crate) fn writes(&self) -> u64 {
        let reads = |what: &str| {
            ["get ", "list ", "watch "]
                .iter()
                .any(|v| what.starts_with(v))
        };
        let all = self.requests();
        all.iter()
            .filter(|(what, _)| !reads(what))
            .map(|(_, n)| n)
            .sum()
    }

    /// How many objects with this prefix were told of for this reason.
    pub(crate) fn events(&self, prefix: &str, reason: &str) -> usize {
        let all = self.events.lock().unwrap();
        all.values()
            .filter(|(name, why)| name.starts_with(prefix) && why == reason)
            .count()
    }

    pub(crate) fn refused(&self) -> Vec<String> {
        self.refused.lock().unwrap().clone()
    }

    fn request(&self, method: &http::Method, uri: &http::Uri) {
        let path: Vec<&str> = uri.path().trim_matches('/').split('/').collect();
        let ["apis", group, _version, rest @ ..] = path.as_slice() else {
            return;
        };
        let rest = match rest {
            ["namespaces", _, rest @ ..] if !rest.is_empty() => rest,
            rest => rest,
        };
        let watch = uri
            .query()
            .is_some_and(|query| query.contains("watch=true"));
        let verb = match (method.as_str(), rest.len()) {
            ("GET", 1) if watch => "watch",
            ("GET", 1) => "list",
            ("GET", _) => "get",
            ("POST", _) => "create",
            ("PATCH", _) => "patch",
            ("PUT", _) => "update",
            _ => "delete",
        };
        let resource = match rest {
            [resource, _, sub] => format!("{resource}/{sub}"),
            [resource, ..] => (*resource).to_owned(),
            [] => return,
        };
        let what = format!("{verb} {group}/{resource}");
        *self.requests.lock().unwrap().entry(what).or_default() += 1;
    }

    /// Keeps an event as the API server would, or refuses it for the same reasons.
    fn event(&self, method: &http::Method, path: &str, body: &[u8]) -> (u16, Value) {
        let mut event: Value = serde_json::from_slice(body).unwrap();
        let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or("");
        if method == http::Method::PATCH {
            let name = path.rsplit('/').next().unwrap_or("");
            let known = self.events.lock().unwrap().contains_key(name);
            return (if known { 200 } else { 404 }, event);
        }
        let wrong = wrong_in_event(&event);
        if !wrong.is_empty() {
            self.refused
                .lock()
                .unwrap()
                .push(format!("{wrong:?}: {event}"));
            let message = format!("{wrong:?}");
            let status = json!({
                "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 422,
                "reason": "Invalid", "message": message,
            });
            return (422, status);
        }
        let mut all = self.events.lock().unwrap();
        let name = match text("/metadata/name") {
            "" => format!("{}{}", text("/metadata/generateName"), all.len()),
            name => name.to_owned(),
        };
        let told = (
            text("/regarding/name").to_owned(),
            text("/reason").to_owned(),
        );
        event["metadata"]["name"] = json!(name);
        all.insert(name, told);
        (201, event)
    }
}

/// A running proxy.
pub(crate) struct Proxy {
    /// Leads to it.
    pub(crate) kubeconfig: PathBuf,
    pub(crate) log: Arc<Log>,
}

/// Starts a proxy.
pub(crate) async fn start(kubeconfig: &Path, directory: &Path, fence: bool) -> Proxy {
    let text = std::fs::read_to_string(kubeconfig).unwrap();
    let config: Value = serde_norway::from_str(&text).unwrap();
    let cluster = &config["clusters"][0]["cluster"];
    let user = &config["users"][0]["user"];
    let file = |value: &Value| std::fs::read(value.as_str().unwrap()).unwrap();
    let mut identity = file(&user["client-certificate"]);
    identity.extend(file(&user["client-key"]));
    let ca = reqwest::Certificate::from_pem(&file(&cluster["certificate-authority"])).unwrap();
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([ca])
        .identity(reqwest::Identity::from_pem(&identity).unwrap())
        .build()
        .unwrap();
    let onward = Arc::new(Onward {
        client,
        server: cluster["server"].as_str().unwrap().to_owned(),
        fence,
        log: Arc::default(),
    });
    let log = Arc::clone(&onward.log);
    let router =
        Router::new().fallback(move |request: Request| forward(Arc::clone(&onward), request));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let path = directory.join(format!("proxy-{}.kubeconfig", address.port()));
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{"name": "x", "cluster": {"server": format!("http://{address}")}}],
        "users": [{"name": "x", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
    });
    std::fs::write(&path, config.to_string()).unwrap();
    Proxy {
        kubeconfig: path,
        log,
    }
}

/// The documents of `/api` and `/apis`.
fn discovery(path: &str) -> Option<Value> {
    let version = json!({"groupVersion": "apiextensions.k8s.io/v1", "version": "v1"});
    match path {
        "/api" => Some(json!({"kind": "APIVersions", "versions": []})),
        "/apis" => Some(json!({
            "kind": "APIGroupList", "apiVersion": "v1", "groups": [{
                "name": "apiextensions.k8s.io", "versions": [version], "preferredVersion": version,
            }],
        })),
        _ => None,
    }
}

struct Onward {
    client: reqwest::Client,
    server: String,
    fence: bool,
    log: Arc<Log>,
}

fn document(code: u16, document: &Value) -> Response {
    let response = Response::builder().status(code);
    let response = response.header("content-type", "application/json");
    response.body(Body::from(document.to_string())).unwrap()
}

async fn forward(to: Arc<Onward>, request: Request) -> Response {
    if let Some(found) = discovery(request.uri().path()) {
        return document(200, &found);
    }
    let (parts, body) = request.into_parts();
    to.log.request(&parts.method, &parts.uri);
    let mut body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    if parts.uri.path().starts_with("/apis/events.k8s.io/") {
        let (code, answer) = to.log.event(&parts.method, parts.uri.path(), &body);
        return document(code, &answer);
    }
    if !to.fence
        && parts.method == http::Method::PATCH
        && let Ok(mut patch) = serde_json::from_slice::<Value>(&body)
        && let Some(metadata) = patch.get_mut("metadata").and_then(Value::as_object_mut)
    {
        metadata.remove("resourceVersion");
        body = Bytes::from(patch.to_string());
    }
    let mut onward = to
        .client
        .request(parts.method, format!("{}{}", to.server, parts.uri))
        .body(body);
    for name in ["accept", "content-type"] {
        if let Some(value) = parts.headers.get(name) {
            onward = onward.header(name, value);
        }
    }
    // The server may be away for a while.
    let Ok(answer) = onward.send().await else {
        return document(502, &json!({}));
    };
    let mut response = Response::builder().status(answer.status());
    if let Some(kind) = answer.headers().get("content-type") {
        response = response.header("content-type", kind);
    }
    response
        .body(Body::from_stream(answer.bytes_stream()))
        .unwrap()
}
