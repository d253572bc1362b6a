//! What can be told of control-plane hosts, and by whom.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// The kinds of sources, the one that counts most first: that order decides who is left out when
/// there are more hosts than room. The last ones list no control-plane hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SourceKind {
    /// The configuration.
    Static,
    /// The EndpointSlices of the Service `kubernetes`.
    Kubernetes,
    /// A kubeconfig.
    Kubeconfig,
    /// A file with one host a line.
    File,
    /// A DNS name.
    Dns,
    /// The table on disk.
    Table,
    /// The EndpointSlices of another Service, whose backends are its own.
    Service,
    /// The pods of this node, of which some are sandboxed.
    Pods,
    /// This node's own object, which has its zone.
    Node,
}

impl SourceKind {
    /// All kinds, the one that counts most first.
    pub const ALL: [Self; 9] = [
        Self::Static,
        Self::Kubernetes,
        Self::Kubeconfig,
        Self::File,
        Self::Dns,
        Self::Table,
        Self::Service,
        Self::Pods,
        Self::Node,
    ];

    /// The word for it in status and metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Kubernetes => "kubernetes",
            Self::Kubeconfig => "kubeconfig",
            Self::File => "file",
            Self::Dns => "dns",
            Self::Table => "table",
            Self::Service => "service",
            Self::Pods => "pods",
            Self::Node => "node",
        }
    }
}

/// A source: its kind, and which of that kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId {
    /// What sort of source it is.
    pub kind: SourceKind,
    /// The file, the DNS name, the annotation; empty where there is only one of its kind.
    pub name: Arc<str>,
}

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, name } = self;
        f.write_str(kind.label())?;
        if !name.is_empty() {
            write!(f, " {name}")?;
        }
        Ok(())
    }
}

/// A control-plane host as a source sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sighting {
    /// Its address, in any form.
    pub ip: IpAddr,
    /// The port of its API server, when the source knows it.
    pub port: Option<u16>,
    /// Whether the source says that it is ready; `None` when it does not say.
    pub ready: Option<bool>,
    /// Whether the source says that it is about to go.
    pub terminating: bool,
}

impl Sighting {
    /// A host of which only the address is told.
    #[must_use]
    pub const fn new(ip: IpAddr, port: Option<u16>) -> Self {
        Self { ip, port, ready: None, terminating: false }
    }
}

/// All that a source lists at one moment; what it listed before is replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The hosts, in any order, duplicates and nonsense included.
    pub sightings: Vec<Sighting>,
    /// Every address and port under which clients in the cluster dial the API; only
    /// [`SourceKind::Kubernetes`] tells them.
    pub vips: Vec<SocketAddr>,
}
