//! What a guest dials is translated, and what comes back looks as if it came from there.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nllb_lab::client::protocol::{DatagramSocket, Http};
use nllb_lab::lab::{VIP_V4, VIP_V6};
use nllb_lab::{Ask, Client, Connect, Lab};

use super::{By, Scene, build_or_skip, dual};

/// Beyond what any of this takes on a busy machine, and far below what TCP itself would take.
const SOON: Duration = Duration::from_secs(10);
/// For an answer that comes.
const LONG: Duration = Duration::from_secs(20);

fn vips() -> [SocketAddr; 2] {
    [(VIP_V4, 443).into(), (VIP_V6, 443).into()]
}

/// Who answers.
fn name(guest: &Client, vip: SocketAddr) -> String {
    let connect = Connect { timeout: Some(SOON), ..Connect::name_of(vip) };
    let outcome = guest.connect(&connect).expect("an outcome");
    assert_eq!(outcome.peer, Some(vip), "{outcome:?}");
    outcome.server.clone().unwrap_or_else(|| panic!("{outcome:?}"))
}

#[test]
fn guests_reach_every_server_by_both_families() {
    for by in By::ALL {
        let Some(mut scene) = Scene::start(Lab::builder().pods(1), by) else { return };
        scene.await_served(&["pod0"]);
        let guest = scene.guest(0);
        for vip in vips() {
            let names: BTreeSet<_> = (0..40).map(|_| name(&guest, vip)).collect();
            assert_eq!(names.len(), 3, "{by:?} {vip}: {names:?}");
        }
        // TLS, with more than one segment each way.
        let request = Connect::http(vips()[0], scene.lab.http(&VIP_V4.to_string(), "/readyz"));
        let outcome = guest.connect(&request).expect("an outcome");
        assert_eq!(outcome.status, Some(200), "{by:?}: {outcome:?}");
    }
}

#[test]
fn a_question_by_udp_is_answered_from_where_it_went() {
    let Some(lab) = build_or_skip(Lab::builder().pods(1)) else { return };
    let server = |plane: &nllb_lab::lab::ControlPlane| {
        let client = Client::start(&nllb_lab::Place::in_netns(plane.netns())).expect("a process");
        client.listen_udp(plane.at(5353), plane.name()).expect("a listener");
        client
    };
    let _servers: Vec<_> = lab.control_planes().iter().map(server).collect();
    let mut configuration = dual(&lab);
    let endpoints = lab.control_planes().iter().map(|plane| format!("\"{}\"", plane.at(5353)));
    let vip = SocketAddr::from((VIP_V4, 53));
    configuration.frontends.push(format!(
        "{{ name: dns, kind: vip, protocol: udp, pool: dns, addresses: [\"{vip}\"] }}"
    ));
    configuration.pools.push(format!(
        "{{ name: dns, profile: custom, endpoints: [{}], probe: {{ kind: tcp, port: 6443, interval: 200ms }} }}",
        endpoints.collect::<Vec<_>>().join(", ")
    ));
    let mut scene = Scene::of(lab, configuration, "interfaces: [\"pod*\"]");
    scene.await_served(&["pod0"]);
    let guest = scene.guest(0);
    let mut names = BTreeSet::new();
    for _ in 0..30 {
        let handle = guest.datagram_socket(DatagramSocket::default()).expect("a socket");
        let perform = |op| guest.datagram(handle, op).expect("an outcome");
        use nllb_lab::client::protocol::DatagramOp::{Receive, Send};
        assert_eq!(perform(Send { to: Some(vip) }).error, None);
        let answer = perform(Receive { timeout: LONG });
        assert_eq!(answer.from, Some(vip), "{answer:?}");
        names.extend(answer.reply);
    }
    assert_eq!(names.len(), 3, "{names:?}");
}

#[test]
fn connections_to_a_server_without_power_are_reset_and_the_next_meets_another() {
    for by in By::ALL {
        let Some(mut scene) = Scene::start(Lab::builder().pods(1), by) else { return };
        scene.await_served(&["pod0"]);
        let guest = scene.guest(0);
        let vip = vips()[0];
        let dead = scene.lab.control_plane(0).name().to_owned();
        let open = || {
            let connect = Connect { ask: Ask::Echo, keep: true, ..Connect::to(vip) };
            let outcome = guest.connect(&connect).expect("an outcome");
            let server = outcome.server.clone().unwrap_or_else(|| panic!("{outcome:?}"));
            (outcome.handle.expect("kept"), server)
        };
        let held: Vec<_> = (0..24).map(|_| open()).collect();
        assert!(held.iter().any(|(_, server)| *server == dead), "{held:?}");
        let began = Instant::now();
        scene.lab.control_plane(0).power_off().expect("off");
        let status = scene.agent.await_state(scene.lab.control_plane(0).tls(), "unhealthy");
        status.expect("a verdict");
        for (handle, server) in &held {
            let asked = Instant::now();
            let echoed = guest.echo(*handle, LONG);
            let lives = echoed.is_ok_and(|echoed| echoed);
            assert_eq!(lives, *server != dead, "{by:?}: a connection to {server}");
            // By a reset, and not because nothing came.
            assert!(asked.elapsed() < LONG, "{by:?}: a connection to {server}");
        }
        println!("{by:?}: all were known after {:?}", began.elapsed());
        for _ in 0..10 {
            assert_ne!(name(&guest, vip), dead);
        }
    }
}

#[test]
fn the_first_connect_after_a_server_has_lost_its_power_waits_for_one_retransmission() {
    let Some(mut scene) = Scene::start(Lab::builder().pods(1), By::Tcx) else { return };
    scene.await_served(&["pod0"]);
    let guest = scene.guest(0);
    // Without an agent nobody but the programs notices.
    scene.agent.kill().expect("killed");
    scene.lab.control_plane(0).power_off().expect("off");
    for _ in 0..10 {
        let began = Instant::now();
        name(&guest, vips()[0]);
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    }
}

#[test]
fn a_server_that_has_crashed_is_refused_to_few_and_its_connections_end() {
    let builder = Lab::builder().pods(1);
    let Some(mut scene) = Scene::start_with(builder, "interfaces: [\"pod*\"]") else { return };
    scene.await_served(&["pod0"]);
    let guest = scene.guest(0);
    let vip = vips()[0];
    let dead = scene.lab.control_plane(0).name().to_owned();
    let open = || {
        let connect = Connect { ask: Ask::Echo, keep: true, ..Connect::to(vip) };
        let outcome = guest.connect(&connect).expect("an outcome");
        let server = outcome.server.clone().unwrap_or_else(|| panic!("{outcome:?}"));
        (outcome.handle.expect("kept"), server)
    };
    let held: Vec<_> = (0..24).map(|_| open()).collect();
    assert!(held.iter().any(|(_, server)| *server == dead), "{held:?}");
    // Nobody but the programs knows of it.
    scene.agent.kill().expect("killed");
    scene.lab.control_plane(0).crash().expect("crashed");
    for (handle, server) in &held {
        let lives = guest.echo(*handle, LONG).is_ok_and(|echoed| echoed);
        assert_eq!(lives, *server != dead, "a connection to {server}");
    }
    let connect = Connect { timeout: Some(SOON), ..Connect::name_of(vip) };
    let outcomes: Vec<_> = (0..20).map(|_| guest.connect(&connect).expect("an outcome")).collect();
    let failed: Vec<_> = outcomes.iter().filter(|it| !it.ok).collect();
    assert!(failed.len() <= 3, "{failed:?}");
    assert!(failed.iter().all(|it| !it.timed_out), "refused at once: {failed:?}");
}

#[test]
fn errors_about_packets_that_were_translated_reach_the_guest() {
    let Some(lab) = build_or_skip(Lab::builder().pods(1)) else { return };
    let mut configuration = dual(&lab);
    // Nobody listens there, which the probe does not see.
    let endpoints = lab.control_planes().iter().map(|plane| format!("\"{}\"", plane.at(5353)));
    let endpoints = endpoints.collect::<Vec<_>>().join(", ");
    let nobody = SocketAddr::from((VIP_V4, 53));
    configuration.frontends.push(format!(
        "{{ name: dns, kind: vip, protocol: udp, pool: dns, addresses: [\"{nobody}\"] }}"
    ));
    configuration.pools.push(format!(
        "{{ name: dns, profile: custom, endpoints: [{endpoints}], probe: {{ kind: tcp, port: 6443, interval: 200ms }} }}"
    ));
    let mut scene = Scene::of(lab, configuration, "interfaces: [\"pod*\"]");
    scene.await_served(&["pod0"]);
    let guest = scene.guest(0);

    // Its socket is connected to what it dialled, so an error about anything else is none of it.
    use nllb_lab::client::protocol::DatagramOp::{Connect as ConnectTo, Receive, Send};
    let handle = guest.datagram_socket(DatagramSocket::default()).expect("a socket");
    let perform = |op| guest.datagram(handle, op).expect("an outcome");
    assert_eq!(perform(ConnectTo { to: nobody }).error, None);
    assert_eq!(perform(Send { to: None }).error, None);
    let answer = perform(Receive { timeout: LONG });
    assert!(answer.error.as_ref().is_some_and(|it| it == "ECONNREFUSED"), "{answer:?}");

    // A way to the servers that takes less than the guest sends: without that error it would send the same for ever.
    scene.ip("link set eth0 mtu 1280");
    for vip in vips() {
        let request = scene.lab.http(&vip.ip().to_string(), "/whoami");
        let request = Http { bearer: Some("x".repeat(4000)), ..request };
        let connect = Connect { answer_timeout: LONG, ..Connect::http(vip, request) };
        let outcome = guest.connect(&connect).expect("an outcome");
        assert!(outcome.status.is_some(), "{vip}: {outcome:?}");
    }
}
