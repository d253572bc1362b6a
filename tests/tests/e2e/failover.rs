//! A server dies and a host vanishes: clients go on, the cluster strikes both off its list, and both return.

use crate::cluster::{Cluster, Shape};
use crate::*;

#[test]
fn a_killed_server_and_a_dead_host_leave_the_list_and_return_to_it() {
    let Some(mut cluster) = Cluster::build(&Shape { members: 3, ..Shape::default() }) else {
        return;
    };
    let mut agent = cluster.agent().expect("an agent");
    agent.configure(&cluster.configuration(1)).expect("written");
    let all = start(&mut agent, &cluster);
    let client = cluster.lab.client(0).expect("a client");

    cluster.server(1).kill().expect("killed");
    await_states(&mut agent, &all[1..2], "unhealthy");
    all_succeed(&cluster.lab, &client, 30);
    cluster.power_off(2).expect("off");
    await_states(&mut agent, &all[1..], "unhealthy");
    all_succeed(&cluster.lab, &client, 30);

    // Nobody renews their leases in etcd, and the watch that tells it is at the server that is left.
    await_backends(&mut agent, &all[..1]);
    all_succeed(&cluster.lab, &client, 30);
    cluster.serve(1).expect("restarted");
    await_backends(&mut agent, &all[..2]);
    cluster.power_on(2).expect("on");
    await_backends(&mut agent, &all);
    await_states(&mut agent, &all, "healthy");
    for server in &all {
        await_meeting(&cluster.lab, &client, *server);
    }
}
