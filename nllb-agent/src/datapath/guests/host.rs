//! What there is on this host: its interfaces, those over which it reaches others, and those of pods.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::neighbour::NeighbourMessage;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nllb_core::guests::{Interface, PodCable, Uplink};

use super::netlink::{Answer, Netlink, find, number, text};

// `uapi/linux/if_link.h`: the header of a message about an interface, where its number and flags are in it,
// and its attributes.
const LINK_HEADER: usize = 16;
const LINK_INDEX: usize = 4;
const LINK_FLAGS: usize = 8;
const IFF_LOOPBACK: u32 = 0x8;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_INFO_KIND: u16 = 1;
// `uapi/linux/rtnetlink.h`: the same of routes.
const ROUTE_HEADER: usize = 12;
const ROUTE_PREFIX: usize = 1;
const ROUTE_TABLE: usize = 4;
const ROUTE_TYPE: usize = 7;
const RTN_UNICAST: u8 = 1;
const RT_TABLE_LOCAL: u8 = 255;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_VIA: u16 = 18;
const RTA_MULTIPATH: u16 = 9;
/// The next hops of a route with several: length, flags and weight, then the interface.
const NEXT_HOP_HEADER: usize = 8;
// `uapi/linux/neighbour.h`: the same of neighbours.
const NEIGHBOUR_HEADER: usize = 12;
const NEIGHBOUR_INDEX: usize = 4;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NDA_MASTER: u16 = 9;

/// Every interface.
pub(super) fn interfaces(netlink: &mut Netlink) -> io::Result<Vec<Interface>> {
    let question = RouteNetlinkMessage::GetLink(LinkMessage::default());
    Ok(netlink.list(&question)?.iter().filter_map(interface).collect())
}

fn interface(answer: &Answer) -> Option<Interface> {
    let attribute = |kind| answer.attribute(LINK_HEADER, kind);
    let kind = attribute(IFLA_LINKINFO).and_then(|info| find(info, IFLA_INFO_KIND));
    // What it stands on is somewhere else when the number is another namespace's.
    let lower = attribute(IFLA_LINK).filter(|_| attribute(IFLA_LINK_NETNSID).is_none());
    Some(Interface {
        index: answer.word(LINK_INDEX)?,
        name: text(attribute(IFLA_IFNAME)?)?,
        kind: kind.and_then(text),
        master: attribute(IFLA_MASTER).and_then(number),
        lower: lower.and_then(number),
        loopback: answer.word(LINK_FLAGS)? & IFF_LOOPBACK != 0,
    })
}

/// The interfaces over which this host reaches others: those with a default route, and those to these
/// backends. A backend that is a pod of this node is no other: its cable leads to it alone, without a gateway.
pub(super) fn uplinks(
    netlink: &mut Netlink,
    backends: &BTreeMap<IpAddr, Behind>,
) -> io::Result<BTreeMap<u32, Uplink>> {
    let mut uplinks = BTreeMap::new();
    for (ip, behind) in backends {
        let Some(Way { interface, gateway }) = way(netlink, *ip)? else { continue };
        if gateway || *behind == Behind::Anything {
            uplinks.insert(interface, Uplink::Backend(*ip));
        }
    }
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut question = RouteMessage::default();
        question.header.address_family = family;
        let answers = match netlink.list(&RouteNetlinkMessage::GetRoute(question)) {
            // A host without IPv6.
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => continue,
            answers => answers?,
        };
        for index in answers.iter().flat_map(default_route) {
            uplinks.insert(index, Uplink::DefaultRoute);
        }
    }
    Ok(uplinks)
}

/// What makes the interface to a backend one over which others are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    /// That it leads there: an API server is no guest of this node.
    Anything,
    /// That it leads there by a gateway: else the backend may be a pod of this node.
    Gateway,
}

/// How this host reaches an address: over which interface, and whether by a gateway.
#[derive(Clone, Copy, Debug)]
struct Way {
    interface: u32,
    gateway: bool,
}

fn way(netlink: &mut Netlink, ip: IpAddr) -> io::Result<Option<Way>> {
    let mut question = RouteMessage::default();
    let header = &mut question.header;
    (header.address_family, header.destination_prefix_length) = match ip {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    question.attributes = vec![RouteAttribute::Destination(RouteAddress::from(ip))];
    let answer = netlink.ask(RouteNetlinkMessage::GetRoute(question))?;
    let read = |answer: Answer| {
        let attribute = |kind| answer.attribute(ROUTE_HEADER, kind);
        let gateway = attribute(RTA_GATEWAY).or_else(|| attribute(RTA_VIA)).is_some();
        Some(Way { interface: attribute(RTA_OIF).and_then(number)?, gateway })
    };
    Ok(answer.and_then(read))
}

/// The interfaces of a default route; none of any other.
fn default_route(answer: &Answer) -> Vec<u32> {
    let is_default = answer.octet(ROUTE_PREFIX) == Some(0)
        && answer.octet(ROUTE_TYPE) == Some(RTN_UNICAST)
        && answer.octet(ROUTE_TABLE) != Some(RT_TABLE_LOCAL);
    if !is_default {
        return Vec::new();
    }
    let one = answer.attribute(ROUTE_HEADER, RTA_OIF).and_then(number);
    let several = answer.attribute(ROUTE_HEADER, RTA_MULTIPATH).unwrap_or_default();
    one.into_iter().chain(next_hops(several)).collect()
}

/// The interfaces of several next hops.
fn next_hops(mut rest: &[u8]) -> Vec<u32> {
    let mut interfaces = Vec::new();
    while let Some(header) = rest.first_chunk::<NEXT_HOP_HEADER>() {
        let [low, high, _, _, interface @ ..] = *header;
        interfaces.push(u32::from_ne_bytes(interface));
        let length = usize::from(u16::from_ne_bytes([low, high])).max(NEXT_HOP_HEADER);
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    interfaces
}

/// The interfaces of this host behind which these pods are: how it reaches their addresses, and where that
/// is over a bridge, the port behind which the bridge has seen them.
pub(super) fn cables(
    netlink: &mut Netlink,
    interfaces: &[Interface],
    pods: &BTreeMap<IpAddr, Arc<str>>,
) -> io::Result<Vec<PodCable>> {
    let is_bridge = |index: u32| {
        interfaces.iter().any(|it| it.index == index && it.kind.as_deref() == Some("bridge"))
    };
    let mut cables = Vec::new();
    for (ip, pod) in pods {
        // A pod behind a gateway is another node's, or the host's own.
        let way = way(netlink, *ip)?.filter(|way| !way.gateway);
        let interface = way.map(|way| way.interface);
        cables.push(PodCable { pod: Arc::clone(pod), ip: *ip, interface });
    }
    let bridged = |cable: &PodCable| cable.interface.is_some_and(is_bridge);
    if cables.iter().any(bridged) {
        let neighbours = neighbours(netlink)?;
        let ports = ports(netlink)?;
        let port = |bridge: u32, ip: IpAddr| {
            let hardware = neighbours.get(&(bridge, ip))?;
            ports.get(&(bridge, hardware.clone())).copied()
        };
        for cable in cables.iter_mut().filter(|cable| bridged(cable)) {
            cable.interface = cable.interface.and_then(|bridge| port(bridge, cable.ip));
        }
    }
    Ok(cables)
}

/// The hardware addresses of neighbours, by interface and address.
fn neighbours(netlink: &mut Netlink) -> io::Result<BTreeMap<(u32, IpAddr), Vec<u8>>> {
    let question = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
    let neighbour = |answer: &Answer| {
        let ip = match answer.attribute(NEIGHBOUR_HEADER, NDA_DST)? {
            v4 if v4.len() == 4 => IpAddr::from(*v4.first_chunk::<4>()?),
            v6 => IpAddr::from(*v6.first_chunk::<16>()?),
        };
        let hardware = answer.attribute(NEIGHBOUR_HEADER, NDA_LLADDR)?.to_vec();
        Some(((answer.word(NEIGHBOUR_INDEX)?, ip), hardware))
    };
    Ok(netlink.list(&question)?.iter().filter_map(neighbour).collect())
}

/// The ports of bridges behind which hardware addresses were seen.
fn ports(netlink: &mut Netlink) -> io::Result<BTreeMap<(u32, Vec<u8>), u32>> {
    let mut question = NeighbourMessage::default();
    question.header.family = AddressFamily::Bridge;
    let port = |answer: &Answer| {
        let bridge = answer.attribute(NEIGHBOUR_HEADER, NDA_MASTER).and_then(number)?;
        let hardware = answer.attribute(NEIGHBOUR_HEADER, NDA_LLADDR)?.to_vec();
        let port = answer.word(NEIGHBOUR_INDEX)?;
        // A bridge is no port of itself: these are its own addresses.
        (port != bridge).then_some(((bridge, hardware), port))
    };
    Ok(netlink
        .list(&RouteNetlinkMessage::GetNeighbour(question))?
        .iter()
        .filter_map(port)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interfaces_of_this_host_are_listed_with_loopback_among_them() {
        let interfaces = interfaces(&mut Netlink::open().expect("a socket")).expect("a list");
        let lo = interfaces.iter().find(|it| it.name == "lo").expect("loopback");
        assert!(lo.loopback && lo.kind.is_none() && lo.index > 0, "{lo:?}");
    }

    #[test]
    fn uplinks_are_looked_for_in_both_families() {
        let mut netlink = Netlink::open().expect("a socket");
        let loopback = IpAddr::from([127, 0, 0, 1]);
        let mut look =
            |behind| uplinks(&mut netlink, &[(loopback, behind)].into()).expect("routes");
        let direct = look(Behind::Anything);
        assert!(direct.values().any(|uplink| *uplink == Uplink::Backend(loopback)), "{direct:?}");
        let behind = look(Behind::Gateway);
        assert!(!behind.values().any(|uplink| *uplink == Uplink::Backend(loopback)), "{behind:?}");
    }

    #[test]
    fn the_next_hops_of_a_route_are_all_read() {
        let hop = |length: u16, interface: u32| {
            let [low, high] = length.to_ne_bytes();
            let mut hop = vec![low, high, 0, 0];
            hop.extend(interface.to_ne_bytes());
            hop.resize(usize::from(length), 0);
            hop
        };
        assert_eq!(next_hops(&[hop(16, 3), hop(8, 7)].concat()), [3, 7]);
        assert_eq!(next_hops(&hop(0, 3)[..0]), [0; 0]);
        // A length that is too short is no way back.
        assert_eq!(next_hops(&[1, 0, 0, 0, 9, 0, 0, 0]), [9]);
    }
}
