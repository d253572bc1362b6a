//! One node: the product's own machine, what the kernel would hold, and the clients.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fastrand::Rng;
use nllb_common::maps::{NO_BACKEND, PoolSet, Verdict};
use nllb_common::pick::{Reach, Request, View, pick};
use nllb_common::{EventKind, maps::Policy};
use nllb_core::{
    BackendId, Coverage, EvidenceFact, FrontendSettings, Machine, PoolSettings, RebalanceSettings,
    Settings, TableError,
};

use super::timeline::{MS, Time};

/// Nobody: a client that has no connection.
pub(super) const NOBODY: u8 = u8::MAX;

/// How long the kernel suspects a backend after a reset, see `nllb-ebpf/src/sockops.rs`.
const SUSPECT_RESET: Time = 100 * MS;
/// And after silence; it doubles with each in a row.
const SUSPECT_SILENCE: Time = 250 * MS;
/// The longest it suspects one.
const SUSPECT_LONGEST: Time = 5000 * MS;

/// A node.
pub(super) struct Node {
    pub(super) machine: Machine,
    pub(super) rng: Rng,
    /// When the machine wants to be woken; what was planned for another time is void.
    pub(super) wake: Option<Time>,
    pub(super) links: Vec<Link>,
    /// Its clients' long-lived connections.
    pub(super) clients: Vec<Client>,
    /// How many of them each backend has.
    pub(super) active: Vec<u64>,
    suspicions: Vec<Suspicion>,
}

/// A node and one server.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Link {
    /// The shortest round trip.
    pub(super) rtt: Time,
    /// The number of the last probe: the report of an earlier one comes to nothing.
    pub(super) probe: u32,
    /// The number of the last sentinel.
    pub(super) sentinel: u32,
    /// Whether it is open, and to which process of the server.
    pub(super) open: Option<usize>,
}

/// A client with one long-lived connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client {
    pub(super) backend: u8,
    /// The number of the connection.
    pub(super) serial: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Suspicion {
    until: Time,
    streak: u32,
}

/// The settings of every node of a run.
pub(super) fn settings(backends: usize, rebalance: bool) -> Settings {
    let endpoints = (1..).take(backends).map(|last| SocketAddr::from(([10, 0, 0, last], 6443)));
    Settings {
        pools: vec![PoolSettings {
            name: String::from("apiserver"),
            endpoints: endpoints.collect(),
            rebalance: rebalance.then(RebalanceSettings::default),
            ..PoolSettings::default()
        }],
        frontends: vec![FrontendSettings {
            name: String::from("kubernetes"),
            addresses: vec![SocketAddr::from(([10, 96, 0, 1], 443))],
            pool: String::from("apiserver"),
            coverage: Coverage::Trusted,
            ..FrontendSettings::default()
        }],
        ..Settings::default()
    }
}

impl Node {
    pub(super) fn new(settings: Settings, mut rng: Rng, now: Instant) -> Result<Self, TableError> {
        let backends = settings.pools.iter().map(|pool| pool.endpoints.len()).sum();
        // A round trip in one data centre.
        let mut link = || Link { rtt: rng.u64(200_000..800_000), ..Link::default() };
        let links = (0..backends).map(|_| link()).collect();
        // Kubelet and proxy, and the agents, controllers and pods of an ordinary node.
        let clients = vec![Client { backend: NOBODY, serial: 0 }; rng.usize(4..=12)];
        Ok(Self {
            machine: Machine::new(settings, rng.u32(..), now)?,
            rng,
            wake: None,
            links,
            clients,
            active: vec![0; backends],
            suspicions: vec![Suspicion::default(); backends],
        })
    }

    /// The backend that the kernel would choose for a new connection.
    pub(super) fn pick(&mut self, now: Time) -> Option<usize> {
        let request = Request {
            now_ns: now,
            lease_valid: true,
            reach: Reach::V4_ONLY,
            seed: self.rng.u32(..),
            zero: 0,
            policy: Policy::Random as u32,
            pool: 0,
            preferred: NO_BACKEND,
        };
        let set: &PoolSet = self.machine.table().pools.values().next()?;
        let choice = pick(set, &Kernel(self), &request)?;
        Some(choice.slot.backend as usize)
    }

    /// A connect ended well.
    pub(super) fn trust(&mut self, backend: usize) {
        self.suspicions[backend] = Suspicion::default();
    }

    /// A connect failed: the kernel suspects the backend, and tells the agent.
    pub(super) fn suspect(&mut self, backend: usize, silent: bool, now: Time, at: Instant) {
        let suspicion = &mut self.suspicions[backend];
        let long = (SUSPECT_SILENCE << suspicion.streak.min(8)).min(SUSPECT_LONGEST);
        suspicion.until = now + if silent { long } else { SUSPECT_RESET };
        suspicion.streak += 1;
        let id = u32::try_from(backend).unwrap_or(NO_BACKEND);
        let kind = if silent { EventKind::SynSilence } else { EventKind::ConnectReset };
        let epoch = self.epoch(id);
        self.machine.handle_evidence(EvidenceFact { backend: id, epoch, kind }, at);
    }

    pub(super) fn epoch(&self, backend: u32) -> u32 {
        self.machine.table().verdicts.get(&backend).map_or(0, |verdict| verdict.epoch())
    }

    /// The kernel's counts, as the agent reads them.
    pub(super) fn report_connections(&mut self, at: Instant) {
        let active = (0..).map(BackendId).zip(self.active.iter().copied()).collect();
        self.machine.handle_connections(&active, at);
    }

    /// A round trip to a server: now and then one waits in a queue.
    pub(super) fn round_trip(&mut self, server: usize) -> Time {
        let queue = if self.rng.u8(..) == 0 { self.rng.u64(..5 * MS) } else { 0 };
        self.links[server].rtt + self.rng.u64(..MS / 5) + queue
    }
}

/// What the kernel program would read.
struct Kernel<'a>(&'a Node);

impl View for Kernel<'_> {
    fn verdict(&self, backend: u32) -> Verdict {
        let verdict = self.0.machine.table().verdicts.get(&backend);
        verdict.copied().unwrap_or(Verdict::from_word(0))
    }

    fn suspect_until_ns(&self, backend: u32, _epoch: u32) -> u64 {
        self.0.suspicions.get(backend as usize).map_or(0, |suspicion| suspicion.until)
    }

    fn active(&self, backend: u32, _epoch: u32) -> u64 {
        self.0.active.get(backend as usize).copied().unwrap_or(0)
    }

    fn last_answer_ns(&self, _backend: u32, _epoch: u32) -> u64 {
        0
    }

    fn turn_ns(&self, _pool: u32, _slot: u32) -> u64 {
        0
    }
}

/// A duration of virtual time.
pub(super) const fn duration(time: Time) -> Duration {
    Duration::from_nanos(time)
}
