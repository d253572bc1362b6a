//! The one machine: all pools, their backends and what the maps should hold.
//!
//! It owns every decision and does nothing: the driver tells it what happened and carries out its
//! commands. There is one machine and not one per pool, because ids, limits and the table are shared.
//!
//! What holds after every call:
//! - at most one probe per backend is outstanding;
//! - the table changes only with a transition, a certificate or the settings, each followed by
//!   [`Command::Apply`];
//! - a backend keeps its id as long as its pool names its address, and an id that is given to another
//!   has a new epoch;
//! - hints from the kernel change the time of a probe and nothing else.

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use crate::backend::{BackendId, Heard};
use crate::command::{Command, Via};
use crate::drain::{Drain, DrainError};
use crate::remembered::Remembered;
use crate::report::{Answer, EvidenceFact, ProbeReport, SentinelFact};
use crate::settings::Settings;
use crate::table::{self, Table, TableError};
use crate::view::View;

mod adopt;
mod check;
pub(crate) mod fronts;
mod nearness;
pub(crate) mod roster;
pub(crate) mod shares;

use roster::Roster;

/// All pools, their backends and what the maps should hold.
#[derive(Debug)]
pub struct Machine {
    roster: Roster,
    table: Table,
    /// Whether the driver was not told yet that the table changed.
    apply: bool,
    transitions: VecDeque<Command>,
    /// Probes started, but not handed out yet. Only who, so that new settings cannot outdate them.
    probes: VecDeque<(BackendId, u32)>,
    seed: u32,
    started: Instant,
}

impl Machine {
    /// A machine that knows nothing but its settings. `seed` spreads the probes of different nodes.
    ///
    /// # Errors
    /// When the settings give no table.
    pub fn new(settings: Settings, seed: u32, now: Instant) -> Result<Self, TableError> {
        let roster = Roster::default().rearranged(settings, seed, now)?;
        Ok(Self {
            table: table::build(&roster)?,
            roster,
            apply: true,
            transitions: VecDeque::new(),
            probes: VecDeque::new(),
            seed,
            started: now,
        })
    }

    /// Changes the settings. Backends that stay keep their id and all that is known of them, and are
    /// probed at once, since the way to probe them may be what changed.
    ///
    /// # Errors
    /// When the settings give no table; then nothing changed.
    pub fn handle_settings(&mut self, settings: Settings, now: Instant) -> Result<(), TableError> {
        let roster = self.roster.rearranged(settings, self.seed, now)?;
        let table = table::build(&roster)?;
        self.roster = roster;
        self.replace_table(table);
        self.hurry_all(now);
        Ok(())
    }

    /// Takes the report of a probe. One that answers no outstanding probe is ignored.
    pub fn handle_probe(&mut self, id: BackendId, epoch: u32, report: ProbeReport, now: Instant) {
        let Some((backend, settings)) = self.roster.backend_mut(id, epoch) else {
            return;
        };
        if backend.schedule.due().is_some() {
            return;
        }
        let rtt = report.rtt;
        let Heard { left, certificate_changed } = backend.hear(report, settings, now);
        let (addr, to, pool) = (backend.addr, backend.state(), backend.pool);
        if let Some(from) = left {
            self.table.verdicts.insert(id.0, backend.verdict());
            self.apply = true;
            let reason = backend.cause.to_string();
            self.transitions.push_back(Command::Transition { id, addr, from, to, reason });
            self.stop_leaning(pool);
        }
        if certificate_changed || (left.is_some() && self.roster.asks_for_versions()) {
            self.rebuild_table();
        }
        if let Some(rtt) = rtt {
            self.observe_distance(id, rtt, now);
        }
    }

    /// Takes a hint from the kernel: never a verdict, at most an early probe.
    pub fn handle_evidence(&mut self, fact: EvidenceFact, now: Instant) {
        let EvidenceFact { backend, epoch, kind } = fact;
        if let Some((backend, settings)) = self.roster.backend_mut(BackendId(backend), epoch) {
            backend.suspect(kind, settings, now);
        }
    }

    /// Takes what became of a sentinel, or was heard over it.
    pub fn handle_sentinel(&mut self, id: BackendId, epoch: u32, fact: SentinelFact, now: Instant) {
        let _ = (&self.roster, id, epoch, fact, now);
    }

    /// Takes the answer to a question that was asked over a sentinel.
    pub fn handle_answer(&mut self, id: BackendId, epoch: u32, answer: Answer, now: Instant) {
        let _ = now;
        let Some((backend, _)) = self.roster.backend_mut(id, epoch) else {
            return;
        };
        match answer {
            Answer::Version(version) => {
                backend.version = Some(version);
                self.rebuild_table();
            }
            Answer::KubeletVersion(version) => {
                self.roster.kubelet = Some(version);
                self.rebuild_table();
            }
            Answer::Nodes(_) => {}
        }
    }

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
        let _ = (drain, now);
        let known: Vec<_> = self.roster.backends.values().map(|backend| backend.addr).collect();
        if known.contains(&addr) { Ok(()) } else { Err(DrainError::Unknown { addr, known }) }
    }

    /// Takes over what was known when the host went down, for backends that the maps say nothing
    /// about. Only right after [`Self::new`] and the adoption of the maps.
    pub fn handle_known(&mut self, known: &[Remembered], now: Instant) {
        let _ = (&self.roster, known, now);
    }

    /// What is worth keeping on disk.
    #[must_use]
    pub fn remembered(&self) -> Vec<Remembered> {
        Vec::new()
    }

    /// The host's addresses or routes changed: what was unreachable may no longer be.
    pub fn handle_network_change(&mut self, now: Instant) {
        self.hurry_all(now);
    }

    /// Takes the addresses of this host: node addresses among them are left alone, and a change of them
    /// is a change of the network.
    pub fn handle_own_addresses(&mut self, own: BTreeSet<IpAddr>, now: Instant) {
        if own != self.roster.own {
            self.roster.own = own;
            self.rebuild_table();
            self.handle_network_change(now);
        }
    }

    /// When [`Self::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.roster.backends.values().filter_map(|backend| backend.schedule.due()).min()
    }

    /// Starts the probes that are due.
    pub fn handle_timeout(&mut self, now: Instant) {
        for backend in self.roster.backends.values_mut() {
            if backend.schedule.due().is_some_and(|due| due <= now) {
                backend.schedule.start();
                self.probes.push_back((backend.id, backend.epoch));
            }
        }
    }

    /// The next thing to do, until `None`. The maps come first, since clients depend on them.
    pub fn next_command(&mut self) -> Option<Command> {
        if std::mem::take(&mut self.apply) {
            return Some(Command::Apply);
        }
        self.transitions.pop_front().or_else(|| self.next_probe())
    }

    /// What the maps should hold.
    #[must_use]
    pub const fn table(&self) -> &Table {
        &self.table
    }

    /// Everything known, for status and metrics.
    #[must_use]
    pub fn view(&self) -> View {
        View::of(&self.roster)
    }

    fn next_probe(&mut self) -> Option<Command> {
        while let Some((id, epoch)) = self.probes.pop_front() {
            if let Some((backend, _)) = self.roster.backend_mut(id, epoch) {
                let connect_timeout = backend.connect_timeout();
                let (addr, pool) = (backend.addr, backend.pool);
                let via = Via::Fresh;
                return Some(Command::Probe { id, epoch, addr, pool, connect_timeout, via });
            }
        }
        None
    }

    fn hurry_all(&mut self, now: Instant) {
        for (backend, settings) in self.roster.backends_mut() {
            backend.schedule.reset_backoff();
            backend.schedule.hurry(settings, now);
        }
    }

    fn rebuild_table(&mut self) {
        // The limits were checked with the settings, so this does not fail; if it did, the table that
        // the maps hold would still be the best there is.
        if let Ok(table) = table::build(&self.roster) {
            self.replace_table(table);
        }
    }

    fn replace_table(&mut self, table: Table) {
        if table != self.table {
            self.table = table;
            self.apply = true;
        }
    }
}
