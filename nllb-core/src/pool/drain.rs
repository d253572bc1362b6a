//! The signal of an operator: a backend is to get no new connections.

use std::net::SocketAddr;
use std::time::Instant;

use crate::backend::{BackendId, Drained};
use crate::drain::{Drain, DrainError};
use crate::pool::Machine;
use crate::settings::canonical;

impl Machine {
    /// Drains the backends with this address, or ends that.
    ///
    /// # Errors
    /// When there is none, or nobody else would be left. Then nothing changed.
    pub fn handle_drain(
        &mut self,
        addr: SocketAddr,
        drain: Drain,
        now: Instant,
    ) -> Result<(), DrainError> {
        let wanted = canonical(addr);
        let backends = self.roster.backends.values();
        let meant = backends.filter(|backend| backend.addr == wanted).map(|backend| backend.id);
        let meant: Vec<BackendId> = meant.collect();
        if meant.is_empty() {
            let mut known: Vec<_> =
                self.roster.backends.values().map(|backend| backend.addr).collect();
            known.sort_unstable();
            known.dedup();
            return Err(DrainError::Unknown { addr, known });
        }
        if let Drain::On { force: false, .. } = drain {
            let last = |id: &&BackendId| {
                let eligible = self.roster.backends.get(id).is_some_and(|one| one.is_eligible());
                eligible && self.roster.is_alone(**id)
            };
            if let Some(id) = meant.iter().find(last) {
                let pool = self.roster.backends.get(id).map(|backend| backend.pool);
                let pool = pool.and_then(|pool| self.roster.settings.pools.get(pool));
                let pool = pool.map(|pool| pool.name.clone()).unwrap_or_default();
                return Err(DrainError::Last { addr, pool });
            }
        }
        for id in meant {
            let Some(backend) = self.roster.backends.get_mut(&id) else { continue };
            match drain {
                Drain::On { close_after, force: _ } => {
                    let since = backend.drained.map_or(now, |drained| drained.since);
                    backend.drained = Some(Drained { since, close_after });
                    backend.drain_done = false;
                }
                Drain::Off => backend.drained = None,
            }
        }
        self.review(now);
        Ok(())
    }
}
