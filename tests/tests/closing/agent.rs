//! The agent itself: from a server's loss of power to the end of every connection to it.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::Result;
use nllb_lab::lab::{VIP_V4, VIP_V6};
use nllb_lab::wait::wait_until;
use nllb_lab::{Agent, Client, Configuration, Connect, Lab, Storm};

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

#[test]
fn a_connect_that_would_sleep_on_dials_anew_when_its_server_answers_again() {
    let Some(lab) = Lab::builder().control_planes(1).build_or_skip() else { return };
    let mut agent = Agent::start(&lab, &Configuration::of(&lab)).expect("an agent");
    let client = lab.client(0).expect("a client");
    let server = lab.control_plane(0);
    let established = open(&client, &vip(VIP_V4)).0;
    server.unplug().expect("unplugged");
    agent.await_state(server.tls(), "unhealthy").expect("noticed");
    let connect = Connect { keep: false, ..vip(VIP_V4) };
    let storm = client.storm_start(&Storm { threads: 1, connects: Some(1), connect });
    let storm = storm.expect("a storm");
    let far = Duration::from_secs(4);
    wait_until("a long pause", || Ok((next_syn(&client)? > Some(far)).then_some(())))
        .expect("TCP doubles it");
    server.plug().expect("plugged");
    let counted = agent.await_status("the count", |status| {
        let backend = nllb_lab::agent::backend(status, server.tls());
        backend.is_some_and(|backend| backend.closed.get("waiting") == Some(&1))
    });
    counted.expect("counted");
    let report = client.storm_stop(storm).expect("a report");
    assert_eq!(report.errors.keys().collect::<Vec<_>>(), ["ECONNABORTED"], "{report:?}");
    assert!(lives(&client, established));
}

/// How long it takes until a connect of the client's repeats its SYN; none while none connects.
fn next_syn(client: &Client) -> Result<Option<Duration>> {
    let table = fs::read_to_string(format!("/proc/{}/net/tcp", client.id()))?;
    let fields = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let connects = fields.filter(|fields| fields.get(3) == Some(&"02"));
    // `timer:when`, the latter in hundredths of a second.
    let when = connects.filter_map(|fields| {
        let (timer, when) = fields.get(5)?.split_once(':')?;
        (timer == "01").then(|| u64::from_str_radix(when, 16).ok()).flatten()
    });
    Ok(when.map(|when| Duration::from_millis(when * 10)).max())
}

/// Connects until one is to a server; says of each whether it is.
pub(crate) fn until_to(client: &Client, server: SocketAddr) -> Vec<(&Client, u64, bool)> {
    let mut opened = Vec::new();
    while !opened.last().is_some_and(|(_, _, meant)| *meant) {
        let address: IpAddr = if opened.len() % 2 == 0 { VIP_V4.into() } else { VIP_V6.into() };
        let (handle, peer) = open(client, &vip(address));
        opened.push((client, handle, peer == server));
    }
    opened
}
