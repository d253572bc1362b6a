//! Drills: what they do to a server, that they end whatever becomes of who ordered them, and that nothing
//! of an operator's is changed.

use std::net::SocketAddr;
use std::time::Duration;

use nllb_lab::agent::{NodeAddresses, backend};
use nllb_lab::{Agent, Ask, Configuration, Connect, Lab};

use super::{connect, lab_with_agent, open_to};

const PATH: &str = "/v1/drill";

#[test]
fn a_blackholed_server_loses_its_connections_and_serves_again_when_nobody_renews_the_lease() {
    let Some(lab) = Lab::builder().build_or_skip() else { return };
    let configuration =
        Configuration { node_addresses: NodeAddresses::On, ..Configuration::of(&lab).quick() };
    let mut agent = Agent::start(&lab, &configuration).expect("an agent");
    let server = lab.control_plane(0).tls();
    agent.await_state(server, "healthy").expect("a state");
    let client = lab.client(0).expect("a client");
    let own = Connect { ask: Ask::Echo, keep: true, ..Connect::to(server) };
    let own = client.connect(&own).expect("an outcome").handle.expect("a handle");
    let translated = open_to(&client, server);
    let elsewhere = open_to(&client, lab.control_plane(1).tls());

    let (status, said) = drill(&agent, server, "blackhole", Some(20_000));
    assert_eq!(status, 200, "{said}");
    let status = agent.await_status("a closed connection", |status| {
        let closed = backend(status, server).and_then(|backend| backend.closed.get("drill"));
        closed.is_some_and(|closed| *closed == 1)
    });
    let status = status.expect("a status");
    let one = backend(&status, server).expect("a backend");
    assert_eq!((one.state.as_str(), one.cause.as_str()), ("unhealthy", "drill"));
    assert_eq!(one.drill.as_deref(), Some("blackhole"));
    assert_eq!(one.last_probe.as_ref().map(|probe| probe.outcome.as_str()), Some("ready"));
    let inspection = client.inspect(translated).expect("an inspection");
    assert_eq!(inspection.error.as_deref(), Some("ECONNABORTED"), "{inspection:?}");
    for open in [own, elsewhere] {
        assert!(client.echo(open, Duration::from_secs(30)).expect("an answer"));
    }
    for _ in 0..50 {
        assert_ne!(connect(&client).1, server);
    }

    // A shorter lease takes the place of the one before, and nobody renews it.
    let (status, said) = drill(&agent, server, "blackhole", Some(1_000));
    assert_eq!(status, 200, "{said}");
    let status = agent.await_state(server, "healthy").expect("a state");
    assert_eq!(backend(&status, server).expect("a backend").drill, None);
    open_to(&client, server);
    let output = agent.nllb(&["events".into(), "--socket".into(), agent.socket().into()]);
    let events = String::from_utf8_lossy(&output.expect("events").stdout).into_owned();
    for part in ["blackhole: out of service for 20.0s", "blackhole: nobody renewed its lease"] {
        assert!(events.contains(part), "{part}: {events}");
    }
}

#[test]
fn a_drill_ends_with_the_agent() {
    let Some((lab, mut agent)) = lab_with_agent() else { return };
    let server = lab.control_plane(0).tls();
    let client = lab.client(0).expect("a client");
    for mode in ["simulate", "blackhole"] {
        agent.await_state(server, "healthy").expect("a state");
        let (status, said) = drill(&agent, server, mode, Some(60_000));
        assert_eq!(status, 200, "{said}");
        agent.kill().expect("killed");
        // The maps still say that it is out of service, until their lease has lapsed.
        open_to(&client, server);
        let status = agent.restart().expect("restarted");
        assert!(status.agent.adopted);
        let status = agent.await_state(server, "healthy").expect("a state");
        assert_eq!(backend(&status, server).expect("a backend").drill, None);
    }
}

#[test]
fn a_drill_is_refused_where_nobody_else_serves_and_leaves_an_operators_drain_alone() {
    let Some((lab, mut agent)) = lab_with_agent() else { return };
    let servers: Vec<SocketAddr> = lab.control_planes().iter().map(|plane| plane.tls()).collect();
    let [first, second, last] = servers[..] else { panic!("three servers: {servers:?}") };
    for server in &servers {
        agent.await_state(*server, "healthy").expect("a state");
    }
    let order = |path, server| agent.order(path, &format!("{{\"backend\":\"{server}\"}}"));
    assert_eq!(order("/v1/drain", first).expect("an answer").0, 200);
    let (status, said) = drill(&agent, first, "blackhole", Some(5_000));
    assert_eq!(status, 409, "{said}");
    assert!(said.contains("is drained by an operator"), "{said}");
    assert_eq!(drill(&agent, first, "over", None).0, 200);
    assert_eq!(drill(&agent, second, "simulate", Some(60_000)).0, 200);
    let (status, said) = drill(&agent, last, "blackhole", Some(5_000));
    assert_eq!(status, 409, "{said}");
    assert!(said.starts_with("no other backend of pool apiserver may get connections"), "{said}");
    let client = lab.client(0).expect("a client");
    assert_eq!(connect(&client).1, last, "nothing was changed");

    // The last one dies: the drill ends at once, the operator's drain does not.
    lab.control_plane(2).power_off().expect("off");
    let status = agent.await_state(second, "healthy").expect("a state");
    let state = |server| backend(&status, server).expect("a backend").state.as_str();
    assert_eq!((state(first), state(last)), ("draining", "unhealthy"));
    assert_eq!(connect(&client).1, second);
}

#[test]
fn a_drill_without_a_lease_or_with_a_long_one_is_no_order() {
    let Some((lab, agent)) = lab_with_agent() else { return };
    let server = lab.control_plane(0).tls();
    for (lease, why) in [(None, "leaseMs is missing"), (Some(60_001), "leaseMs 60001 is out of")] {
        let (status, said) = drill(&agent, server, "blackhole", lease);
        assert!(status == 400 && said.contains(why), "{status}: {said}");
    }
}

/// Orders a drill, or its end.
fn drill(agent: &Agent, server: SocketAddr, mode: &str, lease_ms: Option<u64>) -> (u16, String) {
    let lease = lease_ms.map(|ms| format!(",\"leaseMs\":{ms}")).unwrap_or_default();
    let order = format!("{{\"backend\":\"{server}\",\"mode\":\"{mode}\"{lease}}}");
    agent.order(PATH, &order).expect("an answer")
}
