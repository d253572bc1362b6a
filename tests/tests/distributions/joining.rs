//! A node joins while the server that everybody names first is dead.

use std::net::{Ipv4Addr, SocketAddr};

use nllb_lab::load::{is_direct, load, none_fails, whoami};
use nllb_lab::{Agent, Configuration, Lab};

#[test]
fn a_k3s_node_joins_while_the_first_of_three_servers_is_dead() {
    let Some(lab) = Lab::builder().nodes(2).build_or_skip() else { return };
    let first = lab.control_plane(0);
    first.power_off().expect("powered off");
    // The agent of k3s dials its own load balancer's address, where nobody listens yet.
    let address: SocketAddr = (Ipv4Addr::LOCALHOST, 6444).into();
    let configuration =
        Configuration { loopback: vec![address], ..Configuration::of(&lab).quick() };
    let mut agent = Agent::prepare(&lab, 1).expect("an agent");
    agent.configure(&configuration).expect("configured");
    let client = lab.client(1).expect("a client");
    agent.restart().expect("started");
    agent.await_state(first.tls(), "unhealthy").expect("a verdict");
    for _ in 0..10 {
        let outcome = whoami(&lab, &client, address);
        assert!(is_direct(&outcome, address) && outcome.peer != Some(first.tls()), "{outcome:?}");
    }
    let traffic = load(&lab, &client, address);
    none_fails(&client, traffic, 200);
    // The first one returns, and is used without anybody being told.
    first.power_on().expect("powered on");
    agent.await_state(first.tls(), "healthy").expect("admitted");
    let met = || {
        none_fails(&client, traffic, 10);
        Ok((whoami(&lab, &client, address).peer == Some(first.tls())).then_some(()))
    };
    nllb_lab::wait::wait_until("a connect to the first server", met).expect("met");
}
