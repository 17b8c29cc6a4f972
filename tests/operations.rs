//! `docs/OPERATIONS.md` explains every word that a person can see.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::collections::BTreeSet;
use std::path::Path;

/// The words in quotes that look like a reason of a condition.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split('"').skip(1).step_by(2).filter(|word| {
        word.len() > 3
            && word.starts_with(|c: char| c.is_ascii_uppercase())
            && word.chars().all(|c| c.is_ascii_alphabetic())
            && word.chars().any(|c| c.is_ascii_lowercase())
    })
}

#[test]
fn every_reason_and_event_is_explained() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |file: &str| std::fs::read_to_string(root.join(file)).unwrap();
    let mut seen = BTreeSet::new();
    for (file, from, to) in [
        ("crates/provider-core/src/record.rs", "const WORDS", "];"),
        (
            "crates/provider-core/src/lifecycle/event.rs",
            "fn as_str",
            "\n    }",
        ),
        (
            "crates/provider-core/src/lifecycle/decision.rs",
            "impl Ground",
            "\n}\n",
        ),
        (
            "crates/provider-kube/src/conditions/words.rs",
            "pub(crate) const PREREQUISITE",
            "\n#[cfg(test)]",
        ),
        (
            "crates/provider-kube/src/events.rs",
            "fn tell",
            "\n#[cfg(test)]",
        ),
        (
            "crates/provider-kube/src/conditions.rs",
            "pub const PROVISIONED",
            "/// What is known",
        ),
        ("crates/provider-kube/src/show.rs", "impl", "\n#[cfg(test)]"),
        (
            "crates/provider-kube/src/guard.rs",
            "async fn unreadable",
            "/// What is wrong",
        ),
    ] {
        let text = read(file);
        let part = text.split_once(from).unwrap().1;
        let part = part.split(to).next().unwrap();
        let before = seen.len();
        seen.extend(words(part).map(str::to_owned));
        assert!(seen.len() > before, "nothing was found in {file}");
    }
    // Words of conditions' status and of what an event is about, and the beginning of others.
    for other in [
        "Backend",
        "True",
        "False",
        "Unknown",
        "Block",
        "Provision",
        "Deprovision",
    ] {
        seen.remove(other);
    }
    assert!(seen.len() > 40, "{seen:?}");
    let guide = read("docs/OPERATIONS.md");
    let missing: Vec<&String> = seen
        .iter()
        .filter(|word| !guide.contains(&format!("`{word}`")))
        .collect();
    assert!(missing.is_empty(), "not explained: {missing:?}");
}

#[test]
fn every_event_that_is_explained_is_published() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |file: &str| std::fs::read_to_string(root.join(file)).unwrap();
    let mut there = BTreeSet::new();
    for file in ["events", "conditions", "conditions/words", "show", "guard"] {
        let text = read(&format!("crates/provider-kube/src/{file}.rs"));
        let text = text.split("\n#[cfg(test)]").next().unwrap();
        there.extend(words(text).map(str::to_owned));
    }
    let guide = read("docs/OPERATIONS.md");
    let part = guide.split_once("Events of the object: ").unwrap().1;
    let part = part.split("the reasons of blocks").next().unwrap();
    let told = part.split('`').skip(1).step_by(2);
    let told: Vec<&str> = told.filter(|word| !word.contains('…')).collect();
    assert!(told.len() > 10, "{told:?}");
    let never: Vec<&&str> = told.iter().filter(|word| !there.contains(**word)).collect();
    assert!(never.is_empty(), "never published: {never:?}");
}

/// The names in the source's calls of the `metrics` facade.
fn metrics(directory: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            metrics(&path, names);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            for call in ["counter!(", "gauge!(", "histogram!("] {
                let arguments = text.split(call).skip(1);
                let first = arguments.filter_map(|rest| rest.trim_start().strip_prefix('"'));
                names.extend(first.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
            }
        }
    }
}

#[test]
fn every_metric_is_explained() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |file: &str| std::fs::read_to_string(root.join(file)).unwrap();
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(root.join("crates")).unwrap() {
        metrics(&entry.unwrap().path().join("src"), &mut names);
    }
    assert!(names.len() >= 10, "{names:?}");
    for file in ["docs/OPERATIONS.md", "crates/provider-core/docs/METRICS.md"] {
        let text = read(file);
        let missing: Vec<&String> = names
            .iter()
            .filter(|name| !text.contains(&format!("`{name}`")))
            .collect();
        assert!(missing.is_empty(), "not in {file}: {missing:?}");
        // What is explained is there.
        let named = text.split('`').filter(|word| word.starts_with("provider_"));
        let named = named.map(|word| word.split('{').next().unwrap_or(word));
        for name in named {
            assert!(
                names.contains(name),
                "{file} explains {name}, which is no metric"
            );
        }
    }
}

/// Each says what is seen, what it means, what to look at with which command, and what to do.
#[test]
fn the_five_symptoms_are_explained_from_what_is_seen_to_what_to_do() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let guide = std::fs::read_to_string(root.join("docs/OPERATIONS.md")).unwrap();
    let part = guide.split_once("## The five symptoms\n").unwrap().1;
    let part = part.split("\n## ").next().unwrap();
    let symptoms: Vec<(&str, &str)> = part
        .split("\n### ")
        .skip(1)
        .filter_map(|section| section.split_once('\n'))
        .collect();
    let names: Vec<&str> = symptoms.iter().map(|(name, _)| *name).collect();
    let expected = [
        "Stuck pending",
        "Held",
        "Ambiguous",
        "Orphan",
        "Breaker open",
    ];
    assert_eq!(names, expected);
    for (name, text) in symptoms {
        let mut rest = text;
        for step in [
            "**You see:** ",
            "**It means:** ",
            "**Look at:** ",
            "```sh\n",
            "**Do:** ",
        ] {
            let (_, after) = rest.split_once(step).unwrap_or_else(|| {
                unreachable!("{name} lacks {step:?}, or has it in another order")
            });
            rest = after;
        }
    }
}
