//! Who in a pool saw what: whether a backend's silence is its own.

use std::net::SocketAddr;
use std::time::Instant;

use crate::backend::{Backend, BackendId};
use crate::death::Answered;
use crate::pool::roster::Roster;

/// When nobody of a pool was heard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quiet {
    /// The last such moment.
    pub(crate) at: Instant,
    /// Whether it lasts.
    lasts: bool,
}

impl Roster {
    /// Notes in which pools nobody is heard.
    pub(crate) fn note_quiet(&mut self, now: Instant) {
        for pool in 0..self.settings.pools.len() {
            let lasts = !self.pool(pool).any(|one| one.is_heard() && !self.is_own(one));
            let lasted = self.quiet.get(&pool).is_some_and(|quiet| quiet.lasts);
            if lasts || lasted {
                self.quiet.insert(pool, Quiet { at: now, lasts });
            }
        }
    }

    /// The last moment in which nobody of its pool was heard.
    pub(crate) fn quiet_at(&self, id: BackendId) -> Option<Instant> {
        Some(self.quiet.get(&self.backends.get(&id)?.pool)?.at)
    }

    /// The other backends of its pool.
    fn others(&self, id: BackendId) -> impl Iterator<Item = &Backend> {
        let pool = self.backends.get(&id).map(|backend| backend.pool);
        let members = pool.into_iter().flat_map(|pool| self.pool(pool));
        members.filter(move |other| other.id != id)
    }

    /// Whether it is on this very host. It answers without any network, so it is witness of none.
    fn is_own(&self, backend: &Backend) -> bool {
        self.own.contains(&backend.addr.ip())
    }

    /// Another backend of its pool that answered since `start` what it was asked since `asked`, if
    /// somebody was heard all the time.
    pub(crate) fn witness(
        &self,
        id: BackendId,
        start: Instant,
        asked: Option<Instant>,
    ) -> Option<SocketAddr> {
        if self.quiet_at(id).is_some_and(|quiet| quiet >= start) {
            return None;
        }
        let saw = |answered: &Answered| {
            answered.at >= start && asked.is_none_or(|asked| answered.asked >= asked)
        };
        let mut others = self.others(id).filter(|other| !self.is_own(other));
        Some(others.find(|other| other.answered.as_ref().is_some_and(saw))?.addr)
    }

    /// Whether no other backend of its pool gets connections.
    pub(crate) fn is_alone(&self, id: BackendId) -> bool {
        !self.others(id).any(Backend::is_eligible)
    }

    /// Notes who is in trouble.
    pub(crate) fn note_trouble(&mut self, now: Instant) {
        for backend in self.backends.values_mut() {
            backend.note_trouble(now);
        }
    }

    /// Whether the backends of a pool should be watched closely.
    pub(crate) fn is_alert(&self, pool: usize) -> bool {
        self.pool(pool).any(Backend::alerts)
    }
}
