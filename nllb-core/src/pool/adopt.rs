//! Taking over what pinned maps hold, so that a new agent changes nothing that is still right.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use nllb_common::addr::{join, split};
use nllb_common::maps::{FrontendKey, PoolSet, Scope, Slot, State, Verdict};

use crate::backend::BackendId;
use crate::pool::Machine;
use crate::pool::fronts::{Inherited, KernelFrontend};
use crate::pool::roster::{Known, Roster};
use crate::table::Table;

impl Machine {
    /// Takes over the ids, epochs and states that pinned maps hold. An adopted state counts until
    /// probes say otherwise. Only right after [`Self::new`]: it forgets what was heard since.
    ///
    /// Each entry goes to the first pool that names its address and was not given it yet. An entry
    /// that no pool names is remembered by its epoch only.
    pub fn adopt(&mut self, known: &[(SocketAddr, BackendId, u32, State)]) {
        let known = known.iter().map(|&(addr, id, epoch, state)| Known {
            pool: None,
            addr,
            id,
            epoch,
            state,
            doubted: false,
            band: 0,
        });
        self.roster.adopt(known, self.seed, self.started);
        self.wishes.clear();
        self.rebuild_table();
    }

    /// Takes over everything that pinned maps hold. Beyond what [`Self::adopt`] does:
    /// - frontends keep their ids, so no pool changes its meaning under a frontend that refers to it;
    /// - each keeps the backends it had until their certificates are seen, and those it left out keep
    ///   their ids as well, since connections from before may be open;
    /// - ids that nobody has now keep their epochs.
    ///
    /// Only right after [`Self::new`].
    pub fn adopt_table(&mut self, actual: &Table) {
        for (id, epoch) in &actual.fresh {
            self.roster.raise_epoch(BackendId(*id), *epoch);
        }
        self.roster.adopt_frontends(actual);
        let pools: BTreeMap<u32, usize> =
            self.roster.frontends.iter().map(|front| (u32::from(front.id), front.pool)).collect();
        let sets = actual.pools.iter().filter_map(|(id, set)| Some((*pools.get(id)?, set)));
        let known: Vec<Known> = sets
            .flat_map(|(pool, set)| set.iter().chain(set.left_out()).map(move |slot| (pool, slot)))
            .map(|(pool, slot)| Known {
                pool: Some(pool),
                addr: join(slot.addr, slot.port),
                id: BackendId(slot.backend),
                epoch: slot.epoch,
                state: verdict(actual, slot).map_or(State::Unknown, Verdict::state),
                doubted: verdict(actual, slot).is_some_and(Verdict::is_doubted),
                band: verdict(actual, slot).map_or(0, Verdict::band),
            })
            .collect();
        self.roster.adopt(known.into_iter(), self.seed, self.started);
        self.wishes.clear();
        self.rebuild_table();
    }
}

/// The verdict that the maps hold on a backend.
fn verdict(actual: &Table, slot: &Slot) -> Option<Verdict> {
    let verdict = actual.verdicts.get(&slot.backend).copied();
    verdict.filter(|verdict| verdict.epoch() == slot.epoch)
}

impl Roster {
    /// Gives frontends the ids and backends that the maps hold for their addresses.
    fn adopt_frontends(&mut self, actual: &Table) {
        let protocols: Vec<_> = self.settings.frontends.iter().map(|it| it.protocol).collect();
        let old = |front: &KernelFrontend| {
            let protocol = protocols[front.index];
            let keys = front.addresses.iter().map(|address| split(*address));
            let mut keys =
                keys.map(|(addr, port)| FrontendKey::new(addr, port, protocol, Scope::Host));
            keys.find_map(|key| actual.frontends.get(&key)).map(|frontend| frontend.pool)
        };
        let lately: BTreeSet<u32> = actual.pools.keys().copied().collect();
        let mut frontends = self.plan_frontends(|front, _| old(front), &lately);
        for front in &mut frontends {
            if old(front) == Some(front.id) {
                let set = actual.pools.get(&u32::from(front.id));
                let ids = |set: &PoolSet| set.iter().map(|slot| BackendId(slot.backend)).collect();
                front.inherited =
                    set.map(|set| Inherited { used: ids(set), ..Inherited::default() });
            }
        }
        self.frontends = frontends;
    }
}
