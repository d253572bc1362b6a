//! The path of a packet of a guest whose sockets this kernel does not have (Kata, KubeVirt, gVisor), and the way back.
//! Both run on the host's side of its cable.
//!
//! Such a guest may send anything. So what it says of itself is believed for itself alone: it has a table of its own,
//! and about a backend it can say no more than a pod can. What is not understood, or not ours, passes as it is.

mod answer;
mod begin;

use network_types::ip::IpProto;
use nllb_common::Counter;
use nllb_common::Port;
use nllb_common::maps::{
    Flow, FlowKey, FlowKind, FrontendKey, Protocol, Scope, State, closing, flow_state,
};
use nllb_common::packet::{
    Packet, Side, fragment, parse_into, quote_into, reset, reset_end, rewrite, tcp_flags,
    translate_error,
};
use nllb_common::pick::{Reach, View as _};

use crate::choice::{Dialled, survey};
use crate::ctx::{Skb, milliseconds, now_ns};
use crate::maps::guests::{Entry, Table, Work, work, zero};
use crate::maps::{self, KernelView};

pub(crate) use answer::to_guest;

/// What is returned for a packet that goes on, to other programs on the interface and then its way: `TC_ACT_UNSPEC`.
pub(crate) const ON: i32 = -1;

/// The flags that tell a first segment from all others.
const FIRST: u32 = tcp_flags::SYN | tcp_flags::ACK | tcp_flags::RST | tcp_flags::FIN;

/// Where a program is.
#[derive(Clone, Copy)]
struct Sight {
    /// See [`nllb_common::pick::Request`].
    zero: u32,
    interface: u32,
    table: Table,
}

impl Sight {
    /// Looks at a packet; `None` for what is left alone.
    #[inline(always)]
    fn of(skb: &mut Skb, packet: &mut Packet) -> Option<Self> {
        let interface = skb.interface();
        let table = Table::of(interface)?;
        let zero = zero()?;
        skb.pull();
        parse_into(skb, packet, zero)?;
        Some(Self { zero, interface, table })
    }

    /// Whether the verdict on the backend of a flow is that it is dead. One that is no backend any more may be well, and
    /// what it has it keeps.
    #[inline(always)]
    fn is_dead(self, flow: &Flow) -> bool {
        let verdict = KernelView { zero: self.zero }.verdict(flow.backend);
        if verdict.state_number() != State::Unhealthy as u32 || verdict.epoch() != flow.epoch {
            return false;
        }
        // The clock is only asked for the few that are.
        maps::control().is_some_and(|control| control.lease_until_ns > now_ns())
    }

    /// Whether the backend of a flow is no backend any more.
    #[inline(always)]
    fn is_gone(self, flow: &Flow) -> bool {
        KernelView { zero: self.zero }.verdict(flow.backend).epoch() != flow.epoch
    }

    /// Rewrites one side, and lets the parts that may follow be rewritten likewise.
    #[inline(always)]
    fn translate(
        self,
        skb: &mut Skb,
        packet: &Packet,
        side: Side,
        flow: &Flow,
        (part_key, part): (&mut FlowKey, &mut Flow),
    ) -> Option<i32> {
        if packet.fragment == fragment::FIRST {
            let guest = match side {
                Side::Destination => Side::Source,
                Side::Source => Side::Destination,
            };
            *part_key = FlowKey::of_part(packet, guest);
            *part = *flow;
            part.put_under(part_key, (flow.addr, flow.port));
            part.asked_ms = milliseconds(now_ns());
            // Without memory the other parts go where nobody puts them together.
            let _forgotten = self.table.set(part_key, part);
        }
        rewrite(skb, packet, side, flow.addr, flow.port)?;
        Some(ON)
    }

    /// Rewrites a part of a packet as the first was.
    #[inline(always)]
    fn translate_part(
        self,
        skb: &mut Skb,
        work: &mut Work,
        side: Side,
        guest: Side,
    ) -> Option<i32> {
        let Work { packet, key, flow, .. } = work;
        *key = FlowKey::of_part(packet, guest);
        self.table.get(key, flow)?;
        if !flow.is_of_parts(milliseconds(now_ns())) {
            return None;
        }
        rewrite(skb, packet, side, flow.addr, Port::new(0))?;
        Some(ON)
    }

    /// Rewrites an error about a packet that we have rewritten.
    #[inline(always)]
    fn translate_error(self, skb: &mut Skb, work: &mut Work, guest: Side) -> Option<i32> {
        let Work { packet: error, quoted, key, flow, .. } = work;
        quote_into(skb, error, quoted, self.zero)?;
        // Who is told has sent the packet, and who tells has got it, or is on its way.
        let (kind, guest, side, around) = match guest {
            Side::Source => (FlowKind::Forward, Side::Destination, Side::Source, Side::Destination),
            Side::Destination => (FlowKind::Reverse, Side::Source, Side::Destination, Side::Source),
        };
        *key = FlowKey::of(kind, quoted, guest);
        self.table.get(key, flow)?;
        let same = error.side(around).0 == quoted.side(side).0;
        let to = (side, flow.addr, flow.port);
        translate_error(skb, error, quoted, to, same.then_some(around))?;
        maps::count(Counter::GuestErrors);
        Some(ON)
    }
}

/// What a packet carries, if we translate that.
#[inline(always)]
fn protocol(packet: &Packet) -> Option<Protocol> {
    if packet.is(IpProto::Tcp) {
        Some(Protocol::Tcp)
    } else if packet.is(IpProto::Udp) {
        Some(Protocol::Udp)
    } else {
        None
    }
}

/// Serves a packet that a guest sends; `None` leaves it alone.
#[inline(always)]
pub(crate) fn from_guest(skb: &mut Skb) -> Option<i32> {
    // 1. What it is.
    let work = work()?;
    let sight = Sight::of(skb, &mut work.packet)?;
    if work.packet.fragment == fragment::LATER {
        return sight.translate_part(skb, work, Side::Destination, Side::Source);
    }
    let Some(protocol) = protocol(&work.packet) else {
        return sight.translate_error(skb, work, Side::Source);
    };

    // 2. Where it goes: where the connection went before, unless there is nobody any more. One that we have not seen
    // begin is somebody else's, and so is one that two backends have let wait.
    let Work { packet, key, flow, .. } = work;
    *key = FlowKey::of(FlowKind::Forward, packet, Side::Source);
    if matches!(protocol, Protocol::Tcp) && !packet.has_flags(FIRST, tcp_flags::SYN) {
        let entry = sight.table.get(key, flow)?;
        if flow.has(flow_state::PASSED) {
            return None;
        }
        if let Some(sent) = end(skb, sight, work, entry) {
            return Some(sent);
        }
        let closing = closing(&work.packet);
        if closing != 0 {
            entry.set_state(work.flow.state | closing);
        }
    } else {
        begin::first(skb, sight, work, protocol)?;
    }

    // 3. There.
    let Work { packet, flow, other_key, other, .. } = work;
    sight.translate(skb, packet, Side::Destination, flow, (other_key, other))
}

/// Ends a connection to a dead backend while another may get the next, so that the guest need not find out by itself.
#[inline(always)]
fn end(skb: &mut Skb, sight: Sight, work: &mut Work, entry: Entry) -> Option<i32> {
    if !sight.is_dead(&work.flow) || !work.packet.can_be_reset() {
        return None;
    }
    find(sight, work, Protocol::Tcp)?;
    ask(work)?;
    let Work { packet, request, flow, .. } = work;
    if !survey(request, flow.backend)?.1.finds_eligible() {
        return None;
    }
    // The headers as they were are all there: from here on nothing fails but for lack of memory.
    skb.cut(reset_end(packet))?;
    reset(skb, packet)?;
    entry.set_state(flow.state | flow_state::RST);
    maps::count(Counter::GuestReset);
    Some(skb.send_back())
}

/// Finds the frontend that the guest dials.
#[inline(always)]
fn find(sight: Sight, work: &mut Work, protocol: Protocol) -> Option<()> {
    let Work { dialled_key, dialled, key, .. } = work;
    let (addr, port) = key.peer();
    *dialled_key = FrontendKey::new(addr, port, protocol, Scope::Other);
    *dialled = Dialled::by_guest(dialled_key, sight.interface)?;
    Some(())
}

/// Finds what there is to be known for a choice among its backends.
#[inline(always)]
fn ask(work: &mut Work) -> Option<()> {
    let Work { packet, dialled, request, .. } = work;
    *request = dialled.request(&maps::control()?, reach(packet));
    Some(())
}

/// Which backends a guest can reach: those of the packet's own version.
#[inline(always)]
fn reach(packet: &Packet) -> Reach {
    if packet.version == 4 { Reach::V4_ONLY } else { Reach::V6_ONLY }
}
