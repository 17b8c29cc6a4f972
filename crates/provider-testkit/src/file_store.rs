//! Records in files, one an object: for programs without a cluster, and for tests that kill them.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use provider_core::lifecycle::{Freshness, Snapshot, StatusStore, StoreError, StoreVersion};
use provider_core::{JobRecord, ObjectKey};
use serde::{Deserialize, Serialize};

/// A [`StatusStore`] in a directory.
///
/// A swap holds a lock on the object's lock file, compares, writes a new file, forces it to the
/// disk, and renames it over the old one: two processes never both win, and a crash at any point
/// leaves the old or the new records, never a piece.
#[derive(Debug)]
pub struct FileStore {
    directory: PathBuf,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Content {
    version: u64,
    records: Vec<JobRecord>,
}

impl FileStore {
    /// A store in this directory, which is made if need be.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(directory: impl Into<PathBuf>) -> std::io::Result<Self> {
        let directory = directory.into();
        fs::create_dir_all(&directory)?;
        Ok(Self { directory })
    }

    fn path(&self, key: &ObjectKey) -> PathBuf {
        let namespace = key.namespace.as_deref().unwrap_or("_");
        let name = format!("{}.{namespace}.{}.json", key.kind, key.name);
        // Names of objects are DNS labels; anything else must not lead out of the directory.
        let safe: String = name
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || "-._".contains(c) {
                    c
                } else {
                    '_'
                }
            })
            .collect();
        self.directory.join(safe)
    }

    fn swap_now(
        &self,
        key: &ObjectKey,
        version: &StoreVersion,
        records: &[JobRecord],
    ) -> Result<StoreVersion, StoreError> {
        let path = self.path(key);
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.with_extension("lock"))
            .map_err(|error| unavailable(&path, &error))?;
        lock.lock().map_err(|error| unavailable(&path, &error))?;
        let known = read(&path)?;
        if known.version.to_string() != version.as_str() {
            return Err(StoreError::Conflict);
        }
        let content = Content {
            version: known.version + 1,
            records: records.to_vec(),
        };
        write(&path, &content).map_err(|error| unavailable(&path, &error))?;
        Ok(StoreVersion::new(content.version.to_string()))
    }
}

fn read(path: &Path) -> Result<Content, StoreError> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
            StoreError::unavailable(&format!("{} cannot be read: {error}", path.display()))
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Content::default()),
        Err(error) => Err(unavailable(path, &error)),
    }
}

fn write(path: &Path, content: &Content) -> std::io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(&serde_json::to_vec_pretty(content)?)?;
    file.sync_all()?;
    fs::rename(&new, path)
}

fn unavailable(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::unavailable(&format!("{}: {error}", path.display()))
}

#[async_trait]
impl StatusStore for FileStore {
    async fn load(&self, key: &ObjectKey, _freshness: Freshness) -> Result<Snapshot, StoreError> {
        let content = read(&self.path(key))?;
        Ok(Snapshot {
            records: Arc::new(content.records),
            version: StoreVersion::new(content.version.to_string()),
            resource: None,
        })
    }

    async fn swap(
        &self,
        key: &ObjectKey,
        version: &StoreVersion,
        records: &[JobRecord],
    ) -> Result<StoreVersion, StoreError> {
        self.swap_now(key, version, records)
    }
}
