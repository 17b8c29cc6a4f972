//! The providers of this workspace keep the contract: each goes through the conformance suite, over
//! sockets, with the simulators as its backends.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that panics has failed"
)]

mod aap;
mod eda;
#[cfg(target_os = "linux")]
mod processes;
mod tracked;

use std::collections::BTreeSet;

use provider_core::Resource;
use provider_testkit::conformance::{self, Harness};
use serde_json::{Value, json};

const SEED: u64 = 1;

/// What a provider that declares everything is not asked.
const UNDECLARED: [&str; 1] = ["the_undeclared_is_unsupported"];

/// What a provider that cannot cancel is not asked.
const ABOUT_CANCEL: [&str; 8] = [
    "a_cancel_stops_the_job",
    "a_cancel_may_be_repeated",
    "a_late_cancel_says_how_it_ended",
    "a_cancel_of_a_forgotten_job_says_so",
    "a_refused_cancel_is_an_error",
    "a_cancel_that_loses_is_not_believed",
    "a_deprovision_waits_after_a_cancel_that_lost",
    "a_cancelled_provision_clears_the_way",
];

/// What a provider that cannot find jobs by their token is not asked.
const ABOUT_FIND: [&str; 8] = [
    "a_lost_launch_is_adopted",
    "a_search_finds_its_own_launch_alone",
    "a_search_may_find_nothing",
    "an_ended_job_is_found_too",
    "jobs_are_found_in_their_order",
    "a_copy_is_not_found",
    "a_failed_search_proves_nothing",
    "a_deprovision_is_found_by_its_token",
];

/// Nothing is broken, and nothing is left out but what is known to be.
async fn passes(harness: &dyn Harness, left_out: &[&[&str]]) {
    let report = conformance::run(harness, SEED).await;
    println!("{report}");
    assert!(report.broken().is_empty(), "{report}");
    let seen: BTreeSet<&str> = report.not_applicable().into_iter().collect();
    let known: BTreeSet<&str> = left_out.iter().copied().flatten().copied().collect();
    assert_eq!(seen, known, "{report}");
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
