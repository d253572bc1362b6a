//! Which sockets end: those that were translated to the backend, in every state that waits for it.

use std::fs;
use std::time::Duration;

use nllb_agent::datapath::closing::Order;
use nllb_agent::datapath::maps::Sockets;
use nllb_common::maps::names;
use nllb_lab::lab::{ControlPlane, VIP_V4, VIP_V6};
use nllb_lab::wait::wait_until;
use nllb_lab::{Ask, Client, Connect, Lab, Storm, netns};
use socket2::{Domain, Socket, Type};

use crate::{Node, assert_ended, lives, open, vip};

// `/proc/net/tcp`.
const ESTABLISHED: &str = "01";
const SYN_SENT: &str = "02";
const FIN_WAIT1: &str = "04";
const CLOSE_WAIT: &str = "08";

#[test]
fn sockets_of_a_backend_end_in_every_namespace_and_no_others_do() {
    let Some(node) = Node::start(Lab::builder().pods(2), ControlPlane::tls) else { return };
    let dead = node.lab.control_plane(0).tls();
    let clients = [node.lab.client(0), node.lab.pod_client(0, 0), node.lab.pod_client(0, 1)];
    let clients = clients.map(|client| client.expect("a client"));
    let (mut meant, mut others) = (Vec::new(), Vec::new());
    for client in &clients {
        for connect in [vip(VIP_V4), vip(VIP_V6), Connect { mapped: true, ..vip(VIP_V4) }] {
            loop {
                let (handle, server) = open(client, &connect);
                if server == dead {
                    meant.push((client, handle));
                    break;
                }
                others.push((client, handle));
            }
        }
        let (direct, server) = open(client, &Connect { address: dead, ..vip(VIP_V4) });
        assert_eq!(server, dead);
        others.push((client, direct));
    }
    let probe = probe(&node, node.order(dead));
    let closed = node.close(node.order(dead));
    assert_eq!((closed.sockets, closed.namespaces), (9, 3), "{closed:?}");
    assert!(closed.errors.is_empty() && !closed.searched, "{closed:?}");
    for (client, handle) in meant {
        assert_ended(client, handle);
    }
    for (client, handle) in others {
        assert!(lives(client, handle));
    }
    assert!(probe.take_error().expect("a socket").is_none() && probe.peer_addr().is_ok());
    assert_eq!(node.close(node.order(dead)).sockets, 0, "none is left");
}

#[test]
fn sockets_of_an_ipv6_backend_end() {
    let builder = Lab::builder().control_planes(1);
    let Some(node) = Node::start(builder, ControlPlane::tls_v6) else { return };
    let client = node.lab.client(0).expect("a client");
    let (handle, server) = open(&client, &vip(VIP_V6));
    let closed = node.close(node.order(server));
    assert_eq!((closed.sockets, closed.namespaces), (1, 1), "{closed:?}");
    assert_ended(&client, handle);
}

#[test]
fn sockets_of_an_earlier_holder_of_the_id_are_not_meant() {
    let builder = Lab::builder().control_planes(1);
    let Some(node) = Node::start(builder, ControlPlane::tls) else { return };
    let client = node.lab.client(0).expect("a client");
    let (handle, server) = open(&client, &vip(VIP_V4));
    let order = node.order(server);
    for other in
        [Order { epoch: order.epoch + 1, ..order }, Order { backend: order.backend + 1, ..order }]
    {
        assert_eq!(node.close(other).sockets, 0);
    }
    assert!(lives(&client, handle));
    assert_eq!(node.close(order).sockets, 1);
}

#[test]
fn every_state_that_waits_for_a_silent_server_ends_but_not_what_its_application_has_closed() {
    let builder = Lab::builder().control_planes(1);
    let Some(node) = Node::start(builder, ControlPlane::tls) else { return };
    let server = node.lab.control_plane(0);
    let client = node.lab.client(0).expect("a client");
    let (established, _) = open(&client, &vip(VIP_V4));
    let (orphan, _) = open(&client, &vip(VIP_V4));
    // The server closes after it has told its name.
    let (half_closed, _) = open(&client, &Connect { ask: Ask::Name, ..vip(VIP_V4) });
    await_states(&client, server, &[ESTABLISHED, ESTABLISHED, CLOSE_WAIT]);
    server.power_off().expect("off");
    let connect = Connect { keep: false, ..vip(VIP_V4) };
    let storm = client.storm_start(&Storm { threads: 1, connects: Some(1), connect });
    let storm = storm.expect("a storm");
    client.close(orphan).expect("closed");
    await_states(&client, server, &[ESTABLISHED, SYN_SENT, FIN_WAIT1, CLOSE_WAIT]);
    let closed = node.close(node.order(server.tls()));
    assert_eq!(closed.sockets, 3, "{closed:?}");
    for handle in [established, half_closed] {
        assert_ended(&client, handle);
    }
    await_states(&client, server, &[FIN_WAIT1]);
    let report = client.storm_stop(storm).expect("a report");
    assert_eq!(report.errors.keys().collect::<Vec<_>>(), ["ECONNABORTED"], "{report:?}");
}

#[test]
fn of_those_that_wait_for_their_next_syn_only_who_sleeps_for_longer_ends() {
    let builder = Lab::builder().control_planes(1);
    let Some(node) = Node::start(builder, ControlPlane::tls) else { return };
    let server = node.lab.control_plane(0);
    let client = node.lab.client(0).expect("a client");
    let (established, _) = open(&client, &vip(VIP_V4));
    server.power_off().expect("off");
    let connect = Connect { keep: false, ..vip(VIP_V4) };
    let storm = client.storm_start(&Storm { threads: 1, connects: Some(1), connect });
    let storm = storm.expect("a storm");
    await_states(&client, server, &[ESTABLISHED, SYN_SENT]);
    let waiting = |longest| Order { waiting: Some(longest), ..node.order(server.tls()) };
    assert_eq!(node.close(waiting(Duration::from_secs(60))).sockets, 0);
    await_states(&client, server, &[ESTABLISHED, SYN_SENT]);
    wait_until("a pause of half a second", || {
        let closed = node.close(waiting(Duration::from_millis(500)));
        Ok((closed.sockets == 1).then_some(()))
    })
    .expect("ended");
    await_states(&client, server, &[ESTABLISHED]);
    assert_eq!(client.inspect(established).expect("an inspection").error, None);
    let report = client.storm_stop(storm).expect("a report");
    assert_eq!(report.errors.keys().collect::<Vec<_>>(), ["ECONNABORTED"], "{report:?}");
}

/// Waits until the sockets to a server, in the client's network namespace, are in these states.
fn await_states(client: &Client, server: &ControlPlane, wanted: &[&str]) {
    let address = u32::from_ne_bytes(server.v4().octets());
    let remote = format!("{address:08X}:{:04X}", server.tls().port());
    let states = || {
        let table = fs::read_to_string(format!("/proc/{}/net/tcp", client.id()))?;
        let fields = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let mine = fields.filter(|fields| fields.get(2) == Some(&remote.as_str()));
        let mut states: Vec<_> = mine.map(|fields| fields[3].to_owned()).collect();
        states.sort();
        Ok((states == wanted).then_some(()))
    };
    wait_until(&format!("sockets in {wanted:?}"), states).expect("as wanted");
}

/// A connection of the agent's own to a backend.
fn probe(node: &Node, order: Order) -> Socket {
    let pin = node.agent.pins().join(names::SOCKS);
    let dial = || {
        let sockets = Sockets::open(&pin).expect("the pinned map");
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        sockets.bypass(&socket, order.backend, order.epoch).expect("a record");
        socket.connect(&order.address.into()).expect("connected");
        socket
    };
    netns::run_in(node.lab.node(0).netns(), dial).expect("a namespace")
}
