//! The program in the driver (`mode: native`), where frames come one by one and before the host has put any together.

use std::collections::BTreeSet;

use crate::scene::{Scene, VIPS};

#[test]
fn in_the_driver_flows_spread_over_all_members_and_survive_another_owner() {
    for more in ["", ", forwarding: ipip"] {
        let Some(scene) = Scene::in_driver(more) else { return };
        for index in 0..3 {
            assert_eq!(scene.vip(index).mode.as_deref(), Some("native"));
        }
        let mut flows: Vec<_> = VIPS.iter().flat_map(|vip| scene.flows(*vip, 20)).collect();
        let servers: BTreeSet<_> = flows.iter().map(|flow| flow.server.clone()).collect();
        assert_eq!(servers.len(), 3, "{more}: {servers:?}");
        flows.iter_mut().for_each(|flow| flow.echo(40_000).expect("echoed"));
        scene.own(1);
        flows.iter_mut().for_each(|flow| flow.echo(1000).expect("echoed"));
        assert!(scene.count("forwarded") > 0 && scene.count("answered") > 0);
        assert_eq!(scene.count("decapsulated") > 0, !more.is_empty());
        assert_eq!(scene.count("no_way") + scene.count("failed"), 0);
    }
}
