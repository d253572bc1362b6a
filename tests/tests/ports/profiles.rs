//! The other profiles, and one that asks another port of the host.

use std::net::{Ipv4Addr, SocketAddr};

use nllb_lab::apiserver::Speaks;
use nllb_lab::{Agent, Lab};

use super::*;

const SUPERVISOR: u16 = 9345;
const JOIN: u16 = 9443;
const TRUST: &str = "caFile: $AGENT/ca.pem";

fn vip(port: u16) -> SocketAddr {
    (Ipv4Addr::new(10, 96, 1, 1), port).into()
}

#[test]
fn supervisors_and_join_apis_are_well_as_long_as_they_answer() {
    let builder = Lab::builder().port(SUPERVISOR, Speaks::Https).port(JOIN, Speaks::Https);
    let Some(lab) = builder.build_or_skip() else { return };
    let mut configuration = quick(&lab);
    for (name, port) in [("supervisor", SUPERVISOR), ("k0s-join", JOIN)] {
        let line = ", serverName: kubernetes";
        configuration.frontends.push(frontend(name, "vip", vip(port), line));
        let lines = format!("profile: {name},");
        configuration.pools.push(pool(name, lab.control_planes(), port, &lines, TRUST));
    }
    let mut agent = Agent::start(&lab, &configuration).expect("an agent");
    let client = lab.client(0).expect("a client");
    let dead = lab.control_plane(0);
    // The API server is not ready, and these have nothing to do with that.
    dead.readyz(Some(500)).expect("not ready");
    agent.await_state(dead.tls(), "draining").expect("a verdict");
    for port in [SUPERVISOR, JOIN] {
        let all: Vec<_> = lab.control_planes().iter().map(|server| server.at(port)).collect();
        await_states(&mut agent, &all, "healthy");
        await_meeting(&client, vip(port), dead);
        let up = |status: &Status| {
            all.iter().all(|at| backend(status, *at).is_some_and(|b| b.sentinel.state == "up"))
        };
        let status = agent.await_status("every sentinel up", up).expect("up");
        let versions = all.iter().filter_map(|at| backend(&status, *at)?.version.as_ref());
        assert_eq!(versions.count(), 0, "only API servers are asked for their version");
    }
    dead.crash().expect("crashed");
    for port in [SUPERVISOR, JOIN] {
        await_states(&mut agent, &[dead.at(port)], "unhealthy");
        let met = met(&client, vip(port), 20);
        assert!(!met.contains(dead.name()), "{met:?}");
    }
    dead.restart().expect("back");
    for port in [SUPERVISOR, JOIN] {
        await_states(&mut agent, &[dead.at(port)], "healthy");
        await_meeting(&client, vip(port), dead);
    }
}

#[test]
fn another_port_of_the_host_can_be_asked_and_decides() {
    const SERVED: u16 = 8002;
    const ASKED: u16 = 8001;
    let builder = Lab::builder().port(SERVED, Speaks::Tcp).port(ASKED, Speaks::Http);
    let Some(lab) = builder.build_or_skip() else { return };
    let mut configuration = quick(&lab);
    configuration.frontends.push(frontend("served", "vip", vip(SERVED), ""));
    let probe = format!("kind: http, path: /readyz, port: {ASKED}");
    let lines = "profile: custom,";
    configuration.pools.push(pool("served", lab.control_planes(), SERVED, lines, &probe));
    let mut agent = Agent::start(&lab, &configuration).expect("an agent");
    let all: Vec<_> = lab.control_planes().iter().map(|server| server.at(SERVED)).collect();
    await_states(&mut agent, &all, "healthy");
    let client = lab.client(0).expect("a client");
    let sick = lab.control_plane(1);
    sick.readyz(Some(503)).expect("not ready");
    await_states(&mut agent, &[sick.at(SERVED)], "draining");
    let met = met(&client, vip(SERVED), 20);
    assert!(!met.contains(sick.name()), "{met:?}");
    sick.readyz(None).expect("ready");
    await_states(&mut agent, &all, "healthy");
    await_meeting(&client, vip(SERVED), sick);
}
