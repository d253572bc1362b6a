//! The part of the configuration that decisions are made on, as the core wants it.

use super::{Config, Frontend, Pool};
use nllb_core::settings::{FrontendSettings, PoolSettings, Settings};

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
        } = self;
        Settings {
            pools: pools.iter().map(Pool::settings).collect(),
            frontends: frontends.iter().map(Frontend::settings).collect(),
        }
    }
}

impl Pool {
    fn settings(&self) -> PoolSettings {
        let Self { name, endpoints, kubeconfig: _, health, check: _ } = self.clone();
        PoolSettings { name, endpoints, health }
    }
}

impl Frontend {
    fn settings(&self) -> FrontendSettings {
        let Self { name, kind, addresses, pool, scope, on_empty, coverage } = self.clone();
        FrontendSettings { name, kind, addresses, pool, scope, on_empty, coverage }
    }
}
