//! Figures from what was seen.

use std::collections::BTreeMap;

use super::*;
use crate::client::protocol::{Attempt, End, Seen};

const MS: u64 = 1_000_000;

fn held(purpose: Purpose, server: &str, end: Option<(u64, &str)>) -> Held {
    let end = end.map(|(ms, how)| End { at_ns: ms * MS, how: how.to_owned() });
    Held {
        purpose,
        server: server.to_owned(),
        opened_ns: 1,
        end,
        resumed_ns: None,
        answers: 0,
        unanswered: 0,
    }
}

fn report(loops: Vec<LoopReport>, held: Vec<Held>) -> TrafficReport {
    TrafficReport { from_ns: 100 * MS, until_ns: 900 * MS, loops, held }
}

fn evidence(fault: Fault, after: TrafficReport) -> Evidence<'static> {
    Evidence {
        fault,
        victims: vec!["cp1"],
        begun_ns: 100 * MS,
        over: None,
        calm: Vec::new(),
        after: vec![after],
        later: Vec::new(),
        looks: Looks::new(),
        readmit_ns: None,
    }
}

fn look(ms: u64, state: State, doubted: bool) -> Look {
    Look { at_ns: ms * MS, state, doubted, suspect: false }
}

#[test]
fn connections_with_the_victim_may_be_closed_by_a_death_and_no_others() {
    let all = vec![
        held(Purpose::Requests, "cp1", Some((350, "ECONNABORTED"))),
        held(Purpose::Watch, "cp1", None),
        held(Purpose::Requests, "cp0", Some((360, "ECONNABORTED"))),
        held(Purpose::Watch, "cp2", Some((370, "ECONNRESET"))),
    ];
    let sample = Sample::of(&evidence(Fault::PowerOff, report(Vec::new(), all.clone())));
    assert_eq!((sample.established_closed, sample.established_open), (vec![250 * MS], 1));
    assert_eq!(sample.closed_wrongly, 1);
    let sample = Sample::of(&evidence(Fault::AgentKilledPowerOff, report(Vec::new(), all.clone())));
    assert_eq!(sample.established_open, 0, "an idle watch without an agent stays");
    let sample = Sample::of(&evidence(Fault::Readyz500, report(Vec::new(), all)));
    assert_eq!((sample.established_closed, sample.closed_wrongly), (Vec::new(), 2));
}

#[test]
fn what_is_told_of_twice_is_counted_once() {
    let closed = held(Purpose::Watch, "cp0", Some((200, "ETIMEDOUT")));
    let mut evidence = evidence(Fault::Silent2s, report(Vec::new(), vec![closed.clone()]));
    let before = vec![report(Vec::new(), vec![closed])];
    evidence.over = Some(Over { at_ns: 300 * MS, before });
    assert_eq!(Sample::of(&evidence).closed_wrongly, 1);
}

#[test]
fn after_a_silence_the_blackout_begins_when_it_ends() {
    let recovered = LoopReport {
        blackout_ns: 2_000 * MS,
        first_success_ns: Some(340 * MS),
        ..LoopReport::default()
    };
    let never = LoopReport { blackout_ns: 2_500 * MS, ..LoopReport::default() };
    let mut evidence = evidence(Fault::Silent2s, report(vec![recovered], Vec::new()));
    evidence.after.push(report(vec![never], Vec::new()));
    evidence.over = Some(Over { at_ns: 300 * MS, before: Vec::new() });
    let sample = Sample::of(&evidence);
    assert_eq!((sample.blackout, sample.leave), (vec![40 * MS, 600 * MS], None));
}

#[test]
fn connects_have_left_when_the_last_one_that_failed_or_met_the_victim_began() {
    let seen = |last_ms| Seen { count: 3, first_ns: 1, last_ns: last_ms * MS };
    let attempt = |ms, error: Option<&str>| Attempt {
        started_ns: ms * MS,
        connected_ns: None,
        ended_ns: (ms + 100) * MS,
        server: None,
        error: error.map(str::to_owned),
    };
    let in_turn = LoopReport {
        failed: 1,
        bad: vec![attempt(130, Some("ETIMEDOUT")), attempt(600, None)],
        longest_gap_ns: 120 * MS,
        blackout_ns: 110 * MS,
        servers: BTreeMap::from([("cp1".to_owned(), seen(120)), ("cp0".to_owned(), seen(800))]),
        ..LoopReport::default()
    };
    let on_time = LoopReport {
        failed: 40,
        bad: vec![attempt(170, Some("ETIMEDOUT"))],
        ..LoopReport::default()
    };
    let sample = Sample::of(&evidence(Fault::PowerOff, report(vec![in_turn, on_time], Vec::new())));
    assert_eq!(sample.leave, Some(70 * MS));
    assert_eq!((sample.failed, sample.failed_on_time), (vec![1], 40));
    assert_eq!(sample.blackout, [110 * MS]);
}

#[test]
fn a_fault_is_detected_when_the_last_victim_is_in_doubt_or_worse() {
    let mut evidence = evidence(Fault::TwoOfThree, report(Vec::new(), Vec::new()));
    let first = vec![
        look(0, State::Healthy, true),
        look(50, State::Healthy, false),
        look(180, State::Healthy, true),
        look(400, State::Unhealthy, false),
    ];
    evidence.looks = vec![first.clone(), vec![look(0, State::Healthy, false)]];
    assert_eq!(Sample::of(&evidence).detect, None);
    evidence.looks[1].push(look(250, State::Draining, false));
    let sample = Sample::of(&evidence);
    assert_eq!((sample.detect, sample.transitions), (Some(150 * MS), 2));
}
