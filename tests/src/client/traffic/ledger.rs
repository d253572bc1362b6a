//! What the clients of a process did since the last mark, in bounded memory.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::protocol::{Attempt, End, Held, LoopReport, Purpose, Seen, TrafficReport};

/// A connect that takes longer is told of even if it succeeds, and belongs to a blackout. The slowest of a
/// healthy lab take a few milliseconds.
const CONSPICUOUS: Duration = Duration::from_millis(50);
/// How many bad connects a loop tells of between two marks.
const MOST_BAD: usize = 2_000;
/// How many held connections that have ended are told of between two marks.
const MOST_ENDED: usize = 1_000;

pub(super) struct Ledger {
    from_ns: u64,
    loops: Vec<Loop>,
    held: BTreeMap<u64, Held>,
    next: u64,
}

struct Loop {
    report: LoopReport,
    last_success_ns: u64,
    /// Whether a connect has failed since, or took conspicuously long.
    troubled: bool,
}

impl Loop {
    /// The time since the last success ends at this moment, or is looked at.
    fn gap(&mut self, until_ns: u64, troubled: bool) {
        let gap_ns = until_ns.saturating_sub(self.last_success_ns);
        self.report.longest_gap_ns = self.report.longest_gap_ns.max(gap_ns);
        if troubled {
            self.report.blackout_ns = self.report.blackout_ns.max(gap_ns);
        }
    }
}

impl Ledger {
    pub(super) fn new(loops: usize, now_ns: u64) -> Self {
        let report = LoopReport::default;
        let fresh = || Loop { report: report(), last_success_ns: now_ns, troubled: false };
        Self {
            from_ns: now_ns,
            loops: (0..loops).map(|_| fresh()).collect(),
            held: BTreeMap::new(),
            next: 0,
        }
    }

    /// A connect of a loop has ended.
    pub(super) fn attempt(&mut self, number: usize, attempt: Attempt) {
        let running = &mut self.loops[number];
        let Attempt { started_ns, connected_ns, ended_ns, server, error } = &attempt;
        let success = server.as_ref().filter(|_| error.is_none());
        let slow = is_conspicuous(*started_ns, *ended_ns);
        running.troubled |= slow || success.is_none();
        if success.is_some() {
            let troubled = std::mem::take(&mut running.troubled);
            running.gap(*ended_ns, troubled);
            running.last_success_ns = running.last_success_ns.max(*ended_ns);
        }
        let report = &mut running.report;
        report.attempts += 1;
        if let Some(server) = success {
            report.first_success_ns.get_or_insert(*ended_ns);
            if *started_ns >= self.from_ns {
                report.first_new_ns.get_or_insert(*ended_ns);
            }
            let fresh = Seen { count: 0, first_ns: *started_ns, last_ns: *started_ns };
            let seen = report.servers.entry(server.clone()).or_insert(fresh);
            seen.count += 1;
            seen.first_ns = seen.first_ns.min(*started_ns);
            seen.last_ns = seen.last_ns.max(*started_ns);
        } else {
            report.failed += 1;
            report.unconnected += u64::from(connected_ns.is_none());
        }
        if (error.is_some() || slow) && report.bad.len() < MOST_BAD {
            report.bad.push(attempt);
        }
    }

    /// Connects of a loop were left out.
    pub(super) fn skipped(&mut self, number: usize, count: u64) {
        self.loops[number].report.skipped += count;
    }

    /// A held connection had its first answer; gives its number.
    pub(super) fn opened(&mut self, purpose: Purpose, server: String, now_ns: u64) -> u64 {
        self.next += 1;
        let held = Held {
            purpose,
            server,
            opened_ns: now_ns,
            end: None,
            resumed_ns: None,
            answers: 0,
            unanswered: 0,
        };
        self.held.insert(self.next, held);
        self.next
    }

    /// A request was answered, or not.
    pub(super) fn request(&mut self, number: u64, answered: bool) {
        let Some(held) = self.held.get_mut(&number) else { return };
        *(if answered { &mut held.answers } else { &mut held.unanswered }) += 1;
    }

    /// A held connection has ended.
    pub(super) fn ended(&mut self, number: u64, end: End) {
        if let Some(held) = self.held.get_mut(&number) {
            held.end = Some(end);
        }
        let ended = self.held.iter().filter(|(_, held)| held.end.is_some());
        if ended.clone().count() > MOST_ENDED {
            let oldest = ended.map(|(number, _)| *number).next();
            oldest.map(|number| self.held.remove(&number));
        }
    }

    /// A new connection serves in the stead of one that has ended.
    pub(super) fn resumed(&mut self, number: u64, now_ns: u64) {
        if let Some(held) = self.held.get_mut(&number) {
            held.resumed_ns = Some(now_ns);
        }
    }

    /// Forgets every held connection: they are closed on purpose.
    pub(super) fn forget_held(&mut self) {
        self.held.clear();
    }

    /// What happened since the last mark; a new stretch begins.
    pub(super) fn mark(&mut self, now_ns: u64) -> TrafficReport {
        let loops = self.loops.iter_mut().map(|running| {
            // What is under way is not known here.
            let troubled = running.troubled || is_conspicuous(running.last_success_ns, now_ns);
            running.gap(now_ns, troubled);
            std::mem::take(&mut running.report)
        });
        let report = TrafficReport {
            from_ns: std::mem::replace(&mut self.from_ns, now_ns),
            until_ns: now_ns,
            loops: loops.collect(),
            held: self.held.values().cloned().collect(),
        };
        self.held.retain(|_, held| held.end.is_none() || held.resumed_ns.is_none());
        for held in self.held.values_mut() {
            (held.answers, held.unanswered) = (0, 0);
        }
        report
    }
}

fn is_conspicuous(from_ns: u64, until_ns: u64) -> bool {
    Duration::from_nanos(until_ns.saturating_sub(from_ns)) > CONSPICUOUS
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn success(started_ms: u64, ended_ms: u64, server: &str) -> Attempt {
        let server = Some(server.to_owned());
        let (started_ns, ended_ns) = (started_ms * MS, ended_ms * MS);
        Attempt { started_ns, connected_ns: Some(started_ns), ended_ns, server, error: None }
    }

    #[test]
    fn the_longest_gap_spans_the_mark_and_includes_the_one_that_goes_on() {
        let mut ledger = Ledger::new(1, 0);
        ledger.attempt(0, success(1, 2, "a"));
        ledger.mark(5 * MS);
        ledger.attempt(0, success(3, 12, "a"));
        ledger.attempt(0, success(12, 13, "b"));
        let report = ledger.mark(15 * MS);
        assert_eq!((report.from_ns, report.until_ns), (5 * MS, 15 * MS));
        assert_eq!(report.loops[0].longest_gap_ns, 10 * MS);
        let LoopReport { first_success_ns, first_new_ns, .. } = report.loops[0];
        assert_eq!((first_success_ns, first_new_ns), (Some(12 * MS), Some(13 * MS)));
        assert_eq!(report.loops[0].servers["b"].first_ns, 12 * MS);
        assert_eq!(ledger.mark(40 * MS).loops[0].longest_gap_ns, 27 * MS);
    }

    #[test]
    fn a_blackout_is_a_gap_in_which_a_connect_failed_or_was_slow() {
        let failed =
            |at_ms| Attempt { error: Some("ECONNRESET".to_owned()), ..success(at_ms, at_ms, "a") };
        let mut ledger = Ledger::new(1, 0);
        ledger.attempt(0, success(30, 31, "a"));
        ledger.attempt(0, failed(33));
        ledger.attempt(0, success(35, 36, "b"));
        ledger.attempt(0, success(50, 51, "b"));
        // The same server once more.
        ledger.attempt(0, failed(52));
        ledger.attempt(0, failed(53));
        ledger.attempt(0, success(57, 58, "b"));
        let blackout = |ledger: &mut Ledger, ms| ledger.mark(ms * MS).loops[0].blackout_ns / MS;
        assert_eq!(blackout(&mut ledger, 60), 7);
        assert_eq!(blackout(&mut ledger, 80), 0, "nothing failed since");
        ledger.attempt(0, failed(81));
        assert_eq!(blackout(&mut ledger, 90), 32, "it goes on");
        assert_eq!(blackout(&mut ledger, 100), 42, "it still does");
        ledger.attempt(0, success(101, 102, "b"));
        assert_eq!(blackout(&mut ledger, 102), 44);
        assert_eq!(blackout(&mut ledger, 152), 0, "nothing failed, and it was not long");
        assert_eq!(blackout(&mut ledger, 153), 51, "a connect may hang");
        ledger.attempt(0, success(200, 201, "b"));
        assert_eq!(blackout(&mut ledger, 210), 0, "the client itself was late");
        ledger.attempt(0, success(211, 262, "b"));
        assert_eq!(blackout(&mut ledger, 270), 61);
    }

    #[test]
    fn failures_and_slow_successes_are_told_of() {
        let mut ledger = Ledger::new(2, 0);
        let failed = Attempt {
            connected_ns: None,
            server: None,
            error: Some("ETIMEDOUT".to_owned()),
            ..success(1, 3, "none")
        };
        ledger.attempt(1, failed.clone());
        ledger.attempt(1, success(3, 4, "a"));
        let slow = success(5, 56, "a");
        ledger.attempt(1, slow.clone());
        let report = ledger.mark(60 * MS);
        let LoopReport { attempts, failed: failures, unconnected, bad, .. } = &report.loops[1];
        assert_eq!((*attempts, *failures, *unconnected), (3, 1, 1));
        assert_eq!(bad, &[failed, slow]);
        assert_eq!(report.loops[0].attempts, 0);
    }

    #[test]
    fn a_connection_that_ended_is_told_of_until_another_serves_in_its_stead() {
        let mut ledger = Ledger::new(0, 0);
        let first = ledger.opened(Purpose::Watch, "a".to_owned(), 1);
        let second = ledger.opened(Purpose::Requests, "b".to_owned(), 2);
        ledger.request(second, true);
        ledger.ended(first, End { at_ns: 7, how: "ECONNABORTED".to_owned() });
        assert_eq!(ledger.mark(8).held.len(), 2);
        ledger.resumed(first, 9);
        let report = ledger.mark(10);
        assert!(report.held[0].closed_by_this_host() && !report.held[1].closed_by_this_host());
        assert_eq!((report.held[0].resumed_ns, report.held[1].answers), (Some(9), 0));
        let report = ledger.mark(20);
        assert_eq!((report.held.len(), report.held[0].answers), (1, 0));
    }
}
