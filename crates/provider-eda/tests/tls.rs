//! Certificates on both sides, as a webhook source with `certfile`, `keyfile` and `cafile` asks
//! for them.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that panics has failed"
)]

mod common;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use common::{config, http, not_launched, request, stream, tracked, vm, webhook};
use provider_core::{Effect, ErrorKind, Provider, SystemClock, TriggerError};
use provider_eda::{ClientIdentity, EdaProvider, HttpConfig, StreamAuth};
use provider_testkit::eda::{EdaSim, Stream, StreamCredential, Webhook, World};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

struct Authority {
    pem: String,
    der: rustls::pki_types::CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

fn authority() -> Authority {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    Authority {
        pem: certificate.pem(),
        der: certificate.der().clone(),
        issuer: Issuer::new(params, key),
    }
}

/// A certificate and its key.
fn leaf(authority: &Authority, name: &str) -> (rcgen::Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    (params.signed_by(&key, &authority.issuer).unwrap(), key)
}

async fn sim(authority: &Authority, world: impl Into<World>) -> EdaSim {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut roots = RootCertStore::empty();
    roots.add(authority.der.clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots))
        .build()
        .unwrap();
    let (certificate, key) = leaf(authority, "localhost");
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let tls = ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    EdaSim::start_at(world, Arc::new(SystemClock), address, Some(Arc::new(tls)))
        .await
        .unwrap()
}

struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

async fn send(sim: &EdaSim, http: HttpConfig) -> Result<(), TriggerError> {
    let eda = EdaProvider::new(config(webhook(sim)).with_http(http)).unwrap();
    eda.trigger_provision(&request(vm("vm"), 1))
        .await
        .map(|_| ())
}

#[tokio::test]
async fn with_certificates_on_both_sides() {
    let ours = authority();
    let sim = sim(&ours, Webhook::new()).await;
    let files = Files {
        dir: tempfile::tempdir().unwrap(),
    };
    let ca = files.write("ca.pem", &ours.pem);
    let (certificate, key) = leaf(&ours, "operator");
    let trusting = || HttpConfig {
        ca_file: Some(ca.clone()),
        ..http()
    };

    // As files, and as one text.
    let identity = ClientIdentity::Files {
        certificate: files.write("cert.pem", &certificate.pem()),
        key: files.write("key.pem", &key.serialize_pem()),
    };
    let with = |identity| HttpConfig {
        client_identity: Some(identity),
        ..trusting()
    };
    send(&sim, with(identity)).await.unwrap();
    let text = format!("{}\n{}", certificate.pem(), key.serialize_pem());
    let identity = ClientIdentity::Pem(text.into());
    assert_eq!(format!("{identity:?}"), "***");
    send(&sim, with(identity)).await.unwrap();
    assert_eq!(sim.journal().len(), 2);

    // Without one, nothing is read by the service; whether we learn why is up to the network.
    for identity in [None, Some(leaf(&authority(), "stranger"))] {
        let http = match identity {
            None => trusting(),
            Some((certificate, key)) => {
                let text = format!("{}\n{}", certificate.pem(), key.serialize_pem());
                with(ClientIdentity::Pem(text.into()))
            }
        };
        let error = send(&sim, http).await.unwrap_err();
        match &error {
            TriggerError::NotLaunched(error) => {
                assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
            }
            TriggerError::Ambiguous(error) => assert_eq!(error.effect(), Effect::MaybeSent),
        }
    }
    // A server that we do not trust is sent nothing.
    let error = send(&sim, http()).await.unwrap_err();
    let error = not_launched(&error);
    assert_eq!(error.effect(), Effect::NotSent);
    assert!(error.advice().contains("CA file"), "{error}");
    assert_eq!(sim.journal().len(), 2);
}

/// With TLS 1.3 a refused certificate may be told only after the event was written.
#[tokio::test]
async fn a_certificate_that_is_renewed_on_disk_needs_no_restart() {
    let (ours, others) = (authority(), authority());
    let worlds: [World; 2] = [
        Webhook::new().into(),
        Stream::new(StreamCredential::None).into(),
    ];
    for world in worlds {
        let is_stream = matches!(world, World::Streams(_));
        let sim = sim(&ours, world).await;
        let files = Files {
            dir: tempfile::tempdir().unwrap(),
        };
        let write = |authority: &Authority| {
            let (certificate, key) = leaf(authority, "operator");
            (
                files.write("tls.crt", &certificate.pem()),
                files.write("tls.key", &key.serialize_pem()),
            )
        };
        let (certificate, key) = write(&others);
        let http = HttpConfig {
            ca_file: Some(files.write("ca.pem", &ours.pem)),
            client_identity: Some(ClientIdentity::Files { certificate, key }),
            ..http()
        };
        let config = if is_stream {
            config(stream(&sim, StreamAuth::ClientCertificate))
        } else {
            config(webhook(&sim))
        };
        let eda = EdaProvider::new(config.with_http(http)).unwrap();
        let send = async |n| eda.trigger_provision(&request(vm("vm"), n)).await;
        send(1).await.unwrap_err();
        assert!(sim.journal().is_empty());
        write(&ours);
        send(2).await.unwrap();
        // The certificate has been replaced and its key has not: the former pair stays in force.
        let (half, _) = leaf(&others, "operator");
        files.write("tls.crt", &half.pem());
        send(3).await.unwrap();
        assert_eq!(sim.journal().len(), 2);
        // The open connection is not used on with what is not on disk any more.
        write(&others);
        send(4).await.unwrap_err();
        assert_eq!(sim.journal().len(), 2);
        write(&ours);
        send(5).await.unwrap();
        assert_eq!(sim.journal().len(), 3);
    }
}

/// An event stream whose credential is the certificate.
#[tokio::test]
async fn an_event_stream_takes_our_certificate() {
    let ours = authority();
    let sim = sim(&ours, Stream::new(StreamCredential::None)).await;
    let files = Files {
        dir: tempfile::tempdir().unwrap(),
    };
    let ca = files.write("ca.pem", &ours.pem);
    let send = async |(certificate, key): (rcgen::Certificate, KeyPair)| {
        let text = format!("{}\n{}", certificate.pem(), key.serialize_pem());
        let http = HttpConfig {
            ca_file: Some(ca.clone()),
            client_identity: Some(ClientIdentity::Pem(text.into())),
            ..http()
        };
        let config = config(stream(&sim, StreamAuth::ClientCertificate)).with_http(http);
        let eda = EdaProvider::new(config).unwrap();
        eda.trigger_provision(&request(vm("vm"), 1)).await
    };
    send(leaf(&ours, "operator")).await.unwrap();
    assert_eq!(sim.journal().len(), 1);
    assert_eq!(sim.journal()[0].payload["metadata"]["name"], "vm");
    send(leaf(&authority(), "stranger")).await.unwrap_err();
    assert_eq!(sim.journal().len(), 1);
    // Without a certificate the configuration is refused.
    let error = EdaProvider::new(config(stream(&sim, StreamAuth::ClientCertificate))).unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
}

/// Plain HTTP to a TLS port: the connection closes without an answer.
#[tokio::test]
async fn plain_http_to_a_tls_port_is_in_doubt() {
    let sim = sim(&authority(), Webhook::new()).await;
    let url = sim.url().replace("https://", "http://");
    let urls = provider_eda::Endpoints::one(format!("{url}/x"));
    let eda = EdaProvider::new(config(provider_eda::RulebookWebhook::new(urls))).unwrap();
    let error = eda
        .trigger_provision(&request(vm("vm"), 1))
        .await
        .unwrap_err();
    common::ambiguous(&error);
    assert!(sim.journal().is_empty());
}

#[test]
fn a_certificate_that_cannot_be_read_is_named_without_its_key() {
    let urls = provider_eda::Endpoints::one("https://h/x");
    let hook = provider_eda::RulebookWebhook::new(urls);
    let secret = "-----BEGIN PRIVATE KEY-----\ns3cret\n-----END PRIVATE KEY-----".to_owned();
    let cases = [
        ClientIdentity::Pem(secret.into()),
        ClientIdentity::Files {
            certificate: "/nonexistent/cert.pem".into(),
            key: "/nonexistent/key.pem".into(),
        },
    ];
    for identity in cases {
        let http = HttpConfig {
            client_identity: Some(identity),
            ..http()
        };
        let error = EdaProvider::new(config(hook.clone()).with_http(http)).unwrap_err();
        assert_eq!(error.field(), "http.clientIdentity");
        assert!(!error.to_string().contains("s3cret"));
    }
}

/// A NAT that forgets, or a stuck proxy: the connection is dead, and nobody says so.
#[tokio::test]
async fn a_dead_connection_of_http2_is_not_used_for_ever() {
    use provider_testkit::{Forwarder, Front};
    use std::time::Duration;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let inside = EdaSim::start(Webhook::new(), Arc::new(SystemClock)).await;
    let inside = inside.unwrap();
    let (certificate, key) = leaf(&authority(), "localhost");
    let tls = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let target = inside.url().trim_start_matches("http://").parse().unwrap();
    let front = Front::start(target, tls).await.unwrap();
    let forwarder = Forwarder::start(front.address()).await.unwrap();
    let url = format!("https://localhost:{}/x", forwarder.address().port());
    let hook = provider_eda::RulebookWebhook::new(provider_eda::Endpoints::one(url));
    let eda = EdaProvider::new(config(hook).with_http(HttpConfig {
        insecure: true,
        keep_alive: jiff::SignedDuration::from_millis(200),
        request_timeout: jiff::SignedDuration::from_secs(30),
        ..http()
    }))
    .unwrap();
    eda.trigger_provision(&request(vm("one"), 1)).await.unwrap();
    assert_eq!(forwarder.connections(), 1);
    forwarder.swallow();
    // Less than the 30 s after which a connection that nobody uses is closed anyway.
    let given_up = tokio::time::timeout(Duration::from_secs(20), forwarder.given_up(1)).await;
    given_up.expect("the client keeps a dead connection");
    eda.trigger_provision(&request(vm("two"), 2)).await.unwrap();
    assert_eq!((inside.journal().len(), forwarder.connections()), (2, 2));
}

#[tokio::test]
async fn secrets_that_are_rotated_in_their_files_need_no_restart() {
    use provider_core::Secret;
    use provider_eda::Hmac;
    use provider_testkit::eda::HmacCheck;
    let files = Files {
        dir: tempfile::tempdir().unwrap(),
    };
    let token = files.write("token", "first-token\n");
    let hmac = files.write("hmac", "first-secret\n");
    let at_first = Webhook::new()
        .with_token("first-token")
        .with_hmac(HmacCheck::hex("first-secret"));
    let sim = EdaSim::start(at_first, Arc::new(SystemClock))
        .await
        .unwrap();
    let hook = webhook(&sim)
        .with_token(Secret::of_file(token))
        .with_hmac(Hmac::new(Secret::of_file(hmac)));
    let eda = EdaProvider::new(config(hook)).unwrap();
    eda.trigger_provision(&request(vm("one"), 1)).await.unwrap();
    files.write("token", "second-token\n");
    files.write("hmac", "second-secret\n");
    sim.change(|world| {
        *world = Webhook::new()
            .with_token("second-token")
            .with_hmac(HmacCheck::hex("second-secret"))
            .into();
    });
    eda.trigger_provision(&request(vm("two"), 2)).await.unwrap();
    assert_eq!(sim.journal().len(), 2);
}

/// Replaces what is in a file by a text of the same length, so that the file looks as before.
fn replace_unseen(file: &std::path::Path, text: &str) {
    let before = std::fs::metadata(file).unwrap();
    assert_eq!(before.len(), text.len() as u64, "{text}");
    std::fs::write(file, text).unwrap();
    let opened = std::fs::File::options().write(true).open(file).unwrap();
    opened.set_modified(before.modified().unwrap()).unwrap();
}

#[tokio::test]
async fn a_refused_token_of_events_is_read_again_however_unchanged_its_file_looks() {
    use provider_core::Secret;
    let files = Files {
        dir: tempfile::tempdir().unwrap(),
    };
    for is_stream in [false, true] {
        let file = files.write("token", "wrong-token");
        let token = Secret::of_file(&file);
        let clock = Arc::new(SystemClock);
        let (_sim, config) = if is_stream {
            let world = Stream::token("right-token");
            let sim = EdaSim::start(world, clock).await.unwrap();
            let config = config(stream(&sim, StreamAuth::token(token)));
            (sim, config)
        } else {
            let world = Webhook::new().with_token("right-token");
            let sim = EdaSim::start(world, clock).await.unwrap();
            let config = config(webhook(&sim).with_token(token));
            (sim, config)
        };
        let eda = EdaProvider::new(config).unwrap();
        let refused = eda.trigger_provision(&request(vm("one"), 1)).await;
        let refused = refused.unwrap_err();
        assert_eq!(not_launched(&refused).kind(), ErrorKind::Unauthorized);
        replace_unseen(&file, "right-token");
        eda.trigger_provision(&request(vm("one"), 2)).await.unwrap();
    }
}

#[tokio::test]
async fn a_refused_token_of_the_api_is_read_again_however_unchanged_its_file_looks() {
    use provider_core::Secret;
    use provider_eda::AuditTracking;
    let files = Files {
        dir: tempfile::tempdir().unwrap(),
    };
    let file = files.write("token", "wrong-token");
    let sim = EdaSim::start(Webhook::new(), Arc::new(SystemClock));
    let sim = sim.await.unwrap();
    sim.serve_api("right-token");
    let audit = AuditTracking::new(sim.url(), Secret::of_file(&file));
    let eda = EdaProvider::new(config(webhook(&sim)).with_tracking(audit)).unwrap();
    let look = || async { eda.status(&vm("one"), &tracked(1)).await };
    assert_eq!(look().await.unwrap_err().kind(), ErrorKind::Unauthorized);
    replace_unseen(&file, "right-token");
    look().await.unwrap();
}
