//! The signal of an operator, or of a drill: a backend is to get no new connections.

use std::net::SocketAddr;
use std::time::Instant;

use crate::backend::{BackendId, Drained, Drilled};
use crate::command::Command;
use crate::drain::{Drain, DrainError, Drill, DrillEnd};
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
                return Err(DrainError::Last { addr, pool: self.pool_name(*id) });
            }
        }
        if let Drain::Drill { .. } = drain {
            let drained =
                |id| self.roster.backends.get(id).is_some_and(|one| one.drained.is_some());
            if meant.iter().any(drained) {
                return Err(DrainError::Drained(addr));
            }
            if let Some(id) = meant.iter().find(|id| self.roster.is_alone(**id)) {
                return Err(DrainError::Alone { addr, pool: self.pool_name(*id) });
            }
        }
        for id in meant.iter().copied() {
            let Some(backend) = self.roster.backends.get_mut(&id) else { continue };
            match drain {
                Drain::On { close_after, force: _ } => {
                    let since = backend.drained.map_or(now, |drained| drained.since);
                    backend.drained = Some(Drained { since, close_after });
                    backend.drain_done = false;
                }
                Drain::Drill { how, lease } => {
                    let since = backend.drilled.map_or(now, |drilled| drilled.since);
                    backend.drilled = Some(Drilled { how, since, until: now + lease });
                }
                Drain::DrillOver => self.end_drill(id, DrillEnd::Asked, now),
                Drain::Off => {
                    backend.drained = None;
                    self.end_drill(id, DrillEnd::Asked, now);
                }
            }
        }
        self.review(now);
        if let Drain::Drill { how: Drill::Blackhole, .. } = drain {
            // Also when it is renewed, since a connection may have been under way.
            meant.into_iter().for_each(|id| self.close_drilled(id));
        }
        Ok(())
    }

    /// When the lease of some drill ends.
    pub(crate) fn drill_due(&self) -> Option<Instant> {
        self.roster.backends.values().filter_map(|one| Some(one.drilled?.until)).min()
    }

    /// Ends drills whose lease is over, and those that leave their pool without anybody: a rehearsal is
    /// never the reason for that.
    pub(crate) fn end_drills(&mut self, now: Instant) {
        let drilled = self.roster.backends.values().filter(|backend| backend.drilled.is_some());
        let drilled: Vec<BackendId> = drilled.map(|backend| backend.id).collect();
        for id in drilled {
            let alone = self.roster.is_alone(id);
            let end = self.roster.backends.get(&id).and_then(|one| one.drill_end(alone, now));
            if let Some(end) = end {
                self.end_drill(id, end, now);
            }
        }
    }

    fn end_drill(&mut self, id: BackendId, end: DrillEnd, now: Instant) {
        let Some(backend) = self.roster.backends.get_mut(&id) else { return };
        let Some(Drilled { how, since, until: _ }) = backend.drilled.take() else { return };
        let (addr, lasted) = (backend.addr, now.saturating_duration_since(since));
        self.notices.push_back(Command::DrillOver { addr, how, end, lasted });
    }

    fn pool_name(&self, id: BackendId) -> String {
        let pool = self.roster.backends.get(&id).map(|backend| backend.pool);
        let pool = pool.and_then(|pool| self.roster.settings.pools.get(pool));
        pool.map(|pool| pool.name.clone()).unwrap_or_default()
    }
}
