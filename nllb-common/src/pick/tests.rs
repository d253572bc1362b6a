//! The choice, as the kernel programs make it.

mod policies;

use super::survey::{is_eligible, rung};
use super::*;
use crate::addr::{Addr, Family, Port};
use crate::maps::{Policy, State};
use crate::mix;
use core::net::IpAddr;
use proptest::prelude::*;
use std::{vec, vec::Vec};

const NOW: u64 = 1_000;

#[derive(Clone, Copy, Debug)]
struct Fact {
    state: State,
    suspect: bool,
    band: u8,
    weight: u16,
    v6: bool,
    active: u64,
    turn: u64,
}

impl Fact {
    const fn state(state: State) -> Self {
        Self { state, suspect: false, band: 0, weight: 1, v6: false, active: 0, turn: 0 }
    }
    const fn suspect(state: State) -> Self {
        Self { suspect: true, ..Self::state(state) }
    }
}

struct Facts(Vec<Fact>);

impl Facts {
    fn pool(&self) -> PoolSet {
        let slots: Vec<Slot> = self
            .0
            .iter()
            .zip(0u8..)
            .map(|(fact, i)| {
                let ip: IpAddr = if fact.v6 {
                    [0xfd00, 0, 0, 0, 0, 0, 0, u16::from(i)].into()
                } else {
                    [10, 0, 0, i].into()
                };
                Slot::new(Addr::from(ip), Port::new(6443), u32::from(i), 7)
            })
            .collect();
        PoolSet::new(&slots).expect("few backends")
    }
}

impl View for Facts {
    fn verdict(&self, backend: u32) -> Verdict {
        let fact = self.0[backend as usize];
        Verdict::new(fact.state, fact.band, fact.weight, 7)
    }
    fn suspect_until_ns(&self, backend: u32, _epoch: u32) -> u64 {
        if self.0[backend as usize].suspect { NOW + 1 } else { 0 }
    }
    fn active(&self, backend: u32, _epoch: u32) -> u64 {
        self.0[backend as usize].active
    }
    fn last_answer_ns(&self, backend: u32, _epoch: u32) -> u64 {
        self.0[backend as usize].turn
    }
    fn turn_ns(&self, _pool: u32, slot: u32) -> u64 {
        self.0.get(slot as usize).map_or(0, |fact| fact.turn)
    }
}

fn request(seed: u32) -> Request {
    Request {
        now_ns: NOW,
        lease_valid: true,
        reach: Reach::V4_ONLY,
        seed,
        zero: 0,
        policy: Policy::Random as u32,
        pool: 1,
        preferred: NO_BACKEND,
    }
}

fn chosen(facts: &[Fact], seed: u32) -> Option<(u32, bool)> {
    let facts = Facts(facts.to_vec());
    pick(&facts.pool(), &facts, &request(seed)).map(|c| (c.slot.backend, c.eligible))
}

#[test]
fn the_ladder_goes_healthy_degraded_suspect_draining_unknown_dead() {
    let ladder = [
        Fact::state(State::Healthy),
        Fact::state(State::Degraded),
        Fact::suspect(State::Healthy),
        Fact::suspect(State::Degraded),
        Fact::state(State::Draining),
        Fact::suspect(State::Draining),
        Fact::state(State::Unknown),
        Fact::suspect(State::Unknown),
        Fact::state(State::Unhealthy),
        Fact::suspect(State::Unhealthy),
    ];
    for (better, pair) in ladder.windows(2).enumerate() {
        for seed in 0..50 {
            let eligible = better < 2;
            assert_eq!(chosen(&[pair[1], pair[0]], seed), Some((1, eligible)), "{pair:?}");
        }
    }
}

#[test]
fn a_number_that_is_no_state_counts_as_never_probed() {
    for number in 5..8 {
        for suspect in 0..2 {
            assert_eq!(rung(number, suspect), rung(State::Unknown as u32, suspect));
        }
    }
}

#[test]
fn an_empty_pool_or_one_out_of_reach_gives_nothing() {
    assert_eq!(chosen(&[], 1), None);
    assert_eq!(chosen(&[Fact { v6: true, ..Fact::state(State::Healthy) }], 1), None);
}

#[test]
fn without_a_lease_only_suspicion_counts() {
    let facts = Facts(vec![Fact::suspect(State::Healthy), Fact::state(State::Unhealthy)]);
    let request = Request { lease_valid: false, ..request(3) };
    let choice = pick(&facts.pool(), &facts, &request).expect("a backend");
    assert_eq!((choice.slot.backend, choice.eligible), (1, true));
}

#[test]
fn a_verdict_of_another_epoch_is_no_verdict() {
    let facts = Facts(vec![Fact::state(State::Healthy), Fact::state(State::Draining)]);
    let mut pool = facts.pool();
    pool.slots[0].epoch = 8;
    let choice = pick(&pool, &facts, &request(3)).expect("a backend");
    assert_eq!(choice.slot.backend, 1);
}

#[test]
fn a_v6_socket_prefers_v6_among_equals_and_takes_v4_over_a_worse_v6() {
    let v4 = Fact::state(State::Healthy);
    let v6 = Fact { v6: true, ..v4 };
    let reach = Request { reach: Reach::PREFER_V6, ..request(9) };
    let facts = Facts(vec![v4, v6]);
    assert_eq!(pick(&facts.pool(), &facts, &reach).map(|c| c.slot.backend), Some(1));
    let facts = Facts(vec![v4, Fact { state: State::Draining, ..v6 }]);
    assert_eq!(pick(&facts.pool(), &facts, &reach).map(|c| c.slot.backend), Some(0));
}

#[test]
fn shares_follow_the_weights_within_the_lowest_band() {
    let base = Fact::state(State::Healthy);
    let facts = [
        Fact { weight: 1, ..base },
        Fact { weight: 3, ..base },
        Fact { band: 1, weight: 9, ..base },
    ];
    let mut hits = [0u32; 3];
    for seed in 0..40_000u32 {
        // Seeds as the kernel gives them: any 32 bits.
        let (backend, _) = chosen(&facts, seed.wrapping_mul(2_654_435_761)).expect("one");
        hits[backend as usize] += 1;
    }
    assert_eq!(hits[2], 0);
    // Expected 30,000; the standard deviation is 87.
    assert!((29_500..30_500).contains(&hits[1]), "{hits:?}");
}

#[test]
fn a_node_address_is_left_alone_unless_its_backend_is_out_and_another_is_in() {
    use State::{Degraded, Draining, Healthy, Unhealthy, Unknown};
    let moved = |facts: &[Fact], home: u32| {
        let facts = Facts(facts.to_vec());
        match target(&facts.pool(), &facts, &request(5), home) {
            Target::Keep(slot) => {
                assert_eq!(slot.backend, home);
                None
            }
            Target::Nothing => None,
            Target::To(choice) => Some(choice.slot.backend),
        }
    };
    let kept =
        [Fact::state(Healthy), Fact::suspect(Healthy), Fact::state(Degraded), Fact::state(Unknown)];
    for keep in kept {
        assert_eq!(moved(&[keep, Fact::state(Healthy)], 0), None, "{keep:?}");
    }
    for leave in [Fact::state(Draining), Fact::state(Unhealthy)] {
        assert_eq!(moved(&[leave, Fact::state(Healthy)], 0), Some(1), "{leave:?}");
        assert_eq!(moved(&[leave, Fact::suspect(Healthy)], 0), Some(1), "{leave:?}");
        assert_eq!(moved(&[leave, Fact::state(Unknown)], 0), None, "{leave:?}");
        assert_eq!(moved(&[leave, Fact::state(Draining)], 0), None, "{leave:?}");
    }
    assert_eq!(moved(&[Fact::state(Healthy)], 4), None);
}

#[test]
fn doubt_of_the_agent_counts_like_suspicion_of_the_kernel() {
    struct Doubting(Facts, u32);
    impl View for Doubting {
        fn verdict(&self, backend: u32) -> Verdict {
            self.0.verdict(backend).doubted(backend == self.1)
        }
        fn suspect_until_ns(&self, backend: u32, epoch: u32) -> u64 {
            self.0.suspect_until_ns(backend, epoch)
        }
        fn active(&self, backend: u32, epoch: u32) -> u64 {
            self.0.active(backend, epoch)
        }
        fn last_answer_ns(&self, backend: u32, epoch: u32) -> u64 {
            self.0.last_answer_ns(backend, epoch)
        }
        fn turn_ns(&self, pool: u32, slot: u32) -> u64 {
            self.0.turn_ns(pool, slot)
        }
    }
    let choice = |facts: &[Fact], request: Request| {
        let view = Doubting(Facts(facts.to_vec()), 0);
        let choice = pick(&view.0.pool(), &view, &request).expect("a backend");
        (choice.slot.backend, choice.eligible)
    };
    let healthy = Fact::state(State::Healthy);
    for seed in 0..50 {
        assert_eq!(choice(&[healthy, healthy], request(seed)), (1, true));
        assert_eq!(choice(&[healthy, Fact::state(State::Draining)], request(seed)), (0, false));
    }
    let lapsed = Request { lease_valid: false, ..request(1) };
    assert_eq!(choice(&[healthy], lapsed), (0, true));
}

#[test]
fn another_backend_that_answered_is_told_from_silence_all_around() {
    let mut facts = vec![Fact::state(State::Healthy); 3];
    facts[0].turn = 500;
    facts[2].turn = 100;
    let view = Facts(facts);
    let answered = |except, since| other_answered(&view.pool(), &view, except, since);
    assert!(answered(1, 499));
    assert!(!answered(1, 500));
    assert!(!answered(0, 100), "its own answer is no other's");
    assert!(!other_answered(&PoolSet::EMPTY, &view, 0, 0));
}

#[test]
fn without_a_lease_suspicion_moves_a_node_address() {
    let facts = Facts(vec![Fact::suspect(State::Healthy), Fact::state(State::Unhealthy)]);
    let request = Request { lease_valid: false, ..request(3) };
    let Target::To(choice) = target(&facts.pool(), &facts, &request, 0) else {
        panic!("left alone");
    };
    assert_eq!(choice.slot.backend, 1);
}

fn fact() -> impl Strategy<Value = Fact> {
    (0..State::ALL.len(), any::<bool>(), 0u8..3, 0u16..5, any::<bool>()).prop_map(
        |(state, suspect, band, weight, v6)| Fact {
            state: State::ALL[state],
            suspect,
            band,
            weight,
            v6,
            ..Fact::state(State::Unknown)
        },
    )
}

proptest! {
    #[test]
    fn the_choice_is_of_the_best_class_and_never_missing(
        facts in prop::collection::vec(fact(), 0..=MAX_POOL_BACKENDS),
        seed: u32,
        policy in 0u32..6,
        preferred in 0u32..20,
        reach in prop::sample::select(
            &[Reach::V4_ONLY, Reach::V6_ONLY, Reach::PREFER_V4, Reach::PREFER_V6][..]
        ),
    ) {
        let facts = Facts(facts);
        let class = |fact: &Fact| {
            let family = if fact.v6 { Family::V6 } else { Family::V4 };
            let bits = reach.bits(family as u16);
            let rung = rung(fact.state as u32, u32::from(fact.suspect));
            (bits & 1 == 1).then_some((rung, bits & 2, fact.band))
        };
        let best = facts.0.iter().filter_map(class).min();
        let request = Request { reach, policy, preferred, ..request(seed) };
        let choice = pick(&facts.pool(), &facts, &request);
        prop_assert_eq!(choice.map(|c| c.slot.backend as usize).and_then(|i| class(&facts.0[i])), best);
        prop_assert_eq!(choice.map(|c| c.index), choice.map(|c| c.slot.backend));
        prop_assert_eq!(choice.map(|c| c.eligible), best.map(|(rung, ..)| is_eligible(rung)));
    }

    #[test]
    fn requests_and_surveys_are_the_same_after_they_were_words(
        facts in prop::collection::vec(fact(), 0..=MAX_POOL_BACKENDS),
        numbers: (u64, u32, u32, bool),
        small in (0u32..6, 0u32..128, 0u32..20),
        reach in prop::sample::select(
            &[Reach::V4_ONLY, Reach::V6_ONLY, Reach::PREFER_V4, Reach::PREFER_V6][..]
        ),
    ) {
        let (now_ns, seed, preferred, lease_valid) = numbers;
        let (policy, pool, apart) = small;
        let zero = 0;
        let whole = Request { now_ns, lease_valid, reach, seed, zero, policy, pool, preferred };
        prop_assert_eq!(Request::from_words(whole.words(), zero), whole);
        let facts = Facts(facts);
        let survey = Survey::of(&facts.pool(), &facts, &Request { pool: 1, ..whole }, apart);
        prop_assert_eq!(Survey::from_word(survey.word()), survey);
        prop_assert!(survey.is_of(&facts.pool()));
    }

    #[test]
    fn suspicion_never_takes_the_last_eligible_backend(
        facts in prop::collection::vec(fact(), 1..=MAX_POOL_BACKENDS), seed: u32
    ) {
        // Whatever a hostile pod makes the kernel believe, a frontend that had a backend has one.
        let suspects: Vec<Fact> = facts.iter().map(|f| Fact { suspect: true, v6: false, ..*f }).collect();
        prop_assert!(chosen(&suspects, seed).is_some());
    }
}

#[test]
fn who_is_to_be_avoided_is_taken_when_nobody_else_may_get_connections() {
    let pick = |facts: Vec<Fact>, except| {
        let facts = Facts(facts);
        let request = request(1);
        let survey = Survey::of(&facts.pool(), &facts, &request, except);
        let chosen = survey.choice_or_apart(&facts.pool(), request.reach);
        chosen.map(|choice| (choice.slot.backend, choice.index, choice.eligible))
    };
    let healthy = || Fact::state(State::Healthy);
    assert_eq!(pick(vec![healthy(), healthy()], 0), Some((1, 1, true)));
    assert_eq!(pick(vec![healthy(), Fact::state(State::Degraded)], 0), Some((1, 1, true)));
    assert_eq!(pick(vec![healthy(), Fact::state(State::Unhealthy)], 0), Some((0, 0, true)));
    assert_eq!(pick(vec![healthy()], 0), Some((0, 0, true)), "it is alone");
    let out = vec![Fact::state(State::Unhealthy), Fact::suspect(State::Healthy)];
    assert_eq!(pick(out, 0), Some((1, 1, false)), "the better of two that may not");
    assert_eq!(pick(vec![healthy(), healthy()], 1), Some((0, 0, true)));
    assert_eq!(pick(vec![healthy()], 7), Some((0, 0, true)), "a stranger is nobody's matter");
}

#[test]
fn a_survey_is_not_taken_for_one_of_backends_that_came_after_it() {
    let facts = Facts(vec![Fact::state(State::Healthy); 3]);
    let before = facts.pool();
    let survey = Survey::of(&before, &facts, &request(1), 1);
    let drawn = survey.choice(&before).expect("two may be drawn");
    let slots: Vec<Slot> = before.iter().copied().collect();
    // Another backend where the drawn one, or the one set apart, was; and the drawn one's id given away.
    let swapped: Vec<Slot> = slots.iter().rev().copied().collect();
    let renewed = slots.iter().map(|slot| match slot.backend == drawn.slot.backend {
        true => Slot { epoch: 8, ..*slot },
        false => *slot,
    });
    let renewed: Vec<Slot> = renewed.collect();
    for after in [&swapped[..], &renewed, &slots[..1], &[]] {
        let after = PoolSet::new(after).expect("few");
        assert!(!survey.is_of(&after), "{after:?}");
    }
    assert!(Survey::from_word(Survey::NOTHING.word()).choice(&before).is_none());
}
