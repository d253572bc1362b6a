//! Three control-plane hosts with an agent each, and clients on the same link.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use aya::maps::Array;
use aya::maps::MapData;
use nllb_agent::datapath::monotonic_ns;
use nllb_agent::status::{Status, Vip};
use nllb_common::maps::names;
use nllb_lab::apiserver::{ASK_ECHO, TLS_PORT};
use nllb_lab::netns::{self, Offload};
use nllb_lab::{Agent, Configuration, Lab, pins};

pub(crate) const VIP_V4: Ipv4Addr = Ipv4Addr::new(10, 86, 0, 100);
pub(crate) const VIP_V6: Ipv6Addr = Ipv6Addr::new(0xfd86, 0, 0, 0, 0, 0, 0, 0x100);
/// Both of them.
pub(crate) const VIPS: [IpAddr; 2] = [IpAddr::V4(VIP_V4), IpAddr::V6(VIP_V6)];
/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(5);

/// The lab with its agents. The host with number 0 is the owner at first.
pub(crate) struct Scene {
    pub(crate) agents: Vec<Agent>,
    pub(crate) lab: Lab,
}

/// A connection with the VIP.
pub(crate) struct Flow {
    stream: TcpStream,
    /// Who serves it.
    pub(crate) server: String,
}

impl Scene {
    /// `more` are keys of `vip` besides the addresses.
    pub(crate) fn new(more: &str) -> Option<Self> {
        Self::on(Lab::builder().nodes(2).build_or_skip()?, more)
    }

    /// The same with the programs in the driver.
    pub(crate) fn in_driver(more: &str) -> Option<Self> {
        let lab = Lab::builder().nodes(2).build_or_skip()?;
        let hosts = lab.control_planes().iter().map(|plane| plane.netns());
        for netns in hosts.chain(lab.nodes().iter().map(|node| node.netns())) {
            // What a program sends back has the checksum that it came with.
            netns::offload(netns, "eth0", Offload::Checksums, false).expect("set");
        }
        for plane in lab.control_planes() {
            // A veth takes it only at an end that takes packets in rounds.
            netns::offload(&lab.switch(), plane.name(), Offload::Merge, true).expect("set");
        }
        Self::on(lab, &format!(", mode: native{more}"))
    }

    fn on(lab: Lab, more: &str) -> Option<Self> {
        for plane in lab.control_planes() {
            netns::sysctl(plane.netns(), &[("ipv4/conf/all/arp_announce", "2")]).expect("set");
        }
        let agents = (0..3).map(|_| None::<Agent>).collect::<Vec<_>>();
        let mut scene = Self { agents: Vec::with_capacity(agents.len()), lab };
        for index in 0..3 {
            let mut agent = Agent::prepare_on_plane(&scene.lab, index).expect("a place");
            agent.configure(&configuration(&scene.lab, more)).expect("written");
            agent.spawn().expect("started");
            scene.agents.push(agent);
        }
        scene.await_ready();
        scene.own(0);
        Some(scene)
    }

    /// Waits until every host serves the VIP and knows the way to the others.
    pub(crate) fn await_ready(&mut self) {
        for agent in &mut self.agents {
            let ready = |status: &Status| {
                status.obstacles().is_empty()
                    && status.backends().all(|(_, backend)| backend.state == "healthy")
                    && status.vip.as_ref().is_some_and(serves)
            };
            agent.await_status("the VIP to be served", ready).expect("served");
        }
    }

    /// Waits until every agent has this state for the servers of a host.
    pub(crate) fn await_state(&mut self, plane: usize, state: &str) {
        let plane = self.lab.control_plane(plane);
        let addresses = [plane.tls(), plane.tls_v6()];
        for agent in &mut self.agents {
            for address in addresses {
                agent.await_state(address, state).expect("a verdict");
            }
        }
    }

    /// Makes a host the owner, as if its agent had said so, and lets the clients ask anew who that is.
    pub(crate) fn own(&self, owner: usize) {
        for (index, agent) in self.agents.iter().enumerate() {
            let until = if index == owner { monotonic_ns() + 600_000_000_000 } else { 0 };
            let mut map: Array<MapData, u64> =
                pins::open(&agent.pins(), names::VIP_OWNER).expect("pinned");
            map.set(0, until, 0).expect("written");
        }
        for node in self.lab.nodes() {
            netns::ip(Some(node.netns()), &["neigh flush dev eth0".to_owned()]).expect("flushed");
        }
    }

    /// What the status of a host says of the VIP.
    pub(crate) fn vip(&self, index: usize) -> Vip {
        self.agents[index].status().expect("a status").vip.expect("it has one")
    }

    /// Of an outcome, how many packets there were on all hosts.
    pub(crate) fn count(&self, outcome: &str) -> u64 {
        (0..self.agents.len()).map(|index| self.vip(index).counters[outcome]).sum()
    }

    /// Connects from the first node.
    pub(crate) fn connect(&self, vip: IpAddr) -> io::Result<Flow> {
        self.connect_within(vip, PATIENCE)
    }

    /// The same with less patience.
    pub(crate) fn connect_within(&self, vip: IpAddr, patience: Duration) -> io::Result<Flow> {
        let connect = || Flow::open(SocketAddr::new(vip, TLS_PORT), patience);
        netns::run_in(self.lab.node(0).netns(), connect).expect("the node is there")
    }

    /// So many connections.
    pub(crate) fn flows(&self, vip: IpAddr, count: usize) -> Vec<Flow> {
        (0..count).map(|_| self.connect(vip).expect("connected")).collect()
    }
}

/// Whether a host serves the VIP as it should.
fn serves(vip: &Vip) -> bool {
    vip.mode.is_some()
        && vip.problems.is_empty()
        && vip.members.len() == 6
        && vip.members.iter().all(|member| member.own || member.way.as_deref() != Some("unknown"))
}

/// An agent's configuration, with the servers of both families.
pub(crate) fn configuration(lab: &Lab, more: &str) -> Configuration {
    let planes = || lab.control_planes().iter();
    let [v4, v6] = VIPS;
    Configuration {
        endpoints: planes().map(|p| p.tls()).chain(planes().map(|p| p.tls_v6())).collect(),
        rest: vec![format!("vip: {{ addresses: [\"{v4}\", \"{v6}\"], ownership: none{more} }}")],
        ..Configuration::of(lab)
    }
}

impl Flow {
    fn open(address: SocketAddr, patience: Duration) -> io::Result<Self> {
        let mut stream = TcpStream::connect_timeout(&address, patience)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_nodelay(true)?;
        stream.write_all(&[ASK_ECHO])?;
        let mut server = String::new();
        BufReader::with_capacity(1, &stream).read_line(&mut server)?;
        if server.is_empty() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        Ok(Self { stream, server: server.trim().to_owned() })
    }

    /// The client's end.
    pub(crate) fn client(&self) -> SocketAddr {
        self.stream.local_addr().expect("it is connected")
    }

    /// Sends so many bytes, and whether they came back.
    pub(crate) fn echo(&mut self, bytes: usize) -> io::Result<()> {
        let sent: Vec<u8> = (0..=u8::MAX).cycle().take(bytes).collect();
        let mut writer = self.stream.try_clone()?;
        let mut came = vec![0; bytes];
        std::thread::scope(|scope| {
            let written = scope.spawn(|| writer.write_all(&sent));
            self.stream.read_exact(&mut came)?;
            written.join().expect("no panic")
        })?;
        if came == sent { Ok(()) } else { Err(io::Error::from(io::ErrorKind::InvalidData)) }
    }
}
