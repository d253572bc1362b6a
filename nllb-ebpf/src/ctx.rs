//! The two kinds of context the kernel hands to the programs, behind safe methods.
//!
//! Fields of a context are read one 32-bit word at a time and volatile: the verifier rewrites each
//! access by its offset and width, and a compiler that merges two of them makes it refuse.

use core::ffi::c_void;
use core::ptr;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::{BPF_SK_STORAGE_GET_F_CREATE, bpf_sock, bpf_sock_addr, bpf_sock_ops};
use aya_ebpf::helpers::generated::{
    bpf_get_current_pid_tgid, bpf_get_netns_cookie, bpf_get_prandom_u32, bpf_getsockopt,
    bpf_ktime_get_ns, bpf_set_retval, bpf_setsockopt, bpf_sk_storage_delete, bpf_sk_storage_get,
    bpf_sock_ops_cb_flags_set,
};
use aya_ebpf::programs::{SockAddrContext, SockOpsContext};
use network_types::ip::IpProto;
use nllb_common::maps::SocketRecord;

use crate::maps::SOCKS;

const IPPROTO_TCP: u32 = IpProto::Tcp as u32;
/// Not a number that ever stands in a packet, hence not in `IpProto`.
const IPPROTO_MPTCP: u32 = 262;
const SOL_TCP: i32 = IpProto::Tcp as i32;
const SOL_SOCKET: i32 = 1;
const SO_KEEPALIVE: i32 = 9;
const TCP_KEEPIDLE: i32 = 4;
const TCP_KEEPINTVL: i32 = 5;
const TCP_USER_TIMEOUT: i32 = 18;
/// Each of these options is a `u32` or an `int`.
const OPTION_SIZE: i32 = 4;
const ECONNREFUSED: i32 = 111;
const AF_INET: u32 = 2;

/// Nanoseconds of `CLOCK_MONOTONIC`.
#[inline(always)]
pub(crate) fn now_ns() -> u64 {
    // SAFETY: the helper takes nothing and cannot fail.
    unsafe { bpf_ktime_get_ns() }
}

/// A random number.
#[inline(always)]
pub(crate) fn random() -> u32 {
    // SAFETY: the helper takes nothing and cannot fail.
    unsafe { bpf_get_prandom_u32() }
}

/// The process that runs now, as the first process-id namespace numbers it.
#[inline(always)]
pub(crate) fn tgid() -> u32 {
    // SAFETY: the helper takes nothing and cannot fail.
    (unsafe { bpf_get_current_pid_tgid() } >> 32) as u32
}

/// Reads one word of a context or socket.
macro_rules! read {
    ($place:expr) => {
        // SAFETY: a field of the context the kernel gave us, read with its own width.
        unsafe { ptr::read_volatile(&raw const $place) }
    };
}

/// Writes one word of a context.
macro_rules! write {
    ($place:expr, $value:expr) => {
        // SAFETY: a writable field of the context the kernel gave us, written with its own width.
        unsafe { ptr::write_volatile(&raw mut $place, $value) }
    };
}

/// The record of a socket, if it has one.
#[inline(always)]
fn record(sk: *mut bpf_sock) -> Option<&'static mut SocketRecord> {
    if sk.is_null() {
        return None;
    }
    // SAFETY: a live map and a socket that the verifier knows to be valid; without the create flag
    // the helper only looks. What it returns is null or lives while the program runs.
    unsafe {
        bpf_sk_storage_get(socks(), sk.cast(), ptr::null_mut(), 0).cast::<SocketRecord>().as_mut()
    }
}

#[inline(always)]
fn socks() -> *mut c_void {
    (&raw const SOCKS).cast_mut().cast()
}

/// To what a socket is bound.
pub(crate) struct Binding {
    /// Interface index; 0 when not bound to a device.
    pub(crate) device: u32,
    /// v4 source as it lies in memory; 0 when not bound.
    pub(crate) src_ip4: u32,
    /// v6 source; zero when not bound.
    pub(crate) src_ip6: [u32; 4],
}

/// The context of `connect(2)`.
pub(crate) struct Connect {
    inner: SockAddrContext,
}

impl Connect {
    #[inline(always)]
    pub(crate) fn new(inner: SockAddrContext) -> Self {
        Self { inner }
    }

    /// For the log macros, which want the plain context.
    #[inline(always)]
    pub(crate) fn inner(&self) -> &SockAddrContext {
        &self.inner
    }

    #[inline(always)]
    fn raw(&self) -> *mut bpf_sock_addr {
        self.inner.sock_addr
    }

    #[inline(always)]
    fn sk(&self) -> *mut bpf_sock {
        // SAFETY: a field of the context; the verifier tracks the pointer's type.
        unsafe { (*self.raw()).__bindgen_anon_1.sk }
    }

    #[inline(always)]
    pub(crate) fn is_tcp(&self) -> bool {
        let protocol = read!((*self.raw()).protocol);
        protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP
    }

    #[inline(always)]
    pub(crate) fn user_ip4(&self) -> u32 {
        read!((*self.raw()).user_ip4)
    }

    #[inline(always)]
    pub(crate) fn set_user_ip4(&self, word: u32) {
        write!((*self.raw()).user_ip4, word);
    }

    #[inline(always)]
    pub(crate) fn user_ip6(&self) -> [u32; 4] {
        [
            read!((*self.raw()).user_ip6[0]),
            read!((*self.raw()).user_ip6[1]),
            read!((*self.raw()).user_ip6[2]),
            read!((*self.raw()).user_ip6[3]),
        ]
    }

    #[inline(always)]
    pub(crate) fn set_user_ip6(&self, words: [u32; 4]) {
        write!((*self.raw()).user_ip6[0], words[0]);
        write!((*self.raw()).user_ip6[1], words[1]);
        write!((*self.raw()).user_ip6[2], words[2]);
        write!((*self.raw()).user_ip6[3], words[3]);
    }

    #[inline(always)]
    pub(crate) fn user_port(&self) -> u32 {
        read!((*self.raw()).user_port)
    }

    #[inline(always)]
    pub(crate) fn set_user_port(&self, word: u32) {
        write!((*self.raw()).user_port, word);
    }

    #[inline(always)]
    pub(crate) fn netns_cookie(&self) -> u64 {
        // SAFETY: the helper takes the context of this program type and cannot fail.
        unsafe { bpf_get_netns_cookie(self.inner.as_ptr()) }
    }

    #[inline(always)]
    pub(crate) fn binding(&self) -> Binding {
        let sk = self.sk();
        if sk.is_null() {
            return Binding { device: 0, src_ip4: 0, src_ip6: [0; 4] };
        }
        Binding {
            device: read!((*sk).bound_dev_if),
            src_ip4: read!((*sk).src_ip4),
            src_ip6: [
                read!((*sk).src_ip6[0]),
                read!((*sk).src_ip6[1]),
                read!((*sk).src_ip6[2]),
                read!((*sk).src_ip6[3]),
            ],
        }
    }

    /// What is known of the socket.
    #[inline(always)]
    pub(crate) fn record(&self) -> Option<&'static mut SocketRecord> {
        record(self.sk())
    }

    /// Writes what is known of the socket; `false` when the kernel has no memory for it.
    #[inline(always)]
    pub(crate) fn store_record(&self, mut value: SocketRecord) -> bool {
        if let Some(stored) = self.record() {
            let SocketRecord {
                netns,
                frontend,
                pool,
                backend,
                epoch,
                flags,
                user_timeout_ms,
                tgid,
                silent_since_ms,
            } = value;
            // Field by field: a copy of the whole would become a call that moves single bytes.
            write!(stored.netns, netns);
            write!(stored.frontend, frontend);
            write!(stored.pool, pool);
            write!(stored.backend, backend);
            write!(stored.epoch, epoch);
            write!(stored.flags, flags);
            write!(stored.user_timeout_ms, user_timeout_ms);
            write!(stored.tgid, tgid);
            write!(stored.silent_since_ms, silent_since_ms);
            return true;
        }
        let sk = self.sk();
        if sk.is_null() {
            return false;
        }
        // SAFETY: a live map, a valid socket, and an initial value of the map's value type.
        let stored = unsafe {
            bpf_sk_storage_get(
                socks(),
                sk.cast(),
                (&raw mut value).cast(),
                u64::from(BPF_SK_STORAGE_GET_F_CREATE),
            )
        };
        !stored.is_null()
    }

    /// Drops what is known of the socket.
    #[inline(always)]
    pub(crate) fn delete_record(&self) {
        let sk = self.sk();
        if !sk.is_null() {
            // SAFETY: a live map and a valid socket; an error says that there was nothing.
            let _absent = unsafe { bpf_sk_storage_delete(socks(), sk.cast()) };
        }
    }

    /// Makes the failing connect return `ECONNREFUSED`.
    #[inline(always)]
    pub(crate) fn refuse(&self) {
        // SAFETY: only reached where the loader found the helper.
        let _unchanged = unsafe { bpf_set_retval(-ECONNREFUSED) };
    }
}

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
