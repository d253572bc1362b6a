//! Servers that live but are not well: new connects leave, established ones stay.

use std::time::Duration;

use nllb_agent::status::Status;
use nllb_lab::agent::backend;
use nllb_lab::lab::ControlPlane;
use nllb_lab::{Configuration, Purpose};

use crate::scene::{MS, Scene, default};

#[test]
fn a_server_that_says_it_is_not_ready_keeps_its_connections() {
    let Some(mut scene) = Scene::start(default, true) else { return };
    for (server, status) in [(0, 500), (1, 403)] {
        scene.server(server).readyz(Some(status)).expect("told");
        scene.await_state(server, "draining");
        stays(&scene, server);
        scene.server(server).readyz(None).expect("told");
        scene.await_return(server);
    }
}

#[test]
fn a_server_whose_readiness_takes_too_long_keeps_its_connections() {
    let Some(mut scene) = Scene::start(default, true) else { return };
    scene
        .server(0)
        .set_modes(|modes| {
            (modes.slow_readyz, modes.readyz) = (Duration::from_secs(4), Some(500));
        })
        .expect("told");
    scene.server(1).hang_readyz(true).expect("told");
    for server in [0, 1] {
        scene.await_state(server, "draining");
        stays(&scene, server);
    }
    scene.server(1).hang_readyz(false).expect("told");
    scene.await_return(1);
}

#[test]
fn a_server_that_stops_keeps_its_watches_until_it_ends_them() {
    for delay in [MS(0), MS(1_500)] {
        let Some(mut scene) = Scene::start(default, true) else { return };
        let before = scene.seen();
        assert_eq!(before.failed(), 0);
        scene.server(0).drain(delay).expect("told");
        await_not_eligible(&mut scene, 0);
        if delay > MS(0) {
            scene.connects_leave(0);
        }
        // Refused now: that says nothing about what is established.
        scene.await_state(0, "unhealthy");
        stays(&scene, 0);
        let watches = watches_with(&scene, scene.server(0));
        assert_eq!(watches, 3, "one in each namespace");
    }
}

#[test]
fn what_drains_for_long_is_closed_where_that_is_wanted() {
    let tune = |configuration| Configuration {
        pool: vec!["drain: { closeAfter: 1s }".to_owned()],
        ..configuration
    };
    let Some(mut scene) = Scene::start(tune, true) else { return };
    scene.seen();
    scene.server(0).readyz(Some(500)).expect("told");
    scene.await_state(0, "draining");
    scene.await_closed(&[0], 6);
    assert_eq!((scene.closed(0, "drained"), scene.closed(0, "dead")), (6, 0));
}

#[test]
fn a_connection_that_is_sent_away_at_random_is_no_sickness() {
    let Some(scene) = Scene::start(default, true) else { return };
    for server in scene.lab.control_planes() {
        server.set_modes(|modes| modes.goaway_per_mille = 20).expect("told");
    }
    let seen = scene.await_connects(400);
    assert_eq!(seen.failed(), 0);
    seen.assert_nothing_closed();
    let moved = seen.held().iter().filter(|held| held.resumed_ns.is_some()).count();
    assert!(moved > 0, "connections were sent away: {:?}", seen.held());
    let status = scene.agent.status().expect("a status");
    for (_, backend) in status.backends() {
        assert_eq!((backend.state.as_str(), backend.transitions), ("healthy", 1), "{backend:?}");
    }
}

#[test]
fn a_server_that_flaps_changes_its_state_less_often_than_it_could() {
    let Some(mut scene) = Scene::start(default, true) else { return };
    let server = scene.address(0);
    let held = |status: &Status| backend(status, server).is_some_and(|b| b.held_ms.is_some());
    let before = transitions(&mut scene);
    for turn in 0..3 {
        scene.server(0).crash().expect("crashed");
        scene.await_state(0, "unhealthy");
        scene.server(0).restart().expect("restarted");
        if turn < 2 {
            scene.await_return(0);
        }
    }
    scene.agent.await_status("a server that is held back", held).expect("held back");
    // Two each: the third return is still to come.
    assert_eq!(transitions(&mut scene) - before, 5);
    scene.connects_leave(0);
    scene.await_return(0);
}

/// New connects go elsewhere; what is established is left alone.
fn stays(scene: &Scene, server: usize) {
    scene.seen().assert_nothing_closed();
    scene.connects_leave(server);
    // Much longer than the death of a server takes to be confirmed.
    let seen = scene.await_connects(400);
    seen.assert_nothing_closed();
}

fn await_not_eligible(scene: &mut Scene, server: usize) {
    let address = scene.address(server);
    let out = |status: &Status| {
        backend(status, address).is_some_and(|b| ["draining", "unhealthy"].contains(&&*b.state))
    };
    scene.agent.await_status("a verdict", out).expect("a verdict");
}

fn watches_with(scene: &Scene, server: &ControlPlane) -> usize {
    let seen = scene.seen();
    let open = seen.held().into_iter().filter(|held| held.end.is_none());
    open.filter(|held| held.purpose == Purpose::Watch && held.server == server.name()).count()
}

fn transitions(scene: &mut Scene) -> u64 {
    let status = scene.agent.status().expect("a status");
    backend(&status, scene.address(0)).expect("a backend").transitions
}
