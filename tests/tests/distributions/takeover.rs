//! nllb takes over the address of a distribution's load balancer from under it, and gives it back, without a
//! restart of anything and without a connect that fails.

use std::net::{Ipv4Addr, SocketAddr};

use nllb_lab::load::{is_direct, load, none_fails, whoami};
use nllb_lab::wait::wait_until;
use nllb_lab::{Agent, Balancer, Client, Configuration, Connect, Lab};

#[test]
fn a_balancer_on_loopback_is_taken_over_and_given_back_and_nothing_fails() {
    let Some(lab) = Lab::builder().build_or_skip() else { return };
    // Where k0s, k3s, RKE2 and Talos listen.
    for port in [7443, 6444, 6443, 7445] {
        take_over_and_give_back(&lab, (Ipv4Addr::LOCALHOST, port).into());
    }
}

fn take_over_and_give_back(lab: &Lab, address: SocketAddr) {
    let servers: Vec<_> = lab.control_planes().iter().map(|plane| plane.tls()).collect();
    let _balancer = Balancer::start(lab.node(0), address, &servers).expect("a balancer");
    let client = lab.client(0).expect("a client");
    let traffic = load(lab, &client, address);
    let names: Vec<_> = lab.control_planes().iter().map(|plane| plane.name().to_owned()).collect();
    client.traffic_hold(traffic, &names).expect("held");
    let before = none_fails(&client, traffic, 100);
    assert!(!is_direct(&whoami(lab, &client, address), address));

    let configuration = Configuration { loopback: vec![address], ..Configuration::of(lab).quick() };
    let mut agent = Agent::start(lab, &configuration).expect("an agent");
    await_direct(lab, &client, address, true);
    for _ in 0..20 {
        assert!(is_direct(&whoami(lab, &client, address), address));
    }
    let during = none_fails(&client, traffic, 200);

    agent.terminate().expect("ended");
    assert!(is_direct(&whoami(lab, &client, address), address), "the data path outlives the agent");
    let removed = agent.uninstall().expect("uninstalled");
    assert!(!removed.is_empty());
    await_direct(lab, &client, address, false);
    let after = none_fails(&client, traffic, 100);
    let report = client.traffic_mark(traffic).expect("a report");
    assert_eq!(
        report.held.len(),
        2 * names.len(),
        "all of them stayed on the balancer: {report:?}"
    );
    client.traffic_stop(traffic).expect("stopped");
    println!("{address}: {before}, {during} and {after} connects, none failed");
}

fn await_direct(lab: &Lab, client: &Client, address: SocketAddr, direct: bool) {
    let look = || Ok((is_direct(&whoami(lab, client, address), address) == direct).then_some(()));
    wait_until("the other way", look).expect("in time");
}

#[test]
fn a_microk8s_worker_leaves_a_member_that_lost_its_power() {
    const PORT: u16 = 16443;
    let lab = Lab::builder().pods(1).tune(|_, settings| {
        settings.listen.iter_mut().for_each(|address| address.set_port(PORT));
    });
    let Some(lab) = lab.build_or_skip() else { return };
    let members: Vec<SocketAddr> =
        lab.control_planes().iter().map(|plane| (plane.v4(), PORT).into()).collect();
    // Its proxy listens everywhere.
    let everywhere = (Ipv4Addr::UNSPECIFIED, PORT).into();
    let _proxy = Balancer::start(lab.node(0), everywhere, &members).expect("a proxy");
    let address: SocketAddr = (Ipv4Addr::LOCALHOST, PORT).into();
    let configuration = Configuration {
        endpoints: members.clone(),
        loopback: vec![address],
        ..Configuration::of(&lab).quick()
    };
    let mut agent = Agent::start(&lab, &configuration).expect("an agent");
    // The node's own address is not what the kubelet dials: who dials it meets the proxy as before.
    let own: SocketAddr = (lab.node(0).v4(), PORT).into();
    let pod = lab.pod_client(0, 0).expect("a client");
    let outcome = pod.connect(&Connect::name_of(own)).expect("an outcome");
    assert!(outcome.ok && outcome.peer == Some(own), "{outcome:?}");

    let kubelet = lab.client(0).expect("a client");
    let traffic = load(&lab, &kubelet, address);
    none_fails(&kubelet, traffic, 100);
    let victim = lab.control_plane(0);
    victim.power_off().expect("powered off");
    agent.await_state(members[0], "unhealthy").expect("a verdict");
    await_next_connect(&kubelet, traffic);
    for _ in 0..10 {
        let outcome = whoami(&lab, &kubelet, address);
        assert!(is_direct(&outcome, address) && outcome.peer != Some(members[0]), "{outcome:?}");
    }
    none_fails(&kubelet, traffic, 100);
    victim.power_on().expect("powered on");
    agent.await_state(members[0], "healthy").expect("readmitted");
    none_fails(&kubelet, traffic, 100);
}

/// Waits until a connect has ended well that began after this call. The loop makes one at a time, so what was under
/// way when a server died has ended then.
fn await_next_connect(client: &Client, traffic: u64) {
    client.traffic_mark(traffic).expect("a report");
    let look = || Ok(client.traffic_mark(traffic)?.loops[0].first_new_ns.map(drop));
    wait_until("a connect", look).expect("in time");
}
