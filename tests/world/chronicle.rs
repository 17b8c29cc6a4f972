//! All that happens in a world, in its order.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use provider_core::Clock;
use provider_testkit::TimerClock;

/// What happened; clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Chronicle {
    clock: TimerClock,
    book: Arc<Mutex<Book>>,
}

#[derive(Debug, Default)]
struct Book {
    /// Of everything so far.
    digest: DefaultHasher,
    /// Everything so far in words, where it is wanted: to see where two worlds part.
    everything: Option<Vec<String>>,
    /// What a person would tell.
    told: Vec<String>,
    counts: BTreeMap<&'static str, u64>,
    faults: u64,
}

impl Chronicle {
    pub(crate) fn new(clock: TimerClock, keeps_everything: bool) -> Self {
        let book = Book {
            everything: keeps_everything.then(Vec::new),
            ..Book::default()
        };
        Self {
            clock,
            book: Arc::new(Mutex::new(book)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something that a person would tell. Lines that concern an object name it.
    pub(crate) fn note(&self, what: &'static str, text: &str) {
        let line = format!("{} {what} {text}", self.clock.now());
        let mut book = self.lock();
        *book.counts.entry(what).or_default() += 1;
        line.hash(&mut book.digest);
        if let Some(everything) = &mut book.everything {
            everything.push(line.clone());
        }
        book.told.push(line);
    }

    /// Something that goes wrong.
    pub(crate) fn fault(&self, what: &'static str, text: &str) {
        self.note(what, text);
        self.lock().faults += 1;
    }

    /// A request as it comes in, or its answer. Who sends it, what it is, and its body.
    pub(crate) fn message(&self, who: &str, what: &str, path: &str, code: u16, body: &[u8]) {
        let now = self.clock.now();
        let mut book = self.lock();
        (now.as_nanosecond(), who, what, path, code, body).hash(&mut book.digest);
        if let Some(everything) = &mut book.everything {
            let body = String::from_utf8_lossy(body);
            everything.push(format!("{now} {who} {what} {path} {code} {body}"));
        }
    }

    /// So many more of these.
    pub(crate) fn count(&self, what: &'static str, more: u64) {
        *self.lock().counts.entry(what).or_default() += more;
    }

    pub(crate) fn told(&self) -> Vec<String> {
        self.lock().told.clone()
    }

    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        let book = self.lock();
        let mut counts = book.counts.clone();
        counts.insert("faults", book.faults);
        counts
    }

    pub(crate) fn digest(&self) -> u64 {
        self.lock().digest.finish()
    }

    pub(crate) fn everything(&self) -> Vec<String> {
        self.lock().everything.clone().unwrap_or_default()
    }
}
