//! The providers of this workspace keep the contract: each goes through the conformance suite, over
//! sockets, with the simulators as its backends.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed"
)]

mod aap;
mod eda;
mod tracked;

use provider_core::Resource;
use provider_testkit::conformance::{self, Harness};
use serde_json::{Value, json};

const SEED: u64 = 1;

/// Nothing is broken, and nothing is left out but what is known to be.
async fn passes(harness: &dyn Harness, left_out: &[&str]) {
    let report = conformance::run(harness, SEED).await;
    println!("{report}");
    assert!(report.broken().is_empty(), "{report}");
    assert_eq!(report.not_applicable(), left_out, "{report}");
}

fn object(name: &str) -> Value {
    json!({
        "apiVersion": "osac.openshift.io/v1alpha1", "kind": "ComputeInstance", "spec": {"cores": 4},
        "metadata": {"name": name, "namespace": "tenant", "uid": format!("uid-{name}")},
    })
}

fn resource(object: Value) -> Resource {
    Resource::from_json(object).unwrap()
}

/// Megabytes of text that holds a credential, on many lines.
fn loud(credential: &str) -> String {
    format!("{credential}\n{}", "the same line again\n".repeat(60_000))
}
