//! The jobs that are watched, where each is found in a moment.

use std::hash::{BuildHasherDefault, Hasher};

use indexmap::IndexMap;

use super::line::Watched;

/// Each job by its id. They lie in the order in which they were first asked about, which is about the
/// one in which they are asked about in every round, and about that of their ids: who goes through a
/// page of them need not jump.
pub(super) type Jobs = IndexMap<u64, Watched, BuildHasherDefault<InOrder>>;

/// Leaves ids that follow each other side by side, as a controller gives them out. The upper bits tell
/// apart those that come to lie together.
#[derive(Default)]
pub(super) struct InOrder(u64);

/// Those of which a hash table makes a tag.
const TAG: u64 = 0b111_1111 << 57;

impl Hasher for InOrder {
    fn write_u64(&mut self, id: u64) {
        let mixed = id.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = (id & !TAG) | (mixed & TAG);
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.0 << 8 | u64::from(*byte));
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
