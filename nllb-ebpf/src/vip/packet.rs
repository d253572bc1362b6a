//! What a packet is, as far as its way is concerned.
#![expect(clippy::cast_possible_truncation, reason = "headers are short")]

use network_types::ip::IpProto;
use nllb_common::maps::VipFlow;
use nllb_common::packet::checksum::fold;
use nllb_common::packet::tcp_flags::{ACK, FIN, RST, SYN};
use nllb_common::packet::{Bytes, Header, Packet as Parsed, fragment, parse, quote};
use nllb_common::vip::Kind;
use nllb_common::{Addr, Port};

use super::{ETH, Served};
use crate::ctx::Xdp;

/// Length of the shortest IPv4 header.
pub(super) const IPV4: usize = 20;
/// Length of an IPv6 header.
pub(super) const IPV6: usize = 40;
/// Length of an ICMP header, of both families.
pub(super) const ICMP_HEADER: usize = 8;

/// A packet of a connection with the VIP.
pub(super) struct Packet {
    pub(super) client: Addr,
    pub(super) port: Port,
    pub(super) kind: Kind,
    /// Its length with all headers, in bytes.
    pub(super) length: u32,
    /// Whether it is an ICMP error.
    is_error: bool,
    /// Where the header of TCP or ICMP is.
    l4: u32,
}

impl Packet {
    /// `None` when it is none: of another protocol, a fragment, tagged as of another network, for another address or
    /// port, or cut short.
    #[inline(always)]
    pub(super) fn parse(frame: &Xdp, served: &Served) -> Option<Self> {
        let packet = parse(frame, served.zero)?;
        let is_ours = packet.ip == ETH as u32
            && packet.fragment == fragment::WHOLE
            && packet.destination.difference(&served.set.vip) == 0;
        if !is_ours {
            return None;
        }
        let length = packet.end.wrapping_sub(packet.ip);
        let l4 = packet.transport;
        if packet.is(IpProto::Tcp) {
            if packet.destination_port != served.set.port {
                return None;
            }
            let opens = packet.has_flags(SYN | ACK | RST | FIN, SYN);
            let kind = if opens { Kind::Opening } else { Kind::Ongoing };
            let (client, port) = (packet.source, packet.source_port);
            return Some(Self { client, port, kind, length, is_error: false, l4 });
        }
        // The connection that an ICMP error speaks of: what it quotes was sent by the VIP.
        let Parsed { source, source_port, destination, destination_port, .. } =
            quote(frame, &packet, served.zero).filter(|it| it.is(IpProto::Tcp))?;
        if source.difference(&served.set.vip) != 0 || source_port != served.set.port {
            return None;
        }
        let (client, port) = (destination, destination_port);
        Some(Self { client, port, kind: Kind::Ongoing, length, is_error: true, l4 })
    }

    /// Whether this host has its connection.
    #[inline(always)]
    pub(super) fn is_here(&self, frame: &Xdp, served: &Served) -> bool {
        let server = (served.set.vip, served.set.port);
        frame.has_flow((self.client, self.port), server, ETH, self.l4 as usize, self.is_error)
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "0 or 1")]
    pub(super) const fn key(&self, family: u32) -> VipFlow {
        VipFlow { client: self.client, port: self.port, family: family as u16 }
    }
}

impl Bytes for Xdp {
    #[inline(always)]
    fn octet(&self, at: u32) -> Option<u8> {
        // With its neighbour: no header ends with an octet that is asked for, and of a comparison with the last one
        // the verifier learns nothing.
        let [even, odd] = self.load::<u16>(at as usize & !1)?.to_ne_bytes();
        Some(if at & 1 == 0 { even } else { odd })
    }

    #[inline(always)]
    fn half(&self, at: u32) -> Option<u16> {
        self.load(at as usize)
    }

    #[inline(always)]
    fn word(&self, at: u32) -> Option<u32> {
        self.load(at as usize)
    }

    #[inline(always)]
    fn words<const WORDS: usize>(&self, at: u32) -> Option<Header<WORDS>> {
        self.load(at as usize).map(Header)
    }
}

/// Two words of a header as one, as they lie in memory.
#[inline(always)]
fn join(first: u16, second: u16) -> u32 {
    let ([a, b], [c, d]) = (first.to_ne_bytes(), second.to_ne_bytes());
    u32::from_ne_bytes([a, b, c, d])
}

/// The IPv4 address at a word of a header.
#[inline(always)]
pub(super) fn v4_at(header: &[u16; IPV4 / 2], at: usize) -> Addr {
    Addr::from_v4_word(join(header[at], header[at + 1]))
}

/// The IPv6 address at a word of a header.
#[inline(always)]
pub(super) fn v6_at(header: &[u16; IPV6 / 2], at: usize) -> Addr {
    let pair = |first: usize| join(header[at + first], header[at + first + 1]);
    Addr::from_v6_words([pair(0), pair(2), pair(4), pair(6)])
}

/// A word of an address as it lies in a header.
#[inline(always)]
pub(super) fn halves(word: u32) -> [u16; 2] {
    let [a, b, c, d] = word.to_ne_bytes();
    [u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d])]
}

/// A sum of 16-bit words as a checksum.
#[inline(always)]
pub(super) const fn checksum(sum: u32) -> u16 {
    !fold(sum as u64)
}

/// The sum of the 16-bit words of a header, not folded.
#[inline(always)]
pub(super) fn sum<const N: usize>(words: &[u16; N]) -> u32 {
    let mut sum = 0;
    for word in words {
        sum += u32::from(*word);
    }
    sum
}
