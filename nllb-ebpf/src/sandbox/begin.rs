//! The first packet of a flow, and what is sent again because nobody answered.

use nllb_common::maps::{
    Flow, FlowKind, NO_BACKEND, NO_HOME, Protocol, Slot, flow_state, frontend_flags,
};
use nllb_common::packet::Bytes as _;
use nllb_common::packet::header::Tcp;
use nllb_common::pick::{Choice, Target};
use nllb_common::{Counter, EventKind};

use super::{Sight, find};
use crate::choice::survey;
use crate::ctx::{Skb, milliseconds, now_ns};
use crate::evidence;
use crate::maps;
use crate::maps::guests::{Entry, State, Work};

/// Draws that are tried: another when the first backend has another flow with the same port of the guest.
const DRAWS: usize = 2;

/// Whether a datagram of a known flow is to go elsewhere: its backend is dead, or has let the guest wait.
#[inline(always)]
pub(super) fn is_to_begin_again(sight: Sight, work: &mut Work, entry: Entry) -> bool {
    let now_ms = milliseconds(now_ns());
    let (late, _) = work.flow.is_late(now_ms);
    if late {
        match way_back(sight, work) {
            Some(answers) if work.back.has(flow_state::ANSWERED) => {
                answers.set_state(0);
                entry.set_asked_ms(now_ms);
            }
            _ => return true,
        }
    }
    sight.is_dead(&work.flow)
}

/// Looks at the way back of a flow.
#[inline(always)]
fn way_back(sight: Sight, work: &mut Work) -> Option<Entry> {
    let Work { key, flow, back_key, back, .. } = work;
    *back_key = key.turned(FlowKind::Reverse, (flow.addr, flow.port));
    sight.table.get(back_key, back)
}

/// Decides where the first packet of a flow goes, and notes it: in `work.flow`, which has what there was of the same
/// key, if that was found. `None` when it is left alone, and with it whatever has these ports from now on.
#[inline(always)]
pub(super) fn begin(
    skb: &mut Skb,
    sight: Sight,
    work: &mut Work,
    protocol: Protocol,
    found: bool,
) -> Option<()> {
    // Not known when this is built, or there would be all that follows twice.
    let found = u32::from(found) ^ sight.zero != 0;
    let begun = decide(skb, sight, work, protocol, found);
    if begun.is_none() && found {
        sight.table.remove(&work.key);
    }
    begun
}

#[inline(always)]
fn decide(
    skb: &mut Skb,
    sight: Sight,
    work: &mut Work,
    protocol: Protocol,
    found: bool,
) -> Option<()> {
    find(sight, work, protocol)?;
    if work.dialled.frontend.flags & frontend_flags::SELF_TEST != 0 {
        return None;
    }

    // What goes to the guest may never pass here: then a translation would be worse than none.
    let state = State::of(sight.interface)?;
    let now_ns = work.request.now_ns;
    if state.is_one_way() {
        return None;
    }
    if state.is_deaf(now_ns) {
        state.set_one_way();
        maps::count(Counter::GuestOneWay);
        return None;
    }

    // The same once more, or another that has the same ports.
    let now_ms = milliseconds(now_ns);
    let tcp = matches!(protocol, Protocol::Tcp);
    let sequence = if tcp { skb.word(work.packet.transport + Tcp::SEQUENCE)? } else { sight.zero };
    let mut avoid = NO_BACKEND ^ sight.zero;
    if found && work.flow.sequence == sequence {
        let answers = way_back(sight, work);
        if tcp && answers.is_some() && work.back.has(flow_state::ANSWERED) {
            return Some(());
        }
        let (late, forgotten) = work.flow.is_late(now_ms);
        if tcp || !forgotten {
            avoid = work.flow.backend;
        }
        // Not what the guest alone may have lost: before the first answer that may be all.
        if state.is_answered() && (tcp || late && !forgotten) {
            tell_silence(work, tcp);
        }
    }

    // The choice, and the way back.
    draw(sight, work, avoid, (sequence, now_ms))?;
    if !sight.table.set(&work.key, &work.flow) {
        maps::count(Counter::StorageFailed);
        return None;
    }
    state.translate(now_ns);
    maps::count(Counter::GuestFlows);
    Some(())
}

#[inline(always)]
fn tell_silence(work: &Work, tcp: bool) {
    let Work { dialled, request, flow, .. } = work;
    let now_ns = request.now_ns;
    let backend = (flow.backend, flow.epoch);
    let (counter, kind) = if tcp {
        evidence::fail(backend, now_ns);
        (Counter::SynSilence, EventKind::SynSilence)
    } else {
        (Counter::DatagramSilence, EventKind::DatagramSilence)
    };
    maps::count(counter);
    if let Some(control) = maps::control() {
        evidence::tell(&control, kind, backend, dialled.client.frontend, now_ns);
    }
}

/// Draws a backend whose answers can be told from those of others, and notes the way back.
#[inline(always)]
fn draw(sight: Sight, work: &mut Work, avoid: u32, begun: (u32, u32)) -> Option<()> {
    let home = match work.dialled.frontend.home {
        NO_HOME => NO_BACKEND,
        home => u32::from(home),
    } ^ sight.zero;
    let mut apart = if home == NO_BACKEND { avoid } else { home };
    for _ in 0..DRAWS {
        let Work { dialled, request, key, flow, .. } = work;
        let chosen = survey(request, apart).and_then(|(pool, survey)| {
            if home == NO_BACKEND {
                return survey.choice_or_apart(pool, request.reach);
            }
            match survey.target(pool, home, request.lease_valid) {
                Target::To(choice) => Some(choice),
                // It is a backend's own address, and that may get connections.
                Target::Keep(_) | Target::Nothing => None,
            }
        });
        let Some(Choice { slot, index, eligible }) = chosen else {
            maps::count(Counter::PassedThrough);
            return None;
        };
        let to = (slot.addr, slot.port);
        *flow = Flow::new(key, to, &slot, dialled.frontend.id, begun);
        if claim(sight, work) {
            let Work { dialled, request, flow, .. } = work;
            let slot = Slot { backend: flow.backend, epoch: flow.epoch, ..Slot::EMPTY };
            dialled.note(request, &Choice { slot, index, eligible });
            return Some(());
        }
        apart = work.flow.backend;
        if home != NO_BACKEND {
            break;
        }
    }
    maps::count(Counter::GuestCollision);
    None
}

/// Takes the way back from its backend for a new flow; `false` when another has it, whose answers it would take.
#[inline(always)]
fn claim(sight: Sight, work: &mut Work) -> bool {
    let Work { key, flow, back_key, back, other_key, other, .. } = work;
    *back_key = key.turned(FlowKind::Reverse, (flow.addr, flow.port));
    if sight.table.get(back_key, back).is_some() {
        let of = (back.addr, back.port);
        if of != key.peer() {
            *other_key = key.turned(FlowKind::Forward, of);
            if sight.table.get(other_key, other).is_some()
                && other.is_live(back, key.protocol(), flow.asked_ms)
            {
                return false;
            }
        }
    }
    *back = *flow;
    (back.addr, back.port) = key.peer();
    back.guard = back_key.guard();
    sight.table.set(back_key, back)
}
