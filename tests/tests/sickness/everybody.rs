//! When nobody answers, it is this node or its network: nothing is closed, and all goes on after.

use std::thread::sleep;
use std::time::Duration;

use nllb_lab::Lab;
use nllb_lab::lab::ControlPlane;
use nllb_lab::wait::wait_until;

use crate::scene::{Scene, default};

#[test]
fn two_seconds_of_silence_close_nothing() {
    silence(Duration::from_secs(2));
}

#[test]
fn a_control_plane_that_is_silent_for_long_finds_its_connections_when_it_is_back() {
    silence(Duration::from_secs(10));
}

#[test]
fn nothing_is_closed_where_there_is_one_server() {
    let builder = Lab::builder().control_planes(1);
    let Some(mut scene) = Scene::of(builder, default, true) else { return };
    scene.server(0).freeze().expect("frozen");
    scene.await_state(0, "unhealthy");
    // reason: what shall be seen is that nothing happens. Several servers would be closed by now.
    sleep(Duration::from_secs(3));
    scene.seen().assert_nothing_closed();
    scene.server(0).thaw().expect("thawed");
    scene.await_return(0);
    scene.seen().assert_nothing_closed();
}

#[test]
fn when_all_are_frozen_at_once_nothing_is_closed() {
    let Some(mut scene) = Scene::start(default, false) else { return };
    let all = scene.lab.control_planes();
    all.iter().try_for_each(ControlPlane::freeze).expect("frozen");
    // reason: as above.
    sleep(Duration::from_secs(4));
    scene.seen().assert_nothing_closed();
    scene.lab.control_planes().iter().try_for_each(ControlPlane::thaw).expect("thawed");
    for server in 0..3 {
        scene.await_state(server, "healthy");
    }
    answers_on_all(&scene);
}

fn silence(lasts: Duration) {
    let Some(mut scene) = Scene::start(default, true) else { return };
    scene.seen();
    let all = scene.lab.control_planes();
    all.iter().try_for_each(ControlPlane::unplug).expect("unplugged");
    // reason: the silence itself.
    sleep(lasts);
    let seen = scene.seen();
    seen.assert_nothing_closed();
    scene.lab.control_planes().iter().try_for_each(ControlPlane::plug).expect("plugged");
    scene.await_connects(50).assert_nothing_closed();
    for server in 0..3 {
        scene.await_return(server);
    }
    answers_on_all(&scene);
    for server in 0..3 {
        assert_eq!(scene.closed(server, "dead"), 0);
    }
}

/// Every connection that was held before answers; none had to be opened anew.
fn answers_on_all(scene: &Scene) {
    let mut answered = std::collections::BTreeSet::new();
    wait_until("answers on every connection", || {
        let seen = scene.seen();
        seen.assert_nothing_closed();
        for held in seen.held() {
            assert_eq!(held.end, None, "{held:?}");
            if held.answers > 0 {
                answered.insert((held.opened_ns, held.server.clone()));
            }
        }
        Ok((answered.len() == 9).then_some(()))
    })
    .expect("answers");
}
