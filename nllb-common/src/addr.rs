//! Addresses and ports as the kernel hooks see them. The only file that knows about byte order.
//!
//! An address is 16 bytes in network order, IPv4 as `::ffff:a.b.c.d`: one key serves both
//! families, and a v6 socket that dials a v4-mapped address finds the v4 frontend without a second
//! look-up. It is kept as four words whose *memory* is in network order, exactly as
//! `bpf_sock_addr` holds them, so the kernel program never swaps a byte.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The word that stands before the address in a v4-mapped address, as it lies in memory.
const MAPPED_PREFIX: u32 = u32::from_be_bytes([0, 0, 0xff, 0xff]).to_be();

/// Address family of a backend or of what a socket may reach.
#[repr(u16)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4, also when written as a v4-mapped address.
    V4 = 0,
    /// IPv6.
    V6 = 1,
}

/// An IP address, 16 bytes in network order, v4 as v4-mapped.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Addr {
    words: [u32; 4],
}

impl Addr {
    /// The unspecified IPv6 address, which marks an empty slot.
    pub const UNSPECIFIED: Self = Self { words: [0; 4] };

    /// From the word of `bpf_sock_addr::user_ip4`.
    #[inline(always)]
    #[must_use]
    pub const fn from_v4_word(word: u32) -> Self {
        Self { words: [0, 0, MAPPED_PREFIX, word] }
    }

    /// From the words of `bpf_sock_addr::user_ip6`.
    #[inline(always)]
    #[must_use]
    pub const fn from_v6_words(words: [u32; 4]) -> Self {
        Self { words }
    }

    /// The word to store in `bpf_sock_addr::user_ip4`; meaningful for [`Family::V4`] only.
    #[inline(always)]
    #[must_use]
    pub const fn v4_word(&self) -> u32 {
        self.words[3]
    }

    /// The words to store in `bpf_sock_addr::user_ip6`.
    #[inline(always)]
    #[must_use]
    pub const fn v6_words(&self) -> [u32; 4] {
        self.words
    }

    /// The family, with v4-mapped addresses counted as IPv4.
    #[inline(always)]
    #[must_use]
    pub const fn family(&self) -> Family {
        if self.words[0] == 0 && self.words[1] == 0 && self.words[2] == MAPPED_PREFIX {
            Family::V4
        } else {
            Family::V6
        }
    }

    /// The bits in which two addresses differ, over each other: zero when they are the same. No branch, for
    /// the verifier's sake.
    #[inline(always)]
    #[must_use]
    pub const fn difference(&self, other: &Self) -> u32 {
        let ([a, b, c, d], [e, f, g, h]) = (self.words, other.words);
        (a ^ e) | (b ^ f) | (c ^ g) | (d ^ h)
    }

    /// The same address, of which the verifier knows nothing. See [`crate::pick::Request`] for `zero`.
    #[inline(always)]
    #[must_use]
    pub const fn hidden(&self, zero: u32) -> Self {
        let [a, b, c, d] = self.words;
        Self { words: [a ^ zero, b ^ zero, c ^ zero, d ^ zero] }
    }

    /// Whether this is `::` or (v4-mapped) `0.0.0.0`.
    #[inline(always)]
    #[must_use]
    pub const fn is_unspecified(&self) -> bool {
        let [a, b, c, d] = self.words;
        a | b | d == 0 && (c == 0 || c == MAPPED_PREFIX)
    }

    /// Whether this is in 127.0.0.0/8 or is `::1`.
    #[inline(always)]
    #[must_use]
    pub const fn is_loopback(&self) -> bool {
        match self.family() {
            Family::V4 => self.words[3].to_ne_bytes()[0] == 127,
            Family::V6 => {
                let [a, b, c, d] = self.words;
                a | b | c == 0 && d == 1u32.to_be()
            }
        }
    }
}

impl From<IpAddr> for Addr {
    fn from(ip: IpAddr) -> Self {
        let octets = match ip {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        };
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(octets.chunks_exact(4)) {
            *word = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        Self { words }
    }
}

impl From<Addr> for IpAddr {
    fn from(addr: Addr) -> Self {
        let mut octets = [0; 16];
        for (bytes, word) in octets.chunks_exact_mut(4).zip(addr.words) {
            bytes.copy_from_slice(&word.to_ne_bytes());
        }
        let v6 = Ipv6Addr::from(octets);
        match addr.family() {
            Family::V4 => Self::V4(Ipv4Addr::new(octets[12], octets[13], octets[14], octets[15])),
            Family::V6 => Self::V6(v6),
        }
    }
}

/// A port in network order, as it lies in `bpf_sock_addr::user_port`.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Port(u16);

impl Port {
    /// From a port number in host order.
    #[must_use]
    pub const fn new(number: u16) -> Self {
        Self(number.to_be())
    }

    /// From the word of `bpf_sock_addr::user_port`, whose low half is the port in network order.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the port is the low half by contract")]
    pub const fn from_word(word: u32) -> Self {
        Self(word as u16)
    }

    /// The word to store in `bpf_sock_addr::user_port`.
    #[inline(always)]
    #[must_use]
    pub const fn word(self) -> u32 {
        self.0 as u32
    }

    /// The port number in host order.
    #[must_use]
    pub const fn number(self) -> u16 {
        u16::from_be(self.0)
    }
}

/// Splits a socket address into what the maps hold.
#[must_use]
pub fn split(addr: SocketAddr) -> (Addr, Port) {
    (Addr::from(addr.ip()), Port::new(addr.port()))
}

/// Joins what the maps hold into a socket address.
#[must_use]
pub fn join(addr: Addr, port: Port) -> SocketAddr {
    SocketAddr::new(addr.into(), port.number())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn v4_is_kept_in_network_order_behind_the_mapped_prefix() {
        let addr = Addr::from(IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3)));
        // SAFETY-free check: rebuild the bytes from the words' memory.
        let bytes: std::vec::Vec<u8> = addr.words.iter().flat_map(|w| w.to_ne_bytes()).collect();
        assert_eq!(bytes, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 2, 3]);
        assert_eq!(addr.family(), Family::V4);
    }

    #[test]
    fn loopback_and_unspecified_are_told_in_both_families() {
        for (text, loopback, unspecified) in [
            ("127.0.0.1", true, false),
            ("127.9.9.9", true, false),
            ("::1", true, false),
            ("0.0.0.0", false, true),
            ("::", false, true),
            ("10.0.0.127", false, false),
            ("fe80::1", false, false),
            ("::ffff:127.0.0.1", true, false),
        ] {
            let addr = Addr::from(text.parse::<IpAddr>().expect("an address"));
            assert_eq!(addr.is_loopback(), loopback, "{text}");
            assert_eq!(addr.is_unspecified(), unspecified, "{text}");
        }
    }

    proptest! {
        #[test]
        fn socket_addresses_survive_the_round_trip(ip: IpAddr, port: u16) {
            let canonical = SocketAddr::new(ip.to_canonical(), port);
            let (addr, packed) = split(SocketAddr::new(ip, port));
            prop_assert_eq!(join(addr, packed), canonical);
            prop_assert_eq!(Port::from_word(packed.word()), packed);
        }

        #[test]
        fn the_kernel_view_of_v4_equals_the_user_view(ip: Ipv4Addr) {
            let word = u32::from_ne_bytes(ip.octets());
            prop_assert_eq!(Addr::from_v4_word(word), Addr::from(IpAddr::V4(ip)));
            prop_assert_eq!(Addr::from_v4_word(word).v4_word(), word);
        }
    }
}
