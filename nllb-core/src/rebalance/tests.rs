//! When connections are closed, how many, and that it comes to an end.

use super::*;
use proptest::prelude::*;

const SETTINGS: RebalanceSettings = RebalanceSettings { share_per_minute: 0.1, floor: 2 };
const REVIEW: Duration = Duration::from_secs(10);

fn loads(active: &[u64]) -> Vec<Load> {
    let load = |(id, active): (u32, &u64)| Load { id: BackendId(id), active: *active, weight: 1 };
    (0..).zip(active).map(load).collect()
}

/// A node whose clients connect again at once, by the weights.
struct Node {
    rebalance: Rebalance,
    active: Vec<u64>,
    seed: u32,
    now: Instant,
    start: Instant,
}

impl Node {
    fn new(seed: u32, active: &[u64]) -> Self {
        let now = Instant::now();
        let seed = mix(seed);
        let rebalance = Rebalance::new(seed, now);
        Self { rebalance, active: active.to_vec(), seed, now, start: now }
    }

    fn returned(mut self) -> Self {
        self.rebalance.changed(true, self.now);
        self
    }

    /// One review; gives how many were closed.
    fn review(&mut self, settings: &RebalanceSettings, calm: bool) -> u64 {
        self.now += REVIEW;
        let orders = self.rebalance.review(settings, &loads(&self.active), calm, self.now);
        let mut closed = 0;
        for (id, number) in orders {
            self.active[id.0 as usize] -= u64::from(number);
            closed += u64::from(number);
        }
        (0..closed).for_each(|_| self.connect());
        closed
    }

    fn connect(&mut self) {
        let weight = |id: u32| {
            let leans = self.rebalance.leans_to(BackendId(id));
            u32::from(if leans { LEAN } else { 1 })
        };
        let weights: Vec<u32> = (0..).take(self.active.len()).map(weight).collect();
        self.seed = mix(self.seed.wrapping_add(0x9e37_79b9));
        let mut draw = self.seed % weights.iter().sum::<u32>();
        let chosen = weights.iter().position(|weight| {
            let here = draw < *weight;
            draw = draw.wrapping_sub(*weight);
            here
        });
        self.active[chosen.expect("within the sum")] += 1;
    }

    fn reviews(&mut self, times: usize) -> u64 {
        (0..times).map(|_| self.review(&SETTINGS, true)).sum()
    }
}

/// The sums over many nodes.
fn sums(nodes: &[Node]) -> Vec<u64> {
    let width = nodes[0].active.len();
    (0..width).map(|i| nodes.iter().map(|node| node.active[i]).sum()).collect()
}

fn imbalance(sums: &[u64]) -> f64 {
    let most = sums.iter().copied().max().expect("backends");
    let total: u64 = sums.iter().sum();
    count(most) * count(sums.len() as u64) / count(total) - 1.0
}

#[test]
fn nothing_is_closed_when_nobody_returned_however_uneven_it_is() {
    let mut node = Node::new(1, &[90, 5, 5]);
    assert_eq!(node.reviews(500), 0);
    node.rebalance.changed(false, node.now);
    assert_eq!(node.reviews(500), 0);
}

#[test]
fn nothing_is_closed_within_a_minute_of_a_return_or_of_any_other_change() {
    for seed in 0..50 {
        let mut node = Node::new(seed, &[900, 900, 0]).returned();
        assert_eq!(node.reviews(5), 0);
        node.rebalance.changed(false, node.now);
        assert_eq!(node.reviews(5), 0);
        assert!(node.reviews(7) > 0, "and after a minute and a half it is");
    }
}

#[test]
fn nothing_is_closed_while_anything_is_wrong() {
    let mut node = Node::new(1, &[900, 900, 0]).returned();
    for _ in 0..100 {
        assert_eq!(node.review(&SETTINGS, false), 0);
        assert!(!node.rebalance.leans_to(BackendId(2)));
    }
    assert!(node.reviews(10) > 0);
    assert!(node.rebalance.leans_to(BackendId(2)));
    node.rebalance.changed(false, node.now);
    assert!(!node.rebalance.leans_to(BackendId(2)), "trouble ends the leaning at once");
}

#[test]
fn a_returned_backend_gets_its_part_within_minutes_on_nodes_of_every_size() {
    for size in [6u64, 7, 8, 11, 300] {
        let uneven = [size * 5 / 8, size - size * 5 / 8, 0];
        let mut nodes: Vec<_> = (0..500).map(|seed| Node::new(seed, &uneven).returned()).collect();
        let before = imbalance(&sums(&nodes));
        nodes.iter_mut().for_each(|node| {
            node.reviews(60);
        });
        let after = imbalance(&sums(&nodes));
        assert!(before > 0.4 && after < 0.08, "{size} connections: {before} became {after}");
        nodes.iter_mut().for_each(|node| {
            node.reviews(600);
        });
        assert_eq!(nodes.iter_mut().map(|node| node.reviews(60)).sum::<u64>(), 0, "it has ended");
    }
}

#[test]
fn nodes_do_not_act_in_step() {
    let mut nodes: Vec<_> = (0..1000).map(|seed| Node::new(seed, &[4, 4, 0]).returned()).collect();
    let mut per_review = Vec::new();
    for _ in 0..60 {
        per_review.push(nodes.iter_mut().map(|node| node.review(&SETTINGS, true)).sum::<u64>());
    }
    // A tenth of eight connections a minute on each of 1,000 nodes is 133 in ten seconds.
    assert!(per_review.iter().all(|closed| *closed < 180), "{per_review:?}");
}

#[test]
fn what_is_further_away_gives_its_connections_back() {
    let mut node = Node::new(1, &[0, 40, 0]).returned();
    let mut loads = loads(&[0, 40, 0]);
    loads[1].weight = 0;
    let mut closed = 0;
    for _ in 0..200 {
        node.now += REVIEW;
        for (id, number) in node.rebalance.review(&SETTINGS, &loads, true, node.now) {
            assert_eq!(id, BackendId(1));
            closed += number;
            loads[1].active -= u64::from(number);
            let poorer = if loads[0].active < loads[2].active { 0 } else { 2 };
            loads[poorer].active += u64::from(number);
        }
    }
    assert_eq!((closed, loads[1].active), (38, 2));
}

#[test]
fn a_share_that_makes_no_sense_closes_nothing() {
    for share_per_minute in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let settings = RebalanceSettings { share_per_minute, ..SETTINGS };
        let mut node = Node::new(1, &[900, 900, 0]).returned();
        assert_eq!((0..50).map(|_| node.review(&settings, true)).sum::<u64>(), 0);
    }
}

proptest! {
    #[test]
    fn bounds_hold_whatever_happens(
        active in prop::collection::vec(0u64..200, 1..6), seed: u32, floor in 0u32..10,
        share_per_minute in 0.0f64..=1.0, calm in prop::collection::vec(any::<bool>(), 300),
    ) {
        let settings = RebalanceSettings { share_per_minute, floor };
        let total: u64 = active.iter().sum();
        let mut node = Node::new(seed, &active).returned();
        let mut closed = 0;
        for calm in calm {
            let before = node.active.clone();
            let loads = loads(&before);
            let orders = node.rebalance.clone().review(&settings, &loads, calm, node.now + REVIEW);
            for (id, number) in &orders {
                let left = before[id.0 as usize] - u64::from(*number);
                prop_assert!(left >= u64::from(floor), "{} left, floor {}", left, floor);
                prop_assert!(left >= total / before.len() as u64, "below its part");
            }
            let now: u64 = orders.iter().map(|(_, number)| u64::from(*number)).sum();
            // Each backend is rounded by itself.
            let most = share_per_minute / 6.0 * count(total) + count(orders.len() as u64);
            prop_assert!(count(now) <= most, "{} closed, {} allowed", now, most);
            prop_assert!(calm || orders.is_empty());
            prop_assert!(node.now + REVIEW >= node.start + QUIET || orders.is_empty());
            closed += node.review(&settings, calm);
        }
        prop_assert!(closed <= total, "{} of {} closed", closed, total);
    }

    #[test]
    fn the_parts_of_many_nodes_add_up_to_equal_loads(
        total in 0u64..50, weights in prop::collection::vec(0u16..5, 1..6),
    ) {
        prop_assume!(weights.iter().any(|weight| *weight > 0));
        let load = |(id, weight): (u32, &u16)| Load { id: BackendId(id), active: 0, weight: *weight };
        let loads: Vec<_> = (0..).zip(&weights).map(load).collect();
        let mut sums = vec![0; weights.len()];
        for node in 0..1000u32 {
            let goals = goals(&loads, total, f64::from(node) / 1000.0);
            prop_assert_eq!(goals.iter().sum::<u64>(), total);
            sums.iter_mut().zip(goals).for_each(|(sum, goal)| *sum += goal);
        }
        let all: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        for (sum, weight) in sums.iter().zip(&weights) {
            let fair = count(total) * f64::from(*weight) / all;
            prop_assert!((count(*sum) / 1000.0 - fair).abs() < 0.01, "{} for {}", sum, fair);
        }
    }
}
