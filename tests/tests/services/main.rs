//! Services besides the API server's: real name servers behind a VIP that the cluster tells of.

mod lookups;

use nllb_agent::status::Status;
use nllb_lab::Lab;
use nllb_lab::apiserver::Api;
use nllb_lab::cluster_dns::{ClusterDns, ENDING, POOL, READY, VIP};
use nllb_lab::lab::say_skipped;
use nllb_lab::name_server::{self, who_answers};

const QUICK: &str = "interval: 200ms, confirmInterval: 50ms, maxBackoff: 400ms, timeout: 1s";
const OVER_TCP: &[&str] = &["+tcp"];

fn start(topology: &str, probe: &str) -> Option<ClusterDns> {
    let Some(program) = name_server::program() else {
        say_skipped("no dnsmasq here");
        return None;
    };
    let lab = Lab::builder().build_or_skip()?;
    Some(ClusterDns::start(lab, &program, topology, probe).expect("the cluster's DNS"))
}

#[test]
fn a_service_is_served_by_the_nearest_that_is_well_and_left_alone_when_it_is_gone() {
    let Some(mut dns) = start("prefer-node", QUICK) else { return };
    let status = dns.await_states(&["healthy"; 3]).expect("healthy");
    let names = status.frontends.iter().filter(|front| front.pool == POOL);
    let names: Vec<_> = names.map(|front| front.name.as_str()).collect();
    assert_eq!(names, ["kube-system/kube-dns:dns-tcp/tcp", "kube-system/kube-dns:dns/udp"]);
    let pool = status.pools.iter().find(|pool| pool.name == POOL).expect("the pool");
    assert_eq!(pool.probe, "dns kubernetes.default.svc.cluster.local");
    let bands: Vec<_> = pool.backends.iter().map(|one| one.band).collect();
    assert_eq!(bands, [1, 0, 2]);
    assert_eq!(
        dns.answers(OVER_TCP, 8).expect("answers"),
        ["cp1".to_owned()].into(),
        "its own node's"
    );

    // Health comes before distance, and distance goes on among who is well.
    dns.servers[1].kill().expect("killed");
    dns.await_states(&["healthy", "unhealthy", "healthy"]).expect("states");
    dns.await_answers(OVER_TCP, &["cp0"]).expect("answers");
    dns.servers[1].restart().expect("started");
    dns.await_states(&["healthy"; 3]).expect("healthy");
    dns.await_answers(OVER_TCP, &["cp1"]).expect("answers");

    // One that ends drains while it still answers.
    dns.offer(&[READY, ENDING, READY]).expect("told");
    dns.await_states(&["healthy", "draining", "healthy"]).expect("states");
    dns.await_answers(OVER_TCP, &["cp0"]).expect("answers");

    // An agent that starts without its cluster goes by what it knew.
    dns.offer(&[READY, READY]).expect("told");
    dns.await_states(&["healthy"; 2]).expect("healthy");
    dns.agent.terminate().expect("ended");
    dns.agent.restart().expect("started");
    dns.await_states(&["healthy"; 2]).expect("healthy");
    dns.await_answers(OVER_TCP, &["cp1"]).expect("answers");

    // Without the Service its address is nobody's: who served it without nllb goes on.
    dns.withdraw().expect("told");
    let gone = |status: &Status| status.pools.iter().all(|pool| pool.name != POOL);
    let status = dns.agent.await_status("no pool of it", gone).expect("gone");
    assert!(status.frontends.iter().all(|front| front.pool != POOL));
    let told = &status.discovery.left_out;
    assert!(told.iter().any(|line| line.contains("has no such Service")), "{told:?}");
    assert!(who_answers(&dns.lab.node(0).place(), VIP, OVER_TCP).is_err());
}

/// How far away the agent takes its servers to be.
fn bands(status: &Status) -> Vec<u8> {
    let pool = status.pools.iter().find(|pool| pool.name == POOL).expect("the pool");
    pool.backends.iter().map(|one| one.band).collect()
}

#[test]
fn the_zone_is_the_nodes_own_and_without_the_right_to_read_it_that_of_a_neighbour() {
    let Some(mut dns) = start("prefer-zone", QUICK) else { return };
    // The node's object has none, so the endpoint on the node tells.
    let status = dns.await_states(&["healthy"; 3]).expect("healthy");
    assert_eq!(bands(&status), [0, 0, 1]);
    dns.zone = Some("b");
    dns.offer(&[READY, READY, READY]).expect("told");
    dns.agent.terminate().expect("ended");
    dns.agent.restart().expect("started");
    let near = dns.agent.await_status("another zone", |status| bands(status) == [1, 1, 0]);
    let status = near.expect("its own zone");
    let node = status.discovery.sources.iter().find(|source| source.name == "node");
    assert!(node.is_some_and(|node| node.heard_ms.is_some()), "{:?}", status.discovery);
    dns.await_answers(OVER_TCP, &["cp2"]).expect("answers");
    // Health comes first.
    dns.servers[2].kill().expect("killed");
    dns.await_answers(OVER_TCP, &["cp0", "cp1"]).expect("answers");
    dns.servers[2].restart().expect("started");
    dns.await_states(&["healthy"; 3]).expect("healthy");

    for plane in dns.lab.control_planes() {
        plane.set_modes(|modes| modes.node = Api::Refuse(403)).expect("told");
    }
    dns.agent.terminate().expect("ended");
    dns.agent.restart().expect("started");
    // The endpoints may be heard after that.
    let told = dns.agent.await_status("a note, and the zone of a neighbour", |status| {
        status.verdict.notes.iter().any(|note| note.starts_with("node: 403: allow"))
            && bands(status) == [0, 0, 1]
    });
    assert_eq!(told.expect("both").verdict.reasons, Vec::<String>::new());
}
