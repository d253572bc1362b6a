//! How durations are distributed, in the status document.

use serde::{Deserialize, Serialize};

/// Durations by class.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Durations {
    /// Upper bound of each class but the last.
    pub bounds_us: Vec<u32>,
    /// How many were in each class.
    pub counts: Vec<u64>,
    /// All of them together.
    pub sum_us: u64,
}

/// How long the stages of failovers took. Before the verdict new connections already avoid a backend
/// that gives a sign; what is established hangs until it is closed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failovers {
    /// From the first sign that a backend fails until the maps have it out of service.
    pub verdict: Durations,
    /// From the order to close the connections to a dead backend until they are closed.
    pub close: Durations,
}
