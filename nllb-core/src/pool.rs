//! The one machine: all pools, their backends and what the maps should hold.

use std::net::SocketAddr;
use std::time::Instant;

use nllb_common::maps::State;

use crate::backend::BackendId;
use crate::report::{EvidenceFact, ProbeReport};
use crate::settings::Settings;
use crate::table::{Table, TableError};
use crate::view::View;

/// What the driver is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Probe a backend and report exactly once, with [`Outcome::Local`] when it cannot be done.
    ///
    /// [`Outcome::Local`]: crate::report::Outcome::Local
    Probe {
        /// The backend.
        id: BackendId,
        /// Its epoch, to be handed back with the report.
        epoch: u32,
        /// Its address.
        addr: SocketAddr,
        /// Index of its pool in the settings.
        pool: usize,
    },
    /// [`Machine::table`] changed: bring the maps there.
    Apply,
    /// A backend changed its state; for logs and metrics.
    Transition {
        /// The backend.
        id: BackendId,
        /// Its address.
        addr: SocketAddr,
        /// The state before.
        from: State,
        /// The state now.
        to: State,
        /// Why.
        reason: String,
    },
}

/// All pools, their backends and what the maps should hold.
#[derive(Debug)]
pub struct Machine {}

impl Machine {
    /// A machine that knows nothing but its settings. `seed` spreads the probes of different nodes.
    ///
    /// # Errors
    /// When the settings give no table.
    pub fn new(settings: Settings, seed: u32, now: Instant) -> Result<Self, TableError> {
        let _ = (settings, seed, now);
        todo!()
    }

    /// Takes over the ids, epochs and states that pinned maps hold. Only right after [`Self::new`].
    pub fn adopt(&mut self, known: &[(SocketAddr, BackendId, u32, State)]) {
        let _ = known;
        todo!()
    }

    /// Takes over everything that pinned maps hold: what [`Self::adopt`] does, and also the ids of
    /// frontends and the epochs of ids that nobody has now. Only right after [`Self::new`].
    pub fn adopt_table(&mut self, actual: &Table) {
        let _ = actual;
        todo!()
    }

    /// Changes the settings. Backends that stay keep their id and all that is known of them.
    ///
    /// # Errors
    /// When the settings give no table; then nothing changed.
    pub fn handle_settings(&mut self, settings: Settings, now: Instant) -> Result<(), TableError> {
        let _ = (settings, now);
        todo!()
    }

    /// Takes the report of a probe. One that answers no outstanding probe is ignored.
    pub fn handle_probe(&mut self, id: BackendId, epoch: u32, report: ProbeReport, now: Instant) {
        let _ = (id, epoch, report, now);
        todo!()
    }

    /// Takes a hint from the kernel: never a verdict, at most an early probe.
    pub fn handle_evidence(&mut self, fact: EvidenceFact, now: Instant) {
        let _ = (fact, now);
        todo!()
    }

    /// The host's addresses or routes changed: what was unreachable may no longer be.
    pub fn handle_network_change(&mut self, now: Instant) {
        let _ = now;
        todo!()
    }

    /// When [`Self::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        todo!()
    }

    /// Starts the probes that are due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
        todo!()
    }

    /// The next thing to do, until `None`.
    pub fn next_command(&mut self) -> Option<Command> {
        todo!()
    }

    /// What the maps should hold.
    #[must_use]
    pub fn table(&self) -> &Table {
        todo!()
    }

    /// Everything known, for status and metrics.
    #[must_use]
    pub fn view(&self) -> View {
        todo!()
    }
}
