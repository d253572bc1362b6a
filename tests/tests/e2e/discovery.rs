//! One seed, the cluster's own word, and the rights of the manifests: everybody is found and used.

use hyper::Method;
use nllb_lab::agent::backend;
use serde_json::json;

use crate::cluster::{Cluster, Shape};
use crate::*;

#[test]
fn one_seed_and_the_manifests_rights_lead_to_all_servers_and_to_what_clients_dial() {
    let Some(cluster) = Cluster::build(&Shape::default()) else { return };
    let admin = cluster.admin(0).expect("an administrator");
    for name in ["one", "two"] {
        let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name } });
        admin.create("/api/v1/nodes", &node).expect("a node");
    }
    let mut agent = cluster.agent().expect("an agent");
    agent.configure(&cluster.configuration(1)).expect("written");
    let all = start(&mut agent, &cluster);
    let status = agent.await_status("what only the API tells", |status| {
        let versions = status.backends().all(|(_, one)| one.version.is_some());
        versions && status.pools[0].nodes == Some(2) && !status.frontends[0].addresses.is_empty()
    });
    let status = status.expect("told");
    assert_eq!(status.frontends[0].addresses, [vip()]);
    assert_eq!(source(&status).vips, [vip()]);
    for (_, one) in status.backends() {
        assert!(one.sources.iter().any(|name| name.starts_with("kubernetes")), "{one:?}");
    }

    let client = cluster.lab.client(0).expect("a client");
    for server in &all {
        await_meeting(&cluster.lab, &client, *server);
    }
    let established = |status: &Status, at| {
        let evidence = backend(status, at).and_then(|one| one.evidence.as_ref());
        evidence.expect("evidence").established
    };
    let before = agent.status().expect("a status");
    all_succeed(&cluster.lab, &client, 120);
    let after = agent.status().expect("a status");
    let met = all.iter().map(|at| established(&after, *at) - established(&before, *at));
    let met: Vec<_> = met.collect();
    // 40 of 120 by chance, and fewer than 10 once in a thousand million times.
    assert!(met.iter().all(|connects| *connects >= 10), "{met:?}");

    let token = std::fs::read_to_string(agent.file().with_file_name("token")).expect("a token");
    let account = cluster.asker(0, &token).expect("the account");
    for path in ["/api/v1/namespaces/kube-system/secrets", "/api/v1/namespaces/default/services"] {
        let (status, answer) = account.ask(Method::GET, path, None).expect("an answer");
        assert_eq!(status, 403, "{path}: {answer}");
    }
}
