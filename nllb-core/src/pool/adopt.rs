//! Taking over what pinned maps hold, so that a new agent changes nothing that is still right.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use nllb_common::addr::{join, split};
use nllb_common::maps::{FrontendKey, Scope, State};

use crate::backend::BackendId;
use crate::pool::Machine;
use crate::table::Table;

impl Machine {
    /// Takes over the ids, epochs and states that pinned maps hold. An adopted state counts until
    /// probes say otherwise. Only right after [`Self::new`]: it forgets what was heard since.
    ///
    /// Each entry goes to the first pool that names its address and was not given it yet. An entry
    /// that no pool names is remembered by its epoch only.
    pub fn adopt(&mut self, known: &[(SocketAddr, BackendId, u32, State)]) {
        self.roster.adopt(known, self.seed, self.started);
        self.probes.clear();
        self.rebuild_table();
    }

    /// Takes over everything that pinned maps hold: what [`Self::adopt`] does, and also the ids of
    /// frontends, so that no pool changes its meaning under a frontend that still refers to it, and
    /// the epochs of ids that nobody has now. Only right after [`Self::new`].
    pub fn adopt_table(&mut self, actual: &Table) {
        for (id, epoch) in &actual.fresh {
            self.roster.raise_epoch(BackendId(*id), *epoch);
        }
        let before: BTreeMap<FrontendKey, u16> = actual
            .frontends
            .iter()
            .map(|(key, value)| (*key, value.pool))
            .collect();
        let lately: BTreeSet<u32> = actual.pools.keys().copied().collect();
        let frontends = self.roster.plan_frontends(
            |front, _| {
                let keys = front.addresses.iter().map(|address| split(*address));
                let mut keys = keys.map(|(addr, port)| FrontendKey::tcp(addr, port, Scope::Host));
                keys.find_map(|key| before.get(&key).copied())
            },
            &lately,
        );
        self.roster.frontends = frontends;
        self.adopt(&known(actual));
    }
}

/// The backends in the pools of a table, each id once.
fn known(actual: &Table) -> Vec<(SocketAddr, BackendId, u32, State)> {
    let mut seen = BTreeSet::new();
    let slots = actual.pools.values().flat_map(|set| set.iter());
    let new = slots.filter(|slot| seen.insert(slot.backend));
    new.map(|slot| {
        let verdict = actual.verdicts.get(&slot.backend);
        let current = verdict.filter(|verdict| verdict.epoch() == slot.epoch);
        let state = current.map_or(State::Unknown, |verdict| verdict.state());
        (
            join(slot.addr, slot.port),
            BackendId(slot.backend),
            slot.epoch,
            state,
        )
    })
    .collect()
}
