//! A backend: its id, and all that is known of it.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nllb_common::EventKind;
use nllb_common::maps::{State, Verdict};

use crate::band::{Band, Distance};
use crate::command::Via;
use crate::damping::Damping;
use crate::death::{Answered, Death};
use crate::doubt::{Doubt, Doubts};
use crate::drain::Drill;
use crate::eligible::Seen;
use crate::health::{Direction, Health, Run};
use crate::histogram::Histogram;
use crate::ping::Ping;
use crate::rebalance::LEAN;
use crate::report::{Outcome, ProbeReport};
use crate::rtt::{RTT_BOUNDS_US, Rtt, RttHistory};
use crate::schedule::Schedule;
use crate::sentinel::{Phase, Sentinel};
use crate::version::KubeVersion;

mod ask;
mod drained;
mod hear;
mod trouble;

pub(crate) use drained::{Drained, Drilled};
pub(crate) use hear::{Around, Heard};
pub(crate) use trouble::Trouble;

/// Index of a backend into VERDICT and EVIDENCE. Reused, hence always told apart by an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendId(pub u32);

impl fmt::Display for BackendId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Share of a backend in calm: all are equal.
const WEIGHT: u16 = 1;

/// A backend.
#[derive(Clone, Debug)]
pub(crate) struct Backend {
    pub(crate) id: BackendId,
    pub(crate) epoch: u32,
    pub(crate) addr: SocketAddr,
    /// Index of its pool in the settings.
    pub(crate) pool: usize,
    /// What probes say of it.
    pub(crate) health: Health,
    pub(crate) damping: Damping,
    pub(crate) schedule: Schedule,
    /// The probe under way.
    pub(crate) probe: Option<Probe>,
    /// Probes since the last one over a connection of its own.
    pub(crate) kept_probes: u32,
    /// Whether one over the sentinel ended without an answer since.
    pub(crate) kept_probe_failed: bool,
    pub(crate) sentinel: Sentinel,
    pub(crate) doubts: Doubts,
    /// Failures in a row during each of which it answered a ping.
    pub(crate) contradicted: u32,
    pub(crate) death: Death,
    /// Whether something asks for a look at it while it is out of service, and nobody looked since. It is
    /// not shown as a doubt: nobody prefers it anyway.
    pub(crate) wants_look: bool,
    /// When to look at it because a ping is overdue, should nothing be heard before.
    pub(crate) look_at: Option<Instant>,
    /// What its pool is in alert for.
    pub(crate) trouble: Option<Trouble>,
    /// The first sign of a failure that may be under way: a doubt, or a hint from the kernel.
    pub(crate) first_sign: Option<Instant>,
    /// Set while an operator has drained it.
    pub(crate) drained: Option<Drained>,
    /// Whether discovery says that it is about to go.
    pub(crate) leaving: bool,
    /// Set while it is out of service for a drill.
    pub(crate) drilled: Option<Drilled>,
    /// Whether its connections were closed since it drains.
    pub(crate) drain_done: bool,
    /// What the last [`Machine::review`](crate::Machine) told of it: its state, and whether it is in
    /// doubt.
    pub(crate) told: (State, bool),
    pub(crate) since: Instant,
    pub(crate) cause: Cause,
    pub(crate) transitions: u64,
    /// How many times it came into doubt.
    pub(crate) doubted: u64,
    pub(crate) last: Option<(Instant, ProbeReport)>,
    pub(crate) last_evidence: Option<(Instant, EventKind)>,
    pub(crate) seen: Option<Seen>,
    /// What the table on disk says of its certificate.
    pub(crate) recalled: Option<Seen>,
    /// The last answer to anything.
    pub(crate) answered: Option<Answered>,
    /// The last answer to a probe.
    pub(crate) probe_answered: Option<Instant>,
    /// The last answer to a ping.
    pub(crate) ponged: Option<Instant>,
    /// Of handshakes.
    pub(crate) rtt: Rtt,
    /// Of pings.
    pub(crate) ping_rtt: Rtt,
    /// Of handshakes and pings.
    pub(crate) rtts: Histogram,
    /// The same of the last hour.
    pub(crate) rtt_history: RttHistory,
    /// Of whole probes over connections of their own.
    pub(crate) fresh_latency: Rtt,
    /// Of whole probes over the sentinel.
    pub(crate) kept_latency: Rtt,
    pub(crate) distance: Distance,
    pub(crate) band: Band,
    /// Whether new connections lean towards it.
    pub(crate) leans: bool,
    pub(crate) version: Option<KubeVersion>,
}

/// A probe under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe {
    pub(crate) started: Instant,
    pub(crate) via: Via,
    /// Whether it was found overdue.
    pub(crate) late: bool,
    /// Whether it was asked for by a doubt or a hint, or confirms something.
    pub(crate) early: bool,
}

/// Why a backend has its state.
#[derive(Clone, Debug)]
pub(crate) enum Cause {
    /// It is new.
    New,
    /// The maps said so when the agent started.
    Adopted,
    /// A probe ended like this, or its sentinel said so.
    Probe(Outcome),
}

impl Cause {
    /// The word for it in status and metrics.
    const fn label(&self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Adopted => "adopted",
            Self::Probe(outcome) => outcome.label(),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => f.write_str("not probed yet"),
            Self::Adopted => f.write_str("taken over from the maps"),
            Self::Probe(outcome) => outcome.fmt(f),
        }
    }
}

impl Backend {
    /// A backend that nothing is known of; its first probe is due at once.
    pub(crate) fn new(slot: (BackendId, u32), addr: SocketAddr, seed: u32, now: Instant) -> Self {
        let (id, epoch) = slot;
        let seed = nllb_common::mix(seed ^ id.0.rotate_left(16) ^ epoch);
        Self {
            id,
            epoch,
            addr,
            pool: 0,
            health: Health::new(State::Unknown),
            damping: Damping::default(),
            schedule: Schedule::new(seed, now),
            probe: None,
            kept_probes: 0,
            kept_probe_failed: false,
            sentinel: Sentinel::new(!seed, now),
            doubts: Doubts::default(),
            contradicted: 0,
            death: Death::default(),
            wants_look: false,
            look_at: None,
            trouble: None,
            first_sign: None,
            drained: None,
            leaving: false,
            drilled: None,
            drain_done: false,
            told: (State::Unknown, false),
            since: now,
            cause: Cause::New,
            transitions: 0,
            doubted: 0,
            last: None,
            last_evidence: None,
            seen: None,
            recalled: None,
            answered: None,
            probe_answered: None,
            ponged: None,
            rtt: Rtt::default(),
            ping_rtt: Rtt::default(),
            rtts: Histogram::new(&RTT_BOUNDS_US),
            rtt_history: RttHistory::default(),
            fresh_latency: Rtt::default(),
            kept_latency: Rtt::default(),
            distance: Distance::default(),
            band: Band::default(),
            leans: false,
            version: None,
        }
    }

    /// The same backend, as the maps hold it.
    pub(crate) fn adopted(mut self, state: State, doubted: bool) -> Self {
        self.health = Health::new(state);
        self.cause = Cause::Adopted;
        if doubted {
            self.doubts.raise(Doubt::Before);
        }
        self.told = (state, doubted);
        self
    }

    /// Its state: what probes say, unless an operator drained it, it is in a drill or about to go.
    pub(crate) fn state(&self) -> State {
        let ordered = match self.drilled.map(|drilled| drilled.how) {
            Some(Drill::Blackhole) => return State::Unhealthy,
            Some(Drill::Simulate) => true,
            None => self.drained.is_some() || self.leaving,
        };
        match (self.health.state(), ordered) {
            (State::Unknown | State::Healthy | State::Degraded, true) => State::Draining,
            (state, _) => state,
        }
    }

    /// Why it has its state.
    pub(crate) fn reason(&self) -> String {
        match self.drilled.filter(|_| self.is_drained_only()) {
            Some(drilled) => format!("drill ({})", drilled.how.label()),
            None if self.is_drained_only() && self.drained.is_some() => {
                "drained by an operator".to_owned()
            }
            None if self.is_drained_only() => "about to go".to_owned(),
            None => self.cause.to_string(),
        }
    }

    /// The same in one word of a few.
    pub(crate) fn cause(&self) -> &'static str {
        match self.drilled.filter(|_| self.is_drained_only()) {
            Some(_) => "drill",
            None if self.is_drained_only() && self.drained.is_some() => "drained",
            None if self.is_drained_only() => "leaving",
            None => self.cause.label(),
        }
    }

    /// Whether it would have another state if nobody wanted it gone.
    pub(crate) fn is_drained_only(&self) -> bool {
        self.state() != self.health.state()
    }

    /// Whether it gets new connections.
    pub(crate) fn is_eligible(&self) -> bool {
        self.state().is_eligible()
    }

    /// Whether it is out of service.
    pub(crate) fn is_out(&self) -> bool {
        self.state().is_out()
    }

    pub(crate) fn verdict(&self) -> Verdict {
        let doubted = self.doubt().is_some();
        Verdict::new(self.state(), self.band.number(), self.weight(), self.epoch).doubted(doubted)
    }

    /// Its share of the new connections within its band.
    pub(crate) const fn weight(&self) -> u16 {
        if self.leans { LEAN } else { WEIGHT }
    }

    /// Why others are preferred to it. One that is out of service cannot be doubted more.
    pub(crate) fn doubt(&self) -> Option<Doubt> {
        match self.state() {
            State::Draining | State::Unhealthy => None,
            State::Unknown | State::Healthy | State::Degraded => {
                let down = |run: Run| run.direction == Direction::Down;
                let failing = self.contradicted > 0 || self.health.run().is_some_and(down);
                self.doubts.any().or_else(|| failing.then_some(Doubt::Failing))
            }
        }
    }

    /// Whether what it was asked last was answered in time.
    pub(crate) fn is_heard(&self) -> bool {
        let late = self.probe.is_some_and(|probe| probe.late)
            || self.sentinel.ping().is_some_and(Ping::is_late);
        let answered = self.last.as_ref().is_some_and(|(_, report)| report.outcome.is_answer());
        answered && !late
    }

    /// Whether probes over connections of their own agree that nobody answers since `start`: one has
    /// failed, or is overdue.
    pub(crate) fn probes_agree(&self, start: Instant) -> bool {
        let late = self.probe.is_some_and(|probe| probe.late && probe.via == Via::Fresh);
        let failed = self
            .last
            .as_ref()
            .is_some_and(|(at, report)| *at >= start && Death::agrees(&report.outcome));
        late || failed
    }

    /// Its round-trip time: of pings, which are many, or else of handshakes.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.ping_rtt.smoothed().or_else(|| self.rtt.smoothed())
    }

    /// Keeps one of its round trips, which the estimates have taken already.
    pub(crate) fn keep_round_trip(&mut self, rtt: Duration, now: Instant) {
        self.rtts.observe(rtt);
        let smoothed = self.round_trip().unwrap_or(rtt);
        self.rtt_history.observe(rtt, smoothed, now);
    }

    /// Whether its sentinel is open.
    pub(crate) const fn has_sentinel(&self) -> bool {
        matches!(self.sentinel.phase(), Phase::Up { .. })
    }
}
