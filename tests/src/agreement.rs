//! Whether what an agent says is what the kernel holds, read through the pins; and whether what the kernel holds makes
//! sense by itself, when no agent is there to say anything.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Result;
use nllb_agent::datapath::maps::{KernelMaps, Maps};
use nllb_agent::status::{self, Backend, Status};
use nllb_common::addr::{join, split};
use nllb_common::maps::{Evidence, Frontend, FrontendKey, PoolSet, Protocol, Scope, Slot, Verdict};

/// What the maps hold.
pub struct Held {
    frontends: BTreeMap<FrontendKey, Frontend>,
    pools: BTreeMap<u32, PoolSet>,
    verdicts: BTreeMap<u32, Verdict>,
    evidence: BTreeMap<u32, Evidence>,
}

impl Held {
    /// Reads the pinned maps.
    pub fn read(pins: &Path) -> Result<Self> {
        let maps = KernelMaps::open(pins)?;
        let pools: BTreeMap<u32, PoolSet> = maps.pools()?.into_iter().collect();
        let ids = pools.values().flat_map(|set| set.iter().chain(set.left_out()));
        let ids: BTreeSet<u32> = ids.map(|slot| slot.backend).collect();
        let evidence = ids.into_iter().map(|id| Ok((id, maps.evidence(id)?)));
        Ok(Self {
            evidence: evidence.collect::<Result<_>>()?,
            frontends: maps.frontends()?.into_iter().collect(),
            verdicts: maps.verdicts()?.into_iter().collect(),
            pools,
        })
    }

    /// Who has which id, with its epoch.
    pub fn identities(&self) -> impl Iterator<Item = ((u32, u32), SocketAddr)> + '_ {
        let slots = self.pools.values().flat_map(|set| set.iter().chain(set.left_out()));
        slots.map(|slot| ((slot.backend, slot.epoch), address(slot)))
    }

    /// What a connect could stumble over, in the middle of a change too: one line each.
    #[must_use]
    pub fn dangling(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (key, frontend) in &self.frontends {
            if !self.pools.contains_key(&u32::from(frontend.pool)) {
                lines.push(format!(
                    "{} leads to pool {}, which is empty",
                    dialled(key),
                    frontend.pool
                ));
            }
        }
        for (pool, set) in &self.pools {
            for slot in set.iter() {
                let who =
                    format!("{} in pool {pool}, {}.{}", address(slot), slot.backend, slot.epoch);
                // A later epoch is that of who gets the id next; what is of another epoch is ignored.
                let verdict = self.verdicts.get(&slot.backend).map(|verdict| verdict.epoch());
                if verdict.is_none_or(|epoch| epoch < slot.epoch) {
                    lines.push(format!("{who}: its verdict is {verdict:?}"));
                }
                let evidence = self.evidence.get(&slot.backend).map(|evidence| evidence.epoch);
                if evidence.is_none_or(|epoch| epoch < slot.epoch) {
                    lines.push(format!("{who}: its evidence is {evidence:?}"));
                }
            }
        }
        lines
    }

    /// Where the maps are not what the status document says: one line each.
    #[must_use]
    pub fn differences(&self, status: &Status) -> Vec<String> {
        let mut lines = self.dangling();
        let told: BTreeMap<SocketAddr, &Backend> =
            status.backends().map(|(_, backend)| (backend.address, backend)).collect();
        let mut keys = BTreeSet::new();
        for frontend in &status.frontends {
            let used = frontend.backends.iter().filter(|backend| backend.used);
            let used: BTreeSet<SocketAddr> = used.map(|backend| backend.address).collect();
            for key in frontend.addresses.iter().flat_map(|at| scopes(*at, frontend)) {
                keys.insert(key);
                let found =
                    self.frontends.get(&key).filter(|found| u32::from(found.id) == frontend.id);
                let set = found.and_then(|found| self.pools.get(&u32::from(found.pool)));
                let held: Option<BTreeSet<_>> = set.map(|set| set.iter().map(address).collect());
                if held.as_ref() != Some(&used) {
                    lines.push(format!("{}: {used:?}, but {held:?} in the maps", dialled(&key)));
                }
            }
        }
        let strangers = self.frontends.keys().filter(|key| !keys.contains(*key));
        lines.extend(strangers.map(|key| format!("{} is no frontend any more", dialled(key))));
        for ((id, epoch), address) in self.identities() {
            let told = told.get(&address).map(|backend| (backend.id, backend.epoch));
            if told != Some((id, epoch)) {
                lines.push(format!("{address} is {id}.{epoch} in the maps, but {told:?}"));
            }
        }
        let ids: BTreeMap<u32, &Backend> = told.values().map(|told| (told.id, *told)).collect();
        for (id, verdict) in &self.verdicts {
            let held = (verdict.epoch(), verdict.state().label());
            let told = ids.get(id).map(|backend| (backend.epoch, backend.state.as_str()));
            if told != Some(held) {
                lines.push(format!("the verdict of {id} is {held:?}, but {told:?}"));
            }
        }
        let unjudged = ids.keys().filter(|id| !self.verdicts.contains_key(id));
        lines.extend(unjudged.map(|id| format!("{id} has no verdict")));
        lines
    }
}

fn address(slot: &Slot) -> SocketAddr {
    join(slot.addr, slot.port)
}

fn dialled(key: &FrontendKey) -> String {
    let (protocol, scope) = (key.protocol().label(), key.scope());
    format!("{}/{protocol} from {scope:?}", join(key.addr(), key.port()))
}

fn scopes(at: SocketAddr, frontend: &status::Frontend) -> Vec<FrontendKey> {
    let (addr, port) = split(at);
    let protocol = if frontend.protocol == "udp" { Protocol::Udp } else { Protocol::Tcp };
    let scopes: &[Scope] =
        if frontend.scope == "all" { &[Scope::Host, Scope::Other] } else { &[Scope::Host] };
    scopes.iter().map(|scope| FrontendKey::new(addr, port, protocol, *scope)).collect()
}
