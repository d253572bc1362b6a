//! Who in a pool saw what: whether a backend's silence is its own.

use std::net::SocketAddr;
use std::time::Instant;

use crate::backend::{Backend, BackendId};
use crate::death::Answered;
use crate::pool::roster::Roster;

impl Roster {
    /// The other backends of its pool.
    fn others(&self, id: BackendId) -> impl Iterator<Item = &Backend> {
        let pool = self.backends.get(&id).map(|backend| backend.pool);
        let members = pool.into_iter().flat_map(|pool| self.pool(pool));
        members.filter(move |other| other.id != id)
    }

    /// Another backend of its pool that answered since `start` what it was asked since `asked`.
    pub(crate) fn witness(
        &self,
        id: BackendId,
        start: Instant,
        asked: Option<Instant>,
    ) -> Option<SocketAddr> {
        let saw = |answered: &Answered| {
            answered.at >= start && asked.is_none_or(|asked| answered.asked >= asked)
        };
        let witness = self.others(id).find(|other| other.answered.as_ref().is_some_and(saw))?;
        Some(witness.addr)
    }

    /// Whether no other backend of its pool gets connections.
    pub(crate) fn is_alone(&self, id: BackendId) -> bool {
        !self.others(id).any(Backend::is_eligible)
    }

    /// Whether the backends of a pool should be watched closely.
    pub(crate) fn is_alert(&self, pool: usize) -> bool {
        self.pool(pool).any(Backend::is_in_trouble)
    }
}
