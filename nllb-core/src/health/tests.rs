//! Every state against every outcome, and the runs that turn one into another.

use nllb_common::maps::State::{self, Degraded, Draining, Healthy, Unhealthy, Unknown};
use proptest::prelude::*;

use super::*;

const RISE: u32 = 3;
const FALL: u32 = 4;

/// Each outcome with the state it speaks for; `None` speaks for none.
fn outcomes() -> Vec<(Outcome, Option<State>)> {
    let reason = || String::from("because");
    vec![
        (Outcome::Ready, Some(Healthy)),
        (Outcome::Unauthorized, Some(Degraded)),
        (Outcome::CredentialsRefused, Some(Degraded)),
        (Outcome::NotReady { status: 500 }, Some(Draining)),
        (Outcome::NotReady { status: 403 }, Some(Draining)),
        (Outcome::NotServing { reason: reason() }, Some(Draining)),
        (Outcome::Slow, Some(Draining)),
        (Outcome::Refused, Some(Unhealthy)),
        (Outcome::Reset, Some(Unhealthy)),
        (Outcome::Unreachable, Some(Unhealthy)),
        (Outcome::Silent, Some(Unhealthy)),
        (Outcome::TlsFailed { reason: reason() }, Some(Unhealthy)),
        (Outcome::Hung, Some(Unhealthy)),
        (Outcome::Closed, Some(Unhealthy)),
        (Outcome::Unresponsive, Some(Unhealthy)),
        (Outcome::Local { reason: reason() }, None),
    ]
}

/// How many of an outcome in a row lead from one state to another. `None`: never.
///
/// Written out, one cell per pair, so that it does not share the shape of the code under test.
fn needed(from: State, to: Option<State>) -> Option<u32> {
    #[rustfmt::skip]
    let table = [
        //              healthy     degraded    draining    unhealthy
        (Unknown,   [Some(1),    Some(1),    Some(1),    Some(1)]),
        (Healthy,   [None,       Some(RISE), Some(FALL), Some(FALL)]),
        (Degraded,  [Some(RISE), None,       Some(FALL), Some(FALL)]),
        (Draining,  [Some(RISE), Some(RISE), None,       Some(FALL)]),
        (Unhealthy, [Some(RISE), Some(RISE), Some(FALL), None]),
    ];
    let column = match to? {
        Healthy => 0,
        Degraded => 1,
        Draining => 2,
        Unhealthy => 3,
        Unknown => return None,
    };
    table.iter().find(|(state, _)| *state == from).and_then(|(_, row)| row[column])
}

fn settings() -> HealthSettings {
    HealthSettings { rise: RISE, fall: FALL, ..HealthSettings::default() }
}

fn after(state: State, outcomes: &[Outcome]) -> State {
    let mut health = Health::new(state);
    for outcome in outcomes {
        health.observe(outcome, &settings(), true);
    }
    health.state()
}

#[test]
fn every_outcome_in_every_state_leads_where_the_table_says_after_as_many_as_it_says() {
    for from in State::ALL {
        for (outcome, to) in outcomes() {
            let mut health = Health::new(from);
            let mut left_after = None;
            for count in 1..=10 {
                if let Some(left) = health.observe(&outcome, &settings(), true) {
                    assert_eq!(left, from, "{from:?} {outcome}");
                    assert_eq!(left_after, None, "moved twice: {from:?} {outcome}");
                    left_after = Some(count);
                }
            }
            assert_eq!(left_after, needed(from, to), "{from:?} {outcome}");
            let end = left_after.and(to).unwrap_or(from);
            assert_eq!(health.state(), end, "{from:?} {outcome}");
            assert_eq!(health.run(), None, "{from:?} {outcome}");
        }
    }
}

#[test]
fn an_outcome_that_fits_the_state_starts_the_count_anew() {
    let (dead, ready) = (Outcome::Refused, Outcome::Ready);
    let mut outcomes = vec![dead.clone(); 3];
    outcomes.push(ready);
    outcomes.extend(vec![dead; 3]);
    assert_eq!(after(Healthy, &outcomes), Healthy);
}

#[test]
fn failures_of_both_levels_count_together_and_the_newest_says_where_to() {
    let mixed =
        [Outcome::Refused, Outcome::Slow, Outcome::Silent, Outcome::NotReady { status: 500 }];
    assert_eq!(after(Healthy, &mixed), Draining);
    assert_eq!(after(Degraded, &mixed), Draining);
}

#[test]
fn failures_that_alternate_between_the_levels_do_not_flap() {
    let pair = [Outcome::Refused, Outcome::NotReady { status: 500 }];
    let alternating: Vec<_> = pair.iter().cycle().take(40).cloned().collect();
    assert_eq!(after(Draining, &alternating), Draining);
    assert_eq!(after(Unhealthy, &alternating), Unhealthy);
}

#[test]
fn successes_of_both_kinds_count_together_on_the_way_back() {
    let mixed = [Outcome::Ready, Outcome::Ready, Outcome::Unauthorized];
    assert_eq!(after(Unhealthy, &mixed), Degraded);
}

#[test]
fn a_fault_of_this_host_neither_counts_nor_ends_a_count() {
    let local = Outcome::Local { reason: String::from("no file descriptor") };
    let mut health = Health::new(Healthy);
    health.observe(&Outcome::Refused, &settings(), true);
    let before = health;
    health.observe(&local, &settings(), true);
    assert_eq!(health, before);
}

#[test]
fn a_lower_count_in_new_settings_takes_effect_with_the_next_outcome() {
    let mut health = Health::new(Healthy);
    for _ in 0..3 {
        health.observe(&Outcome::Refused, &settings(), true);
    }
    let strict = HealthSettings { fall: 1, ..settings() };
    assert_eq!(health.observe(&Outcome::Refused, &strict, true), Some(Healthy));
}

#[test]
fn who_is_not_admitted_stays_out_and_enters_with_the_first_success_that_is() {
    let mut health = Health::new(Unhealthy);
    for _ in 0..10 {
        assert_eq!(health.observe(&Outcome::Ready, &settings(), false), None);
    }
    assert_eq!(health.observe(&Outcome::Ready, &settings(), true), Some(Unhealthy));
    for _ in 0..RISE {
        health.observe(&Outcome::Unauthorized, &settings(), false);
    }
    assert_eq!(health.state(), Degraded, "it was let in already");
}

#[test]
fn what_is_condemned_is_unhealthy_at_once_and_only_once() {
    for from in State::ALL {
        let mut health = Health::new(from);
        assert_eq!(health.condemn(), (from != Unhealthy).then_some(from));
        assert_eq!(health.state(), Unhealthy);
        assert_eq!(health.condemn(), None);
    }
}

proptest! {
    /// A model with the whole history: the state is left exactly when the last outcomes, as many as
    /// needed, all point the same way and away from it.
    #[test]
    fn the_count_agrees_with_a_look_back_over_the_whole_history(
        start in 0..State::ALL.len(),
        picks in prop::collection::vec(0..outcomes().len(), 0..200),
        rise in 1u32..4, fall in 1u32..4,
    ) {
        let settings = HealthSettings { rise, fall, ..settings() };
        let mut health = Health::new(State::ALL[start]);
        let mut state = health.state();
        let mut history: Vec<State> = Vec::new();
        for pick in picks {
            let (outcome, to) = &outcomes()[pick];
            health.observe(outcome, &settings, true);
            if let Some(to) = *to {
                history.push(to);
                let up = |s: State| matches!(s, Healthy | Degraded);
                let same = history.iter().rev()
                    .take_while(|past| **past != state && up(**past) == up(to)).count();
                let enough = if up(to) { rise } else { fall } as usize;
                if state == Unknown || same >= enough {
                    state = to;
                    history.clear();
                }
            }
            prop_assert_eq!(health.state(), state);
        }
    }
}
