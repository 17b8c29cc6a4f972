//! One short text that says which configuration is meant.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::finite;

/// Names a desired configuration, so that "is this applied?" is one comparison.
///
/// A digest over canonical JSON: object keys sorted, members that are `null` left out, whole
/// numbers written alike however they were spelled (`1`, `1.0`). Serialisers that differ in
/// key order or in `null` versus absent give the same version.
///
/// The text starts with the algorithm (`v1-`). Versions of different algorithms cannot be
/// compared: see [`is_comparable`](Self::is_comparable).
///
/// ```
/// use provider_core::ConfigVersion;
/// let a = ConfigVersion::of(&serde_json::json!({"cores": 2, "disk": null, "name": "x"})).unwrap();
/// let b = ConfigVersion::of(&serde_json::json!({"name": "x", "cores": 2.0})).unwrap();
/// assert_eq!(a, b);
/// assert!(a.as_str().starts_with("v1-"));
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct ConfigVersion(String);

impl ConfigVersion {
    /// The version of what the caller names as desired configuration: usually the spec, plus
    /// whatever else decides the job's result (a tier, a template), minus defaults that an
    /// upgrade of the controller would add.
    ///
    /// # Errors
    /// When the value cannot be written as JSON (a map with keys that are not text, say), or not without
    /// loss: a number that is NaN or infinite would be written as `null`, which is "absent" here.
    pub fn of<T: Serialize + ?Sized>(config: &T) -> Result<Self, serde_json::Error> {
        if let Some(trouble) = finite::not_finite(config) {
            return Err(serde::ser::Error::custom(trouble));
        }
        Ok(Self::of_json(&serde_json::to_value(config)?))
    }

    /// [`of`](Self::of) for a value that is JSON already.
    #[must_use]
    pub fn of_json(config: &Value) -> Self {
        let mut hash = Sha256::new();
        feed(&mut hash, config);
        let mut text = String::with_capacity(35);
        text.push_str("v1-");
        for byte in hash.finalize().iter().take(16) {
            let _infallible = fmt::Write::write_fmt(&mut text, format_args!("{byte:02x}"));
        }
        Self(text)
    }

    /// A version as stored or received; any text is taken as it is.
    #[must_use]
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The version's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether both were made by the same algorithm, so that "different" means "changed".
    #[must_use]
    pub fn is_comparable(&self, other: &Self) -> bool {
        self.algorithm() == other.algorithm()
    }

    fn algorithm(&self) -> Option<&str> {
        let (prefix, _) = self.0.split_once('-')?;
        let digits = prefix.strip_prefix('v')?;
        (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())).then_some(prefix)
    }
}

impl fmt::Display for ConfigVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for ConfigVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConfigVersion({})", self.0)
    }
}

/// Feeds canonical JSON. Every text goes in with its length, so that no two values collide by
/// gluing. Depth is bounded by `serde_json`, which refuses to parse beyond 128 levels.
fn feed(hash: &mut Sha256, value: &Value) {
    match value {
        Value::Null => hash.update(b"n"),
        Value::Bool(true) => hash.update(b"t"),
        Value::Bool(false) => hash.update(b"f"),
        Value::Number(number) => feed_text(hash, b'd', &canonical_number(number)),
        Value::String(text) => feed_text(hash, b's', text),
        Value::Array(items) => {
            hash.update(b"[");
            for item in items {
                feed(hash, item);
            }
            hash.update(b"]");
        }
        Value::Object(members) => {
            // Sorted here, whatever order serde_json was built to keep.
            let mut keys: Vec<_> = members.iter().filter(|(_, v)| !v.is_null()).collect();
            keys.sort_unstable_by_key(|(key, _)| *key);
            hash.update(b"{");
            for (key, member) in keys {
                feed_text(hash, b'k', key);
                feed(hash, member);
            }
            hash.update(b"}");
        }
    }
}

fn feed_text(hash: &mut Sha256, tag: u8, text: &str) {
    hash.update([tag]);
    hash.update((text.len() as u64).to_be_bytes());
    hash.update(text.as_bytes());
}

fn canonical_number(number: &serde_json::Number) -> String {
    /// Up to here every whole number has exactly one f64.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match number.as_f64() {
        Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() <= EXACT => {
            // "-0" and "0" are one number.
            let text = format!("{float:.0}");
            if text == "-0" { "0".to_owned() } else { text }
        }
        _ => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn key_order_nulls_and_number_spelling_do_not_change_the_version() {
        let base = ConfigVersion::of_json(&json!({"a": {"x": 1, "y": [1, 2]}, "b": "t"}));
        let same: Value =
            serde_json::from_str(r#"{"b":"t","c":null,"a":{"y":[1.0,2],"x":1e0,"z":null}}"#)
                .unwrap();
        assert_eq!(base, ConfigVersion::of_json(&same));
    }

    #[test]
    fn any_real_difference_changes_the_version() {
        let values = [
            json!(null),
            json!({}),
            json!([]),
            json!(""),
            json!(0),
            json!("0"),
            json!(false),
            json!([null]),
            json!({"a": [1, 2]}),
            json!({"a": [2, 1]}),
            json!({"a": ["1", "2"]}),
            json!({"a": ["12"]}),
            json!({"ab": "c"}),
            json!({"a": "bc"}),
            json!(0.1),
            json!(-1),
        ];
        for (i, a) in values.iter().enumerate() {
            for (j, b) in values.iter().enumerate() {
                let equal = ConfigVersion::of_json(a) == ConfigVersion::of_json(b);
                assert_eq!(equal, i == j, "{a} and {b}");
            }
        }
    }

    #[test]
    fn a_number_that_json_cannot_say_has_no_version() {
        #[derive(Serialize)]
        struct Spec {
            ratio: f64,
        }
        for ratio in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let error = ConfigVersion::of(&Spec { ratio }).unwrap_err().to_string();
            assert!(error.contains("ratio"), "{error}");
        }
        assert!(ConfigVersion::of(&Spec { ratio: 0.5 }).is_ok());
    }

    #[test]
    fn the_algorithm_is_frozen() {
        // A change here re-provisions every object of every user: give it a new prefix instead.
        assert_eq!(
            ConfigVersion::of_json(&json!({"cores": 2, "tags": ["a"], "on": true})).as_str(),
            "v1-b6eb2960553c062ed0f87f31938cf2bd"
        );
    }

    #[test]
    fn versions_of_other_algorithms_are_not_comparable() {
        let ours = ConfigVersion::of_json(&json!(1));
        assert!(ours.is_comparable(&ConfigVersion::from_text("v1-00")));
        assert!(!ours.is_comparable(&ConfigVersion::from_text("v2-00")));
        assert!(!ours.is_comparable(&ConfigVersion::from_text("6c62272e07bb0142")));
        assert!(!ours.is_comparable(&ConfigVersion::from_text("")));
    }
}
