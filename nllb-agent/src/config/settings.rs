//! The part of the configuration that decisions are made on, as the core wants it.

use super::{Config, Pool};
use nllb_core::settings::{PoolSettings, Settings};

impl Config {
    /// What the core needs. Every field is named here, so a new one cannot be forgotten.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let Self {
            frontends,
            pools,
            datapath: _,
            admin: _,
            http: _,
            lease: _,
            self_test_interval: _,
            state: _,
            node,
        } = self;
        Settings {
            pools: pools.iter().map(Pool::settings).collect(),
            frontends: frontends.clone(),
            kubelet_version: node.kubelet_version.clone(),
        }
    }
}

impl Pool {
    fn settings(&self) -> PoolSettings {
        let Self {
            name,
            profile: _,
            endpoints,
            kubeconfig: _,
            health,
            check: _,
            latency_bands,
            rebalance,
            unresolved: _,
        } = self.clone();
        PoolSettings { name, endpoints, health, latency_bands, rebalance }
    }
}
