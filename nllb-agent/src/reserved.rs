//! Addresses that the agent keeps for itself: the data path dials them, the configuration refuses
//! them, and neither imports the other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Where the agent itself dials the API server, as a client like others. IPv6 reaches backends of both
/// families; IPv4 is for hosts without it.
pub const API: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 53_718),
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 53, 71, 7)), 53_718),
];

/// Where the self-test dials. Loopback, so that nothing leaves the host when translation fails; an
/// address and a port that nothing uses.
pub const SELF_TEST: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 53, 71, 7)), 53_717),
    SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 53_717),
];
