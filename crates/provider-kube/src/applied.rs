//! What is applied, beside the metadata of an object: for objects that lose their status. A backup keeps the
//! metadata and no status, and so does a move to another cluster.

use kube::ResourceExt;
use kube::api::DynamicObject;
use provider_core::lifecycle::Desired;
use provider_core::{ConfigVersion, JobRecord, Reason};
use serde::{Deserialize, Serialize};

use crate::conditions;

/// The text of the annotation.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    /// Whose it is. A copy of an object that is created under another name carries it too, and has nothing.
    object: String,
    applied: Vec<Entry>,
}

/// What is applied for one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    target: Option<String>,
    version: ConfigVersion,
    /// The attempt that has brought it; for people.
    attempt: u64,
}

fn name_of(object: &DynamicObject) -> String {
    match object.namespace() {
        Some(namespace) => format!("{namespace}/{}", object.name_any()),
        None => object.name_any(),
    }
}

fn entries(object: &DynamicObject, annotation: &str) -> Vec<Entry> {
    let text = object.annotations().get(annotation);
    // Whoever has written anything else there has told us nothing.
    let note = text.and_then(|text| serde_json::from_str::<Note>(text).ok());
    note.filter(|note| note.object == name_of(object))
        .map(|note| note.applied)
        .unwrap_or_default()
}

/// The desired state of a target: where there is no record of it, what the annotation says is there already.
pub(crate) fn restored(mut desired: Desired, object: &DynamicObject, annotation: &str) -> Desired {
    // Of a target that is to go, too: what is taken over is removed then.
    if desired.already.is_none() {
        let entries = entries(object, annotation);
        let entry = entries.into_iter().find(|e| e.target == desired.target);
        desired.already = entry.map(|entry| entry.version);
    }
    desired
}

/// What the annotation is to say after these records, where it says something else; an empty text where it is
/// to go.
pub(crate) fn update(
    object: &DynamicObject,
    annotation: &str,
    records: &[JobRecord],
    all: &[Desired],
) -> Option<String> {
    let said = entries(object, annotation);
    let now = after(&said, records, all);
    (now != said).then(|| text(object, now))
}

/// What is left of the annotation before records are written by which something that it says is no longer so;
/// none where all of it stays true. Whatever stops us after the launch leaves no word that is wrong.
pub(crate) fn withdrawn(
    object: &DynamicObject,
    annotation: &str,
    records: &[JobRecord],
    all: &[Desired],
) -> Option<String> {
    let said = entries(object, annotation);
    let now = after(&said, records, all);
    let same = |entry: &&Entry| {
        let mut now = now.iter();
        now.any(|one| one.target == entry.target && one.version == entry.version)
    };
    let stays: Vec<Entry> = said.iter().filter(same).cloned().collect();
    (stays.len() < said.len()).then(|| text(object, stays))
}

/// What is applied by these records; of a target without one, what is said already: it is still to be taken over.
/// Of one that is to go, what is said stays until its removal begins: the word goes by a write of its own, and
/// would be gone before what it says is on record.
fn after(said: &[Entry], records: &[JobRecord], all: &[Desired]) -> Vec<Entry> {
    let entry = |desired: &Desired| {
        let mine = || records.iter().filter(|record| desired.owns(record));
        let taken_over = |record: &JobRecord| record.reason == Some(Reason::Imported);
        if mine().next().is_none() || desired.absent && mine().all(taken_over) {
            let mut said = said.iter();
            return said.find(|one| one.target == desired.target).cloned();
        }
        if desired.absent {
            return None;
        }
        let record = conditions::applied(records, desired)?;
        Some(Entry {
            target: desired.target.clone(),
            version: record.config_version.clone()?,
            attempt: record.attempt,
        })
    };
    all.iter().filter_map(entry).collect()
}

fn text(object: &DynamicObject, applied: Vec<Entry>) -> String {
    if applied.is_empty() {
        return String::new();
    }
    let note = Note {
        object: name_of(object),
        applied,
    };
    serde_json::to_string(&note).unwrap_or_default()
}
