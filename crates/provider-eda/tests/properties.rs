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
use provider_core::{Effect, ErrorKind, Provider};
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
        Algorithm::Sha384 => mac::<hmac::Hmac<sha2::Sha384>>(key.as_bytes(), body),
        Algorithm::Sha512 => mac::<hmac::Hmac<sha2::Sha512>>(key.as_bytes(), body),
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn signatures_agree_with_another_implementation(
        key in ".{1,200}",
        body in proptest::collection::vec(any::<u8>(), 0..600),
        hash in 0_u8..3,
        is_stream: bool,
        encoding in proptest::option::of(any::<bool>()),
        prefix in proptest::option::of("[ -~]{0,10}"),
    ) {
        let algorithm = match hash {
            0 => Algorithm::Sha256,
            1 => Algorithm::Sha384,
            _ => Algorithm::Sha512,
        };
        let transport = if is_stream {
            TransportKind::EventStream
        } else {
            TransportKind::RulebookWebhook
        };
        let mut hmac = Hmac::new(key.clone()).with_algorithm(algorithm);
        hmac.encoding = encoding.map(|hex| if hex { Encoding::Hex } else { Encoding::Base64 });
        hmac.prefix = prefix.clone();
        // Secrets that come from files end in a line break, which is none of theirs.
        let key = key.trim_end_matches(['\n', '\r']).to_owned();
        let digest = by_another(algorithm, &key, &body);
        let digest = if encoding.unwrap_or(!is_stream) {
            digest.iter().map(|byte| format!("{byte:02x}")).collect()
        } else {
            base64(&digest)
        };
        let usual = match (is_stream, hash) {
            (true, _) => "",
            (false, 0) => "sha256=",
            (false, 1) => "sha384=",
            (false, _) => "sha512=",
        };
        let prefix = prefix.unwrap_or_else(|| usual.to_owned());
        prop_assert_eq!(hmac.signature(transport, &body), format!("{prefix}{digest}"));
        let shown = format!("{hmac:?}");
        prop_assert!(key.len() < 20 || !shown.contains(&key));
    }

}

proptest! {
    // Enough for every row of the table to be met many times.
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    /// Any answer has the meaning that the table of the measured answers gives it.
    #[test]
    fn any_answer_means_what_the_table_says(
        status in prop_oneof![
            any::<u16>(), 100_u16..600, Just(200),
            prop::sample::select(vec![301_u16, 302, 303, 307, 308, 400, 401, 403, 404, 405, 408, 413, 429, 499, 500]),
        ],
        to in prop::sample::select(PLACES),
        retry_after in proptest::option::of(0_u64..5_000),
        body in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200),
            ".{0,100}".prop_map(String::into_bytes),
            prop::sample::select(SAID).prop_map(|text| text.as_bytes().to_vec()),
            (".{0,20}", prop::sample::select(SAID), ".{0,20}")
                .prop_map(|(a, b, c)| format!("{a}{b}{c} secret-in-body").into_bytes()),
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
        let (location, same_place) = to;
        let answer = Answer {
            status,
            location: location.map(str::to_owned),
            retry_after: retry_after.map(Duration::from_secs),
            body: body.clone(),
            cut,
        };
        let expected = by_table(is_stream, status, same_place, &body, cut);
        match answer.judge(transport, &url) {
            Ok(()) => prop_assert_eq!(None, expected),
            Err(error) => {
                prop_assert_eq!(Some((error.effect(), error.kind())), expected);
                prop_assert!(error.to_string().len() <= 1_100);
                prop_assert!(!error.to_string().contains("secret-in-body"));
                prop_assert_eq!(error.retry_after(), retry_after.map(Duration::from_secs));
            }
        }
    }
}

/// Where `http://h/a/x` may be redirected to, and whether that is the same place under another URL.
const PLACES: &[(Option<&str>, bool)] = &[
    (None, false),
    (Some("/a/x"), false),
    (Some("http://h/a/x"), false),
    (Some("/a/x/"), true),
    (Some("x/"), true),
    (Some("?again=1"), true),
    (Some("https://h/a/x"), true),
    (Some("http://h:8080/a/x/"), true),
    (Some("/login"), false),
    (Some("https://login.example.com/"), false),
    (Some("https://login.example.com/a/x/"), false),
    (Some("http://["), false),
];

/// Texts of both services, the ones in front of them, and their neighbours.
const SAID: &[&str] = &[
    "",
    "x",
    "a/x",
    "/a/x",
    "/x",
    "A/X",
    "Invalid JSON payload",
    "Signature header not found",
    "HMAC verification failed",
    "Invalid authorization token",
    "401: Missing authorization token",
    "Only Bearer type is accepted",
    "{\"detail\":\"Authorization header is missing\"}",
    "{\"detail\":\"Token mismatch, check your token\"}",
    "{\"detail\":\"Signature mismatch, check your payload and secret\"}",
    "{\"detail\":\"ECDSA signature does not match\"}",
    "{\"detail\":\"Credential mismatch\"}",
    "{\"detail\":\"bad uuid specified\"}",
    "{\"detail\":\"Invalid request\"}",
    "{\"detail\":\"Invalid content. Type: application/json\"}",
    "Maximum request body size 1048576 exceeded.",
    "500 Internal Server Error",
];

const WEBHOOK: u8 = 1;
const STREAM: u8 = 2;
const BOTH: u8 = 3;

type Row = (
    u8,
    std::ops::RangeInclusive<u16>,
    &'static str,
    Effect,
    ErrorKind,
);

/// The measured answers to an event that was not queued, and what may stand in front of both
/// services; the first row that fits counts.
const REFUSALS: &[Row] = &[
    (
        WEBHOOK,
        400..=400,
        "Signature header not found",
        Effect::Rejected,
        ErrorKind::Unauthorized,
    ),
    (
        STREAM,
        400..=400,
        "bad uuid specified",
        Effect::Rejected,
        ErrorKind::NotFound,
    ),
    (
        STREAM,
        400..=400,
        "header is missing",
        Effect::Rejected,
        ErrorKind::Unauthorized,
    ),
    (
        BOTH,
        401..=401,
        "",
        Effect::Rejected,
        ErrorKind::Unauthorized,
    ),
    (
        STREAM,
        403..=403,
        "mismatch",
        Effect::Rejected,
        ErrorKind::Unauthorized,
    ),
    (
        STREAM,
        403..=403,
        "does not match",
        Effect::Rejected,
        ErrorKind::Unauthorized,
    ),
    (BOTH, 403..=403, "", Effect::Rejected, ErrorKind::Forbidden),
    (
        BOTH,
        404..=404,
        "",
        Effect::Rejected,
        ErrorKind::Unavailable,
    ),
    (BOTH, 408..=408, "", Effect::MaybeSent, ErrorKind::Timeout),
    (
        BOTH,
        429..=429,
        "",
        Effect::Rejected,
        ErrorKind::RateLimited,
    ),
    (BOTH, 460..=460, "", Effect::MaybeSent, ErrorKind::Timeout),
    (BOTH, 499..=499, "", Effect::MaybeSent, ErrorKind::Timeout),
    // Said before the event is passed on; any other 4xx tells nothing of it.
    (BOTH, 400..=400, "", Effect::Rejected, ErrorKind::Invalid),
    (BOTH, 405..=405, "", Effect::Rejected, ErrorKind::Invalid),
    (
        BOTH,
        407..=407,
        "",
        Effect::Rejected,
        ErrorKind::Unavailable,
    ),
    (BOTH, 411..=411, "", Effect::Rejected, ErrorKind::Invalid),
    (BOTH, 413..=415, "", Effect::Rejected, ErrorKind::Invalid),
    (
        BOTH,
        421..=421,
        "",
        Effect::Rejected,
        ErrorKind::Unavailable,
    ),
    (
        BOTH,
        425..=425,
        "",
        Effect::Rejected,
        ErrorKind::Unavailable,
    ),
    (BOTH, 431..=431, "", Effect::Rejected, ErrorKind::Invalid),
    (BOTH, 451..=451, "", Effect::Rejected, ErrorKind::Invalid),
    (BOTH, 200..=299, "", Effect::Unreadable, ErrorKind::Protocol),
    (
        BOTH,
        0..=u16::MAX,
        "",
        Effect::MaybeSent,
        ErrorKind::Unavailable,
    ),
];

/// Nothing for an event that stands in the queue.
fn by_table(
    is_stream: bool,
    status: u16,
    same_place: bool,
    body: &[u8],
    cut: bool,
) -> Option<(Effect, ErrorKind)> {
    // What the services say to an event at /a/x: nothing, or the path as far as a gateway left it.
    let said: &[&[u8]] = if is_stream { &[b""] } else { &[b"a/x", b"x"] };
    if status == 200 && !cut && said.contains(&body) {
        return None;
    }
    if same_place && [301, 302, 307, 308].contains(&status) {
        return Some((Effect::Rejected, ErrorKind::Invalid));
    }
    let transport = if is_stream { STREAM } else { WEBHOOK };
    let text = String::from_utf8_lossy(body);
    let row = REFUSALS.iter().find(|(of, statuses, says, _, _)| {
        of & transport != 0 && statuses.contains(&status) && text.contains(says)
    });
    row.map(|(_, _, _, effect, kind)| (*effect, *kind))
}

/// Of a member; without one it is refused.
fn name() -> impl Strategy<Value = String> {
    any::<String>().prop_map(|name| {
        if name.is_empty() {
            " ".to_owned()
        } else {
            name
        }
    })
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
            proptest::collection::btree_map(name(), inner, 0..6).prop_map(|members| json!(members)),
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
