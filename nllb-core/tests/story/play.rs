//! Plays a story: virtual time, servers that answer as told, and a driver that obeys at once.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nllb_core::{
    BackendId, CloseCause, CloseOrder, Command, EvidenceFact, Machine, Settings, Table, TcpState,
    Via, diff,
};

use crate::network::{Network, News, Who, ending};
use crate::script::{Line, address, duration};

/// Plays the events and returns what came of them.
pub(crate) fn play(name: &str, events: &str) -> String {
    let mut play = Play::new();
    for line in Line::all(events) {
        // What an agent takes over it takes over before it writes anything.
        if !matches!(line.words[0], "adopt" | "known") {
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
    network: Network,
    tell_probes: bool,
    tell_pings: bool,
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
            network: Network::default(),
            tell_probes: false,
            tell_pings: false,
            out: String::new(),
        }
    }

    fn event(&mut self, line: &Line<'_>) {
        match line.words[0] {
            "pool" => return self.settings.pools.push(line.pool()),
            "standing" => {
                let (addr, standing) = line.standing();
                let pool = self.settings.pools.last_mut().expect("a pool");
                pool.latency_bands = false;
                pool.standings.insert(addr, standing);
                return;
            }
            "frontend" => {
                let pool = self.settings.pools.first().map_or("", |pool| &pool.name);
                let frontend = line.frontend(pool);
                return self.settings.frontends.push(frontend);
            }
            "forget" => return self.settings = Settings::default(),
            "probes" => return self.tell_probes = true,
            "pings" => return self.tell_pings = true,
            "quiet" => return (self.tell_probes, self.tell_pings) = (false, false),
            _ => writeln!(self.out, "> {}", line.text).expect("a string takes all"),
        }
        match line.words[0] {
            "start" => self.machine = Some(self.born()),
            "restart" => {
                let mut heir = self.born();
                heir.adopt_table(&self.maps);
                self.machine = Some(heir);
                self.network.forget();
            }
            "reload" => {
                let (settings, now) = (self.settings.clone(), self.now);
                if let Err(error) = self.machine().handle_settings(settings, now) {
                    self.tell(&format!("refused: {error}"));
                }
            }
            "members" => {
                let (settings, now) = (self.settings.clone(), self.now);
                if let Err(error) = self.machine().handle_members(settings, now) {
                    self.tell(&format!("refused: {error}"));
                }
            }
            "hint" => {
                let (hosts, now) = ([address(line.words[1]).ip()].into(), self.now);
                self.machine().handle_hints(&hosts, now);
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
            "sentinel" => {
                let (id, epoch) = self.id_of(address(line.words[1]));
                let now = self.now;
                self.network.ended(address(line.words[1]));
                self.machine().handle_sentinel(id, epoch, ending(line), now);
            }
            "known" => {
                let now = self.now;
                self.machine().handle_known(&[line.remembered()], now);
            }
            "drain" | "undrain" | "drill" => {
                let ((addr, drain), now) = (line.drain(), self.now);
                if let Err(error) = self.machine().handle_drain(addr, drain, now) {
                    self.tell(&format!("refused: {error}"));
                }
            }
            "own" => {
                let own = [address(line.words[1]).ip()].into();
                self.machine().handle_own_addresses(own);
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
            self.network.set(addr, &server, self.now);
        }
    }

    /// Lets time pass, from one thing that is due to the next.
    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let ends = self.network.next();
            let due = self.machine().poll_timeout();
            let next = ends.into_iter().chain(due).min().filter(|next| *next <= end);
            let Some(next) = next else { break };
            self.now = next.max(self.now);
            let now = self.now;
            while let Some((who, news)) = self.network.pop(now) {
                self.hear(who, news);
                self.obey();
            }
            self.machine().handle_timeout(now);
            self.obey();
        }
        self.now = end;
    }

    fn hear(&mut self, (id, epoch): Who, news: News) {
        let now = self.now;
        match news {
            News::Probe(report) => self.machine().handle_probe(id, epoch, report, now),
            News::Sentinel(fact) => self.machine().handle_sentinel(id, epoch, fact, now),
            News::Answer(answer) => self.machine().handle_answer(id, epoch, answer, now),
        }
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
                Command::DrillOver { addr, how, end, lasted } => {
                    let (how, end) = (how.label(), end.label());
                    self.tell(&format!("drill ({how}) of {addr} is over after {lasted:?}: {end}"));
                }
                Command::Transition { addr, from, to, reason, first_sign, .. } => {
                    let after = first_sign.map(|sign| self.now.saturating_duration_since(sign));
                    let after = after.map_or_else(String::new, |after| {
                        format!(" ({} ms after the first sign)", after.as_millis())
                    });
                    let (from, to) = (from.label(), to.label());
                    self.tell(&format!("{addr} {from} -> {to}: {reason}{after}"));
                }
                Command::Close { addr, order, .. } => {
                    let CloseOrder { cause, reason, count, spread } = order;
                    let count = match (cause, count) {
                        (CloseCause::Waiting, _) => "connects".to_owned(),
                        (_, Some(count)) => count.to_string(),
                        (_, None) => "all".to_owned(),
                    };
                    let cause = cause.label();
                    let waves =
                        if spread.is_zero() { String::new() } else { format!(" over {spread:?}") };
                    self.tell(&format!("close {count} of {addr}{waves}, {cause}: {reason}"));
                }
                Command::Probe { id, epoch, addr, pool, connect_timeout, via } => {
                    assert!(self.settings.pools[pool].endpoints.contains(&addr));
                    if self.tell_probes {
                        let kept = if via == Via::Sentinel { " over the sentinel" } else { "" };
                        self.tell(&format!("probe {addr}{kept}"));
                    }
                    let (how, when) = ((via, connect_timeout), (self.start, self.now));
                    self.network.probe((id, epoch), addr, how, when);
                }
                Command::Open { id, epoch, addr, .. } => {
                    self.tell_ping(&format!("open {addr}"));
                    self.network.open((id, epoch), addr, self.start, self.now);
                }
                Command::Ping { id, epoch } => {
                    let addr = addr_of(&machine, id);
                    self.tell_ping(&format!("ping {addr}"));
                    self.network.ping((id, epoch), addr, self.now);
                }
                Command::Inspect { id, epoch } => {
                    let addr = addr_of(&machine, id);
                    let acknowledged = match self.network.inspect((id, epoch), addr, self.now) {
                        TcpState::Acknowledged => "acknowledged",
                        TcpState::Silent => "not acknowledged",
                    };
                    self.tell_ping(&format!("overdue {addr}, {acknowledged}"));
                }
                Command::Ask { id, epoch, question, .. } => {
                    let addr = addr_of(&machine, id);
                    self.network.ask((id, epoch), addr, question, self.now);
                }
            }
        }
        self.machine = Some(machine);
    }

    fn tell_ping(&mut self, text: &str) {
        if self.tell_pings {
            self.tell(text);
        }
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
            let doubt = backend.doubt.map(|doubt| format!(", doubted: {doubt}"));
            let doubt = doubt.unwrap_or_default();
            self.tell(&format!("{} is {state}: {}{doubt}", backend.addr, backend.reason));
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

fn addr_of(machine: &Machine, id: BackendId) -> SocketAddr {
    let view = machine.view();
    let mut backends = view.pools.iter().flat_map(|pool| &pool.backends);
    backends.find(|backend| backend.id == id).expect("a backend").addr
}
