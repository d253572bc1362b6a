//! Without the agent the kernel programs end what has data in flight, and nothing else.

use std::time::Duration;

use nllb_common::Counter;
use nllb_lab::lab::ControlPlane;
use nllb_lab::wait::wait_until;
use nllb_lab::{Configuration, Purpose, pins};

use crate::scene::{MS, Scene};

#[test]
fn requests_to_a_dead_host_end_though_the_agent_has_gone() {
    let Some(scene) = without_agent() else { return };
    scene.server(0).power_off().expect("off");
    let seen = scene.await_closed(&[0], 3);
    assert!(seen.closed().iter().all(|held| held.purpose == Purpose::Requests));
    let seen = scene.await_connects(100);
    assert!(seen.closed().iter().all(|held| held.server == scene.server(0).name()));
}

#[test]
fn a_silence_of_all_closes_nothing_though_the_agent_has_gone() {
    let Some(scene) = without_agent() else { return };
    let all = scene.lab.control_planes();
    all.iter().try_for_each(ControlPlane::unplug).expect("unplugged");
    // reason: the silence itself.
    std::thread::sleep(Duration::from_secs(2));
    all.iter().try_for_each(ControlPlane::plug).expect("plugged");
    scene.await_connects(100).assert_nothing_closed();
}

/// The agent is killed and its lease has lapsed.
fn without_agent() -> Option<Scene> {
    let tune = |configuration| Configuration { lease: MS(300), ..configuration };
    let mut scene = Scene::start(tune, true)?;
    let pins = scene.agent.pins();
    let lapsed = || pins::counter(&pins, Counter::LeaseLapsed);
    let before = lapsed().expect("a counter");
    scene.agent.kill().expect("killed");
    wait_until("the end of the lease", || Ok((lapsed()? > before).then_some(())))
        .expect("evidence alone counts");
    scene.seen();
    Some(scene)
}
