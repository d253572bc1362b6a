//! Which connections are to be closed.
//!
//! - Of a dead backend all at once: whoever waits on one waits for nothing. Again with each further
//!   sign of its death, since a connection may have been under way.
//! - Of one that a drill treats as dead, at once as well.
//! - Of one that drains for too long: in waves, and only when others get connections; closing what has
//!   nowhere else to go would only make it come back.
//! - Of connects that began while nobody answered, those that would sleep on, once somebody answers.

use std::time::{Duration, Instant};

use crate::backend::{Backend, BackendId};
use crate::command::{CloseCause, CloseOrder, Command};
use crate::pool::Machine;

/// The longest and the shortest time over which the connections of a draining backend are closed;
/// between these it is a tenth of the time that they were given.
const LONGEST_SPREAD: Duration = Duration::from_secs(10);
/// See [`LONGEST_SPREAD`].
const SHORTEST_SPREAD: Duration = Duration::from_secs(1);

impl Machine {
    /// Closes all connections to a dead backend.
    pub(crate) fn close_dead(&mut self, id: BackendId, reason: &str) {
        let (cause, reason) = (CloseCause::Dead, reason.to_owned());
        self.close(id, CloseOrder { cause, reason, count: None, spread: Duration::ZERO });
    }

    /// Closes all connections to a backend that a drill treats as dead.
    pub(crate) fn close_drilled(&mut self, id: BackendId) {
        if self.roster.backends.get(&id).is_none_or(|backend| backend.drilled.is_none()) {
            return;
        }
        let (cause, reason) = (CloseCause::Drill, "drill (blackhole)".to_owned());
        self.close(id, CloseOrder { cause, reason, count: None, spread: Duration::ZERO });
    }

    /// When the connections of some draining backend are to be closed.
    pub(crate) fn drain_due(&self) -> Option<Instant> {
        let backends = self.roster.backends.values();
        let due = backends.filter_map(|backend| {
            let (at, _) = backend.close_at(&self.roster.health_of(backend.pool)?)?;
            (!self.roster.is_alone(backend.id)).then_some(at)
        });
        due.min()
    }

    /// Closes the connections of backends that drain for too long.
    pub(crate) fn close_drained(&mut self, now: Instant) {
        let ids: Vec<BackendId> = self.roster.backends.keys().copied().collect();
        for id in ids {
            let alone = self.roster.is_alone(id);
            let Some(backend) = self.roster.backends.get(&id) else { continue };
            let Some(settings) = self.roster.health_of(backend.pool) else { continue };
            let due = backend.close_at(&settings).filter(|(at, _)| *at <= now && !alone);
            let Some((_, after)) = due else { continue };
            if let Some(backend) = self.roster.backends.get_mut(&id) {
                backend.drain_done = true;
            }
            let spread = (after / 10).clamp(SHORTEST_SPREAD, LONGEST_SPREAD);
            let reason = format!("draining for {after:?}");
            self.close(id, CloseOrder { cause: CloseCause::Drained, reason, count: None, spread });
        }
    }

    /// Ends connects to any backend of its pool that would go on to wait although this one answers.
    pub(crate) fn close_waiting(&mut self, back: BackendId) {
        let Some(Backend { addr, pool, .. }) = self.roster.backends.get(&back) else { return };
        let reason = format!("{addr} answers again");
        for id in self.roster.members.get(*pool).cloned().unwrap_or_default() {
            let reason = reason.clone();
            let (cause, spread) = (CloseCause::Waiting, Duration::ZERO);
            self.close(id, CloseOrder { cause, reason, count: None, spread });
        }
    }

    pub(crate) fn close(&mut self, id: BackendId, order: CloseOrder) {
        if let Some(backend) = self.roster.backends.get(&id) {
            let (epoch, addr) = (backend.epoch, backend.addr);
            self.notices.push_back(Command::Close { id, epoch, addr, order });
        }
    }
}
