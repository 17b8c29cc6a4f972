//! What was really taken, whatever the senders were told.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fault::Fault;

/// One event that the service took: the judge of every simulation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Counts from 1, in the order of arrival.
    pub id: u64,
    /// When it was taken.
    pub at: Timestamp,
    /// `event.meta.endpoint`, as rules see it.
    pub endpoint: String,
    /// `event.payload`, as rules see it.
    pub payload: Value,
    /// What became of it.
    pub fate: Fate,
}

impl Event {
    /// The text at this pointer (RFC 6901) of the payload.
    #[must_use]
    pub fn text(&self, pointer: &str) -> Option<&str> {
        self.payload.pointer(pointer)?.as_str()
    }
}

/// What becomes of an event after it was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// Rules will see it.
    Queued,
    /// Nobody listened, or the process ended before its turn.
    Lost,
    /// The engine of the rules could not read it.
    Dropped,
    /// It was shown on the page of the event stream, and went no further.
    TestMode,
}

/// One request that met a fault: what its sender should make of it can be told from the fault alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The body of the request.
    pub body: Vec<u8>,
    /// What went wrong.
    pub fault: Fault,
}
