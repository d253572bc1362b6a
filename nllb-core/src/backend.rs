//! A backend: its id, and all that is known of it.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nllb_common::EventKind;
use nllb_common::maps::{State, Verdict};

use crate::band::{Band, Distance};
use crate::eligible::Seen;
use crate::health::Health;
use crate::rebalance::LEAN;
use crate::report::{Outcome, ProbeReport};
use crate::rtt::Rtt;
use crate::schedule::{Pace, Schedule};
use crate::settings::HealthSettings;
use crate::version::KubeVersion;

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
    pub(crate) health: Health,
    pub(crate) schedule: Schedule,
    pub(crate) since: Instant,
    pub(crate) cause: Cause,
    pub(crate) transitions: u64,
    pub(crate) last: Option<(Instant, ProbeReport)>,
    pub(crate) last_evidence: Option<(Instant, EventKind)>,
    pub(crate) seen: Option<Seen>,
    pub(crate) rtt: Rtt,
    pub(crate) distance: Distance,
    pub(crate) band: Band,
    /// Whether new connections lean towards it.
    pub(crate) leans: bool,
    pub(crate) version: Option<KubeVersion>,
}

/// Why a backend has its state.
#[derive(Clone, Debug)]
pub(crate) enum Cause {
    /// It is new.
    New,
    /// The maps said so when the agent started.
    Adopted,
    /// A probe ended like this.
    Probe(Outcome),
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

/// What a report changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    /// The state that was left.
    pub(crate) left: Option<State>,
    /// Whether its certificate may now lead to other answers.
    pub(crate) certificate_changed: bool,
}

impl Backend {
    /// A backend that nothing is known of; its first probe is due at once.
    pub(crate) fn new(slot: (BackendId, u32), addr: SocketAddr, seed: u32, now: Instant) -> Self {
        let (id, epoch) = slot;
        Self {
            id,
            epoch,
            addr,
            pool: 0,
            health: Health::new(State::Unknown),
            schedule: Schedule::new(nllb_common::mix(seed ^ id.0.rotate_left(16) ^ epoch), now),
            since: now,
            cause: Cause::New,
            transitions: 0,
            last: None,
            last_evidence: None,
            seen: None,
            rtt: Rtt::default(),
            distance: Distance::default(),
            band: Band::default(),
            leans: false,
            version: None,
        }
    }

    /// The same backend, in the state that the maps hold for it.
    pub(crate) fn adopted(mut self, state: State) -> Self {
        self.health = Health::new(state);
        self.cause = Cause::Adopted;
        self
    }

    pub(crate) const fn state(&self) -> State {
        self.health.state()
    }

    pub(crate) const fn verdict(&self) -> Verdict {
        Verdict::new(self.state(), self.band.number(), self.weight(), self.epoch)
    }

    /// Its share of the new connections within its band.
    pub(crate) const fn weight(&self) -> u16 {
        if self.leans { LEAN } else { WEIGHT }
    }

    /// Takes the report of its outstanding probe and plans the next one.
    pub(crate) fn hear(
        &mut self,
        report: ProbeReport,
        settings: &HealthSettings,
        now: Instant,
    ) -> Heard {
        let left = self.health.observe(&report.outcome, settings);
        if left.is_some() {
            self.since = now;
            self.cause = Cause::Probe(report.outcome.clone());
            self.transitions += 1;
        } else if matches!(self.cause, Cause::Adopted) && self.agrees(&report.outcome) {
            self.cause = Cause::Probe(report.outcome.clone());
        }
        let certificate_changed = self.see(&report);
        if let Some(rtt) = report.rtt {
            self.rtt.observe(rtt);
        }
        let took = report.latency;
        self.last = Some((now, report));
        self.schedule.finish(self.pace(), settings, took, now);
        Heard { left, certificate_changed }
    }

    /// Whether the outcome, just taken, is one for the state there is.
    const fn agrees(&self, outcome: &Outcome) -> bool {
        self.health.run().is_none() && !matches!(outcome, Outcome::Local { .. })
    }

    /// Keeps the certificate of the report, or else judges the one it has by the report's clock.
    fn see(&mut self, report: &ProbeReport) -> bool {
        let held = self.seen.as_ref().map(|seen| &seen.certificate);
        let Some(certificate) = report.certificate.as_ref().or(held) else {
            return false;
        };
        let seen = Seen { certificate: certificate.clone(), unix_time: report.unix_time };
        let changed = self.seen.as_ref().is_none_or(|before| !before.same_answers(&seen));
        self.seen = Some(seen);
        changed
    }

    /// Takes a hint. Of an unhealthy backend it says what the verdict says already, and a probe for
    /// each would undo the backoff just when every client on every node runs into it.
    pub(crate) fn suspect(&mut self, kind: EventKind, settings: &HealthSettings, now: Instant) {
        self.last_evidence = Some((now, kind));
        if self.state() != State::Unhealthy {
            self.schedule.hurry(settings, now);
        }
    }

    /// How long its connect may take. One that is believed dead gets all the time there is: it may
    /// have come back behind another route.
    pub(crate) fn connect_timeout(&self) -> Option<Duration> {
        match self.state() {
            State::Unhealthy => None,
            State::Unknown | State::Healthy | State::Degraded | State::Draining => {
                self.rtt.connect_timeout()
            }
        }
    }

    /// How soon to look again. After a fault of this host the confirming pace would only add to it.
    const fn pace(&self) -> Pace {
        if self.health.run().is_some() && !self.last_was_local() {
            Pace::Confirm
        } else {
            self.settled_pace()
        }
    }

    const fn settled_pace(&self) -> Pace {
        match self.state() {
            State::Unhealthy => Pace::Backoff,
            State::Unknown | State::Healthy | State::Degraded | State::Draining => Pace::Steady,
        }
    }

    const fn last_was_local(&self) -> bool {
        matches!(&self.last, Some((_, ProbeReport { outcome: Outcome::Local { .. }, .. })))
    }
}
