//! What the agent tells the cluster is what a real API server takes, with the right that the component gives
//! and not without it.

use hyper::Method;
use nllb_lab::wait::wait_until;
use serde_json::{Value, json};

use crate::account;
use crate::cluster::{Cluster, Shape};
use crate::*;

const EVENTS: &str = "/api/v1/namespaces/default/events";

#[test]
fn a_failover_is_an_event_of_the_node_where_the_component_allows_it() {
    let Some(mut cluster) = Cluster::build(&Shape::default()) else { return };
    let mut agent = cluster.agent().expect("an agent");
    let text = agent.text(&cluster.configuration(2));
    let text = text.replace("kubernetes: {kubeconfig", "kubernetes: {events: true, kubeconfig");
    agent.write(&(text + "node: { name: worker-1 }\n")).expect("written");
    let all = start(&mut agent, &cluster);
    cluster.server(2).kill().expect("killed");
    let refused = "not taken by the cluster: 403: allow the account to create events in the namespace default";
    wait_until("a refusal", || Ok(agent.log().contains(refused).then_some(()))).expect("refused");
    assert!(agent.terminate().expect("ended").success());

    let admin = cluster.admin(0).expect("an administrator");
    account::allow_events(&admin).expect("allowed");
    let token = std::fs::read_to_string(agent.file().with_file_name("token")).expect("a token");
    let event = json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": { "generateName": "a-", "namespace": "default" },
        "involvedObject": { "kind": "Node", "name": "worker-1" },
    });
    for server in 0..2 {
        // Each server learns of the right by itself.
        let account = cluster.asker(server, &token).expect("the account");
        let path = format!("{EVENTS}?dryRun=All");
        let may = || {
            let (status, _) = account.ask(Method::POST, &path, Some(&event))?;
            Ok((status == 201).then_some(()))
        };
        wait_until("the right", may).expect("it may");
        let (status, answer) = account.ask(Method::GET, EVENTS, None).expect("an answer");
        assert_eq!(status, 403, "it may not read them: {answer}");
    }
    cluster.serve(2).expect("served");
    start(&mut agent, &cluster);
    cluster.server(2).kill().expect("killed");
    let told = wait_until("an event", || {
        let (_, answer) = admin.ask(Method::GET, EVENTS, None)?;
        let events = answer["items"].as_array().into_iter().flatten();
        let mut ours = events.filter(|event| event["reason"] == "ControlPlaneFailover");
        Ok(ours.next().cloned())
    });
    let told: Value = told.expect("told");
    println!("{told:#}");
    assert_eq!(told["involvedObject"]["name"], "worker-1");
    assert_eq!(told["involvedObject"]["uid"], "worker-1");
    assert_eq!((&told["type"], &told["source"]["component"]), (&"Warning".into(), &"nllb".into()));
    assert!(told["message"].as_str().expect("text").contains(&all[2].to_string()), "{told}");
}
