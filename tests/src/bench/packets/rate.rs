//! Packets per second from a guest through its node to the servers.

use std::fs;
use std::net::SocketAddrV4;

use anyhow::{Context, Result, ensure};
use nllb_agent::status::Status;

use super::ipvs;
use crate::agent::{Agent, Configuration};
use crate::bench::order::Order;
use crate::bench::peers::{PODS, Quartiles, nftables};
use crate::bench::worker::{Task, Worker};
use crate::lab::{ControlPlane, Lab, VIP_V4};
use crate::netns;
use crate::place::Place;

/// Connections of a turn, over all servers.
const FLOWS: usize = 24;
/// How long packets of them are sent in a turn, in milliseconds.
const SPAN_MS: u64 = 200;
/// The part of the packets sent that must arrive: fewer, and it is a queue that is measured.
const ARRIVING: f64 = 0.99;

/// What the guest's node does with its packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// It forwards them to the servers that they name: what all others do besides.
    Plain,
    /// nllb's programs on the guest's interface.
    Nllb,
    /// Rules as kube-proxy writes them, with connection tracking.
    Nftables,
    /// IPVS with masquerading, where the kernel has it.
    Ipvs,
    /// nllb's programs, and kube-proxy's rules for the same VIP beside them.
    Both,
}

impl Side {
    const ALL: [Self; 5] = [Self::Plain, Self::Nllb, Self::Nftables, Self::Both, Self::Ipvs];

    /// For people.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Plain => "plain forwarding",
            Self::Nllb => "nllb",
            Self::Nftables => "nftables",
            Self::Ipvs => "IPVS",
            Self::Both => "nllb beside kube-proxy's rules",
        }
    }

    /// For programs.
    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Nllb => "nllb",
            Self::Nftables => "nftables",
            Self::Ipvs => "ipvs",
            Self::Both => "nllb_beside_nftables",
        }
    }

    const fn has_agent(self) -> bool {
        matches!(self, Self::Nllb | Self::Both)
    }

    const fn has_rules(self) -> bool {
        matches!(self, Self::Nftables | Self::Both)
    }
}

/// Packets per second of each side that is here, round by round.
pub(super) struct Rates(Vec<(Side, Vec<f64>)>);

/// A node with its guest.
struct Node {
    side: Side,
    _agent: Option<Agent>,
    worker: Worker,
}

/// Measures so many rounds.
pub(super) fn measure(rounds: u64, cpu: Option<usize>) -> Result<Rates> {
    let sides = Side::ALL.into_iter().filter(|side| *side != Side::Ipvs || ipvs::is_here());
    let sides: Vec<_> = sides.collect();
    let lab = Lab::builder().nodes(sides.len()).pods(1).build();
    let lab = lab.context("cannot build the lab")?;
    let nodes = sides.into_iter().enumerate();
    let nodes = nodes.map(|(index, side)| Node::start(&lab, index, side, cpu));
    let mut nodes = nodes.collect::<Result<Vec<_>>>()?;
    let mut order = Order::new(nodes.len());
    let mut rates = Rates(nodes.iter().map(|node| (node.side, Vec::new())).collect());
    for number in 0..=rounds {
        for index in order.next() {
            let node = &mut nodes[index];
            let rate = node.rate(&lab).context(node.side.title())?;
            // The first round warms up.
            rates.0[index].1.extend((number > 0).then_some(rate));
        }
    }
    Ok(rates)
}

impl Node {
    fn start(lab: &Lab, index: usize, side: Side, cpu: Option<usize>) -> Result<Self> {
        let node = lab.node(index);
        if side.has_rules() {
            let servers: Vec<_> = lab.control_planes().iter().map(ControlPlane::tls).collect();
            netns::nft(node.netns(), &nftables(&servers, PODS))?;
        }
        if side == Side::Ipvs {
            let servers = lab.control_planes().iter();
            let servers: Vec<_> =
                servers.map(|it| SocketAddrV4::new(it.v4(), it.tls().port())).collect();
            ipvs::serve(node.netns(), SocketAddrV4::new(VIP_V4, 443), &servers)?;
        }
        let agent = side.has_agent().then(|| serve_guests(lab, index)).transpose()?;
        // In none of the node's cgroups, as a guest with a kernel of its own.
        let worker = Worker::start(&Place::in_netns(node.pods()[0].netns()), cpu)?;
        Ok(Self { side, _agent: agent, worker })
    }

    /// Packets per second that arrive at the servers.
    #[expect(clippy::cast_precision_loss, reason = "a measurement has fewer digits than an f64")]
    fn rate(&mut self, lab: &Lab) -> Result<f64> {
        let targets = match self.side {
            Side::Plain => lab.control_planes().iter().map(ControlPlane::tls).collect(),
            Side::Nllb | Side::Nftables | Side::Ipvs | Side::Both => vec![(VIP_V4, 443).into()],
        };
        let before = arrived(lab)?;
        let task = Task::Packets { flows: FLOWS, millis: SPAN_MS };
        let [sent, ns] = self.worker.perform(&targets, task)?[..] else {
            anyhow::bail!("a worker gave other than two numbers");
        };
        let (arrived, sent) = ((arrived(lab)? - before) as f64, sent as f64);
        ensure!(arrived >= ARRIVING * sent, "of {sent} packets only {arrived} arrived");
        Ok(sent.min(arrived) / ns as f64 * 1e9)
    }
}

/// An agent that serves the guests of a node.
fn serve_guests(lab: &Lab, node: usize) -> Result<Agent> {
    let mut agent = Agent::prepare(lab, node)?;
    let rest = vec!["sandboxes: { interfaces: [\"pod*\"] }".to_owned()];
    agent.configure(&Configuration { rest, ..Configuration::of(lab).by_default() })?;
    agent.restart().context("cannot start the agent")?;
    let served = |status: &Status| {
        let interfaces = status.sandboxes.iter().flat_map(|it| &it.interfaces);
        interfaces.filter(|it| it.attached_by.is_some()).count() == 1
    };
    agent.await_status("the guest to be served", served)?;
    Ok(agent)
}

/// Packets that have come to the servers' hosts so far.
fn arrived(lab: &Lab) -> Result<u64> {
    let of = |plane: &ControlPlane| -> Result<u64> {
        // Of the namespace of the thread, as /proc has it.
        let read = || fs::read_to_string("/proc/thread-self/net/dev");
        let text = netns::run_in(plane.netns(), read)??;
        packets(&text, "eth0").context("an interface is missing in /proc/net/dev")
    };
    lab.control_planes().iter().map(of).sum()
}

/// Of an interface, how many packets have come in.
fn packets(text: &str, interface: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.trim().split_once(':'));
    let (_, numbers) = lines.find(|(name, _)| *name == interface)?;
    numbers.split_whitespace().nth(1)?.parse().ok()
}

impl Rates {
    /// Who was measured.
    pub(super) fn sides(&self) -> impl Iterator<Item = Side> {
        self.0.iter().map(|(side, _)| *side)
    }

    /// Packets per second of a side.
    pub(super) fn of(&self, side: Side) -> Quartiles {
        Quartiles::of(self.rounds(side).to_vec())
    }

    /// How many times as many packets one side forwards as another, round by round.
    pub(super) fn ratio(&self, side: Side, to: Side) -> Quartiles {
        let pairs = self.rounds(side).iter().zip(self.rounds(to));
        Quartiles::of(pairs.map(|(rate, to)| rate / to).collect())
    }

    /// How many nanoseconds longer a packet takes than with plain forwarding, round by round.
    pub(super) fn added_ns(&self, side: Side) -> Quartiles {
        let pairs = self.rounds(side).iter().zip(self.rounds(Side::Plain));
        Quartiles::of(pairs.map(|(rate, plain)| 1e9 / rate - 1e9 / plain).collect())
    }

    fn rounds(&self, side: Side) -> &[f64] {
        self.0.iter().find(|(other, _)| *other == side).map_or(&[], |(_, rates)| rates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_of_an_interface_are_read() {
        let text = "Inter-|   Receive\n face |bytes    packets errs\n    lo:       0       1    0\n  eth0: 5246     42    0\n";
        assert_eq!(packets(text, "eth0"), Some(42));
        assert_eq!(packets(text, "eth1"), None);
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        let rates = [(Side::Plain, vec![1e6, 2e6]), (Side::Nllb, vec![5e5, 1e6])];
        let rates = Rates(rates.to_vec());
        let ratio = rates.ratio(Side::Nllb, Side::Plain);
        assert!((ratio.q1 - 0.5).abs() < 1e-9 && (ratio.q3 - 0.5).abs() < 1e-9);
        assert!((rates.added_ns(Side::Nllb).q3 - 1000.0).abs() < 1e-6);
    }
}
