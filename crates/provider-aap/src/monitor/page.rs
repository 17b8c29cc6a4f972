//! How many jobs one question has room for.

/// Ids in one request line: 4 kB are refused by some web servers (AWX 24.6.1: gunicorn).
const MAX_ID_BYTES: usize = 2_800;

/// The jobs of one question.
pub(super) struct Page {
    pub(super) ids: Vec<u64>,
    size: usize,
    bytes: usize,
}

impl Page {
    pub(super) fn new(size: usize) -> Self {
        Self {
            ids: Vec::with_capacity(size),
            size,
            bytes: 0,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.ids.len() >= self.size || self.bytes > MAX_ID_BYTES
    }

    pub(super) fn add(&mut self, id: u64) {
        // A comma is three bytes of a URL.
        self.bytes += 3 + usize::try_from(id.max(1).ilog10()).unwrap_or(20) + 1;
        self.ids.push(id);
    }
}
