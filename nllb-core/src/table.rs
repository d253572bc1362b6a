//! What the kernel maps should hold.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use nllb_common::addr::{join, split};
use nllb_common::maps::{
    Frontend, FrontendKey, MAX_BACKENDS, MAX_FRONTENDS, MAX_POOL_BACKENDS, MAX_POOLS, PoolSet,
    Protocol, Scope, Verdict,
};

use crate::diff::Change;

mod build;
pub(crate) mod dump;

pub(crate) use build::{build, eligibility};

/// The content of the maps that the agent writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// FRONTENDS.
    pub frontends: BTreeMap<FrontendKey, Frontend>,
    /// POOLS.
    pub pools: BTreeMap<u32, PoolSet>,
    /// VERDICT, for the ids in use.
    pub verdicts: BTreeMap<u32, Verdict>,
    /// The epoch that EVIDENCE has for the ids in use: one that differs must be reset before use.
    pub fresh: BTreeMap<u32, u32>,
}

impl Table {
    /// Everybody who may serve one of these addresses, or is left out of that.
    #[must_use]
    pub fn backends_of(
        &self,
        frontends: &[SocketAddr],
        protocol: Protocol,
    ) -> BTreeSet<SocketAddr> {
        let keys = frontends.iter().map(|address| split(*address));
        let keys = keys.map(|(addr, port)| FrontendKey::new(addr, port, protocol, Scope::Host));
        let pools = keys.filter_map(|key| self.frontends.get(&key)).map(|front| front.pool);
        let sets = pools.filter_map(|pool| self.pools.get(&u32::from(pool)));
        let slots = sets.flat_map(|set| set.iter().chain(set.left_out()));
        slots.map(|slot| join(slot.addr, slot.port)).collect()
    }

    /// Does to the table what [`Change`] does to the maps.
    pub fn apply(&mut self, change: &Change) {
        match *change {
            Change::ResetEvidence { id, epoch } => {
                self.fresh.insert(id.0, epoch);
            }
            Change::SetVerdict { id, verdict } => {
                self.verdicts.insert(id.0, verdict);
            }
            Change::SetPool { pool, ref set } => {
                self.pools.insert(pool, **set);
            }
            Change::SetFrontend { key, frontend } => {
                self.frontends.insert(key, frontend);
            }
            Change::RemoveFrontend { key } => {
                self.frontends.remove(&key);
            }
            Change::RemovePool { pool } => {
                self.pools.remove(&pool);
            }
            Change::RemoveVerdict { id } => {
                self.verdicts.remove(&id.0);
                self.fresh.remove(&id.0);
            }
        }
    }
}

// Half of what the maps hold, so that the next configuration finds room beside this one.

/// Most pools that frontends may need: pool 0 belongs to the agent's self-test.
pub const POOL_LIMIT: usize = MAX_POOLS as usize / 2 - 1;
/// Most keys that frontends may need: four are kept for the agent's self-test.
pub const FRONTEND_LIMIT: usize = MAX_FRONTENDS as usize / 2 - 4;
/// Most backends over all pools.
pub const BACKEND_LIMIT: usize = MAX_BACKENDS as usize / 2;

/// Why settings give no table. The table before stays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// A pool is larger than the kernel's choice looks at.
    #[error("pool {pool} has {wanted} endpoints, more than the {limit} that one pool can hold", limit = MAX_POOL_BACKENDS)]
    PoolTooLarge {
        /// Its name.
        pool: String,
        /// How many endpoints it has.
        wanted: usize,
    },
    /// More backends than VERDICT and EVIDENCE hold.
    #[error("all pools together have {wanted} endpoints, more than the limit of {limit}", limit = BACKEND_LIMIT)]
    TooManyBackends {
        /// How many there are.
        wanted: usize,
    },
    /// More frontends than POOLS holds.
    #[error("there are {wanted} frontends (each node address counts as one), more than the limit of {limit}", limit = POOL_LIMIT)]
    TooManyPools {
        /// How many there are.
        wanted: usize,
    },
    /// More addresses than FRONTENDS holds.
    #[error("the frontends need {wanted} table entries (scope all takes two per address), more than the limit of {limit}", limit = FRONTEND_LIMIT)]
    TooManyFrontends {
        /// How many are needed.
        wanted: usize,
    },
    /// Two pools have one name.
    #[error("two pools are named {pool}")]
    DuplicatePool {
        /// The name.
        pool: String,
    },
    /// Two frontends have one name.
    #[error("two frontends are named {frontend}")]
    DuplicateFrontend {
        /// The name.
        frontend: String,
    },
    /// Two frontends of one protocol have one address.
    #[error("frontends {first} and {second} both have the address {address}")]
    DuplicateAddress {
        /// The address.
        address: SocketAddr,
        /// The frontend named first.
        first: String,
        /// The frontend named second.
        second: String,
    },
    /// A frontend names a pool that is not there.
    #[error("frontend {frontend} names the pool {pool}, which does not exist")]
    UnknownPool {
        /// The frontend.
        frontend: String,
        /// The pool it names.
        pool: String,
    },
    /// A node address is nobody's own.
    #[error(
        "node-address frontend {frontend} has the address {address}, which is no endpoint of pool {pool}"
    )]
    NoHome {
        /// The frontend.
        frontend: String,
        /// The address.
        address: SocketAddr,
        /// Its pool.
        pool: String,
    },
}
