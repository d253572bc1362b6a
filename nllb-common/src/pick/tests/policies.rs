//! The policies: who is put in the place of the one drawn.

use super::*;
use crate::maps::MAGLEV_ENTRIES;

#[test]
fn round_robin_gives_every_backend_of_the_class_its_turn() {
    let mut facts = vec![Fact::state(State::Healthy); 5];
    facts[2].state = State::Draining;
    let mut met = Vec::new();
    for now in 1..=8u32 {
        let request =
            Request { now_ns: now.into(), policy: Policy::RoundRobin as u32, ..request(now * 77) };
        let view = Facts(facts.clone());
        let choice = pick(&view.pool(), &view, &request).expect("a backend");
        assert_eq!(choice.index, choice.slot.backend);
        facts[choice.index as usize].turn = now.into();
        met.push(choice.slot.backend);
    }
    assert_eq!(met, [0, 1, 3, 4, 0, 1, 3, 4]);
}

#[test]
fn of_two_drawn_the_less_loaded_gets_the_connection() {
    let mut facts = vec![Fact::state(State::Healthy); 3];
    facts[0].active = 100;
    facts[1].active = 10;
    facts[2].active = 50;
    let view = Facts(facts);
    let mut hits = [0u32; 3];
    for seed in 0..3_000u32 {
        let request = Request {
            policy: Policy::LeastConnections as u32,
            ..request(seed.wrapping_mul(2_654_435_761))
        };
        let choice = pick(&view.pool(), &view, &request).expect("a backend");
        assert_eq!(choice.index, choice.slot.backend);
        hits[choice.index as usize] += 1;
    }
    // Two different ones out of three: the most loaded never wins, the least loaded two times of three.
    assert_eq!(hits[0], 0);
    assert!((1_850..2_150).contains(&hits[1]), "{hits:?}");
}

#[test]
fn connections_weigh_less_on_a_backend_of_more_weight() {
    let mut facts = [Fact::state(State::Healthy); 2];
    facts[0] = Fact { weight: 10, active: 50, ..facts[0] };
    facts[1] = Fact { weight: 1, active: 20, ..facts[1] };
    let view = Facts(facts.to_vec());
    for seed in 0..100 {
        let request = Request { policy: Policy::LeastConnections as u32, ..request(seed) };
        assert_eq!(pick(&view.pool(), &view, &request).map(|choice| choice.index), Some(0));
    }
}

#[test]
fn a_preferred_backend_is_chosen_while_it_is_of_the_best_class() {
    let mut facts = vec![Fact::state(State::Healthy); 3];
    for policy in [Policy::Maglev, Policy::Affinity] {
        for seed in 0..50 {
            let request = Request { policy: policy as u32, preferred: 2, ..request(seed) };
            let chosen = |facts: &[Fact]| {
                let view = Facts(facts.to_vec());
                pick(&view.pool(), &view, &request).map(|choice| choice.index)
            };
            facts[2].state = State::Healthy;
            assert_eq!(chosen(&facts), Some(2));
            facts[2].state = State::Unhealthy;
            assert!(matches!(chosen(&facts), Some(0 | 1)));
        }
    }
}

#[test]
fn the_clients_of_a_backend_that_is_out_spread_over_the_others_and_come_back() {
    let mut facts = vec![Fact::state(State::Healthy); 4];
    facts[3].state = State::Unhealthy;
    let view = Facts(facts);
    let mut hits = [0u32; 4];
    for client in 0..3_000u32 {
        let request =
            Request { policy: Policy::Maglev as u32, preferred: 3, ..request(mix(client)) };
        let first = pick(&view.pool(), &view, &request).map(|choice| choice.index);
        assert_eq!(pick(&view.pool(), &view, &request).map(|choice| choice.index), first);
        hits[first.expect("a backend") as usize] += 1;
    }
    assert!(hits[..3].iter().all(|hits| (850..1_150).contains(hits)), "{hits:?}");
}

#[test]
fn the_maglev_table_leads_to_the_backends_that_it_names() {
    let facts = Facts(vec![Fact::state(State::Healthy); 4]);
    let mut table = [0; MAGLEV_ENTRIES];
    for (entry, index) in table.iter_mut().zip((0..4).cycle()) {
        *entry = index;
    }
    let pool = facts.pool().with_maglev(&table);
    let mut hits = [0u32; 4];
    for client in 0..4_000u32 {
        hits[by_maglev(&pool, mix(client)) as usize] += 1;
    }
    assert!(hits.iter().all(|hits| (850..1_150).contains(hits)), "{hits:?}");
    assert_eq!(by_maglev(&pool, 0), 0);
    assert_eq!(by_maglev(&pool, u32::MAX), u32::from(table[MAGLEV_ENTRIES - 1]));
    assert_eq!(by_maglev(&PoolSet::EMPTY, 7), NO_BACKEND);
}
