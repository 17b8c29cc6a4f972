//! What a controller tells by itself: the bytes of a websocket, and webhook notifications.
#![no_main]

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::body::Body;
use http::{HeaderName, Method, Request, StatusCode};
use provider_aap::{AapConfig, AapProvider, Auth};
use provider_fuzz::{Answers, CANARY, check_error, clock, http_of, run};
use tokio::io::AsyncWriteExt;
use tower::ServiceExt;

const HEADER: HeaderName = HeaderName::from_static("x-provider-secret");

static ROUTE: LazyLock<Router> = LazyLock::new(|| {
    let config = AapConfig::new("https://aap.example.com", Auth::token("t0ken"))
        .with_http(http_of(&Answers::of("")));
    let aap = AapProvider::with_clock(config, clock()).expect("a configuration that works");
    Arc::new(aap).notifications(HEADER, CANARY)
});

async fn notify(secret: &str, body: &[u8]) -> StatusCode {
    let request = Request::builder()
        .method(Method::POST)
        .uri("/")
        .header(HEADER, secret)
        .body(Body::from(body.to_vec()))
        .expect("a request");
    let answer = ROUTE.clone().oneshot(request).await;
    answer.expect("an answer").status()
}

async fn look(data: &[u8]) {
    // As a notification, with the secret and without.
    let is_one = serde_json::from_slice::<serde_json::Value>(data)
        .is_ok_and(|body| body.get("id").is_some_and(serde_json::Value::is_u64));
    let status = notify(CANARY, data).await;
    assert!(status == StatusCode::NO_CONTENT || status == StatusCode::BAD_REQUEST);
    assert!(
        !is_one || status == StatusCode::NO_CONTENT,
        "a notification was refused"
    );
    assert_eq!(notify("another", data).await, StatusCode::UNAUTHORIZED);

    // As frames.
    let (near, mut far) = tokio::io::duplex(1 << 20);
    far.write_all(data).await.expect("room enough");
    // The other side ends, and what we have said is never read.
    far.shutdown().await.expect("an end");
    let (hints, error) = provider_aap::fuzzing::websocket(near).await;
    check_error(&error);
    assert!(hints.len() <= data.len() / 10, "a hint from nowhere");
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| run(look(data)));
