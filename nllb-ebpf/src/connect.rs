//! The connect path, in order. Runs at every `connect(2)` below the cgroup, before the route is
//! looked up, the source address chosen or a SYN sent.

use aya_log_ebpf::debug;
use nllb_common::Counter;
use nllb_common::Port;
use nllb_common::maps::{
    Client, Control, Favourite, Frontend, FrontendKey, NO_BACKEND, NO_HOME, Policy, PoolSet, Scope,
    Slot, SocketRecord, frontend_flags, socket_flags,
};
use nllb_common::pick::{Choice, Request, Target, by_maglev, target};

use crate::ctx::{Connect, now_ns, random, tgid};
use crate::error::Error;
use crate::family::Family;
use crate::maps::{self, BackendEvidence, KernelView};

/// Translates one connect, or says why not.
#[inline(always)]
pub(crate) fn run<F: Family>(ctx: &Connect) -> Result<(), Error> {
    // 1. Only TCP (an MPTCP socket passes here as well, before its first subflow does).
    if !ctx.is_tcp() {
        return Err(Error::NotTcp);
    }

    // 2. Probes of the agent go where they were sent.
    let record = ctx.record().map(|record| record.flags);
    if record.is_some_and(|flags| flags & socket_flags::BYPASS != 0) {
        return Err(Error::Bypassed);
    }

    // 3. What is dialled, and from which side of the host. What follows for a connect that is left
    //    alone: `connect(AF_UNSPEC)` runs no hook, so a socket can come back and dial something else,
    //    and its end must not count for the backend that it had before.
    let Some(control) = maps::control() else {
        return Err(Error::NoBackend);
    };
    let had_record = u32::from(record.is_some()) ^ control.zero;
    let forget = || {
        if had_record != 0 {
            ctx.delete_record();
        }
    };
    let dialled = F::destination(ctx);
    let port = Port::from_word(ctx.user_port());
    let netns = ctx.netns_cookie();
    let scope = scope(netns, &control);
    let Some(frontend) = maps::frontend(&FrontendKey::tcp(dialled, port, scope)) else {
        forget();
        return Err(Error::Unmatched);
    };

    // 4. A socket that could not follow a rewrite, or must not, is left alone.
    let binding = ctx.binding();
    if binding.device != 0 || F::bound(&binding).is_loopback() {
        forget();
        return Err(Error::BoundSocket);
    }

    // 5. The choice. A pool that is not there is one without backends.
    let now = now_ns();
    let client = Client { netns, tgid: tgid(), frontend: u32::from(frontend.id) };
    let pool = maps::pool(u32::from(frontend.pool));
    let request = Request {
        now_ns: now,
        lease_valid: control.lease_until_ns > now,
        reach: F::reach(dialled, &binding),
        seed: seed(&frontend, &client),
        zero: control.zero,
        policy: frontend.policy_number(),
        pool: u32::from(frontend.pool),
        preferred: preferred(&frontend, &client, pool),
    }
    .hidden();
    let home = match frontend.home {
        NO_HOME => NO_BACKEND,
        home => u32::from(home),
    } ^ control.zero;
    let chosen = pool.map_or(Target::Nothing, |pool| {
        target(pool, &KernelView { zero: control.zero }, &request, home)
    });
    let (slot, counter, kept) = match chosen {
        Target::To(Choice { slot, index, eligible }) => {
            note_choice(&request, &client, &slot, index);
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
            return Err(if frontend.flags & frontend_flags::FAIL_WHEN_EMPTY != 0 {
                Error::Refused
            } else {
                Error::NoBackend
            });
        }
    };

    // 6. Remember the translation, so that what becomes of the connection counts for its backend.
    let self_test = frontend.flags & frontend_flags::SELF_TEST != 0;
    let flags = match (self_test, kept) {
        (true, _) => socket_flags::BYPASS,
        (false, true) => socket_flags::KEPT,
        (false, false) => 0,
    };
    remember(ctx, &client, &frontend, &slot, flags);

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
    debug!(ctx.inner(), "frontend {} to backend {}", frontend.id, slot.backend);
    Ok(())
}

/// The scope of a connect from this network namespace. While the host's is not known, nobody is in
/// it: loopback frontends wait, which harms less than serving a pod what is the host's.
#[inline(always)]
fn scope(netns: u64, control: &Control) -> Scope {
    if control.host_netns == netns { Scope::Host } else { Scope::Other }
}

/// The backend that the client should have, where the policy has one for it.
#[inline(always)]
fn preferred(frontend: &Frontend, client: &Client, pool: Option<&PoolSet>) -> u32 {
    let policy = frontend.policy_number();
    if policy == Policy::Maglev as u32 {
        return pool.map_or(NO_BACKEND, |pool| by_maglev(pool, client.hash()));
    }
    if policy == Policy::Affinity as u32 {
        // Of another epoch it would be another backend.
        let favourite = maps::favourite(client);
        let favourite = favourite.filter(|it| BackendEvidence::of(it.backend, it.epoch).is_some());
        return favourite.map_or(NO_BACKEND, |favourite| favourite.backend);
    }
    NO_BACKEND
}

/// What decides the draw: the client where the policy says so, else chance.
#[inline(always)]
fn seed(frontend: &Frontend, client: &Client) -> u32 {
    if frontend.policy_number() == Policy::Maglev as u32 { client.hash() } else { random() }
}

/// What a policy wants to know at the next choice.
#[inline(always)]
fn note_choice(request: &Request, client: &Client, slot: &Slot, index: u32) {
    if request.policy == Policy::RoundRobin as u32 {
        maps::take_turn(request.pool, index, request.now_ns);
    }
    if request.policy == Policy::Affinity as u32 && request.preferred != slot.backend {
        let Slot { backend, epoch, .. } = *slot;
        maps::set_favourite(client, Favourite { backend, epoch });
    }
}

#[inline(always)]
fn remember(ctx: &Connect, client: &Client, frontend: &Frontend, slot: &Slot, flags: u32) {
    let Frontend { id, pool, home: _, flags: _ } = *frontend;
    let record = SocketRecord {
        netns: client.netns,
        frontend: u32::from(id),
        pool: u32::from(pool),
        backend: slot.backend,
        epoch: slot.epoch,
        flags,
        user_timeout_ms: 0,
        tgid: client.tgid,
        silent_since_ms: 0,
    };
    if !ctx.store_record(record) {
        maps::count(Counter::StorageFailed);
    }
}
