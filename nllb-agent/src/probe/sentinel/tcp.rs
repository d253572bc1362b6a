//! What the kernel knows of the connection: whether the other kernel has everything that was sent.
//!
//! It tells a backend that is gone from one whose process is frozen: a frozen one's kernel goes on
//! acknowledging.

use crate::probe::tcp_info::TcpInfo;
use nllb_core::TcpState;
use std::os::fd::AsFd;

/// Whether all that was sent is acknowledged. Cautious when the kernel does not say.
pub(super) fn state(socket: &impl AsFd) -> TcpState {
    match TcpInfo::of(socket).map(|info| info.unacknowledged()) {
        Some(0) => TcpState::Acknowledged,
        Some(_) | None => TcpState::Silent,
    }
}
