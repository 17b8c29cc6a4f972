//! The event streams of an EDA server.

use serde_json::{Value, json};

use super::journal::Fate;
use super::server::{Asked, Outcome};
use super::world::{Stream, StreamCredential};
use super::yaml;

const MAX_BODY: usize = 2_621_440;
/// The size of the pieces that a long event is cut into, and of a notification of PostgreSQL.
const PIECE: usize = 6_144;
const NOTIFICATION: usize = 8_000;

pub(super) fn answer(streams: &[Stream], asked: &Asked<'_>) -> Outcome {
    let Some((_, rest)) = asked.path.split_once("/external_event_stream/") else {
        return Outcome::text(404, "Not Found");
    };
    if !rest.ends_with('/') {
        let to = format!("{}/", asked.path);
        return Outcome::text(301, "").with_header("location", &to);
    }
    if asked.method != "POST" {
        let detail = format!("Method \"{}\" not allowed.", asked.method);
        return Outcome::detail(405, &detail).with_header("allow", "POST, OPTIONS");
    }
    let uuid = rest.strip_suffix("/post/").unwrap_or_default();
    let Some(stream) = streams.iter().find(|stream| stream.uuid == uuid) else {
        return Outcome::detail(400, "bad uuid specified");
    };
    if asked.body.len() > MAX_BODY {
        return broken();
    }
    if let Err(refusal) = authenticate(&stream.credential, asked) {
        return refusal;
    }
    let payload = match read(asked) {
        Ok(payload) => payload,
        Err(refusal) => return refusal,
    };
    let mut meta = json!({
        "endpoint": asked.path, "eda_event_stream_uuid": stream.uuid,
        "eda_event_stream_name": "simulated",
    });
    if let (Value::Object(meta), true) = (&mut meta, stream.all_headers) {
        meta.insert("headers".to_owned(), headers(asked));
    }
    let event = json!({ "payload": payload, "meta": meta });
    let mut text = String::new();
    yaml::python(&event, &mut text);
    if !pieces_fit(&text) {
        return broken();
    }
    // One piece too many is announced, and the receiver waits for it in vain.
    let is_torn = text.len() >= PIECE && text.len().is_multiple_of(PIECE);
    let fate = if is_torn {
        Fate::Lost
    } else {
        match (stream.test_mode, stream.listening) {
            (true, _) => Fate::TestMode,
            (false, true) => Fate::Queued,
            (false, false) => Fate::Lost,
        }
    };
    Outcome::text(200, "").taking(asked.path, payload, fate)
}

fn broken() -> Outcome {
    Outcome::detail(
        500,
        "Unexpected server error; contact your system administrator",
    )
}

fn authenticate(credential: &StreamCredential, asked: &Asked<'_>) -> Result<(), Outcome> {
    let header = |name: &str| {
        asked
            .header(name)
            .ok_or_else(|| Outcome::detail(400, &format!("{name} header is missing")))
    };
    match credential {
        StreamCredential::None => Ok(()),
        StreamCredential::Token {
            token,
            header: name,
        } => {
            let given = header(name)?;
            let given = if given.starts_with(b"Bearer") {
                // A lone "Bearer" makes the server look for what is not there.
                given.strip_prefix(b"Bearer ").ok_or_else(broken)?
            } else {
                given
            };
            if given == token.as_bytes() {
                Ok(())
            } else {
                Err(Outcome::detail(403, "Token mismatch, check your token"))
            }
        }
        StreamCredential::Hmac(hmac) => {
            let given = header(&hmac.header)?;
            let expected = format!("{}{}", hmac.prefix, hmac.digest(asked.body));
            if given == expected.as_bytes() {
                Ok(())
            } else {
                Err(Outcome::detail(
                    403,
                    "Signature mismatch, check your payload and secret",
                ))
            }
        }
        StreamCredential::Basic { username, password } => {
            use base64::Engine;
            let given = header("Authorization")?;
            let pair = format!("{username}:{password}");
            let pair = base64::engine::general_purpose::STANDARD.encode(pair);
            if given == format!("Basic {pair}").as_bytes() {
                Ok(())
            } else {
                Err(Outcome::detail(403, "Credential mismatch"))
            }
        }
    }
}

/// The body as the server reads it: YAML, unless it is called a form.
fn read(asked: &Asked<'_>) -> Result<Value, Outcome> {
    let content_type = asked.header("content-type").unwrap_or_default();
    let content_type = String::from_utf8_lossy(content_type);
    let text = std::str::from_utf8(asked.body).map_err(|_| broken())?;
    let invalid = || Outcome::detail(400, &format!("Invalid content. Type: {content_type}"));
    if content_type == "application/x-www-form-urlencoded" {
        if text.starts_with(['{', '[']) {
            return Err(invalid());
        }
        let pairs = url::form_urlencoded::parse(asked.body).into_owned();
        return Ok(Value::Object(
            pairs.map(|(name, value)| (name, value.into())).collect(),
        ));
    }
    match yaml::read(text).ok_or_else(invalid)? {
        object @ Value::Object(_) => Ok(object),
        other => Ok(json!({ "body": other })),
    }
}

/// The headers of a request as they stand in its event, what is secret in them blanked out.
fn headers(asked: &Asked<'_>) -> Value {
    let all = asked.headers.iter().map(|(name, value)| {
        let secret = name == "authorization" || name.as_str().contains("signature");
        let shown = String::from_utf8_lossy(value.as_bytes());
        let shown = if secret { "<redacted>".into() } else { shown };
        (name.to_string(), Value::from(shown))
    });
    Value::Object(all.collect())
}

/// Whether the event, as Python writes it, can be passed on to activations.
fn pieces_fit(text: &str) -> bool {
    if text.len() < PIECE {
        return text.len() < NOTIFICATION;
    }
    let count = text.len() / PIECE + 1;
    text.as_bytes().chunks(PIECE).enumerate().all(|(n, piece)| {
        let piece = json!({
            "_message_chunked_uuid": Stream::UUID,
            "_message_chunk_count": count,
            "_message_length": text.len(),
            "_message_xx_hash": "01234567",
            "_chunk": String::from_utf8_lossy(piece),
            "_message_chunk_sequence": n + 1,
        });
        let mut written = String::new();
        yaml::python(&piece, &mut written);
        written.len() < NOTIFICATION
    })
}
