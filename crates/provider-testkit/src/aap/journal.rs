//! What really ran, whatever the clients were told.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::world::Kind;

/// One job that the controller accepted: the judge of every simulation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its id.
    pub id: u64,
    /// Its kind.
    pub kind: Kind,
    /// The name of its template.
    pub template: String,
    /// `manual`, `relaunch` or `workflow` (a child of a workflow).
    pub launch_type: String,
    /// What it was launched with.
    pub extra_vars: Value,
    /// When it came into being; from here on it may do its work.
    pub accepted: Timestamp,
    /// When it began to work.
    pub started: Option<Timestamp>,
    /// When it could no longer do any work, whatever its status said before.
    pub stopped: Option<Timestamp>,
    /// Whether it did its work to the end, successfully.
    pub succeeded: bool,
}

impl Run {
    /// The object that the job was launched for: uid, else `namespace/name`, of the first object in
    /// its variables that has `metadata`.
    #[must_use]
    pub fn object(&self) -> Option<String> {
        object_of(&self.extra_vars)
    }

    /// Whether the two were alive at one moment.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let ended_before = |a: &Self, b: &Self| a.stopped.is_some_and(|end| end <= b.accepted);
        !ended_before(self, other) && !ended_before(other, self)
    }
}

/// The object that the body of a request is about.
pub(super) fn object_in(body: &[u8]) -> Option<String> {
    object_of(&serde_json::from_slice(body).ok()?)
}

fn object_of(variables: &Value) -> Option<String> {
    let metadata = find(variables, 0)?;
    let text = |name: &str| metadata.get(name).and_then(Value::as_str);
    text("uid").filter(|uid| !uid.is_empty()).map_or_else(
        || {
            let name = text("name")?;
            Some(format!("{}/{name}", text("namespace").unwrap_or_default()))
        },
        |uid| Some(uid.to_owned()),
    )
}

fn find(value: &Value, depth: u8) -> Option<&Value> {
    let members = value.as_object().filter(|_| depth < 8)?;
    if let Some(metadata) = members.get("metadata").filter(|m| m.get("name").is_some()) {
        return Some(metadata);
    }
    members.values().find_map(|value| find(value, depth + 1))
}

/// Pairs of top-level jobs of one object that were alive at one moment. A correct controller
/// leaves this empty, over any faults.
#[must_use]
pub fn overlapping(runs: &[Run]) -> Vec<(u64, u64)> {
    let mut by_object = std::collections::BTreeMap::<String, Vec<&Run>>::new();
    for run in runs.iter().filter(|run| run.launch_type != "workflow") {
        if let Some(object) = run.object() {
            by_object.entry(object).or_default().push(run);
        }
    }
    let mut pairs = Vec::new();
    for runs in by_object.values_mut() {
        runs.sort_by_key(|run| (run.accepted, run.id));
        for (n, first) in runs.iter().enumerate() {
            for second in runs.iter().skip(n + 1).filter(|run| run.overlaps(first)) {
                pairs.push((first.id, second.id));
            }
        }
    }
    pairs
}
