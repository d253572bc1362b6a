//! Tells a client that its packets are too long for the tunnel, as a router on the way would: in the VIP's name, since
//! that is an address the client knows.
#![expect(clippy::cast_possible_truncation, reason = "headers are short")]

use network_types::ip::IpProto;
use nllb_common::maps::VipOutcome;

use super::neighbour::pseudo;
use super::packet::{ICMP_HEADER, IPV4, IPV6, Packet, checksum, halves, sum};
use super::tunnel::be16;
use super::{ETH, Fate, Served};
use crate::ctx::Xdp;

/// How much of a packet is quoted: the longest IPv4 header, and eight bytes of TCP.
const QUOTE_V4: usize = 68;
/// An IPv6 header, extensions and TCP.
const QUOTE_V6: usize = 128;
const HOPS: u8 = 64;
/// Destination unreachable: fragmentation needed (RFC 1191).
const FRAGMENTATION_NEEDED: [u8; 2] = [3, 4];
/// Packet too big (RFC 4443).
const PACKET_TOO_BIG: [u8; 2] = [2, 0];

/// Makes of a packet the message that it is too long, for its sender.
#[inline(always)]
pub(super) fn tell(frame: &Xdp, served: &Served, packet: &Packet, mtu: u32) -> Fate {
    let told = if served.family == 0 {
        tell_v4(frame, served, packet, mtu)
    } else {
        tell_v6(frame, served, packet, mtu)
    };
    match told {
        Some(()) => Fate::Back(VipOutcome::TooBig),
        None => Fate::Drop(VipOutcome::Failed),
    }
}

#[inline(always)]
fn tell_v4(frame: &Xdp, served: &Served, packet: &Packet, mtu: u32) -> Option<()> {
    const LENGTH: usize = IPV4 + ICMP_HEADER + QUOTE_V4;
    answer_frame::<{ IPV4 + ICMP_HEADER }, LENGTH>(frame)?;
    let [a, b] = halves(served.set.vip.v4_word());
    let [c, d] = halves(packet.client.v4_word());
    let first = u16::from_ne_bytes([0x45, 0]);
    let rest = u16::from_ne_bytes([HOPS, IpProto::Icmp as u8]);
    let mut header = [first, be16(LENGTH as u32), 0, 0, rest, 0, a, b, c, d];
    header[5] = checksum(sum(&header));
    frame.store(ETH, header)?;
    let l4 = ETH + IPV4;
    frame.store(l4, [u16::from_ne_bytes(FRAGMENTATION_NEEDED), 0, 0, be16(mtu)])?;
    let sum = frame.sum::<{ ICMP_HEADER + QUOTE_V4 }>(l4)?;
    frame.store(l4 + 2, checksum(sum))
}

#[inline(always)]
fn tell_v6(frame: &Xdp, served: &Served, packet: &Packet, mtu: u32) -> Option<()> {
    const MESSAGE: usize = ICMP_HEADER + QUOTE_V6;
    answer_frame::<{ IPV6 + ICMP_HEADER }, { IPV6 + MESSAGE }>(frame)?;
    let rest = u16::from_ne_bytes([IpProto::Ipv6Icmp as u8, HOPS]);
    let length = be16(MESSAGE as u32);
    frame.store(ETH, [be16(0x6000), 0, length, rest])?;
    frame.store(ETH + 8, served.set.vip.v6_words())?;
    frame.store(ETH + 24, packet.client.v6_words())?;
    let l4 = ETH + IPV6;
    frame.store(l4, [u16::from_ne_bytes(PACKET_TOO_BIG), 0, 0, be16(mtu)])?;
    // Both addresses are right before it.
    let sum = frame.sum::<{ MESSAGE + 32 }>(ETH + 8)?;
    frame.store(l4 + 2, checksum(pseudo(sum, length)))
}

/// Makes room for `HEADERS` before the packet, lets the frame end after `LENGTH` bytes of the answer, and sends it
/// to where it came from.
#[inline(always)]
fn answer_frame<const HEADERS: usize, const LENGTH: usize>(frame: &Xdp) -> Option<()> {
    let [a, b, c, d, e, f, kind]: [u16; 7] = frame.load(0)?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "28 or 48")]
    let headers = HEADERS as i32;
    frame.grow_head(headers)?;
    frame.cut(ETH + LENGTH)?;
    frame.store(0, [d, e, f, a, b, c, kind])
}
