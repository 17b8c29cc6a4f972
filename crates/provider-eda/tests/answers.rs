//! Every answer of the two services, as the provider understands it, over real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed"
)]

mod common;

use common::{
    ambiguous, config, http, not_launched, object, request, resource, setup, stream, vm, webhook,
};
use provider_core::{Effect, ErrorKind, ExtraVars, Provider, TriggerError};
use provider_eda::{
    EdaConfig, EdaProvider, Encoding, Endpoints, Hmac, RulebookWebhook, StreamAuth,
};
use provider_testkit::eda::{
    EdaSim, Fate, Fault, HmacCheck, Stream, StreamCredential, Webhook, World,
};
use serde_json::{Value, json};

/// Sends one event, and asserts that the answer agrees with what the service took.
async fn send(
    world: impl Into<World>,
    config_of: impl FnOnce(&EdaSim) -> EdaConfig,
    fault: Option<Fault>,
) -> (Result<(), TriggerError>, EdaSim) {
    let s = setup(world, config_of).await;
    if let Some(fault) = fault {
        s.sim.fault(&fault, 1);
    }
    let result = s.eda.trigger_provision(&request(vm("vm"), 1)).await;
    let taken = s.sim.journal().len();
    match &result {
        Ok(sent) => {
            assert_eq!(taken, 1);
            let job = sent.job.as_ref().unwrap();
            assert_eq!(job.id, common::token(1).as_str());
        }
        Err(TriggerError::NotLaunched(error)) => assert_eq!(taken, 0, "{error}"),
        Err(TriggerError::Ambiguous(_)) => {}
    }
    if let Err(error) = &result {
        let text = format!("{error} {error:?}");
        assert!(
            !text.contains("s3cret") && !text.contains("cores"),
            "{text}"
        );
        assert!(error.to_string().len() <= 1_100);
    }
    (result.map(|_| ()), s.sim)
}

async fn refused(
    world: impl Into<World>,
    config_of: impl FnOnce(&EdaSim) -> EdaConfig,
) -> (ErrorKind, String) {
    let (result, _) = send(world, config_of, None).await;
    let error = result.unwrap_err();
    let error = not_launched(&error);
    assert_eq!(error.effect(), Effect::Rejected);
    (error.kind(), error.to_string())
}

#[tokio::test]
async fn a_webhook_takes_what_its_credentials_fit() {
    let hex = || HmacCheck::hex("s3cret-hmac");
    let base64 = || HmacCheck::base64("s3cret-hmac");
    let hmac = || Hmac::new("s3cret-hmac");
    type Make = fn(RulebookWebhook) -> RulebookWebhook;
    let fits: [(Webhook, Make); 8] = [
        (Webhook::new(), |w| w),
        (Webhook::new().with_token("s3cret"), |w| {
            w.with_token("s3cret")
        }),
        (Webhook::new().with_hmac(hex()), |w| {
            w.with_hmac(Hmac::new("s3cret-hmac"))
        }),
        (Webhook::new().with_hmac(hex()), |w| {
            w.with_hmac(Hmac::new("s3cret-hmac").with_prefix(""))
        }),
        (Webhook::new().with_hmac(base64()), |w| {
            w.with_hmac(Hmac::new("s3cret-hmac").with_encoding(Encoding::Base64))
        }),
        (Webhook::new().with_hmac(hex().with_header("X-Sign")), |w| {
            w.with_hmac(Hmac::new("s3cret-hmac").with_header("X-Sign"))
        }),
        (Webhook::new().with_hmac(hex()).with_token("s3cret"), |w| {
            w.with_hmac(Hmac::new("s3cret-hmac")).with_token("s3cret")
        }),
        (Webhook::new().with_hmac(hex()), |w| {
            w.with_hmac(Hmac::github("s3cret-hmac"))
        }),
    ];
    for (world, make) in fits {
        let (result, sim) = send(world, |sim| config(make(webhook(sim))), None).await;
        result.unwrap();
        let event = &sim.journal()[0];
        assert_eq!(event.endpoint, "create-compute-instance");
        assert_eq!(event.fate, Fate::Queued);
    }

    let token = || Webhook::new().with_token("s3cret");
    let signed = || Webhook::new().with_hmac(hex());
    let (kind, text) = refused(token(), |sim| config(webhook(sim))).await;
    assert_eq!(kind, ErrorKind::Unauthorized);
    assert!(
        text.contains("token of") || text.contains("our token"),
        "{text}"
    );
    let wrong = |sim: &EdaSim| config(webhook(sim).with_token("wrong-s3cret"));
    assert_eq!(refused(token(), wrong).await.0, ErrorKind::Unauthorized);
    // No signature at all is answered with 400, and means the same.
    let (kind, text) = refused(signed(), |sim| config(webhook(sim))).await;
    assert_eq!(kind, ErrorKind::Unauthorized);
    assert!(text.contains("hmac_header"), "{text}");
    for hmac in [
        Hmac::new("other-s3cret"),
        hmac().with_encoding(Encoding::Base64),
        hmac().with_prefix("sha1="),
    ] {
        let (kind, text) = refused(signed(), |sim| config(webhook(sim).with_hmac(hmac))).await;
        assert_eq!(kind, ErrorKind::Unauthorized);
        assert!(text.contains("signature"), "{text}");
    }
    let both = || token().with_hmac(hex());
    let only_token = |sim: &EdaSim| config(webhook(sim).with_token("s3cret"));
    let only_hmac = |sim: &EdaSim| config(webhook(sim).with_hmac(Hmac::new("s3cret-hmac")));
    assert_eq!(refused(both(), only_token).await.0, ErrorKind::Unauthorized);
    assert_eq!(refused(both(), only_hmac).await.0, ErrorKind::Unauthorized);
}

#[tokio::test]
async fn an_event_stream_takes_what_its_credential_fits() {
    let hmac = |check| Stream::new(StreamCredential::Hmac(check));
    let basic = || {
        Stream::new(StreamCredential::Basic {
            username: "u".to_owned(),
            password: "s3cret".to_owned(),
        })
    };
    let gitlab = || {
        Stream::new(StreamCredential::Token {
            token: "s3cret".to_owned(),
            header: "X-Gitlab-Token".to_owned(),
        })
    };
    let base64 = || HmacCheck::base64("s3cret");
    let github = || HmacCheck::hex("s3cret").with_prefix("sha256=");
    let in_gitlab = || StreamAuth::Token {
        token: "s3cret".to_owned().into(),
        header: "X-Gitlab-Token".to_owned(),
    };
    for (world, auth) in [
        (Stream::token("s3cret"), StreamAuth::token("s3cret")),
        (gitlab(), in_gitlab()),
        (hmac(base64()), StreamAuth::Hmac(Hmac::new("s3cret"))),
        (hmac(github()), StreamAuth::Hmac(Hmac::github("s3cret"))),
        (
            hmac(base64().with_prefix("v1=")),
            StreamAuth::Hmac(Hmac::new("s3cret").with_prefix("v1=")),
        ),
        (basic(), StreamAuth::basic("u", "s3cret")),
    ] {
        let (result, sim) = send(world, |sim| config(stream(sim, auth)), None).await;
        result.unwrap();
        assert_eq!(sim.journal()[0].fate, Fate::Queued);
    }
    for (world, auth, part) in [
        (
            Stream::token("s3cret"),
            StreamAuth::token("wrong"),
            "does not accept",
        ),
        (gitlab(), StreamAuth::token("s3cret"), "another header"),
        (
            hmac(base64()),
            StreamAuth::Hmac(Hmac::new("wrong")),
            "does not accept",
        ),
        // An event stream takes exactly the prefix that it expects, unlike a webhook.
        (
            hmac(github()),
            StreamAuth::Hmac(Hmac::github("s3cret").with_prefix("")),
            "does not accept",
        ),
        (
            hmac(base64()),
            StreamAuth::token("s3cret"),
            "another header",
        ),
        (basic(), StreamAuth::basic("u", "wrong"), "does not accept"),
        (
            basic(),
            StreamAuth::Hmac(Hmac::new("s3cret")),
            "another header",
        ),
    ] {
        let (kind, text) = refused(world, |sim| config(stream(sim, auth))).await;
        assert_eq!(kind, ErrorKind::Unauthorized, "{text}");
        assert!(text.contains(part), "{text}");
    }
    let other = |sim: &EdaSim| {
        let url = format!(
            "{}/api/eda/v1/external_event_stream/8e5a1c1e-1111-4222-8333-944455556666/post/",
            sim.url()
        );
        config(provider_eda::EventStream::new(
            Endpoints::one(url),
            StreamAuth::token("s3cret"),
        ))
    };
    let (kind, text) = refused(Stream::token("s3cret"), other).await;
    assert_eq!(kind, ErrorKind::NotFound, "{text}");
}

/// What is between us and the service; the same for both.
#[tokio::test]
async fn trouble_on_the_way_is_told_by_its_effect() {
    use ErrorKind::{Invalid, Protocol, RateLimited, Timeout, Unavailable};
    let elsewhere = || Fault::Redirect(302, "https://login.example.com/x".to_owned());
    for (fault, effect, kind) in [
        (Fault::DropBefore, Effect::MaybeSent, Unavailable),
        (Fault::DropAfter, Effect::MaybeSent, Unavailable),
        (Fault::HangBefore, Effect::MaybeSent, Timeout),
        (Fault::HangAfter, Effect::MaybeSent, Timeout),
        (Fault::Status(500), Effect::MaybeSent, Unavailable),
        (Fault::Status(502), Effect::MaybeSent, Unavailable),
        (Fault::Status(503), Effect::MaybeSent, Unavailable),
        (Fault::StatusAfter(500), Effect::MaybeSent, Unavailable),
        (Fault::StatusAfter(504), Effect::MaybeSent, Unavailable),
        (Fault::StatusAfter(408), Effect::MaybeSent, Timeout),
        (Fault::Status(404), Effect::Rejected, Unavailable),
        (Fault::Status(405), Effect::Rejected, Invalid),
        (Fault::Status(413), Effect::Rejected, Invalid),
        (Fault::Status(403), Effect::Rejected, ErrorKind::Forbidden),
        (Fault::Status(407), Effect::Rejected, Unavailable),
        (Fault::Status(415), Effect::Rejected, Invalid),
        (Fault::Status(421), Effect::Rejected, Unavailable),
        (Fault::Status(431), Effect::Rejected, Invalid),
        // Whoever says this may have passed the event on: it is no answer of a webhook or a stream.
        (Fault::StatusAfter(402), Effect::MaybeSent, Unavailable),
        (Fault::StatusAfter(409), Effect::MaybeSent, Unavailable),
        (Fault::StatusAfter(410), Effect::MaybeSent, Unavailable),
        (Fault::Status(418), Effect::MaybeSent, Unavailable),
        (Fault::StatusAfter(422), Effect::MaybeSent, Unavailable),
        (Fault::StatusAfter(460), Effect::MaybeSent, Timeout),
        (Fault::StatusAfter(499), Effect::MaybeSent, Timeout),
        (Fault::RateLimited(7), Effect::Rejected, RateLimited),
        (Fault::LoginPage(50_000), Effect::Unreadable, Protocol),
        (Fault::LoginPage(30), Effect::Unreadable, Protocol),
        (Fault::Status(204), Effect::Unreadable, Protocol),
        (elsewhere(), Effect::MaybeSent, Unavailable),
        (Fault::StatusAfter(303), Effect::MaybeSent, Unavailable),
        (
            Fault::Redirect(308, "?a=1".to_owned()),
            Effect::Rejected,
            Invalid,
        ),
    ] {
        for is_stream in [false, true] {
            let world = if is_stream {
                World::from(Stream::token("s3cret"))
            } else {
                Webhook::new().into()
            };
            let make = |sim: &EdaSim| {
                if is_stream {
                    config(stream(sim, StreamAuth::token("s3cret")))
                } else {
                    config(webhook(sim))
                }
            };
            let (result, sim) = send(world, make, Some(fault.clone())).await;
            let error = result.unwrap_err();
            assert_eq!(
                (error.error().effect(), error.error().kind()),
                (effect, kind),
                "{fault:?}: {error}"
            );
            assert_eq!(
                matches!(error, TriggerError::Ambiguous(_)),
                effect.is_doubtful()
            );
            if fault == Fault::RateLimited(7) {
                let wait = error.error().retry_after().unwrap();
                assert_eq!(wait.as_secs(), 7);
            }
            // One request, whatever was answered.
            assert_eq!(sim.requests(), 1, "{fault:?}");
        }
    }
}

/// Whether the beginning of the answer arrives is up to the network; it is in doubt either way.
#[tokio::test]
async fn an_answer_that_breaks_off_leaves_the_event_in_doubt() {
    let (result, sim) = send(
        Webhook::new(),
        |sim| config(webhook(sim)),
        Some(Fault::Truncated),
    )
    .await;
    ambiguous(&result.unwrap_err());
    assert_eq!(sim.journal().len(), 1);
}

#[tokio::test]
async fn an_absent_service_is_not_sent_and_says_what_is_absent() {
    let urls = Endpoints::new("http://nowhere.invalid/x", "http://nowhere.invalid/y");
    let eda = EdaProvider::new(config(RulebookWebhook::new(urls))).unwrap();
    let error = eda
        .trigger_provision(&request(vm("vm"), 1))
        .await
        .unwrap_err();
    let error = not_launched(&error);
    assert_eq!(error.effect(), Effect::NotSent);
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        error.advice().contains("only while an activation runs"),
        "{error}"
    );

    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let urls = Endpoints::one(format!("http://{address}/x"));
    let eda = EdaProvider::new(config(RulebookWebhook::new(urls))).unwrap();
    let error = eda
        .trigger_provision(&request(vm("vm"), 1))
        .await
        .unwrap_err();
    let error = not_launched(&error);
    assert_eq!(error.effect(), Effect::NotSent);
    assert!(error.advice().contains("port opens"), "{error}");
}

#[tokio::test]
async fn the_payload_is_the_object_with_ours_beside_it() {
    let s = setup(Webhook::new(), |sim| config(webhook(sim))).await;
    let vars = ExtraVars::new()
        .with("tier", "gold")
        .with_secret("key", "s3cret-value");
    let sent = s
        .eda
        .trigger_provision(&request(vm("vm"), 1).with_extra_vars(vars))
        .await
        .unwrap();
    let job = sent.job.unwrap();
    assert_eq!((job.provider.as_str(), job.kind.as_str()), ("eda", "event"));
    let payload = s.sim.journal()[0].payload.clone();
    assert_eq!(payload["metadata"]["name"], "vm");
    assert_eq!(payload["spec"], json!({"cores": 4}));
    assert_eq!(payload.get("status"), None);
    assert_eq!(payload["metadata"].get("managedFields"), None);
    assert_eq!(
        payload["providerEvent"],
        json!({
            "action": "create", "operationToken": common::token(1).as_str(),
            "configVersion": common::version().as_str(), "uid": "uid-vm",
            "extraVars": {"tier": "gold", "key": "s3cret-value"},
        })
    );
}

async fn refused_before_sending(spec: Value, is_stream: bool, part: &str) {
    let world = if is_stream {
        World::from(Stream::token("s3cret"))
    } else {
        Webhook::new().into()
    };
    let s = setup(world, |sim| {
        let config = if is_stream {
            config(stream(sim, StreamAuth::token("s3cret")))
        } else {
            config(webhook(sim))
        };
        config.with_templates_refused()
    })
    .await;
    let mut object = object("vm", "tenant");
    object["spec"] = spec;
    let error = s
        .eda
        .trigger_provision(&request(resource(object), 1))
        .await
        .unwrap_err();
    let error = not_launched(&error);
    assert_eq!(
        (error.effect(), error.kind()),
        (Effect::NotSent, ErrorKind::Invalid)
    );
    assert!(error.to_string().contains(part), "{error}");
    assert!(!error.advice().is_empty());
    assert_eq!(s.sim.requests(), 0);
}

#[tokio::test]
async fn what_the_other_side_cannot_read_is_not_sent() {
    let mut deep = json!(1);
    for _ in 0..120 {
        deep = json!([deep]);
    }
    let long_key: Value = json!({"k".repeat(1_100): 1});
    for is_stream in [false, true] {
        for nameless in [json!({"": 1}), json!([{"a": {"b": [{"": {}}]}}])] {
            refused_before_sending(nameless, is_stream, "empty name").await;
        }
        refused_before_sending(json!({"x": "{{ lookup('env','HOME') }}"}), is_stream, "{{").await;
        refused_before_sending(deep.clone(), is_stream, "nested").await;
    }
    refused_before_sending(json!("x".repeat(1 << 20)), false, "1048576").await;
    refused_before_sending(json!("x".repeat(2_621_440)), true, "2621440").await;
    refused_before_sending(long_key.clone(), true, "member name").await;
    refused_before_sending(json!("\"\\".repeat(4_000)), true, "dense").await;

    // The limits are of one transport each.
    let s = setup(Webhook::new(), |sim| config(webhook(sim))).await;
    for (n, spec) in [(1, long_key), (2, json!("\"\\".repeat(4_000)))] {
        let mut object = object("vm", "tenant");
        object["spec"] = spec;
        let sent = s.eda.trigger_provision(&request(resource(object), n)).await;
        sent.unwrap();
    }
    // A member of the object's own in our place is not overwritten.
    let mut object = object("vm", "tenant");
    object["providerEvent"] = json!({});
    let sent = s.eda.trigger_provision(&request(resource(object), 3)).await;
    let error = sent.unwrap_err();
    assert!(not_launched(&error).to_string().contains("providerEvent"));
}

/// A body of exactly the size that the other side takes is sent, and one byte more is not.
#[tokio::test]
async fn the_limits_are_exact() {
    let a = setup(Webhook::new(), |sim| config(webhook(sim))).await;
    let b = setup(Stream::token("s3cret"), |sim| {
        config(stream(sim, StreamAuth::token("s3cret")))
    })
    .await;
    for (s, limit) in [(a, 1 << 20), (b, 2_621_440)] {
        let of_length = |length: usize| {
            let mut object = object("vm", "tenant");
            object["spec"] = "x".repeat(length).into();
            request(resource(object), 1)
        };
        s.sim.fault(&Fault::Status(404), 1);
        // Long enough to be padded, where that is done.
        s.eda
            .trigger_provision(&of_length(9_000))
            .await
            .unwrap_err();
        let rest = limit - (s.sim.troubles()[0].body.len() - 9_000);
        let mut http = s.eda.config().http.clone();
        http.request_timeout = jiff::SignedDuration::from_secs(30);
        let patient = EdaProvider::new(s.eda.config().clone().with_http(http)).unwrap();
        let sent = patient.trigger_provision(&of_length(rest)).await;
        assert!(sent.is_ok(), "{sent:?}");
        let error = patient.trigger_provision(&of_length(rest + 1)).await;
        let error = error.unwrap_err();
        assert_eq!(not_launched(&error).effect(), Effect::NotSent);
        assert_eq!((s.sim.requests(), s.sim.journal().len()), (2, 1));
    }
}

/// What a webhook and an event stream make of one object is the same, whatever is in it.
#[tokio::test]
async fn both_transports_deliver_the_same_object() {
    let spec = json!({
        "text": "tab\t line\nnul\0 del\u{7f} c1\u{9f} nel\u{85} ls\u{2028} ps\u{2029} bom\u{feff} é 😀 \"q\" \\",
        "numbers": [0, -1, 1.5, 1e16, 1.5e16, 1e-7, 1.5e300, 18_446_744_073_709_551_615_u64],
        "words": ["1e16", "null", "yes", "0x10", "1:30", "~", ""],
        "nested": {"a b": {" ": [null, true, false, {}, []]}},
    });
    let mut object = object("vm", "tenant");
    object["spec"] = spec.clone();
    let a = setup(Webhook::new(), |sim| config(webhook(sim))).await;
    let b = setup(Stream::token("s3cret"), |sim| {
        config(stream(sim, StreamAuth::token("s3cret")))
    })
    .await;
    for s in [&a, &b] {
        let request = request(resource(object.clone()), 1);
        s.eda.trigger_provision(&request).await.unwrap();
        assert_eq!(s.sim.journal()[0].payload["spec"], spec);
    }
    assert_eq!(a.sim.journal()[0].payload, b.sim.journal()[0].payload);
}

#[tokio::test]
async fn a_dropped_connection_that_was_idle_is_told_as_in_doubt_at_worst() {
    let s = setup(Webhook::new(), |sim| config(webhook(sim))).await;
    s.eda.trigger_provision(&request(vm("a"), 1)).await.unwrap();
    s.sim.fault(&Fault::DropBefore, 1);
    let error = s
        .eda
        .trigger_provision(&request(vm("b"), 2))
        .await
        .unwrap_err();
    ambiguous(&error);
    s.eda.trigger_provision(&request(vm("c"), 3)).await.unwrap();
    assert_eq!(s.sim.journal().len(), 2);
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused_with_their_name() {
    let stream_url = format!("https://h{}", Stream::token("").path());
    let no_slash = stream_url.trim_end_matches('/').to_owned();
    let uuid = "https://h/api/eda/v1/external_event_stream/not-a-uuid/post/";
    let hook = |url: &str| RulebookWebhook::new(Endpoints::one(url));
    let events =
        |url: &str| provider_eda::EventStream::new(Endpoints::one(url), StreamAuth::token("t"));
    let with = |auth| provider_eda::EventStream::new(Endpoints::one(&stream_url), auth);
    let cases: Vec<(EdaConfig, &str)> = vec![
        (
            EdaConfig::new(hook("not a url")),
            "endpoints.create: it is not a URL",
        ),
        (EdaConfig::new(hook(&stream_url)), "eventStream"),
        (
            EdaConfig::new(events("https://h/create-vm")),
            "external_event_stream",
        ),
        (EdaConfig::new(events(&no_slash)), "slash at the end"),
        (EdaConfig::new(events(uuid)), "external_event_stream"),
        (EdaConfig::new(RulebookWebhook::default()), "endpoints"),
        (
            EdaConfig::new(hook("http://h/x").with_token("")),
            "token: the token is empty",
        ),
        (
            EdaConfig::new(hook("http://h/x").with_token("t\nu")),
            "line break",
        ),
        (
            EdaConfig::new(hook("http://h/x").with_token("tö")),
            "no header can carry",
        ),
        (
            EdaConfig::new(hook("http://h/x").with_hmac(Hmac::new(""))),
            "secret is empty",
        ),
        (
            EdaConfig::new(hook("http://h/x").with_hmac(Hmac::new("s").with_header("a b"))),
            "name of a header",
        ),
        (EdaConfig::new(with(StreamAuth::basic("a:b", "p"))), "colon"),
        (
            EdaConfig::new(with(StreamAuth::ClientCertificate)),
            "http.clientIdentity",
        ),
        (EdaConfig::new(hook("http://h/x")).with_name(""), "name: "),
        (
            EdaConfig::new(hook("http://h/x")).with_envelope("spec"),
            "envelope: ",
        ),
    ];
    for (config, part) in cases {
        let error = EdaProvider::new(config.with_http(http()))
            .unwrap_err()
            .to_string();
        assert!(error.contains(part), "{error} / {part}");
    }
}
