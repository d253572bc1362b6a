//! What the kernel knows of a connection, from `struct tcp_info`.

use nix::sys::socket::getsockopt;
use nix::{getsockopt_impl, sockopt_impl};
use std::os::fd::AsFd;

// Where the fields are that are wanted, as the kernel has laid them out for good (`uapi/linux/tcp.h`); as bytes,
// since the end of the struct differs by kernel and by C library. The last has been there since Linux 5.4.
const UNACKNOWLEDGED: usize = 24;
const PATH_MTU: usize = 60;
const TOTAL_RETRANSMITTED: usize = 100;
const LEAST_ROUND_TRIP: usize = 148;
const OUT_OF_ORDER: usize = 224;
const LENGTH: usize = OUT_OF_ORDER + 4;

sockopt_impl!(
    /// `TCP_INFO` up to the segments that were out of order.
    Raw,
    GetOnly,
    libc::IPPROTO_TCP,
    libc::TCP_INFO,
    [u8; LENGTH]
);

/// What the kernel knows of a connection.
pub(super) struct TcpInfo([u8; LENGTH]);

impl TcpInfo {
    /// `None` when the kernel does not say.
    pub(super) fn of(socket: &impl AsFd) -> Option<Self> {
        getsockopt(socket, Raw).ok().map(Self)
    }

    /// Segments sent that the peer did not acknowledge yet.
    pub(super) fn unacknowledged(&self) -> u32 {
        self.word(UNACKNOWLEDGED)
    }

    /// Octets of the largest packet that the way is known to take.
    pub(super) fn path_mtu(&self) -> u32 {
        self.word(PATH_MTU)
    }

    /// Segments that were sent again, so far.
    pub(super) fn retransmitted(&self) -> u32 {
        self.word(TOTAL_RETRANSMITTED)
    }

    /// The shortest round trip seen, in microseconds.
    pub(super) fn least_round_trip_us(&self) -> u32 {
        self.word(LEAST_ROUND_TRIP)
    }

    /// Segments that came before an earlier one.
    pub(super) fn out_of_order(&self) -> u32 {
        self.word(OUT_OF_ORDER)
    }

    fn word(&self, at: usize) -> u32 {
        self.0[at..].first_chunk().copied().map_or(0, u32::from_ne_bytes)
    }
}
