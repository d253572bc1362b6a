//! Random operations against the machine, with what must hold after each of them.
//!
//! The driver here is the smallest that keeps the contract: it carries out every command at once,
//! and answers probes whenever the operations say so, in any order or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nllb_common::EventKind;
use nllb_common::addr::join;
use nllb_common::maps::{
    MAX_BACKENDS, MAX_FRONTENDS, MAX_POOL_BACKENDS, MAX_POOLS, State, frontend_flags,
};
use nllb_core::{
    BackendId, BackendView, Change, Command, EvidenceFact, FrontendKind, Machine, SubjectName,
    Table, View, diff,
};
use proptest::prelude::*;

#[path = "invariants/operations.rs"]
mod operations;

use operations::{Operation, operation, report, settings, too_large};

/// A backend in the words of the settings.
type Place = (String, SocketAddr);

struct Driver {
    machine: Machine,
    now: Instant,
    /// What the kernel maps hold.
    maps: Table,
    outstanding: Vec<(BackendId, u32)>,
    places: BTreeMap<Place, (BackendId, u32)>,
    /// The last epoch that each id was seen with.
    epochs: BTreeMap<BackendId, u32>,
}

impl Driver {
    fn new(which: usize, seed: u32) -> Self {
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

    fn perform(&mut self, operation: &Operation) {
        let before = self.machine.view();
        match operation {
            Operation::Wait(millis) => {
                self.now += Duration::from_millis(*millis);
                self.machine.handle_timeout(self.now);
                assert!(self.machine.poll_timeout().is_none_or(|due| due > self.now));
            }
            Operation::Answer {
                pick,
                outcome,
                certificate,
            } if !self.outstanding.is_empty() => {
                let (id, epoch) = self
                    .outstanding
                    .swap_remove(pick.index(self.outstanding.len()));
                self.machine
                    .handle_probe(id, epoch, report(outcome, certificate), self.now);
            }
            Operation::Answer { .. } => {}
            Operation::Unasked { id, epoch, outcome } => {
                if !self.outstanding.contains(&(BackendId(*id), *epoch)) {
                    let report = report(outcome, &None);
                    self.machine
                        .handle_probe(BackendId(*id), *epoch, report, self.now);
                    assert_eq!(
                        self.machine.view(),
                        before,
                        "a report that nobody waits for"
                    );
                }
            }
            Operation::Evidence { id, epoch } => {
                let kind = EventKind::SynSilence;
                let fact = EvidenceFact {
                    backend: *id,
                    epoch: *epoch,
                    kind,
                };
                self.machine.handle_evidence(fact, self.now);
                assert_eq!(
                    verdicts(&self.machine.view()),
                    verdicts(&before),
                    "evidence decided"
                );
                assert_eq!(
                    self.machine.table(),
                    &self.maps,
                    "evidence changed the table"
                );
            }
            Operation::Network => {
                self.machine.handle_network_change(self.now);
                assert_eq!(verdicts(&self.machine.view()), verdicts(&before));
            }
            Operation::Settings(which) => {
                self.machine
                    .handle_settings(settings(*which), self.now)
                    .expect("good settings");
                self.check_places();
            }
            Operation::TooLarge(which) => {
                let table = self.machine.table().clone();
                self.machine
                    .handle_settings(too_large(*which), self.now)
                    .expect_err("too large");
                assert_eq!(
                    self.machine.view(),
                    before,
                    "refused settings changed something"
                );
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
                    assert!(
                        !self.outstanding.contains(&(id, epoch)),
                        "two probes of {id}.{epoch}"
                    );
                    self.outstanding.push((id, epoch));
                }
                Command::Transition { from, to, .. } => {
                    assert_ne!(from, to);
                    transitions.push(to);
                }
            }
        }
        assert_eq!(
            &self.maps,
            self.machine.table(),
            "the table changed without a word"
        );
        assert!(transitions.len() <= 1, "one report moves one backend");
    }

    fn write(&mut self, change: &Change) {
        self.maps.apply(change);
        let pools: BTreeSet<u32> = self.maps.pools.keys().copied().collect();
        let has_pool = |pool: u16| pools.contains(&u32::from(pool));
        assert!(
            self.maps
                .frontends
                .values()
                .all(|front| has_pool(front.pool)),
            "after {change}"
        );
    }

    /// Ids stay with their backend, and one that went to another has grown its epoch.
    fn check_places(&mut self) {
        let mut places = BTreeMap::new();
        for pool in self.machine.view().pools {
            for backend in pool.backends {
                let place = (pool.name.clone(), backend.addr);
                let slot = (backend.id, backend.epoch);
                match self.places.get(&place) {
                    Some(before) => assert_eq!(*before, slot, "{place:?} moved"),
                    None => {
                        let last = self.epochs.insert(backend.id, backend.epoch);
                        assert!(
                            last.is_none_or(|last| last < backend.epoch),
                            "{slot:?} reused"
                        );
                    }
                }
                places.insert(place, slot);
            }
        }
        let ids: BTreeSet<_> = places.values().map(|(id, _)| id).collect();
        assert_eq!(ids.len(), places.len(), "an id names two backends");
        self.places = places;
    }

    fn check_limits(&self) {
        let Table {
            frontends,
            pools,
            verdicts,
            fresh,
        } = &self.maps;
        assert!(frontends.len() <= MAX_FRONTENDS as usize);
        assert!(
            frontends
                .values()
                .all(|front| front.id != 0 && front.pool != 0)
        );
        assert!(pools.keys().all(|pool| (1..MAX_POOLS).contains(pool)));
        assert!(
            pools
                .values()
                .all(|set| set.len as usize <= MAX_POOL_BACKENDS)
        );
        assert!(verdicts.keys().all(|id| *id < MAX_BACKENDS));
        assert!(
            verdicts
                .iter()
                .all(|(id, verdict)| fresh.get(id) == Some(&verdict.epoch()))
        );
    }

    /// What a frontend promises to those who dial it.
    fn check_frontends(&self) {
        let view = self.machine.view();
        for front in &view.frontends {
            let set = &self.maps.pools[&u32::from(front.id)];
            let used: Vec<_> = set.iter().map(|slot| (slot.backend, slot.epoch)).collect();
            let pool = view
                .pools
                .iter()
                .find(|pool| pool.name == front.pool)
                .expect("its pool");
            let backends: BTreeMap<_, _> = pool
                .backends
                .iter()
                .map(|backend| (backend.id, backend))
                .collect();
            for backend in set.iter() {
                let known = backends[&BackendId(backend.backend)];
                assert_eq!(join(backend.addr, backend.port), known.addr);
                assert_eq!(self.maps.verdicts[&backend.backend].state(), known.state);
            }
            match front.kind {
                FrontendKind::Vip | FrontendKind::Loopback => {
                    let may = |backend: &&BackendView| !refuses(backend, front.addresses[0]);
                    let anyone = !pool.backends.is_empty();
                    assert_eq!(anyone, !used.is_empty(), "{} was emptied", front.name);
                    let healthy = |backend: &&BackendView| backend.state == State::Healthy;
                    for backend in pool.backends.iter().filter(healthy).filter(may) {
                        let slot = (backend.id.0, backend.epoch);
                        assert!(used.contains(&slot), "{} is left out", backend.addr);
                    }
                }
                FrontendKind::NodeAddress => {
                    let home = front.home.expect("a home");
                    assert!(used.iter().any(|(id, _)| *id == home.0), "home is not in");
                    for (id, _) in used.iter().filter(|(id, _)| *id != home.0) {
                        let backend = backends[&BackendId(*id)];
                        assert!(
                            covers(backend, front.addresses[0]),
                            "{} on a guess",
                            backend.addr
                        );
                    }
                    let flags = self
                        .maps
                        .frontends
                        .values()
                        .filter(|value| value.id == front.id);
                    for value in flags {
                        assert_eq!(u32::from(value.home), home.0);
                        assert_ne!(value.flags & frontend_flags::NODE_ADDRESS, 0);
                    }
                }
            }
        }
    }
}

/// Whether its certificate was seen and is not for the address.
fn refuses(backend: &BackendView, address: SocketAddr) -> bool {
    backend.certificate.is_some() && !covers(backend, address)
}

fn covers(backend: &BackendView, address: SocketAddr) -> bool {
    let name = SubjectName::Ip(address.ip());
    backend
        .certificate
        .as_ref()
        .is_some_and(|facts| facts.names.contains(&name))
}

fn verdicts(view: &View) -> Vec<(BackendId, u32, State, u64)> {
    let backends = view.pools.iter().flat_map(|pool| &pool.backends);
    backends
        .map(|b| (b.id, b.epoch, b.state, b.transitions))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_promises_hold(
        first in 0..operations::SETTINGS, seed: u32,
        operations in prop::collection::vec(operation(), 0..150),
    ) {
        let mut driver = Driver::new(first, seed);
        for operation in &operations {
            driver.perform(operation);
        }
    }

    #[test]
    fn an_agent_that_takes_over_the_maps_of_another_changes_no_pool_and_no_frontend(
        first in 0..operations::SETTINGS, seed: u32,
        operations in prop::collection::vec(operation(), 0..100),
        last in 0..operations::SETTINGS,
    ) {
        let mut driver = Driver::new(first, seed);
        for operation in operations.iter().chain([&Operation::Settings(last)]) {
            driver.perform(operation);
        }
        let mut heir = Machine::new(settings(last), seed, driver.now).expect("good settings");
        heir.adopt_table(&driver.maps);
        prop_assert_eq!(&heir.table().frontends, &driver.maps.frontends);
        for (pool, set) in &heir.table().pools {
            prop_assert_eq!(Some(set), driver.maps.pools.get(pool));
            for slot in set.iter() {
                let before = driver.maps.verdicts[&slot.backend];
                prop_assert_eq!(heir.table().verdicts[&slot.backend], before);
            }
        }
    }

    #[test]
    fn hints_bring_at_most_one_early_probe_per_confirm_interval(
        waits in prop::collection::vec(1u64..20, 1..300), pick: prop::sample::Index,
    ) {
        let mut driver = Driver::new(0, 1);
        let start = driver.now;
        let mut probes = 0;
        for wait in waits {
            driver.perform(&Operation::Wait(wait));
            let ready = || Operation::Answer {
                pick, outcome: nllb_core::Outcome::Ready, certificate: None,
            };
            probes += driver.outstanding.iter().filter(|(id, _)| id.0 == 0).count();
            while !driver.outstanding.is_empty() {
                driver.perform(&ready());
            }
            driver.perform(&Operation::Evidence { id: 0, epoch: 1 });
        }
        let millis = driver.now.duration_since(start).as_millis();
        // One at the start, one early one per 100 ms, one by the clock per 900 ms at most.
        let most = 2 + millis / 100 + millis / 900;
        prop_assert!(probes as u128 <= most, "{} probes in {} ms", probes, millis);
    }
}
