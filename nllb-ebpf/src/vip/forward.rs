//! Sends a packet to another member: by its MAC address where it is on the link, else in a tunnel.

use nllb_common::maps::{VipOutcome, VipWay, mac_word, way_flags};
use nllb_common::packet::checksum::Delta;
use nllb_common::vip::{Fit, fit};

use super::packet::Packet;
use super::{ETH, Fate, Served, too_big, tunnel, words};
use crate::ctx::{Hop, Xdp};

/// Bits of [`VipWay::to`] that are the address.
const MAC: u64 = (1 << 48) - 1;

/// Whether this is how the member with this MAC address is reached.
#[inline(always)]
pub(super) const fn is_on_link(to: u64, mac: u64) -> bool {
    to & (MAC | way_flags::KNOWN | way_flags::TUNNEL) & !way_flags::LINK_ONLY
        == mac | way_flags::KNOWN
}

/// Sends a packet to the member at `place`; `outcome` is what that counts as.
#[inline(always)]
pub(super) fn to(
    frame: &Xdp,
    served: &Served,
    packet: &Packet,
    place: u32,
    outcome: VipOutcome,
) -> Fate {
    let Some(way) = way(frame, served, place) else {
        return Fate::Drop(VipOutcome::NoWay);
    };
    let Some(head) = Head::read(frame, served.family) else {
        return Fate::Drop(VipOutcome::Failed);
    };
    if head.hops <= 1 {
        return Fate::Drop(VipOutcome::Expired);
    }
    let mut sent = Some(());
    if way.to & way_flags::TUNNEL != 0 {
        let Some(own) = served.own() else {
            return Fate::Drop(VipOutcome::NoWay);
        };
        #[expect(clippy::cast_possible_truncation, reason = "20 or 40")]
        let overhead = tunnel::overhead(served.family) as u32;
        match fit(packet.length, overhead, way.mtu, served.mtu, head.whole, served.family == 1) {
            Fit::Fits => {}
            Fit::Tell(mtu) => return too_big::tell(frame, served, packet, mtu),
            Fit::Drop => return Fate::Drop(VipOutcome::TooLong),
        }
        sent = hop(frame, served.family).and_then(|()| {
            let member = served.member(place).addr;
            tunnel::wrap(frame, served.family, own, member, packet.length, head.service)
        });
    } else if hop(frame, served.family).is_none() {
        sent = None;
    }
    let sent = sent.and_then(|()| {
        frame.store(0, words(way.to))?;
        frame.store(6, words(way.from))
    });
    if sent.is_none() {
        return Fate::Drop(VipOutcome::Failed);
    }
    if way.interface == frame.interface() {
        Fate::Back(outcome)
    } else {
        Fate::Out(way.interface, outcome)
    }
}

/// What of an IP header matters on the way.
struct Head {
    /// How many more times it may be forwarded.
    hops: u8,
    /// Its type of service, without the bits for congestion.
    service: u8,
    /// Whether it must not be fragmented.
    whole: bool,
}

impl Head {
    #[inline(always)]
    fn read(frame: &Xdp, family: u32) -> Option<Self> {
        let [first, service] = frame.load::<u16>(ETH)?.to_ne_bytes();
        if family == 0 {
            let flags = u16::from_be(frame.load(ETH + 6)?);
            let [hops, _] = frame.load::<u16>(ETH + 8)?.to_ne_bytes();
            return Some(Self { hops, service: service & !0b11, whole: flags & 0x4000 != 0 });
        }
        let service = (first << 4 | service >> 4) & !0b11;
        let [_, hops] = frame.load::<u16>(ETH + 6)?.to_ne_bytes();
        Some(Self { hops, service, whole: true })
    }
}

/// The way to a member: what the agent has written, and while it knows none, what the kernel's tables say.
#[inline(always)]
fn way(frame: &Xdp, served: &Served, place: u32) -> Option<VipWay> {
    let way = served.ways[place as usize % served.ways.len()];
    if way.to & way_flags::KNOWN != 0 {
        return Some(way);
    }
    let Hop { to, from, interface, is_router } =
        frame.hop(served.own()?, served.member(place).addr)?;
    if is_router && way.to & way_flags::LINK_ONLY != 0 {
        return None;
    }
    let tunnel = if is_router { way_flags::TUNNEL } else { way.to & way_flags::TUNNEL };
    let to = mac_word(to) | tunnel | way_flags::KNOWN;
    Some(VipWay { to, from: mac_word(from), interface, mtu: served.mtu })
}

/// Counts one more time that the packet is forwarded, as a router does.
#[inline(always)]
fn hop(frame: &Xdp, family: u32) -> Option<()> {
    if family == 1 {
        let at = ETH + 6;
        let [protocol, hops] = frame.load::<u16>(at)?.to_ne_bytes();
        return frame.store(at, u16::from_ne_bytes([protocol, hops.wrapping_sub(1)]));
    }
    let at = ETH + 8;
    let before: u16 = frame.load(at)?;
    let [hops, protocol] = before.to_ne_bytes();
    let after = u16::from_ne_bytes([hops.wrapping_sub(1), protocol]);
    let sum: u16 = frame.load(at + 2)?;
    frame.store(at, [after, Delta::NONE.half(before, after).apply(sum)])
}
