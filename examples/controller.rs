//! A small controller without a cluster: objects are JSON files in a directory, records are files in
//! another. An object whose file has a `metadata.deletionTimestamp` is deprovisioned, and its file is
//! removed when it may go. May be killed at any moment and started again.
//!
//!     cargo run --example controller -- --objects DIR --state DIR

mod support;

use std::process::ExitCode;

use clap::Parser;
use jiff::SignedDuration;
use support::files::{Directories, control};
use support::{Backend, Failure, Options, Report};

#[derive(Debug, Parser)]
pub(crate) struct Flags {
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    directories: Directories,
    /// Polls every job this often.
    #[arg(long, value_name = "DURATION")]
    poll_interval: Option<SignedDuration>,
    /// How long an unanswered launch may take to turn up, and an end is doubted.
    #[arg(long, value_name = "DURATION")]
    windows: Option<SignedDuration>,
}

pub(crate) async fn run(flags: &Flags) -> Result<(), Failure> {
    let backend = Backend::with(&flags.options, flags.poll_interval, flags.windows).await?;
    let mut report = Report::new(flags.options.json);
    control(&backend, &flags.directories, &mut report).await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    support::exit("controller", run(&Flags::parse()).await)
}
