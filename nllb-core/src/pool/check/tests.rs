//! Every limit and every mistake in settings has its message.

use std::net::SocketAddr;

use super::*;
use crate::settings::{Coverage, HealthSettings, OnEmpty};

fn pool(name: &str, first: u16, count: u16) -> PoolSettings {
    let endpoint = |port| SocketAddr::from(([10, 0, 0, 1], port));
    PoolSettings {
        name: name.to_owned(),
        endpoints: (first..first + count).map(endpoint).collect(),
        health: HealthSettings::default(),
        ..PoolSettings::default()
    }
}

fn front(name: &str, pool: &str, first: u16, count: u16) -> FrontendSettings {
    let address = |port| SocketAddr::from(([10, 96, 0, 1], port));
    FrontendSettings {
        name: name.to_owned(),
        kind: FrontendKind::Vip,
        addresses: (first..first + count).map(address).collect(),
        pool: pool.to_owned(),
        scope: ScopeSetting::Host,
        on_empty: OnEmpty::PassThrough,
        coverage: Coverage::Address,
        ..FrontendSettings::default()
    }
}

fn nodes(name: &str, pool: &str) -> FrontendSettings {
    FrontendSettings { kind: FrontendKind::NodeAddress, ..front(name, pool, 1, 0) }
}

/// What is wrong with these settings; empty when nothing is.
fn complaint(pools: Vec<PoolSettings>, frontends: Vec<FrontendSettings>) -> String {
    let checked = settings(&Settings { pools, frontends, ..Settings::default() }.canonical());
    checked.err().map(|error| error.to_string()).unwrap_or_default()
}

#[test]
fn settings_at_every_limit_are_good() {
    let limit = u16::try_from(FRONTEND_LIMIT).expect("a small limit");
    let pools: Vec<_> = (0..8).map(|n| pool(&format!("p{n}"), 1 + n * 16, 16)).collect();
    assert_eq!(complaint(pools, vec![]), "");
    let node_fronts = (0..3).map(|n| nodes(&format!("n{n}"), &format!("p{n}")));
    let fronts = (0..15).map(|n| front(&format!("f{n}"), "p0", 1 + n * 10, 10));
    let pools: Vec<_> = (0..3).map(|n| pool(&format!("p{n}"), 1 + n * 16, 16)).collect();
    assert_eq!(complaint(pools, node_fronts.chain(fronts).collect()), "");
    assert_eq!(complaint(vec![pool("p", 1, 3)], vec![front("f", "p", 1, limit)]), "");
}

#[test]
fn a_pool_that_is_too_large_is_named() {
    assert_eq!(
        complaint(vec![pool("p", 1, 17)], vec![]),
        "pool p has 17 endpoints, more than the 16 that one pool can hold"
    );
}

#[test]
fn too_many_backends_over_all_pools_are_counted() {
    let mut pools: Vec<_> = (0..8).map(|n| pool(&format!("p{n}"), 1 + n * 16, 16)).collect();
    pools.push(pool("last", 1, 1));
    assert_eq!(
        complaint(pools, vec![]),
        format!("all pools together have 129 endpoints, more than the limit of {BACKEND_LIMIT}")
    );
}

#[test]
fn each_node_address_counts_as_a_frontend() {
    let pools: Vec<_> = (0..4).map(|n| pool(&format!("p{n}"), 1 + n * 16, 16)).collect();
    let fronts = (0..4).map(|n| nodes(&format!("n{n}"), &format!("p{n}"))).collect();
    assert_eq!(
        complaint(pools, fronts),
        "there are 64 frontends (each node address counts as one), more than the limit of 63"
    );
}

#[test]
fn an_address_for_every_scope_counts_twice() {
    let all = FrontendSettings { scope: ScopeSetting::All, ..front("f", "p", 1, 512) };
    assert_eq!(
        complaint(vec![pool("p", 1, 3)], vec![all]),
        format!(
            "the frontends need 1024 table entries (scope all takes two per address), more than \
             the limit of {FRONTEND_LIMIT}"
        )
    );
}

#[test]
fn names_are_unique_and_lead_somewhere() {
    let pools = || vec![pool("p", 1, 3)];
    let twice = vec![pool("p", 1, 1), pool("p", 2, 1)];
    assert_eq!(complaint(twice, vec![]), "two pools are named p");
    let twice = vec![front("f", "p", 1, 1), front("f", "p", 2, 1)];
    assert_eq!(complaint(pools(), twice), "two frontends are named f");
    assert_eq!(
        complaint(pools(), vec![front("f", "q", 1, 1)]),
        "frontend f names the pool q, which does not exist"
    );
}

#[test]
fn an_address_belongs_to_one_frontend_of_a_protocol_in_whatever_spelling() {
    let mut mapped = front("g", "p", 9, 1);
    mapped.addresses = vec!["[::ffff:10.96.0.1]:1".parse().expect("an address")];
    assert_eq!(
        complaint(vec![pool("p", 1, 3)], vec![front("f", "p", 1, 1), mapped]),
        "frontends f and g both have the address 10.96.0.1:1"
    );
    let udp = FrontendSettings { protocol: Protocol::Udp, ..front("g", "p", 1, 1) };
    assert_eq!(complaint(vec![pool("p", 1, 3)], vec![front("f", "p", 1, 1), udp]), "");
    let mut repeated = front("f", "p", 1, 1);
    repeated.addresses.extend(repeated.addresses.clone());
    assert_eq!(complaint(vec![pool("p", 1, 3)], vec![repeated]), "");
}

#[test]
fn a_node_address_is_somebodys_own() {
    let mut stray = nodes("n", "p");
    stray.addresses = vec!["10.0.0.9:6443".parse().expect("an address")];
    assert_eq!(
        complaint(vec![pool("p", 1, 3)], vec![stray]),
        "node-address frontend n has the address 10.0.0.9:6443, which is no endpoint of pool p"
    );
}
