//! The control plane is upgraded, one server after another.

use std::time::Duration;

use nllb_lab::lab::VIP_V4;
use nllb_lab::load::{load, none_fails};
use nllb_lab::{Agent, Configuration, Lab};

#[test]
fn three_servers_restart_one_after_another_under_load_and_no_connect_fails() {
    let Some(lab) = Lab::builder().pods(1).build_or_skip() else { return };
    let mut agent = Agent::start(&lab, &Configuration::of(&lab)).expect("an agent");
    let vip = (VIP_V4, 443).into();
    let clients = [lab.client(0), lab.pod_client(0, 0)].map(|client| client.expect("a client"));
    let loads = clients.map(|client| (load(&lab, &client, vip), client));
    let mut connects = 0;
    let mut check = |more| {
        for (traffic, client) in &loads {
            connects += none_fails(client, *traffic, more);
        }
    };
    check(100);
    for plane in lab.control_planes() {
        // As kube-apiserver with --shutdown-delay-duration=5s.
        plane.drain(Duration::from_secs(5)).expect("told");
        agent.await_state(plane.tls(), "draining").expect("seen");
        check(100);
        plane.await_end().expect("ended");
        check(100);
        plane.restart().expect("restarted");
        agent.await_state(plane.tls(), "healthy").expect("back");
        check(100);
    }
    println!("{connects} connects, none failed");
}
