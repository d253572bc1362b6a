//! What is kept per socket, and per network namespace.

use super::health::at_least_none;

/// What is known of a socket. Bits of [`SocketRecord::flags`].
pub mod socket_flags {
    /// A probe of the agent: never translated; its handshake clears suspicion and tells the
    /// round-trip time, its failure says nothing here.
    pub const BYPASS: u32 = 1;
    /// `TCP_USER_TIMEOUT` was shortened to cut the SYN; restore it when established.
    pub const CUT: u32 = 2;
    /// Counted in the active connections.
    pub const COUNTED: u32 = 4;
    /// Its SYN went unanswered at least once.
    pub const SILENT: u32 = 8;
    /// `TCP_USER_TIMEOUT` was shortened to end it, because its backend fell silent while there was no
    /// agent; restore it when the backend is heard again.
    pub const ENDING: u32 = 16;
    /// It dialled the backend's own address and was left alone, only noted.
    pub const KEPT: u32 = 32;
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
    /// `TCP_USER_TIMEOUT` before we shortened it, in milliseconds.
    pub user_timeout_ms: u32,
    /// Process that connected it, as the first process-id namespace numbers it.
    pub tgid: u32,
    /// When the data that waits for an acknowledgement was sent, in milliseconds of the monotonic clock
    /// (they wrap). Holds from the first retransmission timeout in a row on.
    pub silent_since_ms: u32,
}

/// Value of NETNS: a network namespace that has or had translated connections.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Netns {
    /// Translated connections that are established now.
    pub active: u64,
    /// The last process that connected from there: where to look for the namespace. It may be gone.
    pub tgid: u32,
    /// When a datagram socket last connected from there, in seconds of the monotonic clock, never 0; 0 when
    /// none did. Nobody counts those that are open.
    pub datagram_s: u32,
}

impl Netns {
    /// Translated connections that are established now. Fewer than none, when an entry was forgotten
    /// and came back while connections were open, count as none.
    #[must_use]
    pub const fn connections(&self) -> u64 {
        at_least_none(self.active)
    }
}
