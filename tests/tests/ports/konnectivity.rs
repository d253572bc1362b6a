//! konnectivity in k0s: agents dial one address on loopback and must meet every server.

use std::net::{Ipv4Addr, SocketAddr};

use nllb_lab::apiserver::Speaks;
use nllb_lab::{Agent, Ask, Client, Connect, Lab};

use super::*;

const PORT: u16 = 8132;
const HEALTH: u16 = 8092;
const NOBODY: u16 = 8093;
const TRUST: &str = "caFile: $AGENT/ca.pem";

fn local() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 7132).into()
}

fn backends(lab: &Lab) -> Vec<SocketAddr> {
    lab.control_planes().iter().map(|server| server.at(PORT)).collect()
}

/// Three servers, an agent of ours with a pool of them, and a client in the place of konnectivity's.
fn scene(probe: &str) -> Option<(Lab, Agent, Client)> {
    let builder = Lab::builder().port(PORT, Speaks::GrpcTls).port(HEALTH, Speaks::Http);
    let lab = builder.build_or_skip()?;
    let mut configuration = quick(&lab);
    configuration.frontends.push(frontend("konnectivity", "loopback", local(), ""));
    let lines = "profile: konnectivity,";
    let servers = lab.control_planes();
    configuration.pools.push(pool("konnectivity", servers, PORT, lines, probe));
    let mut agent = Agent::start(&lab, &configuration).expect("an agent");
    await_states(&mut agent, &backends(&lab), "healthy");
    let client = lab.client(0).expect("a client");
    Some((lab, agent, client))
}

#[test]
fn as_many_dials_as_servers_meet_every_one_also_after_one_died_and_returned() {
    let Some((lab, mut agent, client)) = scene(TRUST) else { return };
    let status = agent.status().expect("a status");
    let front = status.frontends.iter().find(|f| f.name == "konnectivity").expect("there");
    assert_eq!(front.policy, "round-robin");
    for _ in 0..5 {
        assert_eq!(met(&client, local(), 3).len(), 3);
    }
    let dead = lab.control_plane(1);
    dead.crash().expect("crashed");
    await_states(&mut agent, &[dead.at(PORT)], "unhealthy");
    for _ in 0..5 {
        let met = met(&client, local(), 2);
        assert!(met.len() == 2 && !met.contains(dead.name()), "{met:?}");
    }
    dead.restart().expect("back");
    await_states(&mut agent, &backends(&lab), "healthy");
    for _ in 0..5 {
        assert_eq!(met(&client, local(), 3).len(), 3);
    }
}

#[test]
fn tunnels_of_a_host_without_power_are_closed_without_a_sentinel() {
    let Some((lab, mut agent, client)) = scene(TRUST) else { return };
    let dead = lab.control_plane(0);
    let kept = Connect { ask: Ask::Echo, keep: true, ..Connect::to(local()) };
    let mut tunnels = Vec::new();
    for _ in 0..3 {
        let outcome = client.connect(&kept).expect("an outcome");
        let server = outcome.server.expect("a server");
        tunnels.push((server, outcome.handle.expect("a handle")));
    }
    dead.power_off().expect("off");
    let closed = |status: &Status| {
        let seen = backend(status, dead.at(PORT));
        seen.is_some_and(|b| b.closed.get("dead").copied().unwrap_or(0) == 1)
    };
    agent.await_status("its tunnel closed", closed).expect("closed");
    let patience = std::time::Duration::from_secs(20);
    for (server, tunnel) in &tunnels {
        let echoes = client.echo(*tunnel, patience).expect("an answer");
        assert_eq!(echoes, server != dead.name(), "{server}");
    }
    dead.power_on().expect("on");
    await_states(&mut agent, &backends(&lab), "healthy");
    assert_eq!(met(&client, local(), 3).len(), 3);
}

#[test]
fn the_health_port_takes_a_server_out_by_its_answer_only() {
    // The lab's servers are ready without any agent, so that this path can be asked.
    let probe = format!("{TRUST}, healthPort: {HEALTH}, healthPath: /readyz");
    let Some((lab, mut agent, client)) = scene(&probe) else { return };
    let sick = lab.control_plane(2);
    sick.readyz(Some(500)).expect("not ready");
    let status = await_states(&mut agent, &[sick.at(PORT)], "draining");
    let reason = &backend(&status, sick.at(PORT)).expect("there").reason;
    assert!(reason.contains("not ready, HTTP status 500"), "{reason}");
    let met_meanwhile = met(&client, local(), 6);
    assert!(!met_meanwhile.contains(sick.name()), "{met_meanwhile:?}");
    sick.readyz(None).expect("ready");
    await_states(&mut agent, &backends(&lab), "healthy");
    assert_eq!(met(&client, local(), 3).len(), 3);
}

#[test]
fn a_health_port_where_nobody_answers_says_nothing() {
    let probe = format!("{TRUST}, healthPort: {NOBODY}");
    let Some((lab, mut agent, client)) = scene(&probe) else { return };
    let dead = lab.control_plane(0);
    dead.crash().expect("crashed");
    await_states(&mut agent, &[dead.at(PORT)], "unhealthy");
    dead.restart().expect("back");
    await_states(&mut agent, &backends(&lab), "healthy");
    assert_eq!(met(&client, local(), 3).len(), 3);
}
