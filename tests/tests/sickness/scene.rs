//! A node with clients in three network namespaces: the node's own, and two pods'.

use std::net::SocketAddr;
use std::time::Duration;

use nllb_agent::status::{Backend, Status};
use nllb_lab::agent::backend;
use nllb_lab::client::protocol::{Held, LoopReport};
use nllb_lab::lab::{Builder, ControlPlane, VIP_V4};
use nllb_lab::wait::wait_until;
use nllb_lab::{
    Agent, Ask, Client, Configuration, Connect, ConnectLoop, Lab, Traffic, TrafficReport,
};

pub(crate) const MS: fn(u64) -> Duration = Duration::from_millis;

pub(crate) struct Scene {
    clients: Vec<Running>,
    pub(crate) agent: Agent,
    pub(crate) lab: Lab,
}

/// A client that connects through the VIP, and straight to a server.
struct Running {
    client: Client,
    through: u64,
    straight: Option<u64>,
}

/// What all clients of a kind saw.
pub(crate) struct Seen(Vec<TrafficReport>);

impl Scene {
    /// Three servers, and clients that hold a connection of each purpose with each of them.
    pub(crate) fn start(
        tune: impl FnOnce(Configuration) -> Configuration,
        connects: bool,
    ) -> Option<Self> {
        Self::of(Lab::builder(), tune, connects)
    }

    /// The same of any servers.
    pub(crate) fn of(
        builder: Builder,
        tune: impl FnOnce(Configuration) -> Configuration,
        connects: bool,
    ) -> Option<Self> {
        let lab = builder.pods(2).build_or_skip()?;
        let mut configuration = tune(Configuration::of(&lab));
        // On a machine that does much else a server may seem to be far away.
        configuration.pool.push("latencyBands: false".to_owned());
        let mut agent = Agent::start(&lab, &configuration).expect("an agent");
        let well = |b: &Backend| b.state == "healthy" && b.sentinel.state == "up";
        let settled = |status: &Status| status.backends().all(|(_, backend)| well(backend));
        agent.await_status("every sentinel up", settled).expect("settled");
        // A few hundred in a second: labs run side by side.
        let a_loop = ConnectLoop { interval: MS(5), patience: MS(1_000), ..ConnectLoop::in_turn() };
        let loops = if connects { vec![a_loop] } else { Vec::new() };
        let plan = Traffic { loops, request_interval: MS(20), ..lab.traffic() };
        let clients = [lab.client(0), lab.pod_client(0, 0), lab.pod_client(0, 1)];
        let start = |client: Client| {
            let through = client.traffic(&plan).expect("traffic");
            client.traffic_hold(through, &names(lab.control_planes())).expect("connections");
            Running { client, through, straight: None }
        };
        let clients = clients.into_iter().map(|client| start(client.expect("a client"))).collect();
        Some(Self { clients, agent, lab })
    }

    pub(crate) fn server(&self, index: usize) -> &ControlPlane {
        self.lab.control_plane(index)
    }

    /// Lets every client dial a server by its own address, too, and hold what comes of it.
    pub(crate) fn dial_straight(&mut self, server: usize) {
        let server = self.lab.control_plane(server);
        let plan = Traffic { frontend: server.tls(), ..self.lab.traffic() };
        for running in &mut self.clients {
            let straight = running.client.traffic(&plan).expect("traffic");
            let held = running.client.traffic_hold(straight, &[server.name().to_owned()]);
            held.expect("connections");
            running.straight = Some(straight);
        }
    }

    /// Has every client open a connection to a server through the VIP, on which nothing is said.
    pub(crate) fn open_to(&self, server: usize) -> Vec<(&Client, u64)> {
        let wanted = self.server(server).v4();
        let vip = Connect { ask: Ask::Echo, keep: true, ..Connect::to((VIP_V4, 443).into()) };
        let open = |client: &Client| {
            loop {
                let outcome = client.connect(&vip).expect("an outcome");
                let handle = outcome.handle.expect("a handle");
                if outcome.peer.is_some_and(|peer| peer.ip().to_canonical() == wanted) {
                    return handle;
                }
                client.close(handle).expect("closed");
            }
        };
        self.clients.iter().map(|running| (&running.client, open(&running.client))).collect()
    }

    /// What the clients of the VIP saw since they were last asked.
    pub(crate) fn seen(&self) -> Seen {
        let mark = |running: &Running| running.client.traffic_mark(running.through);
        Seen(self.clients.iter().map(|running| mark(running).expect("a report")).collect())
    }

    /// What the clients saw that dial straight.
    pub(crate) fn seen_straight(&self) -> Seen {
        let mark = |running: &Running| running.client.traffic_mark(running.straight?).ok();
        Seen(self.clients.iter().filter_map(mark).collect())
    }

    /// Waits until this host has closed so many connections with servers that may be closed; gives
    /// all that was seen meanwhile. Nothing else may be closed by this host.
    pub(crate) fn await_closed(&self, servers: &[usize], count: usize) -> Seen {
        let names: Vec<_> = servers.iter().map(|index| self.server(*index).name()).collect();
        let mut all = Seen(Vec::new());
        let closed = wait_until("the connections to be closed", || {
            all.0.extend(self.seen().0);
            let closed = all.closed();
            for held in &closed {
                assert!(names.contains(&held.server.as_str()), "{held:?} is closed");
            }
            Ok((closed.len() >= count).then_some(closed.len()))
        });
        let open = || all.held().into_iter().filter(|held| names.contains(&held.server.as_str()));
        let closed = closed.unwrap_or_else(|error| {
            panic!("{error:#}\n{:?}\n{}", open().collect::<Vec<_>>(), self.agent.log())
        });
        assert_eq!(closed, count, "and no more: {:?}", all.closed());
        all
    }

    /// Waits until every client has connected so often, from now on; gives what they saw.
    pub(crate) fn await_connects(&self, count: u64) -> Seen {
        self.seen();
        let mut all = Seen(Vec::new());
        let mut done = vec![0; self.clients.len()];
        wait_until("connects", || {
            let seen = self.seen();
            for (done, report) in done.iter_mut().zip(&seen.0) {
                let loops = report.loops.iter();
                *done += loops.map(|l| l.attempts - l.failed).sum::<u64>();
            }
            all.0.extend(seen.0);
            Ok((done.iter().min() >= Some(&count)).then_some(()))
        })
        .expect("connects");
        all
    }

    /// New connects go elsewhere, without a failure.
    pub(crate) fn connects_leave(&self, server: usize) {
        let seen = self.await_connects(100);
        assert_eq!(seen.failed(), 0, "{:?}", seen.0);
        assert_eq!(seen.connects_to(self.server(server)), 0, "{:?}", seen.0);
    }

    /// Waits until the verdict on a server is healthy again and it gets connections.
    pub(crate) fn await_return(&mut self, server: usize) {
        let address = self.address(server);
        self.agent.await_state(address, "healthy").expect("readmitted");
        wait_until("a connect to it", || {
            Ok((self.seen().connects_to(self.server(server)) > 0).then_some(()))
        })
        .expect("used again");
    }

    pub(crate) fn await_state(&mut self, server: usize, state: &str) -> Status {
        let address = self.address(server);
        self.agent.await_state(address, state).expect("a verdict")
    }

    pub(crate) fn address(&self, server: usize) -> SocketAddr {
        self.server(server).tls()
    }

    /// How many connections the agent says that it closed, by cause.
    pub(crate) fn closed(&self, server: usize, cause: &str) -> u64 {
        let status = self.agent.status().expect("a status");
        let backend = backend(&status, self.address(server)).expect("a backend");
        backend.closed.get(cause).copied().unwrap_or(0)
    }
}

impl Seen {
    pub(crate) fn held(&self) -> Vec<&Held> {
        self.0.iter().flat_map(|report| &report.held).collect()
    }

    /// Connections that this host closed, each once.
    pub(crate) fn closed(&self) -> Vec<&Held> {
        let mut closed: Vec<&Held> = Vec::new();
        for held in self.held().into_iter().filter(|held| held.closed_by_this_host()) {
            // One without a successor is told of again.
            let known =
                |other: &&Held| (other.opened_ns, &other.end) == (held.opened_ns, &held.end);
            if !closed.iter().any(known) {
                closed.push(held);
            }
        }
        closed
    }

    /// Nothing was closed by this host.
    pub(crate) fn assert_nothing_closed(&self) {
        assert!(self.closed().is_empty(), "{:?}", self.closed());
    }

    pub(crate) fn failed(&self) -> u64 {
        self.loops().map(|l| l.failed).sum()
    }

    pub(crate) fn connects_to(&self, server: &ControlPlane) -> u64 {
        let seen = self.loops().filter_map(|l| l.servers.get(server.name()));
        seen.map(|seen| seen.count).sum()
    }

    fn loops(&self) -> impl Iterator<Item = &LoopReport> {
        self.0.iter().flat_map(|report| &report.loops)
    }
}

fn names(servers: &[ControlPlane]) -> Vec<String> {
    servers.iter().map(|server| server.name().to_owned()).collect()
}

/// As an agent is by default, but for a backoff that no test waits for.
pub(crate) fn default(configuration: Configuration) -> Configuration {
    configuration
}
