//! What the agent does to connections, and what it keeps on disk, in the status document.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// How connections to a dead backend end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Closing {
    /// sock-diag: the agent closes them. timeouts: each ends by timeouts of its own. off: when TCP
    /// gives up, or when the kernel ends them while there is no agent.
    pub mode: String,
    /// Why it is timeouts.
    pub reason: Option<String>,
    /// What the last attempt to close could not reach, one network namespace a line.
    pub unreached: Vec<String>,
}

/// The last known backends, as they are kept for the next start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TableOnDisk {
    /// The file; `None` when none is kept.
    pub file: Option<PathBuf>,
    /// Counts the writes of all agents to it.
    pub generation: u64,
    /// Time since this agent wrote it last; `None` before the first.
    pub age_ms: Option<u64>,
    /// Why it could not be read or written, until it could be.
    pub error: Option<String>,
    /// Backends that this agent took from it when it started.
    pub used: u64,
}

/// What happened, as it is kept for who asks afterwards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Journal {
    /// The file; `None` when none is kept.
    pub file: Option<PathBuf>,
    /// The number of the newest entry; 0 when there is none.
    pub newest: u64,
    /// Entries of this agent that are not on the disk and will not be.
    pub dropped: u64,
    /// Why it could not be read or written, until it could be.
    pub error: Option<String>,
}
