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
fn every_reason_event_and_metric_is_explained() {
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
            "crates/provider-kube/src/conditions.rs",
            "Standing::Applied",
            "\n#[cfg(test)]",
        ),
        (
            "crates/provider-kube/src/events.rs",
            "fn tell",
            "\n#[cfg(test)]",
        ),
    ] {
        let text = read(file);
        let part = text.split_once(from).unwrap().1;
        let part = part.split(to).next().unwrap();
        let before = seen.len();
        seen.extend(words(part).map(str::to_owned));
        assert!(seen.len() > before, "nothing was found in {file}");
    }
    // Words of conditions' status and of what an event is about.
    for other in [
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
    for metric in [
        "provider_breaker_open",
        "provider_orphans_total",
        "provider_conflicts_total",
    ] {
        assert!(guide.contains(metric), "{metric}");
        assert!(
            read("crates/provider-core/docs/METRICS.md").contains(metric),
            "{metric}"
        );
    }
}
