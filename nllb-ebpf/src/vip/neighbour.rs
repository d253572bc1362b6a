//! Who has the VIP: asked by ARP, or by IPv6's neighbour solicitations.
//!
//! The VIP is an address of every member, and a kernel answers for its addresses. So what is asked never reaches it: the
//! owner's program answers, every other drops it. Whose turn it is is a time in a map, so a host whose agent is
//! stuck or gone falls silent by the kernel's clock.

use network_types::ip::IpProto;
use nllb_common::Addr;
use nllb_common::maps::VipOutcome;

use super::packet::{IPV6, checksum, halves, v6_at};
use super::{ETH, Fate, Served, maps};
use crate::ctx::{Xdp, now_ns};

/// Ethernet and IPv4 addresses, and a request (RFC 826).
const ARP_REQUEST: [u16; 4] =
    [1u16.to_be(), 0x0800u16.to_be(), u16::from_ne_bytes([6, 4]), 1u16.to_be()];
const ARP_REPLY: u16 = 2u16.to_be();
const BROADCAST: [u16; 3] = [0xffff; 3];

const ICMPV6: u8 = IpProto::Ipv6Icmp as u8;
const SOLICITATION: [u8; 2] = [135, 0];
const ADVERTISEMENT: [u8; 2] = [136, 0];
/// Only who is on the link can send this.
const HOPS: u8 = 255;
/// Length of a solicitation without options, and of an advertisement.
const PLAIN: usize = 24;
/// With one option of the usual size: a link-layer address.
const WITH_ADDRESS: usize = 32;
/// With two of them.
const WITH_TWO: usize = 40;
/// The option with the link-layer address of who is asked for, in units of eight bytes.
const TARGET_ADDRESS: [u8; 2] = [2, 1];
/// It answers a question of yours, and what it says replaces what you knew.
const ANSWER: [u8; 2] = [0x60, 0];
/// The same to all, when who asks has no address yet.
const ANSWER_TO_ALL: [u8; 2] = [0x20, 0];
/// All nodes of the link.
const ALL_NODES: [u16; 8] = [0xff02u16.to_be(), 0, 0, 0, 0, 0, 0, 1u16.to_be()];
const ALL_NODES_MAC: [u16; 3] = [0x3333, 0, 1u16.to_be()];

/// Decides on a frame of ARP; `None` for those that do not ask for the VIP.
#[inline(always)]
pub(super) fn arp(frame: &Xdp) -> Option<Fate> {
    let served = Served::of(0)?;
    let to: [u16; 3] = frame.load(0)?;
    if to != BROADCAST && to != served.mac {
        return None;
    }
    // Kind, hardware address, protocol address, and the two of who is asked for.
    let arp: [u16; 14] = frame.load(ETH)?;
    let [a, b, c, d, sender @ .., _, _, _, _, _] = arp;
    let vip = halves(served.set.vip.v4_word());
    if [a, b, c, d] != ARP_REQUEST || [arp[12], arp[13]] != vip {
        return None;
    }
    // Who asks for the VIP in its own name says that it is the owner.
    let is_announcement = [sender[3], sender[4]] == vip;
    if is_announcement {
        give_way(frame, &served);
    }
    if is_announcement || !is_owner() {
        return Some(Fate::Drop(VipOutcome::Unanswered));
    }
    let [own_a, own_b, own_c] = served.mac;
    let answer = [
        a, b, c, ARP_REPLY, own_a, own_b, own_c, vip[0], vip[1], sender[0], sender[1], sender[2],
        sender[3], sender[4],
    ];
    frame.store(0, frame.load::<[u16; 3]>(6)?)?;
    frame.store(6, served.mac)?;
    frame.store(ETH, answer)?;
    Some(Fate::Back(VipOutcome::Answered))
}

/// Decides on a neighbour solicitation; `None` for other frames, and for those that do not ask for the VIP.
#[inline(always)]
pub(super) fn solicitation(frame: &Xdp, served: &Served) -> Option<Fate> {
    let l4 = ETH + IPV6;
    let header: [u16; IPV6 / 2] = frame.load(ETH)?;
    let [protocol, hops] = header[3].to_ne_bytes();
    if protocol != ICMPV6 {
        return None;
    }
    let message = frame.load::<u16>(l4)?.to_ne_bytes();
    if message != SOLICITATION && message != ADVERTISEMENT {
        return None;
    }
    let target = Addr::from_v6_words(frame.load(l4 + 8)?);
    if target.difference(&served.set.vip) != 0 {
        return None;
    }
    if message == ADVERTISEMENT {
        if hops == HOPS {
            give_way(frame, served);
        }
        return None;
    }
    let to: [u16; 3] = frame.load(0)?;
    let is_multicast = to[0] == 0x3333;
    if !is_multicast && to != served.mac {
        return None;
    }
    let length = usize::from(u16::from_be(header[2]));
    if hops != HOPS || !is_owner() || !is_sound(frame, length) {
        return Some(Fate::Drop(VipOutcome::Unanswered));
    }
    let told = if length == PLAIN {
        tell::<PLAIN, 56>(frame, served, v6_at(&header, 4))
    } else {
        tell::<WITH_ADDRESS, 64>(frame, served, v6_at(&header, 4))
    };
    Some(match told {
        Some(()) => Fate::Back(VipOutcome::Answered),
        None => Fate::Drop(VipOutcome::Failed),
    })
}

/// Writes an advertisement of `LENGTH` bytes over a solicitation from `asker`. `SUMMED` is with both addresses.
#[inline(always)]
fn tell<const LENGTH: usize, const SUMMED: usize>(
    frame: &Xdp,
    served: &Served,
    asker: Addr,
) -> Option<()> {
    let l4 = ETH + IPV6;
    let has_address = !asker.is_unspecified();
    let asker_mac: [u16; 3] = frame.load(6)?;
    frame.cut(l4 + LENGTH)?;
    frame.store(0, if has_address { asker_mac } else { ALL_NODES_MAC })?;
    frame.store(6, served.mac)?;
    #[expect(clippy::cast_possible_truncation, reason = "24 or 32")]
    let length = (LENGTH as u16).to_be();
    frame.store(ETH + 4, [length, u16::from_ne_bytes([ICMPV6, HOPS])])?;
    frame.store(ETH + 8, served.set.vip.v6_words())?;
    if has_address {
        frame.store(ETH + 24, asker.v6_words())?;
    } else {
        frame.store(ETH + 24, ALL_NODES)?;
    }
    let flags = if has_address { ANSWER } else { ANSWER_TO_ALL };
    let head = [u16::from_ne_bytes(ADVERTISEMENT), 0, u16::from_ne_bytes(flags), 0];
    frame.store(l4, head)?;
    if LENGTH == WITH_ADDRESS {
        let [a, b, c] = served.mac;
        frame.store(l4 + PLAIN, [u16::from_ne_bytes(TARGET_ADDRESS), a, b, c])?;
    }
    let sum = frame.sum::<SUMMED>(ETH + 8)?;
    frame.store(l4 + 2, checksum(pseudo(sum, length)))
}

/// Whether the checksum of a solicitation is right. One that is longer than any without cryptography is not.
#[inline(always)]
fn is_sound(frame: &Xdp, length: usize) -> bool {
    let sum = match length {
        PLAIN => frame.sum::<{ PLAIN + 32 }>(ETH + 8),
        WITH_ADDRESS => frame.sum::<{ WITH_ADDRESS + 32 }>(ETH + 8),
        WITH_TWO => frame.sum::<{ WITH_TWO + 32 }>(ETH + 8),
        _ => None,
    };
    #[expect(clippy::cast_possible_truncation, reason = "at most 40")]
    let length = (length as u16).to_be();
    sum.is_some_and(|sum| checksum(pseudo(sum, length)) == 0)
}

/// Adds to the sum of addresses and message what else of the IP header is summed: the length, in network order, and
/// the protocol.
#[inline(always)]
pub(super) fn pseudo(sum: u32, length: u16) -> u32 {
    (sum & 0xffff) + (sum >> 16) + u32::from(length) + u32::from(u16::from(ICMPV6).to_be())
}

/// Another host says that it has the VIP. An agent that has stopped where nobody else could have it leaves its host to
/// answer until somebody does: that is now. While an agent runs there is a deadline, and nobody on the link can change it.
#[inline(always)]
fn give_way(frame: &Xdp, served: &Served) {
    if maps::owner_until_ns() == u64::MAX && frame.load(6) != Some(served.mac) {
        maps::answer_no_more();
    }
}

/// Whether this host is to answer.
#[inline(always)]
fn is_owner() -> bool {
    now_ns() < maps::owner_until_ns()
}
