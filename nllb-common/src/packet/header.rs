//! Where the fields of each header lie, as the crate network-types has them, and what their bits mean. Places are
//! counted in octets from the beginning of the header.
#![expect(clippy::cast_possible_truncation, reason = "headers are short")]

use core::mem::offset_of;

use network_types::eth::EthHdr;
use network_types::icmp::Icmpv4Hdr;
use network_types::ip::{IpProto, Ipv4Hdr, Ipv6Hdr};
use network_types::tcp::TcpHdr;
use network_types::udp::UdpHdr;
use network_types::vlan::VlanHdr;

/// The header of a frame (IEEE 802.3), and tags of virtual networks in it (IEEE 802.1Q).
#[derive(Clone, Copy, Debug)]
pub struct Ethernet;

impl Ethernet {
    /// All of it, without tags.
    pub const LENGTH: u32 = EthHdr::LEN as u32;
    /// To whom.
    pub const DESTINATION: u32 = offset_of!(EthHdr, dst_addr) as u32;
    /// Who sends it.
    pub const SOURCE: u32 = offset_of!(EthHdr, src_addr) as u32;
    /// The type of what follows: the last field, behind any tags.
    pub const KIND: u32 = offset_of!(EthHdr, ether_type) as u32;
    /// A tag.
    pub const TAG_LENGTH: u32 = VlanHdr::LEN as u32;
}

/// A header, or its beginning, as it lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<const WORDS: usize>(pub [u32; WORDS]);

impl<const WORDS: usize> Header<WORDS> {
    /// The octet at a place in it.
    #[inline(always)]
    #[must_use]
    pub const fn octet(&self, at: u32) -> u8 {
        self.0[at as usize / 4].to_ne_bytes()[at as usize % 4]
    }

    /// The two octets at an even place in it, as they lie in memory.
    #[inline(always)]
    #[must_use]
    pub const fn half(&self, at: u32) -> u16 {
        u16::from_ne_bytes([self.octet(at), self.octet(at + 1)])
    }

    /// The word at a place in it that begins one.
    #[inline(always)]
    #[must_use]
    pub const fn word(&self, at: u32) -> u32 {
        self.0[at as usize / 4]
    }
}

/// Two octets of a packet as a number.
#[inline(always)]
#[must_use]
pub const fn number(half: u16) -> u32 {
    u16::from_be(half) as u32
}

/// The header of IPv4 (RFC 791).
#[derive(Clone, Copy, Debug)]
pub struct V4;

impl V4 {
    /// The header without options.
    pub const HEADER: u32 = Ipv4Hdr::LEN as u32;
    /// Version, and length in words.
    pub const BEGIN: u32 = offset_of!(Ipv4Hdr, vihl) as u32;
    /// Length of the packet.
    pub const LENGTH: u32 = offset_of!(Ipv4Hdr, tot_len) as u32;
    /// What fragments have in common.
    pub const ID: u32 = offset_of!(Ipv4Hdr, id) as u32;
    /// Flags and place of a fragment.
    pub const FRAGMENT: u32 = offset_of!(Ipv4Hdr, frags) as u32;
    /// How far it may still go.
    pub const TTL: u32 = offset_of!(Ipv4Hdr, ttl) as u32;
    /// What it carries.
    pub const PROTOCOL: u32 = offset_of!(Ipv4Hdr, proto) as u32;
    /// Checksum of the header.
    pub const CHECKSUM: u32 = offset_of!(Ipv4Hdr, check) as u32;
    /// Who sends it.
    pub const SOURCE: u32 = offset_of!(Ipv4Hdr, src_addr) as u32;
    /// To whom.
    pub const DESTINATION: u32 = offset_of!(Ipv4Hdr, dst_addr) as u32;
    /// Of [`Self::FRAGMENT`]: others follow.
    pub const MORE: u32 = 0x2000;
    /// Of [`Self::FRAGMENT`]: where it belongs, in units of eight octets.
    pub const OFFSET: u32 = 0x1fff;
}

/// The header of IPv6 (RFC 8200).
#[derive(Clone, Copy, Debug)]
pub struct V6;

impl V6 {
    /// The header without what may follow it.
    pub const HEADER: u32 = Ipv6Hdr::LEN as u32;
    /// Length of what follows the header.
    pub const LENGTH: u32 = offset_of!(Ipv6Hdr, payload_len) as u32;
    /// What follows.
    pub const NEXT: u32 = offset_of!(Ipv6Hdr, next_hdr) as u32;
    /// How far it may still go.
    pub const HOP_LIMIT: u32 = offset_of!(Ipv6Hdr, hop_limit) as u32;
    /// Who sends it.
    pub const SOURCE: u32 = offset_of!(Ipv6Hdr, src_addr) as u32;
    /// To whom.
    pub const DESTINATION: u32 = offset_of!(Ipv6Hdr, dst_addr) as u32;
}

/// Extension headers of IPv6 (RFC 8200, 4). The first octet of each says what follows it.
#[derive(Clone, Copy, Debug)]
pub struct Extension;

impl Extension {
    /// Options for every hop.
    pub const HOP_BY_HOP: u32 = IpProto::HopOpt as u32;
    /// Places on the way.
    pub const ROUTING: u32 = IpProto::Ipv6Route as u32;
    /// A part of a packet.
    pub const FRAGMENT: u32 = IpProto::Ipv6Frag as u32;
    /// Options for the destination.
    pub const DESTINATION: u32 = IpProto::Ipv6Opts as u32;
    /// Length in units of eight octets, without the first.
    pub const LENGTH: u32 = 1;
    /// Of a routing header: places that are still to be visited.
    pub const SEGMENTS_LEFT: u32 = 3;
    /// Of a fragment header: its length, which is not written in it.
    pub const FRAGMENT_LENGTH: u32 = 8;
    /// Of a fragment header: flag and place.
    pub const PLACE: u32 = 2;
    /// Of a fragment header: what fragments have in common.
    pub const ID: u32 = 4;
    /// Of [`Self::PLACE`]: others follow.
    pub const MORE: u32 = 1;
    /// Of [`Self::PLACE`]: where it belongs, in units of eight octets.
    pub const OFFSET: u32 = 0xfff8;
}

/// The header of TCP (RFC 9293).
#[derive(Clone, Copy, Debug)]
pub struct Tcp;

impl Tcp {
    /// Without options.
    pub const LENGTH: u32 = TcpHdr::LEN as u32;
    /// Number of the first octet that it carries.
    pub const SEQUENCE: u32 = offset_of!(TcpHdr, seq) as u32;
    /// Number of the next octet that is awaited.
    pub const ACKNOWLEDGED: u32 = offset_of!(TcpHdr, ack_seq) as u32;
    /// Length in words, and flags.
    pub const FLAGS: u32 = offset_of!(TcpHdr, _bitfield_1) as u32;
    /// Checksum, of the addresses as well.
    pub const CHECKSUM: u32 = offset_of!(TcpHdr, check) as u32;
}

/// The header of UDP (RFC 768).
#[derive(Clone, Copy, Debug)]
pub struct Udp;

impl Udp {
    /// All of it.
    pub const LENGTH: u32 = UdpHdr::LEN as u32;
    /// Checksum, of the addresses as well; 0 for none.
    pub const CHECKSUM: u32 = offset_of!(UdpHdr, check) as u32;
}

/// The header of ICMP (RFC 792) and ICMPv6 (RFC 4443).
#[derive(Clone, Copy, Debug)]
pub struct Icmp;

impl Icmp {
    /// All of it; in an error the packet that it is about follows.
    pub const LENGTH: u32 = size_of::<Icmpv4Hdr>() as u32;
    /// What it is.
    pub const KIND: u32 = offset_of!(Icmpv4Hdr, type_) as u32;
    /// Checksum; of ICMPv6 of the addresses as well.
    pub const CHECKSUM: u32 = offset_of!(Icmpv4Hdr, check) as u32;
    /// What depends on what it is.
    pub const REST: u32 = offset_of!(Icmpv4Hdr, data) as u32;
}
