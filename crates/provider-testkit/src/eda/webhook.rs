//! The webhook source of a rulebook.

use serde_json::Value;

use super::journal::Fate;
use super::server::{Asked, Outcome};
use super::world::Webhook;
use super::yaml;

const MAX_BODY: usize = 1 << 20;

pub(super) fn answer(webhook: &Webhook, asked: &Asked<'_>) -> Outcome {
    if let Some(token) = &webhook.token {
        let Some(header) = asked.header("authorization") else {
            return Outcome::text(401, "401: Missing authorization token")
                .with_reason("Missing authorization token");
        };
        let parts: Vec<&[u8]> = header.trim_ascii().split(|byte| *byte == b' ').collect();
        match parts.as_slice() {
            [b"Bearer", given] if *given == token.as_bytes() => {}
            [b"Bearer", _] => return Outcome::text(401, "Invalid authorization token"),
            [_, _] => return Outcome::text(401, "Only Bearer type is accepted"),
            _ => return Outcome::text(401, "Invalid authorization token"),
        }
    }
    if asked.body.len() > MAX_BODY {
        return Outcome::text(413, "Maximum request body size 1048576 exceeded.");
    }
    let broken = || {
        Outcome::text(
            500,
            "500 Internal Server Error\n\nServer got itself in trouble",
        )
    };
    let Ok(text) = std::str::from_utf8(asked.body) else {
        return broken();
    };
    if let Some(hmac) = &webhook.hmac {
        let Some(header) = asked.header(&hmac.header) else {
            return Outcome::text(400, "Signature header not found");
        };
        if !header.is_ascii() {
            return broken();
        }
        let prefix = format!("{}=", hmac.hash.name());
        let given = header.strip_prefix(prefix.as_bytes()).unwrap_or(header);
        if given != hmac.digest(asked.body).as_bytes() {
            return Outcome::text(401, "HMAC verification failed");
        }
    }
    // Whatever the verb is, credentials come first.
    if asked.method != "POST" {
        return Outcome::text(405, "405: Method Not Allowed").with_header("allow", "POST");
    }
    let endpoint = asked.path.trim_start_matches('/');
    let taken =
        |payload: Value, fate: Fate| Outcome::text(200, endpoint).taking(endpoint, payload, fate);
    match serde_json::from_str(text) {
        Ok(payload) => taken(payload, Fate::Queued),
        // Python reads more than JSON; the engine of the rules then drops what is not JSON.
        Err(_) => match serde_json::from_str(&yaml::without_non_finite(text)) {
            Ok(payload) => taken(payload, Fate::Dropped),
            Err(_) => match serde_json::from_str(&yaml::without_surrogates(text)) {
                Ok(payload) => taken(payload, Fate::Queued),
                Err(_) => Outcome::text(400, "Invalid JSON payload"),
            },
        },
    }
}
