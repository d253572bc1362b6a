//! The judgement, promise by promise.

use std::collections::BTreeMap;

use super::*;
use crate::client::protocol::{End, LoopReport, Purpose, Seen};
use crate::verdicts::Look;

const S: u64 = SECOND;

fn look(at_s: u64, state: State) -> Look {
    Look { at_ns: at_s * S, state, doubted: false, suspect: false }
}

/// Three servers, all healthy from the beginning on; the first one is out from the 10th second to the 20th.
fn evidence() -> Evidence {
    let healthy = || vec![look(0, State::Healthy)];
    let first = vec![look(0, State::Healthy), look(10, State::Unhealthy), look(20, State::Healthy)];
    Evidence {
        servers: ["a", "b", "c"].map(str::to_owned).into(),
        looks: vec![first, healthy(), healthy()],
        ..Evidence::default()
    }
}

fn span(from_s: u64, until_s: u64) -> Span {
    Span { from_ns: from_s * S, until_ns: until_s * S }
}

fn crash(server: usize, span: Span) -> Struck {
    Struck { server, fault: Fault::Crash, span, healing_ns: span.until_ns - 1 }
}

fn report(loops: Vec<LoopReport>, held: Vec<Held>) -> TrafficReport {
    TrafficReport { from_ns: 0, until_ns: 100 * S, loops, held }
}

fn answered_by(server: &str, at_s: u64) -> TrafficReport {
    let seen = Seen { count: 1, first_ns: at_s * S, last_ns: at_s * S };
    let servers = BTreeMap::from([(server.to_owned(), seen)]);
    report(vec![LoopReport { servers, ..LoopReport::default() }], Vec::new())
}

fn failed(from_ms: u64, until_ms: u64) -> TrafficReport {
    let (started_ns, ended_ns) = (from_ms * S / 1_000, until_ms * S / 1_000);
    let error = Some("ECONNREFUSED".to_owned());
    let bad = vec![Attempt { started_ns, connected_ns: None, ended_ns, server: None, error }];
    report(vec![LoopReport { attempts: 1, failed: 1, bad, ..LoopReport::default() }], Vec::new())
}

fn ended(server: &str, at_s: u64, how: &str) -> TrafficReport {
    let end = Some(End { at_ns: at_s * S, how: how.to_owned() });
    let held = Held {
        purpose: Purpose::Watch,
        server: server.to_owned(),
        opened_ns: S,
        end,
        resumed_ns: None,
        answers: 0,
        unanswered: 0,
    };
    report(Vec::new(), vec![held])
}

#[test]
fn a_connect_to_who_is_out_is_one_too_many_unless_it_is_news() {
    let with = |server, at_s| Evidence { clients: vec![answered_by(server, at_s)], ..evidence() };
    assert_eq!(with("a", 15).violations().len(), 1);
    for (server, at_s) in [("b", 15), ("a", 10), ("a", 20), ("a", 5), ("a", 30)] {
        assert!(with(server, at_s).violations().is_empty(), "{server} {at_s}");
    }
}

#[test]
fn who_is_out_may_be_dialled_when_nobody_is_in_or_the_agent_is_away() {
    let mut nobody = Evidence { clients: vec![answered_by("a", 15)], ..evidence() };
    for looks in &mut nobody.looks[1..] {
        looks.push(look(12, State::Unhealthy));
    }
    assert!(nobody.violations().is_empty());
    let away =
        Evidence { absent: vec![span(12, 15)], clients: vec![answered_by("a", 15)], ..evidence() };
    assert!(away.violations().is_empty());
}

#[test]
fn a_failure_is_excused_by_what_was_not_known_yet_and_by_nothing_else() {
    let at = |from_ms, until_ms| {
        let struck = vec![crash(0, span(9, 19))];
        Evidence { struck, clients: vec![failed(from_ms, until_ms)], ..evidence() }
            .violations()
            .len()
    };
    assert_eq!(at(9_500, 9_501), 0, "nobody can know");
    assert_eq!(at(10_500, 10_501), 0, "just known");
    assert_eq!(at(15_000, 15_001), 1, "long known");
    assert_eq!(at(5_000, 5_001), 1, "before the fault");
    assert_eq!(at(5_000, 9_100), 0, "under way when it began");
    assert_eq!(at(25_000, 25_001), 1, "long healed");
}

#[test]
fn a_death_has_to_be_noticed_in_time_while_another_is_well() {
    let struck = |from_s| Evidence { struck: vec![crash(0, span(from_s, 20))], ..evidence() };
    assert!(struck(8).violations().is_empty(), "out at 10, due at 13");
    assert_eq!(struck(3).violations().len(), 1, "due at 8");
    let mut all = struck(3);
    all.struck.extend([crash(1, span(0, 20)), crash(2, span(0, 20))]);
    let late =
        |all: &Evidence| all.violations().iter().filter(|what| what.contains("a (crash)")).count();
    assert_eq!(late(&all), 0, "nobody else was well");
    let away = Evidence { absent: vec![span(4, 5)], ..struck(3) };
    assert!(away.violations().is_empty());
}

#[test]
fn no_direct_connection_is_closed_here_and_no_other_without_a_fault() {
    let direct = |how| Evidence { direct: vec![ended("a", 15, how); 2], ..evidence() };
    assert_eq!(direct("ECONNABORTED").violations().len(), 1, "told once");
    assert!(direct("ECONNRESET").violations().is_empty(), "the server's doing");
    let translated =
        |struck| Evidence { struck, clients: vec![ended("b", 15, "ECONNABORTED")], ..evidence() };
    assert_eq!(translated(Vec::new()).violations().len(), 1);
    assert!(
        translated(vec![Struck { fault: Fault::Loss(9), ..crash(1, span(13, 14)) }])
            .violations()
            .is_empty()
    );
    assert_eq!(translated(vec![crash(2, span(14, 15))]).violations().len(), 1, "another's fault");
}
