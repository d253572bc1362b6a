//! The first packet of a flow, and what is sent again because nobody answered.

use network_types::ip::IpProto;
use nllb_common::maps::{
    Flow, FlowKey, FlowKind, NO_BACKEND, NO_HOME, Protocol, Slot, flow_state, frontend_flags,
};
use nllb_common::packet::Bytes as _;
use nllb_common::packet::header::Tcp;
use nllb_common::pick::{Choice, Target};
use nllb_common::{Counter, EventKind};

use super::{Sight, ask, find};
use crate::choice::survey;
use crate::ctx::{Skb, milliseconds, now_ns, opaque};
use crate::evidence;
use crate::maps;
use crate::maps::guests::{Entry, State, Work};

/// Draws that are tried: another when the first backend has another flow with the same port of the guest.
const DRAWS: usize = 2;

/// Finds where a first segment or a datagram goes: in `work.flow`; `None` when it is left alone.
#[inline(always)]
pub(super) fn first(
    skb: &mut Skb,
    sight: Sight,
    work: &mut Work,
    protocol: Protocol,
) -> Option<()> {
    if find(sight, work, protocol).is_none() {
        forget(sight, work, protocol);
        return None;
    }
    let Work { key, flow, .. } = work;
    let found = sight.table.get(key, flow);
    if let Some(entry) = found {
        if matches!(protocol, Protocol::Udp) && !is_to_begin_again(sight, work, entry) {
            return Some(());
        }
    }
    // Not known when this is built, or there would be all that follows once for each way here.
    let found = opaque(usize::from(found.is_some())) != sight.zero as usize;
    begin(skb, sight, work, found)
}

/// What the guest sends to others is answered by them: what comes from there is no answer to what it dialled before.
#[inline(always)]
fn forget(sight: Sight, work: &mut Work, protocol: Protocol) {
    let Work { key, back_key, back, .. } = work;
    *back_key = key.turned(FlowKind::Reverse, key.peer());
    if matches!(protocol, Protocol::Tcp) {
        // It may have been a frontend when the guest dialled it last.
        sight.table.remove(key);
        sight.table.remove(back_key);
    } else if sight.table.get(back_key, back).is_some() {
        // Each datagram comes here, and nearly none has an entry, whose removal takes a lock.
        sight.table.remove(back_key);
    }
}

/// Whether a datagram of a known flow is to go elsewhere: its backend is dead or gone, or has let the guest wait.
#[inline(always)]
fn is_to_begin_again(sight: Sight, work: &mut Work, entry: Entry) -> bool {
    let now_ns = now_ns();
    let now_ms = milliseconds(now_ns);
    let (late, _) = work.flow.is_late(now_ms);
    if late {
        match way_back(sight, work) {
            Some(answers) if work.back.has(flow_state::ANSWERED) => {
                answers.set_state(work.back.state & !flow_state::ANSWERED);
                entry.set_asked_ms(now_ms);
            }
            // Not all that is said is answered: whether it still would be is the agent's to say.
            Some(_) if work.back.has(flow_state::EVER) && has_agent(now_ns) => {}
            _ => return true,
        }
    }
    sight.is_gone(&work.flow) || sight.is_dead(&work.flow)
}

/// Whether there is an agent that gives verdicts.
#[inline(always)]
fn has_agent(now_ns: u64) -> bool {
    maps::control().is_some_and(|control| control.lease_until_ns > now_ns)
}

/// Looks at the way back of a flow.
#[inline(always)]
fn way_back(sight: Sight, work: &mut Work) -> Option<Entry> {
    let Work { key, flow, back_key, back, .. } = work;
    *back_key = key.turned(FlowKind::Reverse, (flow.addr, flow.port));
    let answers = sight.table.get(back_key, back)?;
    // Another flow from the same port may have it by now.
    let (addr, port) = key.peer();
    (back.addr.difference(&addr) | back.port.word() ^ port.word() == 0).then_some(answers)
}

/// Decides where the first packet of a flow goes, and notes it: in `work.flow`, which has what there was of the same
/// key, if that was found. `None` when it is left alone, and with it whatever has these ports from now on.
#[inline(always)]
fn begin(skb: &mut Skb, sight: Sight, work: &mut Work, found: bool) -> Option<()> {
    let begun = decide(skb, sight, work, found);
    if begun.is_none() && found {
        if work.flow.has(flow_state::PASSED) {
            let _forgotten = sight.table.set(&work.key, &work.flow);
        } else {
            sight.table.remove(&work.key);
        }
    }
    begun
}

#[inline(always)]
fn decide(skb: &mut Skb, sight: Sight, work: &mut Work, found: bool) -> Option<()> {
    ask(work)?;
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
    let tcp = opaque(work.packet.protocol as usize) == IpProto::Tcp as usize;
    let sequence = if tcp { skb.word(work.packet.transport + Tcp::SEQUENCE)? } else { sight.zero };
    let mut avoid = NO_BACKEND ^ sight.zero;
    let mut again = sight.zero;
    if found && work.flow.sequence == sequence {
        let answered = way_back(sight, work).is_some() && work.back.has(flow_state::ANSWERED);
        let (late, forgotten) = work.flow.is_late(now_ms);
        if tcp {
            if work.flow.has(flow_state::PASSED) {
                return None;
            }
            // The guest has lost the answer, or what it has sent came twice.
            if answered || !late {
                return Some(());
            }
            // It may be that answers pass by here, so that it would wait for ever.
            if work.flow.has(flow_state::AGAIN) {
                work.flow.state |= flow_state::PASSED;
                return None;
            }
            again = flow_state::AGAIN;
        }
        if tcp || !forgotten {
            avoid = work.flow.backend;
            // Not what the guest alone may have lost: before this backend's first answer that may be all.
            if late && is_heard(sight, work) {
                tell_silence(work, tcp);
            }
        }
    } else {
        work.flow.state = 0;
    }

    // The choice, and the way back.
    draw(sight, work, avoid, (sequence, now_ms))?;
    work.flow.state |= again;
    if !sight.table.set(&work.key, &work.flow) {
        maps::count(Counter::StorageFailed);
        return None;
    }
    state.translate(now_ns);
    maps::count(Counter::GuestFlows);
    Some(())
}

/// Whether answers of the flow's backend have come here before.
#[inline(always)]
fn is_heard(sight: Sight, work: &mut Work) -> bool {
    let Work { flow, other_key, other, .. } = work;
    *other_key = FlowKey::heard(flow.backend);
    sight.table.get(other_key, other).is_some() && other.epoch == flow.epoch
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
        let request = &work.request;
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
        // A guest may be a backend itself, and would not take what it has sent.
        let itself = slot.addr.difference(&work.packet.source) == 0;
        if itself && (home != NO_BACKEND || slot.backend == apart) {
            maps::count(Counter::PassedThrough);
            return None;
        }
        let Work { dialled, key, flow, .. } = work;
        let to = (slot.addr, slot.port);
        *flow = Flow::new(key, to, &slot, dialled.frontend.id, begun);
        if !itself && claim(sight, work) {
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
    back.put_under(back_key, key.peer());
    sight.table.set(back_key, back)
}
