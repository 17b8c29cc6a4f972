//! Signatures, encodings and the classifier, over arbitrary input and against other
//! implementations.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that panics has failed"
)]

mod common;

use std::time::Duration;

use common::{config, object, request, resource, setup, stream, webhook};
use proptest::prelude::*;
use provider_core::{Effect, Provider};
use provider_eda::{Algorithm, Answer, Encoding, Hmac, StreamAuth, TransportKind};
use provider_testkit::eda::{Stream, Webhook};
use serde_json::{Value, json};
use url::Url;

/// Base64 as RFC 4648 writes it down.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let mut bits = 0_usize;
        for n in 0..3 {
            bits = bits << 8 | usize::from(*chunk.get(n).unwrap_or(&0));
        }
        for n in 0..4 {
            let digit = ALPHABET[bits >> (18 - 6 * n) & 63];
            out.push(if n <= chunk.len() {
                char::from(digit)
            } else {
                '='
            });
        }
    }
    out
}

fn by_another(algorithm: Algorithm, key: &str, body: &[u8]) -> Vec<u8> {
    use hmac::{KeyInit, Mac};
    fn mac<M: Mac + KeyInit>(key: &[u8], body: &[u8]) -> Vec<u8> {
        let mac = <M as KeyInit>::new_from_slice(key).unwrap();
        mac.chain_update(body).finalize().into_bytes().to_vec()
    }
    match algorithm {
        Algorithm::Sha256 => mac::<hmac::Hmac<sha2::Sha256>>(key.as_bytes(), body),
        Algorithm::Sha512 => mac::<hmac::Hmac<sha2::Sha512>>(key.as_bytes(), body),
    }
}

proptest! {
    #[test]
    fn signatures_agree_with_another_implementation(
        key in ".{1,200}",
        body in proptest::collection::vec(any::<u8>(), 0..600),
        sha512: bool,
        is_stream: bool,
        encoding in proptest::option::of(any::<bool>()),
        prefix in proptest::option::of("[ -~]{0,10}"),
    ) {
        let algorithm = if sha512 { Algorithm::Sha512 } else { Algorithm::Sha256 };
        let transport = if is_stream {
            TransportKind::EventStream
        } else {
            TransportKind::RulebookWebhook
        };
        let mut hmac = Hmac::new(key.clone()).with_algorithm(algorithm);
        hmac.encoding = encoding.map(|hex| if hex { Encoding::Hex } else { Encoding::Base64 });
        hmac.prefix = prefix.clone();
        let digest = by_another(algorithm, &key, &body);
        let digest = if encoding.unwrap_or(!is_stream) {
            digest.iter().map(|byte| format!("{byte:02x}")).collect()
        } else {
            base64(&digest)
        };
        let usual = match (is_stream, sha512) {
            (true, _) => "",
            (false, false) => "sha256=",
            (false, true) => "sha512=",
        };
        let prefix = prefix.unwrap_or_else(|| usual.to_owned());
        prop_assert_eq!(hmac.signature(transport, &body), format!("{prefix}{digest}"));
        let shown = format!("{hmac:?}");
        prop_assert!(key.len() < 20 || !shown.contains(&key));
    }

    /// Any answer has a meaning, and the meaning is never too good.
    #[test]
    fn any_answer_has_a_meaning(
        status in prop_oneof![any::<u16>(), 200_u16..600, Just(200)],
        location in proptest::option::of(prop_oneof![
            ".{0,40}", Just("/x/".to_owned()), Just("https://h/x".to_owned()),
        ]),
        retry_after in proptest::option::of(0_u64..5_000),
        body in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200),
            ".{0,100}".prop_map(String::into_bytes),
            Just(b"x".to_vec()),
            Just(Vec::new()),
            Just(b"bad uuid specified secret-in-body".to_vec()),
        ],
        cut: bool,
        is_stream: bool,
    ) {
        let url = Url::parse("http://h/a/x").unwrap();
        let transport = if is_stream {
            TransportKind::EventStream
        } else {
            TransportKind::RulebookWebhook
        };
        let answer = Answer {
            status,
            location,
            retry_after: retry_after.map(Duration::from_secs),
            body: body.clone(),
            cut,
        };
        match answer.judge(transport, &url) {
            Ok(()) => {
                prop_assert_eq!(status, 200);
                prop_assert!(!cut);
                let said: &[&[u8]] = if is_stream { &[b""] } else { &[b"", b"x", b"a/x"] };
                prop_assert!(said.contains(&body.as_slice()));
            }
            Err(error) => {
                prop_assert!(error.to_string().len() <= 1_100);
                prop_assert!(!error.to_string().contains("secret-in-body"));
                prop_assert_eq!(error.retry_after(), retry_after.map(Duration::from_secs));
                match error.effect() {
                    // Something was answered, so something was sent.
                    Effect::NotSent => prop_assert!(false),
                    Effect::Rejected => prop_assert!((300..500).contains(&status)),
                    Effect::MaybeSent => prop_assert!(!(200..300).contains(&status)),
                    Effect::Unreadable => prop_assert!((200..300).contains(&status)),
                }
            }
        }
    }
}

/// Values whose numbers any parser reads alike.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i32>().prop_map(|n| Value::from(f64::from(n) / 8.0)),
        (-20_i32..22).prop_map(|n| Value::from(10_f64.powi(n))),
        any::<String>().prop_map(Value::from),
        "[\u{0}-\u{ff}\u{2020}-\u{2030}\u{fef0}-\u{ffff}]{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|members| json!(members)),
        ]
    })
}

/// Whatever is in an object, rules behind either transport see the same.
#[test]
fn any_object_arrives_as_it_is_by_either_transport() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (a, b) = runtime.block_on(async {
        let a = setup(Webhook::new(), |sim| config(webhook(sim))).await;
        let b = setup(Stream::token("s3cret"), |sim| {
            config(stream(sim, StreamAuth::token("s3cret")))
        });
        (a, b.await)
    });
    proptest!(ProptestConfig::with_cases(300), |(spec in value())| {
        let mut object = object("vm", "tenant");
        object["spec"] = spec.clone();
        let request = request(resource(object), 1);
        for s in [&a, &b] {
            let sent = runtime.block_on(s.eda.trigger_provision(&request));
            prop_assert!(sent.is_ok(), "{sent:?}");
            let seen = s.sim.journal().last().unwrap().payload["spec"].clone();
            prop_assert_eq!(&seen, &spec);
        }
    });
}
