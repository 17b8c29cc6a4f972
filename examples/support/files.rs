//! A controller without a cluster: objects are JSON files in one directory, records in another. An
//! object whose file has a `metadata.deletionTimestamp` is deprovisioned, and its file is removed when it
//! may go. May be killed at any moment and started again.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use provider_core::lifecycle::Desired;
use provider_core::{Clock, ConfigVersion, ObjectKey, Resource, SystemClock};
use provider_testkit::FileStore;

use super::{Backend, Failure, Report};

/// Where things are.
#[derive(Debug, clap::Args)]
pub(crate) struct Directories {
    /// The directory of objects.
    #[arg(long, value_name = "DIR")]
    pub(crate) objects: PathBuf,
    /// The directory of records.
    #[arg(long, value_name = "DIR")]
    pub(crate) state: PathBuf,
    /// Ends when there is no object left, instead of waiting for more.
    #[arg(long)]
    pub(crate) until_empty: bool,
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

/// Drives all objects, until there is none if so wished.
pub(crate) async fn control(
    backend: &Backend,
    directories: &Directories,
    report: &mut Report,
) -> Result<(), Failure> {
    let store = FileStore::open(&directories.state)?;
    let mut due: HashMap<ObjectKey, Timestamp> = HashMap::new();
    loop {
        let objects = objects(&directories.objects)?;
        if objects.is_empty() && directories.until_empty {
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
