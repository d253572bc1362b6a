//! The context of what happens to a TCP connection.

use core::ptr;

use aya_ebpf::bindings::bpf_sock_ops;
use aya_ebpf::helpers::generated::{bpf_getsockopt, bpf_setsockopt, bpf_sock_ops_cb_flags_set};
use aya_ebpf::programs::SockOpsContext;
use network_types::ip::IpProto;
use nllb_common::maps::SocketRecord;

use super::record;

const SOL_TCP: i32 = IpProto::Tcp as i32;
const SOL_SOCKET: i32 = 1;
const SO_KEEPALIVE: i32 = 9;
const TCP_KEEPIDLE: i32 = 4;
const TCP_KEEPINTVL: i32 = 5;
const TCP_USER_TIMEOUT: i32 = 18;
/// Each of these options is a `u32` or an `int`.
const OPTION_SIZE: i32 = 4;
const AF_INET: u32 = 2;

/// The context of a socket operation.
pub(crate) struct SockOps {
    inner: SockOpsContext,
}

impl SockOps {
    #[inline(always)]
    pub(crate) fn new(inner: SockOpsContext) -> Self {
        Self { inner }
    }

    /// For the log macros, which want the plain context.
    #[inline(always)]
    pub(crate) fn inner(&self) -> &SockOpsContext {
        &self.inner
    }

    #[inline(always)]
    fn raw(&self) -> *mut bpf_sock_ops {
        self.inner.ops
    }

    #[inline(always)]
    pub(crate) fn op(&self) -> u32 {
        read!((*self.raw()).op)
    }

    /// Argument `N` of the operation.
    #[inline(always)]
    pub(crate) fn arg<const N: usize>(&self) -> u32 {
        read!((*self.raw()).__bindgen_anon_1.args[N])
    }

    #[inline(always)]
    pub(crate) fn reply(&self, value: u32) {
        write!((*self.raw()).__bindgen_anon_1.reply, value);
    }

    /// Whether it is a v4 socket.
    #[inline(always)]
    pub(crate) fn is_v4(&self) -> bool {
        read!((*self.raw()).family) == AF_INET
    }

    /// State of the socket (`TCP_SYN_SENT`, ...).
    #[inline(always)]
    pub(crate) fn state(&self) -> u32 {
        read!((*self.raw()).state)
    }

    /// Segments that came in on this connection.
    #[inline(always)]
    pub(crate) fn segs_in(&self) -> u32 {
        read!((*self.raw()).segs_in)
    }

    /// Segments with data that came in on this connection.
    #[inline(always)]
    pub(crate) fn data_segs_in(&self) -> u32 {
        read!((*self.raw()).data_segs_in)
    }

    /// Smoothed round-trip time in microseconds (the kernel keeps it times eight).
    #[inline(always)]
    pub(crate) fn srtt_us(&self) -> u32 {
        read!((*self.raw()).srtt_us) >> 3
    }

    /// What is known of the socket; nothing for one that we did not translate.
    #[inline(always)]
    pub(crate) fn record(&self) -> Option<&'static mut SocketRecord> {
        // SAFETY: a field of the context; the verifier tracks the pointer's type and null.
        record(unsafe { (*self.raw()).__bindgen_anon_2.sk })
    }

    /// Asks to be called back for these things (`BPF_SOCK_OPS_*_CB_FLAG`).
    #[inline(always)]
    pub(crate) fn set_callbacks(&self, flags: u32) {
        // SAFETY: the context of this program type; a refusal leaves the flags as they were.
        let _refused = unsafe { bpf_sock_ops_cb_flags_set(self.raw(), flags as i32) };
    }

    /// `TCP_USER_TIMEOUT` in milliseconds, 0 when unset; `None` when the kernel (before 6.1) will not say.
    #[inline(always)]
    pub(crate) fn user_timeout_ms(&self) -> Option<u32> {
        let mut value = 0u32;
        // SAFETY: the context of this program type and a buffer of the option's size.
        let failed = unsafe {
            bpf_getsockopt(
                self.raw().cast(),
                SOL_TCP,
                TCP_USER_TIMEOUT,
                (&raw mut value).cast(),
                OPTION_SIZE,
            )
        };
        (failed == 0).then_some(value)
    }

    /// Sets `TCP_USER_TIMEOUT` in milliseconds.
    #[inline(always)]
    pub(crate) fn set_user_timeout_ms(&self, value: u32) {
        self.set_option(SOL_TCP, TCP_USER_TIMEOUT, value);
    }

    /// Asks the peer of an idle connection for a sign of life after `idle` seconds, and again after every
    /// `interval` seconds.
    #[inline(always)]
    pub(crate) fn set_keepalive(&self, idle: u32, interval: u32) {
        self.set_option(SOL_SOCKET, SO_KEEPALIVE, 1);
        self.set_option(SOL_TCP, TCP_KEEPIDLE, idle);
        self.set_option(SOL_TCP, TCP_KEEPINTVL, interval);
    }

    #[inline(always)]
    fn set_option(&self, level: i32, option: i32, mut value: u32) {
        // SAFETY: the context of this program type and a buffer of the size that all these options
        // have; when the kernel refuses, the connection keeps what it had.
        let _refused = unsafe {
            bpf_setsockopt(self.raw().cast(), level, option, (&raw mut value).cast(), OPTION_SIZE)
        };
    }
}
