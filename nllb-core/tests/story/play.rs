//! Plays a story: virtual time, servers that answer as told, and a driver that obeys at once.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nllb_core::{
    BackendId, CertificateFacts, Command, EvidenceFact, Machine, Outcome, ProbeReport, Settings,
    Table, diff,
};

use crate::script::{Line, Server, address, duration};

/// Plays the events and returns what came of them.
pub(crate) fn play(name: &str, events: &str) -> String {
    let mut play = Play::new();
    for line in Line::all(events) {
        // What an agent takes over it takes over before it writes anything.
        if line.words[0] != "adopt" {
            play.obey();
        }
        play.event(&line);
    }
    play.obey();
    assert!(play.machine.is_some(), "{name}: the agent never starts");
    play.out
}

struct Play {
    settings: Settings,
    machine: Option<Machine>,
    maps: Table,
    start: Instant,
    now: Instant,
    servers: BTreeMap<SocketAddr, Server>,
    certificates: BTreeMap<SocketAddr, Arc<CertificateFacts>>,
    /// Probes under way, by the time of their end and by their number.
    under_way: BTreeMap<(Instant, usize), (BackendId, u32, ProbeReport)>,
    probes: usize,
    tell_probes: bool,
    out: String,
}

impl Play {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            settings: Settings::default(),
            machine: None,
            maps: Table::default(),
            start: now,
            now,
            servers: BTreeMap::new(),
            certificates: BTreeMap::new(),
            under_way: BTreeMap::new(),
            probes: 0,
            tell_probes: false,
            out: String::new(),
        }
    }

    fn event(&mut self, line: &Line<'_>) {
        match line.words[0] {
            "pool" => return self.settings.pools.push(line.pool()),
            "frontend" => {
                let pool = self.settings.pools.first().map_or("", |pool| &pool.name);
                let frontend = line.frontend(pool);
                return self.settings.frontends.push(frontend);
            }
            "forget" => return self.settings = Settings::default(),
            "probes" => return self.tell_probes = true,
            _ => writeln!(self.out, "> {}", line.text).expect("a string takes all"),
        }
        match line.words[0] {
            "start" => self.machine = Some(self.born()),
            "restart" => {
                let mut heir = self.born();
                heir.adopt_table(&self.maps);
                self.machine = Some(heir);
                self.under_way.clear();
            }
            "reload" => {
                let (settings, now) = (self.settings.clone(), self.now);
                if let Err(error) = self.machine().handle_settings(settings, now) {
                    self.tell(&format!("refused: {error}"));
                }
            }
            "adopt" => {
                let (addr, id, epoch, state) = line.known();
                self.machine().adopt(&[(addr, BackendId(id), epoch, state)]);
            }
            "server" => self.set_server(line),
            "evidence" => {
                let (addr, kind) = line.evidence();
                let (BackendId(backend), epoch) = self.id_of(addr);
                let now = self.now;
                self.machine().handle_evidence(EvidenceFact { backend, epoch, kind }, now);
            }
            "network" => {
                let now = self.now;
                self.machine().handle_network_change(now);
            }
            "run" => self.run(duration(line.words[1])),
            "status" => self.status(),
            "dump" => self.out += &self.maps.to_string(),
            other => panic!("no event: {other}"),
        }
    }

    fn born(&self) -> Machine {
        Machine::new(self.settings.clone(), 1, self.now).expect("good settings")
    }

    fn machine(&mut self) -> &mut Machine {
        self.machine.as_mut().expect("started")
    }

    fn set_server(&mut self, line: &Line<'_>) {
        let server = line.server();
        let endpoints = self.settings.pools.iter().flat_map(|pool| pool.endpoints.iter().copied());
        let addresses = match line.words[1] {
            "*" => endpoints.collect(),
            one => vec![address(one)],
        };
        for addr in addresses {
            if let Some(names) = server.names.clone() {
                let facts = CertificateFacts {
                    names,
                    not_before: 0,
                    not_after: server.expires,
                    chain_not_after: None,
                    issuer: String::from("kubernetes"),
                    subject: String::from("kube-apiserver"),
                };
                self.certificates.insert(addr, Arc::new(facts));
            }
            self.servers.insert(addr, server.clone());
        }
    }

    /// Lets time pass, from one thing that is due to the next.
    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let ends = self.under_way.keys().next().map(|(at, _)| *at);
            let due = self.machine().poll_timeout();
            let next = ends.into_iter().chain(due).min().filter(|next| *next <= end);
            let Some(next) = next else { break };
            self.now = next.max(self.now);
            let now = self.now;
            while let Some(entry) = self.under_way.first_entry().filter(|e| e.key().0 <= now) {
                let (id, epoch, report) = entry.remove();
                self.machine().handle_probe(id, epoch, report, now);
                self.obey();
            }
            self.machine().handle_timeout(now);
            self.obey();
        }
        self.now = end;
    }

    /// Carries out the commands.
    fn obey(&mut self) {
        let Some(mut machine) = self.machine.take() else {
            return;
        };
        while let Some(command) = machine.next_command() {
            match command {
                Command::Apply => {
                    for change in diff(&self.maps, machine.table()) {
                        self.maps.apply(&change);
                        self.tell(&format!("  {change}"));
                    }
                }
                Command::Transition { addr, from, to, reason, .. } => {
                    self.tell(&format!("{addr} {} -> {}: {reason}", from.label(), to.label()));
                }
                Command::Open { .. }
                | Command::Ping { .. }
                | Command::Inspect { .. }
                | Command::Ask { .. }
                | Command::Close { .. } => {}
                Command::Probe { id, epoch, addr, pool, .. } => {
                    assert!(self.settings.pools[pool].endpoints.contains(&addr));
                    self.probe(id, epoch, addr);
                }
            }
        }
        self.machine = Some(machine);
    }

    fn probe(&mut self, id: BackendId, epoch: u32, addr: SocketAddr) {
        if self.tell_probes {
            self.tell(&format!("probe {addr}"));
        }
        let server = self.servers.get(&addr).expect("a server at the address");
        let ends = self.now + server.takes;
        let shown = matches!(server.outcome, Outcome::Ready | Outcome::Unauthorized)
            || matches!(server.outcome, Outcome::NotReady { .. } | Outcome::Slow);
        let report = ProbeReport {
            outcome: server.outcome.clone(),
            rtt: None,
            latency: server.takes,
            certificate: self.certificates.get(&addr).filter(|_| shown).cloned(),
            unix_time: i64::try_from(ends.duration_since(self.start).as_secs()).expect("short"),
        };
        self.probes += 1;
        self.under_way.insert((ends, self.probes), (id, epoch, report));
    }

    fn id_of(&mut self, addr: SocketAddr) -> (BackendId, u32) {
        let view = self.machine().view();
        let mut backends = view.pools.iter().flat_map(|pool| &pool.backends);
        let backend = backends.find(|backend| backend.addr == addr).expect("a backend");
        (backend.id, backend.epoch)
    }

    fn status(&mut self) {
        let view = self.machine().view();
        for backend in view.pools.iter().flat_map(|pool| &pool.backends) {
            let state = backend.state.label();
            self.tell(&format!("{} is {state}: {}", backend.addr, backend.reason));
        }
        for front in &view.frontends {
            for backend in &front.backends {
                let (name, address) = (&front.name, front.addresses[0]);
                let text = format!("{name} {address} by {}: {}", backend.addr, backend.eligibility);
                self.tell(&text);
            }
        }
    }

    fn tell(&mut self, text: &str) {
        let at = self.now.duration_since(self.start).as_secs_f64();
        writeln!(self.out, "{at:.3} {text}").expect("a string takes all");
    }
}
