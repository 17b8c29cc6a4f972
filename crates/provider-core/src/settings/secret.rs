//! A secret that may live in a file, and is read again when the file changes.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};

use super::guard::{SettingError, guarded};
use super::tree::{Node, Tree};
use crate::text;

/// A secret: a text, or a file that holds it. In a configuration: `"TEXT"`, or `{"file": "PATH"}`.
///
/// A file is looked at whenever the secret is wanted, and read again when it has changed, so that a
/// token that was rotated needs no restart. While it cannot be read, the last text of it is in force.
/// `Debug` shows neither the text nor the path, which may be a text that was put in the wrong place.
#[derive(Clone)]
pub struct Secret(Arc<Source>);

enum Source {
    Text(SecretString),
    File { path: PathBuf, held: Mutex<Held> },
}

#[derive(Default)]
struct Held {
    print: Option<Print>,
    text: Option<SecretString>,
    /// The text before that: answers to requests that carried it may still come in, and repeat it.
    before: Option<SecretString>,
}

/// What tells whether a file is the one that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Print {
    modified: Option<std::time::SystemTime>,
    length: u64,
    inode: u64,
}

impl Print {
    /// The present one of this file; none while it cannot be looked at.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let file = std::fs::metadata(path).ok()?;
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(&file);
        #[cfg(not(unix))]
        let inode = 0;
        Some(Self {
            modified: file.modified().ok(),
            length: file.len(),
            inode,
        })
    }
}

/// The largest secret that is read: a path to something else than a secret is a mistake.
const MAX_FILE: u64 = 64 << 10;

impl Secret {
    /// The secret that this file holds, now and later.
    #[must_use]
    pub fn of_file(path: impl Into<PathBuf>) -> Self {
        Self(Arc::new(Source::File {
            path: path.into(),
            held: Mutex::default(),
        }))
    }

    /// The text as it is now, without line ends after it.
    ///
    /// # Errors
    /// When it is in a file that cannot be read and never could. The error does not name the file.
    pub fn read(&self) -> Result<SecretString, SettingError> {
        let Source::File { path, held } = &*self.0 else {
            return Ok(self.fixed());
        };
        let mut held = lock(held);
        let print = Print::of(path);
        if let (Some(text), true) = (&held.text, print.is_some() && print == held.print) {
            return Ok(text.clone());
        }
        match (read(path), &held.text) {
            (Ok(text), known) => {
                let is_new = known.as_ref().map(ExposeSecret::expose_secret) != Some(&*text);
                if is_new {
                    let text = Some(SecretString::from(text));
                    held.before = std::mem::replace(&mut held.text, text);
                }
                held.print = print;
                Ok(held.text.clone().unwrap_or_default())
            }
            // A file that is just being replaced.
            (Err(_), Some(text)) => Ok(text.clone()),
            (Err(error), None) => Err(error),
        }
    }

    /// The text as it is now; the empty text where it cannot be read and never could, which whoever
    /// builds something from settings refuses beforehand by [`read`](Self::read).
    #[must_use]
    pub fn now(&self) -> SecretString {
        self.read().unwrap_or_default()
    }

    /// Makes the file be read again at the next use, however unchanged it looks: the text was refused.
    pub fn doubt(&self) {
        if let Source::File { held, .. } = &*self.0 {
            lock(held).print = None;
        }
    }

    /// `text` without this secret, as it is now and as it was before.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        let texts = match &*self.0 {
            Source::Text(text) => vec![text.clone()],
            Source::File { held, .. } => {
                let held = lock(held);
                [&held.text, &held.before]
                    .into_iter()
                    .flatten()
                    .cloned()
                    .collect()
            }
        };
        // As it was given, and as it is sent.
        let forms = texts.iter().flat_map(|secret| {
            let secret = secret.expose_secret();
            let sent = super::as_token("", secret).map_or(secret, |(token, _)| token);
            [secret, sent]
        });
        text::redacted(text, forms)
    }

    /// Whether it lives in a file.
    #[must_use]
    pub fn is_of_file(&self) -> bool {
        matches!(&*self.0, Source::File { .. })
    }

    fn fixed(&self) -> SecretString {
        match &*self.0 {
            Source::Text(text) => text.clone(),
            Source::File { .. } => SecretString::default(),
        }
    }
}

fn lock(held: &Mutex<Held>) -> MutexGuard<'_, Held> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read(path: &Path) -> Result<String, SettingError> {
    let refuse = |what: &str| {
        Err(SettingError::new(&format!(
            "cannot read the file that it names: {what}"
        )))
    };
    match std::fs::metadata(path) {
        Ok(file) if file.is_file() && file.len() > MAX_FILE => return refuse("it is too large"),
        Ok(file) if file.is_dir() => return refuse("it is a directory"),
        Ok(_) => {}
        Err(error) => return refuse(&error.kind().to_string()),
    }
    match std::fs::read(path) {
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => {
                let text = text.trim_start_matches('\u{feff}');
                Ok(super::without_line_end(text).to_owned())
            }
            Err(_) => refuse("it holds no text"),
        },
        Err(error) => refuse(&error.kind().to_string()),
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(text::MASK)?;
        if self.is_of_file() {
            f.write_str(" of a file")?;
        }
        Ok(())
    }
}

impl From<SecretString> for Secret {
    fn from(text: SecretString) -> Self {
        Self(Arc::new(Source::Text(text)))
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        SecretString::from(text).into()
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        SecretString::from(text).into()
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        guarded(deserializer, |Tree(node)| match node {
            Node::Text(text) => Ok(text.into()),
            Node::Map(members) => match members.as_slice() {
                [(Node::Text(name), Node::Text(path))] if name == "file" => {
                    Ok(Self::of_file(path.trim()))
                }
                _ => Err(expected("a map without exactly the member `file`")),
            },
            other => Err(expected(other.sort())),
        })
    }
}

fn expected(found: &str) -> SettingError {
    // A number cannot be taken for the text that it was written as: 007, 1e3 and 0x1f are gone.
    SettingError::new(&format!(
        "expected a text in quotes, or `file: PATH`; found {found}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(secret: &Secret) -> String {
        secret.now().expose_secret().to_owned()
    }

    fn file(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("provider-core-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        dir.join(name)
    }

    #[test]
    fn a_file_is_read_again_when_it_changes_and_kept_while_it_is_away() {
        let path = file("rotated");
        std::fs::write(&path, "one-secret\n").unwrap();
        let secret = Secret::of_file(&path);
        assert_eq!(shown(&secret), "one-secret");
        std::fs::write(&path, "another-secret\r\n").unwrap();
        assert_eq!(shown(&secret), "another-secret");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(shown(&secret), "another-secret", "it is being replaced");
        // Both may be repeated by answers that are still to come.
        assert_eq!(secret.redact("one-secret another-secret"), "*** ***");
        assert_eq!(format!("{secret:?}"), "*** of a file");
    }

    #[test]
    fn a_doubted_file_is_read_again_though_it_looks_the_same() {
        let path = file("doubted");
        std::fs::write(&path, "aaaa").unwrap();
        let secret = Secret::of_file(&path);
        assert_eq!(shown(&secret), "aaaa");
        let at = std::fs::metadata(&path).unwrap().modified().unwrap();
        std::fs::write(&path, "bbbb").unwrap();
        let same = std::fs::File::options().write(true).open(&path).unwrap();
        same.set_modified(at).unwrap();
        assert_eq!(shown(&secret), "aaaa", "nothing tells it apart");
        secret.doubt();
        assert_eq!(shown(&secret), "bbbb");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_file_that_never_was_is_an_error_that_repeats_no_value() {
        let token = Secret::of_file("s3cret-token-in-the-wrong-variable");
        let error = token.read().unwrap_err();
        assert!(!format!("{error} {error:?} {token:?}").contains("s3cret"));
        assert!(error.to_string().contains("cannot read"), "{error}");
        let error = Secret::of_file(std::env::temp_dir()).read().unwrap_err();
        assert!(error.to_string().contains("directory"), "{error}");
    }
}
