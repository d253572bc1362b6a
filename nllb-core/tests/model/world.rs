//! Servers that are well or not, an agent that asks them, and signals on their way in between.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nllb_common::EventKind;
use nllb_common::maps::{PoolSet, State};
use nllb_core::{
    BackendId, CloseCause, Command, EvidenceFact, FrontendSettings, HealthSettings, Machine,
    Outcome, PoolSettings, ProbeReport, SentinelFact, Settings, Table, TcpState, Via, diff,
};

use crate::reference::{Tally, soon};

pub(crate) const SERVERS: usize = 3;
/// As long as a probe may take.
const TIMEOUT: Duration = Duration::from_secs(1);
/// The longest that a signal is under way in any weather.
const SLOWEST: Duration = Duration::from_millis(700);

/// What a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Well,
    /// Answers that it is not ready.
    Draining,
    /// Nobody listens, on a host that lives.
    Refusing,
    /// Nothing answers.
    Gone,
}

/// How signals travel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    /// The least that each takes, there and back.
    pub(crate) delay: Duration,
    /// What may come on top, so that a later one may overtake an earlier one.
    pub(crate) spread: Duration,
    /// How many of a hundred are lost.
    pub(crate) loss: u32,
    /// Whether the kernel tells of failures, whether there are any or not.
    pub(crate) hints: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Event {
    Becomes(usize, Level),
    Weather(Weather),
    /// Another agent takes the place of this one. Everything on its way is lost.
    Restart,
}

/// Something that is on its way to the agent.
#[derive(Clone, Debug)]
enum Signal {
    Report { asked: Instant, outcome: Outcome },
    Sentinel(SentinelFact),
    Hint(EventKind),
}

type Who = (BackendId, u32);

pub(crate) struct World {
    machine: Machine,
    maps: Table,
    now: Instant,
    started: Instant,
    truth: [Level; SERVERS],
    weather: Weather,
    /// By when it arrives; the number keeps those of one moment apart.
    on_the_way: BTreeMap<(Instant, u64), (Who, Signal)>,
    sent: u64,
    /// The probe that each waits for.
    probes: BTreeMap<Who, (Instant, Via)>,
    /// Sentinels that are open.
    open: BTreeMap<Who, usize>,
    tallies: [Tally; SERVERS],
    random: u64,
}

fn address(server: usize) -> SocketAddr {
    let host = u8::try_from(server).expect("few") + 11;
    ([10, 0, 0, host], 6443).into()
}

fn health() -> HealthSettings {
    HealthSettings { max_backoff: Duration::from_secs(4), ..HealthSettings::default() }
}

fn settings() -> Settings {
    let pool = PoolSettings {
        name: "apiserver".into(),
        endpoints: (0..SERVERS).map(address).collect(),
        health: health(),
        ..PoolSettings::default()
    };
    let frontend = FrontendSettings {
        name: "kubernetes".into(),
        addresses: vec![([10, 96, 0, 1], 443).into()],
        pool: "apiserver".into(),
        ..FrontendSettings::default()
    };
    Settings { pools: vec![pool], frontends: vec![frontend], ..Settings::default() }
}

impl World {
    pub(crate) fn new(seed: u64, weather: Weather) -> Self {
        let now = Instant::now();
        let machine = Machine::new(settings(), 1, now).expect("settings that fit");
        let mut world = Self {
            machine,
            maps: Table::default(),
            now,
            started: now,
            truth: [Level::Well; SERVERS],
            weather,
            on_the_way: BTreeMap::new(),
            sent: 0,
            probes: BTreeMap::new(),
            open: BTreeMap::new(),
            tallies: Default::default(),
            random: seed | 1,
        };
        world.obey();
        world
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let arrival = self.on_the_way.first_key_value().map(|((at, _), _)| *at);
            let due = self.machine.poll_timeout();
            let next = [arrival, due].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = next.max(self.now);
            if arrival.is_some_and(|at| at <= self.now) {
                if let Some((_, (who, signal))) = self.on_the_way.pop_first() {
                    self.arrives(who, signal);
                }
            } else {
                self.machine.handle_timeout(self.now);
            }
            self.obey();
        }
        self.now = end;
    }

    pub(crate) fn happens(&mut self, event: &Event) {
        match event {
            Event::Becomes(server, level) => self.becomes(*server, *level),
            Event::Weather(weather) => self.weather = *weather,
            Event::Restart => self.restart(),
        }
    }

    /// Nothing is lost any more and everything is quick, for as long as the machine may take to agree.
    pub(crate) fn calm_down(&mut self) {
        self.weather.loss = 0;
        self.weather.hints = false;
        (self.weather.delay, self.weather.spread) = (Duration::from_millis(1), Duration::ZERO);
        self.run(SLOWEST + soon(&health(), TIMEOUT, SLOWEST));
    }

    /// The machine's word on each is the truth.
    pub(crate) fn agrees(&self) {
        let wanted = self.truth.map(|level| match level {
            Level::Well => State::Healthy,
            Level::Draining => State::Draining,
            Level::Refusing | Level::Gone => State::Unhealthy,
        });
        assert_eq!(self.states(), wanted, "at {:?}", self.now - self.started);
    }

    pub(crate) fn states(&self) -> [State; SERVERS] {
        let view = self.machine.view();
        let state = |server| {
            let mut all = view.pools.iter().flat_map(|pool| &pool.backends);
            all.find(|one| one.addr == address(server)).expect("a backend").state
        };
        std::array::from_fn(state)
    }

    fn becomes(&mut self, server: usize, level: Level) {
        let before = std::mem::replace(&mut self.truth[server], level);
        // A process that ends closes its connections; a host that loses power does not.
        if before != level && level == Level::Refusing {
            for who in self.sentinels_of(server) {
                self.open.remove(&who);
                self.send(who, Signal::Sentinel(SentinelFact::Closed));
            }
        }
        if self.weather.hints {
            // True or not, now or late, and perhaps twice.
            let all: Vec<Who> = self.whos().map(|(who, _)| who).collect();
            for who in all {
                self.send(who, Signal::Hint(EventKind::SynSilence));
            }
        }
    }

    fn restart(&mut self) {
        self.on_the_way.clear();
        self.probes.clear();
        self.open.clear();
        self.tallies.iter_mut().for_each(Tally::restart);
        let seed = u32::try_from(self.draw(1000)).expect("small");
        self.machine = Machine::new(settings(), seed, self.now).expect("settings that fit");
        self.machine.adopt_table(&self.maps);
        self.obey();
    }

    /// Hands a signal over, unless it is lost.
    fn send(&mut self, who: Who, signal: Signal) {
        let Weather { delay, spread, loss, hints: _ } = self.weather;
        let spread = u64::try_from(spread.as_millis()).expect("short");
        if self.draw(100) < u64::from(loss) {
            // A probe that gets no answer says so in the end; whatever else is lost is never heard of.
            if let Signal::Report { asked, .. } = signal {
                self.arrives_at(
                    asked + TIMEOUT,
                    who,
                    Signal::Report { asked, outcome: Outcome::Silent },
                );
            }
            return;
        }
        let late = Duration::from_millis(self.draw(spread + 1));
        self.arrives_at(self.now + delay + late, who, signal);
    }

    fn arrives_at(&mut self, at: Instant, who: Who, signal: Signal) {
        self.sent += 1;
        self.on_the_way.insert((at.max(self.now), self.sent), (who, signal));
    }

    fn arrives(&mut self, who: Who, signal: Signal) {
        let before = self.states();
        match signal {
            Signal::Report { asked, outcome } => {
                // One that another took the place of is not reported.
                let Some((_, via)) = self.probes.get(&who).copied().filter(|(at, _)| *at == asked)
                else {
                    return;
                };
                self.probes.remove(&who);
                if let Some(server) = self.server(who) {
                    self.tallies[server].hear(asked, self.now, &outcome);
                }
                self.machine.handle_probe(
                    who.0,
                    who.1,
                    report(outcome, via, self.now - asked),
                    self.now,
                );
            }
            Signal::Sentinel(fact) => self.machine.handle_sentinel(who.0, who.1, fact, self.now),
            Signal::Hint(kind) => {
                let fact = EvidenceFact { backend: who.0.0, epoch: who.1, kind };
                self.machine.handle_evidence(fact, self.now);
                assert_eq!(self.states(), before, "a hint is no verdict");
            }
        }
        for (server, (from, to)) in before.into_iter().zip(self.states()).enumerate() {
            let entered = from.is_eligible() != to.is_eligible();
            let explained = self.tallies[server].explains(from, to);
            assert!(!entered || explained, "{}: {from:?} to {to:?} for no reason", address(server));
        }
    }

    /// Carries out what the machine wants.
    fn obey(&mut self) {
        while let Some(command) = self.machine.next_command() {
            match command {
                Command::Probe { id, epoch, addr, via, .. } => self.probe((id, epoch), addr, via),
                Command::Open { id, epoch, addr, .. } => self.open((id, epoch), addr),
                Command::Ping { id, epoch } => self.ping((id, epoch)),
                Command::Inspect { id, epoch } => {
                    let fact = SentinelFact::Tcp(TcpState::Silent);
                    self.machine.handle_sentinel(id, epoch, fact, self.now);
                }
                Command::Apply => self.apply(),
                Command::Close { addr, order, .. } => {
                    if order.cause == CloseCause::Dead {
                        self.is_dead(addr);
                    }
                }
                Command::Ask { .. } | Command::DrillOver { .. } | Command::Transition { .. } => {}
            }
        }
        assert!(self.maps.pools.values().all(|set| set.len > 0), "a pool was emptied");
    }

    fn apply(&mut self) {
        for change in diff(&self.maps, self.machine.table()) {
            self.maps.apply(&change);
        }
        let slots = self.maps.pools.values().flat_map(PoolSet::iter);
        for slot in slots {
            let verdict = self.maps.verdicts[&slot.backend];
            assert_eq!(verdict.epoch(), slot.epoch);
        }
    }

    fn probe(&mut self, who: Who, addr: SocketAddr, via: Via) {
        let asked = self.now;
        self.probes.insert(who, (asked, via));
        let server = which(addr);
        let outcome = match self.truth[server] {
            Level::Well => Outcome::Ready,
            Level::Draining => Outcome::NotReady { status: 500 },
            Level::Refusing => Outcome::Refused,
            Level::Gone => {
                let silent = Signal::Report { asked, outcome: Outcome::Silent };
                return self.arrives_at(asked + TIMEOUT, who, silent);
            }
        };
        self.send(who, Signal::Report { asked, outcome });
    }

    fn open(&mut self, who: Who, addr: SocketAddr) {
        let server = which(addr);
        self.open.remove(&who);
        match self.truth[server] {
            Level::Well | Level::Draining => {
                self.open.insert(who, server);
                let rtt = self.weather.delay;
                let up = SentinelFact::Up { rtt, certificate: None, unix_time: 50 };
                // That it is open, or is not, is heard in the end.
                self.arrives_at(self.now + rtt, who, Signal::Sentinel(up));
            }
            Level::Refusing | Level::Gone => {
                let failed = SentinelFact::Failed { outcome: Outcome::Silent };
                self.arrives_at(self.now + TIMEOUT, who, Signal::Sentinel(failed));
            }
        }
    }

    fn ping(&mut self, who: Who) {
        let well = self
            .open
            .get(&who)
            .is_some_and(|server| matches!(self.truth[*server], Level::Well | Level::Draining));
        if well {
            self.send(who, Signal::Sentinel(SentinelFact::Pong { rtt: self.weather.delay }));
        }
    }

    /// Nobody is called dead who was heard of late, or while nobody else was.
    fn is_dead(&self, addr: SocketAddr) {
        let server = which(addr);
        assert!(self.tallies[server].is_silent(self.now), "{addr} is dead for no reason");
        let since = self.now.checked_sub(TIMEOUT * 4).unwrap_or(self.now);
        let others = (0..SERVERS).filter(|other| *other != server);
        let witnessed = others.into_iter().any(|it| self.tallies[it].answered_since(since));
        assert!(witnessed, "{addr} is dead and nobody lives");
    }

    fn whos(&self) -> impl Iterator<Item = (Who, SocketAddr)> + use<> {
        let pools = self.machine.view().pools;
        let all = pools.into_iter().flat_map(|pool| pool.backends);
        all.map(|one| ((one.id, one.epoch), one.addr))
    }

    fn server(&self, who: Who) -> Option<usize> {
        self.whos().find(|(other, _)| *other == who).map(|(_, addr)| which(addr))
    }

    fn sentinels_of(&self, server: usize) -> Vec<Who> {
        let open = self.open.iter().filter(|(_, other)| **other == server);
        open.map(|(who, _)| *who).collect()
    }

    /// A number below this one (xorshift64).
    fn draw(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below.max(1)
    }
}

fn which(addr: SocketAddr) -> usize {
    (0..SERVERS).find(|server| address(*server) == addr).expect("one of them")
}

fn report(outcome: Outcome, via: Via, latency: Duration) -> ProbeReport {
    let rtt = (via == Via::Fresh && outcome.is_success()).then_some(latency / 4);
    ProbeReport { outcome, rtt, latency, certificate: None, unix_time: 50 }
}
