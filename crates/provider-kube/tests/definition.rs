//! The schema that an API server is given. That a real one takes it, and refuses what it should, is
//! tested by `scripts/test-kube.sh`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed"
)]

mod common;

use common::Machine;
use kube::CustomResourceExt;
use provider_core::JobState;
use provider_kube::guarded;
use serde_json::{Value, json};

fn root(definition: &impl serde::Serialize) -> Value {
    json!(definition)["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

#[test]
fn the_schema_is_structural_bounded_and_closed() {
    let root = root(&Machine::crd());
    let status = &root["properties"]["status"]["properties"];
    let jobs = &status["jobs"];
    assert_eq!(jobs["x-kubernetes-list-type"], "map");
    assert_eq!(jobs["x-kubernetes-list-map-keys"], json!(["attempt"]));
    assert_eq!(
        status["conditions"]["x-kubernetes-list-map-keys"],
        json!(["type"])
    );
    let job = &jobs["items"]["properties"];
    assert_eq!(
        job["state"]["enum"],
        json!(JobState::ALL.map(JobState::as_str))
    );
    // What a newer version writes must pass an older definition: a word with a pattern, and no list of words.
    assert_eq!(job["type"]["enum"], Value::Null);
    let pattern = job["type"]["pattern"].as_str().unwrap();
    assert!(
        pattern.starts_with('^') && pattern.ends_with('$'),
        "{pattern}"
    );
    assert_eq!(job["attempt"]["default"], 0);
    assert_eq!(jobs["items"]["x-kubernetes-preserve-unknown-fields"], true);
    let text = root.to_string();
    for word in ["$ref", "oneOf", "anyOf", "examples", "definitions"] {
        assert!(!text.contains(word), "{word}");
    }
    // Every text is bounded, or the server would have to check rules over texts without end.
    for (name, member) in job.as_object().unwrap() {
        let bounded = member["type"] != "string"
            || member["maxLength"].is_u64()
            || member["enum"].is_array()
            || member["format"] == "date-time";
        assert!(bounded, "{name}: {member}");
    }
}

#[test]
fn the_guard_is_added_once_and_a_definition_without_records_is_refused() {
    let once = guarded(Machine::crd()).unwrap();
    assert_eq!(
        root(&once)["x-kubernetes-validations"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(json!(guarded(once.clone()).unwrap()), json!(once));
    let mut without = Machine::crd();
    let schema = without.spec.versions[0].schema.as_mut().unwrap();
    let members = schema
        .open_api_v3_schema
        .as_mut()
        .unwrap()
        .properties
        .as_mut()
        .unwrap();
    members.remove("status");
    // Nothing would be guarded, so it is said.
    assert!(guarded(without).is_err());
}
