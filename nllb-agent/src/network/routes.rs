//! Asks the kernel how it would reach an address (`RTM_GETROUTE`).

use std::io;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_REQUEST, NetlinkPayload};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::net::if_::if_indextoname;

use super::rtnetlink::Rtnetlink;

/// How an address is reached, or the number of the error: nobody knows how, it is forbidden.
pub(super) type Way = Result<Route, i32>;

/// How an address is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) interface: Option<u32>,
    pub(super) gateway: Option<IpAddr>,
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
pub(super) struct Routes(Rtnetlink);

impl Routes {
    pub(super) fn open() -> io::Result<Self> {
        Rtnetlink::open().map(Self)
    }

    /// How this address is reached now.
    pub(super) fn to(&mut self, ip: IpAddr) -> Way {
        let answer = self.0.ask(request(ip), NLM_F_REQUEST);
        answer.map_or_else(|error| Err(error.raw_os_error().unwrap_or(libc::EIO)), way)
    }
}

fn request(ip: IpAddr) -> RouteNetlinkMessage {
    let (address_family, bits) = match ip {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    let mut route = RouteMessage::default();
    route.header =
        RouteHeader { address_family, destination_prefix_length: bits, ..RouteHeader::default() };
    route.attributes = vec![RouteAttribute::Destination(RouteAddress::from(ip))];
    RouteNetlinkMessage::GetRoute(route)
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
