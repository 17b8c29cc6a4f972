//! What the fuzz targets in `fuzz/` reach beyond the public API: the real readers, and what must hold of what
//! they have read. A property that does not hold is told by a panic.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a property that does not hold is told by a panic"
)]

use std::collections::BTreeSet;

use jiff::Timestamp;
use provider_core::{ProviderError, text};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::body::time;
use crate::holds::look_at;
use crate::json::{begins, leniently, read};
use crate::scan;
use crate::walk::{Range, Row};

/// One body, as an answer, a row and a job.
pub fn body(bytes: &[u8]) {
    let _ = begins(bytes);
    let strict: Option<Map<String, Value>> = serde_json::from_slice(bytes).ok();
    let as_read: Option<Map<String, Value>> = read(bytes);
    // What is right JSON is read as what it says, and a second reader is of no influence.
    if strict.is_some() {
        assert_eq!(as_read, strict, "an object was read as another one");
    }
    if let Some(Value::Object(lenient)) = leniently(bytes)
        && let Ok(strict) = serde_json::from_slice::<Map<String, Value>>(bytes)
    {
        assert_eq!(lenient, strict, "the lenient reader changes what is right");
    }
    let Some(row) = read::<Box<RawValue>>(bytes) else {
        return;
    };
    for now in [Timestamp::UNIX_EPOCH, Timestamp::MIN, Timestamp::MAX] {
        look_at(row.get(), now);
    }
    let known = Row::new(row);
    if let Some(id) = known.id {
        let only = Range::only(id);
        assert!(only.after <= id && only.until == Some(id));
    }
    let _ = crate::search::Launched::read(&known, Timestamp::UNIX_EPOCH);
}

/// The variables of a job, looked through without a parser: against one, where there is JSON.
pub fn variables(text: &str) {
    let _ = time(text);
    let mut names: BTreeSet<String> = ["t", "ansible_eda"].map(str::to_owned).into();
    let object = serde_json::from_str::<Map<String, Value>>(text);
    if let Ok(object) = &object {
        names.extend(object.keys().cloned());
    }
    for name in &names {
        let found = scan::member(text, name);
        let Ok(object) = &object else {
            continue;
        };
        let value = found.expect("an object is none").map(value_of);
        assert_eq!(value.as_ref(), object.get(name), "member {name:?}");
    }
    let _ = scan::at_path(text, &["ansible_eda", "event", "payload"]);
    let _ = crate::search::is_carried(Some(text), "t");
}

fn value_of(text: &str) -> Value {
    serde_json::from_str(text).expect("a member of an object is none")
}

/// What is said on a websocket, until it is lost: the jobs that something has happened to, and why it was lost.
pub async fn websocket<S: AsyncRead + AsyncWrite + Unpin>(
    connection: S,
) -> (Vec<u64>, ProviderError) {
    let mut hints = Vec::new();
    let Err(error) = crate::push::attend(connection, |id| hints.push(id)).await;
    assert!(error.message().len() <= text::MAX_TEXT);
    (hints, error)
}

/// A configuration, as it is looked at before the first request.
///
/// # Errors
/// When it cannot work.
pub fn checked(config: crate::AapConfig) -> Result<(), crate::ConfigError> {
    config.checked().map(drop)
}
