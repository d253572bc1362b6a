//! The kinds of context the kernel hands to the programs, behind safe methods.
//!
//! Fields of a context are read one 32-bit word at a time and volatile: the verifier rewrites each
//! access by its offset and width, and a compiler that merges two of them makes it refuse.

use core::ffi::c_void;
use core::ptr;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::{BPF_SK_STORAGE_GET_F_CREATE, bpf_sock, bpf_sock_addr};
use aya_ebpf::helpers::generated::{
    bpf_get_current_pid_tgid, bpf_get_netns_cookie, bpf_get_prandom_u32, bpf_get_socket_cookie,
    bpf_ktime_get_ns, bpf_set_retval, bpf_sk_storage_delete, bpf_sk_storage_get,
};
use aya_ebpf::programs::SockAddrContext;
use network_types::ip::IpProto;
use nllb_common::maps::{Exchanges, SocketRecord};

use crate::maps::{DATAGRAMS, SOCKS};

const IPPROTO_TCP: u32 = IpProto::Tcp as u32;
const IPPROTO_UDP: u32 = IpProto::Udp as u32;
/// Not a number that ever stands in a packet, hence not in `IpProto`.
const IPPROTO_MPTCP: u32 = 262;
const ECONNREFUSED: i32 = 111;
/// State of a datagram socket that is connected.
const TCP_ESTABLISHED: u32 = 1;

/// Nanoseconds of `CLOCK_MONOTONIC`.
#[inline(always)]
pub(crate) fn now_ns() -> u64 {
    // SAFETY: the helper takes nothing and cannot fail.
    unsafe { bpf_ktime_get_ns() }
}

/// A time in milliseconds. It wraps after 49 days, so only differences mean something.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "it wraps")]
pub(crate) fn milliseconds(ns: u64) -> u32 {
    (ns / 1_000_000) as u32
}

/// A time in whole seconds.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "no kernel runs for 136 years")]
pub(crate) fn seconds(ns: u64) -> u32 {
    (ns / 1_000_000_000) as u32
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

mod skb;
mod sock_ops;
mod xdp;

pub(crate) use skb::{Skb, opaque};
pub(crate) use sock_ops::SockOps;
pub(crate) use xdp::{Hop, Xdp};

/// To what a socket is bound.
pub(crate) struct Binding {
    /// Interface index; 0 when not bound to a device.
    pub(crate) device: u32,
    /// v4 source as it lies in memory; 0 when not bound.
    pub(crate) src_ip4: u32,
    /// v6 source; zero when not bound.
    pub(crate) src_ip6: [u32; 4],
}

/// The context of a call that names an address: `connect(2)`, `sendmsg(2)`, `recvmsg(2)`, `getpeername(2)`.
pub(crate) struct SockAddr {
    inner: SockAddrContext,
}

impl SockAddr {
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
    pub(crate) fn is_udp(&self) -> bool {
        read!((*self.raw()).protocol) == IPPROTO_UDP
    }

    /// The source that the caller wants for this one datagram; only in `sendmsg(2)` on a v4 socket.
    #[inline(always)]
    pub(crate) fn msg_src_ip4(&self) -> u32 {
        read!((*self.raw()).msg_src_ip4)
    }

    /// The same on a v6 socket.
    #[inline(always)]
    pub(crate) fn msg_src_ip6(&self) -> [u32; 4] {
        [
            read!((*self.raw()).msg_src_ip6[0]),
            read!((*self.raw()).msg_src_ip6[1]),
            read!((*self.raw()).msg_src_ip6[2]),
            read!((*self.raw()).msg_src_ip6[3]),
        ]
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

    /// The kernel's number for the socket, never used twice.
    #[inline(always)]
    pub(crate) fn socket_cookie(&self) -> u64 {
        // SAFETY: the helper takes the context of this program type and cannot fail.
        unsafe { bpf_get_socket_cookie(self.inner.as_ptr()) }
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

    /// Whether it is a datagram socket that was connected before this call.
    #[inline(always)]
    pub(crate) fn is_connected(&self) -> bool {
        let sk = self.sk();
        !sk.is_null() && read!((*sk).state) == TCP_ESTABLISHED
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

    /// Where the datagrams of the socket went, if any went through us.
    #[inline(always)]
    pub(crate) fn exchanges(&self) -> Option<&'static mut Exchanges> {
        self.storage_of_exchanges(0)
    }

    /// The same, made if there is none; `None` when the kernel has no memory for it.
    #[inline(always)]
    pub(crate) fn new_exchanges(&self) -> Option<&'static mut Exchanges> {
        self.storage_of_exchanges(u64::from(BPF_SK_STORAGE_GET_F_CREATE))
    }

    #[inline(always)]
    fn storage_of_exchanges(&self, flags: u64) -> Option<&'static mut Exchanges> {
        let sk = self.sk();
        if sk.is_null() {
            return None;
        }
        let map = (&raw const DATAGRAMS).cast_mut().cast();
        // SAFETY: a live map and a valid socket; without an initial value a new entry is all zero, which is
        // `Exchanges::NONE`. What the helper returns is null or lives while the program runs, and nobody else
        // uses it meanwhile, since the kernel holds the socket's lock.
        unsafe {
            bpf_sk_storage_get(map, sk.cast(), ptr::null_mut(), flags).cast::<Exchanges>().as_mut()
        }
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
