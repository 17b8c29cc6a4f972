//! A small controller without a cluster: objects are JSON files in a directory, records are files in
//! another. An object whose file has a `metadata.deletionTimestamp` is deprovisioned, and its file is
//! removed when it may go. May be killed at any moment and started again.
//!
//!     cargo run --example controller -- --objects DIR --state DIR

mod support;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use provider_core::lifecycle::Desired;
use provider_core::{Clock, ConfigVersion, ObjectKey, Resource, SystemClock};
use provider_testkit::FileStore;
use support::{Backend, Failure, Options, Report};

#[derive(Debug, Parser)]
struct Flags {
    #[command(flatten)]
    options: Options,
    /// The directory of objects.
    #[arg(long, value_name = "DIR")]
    objects: PathBuf,
    /// The directory of records.
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// Ends when there is no object left, instead of waiting for more.
    #[arg(long)]
    until_empty: bool,
    /// Polls every job this often.
    #[arg(long, value_name = "DURATION")]
    poll_interval: Option<SignedDuration>,
    /// How long an unanswered launch may take to turn up, and an end is doubted.
    #[arg(long, value_name = "DURATION")]
    windows: Option<SignedDuration>,
}

/// The objects that there are; a file that is being written is read in the next round.
fn objects(directory: &Path) -> Result<Vec<(PathBuf, Resource)>, Failure> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let value = serde_json::from_str(&text).unwrap_or_default();
        if let Ok(resource) = Resource::from_json(value) {
            all.push((path, resource));
        }
    }
    Ok(all)
}

async fn run(flags: &Flags) -> Result<(), Failure> {
    let backend = Backend::with(&flags.options, flags.poll_interval, flags.windows).await?;
    let store = FileStore::open(&flags.state)?;
    let mut report = Report::new(flags.options.json);
    let mut due: HashMap<ObjectKey, Timestamp> = HashMap::new();
    loop {
        let objects = objects(&flags.objects)?;
        if objects.is_empty() && flags.until_empty {
            return Ok(());
        }
        let now = SystemClock.now();
        let is_due = |key: &ObjectKey| due.get(key).is_none_or(|at| *at <= now);
        let changed = objects
            .iter()
            .filter(|(_, object)| is_due(object.key()) || object.is_deleting());
        let passes = changed.map(async |(path, object)| {
            let version = ConfigVersion::of_json(object.spec());
            let desired = Desired::new(version, backend.provider.name());
            let outcome = backend
                .lifecycle
                .reconcile(&backend.registry, &store, object, &desired, &SystemClock)
                .await;
            (path, object, outcome)
        });
        let mut passes = futures::stream::iter(passes).buffer_unordered(16);
        let mut ended = Vec::new();
        while let Some((path, object, outcome)) = passes.next().await {
            report.outcome(object, &outcome);
            if outcome.may_release() {
                // The finalizer goes, and with it the object.
                std::fs::remove_file(path)?;
            }
            let rest = Duration::from_secs(60);
            let wake = outcome.wake_after(now).unwrap_or(rest);
            ended.push((object.key().clone(), provider_core::clock::add(now, wake)));
        }
        drop(passes);
        due.extend(ended);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    support::exit("controller", run(&Flags::parse()).await)
}
