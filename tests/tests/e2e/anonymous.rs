//! Servers that let nobody in unknown: alive, but of less use to a probe without credentials.

use crate::cluster::{Cluster, Shape};
use crate::*;

#[test]
fn a_server_without_anonymous_access_is_degraded_until_the_probe_shows_a_token() {
    // The first server lets everybody ask, the others nobody.
    let flags = |index| vec![format!("--anonymous-auth={}", index == 0)];
    let Some(cluster) = Cluster::build(&Shape { flags, ..Shape::default() }) else { return };
    let mut agent = cluster.agent().expect("an agent");
    let configuration = cluster.configuration(1);
    let with = agent.text(&configuration);
    let lines = with.lines().filter(|line| !line.contains("bearerTokenFile"));
    let without: String = lines.map(|line| format!("{line}\n")).collect();
    assert_ne!(without, with);
    agent.write(&without).expect("written");
    agent.spawn().expect("spawned");
    let all = cluster.addresses();
    await_backends(&mut agent, &all);
    await_states(&mut agent, &all[..1], "healthy");
    let status = await_states(&mut agent, &all[1..], "degraded");
    for at in &all[1..] {
        let why = &backend(&status, *at).expect("a backend").reason;
        assert!(why.contains("401"), "{why}");
    }
    // The healthy one is preferred, so whoever is met says 200 and not 401.
    let client = cluster.lab.client(0).expect("a client");
    for _ in 0..30 {
        let outcome = client.connect(&version(&cluster.lab)).expect("an outcome");
        assert_eq!(outcome.status, Some(200), "{outcome:?}");
    }
    agent.reload(&configuration).expect("reloaded");
    await_states(&mut agent, &all, "healthy");
    for server in &all {
        await_meeting(&cluster.lab, &client, *server);
    }
}
