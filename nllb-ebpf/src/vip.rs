//! The path of a frame on a control-plane host, in order. Runs for every frame that comes in on the VIP's interface,
//! before the kernel looks at it.
//!
//! Return is direct: the member that serves a connection has the VIP as an address of its own and answers clients by
//! itself. So nothing but the frame's own addresses is changed on the way to it, and nothing on the way back.

mod forward;
mod maps;
mod neighbour;
mod packet;
mod too_big;
mod tunnel;

use aya_ebpf::bindings::xdp_action;
use nllb_common::Addr;
use nllb_common::maps::{
    MAX_VIP_MEMBERS, NO_MEMBER, Verdict, VipEntry, VipMember, VipOutcome, VipSet, VipWays,
    mac_bytes, mac_word,
};
use nllb_common::pick;
use nllb_common::vip::{Flow, Kind, Step, View, flow_hash};

use crate::ctx::{Xdp, now_ns, seconds};
use crate::maps::{self as common, KernelView};
use packet::Packet;

/// Length of an Ethernet header.
const ETH: usize = 14;
/// Where its type is.
const ETH_TYPE: usize = 12;
const ETH_IPV4: u16 = 0x0800u16.to_be();
const ETH_ARP: u16 = 0x0806u16.to_be();
const ETH_IPV6: u16 = 0x86ddu16.to_be();

/// What becomes of a frame.
pub(crate) enum Fate {
    /// It is none of ours: the kernel gets it as it came.
    Pass,
    /// The kernel gets it, and this is counted.
    Keep(VipOutcome),
    /// It leaves where it came in.
    Back(VipOutcome),
    /// It leaves by another interface.
    Out(u32, VipOutcome),
    /// It goes nowhere.
    Drop(VipOutcome),
}

/// What the agent has said of the VIP of one family.
pub(crate) struct Served {
    set: &'static VipSet,
    ways: &'static VipWays,
    /// This interface's MAC address.
    mac: [u16; 3],
    /// The most that comes in in one piece, in bytes.
    mtu: u32,
    /// 0 for IPv4, 1 for IPv6.
    family: u32,
    /// Index of the set.
    index: u32,
    zero: u32,
    now_s: u32,
}

/// Decides on a frame; `None` when it is cut short, or of another kind than it says.
#[inline(always)]
fn fate(frame: &Xdp) -> Option<Fate> {
    // 1. What is served, and whom the frame is for. One with a VLAN tag is of another link.
    let kind: u16 = frame.load(ETH_TYPE)?;
    if kind == ETH_ARP {
        return neighbour::arp(frame);
    }
    let family = match kind {
        ETH_IPV4 => 0,
        ETH_IPV6 => 1,
        _ => return None,
    };
    let served = Served::of(family)?;
    if family == 1 {
        if let Some(fate) = neighbour::solicitation(frame, &served) {
            return Some(fate);
        }
    }
    if frame.load::<[u16; 3]>(0)? != served.mac {
        return None;
    }

    // 2. What comes from another member has been decided on.
    let tunnelled = tunnel::unwrap(frame, &served)?;
    let forwarded = (tunnelled | served.is_member(frame.load(6)?)) != 0;

    // 3. A segment for the VIP, or an ICMP error that speaks of one that it has sent.
    let packet = Packet::parse(frame, &served)?;

    // 4. Where it belongs.
    let hash = flow_hash(packet.client, packet.port) ^ served.zero;
    let key = packet.key(family);
    let known = if forwarded { None } else { maps::flow(&key) };
    let is_opening = packet.kind == Kind::Opening;
    let entry = known.filter(|entry| !is_opening && entry.holds(hash, served.now_s));
    let asked = Asked { index: served.index, hash, is_opening, forwarded };
    let (place, outcome) = match asked.step(entry) {
        Step::Keep => (NO_MEMBER, VipOutcome::Local),
        Step::Forward(place) => (place, VipOutcome::Forwarded),
        // 5. The second chance: who does not have the connection hands it on.
        Step::Look => match packet.is_here(frame, &served) {
            true => (NO_MEMBER, VipOutcome::Local),
            false => match asked.next() {
                NO_MEMBER => (NO_MEMBER, VipOutcome::LastChance),
                place if forwarded => (place, VipOutcome::SecondChance),
                place => (place, VipOutcome::Forwarded),
            },
        },
    };

    // 6. Remember. Only a shortcut, so no SYN makes one, and one on the same ports ends it.
    if !forwarded {
        let fresh = entry.is_some_and(|entry| !entry.ages(served.now_s));
        match (is_opening, place) {
            (true, _) if known.is_some() => maps::forget_flow(&key),
            (true, _) | (false, NO_MEMBER) => {}
            (false, _) if fresh => {}
            (false, place) => maps::note_flow(&key, served.member(place), hash, served.now_s),
        }
    }
    if place == NO_MEMBER {
        return Some(Fate::Keep(outcome));
    }

    // 7. Send it there.
    Some(forward::to(frame, &served, &packet, place, outcome))
}

/// What becomes of a frame, as the kernel wants it.
#[inline(always)]
pub(crate) fn run(frame: &Xdp) -> u32 {
    let counted = |outcome, action| {
        maps::count(outcome);
        action
    };
    match fate(frame).unwrap_or(Fate::Pass) {
        Fate::Pass => xdp_action::XDP_PASS,
        Fate::Keep(outcome) => counted(outcome, xdp_action::XDP_PASS),
        Fate::Back(outcome) => counted(outcome, xdp_action::XDP_TX),
        Fate::Out(interface, outcome) => counted(outcome, frame.redirect(interface)),
        Fate::Drop(outcome) => counted(outcome, xdp_action::XDP_DROP),
    }
}

impl Served {
    /// `None` when there is no VIP of this family.
    #[inline(always)]
    fn of(family: u32) -> Option<Self> {
        let vip = maps::control()?;
        let control = common::control()?;
        // One more than the index. By value: on a stack the verifier wants no computed place.
        let [v4, v6] = vip.sets;
        let index = if family == 0 { v4 } else { v6 }.checked_sub(1)?;
        Some(Self {
            set: maps::set(index)?,
            ways: maps::ways(index)?,
            mac: words(vip.mac),
            mtu: vip.mtu,
            family,
            index: index ^ control.zero,
            zero: control.zero,
            now_s: seconds(now_ns()),
        })
    }

    /// Whether a MAC address is another member's on this link: 1 or 0. What comes from there is forwarded: a member's own
    /// connections with the VIP never leave it.
    #[inline(always)]
    fn is_member(&self, mac: [u16; 3]) -> u32 {
        let mac = word(mac);
        let mut is = self.zero;
        for place in 0..MAX_VIP_MEMBERS {
            if place >= self.set.len as usize {
                break;
            }
            is |= u32::from(forward::is_on_link(self.ways[place].to, mac)) ^ self.zero;
        }
        is
    }

    /// The same for the address of a packet in a tunnel.
    #[inline(always)]
    fn is_address_of_member(&self, addr: Addr) -> bool {
        let mut is = self.zero;
        for place in 0..MAX_VIP_MEMBERS {
            if place >= self.set.len as usize {
                break;
            }
            let same = self.set.members[place].addr.difference(&addr) == 0;
            is |= u32::from(same) ^ self.zero;
        }
        is != 0
    }

    /// This host's own address; `None` when it is no member.
    #[inline(always)]
    fn own(&self) -> Option<Addr> {
        let own = self.set.own;
        (own != NO_MEMBER).then(|| self.member(own).addr)
    }

    #[inline(always)]
    fn member(&self, place: u32) -> &'static VipMember {
        &self.set.members[place as usize % MAX_VIP_MEMBERS]
    }
}

/// What is asked of a flow. The answers come from global functions: the verifier looks at each once, with arguments that
/// it knows nothing of, and not again for every shape of packet.
struct Asked {
    /// Of the set.
    index: u32,
    hash: u32,
    is_opening: bool,
    forwarded: bool,
}

/// Bits of the facts about a packet.
const OPENING: u64 = 1;
const FORWARDED: u64 = 2;
/// What stands above the place in an answer.
const FORWARD: u64 = 0;
const LOOK: u64 = 1;

impl Asked {
    #[inline(always)]
    fn facts(&self) -> u64 {
        u64::from(self.is_opening) * OPENING + u64::from(self.forwarded) * FORWARDED
    }

    /// See [`Flow::step`].
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the place is the low half")]
    fn step(&self, entry: Option<VipEntry>) -> Step {
        // 0 is of no flow: its second is long ago.
        let entry = entry.map_or(0, VipEntry::word);
        let answer = nllb_vip_step(self.index.into(), self.hash.into(), self.facts(), entry);
        match answer >> 32 {
            FORWARD => Step::Forward(answer as u32),
            LOOK => Step::Look,
            _ => Step::Keep,
        }
    }

    /// See [`Flow::next`].
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a place")]
    fn next(&self) -> u32 {
        nllb_vip_next(self.index.into(), self.hash.into(), self.facts()) as u32
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn nllb_vip_step(index: u64, hash: u64, facts: u64, entry: u64) -> u64 {
    const KEEP: u64 = 2;
    let step = with_flow(index, hash, |flow, view| {
        let kind = if facts & OPENING != 0 { Kind::Opening } else { Kind::Ongoing };
        let known = (entry != 0).then_some(VipEntry::from_word(entry));
        flow.step(view, kind, facts & FORWARDED != 0, known)
    });
    match step.unwrap_or(Step::Keep) {
        Step::Forward(place) => FORWARD << 32 | u64::from(place),
        Step::Look => LOOK << 32,
        Step::Keep => KEEP << 32,
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn nllb_vip_next(index: u64, hash: u64, facts: u64) -> u64 {
    let next = with_flow(index, hash, |flow, view| flow.next(view, facts & FORWARDED != 0));
    next.unwrap_or(NO_MEMBER).into()
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "numbers of 32 bits")]
fn with_flow<T>(index: u64, hash: u64, ask: impl FnOnce(&Flow<'_>, &KernelView) -> T) -> Option<T> {
    let control = common::control()?;
    let set = maps::set(index as u32)?;
    let lease_valid = (u32::from(control.lease_until_ns > now_ns()) ^ control.zero) != 0;
    let flow = Flow { set, hash: hash as u32, lease_valid, zero: control.zero };
    Some(ask(&flow, &KernelView { zero: control.zero }))
}

impl View for KernelView {
    #[inline(always)]
    fn verdict(&self, backend: u32) -> Verdict {
        pick::View::verdict(self, backend)
    }
}

/// A MAC address as it lies in a frame, as a word.
#[inline(always)]
fn word(mac: [u16; 3]) -> u64 {
    let [[a, b], [c, d], [e, f]] = mac.map(u16::to_ne_bytes);
    mac_word([a, b, c, d, e, f])
}

/// A MAC address of a word, as it lies in a frame.
#[inline(always)]
fn words(word: u64) -> [u16; 3] {
    let [a, b, c, d, e, f] = mac_bytes(word);
    [[a, b], [c, d], [e, f]].map(u16::from_ne_bytes)
}
