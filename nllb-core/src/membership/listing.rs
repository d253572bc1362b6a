//! What is taken of a list: it comes from a network or a file and may hold anything.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use crate::membership::{Sighting, SourceKind};
use crate::settings::canonical;

/// Most hosts that are kept of one list, the lowest addresses: four times what a pool holds, so that
/// what the pool leaves out is named and not lost without a word.
const MOST: usize = 64;
/// Most addresses that are kept of what clients dial: both families and some ports.
const MOST_VIPS: usize = 16;

/// A list without nonsense: canonical, each host and port once, bounded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Clean {
    /// In the order of the configuration when it is static, else by address.
    pub(super) hosts: Vec<Sighting>,
    /// How many entries are not among them, duplicates apart.
    pub(super) ignored: usize,
}

impl Clean {
    pub(super) fn of(kind: SourceKind, sightings: Vec<Sighting>) -> Self {
        let mut hosts: Vec<Sighting> = Vec::new();
        let mut bad = BTreeSet::new();
        for sighting in sightings {
            let ip = sighting.ip.to_canonical();
            if is_usable(kind, ip) && sighting.port != Some(0) {
                hosts.push(Sighting { ip, ..sighting });
            } else {
                bad.insert((ip, sighting.port));
            }
        }
        if kind != SourceKind::Static {
            hosts.sort_unstable();
        }
        let mut seen = BTreeSet::new();
        hosts.retain(|host| seen.insert((host.ip, host.port)));
        let beyond = hosts.len().saturating_sub(MOST);
        hosts.truncate(MOST);
        Self { hosts, ignored: bad.len() + beyond }
    }

    /// The hosts of which `other` says something else, gone and new ones included.
    pub(super) fn differs(&self, other: &Self) -> BTreeSet<IpAddr> {
        let (before, after) = (self.said(), other.said());
        let hosts = before.keys().chain(after.keys());
        hosts.filter(|ip| before.get(*ip) != after.get(*ip)).copied().collect()
    }

    fn said(&self) -> BTreeMap<IpAddr, Vec<Sighting>> {
        let mut said: BTreeMap<IpAddr, Vec<Sighting>> = BTreeMap::new();
        for host in &self.hosts {
            said.entry(host.ip).or_default().push(*host);
        }
        said
    }
}

/// The addresses that clients can dial, canonical, by address and bounded.
pub(super) fn usable_vips(vips: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let usable = |vip: &SocketAddr| is_usable(SourceKind::Kubernetes, vip.ip()) && vip.port() != 0;
    let vips: BTreeSet<_> = vips.into_iter().map(canonical).filter(usable).collect();
    vips.into_iter().take(MOST_VIPS).collect()
}

/// Whether an API server can have this address. Loopback is another host for everybody who hears of
/// it, so only the configuration of this very host may name it; link-local addresses need an interface
/// beside them.
fn is_usable(kind: SourceKind, ip: IpAddr) -> bool {
    if ip.is_unspecified() || ip.is_multicast() {
        return false;
    }
    if kind == SourceKind::Static {
        return true;
    }
    match ip {
        IpAddr::V4(v4) => {
            // 0.0.0.0/8 and 240.0.0.0/4 are nobody's.
            let first = v4.octets()[0];
            !v4.is_loopback() && !v4.is_link_local() && first != 0 && first < 240
        }
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
    }
}
