//! What a packet is: where its headers are, and what they say.
//!
//! Read by the programs that serve those whose sockets this kernel does not have, and by the tests; so it is pure, over
//! whatever gives the octets at a place ([`Bytes`]). The layout of each header is that of the crate network-types.
//!
//! A packet that is understood only in part is not understood: what is cut off, what says that it is shorter than its
//! own headers, and what has a header whose meaning we do not know, is left to others as it is. Octets are in network
//! order wherever they are kept, and numbers are made of them in [`header`].
//!
//! As in [`crate::pick`] what the verifier knows must not depend on the path, or it follows the rest of a program once
//! for each shape that a packet can have: hence `zero`, which is 0, and which only the verifier does not know.

pub mod checksum;
mod error;
pub mod header;
mod reset;
mod rewrite;

pub use error::{is_error, quote, quote_into, translate_error};
pub use header::Header;
pub use reset::{reset, reset_end};
pub use rewrite::{Edit, Side, Sum, follow_in_place, rewrite};

use network_types::eth::EtherType;
use network_types::ip::IpProto;

use crate::addr::{Addr, Family, Port};
use header::{Ethernet, Extension, Icmp, Tcp, Udp, V4, V6, number};

/// Tags of virtual networks in one frame: one, or two where a provider carries those of others.
const MAX_TAGS: usize = 2;
/// Extension headers of an IPv6 packet. Each may be there once, but for one kind that may be there twice (RFC 8200, 4.1);
/// those that are not listed there end what we understand.
const MAX_EXTENSIONS: usize = 5;

/// Octets that can be read. `None` is what lies beyond their end.
pub trait Bytes {
    /// The octet at a place.
    fn octet(&self, at: u32) -> Option<u8>;
    /// Two octets, as they lie in memory.
    fn half(&self, at: u32) -> Option<u16>;
    /// Four octets, as they lie in memory.
    fn word(&self, at: u32) -> Option<u32>;
    /// So many words one after the other, of which the end is looked for once.
    fn words<const WORDS: usize>(&self, at: u32) -> Option<Header<WORDS>>;
}

/// What a packet is a part of. Numbers, see [`Packet::fragment`].
pub mod fragment {
    /// It is whole.
    pub const WHOLE: u32 = 0;
    /// The first part, which alone has ports.
    pub const FIRST: u32 = 1;
    /// Another part.
    pub const LATER: u32 = 2;
}

/// Bits of [`Packet::tcp_flags`].
pub mod tcp_flags {
    /// The sender has nothing more to send.
    pub const FIN: u32 = 0x01;
    /// The sender begins.
    pub const SYN: u32 = 0x02;
    /// The sender ends the connection.
    pub const RST: u32 = 0x04;
    /// The sender says what it has.
    pub const ACK: u32 = 0x10;
}

/// A packet of IPv4 or IPv6. Places are counted in octets from the beginning of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Who sends it.
    pub source: Addr,
    /// To whom.
    pub destination: Addr,
    /// The sender's port; 0 where there is none.
    pub source_port: Port,
    /// The receiver's.
    pub destination_port: Port,
    /// 4 or 6.
    pub version: u32,
    /// Number of the protocol that the packet carries.
    pub protocol: u32,
    /// One of [`fragment`].
    pub fragment: u32,
    /// What the parts of a packet have in common.
    pub id: u32,
    /// Where the IP header begins.
    pub ip: u32,
    /// Where the transport header begins.
    pub transport: u32,
    /// Where the packet ends by its own account; [`u32::MAX`] where it does not say, which the kernel does not either
    /// in packets of more than 64 KiB that it is yet to cut.
    pub end: u32,
    /// Bits of [`tcp_flags`]; 0 where it is not TCP.
    pub tcp_flags: u32,
}

/// Reads the packet in an Ethernet frame; `None` when there is none that is understood. `zero` is as in
/// [`Request`](crate::pick::Request).
#[inline(always)]
pub fn parse<B: Bytes + ?Sized>(bytes: &B, zero: u32) -> Option<Packet> {
    let mut packet = Packet::NONE;
    parse_into(bytes, &mut packet, zero)?;
    Some(packet.hidden(zero))
}

/// As [`parse`], into a place that was found for it.
#[inline(always)]
pub fn parse_into<B: Bytes + ?Sized>(bytes: &B, packet: &mut Packet, zero: u32) -> Option<()> {
    let (ip, kind) = network(bytes)?;
    if kind == EtherType::Ipv4 as u16 {
        v4(bytes, ip, packet)?;
    } else if kind == EtherType::Ipv6 as u16 {
        v6(bytes, ip, packet, zero)?;
    } else {
        return None;
    }
    packet.read_transport(bytes)
}

/// Where the network header begins, behind any tags, and of which kind it is.
#[inline(always)]
fn network<B: Bytes + ?Sized>(bytes: &B) -> Option<(u32, u16)> {
    let mut at = Ethernet::KIND;
    let mut kind = bytes.half(at)?;
    for _ in 0..MAX_TAGS {
        if kind != EtherType::Ieee8021q as u16 && kind != EtherType::Ieee8021ad as u16 {
            break;
        }
        at += Ethernet::TAG_LENGTH;
        kind = bytes.half(at)?;
    }
    Some((at + (Ethernet::LENGTH - Ethernet::KIND), kind))
}

/// The IPv4 packet at a place.
#[inline(always)]
fn v4<B: Bytes + ?Sized>(bytes: &B, ip: u32, packet: &mut Packet) -> Option<()> {
    let header = bytes.words::<{ V4::HEADER as usize / 4 }>(ip)?;
    let begin = u32::from(header.octet(V4::BEGIN));
    let length = (begin & 0xf) * 4;
    if begin >> 4 != 4 || length < V4::HEADER {
        return None;
    }
    packet.begin(4, ip, ip + length);
    packet.end = end(ip, number(header.half(V4::LENGTH)), length)?;
    packet.source = Addr::from_v4_word(header.word(V4::SOURCE));
    packet.destination = Addr::from_v4_word(header.word(V4::DESTINATION));
    packet.protocol = header.octet(V4::PROTOCOL).into();
    let fragments = number(header.half(V4::FRAGMENT));
    packet.fragment = part(fragments & V4::MORE, fragments & V4::OFFSET);
    packet.id = header.half(V4::ID).into();
    Some(())
}

/// Where a packet ends that begins at `ip`; `None` when that is within its header.
#[inline(always)]
fn end(ip: u32, length: u32, header: u32) -> Option<u32> {
    match length {
        0 => Some(u32::MAX),
        length if length < header => None,
        length => Some(ip + length),
    }
}

#[inline(always)]
const fn part(more: u32, offset: u32) -> u32 {
    match (more, offset) {
        (_, 1..) => fragment::LATER,
        (0, 0) => fragment::WHOLE,
        (_, 0) => fragment::FIRST,
    }
}

/// The IPv6 packet at a place.
#[inline(always)]
fn v6<B: Bytes + ?Sized>(bytes: &B, ip: u32, packet: &mut Packet, zero: u32) -> Option<()> {
    let header = bytes.words::<{ V6::HEADER as usize / 4 }>(ip)?;
    if header.octet(0) >> 4 != 6 {
        return None;
    }
    packet.begin(6, ip, ip + V6::HEADER);
    packet.source = v6_addr(&header, V6::SOURCE)?;
    packet.destination = v6_addr(&header, V6::DESTINATION)?;
    packet.protocol = header.octet(V6::NEXT).into();
    packet.fragment = fragment::WHOLE;
    packet.id = 0;
    let length = match number(header.half(V6::LENGTH)) {
        0 => 0,
        length => length + V6::HEADER,
    };
    packet.end = end(ip, length, V6::HEADER)?;
    for _ in 0..MAX_EXTENSIONS {
        let at = packet.transport;
        let length = match packet.protocol {
            Extension::HOP_BY_HOP | Extension::DESTINATION => extension(bytes, at)?,
            // On its way to several places the packet's checksum is about the last of them, which is not where we look.
            Extension::ROUTING if bytes.octet(at + Extension::SEGMENTS_LEFT)? == 0 => {
                extension(bytes, at)?
            }
            Extension::FRAGMENT => {
                let place = number(bytes.half(at + Extension::PLACE)?);
                packet.fragment = part(place & Extension::MORE, place & Extension::OFFSET) ^ zero;
                packet.id = bytes.word(at + Extension::ID)?;
                Extension::FRAGMENT_LENGTH
            }
            _ => break,
        };
        packet.protocol = u32::from(bytes.octet(at)?) ^ zero;
        packet.transport = (at + length) ^ zero;
        if packet.fragment == fragment::LATER {
            break;
        }
    }
    Some(())
}

/// The length of the extension header at a place.
#[inline(always)]
fn extension<B: Bytes + ?Sized>(bytes: &B, at: u32) -> Option<u32> {
    Some((u32::from(bytes.octet(at + Extension::LENGTH)?) + 1) * 8)
}

/// The address at a place of a header; `None` for one that is IPv4's, which no packet of IPv6 may have (RFC 4291, 2.5.5.2).
#[inline(always)]
fn v6_addr<const WORDS: usize>(header: &Header<WORDS>, at: u32) -> Option<Addr> {
    let word = |index: u32| header.word(at + index * 4);
    let addr = Addr::from_v6_words([word(0), word(1), word(2), word(3)]);
    (addr.family() == Family::V6).then_some(addr)
}

impl Packet {
    /// Nothing.
    pub const NONE: Self = Self {
        source: Addr::UNSPECIFIED,
        destination: Addr::UNSPECIFIED,
        source_port: Port::new(0),
        destination_port: Port::new(0),
        version: 0,
        protocol: 0,
        fragment: fragment::WHOLE,
        id: 0,
        ip: 0,
        transport: 0,
        end: 0,
        tcp_flags: 0,
    };

    /// A packet of this version, without ports and flags so far. What every packet has is left to who reads it: to
    /// clear it first would take as long as to read it.
    #[inline(always)]
    const fn begin(&mut self, version: u32, ip: u32, transport: u32) {
        self.version = version;
        self.ip = ip;
        self.transport = transport;
        self.source_port = Port::new(0);
        self.destination_port = Port::new(0);
        self.tcp_flags = 0;
    }

    /// Whether it carries this.
    #[inline(always)]
    #[must_use]
    pub const fn is(&self, protocol: IpProto) -> bool {
        self.protocol == protocol as u32
    }

    /// Whether the packet carries ICMP or ICMPv6, whichever is that of its version.
    #[inline(always)]
    #[must_use]
    pub const fn is_icmp(&self) -> bool {
        match self.version {
            4 => self.is(IpProto::Icmp),
            _ => self.is(IpProto::Ipv6Icmp),
        }
    }

    /// Whether the flags among `mask` are exactly these.
    #[inline(always)]
    #[must_use]
    pub const fn has_flags(&self, mask: u32, flags: u32) -> bool {
        self.tcp_flags & mask == flags
    }

    /// Whether there is nothing between the IP header as it always is and the transport header.
    #[inline(always)]
    #[must_use]
    pub const fn is_plain(&self) -> bool {
        let header = match self.version {
            4 => V4::HEADER,
            _ => V6::HEADER,
        };
        self.transport == self.ip + header
    }

    /// Reads ports and flags, if the packet has some; `None` when the transport header is cut off or is none.
    #[inline(always)]
    fn read_transport<B: Bytes + ?Sized>(&mut self, bytes: &B) -> Option<()> {
        if self.transport > self.end {
            return None;
        }
        if self.fragment == fragment::LATER {
            return Some(());
        }
        let at = self.transport;
        let (ports, length) = if self.is(IpProto::Tcp) {
            let header = bytes.words::<{ Tcp::LENGTH as usize / 4 }>(at)?;
            let begin = number(header.half(Tcp::FLAGS));
            self.tcp_flags = begin & 0xff;
            let length = begin >> 12;
            if length < Tcp::LENGTH / 4 {
                return None;
            }
            (Header([header.word(0)]), length * 4)
        } else if self.is(IpProto::Udp) {
            let header = bytes.words::<{ Udp::LENGTH as usize / 4 }>(at)?;
            (Header([header.word(0)]), Udp::LENGTH)
        } else if self.is_icmp() {
            bytes.word(at + Icmp::REST)?;
            return (at + Icmp::LENGTH <= self.end).then_some(());
        } else {
            return Some(());
        };
        self.set_ports(ports);
        (at + length <= self.end).then_some(())
    }

    /// The ports of TCP or UDP are the first word of the header.
    #[inline(always)]
    fn set_ports(&mut self, header: Header<1>) {
        self.source_port = Port::from_word(header.half(0).into());
        self.destination_port = Port::from_word(header.half(2).into());
    }

    /// The same packet, of which the verifier knows nothing.
    #[inline(always)]
    const fn hidden(self, zero: u32) -> Self {
        let Self { source, destination, source_port, destination_port, .. } = self;
        let Self { version, protocol, fragment, id, ip, transport, end, tcp_flags, .. } = self;
        Self {
            source: source.hidden(zero),
            destination: destination.hidden(zero),
            source_port: Port::from_word(source_port.word() ^ zero),
            destination_port: Port::from_word(destination_port.word() ^ zero),
            version: version ^ zero,
            protocol: protocol ^ zero,
            fragment: fragment ^ zero,
            id: id ^ zero,
            ip: ip ^ zero,
            transport: transport ^ zero,
            end: end ^ zero,
            tcp_flags: tcp_flags ^ zero,
        }
    }
}

impl Bytes for [u8] {
    fn octet(&self, at: u32) -> Option<u8> {
        self.get(at as usize).copied()
    }

    fn half(&self, at: u32) -> Option<u16> {
        let at = at as usize;
        Some(u16::from_ne_bytes(self.get(at..at + 2)?.try_into().ok()?))
    }

    fn word(&self, at: u32) -> Option<u32> {
        let at = at as usize;
        Some(u32::from_ne_bytes(self.get(at..at + 4)?.try_into().ok()?))
    }

    fn words<const WORDS: usize>(&self, at: u32) -> Option<Header<WORDS>> {
        let octets = self.get(at as usize..at as usize + WORDS * 4)?;
        let mut words = [0; WORDS];
        for (word, octets) in words.iter_mut().zip(octets.chunks_exact(4)) {
            *word = u32::from_ne_bytes(octets.try_into().ok()?);
        }
        Some(Header(words))
    }
}

#[cfg(test)]
mod tests;
