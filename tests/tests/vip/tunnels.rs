//! Members that are not on one link.

use std::collections::BTreeSet;

use nllb_lab::netns::{self, Offload};

use crate::scene::{Scene, VIP_V4, VIPS};

/// Lets no host put several packets together into one, as between machines.
fn as_between_machines(scene: &Scene) {
    let hosts = scene.lab.control_planes().iter().map(|plane| plane.netns());
    for netns in hosts.chain(scene.lab.nodes().iter().map(|node| node.netns())) {
        let line = "link set dev eth0 gso_max_segs 1 gso_max_size 1500";
        netns::ip(Some(netns), &[line.to_owned()]).expect("set");
    }
}

#[test]
fn packets_reach_every_member_in_tunnels_and_clients_are_told_what_does_not_fit() {
    let Some(scene) = Scene::new(", forwarding: ipip") else { return };
    as_between_machines(&scene);
    for vip in VIPS {
        let mut flows = scene.flows(vip, 30);
        let servers: BTreeSet<_> = flows.iter().map(|flow| flow.server.clone()).collect();
        assert_eq!(servers.len(), 3, "{vip}: {servers:?}");
        for flow in &mut flows {
            flow.echo(40_000).expect("echoed");
        }
    }
    assert!(scene.count("decapsulated") > 0 && scene.count("too_big") > 0);
    assert_eq!(scene.count("no_way") + scene.count("failed"), 0);
}

#[test]
fn an_interface_that_puts_packets_together_before_they_go_into_tunnels_is_told_of() {
    let Some(mut scene) = Scene::new(", forwarding: ipip") else { return };
    let netns = scene.lab.control_plane(0).netns().to_owned();
    for on in [true, false] {
        netns::offload(&netns, "eth0", Offload::Merge, on).expect("set");
        let told = |status: &nllb_agent::status::Status| {
            let problems = status.vip.as_ref().map(|vip| vip.problems.join("\n"));
            problems.is_some_and(|it| it.contains("ethtool -K eth0 gro off") == on)
        };
        scene.agents[0].await_status("what is told of GRO", told).expect("told");
    }
}

#[test]
fn a_member_behind_a_router_is_reached_in_a_tunnel_and_the_others_are_not() {
    let Some(mut scene) = Scene::new("") else { return };
    let router = scene.lab.node(1);
    let far = scene.lab.control_plane(2);
    for (index, plane) in scene.lab.control_planes().iter().enumerate() {
        let others = scene.lab.control_planes().iter().enumerate();
        let over = others.filter(|(other, _)| (*other == 2) != (index == 2));
        let routes = over.flat_map(|(_, other)| {
            [
                format!("route add {}/32 via {}", other.v4(), router.v4()),
                format!("route add {}/128 via {}", other.v6(), router.v6()),
            ]
        });
        netns::ip(Some(plane.netns()), &routes.collect::<Vec<_>>()).expect("routed");
    }
    // It would tell that there is a shorter way.
    let silent = [("ipv4/conf/all/send_redirects", "0"), ("ipv4/conf/eth0/send_redirects", "0")];
    netns::sysctl(router.netns(), &silent).expect("set");
    let far = far.v4();
    let is_routed = move |status: &nllb_agent::status::Status| {
        let members = status.vip.iter().flat_map(|vip| &vip.members);
        let way = |ip: std::net::IpAddr| {
            members.clone().find(|m| m.address == ip).and_then(|m| m.way.clone())
        };
        way(far.into()).as_deref() == Some("tunnel")
    };
    scene.agents[0].await_status("a tunnel", is_routed).expect("it is seen");
    let own = scene.vip(0);
    let ways: BTreeSet<_> = own.members.iter().filter_map(|m| m.way.as_deref()).collect();
    assert_eq!(ways.len(), 2, "{ways:?}");
    let mut flows = scene.flows(VIP_V4.into(), 40);
    let servers: BTreeSet<_> = flows.iter().map(|flow| flow.server.clone()).collect();
    assert_eq!(servers.len(), 3, "{servers:?}");
    flows.iter_mut().for_each(|flow| flow.echo(1000).expect("echoed"));
    assert!(scene.vip(2).counters["decapsulated"] > 0);
}
