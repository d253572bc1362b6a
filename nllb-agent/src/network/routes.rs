//! Asks the kernel how it would reach an address (`RTM_GETROUTE`).

use std::io;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_ROUTE;
use nix::net::if_::if_indextoname;

/// Far more than an answer takes, metrics and all.
const ANSWER_BYTES: usize = 8 << 10;

/// How an address is reached, or the number of the error: nobody knows how, it is forbidden.
pub(super) type Way = Result<Route, i32>;

/// How an address is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Route {
    interface: Option<u32>,
    gateway: Option<IpAddr>,
    source: Option<IpAddr>,
}

impl Route {
    /// The name of the interface.
    pub(super) fn interface_name(&self) -> Option<String> {
        if_indextoname(self.interface?).ok()?.into_string().ok()
    }
}

/// A socket to ask over.
#[derive(Debug)]
pub(super) struct Routes {
    socket: Socket,
    sequence: u32,
}

impl Routes {
    pub(super) fn open() -> io::Result<Self> {
        let socket = Socket::new(NETLINK_ROUTE)?;
        // The kernel has answered when the request was sent; a wait would be for ever.
        socket.set_non_blocking(true)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// How this address is reached now.
    pub(super) fn to(&mut self, ip: IpAddr) -> Way {
        self.ask(ip).unwrap_or_else(|error| Err(error.raw_os_error().unwrap_or(libc::EIO)))
    }

    fn ask(&mut self, ip: IpAddr) -> io::Result<Way> {
        self.sequence = self.sequence.wrapping_add(1);
        self.socket.send(&request(ip, self.sequence), 0)?;
        let mut answer = Vec::with_capacity(ANSWER_BYTES);
        loop {
            answer.clear();
            self.socket.recv(&mut answer, 0)?;
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer);
            let message = message.map_err(io::Error::other)?;
            // Not the answer to a request before.
            if message.header.sequence_number == self.sequence {
                return Ok(way(message.payload));
            }
        }
    }
}

fn request(ip: IpAddr, sequence: u32) -> Vec<u8> {
    let (address_family, bits) = match ip {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    let mut route = RouteMessage::default();
    route.header =
        RouteHeader { address_family, destination_prefix_length: bits, ..RouteHeader::default() };
    route.attributes = vec![RouteAttribute::Destination(RouteAddress::from(ip))];
    let mut header = NetlinkHeader::default();
    (header.flags, header.sequence_number) = (NLM_F_REQUEST, sequence);
    let payload = NetlinkPayload::from(RouteNetlinkMessage::GetRoute(route));
    let mut message = NetlinkMessage::new(header, payload);
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

fn way(payload: NetlinkPayload<RouteNetlinkMessage>) -> Way {
    if let NetlinkPayload::Error(error) = payload {
        return Err(error.raw_code().saturating_neg());
    }
    let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(message)) = payload else {
        return Err(libc::EPROTO);
    };
    let mut route = Route::default();
    for attribute in message.attributes {
        if let RouteAttribute::Oif(index) = attribute {
            route.interface = Some(index);
        } else if let RouteAttribute::Gateway(address) = attribute {
            route.gateway = ip(&address);
        } else if let RouteAttribute::PrefSource(address) = attribute {
            route.source = ip(&address);
        }
    }
    Ok(route)
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    if let RouteAddress::Inet(v4) = address {
        Some((*v4).into())
    } else if let RouteAddress::Inet6(v6) = address {
        Some((*v6).into())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_reached_over_lo_however_often_it_is_asked_for() {
        let mut routes = Routes::open().expect("a socket");
        for _ in 0..3 {
            let loopback = routes.to(IpAddr::from([127, 0, 0, 1])).expect("a route");
            assert_eq!(loopback.interface_name().as_deref(), Some("lo"));
            assert_eq!(loopback.source, Some(IpAddr::from([127, 0, 0, 1])));
        }
    }
}
