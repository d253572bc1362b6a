//! The places where programs attach.

use std::path::{Path, PathBuf};

use crate::datapath::sys::AttachType;

/// One of the places where a program attaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hook {
    /// `connect(2)` on v4 sockets.
    Connect4,
    /// `connect(2)` on v6 sockets.
    Connect6,
    /// Life of TCP connections.
    SockOps,
    /// `connect(2)` on v4 datagram sockets.
    UdpConnect4,
    /// `connect(2)` on v6 datagram sockets.
    UdpConnect6,
    /// Datagrams to v4 addresses from sockets that are not connected.
    Sendmsg4,
    /// The same to v6 addresses.
    Sendmsg6,
    /// Where datagrams on v4 sockets come from.
    Recvmsg4,
    /// The same on v6 sockets.
    Recvmsg6,
    /// The peer of v4 sockets.
    Getpeername4,
    /// The same of v6 sockets.
    Getpeername6,
}

impl Hook {
    /// Those that every data path has, in the order of attachment: evidence first, so that no translated
    /// connection starts unseen.
    pub const ALWAYS: [Self; 3] = [Self::SockOps, Self::Connect4, Self::Connect6];
    /// Those that only datagrams need: the way back first, so that no answer comes untranslated.
    pub const DATAGRAMS: [Self; 8] = [
        Self::Recvmsg4,
        Self::Recvmsg6,
        Self::Getpeername4,
        Self::Getpeername6,
        Self::UdpConnect4,
        Self::UdpConnect6,
        Self::Sendmsg4,
        Self::Sendmsg6,
    ];

    /// Those that a data path has whose pins are in `directory`.
    pub(super) fn expected(directory: &Path) -> impl Iterator<Item = Self> {
        let pinned = |hook: &Self| hook.pin(directory).exists();
        // Of datagrams all or none: a part of them is as wrong as a part of the others.
        let datagrams = Self::DATAGRAMS.iter().any(pinned);
        let datagrams = Self::DATAGRAMS.into_iter().filter(move |_| datagrams);
        Self::ALWAYS.into_iter().chain(datagrams)
    }

    /// The word for it in status and messages.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Connect4 => "connect4",
            Self::Connect6 => "connect6",
            Self::SockOps => "sock_ops",
            Self::UdpConnect4 => "udp_connect4",
            Self::UdpConnect6 => "udp_connect6",
            Self::Sendmsg4 => "sendmsg4",
            Self::Sendmsg6 => "sendmsg6",
            Self::Recvmsg4 => "recvmsg4",
            Self::Recvmsg6 => "recvmsg6",
            Self::Getpeername4 => "getpeername4",
            Self::Getpeername6 => "getpeername6",
        }
    }

    /// Name of its program.
    pub(in crate::datapath) const fn program(self) -> &'static str {
        match self {
            Self::Connect4 => "nllb_connect4",
            Self::Connect6 => "nllb_connect6",
            Self::SockOps => "nllb_sock_ops",
            Self::UdpConnect4 => "nllb_udp_conn4",
            Self::UdpConnect6 => "nllb_udp_conn6",
            Self::Sendmsg4 => "nllb_sendmsg4",
            Self::Sendmsg6 => "nllb_sendmsg6",
            Self::Recvmsg4 => "nllb_recvmsg4",
            Self::Recvmsg6 => "nllb_recvmsg6",
            Self::Getpeername4 => "nllb_getpeer4",
            Self::Getpeername6 => "nllb_getpeer6",
        }
    }

    pub(super) const fn attach_type(self) -> AttachType {
        match self {
            Self::Connect4 | Self::UdpConnect4 => AttachType::Connect4,
            Self::Connect6 | Self::UdpConnect6 => AttachType::Connect6,
            Self::SockOps => AttachType::SockOps,
            Self::Sendmsg4 => AttachType::Sendmsg4,
            Self::Sendmsg6 => AttachType::Sendmsg6,
            Self::Recvmsg4 => AttachType::Recvmsg4,
            Self::Recvmsg6 => AttachType::Recvmsg6,
            Self::Getpeername4 => AttachType::Getpeername4,
            Self::Getpeername6 => AttachType::Getpeername6,
        }
    }

    pub(super) fn pin(self, directory: &Path) -> PathBuf {
        directory.join(format!("link_{}", self.label()))
    }
}
