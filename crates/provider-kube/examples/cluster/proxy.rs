//! A proxy in front of the API server, for what that server is not: one without optimistic concurrency,
//! which breaks the fence on purpose so that the judge can be seen to notice; and one with the two
//! documents that kubectl asks for first, which a server of custom resources alone does not have.

use std::path::{Path, PathBuf};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::Response;
use serde_json::{Value, json};

/// Starts the proxy and answers a kubeconfig for it.
pub(crate) async fn start(kubeconfig: &Path, directory: &Path, fence: bool) -> PathBuf {
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
    let server = cluster["server"].as_str().unwrap().to_owned();
    let router = Router::new()
        .fallback(move |request: Request| forward(client.clone(), server.clone(), fence, request));
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
    path
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

async fn forward(
    client: reqwest::Client,
    server: String,
    fence: bool,
    request: Request,
) -> Response {
    if let Some(document) = discovery(request.uri().path()) {
        let response = Response::builder().header("content-type", "application/json");
        return response.body(Body::from(document.to_string())).unwrap();
    }
    let (parts, body) = request.into_parts();
    let mut body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    if !fence
        && parts.method == http::Method::PATCH
        && let Ok(mut patch) = serde_json::from_slice::<Value>(&body)
        && let Some(metadata) = patch.get_mut("metadata").and_then(Value::as_object_mut)
    {
        metadata.remove("resourceVersion");
        body = Bytes::from(patch.to_string());
    }
    let mut onward = client
        .request(parts.method, format!("{server}{}", parts.uri))
        .body(body);
    for name in ["accept", "content-type"] {
        if let Some(value) = parts.headers.get(name) {
            onward = onward.header(name, value);
        }
    }
    let answer = onward.send().await.unwrap();
    let mut response = Response::builder().status(answer.status());
    if let Some(kind) = answer.headers().get("content-type") {
        response = response.header("content-type", kind);
    }
    response
        .body(Body::from_stream(answer.bytes_stream()))
        .unwrap()
}
