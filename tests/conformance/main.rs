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

use provider_core::{JobType, Resource};
use provider_testkit::conformance::{self, Harness};
use serde_json::{Value, json};

/// `CONFORMANCE_SEED` is the only one, where it is set.
fn seeds() -> Vec<u64> {
    match std::env::var("CONFORMANCE_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => vec![1, 2],
    }
}

/// What a provider that can look launches up is not asked.
const ASSUMED: &str = "an_assumed_job_is_answered_for";

/// What a provider that cannot cancel is not asked.
const ABOUT_CANCEL: [&str; 11] = [
    "a_cancel_stops_an_action",
    "a_lost_cancel_answer_does_no_harm",
    "a_cancel_may_meet_the_end",
    "a_cancel_stops_the_job",
    "a_cancel_may_be_repeated",
    "a_late_cancel_says_how_it_ended",
    "a_cancel_of_a_forgotten_job_says_so",
    "a_refused_cancel_is_an_error",
    "a_cancel_that_loses_is_not_believed",
    "a_deprovision_waits_after_a_cancel_that_lost",
    "a_canceled_provision_clears_the_way",
];

/// What a provider that cannot find jobs by their token is not asked.
const ABOUT_FIND: [&str; 10] = [
    "an_action_is_found_by_its_token",
    "a_search_may_start_at_the_launch",
    "a_lost_launch_is_adopted",
    "a_search_finds_its_own_launch_alone",
    "a_search_may_find_nothing",
    "an_ended_job_is_found_too",
    "jobs_are_found_in_their_order",
    "a_copy_is_not_found",
    "a_failed_search_proves_nothing",
    "a_deprovision_is_found_by_its_token",
];

/// What a provider that cannot find copies of jobs is not asked.
const ABOUT_RELAUNCH: [&str; 5] = [
    "a_relaunch_is_found",
    "a_relaunch_that_has_ended_is_found_too",
    "a_search_for_relaunches_finds_no_originals",
    "a_search_for_relaunches_finds_its_own_tokens_alone",
    "a_failed_search_for_relaunches_proves_nothing",
];

/// The action that the backends of these tests have automation for.
const ACTION: &str = "restart";

/// Its jobs.
fn acting() -> JobType {
    JobType::Action(ACTION.parse().unwrap())
}

/// Nothing is broken, and nothing is left out but what is known to be.
async fn passes(harness: &dyn Harness, left_out: &[&[&str]]) {
    for seed in seeds() {
        let began = tokio::time::Instant::now();
        let report = conformance::run(harness, seed).await;
        println!("{report}; {:.1} s", began.elapsed().as_secs_f64());
        assert!(report.broken().is_empty(), "{report}");
        let seen: BTreeSet<&str> = report.not_applicable().into_iter().collect();
        let known: BTreeSet<&str> = left_out.iter().copied().flatten().copied().collect();
        assert_eq!(seen, known, "{report}");
    }
}

/// What several callers may do at once, on several threads. (The rest runs on one, so that the await
/// points at which a caller goes away are the same in every run.)
async fn passes_at_once(harness: &dyn Harness) {
    let at_once = conformance::all().iter();
    let at_once: Vec<_> = at_once.filter(|b| b.name.contains("_at_once_")).collect();
    assert_eq!(at_once.len(), 3);
    for seed in seeds() {
        for behaviour in &at_once {
            let row = conformance::run_one(behaviour, harness, seed).await;
            assert!(row.verdict.is_ok(), "seed {seed}: {row:?}");
        }
    }
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

/// Megabytes of text, on many lines, that holds a credential and the variables of a launch.
fn loud(credential: &str, variables: &Value) -> String {
    let first = format!(
        "{credential} password={}",
        password(variables).unwrap_or_default()
    );
    let lines = "the same line again\n".repeat(60_000);
    format!("{first}\n{variables}\n{lines}")
}

/// The variable of this name, wherever it is.
fn password(variables: &Value) -> Option<&str> {
    match variables {
        Value::Object(members) => match members.get("password") {
            Some(password) => password.as_str(),
            None => members.values().find_map(password),
        },
        _ => None,
    }
}
