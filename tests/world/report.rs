//! What a person reads of a world that went wrong.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::run::Scene;

/// The words of a line that could be names of objects.
fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '-')
}

/// Whether it concerns one of them, or no object at all.
fn concerns(line: &str, all: &[String], wrong: &BTreeSet<String>) -> bool {
    let named =
        |name: &String| words(line).any(|word| word.strip_prefix("uid-").unwrap_or(word) == name);
    !all.iter().any(named) || wrong.iter().any(named)
}

/// What is wrong, and all that is known of the objects that it is about: of all, where it names none.
pub(crate) fn report(scene: &Scene, what: &str) -> String {
    let all: Vec<String> = scene.plans.iter().map(|plan| plan.name.clone()).collect();
    let journal = scene.sim.journal();
    let mut wrong = BTreeSet::new();
    for word in words(what) {
        let name = word.strip_prefix("uid-").unwrap_or(word);
        if all.iter().any(|one| one == name) {
            wrong.insert(name.to_owned());
        }
        // Jobs that were alive at once are told by their numbers.
        let id: Option<u64> = word.parse().ok();
        if let Some(run) = journal.iter().find(|run| Some(run.id) == id) {
            let object = run.object().unwrap_or_default();
            wrong.insert(object.strip_prefix("uid-").unwrap_or(&object).to_owned());
        }
    }
    if wrong.is_empty() {
        wrong.extend(all.iter().cloned());
    }
    let mut lines = scene.chronicle.told();
    for run in &journal {
        let object = run.object().unwrap_or_default();
        let (id, template) = (run.id, &run.template);
        let how = match &*run.launch_type {
            "manual" => "launched",
            "relaunch" => "relaunched",
            _ => "begun as part of another",
        };
        lines.push(format!(
            "{} job {id} {how} for {object}: {template}",
            run.accepted
        ));
        if let Some(started) = run.started {
            lines.push(format!("{started} job {id} at work for {object}"));
        }
        if let Some(stopped) = run.stopped {
            let end = if run.succeeded {
                "succeeded"
            } else {
                "ended without success"
            };
            lines.push(format!("{stopped} job {id} {end} for {object}"));
        }
    }
    lines.retain(|line| concerns(line, &all, &wrong));
    // Times are written with as many digits as they need.
    lines.sort_by_key(|line| {
        let at = line.split(' ').next().unwrap_or_default();
        at.parse::<jiff::Timestamp>().ok()
    });
    let mut text = format!("{what}\n");
    for line in lines {
        let _ = writeln!(text, "{line}");
    }
    for name in &wrong {
        if let Some(object) = scene.server.object(name) {
            let _ = writeln!(text, "{object:#}");
        }
    }
    text
}
