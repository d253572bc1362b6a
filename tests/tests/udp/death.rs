//! A server loses its power, or is drained.

use std::time::{Duration, Instant};

use nllb_lab::wait::wait_until;
use nllb_lab::{Client, Lab};

use super::{LONG, PORT, Scene, Socket, vip_v4, vip_v6};

/// Sockets that are connected through the VIP until one is to this server, with whether it is.
fn until_to<'a>(client: &'a Client, server: &str) -> Vec<(Socket<'a>, bool)> {
    let mut sockets = Vec::new();
    while !sockets.last().is_some_and(|(_, meant)| *meant) {
        let address = if sockets.len() % 2 == 0 { vip_v4() } else { vip_v6() };
        let socket = Socket::to(client, address, true);
        let meant = socket.ask(address, true) == server;
        sockets.push((socket, meant));
    }
    sockets
}

#[test]
fn sockets_connected_to_a_server_without_power_end_on_the_host_and_in_pods_and_no_others_do() {
    let Some(mut scene) = Scene::start(Lab::builder().pods(1)) else { return };
    let clients = [scene.host(), scene.pod(0)];
    let dead = scene.lab.control_plane(0);
    let (address, name) = (dead.at(PORT), dead.name().to_owned());
    let sockets = clients.iter().flat_map(|client| until_to(client, &name));
    let (meant, others): (Vec<_>, Vec<_>) = sockets.partition(|(_, meant)| *meant);
    let direct = Socket::to(&clients[0], address, true);
    let began = Instant::now();
    dead.power_off().expect("off");
    for (socket, _) in &meant {
        // What a resolver waits with: the end comes before its patience does.
        let outcome = socket.receive(LONG);
        let log = scene.agent.log();
        assert_eq!(outcome.error.as_deref(), Some("ECONNABORTED"), "{outcome:?} {log}");
    }
    println!("{} sockets have ended after {:?}", meant.len(), began.elapsed());
    for (index, (socket, _)) in others.iter().enumerate() {
        let peer = socket.peer().unwrap_or_else(|| panic!("{index} has ended"));
        assert!(scene.is_server(&socket.ask(peer, true)), "{index}");
    }
    assert_eq!(direct.peer(), Some(address), "nobody of ours");
    let closed = scene.agent.await_status("the count", |status| {
        let backends = status.pools.iter().flat_map(|pool| &pool.backends);
        let of_dead = backends.filter(|it| it.address.port() == PORT);
        of_dead.flat_map(|it| it.closed.values()).sum::<u64>() == meant.len() as u64
    });
    closed.expect("counted");
    // Whoever asks anew meets another server at once.
    for client in &clients {
        for connected in [false, true] {
            let socket = Socket::to(client, vip_v4(), connected);
            assert_ne!(socket.ask(vip_v4(), connected), name);
        }
    }
}

#[test]
fn a_question_that_is_asked_again_meets_another_server_also_without_an_agent() {
    let Some(mut scene) = Scene::start(Lab::builder()) else { return };
    scene.agent.kill().expect("killed");
    let client = scene.host();
    scene.lab.control_plane(0).power_off().expect("off");
    let socket = Socket::to(&client, vip_v4(), false);
    // Of each question that meets the dead server the next try meets another: two are always enough.
    for question in 0..20 {
        let answered = (0..2).any(|_| {
            assert_eq!(socket.send(Some(vip_v4())), None);
            socket.receive(Duration::from_secs(1)).reply.is_some()
        });
        assert!(answered, "question {question}");
    }
}

#[test]
fn sockets_of_a_server_that_is_drained_for_long_end() {
    let Some(scene) = Scene::start(Lab::builder()) else { return };
    let client = scene.host();
    let drained = scene.lab.control_plane(1);
    let sockets = until_to(&client, drained.name());
    for address in super::addresses(drained) {
        let (address, socket) = (address.to_string(), scene.agent.socket());
        let words = ["drain".into(), address.into(), "--socket".into(), socket.into()];
        let output = scene.agent.nllb(&words).expect("it runs");
        assert!(output.status.success(), "{output:?}");
    }
    for (socket, meant) in &sockets {
        if *meant {
            let error = wait_until("the end of a socket", || {
                Ok(socket.receive(Duration::from_millis(100)).error.filter(|it| it != "EAGAIN"))
            });
            assert_eq!(error.expect("it ends"), "ECONNABORTED");
        } else {
            assert!(socket.peer().is_some());
        }
    }
}
