//! The pools of the status document: the machine's view of each backend, the kernel's evidence and
//! what the driver counted.

use std::time::{Duration, Instant};

use nllb_core::rtt::RTT_SLOT;
use nllb_core::{
    BackendView, CertificateFacts, Direction, Expiry, HistoryView, PoolView, ProbeSummary, Run,
    SentinelView, Urgency,
};

use super::super::Driver;
use super::durations;
use crate::datapath::monotonic_ns;
use crate::probe::unix_time;
use crate::status;
use crate::units::{micros, millis};

impl Driver {
    pub(super) fn pool(&self, pool: PoolView, now: Instant) -> status::Pool {
        let PoolView { name, backends, nodes } = pool;
        let mut pools = self.config.pools.iter().chain(&self.members.served.pools);
        let settings = pools.find(|pool| pool.name == name);
        let health = settings.map(|pool| pool.health).unwrap_or_default().scaled(nodes);
        status::Pool {
            backends: backends.into_iter().map(|view| self.backend(&name, view, now)).collect(),
            name,
            profile: settings.map_or_else(String::new, |pool| pool.profile.label().to_owned()),
            probe: settings.map_or_else(String::new, |pool| pool.check.to_string()),
            nodes,
            probe_interval_ms: millis(health.interval),
            ping_interval_ms: health.sentinel.then(|| millis(health.ping_interval)),
        }
    }

    /// The round trips of the last hour.
    pub(in crate::driver) fn history(&self) -> status::History {
        let of_backend = |HistoryView { pool, addr, slots }| status::BackendHistory {
            pool,
            address: addr,
            best_us: slots.iter().map(|slot| Some((*slot)?.best_us)).collect(),
            smoothed_us: slots.iter().map(|slot| Some((*slot)?.smoothed_us)).collect(),
        };
        status::History {
            schema: status::SCHEMA,
            slot_ms: millis(RTT_SLOT),
            backends: self.machine.history(Instant::now()).into_iter().map(of_backend).collect(),
        }
    }

    fn backend(&self, pool: &str, view: BackendView, now: Instant) -> status::Backend {
        let BackendView {
            addr,
            id,
            epoch,
            state,
            since,
            reason,
            cause,
            run,
            run_needed,
            transitions,
            doubted,
            band,
            weight,
            last,
            next_probe,
            last_evidence: _,
            certificate,
            doubt,
            drained,
            drill,
            close_at,
            held_until,
            sentinel,
            rtt,
            rtts,
            version,
        } = view;
        status::Backend {
            address: addr,
            sources: self.members.sources_of(pool, addr),
            id: id.0,
            epoch,
            state: state.label().to_owned(),
            state_age_ms: millis(now.saturating_duration_since(since)),
            reason,
            cause: cause.to_owned(),
            doubts: doubted,
            doubt: doubt.map(|doubt| doubt.label().to_owned()),
            drained,
            drill: drill.map(|(how, _)| how.label().to_owned()),
            drill_ends_in_ms: drill.map(|(_, at)| millis(at.saturating_duration_since(now))),
            closes_in_ms: close_at.map(|at| millis(at.saturating_duration_since(now))),
            held_ms: held_until.map(|until| millis(until.saturating_duration_since(now))),
            closed: self
                .closings
                .sockets((id, epoch))
                .map(|(cause, sockets)| (cause.label().to_owned(), sockets))
                .collect(),
            sentinel: sentinel_of(&sentinel, now),
            rtt_us: rtt.map(micros),
            round_trips: durations(&rtts),
            version: version.map(|version| version.to_string()),
            band,
            weight,
            transitions,
            run: run.zip(run_needed).map(|(Run { direction, count }, needed)| status::Run {
                direction: match direction {
                    Direction::Up => "up".to_owned(),
                    Direction::Down => "down".to_owned(),
                },
                count,
                needed,
            }),
            evidence: self.evidence((id, epoch)).map(evidence),
            failures: self.hints.of_backend((id, epoch)),
            last_probe: last.map(|last| last_probe(last, now)),
            next_probe_ms: next_probe.map(|due| millis(due.saturating_duration_since(now))),
            probes: self.probes.outcomes((id, epoch)),
            certificate: certificate.map(|facts| certificate_of(&facts)),
        }
    }
}

/// What the kernel saw of a backend.
fn evidence(evidence: nllb_common::maps::Evidence) -> status::Evidence {
    let nllb_common::maps::Evidence {
        suspect_until_ns,
        last_answer_ns,
        last_event_ns: _,
        active: _,
        established,
        fail_streak,
        srtt_us,
        epoch: _,
        datagram_sockets: _,
    } = evidence;
    let now = monotonic_ns();
    let suspect = Duration::from_nanos(suspect_until_ns.saturating_sub(now));
    let age = Duration::from_nanos(now.saturating_sub(last_answer_ns));
    status::Evidence {
        suspect_ms: millis(suspect),
        fail_streak,
        srtt_us: (srtt_us != 0).then_some(srtt_us),
        active: evidence.connections(),
        established,
        last_answer_age_ms: (last_answer_ns != 0).then(|| millis(age)),
    }
}

fn last_probe(last: ProbeSummary, now: Instant) -> status::LastProbe {
    let ProbeSummary { at, outcome, rtt, latency } = last;
    status::LastProbe {
        age_ms: millis(now.saturating_duration_since(at)),
        outcome: outcome.label().to_owned(),
        text: outcome.to_string(),
        rtt_us: rtt.map(micros),
        latency_us: micros(latency),
    }
}

fn sentinel_of(view: &SentinelView, now: Instant) -> status::Sentinel {
    let (age_ms, reason) = match view {
        SentinelView::Up { since } => (Some(millis(now.saturating_duration_since(*since))), None),
        SentinelView::Down { reason } => (None, reason.as_ref().map(ToString::to_string)),
        SentinelView::Opening | SentinelView::NoHttp2 | SentinelView::Off => (None, None),
    };
    status::Sentinel { state: view.label().to_owned(), age_ms, reason }
}

fn certificate_of(facts: &CertificateFacts) -> status::Certificate {
    let now = unix_time();
    let expiry = Expiry::of(facts, now);
    let CertificateFacts { names, not_before, not_after, chain_not_after, issuer, subject } = facts;
    status::Certificate {
        names: names.iter().map(ToString::to_string).collect(),
        not_before: *not_before,
        not_after: *not_after,
        issuer: issuer.clone(),
        subject: subject.clone(),
        chain_not_after: *chain_not_after,
        ends_in_s: expiry.ends.saturating_sub(now),
        urgency: expiry.urgency.label().to_owned(),
        warning: (expiry.urgency != Urgency::None).then(|| expiry.to_string()),
    }
}
