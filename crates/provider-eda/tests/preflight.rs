//! Credentials, tried out without an event.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed"
)]

mod common;

use common::{all_by_one_template, config, setup, stream, webhook, with};
use provider_core::{Provider, Severity};
use provider_eda::{ClientIdentity, EdaConfig, Hmac, StreamAuth};
use provider_testkit::eda::{EdaSim, Fault, HmacCheck, Stream, StreamCredential, Webhook, World};
use serde_json::json;

/// Every sort of credential is tried out, right and wrong, and no event is sent for it.
#[tokio::test]
async fn preflight_tries_credentials_out_without_an_event() {
    let hmac = |secret: &str| Hmac::new(secret.to_owned());
    let basic = StreamCredential::Basic {
        username: "u".to_owned(),
        password: "s3cret".to_owned(),
    };
    let both = || Webhook::new().with_token("t0ken");
    let hook = |secret: Option<&str>| {
        let hmac = secret.map(hmac);
        move |sim: &EdaSim| {
            let mut hook = webhook(sim).with_token("t0ken");
            hook.hmac = hmac;
            config(hook)
        }
    };
    let events = |auth: StreamAuth| move |sim: &EdaSim| config(stream(sim, auth));
    type Config = Box<dyn FnOnce(&EdaSim) -> EdaConfig>;
    type Case = (&'static str, World, Config, Option<&'static str>);
    let signed = || World::from(both().with_hmac(HmacCheck::hex("s3cret")));
    let by_hmac = || {
        World::from(Stream::new(StreamCredential::Hmac(HmacCheck::base64(
            "s3cret",
        ))))
    };
    let by_basic = || World::from(Stream::new(basic.clone()));
    let by_token = || World::from(Stream::token("s3cret"));
    let cases: Vec<Case> = vec![
        ("hmac", signed(), Box::new(hook(Some("s3cret"))), None),
        (
            "wrong hmac",
            signed(),
            Box::new(hook(Some("wrong"))),
            Some("our signature"),
        ),
        (
            "no hmac on our side",
            signed(),
            Box::new(hook(None)),
            Some("expects a signature"),
        ),
        (
            "no hmac on their side",
            both().into(),
            Box::new(hook(Some("s3cret"))),
            None,
        ),
        (
            "stream, hmac",
            by_hmac(),
            Box::new(events(StreamAuth::Hmac(hmac("s3cret")))),
            None,
        ),
        (
            "stream, wrong hmac",
            by_hmac(),
            Box::new(events(StreamAuth::Hmac(hmac("wrong")))),
            Some("our credential"),
        ),
        (
            "stream, token",
            by_token(),
            Box::new(events(StreamAuth::token("s3cret"))),
            None,
        ),
        (
            "stream, wrong token",
            by_token(),
            Box::new(events(StreamAuth::token("wrong"))),
            Some("our credential"),
        ),
        (
            "stream, another type",
            by_token(),
            Box::new(events(StreamAuth::Hmac(hmac("s3cret")))),
            Some("another header"),
        ),
        (
            "stream, basic",
            by_basic(),
            Box::new(events(StreamAuth::basic("u", "s3cret"))),
            None,
        ),
        (
            "stream, wrong basic",
            by_basic(),
            Box::new(events(StreamAuth::basic("u", "wrong"))),
            Some("our credential"),
        ),
        (
            "stream, certificate",
            Stream::new(StreamCredential::None).into(),
            Box::new(events(StreamAuth::ClientCertificate)),
            None,
        ),
    ];
    for (what, world, config_of, complaint) in cases {
        let identity = {
            let key = rcgen::generate_simple_self_signed(vec!["x".to_owned()]).unwrap();
            format!("{}\n{}", key.cert.pem(), key.signing_key.serialize_pem())
        };
        let s = setup(world, |sim| {
            let mut config = config_of(sim);
            config.http.client_identity = Some(ClientIdentity::Pem(identity.into()));
            config
        })
        .await;
        let report = s.eda.preflight(&["ComputeInstance".to_owned()]).await;
        let text = report.to_string();
        assert!(!text.contains("s3cret"), "{text}");
        match complaint {
            None => {
                assert!(report.is_ok(), "{what}: {text}");
                assert!(text.contains("takes our credential"), "{what}: {text}");
            }
            Some(complaint) => {
                assert!(!report.is_ok(), "{what}: {text}");
                assert!(text.contains(complaint), "{what}: {text}");
            }
        }
        assert!(s.sim.journal().is_empty(), "{what}: an event was sent");
    }
    // Something that takes anything is not a rulebook.
    let s = setup(signed(), hook(Some("s3cret"))).await;
    s.sim.fault(&Fault::LoginPage(0), 2);
    let report = s.eda.preflight(&["ComputeInstance".to_owned()]).await;
    assert!(!report.is_ok(), "{report}");
}

#[tokio::test]
async fn preflight_names_the_action_whose_url_is_missing_or_not_there() {
    let kinds = ["ComputeInstance".to_owned(), "Tenant".to_owned()];
    let s = with(json!({
        "create": "SIM/create", "delete": "SIM/delete",
        "kinds": {"Tenant": {"actions": {"restart": "SIM/restart", "resize": "http://127.0.0.1:9/x"}}},
        "targets": {"dns": {"actions": {"restart": "SIM/restart-dns"}}},
    }))
    .await;
    let report = s.eda.preflight(&kinds).await;
    let found = |check: &str| {
        let mut findings = report.findings.iter();
        let found = findings.find(|finding| finding.check == check);
        found.map(|finding| (finding.severity, finding.message.clone()))
    };
    let (severity, message) = found("restart of ComputeInstance").unwrap();
    assert_eq!(severity, Severity::Warning);
    assert!(
        message.contains("there is no URL to restart a ComputeInstance"),
        "{message}"
    );
    assert_eq!(found("restart of Tenant").unwrap().0, Severity::Ok);
    assert_eq!(found("resize of Tenant").unwrap().0, Severity::Error);
    let of_target = found("restart of ComputeInstance for target dns").unwrap();
    assert_eq!(of_target.0, Severity::Ok);
    let missing = found("resize of ComputeInstance for target dns").unwrap();
    assert_eq!(missing.0, Severity::Warning);
    assert!(s.sim.journal().is_empty());
    // A URL that depends on the name is tried out for the names that are known.
    let mut urls = all_by_one_template();
    urls["actions"] = json!({"restart": "SIM/{action}-{kind}"});
    let report = with(urls).await.eda.preflight(&kinds).await;
    assert!(report.is_ok(), "{report}");
    let text = report.to_string();
    for part in [
        "restart of Tenant",
        "any other action of Tenant",
        "depends on the name",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}
