//! Rights and tokens that are no good any more: the last known good is gone by, and one line says why.

use std::fs;

use hyper::Method;

use crate::account;
use crate::cluster::{Cluster, Shape};
use crate::*;

const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";

/// How long trouble is looked at: several tries of the watch, which come after 1, 2 and 4 s.
const LASTING_MS: u64 = 10_000;

#[test]
fn rights_that_are_withdrawn_and_a_token_that_is_replaced_cost_nothing_but_one_line() {
    let Some(cluster) = Cluster::build(&Shape::default()) else { return };
    let mut agent = cluster.agent().expect("an agent");
    agent.log_by_default();
    agent.configure(&cluster.configuration(1)).expect("written");
    let all = start(&mut agent, &cluster);
    let client = cluster.lab.client(0).expect("a client");
    let admin = cluster.admin(0).expect("an administrator");

    account::withdraw(&admin).expect("withdrawn");
    costs_one_line(&cluster, &mut agent, &client, 403);
    await_states(&mut agent, &all, "healthy");
    account::give_back(&admin).expect("given back");
    await_recovery(&mut agent);

    account::replace(&admin).expect("another account");
    costs_one_line(&cluster, &mut agent, &client, 401);
    await_states(&mut agent, &all, "degraded");
    cluster.write_token(&agent).expect("another token");
    await_states(&mut agent, &all, "healthy");
    await_recovery(&mut agent);
    await_backends(&mut agent, &all);
}

/// Waits until every server answers the account so, makes the watch come again, and waits until that
/// has failed for a while. All that was known stays, and whoever connects succeeds.
fn costs_one_line(cluster: &Cluster, agent: &mut Agent, client: &Client, code: u16) {
    let token = fs::read_to_string(agent.file().with_file_name("token")).expect("a token");
    for index in 0..cluster.addresses().len() {
        let account = cluster.asker(index, &token).expect("the account");
        let refused = || Ok((account.ask(Method::GET, SLICES, None)?.0 == code).then_some(()));
        wait_until(&format!("{code} of API server {index}"), refused).expect("refused");
    }
    cluster.break_connections().expect("broken");
    let reason = format!("{code}: ");
    let failing = |status: &Status| {
        let Source { error, error_age_ms, .. } = source(status);
        let says = error.as_ref().is_some_and(|error| error.contains(&reason));
        says && error_age_ms.is_some_and(|age| age > LASTING_MS)
    };
    agent.await_status("a source that fails", failing).expect("failing");
    let status = await_backends(agent, &cluster.addresses());
    assert_eq!(source(&status).vips, [vip()]);
    assert_eq!(status.frontends[0].addresses, [vip()]);
    all_succeed(&cluster.lab, client, 30);

    let log = agent.log();
    let told = |line: &&str| line.contains("a source of hosts") && line.contains(&reason);
    let told = log.lines().filter(told).count();
    assert!((1..=2).contains(&told), "one for each kind of objects: {log}");
}

fn await_recovery(agent: &mut Agent) {
    let heard = |status: &Status| source(status).error.is_none();
    agent.await_status("a source that is heard", heard).expect("heard");
}
