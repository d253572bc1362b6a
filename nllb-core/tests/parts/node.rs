//! A machine with three backends whose probes are answered one by one as a test says.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nllb_core::{
    Command, Coverage, FrontendSettings, HealthSettings, KubeVersion, Machine, Outcome,
    PoolSettings, ProbeReport, Settings,
};

pub(crate) struct Node {
    pub(crate) machine: Machine,
    pub(crate) settings: Settings,
    pub(crate) now: Instant,
    /// Commands that are neither probes nor about the maps.
    pub(crate) commands: Vec<Command>,
    /// What a handshake with each backend takes.
    pub(crate) rtt: [Duration; 3],
}

impl Node {
    /// All three are ready.
    pub(crate) fn new(
        frontend: FrontendSettings,
        pool: &PoolSettings,
        kubelet: Option<&str>,
    ) -> Self {
        let endpoints: Vec<SocketAddr> =
            (1..=3).map(|last| SocketAddr::from(([10, 0, 0, last], 6443))).collect();
        let health = HealthSettings { sentinel: false, ..HealthSettings::default() };
        let settings = Settings {
            pools: vec![PoolSettings { name: "api".into(), endpoints, health, ..pool.clone() }],
            frontends: vec![FrontendSettings {
                name: "vip".into(),
                addresses: vec![SocketAddr::from(([10, 96, 0, 1], 443))],
                pool: "api".into(),
                coverage: Coverage::Trusted,
                ..frontend
            }],
            kubelet_version: kubelet.map(version),
        };
        let now = Instant::now();
        let machine = Machine::new(settings.clone(), 1, now).expect("settings");
        let rtt = [Duration::from_millis(1); 3];
        let mut node = Self { machine, settings, now, commands: Vec::new(), rtt };
        (0..3).for_each(|id| node.probe(id, &Outcome::Ready));
        node
    }

    /// Lets time pass until a probe of this backend has ended like this; all others are ready.
    pub(crate) fn probe(&mut self, id: u32, outcome: &Outcome) {
        for _ in 0..500 {
            self.now = self.machine.poll_timeout().expect("probes are due").max(self.now);
            self.machine.handle_timeout(self.now);
            if self.answer(id, outcome) {
                return;
            }
        }
        panic!("no probe of backend {id} came up");
    }

    /// Lets time pass; whoever is probed is ready.
    pub(crate) fn wait(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(due) = self.machine.poll_timeout().filter(|due| *due <= end) {
            self.now = due.max(self.now);
            self.machine.handle_timeout(self.now);
            self.answer(0, &Outcome::Ready);
        }
        self.now = end;
    }

    /// Answers the probes that are wanted; true when one of them was of this backend.
    fn answer(&mut self, id: u32, outcome: &Outcome) -> bool {
        let mut done = false;
        while let Some(command) = self.machine.next_command() {
            let Command::Probe { id: of, epoch, .. } = command else {
                self.commands.push(command);
                continue;
            };
            let outcome = if of.0 == id { outcome.clone() } else { Outcome::Ready };
            done |= of.0 == id;
            let report = ProbeReport {
                outcome,
                rtt: self.rtt.get(of.0 as usize).copied(),
                latency: Duration::from_millis(3),
                certificate: None,
                unix_time: 50,
            };
            self.machine.handle_probe(of, epoch, report, self.now);
        }
        done
    }
}

pub(crate) fn version(text: &str) -> KubeVersion {
    text.parse().expect("a version")
}
