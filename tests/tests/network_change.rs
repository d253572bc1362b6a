//! What the agent makes of interfaces, addresses and routes that come and go.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nllb_agent::status::Status;
use nllb_lab::wait::wait_until;
use nllb_lab::{Agent, Configuration, Lab, agent, netns};

/// Longer than any of the tests takes on any machine: no probe but the first is due by itself.
const RARELY: Duration = Duration::from_secs(600);

#[test]
fn a_backend_in_backoff_is_probed_as_soon_as_its_route_is_back() {
    let Some(lab) = Lab::builder().build_or_skip() else { return };
    let (victim, other) = (lab.control_plane(0).tls(), lab.control_plane(1).tls());
    let route = |verb: &str| ip(&lab, &[format!("route {verb} unreachable {}/32", victim.ip())]);
    route("add");
    let mut agent = start(&lab);
    let status = agent.await_state(victim, "unhealthy").expect("a verdict");
    let backend = agent::backend(&status, victim).expect("a backend");
    let due = backend.next_probe_ms.expect("none is under way");
    assert!(due > 300_000, "{due}");

    noise(&lab, &agent);
    assert_eq!(probes(&agent.status().expect("a status"), other), 1, "noise is no reason to probe");

    let returned = Instant::now();
    route("del");
    agent.await_state(victim, "healthy").expect("probed");
    println!("healthy {:?} after its route was back", returned.elapsed());
    let status = agent.status().expect("a status");
    assert_eq!(probes(&status, other), 2, "all are probed, since the way to one is another");
}

#[test]
fn backends_are_probed_when_the_address_of_this_host_is_back() {
    let Some(lab) = Lab::builder().build_or_skip() else { return };
    let v4 = lab.node(0).v4();
    ip(&lab, &[format!("addr del {v4}/16 dev eth0")]);
    let mut agent = start(&lab);
    let servers = lab.control_planes().iter().map(|plane| plane.tls());
    let servers: Vec<SocketAddr> = servers.collect();
    for server in &servers {
        agent.await_state(*server, "unhealthy").expect("a verdict");
    }
    let returned = Instant::now();
    ip(&lab, &[format!("addr add {v4}/16 dev eth0")]);
    for server in &servers {
        agent.await_state(*server, "healthy").expect("probed");
    }
    println!("all healthy {:?} after the address was back", returned.elapsed());
}

/// What happens on a node all the time: pods and Services come and go. Returns when the agent has looked.
fn noise(lab: &Lab, agent: &Agent) {
    let looks = || agent.log().matches("looked at the network").count();
    let steps: [&[&str]; 6] = [
        &["link add pod9 type veth peer name pod9-end", "link set pod9 up", "link set pod9-end up"],
        &["addr add fe80::9/64 dev pod9", "route add 10.87.99.9/32 dev pod9"],
        &["addr add 10.96.0.77/32 dev lo"],
        &["route add blackhole 10.88.0.0/16", "route add 10.89.0.0/24 dev pod9"],
        &["addr del 10.96.0.77/32 dev lo"],
        &["link set pod9 down", "link del pod9", "route del blackhole 10.88.0.0/16"],
    ];
    for lines in steps {
        let before = looks();
        ip(lab, &lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>());
        let seen = wait_until("a look", || Ok((looks() > before).then_some(())));
        seen.expect("the agent looks");
    }
}

/// An agent that probes hardly ever by itself, and looks at the addresses of its host as rarely.
fn start(lab: &Lab) -> Agent {
    let configuration = Configuration {
        interval: RARELY,
        max_backoff: RARELY,
        self_test_interval: RARELY,
        probe: vec!["sentinel: false".to_owned()],
        ..Configuration::of(lab)
    };
    Agent::start(lab, &configuration).expect("an agent")
}

fn ip(lab: &Lab, lines: &[String]) {
    netns::ip(Some(lab.node(0).netns()), lines).expect("changed");
}

/// How many probes of a server have ended.
fn probes(status: &Status, server: SocketAddr) -> u64 {
    agent::backend(status, server).expect("a backend").probes.values().sum()
}
