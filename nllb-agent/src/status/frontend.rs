//! Frontends in the status document: what clients dial and who may serve it.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// An address that clients dial.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Frontend {
    /// Its name in the configuration.
    pub name: String,
    /// Its id in the maps.
    pub id: u32,
    /// vip, loopback or node-address.
    pub kind: String,
    /// tcp or udp.
    pub protocol: String,
    /// What is dialled.
    pub addresses: Vec<SocketAddr>,
    /// Who serves it.
    pub pool: String,
    /// host or all.
    pub scope: String,
    /// pass-through or fail.
    pub on_empty: String,
    /// The name that a backend's certificate must cover; `null` for the addresses.
    pub server_name: Option<String>,
    /// Whether certificates are looked at.
    pub checks_certificates: bool,
    /// random, round-robin, least-connections, maglev or affinity.
    pub policy: String,
    /// off, prefer-newest or kubelet.
    pub version_skew: String,
    /// The oldest version of Kubernetes that a backend may have.
    pub min_version: Option<String>,
    /// For a node address: the backend whose own it is.
    pub home: Option<SocketAddr>,
    /// Failures that the kernel told of so far, by what it saw. At most one per backend in 10 ms is told.
    pub failures: BTreeMap<String, u64>,
    /// The backends as seen from here.
    pub backends: Vec<FrontendBackend>,
}

/// A backend as seen from a frontend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FrontendBackend {
    /// Its address.
    pub address: SocketAddr,
    /// Whether the kernel chooses among it for this frontend.
    pub used: bool,
    /// What its certificate or its version says, where that is not simply yes.
    pub reason: Option<String>,
    /// What that is about: address, certificate or version.
    pub about: Option<String>,
}
