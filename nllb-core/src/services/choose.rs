//! Which endpoints of a port this node goes to, and how far away each is.
//!
//! Distance is what the cluster says, node and zone, and not what round trips say: within a zone they do
//! not differ, and traffic between zones costs money whether it is slow or not. It only orders who is
//! well; health comes first, in the kernel's choice.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use nllb_common::maps::MAX_POOL_BACKENDS;
use nllb_common::mix;

use crate::services::ServiceEndpoint;
use crate::settings::{Standing, canonical};

/// Which endpoints are preferred.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Topology {
    /// Those on this node, then those in its zone.
    PreferNode,
    /// Those in this node's zone.
    PreferZone,
    /// None.
    #[default]
    None,
}

impl Topology {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::PreferNode, Self::PreferZone, Self::None];

    /// The word for it in configuration and status.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::PreferNode => "prefer-node",
            Self::PreferZone => "prefer-zone",
            Self::None => "none",
        }
    }

    /// How far away an endpoint is, 0 for the nearest.
    fn band(self, endpoint: &ServiceEndpoint, here: &Here) -> u8 {
        let ServiceEndpoint { node, zone, for_zones, .. } = endpoint;
        let same_node = node.as_ref() == Some(&here.node);
        // What the cluster wants comes before where it is: it keeps zones from being overloaded.
        let same_zone = here.zone.as_ref().is_some_and(|own| match for_zones.as_slice() {
            [] => zone.as_ref() == Some(own),
            wanted => wanted.contains(own),
        });
        match self {
            Self::PreferNode if same_node => 0,
            Self::PreferNode if same_zone => 1,
            Self::PreferNode => 2,
            Self::PreferZone => u8::from(!same_zone),
            Self::None => 0,
        }
    }
}

/// Where this node is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Here {
    /// Its name in the cluster.
    pub node: Arc<str>,
    /// Its zone, when it is known.
    pub zone: Option<Arc<str>>,
}

/// Those who may serve, and how many had no room.
pub(super) struct Chosen {
    pub(super) endpoints: Vec<SocketAddr>,
    pub(super) standings: BTreeMap<SocketAddr, Standing>,
    pub(super) beyond: usize,
}

/// Chooses among the endpoints of a port.
///
/// Ready ones serve, and those that end but still answer drain. One that the cluster calls not ready
/// serves only where there is nobody else at all: then only our own probes say anything.
pub(super) fn choose<'a>(
    endpoints: impl Iterator<Item = &'a ServiceEndpoint>,
    topology: Topology,
    here: &Here,
) -> Chosen {
    let endpoints: Vec<&ServiceEndpoint> = endpoints.collect();
    let leaving = |one: &ServiceEndpoint| one.terminating && one.serving && !one.ready;
    let usable = |one: &&&ServiceEndpoint| one.ready || leaving(one);
    let some = endpoints.iter().any(|one| usable(&one));
    let mut seen = BTreeSet::new();
    let mut ranked: Vec<_> = endpoints
        .iter()
        .filter(|one| !some || usable(one))
        .filter(|one| seen.insert(canonical(one.addr)))
        .map(|one| {
            let addr = canonical(one.addr);
            let standing = Standing { band: topology.band(one, here), leaving: leaving(one) };
            (standing.leaving, standing.band, share(&here.node, addr), addr, standing)
        })
        .collect();
    ranked.sort_unstable();
    let beyond = ranked.len().saturating_sub(MAX_POOL_BACKENDS);
    ranked.truncate(MAX_POOL_BACKENDS);
    let standings: BTreeMap<_, _> =
        ranked.into_iter().map(|(_, _, _, addr, standing)| (addr, standing)).collect();
    Chosen { endpoints: standings.keys().copied().collect(), standings, beyond }
}

/// Where an endpoint stands in a node's own order (D. Thaler and C. Ravishankar, "Using name-based
/// mappings to increase hit rates", 1998): every node goes to others, and when one comes or goes hardly
/// anything changes.
fn share(node: &str, addr: SocketAddr) -> u32 {
    let fold = |hash: u32, byte: &u8| mix(hash ^ u32::from(*byte));
    let hash = node.as_bytes().iter().fold(0, fold);
    let hash = addr.port().to_be_bytes().iter().fold(hash, fold);
    match addr.ip() {
        IpAddr::V4(ip) => ip.octets().iter().fold(hash, fold),
        IpAddr::V6(ip) => ip.octets().iter().fold(hash, fold),
    }
}
