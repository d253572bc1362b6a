//! Packets between members that are not on one link: IPv4 in IPv4 (RFC 2003), IPv6 in IPv6 (RFC 2473).
//!
//! A node may have tunnels of its own between the same addresses, a network plug-in's above all. So only what has a
//! packet for the VIP in it is taken out.
#![expect(clippy::cast_possible_truncation, reason = "headers are short")]

use network_types::ip::IpProto;
use nllb_common::Addr;
use nllb_common::maps::VipOutcome;

use super::packet::{IPV4, IPV6, checksum, halves, sum, v4_at, v6_at};
use super::{ETH, Served, maps};
use crate::ctx::Xdp;

const IPIP: u8 = IpProto::Ipv4 as u8;
const IP6IP6: u8 = IpProto::Ipv6 as u8;
/// How many more times a router may forward it.
const HOPS: u8 = 64;
/// Must not be fragmented. Then no packet needs a number of its own (RFC 6864).
const WHOLE: u16 = 0x4000u16.to_be();

/// What the header of a tunnel takes, in bytes.
#[inline(always)]
pub(super) const fn overhead(family: u32) -> usize {
    if family == 0 { IPV4 } else { IPV6 }
}

/// Takes a packet for the VIP out of the tunnel of another member. 1 when there was one, 0 when not; the verifier does
/// not know which. `None` when it could not be taken out.
#[inline(always)]
pub(super) fn unwrap(frame: &Xdp, served: &Served) -> Option<u32> {
    let ends = if served.family == 0 { ends_v4(frame, served) } else { ends_v6(frame, served) };
    let Some((source, destination)) = ends else {
        return Some(served.zero);
    };
    let is_ours = served.own().is_some_and(|own| own.difference(&destination) == 0);
    if !is_ours || !served.is_address_of_member(source) {
        return Some(served.zero);
    }
    let ethernet: [u16; 7] = frame.load(0)?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "20 or 40")]
    let overhead = overhead(served.family) as i32;
    frame.grow_head(-overhead)?;
    frame.store(0, ethernet)?;
    maps::count(VipOutcome::Decapsulated);
    Some(1 ^ served.zero)
}

/// Source and destination of a tunnel's packet that has one for the VIP in it.
#[inline(always)]
fn ends_v4(frame: &Xdp, served: &Served) -> Option<(Addr, Addr)> {
    let outer: [u16; IPV4 / 2] = frame.load(ETH)?;
    let [version, _] = outer[0].to_ne_bytes();
    let [_, protocol] = outer[4].to_ne_bytes();
    let is_fragment = outer[3] & !WHOLE != 0;
    if version != 0x45 || protocol != IPIP || is_fragment || checksum(sum(&outer)) != 0 {
        return None;
    }
    let inner: [u16; IPV4 / 2] = frame.load(ETH + IPV4)?;
    let is_for_vip = v4_at(&inner, 8).difference(&served.set.vip) == 0;
    is_for_vip.then(|| (v4_at(&outer, 6), v4_at(&outer, 8)))
}

#[inline(always)]
fn ends_v6(frame: &Xdp, served: &Served) -> Option<(Addr, Addr)> {
    let outer: [u16; IPV6 / 2] = frame.load(ETH)?;
    let [protocol, _] = outer[3].to_ne_bytes();
    if protocol != IP6IP6 {
        return None;
    }
    let inner: [u16; IPV6 / 2] = frame.load(ETH + IPV6)?;
    let is_for_vip = v6_at(&inner, 12).difference(&served.set.vip) == 0;
    is_for_vip.then(|| (v6_at(&outer, 4), v6_at(&outer, 12)))
}

/// Puts a packet into a tunnel from this host to another member. The bits for congestion stay inside: the other end
/// does not take them over (RFC 6040, compatibility mode).
#[inline(always)]
pub(super) fn wrap(
    frame: &Xdp,
    family: u32,
    from: Addr,
    to: Addr,
    length: u32,
    service: u8,
) -> Option<()> {
    let ethernet: [u16; 7] = frame.load(0)?;
    if family == 0 {
        frame.grow_head(IPV4 as i32)?;
        frame.store(0, ethernet)?;
        let [a, b] = halves(from.v4_word());
        let [c, d] = halves(to.v4_word());
        let first = u16::from_ne_bytes([0x45, service]);
        let length = be16(length + IPV4 as u32);
        let rest = u16::from_ne_bytes([HOPS, IPIP]);
        let mut header = [first, length, 0, WHOLE, rest, 0, a, b, c, d];
        header[5] = checksum(sum(&header));
        frame.store(ETH, header)
    } else {
        frame.grow_head(IPV6 as i32)?;
        frame.store(0, ethernet)?;
        let first = be16(0x6000 | u32::from(service) << 4);
        let rest = u16::from_ne_bytes([IP6IP6, HOPS]);
        frame.store(ETH, [first, 0, be16(length), rest])?;
        frame.store(ETH + 8, from.v6_words())?;
        frame.store(ETH + 24, to.v6_words())
    }
}

/// The low half of a number in network order.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "no packet is longer")]
pub(super) const fn be16(number: u32) -> u16 {
    (number as u16).to_be()
}
