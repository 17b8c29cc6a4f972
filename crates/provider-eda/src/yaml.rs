//! JSON that means the same to a YAML parser, and that survives the EDA server's pieces.
//!
//! The EDA server reads the body of an event as YAML 1.1 (PyYAML), whatever its content type says.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// The server cuts what it passes on into pieces of so many characters …
const PIECE: usize = 6_144;
/// … writes each as JSON again, where quotes and backslashes double, and hands it to PostgreSQL,
/// which takes less than 8,000 bytes. This is what is left for doubling, with the names around the
/// piece (199) and a little for the server's own members in it.
const DOUBLED: usize = 7_999 - PIECE - 199 - 24;
/// What the server may add to our payload: its path, the name and the uuid of the stream, headers.
const ADDED: usize = 2_048;
/// Headers that a request has behind a few proxies. A stream with `additional_data_headers: "*"` puts them
/// behind the payload, each with four quotes and about so long at least.
const HEADERS: usize = 48;
const HEADER: &[u8] = br#""x-header": "content", "#;

/// An object key longer than this, with its quotes, is an error to a YAML parser.
pub(crate) const MAX_KEY: usize = 1_024;

/// Compact JSON that PyYAML reads as a JSON parser would.
pub(crate) fn to_vec(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(1_024);
    value.serialize(&mut Serializer::with_formatter(&mut out, Plain))?;
    Ok(out)
}

struct Plain;

impl Formatter for Plain {
    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        let text = serde_json::Number::from_f64(value).map(|n| n.to_string());
        writer.write_all(float(text.as_deref().unwrap_or("null")).as_bytes())
    }

    fn write_number_str<W: ?Sized + Write>(&mut self, writer: &mut W, n: &str) -> io::Result<()> {
        writer.write_all(float(n).as_bytes())
    }

    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        escape(writer, fragment, is_plain)
    }
}

/// `1e16` is a text to PyYAML, `1.0e+16` is a number.
fn float(text: &str) -> String {
    let Some((mantissa, exponent)) = text.split_once(['e', 'E']) else {
        return text.to_owned();
    };
    let point = if mantissa.contains('.') { "" } else { ".0" };
    let sign = if exponent.starts_with(['+', '-']) {
        ""
    } else {
        "+"
    };
    format!("{mantissa}{point}e{sign}{exponent}")
}

/// Characters that may stand in a YAML document and are not line breaks to it.
fn is_plain(c: char) -> bool {
    match c {
        '\u{2028}' | '\u{2029}' | '\u{feff}' => false,
        ' '..='~' | '\u{a0}'..='\u{fffd}' | '\u{10000}'..='\u{10ffff}' => true,
        _ => false,
    }
}

/// Writes characters as they are, or as `\uXXXX`.
fn escape<W: ?Sized + Write>(
    writer: &mut W,
    fragment: &str,
    as_it_is: fn(char) -> bool,
) -> io::Result<()> {
    // Nearly always so, and quickly seen.
    if fragment.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return writer.write_all(fragment.as_bytes());
    }
    let mut rest = fragment;
    while let Some(at) = rest.find(|c| !as_it_is(c)) {
        let (before, after) = rest.split_at(at);
        writer.write_all(before.as_bytes())?;
        let mut chars = after.chars();
        for unit in chars
            .next()
            .iter()
            .flat_map(|c| c.encode_utf16(&mut [0; 2]).to_vec())
        {
            write!(writer, "\\u{unit:04x}")?;
        }
        rest = chars.as_str();
    }
    writer.write_all(rest.as_bytes())
}

/// The JSON that Python writes.
struct Python;

impl Formatter for Python {
    fn begin_array_value<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        escape(writer, fragment, |c| (' '..='~').contains(&c))
    }
}

/// Whether an event with a body of this length may be cut into pieces.
pub(crate) const fn may_be_cut(body: usize) -> bool {
    // Python's form is at most three times as long (é, 2 bytes, becomes 6).
    body.saturating_mul(3).saturating_add(ADDED) >= PIECE
}

/// How long this is as Python writes it, in ASCII.
pub(crate) fn ascii_length(value: &impl Serialize) -> usize {
    let mut length = Length(0);
    let written = value.serialize(&mut Serializer::with_formatter(&mut length, Python));
    written.map_or(usize::MAX, |()| length.0)
}

/// Counts what is written.
struct Length(usize);

impl Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.saturating_add(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether no piece of the event can grow beyond what PostgreSQL takes, wherever it is cut.
///
/// Where that holds only for some cuts, the answer is no: the cut moves with the name of the
/// stream and with the headers that the server adds.
pub(crate) fn fits_notifications(value: &impl Serialize, body: usize) -> bool {
    if !may_be_cut(body) {
        return true;
    }
    let mut text = Vec::with_capacity(body.saturating_mul(5) / 4);
    if value
        .serialize(&mut Serializer::with_formatter(&mut text, Python))
        .is_err()
    {
        return true; // whoever serialises it next reports this
    }
    if text.len().saturating_add(ADDED) < PIECE {
        return true;
    }
    text.extend(std::iter::repeat_n(HEADER, HEADERS).flatten());
    sparse(&text) || exactly_fits(&text)
}

const fn doubles(byte: u8) -> bool {
    matches!(byte, b'"' | b'\\')
}

/// Whether a coarse look shows already that no piece has too much to double.
fn sparse(text: &[u8]) -> bool {
    const BLOCK: usize = 256;
    // A piece touches so many blocks at most.
    const TOUCHED: usize = PIECE / BLOCK + 1;
    let count = |block: &[u8]| block.iter().filter(|byte| doubles(**byte)).count();
    let counts: Vec<usize> = text.chunks(BLOCK).map(count).collect();
    counts.iter().sum::<usize>() <= DOUBLED
        || counts
            .windows(TOUCHED.min(counts.len()).max(1))
            .all(|touched| touched.iter().sum::<usize>() <= DOUBLED)
}

fn exactly_fits(text: &[u8]) -> bool {
    let mut in_piece = 0;
    let before = std::iter::repeat_n(b' ', PIECE).chain(text.iter().copied());
    for (byte, left) in text.iter().zip(before) {
        in_piece += usize::from(doubles(*byte));
        in_piece -= usize::from(doubles(left));
        if in_piece > DOUBLED {
            return false;
        }
    }
    true
}

/// The length of a key as it is written, with its quotes.
pub(crate) fn key_length(key: &str) -> usize {
    if key.len() * 6 + 2 <= MAX_KEY {
        return key.len(); // short in any case
    }
    let mut out = Vec::new();
    let written = serde_json::Value::from(key)
        .serialize(&mut Serializer::with_formatter(&mut out, Plain))
        .is_ok();
    if written {
        String::from_utf8_lossy(&out).chars().count()
    } else {
        usize::MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn written(value: &Value) -> String {
        String::from_utf8(to_vec(value).unwrap()).unwrap()
    }

    #[test]
    fn numbers_stay_numbers() {
        for (number, text) in [
            (json!(1e16), "1.0e+16"),
            (json!(1.5e16), "1.5e+16"),
            (json!(1.5e-7), "1.5e-7"),
            (json!(1e-7), "1.0e-7"),
            (json!(0.5), "0.5"),
            (json!(100_000.0), "100000.0"),
            (
                json!(18_446_744_073_709_551_615_u64),
                "18446744073709551615",
            ),
            (json!(-3), "-3"),
        ] {
            assert_eq!(written(&number), text);
            assert_eq!(serde_json::from_str::<Value>(text).unwrap(), number);
        }
    }

    #[test]
    fn what_yaml_forbids_or_folds_is_escaped() {
        let text = "a\u{7f}\u{85}\u{9f}\u{2028}\u{2029}\u{feff}\u{fffe}é😀\t\n\0\"\\";
        let json = written(&json!(text));
        assert_eq!(
            json,
            r#""a\u007f\u0085\u009f\u2028\u2029\ufeff\ufffeé😀\t\n\u0000\"\\""#
        );
        assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), text);
    }

    /// The sizes that were measured on the server.
    #[test]
    fn a_document_inside_a_text_is_what_breaks_the_pieces() {
        let inside = |entries: usize| {
            let inner: serde_json::Map<String, Value> = (0..entries)
                .map(|n| (format!("k{n}"), json!(format!("v{n}"))))
                .collect();
            json!({"spec": {"templateParameters": Value::Object(inner).to_string()}})
        };
        let fits = |value: &Value| fits_notifications(value, to_vec(value).unwrap().len());
        assert!(fits(&inside(50)));
        assert!(fits(&inside(200)));
        assert!(!fits(&inside(400)));
        assert!(!fits(&inside(6_000)));
        let nested: serde_json::Map<String, Value> = (0..20_000)
            .map(|n| (format!("key{n}"), json!(format!("value{n}"))))
            .collect();
        assert!(fits(&json!({ "spec": nested })));
        assert!(fits(&json!({"spec": "é".repeat(7_000)})));
        assert!(fits(&json!({"spec": "x".repeat(200_000)})));
        assert!(fits(&json!({"spec": "line\n".repeat(20_000)})));
        assert!(!fits(&json!({"spec": "\n".repeat(20_000)})));
    }

    /// The coarse look may only spare the exact one where that would say yes as well.
    #[test]
    fn the_coarse_look_is_never_too_kind() {
        let mut spared = 0;
        for burst in [1, 100, 800, DOUBLED, DOUBLED + 1, 2_000] {
            for pause in [0, 1, 3, 255, 1_000, PIECE - burst, PIECE, PIECE + 300] {
                for shift in [0, 1, 200] {
                    let period = ["\"".repeat(burst), " ".repeat(pause)].concat();
                    let text =
                        [" ".repeat(shift), period.repeat(1 + 20_000 / period.len())].concat();
                    let sparse = sparse(text.as_bytes());
                    assert!(
                        !sparse || exactly_fits(text.as_bytes()),
                        "{burst} {pause} {shift}"
                    );
                    spared += usize::from(sparse);
                }
            }
        }
        assert!(spared > 10);
        assert!(!exactly_fits("\"".repeat(DOUBLED + 1).as_bytes()));
        assert!(exactly_fits("\"".repeat(DOUBLED).as_bytes()));
    }

    #[test]
    fn keys_count_as_they_are_written() {
        assert_eq!(key_length(&"k".repeat(1_022)), 1_024);
        assert_eq!(key_length(&"k".repeat(1_023)), 1_025);
        assert_eq!(key_length(&"\u{7f}".repeat(200)), 1_202);
        assert!(key_length("name") <= MAX_KEY);
    }
}
