//! What must never happen, held against what did. Pure: times, verdicts and outcomes go in, sentences come out.

use std::collections::BTreeSet;

use nllb_common::maps::State;

use super::plan::{Asks, Fault};
use crate::client::protocol::{Attempt, Held, TrafficReport};
use crate::verdicts::Looks;

const SECOND: u64 = 1_000_000_000;
/// So long a verdict may be news to a connect, and what has healed may still be felt.
const GRACE: u64 = SECOND;
/// An established connection may be closed so long after the fault of its server has healed: the order was given
/// before.
const CLOSING: u64 = 5 * SECOND;

/// From when until when, in nanoseconds of `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from_ns: u64,
    pub(super) until_ns: u64,
}

/// A fault that was.
#[derive(Clone, Copy, Debug)]
pub(super) struct Struck {
    pub(super) server: usize,
    pub(super) fault: Fault,
    /// Until it was healed.
    pub(super) span: Span,
    /// When healing began.
    pub(super) healing_ns: u64,
}

/// What was seen of an epoch.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    /// The names of the servers.
    pub(super) servers: Vec<String>,
    pub(super) struck: Vec<Struck>,
    /// When the agent was away, and until it knew again how things are.
    pub(super) absent: Vec<Span>,
    /// The verdicts in the maps, by server.
    pub(super) looks: Looks,
    /// What clients of the frontend saw, stretch by stretch.
    pub(super) clients: Vec<TrafficReport>,
    /// What clients saw that dialled the servers themselves.
    pub(super) direct: Vec<TrafficReport>,
}

impl Span {
    fn around(at_ns: u64, margin_ns: u64) -> Self {
        Self { from_ns: at_ns.saturating_sub(margin_ns), until_ns: at_ns + margin_ns }
    }

    fn meets(self, other: Self) -> bool {
        self.from_ns <= other.until_ns && other.from_ns <= self.until_ns
    }

    const fn longer(self, by_ns: u64) -> Self {
        Self { until_ns: self.until_ns + by_ns, ..self }
    }
}

impl Evidence {
    /// Every sentence is a promise that was broken.
    pub(super) fn violations(&self) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        found.extend(self.clients.iter().flat_map(|report| self.answered_by_the_dead(report)));
        found.extend(self.bad_attempts().filter_map(|attempt| self.unexplained(attempt)));
        found.extend(self.struck.iter().filter_map(|struck| self.unnoticed(struck)));
        found.extend(
            closed(&self.clients).into_iter().filter_map(|held| self.closed_for_nothing(&held)),
        );
        let direct = closed(&self.direct).into_iter();
        found.extend(direct.map(|Held { server, purpose, .. }| {
            format!(
                "a connection ({purpose:?}) that was dialled to {server} itself was closed here"
            )
        }));
        found
    }

    /// Attempts that failed.
    pub(super) fn bad_attempts(&self) -> impl Iterator<Item = &Attempt> {
        let loops = self.clients.iter().flat_map(|report| &report.loops);
        loops.flat_map(|a_loop| &a_loop.bad).filter(|attempt| attempt.error.is_some())
    }

    /// Connects of the clients: how many, and how many of them failed.
    pub(super) fn connects(&self) -> (u64, u64) {
        let loops = self.clients.iter().flat_map(|report| &report.loops);
        loops.fold((0, 0), |(all, failed), one| (all + one.attempts, failed + one.failed))
    }

    /// Connections through the frontend that were closed on this host.
    pub(super) fn closed_here(&self) -> usize {
        closed(&self.clients).len()
    }

    /// Whether the agent was away at any moment of this time.
    fn is_absent(&self, span: Span) -> bool {
        self.absent.iter().any(|absent| absent.meets(span))
    }

    /// Whether the verdict on a server was like that for all of this time.
    fn always(&self, server: usize, span: Span, like: impl Fn(State) -> bool) -> bool {
        let looks = &self.looks[server];
        let before = looks.partition_point(|look| look.at_ns <= span.from_ns);
        let first = before.saturating_sub(1);
        let during = looks[first..].iter().take_while(|look| look.at_ns <= span.until_ns);
        let mut states = during.map(|look| look.state).peekable();
        before > 0 && states.peek().is_some() && states.all(like)
    }

    fn was_eligible(&self, server: usize, span: Span) -> bool {
        self.always(server, span, State::is_eligible)
    }

    fn was_out(&self, server: usize, span: Span) -> bool {
        self.always(server, span, |state| !state.is_eligible())
    }

    fn all(&self) -> std::ops::Range<usize> {
        0..self.servers.len()
    }

    /// Connects that went to a server which had been out for a second, though another was in.
    fn answered_by_the_dead(&self, report: &TrafficReport) -> Vec<String> {
        let mut found = Vec::new();
        for (name, seen) in report.loops.iter().flat_map(|a_loop| &a_loop.servers) {
            let Some(server) = self.servers.iter().position(|known| known == name) else {
                continue;
            };
            for at_ns in BTreeSet::from([seen.first_ns, seen.last_ns]) {
                let around = Span::around(at_ns, GRACE);
                let another =
                    || self.all().any(|other| other != server && self.was_eligible(other, around));
                if self.was_out(server, around) && another() && !self.is_absent(around) {
                    found
                        .push(format!("a connect went to {name}, which had been out for a second"));
                }
            }
        }
        found
    }

    /// A connect that failed though everything that was broken was known to be.
    fn unexplained(&self, attempt: &Attempt) -> Option<String> {
        let Attempt { started_ns, ended_ns, error, .. } = attempt;
        let whole = Span { from_ns: started_ns.saturating_sub(GRACE), until_ns: *ended_ns };
        let choice = Span::around(*started_ns, GRACE);
        let unknown = |struck: &Struck| {
            struck.span.longer(GRACE).meets(whole) && !self.was_out(struck.server, choice)
        };
        let excused = self.is_absent(whole)
            || self.struck.iter().any(unknown)
            || !self.all().any(|server| self.was_eligible(server, whole));
        let error = error.as_deref().unwrap_or_default();
        (!excused).then(|| format!("a connect failed ({error}) though whatever was broken was out"))
    }

    /// A server that should have gone out of service, and did not.
    fn unnoticed(&self, struck: &Struck) -> Option<String> {
        let Struck { server, fault, span, healing_ns } = *struck;
        let Asks::Out(within) = fault.asks() else { return None };
        let due_ns = span.from_ns + u64::try_from(within.as_nanos()).unwrap_or(u64::MAX);
        if due_ns >= healing_ns || self.is_absent(span) {
            return None;
        }
        // When nobody else is well either, it is not the server that is broken.
        let well = |other: usize| {
            other != server && !self.struck.iter().any(|s| s.server == other && s.span.meets(span))
        };
        let due = Span { from_ns: due_ns, until_ns: healing_ns };
        let missed = self.all().any(well) && !self.was_out(server, due);
        let name = &self.servers[server];
        missed.then(|| {
            format!("{name} ({fault}) was not out of service after {} s", within.as_secs())
        })
    }

    /// A connection that was closed though its server had nothing.
    fn closed_for_nothing(&self, held: &Held) -> Option<String> {
        let at_ns = held.end.as_ref()?.at_ns;
        let end = Span { from_ns: at_ns, until_ns: at_ns };
        let of_it = |struck: &&Struck| self.servers[struck.server] == held.server;
        let mut reasons =
            self.struck.iter().filter(of_it).map(|struck| struck.span.longer(CLOSING));
        let server = &held.server;
        let purpose = held.purpose;
        (!reasons.any(|reason| reason.meets(end))).then(|| {
            format!("a connection ({purpose:?}) with {server}, which had nothing, was closed here")
        })
    }
}

/// The held connections that were closed on this host, each once: a report repeats what an earlier one told.
fn closed(reports: &[TrafficReport]) -> Vec<Held> {
    let mut known = BTreeSet::new();
    let held = reports.iter().flat_map(|report| &report.held);
    let new = |held: &&Held| known.insert((held.opened_ns, held.purpose, held.server.clone()));
    held.filter(|held| held.closed_by_this_host()).filter(new).cloned().collect()
}

#[cfg(test)]
mod tests;
