//! What is translated and what is left alone, from a node's own processes and from a pod.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use nllb_agent::status::{Listener, ListenerState};
use nllb_lab::lab::{Builder, VIP_V4, VIP_V6};
use nllb_lab::{Agent, Ask, Client, Configuration, Connect, Lab, Outcome, Udp};

const LOOPBACK_V4: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7443);
const LOOPBACK_V6: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::LOCALHOST), 7443);

#[test]
fn host_processes_reach_a_server_by_every_name_and_every_kind_of_socket() {
    let Some((lab, _agent)) = lab_with_agent(Lab::builder()) else { return };
    let client = lab.client(0).expect("a client");
    for address in [vip_v4(), vip_v6(), LOOPBACK_V4, LOOPBACK_V6] {
        for (kind, connect) in kinds(address) {
            reaches_a_server(&lab, &client, kind, &connect);
        }
    }
}

#[test]
fn pods_reach_a_server_by_the_vip_and_keep_their_own_loopback() {
    let Some((lab, _agent)) = lab_with_agent(Lab::builder().pods(1)) else { return };
    let client = lab.pod_client(0, 0).expect("a client");
    for address in [vip_v4(), vip_v6()] {
        for (kind, connect) in kinds(address) {
            reaches_a_server(&lab, &client, kind, &connect);
        }
    }
    for address in [LOOPBACK_V4, LOOPBACK_V6] {
        let outcome = client.connect(&Connect::to(address)).expect("an outcome");
        assert_eq!(outcome.error.as_deref(), Some("ECONNREFUSED"), "{outcome:?}");
        client.listen_tcp(address, "the pod's own").expect("a listener");
        let outcome = client.connect(&greeting(address)).expect("an outcome");
        assert_eq!(outcome.server.as_deref(), Some("the pod's own"));
    }
}

#[test]
fn a_socket_of_one_family_gets_backends_it_can_reach() {
    let Some((lab, mut agent)) = lab_with_agent(Lab::builder()) else { return };
    let only_v4 = Configuration::of(&lab).quick();
    agent.reload(&only_v4).expect("reloaded");
    let client = lab.client(0).expect("a client");
    // By mapping, when there is no other way.
    reaches_a_server(&lab, &client, "IPv6 to IPv4", &Connect::name_of(vip_v6()));
    let only_v6 = Connect { only_v6: true, ..Connect::to(vip_v6()) };
    let outcome = client.connect(&only_v6).expect("an outcome");
    assert_eq!(outcome.error.as_deref(), Some("ENETUNREACH"), "passed through: {outcome:?}");
}

#[test]
fn the_certificate_is_verified_end_to_end_through_the_vip() {
    let Some((lab, _agent)) = lab_with_agent(Lab::builder()) else { return };
    let client = lab.client(0).expect("a client");
    for (address, name) in [(vip_v4(), VIP_V4.to_string()), (LOOPBACK_V6, "::1".to_owned())] {
        let request = Connect::http(address, lab.http(&name, "/readyz"));
        let outcome = client.connect(&request).expect("an outcome");
        assert_eq!(outcome.status, Some(200), "{outcome:?}");
    }
}

#[test]
fn datagrams_other_ports_and_other_addresses_are_left_alone() {
    let Some((lab, agent)) = lab_with_agent(Lab::builder()) else { return };
    let client = lab.client(0).expect("a client");
    let (_, bound) = client.listen_udp(LOOPBACK_V4, "own datagrams").expect("a listener");
    for connected in [false, true] {
        let timeout = Duration::from_secs(10);
        let udp = |address| Udp { address, connected, timeout };
        let outcome = client.udp(&udp(bound)).expect("an outcome");
        assert_eq!(outcome.reply.as_deref(), Some("own datagrams"), "{outcome:?}");
        let outcome = client.udp(&udp(vip_v4())).expect("an outcome");
        assert_eq!(outcome.error.as_deref(), Some("ENETUNREACH"), "{outcome:?}");
    }
    let before = agent.status().expect("a status").counters["translated"];
    for (address, error) in [
        (SocketAddr::from((VIP_V4, 444)), "ENETUNREACH"),
        (SocketAddr::from((VIP_V6, 444)), "ENETUNREACH"),
        (SocketAddr::from((Ipv4Addr::new(10, 96, 0, 2), 443)), "ENETUNREACH"),
        (SocketAddr::from((Ipv4Addr::LOCALHOST, 7444)), "ECONNREFUSED"),
        (SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), 7443)), "ECONNREFUSED"),
    ] {
        let outcome = client.connect(&Connect::to(address)).expect("an outcome");
        assert_eq!(outcome.error.as_deref(), Some(error), "{address}: {outcome:?}");
    }
    for plane in lab.control_planes() {
        for address in [plane.tls(), plane.tls_v6()] {
            let outcome = client.connect(&Connect::name_of(address)).expect("an outcome");
            assert_eq!(outcome.server.as_deref(), Some(plane.name()), "{outcome:?}");
        }
    }
    assert_eq!(agent.status().expect("a status").counters["translated"], before);
}

#[test]
fn sockets_bound_to_loopback_or_its_device_are_served_by_the_agent() {
    let Some((lab, mut agent)) = lab_with_agent(Lab::builder()) else { return };
    let client = lab.client(0).expect("a client");
    agent
        .await_status("both listeners", |status| {
            let up = |listener: &Listener| listener.state == ListenerState::Listening;
            status.listeners.len() == 2 && status.listeners.iter().all(up)
        })
        .expect("listeners");
    for (address, local) in [
        (LOOPBACK_V4, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
        (LOOPBACK_V6, SocketAddr::from((Ipv6Addr::LOCALHOST, 0))),
    ] {
        let bound = Connect { bind: Some(local), ..Connect::name_of(address) };
        let device = Connect { device: Some("lo".to_owned()), ..Connect::name_of(address) };
        for connect in [bound, device] {
            let outcome = client.connect(&connect).expect("an outcome");
            assert!(is_a_server(&lab, &outcome), "{connect:?}: {outcome:?}");
            assert_eq!(outcome.peer, Some(address), "not translated, but served");
        }
    }
    let status = agent.status().expect("a status");
    let relayed: Vec<_> = status.listeners.iter().map(|listener| listener.relayed).collect();
    assert_eq!(relayed, [2, 2]);
    assert_eq!(status.counters["skipped_bound"], 4);
}

#[test]
fn a_port_owned_by_another_program_is_translated_all_the_same() {
    let Some(lab) = Lab::builder().build_or_skip() else { return };
    let client = lab.client(0).expect("a client");
    client.listen_tcp(LOOPBACK_V4, "envoy").expect("a listener");
    let mut agent = Agent::start(&lab, &Configuration::of(&lab)).expect("an agent");
    let status = agent.await_status("the other owner", |status| {
        let owned = |listener: &Listener| {
            listener.address == LOOPBACK_V4 && listener.state == ListenerState::OwnedByOther
        };
        status.listeners.iter().any(owned)
    });
    status.expect("status says who owns the port");
    reaches_a_server(&lab, &client, "unbound", &Connect::name_of(LOOPBACK_V4));
    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let bound = Connect { bind: Some(local), ..greeting(LOOPBACK_V4) };
    let outcome = client.connect(&bound).expect("an outcome");
    assert_eq!(outcome.server.as_deref(), Some("envoy"), "{outcome:?}");
}

fn vip_v4() -> SocketAddr {
    (VIP_V4, 443).into()
}

fn vip_v6() -> SocketAddr {
    (VIP_V6, 443).into()
}

/// Servers by both families, so that a socket of either has some.
fn lab_with_agent(builder: Builder) -> Option<(Lab, Agent)> {
    let lab = builder.build_or_skip()?;
    let mut configuration = Configuration::of(&lab);
    configuration.endpoints.extend(lab.control_planes().iter().map(|plane| plane.tls_v6()));
    let agent = Agent::start(&lab, &configuration).expect("an agent");
    Some((lab, agent))
}

fn kinds(address: SocketAddr) -> Vec<(&'static str, Connect)> {
    let plain = Connect::name_of(address);
    let limit = Some(Duration::from_secs(10));
    let mut kinds = vec![
        ("non-blocking", Connect { nonblocking: true, timeout: limit, ..plain.clone() }),
        // The first asks for a cookie, the second sends it; each backend has its own.
        ("fast open", Connect { fast_open: true, ..plain.clone() }),
        ("fast open again", Connect { fast_open: true, ..plain.clone() }),
        ("bound to any", Connect { bind: Some(any(address)), ..plain.clone() }),
    ];
    // A kernel without it opens no such socket (5.10 as Debian builds it).
    if Path::new("/proc/sys/net/mptcp").exists() {
        kinds.push(("multipath", Connect { mptcp: true, ..plain.clone() }));
    }
    if address.is_ipv4() {
        kinds.push(("v4-mapped", Connect { mapped: true, ..plain.clone() }));
    } else {
        kinds.push(("IPv6 only", Connect { only_v6: true, ..plain.clone() }));
    }
    kinds.push(("plain", plain));
    kinds
}

fn any(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

fn greeting(address: SocketAddr) -> Connect {
    Connect { ask: Ask::Greeting, ..Connect::to(address) }
}

fn reaches_a_server(lab: &Lab, client: &Client, kind: &str, connect: &Connect) {
    let outcome = client.connect(connect).expect("an outcome");
    let address = connect.address;
    assert!(is_a_server(lab, &outcome), "{kind} to {address}: {outcome:?}");
    // With a cookie at hand, a Fast Open socket has no peer before it sends.
    if connect.fast_open && outcome.peer.is_none() {
        return;
    }
    let peer = outcome.peer.expect("a peer");
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    let direct = |peer| {
        let mut planes = lab.control_planes().iter();
        planes.any(|plane| plane.tls() == peer || plane.tls_v6() == peer)
    };
    assert!(direct(peer), "{kind} to {address} is direct: {outcome:?}");
}

fn is_a_server(lab: &Lab, outcome: &Outcome) -> bool {
    let name = outcome.server.as_deref();
    lab.control_planes().iter().any(|plane| Some(plane.name()) == name)
}
