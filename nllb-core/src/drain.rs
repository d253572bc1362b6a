//! Taking a backend out by hand.

use std::net::SocketAddr;
use std::time::Duration;

/// What an operator wants of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drain {
    /// No new connections.
    On {
        /// When to close the established ones; `None` for never.
        close_after: Option<Duration>,
        /// Even if nobody eligible is left.
        force: bool,
    },
    /// As its health says.
    Off,
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
}

fn list(known: &[SocketAddr]) -> String {
    if known.is_empty() {
        return "none".to_owned();
    }
    known.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ")
}
