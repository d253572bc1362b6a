//! Keys, values, names and sizes of the maps.
//!
//! Every type is `repr(C)` without padding and is read or written as a whole only where nobody else
//! writes at the same time. A value wider than a word can be read torn, hence: the backends of a
//! pool change by swapping a whole inner map, a verdict is one aligned word, evidence is touched by
//! atomics only.

use crate::addr::{Addr, Family, Port};

/// Most frontend keys at once (a frontend for both scopes takes two).
pub const MAX_FRONTENDS: u32 = 1024;
/// Most pools at once.
pub const MAX_POOLS: u32 = 64;
/// Most backends in one pool: control planes have 3 to 7, and the choice must stay a short loop.
pub const MAX_POOL_BACKENDS: usize = 16;
/// Most backends known at once, over all pools.
pub const MAX_BACKENDS: u32 = 256;
/// Most network namespaces with translated connections that are tracked at once.
pub const MAX_NETNS: u32 = 4096;
/// Bytes of the event ring buffer: 2,700 events, far above what the rate limit lets through.
pub const EVENTS_BYTES: usize = 1 << 16;
/// Entries of the STATS map, with room for counters to come.
pub const STATS_ENTRIES: u32 = 64;

const _: () = assert!(crate::Counter::ALL.len() < STATS_ENTRIES as usize);

/// Names of the maps, which are also the names of their pins.
pub mod names {
    /// Address dialled to frontend.
    pub const FRONTENDS: &str = "FRONTENDS";
    /// Pool id to its backends.
    pub const POOLS: &str = "POOLS";
    /// Backend id to the agent's word on it.
    pub const VERDICT: &str = "VERDICT";
    /// Backend id to what the kernel saw of it.
    pub const EVIDENCE: &str = "EVIDENCE";
    /// Socket to the translation it got.
    pub const SOCKS: &str = "SOCKS";
    /// Network namespace cookie to its live connections.
    pub const NETNS: &str = "NETNS";
    /// Counters.
    pub const STATS: &str = "STATS";
    /// Events.
    pub const EVENTS: &str = "EVENTS";
    /// Lease and limits.
    pub const CONTROL: &str = "CONTROL";
    /// Every map, in the order in which they are listed to a user.
    pub const ALL: [&str; 9] =
        [FRONTENDS, POOLS, VERDICT, EVIDENCE, SOCKS, NETNS, STATS, EVENTS, CONTROL];
}

/// From which network namespaces a frontend can be dialled.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// The host's network namespace.
    Host = 0,
    /// Every other one.
    Other = 1,
}

/// `IPPROTO_TCP`.
pub const TCP: u8 = 6;

/// Key of FRONTENDS: what was dialled and from where.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FrontendKey {
    addr: Addr,
    port: Port,
    protocol: u8,
    scope: u8,
}

impl FrontendKey {
    /// A TCP frontend at `addr`:`port`, dialled from `scope`.
    #[inline(always)]
    #[must_use]
    pub const fn tcp(addr: Addr, port: Port, scope: Scope) -> Self {
        Self { addr, port, protocol: TCP, scope: scope as u8 }
    }

    /// The address that is dialled.
    #[must_use]
    pub const fn addr(&self) -> Addr {
        self.addr
    }

    /// The port that is dialled.
    #[must_use]
    pub const fn port(&self) -> Port {
        self.port
    }

    /// The scope, if the number is one.
    #[must_use]
    pub const fn scope(&self) -> Scope {
        if self.scope == Scope::Host as u8 { Scope::Host } else { Scope::Other }
    }
}

/// What makes a frontend special. Bits of [`Frontend::flags`].
pub mod frontend_flags {
    /// Fail the connect at once when the pool has no backend, instead of leaving it alone.
    pub const FAIL_WHEN_EMPTY: u16 = 1;
    /// The address is a backend's own: translate only away from it (see [`Frontend::home`]).
    ///
    /// [`Frontend::home`]: super::Frontend::home
    pub const NODE_ADDRESS: u16 = 2;
    /// The agent's self-test: counted as nothing else.
    pub const SELF_TEST: u16 = 4;
}

/// A backend id that names none.
pub const NO_BACKEND: u32 = u32::MAX;
/// Backend id of the self-test's listeners: outside the maps, so that nothing is kept about them.
pub const SELF_TEST_BACKEND: u32 = u32::MAX - 1;

/// What an address dialled leads to; FRONTENDS holds it as one word ([`Frontend::word`]), because an
/// entry of a hash map can be replaced while a program reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frontend {
    /// Id of the frontend, for events and socket records.
    pub id: u16,
    /// Index into POOLS.
    pub pool: u16,
    /// For a node address: id of the backend whose own address it is; else [`NO_HOME`].
    pub home: u16,
    /// Bits of [`frontend_flags`].
    pub flags: u16,
}

/// A [`Frontend::home`] that names no backend.
pub const NO_HOME: u16 = u16::MAX;

const _: () = assert!(MAX_BACKENDS < NO_HOME as u32 && MAX_POOLS <= u16::MAX as u32);

#[expect(clippy::cast_possible_truncation, reason = "bit fields, in const")]
impl Frontend {
    /// The word in the map: bits 0..16 id, 16..32 pool, 32..48 home, 48..64 flags.
    #[must_use]
    pub const fn word(self) -> u64 {
        let Self { id, pool, home, flags } = self;
        id as u64 | (pool as u64) << 16 | (home as u64) << 32 | (flags as u64) << 48
    }

    /// From the word in the map.
    #[inline(always)]
    #[must_use]
    pub const fn from_word(word: u64) -> Self {
        Self {
            id: word as u16,
            pool: (word >> 16) as u16,
            home: (word >> 32) as u16,
            flags: (word >> 48) as u16,
        }
    }
}

/// One backend of a pool.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Address, v4 as v4-mapped.
    pub addr: Addr,
    /// Port.
    pub port: Port,
    /// [`Family`] of the address as its number, so that the choice need not work it out.
    pub family: u16,
    /// Index into VERDICT and EVIDENCE.
    pub backend: u32,
    /// Epoch of that id: verdict and evidence of another epoch are about another backend.
    pub epoch: u32,
}

impl Slot {
    /// A slot that holds nothing.
    pub const EMPTY: Self = Self {
        addr: Addr::UNSPECIFIED,
        port: Port::new(0),
        family: Family::V6 as u16,
        backend: NO_BACKEND,
        epoch: 0,
    };

    /// A backend at `addr`:`port`.
    #[must_use]
    pub const fn new(addr: Addr, port: Port, backend: u32, epoch: u32) -> Self {
        Self { addr, port, family: addr.family() as u16, backend, epoch }
    }
}

/// Value of the inner maps of POOLS: all backends of a pool, never changed once published.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolSet {
    /// How many of `slots` are in use.
    pub len: u32,
    /// The backends; those from `len` on are [`Slot::EMPTY`].
    pub slots: [Slot; MAX_POOL_BACKENDS],
}

impl PoolSet {
    /// A pool without backends.
    pub const EMPTY: Self = Self { len: 0, slots: [Slot::EMPTY; MAX_POOL_BACKENDS] };

    /// A pool of these backends; `None` when they are more than [`MAX_POOL_BACKENDS`].
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "at most MAX_POOL_BACKENDS")]
    pub fn new(slots: &[Slot]) -> Option<Self> {
        let mut set = Self { len: slots.len() as u32, ..Self::EMPTY };
        set.slots.get_mut(..slots.len())?.copy_from_slice(slots);
        Some(set)
    }

    /// The slots in use.
    pub fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().take(self.len as usize)
    }
}

/// Health state of a backend, as the agent sees it.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Not probed yet.
    Unknown = 0,
    /// Ready for connections.
    Healthy = 1,
    /// Alive, readiness not known or impaired; used when nothing better is there.
    Degraded = 2,
    /// Alive, but gets no new connections: not ready, shutting down, or drained by an operator.
    Draining = 3,
    /// Dead or unreachable.
    Unhealthy = 4,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 5] =
        [Self::Unknown, Self::Healthy, Self::Degraded, Self::Draining, Self::Unhealthy];

    /// The word for it in status, logs and metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Draining => "draining",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// Value of VERDICT: the agent's word on a backend, in one aligned word.
///
/// Bits 0..8 state, 8..16 band, 16..32 weight, 32..64 epoch.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict(u64);

#[expect(clippy::cast_possible_truncation, reason = "bit fields, in const")]
impl Verdict {
    /// A verdict on the backend that has `epoch`.
    #[must_use]
    pub const fn new(state: State, band: u8, weight: u16, epoch: u32) -> Self {
        Self(state as u64 | (band as u64) << 8 | (weight as u64) << 16 | (epoch as u64) << 32)
    }

    /// From the word in the map.
    #[inline(always)]
    #[must_use]
    pub const fn from_word(word: u64) -> Self {
        Self(word)
    }

    /// The word in the map.
    #[must_use]
    pub const fn word(self) -> u64 {
        self.0
    }

    /// The state; a number that is none reads as [`State::Unknown`].
    #[inline(always)]
    #[must_use]
    pub const fn state(self) -> State {
        match self.0 as u8 {
            1 => State::Healthy,
            2 => State::Degraded,
            3 => State::Draining,
            4 => State::Unhealthy,
            _ => State::Unknown,
        }
    }

    /// The number of the state, not checked to be one.
    #[inline(always)]
    #[must_use]
    pub const fn state_number(self) -> u32 {
        self.0 as u8 as u32
    }

    /// Latency class, lowest first.
    #[inline(always)]
    #[must_use]
    pub const fn band(self) -> u8 {
        (self.0 >> 8) as u8
    }

    /// Share within the band; 0 counts as 1.
    #[inline(always)]
    #[must_use]
    pub const fn weight(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// Epoch of the backend it is about.
    #[inline(always)]
    #[must_use]
    pub const fn epoch(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// Value of EVIDENCE: what the kernel saw of a backend. Written by atomics only, one field at a
/// time; the agent writes it as a whole only before it first uses the id for another backend.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Evidence {
    /// De-preferred until then, in nanoseconds of `CLOCK_MONOTONIC`; 0 when not suspect.
    pub suspect_until_ns: u64,
    /// Last time a connection was established, in nanoseconds of `CLOCK_MONOTONIC`.
    pub last_success_ns: u64,
    /// Last time an event was written for it, in nanoseconds of `CLOCK_MONOTONIC`.
    pub last_event_ns: u64,
    /// Translated connections that are established now.
    pub active: u64,
    /// Translated connections established since the id was taken.
    pub established: u64,
    /// Failed connects in a row.
    pub fail_streak: u32,
    /// Smoothed round-trip time of the last handshake in microseconds; 0 when none was seen.
    pub srtt_us: u32,
    /// Epoch of the backend this is about.
    pub epoch: u32,
    /// Keeps the layout free of padding; zero.
    pub reserved: u32,
}

impl Evidence {
    /// Nothing seen yet of the backend that has `epoch`.
    #[must_use]
    pub const fn fresh(epoch: u32) -> Self {
        Self {
            suspect_until_ns: 0,
            last_success_ns: 0,
            last_event_ns: 0,
            active: 0,
            established: 0,
            fail_streak: 0,
            srtt_us: 0,
            epoch,
            reserved: 0,
        }
    }
}

/// What is known of a socket. Bits of [`SocketRecord::flags`].
pub mod socket_flags {
    /// A probe of the agent: never translated, gives no evidence but its round-trip time.
    pub const BYPASS: u32 = 1;
    /// `TCP_USER_TIMEOUT` was shortened to cut the SYN; restore it when established.
    pub const CUT: u32 = 2;
    /// Counted in the active connections.
    pub const COUNTED: u32 = 4;
    /// Its SYN went unanswered at least once.
    pub const SILENT: u32 = 8;
}

/// Value of SOCKS: the translation that a socket got.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SocketRecord {
    /// Cookie of the socket's network namespace.
    pub netns: u64,
    /// Id of the frontend dialled.
    pub frontend: u32,
    /// Index into POOLS at that time.
    pub pool: u32,
    /// Id of the backend chosen.
    pub backend: u32,
    /// Epoch of that backend.
    pub epoch: u32,
    /// Bits of [`socket_flags`].
    pub flags: u32,
    /// `TCP_USER_TIMEOUT` before the cut, in milliseconds.
    pub user_timeout_ms: u32,
}

/// Value of NETNS: a network namespace that has or had translated connections.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Netns {
    /// Translated connections that are established now.
    pub active: u64,
    /// Bits of [`netns_flags`].
    pub flags: u64,
}

/// Bits of [`Netns::flags`].
pub mod netns_flags {
    /// The host's own network namespace.
    pub const HOST: u64 = 1;
    /// Leave every connect from here alone.
    pub const SKIP: u64 = 2;
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
        }
    }
}

const _: () = {
    assert!(size_of::<FrontendKey>() == 20 && align_of::<FrontendKey>() == 4);
    assert!(size_of::<Slot>() == 28);
    assert!(size_of::<PoolSet>() == 4 + 28 * MAX_POOL_BACKENDS);
    assert!(size_of::<Verdict>() == 8 && align_of::<Verdict>() == 8);
    assert!(size_of::<Evidence>() == 56 && align_of::<Evidence>() == 8);
    assert!(size_of::<SocketRecord>() == 32);
    assert!(size_of::<Netns>() == 16);
    assert!(size_of::<Control>() == 32);
};

/// What aya needs to move these types to and from the kernel.
#[cfg(feature = "pod")]
mod pod {
    use super::{Control, Evidence, FrontendKey, Netns, PoolSet, SocketRecord, Verdict};
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
    unsafe impl Pod for Control {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_pool_takes_as_many_backends_as_it_has_slots_and_no_more() {
        let full = [Slot::EMPTY; MAX_POOL_BACKENDS];
        assert_eq!(PoolSet::new(&full).map(|p| p.iter().count()), Some(MAX_POOL_BACKENDS));
        assert_eq!(PoolSet::new(&[Slot::EMPTY; MAX_POOL_BACKENDS + 1]), None);
    }

    proptest! {
        #[test]
        fn a_frontend_survives_its_word(id: u16, pool: u16, home: u16, flags: u16) {
            let frontend = Frontend { id, pool, home, flags };
            prop_assert_eq!(Frontend::from_word(frontend.word()), frontend);
        }

        #[test]
        fn a_verdict_keeps_its_fields_apart(
            state in 0..State::ALL.len(), band: u8, weight: u16, epoch: u32
        ) {
            let state = State::ALL[state];
            let verdict = Verdict::from_word(Verdict::new(state, band, weight, epoch).word());
            prop_assert_eq!(verdict.state(), state);
            prop_assert_eq!(verdict.band(), band);
            prop_assert_eq!(verdict.weight(), weight);
            prop_assert_eq!(verdict.epoch(), epoch);
        }
    }
}
