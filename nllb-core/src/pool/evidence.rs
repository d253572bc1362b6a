//! The signal of the kernel: connections of clients go wrong. It comes from whoever connects, so also
//! from those who mean ill, and decides nothing.

use std::time::Instant;

use crate::backend::BackendId;
use crate::pool::Machine;
use crate::report::EvidenceFact;

impl Machine {
    /// Takes a hint from the kernel: never a verdict, at most an early probe and ping.
    pub fn handle_evidence(&mut self, fact: EvidenceFact, now: Instant) {
        let EvidenceFact { backend, epoch, kind } = fact;
        if let Some((backend, settings)) = self.roster.backend_mut(BackendId(backend), epoch) {
            backend.suspect(kind, &settings, now);
        }
    }
}
