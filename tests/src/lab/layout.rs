//! Addresses and names of everything in a lab, and the commands that build its network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Result;

use crate::netns;

/// The `kubernetes` Service's IPv4 address, as most distributions have it.
pub const VIP_V4: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
/// Its IPv6 address.
pub const VIP_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, 1);

const BRIDGE: &str = "br0";

pub(super) struct Layout<'a> {
    pub(super) name: &'a str,
    pub(super) control_planes: usize,
    pub(super) nodes: usize,
    pub(super) pods: usize,
}

/// The names in every server's certificate: the Service's, and the loopback addresses.
#[must_use]
pub fn shared_names() -> Vec<String> {
    let names = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "localhost",
        "127.0.0.1",
        "::1",
    ];
    let vips = [VIP_V4.to_string(), VIP_V6.to_string()];
    names.into_iter().map(str::to_owned).chain(vips).collect()
}

/// The names of one server alone: its addresses.
#[must_use]
pub fn own_names(index: usize) -> Vec<String> {
    let (v4, v6) = plane_addresses(index);
    vec![v4.to_string(), v6.to_string()]
}

pub(super) fn namespace(lab: &str, host: &str) -> String {
    format!("{lab}-{host}")
}

pub(super) fn plane_addresses(index: usize) -> (Ipv4Addr, Ipv6Addr) {
    let host = 11 + small(index);
    // Written in hexadecimal digits, ::11 looks like .11.
    let digits = u16::from(host / 10 * 16 + host % 10);
    (Ipv4Addr::new(10, 86, 0, host), Ipv6Addr::new(0xfd86, 0, 0, 0, 0, 0, 0, digits))
}

pub(super) fn node_addresses(index: usize) -> (Ipv4Addr, Ipv6Addr) {
    let host = 1 + small(index);
    (Ipv4Addr::new(10, 86, 1, host), Ipv6Addr::new(0xfd86, 0, 0, 0, 0, 0, 1, host.into()))
}

pub(super) fn pod_addresses(node: usize, pod: usize) -> (Ipv4Addr, Ipv6Addr) {
    pod_network(node, 2 + small(pod))
}

/// Every address of a port, IPv4 and IPv6.
pub(super) fn listen(port: u16) -> Vec<SocketAddr> {
    let addresses: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    addresses.into_iter().map(|address| (address, port).into()).collect()
}

fn pod_network(node: usize, host: u8) -> (Ipv4Addr, Ipv6Addr) {
    let node = small(node);
    let v6 = Ipv6Addr::new(0xfd87, 0, 0, node.into(), 0, 0, 0, host.into());
    (Ipv4Addr::new(10, 87, node, host), v6)
}

fn small(index: usize) -> u8 {
    u8::try_from(index).ok().filter(|index| *index < 80).expect("a lab has fewer than 80 hosts")
}

impl Layout<'_> {
    /// Creates the namespaces and wires them.
    pub(super) fn build_network(&self) -> Result<()> {
        let Self { name, control_planes, nodes, pods } = *self;
        let ns = |host: &str| namespace(name, host);
        let planes: Vec<_> = (0..control_planes).map(|index| format!("cp{index}")).collect();
        let node_names: Vec<_> = (0..nodes).map(|index| format!("node{index}")).collect();
        let pod_names =
            node_names.iter().flat_map(|node| (0..pods).map(move |pod| format!("{node}-pod{pod}")));

        let hosts = planes.iter().chain(&node_names);
        let all = ["net".to_owned()].into_iter().chain(hosts.clone().cloned()).chain(pod_names);
        let all: Vec<_> = all.map(|host| ns(&host)).collect();
        let create: Vec<_> = all.iter().map(|name| format!("netns add {name}")).collect();
        netns::ip(None, &create)?;
        for name in &all {
            tune(name)?;
        }

        // No snooping: it would hold back neighbour discovery until the bridge has learned.
        let mut wire = vec![format!("link add {BRIDGE} type bridge stp_state 0 mcast_snooping 0")];
        wire.push(format!("link set {BRIDGE} up"));
        for host in hosts {
            wire.push(format!("link add {host} type veth peer name eth0 netns {}", ns(host)));
            wire.push(format!("link set {host} master {BRIDGE} up"));
        }
        netns::ip(Some(&ns("net")), &wire)?;

        for (index, plane) in planes.iter().enumerate() {
            let mut lines = host_lines(plane_addresses(index));
            lines.extend((0..nodes).flat_map(route_to_pods));
            netns::ip(Some(&ns(plane)), &lines)?;
        }
        for (index, node) in node_names.iter().enumerate() {
            let mut lines = host_lines(node_addresses(index));
            for pod in 0..pods {
                lines.extend(pod_port(index, pod, &ns(&format!("{node}-pod{pod}"))));
            }
            netns::ip(Some(&ns(node)), &lines)?;
            let forward = [("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")];
            netns::sysctl(&ns(node), &forward)?;
            for pod in 0..pods {
                netns::ip(Some(&ns(&format!("{node}-pod{pod}"))), &pod_lines(index, pod))?;
            }
        }
        Ok(())
    }
}

fn host_lines((v4, v6): (Ipv4Addr, Ipv6Addr)) -> Vec<String> {
    vec![
        "link set lo up".to_owned(),
        format!("addr add {v4}/16 dev eth0"),
        format!("addr add {v6}/64 dev eth0 nodad"),
        "link set eth0 up".to_owned(),
    ]
}

fn route_to_pods(node: usize) -> [String; 2] {
    let (via4, via6) = node_addresses(node);
    let (net4, net6) = pod_network(node, 0);
    [format!("route add {net4}/24 via {via4}"), format!("route add {net6}/64 via {via6}")]
}

/// A node's end of a pod's cable: routed, as most network plug-ins do it.
fn pod_port(node: usize, pod: usize, netns: &str) -> Vec<String> {
    let (v4, v6) = pod_addresses(node, pod);
    let (gateway4, gateway6) = pod_network(node, 1);
    vec![
        format!("link add pod{pod} type veth peer name eth0 netns {netns}"),
        format!("addr add {gateway4}/32 dev pod{pod}"),
        format!("addr add {gateway6}/128 dev pod{pod} nodad"),
        format!("link set pod{pod} up"),
        format!("route add {v4}/32 dev pod{pod}"),
        format!("route add {v6}/128 dev pod{pod}"),
    ]
}

fn pod_lines(node: usize, pod: usize) -> Vec<String> {
    let (v4, v6) = pod_addresses(node, pod);
    let (gateway4, gateway6) = pod_network(node, 1);
    vec![
        "link set lo up".to_owned(),
        format!("addr add {v4}/32 dev eth0"),
        format!("addr add {v6}/128 dev eth0 nodad"),
        "link set eth0 up".to_owned(),
        format!("route add {gateway4}/32 dev eth0"),
        format!("route add default via {gateway4}"),
        format!("route add {gateway6}/128 dev eth0"),
        format!("route add default via {gateway6}"),
    ]
}

/// Settings of a fresh namespace, before it has any device.
fn tune(namespace: &str) -> Result<()> {
    let settings = [
        // Both ends do TCP Fast Open, without the listeners asking for it.
        ("ipv4/tcp_fastopen", "1027"),
        // Nobody has the same address, and looking for duplicates takes a second.
        ("ipv6/conf/all/accept_dad", "0"),
        ("ipv6/conf/default/accept_dad", "0"),
    ];
    netns::sysctl(namespace, &settings)
}
