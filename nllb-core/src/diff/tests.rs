//! The writes lead where they should, and are safe in between.

use std::net::SocketAddr;

use nllb_common::addr::split;
use nllb_common::maps::{NO_HOME, Scope, Slot, State};
use proptest::prelude::*;

use super::*;

fn key(host: u8) -> FrontendKey {
    let (addr, port) = split(SocketAddr::from(([10, 96, 0, host], 443)));
    FrontendKey::tcp(addr, port, Scope::Host)
}

fn set(backends: &[u32], epoch: u32) -> PoolSet {
    let (addr, port) = split(SocketAddr::from(([10, 0, 0, 1], 6443)));
    let slots: Vec<_> = backends.iter().map(|id| Slot::new(addr, port, *id, epoch)).collect();
    PoolSet::new(&slots).expect("few backends")
}

fn frontend(pool: u16) -> Frontend {
    Frontend { id: pool, pool, home: NO_HOME, flags: 0 }
}

fn verdict(state: State, epoch: u32) -> Verdict {
    Verdict::new(state, 0, 1, epoch)
}

#[test]
fn what_is_referred_to_is_written_before_and_removed_after_what_refers_to_it() {
    let actual = Table {
        frontends: [(key(1), frontend(1))].into(),
        pools: [(1, set(&[1], 1))].into(),
        verdicts: [(1, verdict(State::Healthy, 1))].into(),
        fresh: [(1, 1)].into(),
    };
    let desired = Table {
        frontends: [(key(2), frontend(2))].into(),
        pools: [(2, set(&[2], 1))].into(),
        verdicts: [(2, verdict(State::Healthy, 1))].into(),
        fresh: [(2, 1)].into(),
    };
    let changes: Vec<String> = diff(&actual, &desired).iter().map(Change::to_string).collect();
    assert_eq!(
        changes,
        [
            "reset evidence 2.1",
            "set verdict 2.1 healthy",
            "set pool 2: 2.1=10.0.0.1:6443",
            "set 10.96.0.2:443 from host -> frontend 2 pool 2",
            "remove 10.96.0.1:443 from host",
            "remove pool 1",
            "remove verdict 1",
        ]
    );
}

#[test]
fn a_new_verdict_is_one_write() {
    let mut actual = Table::default();
    actual.verdicts.insert(1, verdict(State::Healthy, 1));
    let mut desired = actual.clone();
    desired.verdicts.insert(1, verdict(State::Unhealthy, 1));
    assert_eq!(diff(&actual, &desired).len(), 1);
    assert_eq!(diff(&desired, &desired), []);
}

#[test]
fn the_self_test_is_left_alone() {
    let mut actual = Table::default();
    actual.frontends.insert(key(1), frontend(0));
    actual.pools.insert(0, set(&[], 0));
    assert_eq!(diff(&actual, &Table::default()), []);
}

/// A table as the machine makes them: what is referred to is there.
fn table() -> impl Strategy<Value = Table> {
    let backends = prop::collection::btree_map(0u32..6, (0..State::ALL.len(), 1u32..3), 0..6);
    let pools =
        prop::collection::btree_map(1u16..5, prop::collection::btree_set(0u32..6, 0..6), 0..5);
    let fronts = prop::collection::btree_map(1u8..8, any::<prop::sample::Index>(), 0..8);
    (backends, pools, fronts).prop_map(|(backends, pools, fronts)| {
        let mut table = Table::default();
        for (id, (state, epoch)) in &backends {
            table.verdicts.insert(*id, verdict(State::ALL[*state], *epoch));
            table.fresh.insert(*id, *epoch);
        }
        for (pool, members) in &pools {
            let members: Vec<_> =
                members.iter().copied().filter(|id| backends.contains_key(id)).collect();
            table.pools.insert(u32::from(*pool), set(&members, 1));
        }
        for (host, pick) in fronts {
            let ids: Vec<_> = pools.keys().copied().collect();
            if !ids.is_empty() {
                table.frontends.insert(key(host), frontend(*pick.get(&ids)));
            }
        }
        table
    })
}

proptest! {
    #[test]
    fn the_changes_lead_to_what_is_desired_and_no_step_leaves_a_reference_without_its_target(
        actual in table(), desired in table()
    ) {
        let mut maps = actual.clone();
        for change in diff(&actual, &desired) {
            maps.apply(&change);
            for frontend in maps.frontends.values() {
                prop_assert!(maps.pools.contains_key(&u32::from(frontend.pool)), "after {}", change);
            }
            for slot in maps.pools.values().flat_map(PoolSet::iter) {
                prop_assert!(maps.verdicts.contains_key(&slot.backend), "after {}", change);
                prop_assert!(maps.fresh.contains_key(&slot.backend), "after {}", change);
            }
        }
        prop_assert_eq!(maps, desired);
    }
}
