//! The part of the configuration that decisions are made on, as the core wants it.

use super::{Config, Pool};
use nllb_core::SourceId;
use nllb_core::membership::{Plan, PoolPlan};
use nllb_core::settings::{FrontendKind, FrontendSettings, PoolSettings, Settings};
use std::collections::BTreeMap;
use std::time::Duration;

/// Time between two pings of backends that serve the control-plane VIP, at most. Of connects from outside the node no
/// kernel tells what becomes of them, so silence is found by pings alone; and only control-plane hosts do this.
const VIP_PINGS: Duration = Duration::from_millis(200);

impl Config {
    /// What the core needs, without the members that only discovery knows. Every field is named here,
    /// so a new one cannot be forgotten.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let Self {
            frontends,
            pools,
            services: _,
            sandboxes: _,
            control_plane: _,
            datapath: _,
            admin: _,
            http: _,
            lease: _,
            self_test_interval: _,
            state: _,
            node,
            vip,
        } = self;
        let of_pool = |pool: &Pool| {
            let mut settings = pool.settings();
            if vip.as_ref().is_some_and(|vip| vip.pool == pool.name) {
                let pings = &mut settings.health.ping_interval;
                *pings = VIP_PINGS.min(*pings);
            }
            settings
        };
        Settings {
            pools: pools.iter().map(of_pool).collect(),
            frontends: frontends.clone(),
            kubelet_version: node.kubelet_version.clone(),
        }
    }

    /// What it says of the members, when these sources are heard for it.
    #[must_use]
    pub fn plan(&self, sources: Vec<SourceId>) -> Plan {
        let plane = self.control_plane.as_ref();
        let (open, given): (Vec<_>, Vec<_>) =
            self.frontends.iter().partition(|frontend| is_open(frontend));
        let given = given.iter().filter(|frontend| frontend.kind != FrontendKind::NodeAddress);
        Plan {
            pools: self.pools.iter().map(Pool::plan).collect(),
            hosts: plane.map(|plane| plane.hosts.clone()).unwrap_or_default(),
            sources,
            vip_frontend: open.first().map(|frontend| frontend.name.clone()),
            frontends: given.flat_map(|frontend| frontend.addresses.iter().copied()).collect(),
        }
    }
}

/// Whether it has the addresses that the Service has.
fn is_open(frontend: &FrontendSettings) -> bool {
    frontend.kind == FrontendKind::Vip && frontend.addresses.is_empty()
}

impl Pool {
    fn settings(&self) -> PoolSettings {
        let Self {
            name,
            profile: _,
            endpoints,
            own: _,
            hosts: _,
            discovered,
            kubeconfig: _,
            borrows: _,
            health,
            check: _,
            latency_bands,
            rebalance,
            unresolved: _,
        } = self.clone();
        let standings = BTreeMap::new();
        PoolSettings { name, endpoints, discovered, health, latency_bands, standings, rebalance }
    }

    fn plan(&self) -> PoolPlan {
        PoolPlan { name: self.name.clone(), own: self.own.clone(), hosts: self.hosts }
    }
}
