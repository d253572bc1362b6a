//! The kernel programs of nllb: where they attach, and what each outcome means to the kernel.
//!
//! The path of a connect is in `connect.rs`, that of a datagram and back in `datagram.rs`, what is learned
//! from a connection's life in `sockops.rs`, the path of a frame for the control-plane VIP in `vip.rs`, and that of a
//! packet of a sandboxed pod in `sandbox.rs`. A program here only turns an outcome into a verdict for the kernel.
#![no_std]
#![no_main]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

mod choice;
mod connect;
mod ctx;
mod datagram;
mod error;
mod evidence;
mod family;
mod maps;
mod sandbox;
mod sockops;
mod vip;

use aya_ebpf::Global;
use aya_ebpf::macros::{cgroup_sock_addr, classifier, sock_ops, xdp};
use aya_ebpf::programs::{SockAddrContext, SockOpsContext, TcContext, XdpContext};
use aya_log_ebpf::debug;

use crate::ctx::{Skb, SockAddr, SockOps, Xdp};
use crate::error::{ALLOW, DENY, Error};
use crate::family::{V4, V6};

/// Whether `bpf_set_retval` exists (5.18). The loader probes it; without it a refused connect
/// reads `EPERM` instead of `ECONNREFUSED`.
#[unsafe(no_mangle)]
static HAS_SET_RETVAL: Global<u8> = Global::new(0);

/// `connect(2)` on a v4 socket.
#[cgroup_sock_addr(connect4)]
fn nllb_connect4(ctx: SockAddrContext) -> i32 {
    verdict(&SockAddr::new(ctx), connect::run::<V4, false>)
}

/// `connect(2)` on a v6 socket, v4-mapped destinations included.
#[cgroup_sock_addr(connect6)]
fn nllb_connect6(ctx: SockAddrContext) -> i32 {
    verdict(&SockAddr::new(ctx), connect::run::<V6, false>)
}

/// `connect(2)` on a v4 datagram socket.
#[cgroup_sock_addr(connect4)]
fn nllb_udp_conn4(ctx: SockAddrContext) -> i32 {
    verdict(&SockAddr::new(ctx), connect::run::<V4, true>)
}

/// `connect(2)` on a v6 datagram socket, v4-mapped destinations included.
#[cgroup_sock_addr(connect6)]
fn nllb_udp_conn6(ctx: SockAddrContext) -> i32 {
    verdict(&SockAddr::new(ctx), connect::run::<V6, true>)
}

/// `sendto(2)` and its like on a datagram socket that is not connected, to a v4 address: on a v4 socket, or
/// v4-mapped on a v6 socket.
#[cgroup_sock_addr(sendmsg4)]
fn nllb_sendmsg4(ctx: SockAddrContext) -> i32 {
    verdict(&SockAddr::new(ctx), datagram::send::<V4>)
}

/// The same to a v6 address.
#[cgroup_sock_addr(sendmsg6)]
fn nllb_sendmsg6(ctx: SockAddrContext) -> i32 {
    verdict(&SockAddr::new(ctx), datagram::send::<V6>)
}

/// `recvfrom(2)` and its like on a v4 datagram socket, connected or not. The kernel allows no other verdict
/// here.
#[cgroup_sock_addr(recvmsg4)]
fn nllb_recvmsg4(ctx: SockAddrContext) -> i32 {
    datagram::receive::<V4>(&SockAddr::new(ctx));
    ALLOW
}

/// The same on a v6 socket, v4-mapped sources included.
#[cgroup_sock_addr(recvmsg6)]
fn nllb_recvmsg6(ctx: SockAddrContext) -> i32 {
    datagram::receive::<V6>(&SockAddr::new(ctx));
    ALLOW
}

/// `getpeername(2)` on a v4 socket. The kernel allows no other verdict here.
#[cgroup_sock_addr(getpeername4)]
fn nllb_getpeer4(ctx: SockAddrContext) -> i32 {
    datagram::peer::<V4>(&SockAddr::new(ctx));
    ALLOW
}

/// The same on a v6 socket.
#[cgroup_sock_addr(getpeername6)]
fn nllb_getpeer6(ctx: SockAddrContext) -> i32 {
    datagram::peer::<V6>(&SockAddr::new(ctx));
    ALLOW
}

/// Life of a connection: SYN timeouts, establishment, close.
#[sock_ops]
fn nllb_sock_ops(ctx: SockOpsContext) -> u32 {
    sockops::run(&SockOps::new(ctx));
    1
}

/// A frame that comes in on the interface of the control-plane VIP.
#[xdp]
#[inline(always)]
fn nllb_vip(ctx: XdpContext) -> u32 {
    vip::run(&Xdp::new(ctx))
}

/// What a sandboxed pod sends, on the host's side of its cable.
#[classifier]
#[inline(always)]
fn nllb_from_guest(ctx: TcContext) -> i32 {
    sandbox::from_guest(&mut Skb::new(ctx)).unwrap_or(sandbox::ON)
}

/// What goes to it.
#[classifier]
#[inline(always)]
fn nllb_to_guest(ctx: TcContext) -> i32 {
    sandbox::to_guest(&mut Skb::new(ctx)).unwrap_or(sandbox::ON)
}

/// The table from outcome to verdict: only a refusal stops a connect or a datagram, everything else lets it go on, to
/// where it was rewritten or to where it was going anyway.
#[inline(always)]
fn verdict(ctx: &SockAddr, run: impl FnOnce(&SockAddr) -> Result<(), Error>) -> i32 {
    let Err(error) = run(ctx) else { return ALLOW };
    if let Some(counter) = error.counter() {
        maps::count(counter);
    }
    match error {
        Error::Refused => {
            debug!(ctx.inner(), "refused: the pool is empty");
            deny(ctx)
        }
        Error::NotOurs
        | Error::Unmatched
        | Error::Bypassed
        | Error::BoundSocket
        | Error::NoMemory
        | Error::NoBackend => ALLOW,
    }
}

#[inline(always)]
fn deny(ctx: &SockAddr) -> i32 {
    if HAS_SET_RETVAL.load() != 0 {
        ctx.refuse();
    }
    DENY
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier accepts no path that reaches this.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
