//! What sending one event costs: through the provider, and as a bare request with the same body
//! and the same signature.
//!
//!     cargo bench --bench eda_send

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a bench that panics has failed"
)]

use std::borrow::Cow;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use jiff::SignedDuration;
use provider_core::{ConfigVersion, LaunchRequest, OperationToken, Provider, Resource};
use provider_eda::{
    EdaConfig, EdaProvider, Encoding, Endpoints, EventStream, Hmac, HttpConfig, Pacing,
    RulebookWebhook, StreamAuth, Transport,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

const SECRET: &str = "bench-secret";
const UUID: &str = "ada70574-64ad-429b-b8f6-4d1ac40e064b";

/// Answers every request as a webhook source or an event stream does, with as little work as there can be.
async fn answer(mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let mut seen = Vec::new();
    let mut chunk = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = stream.read(&mut chunk).await {
        seen.extend(chunk.iter().take(read));
        let Some(head) = seen.windows(4).position(|window| window == b"\r\n\r\n") else {
            continue;
        };
        let text = String::from_utf8_lossy(seen.get(..head).unwrap()).to_lowercase();
        let length = text.split("content-length: ").nth(1).unwrap();
        let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
        if seen.len() < head + 4 + length {
            continue;
        }
        seen.clear();
        let answer = if text.starts_with("post /create") {
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\n\
             content-length: 6\r\n\r\ncreate"
        } else {
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
        };
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn serve(server: &Runtime) -> String {
    let listener = server.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    server.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    url
}

/// An object of the usual size, or with a list of so many entries.
fn object(entries: usize) -> Value {
    let disks: Vec<Value> = (0..entries)
        .map(|n| json!({"name": format!("disk-{n}"), "sizeGiB": n, "class": "gold"}))
        .collect();
    json!({
        "apiVersion": "osac.openshift.io/v1alpha1", "kind": "ComputeInstance",
        "metadata": {
            "name": "vm", "namespace": "tenant", "uid": "8e5a1c1e-1111-4222-8333-944455556666",
            "finalizers": ["osac.openshift.io/computeinstance"],
            "labels": {"app": "web", "tier": "gold"}, "generation": 3,
        },
        "spec": {"cores": 4, "memoryGiB": 16, "image": "fedora-42", "disks": disks},
    })
}

fn send(criterion: &mut Criterion) {
    // The server has threads of its own, so that both sides share nothing but the socket.
    let server = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let client = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let base = serve(&server);
    let stream = format!("{base}/api/eda/v1/external_event_stream/{UUID}/post/");
    let webhook = format!("{base}/create");
    let by_webhook = RulebookWebhook::new(Endpoints::one(&webhook)).with_hmac(Hmac::new(SECRET));
    let hex = Hmac::new(SECRET)
        .with_encoding(Encoding::Hex)
        .with_prefix("sha256=");
    let by_stream = EventStream::new(Endpoints::one(&stream), StreamAuth::Hmac(hex));
    for (name, url, transport) in [
        ("webhook", webhook, Transport::from(by_webhook)),
        ("stream", stream, Transport::from(by_stream)),
    ] {
        let config = EdaConfig::new(transport)
            .with_http(HttpConfig {
                proxy_from_environment: false,
                ..HttpConfig::default()
            })
            .with_pacing(Pacing {
                min_interval: SignedDuration::ZERO,
                ..Pacing::default()
            });
        let provider = EdaProvider::new(config).unwrap();
        for (size, entries) in [("1kB", 4), ("64kB", 1_300)] {
            let vm = Resource::from_json(object(entries)).unwrap();
            compare(
                criterion,
                &client,
                &format!("{name}_{size}"),
                &url,
                &provider,
                vm,
            );
        }
    }
}

/// One size of an event by one transport.
fn compare(
    criterion: &mut Criterion,
    client: &Runtime,
    name: &str,
    url: &str,
    provider: &EdaProvider,
    vm: Resource,
) {
    let bare = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(30))
        .build()
        .unwrap();
    let request = LaunchRequest::new(vm, OperationToken::from_random(1))
        .with_config_version(ConfigVersion::of_json(&json!({"cores": 4})));
    let mut object = request.resource.object().clone();
    let ours = json!({
        "action": "create", "operationToken": request.token.as_str(),
        "configVersion": request.config_version.as_ref().unwrap().as_str(),
        "uid": request.resource.uid(),
    });
    object.insert("providerEvent".to_owned(), ours);
    // Ready bytes, which need not even be copied.
    let body: &'static [u8] = serde_json::to_vec(&object).unwrap().leak();
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET.as_bytes());
    let post = async |body: Cow<'static, [u8]>| {
        let digest = ring::hmac::sign(&key, &body);
        let hex: String = digest.as_ref().iter().map(|b| format!("{b:02x}")).collect();
        let answer = bare
            .post(url)
            .header("x-hub-signature-256", format!("sha256={hex}"))
            .header("content-type", "application/json")
            .body(match body {
                Cow::Borrowed(ready) => reqwest::Body::from(ready),
                Cow::Owned(written) => written.into(),
            })
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        answer.bytes().await.unwrap()
    };
    let ready = || post(Cow::Borrowed(body));
    let written = || post(Cow::Owned(serde_json::to_vec(&object).unwrap()));
    let mut group = criterion.benchmark_group(format!("eda_send_{name}"));
    group.bench_function("bare", |bencher| {
        bencher
            .to_async(client)
            .iter(|| async { black_box(ready().await) });
    });
    group.bench_function("provider", |bencher| {
        bencher
            .to_async(client)
            .iter(|| async { black_box(provider.trigger_provision(&request).await.unwrap()) });
    });
    group.finish();
    let send = || async { provider.trigger_provision(&request).await.unwrap() };
    client.block_on(ratio(&format!("{name}, ready bytes"), ready, send));
    client.block_on(ratio(&format!("{name}, written each time"), written, send));
}

/// The two by turns, so that whatever else the machine does meets both alike.
#[allow(
    clippy::disallowed_methods,
    reason = "what is measured is the time itself"
)]
async fn ratio<A, B>(name: &str, bare: impl AsyncFn() -> A, provider: impl AsyncFn() -> B) {
    const ROUNDS: usize = 300;
    const SENDS: u32 = 10;
    let mut times = [Vec::with_capacity(ROUNDS), Vec::with_capacity(ROUNDS)];
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        for _ in 0..SENDS {
            black_box(bare().await);
        }
        let middle = Instant::now();
        for _ in 0..SENDS {
            black_box(provider().await);
        }
        let [of_bare, of_provider] = &mut times;
        of_bare.push((middle - begin) / SENDS);
        of_provider.push(middle.elapsed() / SENDS);
    }
    let [bare, provider] = times.map(|mut times| {
        times.sort_unstable();
        *times.get(ROUNDS / 2).unwrap()
    });
    let ratio = provider.as_secs_f64() / bare.as_secs_f64();
    println!("{name} by turns, medians: bare {bare:?}, provider {provider:?}, ratio {ratio:.3}");
}

criterion_group!(benches, send);
criterion_main!(benches);
