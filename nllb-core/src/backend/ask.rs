//! When a backend is asked something: probes, over which connection, and pings.

use std::time::{Duration, Instant};

use nllb_common::EventKind;
use nllb_common::maps::State;

use crate::backend::{Backend, Probe};
use crate::command::Via;
use crate::doubt::Doubt;
use crate::ping::Ping;
use crate::settings::HealthSettings;

impl Backend {
    /// When the next probe is due. A doubt does not wait for one over the sentinel: when the backend
    /// has just died, that one takes its whole timeout.
    pub(crate) fn probe_due(&self) -> Option<Instant> {
        match self.probe {
            None => self.schedule.due(),
            Some(Probe { via: Via::Sentinel, .. }) => self.schedule.wish(),
            Some(Probe { via: Via::Fresh, .. }) => None,
        }
    }

    /// Whether its next probe only has to tell that all is as it was.
    pub(crate) fn is_steady(&self) -> bool {
        !(self.is_next_early() || self.kept_probe_failed)
            && self.doubt().is_none()
            && !matches!(self.health.state(), State::Unknown | State::Unhealthy)
    }

    /// Whether its next probe was asked for by a doubt or a hint, or confirms something.
    fn is_next_early(&self) -> bool {
        self.schedule.is_early() || self.health.run().is_some()
    }

    /// Starts the probe that is due.
    pub(crate) fn start_probe(&mut self, settings: &HealthSettings, now: Instant) {
        let (early, steady) = (self.is_next_early(), self.is_steady());
        let kept = self.kept_probes.saturating_add(1);
        let via = if steady && self.sentinel.ping().is_some() && kept < settings.fresh_every {
            self.kept_probes = kept;
            Via::Sentinel
        } else {
            self.kept_probes = 0;
            self.kept_probe_failed = false;
            Via::Fresh
        };
        if via == Via::Fresh {
            self.look_at = None;
        }
        self.schedule.start();
        self.probe = Some(Probe { started: now, via, late: false, early });
    }

    /// Over which connection the probe under way goes.
    pub(crate) fn via(&self) -> Via {
        self.probe.map_or(Via::Fresh, |probe| probe.via)
    }

    /// When the probe under way is overdue.
    pub(crate) fn probe_overdue(&self) -> Option<Instant> {
        let probe = self.probe.filter(|probe| !probe.late)?;
        let usual = match probe.via {
            Via::Fresh => &self.fresh_latency,
            Via::Sentinel => &self.kept_latency,
        };
        Some(probe.started + usual.probe_overdue())
    }

    /// Makes its next probe due soon because of a doubt. One over a connection of its own that is under
    /// way already will tell.
    pub(crate) fn check_soon(&mut self, settings: &HealthSettings, now: Instant) {
        if self.probe.is_none_or(|probe| probe.via == Via::Sentinel) {
            self.schedule.hurry(settings, now);
        }
    }

    /// It may have died just now. Others are preferred to it at once; of one that is out of service nobody
    /// need be told, but the connections that it still has may have to be closed.
    pub(crate) fn may_be_dead(&mut self, doubt: Doubt) {
        self.doubts.raise(doubt);
        if self.is_out() && !self.death.is_confirmed() {
            self.wants_look = true;
            self.schedule.reset_backoff();
        }
    }

    /// A ping is overdue, which alone may be a moment in which the server had no time. Makes its next
    /// probe due at some time within `spread`, unless something is heard before.
    pub(crate) fn look_within(
        &mut self,
        spread: Duration,
        settings: &HealthSettings,
        now: Instant,
    ) {
        if spread.is_zero() {
            self.check_soon(settings, now);
        } else {
            self.look_at = Some(now + self.schedule.draw(spread));
        }
    }

    /// The time for a look has come.
    pub(crate) fn look(&mut self, settings: &HealthSettings, now: Instant) {
        if self.look_at.take().is_some() {
            self.check_soon(settings, now);
        }
    }

    /// It thawed. All nodes learn of it in one moment, so each asks at some time within an interval.
    pub(crate) fn returned(&mut self, settings: &HealthSettings, now: Instant) {
        let spread = if settings.jitter > 0.0 { settings.interval } else { Duration::ZERO };
        self.schedule.reset_backoff();
        let at = now + self.schedule.draw(spread);
        self.schedule.at_latest(at);
    }

    /// It was heard: there is nothing to look for.
    pub(crate) const fn heard(&mut self) {
        self.doubts.ponged();
        self.wants_look = false;
        self.look_at = None;
        self.death.disprove();
    }

    /// Takes a hint. Of an unhealthy backend it says what the verdict says already, and a probe for
    /// each would undo the backoff just when every client on every node runs into it.
    pub(crate) fn suspect(&mut self, kind: EventKind, settings: &HealthSettings, now: Instant) {
        self.last_evidence = Some((now, kind));
        self.first_sign.get_or_insert(now);
        if self.health.state() != State::Unhealthy {
            self.schedule.hurry(settings, now);
            self.ping_soon(settings, now);
        }
    }

    /// Makes the next ping due soon.
    pub(crate) fn ping_soon(&mut self, settings: &HealthSettings, now: Instant) {
        if let Some(ping) = self.sentinel.ping_mut() {
            ping.hurry(settings.confirm_interval, now);
        }
    }

    /// How long its connect may take. One that is known to be dead gets all the time there is: it may
    /// have come back behind another route.
    pub(crate) fn connect_timeout(&self) -> Option<Duration> {
        match self.health.state() {
            State::Unhealthy if !(self.death.is_near() || self.wants_look) => None,
            State::Unknown
            | State::Healthy
            | State::Degraded
            | State::Draining
            | State::Unhealthy => self.rtt.connect_timeout(),
        }
    }

    /// The next moment at which something is due that concerns this backend alone.
    pub(crate) fn next_due(&self, alert: Option<Duration>) -> Option<Instant> {
        let ping = self.sentinel.ping();
        let due = [
            self.probe_due(),
            self.probe_overdue(),
            self.look_at,
            self.sentinel.open_at(),
            ping.and_then(|ping| ping.due(alert)),
            ping.and_then(Ping::look_at),
        ];
        due.into_iter().flatten().min()
    }
}
