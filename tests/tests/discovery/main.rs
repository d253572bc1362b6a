//! The watch of the `kubernetes` EndpointSlices and Service, against servers of the lab, over TLS.

mod credentials;
mod failover;
mod hostile;
mod scene;
mod trouble;

use nllb_lab::apiserver::{Endpoint, Objects};
use nllb_lab::discover::Told;
use nllb_lab::lab::{VIP_V4, VIP_V6};
use scene::{Scene, host, lists};

#[test]
fn hosts_of_both_families_and_vips_are_told_and_followed() {
    let Some(scene) = Scene::build(1) else { return };
    let watch = scene.watch();
    let first = lists(["10.86.0.11:6443", "[fd86::11]:6443"]);
    watch.until("the lab's own", first).expect("told");

    scene.set_hosts(&[host(1), host(2)]);
    watch.until("others", lists(["10.0.0.1:6443", "10.0.0.2:6443"])).expect("told");

    let leaving = Endpoint { ready: false, terminating: true, ..host(2) };
    let starting = Endpoint { ready: false, ..host(1) };
    scene.set_hosts(&[starting, leaving]);
    let conditions = lists(["10.0.0.1:6443 unready", "10.0.0.2:6443 unready terminating"]);
    watch.until("conditions", conditions).expect("told");

    let other = Endpoint { address: ([10, 0, 0, 3], 8443).into(), ..host(3) };
    scene.set_hosts(&[host(1), other]);
    watch.until("a port of its own", lists(["10.0.0.1:6443", "10.0.0.3:8443"])).expect("told");

    // Both kinds of objects change at once, and either is told first.
    scene.lab.set_objects(Objects::kubernetes(&[host(9)], &[VIP_V6.into()])).expect("set");
    let all = |told: &Told| {
        let Told::Listed { hosts, vips } = told else { return false };
        *hosts == ["10.0.0.9:6443"] && *vips == [(VIP_V6, 443).into()]
    };
    watch.until("another VIP", all).expect("told");
    scene.lab.set_objects(Objects::kubernetes(&[host(9)], &[VIP_V4.into()])).expect("set");
    let back =
        |told: &Told| matches!(told, Told::Listed { vips, .. } if *vips == [(VIP_V4, 443).into()]);
    watch.until("the VIP that was", back).expect("told");
    let log = watch.log().expect("a log");
    assert_eq!(log, "", "nothing is wrong");
}

#[test]
fn a_list_that_becomes_empty_is_told_as_such() {
    let Some(scene) = Scene::build(1) else { return };
    let watch = scene.watch();
    watch.until("a list", lists(["10.86.0.11:6443", "[fd86::11]:6443"])).expect("told");
    scene.set_hosts(&[]);
    watch.until("an empty one", lists([])).expect("told");
    scene.set_hosts(&[host(4)]);
    watch.until("one more", lists(["10.0.0.4:6443"])).expect("told");
}

#[test]
fn hundreds_of_endpoints_are_told_each_once() {
    let Some(scene) = Scene::build(1) else { return };
    let many: Vec<Endpoint> = (0..450u16)
        .flat_map(|number| {
            let [high, low] = number.to_be_bytes();
            let address = ([10, 1, high, low], 6443).into();
            [Endpoint::ready(address); 2]
        })
        .collect();
    scene.set_hosts(&many);
    let watch = scene.watch();
    let all = |told: &Told| matches!(told, Told::Listed { hosts, .. } if hosts.len() == 450);
    watch.until("450 hosts", all).expect("told");
    scene.set_hosts(&many[..450]);
    let half = |told: &Told| matches!(told, Told::Listed { hosts, .. } if hosts.len() == 225);
    watch.until("225 hosts", half).expect("told");
}
