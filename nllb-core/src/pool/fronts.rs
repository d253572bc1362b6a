//! The frontends as the kernel has them, with their ids.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use nllb_common::maps::MAX_POOLS;

use crate::backend::BackendId;
use crate::ids;
use crate::pool::roster::Roster;
use crate::settings::{FrontendKind, FrontendSettings};

/// A frontend as the kernel has it: with a pool of its own, since certificates may leave it other
/// backends than its neighbour.
#[derive(Clone, Debug)]
pub(crate) struct KernelFrontend {
    /// Its id, and the index of its pool in POOLS.
    pub(crate) id: u16,
    /// Index in the settings.
    pub(crate) index: usize,
    /// Index of the pool in the settings.
    pub(crate) pool: usize,
    pub(crate) addresses: Vec<SocketAddr>,
    /// For a node address: which backend of the pool has it, by index.
    pub(crate) home: Option<usize>,
    /// What the maps had for it when the agent started.
    pub(crate) inherited: Option<Inherited>,
}

/// What the maps had for a frontend when the agent started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inherited {
    /// Its backends. Others were left out, perhaps for good reason.
    pub(crate) used: BTreeSet<BackendId>,
    /// Those of whom the maps say nothing, since they were not there then.
    pub(crate) joined: BTreeSet<BackendId>,
}

/// What makes a kernel frontend the same one in other settings: its name, and for a node address,
/// which has one per address, that address.
pub(crate) type Identity<'a> = (&'a str, Option<SocketAddr>);

impl Roster {
    /// The kernel frontends of the settings, with the id that `old` has for one, else with a free one.
    pub(crate) fn plan_frontends(
        &self,
        old: impl Fn(&KernelFrontend, Identity<'_>) -> Option<u16>,
        lately: &BTreeSet<u32>,
    ) -> Vec<KernelFrontend> {
        let settings = self.settings.frontends.iter().enumerate();
        let mut fronts: Vec<_> =
            settings.flat_map(|(index, front)| self.kernel_frontends(index, front)).collect();
        let mut taken = BTreeSet::new();
        for front in &mut fronts {
            let id = old(front, self.identity(front))
                .filter(|id| (1..MAX_POOLS).contains(&u32::from(*id)));
            front.id = id.filter(|id| taken.insert(u32::from(*id))).unwrap_or(0);
        }
        let mut free =
            ids::free(1..MAX_POOLS, &taken, lately).filter_map(|id| u16::try_from(id).ok());
        for front in fronts.iter_mut().filter(|front| front.id == 0) {
            front.id = free.next().unwrap_or(0);
        }
        fronts
    }

    /// The kernel frontends of one frontend, without ids.
    fn kernel_frontends(&self, index: usize, front: &FrontendSettings) -> Vec<KernelFrontend> {
        let pools = &self.settings.pools;
        // `check` saw to it that the pool exists.
        let Some(pool) = pools.iter().position(|pool| pool.name == front.pool) else {
            return Vec::new();
        };
        let endpoints = &pools[pool].endpoints;
        let one = |addresses, home| KernelFrontend {
            id: 0,
            index,
            pool,
            addresses,
            home,
            inherited: None,
        };
        match front.kind {
            FrontendKind::Vip | FrontendKind::Loopback => vec![one(front.addresses.clone(), None)],
            FrontendKind::NodeAddress => front
                .node_addresses(&pools[pool])
                .into_iter()
                .map(|addr| one(vec![*addr], endpoints.iter().position(|own| own == addr)))
                .collect(),
        }
    }

    /// What tells the frontend from others in any settings.
    pub(crate) fn identity(&self, front: &KernelFrontend) -> Identity<'_> {
        let settings = &self.settings.frontends[front.index];
        let address = match settings.kind {
            FrontendKind::Vip | FrontendKind::Loopback => None,
            FrontendKind::NodeAddress => front.addresses.first().copied(),
        };
        (&settings.name, address)
    }

    /// For a node address: the backend whose own address it is.
    pub(crate) fn home(&self, front: &KernelFrontend) -> Option<BackendId> {
        self.members.get(front.pool)?.get(front.home?).copied()
    }
}
