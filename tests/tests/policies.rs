//! How one server is chosen among those that may be.

use std::collections::{BTreeMap, BTreeSet};

use nllb_lab::lab::VIP_V4;
use nllb_lab::{Agent, Client, Configuration, Connect, Lab};

#[test]
fn round_robin_meets_every_server_in_as_many_dials() {
    let Some((lab, mut agent)) = lab_with("round-robin") else { return };
    let client = lab.client(0).expect("a client");
    for _ in 0..5 {
        let met: BTreeSet<String> = (0..3).map(|_| dial(&client)).collect();
        assert_eq!(met.len(), 3, "{met:?}");
    }
    // Another process, and one in a pod, take their turns with it.
    let pod = lab.pod_client(0, 0).expect("a client");
    let met: BTreeSet<String> = [dial(&client), dial(&pod), dial(&client)].into();
    assert_eq!(met.len(), 3, "{met:?}");
    out(&lab, &mut agent, 0);
    for _ in 0..5 {
        let met: BTreeSet<String> = (0..2).map(|_| dial(&client)).collect();
        assert_eq!(met, names(&lab, &[1, 2]));
    }
}

#[test]
fn least_connections_fills_up_a_server_that_came_back() {
    let Some((lab, mut agent)) = lab_with("least-connections") else { return };
    let client = lab.client(0).expect("a client");
    let mut held: BTreeMap<String, u32> = BTreeMap::new();
    let mut hold = |count: u32| {
        for _ in 0..count {
            *held.entry(dial_and_keep(&client)).or_default() += 1;
        }
        held.clone()
    };
    out(&lab, &mut agent, 0);
    hold(40);
    back(&lab, &mut agent, 0);
    let held = hold(30);
    // It is one of the two drawn in two of three dials, and then the less loaded one. Drawn at random
    // it would get 10 of 30.
    let returned = held.get(lab.control_plane(0).name()).copied().unwrap_or(0);
    assert!(returned >= 12, "{held:?}");
}

#[test]
fn maglev_gives_a_client_the_same_server_again_after_it_was_away() {
    let Some((lab, mut agent)) = lab_with("maglev") else { return };
    let client = lab.client(0).expect("a client");
    let (first, second) = moved(&lab, &mut agent, &client);
    assert!(stays_with(&client, &second));
    back(&lab, &mut agent, index_of(&lab, &first));
    assert!(stays_with(&client, &first));
}

#[test]
fn affinity_leaves_a_client_where_it_was_moved_to() {
    let Some((lab, mut agent)) = lab_with("affinity") else { return };
    let client = lab.client(0).expect("a client");
    let (first, second) = moved(&lab, &mut agent, &client);
    back(&lab, &mut agent, index_of(&lab, &first));
    assert!(stays_with(&client, &second));
}

/// Takes the server out that the client stays with; its name, and that of the one met next.
fn moved(lab: &Lab, agent: &mut Agent, client: &Client) -> (String, String) {
    let first = dial(client);
    assert!(stays_with(client, &first));
    out(lab, agent, index_of(lab, &first));
    let second = dial(client);
    assert_ne!(second, first);
    (first, second)
}

fn stays_with(client: &Client, server: &str) -> bool {
    (0..20).all(|_| dial(client) == server)
}

fn lab_with(policy: &'static str) -> Option<(Lab, Agent)> {
    let lab = Lab::builder().pods(1).build_or_skip()?;
    let mut configuration = Configuration { policy, ..Configuration::of(&lab).quick() };
    // On a machine that does much else a server may seem to be far away, or a ping overdue: health comes
    // before any policy.
    configuration.pool.push("latencyBands: false".to_owned());
    configuration.probe.push("sentinel: false".to_owned());
    let mut agent = Agent::start(&lab, &configuration).expect("an agent");
    for server in lab.control_planes() {
        agent.await_state(server.tls(), "healthy").expect("a verdict");
    }
    Some((lab, agent))
}

fn out(lab: &Lab, agent: &mut Agent, index: usize) {
    let server = lab.control_plane(index);
    server.readyz(Some(500)).expect("not ready");
    agent.await_state(server.tls(), "draining").expect("a verdict");
}

fn back(lab: &Lab, agent: &mut Agent, index: usize) {
    let server = lab.control_plane(index);
    server.readyz(None).expect("ready");
    agent.await_state(server.tls(), "healthy").expect("a verdict");
}

/// The name of the server that a new connection met.
fn dial(client: &Client) -> String {
    let outcome = client.connect(&vip()).expect("an outcome");
    outcome.server.unwrap_or_else(|| panic!("no server: {:?}", outcome.error))
}

fn dial_and_keep(client: &Client) -> String {
    let outcome = client.connect(&Connect { keep: true, ..vip() }).expect("an outcome");
    outcome.server.unwrap_or_else(|| panic!("no server: {:?}", outcome.error))
}

fn vip() -> Connect {
    Connect::name_of((VIP_V4, 443).into())
}

fn names(lab: &Lab, indices: &[usize]) -> BTreeSet<String> {
    indices.iter().map(|index| lab.control_plane(*index).name().to_owned()).collect()
}

fn index_of(lab: &Lab, name: &str) -> usize {
    let servers = lab.control_planes();
    servers.iter().position(|server| server.name() == name).expect("a server of the lab")
}
