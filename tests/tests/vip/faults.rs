//! What clients of the VIP feel when hosts, servers and owners come and go.

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::frames::{self, Flood};
use crate::scene::{Flow, Scene, VIP_V4, VIP_V6, VIPS};

/// How long a connect may take to count as none: the client's own second try comes after a second.
const AT_ONCE: Duration = Duration::from_millis(300);
/// How long it is watched.
const WATCHED: Duration = Duration::from_secs(4);

/// When the last connect failed, counted from now on.
fn last_failure(scene: &Scene, vip: IpAddr) -> Duration {
    let began = Instant::now();
    let mut last = Duration::ZERO;
    while began.elapsed() < WATCHED {
        let at = began.elapsed();
        if scene.connect_within(vip, AT_ONCE).is_err() {
            last = at;
        }
    }
    last
}

#[test]
fn a_server_that_crashes_is_left_at_once() {
    let Some(mut scene) = Scene::new("") else { return };
    for (vip, victim) in [(VIPS[0], 1), (VIPS[1], 2)] {
        scene.lab.control_plane(victim).crash().expect("crashed");
        let last = last_failure(&scene, vip);
        println!("crash behind {vip}: the last connect to fail began after {last:?}");
        assert!(last < Duration::from_secs(2), "{last:?}");
        scene.lab.control_plane(victim).restart().expect("restarted");
        scene.await_state(victim, "healthy");
    }
}

#[test]
fn a_host_without_power_is_left_soon() {
    let Some(scene) = Scene::new("") else { return };
    let mut flows = scene.flows(VIP_V4.into(), 30);
    scene.lab.control_plane(2).power_off().expect("off");
    let last = last_failure(&scene, VIP_V4.into());
    println!("power-off behind the VIP: the last connect to fail began after {last:?}");
    assert!(last < Duration::from_secs(2), "{last:?}");
    // Those of others never noticed; those of the dead host are told, and not left waiting.
    for flow in &mut flows {
        let echoed = flow.echo(1000);
        if flow.server == "cp2" {
            let told = echoed.expect_err("its server is gone").kind();
            assert_eq!(told, io::ErrorKind::ConnectionReset);
        } else {
            echoed.expect("echoed");
        }
    }
}

#[test]
fn flows_survive_another_owner_also_when_they_began_while_their_first_choice_was_out() {
    let Some(mut scene) = Scene::new("") else { return };
    scene.lab.control_plane(1).crash().expect("crashed");
    scene.await_state(1, "unhealthy");
    let mut flows: Vec<Flow> = VIPS.iter().flat_map(|vip| scene.flows(*vip, 30)).collect();
    assert!(flows.iter().all(|flow| flow.server != "cp1"));
    scene.lab.control_plane(1).restart().expect("restarted");
    scene.await_state(1, "healthy");
    // The old owner comes last: it has notes of them.
    for owner in [1, 2, 0] {
        scene.own(owner);
        for flow in &mut flows {
            flow.echo(1000).expect("echoed");
        }
        println!("owner cp{owner}: {} second chances so far", scene.count("second_chance"));
    }
    assert!(scene.count("second_chance") > 0);
    let servers = scene.flows(VIP_V4.into(), 30);
    assert!(servers.iter().any(|flow| flow.server == "cp1"), "and it is used again");
}

#[test]
fn an_operator_drains_a_host_and_its_flows_stay() {
    let Some(mut scene) = Scene::new("") else { return };
    let mut flows = scene.flows(VIP_V6.into(), 30);
    scene.lab.control_plane(1).readyz(Some(500)).expect("set");
    scene.await_state(1, "draining");
    let new = scene.flows(VIP_V6.into(), 20);
    assert!(new.iter().all(|flow| flow.server != "cp1"), "no new ones");
    scene.own(2);
    flows.iter_mut().for_each(|flow| flow.echo(1000).expect("echoed"));
}

#[test]
fn floods_break_no_flow() {
    let Some(scene) = Scene::new("") else { return };
    let mut flows = scene.flows(VIP_V4.into(), 20);
    for flood in [Flood::Syn, Flood::Ack] {
        let sent = frames::flood(&scene, flood, 40_000);
        for flow in &mut flows {
            flow.echo(1000).expect("echoed");
        }
        let new = scene.flows(VIP_V4.into(), 10);
        println!("{flood:?}: {sent} packets, {} new connections", new.len());
    }
    scene.own(1);
    flows.iter_mut().for_each(|flow| flow.echo(1000).expect("echoed"));
}
