//! What the kernel knows of the connection: whether the other kernel has everything that was sent.
//!
//! It tells a backend that is gone from one whose process is frozen: a frozen one's kernel goes on
//! acknowledging.

use nix::sys::socket::getsockopt;
use nix::{getsockopt_impl, sockopt_impl};
use nllb_core::TcpState;
use std::os::fd::AsFd;

/// The beginning of `struct tcp_info`, as bytes: its end differs by kernel and by C library, and what
/// is asked for has had its place since Linux 2.6.
const LENGTH: usize = UNACKED + 4;
/// Where `tcpi_unacked` is: after eight bytes and four words.
const UNACKED: usize = 8 + 4 * 4;

sockopt_impl!(
    /// The beginning of `TCP_INFO`.
    TcpInfo,
    GetOnly,
    libc::IPPROTO_TCP,
    libc::TCP_INFO,
    [u8; LENGTH]
);

/// Whether all that was sent is acknowledged. Cautious when the kernel does not say.
pub(super) fn state(socket: &impl AsFd) -> TcpState {
    let unacked = getsockopt(socket, TcpInfo)
        .ok()
        .and_then(|info| info[UNACKED..].first_chunk().copied().map(u32::from_ne_bytes));
    match unacked {
        Some(0) => TcpState::Acknowledged,
        Some(_) | None => TcpState::Silent,
    }
}
