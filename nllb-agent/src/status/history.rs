//! The round trips of the last hour, for graphs. A document of its own: it is long, and few want it.

use super::SCHEMA;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// The round trips of the last hour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct History {
    /// Version of this document, counted like that of status.
    pub schema: u32,
    /// Length of a slot.
    pub slot_ms: u64,
    /// The backends, in the order of status.
    pub backends: Vec<BackendHistory>,
}

/// Those of a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendHistory {
    /// Name of its pool.
    pub pool: String,
    /// Its address.
    pub address: SocketAddr,
    /// The shortest round trip of each slot, the oldest slot first; `null` where there was none. The last slot
    /// is not over yet.
    pub best_us: Vec<Option<u32>>,
    /// The smoothed round-trip time at the end of each slot.
    pub smoothed_us: Vec<Option<u32>>,
}

impl Default for History {
    fn default() -> Self {
        Self { schema: SCHEMA, slot_ms: 0, backends: Vec::new() }
    }
}
