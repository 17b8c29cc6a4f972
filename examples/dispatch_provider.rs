//! A backend of one's own that does not name what it launches: workflows of GitHub, which answers
//! a dispatch with 204 and lists the run some seconds later. The provider is in `dispatch/mod.rs`.
//!
//!     cargo run --example dispatch_provider
//!
//! Proves the provider with the conformance suite, against a GitHub within this program
//! (`dispatch/world.rs`), and prints the report. This is also how a test of it would look.

#![allow(clippy::print_stdout, reason = "programs speak")]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "the backend within this program is a test's"
)]

mod dispatch;

use std::process::ExitCode;

use clap::Parser;
use provider_testkit::conformance;
use serde_json::json;

#[derive(Debug, Parser)]
struct Flags {
    /// The seed of the suite: tokens, ways to break the backend, pauses.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// One line of JSON instead of the report.
    #[arg(long)]
    json: bool,
}

/// What cannot be looked at here, and why. A suite that leaves out more proves less than it seems.
const LEFT_OUT: [&str; 8] = [
    // Launches in doubt are found, and need not be assumed.
    "an_assumed_job_is_answered_for",
    // A run that a person starts anew keeps its id: there are no copies.
    "a_copy_is_not_found",
    "a_relaunch_is_found",
    "a_relaunch_that_has_ended_is_found_too",
    "a_search_for_relaunches_finds_no_originals",
    "a_search_for_relaunches_finds_its_own_tokens_alone",
    "a_failed_search_for_relaunches_proves_nothing",
    // Nobody tells of ends.
    "a_wake_up_names_its_job",
];

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let flags = Flags::parse();
    // Connections need a provider of cryptography, as everywhere with rustls.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let report = conformance::run(&dispatch::world::Repositories, flags.seed).await;
    let (broken, left_out) = (report.broken(), report.not_applicable());
    let surprises: Vec<_> = left_out
        .iter()
        .filter(|name| !LEFT_OUT.contains(name))
        .collect();
    let is_ok = broken.is_empty() && surprises.is_empty();
    if flags.json {
        let line = json!({
            "result": if is_ok { "ok" } else { "broken" },
            "kept": report.kept().len(), "broken": broken, "leftOut": left_out,
        });
        println!("{line}");
    } else {
        println!("{report}");
        for name in surprises {
            println!("nobody expected that {name} does not apply");
        }
    }
    if is_ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
