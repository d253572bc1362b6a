//! Connects whose records in the kernel are compared with where they went.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Threads that connect, dissolve the association and connect again, now to a frontend and now
/// straight to a server, and check each time what the kernel keeps about the socket.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Attribution {
    /// How many threads.
    pub threads: usize,
    /// How many connects all together make.
    pub connects: u64,
    /// The frontend.
    pub frontend: SocketAddr,
    /// The servers that it may lead to; each greets with its name.
    pub targets: Vec<Target>,
    /// The pin of the map of socket records.
    pub records: PathBuf,
}

/// A server.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Target {
    /// Its address.
    pub address: SocketAddr,
    /// Its id in the maps.
    pub backend: u32,
    /// How it greets.
    pub name: String,
}

/// What came of it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct AttributionReport {
    /// Connects through the frontend.
    pub translated: u64,
    /// Connects straight to a server.
    pub direct: u64,
    /// Of both, how many reused a socket.
    pub reused: u64,
    /// Connects that failed, by error.
    pub errors: BTreeMap<String, u64>,
    /// Connects whose record, peer and greeting do not agree.
    pub wrong: Vec<String>,
}
