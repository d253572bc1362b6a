//! Servers that are dead: new connects leave at once, established ones are closed once that is
//! confirmed, in every network namespace; whoever dialled the server itself is left alone.

use nllb_lab::lab::ControlPlane;

use crate::scene::{Scene, default};

/// A connection of each purpose in each of three network namespaces.
const EACH: usize = 6;

#[test]
fn a_host_without_power_loses_its_connections() {
    dies(ControlPlane::power_off, ControlPlane::power_on);
}

#[test]
fn a_host_that_hears_nothing_loses_its_connections() {
    dies(|server| server.drop_to(true), |server| server.drop_to(false));
}

#[test]
fn a_host_that_is_not_heard_loses_its_connections() {
    dies(|server| server.drop_from(true), |server| server.drop_from(false));
}

#[test]
fn a_frozen_server_loses_its_connections() {
    dies(ControlPlane::freeze, ControlPlane::thaw);
}

#[test]
fn idle_watches_with_a_dead_host_end_though_nobody_connects() {
    let Some(scene) = Scene::start(default, false) else { return };
    scene.server(2).power_off().expect("off");
    scene.await_closed(&[2], EACH);
}

#[test]
fn two_of_three_hosts_may_die_at_once() {
    let Some(scene) = Scene::start(default, true) else { return };
    for server in [0, 1] {
        scene.server(server).power_off().expect("off");
    }
    scene.await_closed(&[0, 1], 2 * EACH);
    let seen = scene.await_connects(100);
    assert_eq!(seen.connects_to(scene.server(0)) + seen.connects_to(scene.server(1)), 0);
}

#[test]
fn a_crash_closes_nothing_that_its_peer_does_not_close() {
    let Some(mut scene) = Scene::start(default, true) else { return };
    scene.seen();
    scene.server(0).crash().expect("crashed");
    scene.await_state(0, "unhealthy");
    scene.connects_leave(0);
    scene.server(0).restart().expect("restarted");
    scene.await_return(0);
    scene.seen().assert_nothing_closed();
    assert_eq!(scene.closed(0, "dead"), 0);
}

fn dies(
    strike: impl Fn(&ControlPlane) -> anyhow::Result<()>,
    heal: impl Fn(&ControlPlane) -> anyhow::Result<()>,
) {
    let Some(mut scene) = Scene::start(default, true) else { return };
    let victim = 1;
    scene.dial_straight(victim);
    scene.seen();
    strike(scene.server(victim)).expect("struck");
    scene.await_closed(&[victim], EACH);
    scene.await_state(victim, "unhealthy");
    scene.connects_leave(victim);
    let straight = scene.seen_straight();
    assert_eq!(straight.held().len(), EACH);
    for held in straight.held() {
        assert_eq!(held.end, None, "whoever dialled it straight is left alone: {held:?}");
    }
    // Connects that were under way to it may be among them.
    assert!(scene.closed(victim, "dead") >= EACH as u64);
    heal(scene.server(victim)).expect("healed");
    scene.await_return(victim);
}
