//! Checked configuration, in the words that the machine needs.
//!
//! `nllb-agent` builds it from YAML and reports mistakes with file and line. The machine repeats
//! only the checks whose failure would give a wrong table.

use std::net::SocketAddr;
use std::time::Duration;

use nllb_common::addr;

/// Everything the machine is told by the operator.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// The pools, by unique name.
    pub pools: Vec<PoolSettings>,
    /// The frontends, by unique name.
    pub frontends: Vec<FrontendSettings>,
}

/// A set of API servers that share rules.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolSettings {
    /// Name, unique among the pools.
    pub name: String,
    /// Addresses of the API servers. One named twice counts once.
    pub endpoints: Vec<SocketAddr>,
    /// When to probe and what to conclude.
    pub health: HealthSettings,
}

/// When to probe and what to conclude.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HealthSettings {
    /// Time between probes of a backend whose state is settled.
    pub interval: Duration,
    /// Width of the random spread of each wait as a share of it: 0.2 is 10 % either way.
    pub jitter: f64,
    /// Time to the next probe while a change of state wants confirming, and the least time between
    /// two probes made early by evidence.
    pub confirm_interval: Duration,
    /// Longest wait between probes of an unhealthy backend.
    pub max_backoff: Duration,
    /// Successes in a row that bring a backend back.
    pub rise: u32,
    /// Failures in a row that take it out.
    pub fall: u32,
}

impl Default for HealthSettings {
    /// Two in a row either way, so that one lost packet changes nothing. With 100 ms between the two
    /// a crash that no connect noticed is a verdict within 1.2 s.
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            jitter: 0.2,
            confirm_interval: Duration::from_millis(100),
            max_backoff: Duration::from_secs(30),
            rise: 2,
            fall: 2,
        }
    }
}

/// An address that clients dial, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrontendSettings {
    /// Name, unique among the frontends.
    pub name: String,
    /// What sort of address it is.
    pub kind: FrontendKind,
    /// The addresses. For [`FrontendKind::NodeAddress`] none means every endpoint of the pool.
    pub addresses: Vec<SocketAddr>,
    /// Name of the pool behind it.
    pub pool: String,
    /// From where it can be dialled.
    pub scope: ScopeSetting,
    /// What happens to a connect when the pool has nobody.
    pub on_empty: OnEmpty,
    /// Which certificate a backend must show to serve this frontend.
    pub coverage: Coverage,
}

/// What sort of address a frontend has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FrontendKind {
    /// A Service VIP or another address that no interface need own.
    Vip,
    /// An address on loopback.
    Loopback,
    /// A backend's own address: translated only away from that backend.
    NodeAddress,
}

impl FrontendKind {
    /// The word for it in configuration, status and metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Vip => "vip",
            Self::Loopback => "loopback",
            Self::NodeAddress => "node-address",
        }
    }
}

/// From which network namespaces a frontend can be dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ScopeSetting {
    /// The host's only.
    Host,
    /// All of them.
    All,
}

impl ScopeSetting {
    /// The word for it in configuration and status.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::All => "all",
        }
    }
}

/// What happens to a connect when the pool has nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OnEmpty {
    /// It goes on untouched.
    PassThrough,
    /// It fails at once.
    Fail,
}

impl OnEmpty {
    /// The word for it in configuration and status.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::PassThrough => "pass-through",
            Self::Fail => "fail",
        }
    }
}

/// Which certificate a backend must show to serve a frontend.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Coverage {
    /// One that covers every address of the frontend.
    Address,
    /// One that covers this DNS name, or this IP address when it is one.
    ServerName(String),
    /// Any.
    Trusted,
}

impl FrontendSettings {
    /// The addresses of a node-address frontend whose pool has these endpoints.
    pub(crate) fn node_addresses<'a>(&'a self, endpoints: &'a [SocketAddr]) -> &'a [SocketAddr] {
        if self.addresses.is_empty() { endpoints } else { &self.addresses }
    }
}

impl Settings {
    /// The same settings with every address in the form the maps hold (a v4-mapped address is the v4
    /// address) and each named once, so that equality of addresses is equality in the kernel.
    #[must_use]
    pub(crate) fn canonical(mut self) -> Self {
        let lists = self.pools.iter_mut().map(|pool| &mut pool.endpoints);
        for list in lists.chain(self.frontends.iter_mut().map(|f| &mut f.addresses)) {
            let mut seen = Vec::with_capacity(list.len());
            for addr in list.iter().map(|addr| canonical(*addr)) {
                if !seen.contains(&addr) {
                    seen.push(addr);
                }
            }
            *list = seen;
        }
        self
    }
}

/// The address in the form the maps hold.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    let (ip, port) = addr::split(address);
    addr::join(ip, port)
}
