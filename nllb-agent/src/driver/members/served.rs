//! The pools of Services: which of them the machine goes by, and how each is probed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use nllb_core::services::{Here, Offered, ServicePlan, ServicePool};
use nllb_core::{ServiceListing, Services, Settings, SourceId, SourceKind};
use tracing::{info, warn};

use crate::config::{Config, Pool, Service};
use crate::driver::node;

/// The pools of Services that the machine goes by, behind those of the configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::driver) struct Served {
    /// As the core has them.
    offered: Vec<ServicePool>,
    /// As the driver has pools, in the same order.
    pub(in crate::driver) pools: Vec<Pool>,
    /// Who or what is left out, one line each.
    pub(super) left_out: Vec<String>,
}

/// What the configuration says of Services.
pub(super) fn plans(config: &Config) -> Vec<ServicePlan> {
    config.services.iter().map(|service| service.plan.clone()).collect()
}

/// Where this node is.
pub(super) fn here(config: &Config) -> Here {
    if config.services.is_empty() {
        return Here::default();
    }
    let zone = config.node.zone.as_deref().map(Arc::from);
    Here { node: node::name(config).into(), zone }
}

/// Puts what Services offer into settings.
pub(super) fn filled(
    services: &Services,
    mut settings: Settings,
    config: &Config,
) -> (Settings, Served) {
    let Offered { pools, left_out } = services.offered(&settings);
    let mut served = Served { left_out, ..Served::default() };
    let by_name: BTreeMap<&str, &Service> =
        config.services.iter().map(|service| (&*service.plan.name, service)).collect();
    for pool in pools {
        let Some(service) = by_name.get(&*pool.service) else { continue };
        match service.probe(pool.number, &pool.protocols) {
            Ok(check) => {
                pool.fill(&mut settings);
                served.pools.push(service.pool(check, &pool));
                served.offered.push(pool);
            }
            Err(reason) => {
                served.left_out.push(format!("{} is left out: {reason}", pool.settings.name));
            }
        }
    }
    (settings, served)
}

impl Served {
    /// The source that names the backends of a pool, when it is a Service's.
    pub(super) fn service_of(&self, pool: &str) -> Option<String> {
        let pool = self.offered.iter().find(|one| one.settings.name == pool)?;
        let id = SourceId { kind: SourceKind::Service, name: Arc::clone(&pool.service) };
        Some(id.to_string())
    }

    /// What Services that the cluster is asked for offer, as far as it is gone by: the rest may be long.
    pub(super) fn known(&self, services: &Services) -> Vec<(Arc<str>, ServiceListing)> {
        let used = |name: &str| -> BTreeSet<SocketAddr> {
            let own = self.offered.iter().filter(|pool| *pool.service == *name);
            own.flat_map(|pool| pool.settings.endpoints.iter().copied()).collect()
        };
        let known = services.known().map(|(name, listing)| {
            let (used, ServiceListing { addresses, endpoints }) = (used(name), listing);
            let endpoints = endpoints.iter().filter(|endpoint| used.contains(&endpoint.addr));
            let (addresses, endpoints) = (addresses.clone(), endpoints.cloned().collect());
            (Arc::clone(name), ServiceListing { addresses, endpoints })
        });
        known.filter(|(_, listing)| !listing.endpoints.is_empty()).collect()
    }

    /// Says what a user notices: who joins and leaves, and who or what is left out.
    pub(super) fn tell(&self, before: &Self) {
        let none = BTreeSet::new();
        let (old, new) = (before.endpoints(), self.endpoints());
        let names: BTreeSet<_> = old.keys().chain(new.keys()).copied().collect();
        for pool in names {
            let (old, new) = (old.get(pool).unwrap_or(&none), new.get(pool).unwrap_or(&none));
            for backend in new.difference(old) {
                info!(pool, %backend, "joins");
            }
            for backend in old.difference(new) {
                info!(pool, %backend, "leaves: the Service has it no more");
            }
        }
        for left_out in self.left_out.iter().filter(|one| !before.left_out.contains(one)) {
            warn!("{left_out}");
        }
    }

    /// The endpoints of each pool.
    fn endpoints(&self) -> BTreeMap<&str, BTreeSet<SocketAddr>> {
        let pools = self.pools.iter();
        let of_pool = |pool: &Pool| pool.endpoints.iter().copied().collect();
        pools.map(|pool| (pool.name.as_str(), of_pool(pool))).collect()
    }
}
