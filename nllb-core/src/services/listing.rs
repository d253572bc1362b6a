//! What a Service offers, as its source says it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use nllb_common::maps::Protocol;

/// Most VIPs that are told of one Service: both families and some ports.
const MOST_VIPS: usize = 16;

/// All that a Service offers at one moment; what it offered before is replaced. One that is gone offers
/// nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceListing {
    /// What clients dial.
    pub addresses: Vec<ServiceAddress>,
    /// Who serves them.
    pub endpoints: Vec<ServiceEndpoint>,
}

/// What clients dial.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceAddress {
    /// The VIP and the port of the Service.
    pub vip: SocketAddr,
    /// How the port is called; empty when it has no name.
    pub port: Arc<str>,
    /// Over what it is dialled.
    pub protocol: Protocol,
}

/// Who serves a port of a Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceEndpoint {
    /// Its address, with the port where it listens.
    pub addr: SocketAddr,
    /// How the port of the Service is called.
    pub port: Arc<str>,
    /// Over what it is dialled.
    pub protocol: Protocol,
    /// Whether it is said to be ready.
    pub ready: bool,
    /// Whether it is said to answer, though it may be about to go.
    pub serving: bool,
    /// Whether it is about to go.
    pub terminating: bool,
    /// The node that it is on.
    pub node: Option<Arc<str>>,
    /// The zone that it is in.
    pub zone: Option<Arc<str>>,
    /// The zones whose clients the cluster wants it to serve; empty for all.
    pub for_zones: Vec<Arc<str>>,
}

impl ServiceEndpoint {
    /// One of which nothing is said but that it is there.
    #[must_use]
    pub const fn ready(addr: SocketAddr, port: Arc<str>, protocol: Protocol) -> Self {
        Self {
            addr,
            port,
            protocol,
            ready: true,
            serving: true,
            terminating: false,
            node: None,
            zone: None,
            for_zones: Vec::new(),
        }
    }
}

impl ServiceListing {
    /// The hosts of its endpoints.
    #[must_use]
    pub fn hosts(&self) -> BTreeSet<IpAddr> {
        self.endpoints.iter().map(|endpoint| endpoint.addr.ip()).collect()
    }

    /// Some of what clients dial, each address once.
    #[must_use]
    pub fn vips(&self) -> Vec<SocketAddr> {
        let vips: BTreeSet<_> = self.addresses.iter().map(|address| address.vip).collect();
        vips.into_iter().take(MOST_VIPS).collect()
    }

    /// The hosts of which `other` says something else, gone and new ones included.
    pub(super) fn differs(&self, other: &Self) -> BTreeSet<IpAddr> {
        let (before, after) = (self.said(), other.said());
        let hosts = before.keys().chain(after.keys());
        hosts.filter(|ip| before.get(*ip) != after.get(*ip)).copied().collect()
    }

    fn said(&self) -> BTreeMap<IpAddr, BTreeSet<&ServiceEndpoint>> {
        let mut said: BTreeMap<IpAddr, BTreeSet<_>> = BTreeMap::new();
        for endpoint in &self.endpoints {
            said.entry(endpoint.addr.ip()).or_default().insert(endpoint);
        }
        said
    }
}
