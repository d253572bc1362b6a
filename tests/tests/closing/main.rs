//! Ends the sockets of one backend, in every network namespace, and no others.

mod agent;
mod exact;
mod namespaces;
mod spread;
mod stuck;
mod timeouts;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use nllb_agent::datapath::closing::{CloseSockets, Closed, Closer, Closing, Order};
use nllb_lab::lab::{Builder, ControlPlane};
use nllb_lab::{Agent, Ask, Client, Configuration, Connect, Lab, capability, netns};

/// A node with what a closer needs to know of it.
struct Node {
    lab: Lab,
    agent: Agent,
    backends: Vec<(SocketAddr, Order)>,
}

impl Node {
    /// The agent sets up the data path and is then killed, so that it neither ends nor opens anything.
    fn start(builder: Builder, endpoints: fn(&ControlPlane) -> SocketAddr) -> Option<Self> {
        let lab = builder.build_or_skip()?;
        let endpoints = lab.control_planes().iter().map(endpoints).collect();
        let configuration = Configuration { endpoints, ..Configuration::of(&lab) };
        let mut agent = Agent::start(&lab, &configuration).expect("an agent");
        let status = agent.status().expect("a status");
        let order = |backend: &nllb_agent::status::Backend| Order {
            backend: backend.id,
            epoch: backend.epoch,
            address: backend.address,
            kept: true,
            waiting: None,
            datagrams: true,
            count: None,
            spread: Duration::ZERO,
        };
        let backends = status.backends().map(|(_, it)| (it.address, order(it))).collect();
        agent.kill().expect("killed");
        Some(Self { lab, agent, backends })
    }

    /// To end all sockets of a server's backend at once.
    fn order(&self, address: SocketAddr) -> Order {
        let mut backends = self.backends.iter();
        backends.find(|(known, _)| *known == address).expect("a backend").1
    }

    /// Carries out an order as an agent on the node would.
    fn close(&self, order: Order) -> Closed {
        self.with_closer(|closer| run(closer.close(order)))
    }

    /// The same with these capabilities only.
    fn close_with(&self, capabilities: &[u32], order: Order) -> Closed {
        let pins = self.agent.pins();
        let work = || {
            capability::keep(capabilities).expect("the others are given up");
            run(Closer::start(&pins, CloseSockets::Auto).close(order))
        };
        netns::run_in(self.lab.node(0).netns(), work).expect("a namespace")
    }

    /// Works with a closer on a thread on the node, like the agent's.
    fn with_closer<T: Send>(&self, work: impl FnOnce(&Closer) -> T + Send) -> T {
        let pins = self.agent.pins();
        let work = || {
            let closer = Closer::start(&pins, CloseSockets::Auto);
            assert_eq!(closer.closing(), Closing::SockDiag);
            work(&closer)
        };
        netns::run_in(self.lab.node(0).netns(), work).expect("a namespace")
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime").block_on(future)
}

/// A connection through the VIP that is kept.
fn vip(address: impl Into<IpAddr>) -> Connect {
    Connect { ask: Ask::Echo, keep: true, ..Connect::to((address.into(), 443).into()) }
}

/// Connects and says where it went.
fn open(client: &Client, connect: &Connect) -> (u64, SocketAddr) {
    let outcome = client.connect(connect).expect("an outcome");
    assert!(outcome.ok, "{outcome:?}");
    let peer = outcome.peer.expect("a peer");
    (outcome.handle.expect("a handle"), SocketAddr::new(peer.ip().to_canonical(), peer.port()))
}

/// Whether a kept connection still carries data.
fn lives(client: &Client, handle: u64) -> bool {
    client.echo(handle, Duration::from_secs(30)).expect("an answer")
}

/// Asserts that a connection was ended by us: no server and no network does it like that.
fn assert_ended(client: &Client, handle: u64) {
    let inspection = client.inspect(handle).expect("an inspection");
    assert_eq!(inspection.error.as_deref(), Some("ECONNABORTED"), "{inspection:?}");
}
