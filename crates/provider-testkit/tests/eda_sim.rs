//! The simulators answer as the real programs did: every row that was measured on
//! ansible-rulebook 1.3.2 and on the eda-server of August 2026, over real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed"
)]

use std::sync::Arc;

use provider_core::SystemClock;
use provider_testkit::eda::{EdaSim, Fate, HmacCheck, Stream, StreamCredential, Webhook, World};
use reqwest::{Client, Method, RequestBuilder};

const GOOD: &str = r#"{"metadata":{"name":"vm-1"},"spec":{"cores":2}}"#;
const SIGNATURE: &str = "x-hub-signature-256";

fn client() -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap()
}

async fn sim(world: impl Into<World>) -> EdaSim {
    EdaSim::start(world, Arc::new(SystemClock)).await.unwrap()
}

async fn ask(request: RequestBuilder) -> (u16, String) {
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

fn post(sim: &EdaSim, path: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
    client()
        .post(format!("{}{path}", sim.url()))
        .header("content-type", "application/json")
        .body(body)
}

fn row(status: u16, body: &str) -> (u16, String) {
    (status, body.to_owned())
}

#[tokio::test]
async fn a_webhook_without_credentials() {
    let sim = sim(Webhook::new()).await;
    let case = async |path: &str, body: &[u8]| ask(post(&sim, path, body.to_vec())).await;
    assert_eq!(
        case("/create-hosted-cluster", GOOD.as_bytes()).await,
        row(200, "create-hosted-cluster")
    );
    assert_eq!(case("/a/b/c?x=1", GOOD.as_bytes()).await, row(200, "a/b/c"));
    assert_eq!(case("/", GOOD.as_bytes()).await, row(200, ""));
    let invalid = row(400, "Invalid JSON payload");
    assert_eq!(case("/x", b"{\"a\": ").await, invalid);
    assert_eq!(case("/x", b"").await, invalid);
    let taken: [&[u8]; 8] = [
        b"[1]",
        b"null",
        b"\"text\"",
        br#"{"a":1,"a":2}"#,
        br#"{"a":"\ud800"}"#,
        br#"{"a":123456789012345678901234567890}"#,
        br#"{"a":"\u0000"}"#,
        br#"{"meta":{"endpoint":"other"}}"#,
    ];
    for body in taken {
        assert_eq!(case("/x", body).await, row(200, "x"));
        assert_eq!(sim.journal().last().unwrap().fate, Fate::Queued);
    }
    for body in [
        &br#"{"a":NaN}"#[..],
        br#"{"a":Infinity}"#,
        br#"{"a":1e400}"#,
    ] {
        assert_eq!(case("/x", body).await, row(200, "x"));
        assert_eq!(sim.journal().last().unwrap().fate, Fate::Dropped);
    }
    assert_eq!(case("/x", b"{\"a\":\"\xff\"}").await.0, 500);
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let request = client().request(method, format!("{}/x", sim.url()));
        assert_eq!(ask(request).await, row(405, "405: Method Not Allowed"));
    }
    let text = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2)).into_bytes();
    assert_eq!(case("/x", &text(1 << 20)).await, row(200, "x"));
    let large = row(413, "Maximum request body size 1048576 exceeded.");
    assert_eq!(case("/x", &text((1 << 20) + 1)).await, large);
    assert_eq!(case("/x", &text(2 << 20)).await, large);
}

#[tokio::test]
async fn a_webhook_with_a_token() {
    let sim = sim(Webhook::new().with_token("secret-token")).await;
    let case = async |header: Option<&str>| {
        let mut request = post(&sim, "/x", GOOD);
        if let Some(header) = header {
            request = request.header("authorization", header);
        }
        ask(request).await
    };
    assert_eq!(case(Some("Bearer secret-token")).await, row(200, "x"));
    assert_eq!(
        case(None).await,
        row(401, "401: Missing authorization token")
    );
    let wrong = row(401, "Invalid authorization token");
    for header in ["Bearer wrong", "secret-token", "Bearer  secret-token"] {
        assert_eq!(case(Some(header)).await, wrong, "{header}");
    }
    let scheme = row(401, "Only Bearer type is accepted");
    for header in ["Basic abc", "bearer secret-token"] {
        assert_eq!(case(Some(header)).await, scheme, "{header}");
    }
    // The reason phrase is the server's own.
    let mut stream = tokio::net::TcpStream::connect(sim.url().trim_start_matches("http://"))
        .await
        .unwrap();
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let request = b"POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 401 Missing authorization token\r\n"),
        "{answer}"
    );
    let get = |auth: bool| {
        let request = client().get(format!("{}/x", sim.url()));
        if auth {
            request.bearer_auth("secret-token")
        } else {
            request
        }
    };
    assert_eq!(ask(get(true)).await.0, 405);
    assert_eq!(ask(get(false)).await.0, 401);
}

/// `openssl dgst -sha256 -hmac hmac-secret` over [`GOOD`], by a third implementation.
fn digest(secret: &str, body: &str) -> (String, String) {
    use base64::Engine;
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    let tag = ring::hmac::sign(&key, body.as_bytes());
    let hex = tag.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    (hex, base64::engine::general_purpose::STANDARD.encode(tag))
}

#[tokio::test]
async fn a_webhook_with_a_signature() {
    let (hex, base64) = digest("hmac-secret", GOOD);
    let by_hex = sim(Webhook::new().with_hmac(HmacCheck::hex("hmac-secret"))).await;
    let by_base64 = sim(Webhook::new().with_hmac(HmacCheck::base64("hmac-secret"))).await;
    // The signature is looked at before the verb: a plain GET lacks one.
    let get = client().get(format!("{}/x", by_hex.url()));
    assert_eq!(ask(get).await, row(400, "Signature header not found"));
    let case = async |sim: &EdaSim, value: &[u8], body: &'static str| {
        ask(post(sim, "/x", body).header(SIGNATURE, value)).await
    };
    let good = row(200, "x");
    let wrong = row(401, "HMAC verification failed");
    let prefixed = format!("sha256={hex}");
    assert_eq!(case(&by_hex, prefixed.as_bytes(), GOOD).await, good);
    assert_eq!(case(&by_hex, hex.as_bytes(), GOOD).await, good);
    let upper = hex.to_uppercase();
    assert_eq!(case(&by_hex, upper.as_bytes(), GOOD).await, wrong);
    assert_eq!(case(&by_hex, b"00", GOOD).await, wrong);
    assert_eq!(case(&by_hex, &[0xe9], GOOD).await.0, 500);
    assert_eq!(
        ask(post(&by_hex, "/x", GOOD)).await,
        row(400, "Signature header not found")
    );
    let (of_bad, _) = digest("hmac-secret", "{");
    assert_eq!(
        case(&by_hex, of_bad.as_bytes(), "{").await,
        row(400, "Invalid JSON payload")
    );
    assert_eq!(case(&by_base64, base64.as_bytes(), GOOD).await, good);
    let prefixed = format!("sha256={base64}");
    assert_eq!(case(&by_base64, prefixed.as_bytes(), GOOD).await, good);
    assert_eq!(case(&by_base64, hex.as_bytes(), GOOD).await, wrong);

    let both = Webhook::new()
        .with_token("t0ken")
        .with_hmac(HmacCheck::hex("hmac-secret"));
    let both = sim(both).await;
    let signed = || post(&both, "/x", GOOD).header(SIGNATURE, &hex);
    assert_eq!(ask(signed().bearer_auth("t0ken")).await, good);
    assert_eq!(
        ask(post(&both, "/x", GOOD).bearer_auth("t0ken")).await,
        row(400, "Signature header not found")
    );
    assert_eq!(ask(signed()).await.0, 401);
}

fn detail(status: u16, detail: &str) -> (u16, String) {
    (status, serde_json::json!({ "detail": detail }).to_string())
}

#[tokio::test]
async fn the_credentials_of_event_streams() {
    let token = sim(Stream::token("es-token")).await;
    let path = Stream::token("").path();
    let case = async |sim: &EdaSim, header: Option<(&str, &str)>| {
        let mut request = post(sim, &path, GOOD);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        ask(request).await
    };
    let good = row(200, "");
    let auth = |value| Some(("authorization", value));
    let mismatch = detail(403, "Token mismatch, check your token");
    assert_eq!(case(&token, auth("Bearer es-token")).await, good);
    assert_eq!(case(&token, auth("es-token")).await, good);
    assert_eq!(case(&token, auth("bearer es-token")).await, mismatch);
    assert_eq!(case(&token, auth("Bearer wrong")).await, mismatch);
    assert_eq!(case(&token, auth("Bearer")).await.0, 500);
    let missing = detail(400, "Authorization header is missing");
    assert_eq!(case(&token, None).await, missing);

    let (hex, base64) = digest("es-secret", GOOD);
    let mismatch = detail(403, "Signature mismatch, check your payload and secret");
    let github = HmacCheck::hex("es-secret").with_prefix("sha256=");
    let github = sim(Stream::new(StreamCredential::Hmac(github))).await;
    let prefixed = format!("sha256={hex}");
    assert_eq!(case(&github, Some((SIGNATURE, &prefixed))).await, good);
    assert_eq!(case(&github, Some((SIGNATURE, &hex))).await, mismatch);
    assert_eq!(
        case(&github, Some((SIGNATURE, "sha256=00"))).await,
        mismatch
    );
    assert_eq!(
        case(&github, None).await,
        detail(400, "X-Hub-Signature-256 header is missing")
    );
    let plain = StreamCredential::Hmac(HmacCheck::base64("es-secret"));
    let plain = sim(Stream::new(plain)).await;
    assert_eq!(case(&plain, Some((SIGNATURE, &base64))).await, good);

    let basic = StreamCredential::Basic {
        username: "u".to_owned(),
        password: "p".to_owned(),
    };
    let basic = sim(Stream::new(basic)).await;
    assert_eq!(case(&basic, auth("Basic dTpw")).await, good);
    assert_eq!(
        case(&basic, auth("Basic dTpx")).await,
        detail(403, "Credential mismatch")
    );
    assert_eq!(case(&basic, None).await, missing);
}

#[tokio::test]
async fn what_event_streams_read() {
    let sim = sim(Stream::new(StreamCredential::None)).await;
    let path = Stream::token("").path();
    let case = async |body: Vec<u8>| ask(post(&sim, &path, body)).await;
    let good = row(200, "");
    let invalid = detail(400, "Invalid content. Type: application/json");
    let broken = "Unexpected server error; contact your system administrator";
    for body in [
        "",
        "plain text",
        "[1, 2]",
        "{\"a\":\"😀\"}",
        r#"{"a":"\ud83d\ude00"}"#,
        r#"{"a":"\u0000"}"#,
    ] {
        assert_eq!(case(body.into()).await, good, "{body}");
    }
    let wrapped = sim.journal()[2].payload.clone();
    assert_eq!(wrapped, serde_json::json!({"body": [1, 2]}));
    let long_key = format!("{{\"{}\":1}}", "k".repeat(1_100));
    for body in [
        "{\"a\": ",
        "{\n\t\"a\": 1}",
        "{\"a\":\"\u{7f}\"}",
        "{\"a\":\"\u{9f}\"}",
        &long_key,
    ] {
        assert_eq!(case(body.into()).await, invalid, "{body}");
    }
    assert_eq!(
        case(b"{\"a\":\"\xff\"}".to_vec()).await,
        detail(500, broken)
    );
    assert_eq!(
        case(b"\x1f\x8b\x08compressed".to_vec()).await,
        detail(500, broken)
    );
    let text = |bytes: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(bytes)).into_bytes();
    assert_eq!(case(text(2_400_000)).await, good);
    assert_eq!(case(text(2_700_000)).await, detail(500, broken));

    let form = |body: &'static str| {
        client()
            .post(format!("{}{path}", sim.url()))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body)
    };
    assert_eq!(ask(form("a=1&b=2")).await, good);
    assert_eq!(
        ask(form(GOOD)).await,
        detail(
            400,
            "Invalid content. Type: application/x-www-form-urlencoded"
        )
    );
}

#[tokio::test]
async fn the_urls_of_event_streams() {
    let mut stream = Stream::new(StreamCredential::None);
    stream.test_mode = true;
    let sim = sim(stream).await;
    let path = Stream::token("").path();
    assert_eq!(ask(post(&sim, &path, GOOD)).await, row(200, ""));
    assert_eq!(sim.journal()[0].fate, Fate::TestMode);
    let bad = detail(400, "bad uuid specified");
    for uuid in ["not-a-uuid", "8e5a1c1e-1111-4222-8333-944455556666"] {
        let path = format!("/api/eda/v1/external_event_stream/{uuid}/post/");
        assert_eq!(ask(post(&sim, &path, GOOD)).await, bad);
    }
    let without = path.trim_end_matches('/');
    let answer = post(&sim, without, GOOD).send().await.unwrap();
    assert_eq!(answer.status(), 301);
    assert_eq!(answer.headers()["location"], path.as_str());
    let get = client().get(format!("{}{path}", sim.url()));
    assert_eq!(ask(get).await, detail(405, "Method \"GET\" not allowed."));
}

/// Documents inside of texts, by the number of their entries.
#[tokio::test]
async fn the_pieces_of_long_events() {
    let sim = sim(Stream::new(StreamCredential::None)).await;
    let path = Stream::token("").path();
    let document = |entries: usize| -> serde_json::Map<String, serde_json::Value> {
        (0..entries)
            .map(|n| (format!("k{n}"), format!("v{n}").into()))
            .collect()
    };
    for (entries, status) in [(50, 200), (200, 200), (400, 500), (600, 500)] {
        let inside = serde_json::Value::Object(document(entries)).to_string();
        let body = serde_json::json!({"spec": {"templateParameters": inside}}).to_string();
        assert_eq!(ask(post(&sim, &path, body)).await.0, status, "{entries}");
    }
    let body = serde_json::json!({"spec": "é".repeat(7_000)}).to_string();
    assert_eq!(ask(post(&sim, &path, body)).await.0, 200);
}
