//! Why a connect was not translated, and which counter that is.

use nllb_common::Counter;

/// The kernel lets the connect go on.
pub(crate) const ALLOW: i32 = 1;
/// The kernel fails the connect.
pub(crate) const DENY: i32 = 0;

/// Why a connect was not translated.
#[derive(Clone, Copy)]
pub(crate) enum Error {
    /// Neither TCP nor, while that has frontends, UDP.
    OtherProtocol,
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
    /// The counter of this outcome.
    #[inline(always)]
    pub(crate) const fn counter(self) -> Counter {
        match self {
            Self::OtherProtocol | Self::Unmatched => Counter::Unmatched,
            Self::Bypassed => Counter::Bypassed,
            Self::BoundSocket => Counter::SkippedBound,
            Self::NoMemory => Counter::StorageFailed,
            Self::NoBackend => Counter::PassedThrough,
            Self::Refused => Counter::Refused,
        }
    }
}
