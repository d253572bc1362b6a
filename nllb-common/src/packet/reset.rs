//! The end of a connection, made of a packet of it: the other side tells the sender that it is over.
#![expect(clippy::cast_possible_truncation, reason = "headers are short, and ports have 16 bits")]

use network_types::ip::IpProto;

use super::checksum::{Delta, fold};
use super::header::{Ethernet, Tcp, V4, V6};
use super::rewrite::{Edit, Sum};
use super::{Packet, fragment, tcp_flags};

/// How far an answer may go: what systems begin with.
const HOPS: u8 = 64;
/// Length of the header in words, and the flag.
const RESET: u16 = 5 << 12 | tcp_flags::RST as u16;

impl Packet {
    /// Whether [`reset`] can make the end of the connection of it: it says what its sender awaits, and is none itself.
    #[inline(always)]
    #[must_use]
    pub const fn can_be_reset(&self) -> bool {
        self.is(IpProto::Tcp)
            && self.has_flags(tcp_flags::ACK | tcp_flags::RST | tcp_flags::SYN, tcp_flags::ACK)
            && self.fragment == fragment::WHOLE
            && self.is_plain()
    }
}

/// Where a packet ends that [`reset`] has made of this one. It is to be cut there before.
#[inline(always)]
#[must_use]
pub const fn reset_end(packet: &Packet) -> u32 {
    packet.transport + Tcp::LENGTH
}

/// Turns a packet for which [`Packet::can_be_reset`] holds into one that ends the connection, and comes from where it
/// went. Its sender takes only one with exactly the number that it awaits (RFC 9293, 3.10.7.4): that is what it
/// acknowledges.
#[inline(always)]
pub fn reset<E: Edit + ?Sized>(edit: &mut E, packet: &Packet) -> Option<()> {
    let Packet { transport, ip, source, destination, source_port, destination_port, .. } = *packet;
    let awaited = edit.word(transport + Tcp::ACKNOWLEDGED)?;
    for at in [0, 2, 4] {
        let to = edit.half(Ethernet::DESTINATION + at)?;
        let from = edit.half(Ethernet::SOURCE + at)?;
        edit.store_half(Ethernet::DESTINATION + at, from)?;
        edit.store_half(Ethernet::SOURCE + at, to)?;
    }
    let length = Tcp::LENGTH as u16;
    if packet.version == 4 {
        let words = [
            u32::from_be(0x4500_0000 | (V4::HEADER + Tcp::LENGTH)),
            // It is in no parts, and never will be.
            u32::from_be(0x4000),
            u32::from_be(u32::from(HOPS) << 24 | (IpProto::Tcp as u32) << 16),
            destination.v4_word(),
            source.v4_word(),
        ];
        let mut sum = 0;
        let mut at = ip;
        for word in words {
            edit.store_word(at, word)?;
            sum += u64::from(word);
            at += 4;
        }
        edit.store_half(ip + V4::CHECKSUM, !fold(sum))?;
    } else {
        edit.store_word(ip, u32::from_be(0x6000_0000))?;
        let rest = u32::from(length) << 16 | (IpProto::Tcp as u32) << 8 | u32::from(HOPS);
        edit.store_word(ip + V6::LENGTH, u32::from_be(rest))?;
        let mut at = 0;
        for word in destination.v6_words() {
            edit.store_word(ip + V6::SOURCE + at, word)?;
            at += 4;
        }
        let mut at = 0;
        for word in source.v6_words() {
            edit.store_word(ip + V6::DESTINATION + at, word)?;
            at += 4;
        }
    }
    let flags = RESET.to_be();
    edit.store_half(transport, destination_port.word() as u16)?;
    edit.store_half(transport + 2, source_port.word() as u16)?;
    edit.store_word(transport + Tcp::SEQUENCE, awaited)?;
    edit.store_word(transport + Tcp::ACKNOWLEDGED, 0)?;
    edit.store_half(transport + Tcp::FLAGS, flags)?;
    edit.store_half(transport + Tcp::FLAGS + 2, 0)?;
    // The checksum, and the octets behind it, which point at nothing.
    edit.store_word(transport + Tcp::CHECKSUM, 0)?;

    // From none on, so that it is right as well where a device is to complete it.
    let (a, b) = (source.v6_words(), destination.v6_words());
    let mut around = Delta::NONE.half(0, length.to_be()).half(0, (IpProto::Tcp as u16).to_be());
    if packet.version == 4 {
        around = around.word(0, a[3]).word(0, b[3]);
    } else {
        around = around.word(0, a[0]).word(0, a[1]).word(0, a[2]).word(0, a[3]);
        around = around.word(0, b[0]).word(0, b[1]).word(0, b[2]).word(0, b[3]);
    }
    let content = Delta::NONE
        .half(0, destination_port.word() as u16)
        .half(0, source_port.word() as u16)
        .word(0, awaited)
        .half(0, flags);
    let checksum = transport + Tcp::CHECKSUM;
    edit.follow(checksum, around, Sum::Addresses, false)?;
    edit.follow(checksum, content, Sum::Content, false)
}
