//! The table of defects names tests that exist, and all of them.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::collections::BTreeSet;
use std::path::Path;

/// The tests named `dNN_…` in a file.
fn tests_in(text: &str) -> impl Iterator<Item = String> {
    text.split("fn ").skip(1).filter_map(|rest| {
        let name: String = rest
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        let digits = name.strip_prefix('d')?.get(..2)?;
        digits.parse::<u8>().ok().map(|_| name)
    })
}

#[test]
fn every_row_names_tests_that_exist_and_no_test_is_missing() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = std::fs::read_to_string(root.join("crates/provider-core/docs/DEFECTS.md")).unwrap();
    let mut named = BTreeSet::new();
    for cell in table.split('`').filter(|cell| cell.contains("::d")) {
        named.insert(cell.rsplit("::").next().unwrap().to_owned());
    }
    let mut there = BTreeSet::new();
    for krate in std::fs::read_dir(root.join("crates")).unwrap() {
        let tests = krate.unwrap().path().join("tests");
        for file in std::fs::read_dir(tests).into_iter().flatten() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "rs") {
                there.extend(tests_in(&std::fs::read_to_string(path).unwrap()));
            }
        }
    }
    assert_eq!(named, there);
    assert!(named.len() > 50);
}
