//! Manifests of the examples are read as YAML means them, or refused by their line.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "../examples/support/yaml.rs"]
mod yaml;

use serde_json::json;

#[test]
fn what_json_has_no_word_for_is_refused_by_its_line() {
    for (text, line) in [
        ("a: 1\nb: .nan\n", "line 2"),
        ("a:\n  - 1\n  - -.inf\n", "line 3"),
        ("a: 1\nb:\n  c: .inf\n", "line 3"),
        ("x: 0\ns:\n  a: 1\n  a: 2\n", "line 4"),
        ("a: 1\n<<: 7\n", "line 2"),
        ("a: 1\nb: 2\na: 3\n", "line 3"),
        ("b: &b {c: 1}\na:\n  <<: *b\n  <<: *b\n", "line 4"),
        ("a: [1\n, .nan]\n", "line 2"),
    ] {
        let said = yaml::read(text).unwrap_err();
        assert!(said.contains(line), "{text:?}: {said}");
    }
}

#[test]
fn merges_and_byte_order_marks_are_what_they_mean() {
    let text = "\u{feff}base: &b {a: 1, c: 3}\nmore: &m {c: 4, d: 5}\none:\n  <<: *b\n  a: 2\nall:\n  <<: [*b, *m]\n";
    let read = yaml::read(text).unwrap();
    assert_eq!(read["one"], json!({"a": 2, "c": 3}));
    assert_eq!(read["all"], json!({"a": 1, "c": 3, "d": 5}));
    assert_eq!(
        yaml::read("\u{feff}{\"a\": [1, 2.5, null, true, \"x\"]}").unwrap()["a"][1],
        2.5
    );
}
