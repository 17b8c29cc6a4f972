//! What the fuzz targets in `fuzz/` reach beyond the public API: the real readers, and what must hold of what
//! they have read. A property that does not hold is told by a panic.

use jiff::Timestamp;
use kube::api::DynamicObject;
use serde_json::Value;

use crate::{READABLE, conditions, guard, object};

/// An object of the API server, whoever has written its status.
pub fn status(object: &DynamicObject) {
    let jobs = object.data.pointer("/status/jobs");
    let records = object::records(object);
    let there = match jobs {
        None | Some(Value::Null) => 0,
        Some(Value::Array(all)) => all.len(),
        Some(_) => 1,
    };
    assert_eq!(records.len(), there, "a record was overlooked");
    let others = object::conditions(object);
    let ours = conditions::obstacle(READABLE, "DoesNotFit", "it does not fit", Some(1));
    let merged = conditions::merged(others, vec![ours.clone()], Timestamp::UNIX_EPOCH);
    let again = conditions::merged(&merged, vec![ours], Timestamp::MAX);
    assert_eq!(merged, again, "a condition that says the same has moved");
    let is_ours = |one: &Value| one.get("type").and_then(Value::as_str) == Some(READABLE);
    let kept = |all: &[Value]| {
        let all = all.iter().filter(|one| !is_ours(one));
        all.cloned().collect::<Vec<_>>()
    };
    assert_eq!(
        kept(others),
        kept(&merged),
        "a condition of somebody else was changed"
    );
    for named in [&[][..], &[None], &[Some("east"), Some("west")]] {
        let left = conditions::without_former(others, named);
        assert!(left.len() <= others.len());
        let _ = conditions::of_others(others, named);
    }
    let _ = conditions::let_go(others);
    let _ = object::reason(object, READABLE);
    let _ = object::resource(object);
}

/// What is told of an object that does not fit its type.
#[must_use]
pub fn unfit(error: &str) -> String {
    guard::without_values(error)
}
