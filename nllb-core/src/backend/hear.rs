//! What the report of a probe changes in what is known of its backend.

use std::time::{Duration, Instant};

use nllb_common::maps::State;

use crate::backend::{Backend, Cause, Probe};
use crate::command::Via;
use crate::death::Answered;
use crate::doubt::Doubt;
use crate::eligible::Seen;
use crate::health::{Direction, Run};
use crate::ping::Ping;
use crate::report::{Outcome, ProbeReport};
use crate::schedule::Pace;
use crate::settings::HealthSettings;

/// Failures in a row that do not count because the backend answered a ping in each. On a network that
/// loses one packet in twenty a connect fails once in a hundred times, but hardly ever five times.
const PATIENCE: u32 = 2;

/// From this round trip on a probe of its own may be too slow for its limit because one packet was
/// lost: it takes four round trips, and a loss at least three more.
const FAR: Duration = Duration::from_millis(100);

/// What a report is seen against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Around {
    /// Whether no other backend of its pool gets connections.
    pub(crate) alone: bool,
    /// Whether another backend of its pool answered while this one was asked.
    pub(crate) witnessed: bool,
}

/// What a report changed beyond the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    /// Whether its certificate may now lead to other answers.
    pub(crate) certificate_changed: bool,
    /// Whether it is dead, so that its connections are to be closed.
    pub(crate) dead: bool,
}

impl Backend {
    /// Takes the report of its probe and plans the next one.
    pub(crate) fn hear(
        &mut self,
        probe: Probe,
        report: ProbeReport,
        around: Around,
        settings: &HealthSettings,
        now: Instant,
    ) -> Heard {
        let outcome = &report.outcome;
        if self.counts(probe, outcome) {
            self.observe(outcome, around.alone, settings, now);
        }
        if outcome.is_answer() {
            self.answered = Some(Answered { asked: probe.started, at: now });
            self.probe_answered = Some(now);
            self.sentinel.wanted(settings, now);
            if probe.via == Via::Sentinel {
                self.sentinel.answered(settings, now);
            }
        } else if !matches!(outcome, Outcome::Local { .. }) {
            self.sentinel.unwanted();
        }
        if outcome.is_success() {
            self.doubts.clear();
            self.contradicted = 0;
            self.first_sign = None;
            match probe.via {
                Via::Fresh => self.fresh_latency.observe(report.latency),
                Via::Sentinel => self.kept_latency.observe(report.latency),
            }
        }
        let out = self.health.state() == State::Unhealthy;
        let witnessed = around.witnessed && !self.ponged_since(probe.started);
        match probe.via {
            Via::Fresh => self.wants_look = false,
            // Its sentinel is silent as a whole.
            Via::Sentinel => {
                let late = self.sentinel.ping().is_some_and(Ping::is_late);
                self.kept_probe_failed |= late && *outcome == Outcome::Slow;
            }
        }
        let dead = probe.via == Via::Fresh
            && self.death.probed(outcome, probe.started, witnessed, out, now);
        let certificate_changed = self.see(&report);
        if let Some(rtt) = report.rtt {
            self.rtt.observe(rtt);
            self.keep_round_trip(rtt, now);
        }
        let took = report.latency;
        self.last = Some((now, report));
        self.plan(around.alone, settings, took, now);
        Heard { certificate_changed, dead }
    }

    /// The process does not answer, though its kernel does: found over the sentinel.
    pub(crate) fn condemn(&mut self, now: Instant) {
        let left = self.health.condemn();
        self.death.frozen();
        if let Some(ping) = self.sentinel.ping_mut() {
            ping.set_frozen();
        }
        self.changed(left, &Outcome::Unresponsive, now);
    }

    /// Lets it in that was held back, by what its last probe said.
    pub(crate) fn admit(&mut self, settings: &HealthSettings, now: Instant) {
        if let Some((_, ProbeReport { outcome, .. })) = self.last.clone() {
            self.observe(&outcome, true, settings, now);
        }
    }

    /// Whether an outcome says something of the backend's state.
    fn counts(&mut self, probe: Probe, outcome: &Outcome) -> bool {
        if matches!(outcome, Outcome::Local { .. }) {
            return false;
        }
        if outcome.is_answer() {
            return true;
        }
        let slow = matches!(outcome, Outcome::Slow);
        if probe.via == Via::Sentinel && !slow {
            // The sentinel ended below it. What a new connection would meet, one will tell.
            self.doubts.raise(Doubt::Probe);
            self.kept_probe_failed = true;
            return false;
        }
        if slow && !self.is_far() {
            return true;
        }
        let in_vain =
            slow || matches!(outcome, Outcome::Silent | Outcome::Unreachable | Outcome::Hung);
        if in_vain && !self.health.state().is_out() && self.ponged_since(probe.started) {
            self.contradicted = self.contradicted.saturating_add(1);
            return self.contradicted > PATIENCE;
        }
        self.contradicted = 0;
        true
    }

    fn is_far(&self) -> bool {
        self.round_trip().is_some_and(|rtt| rtt >= FAR)
    }

    /// Whether it answered a ping since: then it lives, whatever probes meet.
    fn ponged_since(&self, start: Instant) -> bool {
        self.ponged.is_some_and(|at| at >= start)
    }

    fn observe(&mut self, outcome: &Outcome, alone: bool, settings: &HealthSettings, now: Instant) {
        if self.health.state().is_out() {
            self.damping.answered(outcome.is_success(), now);
        }
        // A pool that has nobody else takes whoever is well.
        let admitted = alone || self.damping.admits(now);
        let left = self.health.observe(outcome, settings, admitted);
        self.changed(left, outcome, now);
        if matches!(self.cause, Cause::Adopted) && self.health.run().is_none() {
            self.cause = Cause::Probe(outcome.clone());
        }
    }

    fn changed(&mut self, left: Option<State>, outcome: &Outcome, now: Instant) {
        let Some(from) = left else { return };
        self.cause = Cause::Probe(outcome.clone());
        self.contradicted = 0;
        if from.is_eligible() && self.health.state().is_out() {
            self.damping.lost(now);
        }
    }

    /// Keeps the certificate of the report, or else judges the one it has by the report's clock.
    fn see(&mut self, report: &ProbeReport) -> bool {
        let held = self.seen.as_ref().map(|seen| &seen.certificate);
        let Some(certificate) = report.certificate.as_ref().or(held) else {
            return false;
        };
        self.show(Seen { certificate: certificate.clone(), unix_time: report.unix_time })
    }

    /// Takes the certificate that it showed; true when that may lead to other answers.
    pub(crate) fn show(&mut self, seen: Seen) -> bool {
        let changed = self.seen.as_ref().is_none_or(|before| !before.same_answers(&seen));
        self.seen = Some(seen);
        changed
    }

    /// Plans the next probe after one that took so long.
    fn plan(&mut self, alone: bool, settings: &HealthSettings, took: Duration, now: Instant) {
        let held = self.is_held(settings);
        self.schedule.finish(self.pace(alone, held), settings, took, now);
        if let Some(until) = self.damping.until().filter(|_| held) {
            self.schedule.at_latest(until.max(now));
        }
    }

    /// Whether it would be let in again, if it had not been lost so often.
    pub(crate) fn is_held(&self, settings: &HealthSettings) -> bool {
        let enough = |run: Run| run.direction == Direction::Up && run.count >= run.needed(settings);
        self.health.state().is_out() && self.health.run().is_some_and(enough)
    }

    /// How soon to look again. After a fault of this host the confirming pace would only add to it.
    fn pace(&self, alone: bool, held: bool) -> Pace {
        let undecided = self.health.run().is_some()
            || self.contradicted > 0
            || self.kept_probe_failed
            || self.death.is_near();
        if undecided && !held && !self.last_was_local() {
            return Pace::Confirm;
        }
        match self.health.state() {
            // Where nobody else is, whoever returns first is wanted at once.
            State::Unhealthy if alone => Pace::Wanted,
            State::Unhealthy => Pace::Backoff,
            State::Unknown | State::Healthy | State::Degraded | State::Draining => Pace::Steady,
        }
    }

    const fn last_was_local(&self) -> bool {
        matches!(&self.last, Some((_, ProbeReport { outcome: Outcome::Local { .. }, .. })))
    }
}
