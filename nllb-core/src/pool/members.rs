//! The signal of discovery: who serves a pool, and hints at single hosts. Cheap, since it comes whenever
//! a list somewhere changes, and on all nodes at once.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Instant;

use crate::backend::{Backend, BackendId};
use crate::pool::Machine;
use crate::pool::fronts::KernelFrontend;
use crate::pool::roster::Roster;
use crate::scale::look_spread;
use crate::settings::Settings;
use crate::table::TableError;

impl Machine {
    /// Takes settings that differ from those in force in the endpoints of pools and the addresses of
    /// frontends only. Unlike after [`Self::handle_settings`] nobody who stays is probed for that, and
    /// each frontend keeps the backends that it had in the maps at the start until certificates are seen.
    ///
    /// # Errors
    /// When the settings give no table; then nothing changed.
    pub fn handle_members(&mut self, settings: Settings, now: Instant) -> Result<(), TableError> {
        let mut roster = self.roster.rearranged(settings, self.seed, now)?;
        roster.inherit(&self.roster);
        self.rearrange(roster)?;
        self.review(now);
        Ok(())
    }

    /// Somebody says that these hosts are not what they were: coming, going, no longer ready. Each is
    /// probed soon, all nodes spread over a moment; what the probe says counts.
    pub fn handle_hints(&mut self, hosts: &BTreeSet<IpAddr>, now: Instant) {
        let pools = 0..self.roster.settings.pools.len();
        let spreads: Vec<_> = pools.map(|pool| look_spread(self.roster.nodes_of(pool))).collect();
        for (backend, settings) in self.roster.backends_mut() {
            if hosts.contains(&backend.addr.ip()) {
                let spread = spreads.get(backend.pool).copied().unwrap_or_default();
                let at = now + backend.schedule.draw(spread);
                backend.schedule.reset_backoff();
                backend.schedule.hurry(&settings, at);
            }
        }
    }
}

impl Roster {
    /// Takes over which backends the maps had for each frontend. Who joins now is not judged by it.
    fn inherit(&mut self, before: &Self) {
        let stays = |backend: &&Backend| {
            before.backends.get(&backend.id).is_some_and(|old| old.epoch == backend.epoch)
        };
        let joins = self.backends.values().filter(|backend| !stays(backend));
        let joins: BTreeSet<BackendId> = joins.map(|backend| backend.id).collect();
        for index in 0..self.frontends.len() {
            let front = &self.frontends[index];
            let same = |old: &&KernelFrontend| before.identity(old) == self.identity(front);
            let old = before.frontends.iter().find(same);
            let Some(mut inherited) = old.and_then(|old| old.inherited.clone()) else { continue };
            inherited.joined.extend(&joins);
            self.frontends[index].inherited = Some(inherited);
        }
    }
}
