//! What sockets that go wrong say of their backends, and how the agent is told.

use nllb_common::maps::Control;
use nllb_common::{Counter, Event, EventKind};

use crate::maps::{self, BackendEvidence};

pub(crate) const MS: u64 = 1_000_000;
/// De-preference after what may be the server's fault or not: a connect that ended without an answer (an
/// ICMP error and an impatient caller look alike), a connection that ended before any data came, or a datagram
/// that was sent again.
pub(crate) const HINT_NS: u64 = 100 * MS;
/// First de-preference after a failure; doubles with each failure in a row.
const SUSPECT_NS: u64 = 250 * MS;
/// Longest de-preference: after that a backend is tried again even if nothing probes it.
const SUSPECT_MAX_NS: u64 = 5_000 * MS;

/// Adds a failure of a backend, given by id and epoch: it is de-preferred for `min(250 ms << failures before, 5 s)`.
#[inline(always)]
pub(crate) fn fail((backend, epoch): (u32, u32), now_ns: u64) {
    if let Some(evidence) = BackendEvidence::of(backend, epoch) {
        // Shifting further than five would only be clamped.
        let streak = evidence.add_failure().min(5);
        evidence.suspect(now_ns + (SUSPECT_NS << streak).min(SUSPECT_MAX_NS));
    }
}

/// Tells the agent about a backend, given by id and epoch, at most once per interval.
#[inline(always)]
pub(crate) fn tell(
    control: &Control,
    kind: EventKind,
    (backend, epoch): (u32, u32),
    frontend: u32,
    at_ns: u64,
) {
    let Some(evidence) = BackendEvidence::of(backend, epoch) else {
        return;
    };
    if !evidence.may_emit(at_ns, u64::from(control.event_interval_ms) * MS) {
        maps::count(Counter::EventSuppressed);
        return;
    }
    maps::emit(Event { at_ns, kind: kind as u32, backend, epoch, frontend });
}
