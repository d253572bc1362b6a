//! What the life of a translated connection says about its backend.
//!
//! Evidence only de-prefers, and a success of the host clears it. So a hostile pod can make us look
//! elsewhere for a moment, never take a backend away.

use aya_log_ebpf::debug;
use nllb_common::maps::{Control, NO_BACKEND, Policy, SocketRecord, control_flags, socket_flags};
use nllb_common::pick::{Reach, Request, other_answered};
use nllb_common::{Counter, EventKind};

use crate::choice::survey;
use crate::ctx::{SockOps, milliseconds as ms, now_ns, random};
use crate::evidence::{self, HINT_NS, MS};
use crate::maps::{self, BackendEvidence, KernelView};

// Operations (`enum` in the kernel's `uapi/linux/bpf.h`).
const TIMEOUT_INIT: u32 = 1;
const TCP_CONNECT_CB: u32 = 3;
const ACTIVE_ESTABLISHED_CB: u32 = 4;
const RTO_CB: u32 = 8;
const RTT_CB: u32 = 12;
const STATE_CB: u32 = 10;

// Callbacks to ask for.
const RTO_CB_FLAG: u32 = 1;
const STATE_CB_FLAG: u32 = 4;
const RTT_CB_FLAG: u32 = 8;

// States of a TCP socket.
const TCP_ESTABLISHED: u32 = 1;
const TCP_SYN_SENT: u32 = 2;
const TCP_CLOSE: u32 = 7;
const TCP_CLOSE_WAIT: u32 = 8;

/// The retransmission timeout of a first SYN when nothing is known (RFC 6298, 2.1).
const RTO_MAX_MS: u32 = 1_000;
/// Longest wait for the answer to a second SYN before the connect is cut.
const SECOND_WAIT_MAX_MS: u32 = 250;

/// How lately another backend must have answered for the silence to be that of one backend.
const ANSWERED_NS: u64 = 2_000 * MS;
/// What a connection that is ended is given for a last answer, beyond what it was silent already. The
/// kernel counts a user timeout from the first retransmission, so the first wait comes on top.
const LAST_WAIT_MS: u32 = 200;
/// A shorter silence ends nothing, however fast a route retransmits.
const SILENCE_MIN_MS: u32 = 500;
/// Limit on silence where nobody can close a connection: far above any blip, and a quarter of what it
/// takes until a node is taken for dead.
const SILENCE_MS: u32 = 10_000;
/// When an idle connection is asked for a sign of life, and how often: answered or not within the limit.
const KEEPALIVE_IDLE_S: u32 = 5;
const KEEPALIVE_INTERVAL_S: u32 = 2;

/// Handles one operation of one socket. Sockets that we did not translate have no record.
#[inline(always)]
pub(crate) fn run(ctx: &SockOps) {
    let op = ctx.op();
    // Most calls, on every socket of the host, end here, before the look-up.
    let wanted = match op {
        TIMEOUT_INIT | TCP_CONNECT_CB | ACTIVE_ESTABLISHED_CB | RTO_CB | RTT_CB => true,
        STATE_CB => matches!(ctx.arg::<1>(), TCP_CLOSE | TCP_CLOSE_WAIT),
        _ => false,
    };
    if !wanted {
        return;
    }
    let Some(record) = ctx.record() else { return };
    let probe = record.flags & socket_flags::BYPASS != 0;
    match op {
        TIMEOUT_INIT => syn_timeout(ctx, record),
        ACTIVE_ESTABLISHED_CB if probe => note_probe(ctx, record),
        _ if probe => {}
        TCP_CONNECT_CB => ctx.set_callbacks(RTO_CB_FLAG | STATE_CB_FLAG),
        ACTIVE_ESTABLISHED_CB => established(ctx, record),
        RTO_CB if ctx.state() == TCP_SYN_SENT => silence(ctx, record),
        RTO_CB => data_silence(ctx, record),
        RTT_CB => heard_again(ctx, record),
        STATE_CB if ctx.arg::<1>() == TCP_CLOSE_WAIT => unserved(ctx, record),
        STATE_CB => closed(ctx, record),
        _ => {}
    }
}

/// A probe got through: the backend answers, whatever was suspected. It is no connection of a client
/// and does not count as one.
#[inline(always)]
fn note_probe(ctx: &SockOps, record: &SocketRecord) {
    if let Some(evidence) = BackendEvidence::of(record.backend, record.epoch) {
        evidence.answer(now_ns());
        evidence.clear_suspicion();
        evidence.smooth_srtt_us(ctx.srtt_us());
    }
}

/// How long to wait for the answer to the first SYN: three round trips, which is RFC 6298's
/// `SRTT + 4 * RTTVAR` after a single sample (RTTVAR = SRTT / 2), with a floor and RFC's initial second
/// as the ceiling. Unknown round trip: the kernel's own second.
#[inline(always)]
fn syn_timeout(ctx: &SockOps, record: &SocketRecord) {
    let Some(control) = maps::control() else {
        return;
    };
    let srtt_us =
        BackendEvidence::of(record.backend, record.epoch).map_or(0, BackendEvidence::srtt_us);
    if srtt_us == 0 || control.hz == 0 {
        return;
    }
    let ms = (srtt_us.saturating_mul(3) / 1_000).max(control.syn_floor_ms).min(RTO_MAX_MS);
    ctx.reply((ms * control.hz).div_ceil(1_000));
}

/// Established: the backend is well, and the connection counts.
#[inline(always)]
fn established(ctx: &SockOps, record: &mut SocketRecord) {
    maps::count(Counter::Established);
    restore_user_timeout(ctx, record);
    ctx.set_callbacks(RTO_CB_FLAG | STATE_CB_FLAG);
    record.flags = record.flags & socket_flags::KEPT | socket_flags::COUNTED;
    maps::enter_netns(record.netns, record.tgid);
    let control = maps::control();
    if let Some(evidence) = BackendEvidence::of(record.backend, record.epoch) {
        evidence.add_established();
        evidence.answer(now_ns());
        // Only what the host itself meets: a pod can delay its own packets, and answer them itself.
        if control.is_some_and(|control| control.host_netns == record.netns) {
            evidence.clear_suspicion();
            evidence.smooth_srtt_us(ctx.srtt_us());
        }
    }
    if control.is_some_and(|control| control.flags & control_flags::SHORT_TIMEOUTS != 0) {
        limit_silence(ctx);
    }
}

/// Gives a connection a limit of its own on silence, because nobody can close it. An application that set
/// one itself keeps it, where the kernel tells.
#[inline(always)]
fn limit_silence(ctx: &SockOps) {
    if ctx.user_timeout_ms().unwrap_or(0) == 0 {
        ctx.set_user_timeout_ms(SILENCE_MS);
        ctx.set_keepalive(KEEPALIVE_IDLE_S, KEEPALIVE_INTERVAL_S);
    }
}

/// What `TCP_USER_TIMEOUT` is to be restored to. Where the kernel does not tell: what we gave the
/// connection ourselves, if we did.
#[inline(always)]
fn usual_timeout_ms(before: Option<u32>, control: &Control) -> u32 {
    let short = control.flags & control_flags::SHORT_TIMEOUTS != 0;
    before.unwrap_or(if short { SILENCE_MS } else { 0 })
}

/// The backend of a connection that was to be ended has answered.
#[inline(always)]
fn heard_again(ctx: &SockOps, record: &mut SocketRecord) {
    restore_user_timeout(ctx, record);
    ctx.set_callbacks(RTO_CB_FLAG | STATE_CB_FLAG);
}

/// Takes back a timeout that was shortened.
#[inline(always)]
fn restore_user_timeout(ctx: &SockOps, record: &mut SocketRecord) {
    const SHORTENED: u32 = socket_flags::CUT | socket_flags::ENDING;
    if record.flags & SHORTENED != 0 {
        record.flags &= !SHORTENED;
        ctx.set_user_timeout_ms(record.user_timeout_ms);
    }
}

/// Data on an established connection went unanswered. The second time in a row it is news for the agent.
/// When there is none, the connection is ended if its backend was not heard since the data was sent while
/// another one was: then it is the backend and not the network, and the client does better elsewhere.
#[inline(always)]
fn data_silence(ctx: &SockOps, record: &mut SocketRecord) {
    let timeouts = ctx.arg::<0>();
    let Some(control) = maps::control() else {
        return;
    };
    let now = now_ns();
    let wait_ms = in_ms(ctx.arg::<1>(), control.hz);
    if timeouts == 0 {
        // What was sent before has been answered, and what this wait was for was sent when it began.
        restore_user_timeout(ctx, record);
        record.silent_since_ms = ms(now).wrapping_sub(wait_ms);
        return;
    }
    if timeouts == 1 {
        maps::count(Counter::DataSilence);
        tell(record, &control, EventKind::DataSilence, now);
    }
    if control.lease_until_ns > now || record.flags & socket_flags::ENDING != 0 || control.hz == 0 {
        return;
    }
    // By the clock: the waits double, but not while the neighbour is not found.
    let silent_ms = ms(now).wrapping_sub(record.silent_since_ms);
    if silent_ms < SILENCE_MIN_MS {
        return;
    }
    let sent_ns = now.wrapping_sub(u64::from(silent_ms) * MS);
    let heard = BackendEvidence::of(record.backend, record.epoch)
        .is_none_or(|evidence| evidence.last_answer_ns() > sent_ns);
    let Some(pool) = maps::pool(record.pool) else {
        return;
    };
    let view = KernelView { zero: control.zero };
    // An answer from before the last wait may be from before all went silent.
    let since_ns = now.wrapping_sub((u64::from(wait_ms) * MS).min(ANSWERED_NS));
    if heard || !other_answered(pool, &view, record.backend, since_ns) {
        return;
    }
    let before = usual_timeout_ms(ctx.user_timeout_ms(), &control);
    let end_ms = silent_ms + LAST_WAIT_MS;
    if before != 0 && before <= end_ms {
        return;
    }
    record.user_timeout_ms = before;
    record.flags |= socket_flags::ENDING;
    ctx.set_user_timeout_ms(end_ms);
    ctx.set_callbacks(RTO_CB_FLAG | STATE_CB_FLAG | RTT_CB_FLAG);
    maps::count(Counter::Ended);
    debug!(ctx.inner(), "backend {} is silent, connection ends", record.backend);
}

/// Ticks of the kernel in milliseconds, a minute at most; zero when the length of a tick is not known.
#[inline(always)]
fn in_ms(ticks: u32, hz: u32) -> u32 {
    ticks.min(hz * 60).saturating_mul(1_000).checked_div(hz).unwrap_or(0)
}

/// A SYN went unanswered. The kernel is about to send it again: give that one a wait of its own, so
/// that a single lost packet fails nobody, then let the connect end if another backend can serve it.
#[inline(always)]
fn silence(ctx: &SockOps, record: &mut SocketRecord) {
    let now = now_ns();
    let Some(control) = maps::control() else {
        return;
    };
    if record.flags & socket_flags::SILENT == 0 {
        record.flags |= socket_flags::SILENT;
        maps::count(Counter::SynSilence);
        fail(record, now);
        tell(record, &control, EventKind::SynSilence, now);
    }
    if record.flags & socket_flags::CUT != 0 || control.hz == 0 {
        return;
    }
    let request = Request {
        now_ns: now,
        lease_valid: control.lease_until_ns > now,
        // A v6 socket may turn out to reach only one family; that shows at the next connect.
        reach: if ctx.is_v4() { Reach::V4_ONLY } else { Reach::PREFER_V6 },
        seed: random(),
        zero: control.zero,
        policy: Policy::Random as u32,
        pool: record.pool,
        preferred: NO_BACKEND,
    };
    if !survey(&request, record.backend).is_some_and(|(_, survey)| survey.finds_eligible()) {
        return;
    }
    let before = ctx.user_timeout_ms().unwrap_or(0);
    let rto_ms = in_ms(ctx.arg::<1>(), control.hz);
    let cut_ms = rto_ms + rto_ms.max(control.syn_floor_ms).min(SECOND_WAIT_MAX_MS);
    if before != 0 && before <= cut_ms {
        return;
    }
    record.user_timeout_ms = before;
    record.flags |= socket_flags::CUT;
    ctx.set_user_timeout_ms(cut_ms);
    maps::count(Counter::SynCut);
    debug!(ctx.inner(), "SYN to backend {} cut at {} ms", record.backend, cut_ms);
}

/// The socket is closed: a failed connect is evidence, an established one leaves the count.
#[inline(always)]
fn closed(ctx: &SockOps, record: &mut SocketRecord) {
    match ctx.arg::<0>() {
        TCP_SYN_SENT => connect_failed(ctx, record),
        TCP_ESTABLISHED => unserved(ctx, record),
        _ => {}
    }
    // The socket can dial again, and keeps its options.
    restore_user_timeout(ctx, record);
    if record.flags & socket_flags::COUNTED == 0 {
        return;
    }
    record.flags &= !socket_flags::COUNTED;
    maps::count(Counter::Closed);
    maps::leave_netns(record.netns);
    if let Some(evidence) = BackendEvidence::of(record.backend, record.epoch) {
        evidence.subtract_active();
    }
}

/// A connect ended without success. A segment that came in was a reset, or at least an answer that a
/// connect does not want; without one, and before the first timeout, it was the caller, or an ICMP
/// error. One that we cut was silent twice: a failure of its own, so that the backend stays suspect
/// until probes have confirmed it.
#[inline(always)]
fn connect_failed(ctx: &SockOps, record: &SocketRecord) {
    let now = now_ns();
    if record.flags & socket_flags::SILENT != 0 {
        if record.flags & socket_flags::CUT != 0 {
            fail(record, now);
        }
        return;
    }
    if ctx.segs_in() == 0 {
        if let Some(evidence) = BackendEvidence::of(record.backend, record.epoch) {
            evidence.suspect(now + HINT_NS);
        }
        report(record, Counter::ConnectAborted, EventKind::ConnectAborted, now);
        return;
    }
    fail(record, now);
    report(record, Counter::ConnectReset, EventKind::ConnectReset, now);
}

/// The peer closed or reset an established connection, or the caller reset it. Before any data came that is what a
/// server does that ends, while its kernel still accepts connections for it, and resets them at last. So no
/// handshake disproves this.
#[inline(always)]
fn unserved(ctx: &SockOps, record: &SocketRecord) {
    if ctx.data_segs_in() > 0 {
        return;
    }
    let now = now_ns();
    if let Some(evidence) = BackendEvidence::of(record.backend, record.epoch) {
        evidence.suspect_anyway(now + HINT_NS);
    }
    report(record, Counter::Unserved, EventKind::Unserved, now);
}

/// Counts what happened, and tells the agent.
#[inline(always)]
fn report(record: &SocketRecord, counter: Counter, kind: EventKind, now: u64) {
    maps::count(counter);
    if let Some(control) = maps::control() {
        tell(record, &control, kind, now);
    }
}

/// Adds a failure to the evidence.
#[inline(always)]
fn fail(record: &SocketRecord, now: u64) {
    evidence::fail((record.backend, record.epoch), now);
}

/// Tells the agent, at most once per interval and backend.
#[inline(always)]
fn tell(record: &SocketRecord, control: &Control, kind: EventKind, now: u64) {
    let SocketRecord { backend, epoch, frontend, .. } = *record;
    evidence::tell(control, kind, (backend, epoch), frontend, now);
}
