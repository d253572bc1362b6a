//! What comes back to a guest. A handshake is believed only if it answers what the guest has sent, number for number.

use nllb_common::maps::{FlowKey, FlowKind, FrontendKey, Protocol, Scope, closing, flow_state};
use nllb_common::packet::header::Tcp;
use nllb_common::packet::{Bytes as _, Packet, Side, fragment, tcp_flags};
use nllb_common::{Counter, EventKind};

use super::{Sight, protocol};
use crate::ctx::{Skb, now_ns};
use crate::evidence;
use crate::maps::guests::{Entry, State, Work, work};
use crate::maps::{self, BackendEvidence};

/// The flags of a segment that begins or ends something.
const NEWS: u32 = tcp_flags::SYN | tcp_flags::RST | tcp_flags::FIN;
/// The flags of an answer to a first segment.
const BOTH: u32 = tcp_flags::SYN | tcp_flags::ACK;

/// Serves a packet that goes to a guest; `None` leaves it alone.
#[inline(always)]
pub(crate) fn to_guest(skb: &mut Skb) -> Option<i32> {
    // 1. What it is.
    let work = work()?;
    let sight = Sight::of(skb, &mut work.packet)?;
    if work.packet.fragment == fragment::LATER {
        return sight.translate_part(skb, work, Side::Source, Side::Destination);
    }
    let Some(protocol) = protocol(&work.packet) else {
        return sight.translate_error(skb, work, Side::Destination);
    };

    // 2. To which question.
    let Work { packet, key, flow, .. } = work;
    *key = FlowKey::of(FlowKind::Reverse, packet, Side::Destination);
    let tcp = matches!(protocol, Protocol::Tcp);
    let Some(entry) = sight.table.get(key, flow) else {
        notice_others(sight.interface, packet, protocol);
        return None;
    };

    // 3. What that says of its backend.
    if tcp {
        if packet.tcp_flags & NEWS != 0 && !hear(skb, sight, work, entry) {
            return None;
        }
    } else if !flow.has(flow_state::ANSWERED) {
        entry.set_state(flow.state | flow_state::ANSWERED | flow_state::EVER);
        if !flow.has(flow_state::EVER) {
            note(sight, work);
        }
    }

    // 4. It comes from where the guest has sent to.
    let Work { packet, flow, other_key, other, .. } = work;
    sight.translate(skb, packet, Side::Source, flow, (other_key, other))
}

/// Looks at a segment that begins or ends something; `false` when it is none of the connection that the guest has.
#[inline(always)]
fn hear(skb: &Skb, sight: Sight, work: &mut Work, entry: Entry) -> bool {
    let Work { packet, flow, .. } = work;
    let Some(acknowledged) = skb.word(packet.transport + Tcp::ACKNOWLEDGED) else { return false };
    let next = u32::from_be(flow.sequence).wrapping_add(1).to_be();
    let answers = packet.tcp_flags & tcp_flags::ACK != 0 && acknowledged == next;
    if !answers || flow.has(flow_state::ANSWERED) {
        let closing = closing(packet);
        if closing != 0 {
            entry.set_state(flow.state | closing);
        }
        return true;
    }
    let backend = (flow.backend, flow.epoch);
    let state = flow.state;
    let frontend = flow.frontend.into();
    note(sight, work);
    let now_ns = now_ns();
    if work.packet.tcp_flags & tcp_flags::RST != 0 {
        entry.set_state(state | flow_state::RST);
        evidence::fail(backend, now_ns);
        maps::count(Counter::ConnectReset);
        if let Some(control) = maps::control() {
            evidence::tell(&control, EventKind::ConnectReset, backend, frontend, now_ns);
        }
        return true;
    }
    if work.packet.tcp_flags & tcp_flags::SYN == 0 {
        return true;
    }
    if !take(sight, work) {
        return false;
    }
    entry.set_state(work.flow.state | flow_state::ANSWERED);
    // No more than for a pod: who can answer in a backend's name could else make a dead one look well.
    if let Some(evidence) = BackendEvidence::of(backend.0, backend.1) {
        evidence.answer(now_ns);
    }
    true
}

/// Notes that what goes to the guest passes here, at least from this backend.
#[inline(always)]
fn note(sight: Sight, work: &mut Work) {
    if let Some(state) = State::of(sight.interface) {
        state.answer();
    }
    let Work { flow, other_key, other, .. } = work;
    *other_key = FlowKey::heard(flow.backend);
    if sight.table.get(other_key, other).is_none() || other.epoch != flow.epoch {
        *other = *flow;
        other.put_under(other_key, (flow.addr, flow.port));
        let _forgotten = sight.table.set(other_key, other);
    }
}

/// Lets the guest's connection be the one with this backend, which has answered. It may have been drawn again
/// meanwhile; who answers first has it, and the other is told by the guest itself that there is no such connection.
#[inline(always)]
fn take(sight: Sight, work: &mut Work) -> bool {
    let Work { key, flow, back_key, back, other_key, other, .. } = work;
    *back_key = key.turned(FlowKind::Forward, (flow.addr, flow.port));
    if sight.table.get(back_key, back).is_none() {
        return true;
    }
    if back.backend == flow.backend && back.epoch == flow.epoch {
        return true;
    }
    if back.sequence != flow.sequence || back.has(flow_state::PASSED) {
        return false;
    }
    *other_key = key.turned(FlowKind::Reverse, (back.addr, back.port));
    if sight.table.get(other_key, other).is_some() && other.has(flow_state::ANSWERED) {
        return false;
    }
    (back.addr, back.port) = key.peer();
    back.backend = flow.backend;
    back.epoch = flow.epoch;
    sight.table.set(back_key, back)
}

/// Something goes to the guest from a frontend, through the hands of others: so it passes here after all.
#[inline(always)]
fn notice_others(interface: u32, packet: &Packet, protocol: Protocol) {
    if matches!(protocol, Protocol::Tcp) && !packet.has_flags(BOTH, BOTH) {
        return;
    }
    let Some(state) = State::of(interface).filter(|state| state.is_one_way()) else {
        return;
    };
    let key = FrontendKey::new(packet.source, packet.source_port, protocol, Scope::Other);
    if maps::frontend(&key).is_some() {
        state.answer();
    }
}
