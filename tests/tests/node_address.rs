//! A dead server's own address, as dialled by programs with a hard-coded server.

use std::net::SocketAddr;
use std::time::Duration;

use nllb_agent::status::{Frontend, Status};
use nllb_lab::agent::NodeAddresses;
use nllb_lab::lab::{own_names, shared_names};
use nllb_lab::{Agent, Client, Configuration, Connect, Lab, netns};

#[test]
fn a_dead_servers_own_address_is_served_by_another_when_certificates_allow() {
    let Some(lab) = lab_with_certificates_for_all() else { return };
    let configuration =
        Configuration { node_addresses: NodeAddresses::On, ..Configuration::of(&lab).quick() };
    let mut agent = Agent::start(&lab, &configuration).expect("an agent");
    let host = lab.client(0).expect("a client");
    let pod = lab.pod_client(0, 0).expect("a client");
    let victim = lab.control_plane(0);
    for client in [&host, &pod] {
        for plane in lab.control_planes() {
            let outcome = client.connect(&Connect::name_of(plane.tls())).expect("an outcome");
            assert_eq!(outcome.server.as_deref(), Some(plane.name()), "all live: {outcome:?}");
        }
    }
    victim.crash().expect("crashed");
    // On a slow machine probes of the others fail now and then, and a server out of service takes nobody's place.
    let judged = agent.await_status("a verdict, and somebody to take its place", |status| {
        let state = |server| &nllb_lab::agent::backend(status, server).expect("a backend").state;
        let mut others = home_of(status, victim.tls()).backends.iter().filter(|other| other.used);
        state(victim.tls()) == "unhealthy" && others.any(|other| state(other.address) == "healthy")
    });
    let moved_before = judged.expect("a verdict").counters["node_address_moved"];
    // The client verifies the name that it dialled, as every client does.
    let request = Connect::http(victim.tls(), lab.http(&victim.v4().to_string(), "/whoami"));
    for client in [&host, &pod] {
        let outcome = client.connect(&request).expect("an outcome");
        assert_eq!(outcome.status, Some(200), "{outcome:?}");
        assert_ne!(outcome.peer, Some(victim.tls()));
    }
    let status = agent.status().expect("a status");
    assert_eq!(status.counters["node_address_moved"] - moved_before, 2);
    victim.restart().expect("restarted");
    agent.await_state(victim.tls(), "healthy").expect("readmitted");
    let outcome = host.connect(&Connect::name_of(victim.tls())).expect("an outcome");
    assert_eq!(outcome.server.as_deref(), Some(victim.name()), "back home: {outcome:?}");
}

#[test]
fn it_is_left_alone_when_no_certificate_allows_another_and_status_says_why() {
    let Some(lab) = Lab::builder().build_or_skip() else { return };
    let configuration =
        Configuration { node_addresses: NodeAddresses::On, ..Configuration::of(&lab).quick() };
    let mut agent = Agent::start(&lab, &configuration).expect("an agent");
    let client = lab.client(0).expect("a client");
    let victim = lab.control_plane(0);
    victim.crash().expect("crashed");
    let status = agent.await_state(victim.tls(), "unhealthy").expect("a verdict");
    let outcome = client.connect(&Connect::name_of(victim.tls())).expect("an outcome");
    assert_eq!(outcome.error.as_deref(), Some("ECONNREFUSED"), "{outcome:?}");
    let frontend = home_of(&status, victim.tls());
    for other in frontend.backends.iter().filter(|other| other.address != victim.tls()) {
        let reason = other.reason.as_deref().unwrap_or_default();
        assert!(!other.used && reason.contains(&victim.v4().to_string()), "{other:?}");
    }
    // What is said of the address holds for the VIP too, where every certificate is good.
    let outcome = client.connect(&Connect::name_of((nllb_lab::lab::VIP_V4, 443).into()));
    assert!(outcome.expect("an outcome").ok);
}

#[test]
fn it_is_served_by_another_when_the_configuration_trusts_every_certificate() {
    let Some(lab) = Lab::builder().build_or_skip() else { return };
    let configuration =
        Configuration { node_addresses: NodeAddresses::Trusted, ..Configuration::of(&lab).quick() };
    let mut agent = Agent::start(&lab, &configuration).expect("an agent");
    let client = lab.client(0).expect("a client");
    let victim = lab.control_plane(0);
    victim.readyz(Some(500)).expect("told");
    agent.await_state(victim.tls(), "draining").expect("a verdict");
    let outcome = client.connect(&Connect::name_of(victim.tls())).expect("an outcome");
    assert!(outcome.ok && outcome.server.as_deref() != Some(victim.name()), "{outcome:?}");
}

#[test]
fn a_nodes_own_address_is_left_alone_and_status_says_why() {
    let Some(lab) = lab_with_certificates_for_all() else { return };
    let victim = lab.control_plane(0);
    let own = |verb: &str| {
        let line = format!("addr {verb} {}/32 dev lo", victim.v4());
        netns::ip(Some(lab.node(0).netns()), &[line]).expect("changed");
    };
    own("add");
    victim.crash().expect("crashed");
    let configuration = Configuration {
        node_addresses: NodeAddresses::On,
        // With each the agent looks at the addresses of its host.
        self_test_interval: Duration::from_millis(100),
        ..Configuration::of(&lab).quick()
    };
    let mut agent = Agent::start(&lab, &configuration).expect("an agent");
    let host = lab.client(0).expect("a client");
    let pod = lab.pod_client(0, 0).expect("a client");
    let dial =
        |client: &Client| client.connect(&Connect::name_of(victim.tls())).expect("an outcome");
    // It is there at the start, goes, and comes back.
    for is_own in [true, false, true] {
        own(if is_own { "replace" } else { "del" });
        agent.await_state(victim.tls(), "unhealthy").expect("a verdict");
        let others_serve = agent.await_status("the addresses seen", |status| {
            let others = others_of(status, victim.tls());
            others.iter().all(|(used, reason)| {
                *used != is_own && reason.contains("this host's own") == is_own
            })
        });
        others_serve.expect("seen");
        for client in [&host, &pod] {
            let outcome = dial(client);
            if is_own {
                assert_eq!(outcome.error.as_deref(), Some("ECONNREFUSED"), "{outcome:?}");
            } else {
                assert!(outcome.ok, "{outcome:?}");
            }
        }
    }
    assert_eq!(agent.status().expect("a status").counters["node_address_moved"], 2);
}

#[test]
fn suspicion_alone_moves_nobody_away_from_a_healthy_server() {
    let Some(lab) = lab_with_certificates_for_all() else { return };
    // One probe is all that evidence starts here, so suspicion stays.
    let rarely = Duration::from_secs(60);
    let configuration = Configuration {
        node_addresses: NodeAddresses::On,
        interval: rarely,
        confirm_interval: rarely,
        max_backoff: rarely,
        ..Configuration::of(&lab)
    };
    let agent = Agent::start(&lab, &configuration).expect("an agent");
    let host = lab.client(0).expect("a client");
    let pod = lab.pod_client(0, 0).expect("a client");
    let home = lab.control_plane(0);
    let before = agent.status().expect("a status");
    let mut suspected = 0;
    let rounds = 10;
    for _ in 0..rounds {
        forge(&lab, "drop");
        let timeout = Some(Duration::from_millis(10));
        let abort = Connect { nonblocking: true, timeout, ..Connect::to(home.tls()) };
        assert!(pod.connect(&abort).expect("an outcome").timed_out);
        forge(&lab, "reject with tcp reset");
        for _ in 0..3 {
            assert!(!pod.connect(&Connect::to(home.tls())).expect("an outcome").ok);
        }
        let status = agent.status().expect("a status");
        suspected += u32::from(suspect_ms(&status, home.tls()) > 0);
        let outcome = host.connect(&Connect::name_of(home.tls())).expect("an outcome");
        assert_eq!(outcome.server.as_deref(), Some(home.name()), "{outcome:?}");
    }
    let after = agent.status().expect("a status");
    let rise = |name: &str| after.counters[name] - before.counters[name];
    println!("suspect in {suspected} of {rounds} rounds");
    assert!(suspected >= rounds / 2, "the evidence was real: {suspected}");
    assert_eq!(rise("connect_aborted"), u64::from(rounds));
    assert_eq!(rise("connect_reset"), 3 * u64::from(rounds));
    assert_eq!(rise("node_address_moved"), 0);
    assert_eq!(rise("node_address_kept"), 5 * u64::from(rounds));
}

/// What becomes of the pod's connects to a server, in the pod's own network.
fn forge(lab: &Lab, action: &str) {
    let rules = format!(
        "add table inet hostile\n\
         add chain inet hostile out {{ type filter hook output priority 0; }}\n\
         flush chain inet hostile out\n\
         add rule inet hostile out tcp dport 6443 {action}\n"
    );
    netns::nft(lab.node(0).pods()[0].netns(), &rules).expect("a filter");
}

fn suspect_ms(status: &Status, server: SocketAddr) -> u64 {
    let backend = nllb_lab::agent::backend(status, server).expect("a backend");
    backend.evidence.as_ref().map_or(0, |evidence| evidence.suspect_ms)
}

/// Of the servers that could serve another's address: whether they do, and what is said of it.
fn others_of(status: &Status, server: SocketAddr) -> Vec<(bool, String)> {
    let others = home_of(status, server).backends.iter().filter(|other| other.address != server);
    others.map(|other| (other.used, other.reason.clone().unwrap_or_default())).collect()
}

fn lab_with_certificates_for_all() -> Option<Lab> {
    let all = |_| [shared_names(), own_names(0), own_names(1), own_names(2)].concat();
    Lab::builder().names(all).pods(1).build_or_skip()
}

fn home_of(status: &Status, server: SocketAddr) -> &Frontend {
    let mut frontends = status.frontends.iter();
    frontends.find(|frontend| frontend.home == Some(server)).expect("its own frontend")
}
