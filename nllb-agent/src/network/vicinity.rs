//! What is around this host, as the control-plane VIP wants to know it: its interfaces, who is on the link and by which
//! MAC address, and the addresses of the loopback interface.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST};
use netlink_packet_route::address::{
    AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope, CacheInfo,
};
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::SockaddrStorage;

use super::routes::{Route, Routes};
use super::rtnetlink::Rtnetlink;

/// Number of the loopback interface, in every network namespace.
const LOOPBACK: u32 = 1;
/// The kernel's INFINITY_LIFE_TIME.
const FOR_EVER_S: u32 = u32::MAX;

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its MAC address; `None` for one that has none.
    pub mac: Option<[u8; 6]>,
    /// The largest packet that leaves it, in bytes.
    pub mtu: u32,
    /// Whether it is one end of a veth pair.
    pub is_veth: bool,
}

/// How a neighbour is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Number of the interface.
    pub interface: u32,
    /// Its MAC address, or that of the router on the way; `None` while that is not known.
    pub mac: Option<[u8; 6]>,
    /// Whether there is a router on the way.
    pub is_routed: bool,
}

/// Sockets to ask over.
#[derive(Debug)]
pub struct Vicinity {
    asked: Rtnetlink,
    routes: Routes,
}

impl Vicinity {
    /// Opens them.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn open() -> io::Result<Self> {
        Ok(Self { asked: Rtnetlink::open()?, routes: Routes::open()? })
    }

    /// The interface with this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn named(&mut self, name: &str) -> io::Result<Interface> {
        let mut message = LinkMessage::default();
        message.attributes = vec![LinkAttribute::IfName(name.to_owned())];
        self.interface(message)
    }

    /// The interface with this number.
    ///
    /// # Errors
    /// When there is none.
    pub fn numbered(&mut self, index: u32) -> io::Result<Interface> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        self.interface(message)
    }

    fn interface(&mut self, message: LinkMessage) -> io::Result<Interface> {
        let answer = self.asked.get(RouteNetlinkMessage::GetLink(message), NLM_F_REQUEST)?;
        let Some(RouteNetlinkMessage::NewLink(message)) = answer else {
            return Err(io::Error::from(io::ErrorKind::InvalidData));
        };
        let mut found = Interface { index: message.header.index, ..Interface::default() };
        for attribute in message.attributes {
            if let LinkAttribute::IfName(name) = attribute {
                found.name = name;
            } else if let LinkAttribute::Address(bytes) = attribute {
                found.mac = bytes.try_into().ok();
            } else if let LinkAttribute::Mtu(mtu) = attribute {
                found.mtu = mtu;
            } else if let LinkAttribute::LinkInfo(infos) = attribute {
                found.is_veth =
                    infos.iter().any(|info| matches!(info, LinkInfo::Kind(InfoKind::Veth)));
            }
        }
        Ok(found)
    }

    /// How an address is reached; `None` when nobody knows.
    pub fn way(&mut self, ip: IpAddr) -> Option<Neighbour> {
        let Route { interface, gateway, .. } = self.routes.to(ip).ok()?;
        let interface = interface.filter(|index| *index != LOOPBACK)?;
        let next = gateway.unwrap_or(ip);
        let mac = self.mac(interface, next).ok().flatten();
        Some(Neighbour { interface, mac, is_routed: gateway.is_some() })
    }

    /// The MAC address of a neighbour, if the kernel knows it.
    fn mac(&mut self, interface: u32, ip: IpAddr) -> io::Result<Option<[u8; 6]>> {
        let mut message = NeighbourMessage::default();
        message.header.ifindex = interface;
        let (family, address) = match ip {
            IpAddr::V4(v4) => (AddressFamily::Inet, NeighbourAddress::Inet(v4)),
            IpAddr::V6(v6) => (AddressFamily::Inet6, NeighbourAddress::Inet6(v6)),
        };
        message.header.family = family;
        message.attributes = vec![NeighbourAttribute::Destination(address)];
        let answer = self.asked.get(RouteNetlinkMessage::GetNeighbour(message), NLM_F_REQUEST)?;
        let Some(RouteNetlinkMessage::NewNeighbour(message)) = answer else {
            return Ok(None);
        };
        let is_known = matches!(
            message.header.state,
            NeighbourState::Reachable
                | NeighbourState::Stale
                | NeighbourState::Delay
                | NeighbourState::Probe
                | NeighbourState::Permanent
        );
        let mac = message.attributes.into_iter().find_map(|attribute| {
            if let NeighbourAttribute::LinkLayerAddress(bytes) = attribute {
                <[u8; 6]>::try_from(bytes).ok()
            } else {
                None
            }
        });
        Ok(mac.filter(|_| is_known))
    }

    /// Puts an address on the loopback interface, where clients' packets find it and nothing leaves with it unasked.
    /// Says whether it was not there.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn add_address(&mut self, ip: IpAddr) -> io::Result<bool> {
        let flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        match self.asked.get(RouteNetlinkMessage::NewAddress(address(ip)), flags) {
            Ok(_) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Takes an address from the loopback interface. One that is not there is taken away already.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn remove_address(&mut self, ip: IpAddr) -> io::Result<()> {
        let flags = NLM_F_REQUEST | NLM_F_ACK;
        match self.asked.get(RouteNetlinkMessage::DelAddress(address(ip)), flags) {
            Ok(_) => Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EADDRNOTAVAIL) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// An address on the loopback interface, of this host alone, so that the kernel never takes it for the source of
/// what it sends by itself.
fn address(ip: IpAddr) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = LOOPBACK;
    (message.header.family, message.header.prefix_len) = match ip {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    if ip.is_ipv4() {
        message.header.scope = AddressScope::Host;
    } else {
        // Nobody else is to be asked whether he has it: others have.
        message.header.flags = AddressHeaderFlags::Nodad;
    }
    message.attributes = vec![AddressAttribute::Local(ip), AddressAttribute::Address(ip)];
    if ip.is_ipv6() {
        // IPv6 has no scope for that. A deprecated address is the source of nothing while there is another (RFC 6724).
        let mut lifetimes = CacheInfo::default();
        (lifetimes.ifa_preferred, lifetimes.ifa_valid) = (0, FOR_EVER_S);
        message.attributes.push(AddressAttribute::CacheInfo(lifetimes));
    }
    message
}

/// How the stack chooses the sender's address of ARP requests on an interface (`net.ipv4.conf.*.arp_announce`), the
/// larger of the interface's own and that of all; `None` when it cannot be read.
#[must_use]
pub fn arp_announce(interface: &str) -> Option<u8> {
    setting(interface, "arp_announce")
}

/// The interfaces besides this one that are on a network with an address, and where the kernel answers ARP requests for
/// every address of the host (`net.ipv4.conf.*.arp_ignore` is 0), so for this one if the host has it anywhere. In IPv6 it
/// answers for an address only where that is.
#[must_use]
pub fn answering(ip: Ipv4Addr, but: &str) -> Vec<String> {
    let silent = InterfaceFlags::IFF_LOOPBACK | InterfaceFlags::IFF_NOARP;
    let is_on = |one: &InterfaceAddress| {
        let v4 = |address: Option<&SockaddrStorage>| Some(address?.as_sockaddr_in()?.ip());
        let network = v4(one.address.as_ref()).zip(v4(one.netmask.as_ref()));
        network.is_some_and(|(own, mask)| own != ip && own & mask == ip & mask)
    };
    let mut names: Vec<_> = getifaddrs()
        .into_iter()
        .flatten()
        .filter(|one| one.interface_name != but && !one.flags.intersects(silent) && is_on(one))
        .map(|one| one.interface_name)
        .filter(|name| setting(name, "arp_ignore") == Some(0))
        .collect();
    names.dedup();
    names
}

/// What a setting of IPv4 comes to on an interface where the larger of its own and that of all counts.
fn setting(interface: &str, name: &str) -> Option<u8> {
    let read = |interface: &str| {
        let path = format!("/proc/sys/net/ipv4/conf/{interface}/{name}");
        std::fs::read_to_string(path).ok()?.trim().parse::<u8>().ok()
    };
    read(interface).into_iter().chain(read("all")).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_found_by_name_and_number() {
        let mut vicinity = Vicinity::open().expect("a socket");
        let lo = vicinity.named("lo").expect("there is one");
        assert_eq!((lo.index, lo.is_veth), (LOOPBACK, false));
        assert_eq!(vicinity.numbered(LOOPBACK).expect("the same"), lo);
        assert!(vicinity.named("no-such").is_err());
        assert_eq!(vicinity.way(IpAddr::from([127, 0, 0, 1])), None, "a neighbour of nobody");
    }
}
