//! What surprised whoever measured the real programs, and what the provider makes of it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that panics has failed"
)]

mod common;

use common::{
    ambiguous, config, not_launched, object, record, request, resource, setup, start, stream,
    tracked, vm, webhook,
};
use jiff::SignedDuration;
use provider_core::{
    DeprovisionResult, Effect, ErrorKind, ExtraVars, JobState, JobType, Provider, Resource,
    ResourceError,
};
use provider_eda::{Activation, Algorithm, Encoding, Hmac, Pacing, StreamAuth};
use provider_testkit::eda::{
    EdaSim, Fate, HmacCheck, HmacHash, Stream, StreamCredential, Webhook, World,
};
use serde_json::{Value, json};

fn by_stream(sim: &EdaSim) -> provider_eda::EdaConfig {
    config(stream(sim, StreamAuth::token("s3cret")))
}

#[tokio::test]
async fn s01_a_200_proves_nothing() {
    let s = setup(Webhook::new(), |sim| config(webhook(sim))).await;
    let sent = s
        .eda
        .trigger_provision(&request(vm("vm"), 1))
        .await
        .unwrap();
    assert_eq!(sent.initial_state, JobState::Unknown);
}

/// 13 events are taken at once; of the others the senders time out, and all are carried out.
#[tokio::test]
async fn s02_a_timeout_is_not_not_sent() {
    let s = setup(Webhook::new().with_queue(13), |sim| {
        config(webhook(sim)).with_pacing(Pacing {
            min_interval: SignedDuration::ZERO,
            max_in_flight: 18,
            breaker_failures: u32::MAX,
            ..Pacing::default()
        })
    })
    .await;
    let requests: Vec<_> = (1..=18)
        .map(|n| request(vm(&format!("vm-{n}")), n))
        .collect();
    let results =
        futures::future::join_all(requests.iter().map(|r| s.eda.trigger_provision(r))).await;
    let late: Vec<_> = results.iter().filter_map(|r| r.as_ref().err()).collect();
    assert_eq!(late.len(), 5);
    for error in late {
        let error = ambiguous(error);
        assert_eq!(
            (error.effect(), error.kind()),
            (Effect::MaybeSent, ErrorKind::Timeout)
        );
        assert!(error.advice().contains("execution_strategy"));
    }
    assert_eq!(s.sim.journal().len(), 18);
}

/// The limit of events in flight keeps a slow rulebook from being flooded: of many more events than it
/// takes at once, none has a sender that times out.
#[tokio::test]
async fn s03_with_few_events_in_flight_no_sender_times_out() {
    let s = setup(Webhook::new().with_queue(13), |sim| {
        let mut config = config(webhook(sim)).with_pacing(Pacing {
            min_interval: SignedDuration::ZERO,
            max_in_flight: 4,
            ..Pacing::default()
        });
        // However slow the machine is, what waits for the rulebook is told from what does not.
        config.http.request_timeout = SignedDuration::from_secs(20);
        config
    })
    .await;
    let requests: Vec<_> = (1..=40)
        .map(|n| request(vm(&format!("vm-{n}")), n))
        .collect();
    let senders = futures::future::join_all(requests.iter().map(|r| s.eda.trigger_provision(r)));
    let sim = &s.sim;
    // It works one event off whenever nobody gets on, so its queue is full nearly all the time.
    let slow = async {
        let mut most_waiting = 0;
        for worked_off in 0.. {
            let mut last = usize::MAX;
            while last != sim.journal().len() {
                last = sim.journal().len();
                for _ in 0..200 {
                    tokio::task::yield_now().await;
                }
            }
            most_waiting = most_waiting.max(last.saturating_sub(13 + worked_off));
            if last == 40 {
                break;
            }
            sim.work_off(1);
        }
        sim.work_off(40);
        most_waiting
    };
    let (results, most_waiting) = futures::future::join(senders, slow).await;
    assert!(results.iter().all(Result::is_ok));
    // The senders did have to wait, and never more than the limit of them.
    assert_eq!(most_waiting, 4);
}

/// An event stream answers 200 while its activation is down, and the event is gone.
#[tokio::test]
async fn s04_an_event_stream_loses_what_nobody_listens_to() {
    let s = setup(Stream::token("s3cret"), by_stream).await;
    s.sim.change(|world| {
        if let World::Streams(streams) = world {
            streams[0].listening = false;
        }
    });
    let sent = s
        .eda
        .trigger_provision(&request(vm("vm"), 1))
        .await
        .unwrap();
    assert_eq!(s.sim.journal()[0].fate, Fate::Lost);
    assert_eq!(sent.initial_state, JobState::Unknown);
    let status = s.eda.status(&vm("vm"), &tracked(1)).await.unwrap();
    assert_eq!(status.state, JobState::Unknown);
    // Deletion waits for it as long as it could still be on its way, and not for ever.
    let history = [record(JobType::Provision, 1, JobState::Unknown, start())];
    let deleted = s
        .eda
        .trigger_deprovision(&request(vm("vm"), 2), &history)
        .await;
    assert!(matches!(
        deleted.unwrap(),
        DeprovisionResult::Waiting { .. }
    ));
    s.pass(15 * 60);
    let deleted = s
        .eda
        .trigger_deprovision(&request(vm("vm"), 2), &history)
        .await;
    assert!(matches!(
        deleted.unwrap(),
        DeprovisionResult::Skipped { .. }
    ));
}

/// Wrong credentials are 400, 401 or 403, by service and case; the provider says one thing.
#[tokio::test]
async fn s05_wrong_credentials_have_many_codes_and_one_meaning() {
    use provider_testkit::eda::HmacCheck;
    let webhook_world = Webhook::new().with_hmac(HmacCheck::hex("s3cret"));
    let a = setup(webhook_world, |sim| config(webhook(sim))).await;
    let b = setup(Webhook::new().with_token("s3cret"), |sim| {
        config(webhook(sim))
    })
    .await;
    let c = setup(Stream::token("s3cret"), |sim| {
        config(stream(sim, StreamAuth::token("wrong")))
    })
    .await;
    for s in [a, b, c] {
        let error = s
            .eda
            .trigger_provision(&request(vm("vm"), 1))
            .await
            .unwrap_err();
        assert_eq!(not_launched(&error).kind(), ErrorKind::Unauthorized);
    }
}

/// Without its slash at the end, the server redirects, and a client that follows turns the event
/// into a GET.
#[tokio::test]
async fn s06_the_slash_at_the_end_is_part_of_the_url() {
    let s = setup(Stream::token("s3cret"), by_stream).await;
    let without = s.sim.stream_url().trim_end_matches('/').to_owned();
    let urls = provider_eda::Endpoints::one(without);
    let events = provider_eda::EventStream::new(urls, StreamAuth::token("s3cret"));
    let error = provider_eda::EdaProvider::new(config(events)).unwrap_err();
    assert!(error.to_string().contains("slash at the end"));
    // Where it is a gateway that wants another URL, the event is known to be refused.
    let fault = provider_testkit::eda::Fault::Redirect(301, s.sim.stream_url() + "/");
    s.sim.fault(&fault, 1);
    let error = s
        .eda
        .trigger_provision(&request(vm("vm"), 1))
        .await
        .unwrap_err();
    assert_eq!(not_launched(&error).effect(), Effect::Rejected);
    assert_eq!((s.sim.requests(), s.sim.journal().len()), (1, 0));
}

/// Event streams read YAML: `1e16` would arrive as a text, and some characters not at all.
#[tokio::test]
async fn s07_an_event_stream_reads_yaml() {
    let s = setup(Stream::token("s3cret"), by_stream).await;
    let mut object = object("vm", "tenant");
    object["spec"] = json!({"big": 1e16, "del": "\u{7f}", "line": "a\u{2028}b", "text": "1e16"});
    let spec = object["spec"].clone();
    s.eda
        .trigger_provision(&request(resource(object), 1))
        .await
        .unwrap();
    assert_eq!(s.sim.journal()[0].payload["spec"], spec);
}

/// A document inside a text makes the EDA server fail from about 5 kB on; such an event would be
/// in doubt for ever.
#[tokio::test]
async fn s08_an_event_that_the_server_cannot_cut_is_not_sent() {
    let s = setup(Stream::token("s3cret"), by_stream).await;
    let inner: serde_json::Map<_, _> = (0..400)
        .map(|n| (format!("k{n}"), json!(format!("v{n}"))))
        .collect();
    let mut as_text = object("vm", "tenant");
    as_text["spec"] =
        json!({"templateParameters": serde_json::Value::Object(inner.clone()).to_string()});
    let error = s
        .eda
        .trigger_provision(&request(resource(as_text), 1))
        .await
        .unwrap_err();
    assert!(not_launched(&error).advice().contains("nested objects"));
    assert_eq!(s.sim.requests(), 0);
    let mut nested = object("vm", "tenant");
    nested["spec"] = json!({ "templateParameters": inner });
    s.eda
        .trigger_provision(&request(resource(nested), 2))
        .await
        .unwrap();
}

/// Behind an event stream, `event.meta.endpoint` is the path of the stream: the action must be in
/// the payload, at the same place for both transports.
#[tokio::test]
async fn s09_the_endpoint_is_another_one_behind_an_event_stream() {
    let a = setup(Webhook::new(), |sim| config(webhook(sim))).await;
    let b = setup(Stream::token("s3cret"), by_stream).await;
    for s in [&a, &b] {
        s.eda
            .trigger_provision(&request(vm("vm"), 1))
            .await
            .unwrap();
        let deleted = s
            .eda
            .trigger_deprovision(&request(common::marked("vm"), 2), &[])
            .await;
        deleted.unwrap();
        let actions: Vec<_> = s
            .sim
            .journal()
            .iter()
            .map(|event| event.text("/providerEvent/action").unwrap().to_owned())
            .collect();
        assert_eq!(actions, ["create", "delete"]);
    }
    assert_eq!(a.sim.journal()[0].endpoint, "create-compute-instance");
    assert_eq!(b.sim.journal()[0].endpoint, Stream::token("").path());
}

/// Nothing on the other side knows an event again: two sendings are two jobs. So one call sends
/// once, whatever happens, and the token in the payload lets a rule throttle.
#[tokio::test]
async fn s10_nothing_is_sent_twice() {
    use provider_testkit::eda::Fault;
    let s = setup(Webhook::new(), |sim| config(webhook(sim))).await;
    let mut n = 0;
    for fault in [
        Fault::DropBefore,
        Fault::DropAfter,
        Fault::Status(503),
        Fault::StatusAfter(502),
        Fault::RateLimited(1),
        Fault::HangAfter,
        Fault::Redirect(307, "/elsewhere".to_owned()),
    ] {
        n += 1;
        s.sim.fault(&fault, 1);
        let name = format!("vm-{n}");
        s.eda
            .trigger_provision(&request(vm(&name), n))
            .await
            .unwrap_err();
        assert_eq!(s.sim.requests(), u64::try_from(n).unwrap(), "{fault:?}");
    }
}

/// A number that is not finite is answered with 200 and then dropped, so it must not get that far;
/// and it must not silently become a null either.
#[tokio::test]
async fn s11_a_number_that_is_not_finite_is_never_sent() {
    #[derive(serde::Serialize)]
    struct Spec {
        ratio: f64,
    }
    #[derive(serde::Serialize)]
    struct Vm {
        kind: &'static str,
        metadata: serde_json::Value,
        spec: Spec,
    }
    let vm = |ratio| Vm {
        kind: "ComputeInstance",
        metadata: json!({"name": "vm", "namespace": "tenant"}),
        spec: Spec { ratio },
    };
    for ratio in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let error = Resource::from_serializable(&vm(ratio)).unwrap_err();
        assert!(matches!(error, ResourceError::NotFinite(_)));
        assert!(error.to_string().contains("spec.ratio"), "{error}");
    }
    let s = setup(Webhook::new(), |sim| config(webhook(sim))).await;
    let good = Resource::from_serializable(&vm(f64::MAX)).unwrap();
    s.eda.trigger_provision(&request(good, 1)).await.unwrap();
    let event = &s.sim.journal()[0];
    assert_eq!(event.fate, Fate::Queued);
    assert_eq!(event.payload["spec"]["ratio"], json!(f64::MAX));
    // JSON texts cannot hold one at all.
    for text in ["NaN", "Infinity", "1e400"] {
        serde_json::from_str::<serde_json::Value>(text).unwrap_err();
    }
}

/// The library that a rulebook reads paths with raises at a member without a name; the process lives on,
/// and takes and loses the events of everybody.
#[tokio::test]
async fn a_member_without_a_name_stops_a_rulebook_and_is_never_sent() {
    for by_webhook in [true, false] {
        let s = match by_webhook {
            true => setup(Webhook::new(), |sim| config(webhook(sim))).await,
            false => setup(Stream::token("s3cret"), by_stream).await,
        };
        let mut vars = request(vm("vm"), 1);
        vars.extra_vars = ExtraVars::new().with("deep", json!([{"": 1}]));
        let mut spec = object("vm", "tenant");
        spec["spec"] = json!({"labels": {"": "x"}});
        let mut label = object("vm", "tenant");
        label["metadata"]["labels"] = json!({"": "x"});
        for request in [
            vars,
            request(resource(spec), 2),
            request(resource(label), 3),
        ] {
            let error = s.eda.trigger_provision(&request).await.unwrap_err();
            let error = not_launched(&error);
            assert_eq!(error.effect(), Effect::NotSent);
            assert!(error.message().contains("empty name"), "{error}");
            assert!(!error.advice().is_empty());
        }
        assert_eq!(s.sim.requests(), 0);
        // What would have become of it.
        let url = match by_webhook {
            true => format!("{}/x", s.sim.url()),
            false => s.sim.stream_url(),
        };
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let post = async |body: Value| {
            let sent = client
                .post(&url)
                .bearer_auth("s3cret")
                .body(body.to_string());
            let sent = sent.header("content-type", "application/json").send().await;
            assert_eq!(sent.unwrap().status().as_u16(), 200);
            s.sim.journal().last().unwrap().fate
        };
        assert_eq!(post(json!({"a": 1})).await, Fate::Queued);
        assert_eq!(post(json!({"a": [{"": 1}]})).await, Fate::Dropped);
        assert_eq!(post(json!({"a": 1})).await, Fate::Lost);
        s.sim.restart_rulebook();
        assert_eq!(post(json!({"a": 1})).await, Fate::Queued);
    }
}

/// How long this is as Python writes it, all of it being ASCII.
fn python_length(value: &Value) -> usize {
    fn blanks(value: &Value) -> usize {
        match value {
            Value::Object(members) => {
                let inside: usize = members.values().map(blanks).sum();
                inside + (members.len() * 2).saturating_sub(1)
            }
            Value::Array(items) => {
                items.iter().map(blanks).sum::<usize>() + items.len().saturating_sub(1)
            }
            _ => 0,
        }
    }
    value.to_string().len() + blanks(value)
}

/// An event whose text is a multiple of the pieces' length is lost with 200; the next attempt is not of
/// that length again.
#[tokio::test]
async fn an_event_that_a_stream_has_torn_gets_through_at_the_next_attempt() {
    let s = setup(Stream::token("s3cret"), by_stream).await;
    let of = |filler: usize, n: u128| {
        let mut object = object("vm", "tenant");
        object["spec"] = json!({"text": "x".repeat(filler)});
        request(resource(object), n)
    };
    let last = || s.sim.journal().last().cloned().unwrap();
    for (n, pieces) in [(10, 1), (20, 2), (30, 3)] {
        s.eda.trigger_provision(&of(5_000, n)).await.unwrap();
        let event = last();
        let text = json!({"payload": event.payload, "meta": {
            "endpoint": event.endpoint, "eda_event_stream_uuid": Stream::UUID,
            "eda_event_stream_name": "simulated",
        }});
        let filler = 5_000 + pieces * 6_144 - python_length(&text);
        s.eda.trigger_provision(&of(filler, n)).await.unwrap();
        assert_eq!(last().fate, Fate::Lost, "{pieces} pieces");
        for attempt in 1..5 {
            s.eda
                .trigger_provision(&of(filler, n + attempt))
                .await
                .unwrap();
            assert_eq!(
                last().fate,
                Fate::Queued,
                "{pieces} pieces, attempt {attempt}"
            );
        }
    }
}

/// A stream may put all headers of a request into its event, each with four quotes.
#[tokio::test]
async fn the_headers_that_a_stream_adds_do_not_make_an_event_too_dense() {
    let mut world = Stream::token("s3cret");
    world.all_headers = true;
    let s = setup(world, by_stream).await;
    let (mut sent, mut refused) = (0, 0);
    for quotes in (500..900).step_by(7) {
        let mut object = object("vm", "tenant");
        object["spec"] = json!({"text": format!("{}{}", "x".repeat(7_000), "\"".repeat(quotes))});
        match s
            .eda
            .trigger_provision(&request(resource(object), quotes as u128))
            .await
        {
            Ok(_) => sent += 1,
            Err(error) => {
                not_launched(&error);
                refused += 1;
            }
        }
    }
    assert!(sent > 10 && refused > 10, "{sent} {refused}");
    let queued = s
        .sim
        .journal()
        .into_iter()
        .filter(|event| event.fate == Fate::Queued);
    assert_eq!(queued.count(), sent);
}

#[tokio::test]
async fn a_stream_in_test_mode_or_without_our_activation_fails_the_preflight() {
    let of_activation = |sim: &EdaSim| {
        let activation = Activation::new(format!("{}/", sim.url()), "api-token", "mine");
        by_stream(sim).with_activation(activation)
    };
    let kinds = ["ComputeInstance".to_owned()];
    let s = setup(Stream::token("s3cret"), of_activation).await;
    s.sim.serve_api("api-token");
    s.sim.activation("mine", "running");
    let report = s.eda.preflight(&kinds).await;
    assert!(report.is_ok(), "{report}");
    assert!(
        report.to_string().contains("the activation listens to it"),
        "{report}"
    );
    s.sim.unmapped_activation("mine", "running");
    let report = s.eda.preflight(&kinds).await;
    assert!(
        !report.is_ok() && report.to_string().contains("not mapped"),
        "{report}"
    );
    s.sim.activation("mine", "running");
    s.sim.change(|world| {
        if let World::Streams(streams) = world {
            streams[0].test_mode = true;
        }
    });
    let report = s.eda.preflight(&kinds).await;
    assert!(
        !report.is_ok() && report.to_string().contains("test mode"),
        "{report}"
    );
    // Lists that are empty for want of a role do not say that there is no activation.
    s.sim.take_roles();
    let report = s.eda.preflight(&kinds).await;
    assert!(
        report
            .to_string()
            .contains("without roles is shown empty lists"),
        "{report}"
    );
}

/// By a stream and by a webhook; and an event signed with another secret, or by another hash, by neither.
#[tokio::test]
async fn signatures_of_every_hash_are_taken_in_hex_and_base64() {
    let hashes = [
        (Algorithm::Sha1, HmacHash::Sha1),
        (Algorithm::Sha256, HmacHash::Sha256),
        (Algorithm::Sha384, HmacHash::Sha384),
        (Algorithm::Sha512, HmacHash::Sha512),
    ];
    for (n, (algorithm, hash)) in hashes.into_iter().enumerate() {
        for (encoding, check) in [
            (Encoding::Hex, HmacCheck::hex("s3cret")),
            (Encoding::Base64, HmacCheck::base64("s3cret")),
        ] {
            let check = check.with_hash(hash);
            let streams = Stream::new(StreamCredential::Hmac(check.clone())).into();
            let worlds: [World; 2] = [streams, Webhook::new().with_hmac(check).into()];
            for world in worlds {
                let case = format!("{algorithm:?} {encoding:?} {world:?}");
                let is_stream = matches!(world, World::Streams(_));
                let other = hashes[(n + 1) % hashes.len()].0;
                for (secret, algorithm, fits) in [
                    ("s3cret", algorithm, true),
                    ("another", algorithm, false),
                    ("s3cret", other, false),
                ] {
                    let s = setup(world.clone(), |sim| {
                        let hmac = Hmac::new(secret)
                            .with_algorithm(algorithm)
                            .with_encoding(encoding);
                        if is_stream {
                            config(stream(sim, StreamAuth::Hmac(hmac)))
                        } else {
                            config(webhook(sim).with_hmac(hmac))
                        }
                    })
                    .await;
                    let sent = s.eda.trigger_provision(&request(vm("vm"), 1)).await;
                    assert_eq!(sent.is_ok(), fits, "{case}: {sent:?}");
                    assert_eq!(s.sim.journal().len(), usize::from(fits), "{case}");
                    if let Err(error) = sent {
                        let error = not_launched(&error);
                        assert_eq!(error.kind(), ErrorKind::Unauthorized, "{case}: {error}");
                    }
                }
            }
        }
    }
}
