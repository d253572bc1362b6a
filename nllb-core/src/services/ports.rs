//! The ports of a Service as pools and frontends.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use nllb_common::maps::{MAX_POOL_BACKENDS, Protocol};

use super::choose::{Chosen, choose};
use super::*;

/// Which port of a Service is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortChoice {
    /// The one with this name.
    Name(String),
    /// The one with this number, over this or over any protocol.
    Number(u16, Option<Protocol>),
}

impl PortChoice {
    fn means(&self, address: &ServiceAddress) -> bool {
        match self {
            Self::Name(name) => **name == *address.port,
            Self::Number(number, protocol) => {
                *number == address.vip.port() && protocol.is_none_or(|one| one == address.protocol)
            }
        }
    }
}

/// A pool of a Service, and its frontends.
#[derive(Clone, Debug, PartialEq)]
pub struct ServicePool {
    /// The Service that it is of.
    pub service: Arc<str>,
    /// The port of the Service.
    pub number: u16,
    /// Over what it is served.
    pub protocols: BTreeSet<Protocol>,
    /// The pool.
    pub settings: PoolSettings,
    /// The frontends that lead to it.
    pub frontends: Vec<FrontendSettings>,
}

impl ServicePool {
    /// Puts it into settings.
    pub fn fill(&self, settings: &mut Settings) {
        settings.pools.push(self.settings.clone());
        settings.frontends.extend(self.frontends.iter().cloned());
    }
}

/// The pools of a Service; who is left out is told.
pub(super) fn pools(
    plan: &ServicePlan,
    listing: &ServiceListing,
    here: &Here,
    left_out: &mut Vec<String>,
) -> Vec<ServicePool> {
    let meant = |address: &&ServiceAddress| {
        plan.ports.is_empty() || plan.ports.iter().any(|choice| choice.means(address))
    };
    let meant: Vec<&ServiceAddress> = listing.addresses.iter().filter(meant).collect();
    for choice in &plan.ports {
        // A Service that is gone has no ports, and that is said elsewhere.
        if !listing.addresses.is_empty() && !meant.iter().any(|address| choice.means(address)) {
            let (name, choice) = (&plan.name, choice.to_string());
            left_out.push(format!("{name}: the Service has no port {choice}"));
        }
    }
    let mut numbers: BTreeMap<u16, BTreeMap<Protocol, Vec<&ServiceAddress>>> = BTreeMap::new();
    for address in meant {
        let protocols = numbers.entry(address.vip.port()).or_default();
        protocols.entry(address.protocol).or_default().push(address);
    }
    let mut pools = Vec::new();
    for (number, protocols) in numbers {
        let served: BTreeSet<BTreeSet<SocketAddr>> =
            protocols.values().map(|addresses| served(listing, addresses)).collect();
        let name = format!("{}:{number}", plan.name);
        if served.len() == 1 {
            pools.push(pool(plan, listing, here, (name, number), &protocols));
        } else {
            // Other endpoints over TCP than over UDP.
            for (protocol, addresses) in protocols {
                let name = format!("{name}/{}", protocol.label());
                let alone = BTreeMap::from([(protocol, addresses)]);
                pools.push(pool(plan, listing, here, (name, number), &alone));
            }
        }
    }
    for (pool, beyond) in &pools {
        if *beyond > 0 {
            let (name, all) = (&pool.settings.name, beyond + MAX_POOL_BACKENDS);
            left_out.push(format!(
                "{name}: {beyond} of {all} endpoints are left out: a pool holds {MAX_POOL_BACKENDS}, the nearest first and of those each node others"
            ));
        }
    }
    pools.into_iter().map(|(pool, _)| pool).collect()
}

/// Whether an endpoint serves an address.
fn serves(endpoint: &ServiceEndpoint, address: &ServiceAddress) -> bool {
    endpoint.port == address.port && endpoint.protocol == address.protocol
}

/// Who serves one of these addresses.
fn served(listing: &ServiceListing, addresses: &[&ServiceAddress]) -> BTreeSet<SocketAddr> {
    let serving = |endpoint: &&ServiceEndpoint| addresses.iter().any(|one| serves(endpoint, one));
    listing.endpoints.iter().filter(serving).map(|endpoint| endpoint.addr).collect()
}

/// A pool, and how many endpoints it has no room for.
fn pool(
    plan: &ServicePlan,
    listing: &ServiceListing,
    here: &Here,
    (name, number): (String, u16),
    protocols: &BTreeMap<Protocol, Vec<&ServiceAddress>>,
) -> (ServicePool, usize) {
    let addresses = || protocols.values().flatten();
    let serving = listing.endpoints.iter().filter(|one| addresses().any(|to| serves(one, to)));
    let Chosen { endpoints, standings, beyond } = choose(serving, plan.topology, here);
    let mut frontends: BTreeMap<String, FrontendSettings> = BTreeMap::new();
    for ServiceAddress { vip, port, protocol } in addresses() {
        let number = number.to_string();
        let port = if port.is_empty() { &number } else { &**port };
        let frontend = format!("{}:{port}/{}", plan.name, protocol.label());
        let settings = frontends.entry(frontend.clone()).or_insert_with(|| FrontendSettings {
            name: frontend,
            kind: FrontendKind::Vip,
            protocol: *protocol,
            pool: name.clone(),
            scope: ScopeSetting::All,
            on_empty: plan.on_empty,
            coverage: Coverage::Trusted,
            ..FrontendSettings::default()
        });
        settings.addresses.push(*vip);
    }
    let pool = ServicePool {
        service: Arc::clone(&plan.name),
        number,
        protocols: protocols.keys().copied().collect(),
        settings: PoolSettings {
            name,
            endpoints,
            discovered: true,
            health: plan.health,
            latency_bands: false,
            standings,
            rebalance: None,
        },
        frontends: frontends.into_values().collect(),
    };
    (pool, beyond)
}

impl std::fmt::Display for PortChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Number(number, None) => number.fmt(f),
            Self::Number(number, Some(protocol)) => write!(f, "{number}/{}", protocol.label()),
        }
    }
}
