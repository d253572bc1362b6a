//! Agents come and go, and so do frontends for datagrams.

use std::collections::BTreeSet;

use nllb_lab::agreement::Held;
use nllb_lab::{Agent, Configuration, Lab, netns, pins};

use super::{HOOKS, Scene, Socket, configuration, hooks, mapped, server, vip_v4};

#[test]
fn the_data_path_goes_on_without_an_agent_and_the_next_one_takes_it_over() {
    let Some(mut scene) = Scene::start(Lab::builder()) else { return };
    let client = scene.host();
    let kept = Socket::to(&client, vip_v4(), true);
    let name = kept.ask(vip_v4(), true);
    scene.agent.kill().expect("killed");
    assert_eq!(kept.ask(vip_v4(), true), name);
    for connected in [false, true] {
        Socket::to(&client, vip_v4(), connected).ask(vip_v4(), connected);
    }
    let links = pins::links(&scene.agent.pins()).expect("links");
    let status = scene.agent.restart().expect("restarted");
    assert!(status.agent.adopted);
    assert_eq!(pins::links(&scene.agent.pins()).expect("links"), links, "the same links");
    assert_eq!(hooks(&status), HOOKS);
    assert_eq!(kept.ask(vip_v4(), true), name);
    assert_eq!(kept.peer(), Some(vip_v4()));
    let held = Held::read(&scene.agent.pins()).expect("maps");
    assert_eq!(held.differences(&status), [""; 0]);
}

#[test]
fn sockets_from_before_the_agent_and_after_it_are_as_they_would_be_without() {
    let Some(lab) = Lab::builder().build_or_skip() else { return };
    let servers: Vec<_> = lab.control_planes().iter().map(server).collect();
    let client = lab.client(0).expect("a client");
    let plane = lab.control_plane(0);
    let direct = plane.at(super::PORT);
    let before = Socket::to(&client, direct, true);
    assert_eq!(before.ask(direct, true), plane.name());
    let mut agent = Agent::start(&lab, &configuration(&lab)).expect("an agent");
    assert_eq!(before.ask(direct, true), plane.name());
    assert_eq!(before.peer(), Some(direct));
    let through = Socket::to(&client, vip_v4(), true);
    through.ask(vip_v4(), true);
    agent.terminate().expect("ended");
    agent.uninstall().expect("removed");
    assert!(!agent.pins().exists());
    // Nobody translates back any more.
    assert!(through.peer().is_some_and(|peer| peer != vip_v4()), "{:?}", through.peer());
    let after = Socket::to(&client, vip_v4(), false);
    assert_eq!(after.send(Some(vip_v4())).as_deref(), Some("ENETUNREACH"));
    drop(servers);
}

#[test]
fn sockets_that_others_have_connected_to_the_address_before_stay_with_them() {
    let Some(lab) = Lab::builder().build_or_skip() else { return };
    let servers: Vec<_> = lab.control_planes().iter().map(server).collect();
    let client = lab.client(0).expect("a client");
    let (node, plane) = (lab.node(0).netns(), lab.control_plane(0));
    let (name, vip) = (plane.name().to_owned(), vip_v4());
    let route = format!("route add {}/32 dev eth0", vip.ip());
    netns::ip(Some(node), &[route]).expect("a route");
    let rules = format!(
        "table ip before {{\n chain output {{\n type nat hook output priority -100\n \
         ip daddr {} udp dport {} dnat to {}\n }}\n}}\n",
        vip.ip(),
        vip.port(),
        plane.at(super::PORT)
    );
    netns::nft(node, &rules).expect("rules");
    // With each datagram of the second one the kernel asks the programs.
    let before = [vip, mapped(vip)].map(|address| (Socket::to(&client, address, true), address));
    let ask = |when: &str| {
        for (socket, address) in &before {
            assert_eq!(socket.ask(*address, true), name, "{when}: {address}");
            assert_eq!(socket.peer(), Some(*address));
        }
    };
    ask("before the agent");
    let configuration = configuration(&lab);
    let agent = Agent::start(&lab, &configuration).expect("an agent");
    let mut scene = Scene { lab, agent, configuration, _servers: servers };
    scene.await_healthy();
    ask("with the agent");
    let names: BTreeSet<_> =
        (0..40).map(|_| Socket::to(&client, vip, true).ask(vip, true)).collect();
    assert_eq!(names.len(), 3, "those after it are translated: {names:?}");
}

#[test]
fn programs_for_datagrams_are_there_as_long_as_a_frontend_for_them_is() {
    let Some(mut scene) = Scene::start(Lab::builder()) else { return };
    let with = scene.configuration.clone();
    let without = Configuration::of(&scene.lab).quick();
    let client = scene.host();
    let unconnected = Socket::to(&client, vip_v4(), false);
    for round in 0..2 {
        unconnected.ask(vip_v4(), false);
        assert_eq!(hooks(&scene.agent.status().expect("a status")), HOOKS);
        scene.agent.reload(&without).expect("reloaded");
        let gone = scene.agent.await_status("links that are gone", |it| hooks(it).is_empty());
        gone.expect("detached");
        let links = pins::links(&scene.agent.pins()).expect("links");
        assert_eq!(links.len(), 3, "round {round}");
        assert_eq!(unconnected.send(Some(vip_v4())).as_deref(), Some("ENETUNREACH"));
        scene.agent.reload(&with).expect("reloaded");
        scene.await_healthy();
    }
    // What is left of them when an agent comes that has no use for them goes as well.
    scene.agent.kill().expect("killed");
    scene.agent.configure(&without).expect("configured");
    assert!(hooks(&scene.agent.restart().expect("restarted")).is_empty());
    assert_eq!(pins::links(&scene.agent.pins()).expect("links").len(), 3);
    // Programs are loaded at a start only, and that is said.
    scene.agent.configure(&with).expect("configured");
    scene.agent.hang_up().expect("told");
    let refused = scene.agent.await_status("a refusal", |it| it.config.last_reload_error.is_some());
    let error = refused.expect("refused").config.last_reload_error.expect("an error");
    assert!(error.contains("frontends[].protocol"), "{error}");
}
