//! Datagrams through a VIP: answers come from where questions went, dead servers are left, and nothing else is
//! touched.

mod beside;
mod death;
mod flood;
mod life;
mod translate;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nllb_agent::status::{Link, Status};
use nllb_lab::client::protocol::{DatagramOp, DatagramSocket, UdpOutcome};
use nllb_lab::lab::{Builder, ControlPlane, VIP_V4, VIP_V6};
use nllb_lab::{Agent, Client, Configuration, Lab, Place};

/// Where the servers answer datagrams.
const PORT: u16 = 5353;
/// Where clients ask.
const DIALLED: u16 = 53;
/// What the agent has for datagrams.
const HOOKS: [&str; 8] = [
    "getpeername4",
    "getpeername6",
    "recvmsg4",
    "recvmsg6",
    "sendmsg4",
    "sendmsg6",
    "udp_connect4",
    "udp_connect6",
];
/// For an answer that comes.
const LONG: Duration = Duration::from_secs(20);
/// For one that does not.
const SHORT: Duration = Duration::from_millis(300);

/// A lab whose control-plane hosts answer datagrams with their names, and an agent that knows them.
struct Scene {
    lab: Lab,
    agent: Agent,
    configuration: Configuration,
    /// The servers' processes.
    _servers: Vec<Client>,
}

impl Scene {
    fn start(builder: Builder) -> Option<Self> {
        let lab = builder.build_or_skip()?;
        let servers = lab.control_planes().iter().map(server).collect();
        let configuration = configuration(&lab);
        let agent = Agent::start(&lab, &configuration).expect("an agent");
        let mut scene = Self { lab, agent, configuration, _servers: servers };
        scene.await_healthy();
        Some(scene)
    }

    fn await_healthy(&mut self) {
        let healthy = self.agent.await_status("healthy servers", |status| {
            let pool = status.pools.iter().find(|pool| pool.name == "dns");
            pool.is_some_and(|pool| pool.backends.iter().all(|it| it.state == "healthy"))
        });
        healthy.expect("all servers are healthy");
    }

    fn host(&self) -> Client {
        self.lab.client(0).expect("a client")
    }

    fn pod(&self, pod: usize) -> Client {
        self.lab.pod_client(0, pod).expect("a client")
    }

    /// Whether this is the name of a server.
    fn is_server(&self, name: &str) -> bool {
        self.lab.control_planes().iter().any(|plane| plane.name() == name)
    }
}

/// A process that answers by both families.
fn server(plane: &ControlPlane) -> Client {
    let client = Client::start(&Place::in_netns(plane.netns())).expect("a process");
    for address in addresses(plane) {
        client.listen_udp(address, plane.name()).expect("a listener");
    }
    client
}

fn addresses(plane: &ControlPlane) -> [SocketAddr; 2] {
    [plane.at(PORT), (plane.v6(), PORT).into()]
}

/// Servers that are probed at another port than they answer at: probes are of connections.
fn configuration(lab: &Lab) -> Configuration {
    let endpoints: Vec<_> = lab.control_planes().iter().flat_map(addresses).collect();
    let quoted: Vec<_> = endpoints.iter().map(|it| format!("\"{it}\"")).collect();
    let mut configuration = Configuration::of(lab).quick();
    configuration.frontends.push(format!(
        "{{ name: dns, kind: vip, protocol: udp, pool: dns, addresses: [\"{}\", \"{}\"] }}",
        vip_v4(),
        vip_v6()
    ));
    configuration.pools.push(format!(
        "{{ name: dns, profile: custom, endpoints: [{}], drain: {{ closeAfter: 1s }}, probe: {{ kind: tcp, port: 6443, \
         interval: 200ms, confirmInterval: 50ms, maxBackoff: 400ms, timeout: 1s }} }}",
        quoted.join(", ")
    ));
    configuration
}

fn vip_v4() -> SocketAddr {
    (VIP_V4, DIALLED).into()
}

fn vip_v6() -> SocketAddr {
    (VIP_V6, DIALLED).into()
}

/// The same address as a v6 socket names it.
fn mapped(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) => (v4.ip().to_ipv6_mapped(), v4.port()).into(),
        SocketAddr::V6(_) => address,
    }
}

/// Which programs for datagrams a status has, in order.
fn hooks(status: &Status) -> Vec<&str> {
    let links = status.datapath.links.iter().map(|Link { hook, .. }| hook.as_str());
    let mut hooks: Vec<_> = links.filter(|hook| HOOKS.contains(hook)).collect();
    hooks.sort_unstable();
    hooks
}

/// A datagram socket of a client's.
struct Socket<'a> {
    client: &'a Client,
    handle: u64,
}

impl<'a> Socket<'a> {
    fn open(client: &'a Client, socket: DatagramSocket) -> Self {
        Self { client, handle: client.datagram_socket(socket).expect("a socket") }
    }

    /// One for this address, connected to it or not.
    fn to(client: &'a Client, address: SocketAddr, connected: bool) -> Self {
        let socket = Self::open(
            client,
            DatagramSocket { v6: address.is_ipv6(), ..DatagramSocket::default() },
        );
        if connected {
            assert_eq!(socket.connect(address), None);
        }
        socket
    }

    fn perform(&self, op: DatagramOp) -> UdpOutcome {
        self.client.datagram(self.handle, op).expect("an outcome")
    }

    /// The error, if there is one.
    fn connect(&self, to: SocketAddr) -> Option<String> {
        self.perform(DatagramOp::Connect { to }).error
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.perform(DatagramOp::Peer).from
    }

    /// The error, if there is one.
    fn send(&self, to: Option<SocketAddr>) -> Option<String> {
        self.perform(DatagramOp::Send { to }).error
    }

    fn receive(&self, timeout: Duration) -> UdpOutcome {
        self.perform(DatagramOp::Receive { timeout })
    }

    /// Asks as a resolver does, again after a while without an answer, and takes no answer from elsewhere. Who
    /// answered.
    fn ask(&self, address: SocketAddr, connected: bool) -> String {
        let began = Instant::now();
        loop {
            assert_eq!(self.send((!connected).then_some(address)), None);
            let outcome = self.receive(Duration::from_secs(1));
            if let Some(reply) = outcome.reply {
                assert_eq!(outcome.from, Some(address), "{reply} answers");
                return reply;
            }
            assert!(began.elapsed() < LONG, "no answer: {outcome:?}");
        }
    }
}
