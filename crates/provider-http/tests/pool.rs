//! Connections that die, certificates that change, and machines that lack something.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed"
)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::SignedDuration;
use provider_core::{ConfigError, SystemClock};
use provider_http::{
    Carrier, Cause, ClientIdentity, HttpConfig, Manner, Pool, SendError, SendFailure,
};
use provider_testkit::aap::{AapSim, World};
use provider_testkit::{Forwarder, Front};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use reqwest::header::HeaderMap;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

struct Authority {
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

fn authority(name: &str) -> Authority {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    Authority {
        certificate,
        issuer: Issuer::new(params, key),
    }
}

fn leaf(authority: &Authority) -> (rcgen::Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    (params.signed_by(&key, &authority.issuer).unwrap(), key)
}

fn tls(certificate: &rcgen::Certificate, key: &[u8], clients: Option<&Authority>) -> ServerConfig {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let key = PrivateKeyDer::try_from(key.to_vec()).unwrap();
    let builder = ServerConfig::builder();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.certificate.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots));
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let chain = vec![certificate.der().clone()];
    builder.with_single_cert(chain, key).unwrap()
}

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

async fn controller() -> (AapSim, SocketAddr) {
    let sim = AapSim::start(World::default(), Arc::new(SystemClock)).await;
    let sim = sim.unwrap();
    let address = sim.url().trim_start_matches("http://").parse().unwrap();
    (sim, address)
}

fn manner(plain: bool) -> Manner {
    Manner {
        headers: HeaderMap::new(),
        user_agent: "test",
        upgrades: false,
        plain,
    }
}

fn http() -> HttpConfig {
    HttpConfig {
        proxy_from_environment: false,
        ..HttpConfig::default()
    }
}

async fn ping(pool: &Pool, url: &str) -> Result<reqwest::Version, SendError> {
    let url = format!("{url}/api/v2/ping/");
    match pool.send(|http| http.get(url)).await {
        Ok(response) => {
            assert_eq!(response.status(), 200);
            Ok(response.version())
        }
        Err(error) => Err(error),
    }
}

/// A client of HTTP/2 behind a network that can swallow its connections.
async fn over_http2(change: impl FnOnce(&mut HttpConfig)) -> (Pool, String, Forwarder, impl Sized) {
    let (sim, address) = controller().await;
    let ours = authority("ours");
    let (certificate, key) = leaf(&ours);
    let front = Front::start(address, tls(&certificate, &key.serialize_der(), None));
    let front = front.await.unwrap();
    let forwarder = Forwarder::start(front.address()).await.unwrap();
    let files = Files::new();
    let mut config = HttpConfig {
        ca_file: Some(files.write("ca.pem", &ours.certificate.pem())),
        ..http()
    };
    change(&mut config);
    let pool = Pool::new(&config, manner(false)).unwrap();
    let url = format!("https://localhost:{}", forwarder.address().port());
    (pool, url, forwarder, (sim, front, files))
}

/// Less than the 30 s after which a connection that nobody uses is closed anyway.
const TOO_LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_connection_that_died_while_nothing_was_sent_is_given_up() {
    let (pool, url, forwarder, _kept) = over_http2(|http| {
        http.keep_alive = SignedDuration::from_millis(200);
    })
    .await;
    assert_eq!(ping(&pool, &url).await.unwrap(), reqwest::Version::HTTP_2);
    ping(&pool, &url).await.unwrap();
    assert_eq!(forwarder.connections(), 1, "one carries everything");
    forwarder.swallow();
    let given_up = tokio::time::timeout(TOO_LONG, forwarder.given_up(1)).await;
    given_up.expect("the client keeps a dead connection");
    ping(&pool, &url).await.unwrap();
    assert_eq!(forwarder.connections(), 2);
}

#[tokio::test]
async fn connections_are_made_anew_when_nobody_answers_however_pings_fare() {
    let (pool, url, forwarder, _kept) = over_http2(|http| {
        http.keep_alive = SignedDuration::from_hours(1);
        http.request_timeout = SignedDuration::from_millis(1_500);
    })
    .await;
    ping(&pool, &url).await.unwrap();
    forwarder.swallow();
    let mut failed = 0;
    while let Err(error) = ping(&pool, &url).await {
        assert_eq!(error.failure, SendFailure::Timeout, "{error:?}");
        failed += 1;
        assert!(failed < 10, "the dead connection is used for ever");
    }
    assert!(failed > 0, "it was swallowed");
    assert!(forwarder.connections() >= 2);
}

/// Sends requests with a timer around each of them, which is shorter than that of the pool.
async fn given_up_by_a_timer(pool: &Pool, url: &str, requests: u32) -> Option<u32> {
    for n in 0..requests {
        // Time enough for a new connection, on a busy machine too.
        let timer = Duration::from_millis(1_500);
        if let Ok(answer) = tokio::time::timeout(timer, ping(pool, url)).await {
            answer.unwrap();
            return Some(n);
        }
    }
    None
}

/// A stuck proxy answers pings, so that only the requests tell.
#[tokio::test]
async fn requests_that_are_given_up_by_a_timer_around_them_are_unanswered_too() {
    let (pool, url, forwarder, _kept) = over_http2(|http| {
        http.keep_alive = SignedDuration::from_hours(1);
        http.request_timeout = SignedDuration::from_hours(1);
    })
    .await;
    let pool = pool.with_given_up_after(Duration::from_millis(500));
    ping(&pool, &url).await.unwrap();
    forwarder.swallow();
    let given_up = given_up_by_a_timer(&pool, &url, 10).await;
    let given_up = given_up.expect("the dead connection is used for ever");
    assert!(given_up > 0, "it was swallowed");
    assert!(forwarder.connections() >= 2);
}

/// As a program does that ends, or a pass that is canceled.
#[tokio::test]
async fn requests_that_are_given_up_at_once_say_nothing_of_their_connection() {
    let (pool, url, forwarder, _kept) = over_http2(|http| {
        http.keep_alive = SignedDuration::from_hours(1);
        http.request_timeout = SignedDuration::from_hours(1);
    })
    .await;
    ping(&pool, &url).await.unwrap();
    forwarder.swallow();
    assert_eq!(given_up_by_a_timer(&pool, &url, 4).await, None);
    assert_eq!(forwarder.connections(), 1, "no connection was made anew");
}

/// Web servers close theirs after 65 s, and what is sent at that moment is in doubt.
#[tokio::test]
async fn a_connection_that_was_idle_for_half_a_minute_is_not_used_again() {
    let (_sim, address) = controller().await;
    let forwarder = Forwarder::start(address).await.unwrap();
    let url = format!("http://{}", forwarder.address());
    let pool = Pool::new(&http(), manner(true)).unwrap();
    for (idle, connections) in [(0, 1), (25, 1), (31, 2)] {
        // Time stands still only here: everything else waits for real sockets.
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(idle)).await;
        tokio::time::resume();
        ping(&pool, &url).await.unwrap();
        assert_eq!(forwarder.connections(), connections, "after {idle} s");
    }
}

// ---- what is sent ----

#[test]
fn a_connection_over_which_nothing_comes_is_tried_out_every_ten_seconds() {
    let config = HttpConfig::default();
    assert_eq!(config.keep_alive, SignedDuration::from_secs(10));
}

#[tokio::test]
async fn answers_are_asked_for_unpacked() {
    use wiremock::matchers::{header, path};
    let server = wiremock::MockServer::start().await;
    let unpacked = wiremock::Mock::given(path("/api/v2/ping/"));
    let unpacked = unpacked.and(header("accept-encoding", "identity"));
    let answer = wiremock::ResponseTemplate::new(200);
    unpacked.respond_with(answer).mount(&server).await;
    let pool = Pool::new(&http(), manner(true)).unwrap();
    ping(&pool, &server.uri()).await.unwrap();
}

/// Answers, if packing was ruled out.
#[derive(Debug)]
struct Unpacked;

#[async_trait]
impl Carrier for Unpacked {
    async fn carry(&self, request: reqwest::Request) -> Result<reqwest::Response, SendError> {
        let encoding = request.headers().get("accept-encoding");
        let is_unpacked = encoding.is_some_and(|encoding| encoding == "identity");
        let status = if is_unpacked { 200 } else { 406 };
        let answer = hyper::Response::builder().status(status).body("").unwrap();
        Ok(answer.into())
    }
}

#[tokio::test]
async fn answers_are_asked_for_unpacked_from_a_carrier_too() {
    let config = HttpConfig {
        carrier: Some(Arc::new(Unpacked)),
        ..http()
    };
    let pool = Pool::new(&config, manner(true)).unwrap();
    ping(&pool, "http://nowhere.invalid").await.unwrap();
}

#[tokio::test]
async fn certificates_are_read_again_when_their_files_change() {
    let (_sim, address) = controller().await;
    let (ours, others) = (authority("ours"), authority("others"));
    let (certificate, key) = leaf(&ours);
    let front = Front::start(
        address,
        tls(&certificate, &key.serialize_der(), Some(&ours)),
    );
    let front = front.await.unwrap();
    let url = format!("https://localhost:{}", front.address().port());
    let files = Files::new();
    let write = |authority: &Authority| {
        let (certificate, key) = leaf(authority);
        (
            files.write("cert.pem", &certificate.pem()),
            files.write("key.pem", &key.serialize_pem()),
        )
    };
    let (certificate, key) = write(&others);
    let config = HttpConfig {
        ca_file: Some(files.write("ca.pem", &others.certificate.pem())),
        client_identity: Some(ClientIdentity::Files { certificate, key }),
        ..http()
    };
    let pool = Pool::new(&config, manner(false)).unwrap();
    let cause = ping(&pool, &url).await.unwrap_err().cause;
    assert!(cause.tls && !cause.refused_certificate, "{cause:?}");
    files.write("ca.pem", &ours.certificate.pem());
    // Whether we learn that our certificate was refused is up to the network.
    ping(&pool, &url).await.unwrap_err();
    // Half of a pair is no pair: nothing breaks, and nothing changes.
    let (certificate, key) = leaf(&ours);
    files.write("cert.pem", &certificate.pem());
    ping(&pool, &url).await.unwrap_err();
    files.write("key.pem", &key.serialize_pem());
    ping(&pool, &url).await.unwrap();
}

async fn refused(ca: &rcgen::Certificate, of_server: &rcgen::Certificate, key: &[u8]) -> Cause {
    let (_sim, address) = controller().await;
    let front = Front::start(address, tls(of_server, key, None))
        .await
        .unwrap();
    let files = Files::new();
    let config = HttpConfig {
        ca_file: Some(files.write("ca.pem", &ca.pem())),
        ..http()
    };
    let pool = Pool::new(&config, manner(false)).unwrap();
    let url = format!("https://localhost:{}", front.address().port());
    ping(&pool, &url).await.unwrap_err().cause
}

#[tokio::test]
async fn a_refused_certificate_is_explained_by_what_the_ca_file_holds() {
    let ours = authority("ours");
    let (certificate, key) = leaf(&ours);
    let key = key.serialize_der();
    // The server's own certificate instead of its CA's.
    let cause = refused(&certificate, &certificate, &key).await;
    let advice = cause.advice.unwrap_or_default();
    assert!(
        advice.contains("no certificate of a CA but a server's own"),
        "{cause:?}"
    );
    // Another CA.
    let cause = refused(&authority("others").certificate, &certificate, &key).await;
    let advice = cause.advice.unwrap_or_default();
    assert!(advice.contains("not the one that issued"), "{cause:?}");
    // A self-signed certificate as `openssl req -x509` makes it, on both sides.
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let own = params.self_signed(&key).unwrap();
    let cause = refused(&own, &own, &key.serialize_der()).await;
    let advice = cause.advice.unwrap_or_default();
    assert!(advice.contains("CA:FALSE"), "{cause:?}");
}

#[tokio::test]
async fn tls_to_a_port_that_speaks_none_is_told_as_that() {
    let (_sim, address) = controller().await;
    let pool = Pool::new(&http(), manner(false)).unwrap();
    let error = ping(&pool, &format!("https://{address}"))
        .await
        .unwrap_err();
    let cause = error.cause;
    assert!(
        error.failure == SendFailure::Connect && cause.tls,
        "{cause:?}"
    );
    assert!(
        cause.advice.unwrap_or_default().contains("speaks no TLS"),
        "{cause:?}"
    );
}

/// Runs the test of this name in a process of its own, with these variables; whether it is that process.
fn is_child(name: &str, variables: &[(&str, &str)]) -> bool {
    if std::env::var_os("PROVIDER_HTTP_CHILD").is_some() {
        return true;
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env("PROVIDER_HTTP_CHILD", "1")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
    false
}

#[test]
fn a_machine_without_certificates_will_do_for_http_and_is_named_for_https() {
    let nothing = [
        ("SSL_CERT_FILE", "/nonexistent"),
        ("SSL_CERT_DIR", "/nonexistent"),
    ];
    let name = "a_machine_without_certificates_will_do_for_http_and_is_named_for_https";
    if !is_child(name, &nothing) {
        return;
    }
    Pool::new(&http(), manner(true)).unwrap();
    let error: ConfigError = Pool::new(&http(), manner(false)).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("No CA certificates were loaded"), "{text}");
    assert!(text.contains("ca-certificates"), "{text}");
}

#[test]
fn no_proxy_with_a_star_means_addresses_too() {
    // A proxy that is not there.
    let proxy = [
        ("HTTP_PROXY", "http://127.0.0.1:9"),
        ("http_proxy", "http://127.0.0.1:9"),
        ("NO_PROXY", "*"),
        ("no_proxy", "*"),
    ];
    if !is_child("no_proxy_with_a_star_means_addresses_too", &proxy) {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(async {
        let (sim, _) = controller().await;
        let pool = Pool::new(&HttpConfig::default(), manner(true)).unwrap();
        ping(&pool, &sim.url()).await.unwrap();
    });
}
