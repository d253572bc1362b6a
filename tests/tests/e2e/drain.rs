//! Servers end as kube-apiserver does when it is told to: it leaves the cluster's list and is not ready, is
//! served all the same for a while, and then refuses.

use nllb_lab::{Outcome, Storm};

use crate::cluster::{Cluster, Shape};
use crate::*;

/// Long enough that even a slow machine notices in time.
const DELAY: &str = "--shutdown-delay-duration=15s";

#[test]
fn servers_restart_one_after_another_and_no_new_connect_fails() {
    let shape = Shape { flags: |_| vec![DELAY.to_owned()], ..Shape::default() };
    let Some(mut cluster) = Cluster::build(&shape) else { return };
    let mut agent = cluster.agent().expect("an agent");
    // The third server is known by the cluster's list alone, which it leaves as soon as it is told to end.
    agent.configure(&cluster.configuration(2)).expect("written");
    let all = start(&mut agent, &cluster);
    let clients = [cluster.lab.client(0), cluster.lab.client(0)];
    let [client, direct] = clients.map(|client| client.expect("a client"));
    let storm = Storm { threads: 1, connects: None, connect: version(&cluster.lab) };
    let storm = client.storm_start(&storm).expect("a storm");
    for (index, at) in all.iter().enumerate() {
        let its_version = Connect { address: *at, ..version(&cluster.lab) };
        let ask = || direct.connect(&its_version);
        cluster.server(index).terminate().expect("told");
        if index < 2 {
            let status = await_states(&mut agent, &[*at], "draining");
            let why = &backend(&status, *at).expect("a backend").reason;
            assert!(why.contains("500"), "{why}");
        } else {
            await_backends(&mut agent, &all[..2]);
        }
        // It is served to its last moment, so nobody who met it until now has failed.
        let outcome = ask().expect("an outcome");
        assert_eq!(outcome.status, Some(200), "{outcome:?}");
        let refuses = |outcome: &Outcome| outcome.error.as_deref() == Some("ECONNREFUSED");
        wait_until("a server that refuses", || Ok(refuses(&ask()?).then_some(()))).expect("over");
        // Watches keep its process for a minute more.
        cluster.server(index).kill().expect("killed");
        cluster.serve(index).expect("restarted");
        await_backends(&mut agent, &all);
        await_states(&mut agent, &all, "healthy");
        await_meeting(&cluster.lab, &direct, *at);
    }
    let report = client.storm_stop(storm).expect("a report");
    println!("{} of {} connects failed", report.failed(), report.attempts);
    assert_eq!(report.failed(), 0, "{report:?}");
}
