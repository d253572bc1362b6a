//! The path of a datagram on a socket that is not connected, in order, and the way back.
//!
//! Each datagram has a choice of its own. A client that has waited for an answer and sends again is the only
//! sign that there is of a silent backend, so that datagram goes elsewhere, and the agent is told.

use aya_log_ebpf::debug;
use nllb_common::maps::{Control, Exchange, Protocol, control_flags, frontend_flags, socket_flags};
use nllb_common::pick::Choice;
use nllb_common::{Addr, Counter, EventKind, Port};

use crate::choice::{Dialled, survey};
use crate::ctx::{SockAddr, milliseconds};
use crate::error::Error;
use crate::evidence::{self, HINT_NS};
use crate::family::Family;
use crate::maps::{self, BackendEvidence};

/// Translates one datagram, or says why not.
#[inline(always)]
pub(crate) fn send<F: Family>(ctx: &SockAddr) -> Result<(), Error> {
    // 1. Only UDP, as long as it has frontends.
    let Some(control) = maps::control() else {
        return Err(Error::NoBackend);
    };
    if !ctx.is_udp() || control.flags & control_flags::DATAGRAMS == 0 {
        return Err(Error::NotOurs);
    }

    // 2. What is dialled, and from which side of the host.
    let Some(dialled) = Dialled::find::<F>(ctx, Protocol::Udp, &control) else {
        // A v6 socket that is connected to a v4 backend names it with each datagram, by the kernel's hand.
        if !ctx.is_connected() {
            dialled_by_itself::<F>(ctx);
        }
        return Err(Error::NotOurs);
    };

    // 3. Left alone: probes of the agent, what could not follow a rewrite, and what could not be translated
    //    back.
    if ctx.record().is_some_and(|record| record.flags & socket_flags::BYPASS != 0) {
        return Err(Error::Bypassed);
    }
    let binding = ctx.binding();
    let bound = F::bound(&binding).is_loopback() || F::source(ctx).is_loopback();
    if binding.device != 0 || bound {
        return Err(Error::BoundSocket);
    }
    if ctx.is_connected() {
        return to_peer::<F>(ctx, &dialled);
    }
    let Some(exchanges) = ctx.new_exchanges() else {
        return Err(Error::NoMemory);
    };

    // 4. The choice.
    let request = dialled.request(&control, F::DATAGRAM_REACH);
    // Never 0, which is for those that were answered.
    let now_ms = milliseconds(request.now_ns) | 1;
    let past = exchanges.past(dialled.addr, dialled.port, now_ms, control.zero);
    let chosen = survey(&request, past.avoid)
        .and_then(|(pool, survey)| survey.choice_or_apart(pool, request.reach));
    let Some(choice) = chosen else {
        return Err(if dialled.frontend.flags & frontend_flags::FAIL_WHEN_EMPTY != 0 {
            Error::Refused
        } else {
            Error::NoBackend
        });
    };
    dialled.note(&request, &choice);
    let Choice { slot, index: _, eligible } = choice;

    // 5. A second try tells of the backend that was asked first.
    if past.again != 0 {
        tell_silence(&control, &dialled, (past.backend, past.epoch), request.now_ns);
    }

    // 6. Remember where it goes, for the answer.
    exchanges.note(&slot, dialled.addr, dialled.port, now_ms, control.zero);

    // 7. Count.
    maps::count(Counter::Datagrams);
    if !eligible {
        maps::count(Counter::Panic);
    }

    // 8. Rewrite.
    F::rewrite(ctx, slot.addr);
    ctx.set_user_port(slot.port.word());
    debug!(ctx.inner(), "frontend {}, datagram to {}", dialled.frontend.id, slot.backend);
    Ok(())
}

/// A connected socket hears its peer alone. So what it sends to the address that led to the peer goes there, and
/// anything else where the caller says: the socket was connected before the address was a frontend's, or elsewhere.
#[inline(always)]
fn to_peer<F: Family>(ctx: &SockAddr, dialled: &Dialled) -> Result<(), Error> {
    let (Some(record), Some(exchanges)) = (ctx.record(), ctx.exchanges()) else {
        return Err(Error::NotOurs);
    };
    let peer = (record.backend, record.epoch);
    let Some(exchange) = exchanges.with_peer(peer, dialled.addr, dialled.port) else {
        return Err(Error::NotOurs);
    };
    // See `Family::DATAGRAM_REACH`.
    if exchange.backend_addr.family() != dialled.addr.family() {
        return Err(Error::NotOurs);
    }
    F::rewrite(ctx, exchange.backend_addr);
    ctx.set_user_port(exchange.backend_port.word());
    Ok(())
}

/// What is dialled is no frontend. If it is a backend all the same, it answers by its own address.
#[inline(always)]
pub(crate) fn dialled_by_itself<F: Family>(ctx: &SockAddr) {
    if let Some(exchange) = exchange::<F>(ctx) {
        exchange.forget();
    }
}

/// A backend has let a client wait. Only what the host itself meets is held against it: a pod can let its own
/// questions wait as long as it likes.
#[inline(always)]
fn tell_silence(control: &Control, dialled: &Dialled, (backend, epoch): (u32, u32), now_ns: u64) {
    maps::count(Counter::DatagramSilence);
    if dialled.client.netns == control.host_netns {
        if let Some(evidence) = BackendEvidence::of(backend, epoch) {
            evidence.suspect(now_ns + HINT_NS);
        }
    }
    let (kind, frontend) = (EventKind::DatagramSilence, dialled.client.frontend);
    evidence::tell(control, kind, (backend, epoch), frontend, now_ns);
}

/// Lets an answer come from the address that was dialled.
#[inline(always)]
pub(crate) fn receive<F: Family>(ctx: &SockAddr) {
    if let Some(exchange) = exchange::<F>(ctx) {
        exchange.asked_ms = 0;
        translate_back::<F>(ctx, exchange.dialled_addr, exchange.dialled_port);
    }
}

/// Lets the peer of a connected socket be the address that was dialled.
#[inline(always)]
pub(crate) fn peer<F: Family>(ctx: &SockAddr) {
    if let Some(exchange) = exchange::<F>(ctx) {
        translate_back::<F>(ctx, exchange.dialled_addr, exchange.dialled_port);
    }
}

/// The exchange with the backend that the context names. Sockets of other protocols have none.
#[inline(always)]
fn exchange<F: Family>(ctx: &SockAddr) -> Option<&'static mut Exchange> {
    let exchanges = ctx.exchanges()?;
    exchanges.with_backend(F::destination(ctx), Port::from_word(ctx.user_port()))
}

#[inline(always)]
fn translate_back<F: Family>(ctx: &SockAddr, addr: Addr, port: Port) {
    F::rewrite(ctx, addr);
    ctx.set_user_port(port.word());
}
