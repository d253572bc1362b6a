//! Why a connect was not translated, and which counter that is.

use nllb_common::Counter;

/// The kernel lets the connect go on.
pub(crate) const ALLOW: i32 = 1;
/// The kernel fails the connect.
pub(crate) const DENY: i32 = 0;

/// Why a connect was not translated.
#[derive(Clone, Copy)]
pub(crate) enum Error {
    /// Of another protocol than the program is for, or a single datagram to somebody else: there can be very many, and
    /// they are not counted.
    NotOurs,
    /// No frontend has this address.
    Unmatched,
    /// A probe of the agent.
    Bypassed,
    /// Bound to loopback or a device: rewriting would break it.
    BoundSocket,
    /// There is no memory to translate answers back.
    NoMemory,
    /// The pool has no backend that the socket can reach.
    NoBackend,
    /// As above, and the frontend wants that to fail at once.
    Refused,
}

impl Error {
    /// The counter of this outcome, if it has one.
    #[inline(always)]
    pub(crate) const fn counter(self) -> Option<Counter> {
        Some(match self {
            Self::NotOurs => return None,
            Self::Unmatched => Counter::Unmatched,
            Self::Bypassed => Counter::Bypassed,
            Self::BoundSocket => Counter::SkippedBound,
            Self::NoMemory => Counter::StorageFailed,
            Self::NoBackend => Counter::PassedThrough,
            Self::Refused => Counter::Refused,
        })
    }
}
