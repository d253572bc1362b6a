//! Taking a backend out by hand, and for a drill.

use std::net::SocketAddr;
use std::time::Duration;

/// What an operator, or a drill, wants of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drain {
    /// No new connections.
    On {
        /// When to close the established ones; `None` for never.
        close_after: Option<Duration>,
        /// Even if nobody eligible is left.
        force: bool,
    },
    /// Out of service for a drill, beside what an operator ordered. The same order again renews it.
    Drill {
        /// What is rehearsed.
        how: Drill,
        /// When it ends by itself.
        lease: Duration,
    },
    /// No drill any more; what an operator ordered stays.
    DrillOver,
    /// As its health says: ends both.
    Off,
}

/// What a drill does to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drill {
    /// It is drained.
    Simulate,
    /// It is treated as dead, though probes go on: unhealthy, its connections closed.
    Blackhole,
}

impl Drill {
    /// The word for it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Simulate => "simulate",
            Self::Blackhole => "blackhole",
        }
    }
}

/// Why a drill ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrillEnd {
    /// Somebody ended it.
    Asked,
    /// Nobody renewed it.
    LeaseOver,
    /// Nobody else of the pool may get connections any more.
    NobodyElse,
}

impl DrillEnd {
    /// It in words.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Asked => "it was ended",
            Self::LeaseOver => "nobody renewed its lease",
            Self::NobodyElse => "no other backend may get connections any more",
        }
    }
}

/// Why a backend is not drained. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DrainError {
    /// No pool has the address.
    #[error("no backend has the address {addr}; there are {}", list(known))]
    Unknown {
        /// The address asked for.
        addr: SocketAddr,
        /// Those there are.
        known: Vec<SocketAddr>,
    },
    /// Nobody else of its pool would be left.
    #[error(
        "{addr} is the last eligible backend of pool {pool}; drain it with --force if that is meant"
    )]
    Last {
        /// The address asked for.
        addr: SocketAddr,
        /// Its pool.
        pool: String,
    },
    /// An operator drained it, and a drill is to change nothing of that.
    #[error("{0} is drained by an operator, so it is in no drill; undrain it first")]
    Drained(SocketAddr),
    /// A drill would leave its pool without anybody.
    #[error(
        "no other backend of pool {pool} may get connections, so {addr} is in no drill; \
         wait until another one is healthy"
    )]
    Alone {
        /// The address asked for.
        addr: SocketAddr,
        /// Its pool.
        pool: String,
    },
}

fn list(known: &[SocketAddr]) -> String {
    if known.is_empty() {
        return "none".to_owned();
    }
    known.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ")
}
