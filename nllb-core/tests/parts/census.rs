//! The number of nodes, which the backends of one pool tell and those of another may not know.

use nllb_core::{Answer, BackendId, FrontendSettings, PoolSettings};

use crate::node::Node;

#[test]
fn a_pool_whose_backends_do_not_count_nodes_goes_by_the_largest_count_of_the_others() {
    let mut node = Node::new(FrontendSettings::default(), &PoolSettings::default(), None);
    for (name, port) in [("etcd", 2379), ("other", 7443)] {
        let endpoints = vec![([10, 0, 0, 1], port).into()];
        let pool = PoolSettings { name: name.into(), endpoints, ..PoolSettings::default() };
        node.settings.pools.push(pool);
    }
    node.machine.handle_settings(node.settings.clone(), node.now).expect("settings");
    let nodes = |node: &Node| -> Vec<_> {
        node.machine.view().pools.iter().map(|pool| pool.nodes).collect()
    };
    let id_of = |node: &Node, pool: usize| {
        let backend = &node.machine.view().pools[pool].backends[0];
        (backend.id, backend.epoch)
    };
    assert_eq!(nodes(&node), [None; 3]);
    let count = |node: &mut Node, pool: usize, nodes: u64| {
        let (id, epoch): (BackendId, u32) = id_of(node, pool);
        node.machine.handle_answer(id, epoch, Answer::Nodes(nodes), node.now);
    };
    count(&mut node, 2, 10);
    assert_eq!(nodes(&node), [Some(10); 3]);
    count(&mut node, 0, 8_000);
    assert_eq!(nodes(&node), [Some(8_000), Some(8_000), Some(10)]);
}
