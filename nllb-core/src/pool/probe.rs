//! The signal of a probe: what a new client would meet, and what the server says of itself.

use std::time::Instant;

use crate::backend::{Around, BackendId, Heard};
use crate::pool::Machine;
use crate::report::ProbeReport;

impl Machine {
    /// Takes the report of a probe. One that answers no outstanding probe is ignored.
    pub fn handle_probe(&mut self, id: BackendId, epoch: u32, report: ProbeReport, now: Instant) {
        let Some((backend, _)) = self.roster.backend_mut(id, epoch) else { return };
        let Some(probe) = backend.probe.take() else { return };
        let (since, first) = (probe.started, backend.death.first());
        let witness = self.roster.witness(id, since, first);
        let around = Around { alone: self.roster.is_alone(id), witnessed: witness.is_some() };
        let Some((backend, settings)) = self.roster.backend_mut(id, epoch) else { return };
        let (rtt, outcome) = (report.rtt, report.outcome.clone());
        let Heard { certificate_changed, dead } =
            backend.hear(probe, report, around, &settings, now);
        if let Some(rtt) = rtt {
            self.observe_distance(id, rtt, now);
        }
        if certificate_changed {
            self.rebuild_table();
        }
        self.review(now);
        if let Some(witness) = witness.filter(|_| dead) {
            self.close_dead(id, &format!("{outcome}, while {witness} answers"));
        }
    }
}
