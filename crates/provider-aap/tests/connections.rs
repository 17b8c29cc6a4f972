//! The way to the controller: how it is found, who answers on it, and what becomes of credentials.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed"
)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::job_of;
use jiff::{SignedDuration, Timestamp};
use provider_aap::{AapConfig, AapProvider, Auth, HttpConfig};
use provider_core::{
    Effect, ErrorKind, JobRef, JobState, JobStatus, JobType, LaunchRequest, ManualClock,
    OperationToken, Provider, ProviderError, Resource, Secret, TrackedJob, TriggerError,
};
use provider_testkit::aap::{
    ADMIN_TOKEN, AapSim, Fault, Layout, OPERATOR_TOKEN, Route, RunPlan, Template, World,
};
use serde_json::json;
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

const CREATE: &str = "osac-create-compute-instance";

fn start() -> Timestamp {
    "2026-11-23T04:00:00Z".parse().unwrap()
}

fn config(url: &str) -> AapConfig {
    AapConfig::new(url, Auth::token(ADMIN_TOKEN))
        .with_template_prefix("osac")
        .with_http(HttpConfig {
            proxy_from_environment: false,
            ..HttpConfig::default()
        })
}

async fn sim(world: World) -> (AapSim, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(start()));
    let mut world = world;
    world.record_requests = true;
    (AapSim::start(world, clock.clone()).await.unwrap(), clock)
}

fn vm() -> Resource {
    let vm =
        json!({"kind": "ComputeInstance", "metadata": {"name": "vm", "uid": "uid-1"}, "spec": {}});
    Resource::from_json(vm).unwrap()
}

fn request(n: u128) -> LaunchRequest {
    LaunchRequest::new(vm(), OperationToken::from_random(n))
}

async fn launched(aap: &AapProvider) -> JobRef {
    job_of(&aap.trigger_provision(&request(1)).await.unwrap())
}

async fn status(aap: &AapProvider, job: &JobRef) -> Result<JobStatus, ProviderError> {
    aap.status(&vm(), &TrackedJob::new(JobType::Provision, job.clone()))
        .await
}

// ---- who says that there is no such job ----

#[tokio::test]
async fn a_404_of_a_gateway_is_not_the_controllers() {
    let plan = RunPlan::endless();
    let (sim, clock) = sim(World::with([Template::job(CREATE).with_plan(plan)])).await;
    let aap = AapProvider::with_clock(config(&sim.url()), clock.clone()).unwrap();
    let job = launched(&aap).await;
    clock.advance(Duration::from_secs(20));
    sim.fault(Route::Any, &Fault::Gateway(404), 100);
    for _ in 0..3 {
        let error = status(&aap, &job).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        let error = aap
            .cancel(&vm(), &TrackedJob::new(JobType::Provision, job.clone()))
            .await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Unavailable);
        let error = aap.trigger_provision(&request(2)).await.unwrap_err();
        assert!(
            matches!(&error, TriggerError::NotLaunched(e) if e.kind() == ErrorKind::Unavailable)
        );
        clock.advance(Duration::from_secs(60));
    }
    sim.clear_faults();
    clock.advance(Duration::from_secs(120));
    // The breaker lets one question through, and the job is there.
    let mut seen = status(&aap, &job).await;
    for _ in 0..5 {
        if seen.is_ok() {
            break;
        }
        clock.advance(Duration::from_secs(60));
        seen = status(&aap, &job).await;
    }
    assert_eq!(seen.unwrap().state, JobState::Running);
    // The controller's own is one.
    let none = JobRef::new("aap", "job", "999");
    let error = status(&aap, &none).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

/// A controller behind something that takes its headers away.
async fn stripped(body: serde_json::Value, ping: u16) -> Result<JobStatus, ProviderError> {
    let server = MockServer::start().await;
    let version = ResponseTemplate::new(200).set_body_json(json!({"version": "24.6.1"}));
    Mock::given(path("/api/v2/ping/"))
        .respond_with(version)
        .up_to_n_times(1)
        .mount(&server)
        .await;
    let later = ResponseTemplate::new(ping).set_body_json(json!({"version": "24.6.1"}));
    Mock::given(path("/api/v2/ping/"))
        .respond_with(later)
        .mount(&server)
        .await;
    Mock::given(method("GET"))
        .and(path("/api/v2/jobs/5/"))
        .respond_with(ResponseTemplate::new(404).set_body_json(body))
        .mount(&server)
        .await;
    let aap = AapProvider::new(config(&server.uri())).unwrap();
    status(&aap, &JobRef::new("aap", "job", "5")).await
}

#[tokio::test]
async fn a_404_without_marks_counts_in_the_controllers_words_while_it_is_there() {
    let own = json!({"detail": "No Job matches the given query."});
    for (body, ping, kind) in [
        (own.clone(), 200, ErrorKind::NotFound),
        (json!({"detail": "Not found."}), 200, ErrorKind::NotFound),
        (own.clone(), 404, ErrorKind::Unavailable),
        (own, 503, ErrorKind::Unavailable),
        (json!({"detail": "away"}), 200, ErrorKind::Unavailable),
        (
            json!({"detail": "Not found.", "code": 5}),
            200,
            ErrorKind::Unavailable,
        ),
        (
            json!({"message": "no Route matched with those values"}),
            200,
            ErrorKind::Unavailable,
        ),
        // A path that this controller does not have says nothing of a job.
        (
            json!({"detail": "The requested resource could not be found."}),
            200,
            ErrorKind::Unavailable,
        ),
    ] {
        let error = stripped(body.clone(), ping).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{body} {ping}: {error}");
    }
}

#[tokio::test]
async fn an_api_that_moves_is_found_again() {
    let (sim, clock) = sim(World::with([Template::job(CREATE)])).await;
    let aap = AapProvider::with_clock(config(&sim.url()), clock).unwrap();
    let job = launched(&aap).await;
    sim.move_to(Layout::Gateway);
    let error = status(&aap, &job).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    status(&aap, &job).await.unwrap();
}

// ---- answers as the world writes them ----

async fn answered(answer: ResponseTemplate) -> Result<JobStatus, ProviderError> {
    let server = MockServer::start().await;
    let version = ResponseTemplate::new(200).set_body_json(json!({"version": "24.6.1"}));
    Mock::given(path("/api/v2/ping/"))
        .respond_with(version)
        .mount(&server)
        .await;
    Mock::given(path("/api/v2/jobs/5/"))
        .respond_with(answer)
        .mount(&server)
        .await;
    let aap = AapProvider::new(config(&server.uri())).unwrap();
    status(&aap, &JobRef::new("aap", "job", "5")).await
}

const ROW: &str = r#"{"id": 5, "type": "job", "status": "running"}"#;

#[tokio::test]
async fn a_body_that_is_json_is_read_as_json() {
    for media in [
        "application/json",
        "Application/JSON; charset=UTF-8",
        "application/problem+json",
        "application/vnd.api+json",
        "text/json",
        "text/plain",
        "text/html",
        "application/octet-stream",
        "",
    ] {
        let mut answer = ResponseTemplate::new(200).set_body_bytes(ROW);
        if !media.is_empty() {
            answer = answer.insert_header("content-type", media);
        }
        let seen = answered(answer).await;
        assert_eq!(seen.unwrap().state, JobState::Running, "{media:?}");
    }
    for body in [
        format!("\u{feff}{ROW}"),
        r#"{"id": 5, "status": "new", "type": "job", "status": "running"}"#.to_owned(),
        r#"{"id": 5, "artifacts": {"x": NaN}, "type": "job", "status": "running"}"#.to_owned(),
    ] {
        let answer = ResponseTemplate::new(200).set_body_raw(body.clone(), "application/json");
        assert_eq!(
            answered(answer).await.unwrap().state,
            JobState::Running,
            "{body}"
        );
    }
    let page = ResponseTemplate::new(200).set_body_raw("<html>{}", "text/html");
    let error = answered(page).await.unwrap_err();
    assert!(
        error.message().contains("a page instead of JSON"),
        "{error}"
    );
}

#[tokio::test]
async fn an_answer_that_was_packed_unasked_is_told_as_that() {
    for (status, part) in [(200, "is compressed (gzip)"), (503, "failed at")] {
        let packed = ResponseTemplate::new(status)
            .insert_header("content-encoding", "GZIP")
            .set_body_raw(b"\x1f\x8b\x08".to_vec(), "application/json");
        let error = answered(packed).await.unwrap_err();
        assert!(error.message().contains(part), "{error}");
    }
}

#[tokio::test]
async fn answers_that_ask_to_wait_may_do_so_in_parts_of_a_second() {
    for status in [429, 503] {
        let slow = ResponseTemplate::new(status).insert_header("retry-after", "1.5");
        let error = answered(slow).await.unwrap_err();
        assert_eq!(
            error.retry_after(),
            Some(Duration::from_millis(1_500)),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_launch_counts_as_not_made_only_where_the_answer_proves_it() {
    let (sim, clock) = sim(World::with([Template::job(CREATE)])).await;
    let aap = AapProvider::with_clock(config(&sim.url()), clock).unwrap();
    for code in 400..=499_u16 {
        let not_made = matches!(
            code,
            400 | 401 | 403 | 404 | 405 | 407 | 411 | 413 | 414 | 415 | 421 | 425 | 429 | 431 | 451
        );
        let fault = if not_made {
            Fault::Status(code)
        } else {
            Fault::StatusAfter(code)
        };
        sim.fault(Route::Launch, &fault, 2);
        let error = aap
            .trigger_provision(&request(u128::from(code)))
            .await
            .unwrap_err();
        assert_eq!(
            matches!(error, TriggerError::NotLaunched(_)),
            not_made,
            "{code}: {error}"
        );
        sim.clear_faults();
    }
    assert_eq!(sim.journal().len(), 100 - 15);
}

#[tokio::test]
async fn a_403_that_is_about_no_right_advises_none() {
    for (detail, part) in [
        ("License is missing.", "subscription"),
        ("License has expired", "subscription"),
        ("CSRF Failed: CSRF token missing.", "cookie"),
        (
            "You do not have permission to perform this action.",
            "Execute",
        ),
    ] {
        let answer = ResponseTemplate::new(403).set_body_json(json!({"detail": detail}));
        let error = answered(answer).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Forbidden);
        assert!(error.advice().contains(part), "{error}");
        assert_eq!(
            error.advice().contains("Execute"),
            part == "Execute",
            "{error}"
        );
    }
}

// ---- the URL ----

#[tokio::test]
async fn a_redirect_of_the_ping_on_the_same_host_is_followed_and_of_nothing_else() {
    let server = MockServer::start().await;
    let version = ResponseTemplate::new(200).set_body_json(json!({"version": "24.6.1"}));
    Mock::given(path("/new/api/v2/ping/"))
        .respond_with(version)
        .mount(&server)
        .await;
    let moved = ResponseTemplate::new(301).insert_header("location", "/new/api/v2/ping/");
    Mock::given(path("/api/v2/ping/"))
        .respond_with(moved)
        .mount(&server)
        .await;
    let row = ResponseTemplate::new(200).set_body_raw(ROW, "application/json");
    Mock::given(path("/new/api/v2/jobs/5/"))
        .respond_with(row)
        .mount(&server)
        .await;
    let away = ResponseTemplate::new(307).insert_header("location", "/new/api/v2/jobs/5/");
    Mock::given(path("/new/api/v2/jobs/6/"))
        .respond_with(away)
        .mount(&server)
        .await;
    let aap = AapProvider::new(config(&server.uri())).unwrap();
    let seen = status(&aap, &JobRef::new("aap", "job", "5")).await;
    assert_eq!(seen.unwrap().state, JobState::Running);
    let error = status(&aap, &JobRef::new("aap", "job", "6"))
        .await
        .unwrap_err();
    assert!(error.message().contains("was redirected"), "{error}");
}

#[tokio::test]
async fn a_ping_that_leads_elsewhere_is_not_followed_and_told_by_what_is_there() {
    for (location, part, advice) in [
        (
            "/login?next=/api/v2/ping/",
            "a login page (/login)",
            "let requests to the API through",
        ),
        (
            "https://sso.example.com/oauth/x?y=s3cret",
            "a login page",
            "let requests to the API through",
        ),
        (
            "https://elsewhere.example.com/api/v2/ping/",
            "redirected to https://elsewhere",
            "set the URL to the place",
        ),
        ("/api/v2/ping/", "again and again", ""),
    ] {
        let server = MockServer::start().await;
        let away = ResponseTemplate::new(302).insert_header("location", location);
        Mock::given(method("GET"))
            .respond_with(away)
            .mount(&server)
            .await;
        let aap = AapProvider::new(config(&server.uri())).unwrap();
        let error = status(&aap, &JobRef::new("aap", "job", "5"))
            .await
            .unwrap_err();
        assert!(error.message().contains(part), "{location}: {error}");
        assert!(error.advice().contains(advice), "{location}: {error}");
        assert!(!error.to_string().contains("s3cret"), "{error}");
        assert_eq!(error.effect(), Effect::NotSent);
    }
}

#[tokio::test]
async fn a_refused_ping_is_told_as_what_it_is_and_asked_again() {
    for (status, kind, part) in [
        (401, ErrorKind::Unauthorized, "token"),
        (403, ErrorKind::Forbidden, ""),
    ] {
        // At both roots; at the first, while there is nothing at the other; and the other way round.
        for refusing in [
            &["/api/v2/ping/", "/api/controller/v2/ping/"][..],
            &["/api/v2/ping/"],
            &["/api/controller/v2/ping/"],
        ] {
            let (sim, clock) = sim(World::with([Template::job(CREATE)])).await;
            let server = MockServer::start().await;
            for at in refusing {
                let answer = ResponseTemplate::new(status)
                    .set_body_json(json!({"detail": "not now, says the gateway"}));
                let refusal = Mock::given(method("GET"))
                    .and(path(*at))
                    .respond_with(answer);
                refusal.mount(&server).await;
            }
            let aap = AapProvider::with_clock(config(&server.uri()), clock).unwrap();
            let error = aap.trigger_provision(&request(1)).await.unwrap_err();
            let TriggerError::NotLaunched(error) = error else {
                panic!("{error}");
            };
            assert_eq!(
                (error.kind(), error.effect()),
                (kind, Effect::NotSent),
                "{error}"
            );
            assert!(
                !error.message().contains("no controller answers"),
                "{error}"
            );
            let root = refusing[0].trim_end_matches("ping/");
            assert!(error.message().contains(root), "{error}");
            assert!(
                !error.advice().is_empty() && error.advice().contains(part),
                "{error}"
            );
            assert!(!error.to_string().contains(ADMIN_TOKEN));
            let report = aap.preflight(&[]).await.to_string();
            assert!(!report.contains("no controller answers"), "{report}");
            // A moment later the gateway lets the same request through.
            server.reset().await;
            let page = reqwest::get(format!("{}/api/v2/ping/", sim.url()))
                .await
                .unwrap();
            let page = ResponseTemplate::new(200)
                .set_body_raw(page.bytes().await.unwrap(), "application/json");
            Mock::given(method("GET"))
                .and(path("/api/v2/ping/"))
                .respond_with(page)
                .mount(&server)
                .await;
            let report = aap.preflight(&[]).await.to_string();
            assert!(report.contains("it answers at"), "{report}");
        }
    }
}

#[tokio::test]
async fn urls_are_taken_as_people_paste_them() {
    for (layout, tails) in [
        (
            Layout::Controller,
            &[
                "/api/v2/job_templates/7/launch/",
                "/#/templates/job_template/7",
                "/login",
                "/api/\n",
            ][..],
        ),
        (
            Layout::Gateway,
            &[
                "/api/gateway/v1",
                "/execution/templates/job-template/7/details",
                "/api/controller/v2/me/",
            ],
        ),
    ] {
        let mut world = World::with([Template::job(CREATE)]);
        world.layout = layout;
        let (sim, clock) = sim(world).await;
        for tail in tails {
            let config = config(&format!(" {}{tail}", sim.url()));
            let aap = AapProvider::with_clock(config, clock.clone()).unwrap();
            aap.trigger_provision(&request(1)).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_scheme_that_was_assumed_is_told() {
    let (sim, _clock) = sim(World::default()).await;
    let bare = sim.url().trim_start_matches("http://").to_owned();
    let aap = AapProvider::new(config(&bare)).unwrap();
    let error = status(&aap, &JobRef::new("aap", "job", "5"))
        .await
        .unwrap_err();
    assert!(error.advice().contains("https:// was assumed"), "{error}");
    assert!(error.advice().contains("write http://"), "{error}");
}

// ---- credentials ----

#[tokio::test]
async fn texts_of_secrets_work_with_what_surrounds_them() {
    let (sim, clock) = sim(World::with([Template::job(CREATE)])).await;
    let around: [fn(&str) -> String; 4] = [
        |text| format!("{text}\n"),
        |text| format!("  {text}\r\n"),
        |text| format!("\"{text}\"\n"),
        |text| format!("'{text}'"),
    ];
    for around in around {
        let mut config = config(&around(&sim.url()));
        config.auth = Auth::token(around(ADMIN_TOKEN));
        config.organization = Some(around("Default"));
        config.templates.prefix = around("osac");
        config.name = around("aap");
        let aap = AapProvider::with_clock(config, clock.clone()).unwrap();
        assert_eq!(aap.name(), "aap");
        aap.trigger_provision(&request(1)).await.unwrap();
    }
    let mut bearer = config(&sim.url());
    bearer.auth = Auth::token(format!("Bearer {ADMIN_TOKEN}\n"));
    let aap = AapProvider::with_clock(bearer, clock).unwrap();
    aap.trigger_provision(&request(1)).await.unwrap();
    let mut broken = config(&sim.url());
    broken.auth = Auth::token("s3cret\ns3cret");
    let error = AapProvider::new(broken).unwrap_err().to_string();
    assert!(
        error.contains("a line break") && !error.contains("s3cret"),
        "{error}"
    );
    let mut broken = config(&sim.url());
    broken.organization = Some("Def\nault".to_owned());
    let error = AapProvider::new(broken).unwrap_err().to_string();
    assert!(error.starts_with("organization: "), "{error}");
}

#[tokio::test]
async fn a_token_that_is_rotated_in_its_file_needs_no_restart() {
    let (sim, clock) = sim(World::with([Template::job(CREATE)])).await;
    let dir = std::env::temp_dir().join(format!("provider-aap-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let file = dir.join("token");
    std::fs::write(&file, format!("{ADMIN_TOKEN}\n")).unwrap();
    let mut config = config(&sim.url());
    config.auth = Auth::token(Secret::of_file(&file));
    let aap = AapProvider::with_clock(config, clock).unwrap();
    let job = launched(&aap).await;
    // The old one still works; the file has another.
    std::fs::write(&file, format!("{OPERATOR_TOKEN}\n")).unwrap();
    sim.revoke(ADMIN_TOKEN);
    status(&aap, &job).await.unwrap();
    // It changes without a trace, and is read again for the 401.
    let at = std::fs::metadata(&file).unwrap().modified().unwrap();
    sim.revoke(OPERATOR_TOKEN);
    let other = format!("revoked {OPERATOR_TOKEN}");
    assert!(status(&aap, &job).await.is_err(), "{other}");
    let reader = provider_testkit::aap::READER_TOKEN;
    std::fs::write(
        &file,
        format!("{reader:<width$}\n", width = OPERATOR_TOKEN.len()),
    )
    .unwrap();
    std::fs::File::options()
        .write(true)
        .open(&file)
        .unwrap()
        .set_modified(at)
        .unwrap();
    status(&aap, &job).await.unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
}

// ---- dead connections ----

#[tokio::test]
async fn a_dead_connection_of_http2_is_not_used_for_ever() {
    use provider_testkit::{Forwarder, Front};
    use rcgen::{CertificateParams, KeyPair};
    let (sim, clock) = sim(World::with([Template::job(CREATE)])).await;
    let inside = sim.url().trim_start_matches("http://").parse().unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let tls = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let front = Front::start(inside, tls).await.unwrap();
    let forwarder = Forwarder::start(front.address()).await.unwrap();
    let mut config = config(&format!("https://localhost:{}", forwarder.address().port()));
    config.http.insecure = true;
    config.http.keep_alive = SignedDuration::from_millis(200);
    let aap = AapProvider::with_clock(config, clock).unwrap();
    let job = launched(&aap).await;
    assert_eq!(forwarder.connections(), 1);
    forwarder.swallow();
    // Less than the 30 s after which a connection that nobody uses is closed anyway.
    let given_up = tokio::time::timeout(Duration::from_secs(20), forwarder.given_up(1)).await;
    given_up.expect("the client keeps a dead connection");
    status(&aap, &job).await.unwrap();
    assert_eq!(forwarder.connections(), 2);
}

// ---- a controller that asks for our certificate ----

#[tokio::test]
async fn a_controller_that_asks_for_our_certificate_gets_it_and_a_renewed_one_too() {
    use provider_aap::ClientIdentity;
    use provider_testkit::Front;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use rustls::pki_types::PrivateKeyDer;
    use rustls::server::WebPkiClientVerifier;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let params = || CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let authority = || {
        let (key, mut params) = (KeyPair::generate().unwrap(), params());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        (params.self_signed(&key).unwrap(), Issuer::new(params, key))
    };
    let pair = |issuer: &Issuer<'_, KeyPair>| {
        let key = KeyPair::generate().unwrap();
        (params().signed_by(&key, issuer).unwrap(), key)
    };
    let ((ca, ours), (_, others)) = (authority(), authority());
    let (certificate, key) = pair(&ours);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca.der().clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots))
        .build()
        .unwrap();
    // In TLS 1.2 the client always learns why: the handshake does not end before the server has looked.
    let tls = rustls::ServerConfig::builder_with_protocol_versions(&[&rustls::version::TLS12])
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let (sim, clock) = sim(World::with([Template::job(CREATE)])).await;
    let inside = sim.url().trim_start_matches("http://").parse().unwrap();
    let front = Front::start(inside, tls).await.unwrap();
    let dir = std::env::temp_dir().join(format!("provider-aap-mtls-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let file = |name: &str| dir.join(name);
    std::fs::write(file("ca.pem"), ca.pem()).unwrap();
    let write = |issuer: &Issuer<'_, KeyPair>| {
        let (certificate, key) = pair(issuer);
        std::fs::write(file("tls.crt"), certificate.pem()).unwrap();
        std::fs::write(file("tls.key"), key.serialize_pem()).unwrap();
    };
    let mut config = config(&format!("https://localhost:{}", front.address().port()));
    config.http.ca_file = Some(file("ca.pem"));

    let aap = AapProvider::with_clock(config.clone(), clock.clone()).unwrap();
    let error = aap.trigger_provision(&request(1)).await.unwrap_err();
    let TriggerError::NotLaunched(error) = error else {
        panic!("{error}");
    };
    assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
    assert!(error.advice().contains("none is set"), "{error}");
    assert!(error.advice().contains("http.clientIdentity"), "{error}");

    // One of somebody else's, which is renewed on disk by one that counts.
    write(&others);
    config.http.client_identity = Some(ClientIdentity::Files {
        certificate: file("tls.crt"),
        key: file("tls.key"),
    });
    let aap = AapProvider::with_clock(config, clock).unwrap();
    let error = aap.trigger_provision(&request(1)).await.unwrap_err();
    let TriggerError::NotLaunched(error) = error else {
        panic!("{error}");
    };
    assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
    assert!(!error.advice().contains("none is set"), "{error}");
    write(&ours);
    let job = launched(&aap).await;
    status(&aap, &job).await.unwrap();
    assert_eq!(sim.journal().len(), 1);
    std::fs::remove_dir_all(&dir).unwrap();
}

// ---- a proxy that shows the API elsewhere ----

/// Passes requests on, as nginx with `location` and `proxy_pass` does: what is below `shown` here is below
/// `real` there, and no path in an answer is touched. Everything else is a 404 of its own.
async fn rewriting(shown: &'static str, real: String) -> String {
    use axum::body::{Body, to_bytes};
    use axum::extract::Request;
    use axum::http::{Response, StatusCode};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let pass_on = move |request: Request| async move {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().unwrap().as_str();
        let Some(below) = path.strip_prefix(shown) else {
            let mut answer = Response::new(Body::from("no such location"));
            *answer.status_mut() = StatusCode::NOT_FOUND;
            return answer;
        };
        let body = to_bytes(body, 1 << 20).await.unwrap();
        let mut headers = parts.headers;
        headers.remove("host");
        let request = client
            .request(parts.method, format!("{real}{below}"))
            .headers(headers)
            .body(body);
        let answer = request.send().await.unwrap();
        let mut passed = Response::builder().status(answer.status());
        passed
            .headers_mut()
            .unwrap()
            .extend(answer.headers().clone());
        passed
            .body(Body::from(answer.bytes().await.unwrap()))
            .unwrap()
    };
    let proxy = axum::Router::new().fallback(pass_on);
    tokio::spawn(async move { axum::serve(listener, proxy).await });
    format!("http://{address}")
}

#[tokio::test]
async fn the_url_on_record_can_be_opened_behind_a_proxy_that_rewrites_paths() {
    use provider_core::lifecycle::{
        Desired, Lifecycle, MemoryStore, Policy, ProviderRegistry, SeededEntropy, Standing,
    };
    for (shown, real, given) in [
        ("/ctl/", "/", "/ctl"),
        ("/ctl/api/controller/v2/", "/api/v2/", "/ctl/api/controller"),
    ] {
        let (sim, clock) = sim(World::with([Template::job(CREATE)])).await;
        let proxy = rewriting(shown, format!("{}{real}", sim.url())).await;
        let aap = AapProvider::with_clock(config(&format!("{proxy}{given}")), clock.clone());
        let aap = Arc::new(aap.unwrap());
        let registry = ProviderRegistry::single(aap.clone());
        let engine = Lifecycle::with_entropy(Policy::default(), Arc::new(SeededEntropy::new(1)));
        let store = MemoryStore::new();
        let version = provider_core::ConfigVersion::of_json(&json!({}));
        let desired = Desired::new(version, "aap");
        let object = vm();
        let mut passes = 0;
        let outcome = loop {
            let outcome = engine
                .reconcile(&registry, &store, &object, &desired, &*clock)
                .await;
            if matches!(outcome.standing, Standing::Applied { .. }) {
                break outcome;
            }
            passes += 1;
            assert!(passes < 100, "{:?}", outcome.standing);
            clock.advance(Duration::from_secs(10));
        };
        let record = &outcome.records[0];
        let url = record.url.as_deref().unwrap();
        assert!(url.starts_with(&format!("{proxy}/ctl/")), "{url}");
        let open = async |url: &str| {
            let request = reqwest::Client::new().get(url).bearer_auth(ADMIN_TOKEN);
            request.send().await.unwrap()
        };
        let page = open(url).await;
        assert_eq!(page.status().as_u16(), 200, "{url}");
        let row: serde_json::Value = page.json().await.unwrap();
        assert_eq!(Some(row["id"].to_string()), record.job_id, "{url}");
        // What the controller calls it is nowhere at the proxy.
        let at = url::Url::parse(&proxy).unwrap();
        let at = at.join(row["url"].as_str().unwrap()).unwrap();
        assert_eq!(open(at.as_str()).await.status().as_u16(), 404);
        // Nor is it another one when the job was searched for.
        let query = provider_core::FindRequest::new(
            object,
            provider_core::JobType::Provision,
            record.token.clone().unwrap(),
        );
        let query = query.not_before(record.sent_at.unwrap_or_else(start));
        let found = aap.find_launched(&query).await.unwrap();
        let urls: Vec<_> = found.iter().map(|one| one.job.url.as_deref()).collect();
        assert_eq!(urls, [Some(url)]);
    }
}
