//! JSON as the world writes it.

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

const BOM: &[u8] = b"\xef\xbb\xbf";

fn without_bom(body: &[u8]) -> &[u8] {
    body.strip_prefix(BOM).unwrap_or(body)
}

/// Whether a body that begins so is JSON, whatever its header says; none while that is open.
#[must_use]
pub fn begins(body: &[u8]) -> Option<bool> {
    if body.len() < BOM.len() && BOM.starts_with(body) {
        return None;
    }
    let first = without_bom(body).trim_ascii_start().first()?;
    Some(matches!(first, b'{' | b'['))
}

/// Reads an object, strictly first, and else what Python makes of JSON: with `NaN` and `Infinity` (read as
/// null), with members that are there twice (the last one counts), with a byte order mark, with halves of
/// characters. None where it is no object, or does not fit.
#[must_use]
pub fn read<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    let body = without_bom(body);
    // Every answer that we read is an object; a list would fill a struct by position.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return None;
    }
    let strict = match str::from_utf8(body) {
        // Looked at once, and not again at each of its texts.
        Ok(text) => serde_json::from_str(text).ok(),
        Err(_) => serde_json::from_slice(body).ok(),
    };
    // By way of text again: parts of what is read are kept as they are written.
    strict.or_else(|| serde_json::from_str(&leniently(body)?.to_string()).ok())
}

/// The same as a value that keeps the last of members that are there twice.
#[must_use]
pub fn leniently(body: &[u8]) -> Option<Value> {
    let text = String::from_utf8_lossy(without_bom(body));
    serde_json::from_str(&mended(&text)).ok()
}

/// The words for numbers that are none.
const NO_NUMBERS: [&str; 3] = ["NaN", "-Infinity", "Infinity"];

fn mended(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['"', 'N', 'I', '-']) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        if from.starts_with('"') {
            let length = length_of_text(from);
            let (quoted, after) = from.split_at(length);
            push_text(&mut out, quoted);
            rest = after;
        } else if let Some(word) = NO_NUMBERS.iter().find(|word| from.starts_with(**word)) {
            out.push_str("null");
            rest = from.get(word.len()..).unwrap_or_default();
        } else {
            let (one, after) = from.split_at(1);
            out.push_str(one);
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

/// Of a text in quotes, with them.
fn length_of_text(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at.saturating_add(1),
            _ => {}
        }
    }
    text.len()
}

/// The half of a character that `\uXXXX` stands for, if it is one.
fn half(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    let code = u32::from_str_radix(digits, 16).ok()?;
    (0xd800..0xe000).contains(&code).then_some(code)
}

/// With a mark in place of each half of a character that has no other half beside it.
fn push_text(out: &mut String, quoted: &str) {
    let mut rest = quoted;
    while let Some(at) = rest.find('\\') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let next = from.get(6..).and_then(half);
        let length = match (half(from), next) {
            (Some(..0xdc00), Some(0xdc00..)) => 12,
            (Some(_), _) => {
                out.push_str("\\ufffd");
                rest = from.get(6..).unwrap_or_default();
                continue;
            }
            // Two bytes at least, unless the text breaks off: an escaped backslash is no beginning.
            (None, _) => from.char_indices().nth(2).map_or(from.len(), |(at, _)| at),
        };
        let (escape, after) = from.split_at(length.min(from.len()));
        out.push_str(escape);
        rest = after;
    }
    out.push_str(rest);
}

/// A value of another type counts as absent: one odd member must not hide the others. For
/// `#[serde(deserialize_with = …)]`, of what is read from a text.
///
/// # Errors
/// When the text itself is not JSON.
pub fn lenient<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    from: D,
) -> Result<T, D::Error> {
    // Two looks at the text are cheaper than a copy of the value in between.
    let raw = <&RawValue>::deserialize(from)?;
    Ok(serde_json::from_str(raw.get()).unwrap_or_default())
}

/// A moment, however it is written: a zone may be missing, and a fraction may have any length.
#[must_use]
pub fn time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if text.len() > MAX_TIME {
        return None;
    }
    let text = &*short_fraction(text);
    // Without a zone it is UTC, as all the others are.
    text.parse().ok().or_else(|| {
        let local: DateTime = text.parse().ok()?;
        Some(local.to_zoned(TimeZone::UTC).ok()?.timestamp())
    })
}

/// Longer texts are no times.
const MAX_TIME: usize = 100;

/// With as many digits as a clock has.
fn short_fraction(text: &str) -> Cow<'_, str> {
    let Some((before, fraction)) = text.split_once('.') else {
        return Cow::Borrowed(text);
    };
    let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
    match (fraction.get(..digits.min(9)), fraction.get(digits..)) {
        (Some(""), Some(rest)) => Cow::Owned(format!("{before}{rest}")),
        (Some(kept), Some(rest)) if digits > 9 => Cow::Owned(format!("{before}.{kept}{rest}")),
        _ => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Row {
        id: u64,
        status: String,
    }

    fn row(body: &[u8]) -> Option<(u64, String)> {
        let row: Row = read(body)?;
        Some((row.id, row.status))
    }

    #[test]
    fn a_status_is_not_lost_for_how_it_is_written() {
        for body in [
            r#"{"id": 1, "status": "ok"}"#.to_owned(),
            "\u{feff}{\"id\": 1, \"status\": \"ok\"}".to_owned(),
            r#"{"id": 1, "status": "new", "status": "ok"}"#.to_owned(),
            r#"{"artifacts": {"x": NaN, "y": [-Infinity, Infinity]}, "id": 1, "status": "ok"}"#
                .to_owned(),
            r#"{"artifacts": {"x": "\ud83d"}, "id": 1, "status": "ok"}"#.to_owned(),
            r#"{"id": 1, "id": 1, "name": "a\\\ud83d\ude00\"NaN", "status": "ok"}"#.to_owned(),
            "\n {\"id\": 1, \"status\": \"ok\"}\n".to_owned(),
        ] {
            assert_eq!(row(body.as_bytes()), Some((1, "ok".to_owned())), "{body}");
        }
        let mut bytes = br#"{"id": 1, "status": "ok", "x": ""#.to_vec();
        bytes.extend(b"\xff\xfe\"}");
        assert_eq!(row(&bytes), Some((1, "ok".to_owned())));
    }

    #[test]
    fn a_member_of_another_type_is_one_that_is_not_there() {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Odd {
            #[serde(deserialize_with = "lenient")]
            id: u64,
            #[serde(deserialize_with = "lenient")]
            name: Option<String>,
        }
        for (body, id, name) in [
            (r#"{"id": 7, "name": "a"}"#, 7, Some("a")),
            (r#"{"id": -7, "name": "a"}"#, 0, Some("a")),
            (r#"{"id": {"x": [1]}, "name": "a", "id": 8}"#, 8, Some("a")),
            (r#"{"id": 7, "name": NaN}"#, 7, None),
            (r#"{"id": 7, "name": {}}"#, 7, None),
            ("{}", 0, None),
        ] {
            let odd: Odd = read(body.as_bytes()).unwrap();
            assert_eq!((odd.id, odd.name.as_deref()), (id, name), "{body}");
        }
    }

    #[test]
    fn a_moment_is_read_however_it_is_written() {
        let at: Timestamp = "2026-11-23T04:00:00Z".parse().unwrap();
        for text in [
            "2026-11-23T04:00:00Z",
            "2026-11-23T04:00:00",
            " 2026-11-23 04:00:00Z\n",
            "2026-11-23T05:00:00.000000000000+01:00",
            "2026-11-23T04:00:00.Z",
        ] {
            assert_eq!(time(text), Some(at), "{text}");
        }
        for text in ["", "yesterday", "1e19", "2026-13-40T00:00:00Z"] {
            assert_eq!(time(text), None, "{text}");
        }
    }

    #[test]
    fn texts_are_left_as_they_are() {
        let body = r#"{"a": "NaN -Infinity \" Infinity \\", "b": -1, "c": "\ud83d\ude00 \ud83d", "b": -2}"#;
        let read = leniently(body.as_bytes()).unwrap();
        assert_eq!(read["a"], "NaN -Infinity \" Infinity \\");
        assert_eq!(read["b"], -2);
        assert_eq!(read["c"], "\u{1f600} \u{fffd}");
    }

    #[test]
    fn what_is_no_object_is_none() {
        for body in [
            "",
            "[1]",
            "NaN",
            "{",
            "{\"id\": 1",
            "null",
            "{\"id\": 1, \"status\": \"\\",
        ] {
            assert_eq!(row(body.as_bytes()), None, "{body}");
        }
        for (body, is_json) in [
            (&b""[..], None),
            (b" \n", None),
            (b"\xef\xbb", None),
            (b"\xef\xbb\xbf{", Some(true)),
            (b"  {", Some(true)),
            (b"<html>", Some(false)),
            (b"upstream connect error", Some(false)),
        ] {
            assert_eq!(begins(body), is_json, "{body:?}");
        }
    }
}
