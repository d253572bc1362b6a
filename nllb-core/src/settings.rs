//! Checked configuration, in the words that the machine needs.
//!
//! `nllb-agent` builds it from YAML and reports mistakes with file and line. The machine repeats
//! only the checks whose failure would give a wrong table.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use nllb_common::addr;
use nllb_common::maps::{Policy, Protocol};

use crate::version::KubeVersion;

/// Everything the machine is told by the operator.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// The pools, by unique name.
    pub pools: Vec<PoolSettings>,
    /// The frontends, by unique name.
    pub frontends: Vec<FrontendSettings>,
    /// The version of this node's kubelet, when the operator says it.
    pub kubelet_version: Option<KubeVersion>,
}

/// A set of API servers that share rules.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolSettings {
    /// Name, unique among the pools.
    pub name: String,
    /// Addresses of the API servers. One named twice counts once.
    pub endpoints: Vec<SocketAddr>,
    /// Whether they come and go by themselves. Then a node address that is none of them just now is left
    /// alone, and else it is a mistake.
    pub discovered: bool,
    /// When to probe and what to conclude.
    pub health: HealthSettings,
    /// Whether nearer backends are preferred, by their round trips.
    pub latency_bands: bool,
    /// What is known of endpoints besides their addresses. Those that are not named are as usual.
    pub standings: BTreeMap<SocketAddr, Standing>,
    /// How established connections find back to a backend that returned; `None` for not at all.
    pub rebalance: Option<RebalanceSettings>,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            name: String::new(),
            endpoints: Vec::new(),
            discovered: false,
            health: HealthSettings::default(),
            latency_bands: true,
            standings: BTreeMap::new(),
            rebalance: None,
        }
    }
}

/// What discovery knows of an endpoint besides its address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Standing {
    /// How far away it is, 0 for the nearest: in place of the band that round trips would give it.
    pub band: u8,
    /// Whether it is about to go: it drains, however well it answers.
    pub leaving: bool,
}

/// How established connections find back to a backend that returned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RebalanceSettings {
    /// The largest share of the node's connections to the pool that is closed in a minute.
    pub share_per_minute: f64,
    /// Connections that every backend keeps.
    pub floor: u32,
}

impl Default for RebalanceSettings {
    /// A client is made to connect anew once in four minutes at most, and after a rolling restart it is
    /// done in about as long. A floor of more than one would be above the fair part of a node with few
    /// connections to many backends.
    fn default() -> Self {
        Self { share_per_minute: 0.25, floor: 1 }
    }
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
    /// Whether a sentinel is kept to each backend.
    pub sentinel: bool,
    /// Time between pings over a sentinel while all is calm.
    pub ping_interval: Duration,
    /// Every how many probes one goes over a connection of its own, though there is a sentinel.
    pub fresh_every: u32,
    /// How long a backend may drain before its established connections are closed; `None` for ever.
    pub drain_close_after: Option<Duration>,
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
            sentinel: true,
            ping_interval: Duration::from_millis(600),
            fresh_every: 10,
            drain_close_after: None,
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
    /// What clients speak to it.
    pub protocol: Protocol,
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
    /// How one of the eligible backends is chosen.
    pub policy: Policy,
    /// Which backends are too old to serve it.
    pub version_skew: VersionSkew,
    /// The oldest minor version that may serve it.
    pub min_version: Option<KubeVersion>,
}

impl Default for FrontendSettings {
    fn default() -> Self {
        Self {
            name: String::new(),
            kind: FrontendKind::Vip,
            protocol: Protocol::Tcp,
            addresses: Vec::new(),
            pool: String::new(),
            scope: ScopeSetting::Host,
            on_empty: OnEmpty::PassThrough,
            coverage: Coverage::Address,
            policy: Policy::Random,
            version_skew: VersionSkew::Off,
            min_version: None,
        }
    }
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

/// Which backends are too old to serve a frontend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum VersionSkew {
    /// None.
    Off,
    /// Those older than the newest of the pool.
    PreferNewest,
    /// Those older than this node's kubelet.
    Kubelet,
}

impl VersionSkew {
    /// The word for it in configuration and status.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::PreferNewest => "prefer-newest",
            Self::Kubelet => "kubelet",
        }
    }
}

impl FrontendSettings {
    /// The addresses of a node-address frontend of this pool.
    pub(crate) fn node_addresses<'a>(&'a self, pool: &'a PoolSettings) -> Vec<&'a SocketAddr> {
        let PoolSettings { endpoints, discovered, .. } = pool;
        if self.addresses.is_empty() {
            return endpoints.iter().collect();
        }
        let named = self.addresses.iter();
        named.filter(|address| !discovered || endpoints.contains(address)).collect()
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
        for pool in &mut self.pools {
            let standings = std::mem::take(&mut pool.standings);
            pool.standings =
                standings.into_iter().map(|(addr, one)| (canonical(addr), one)).collect();
        }
        self
    }
}

/// The address in the form the maps hold.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    let (ip, port) = addr::split(address);
    addr::join(ip, port)
}
