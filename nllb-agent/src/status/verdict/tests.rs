//! Every reason and every note, each from a document in which nothing else is wrong.

mod backends;
mod datapath;
mod surroundings;

use super::*;
use crate::status::{Backend, Run, example};

#[test]
fn nothing_wrong_is_healthy_without_a_word() {
    let healthy = Judgement { state: Verdict::Healthy, reasons: vec![], notes: vec![] };
    assert_eq!(example::healthy().judge(), healthy);
}

/// What is done to a healthy document, and what it makes of the verdict: `R` lines are reasons and
/// `N` lines notes, in their order.
type Case = (&'static str, fn(&mut Status), Verdict, &'static [&'static str]);

#[test]
fn each_trouble_has_its_word_and_its_lines() {
    let all = datapath::CASES.iter().chain(backends::CASES).chain(surroundings::CASES);
    for (what, change, state, lines) in all {
        let mut status = example::healthy();
        change(&mut status);
        let judgement = status.judge();
        assert_eq!(judgement.state, *state, "{what}: {judgement:?}");
        let reasons = judgement.reasons.iter().map(|line| format!("R {line}"));
        let notes = judgement.notes.iter().map(|line| format!("N {line}"));
        let said: Vec<_> = reasons.chain(notes).collect();
        assert_eq!(said.len(), lines.len(), "{what}: {said:#?}");
        for (said, line) in said.iter().zip(*lines) {
            assert!(said.starts_with(line), "{what}: {said:?} is not {line:?}");
        }
    }
}

#[test]
fn the_worst_comes_first_and_gives_the_word() {
    let mut status = example::healthy();
    status.config.last_reload_error = some("no");
    status.pools[0].backends.iter_mut().for_each(fail);
    status.datapath.links[2].problem = some("detached");
    let Judgement { state, reasons, notes: _ } = status.judge();
    assert_eq!(state, Verdict::NotAttached);
    assert_eq!(reasons[0], "connect6: detached");
    assert!(reasons[1].starts_with("pool apiserver: none of"), "{reasons:?}");
    let order = [Verdict::Healthy, Verdict::Degraded, Verdict::Panic, Verdict::NotAttached];
    assert!(order.is_sorted());
    for verdict in order {
        let word = serde_json::to_value(verdict).expect("JSON");
        assert_eq!(word, verdict.label());
    }
}

#[test]
fn outcomes_on_the_way_change_nothing() {
    let mut status = example::healthy();
    let direction = "down".to_owned();
    status.pools[0].backends[0].run = Some(Run { direction, count: 1, needed: 2 });
    status.counters.insert("panic".to_owned(), 7);
    assert_eq!(status.judge(), example::healthy().judge());
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn fail(backend: &mut Backend) {
    backend.state = "unhealthy".to_owned();
    backend.reason = "connect refused".to_owned();
}
