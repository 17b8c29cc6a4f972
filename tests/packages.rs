//! What each library crate brings along when it is published.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::path::{Path, PathBuf};

fn crates() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates");
    let entries = std::fs::read_dir(root).unwrap();
    let crates: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    assert_eq!(crates.len(), 6);
    crates
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file)
        .unwrap_or_else(|error| unreachable!("{}: {error}", file.display()))
}

#[test]
fn every_crate_has_the_licence() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ours = read(&root.join("LICENSE"));
    for directory in crates() {
        assert_eq!(read(&directory.join("LICENSE")), ours, "{directory:?}");
    }
}

/// The page on a registry: links that lead somewhere, and a program that compiles.
#[test]
fn every_crate_has_a_readme_of_its_own() {
    for directory in crates() {
        let name = directory.file_name().unwrap().to_str().unwrap();
        let readme = read(&directory.join("README.md"));
        assert!(readme.starts_with(&format!("# {name}\n")), "{name}");
        assert!(
            readme.contains(&format!("https://docs.rs/{name}")),
            "{name}"
        );
        for link in readme.split("](").skip(1) {
            let target = link.split(')').next().unwrap();
            assert!(
                target.starts_with("https://"),
                "{name}: {target} leads nowhere"
            );
        }
        let lib = read(&directory.join("src/lib.rs"));
        let compiled = "#[cfg(doctest)]\n#[doc = include_str!(\"../README.md\")]";
        assert!(
            lib.contains(compiled) && readme.contains("```rust"),
            "{name}"
        );
        let manifest = read(&directory.join("Cargo.toml"));
        assert!(manifest.contains("readme = \"README.md\""), "{name}");
    }
}

/// A file of the repository is not in the package of a crate.
#[test]
fn no_crate_includes_what_is_outside_of_it() {
    fn look(directory: &Path) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                look(&path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = read(&path);
                for file in text.split("include_str!(\"").skip(1) {
                    let file = file.split('"').next().unwrap();
                    let from = path.parent().unwrap();
                    let target = from.join(file).canonicalize();
                    let target = target.unwrap_or_else(|error| unreachable!("{file}: {error}"));
                    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates");
                    let inside = from.strip_prefix(&crates).unwrap();
                    let own = crates.join(inside.components().next().unwrap());
                    assert!(
                        target.starts_with(&own),
                        "{} includes {file}",
                        path.display()
                    );
                }
            }
        }
    }
    for directory in crates() {
        look(&directory.join("src"));
    }
}

/// Numbers in the README come with commands; what they name is there.
#[test]
fn every_target_and_script_that_the_readme_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = read(&root.join("README.md"));
    let word = |rest: &str| -> String {
        let is_part = |c: &char| c.is_alphanumeric() || "_-./".contains(*c);
        rest.chars().take_while(is_part).collect()
    };
    let after = |flag: &str| -> Vec<String> { readme.split(flag).skip(1).map(word).collect() };
    let (benches, tests, scripts) = (after("--bench "), after("--test "), after("`scripts/"));
    assert!(benches.len() >= 4 && tests.len() >= 3 && scripts.len() >= 2);
    for bench in benches {
        assert!(
            root.join(format!("benches/{bench}.rs")).is_file(),
            "{bench}"
        );
    }
    for test in tests {
        let mut places = crates();
        places.push(root.to_owned());
        let is_there = |place: &PathBuf| {
            let tests = place.join("tests");
            tests.join(format!("{test}.rs")).is_file()
                || tests.join(&test).join("main.rs").is_file()
        };
        assert!(places.iter().any(is_there), "{test}");
    }
    for script in scripts {
        assert!(root.join("scripts").join(&script).is_file(), "{script}");
    }
}

/// What only `--all-features` turns on is built by clippy and tested by nobody.
#[test]
fn tests_of_the_workspace_are_built_with_every_feature() {
    let root = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
    for directory in crates() {
        let name = directory.file_name().unwrap().to_str().unwrap();
        let manifest = read(&directory.join("Cargo.toml"));
        let section = manifest
            .split("\n[")
            .find(|part| part.starts_with("features]"));
        let features: Vec<(&str, &str)> = section
            .iter()
            .flat_map(|section| section.lines())
            .filter_map(|line| line.split_once(" = ["))
            .collect();
        let line = root.lines().find(|line| {
            line.starts_with(&format!("{name} = ")) && line.contains("features")
                || *line == format!("{name}.workspace = true")
        });
        let on = line.unwrap_or_default();
        for (feature, _) in &features {
            let quoted = format!("\"{feature}\"");
            let implied = features.iter().any(|(other, parts)| {
                parts.contains(&quoted)
                    && (*other == "default" || on.contains(&format!("\"{other}\"")))
            });
            assert!(
                *feature == "default" || implied || on.contains(&quoted),
                "no test of the workspace is built with {name}/{feature}"
            );
        }
    }
}
