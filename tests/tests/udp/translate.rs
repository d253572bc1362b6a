//! Every kind of socket, from the host and from a pod.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use nllb_lab::client::protocol::DatagramSocket;
use nllb_lab::{Client, Lab};

use super::{DIALLED, LONG, PORT, SHORT, Scene, Socket, mapped, vip_v4, vip_v6};

#[test]
fn answers_come_from_the_address_that_was_asked_whatever_the_socket() {
    let Some(scene) = Scene::start(Lab::builder().pods(1)) else { return };
    for client in [scene.host(), scene.pod(0)] {
        for address in [vip_v4(), vip_v6(), mapped(vip_v4())] {
            for connected in [false, true] {
                let socket = Socket::to(&client, address, connected);
                for _ in 0..3 {
                    let name = socket.ask(address, connected);
                    assert!(scene.is_server(&name), "{address} connected {connected}: {name}");
                }
                assert_eq!(socket.peer(), connected.then_some(address));
            }
        }
    }
}

#[test]
fn each_datagram_of_a_socket_that_is_not_connected_has_a_choice_of_its_own() {
    let Some(scene) = Scene::start(Lab::builder()) else { return };
    let client = scene.host();
    let socket = Socket::to(&client, vip_v4(), false);
    // Three of three; what a fair draw misses once in a million runs.
    let names: std::collections::BTreeSet<_> =
        (0..40).map(|_| socket.ask(vip_v4(), false)).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    let socket = Socket::to(&client, vip_v4(), true);
    let first = socket.ask(vip_v4(), true);
    assert!((0..10).all(|_| socket.ask(vip_v4(), true) == first), "a connected one has one");
}

#[test]
fn one_socket_asks_several_addresses_at_once_and_each_answer_finds_its_own() {
    let Some(scene) = Scene::start(Lab::builder()) else { return };
    let client = scene.host();
    let elsewhere: SocketAddr = (Ipv6Addr::LOCALHOST, PORT).into();
    client.listen_udp(elsewhere, "a name server of the host").expect("a listener");
    let socket = Socket::open(&client, DatagramSocket { v6: true, ..DatagramSocket::default() });
    let asked = [mapped(vip_v4()), vip_v6(), elsewhere];
    for _ in 0..10 {
        for address in asked {
            assert_eq!(socket.send(Some(address)), None);
        }
        let mut from: Vec<_> = asked.iter().map(|_| socket.receive(LONG).from).collect();
        let mut expected: Vec<_> = asked.map(Some).to_vec();
        from.sort();
        expected.sort();
        assert_eq!(from, expected);
    }
}

#[test]
fn a_connected_socket_that_names_the_address_again_stays_with_its_server() {
    let Some(scene) = Scene::start(Lab::builder()) else { return };
    let client = scene.host();
    for address in [vip_v4(), vip_v6(), mapped(vip_v4())] {
        let socket = Socket::to(&client, address, true);
        let server = socket.ask(address, true);
        // By chance alone it would be another one of three sooner or later, whom the socket would not hear.
        for _ in 0..10 {
            assert_eq!(socket.send(Some(address)), None);
            let outcome = socket.receive(LONG);
            assert_eq!(outcome.reply.as_ref(), Some(&server), "{address}: {outcome:?}");
            assert_eq!(outcome.from, Some(address));
        }
    }
}

#[test]
fn a_server_that_is_dialled_by_its_own_address_answers_by_it_on_the_same_socket() {
    let Some(scene) = Scene::start(Lab::builder()) else { return };
    let client = scene.host();
    for connected in [false, true] {
        let socket = Socket::to(&client, vip_v4(), connected);
        let server = socket.ask(vip_v4(), connected);
        let plane = scene.lab.control_planes().iter().find(|plane| plane.name() == server);
        let address = plane.expect("a server").at(PORT);
        if connected {
            assert_eq!(socket.connect(address), None);
            assert_eq!(socket.peer(), Some(address));
        }
        assert_eq!(socket.ask(address, connected), server);
        if connected {
            assert_eq!(socket.connect(vip_v4()), None);
            assert_eq!(socket.peer(), Some(vip_v4()));
        }
        assert!(scene.is_server(&socket.ask(vip_v4(), connected)));
    }
}

#[test]
fn what_is_no_frontend_or_could_not_follow_is_left_alone() {
    let Some(scene) = Scene::start(Lab::builder()) else { return };
    let client = scene.host();
    for plane in scene.lab.control_planes() {
        for connected in [false, true] {
            let address = plane.at(PORT);
            let socket = Socket::to(&client, address, connected);
            assert_eq!(socket.ask(address, connected), plane.name(), "by its own address");
            assert_eq!(socket.peer(), connected.then_some(address));
        }
    }
    let other_port = SocketAddr::new(vip_v4().ip(), DIALLED + 1);
    let socket = Socket::to(&client, other_port, false);
    assert_eq!(socket.send(Some(other_port)).as_deref(), Some("ENETUNREACH"));
    // Where TCP has a frontend, datagrams have none.
    let tcp = SocketAddr::new(vip_v4().ip(), 443);
    assert_eq!(socket.connect(tcp).as_deref(), Some("ENETUNREACH"));
    for local in [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), (Ipv6Addr::LOCALHOST, 0).into()] {
        let bound = DatagramSocket { v6: local.is_ipv6(), bind: Some(local) };
        let socket = Socket::open(&client, bound);
        let vip = if local.is_ipv4() { vip_v4() } else { vip_v6() };
        // Whatever the kernel says of such a route, nobody answers.
        let _refused = socket.send(Some(vip));
        assert_eq!(socket.receive(SHORT).reply, None, "{local}");
    }
    own_servers_answer(&client);
}

fn own_servers_answer(client: &Client) {
    for local in [SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)), (Ipv6Addr::LOCALHOST, PORT).into()]
    {
        client.listen_udp(local, "the host's own").expect("a listener");
        for connected in [false, true] {
            let socket = Socket::to(client, local, connected);
            assert_eq!(socket.ask(local, connected), "the host's own");
        }
    }
}
