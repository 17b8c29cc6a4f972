//! How Python reads and writes what is nearly JSON: PyYAML 6 and the module `json`.

use std::fmt::Write;

use serde_json::Value;

/// A document in two sorts of pieces: texts in quotes, and everything between them.
fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = if let Some(inside) = rest.strip_prefix('"') {
            let mut escaped = false;
            let close = inside.find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            close.map_or(rest.len(), |at| at + 2)
        } else {
            rest.find('"').unwrap_or(rest.len())
        };
        let (piece, after) = rest.split_at(end);
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// The document with every bare word (number, `true`, `NaN`, …) replaced.
fn with_words(text: &str, replace: impl Fn(&str) -> String) -> String {
    let mut out = String::with_capacity(text.len());
    for piece in pieces(text) {
        if piece.starts_with('"') {
            out.push_str(piece);
            continue;
        }
        let mut word = String::new();
        for c in piece.chars() {
            if c.is_whitespace() || "{}[],:".contains(c) {
                if !word.is_empty() {
                    out.push_str(&replace(&word));
                    word.clear();
                }
                out.push(c);
            } else {
                word.push(c);
            }
        }
        if !word.is_empty() {
            out.push_str(&replace(&word));
        }
    }
    out
}

/// JSON with `null` for numbers that Python takes and JSON does not have.
pub(super) fn without_non_finite(text: &str) -> String {
    with_words(text, |word| {
        let infinite = word.parse::<f64>().is_ok_and(|number| !number.is_finite());
        if infinite || word == "-Infinity" {
            "null".to_owned()
        } else {
            word.to_owned()
        }
    })
}

/// JSON with halves of characters, which Python takes, made readable for others.
pub(super) fn without_surrogates(text: &str) -> String {
    let mut out = text.to_owned();
    for half in [
        "\\ud8", "\\ud9", "\\uda", "\\udb", "\\udc", "\\udd", "\\ude", "\\udf",
    ] {
        while let Some(at) = out.find(half) {
            let end = (at + 6).min(out.len());
            if !out.is_char_boundary(end) {
                return out;
            }
            out.replace_range(at..end, "\\ufffd");
        }
    }
    out
}

/// What PyYAML makes of a document that begins like JSON, or of a line of text; none where it
/// fails. Not a YAML parser: documents that are neither are read as text.
pub(super) fn read(text: &str) -> Option<Value> {
    if text.chars().any(is_forbidden) {
        return None;
    }
    if !text.trim_start().starts_with(['{', '[', '"']) {
        return Some(text.trim().into());
    }
    let all = pieces(text);
    let mut out = String::with_capacity(text.len());
    for (n, piece) in all.iter().enumerate() {
        if piece.starts_with('"') {
            let is_key = all
                .get(n + 1)
                .is_some_and(|next| next.trim_start().starts_with(':'));
            if is_key && piece.chars().count() > 1_024 {
                return None;
            }
            // Line breaks inside a text become blanks.
            out.push_str(&piece.replace(['\u{85}', '\u{2028}', '\u{2029}', '\n', '\t'], " "));
        } else if piece.contains('\t') {
            return None;
        } else {
            out.push_str(&with_words(piece, number));
        }
    }
    serde_json::from_str(&out)
        .or_else(|_| serde_json::from_str(&without_surrogates(&out)))
        .ok()
}

fn is_forbidden(c: char) -> bool {
    let allowed = matches!(c,
        '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{fffd}' | '\u{10000}'..);
    !allowed
}

/// A number with an exponent is one only with a point before and a sign in it.
fn number(word: &str) -> String {
    let is_text = word.parse::<f64>().is_ok()
        && word
            .split_once(['e', 'E'])
            .is_some_and(|(mantissa, exponent)| {
                !(mantissa.contains('.') && exponent.starts_with(['+', '-']))
            });
    if is_text {
        format!("\"{word}\"")
    } else {
        word.to_owned()
    }
}

/// `json.dumps` with its defaults.
pub(super) fn python(value: &Value, out: &mut String) {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => {
            let _ = write!(out, "{value}");
        }
        Value::String(text) => python_text(text, out),
        Value::Array(items) => {
            out.push('[');
            for (n, item) in items.iter().enumerate() {
                out.push_str(if n > 0 { ", " } else { "" });
                python(item, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            out.push('{');
            for (n, (name, item)) in members.iter().enumerate() {
                out.push_str(if n > 0 { ", " } else { "" });
                python_text(name, out);
                out.push_str(": ");
                python(item, out);
            }
            out.push('}');
        }
    }
}

fn python_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='~' => out.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    out.push('"');
}

/// A value in YAML's block style, texts without quotes where nothing else could be meant.
pub(super) fn block(value: &Value) -> String {
    let mut out = String::new();
    write_block(value, 0, &mut out);
    out
}

fn write_block(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, value) in members {
                let _ = write!(out, "{:indent$}{}:", "", plain(name));
                nested(value, indent + 2, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                let _ = write!(out, "{:indent$}-", "");
                nested(item, indent + 2, out);
            }
        }
        other => {
            let _ = writeln!(out, "{:indent$}{}", "", scalar(other));
        }
    }
}

fn nested(value: &Value, indent: usize, out: &mut String) {
    let empty = match value {
        Value::Object(members) => members.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => true,
    };
    if empty {
        let _ = writeln!(out, " {}", scalar(value));
    } else {
        out.push('\n');
        write_block(value, indent, out);
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => plain(text),
        other => other.to_string(),
    }
}

/// Without quotes where nothing else could be meant.
fn plain(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '/' | '.' | '-');
    let word = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(is_plain)
        && !matches!(
            text,
            "true" | "false" | "null" | "yes" | "no" | "on" | "off"
        );
    if word {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn yaml_is_not_json() {
        assert_eq!(
            read(r#"{"a":1e16,"b":1.5e+16,"c":"x","d":1.5e-7,"e":"1e5"}"#),
            Some(json!({"a": "1e16", "b": 1.5e16, "c": "x", "d": 1.5e-7, "e": "1e5"}))
        );
        assert_eq!(read("{\n\t\"a\": 1}"), None);
        assert_eq!(read("{\"a\": \"\u{7f}\"}"), None);
        assert_eq!(read("{\"a\": \"\u{2028}\"}"), Some(json!({"a": " "})));
        assert_eq!(read(&format!("{{\"{}\": 1}}", "k".repeat(1_100))), None);
        assert_eq!(read("hello"), Some(json!("hello")));
        assert_eq!(read("{\"a\": "), None);
    }

    #[test]
    fn python_writes_ascii() {
        let mut out = String::new();
        python(&json!({"a": ["é", 1, null], "b": "\"\u{7f}😀"}), &mut out);
        assert_eq!(
            out,
            r#"{"a": ["\u00e9", 1, null], "b": "\"\u007f\ud83d\ude00"}"#
        );
    }

    #[test]
    fn words_outside_of_texts_are_found() {
        assert_eq!(
            without_non_finite(r#"{"a":NaN,"b":"NaN \" NaN","c":[1e400,-Infinity,2]}"#),
            r#"{"a":null,"b":"NaN \" NaN","c":[null,null,2]}"#
        );
    }
}
