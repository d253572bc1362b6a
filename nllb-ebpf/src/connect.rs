//! The connect path, in order. Runs at every `connect(2)` below the cgroup, before the route is
//! looked up, the source address chosen or a SYN sent.
//!
//! Datagrams have programs of their own for it: what the kernel thinks of those, and what they cost, is nothing to
//! connections.

use aya_log_ebpf::debug;
use nllb_common::Counter;
use nllb_common::maps::{
    NO_BACKEND, NO_HOME, Protocol, Slot, SocketRecord, control_flags, frontend_flags, socket_flags,
};
use nllb_common::pick::{Choice, Request, Target};

use crate::choice::{Dialled, survey};
use crate::ctx::{SockAddr, seconds};
use crate::datagram;
use crate::error::Error;
use crate::family::Family;
use crate::maps::{self, BackendEvidence};

/// Translates one connect, or says why not. `UDP` is whose program it is.
#[inline(always)]
pub(crate) fn run<F: Family, const UDP: bool>(ctx: &SockAddr) -> Result<(), Error> {
    // 1. Only TCP (an MPTCP socket passes here as well, before its first subflow does), or only UDP, as long as
    //    it has frontends.
    let (ours, protocol) = match UDP {
        false => (ctx.is_tcp(), Protocol::Tcp),
        true => (ctx.is_udp(), Protocol::Udp),
    };
    if !ours {
        return Err(Error::NotOurs);
    }
    let Some(control) = maps::control() else {
        return Err(Error::NoBackend);
    };
    if UDP && control.flags & control_flags::DATAGRAMS == 0 {
        return Err(Error::NotOurs);
    }

    // 2. Probes of the agent go where they were sent.
    let record = ctx.record().map(|record| record.flags);
    if record.is_some_and(|flags| flags & socket_flags::BYPASS != 0) {
        return Err(Error::Bypassed);
    }

    // 3. What is dialled, and from which side of the host. What follows for a connect that is left
    //    alone: `connect(AF_UNSPEC)` runs no hook, so a socket can come back and dial something else,
    //    and its end must not count for the backend that it had before.
    let had_record = u32::from(record.is_some()) ^ control.zero;
    let forget = || {
        if had_record != 0 {
            ctx.delete_record();
            if UDP {
                maps::forget_datagram_peer(ctx.socket_cookie());
            }
        }
    };
    let Some(dialled) = Dialled::find::<F>(ctx, protocol, &control) else {
        forget();
        if UDP {
            datagram::dialled_by_itself::<F>(ctx);
        }
        return Err(Error::Unmatched);
    };

    // 4. A socket that could not follow a rewrite, or must not, is left alone. So is one of datagrams whose
    //    answers could not be translated back.
    let binding = ctx.binding();
    if binding.device != 0 || F::bound(&binding).is_loopback() {
        forget();
        return Err(Error::BoundSocket);
    }
    if UDP && ctx.new_exchanges().is_none() {
        forget();
        return Err(Error::NoMemory);
    }

    // 5. The choice.
    let request = dialled.request(&control, F::reach(dialled.addr, &binding));
    let home = match dialled.frontend.home {
        NO_HOME => NO_BACKEND,
        home => u32::from(home),
    } ^ control.zero;
    let chosen = survey(&request, home)
        .map_or(Target::Nothing, |(pool, survey)| survey.target(pool, home, request.lease_valid));
    let (slot, counter, kept) = match chosen {
        Target::To(choice) => {
            dialled.note(&request, &choice);
            let Choice { slot, index: _, eligible } = choice;
            let counter = match (home, eligible) {
                (NO_BACKEND, true) => Counter::Translated,
                (NO_BACKEND, false) => Counter::Panic,
                _ => Counter::NodeAddressMoved,
            };
            (slot, counter, false)
        }
        Target::Keep(slot) => (slot, Counter::NodeAddressKept, true),
        Target::Nothing => {
            forget();
            return Err(if dialled.frontend.flags & frontend_flags::FAIL_WHEN_EMPTY != 0 {
                Error::Refused
            } else {
                Error::NoBackend
            });
        }
    };

    // 6. Remember the translation, so that what becomes of the connection counts for its backend.
    let self_test = dialled.frontend.flags & frontend_flags::SELF_TEST != 0;
    let flags = match (self_test, kept) {
        (true, _) => socket_flags::BYPASS,
        (false, true) => socket_flags::KEPT,
        (false, false) => 0,
    };
    remember(ctx, &dialled, &slot, flags);
    if UDP {
        remember_datagrams(ctx, &dialled, &slot, &request);
    }

    // 7. Count.
    if !self_test {
        maps::count(counter);
        if !request.lease_valid {
            maps::count(Counter::LeaseLapsed);
        }
    }

    // 8. Rewrite. A node address that is kept is rewritten to itself.
    F::rewrite(ctx, slot.addr);
    ctx.set_user_port(slot.port.word());
    debug!(ctx.inner(), "frontend {} to backend {}", dialled.frontend.id, slot.backend);
    Ok(())
}

#[inline(always)]
fn remember(ctx: &SockAddr, dialled: &Dialled, slot: &Slot, flags: u32) {
    let record = SocketRecord {
        netns: dialled.client.netns,
        frontend: dialled.client.frontend,
        pool: u32::from(dialled.frontend.pool),
        backend: slot.backend,
        epoch: slot.epoch,
        flags,
        user_timeout_ms: 0,
        tgid: dialled.client.tgid,
        silent_since_ms: 0,
    };
    if !ctx.store_record(record) {
        maps::count(Counter::StorageFailed);
    }
}

/// Remembers as well where answers are to seem to come from, and where the socket is when its backend dies.
#[inline(always)]
fn remember_datagrams(ctx: &SockAddr, dialled: &Dialled, slot: &Slot, request: &Request) {
    let Request { now_ns, zero, .. } = *request;
    if let Some(exchanges) = ctx.exchanges() {
        // Nobody is told of what is sent on a connected socket, so it is no second try either.
        exchanges.note(slot, dialled.addr, dialled.port, 0, zero);
    }
    maps::set_datagram_peer(ctx.socket_cookie(), slot.backend, slot.epoch);
    // 0 is for those without.
    let datagram_s = seconds(now_ns).max(1);
    maps::note_datagrams(dialled.client.netns, dialled.client.tgid, datagram_s);
    if let Some(evidence) = BackendEvidence::of(slot.backend, slot.epoch) {
        evidence.add_datagram_socket();
    }
}
