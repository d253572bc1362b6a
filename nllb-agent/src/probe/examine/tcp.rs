//! What TCP saw of the way, from `struct tcp_info`.

use crate::doctor::backends::Path;
use nix::sys::socket::getsockopt;
use nix::{getsockopt_impl, sockopt_impl};
use std::os::fd::AsFd;

/// Where the fields are that are wanted, as the kernel has laid them out for good
/// (`uapi/linux/tcp.h`). The last is there since Linux 5.4.
const UNACKNOWLEDGED: usize = 24;
const PATH_MTU: usize = 60;
const TOTAL_RETRANSMITTED: usize = 100;
const LEAST_ROUND_TRIP: usize = 148;
const OUT_OF_ORDER: usize = 224;
const LENGTH: usize = OUT_OF_ORDER + 4;

sockopt_impl!(
    /// `TCP_INFO` up to the segments that were out of order.
    TcpInfo,
    GetOnly,
    libc::IPPROTO_TCP,
    libc::TCP_INFO,
    [u8; LENGTH]
);

/// What is known of the way of a connection.
pub(super) fn path(socket: &impl AsFd) -> Option<Path> {
    let info = getsockopt(socket, TcpInfo).ok()?;
    let word = |at: usize| info[at..].first_chunk().copied().map_or(0, u32::from_ne_bytes);
    Some(Path {
        mtu: word(PATH_MTU),
        retransmitted: word(TOTAL_RETRANSMITTED),
        unacknowledged: word(UNACKNOWLEDGED),
        out_of_order: word(OUT_OF_ORDER),
        round_trip_us: word(LEAST_ROUND_TRIP),
    })
}
