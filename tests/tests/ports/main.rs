//! Pools of other ports than the API server's: each kind of probe, and each profile.

mod etcd;
mod kinds;
mod konnectivity;
mod profiles;

use std::collections::BTreeSet;
use std::net::SocketAddr;

use nllb_agent::status::Status;
use nllb_lab::agent::backend;
use nllb_lab::lab::ControlPlane;
use nllb_lab::wait::wait_until;
use nllb_lab::{Agent, Client, Configuration, Connect};

/// The lines of a probe that judges in quick succession.
const QUICK: &str = "interval: 200ms, confirmInterval: 50ms, maxBackoff: 400ms, timeout: 2s";

/// An agent's configuration without API servers in the way of what is tested.
fn quick(lab: &nllb_lab::Lab) -> Configuration {
    let mut configuration = Configuration::of(lab).quick();
    configuration.pool.push("latencyBands: false".to_owned());
    configuration
}

/// A pool of a port of every server.
fn pool(name: &str, servers: &[ControlPlane], port: u16, lines: &str, probe: &str) -> String {
    let endpoints = servers.iter().map(|server| format!("\"{}\"", server.at(port)));
    let endpoints = endpoints.collect::<Vec<_>>().join(", ");
    format!(
        "{{ name: {name}, endpoints: [{endpoints}], latencyBands: false, {lines} \
         probe: {{ {QUICK}, {probe} }} }}"
    )
}

/// A frontend of that pool.
fn frontend(name: &str, kind: &str, address: SocketAddr, lines: &str) -> String {
    format!("{{ name: {name}, kind: {kind}, addresses: [\"{address}\"], pool: {name}{lines} }}")
}

/// Waits until the verdict on each of these backends is this one.
fn await_states(agent: &mut Agent, backends: &[SocketAddr], state: &str) -> Status {
    let what = format!("{backends:?} {state}");
    let is = |status: &Status, address| backend(status, address).is_some_and(|b| b.state == state);
    agent
        .await_status(&what, |status| backends.iter().all(|address| is(status, *address)))
        .expect("verdicts")
}

/// The name of the server that a new connection met.
fn dial(client: &Client, address: SocketAddr) -> String {
    let outcome = client.connect(&Connect::name_of(address)).expect("an outcome");
    outcome.server.unwrap_or_else(|| panic!("{address}: no server: {:?}", outcome.error))
}

/// The names of the servers that so many connections met.
fn met(client: &Client, address: SocketAddr, dials: usize) -> BTreeSet<String> {
    (0..dials).map(|_| dial(client, address)).collect()
}

/// Dials until a server is met.
fn await_meeting(client: &Client, address: SocketAddr, server: &ControlPlane) {
    let met = || Ok((dial(client, address) == server.name()).then_some(()));
    wait_until(&format!("{} behind {address}", server.name()), met).expect("met");
}
