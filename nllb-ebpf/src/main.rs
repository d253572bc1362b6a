//! The kernel programs of nllb: where they attach, and what each outcome means to the kernel.
//!
//! The path of a connect is in `connect.rs`, what is learned from a connection's life in
//! `sockops.rs`. A program here only turns an outcome into a verdict for the kernel.
#![no_std]
#![no_main]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

mod connect;
mod ctx;
mod error;
mod family;
mod maps;
mod sockops;

use aya_ebpf::Global;
use aya_ebpf::macros::{cgroup_sock_addr, sock_ops};
use aya_ebpf::programs::{SockAddrContext, SockOpsContext};
use aya_log_ebpf::debug;

use crate::ctx::{Connect, SockOps};
use crate::error::{ALLOW, DENY, Error};
use crate::family::{Family, V4, V6};

/// Whether `bpf_set_retval` exists (5.18). The loader probes it; without it a refused connect
/// reads `EPERM` instead of `ECONNREFUSED`.
#[unsafe(no_mangle)]
static HAS_SET_RETVAL: Global<u8> = Global::new(0);

/// `connect(2)` on a v4 socket.
#[cgroup_sock_addr(connect4)]
fn nllb_connect4(ctx: SockAddrContext) -> i32 {
    verdict::<V4>(&Connect::new(ctx))
}

/// `connect(2)` on a v6 socket, v4-mapped destinations included.
#[cgroup_sock_addr(connect6)]
fn nllb_connect6(ctx: SockAddrContext) -> i32 {
    verdict::<V6>(&Connect::new(ctx))
}

/// Life of a connection: SYN timeouts, establishment, close.
#[sock_ops]
fn nllb_sock_ops(ctx: SockOpsContext) -> u32 {
    sockops::run(&SockOps::new(ctx));
    1
}

/// The table from outcome to verdict: only a refusal stops a connect, everything else lets it go
/// on, to where it was rewritten or to where it was going anyway.
#[inline(always)]
fn verdict<F: Family>(ctx: &Connect) -> i32 {
    let outcome = connect::run::<F>(ctx);
    let Err(error) = outcome else { return ALLOW };
    maps::count(error.counter());
    match error {
        Error::NotTcp
        | Error::Unmatched
        | Error::Bypassed
        | Error::BoundSocket
        | Error::NoBackend => ALLOW,
        Error::Refused => {
            debug!(ctx.inner(), "connect refused: the pool is empty");
            if HAS_SET_RETVAL.load() != 0 {
                ctx.refuse();
            }
            DENY
        }
    }
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
