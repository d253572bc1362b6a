//! A pod that opens sockets as fast as it can.

use std::time::{Duration, Instant};

use nllb_lab::Lab;
use nllb_lab::client::protocol::DatagramOp;

use super::{Scene, Socket, mapped, vip_v4, vip_v6};

/// Several times what any table of the kernel programs holds.
const SOCKETS: u32 = 50_000;
/// Longer than the agent takes to end the sockets that are to be ended.
const SETTLED: Duration = Duration::from_secs(5);

#[test]
fn answers_come_from_where_the_questions_went_whoever_else_opens_sockets() {
    let Some(mut scene) = Scene::start(Lab::builder().pods(1)) else { return };
    let (client, attacker) = (scene.host(), scene.pod(0));
    let table = |connected| {
        let v6 = Socket::open(
            &client,
            nllb_lab::client::protocol::DatagramSocket { v6: true, bind: None },
        );
        [
            (Socket::to(&client, vip_v4(), connected), vip_v4()),
            (Socket::to(&client, vip_v6(), connected), vip_v6()),
            (v6, mapped(vip_v4())),
        ]
    };
    let (connected, free) = (table(true), table(false));
    assert_eq!(connected[2].0.connect(connected[2].1), None);
    // Asked before the flood, and answered after it.
    for (socket, _) in &connected {
        assert_eq!(socket.send(None), None);
    }
    for (socket, address) in &free {
        assert_eq!(socket.send(Some(*address)), None);
    }
    let began = Instant::now();
    let flood = DatagramOp::Flood { to: vip_v4(), sockets: SOCKETS };
    let outcome = Socket::to(&attacker, vip_v4(), false).perform(flood);
    assert_eq!(outcome.error, None);
    println!("{SOCKETS} sockets in {:?}", began.elapsed());
    for (socket, address) in connected.iter().chain(&free) {
        let outcome = socket.receive(super::LONG);
        assert_eq!((outcome.from, outcome.error), (Some(*address), None));
    }
    for (socket, address) in &connected {
        assert_eq!(socket.peer(), Some(*address));
        assert!(scene.is_server(&socket.ask(*address, true)));
    }
    // Those that are forgotten wait as long as their application does, and what is asked anew meets who lives.
    let dead = scene.lab.control_plane(0);
    let (address, name) = (dead.at(super::PORT), dead.name().to_owned());
    let sockets: Vec<_> = (0..24).map(|_| Socket::to(&client, vip_v4(), true)).collect();
    let is_meant = |socket: &&Socket<'_>| socket.ask(vip_v4(), true) == name;
    let meant: Vec<_> = sockets.iter().filter(is_meant).collect();
    Socket::to(&attacker, vip_v4(), false).perform(flood);
    dead.power_off().expect("off");
    scene.agent.await_state(address, "unhealthy").expect("a verdict");
    let ended = meant
        .iter()
        .filter(|socket| socket.receive(SETTLED / 10).error.as_deref() == Some("ECONNABORTED"));
    println!("of {} sockets to the dead server {} were ended", meant.len(), ended.count());
    for connected in [false, true] {
        assert_ne!(Socket::to(&client, vip_v4(), connected).ask(vip_v4(), connected), name);
    }
}
