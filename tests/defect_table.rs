//! The table of defects names tests that exist, and all of those that are named after its rows.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The functions of a file.
fn functions(text: &str) -> impl Iterator<Item = String> {
    text.split("fn ").skip(1).map(|rest| {
        rest.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    })
}

/// Whether a test is named `dNN_…`, after a row of the table.
fn is_named_after_a_row(name: &str) -> bool {
    let digits = name.strip_prefix('d').and_then(|rest| rest.get(..2));
    digits.is_some_and(|digits| digits.parse::<u8>().is_ok())
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The functions of each crate's sources and tests, by their files' names; of a file in a folder that is
/// named after its parent too.
fn all_functions(root: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let mut rooms = vec![("tests".to_owned(), root.join("tests"))];
    for short in ["core", "aap", "eda", "kube", "testkit", "http"] {
        let krate = root.join(format!("crates/provider-{short}"));
        rooms.push((short.to_owned(), krate.join("src")));
        rooms.push((short.to_owned(), krate.join("tests")));
        rooms.push((short.to_owned(), krate.join("examples")));
    }
    let mut all = BTreeMap::<String, BTreeSet<String>>::new();
    for (room, directory) in rooms {
        let mut files = Vec::new();
        sources(&directory, &mut files);
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            let below = file.strip_prefix(&directory).unwrap().with_extension("");
            for part in below.iter() {
                let name = format!("{room}: {}", part.to_str().unwrap());
                all.entry(name).or_default().extend(functions(&text));
            }
        }
    }
    all
}

#[test]
fn every_row_names_tests_that_exist_and_no_test_is_missing() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = std::fs::read_to_string(root.join("crates/provider-core/docs/DEFECTS.md")).unwrap();
    let all = all_functions(root);
    let mut named = BTreeSet::new();
    for cell in table
        .split('`')
        .filter(|cell| cell.contains(": ") && cell.contains("::"))
    {
        let (file, test) = cell.rsplit_once("::").unwrap();
        // `file::module::test`: the file counts.
        let file = file.split("::").next().unwrap();
        assert!(
            all.get(file).is_some_and(|there| there.contains(test)),
            "there is no test {test} in {file}"
        );
        named.insert(test.to_owned());
    }
    assert!(named.len() > 50);
    let there = all.values().flatten().cloned();
    let after_rows: BTreeSet<String> = there.filter(|name| is_named_after_a_row(name)).collect();
    let missing: Vec<&String> = after_rows.difference(&named).collect();
    assert!(missing.is_empty(), "not in the table: {missing:?}");
}
