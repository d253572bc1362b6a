//! What an address dialled leads to: key and value of FRONTENDS.

use super::{MAX_BACKENDS, MAX_POOLS};
use crate::addr::{Addr, Port};

/// From which network namespaces a frontend can be dialled.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// The host's network namespace.
    Host = 0,
    /// Every other one.
    Other = 1,
}

/// What clients speak to a frontend, by its number in a packet.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// Connections.
    #[default]
    Tcp = 6,
    /// Datagrams, from connected and unconnected sockets.
    Udp = 17,
}

impl Protocol {
    /// Every protocol.
    pub const ALL: [Self; 2] = [Self::Tcp, Self::Udp];

    /// The word for it in configuration, status and metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// Key of FRONTENDS: what was dialled, how, and from where.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FrontendKey {
    addr: Addr,
    port: Port,
    protocol: u8,
    scope: u8,
}

impl FrontendKey {
    /// A frontend at `addr`:`port`, dialled from `scope`.
    #[inline(always)]
    #[must_use]
    pub const fn new(addr: Addr, port: Port, protocol: Protocol, scope: Scope) -> Self {
        Self { addr, port, protocol: protocol as u8, scope: scope as u8 }
    }

    /// As [`Self::new`] for TCP.
    #[inline(always)]
    #[must_use]
    pub const fn tcp(addr: Addr, port: Port, scope: Scope) -> Self {
        Self::new(addr, port, Protocol::Tcp, scope)
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

    /// The protocol; a number that is none reads as [`Protocol::Tcp`].
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        if self.protocol == Protocol::Udp as u8 { Protocol::Udp } else { Protocol::Tcp }
    }

    /// The scope, if the number is one.
    #[must_use]
    pub const fn scope(&self) -> Scope {
        if self.scope == Scope::Host as u8 { Scope::Host } else { Scope::Other }
    }
}

/// How one backend is chosen among the eligible ones of the best class.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Policy {
    /// At random, by weight.
    #[default]
    Random = 0,
    /// The one that waited longest for its turn on this frontend: N dials meet N backends if nobody
    /// else dials the frontend meanwhile.
    RoundRobin = 1,
    /// Of one drawn by weight and another of the rest, all alike, the one with fewer active connections
    /// from this node (M. Mitzenmacher, "The power of two choices in randomized load balancing", 2001).
    LeastConnections = 2,
    /// The same one for the same client as long as it is eligible, by a table that any agent builds
    /// alike (Eisenbud et al., "Maglev", NSDI 2016).
    Maglev = 3,
    /// The one that the client had last, as long as it is eligible; a client that was moved stays.
    Affinity = 4,
}

impl Policy {
    /// Every policy.
    pub const ALL: [Self; 5] =
        [Self::Random, Self::RoundRobin, Self::LeastConnections, Self::Maglev, Self::Affinity];

    /// The word for it in configuration, status and metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::RoundRobin => "round-robin",
            Self::LeastConnections => "least-connections",
            Self::Maglev => "maglev",
            Self::Affinity => "affinity",
        }
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
    /// Where the number of the [`Policy`](super::Policy) lies.
    pub const POLICY_SHIFT: u32 = 8;
}

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

    /// The same frontend with this policy.
    #[must_use]
    pub const fn with_policy(mut self, policy: Policy) -> Self {
        self.flags &= !(0xf << frontend_flags::POLICY_SHIFT);
        self.flags |= (policy as u16) << frontend_flags::POLICY_SHIFT;
        self
    }

    /// The number of its [`Policy`], not checked to be one.
    #[inline(always)]
    #[must_use]
    pub const fn policy_number(self) -> u32 {
        (self.flags >> frontend_flags::POLICY_SHIFT) as u32 & 0xf
    }

    /// Its policy; a number that is none reads as [`Policy::Random`].
    #[must_use]
    pub const fn policy(self) -> Policy {
        match self.policy_number() {
            1 => Policy::RoundRobin,
            2 => Policy::LeastConnections,
            3 => Policy::Maglev,
            4 => Policy::Affinity,
            _ => Policy::Random,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_key_tells_its_protocol_and_differs_by_it() {
        let key =
            |protocol| FrontendKey::new(Addr::UNSPECIFIED, Port::new(53), protocol, Scope::Other);
        for protocol in Protocol::ALL {
            assert_eq!(key(protocol).protocol(), protocol);
        }
        assert_ne!(key(Protocol::Tcp), key(Protocol::Udp));
    }

    proptest! {
        #[test]
        fn a_frontend_survives_its_word(id: u16, pool: u16, home: u16, flags: u16) {
            let frontend = Frontend { id, pool, home, flags };
            prop_assert_eq!(Frontend::from_word(frontend.word()), frontend);
        }

        #[test]
        fn a_policy_leaves_the_rest_as_it_was(flags in 0u16..8, policy in 0..Policy::ALL.len()) {
            let policy = Policy::ALL[policy];
            let frontend = Frontend { id: 1, pool: 2, home: 3, flags };
            let with = frontend.with_policy(Policy::Affinity).with_policy(policy);
            prop_assert_eq!(with.policy(), policy);
            prop_assert_eq!(with.with_policy(Policy::Random), frontend);
        }
    }
}
