//! Versions in the machine: what is heard over sentinels narrows the pools, and who is in service counts.

use nllb_common::maps::Policy;
use nllb_core::{Answer, BackendId, FrontendSettings, Outcome, PoolSettings, VersionSkew};

use crate::node::{Node, version};

fn born(frontend: FrontendSettings, kubelet: Option<&str>) -> Node {
    Node::new(frontend, &PoolSettings::default(), kubelet)
}

fn hear(node: &mut Node, id: u32, answer: Answer) {
    node.machine.handle_answer(BackendId(id), 1, answer, node.now);
}

fn hear_version(node: &mut Node, id: u32, text: &str) {
    hear(node, id, Answer::Version(version(text)));
}

/// The backends that the frontend has in the maps.
fn used(node: &Node) -> Vec<u32> {
    let (_, set) = node.machine.table().pools.first_key_value().expect("a pool");
    set.iter().map(|slot| slot.backend).collect()
}

fn skew(version_skew: VersionSkew) -> FrontendSettings {
    FrontendSettings { version_skew, ..FrontendSettings::default() }
}

#[test]
fn the_newest_serve_alone_once_they_are_two_and_both_in_service() {
    let mut node = born(skew(VersionSkew::PreferNewest), None);
    assert_eq!(used(&node), [0, 1, 2]);
    hear_version(&mut node, 0, "v1.30.1");
    hear_version(&mut node, 1, "v1.30.2");
    hear_version(&mut node, 2, "v1.31.0");
    assert_eq!(used(&node), [0, 1, 2], "one alone would have no other");
    hear_version(&mut node, 1, "v1.31.0");
    assert_eq!(used(&node), [1, 2]);
    while used(&node) == [1, 2] {
        node.probe(2, &Outcome::Refused);
    }
    assert_eq!(used(&node), [0, 1, 2], "it stays in the pool, so that it is seen to come back");
    while used(&node) != [1, 2] {
        node.probe(2, &Outcome::Ready);
    }
}

#[test]
fn the_kubelet_s_version_is_what_the_operator_says_or_else_what_is_heard() {
    for (said, expected) in [(None, [1, 2].to_vec()), (Some("1.31"), [1, 2].to_vec())] {
        let mut node = born(skew(VersionSkew::Kubelet), said);
        for (id, text) in [(0, "v1.29.9"), (1, "v1.30.0"), (2, "v1.31.4")] {
            hear_version(&mut node, id, text);
        }
        hear(&mut node, 0, Answer::KubeletVersion(version("v1.30.7")));
        assert_eq!(used(&node), expected, "{said:?}");
    }
}

#[test]
fn the_policy_of_a_frontend_and_a_maglev_table_of_its_backends_reach_the_maps() {
    let frontend = FrontendSettings { policy: Policy::Maglev, ..FrontendSettings::default() };
    let node = born(frontend, None);
    let table = node.machine.table();
    assert!(table.frontends.values().all(|frontend| frontend.policy() == Policy::Maglev));
    let (_, set) = table.pools.first_key_value().expect("a pool");
    for slot in 0..3 {
        let entries = set.maglev.iter().take(251).filter(|entry| **entry == slot).count();
        assert!((83..=84).contains(&entries), "{entries} entries for slot {slot}");
    }
    assert!(table.to_string().contains("-> frontend 1 pool 1 maglev"), "{table}");
}
