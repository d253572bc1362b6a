//! A node in virtual time: the machine, a driver that obeys at once, and the ways to its servers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nllb_common::maps::State;
use nllb_core::{
    BackendId, CloseCause, Command, Coverage, FrontendSettings, HealthSettings, Machine, Outcome,
    PoolSettings, ProbeReport, SentinelFact, Settings, TcpState, Via,
};

use crate::path::{Dice, Path};
use crate::tcp::{self, Exchange, PROBE_LIMIT};

type Who = (BackendId, u32);

/// Something that will be heard.
enum News {
    Probe(ProbeReport),
    Fact(SentinelFact),
}

/// What is open to a server.
#[derive(Default)]
struct Connection {
    /// Counts the sentinels, so that a pong over an old one is not taken for one over a new.
    ping: Option<Exchange>,
    /// Nothing overtakes what came before it.
    last: Option<Instant>,
}

/// What happened to one backend.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    pub(crate) transitions: Vec<(Instant, State)>,
    pub(crate) closes: Vec<Instant>,
    pub(crate) probes: u32,
    pub(crate) pings: u32,
    /// How long others were preferred to it.
    pub(crate) doubted: Duration,
    /// When it was doubted first, or left, since the last [`Node::forget`].
    pub(crate) avoided: Option<Instant>,
    doubted_since: Option<Instant>,
}

pub(crate) struct Node {
    machine: Machine,
    settings: Settings,
    pub(crate) now: Instant,
    pub(crate) paths: Vec<Path>,
    pub(crate) told: Vec<Told>,
    connections: Vec<Connection>,
    news: BTreeMap<(Instant, u64), (Who, News)>,
    number: u64,
    dice: Dice,
}

impl Node {
    pub(crate) fn new(paths: Vec<Path>, health: HealthSettings, seed: u32) -> Self {
        let hosts = 1..=u8::try_from(paths.len()).expect("few");
        let endpoints = hosts.map(|host| SocketAddr::from(([10, 0, 0, host], 6443))).collect();
        let pool =
            PoolSettings { name: "api".into(), endpoints, health, ..PoolSettings::default() };
        let front = FrontendSettings {
            name: "vip".into(),
            addresses: vec![SocketAddr::from(([10, 96, 0, 1], 443))],
            pool: "api".into(),
            coverage: Coverage::Trusted,
            ..FrontendSettings::default()
        };
        let settings =
            Settings { pools: vec![pool], frontends: vec![front], ..Settings::default() };
        let now = Instant::now();
        let machine = Machine::new(settings.clone(), seed, now).expect("settings");
        Self {
            machine,
            settings,
            now,
            told: vec![Told::default(); paths.len()],
            connections: paths.iter().map(|_| Connection::default()).collect(),
            paths,
            news: BTreeMap::new(),
            number: 0,
            dice: Dice(u64::from(seed) << 32),
        }
    }

    /// Forgets what happened so far.
    pub(crate) fn forget(&mut self) {
        for told in &mut self.told {
            let doubted_since = told.doubted_since.map(|_| self.now);
            *told = Told { doubted_since, ..Told::default() };
        }
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        self.obey();
        while let Some(next) = self.next().filter(|next| *next <= end) {
            self.now = next.max(self.now);
            self.step();
        }
        self.now = end;
    }

    /// New settings come that change nothing.
    pub(crate) fn reload(&mut self) {
        self.machine.handle_settings(self.settings.clone(), self.now).expect("good settings");
        self.obey();
    }

    /// Time passes in which the agent does not run. Then it hears everything at once, late.
    pub(crate) fn starve(&mut self, span: Duration) {
        self.now += span;
        self.step();
    }

    /// Runs until just before the next probe of a backend.
    pub(crate) fn run_to_next_probe(&mut self, backend: usize) {
        let due = loop {
            match self.machine.view().pools[0].backends[backend].next_probe {
                Some(due) => break due,
                None => self.run(Duration::from_millis(1)),
            }
        };
        self.run(due.saturating_duration_since(self.now).saturating_sub(Duration::from_micros(1)));
    }

    pub(crate) fn state(&self, backend: usize) -> State {
        self.machine.view().pools[0].backends[backend].state
    }

    fn next(&self) -> Option<Instant> {
        let news = self.news.keys().next().map(|(at, _)| *at);
        news.into_iter().chain(self.machine.poll_timeout()).min()
    }

    /// Hears what has come, and then lets the machine look at the clock.
    fn step(&mut self) {
        let now = self.now;
        while let Some(entry) = self.news.first_entry().filter(|entry| entry.key().0 <= now) {
            let ((id, epoch), news) = entry.remove();
            match news {
                News::Probe(report) => self.machine.handle_probe(id, epoch, report, now),
                News::Fact(fact) => {
                    if matches!(fact, SentinelFact::Pong { .. }) {
                        self.connections[index(id)].ping = None;
                    }
                    self.machine.handle_sentinel(id, epoch, fact, now);
                }
            }
            self.obey();
        }
        self.machine.handle_timeout(now);
        self.obey();
    }

    fn obey(&mut self) {
        while let Some(command) = self.machine.next_command() {
            match command {
                Command::Apply => self.apply(),
                Command::Probe { id, epoch, connect_timeout, via, .. } => {
                    self.told[index(id)].probes += 1;
                    self.probe((id, epoch), via, connect_timeout);
                }
                Command::Open { id, epoch, connect_timeout, .. } => {
                    self.open((id, epoch), connect_timeout);
                }
                Command::Ping { id, epoch } => {
                    self.told[index(id)].pings += 1;
                    self.ping((id, epoch));
                }
                Command::Inspect { id, epoch } => {
                    let ping = self.connections[index(id)].ping;
                    let acknowledged = ping.and_then(|ping| ping.acknowledged);
                    let silent = acknowledged.is_none_or(|at| at > self.now);
                    let tcp = if silent { TcpState::Silent } else { TcpState::Acknowledged };
                    self.machine.handle_sentinel(id, epoch, SentinelFact::Tcp(tcp), self.now);
                }
                Command::Ask { .. } => {}
                Command::Close { id, order, .. } => {
                    if order.cause != CloseCause::Waiting {
                        assert_eq!(order.cause, CloseCause::Dead);
                        self.told[index(id)].closes.push(self.now);
                    }
                }
                Command::DrillOver { .. } => panic!("nobody asked for it"),
                Command::Transition { id, to, .. } => {
                    self.told[index(id)].transitions.push((self.now, to));
                }
            }
        }
    }

    fn apply(&mut self) {
        for (id, verdict) in &self.machine.table().verdicts {
            let told = &mut self.told[index(BackendId(*id))];
            let well = matches!(verdict.state(), State::Healthy | State::Degraded);
            if verdict.is_doubted() || !well {
                told.avoided.get_or_insert(self.now);
            }
            match (verdict.is_doubted(), told.doubted_since) {
                (true, None) => told.doubted_since = Some(self.now),
                (false, Some(since)) => {
                    told.doubted += self.now.duration_since(since);
                    told.doubted_since = None;
                }
                (true, Some(_)) | (false, None) => {}
            }
        }
    }

    fn probe(&mut self, who: Who, via: Via, limit: Option<Duration>) {
        self.news.retain(|_, (of, news)| *of != who || !matches!(news, News::Probe(_)));
        let (now, nth) = (self.now, index(who.0));
        let path = &self.paths[nth];
        let (outcome, end, rtt) = match via {
            Via::Fresh => tcp::fresh(path, limit, now, &mut self.dice),
            Via::Sentinel => {
                let asked = tcp::exchange(path, tcp::settled(path), now, &mut self.dice);
                let end = now + PROBE_LIMIT;
                let answered = self.connections[nth].in_order(asked.answered);
                match answered.filter(|at| *at <= end) {
                    Some(at) => (Outcome::Ready, at, None),
                    None => (Outcome::Slow, end, None),
                }
            }
        };
        let latency = end.duration_since(now);
        let report = ProbeReport { outcome, rtt, latency, certificate: None, unix_time: 0 };
        self.tell(end, who, News::Probe(report));
    }

    fn open(&mut self, who: Who, limit: Option<Duration>) {
        let (now, nth) = (self.now, index(who.0));
        self.connections[nth] = Connection::default();
        self.news.retain(|_, (of, news)| *of != who || !matches!(news, News::Fact(_)));
        let (outcome, end, rtt) = tcp::fresh(&self.paths[nth], limit, now, &mut self.dice);
        let fact = match (outcome, rtt) {
            (Outcome::Ready, Some(rtt)) => {
                SentinelFact::Up { rtt, certificate: None, unix_time: 0 }
            }
            (outcome, _) => SentinelFact::Failed { outcome },
        };
        self.tell(end, who, News::Fact(fact));
    }

    fn ping(&mut self, who: Who) {
        let (now, nth) = (self.now, index(who.0));
        let path = &self.paths[nth];
        let mut asked = tcp::exchange(path, tcp::settled(path), now, &mut self.dice);
        asked.answered = self.connections[nth].in_order(asked.answered);
        self.connections[nth].ping = Some(asked);
        if let Some(at) = asked.answered {
            let rtt = at.duration_since(now);
            self.tell(at, who, News::Fact(SentinelFact::Pong { rtt }));
        }
    }

    fn tell(&mut self, at: Instant, who: Who, news: News) {
        self.number += 1;
        self.news.insert((at, self.number), (who, news));
    }
}

impl Connection {
    /// When something that arrives at `at` can be read: not before what was sent earlier.
    fn in_order(&mut self, at: Option<Instant>) -> Option<Instant> {
        let at = at?;
        let read = self.last.map_or(at, |last| last.max(at));
        self.last = Some(read);
        Some(read)
    }
}

fn index(id: BackendId) -> usize {
    usize::try_from(id.0).expect("small")
}
