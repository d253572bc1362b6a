//! Keys, values, names and sizes of the maps.
//!
//! Every type is `repr(C)` without padding and is read or written as a whole only where nobody else
//! writes at the same time. A value wider than a word can be read torn, hence: the backends of a
//! pool change by swapping a whole inner map, a verdict is one aligned word, evidence is touched one
//! word at a time.

mod client;
mod datagram;
mod frontend;
mod guest;
mod health;
mod pool;
mod socket;
mod vip;

pub use client::{Client, Favourite};
pub use datagram::{Exchange, Exchanges, MAX_EXCHANGES, Past};
pub use frontend::{Frontend, FrontendKey, NO_HOME, Policy, Protocol, Scope, frontend_flags};
pub use guest::{Flow, FlowKey, FlowKind, FlowTag, Guest, closing, flow_state};
pub use health::{Evidence, SUSPECT_ANYWAY, State, Verdict, at_least_none};
pub use pool::{MAGLEV_ENTRIES, NO_BACKEND, PoolSet, SELF_TEST_BACKEND, Slot};
pub use socket::{Netns, SocketRecord, socket_flags};
pub use vip::{
    MAX_VIP_MEMBERS, NO_MEMBER, VIP_FLOWS_PER_CPU, VIP_GENERATIONS, VIP_SETS, VIP_STATS_ENTRIES,
    VipControl, VipEntry, VipFlow, VipMember, VipOutcome, VipSet, VipWay, VipWays, mac_bytes,
    mac_word, way_flags,
};

// The maps have room for two configurations: a new one is written before the old one goes, so any
// configuration that fits can follow any other. See the limits in `nllb-core`.

/// Entries of FRONTENDS (a frontend for both scopes takes two per address).
pub const MAX_FRONTENDS: u32 = 2048;
/// Entries of POOLS.
pub const MAX_POOLS: u32 = 128;
/// Most backends in one pool: control planes have 3 to 7, and the choice must stay a short loop.
pub const MAX_POOL_BACKENDS: usize = 16;
/// Entries of VERDICT and EVIDENCE.
pub const MAX_BACKENDS: u32 = 256;
/// Most network namespaces with translated connections that are tracked at once.
pub const MAX_NETNS: u32 = 4096;
/// Most interfaces with a guest behind them.
pub const MAX_GUESTS: u32 = 1024;
/// Clients whose last backend is kept at least for [`Policy::Affinity`]; the least recently used is
/// forgotten.
pub const MAX_CLIENTS: u32 = 4096;
/// Entries of TURNS for one pool: one for each of its slots.
#[expect(clippy::cast_possible_truncation, reason = "a small number")]
pub const TURNS_PER_POOL: u32 = MAX_POOL_BACKENDS as u32;
/// Entries of TURNS.
pub const MAX_TURNS: u32 = MAX_POOLS * TURNS_PER_POOL;
/// Bytes of the event ring buffer: 2,700 events, far above what the rate limit lets through.
pub const EVENTS_BYTES: usize = 1 << 16;
/// Entries of the STATS map, with room for counters to come.
pub const STATS_ENTRIES: u32 = 64;

const _: () = assert!(crate::Counter::ALL.len() < STATS_ENTRIES as usize);

/// Names of the maps, which are also the names of their pins.
pub mod names {
    /// Address and protocol dialled to frontend.
    pub const FRONTENDS: &str = "FRONTENDS";
    /// Pool id to its backends.
    pub const POOLS: &str = "POOLS";
    /// Backend id to the agent's word on it.
    pub const VERDICT: &str = "VERDICT";
    /// Backend id to what the kernel saw of it.
    pub const EVIDENCE: &str = "EVIDENCE";
    /// Socket to the translation it got.
    pub const SOCKS: &str = "SOCKS";
    /// Datagram socket to where its datagrams went.
    pub const DATAGRAMS: &str = "DATAGRAMS";
    /// Cookie of a datagram socket to the backend that it was connected to.
    pub const DATAGRAM_PEERS: &str = "DATAGRAM_PEERS";
    /// Network namespace cookie to its live connections.
    pub const NETNS: &str = "NETNS";
    /// Pool and slot to when that slot was last chosen, for round robin.
    pub const TURNS: &str = "TURNS";
    /// Client to the backend it had last, for affinity.
    pub const CLIENTS: &str = "CLIENTS";
    /// Counters.
    pub const STATS: &str = "STATS";
    /// Events.
    pub const EVENTS: &str = "EVENTS";
    /// Lease and limits.
    pub const CONTROL: &str = "CONTROL";
    /// What of the control-plane VIP is served.
    pub const VIP_CONTROL: &str = "VIP_CONTROL";
    /// Until when this host is the VIP's owner.
    pub const VIP_OWNER: &str = "VIP_OWNER";
    /// The VIP's members, by family and generation.
    pub const VIP_SETS: &str = "VIP_SETS";
    /// The ways to them, likewise.
    pub const VIP_WAYS: &str = "VIP_WAYS";
    /// To whom the flows of clients were sent.
    pub const VIP_FLOWS: &str = "VIP_FLOWS";
    /// Counters of the VIP's packets.
    pub const VIP_STATS: &str = "VIP_STATS";
    /// Interface to the table of the guest behind it.
    pub const GUESTS: &str = "GUESTS";
    /// Interface to what is noted of the guest behind it.
    pub const GUEST_STATES: &str = "GUEST_STATES";
    /// Every map, in the order in which they are listed to a user.
    pub const ALL: [&str; 21] = [
        FRONTENDS,
        POOLS,
        VERDICT,
        EVIDENCE,
        SOCKS,
        DATAGRAMS,
        DATAGRAM_PEERS,
        NETNS,
        TURNS,
        CLIENTS,
        STATS,
        EVENTS,
        CONTROL,
        VIP_CONTROL,
        VIP_OWNER,
        VIP_SETS,
        VIP_WAYS,
        VIP_FLOWS,
        VIP_STATS,
        GUESTS,
        GUEST_STATES,
    ];
}

/// What the kernel programs are to do besides. Bits of [`Control::flags`].
pub mod control_flags {
    /// Give every translated connection a limit of its own on silence, since nobody can close it: the
    /// kernel has no `CONFIG_INET_DIAG_DESTROY`, or the operator wants it so.
    pub const SHORT_TIMEOUTS: u32 = 1;
    /// Translate datagrams: there are frontends for them, and the programs that translate answers back are
    /// attached.
    pub const DATAGRAMS: u32 = 2;
}

/// Value of CONTROL: the agent's proof of life and the limits of the kernel programs.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control {
    /// The verdicts are to be believed until then, in nanoseconds of `CLOCK_MONOTONIC`.
    pub lease_until_ns: u64,
    /// Cookie of the host's network namespace; 0 while not known.
    pub host_netns: u64,
    /// Ticks per second, to turn times into jiffies.
    pub hz: u32,
    /// Shortest wait for the answer to a SYN, in milliseconds.
    pub syn_floor_ms: u32,
    /// Least time between two events about a backend, in milliseconds.
    pub event_interval_ms: u32,
    /// Zero, and must stay so: it hides constants from the verifier, see [`crate::pick::Request`].
    pub zero: u32,
    /// Bits of [`control_flags`].
    pub flags: u32,
    /// Keeps the layout free of padding; zero.
    pub reserved: u32,
}

impl Control {
    /// Limits that hold when the configuration says nothing; the lease has lapsed.
    ///
    /// 80 ms is above any round trip inside one region with room for a busy host, and twice that
    /// still leaves a failed connect well under the 300 ms we promise. 10 ms between events lets an
    /// agent start a probe per event without ever being flooded.
    #[must_use]
    pub const fn new(hz: u32) -> Self {
        Self {
            lease_until_ns: 0,
            host_netns: 0,
            hz,
            syn_floor_ms: 80,
            event_interval_ms: 10,
            zero: 0,
            flags: 0,
            reserved: 0,
        }
    }
}

const _: () = {
    assert!(size_of::<FrontendKey>() == 20 && align_of::<FrontendKey>() == 4);
    assert!(size_of::<Slot>() == 28);
    assert!(size_of::<PoolSet>() == 4 + 28 * MAX_POOL_BACKENDS + 252);
    assert!(size_of::<Verdict>() == 8 && align_of::<Verdict>() == 8);
    assert!(size_of::<Evidence>() == 56 && align_of::<Evidence>() == 8);
    assert!(size_of::<SocketRecord>() == 40);
    assert!(size_of::<Exchange>() == 48 && align_of::<Exchange>() == 4);
    assert!(size_of::<Exchanges>() == 4 + 48 * MAX_EXCHANGES);
    assert!(size_of::<Netns>() == 16);
    assert!(size_of::<Client>() == 16 && align_of::<Client>() == 8);
    assert!(size_of::<Control>() == 40);
    assert!(size_of::<FlowTag>() == 16 && align_of::<FlowTag>() == 8);
    assert!(size_of::<Flow>() == 60 && align_of::<Flow>() == 4);
    assert!(size_of::<Guest>() == 32 && align_of::<Guest>() == 8);
};

/// What aya needs to move these types to and from the kernel.
#[cfg(feature = "pod")]
mod pod {
    use super::{
        Client, Control, Evidence, Flow, FlowTag, FrontendKey, Guest, Netns, PoolSet, SocketRecord,
        Verdict, VipControl, VipSet, VipWay,
    };
    use aya::Pod;

    // SAFETY: `repr(C)`, no padding (the size asserts above), and every bit pattern is valid: the
    // fields are integers or wrap integers.
    unsafe impl Pod for FrontendKey {}
    // SAFETY: as above.
    unsafe impl Pod for PoolSet {}
    // SAFETY: as above; unknown state numbers are read as `State::Unknown`.
    unsafe impl Pod for Verdict {}
    // SAFETY: as above.
    unsafe impl Pod for Evidence {}
    // SAFETY: as above.
    unsafe impl Pod for SocketRecord {}
    // SAFETY: as above.
    unsafe impl Pod for Netns {}
    // SAFETY: as above.
    unsafe impl Pod for Client {}
    // SAFETY: as above.
    unsafe impl Pod for Control {}
    // SAFETY: as above.
    unsafe impl Pod for VipControl {}
    // SAFETY: as above.
    unsafe impl Pod for VipSet {}
    // SAFETY: as above.
    unsafe impl Pod for VipWay {}
    // SAFETY: as above.
    unsafe impl Pod for FlowTag {}
    // SAFETY: as above.
    unsafe impl Pod for Flow {}
    // SAFETY: as above.
    unsafe impl Pod for Guest {}
}
