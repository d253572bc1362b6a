//! The control-plane VIP as the configuration wants it: an address that clients outside the node dial, served by
//! every control-plane host (a *member*) that runs nllb.
//!
//! Return is direct, so nothing on the way changes a port: the VIP's is its backends'.

pub mod members;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// What is wanted of this node for the VIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VipPlan {
    /// Its IPv4 address.
    pub v4: Option<Ipv4Addr>,
    /// Its IPv6 address. One of the two is there.
    pub v6: Option<Ipv6Addr>,
    /// The port that clients dial, and at which every backend serves.
    pub port: u16,
    /// Name of the pool whose backends serve it. A host with one of their addresses is a member.
    pub pool: String,
    /// The interface where its packets come in; `None` for that of the routes to most other members.
    pub interface: Option<String>,
    /// How the program is attached there.
    pub mode: XdpMode,
    /// How packets reach another member.
    pub forwarding: Forwarding,
    /// Who answers for the address.
    pub ownership: Ownership,
}

/// How the program is attached to the interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver where that works, else generic.
    #[default]
    Auto,
    /// In the driver.
    Native,
    /// Behind the driver: slower, and with every interface.
    Generic,
}

/// How packets reach another member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Forwarding {
    /// By its MAC address where it is on the link, else in a tunnel.
    #[default]
    Auto,
    /// By its MAC address alone.
    L2,
    /// In a tunnel alone: IPIP, or IPv6 in IPv6.
    Ipip,
}

/// Who answers for the VIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// The member that holds a Lease of the cluster.
    Lease(LeasePlan),
    /// Nobody: routers know the way from a routing daemon on each member.
    Ecmp,
    /// Somebody else sees to it.
    None,
}

/// The Lease that makes its holder the owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeasePlan {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// How long a holder stays one that does not renew it: whole seconds, at least one.
    pub duration: Duration,
}

impl VipPlan {
    /// Its addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.v4.map(IpAddr::V4).into_iter().chain(self.v6.map(IpAddr::V6))
    }

    /// Whether a backend at this address serves the VIP of its family: clients get its answers as from the VIP's port.
    #[must_use]
    pub fn is_served_by(&self, backend: SocketAddr) -> bool {
        let has_family = match backend.ip().to_canonical() {
            IpAddr::V4(_) => self.v4.is_some(),
            IpAddr::V6(_) => self.v6.is_some(),
        };
        has_family && backend.port() == self.port
    }

    /// The Lease that decides, if one does.
    #[must_use]
    pub const fn lease(&self) -> Option<&LeasePlan> {
        match &self.ownership {
            Ownership::Lease(lease) => Some(lease),
            Ownership::Ecmp | Ownership::None => None,
        }
    }
}

impl XdpMode {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Native, Self::Generic];

    /// The word for it in the configuration.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

impl Forwarding {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Auto, Self::L2, Self::Ipip];

    /// The word for it in the configuration.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::L2 => "l2",
            Self::Ipip => "ipip",
        }
    }
}

impl Ownership {
    /// The word for it in the configuration.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Lease(_) => "lease",
            Self::Ecmp => "ecmp",
            Self::None => "none",
        }
    }
}
