//! Checksums that follow a change of what they are of (RFC 1624, equation 3), without a look at the rest. A checksum
//! that was wrong stays wrong, so what was damaged on its way is still found to be.

use crate::addr::{Addr, Port};

/// What a change adds to a sum, in ones' complement, not folded. It does not depend on the order of octets, as long as
/// all that is summed lies in memory in the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delta(u64);

impl Delta {
    /// No change.
    pub const NONE: Self = Self(0);

    /// Another word, as words lie in memory.
    #[inline(always)]
    #[must_use]
    pub const fn word(self, old: u32, new: u32) -> Self {
        Self(self.0 + !old as u64 + new as u64)
    }

    /// Another half of a word.
    #[inline(always)]
    #[must_use]
    pub const fn half(self, old: u16, new: u16) -> Self {
        Self(self.0 + !old as u64 + new as u64)
    }

    /// Another address of the same family. What two of IPv4 have in common adds nothing.
    #[inline(always)]
    #[must_use]
    pub const fn addr(self, old: Addr, new: Addr) -> Self {
        let ([a, b, c, d], [e, f, g, h]) = (old.v6_words(), new.v6_words());
        self.word(a, e).word(b, f).word(c, g).word(d, h)
    }

    /// Another port.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "a port has 16 bits")]
    pub const fn port(self, old: Port, new: Port) -> Self {
        self.half(old.word() as u16, new.word() as u16)
    }

    /// Both changes.
    #[inline(always)]
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// The difference as the kernel's helpers take it.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "folded twice it has 32 bits")]
    pub const fn sum(self) -> u32 {
        let sum = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        ((sum & 0xffff_ffff) + (sum >> 32)) as u32
    }

    /// Whether a checksum, as it was before and is after this change, is one that a device is yet to complete: such a
    /// one is the sum itself, where others are its complement. `None` when that cannot be told.
    #[inline(always)]
    #[must_use]
    pub const fn was_sum(self, before: u16, after: u16) -> Option<bool> {
        let complement = one_zero(self.apply(before));
        let sum = one_zero(fold(self.sum() as u64 + before as u64));
        let after = one_zero(after);
        if complement == sum || after != complement && after != sum {
            return None;
        }
        Some(after == sum)
    }

    /// The checksum after the change, as it lies in memory.
    #[inline(always)]
    #[must_use]
    pub const fn apply(self, checksum: u16) -> u16 {
        !fold(self.sum() as u64 + !checksum as u64)
    }
}

/// The same number, of which 0 and 0xffff are the same in ones' complement.
#[inline(always)]
const fn one_zero(number: u16) -> u16 {
    if number == 0xffff { 0 } else { number }
}

/// A sum of less than 2^48 in 16 bits.
#[inline(always)]
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "folded three times it has 16 bits")]
pub const fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}
