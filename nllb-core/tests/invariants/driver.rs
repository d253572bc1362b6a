//! The smallest driver that keeps the contract: it carries out every command at once.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nllb_common::EventKind;
use nllb_common::maps::State;
use nllb_core::{
    Answer, BackendId, BackendView, Change, CloseCause, Command, DrainError, EvidenceFact, Machine,
    Outcome, SentinelFact, SentinelView, Table, TcpState, Via, View, diff,
};

use crate::ledger::{Ledger, Who};
use crate::model::Model;
use crate::operations::{Operation, endpoint, report, settings, too_large};

/// A backend in the words of the settings.
pub(crate) type Place = (String, SocketAddr);

pub(crate) struct Driver {
    pub(crate) machine: Machine,
    pub(crate) now: Instant,
    /// What the kernel maps hold.
    pub(crate) maps: Table,
    /// Probes under way: when they started, and over which connection.
    pub(crate) probes: BTreeMap<Who, (Instant, Via)>,
    ledger: Ledger,
    model: Model,
    tcp: TcpState,
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
            probes: BTreeMap::new(),
            ledger: Ledger::default(),
            model: Model::default(),
            tcp: TcpState::Acknowledged,
            places: BTreeMap::new(),
            epochs: BTreeMap::new(),
        };
        driver.arrange();
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
            Operation::Answer { pick, outcome, certificate } if !self.probes.is_empty() => {
                let nth = pick.index(self.probes.len());
                let who = *self.probes.keys().nth(nth).expect("so many");
                let probe = self.probes.remove(&who).expect("it is under way");
                self.ledger.probed(who, probe, outcome, self.now);
                self.model.probed(who, probe, outcome, self.now);
                self.machine.handle_probe(who.0, who.1, report(outcome, certificate), self.now);
            }
            Operation::Answer { .. } => {}
            Operation::Unasked { id, epoch, outcome } => {
                if !self.probes.contains_key(&(BackendId(*id), *epoch)) {
                    let report = report(outcome, &None);
                    self.machine.handle_probe(BackendId(*id), *epoch, report, self.now);
                    assert_eq!(self.machine.view(), before, "a report that nobody waits for");
                }
            }
            Operation::Fact { pick, fact } => {
                let backends: Vec<&BackendView> =
                    before.pools.iter().flat_map(|pool| &pool.backends).collect();
                if !backends.is_empty() {
                    self.tell(backends[pick.index(backends.len())], fact);
                }
            }
            Operation::Serve => {
                let rtt = Duration::from_millis(1);
                for backend in before.pools.iter().flat_map(|pool| &pool.backends) {
                    if backend.sentinel == SentinelView::Opening {
                        let fact = SentinelFact::Up { rtt, certificate: None, unix_time: 50 };
                        self.tell(backend, &fact);
                    } else if self.ledger.owes_pong((backend.id, backend.epoch)) {
                        self.tell(backend, &SentinelFact::Pong { rtt });
                    }
                }
            }
            Operation::Tcp(state) => self.tcp = *state,
            Operation::Drain { host, drain } => {
                let result = self.machine.handle_drain(endpoint(*host), *drain, self.now);
                match result {
                    Err(
                        DrainError::Last { .. }
                        | DrainError::Alone { .. }
                        | DrainError::Drained(_)
                        | DrainError::Unknown { .. },
                    ) => {
                        assert_eq!(self.machine.view(), before, "refused, but something changed");
                    }
                    Ok(()) => {
                        let backends = before.pools.iter().flat_map(|pool| &pool.backends);
                        for one in backends.filter(|one| one.addr == endpoint(*host)) {
                            self.model.ordered((one.id, one.epoch), *drain, self.now);
                        }
                    }
                }
            }
            Operation::Nodes { id, epoch, nodes } => {
                let answer = Answer::Nodes(*nodes);
                self.machine.handle_answer(BackendId(*id), *epoch, answer, self.now);
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
                self.arrange();
                self.check_places();
            }
            Operation::Members(which) => {
                self.machine.handle_members(settings(*which), self.now).expect("good settings");
                self.arrange();
                self.check_places();
            }
            Operation::Hint(host) => {
                self.machine.handle_hints(&[endpoint(*host).ip()].into(), self.now);
                assert_eq!(verdicts(&self.machine.view()), verdicts(&before), "a hint decided");
                assert_eq!(self.machine.table(), &self.maps, "a hint changed the table");
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
        self.model.settle(self.now);
        self.check_states();
        self.check_nobody_waits_in_vain();
        self.check_drills();
        self.check_verdicts();
    }

    fn arrange(&mut self) {
        let view = self.machine.view();
        let places = view.pools.iter().flat_map(|pool| {
            pool.backends.iter().map(|one| ((one.id, one.epoch), pool.name.clone()))
        });
        let places: Vec<(Who, String)> = places.collect();
        self.ledger.arrange(places.iter().cloned());
        self.model.arrange(places.into_iter());
    }

    /// Every state is what the model says.
    fn check_states(&self) {
        for one in self.machine.view().pools.iter().flat_map(|pool| &pool.backends) {
            let expected = self.model.state((one.id, one.epoch));
            assert_eq!(one.state, expected, "{one:?}");
        }
    }

    /// Hands in a fact of a sentinel.
    fn tell(&mut self, backend: &BackendView, fact: &SentinelFact) {
        let before = self.machine.view();
        let who = (backend.id, backend.epoch);
        let opening = backend.sentinel == SentinelView::Opening;
        let up = matches!(backend.sentinel, SentinelView::Up { .. });
        if up && matches!(fact, SentinelFact::Pong { .. }) && self.ledger.owes_pong(who) {
            self.model.ponged(who, self.now);
        }
        self.ledger.heard(who, fact, (opening, up), self.now);
        self.machine.handle_sentinel(who.0, who.1, fact.clone(), self.now);
        if !(opening || up) {
            assert_eq!(self.machine.view(), before, "{fact:?} of no sentinel");
        }
    }

    fn carry_out(&mut self) {
        let mut moved = BTreeSet::new();
        while let Some(command) = self.machine.next_command() {
            match command {
                Command::Apply => {
                    let changes = diff(&self.maps, self.machine.table());
                    assert!(!changes.is_empty(), "told to apply nothing");
                    changes.iter().for_each(|change| self.write(change));
                }
                Command::Probe { id, epoch, via, .. } => {
                    let before = self.probes.insert((id, epoch), (self.now, via));
                    let replaces = before.is_none_or(|(_, before)| before == Via::Sentinel);
                    assert!(replaces && (before.is_none() || via == Via::Fresh), "two probes");
                }
                Command::Open { id, epoch, .. } => self.ledger.opened((id, epoch)),
                Command::Ping { id, epoch } => self.ledger.pinged((id, epoch), self.now),
                Command::Inspect { id, epoch } => {
                    let fact = SentinelFact::Tcp(self.tcp);
                    self.machine.handle_sentinel(id, epoch, fact, self.now);
                }
                Command::Ask { .. } => {}
                Command::Close { id, epoch, order, .. } => match order.cause {
                    CloseCause::Dead => {
                        self.ledger.buried((id, epoch), self.now);
                    }
                    CloseCause::Drained | CloseCause::Drill => {
                        let view = self.machine.view();
                        let pool = pool_of(&view, id);
                        assert!(pool.iter().any(|one| one.id != id && eligible(one)));
                    }
                    CloseCause::Rebalance => panic!("nobody asked for it"),
                    // The driver closes nothing that is established.
                    CloseCause::Waiting => {}
                },
                // The model knows.
                Command::DrillOver { .. } => {}
                Command::Transition { id, from, to, reason, first_sign, .. } => {
                    let served = matches!(from, State::Healthy | State::Degraded);
                    let out = matches!(to, State::Draining | State::Unhealthy);
                    let by_order =
                        reason == "drained by an operator" || reason.starts_with("drill (");
                    assert_eq!(first_sign.is_some(), served && out && !by_order, "{reason}");
                    assert!(first_sign.is_none_or(|sign| sign <= self.now));
                    if reason == Outcome::Unresponsive.to_string() {
                        let epoch = self.epochs[&id];
                        self.model.condemned((id, epoch), self.now);
                    }
                    assert_ne!(from, to);
                    assert!(moved.insert(id), "{id} moved twice at once");
                }
            }
        }
        assert_eq!(&self.maps, self.machine.table(), "the table changed without a word");
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

fn pool_of(view: &View, id: BackendId) -> &[BackendView] {
    let pools = view.pools.iter().map(|pool| &pool.backends);
    let mut of = pools.filter(|backends| backends.iter().any(|backend| backend.id == id));
    of.next().map_or(&[], |backends| backends.as_slice())
}

pub(crate) fn eligible(backend: &BackendView) -> bool {
    matches!(backend.state, State::Healthy | State::Degraded)
}
