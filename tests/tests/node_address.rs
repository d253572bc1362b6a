//! A dead server's own address, as dialled by programs with a hard-coded server.

use std::net::SocketAddr;

use nllb_agent::status::{Frontend, Status};
use nllb_lab::agent::NodeAddresses;
use nllb_lab::lab::{own_names, shared_names};
use nllb_lab::{Agent, Configuration, Connect, Lab};

#[test]
fn a_dead_servers_own_address_is_served_by_another_when_certificates_allow() {
    let all = |_| [shared_names(), own_names(0), own_names(1), own_names(2)].concat();
    let Some(lab) = Lab::builder().names(all).pods(1).build_or_skip() else { return };
    let configuration =
        Configuration { node_addresses: NodeAddresses::On, ..Configuration::of(&lab).quick() };
    let mut agent = Agent::start(&lab, &configuration).expect("an agent");
    let host = lab.client(0).expect("a client");
    let pod = lab.pod_client(0, 0).expect("a client");
    let victim = lab.control_plane(0);
    for client in [&host, &pod] {
        for plane in lab.control_planes() {
            let outcome = client.connect(&Connect::name_of(plane.tls())).expect("an outcome");
            assert_eq!(outcome.server.as_deref(), Some(plane.name()), "all live: {outcome:?}");
        }
    }
    victim.crash().expect("crashed");
    let status = agent.await_state(victim.tls(), "unhealthy").expect("a verdict");
    let moved_before = status.counters["node_address_moved"];
    // The client verifies the name that it dialled, as every client does.
    let request = Connect::http(victim.tls(), lab.http(&victim.v4().to_string(), "/whoami"));
    for client in [&host, &pod] {
        let outcome = client.connect(&request).expect("an outcome");
        assert_eq!(outcome.status, Some(200), "{outcome:?}");
        assert_ne!(outcome.peer, Some(victim.tls()));
    }
    let status = agent.status().expect("a status");
    assert_eq!(status.counters["node_address_moved"] - moved_before, 2);
    victim.restart().expect("restarted");
    agent.await_state(victim.tls(), "healthy").expect("readmitted");
    let outcome = host.connect(&Connect::name_of(victim.tls())).expect("an outcome");
    assert_eq!(outcome.server.as_deref(), Some(victim.name()), "back home: {outcome:?}");
}

#[test]
fn it_is_left_alone_when_no_certificate_allows_another_and_status_says_why() {
    let Some(lab) = Lab::builder().build_or_skip() else { return };
    let configuration =
        Configuration { node_addresses: NodeAddresses::On, ..Configuration::of(&lab).quick() };
    let mut agent = Agent::start(&lab, &configuration).expect("an agent");
    let client = lab.client(0).expect("a client");
    let victim = lab.control_plane(0);
    victim.crash().expect("crashed");
    let status = agent.await_state(victim.tls(), "unhealthy").expect("a verdict");
    let outcome = client.connect(&Connect::name_of(victim.tls())).expect("an outcome");
    assert_eq!(outcome.error.as_deref(), Some("ECONNREFUSED"), "{outcome:?}");
    let frontend = home_of(&status, victim.tls());
    for other in frontend.backends.iter().filter(|other| other.address != victim.tls()) {
        let reason = other.reason.as_deref().unwrap_or_default();
        assert!(!other.used && reason.contains(&victim.v4().to_string()), "{other:?}");
    }
    // What is said of the address holds for the VIP too, where every certificate is good.
    let outcome = client.connect(&Connect::name_of((nllb_lab::lab::VIP_V4, 443).into()));
    assert!(outcome.expect("an outcome").ok);
}

#[test]
fn it_is_served_by_another_when_the_configuration_trusts_every_certificate() {
    let Some(lab) = Lab::builder().build_or_skip() else { return };
    let configuration =
        Configuration { node_addresses: NodeAddresses::Trusted, ..Configuration::of(&lab).quick() };
    let mut agent = Agent::start(&lab, &configuration).expect("an agent");
    let client = lab.client(0).expect("a client");
    let victim = lab.control_plane(0);
    victim.readyz(Some(500)).expect("told");
    agent.await_state(victim.tls(), "draining").expect("a verdict");
    let outcome = client.connect(&Connect::name_of(victim.tls())).expect("an outcome");
    assert!(outcome.ok && outcome.server.as_deref() != Some(victim.name()), "{outcome:?}");
}

fn home_of(status: &Status, server: SocketAddr) -> &Frontend {
    let mut frontends = status.frontends.iter();
    frontends.find(|frontend| frontend.home == Some(server)).expect("its own frontend")
}
