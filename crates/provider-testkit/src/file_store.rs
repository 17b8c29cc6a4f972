//! Records in files, one an object: for programs without a cluster, and for tests that kill them.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use provider_core::lifecycle::{
    Freshness, Snapshot, StatusStore, StoreError, StoreVersion, Written,
};
use provider_core::{JobRecord, ObjectKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// How much of an object's name is in the name of its file, for people; the digest is the name.
const SHOWN: usize = 80;

/// A [`StatusStore`] in a directory.
///
/// A swap holds a lock on the object's lock file, compares, writes a new file, forces it to the
/// disk, and renames it over the old one: two processes never both win, and a crash at any point
/// leaves the old or the new records, never a piece.
///
/// A file is named by a digest of the object's whole key, the uid too, and says inside whose it is.
#[derive(Debug)]
pub struct FileStore {
    directory: PathBuf,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Content {
    /// Older versions did not write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<Key>,
    version: u64,
    records: Vec<JobRecord>,
}

/// An [`ObjectKey`] as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Key {
    kind: String,
    namespace: Option<String>,
    name: String,
    uid: String,
}

impl From<&ObjectKey> for Key {
    fn from(key: &ObjectKey) -> Self {
        Self {
            kind: key.kind.clone(),
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            uid: key.uid.clone(),
        }
    }
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

    /// The file with the records of an object, whether it is there yet or not.
    #[must_use]
    pub fn path(&self, key: &ObjectKey) -> PathBuf {
        let mut name: String = safe(&format!("{}.{}", key.kind, key.name))
            .chars()
            .take(SHOWN)
            .collect();
        name.push('.');
        for byte in digest(key) {
            let _ = write!(name, "{byte:02x}");
        }
        self.directory.join(name + ".json")
    }

    /// Where older versions kept the records of every object whose name looked like this one.
    fn older(&self, key: &ObjectKey) -> PathBuf {
        let namespace = key.namespace.as_deref().unwrap_or("_");
        let name = format!("{}.{namespace}.{}.json", key.kind, key.name);
        self.directory.join(safe(&name))
    }

    fn read(&self, key: &ObjectKey, path: &Path) -> Result<Content, StoreError> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return self.nothing(key, path);
            }
            Err(error) => return Err(unavailable(path, &error)),
        };
        let content: Content = serde_json::from_slice(&bytes).map_err(|error| {
            StoreError::unavailable(&format!("{} cannot be read: {error}", path.display()))
        })?;
        match &content.key {
            Some(known) if *known != Key::from(key) => Err(StoreError::refused(&format!(
                "{} has the records of another object; put it back where it came from",
                path.display()
            ))),
            _ => Ok(content),
        }
    }

    /// An object without a file has no records, unless there is one that may be its own.
    fn nothing(&self, key: &ObjectKey, path: &Path) -> Result<Content, StoreError> {
        let older = self.older(key);
        if older.exists() {
            return Err(StoreError::refused(&format!(
                "{} was written by an older version, which did not note whose records they are; if they \
                 are those of {key} with the uid \"{}\", rename it to {}, else remove it",
                older.display(),
                key.uid,
                path.display()
            )));
        }
        Ok(Content::default())
    }

    fn swap_now(
        &self,
        key: &ObjectKey,
        version: &StoreVersion,
        records: &[JobRecord],
    ) -> Result<Written, StoreError> {
        let path = self.path(key);
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.with_extension("lock"))
            .map_err(|error| unavailable(&path, &error))?;
        lock.lock().map_err(|error| unavailable(&path, &error))?;
        let known = self.read(key, &path)?;
        if known.version.to_string() != version.as_str() {
            return Err(StoreError::Conflict);
        }
        let content = Content {
            key: Some(key.into()),
            version: known.version.saturating_add(1),
            records: records.to_vec(),
        };
        self.write(&path, &content)
            .map_err(|error| unavailable(&path, &error))?;
        Ok(Written::new(StoreVersion::new(content.version.to_string())))
    }

    fn write(&self, path: &Path, content: &Content) -> std::io::Result<()> {
        let new = path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec_pretty(content)?)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        // The new name is on the disk too.
        File::open(&self.directory)?.sync_all()
    }
}

/// Of the whole key: each part with its length, so that no two keys are written alike, and an object of
/// the cluster is none of a namespace.
fn digest(key: &ObjectKey) -> impl IntoIterator<Item = u8> {
    let mut hash = Sha256::new();
    let parts = [
        Some(key.kind.as_str()),
        key.namespace.as_deref(),
        Some(key.name.as_str()),
        Some(key.uid.as_str()),
    ];
    for part in parts {
        match part {
            Some(text) => {
                hash.update([1]);
                hash.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
                hash.update(text);
            }
            None => hash.update([0]),
        }
    }
    hash.finalize()
}

/// Names of objects are DNS labels; anything else must not lead out of the directory.
fn safe(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    name.chars()
        .map(|c| if fits(c) { c } else { '_' })
        .collect()
}

fn unavailable(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::unavailable(&format!("{}: {error}", path.display()))
}

#[async_trait]
impl StatusStore for FileStore {
    async fn load(&self, key: &ObjectKey, _freshness: Freshness) -> Result<Snapshot, StoreError> {
        let content = self.read(key, &self.path(key))?;
        Ok(Snapshot::new(
            Arc::new(content.records),
            StoreVersion::new(content.version.to_string()),
        ))
    }

    async fn swap(
        &self,
        key: &ObjectKey,
        version: &StoreVersion,
        records: &[JobRecord],
    ) -> Result<Written, StoreError> {
        self.swap_now(key, version, records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use provider_core::JobType;

    fn key(uid: &str) -> ObjectKey {
        ObjectKey {
            kind: "VM".to_owned(),
            namespace: Some("n".to_owned()),
            name: "a".to_owned(),
            uid: uid.to_owned(),
        }
    }

    #[tokio::test]
    async fn a_file_of_an_older_version_is_neither_believed_nor_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        let store = FileStore::open(directory.path()).unwrap();
        let older = directory.path().join("VM.n.a.json");
        let content = Content {
            key: None,
            version: 4,
            records: vec![JobRecord::new(1, JobType::Provision)],
        };
        fs::write(&older, serde_json::to_vec(&content).unwrap()).unwrap();
        let said = store.load(&key("1"), Freshness::Current).await;
        let said = said.unwrap_err().to_string();
        assert!(said.contains("rename it to"), "{said}");
        // Who says whose they are has them.
        fs::rename(&older, store.path(&key("1"))).unwrap();
        let loaded = store.load(&key("1"), Freshness::Current).await.unwrap();
        assert_eq!((loaded.records.len(), loaded.version.as_str()), (1, "4"));
        let other = store.load(&key("2"), Freshness::Current).await.unwrap();
        assert!(other.records.is_empty());
    }

    #[tokio::test]
    async fn a_file_that_was_put_in_the_place_of_another_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let store = FileStore::open(directory.path()).unwrap();
        let none = StoreVersion::new("0");
        store.swap(&key("1"), &none, &[]).await.unwrap();
        fs::copy(store.path(&key("1")), store.path(&key("2"))).unwrap();
        let loaded = store.load(&key("2"), Freshness::Current).await;
        assert!(matches!(loaded, Err(StoreError::Refused(_))), "{loaded:?}");
    }
}
