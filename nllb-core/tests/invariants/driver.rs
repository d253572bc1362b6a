//! The smallest driver that keeps the contract: it carries out every command at once.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nllb_common::EventKind;
use nllb_common::maps::State;
use nllb_core::{BackendId, Change, Command, EvidenceFact, Machine, Table, View, diff};

use crate::operations::{Operation, report, settings, too_large};

/// A backend in the words of the settings.
pub(crate) type Place = (String, SocketAddr);

pub(crate) struct Driver {
    pub(crate) machine: Machine,
    pub(crate) now: Instant,
    /// What the kernel maps hold.
    pub(crate) maps: Table,
    pub(crate) outstanding: Vec<(BackendId, u32)>,
    pub(crate) places: BTreeMap<Place, (BackendId, u32)>,
    /// The last epoch that each id was seen with.
    pub(crate) epochs: BTreeMap<BackendId, u32>,
}

impl Driver {
    pub(crate) fn new(which: usize, seed: u32) -> Self {
        let now = Instant::now();
        let machine = Machine::new(settings(which), seed, now).expect("good settings");
        let mut driver = Self {
            machine,
            now,
            maps: Table::default(),
            outstanding: Vec::new(),
            places: BTreeMap::new(),
            epochs: BTreeMap::new(),
        };
        driver.carry_out();
        driver.check_places();
        driver
    }

    pub(crate) fn perform(&mut self, operation: &Operation) {
        let before = self.machine.view();
        match operation {
            Operation::Wait(millis) => {
                self.now += Duration::from_millis(*millis);
                self.machine.handle_timeout(self.now);
                assert!(self.machine.poll_timeout().is_none_or(|due| due > self.now));
            }
            Operation::Answer { pick, outcome, certificate } if !self.outstanding.is_empty() => {
                let (id, epoch) = self.outstanding.swap_remove(pick.index(self.outstanding.len()));
                self.machine.handle_probe(id, epoch, report(outcome, certificate), self.now);
            }
            Operation::Answer { .. } => {}
            Operation::Unasked { id, epoch, outcome } => {
                if !self.outstanding.contains(&(BackendId(*id), *epoch)) {
                    let report = report(outcome, &None);
                    self.machine.handle_probe(BackendId(*id), *epoch, report, self.now);
                    assert_eq!(self.machine.view(), before, "a report that nobody waits for");
                }
            }
            Operation::Evidence { id, epoch } => {
                let kind = EventKind::SynSilence;
                let fact = EvidenceFact { backend: *id, epoch: *epoch, kind };
                self.machine.handle_evidence(fact, self.now);
                assert_eq!(verdicts(&self.machine.view()), verdicts(&before), "evidence decided");
                assert_eq!(self.machine.table(), &self.maps, "evidence changed the table");
            }
            Operation::Network => {
                self.machine.handle_network_change(self.now);
                assert_eq!(verdicts(&self.machine.view()), verdicts(&before));
            }
            Operation::Settings(which) => {
                self.machine.handle_settings(settings(*which), self.now).expect("good settings");
                self.check_places();
            }
            Operation::TooLarge(which) => {
                let table = self.machine.table().clone();
                self.machine.handle_settings(too_large(*which), self.now).expect_err("too large");
                assert_eq!(self.machine.view(), before, "refused settings changed something");
                assert_eq!(self.machine.table(), &table);
            }
        }
        self.carry_out();
        self.check_limits();
        self.check_frontends();
    }

    fn carry_out(&mut self) {
        let mut transitions = Vec::new();
        while let Some(command) = self.machine.next_command() {
            match command {
                Command::Apply => {
                    let changes = diff(&self.maps, self.machine.table());
                    assert!(!changes.is_empty(), "told to apply nothing");
                    changes.iter().for_each(|change| self.write(change));
                }
                Command::Probe { id, epoch, .. } => {
                    assert!(!self.outstanding.contains(&(id, epoch)), "two probes of {id}.{epoch}");
                    self.outstanding.push((id, epoch));
                }
                Command::Open { .. }
                | Command::Ping { .. }
                | Command::Inspect { .. }
                | Command::Ask { .. }
                | Command::Close { .. } => {}
                Command::Transition { from, to, .. } => {
                    assert_ne!(from, to);
                    transitions.push(to);
                }
            }
        }
        assert_eq!(&self.maps, self.machine.table(), "the table changed without a word");
        assert!(transitions.len() <= 1, "one report moves one backend");
    }

    fn write(&mut self, change: &Change) {
        self.maps.apply(change);
        let pools: BTreeSet<u32> = self.maps.pools.keys().copied().collect();
        let has_pool = |pool: u16| pools.contains(&u32::from(pool));
        assert!(self.maps.frontends.values().all(|front| has_pool(front.pool)), "after {change}");
    }
}

fn verdicts(view: &View) -> Vec<(BackendId, u32, State, u64)> {
    let backends = view.pools.iter().flat_map(|pool| &pool.backends);
    backends.map(|b| (b.id, b.epoch, b.state, b.transitions)).collect()
}
