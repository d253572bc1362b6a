//! The contract between the kernel programs (`nllb-ebpf`) and user space.
//!
//! Everything both sides must agree on lives here and nowhere else: map keys and values, their
//! sizes, events, counters, and the choice of a backend. The choice is pure, so the kernel program
//! and the tests on the host run the same code.
#![no_std]

#[cfg(test)]
extern crate std;

pub mod addr;
pub mod counter;
pub mod event;
pub mod maps;
pub mod packet;
pub mod pick;
pub mod vip;

pub use addr::{Addr, Family, Port};
pub use counter::Counter;
pub use event::{Event, EventKind};

/// Version of the layout of every map.
///
/// It names the pin directory, so an agent with another layout never adopts maps that it would
/// misread. Raise it with any change to a type in [`maps`], to [`Event`] or to a map's size.
pub const ABI_VERSION: u32 = 2;

/// Mixes a counter into an evenly spread 32-bit value.
///
/// Used where a cheap, repeatable source of spread is enough (the draw among backends, jitter).
/// This is the finaliser of `MurmurHash3` (Austin Appleby, public domain), chosen because it needs two
/// multiplications and no table, which the verifier and the instruction budget both like.
#[inline(always)]
#[must_use]
pub const fn mix(mut x: u32) -> u32 {
    x ^= x >> 16;
    x = x.wrapping_mul(0x85eb_ca6b);
    x ^= x >> 13;
    x = x.wrapping_mul(0xc2b2_ae35);
    x ^ (x >> 16)
}
