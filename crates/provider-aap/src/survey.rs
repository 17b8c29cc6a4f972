//! The questions of a survey, and the answers that the controller refuses before it launches anything.

use std::fmt::Write;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::body::lenient;
use crate::words::HIDDEN;

/// The questions of a survey.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Survey {
    #[serde(deserialize_with = "lenient")]
    pub(crate) spec: Vec<Question>,
}

/// One question, as far as it refuses answers. What it says in ways that nobody knows refuses none.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Question {
    #[serde(deserialize_with = "lenient")]
    pub(crate) variable: String,
    #[serde(rename = "type", deserialize_with = "lenient")]
    pub(crate) kind: String,
    #[serde(deserialize_with = "bound")]
    min: Option<f64>,
    #[serde(deserialize_with = "bound")]
    max: Option<f64>,
    #[serde(deserialize_with = "choices")]
    choices: Option<Vec<Value>>,
}

/// A number, or a text with one in it.
fn bound<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    Ok(match lenient(from)? {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    })
}

/// A list, or a text with a line for each, as Python splits it.
fn choices<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<Value>>, D::Error> {
    const ENDS: [char; 10] = [
        '\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}',
        '\u{2029}',
    ];
    Ok(match lenient(from)? {
        Value::Array(all) => Some(all),
        Value::String(text) => {
            let lines = text.split(ENDS).filter(|line| !line.trim().is_empty());
            Some(lines.map(Value::from).collect())
        }
        _ => None,
    })
}

impl Question {
    /// Why this is no answer, if the controller refuses it; without the value, which may be a secret.
    pub(crate) fn refusal(&self, value: &Value) -> Option<String> {
        match (self.kind.as_str(), value) {
            ("password", Value::String(text)) if text == HIDDEN => None,
            ("text" | "textarea" | "password", Value::String(text)) => {
                self.bounds(text.chars().count() as f64, " characters")
            }
            ("text" | "textarea" | "password", _) => Some(other("text", value)),
            ("integer", Value::Number(number)) if !number.is_f64() => {
                self.bounds(number.as_f64()?, "")
            }
            ("integer", _) => Some(other("a whole number", value)),
            ("float", Value::Number(number)) => self.bounds(number.as_f64()?, ""),
            ("float", _) => Some(other("a number", value)),
            ("multiselect", Value::Array(chosen)) => {
                let is_none = chosen.iter().any(|one| self.lacks(one));
                is_none.then(|| "only a list of its choices, and is given others".to_owned())
            }
            ("multiselect", _) => Some(other("a list", value)),
            ("multiplechoice", _) if self.lacks(value) => Some(match value {
                Value::String(_) => "only one of its choices, and is given another text".to_owned(),
                _ => other("one of its choices", value),
            }),
            _ => None,
        }
    }

    fn bounds(&self, is: f64, unit: &str) -> Option<String> {
        let (min, max) = (
            self.min.filter(|min| is < *min),
            self.max.filter(|max| is > *max),
        );
        if min.is_none() && max.is_none() {
            return None;
        }
        let mut text = "only".to_owned();
        if let Some(min) = min {
            let _ = write!(text, " {min}{unit} or more, and is given less");
        } else if let Some(max) = max {
            let _ = write!(text, " up to {max}{unit}, and is given more");
        }
        Some(text)
    }

    /// Whether this is certainly none of the choices: what is no text may equal another thing that is none.
    fn lacks(&self, value: &Value) -> bool {
        let Some(choices) = &self.choices else {
            return false;
        };
        let is_like =
            |choice: &Value| choice == value || !(choice.is_string() || value.is_string());
        !choices.iter().any(is_like)
    }
}

fn other(wanted: &str, given: &Value) -> String {
    let given = match given {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    format!("only {wanted}, and is given {given}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_the_controller_certainly_refuses_is_refused() {
        for (question, taken, refused) in [
            (
                json!({"type": "text"}),
                vec![json!(""), json!("x")],
                vec![json!(1), json!(null), json!(true), json!([]), json!({})],
            ),
            (
                json!({"type": "textarea", "min": 2, "max": "3"}),
                vec![json!("üü"), json!("üüü")],
                vec![json!("ü"), json!("üüüü")],
            ),
            (
                json!({"type": "text", "min": "", "max": null}),
                vec![json!("")],
                vec![],
            ),
            (
                json!({"type": "password", "max": 3}),
                vec![json!(HIDDEN)],
                vec![json!("abcd"), json!(1)],
            ),
            (
                json!({"type": "integer", "min": 2, "max": 4}),
                vec![json!(2), json!(4)],
                vec![json!(1), json!(5), json!("3"), json!(3.0), json!(true)],
            ),
            (
                json!({"type": "float", "max": 4}),
                vec![json!(-1), json!(3.5)],
                vec![json!(4.5), json!("3")],
            ),
            (
                json!({"type": "multiplechoice", "choices": "a\r\n\nb"}),
                vec![json!("a"), json!("b")],
                vec![json!("c"), json!(""), json!(1), json!({})],
            ),
            (
                json!({"type": "multiselect", "choices": ["a", 1]}),
                vec![json!([]), json!(["a", 1, 1.0, true])],
                vec![json!(["a", "b"]), json!("a"), json!({})],
            ),
            // What nobody knows.
            (
                json!({"type": "colour", "min": 9}),
                vec![json!("x"), json!({})],
                vec![],
            ),
            (
                json!({"type": "multiplechoice", "choices": 7}),
                vec![json!("x")],
                vec![],
            ),
            (
                json!({"type": "text", "min": {}, "max": "many"}),
                vec![json!("x")],
                vec![],
            ),
            (json!({}), vec![json!({})], vec![]),
        ] {
            let read: Question = serde_json::from_str(&question.to_string()).unwrap();
            for value in taken {
                assert_eq!(read.refusal(&value), None, "{question}: {value}");
            }
            for value in refused {
                assert!(read.refusal(&value).is_some(), "{question}: {value}");
            }
        }
    }
}
