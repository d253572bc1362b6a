//! The watch behind the agent's own translation: it fails over like any client.

use nllb_lab::discover::Options;
use nllb_lab::lab::{ControlPlane, VIP_V4};
use nllb_lab::wait::wait_until;
use nllb_lab::{Agent, Configuration};

use crate::scene::{SLICES, Scene, host, lists};

#[test]
fn a_watch_whose_server_vanishes_goes_on_at_another() {
    let Some(scene) = Scene::build(3) else { return };
    let lab = &scene.lab;
    scene.set_hosts(&[host(1)]);
    let mut agent = Agent::start(lab, &Configuration::of(lab)).expect("an agent");
    for plane in lab.control_planes() {
        agent.await_state(plane.tls(), "healthy").expect("healthy");
    }
    let watch = scene.start(&Options::service_account((VIP_V4, 443).into(), &scene.account));
    watch.until("the first list", lists(["10.0.0.1:6443"])).expect("told");

    let watched = |plane: &ControlPlane| {
        let requests = plane.stats().expect("told").requests;
        requests.contains_key(&format!("{SLICES}?watch"))
    };
    let serving =
        wait_until("the watch", || Ok(lab.control_planes().iter().find(|plane| watched(plane))));
    let serving = serving.expect("somebody serves it");
    serving.power_off().expect("off");
    scene.set_hosts(&[host(2)]);
    watch.until("the change, from another", lists(["10.0.0.2:6443"])).expect("told");
    serving.power_on().expect("on");
    scene.set_hosts(&[host(3)]);
    watch.until("one more", lists(["10.0.0.3:6443"])).expect("told");
}
