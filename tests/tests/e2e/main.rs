//! The agent against real API servers: what it believes of Kubernetes is held against Kubernetes itself.
//!
//! `KUBEBUILDER_ASSETS` names the directory with `kube-apiserver` (1.21 or newer); without it these
//! tests are skipped. `cargo xtask e2e` runs them one after another.

mod account;
mod admin;
mod anonymous;
mod cluster;
mod discovery;
mod drain;
mod events;
mod failover;
mod rights;
mod server;

use std::net::SocketAddr;

use nllb_agent::status::{Source, Status};
use nllb_lab::agent::backend;
use nllb_lab::lab::VIP_V4;
use nllb_lab::wait::wait_until;
use nllb_lab::{Agent, Client, Connect, Lab};

/// What clients dial.
fn vip() -> SocketAddr {
    (VIP_V4, 443).into()
}

/// Asks whoever is met at the VIP for its version, which everybody may.
fn version(lab: &Lab) -> Connect {
    Connect { reset_on_close: true, ..Connect::http(vip(), lab.http("kubernetes", "/version")) }
}

/// Asks again and again until this server was met: only its own certificate carries its address.
fn await_meeting(lab: &Lab, client: &Client, server: SocketAddr) {
    let http = lab.http(&server.ip().to_string(), "/version");
    let connect = Connect { reset_on_close: true, ..Connect::http(vip(), http) };
    let met = || Ok(client.connect(&connect)?.status.map(drop));
    wait_until(&format!("{server} behind the VIP"), met).expect("met");
}

/// So many new connects in a row, all of which succeed.
fn all_succeed(lab: &Lab, client: &Client, connects: usize) {
    for _ in 0..connects {
        let outcome = client.connect(&version(lab)).expect("an outcome");
        assert!(outcome.ok, "{outcome:?}");
    }
}

/// Starts an agent that has its configuration; gives the servers, all of which it has found and found healthy.
fn start(agent: &mut Agent, cluster: &cluster::Cluster) -> Vec<SocketAddr> {
    agent.spawn().expect("spawned");
    let all = cluster.addresses();
    await_backends(agent, &all);
    await_states(agent, &all, "healthy");
    all
}

/// Waits until exactly these are backends.
fn await_backends(agent: &mut Agent, expected: &[SocketAddr]) -> Status {
    let are = |status: &Status| {
        let mut addresses: Vec<_> = status.backends().map(|(_, one)| one.address).collect();
        addresses.sort_unstable();
        addresses == expected
    };
    agent.await_status(&format!("the backends {expected:?}"), are).expect("backends")
}

/// Waits until the verdict on each of these backends is this one.
fn await_states(agent: &mut Agent, backends: &[SocketAddr], state: &str) -> Status {
    let is = |status: &Status, at| backend(status, at).is_some_and(|one| one.state == state);
    let all = |status: &Status| backends.iter().all(|at| is(status, *at));
    agent.await_status(&format!("{backends:?} {state}"), all).expect("verdicts")
}

/// The cluster as a source of hosts.
fn source(status: &Status) -> &Source {
    let mut sources = status.discovery.sources.iter();
    sources.find(|source| source.kind == "kubernetes").expect("it is a source")
}
