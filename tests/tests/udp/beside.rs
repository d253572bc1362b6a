//! Others that translate the same address.

use std::net::SocketAddr;

use nllb_lab::foreign::Foreign;
use nllb_lab::{Lab, netns, pins};

use super::{LONG, PORT, Scene, Socket, vip_v4};

#[test]
fn rules_for_the_same_address_in_the_firewall_are_never_met() {
    let Some(scene) = Scene::start(Lab::builder()) else { return };
    let client = scene.host();
    let nobody = scene.lab.control_plane(0).at(PORT + 1);
    let vip = vip_v4();
    let rules = format!(
        "table ip beside {{\n chain output {{\n type nat hook output priority -100\n \
         ip daddr {} udp dport {} counter dnat to {nobody}\n }}\n}}\n",
        vip.ip(),
        vip.port()
    );
    netns::nft(scene.lab.node(0).netns(), &rules).expect("rules");
    for connected in [false, true] {
        for _ in 0..5 {
            Socket::to(&client, vip_v4(), connected).ask(vip_v4(), connected);
        }
    }
}

#[test]
fn a_datagram_is_explained_apart_from_a_connect() {
    let Some(scene) = Scene::start(Lab::builder()) else { return };
    let explain = |flags: &[&str]| {
        let mut words = vec!["explain".into(), vip_v4().to_string().into()];
        words.extend(["--bpffs".into(), scene.agent.bpffs().into()]);
        words.extend(["--socket".into(), scene.agent.socket().into()]);
        words.extend(flags.iter().map(Into::into));
        let output = scene.agent.nllb(&words).expect("it runs");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let connect = explain(&[]);
    assert!(connect.contains("no frontend has this address"), "{connect}");
    let datagram = explain(&["--udp"]);
    assert!(datagram.contains(" over UDP from the host: frontend dns"), "{datagram}");
    assert!(datagram.contains("it goes to "), "{datagram}");
}

#[test]
fn a_program_of_another_for_datagrams_runs_before_or_after_and_takes_what_is_its_own() {
    let Some(mut scene) = Scene::start(Lab::builder()) else { return };
    let client = scene.host();
    // Of a plug-in that has another Service.
    let service = "10.96.0.99:53".parse().expect("an address");
    let SocketAddr::V4(server) = scene.lab.control_plane(2).at(PORT) else { panic!("it is v4") };
    let other = Foreign::translating_datagrams("other", service, server).expect("loaded");
    let _link = other.link(scene.lab.node(0).cgroup()).expect("attached");
    let look = |scene: &Scene, agent: &str| {
        let socket = Socket::to(&client, vip_v4(), false);
        let name = socket.ask(vip_v4(), false);
        assert!(scene.is_server(&name), "{agent}: {name}");
        let socket = Socket::to(&client, service.into(), false);
        assert_eq!(socket.send(Some(service.into())), None);
        let answer = socket.receive(LONG);
        assert_eq!(answer.reply.as_deref(), Some(scene.lab.control_plane(2).name()), "{agent}");
        assert_eq!(answer.from, Some(server.into()), "{agent}: that one translates nothing back");
    };
    look(&scene, "it was attached after ours");
    pins::detach(&scene.agent.pins().join("link_sendmsg4")).expect("detached");
    let repaired = scene.agent.await_status("a repair", |it| it.datapath.reattached > 0);
    repaired.expect("attached again, behind the other");
    look(&scene, "it was attached before ours");
}
