//! Where backends come from, in the status document.

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Where backends come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Discovery {
    /// Every source that is heard, and every other that names a backend.
    pub sources: Vec<Source>,
    /// Who is listed and is no backend, one line each.
    pub left_out: Vec<String>,
    /// Why the newest lists are not gone by.
    pub problem: Option<String>,
}

/// A source of hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// What backends call it: its kind (static, kubernetes, kubeconfig, file, dns, table, service, pods or
    /// node) and, where there are several, which.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// Whether it is heard while the agent runs; the configuration and the table on disk are not.
    pub watched: bool,
    /// How many hosts it lists; of pods, how many are sandboxed.
    pub hosts: u64,
    /// How many entries of its list cannot be backends.
    pub ignored: u64,
    /// What it says that clients dial.
    pub vips: Vec<SocketAddr>,
    /// Time since what it lists became another; `None` before it was heard.
    pub changed_ms: Option<u64>,
    /// Time since it last listed somebody; `None` before it was heard.
    pub heard_ms: Option<u64>,
    /// Why it is not heard now.
    pub error: Option<String>,
    /// For how long.
    pub error_age_ms: Option<u64>,
}
