//! The agent itself: from a server's loss of power to the end of every connection to it.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use nllb_lab::lab::{VIP_V4, VIP_V6};
use nllb_lab::wait::wait_until;
use nllb_lab::{Agent, Client, Configuration, Connect, Lab};

use crate::{lives, open, vip};

#[test]
fn idle_connections_to_a_server_without_power_end_on_the_host_and_in_pods_and_no_others_do() {
    let Some(lab) = Lab::builder().pods(2).build_or_skip() else { return };
    let mut agent = Agent::start(&lab, &Configuration::of(&lab)).expect("an agent");
    let dead = lab.control_plane(0);
    let clients = [lab.client(0), lab.pod_client(0, 0), lab.pod_client(0, 1)];
    let clients = clients.map(|client| client.expect("a client"));
    let opened = clients.iter().flat_map(|client| until_to(client, dead.tls()));
    let (meant, others): (Vec<_>, Vec<_>) = opened.partition(|(_, _, meant)| *meant);
    let direct = open(&clients[0], &Connect { address: dead.tls(), ..vip(VIP_V4) }).0;
    let began = Instant::now();
    dead.power_off().expect("off");
    for (client, handle, _) in &meant {
        let ended = || Ok(client.inspect(*handle)?.error);
        let error = wait_until("the end of a connection", ended).expect("it ends");
        assert_eq!(error, "ECONNABORTED");
    }
    println!("{} connections have ended after {:?}", meant.len(), began.elapsed());
    for (client, handle, _) in others {
        assert!(lives(client, handle));
    }
    let direct = clients[0].inspect(direct).expect("inspected");
    assert_eq!(direct.error, None, "{direct:?}");
    let counted = agent.await_status("the count", |status| {
        let backend = nllb_lab::agent::backend(status, dead.tls());
        backend.is_some_and(|backend| backend.closed.values().sum::<u64>() == meant.len() as u64)
    });
    counted.expect("counted");
}

/// Connects until one is to a server; says of each whether it is.
fn until_to(client: &Client, server: SocketAddr) -> Vec<(&Client, u64, bool)> {
    let mut opened = Vec::new();
    while !opened.last().is_some_and(|(_, _, meant)| *meant) {
        let address: IpAddr = if opened.len() % 2 == 0 { VIP_V4.into() } else { VIP_V6.into() };
        let (handle, peer) = open(client, &vip(address));
        opened.push((client, handle, peer == server));
    }
    opened
}
