//! A backend in the snapshot.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nllb_common::EventKind;
use nllb_common::maps::State;

use crate::backend::{Backend, BackendId};
use crate::doubt::Doubt;
use crate::drain::Drill;
use crate::health::Run;
use crate::histogram::Histogram;
use crate::report::{CertificateFacts, Outcome};
use crate::sentinel::Phase;
use crate::settings::HealthSettings;
use crate::version::KubeVersion;

/// A backend.
#[derive(Clone, Debug, PartialEq)]
pub struct BackendView {
    /// Its address.
    pub addr: SocketAddr,
    /// Its id in the maps.
    pub id: BackendId,
    /// Epoch of that id.
    pub epoch: u32,
    /// Its state.
    pub state: State,
    /// Since when it has that state.
    pub since: Instant,
    /// Why it has that state.
    pub reason: String,
    /// The same in one word: `new`, `adopted`, `drained` by an operator, `drill`, or [`Outcome::label`].
    pub cause: &'static str,
    /// Outcomes in a row that ask for another state.
    pub run: Option<Run>,
    /// How many of them it takes, for the direction of `run`.
    pub run_needed: Option<u32>,
    /// Changes of state so far.
    pub transitions: u64,
    /// How many times it came into doubt so far.
    pub doubted: u64,
    /// Latency class.
    pub band: u8,
    /// Share within the class.
    pub weight: u16,
    /// The last probe that ended.
    pub last: Option<ProbeSummary>,
    /// When the next probe is due; `None` while one is under way.
    pub next_probe: Option<Instant>,
    /// The last hint from the kernel.
    pub last_evidence: Option<(Instant, EventKind)>,
    /// The last certificate it showed.
    pub certificate: Option<Arc<CertificateFacts>>,
    /// Why others are preferred to it, though its state stands.
    pub doubt: Option<Doubt>,
    /// Whether an operator drained it.
    pub drained: bool,
    /// The drill that it is in, and when that ends unless it is renewed.
    pub drill: Option<(Drill, Instant)>,
    /// When its established connections will be closed because it drains for too long.
    pub close_at: Option<Instant>,
    /// After a loss too many: until when it must answer well before it is let in again.
    pub held_until: Option<Instant>,
    /// Its sentinel.
    pub sentinel: SentinelView,
    /// Smoothed round-trip time, of pings or else of connects.
    pub rtt: Option<Duration>,
    /// Round trips of pings and connects so far.
    pub rtts: Histogram,
    /// Its version.
    pub version: Option<KubeVersion>,
}

/// The sentinel of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SentinelView {
    /// There is none, and none is wanted before a probe is answered.
    Down {
        /// Why the last attempt to open it came to nothing, when it did.
        reason: Option<Outcome>,
    },
    /// It is being opened.
    Opening,
    /// It is open.
    Up {
        /// Since when.
        since: Instant,
    },
    /// The server does not speak HTTP/2.
    NoHttp2,
    /// The settings want none.
    Off,
}

impl SentinelView {
    /// The word for it in status and metrics.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Down { .. } => "down",
            Self::Opening => "opening",
            Self::Up { .. } => "up",
            Self::NoHttp2 => "no-http2",
            Self::Off => "off",
        }
    }
}

/// A probe that ended.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeSummary {
    /// When it was reported.
    pub at: Instant,
    /// What came of it; its `Display` is the text for a user.
    pub outcome: Outcome,
    /// Round-trip time of the TCP handshake, when there was one.
    pub rtt: Option<Duration>,
    /// Time the whole probe took.
    pub latency: Duration,
}

impl BackendView {
    pub(super) fn of(backend: &Backend, settings: &HealthSettings, alone: bool) -> Self {
        let run = backend.health.run();
        let held = backend.is_held(settings);
        let closes = backend.close_at(settings).filter(|_| !alone);
        let Backend {
            id,
            epoch,
            addr,
            pool: _,
            health: _,
            damping,
            schedule: _,
            probe: _,
            kept_probes: _,
            kept_probe_failed: _,
            sentinel,
            doubts: _,
            contradicted: _,
            death: _,
            wants_look: _,
            look_at: _,
            trouble: _,
            first_sign: _,
            drained,
            leaving: _,
            drilled,
            drain_done: _,
            told: _,
            since,
            cause: _,
            transitions,
            doubted,
            last,
            last_evidence,
            seen,
            recalled: _,
            answered: _,
            probe_answered: _,
            ponged: _,
            rtt: _,
            ping_rtt: _,
            rtts,
            rtt_history: _,
            fresh_latency: _,
            kept_latency: _,
            distance: _,
            band,
            leans: _,
            version,
        } = backend;
        Self {
            addr: *addr,
            id: *id,
            epoch: *epoch,
            state: backend.state(),
            since: *since,
            reason: backend.reason(),
            cause: backend.cause(),
            run,
            run_needed: run.map(|run| run.needed(settings)),
            transitions: *transitions,
            doubted: *doubted,
            band: band.number(),
            weight: backend.weight(),
            last: last.as_ref().map(|(at, report)| ProbeSummary {
                at: *at,
                outcome: report.outcome.clone(),
                rtt: report.rtt,
                latency: report.latency,
            }),
            next_probe: backend.probe_due(),
            last_evidence: *last_evidence,
            certificate: seen.as_ref().map(|seen| seen.certificate.clone()),
            doubt: backend.doubt(),
            drained: drained.is_some(),
            drill: drilled.map(|drilled| (drilled.how, drilled.until)),
            close_at: closes.map(|(at, _)| at),
            held_until: damping.until().filter(|_| held),
            sentinel: SentinelView::of(sentinel.phase()),
            rtt: backend.round_trip(),
            rtts: rtts.clone(),
            version: version.clone(),
        }
    }
}

impl SentinelView {
    fn of(phase: &Phase) -> Self {
        match phase {
            Phase::Off => Self::Off,
            Phase::Down { no_http2: true, .. } => Self::NoHttp2,
            Phase::Down { failed, .. } => Self::Down { reason: failed.clone() },
            Phase::Opening { .. } => Self::Opening,
            Phase::Up { since, .. } => Self::Up { since: *since },
        }
    }
}
