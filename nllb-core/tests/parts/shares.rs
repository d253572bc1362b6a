//! Bands and rebalancing in the machine: what reaches the verdicts, and which connections are closed.

use std::collections::BTreeMap;
use std::time::Duration;

use nllb_common::maps::{State, Verdict};
use nllb_core::{
    BackendId, CloseCause, Command, FrontendSettings, Outcome, PoolSettings, RebalanceSettings,
};

use crate::node::Node;

const SECOND: Duration = Duration::from_secs(1);

fn born(pool: &PoolSettings) -> Node {
    Node::new(FrontendSettings::default(), pool, None)
}

fn verdict(node: &Node, id: u32) -> Verdict {
    node.machine.table().verdicts[&id]
}

fn bands(node: &Node) -> [u8; 3] {
    [0, 1, 2].map(|id| verdict(node, id).band())
}

#[test]
fn a_far_backend_gets_into_a_further_band_and_comes_back_when_it_is_near() {
    let mut node = born(&PoolSettings::default());
    node.rtt[2] = Duration::from_millis(40);
    node.wait(180 * SECOND);
    assert_eq!(bands(&node), [0, 0, 2]);
    node.rtt[2] = Duration::from_millis(1);
    node.wait(90 * SECOND);
    assert_eq!(bands(&node), [0, 0, 0]);
}

#[test]
fn without_latency_bands_all_are_in_the_first() {
    let mut node = born(&PoolSettings { latency_bands: false, ..PoolSettings::default() });
    node.rtt[2] = Duration::from_millis(400);
    node.wait(180 * SECOND);
    assert_eq!(bands(&node), [0, 0, 0]);
}

fn rebalanced() -> PoolSettings {
    let rebalance = Some(RebalanceSettings { share_per_minute: 0.1, floor: 2 });
    PoolSettings { rebalance, ..PoolSettings::default() }
}

/// A backend fails and comes back.
fn restart(node: &mut Node, id: u32) {
    while verdict(node, id).state() != State::Unhealthy {
        node.probe(id, &Outcome::Refused);
    }
    while verdict(node, id).state() != State::Healthy {
        node.probe(id, &Outcome::Ready);
    }
}

/// Reviews every ten seconds with these connections; gives how many were closed of each backend.
fn reviews(node: &mut Node, times: usize, active: [u64; 3]) -> BTreeMap<u32, u32> {
    let active = (0..).map(BackendId).zip(active).collect();
    node.commands.clear();
    for _ in 0..times {
        node.wait(10 * SECOND);
        node.machine.handle_connections(&active, node.now);
    }
    node.wait(SECOND);
    let mut closed = BTreeMap::new();
    for command in &node.commands {
        if let Command::Close { id, order, .. } = command {
            assert_eq!(order.cause, CloseCause::Rebalance);
            *closed.entry(id.0).or_default() += order.count.expect("some, not all");
        }
    }
    closed
}

#[test]
fn connections_find_back_after_a_return_and_new_ones_lean_there() {
    let mut node = born(&rebalanced());
    assert_eq!(reviews(&mut node, 30, [300, 300, 0]), BTreeMap::new(), "nobody has returned");
    restart(&mut node, 2);
    assert_eq!(reviews(&mut node, 5, [300, 300, 0]), BTreeMap::new(), "it is too early");
    let closed = reviews(&mut node, 12, [300, 300, 0]);
    assert!(closed.keys().eq(&[0, 1]), "{closed:?}");
    // A tenth of 600 a minute, for at most two minutes.
    assert!((60..=120).contains(&closed.values().sum::<u32>()), "{closed:?}");
    assert_eq!([0, 1, 2].map(|id| verdict(&node, id).weight()), [1, 1, 16]);
    restart(&mut node, 0);
    assert_eq!([0, 1, 2].map(|id| verdict(&node, id).weight()), [1, 1, 1]);
}

#[test]
fn a_pool_that_does_not_want_it_closes_nothing() {
    let mut node = born(&PoolSettings::default());
    reviews(&mut node, 1, [300, 300, 0]);
    restart(&mut node, 2);
    assert_eq!(reviews(&mut node, 60, [300, 300, 0]), BTreeMap::new());
}

#[test]
fn nothing_is_closed_while_a_backend_is_out() {
    let mut node = born(&rebalanced());
    reviews(&mut node, 1, [300, 300, 0]);
    restart(&mut node, 2);
    let active = (0..).map(BackendId).zip([300, 300, 0]).collect();
    node.commands.clear();
    for _ in 0..40 {
        node.probe(1, &Outcome::Refused);
        node.machine.handle_connections(&active, node.now);
    }
    assert!(!node.commands.iter().any(|command| matches!(command, Command::Close { .. })));
}
