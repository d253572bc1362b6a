//! What a run says, worked out of what the clients and the watcher of verdicts saw.

use std::collections::BTreeMap;

use nllb_common::maps::State;

use super::fault::{Established, Fault, Over};
use crate::client::protocol::{Held, LoopReport, Purpose, TrafficReport};
use crate::verdicts::{Look, Looks};

/// All that was seen in a run.
pub(super) struct Evidence<'a> {
    pub(super) fault: Fault,
    pub(super) victims: Vec<&'a str>,
    pub(super) begun_ns: u64,
    pub(super) over: Option<Over>,
    /// Before the fault.
    pub(super) calm: Vec<TrafficReport>,
    /// From the fault, or from its end if it ends by itself, until the window closed.
    pub(super) after: Vec<TrafficReport>,
    /// On the way back.
    pub(super) later: Vec<TrafficReport>,
    pub(super) looks: Looks,
    pub(super) readmit_ns: Option<u64>,
}

/// The figures of a run; times in nanoseconds, none where there was nothing to measure.
#[derive(Debug, Default)]
pub(in crate::bench) struct Sample {
    pub(in crate::bench) detect: Option<u64>,
    /// Of each loop that waits; 0 of one that felt nothing.
    pub(in crate::bench) blackout: Vec<u64>,
    /// Of each loop that waits.
    pub(in crate::bench) failed: Vec<u64>,
    /// As above, those that never were established.
    pub(in crate::bench) unconnected: Vec<u64>,
    /// The longest gap of each such loop before the fault: what this machine does by itself.
    pub(in crate::bench) calm_gap: Vec<u64>,
    pub(in crate::bench) leave: Option<u64>,
    /// Until a connect succeeds that began after a silence of all.
    pub(in crate::bench) recover: Vec<u64>,
    /// Of the loop that does not wait.
    pub(in crate::bench) failed_on_time: u64,
    /// What connects failed with, of all loops.
    pub(in crate::bench) errors: BTreeMap<String, u64>,
    pub(in crate::bench) established_closed: Vec<u64>,
    /// Connections that should have been closed and were not.
    pub(in crate::bench) established_open: u64,
    pub(in crate::bench) closed_wrongly: u64,
    pub(in crate::bench) readmit: Option<u64>,
    /// Changes of state of the victims.
    pub(in crate::bench) transitions: u64,
}

impl Sample {
    pub(super) fn of(evidence: &Evidence<'_>) -> Self {
        let Evidence { fault, begun_ns, over, calm, after, looks, readmit_ns, .. } = evidence;
        let (closed, open) = evidence.established();
        let failed = |l: &LoopReport| l.failed;
        let on_time = || after.iter().filter_map(|report| report.loops.get(1));
        Self {
            detect: detect(*fault, looks, *begun_ns),
            blackout: over.as_ref().map_or_else(
                || in_turn(after).map(|l| l.blackout_ns).collect(),
                |over| recovery(after, over, in_turn(after), |l| l.first_success_ns),
            ),
            recover: over
                .as_ref()
                .map_or_else(Vec::new, |over| recovery(after, over, on_time(), |l| l.first_new_ns)),
            failed: in_turn(after).map(failed).collect(),
            unconnected: in_turn(after).map(|l| l.unconnected).collect(),
            calm_gap: in_turn(calm).map(|l| l.longest_gap_ns).collect(),
            leave: evidence.leave(),
            failed_on_time: on_time().map(failed).sum(),
            errors: errors(after),
            established_closed: closed,
            established_open: open,
            closed_wrongly: evidence.closed_wrongly(),
            readmit: *readmit_ns,
            transitions: looks.iter().map(|looks| transitions(looks)).sum(),
        }
    }
}

impl Evidence<'_> {
    /// When the last connect began that failed or that a victim answered.
    fn leave(&self) -> Option<u64> {
        if self.over.is_some() || !self.fault.has_connects() || !self.fault.has_readmission() {
            return None;
        }
        let loops = || self.after.iter().flat_map(|report| &report.loops);
        let failed = loops().flat_map(|l| &l.bad).filter(|attempt| attempt.error.is_some());
        let answered = self.victims.iter().flat_map(|victim| {
            loops().filter_map(|l| l.servers.get(*victim)).map(|seen| seen.last_ns)
        });
        let last = failed.map(|attempt| attempt.started_ns).chain(answered).max();
        Some(last.map_or(0, |last| last.saturating_sub(self.begun_ns)))
    }

    /// How long after the fault each connection ended that it has killed, and how many did not.
    fn established(&self) -> (Vec<u64>, u64) {
        let concerned = |held: &&Held| match self.fault.established() {
            Established::Dead => true,
            Established::DeadInFlight => held.purpose == Purpose::Requests,
            Established::Alive => false,
        };
        let held = self.after.iter().flat_map(|report| &report.held);
        let dead = held.filter(|held| self.is_victim(held) && held.opened_ns < self.begun_ns);
        let ends: Vec<_> = dead.filter(concerned).map(|held| held.end.as_ref()).collect();
        let closed: Vec<_> = ends.iter().flatten().map(|end| end.at_ns).collect();
        let open = ends.len() - closed.len();
        let since = |at_ns: u64| at_ns.saturating_sub(self.begun_ns);
        (closed.into_iter().map(since).collect(), u64::try_from(open).unwrap_or(u64::MAX))
    }

    /// How many connections this host closed that were not dead.
    fn closed_wrongly(&self) -> u64 {
        let may = |held: &Held| {
            let dead = self.fault.established() != Established::Alive;
            dead && self.is_victim(held) && held.opened_ns < self.begun_ns
        };
        let before = self.over.iter().flat_map(|over| &over.before);
        let reports = before.chain(&self.after).chain(&self.later);
        let mut wrong: Vec<_> = reports
            .flat_map(|report| &report.held)
            .filter(|held| held.closed_by_this_host() && !may(held))
            .map(|held| (held.purpose, &held.server, held.opened_ns))
            .collect();
        // One that has no successor yet is told of again.
        wrong.sort_unstable();
        wrong.dedup();
        u64::try_from(wrong.len()).unwrap_or(u64::MAX)
    }

    fn is_victim(&self, held: &Held) -> bool {
        self.victims.contains(&held.server.as_str())
    }
}

/// The loops that wait, the first of every client.
pub(super) fn in_turn(reports: &[TrafficReport]) -> impl Iterator<Item = &LoopReport> {
    reports.iter().filter_map(|report| report.loops.first())
}

fn errors(reports: &[TrafficReport]) -> BTreeMap<String, u64> {
    let loops = reports.iter().flat_map(|report| &report.loops);
    let mut errors = BTreeMap::new();
    for error in loops.flat_map(|l| &l.bad).filter_map(|attempt| attempt.error.clone()) {
        *errors.entry(error).or_default() += 1;
    }
    errors
}

/// How long after the end of a fault each of these loops had a success.
fn recovery<'a>(
    after: &[TrafficReport],
    over: &Over,
    loops: impl Iterator<Item = &'a LoopReport>,
    success: fn(&LoopReport) -> Option<u64>,
) -> Vec<u64> {
    // One that had none yet will have it later than that.
    let until_ns = after.iter().map(|report| report.until_ns).max().unwrap_or(over.at_ns);
    let at_ns = loops.map(|report| success(report).unwrap_or(until_ns));
    at_ns.map(|at_ns| at_ns.saturating_sub(over.at_ns)).collect()
}

/// How long after the fault the last victim looked bad for the first time.
fn detect(fault: Fault, looks: &Looks, begun_ns: u64) -> Option<u64> {
    let bad = |look: &&Look| if fault.without_agent() { look.suspect } else { !look.is_good() };
    let first = |looks: &Vec<Look>| {
        let mut after = looks.iter().filter(|look| look.at_ns >= begun_ns);
        Some(after.find(bad)?.at_ns - begun_ns)
    };
    let all: Option<Vec<_>> = looks.iter().map(first).collect();
    all?.into_iter().max()
}

fn transitions(looks: &[Look]) -> u64 {
    let states: Vec<State> = looks.iter().map(|look| look.state).collect();
    let changes = states.windows(2).filter(|pair| pair[0] != pair[1]).count();
    u64::try_from(changes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
