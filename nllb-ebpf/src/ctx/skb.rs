//! A packet in a program of traffic control.
//!
//! It is read and written where it lies, as far as it lies in one piece: a helper for each field would cost more than
//! all else. Checksums that a device may be told to complete are left to the kernel's helpers, which know of that.
#![expect(clippy::cast_possible_truncation, reason = "what is read is not as wide as a register")]

#[cfg(target_arch = "bpf")]
use core::arch::asm;
use core::mem::offset_of;

use aya_ebpf::bindings::{__sk_buff, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR};
use aya_ebpf::helpers::generated::{
    bpf_csum_update, bpf_l4_csum_replace, bpf_redirect, bpf_skb_change_tail, bpf_skb_pull_data,
};
use aya_ebpf::programs::TcContext;
use nllb_common::packet::checksum::Delta;
use nllb_common::packet::{Bytes, Edit, Header, Sum, follow_in_place};

/// As far as headers go that are understood: two tags, an IPv6 header with its extensions, and in an error the same
/// again with a transport header.
const HEADERS: u32 = 320;
/// Places are below this, which the verifier must know at each of them.
const MOST: u32 = 0x3fff;

/// Reads a field of the context, from a place that is part of the instruction: the verifier takes no other, and the
/// compiler would keep pointers to fields that are read often.
macro_rules! field {
    ($self:ident.$name:ident) => {{
        let value: u64;
        #[cfg(target_arch = "bpf")]
        // SAFETY: a field of the context the kernel gave us, read with its own width.
        unsafe {
            asm!(
                "{value} = *(u32 *)({context} + {place})",
                value = out(reg) value,
                context = in(reg) $self.raw(),
                place = const offset_of!(__sk_buff, $name),
            );
        }
        #[cfg(not(target_arch = "bpf"))]
        {
            value = $self.raw() as u64 + offset_of!(__sk_buff, $name) as u64;
        }
        value
    }};
}

/// The context of a program on an interface.
pub(crate) struct Skb {
    inner: TcContext,
}

impl Skb {
    #[inline(always)]
    pub(crate) fn new(inner: TcContext) -> Self {
        Self { inner }
    }

    #[inline(always)]
    fn raw(&self) -> *mut __sk_buff {
        self.inner.skb.skb
    }

    /// The number of the interface.
    #[inline(always)]
    pub(crate) fn interface(&self) -> u32 {
        field!(self.ifindex) as u32
    }

    /// Lets the headers lie in one piece.
    #[inline(always)]
    pub(crate) fn pull(&mut self) {
        let linear = field!(self.data_end) - field!(self.data);
        let length = field!(self.len) as u32;
        if linear < HEADERS.into() && linear < length.into() {
            // SAFETY: the context; without memory the packet stays as it is.
            let _as_it_was = unsafe { bpf_skb_pull_data(self.raw(), length.min(HEADERS)) };
        }
    }

    /// Cuts the packet off at a place.
    #[inline(always)]
    pub(crate) fn cut(&mut self, at: u32) -> Option<()> {
        // SAFETY: the context.
        let done = unsafe { bpf_skb_change_tail(self.raw(), at, 0) };
        (done == 0).then_some(())
    }

    /// Sends the packet out of the interface that it came in by; what is to be returned for that.
    #[inline(always)]
    pub(crate) fn send_back(&self) -> i32 {
        // SAFETY: the helper takes numbers.
        unsafe { bpf_redirect(self.interface(), 0) as i32 }
    }

    /// Where so many octets are; `None` when they are not all there.
    #[inline(always)]
    fn place(&self, at: u32, length: usize) -> Option<usize> {
        let begin = field!(self.data) as usize;
        let end = field!(self.data_end) as usize;
        let place = opaque(begin + (at & MOST) as usize);
        (place + length <= end).then_some(place)
    }
}

/// The same number, of which the compiler knows nothing. A pointer it cannot work out anew then: for the verifier one
/// that was compared with the end would have nothing to do with that.
#[inline(always)]
pub(crate) fn opaque(mut place: usize) -> usize {
    #[cfg(target_arch = "bpf")]
    // SAFETY: one instruction that changes nothing. Without any, two lines of source would have the same place, which
    // the kernel refuses.
    unsafe {
        asm!("{0} = {0}", inout(reg) place, options(nomem, nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        // Only linted on the host, never run there.
        place = core::hint::black_box(place);
    }
    place
}

/// Loads from a place of a packet that lies there, or so many octets behind it, at any alignment.
macro_rules! load {
    ($kind:literal, $place:expr) => {
        load!($kind, $place, 0)
    };
    ($kind:literal, $place:expr, $behind:expr) => {{
        let value: u64;
        #[cfg(target_arch = "bpf")]
        // SAFETY: `place` has found the octets, and the processors that these programs run on need no alignment.
        unsafe {
            asm!(
                concat!("{value} = *(", $kind, " *)({place} + {behind})"),
                value = out(reg) value,
                place = in(reg) $place,
                behind = const $behind,
            );
        }
        #[cfg(not(target_arch = "bpf"))]
        {
            value = ($place + $behind) as u64;
        }
        value
    }};
}

/// Stores likewise.
macro_rules! store {
    ($kind:literal, $place:expr, $value:expr) => {
        store!($kind, $place, $value, 0)
    };
    ($kind:literal, $place:expr, $value:expr, $behind:expr) => {
        #[cfg(target_arch = "bpf")]
        // SAFETY: as for `load`.
        unsafe {
            asm!(
                concat!("*(", $kind, " *)({place} + {behind}) = {value}"),
                value = in(reg) u64::from($value),
                place = in(reg) $place,
                behind = const $behind,
            );
        }
        #[cfg(not(target_arch = "bpf"))]
        let _ = ($place, $value, $behind);
    };
}

/// Does something for each word of so many.
macro_rules! each_word {
    ($words:ident, $index:ident => $do:expr) => {
        each_word!(@ $words, $index => $do, 0 1 2 3 4 5 6 7 8 9)
    };
    (@ $words:ident, $index:ident => $do:expr, $($number:literal)+) => {
        const { assert!($words <= 10) };
        $(if $number < $words {
            const $index: usize = $number;
            $do;
        })+
    };
}

impl Bytes for Skb {
    #[inline(always)]
    fn octet(&self, at: u32) -> Option<u8> {
        let place = self.place(at, 1)?;
        Some(load!("u8", place) as u8)
    }

    #[inline(always)]
    fn half(&self, at: u32) -> Option<u16> {
        let place = self.place(at, 2)?;
        Some(load!("u16", place) as u16)
    }

    #[inline(always)]
    fn word(&self, at: u32) -> Option<u32> {
        let place = self.place(at, 4)?;
        Some(load!("u32", place) as u32)
    }

    #[inline(always)]
    fn words<const WORDS: usize>(&self, at: u32) -> Option<Header<WORDS>> {
        let place = self.place(at, WORDS * 4)?;
        let mut words = [0; WORDS];
        each_word!(WORDS, INDEX => words[INDEX] = load!("u32", place, INDEX * 4) as u32);
        Some(Header(words))
    }
}

impl Edit for Skb {
    #[inline(always)]
    fn store_half(&mut self, at: u32, value: u16) -> Option<()> {
        let place = self.place(at, 2)?;
        store!("u16", place, value);
        Some(())
    }

    #[inline(always)]
    fn store_word(&mut self, at: u32, value: u32) -> Option<()> {
        let place = self.place(at, 4)?;
        store!("u32", place, value);
        Some(())
    }

    #[inline(always)]
    fn store_words<const WORDS: usize>(&mut self, at: u32, words: [u32; WORDS]) -> Option<()> {
        let place = self.place(at, WORDS * 4)?;
        each_word!(WORDS, INDEX => { store!("u32", place, words[INDEX], INDEX * 4); });
        Some(())
    }

    #[inline(always)]
    fn follow_both(
        &mut self,
        at: u32,
        addresses: Delta,
        content: Delta,
        optional: bool,
    ) -> Option<bool> {
        let before = self.half(at)?;
        if optional && before == 0 {
            return Some(false);
        }
        self.follow(at, addresses, Sum::Addresses, optional)?;
        // What the kernel has done says what it would do for the rest, without being asked again: nothing where a
        // device completes the sum, of which it is no part yet.
        match addresses.was_sum(before, self.half(at)?) {
            Some(true) => {}
            Some(false) => follow_in_place(self, at, content, optional)?,
            None => self.follow(at, content, Sum::Content, optional)?,
        }
        Some(true)
    }

    #[inline(always)]
    fn carry(&mut self, delta: Delta) {
        // SAFETY: the context; it refuses where no device has given such a sum.
        let _none = unsafe { bpf_csum_update(self.raw(), delta.sum()) };
    }

    #[inline(always)]
    fn follow(&mut self, at: u32, delta: Delta, sum: Sum, optional: bool) -> Option<()> {
        let flags = match sum {
            Sum::Plain => return follow_in_place(self, at, delta, optional),
            Sum::Content => 0,
            Sum::Addresses => BPF_F_PSEUDO_HDR,
        } | if optional { BPF_F_MARK_MANGLED_0 } else { 0 };
        // SAFETY: the context; the helper looks at the place itself. No size means that a difference is given.
        let done =
            unsafe { bpf_l4_csum_replace(self.raw(), at, 0, delta.sum().into(), flags.into()) };
        (done == 0).then_some(())
    }
}
