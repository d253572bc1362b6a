//! Draining by hand: where new connections go, what becomes of the open ones, and how long it lasts.

use std::net::SocketAddr;
use std::process::Output;
use std::time::Duration;

use nllb_lab::agent::{NodeAddresses, backend};
use nllb_lab::wait::wait_until;
use nllb_lab::{Agent, Ask, Configuration, Connect, Lab};

use super::{connect, lab_with_agent, open_to};

#[test]
fn a_drained_server_gets_no_new_connections_and_keeps_the_open_ones() {
    let Some((lab, mut agent)) = lab_with_agent() else { return };
    let client = lab.client(0).expect("a client");
    let server = lab.control_plane(0).tls();
    let open = open_to(&client, server);
    let output = nllb(&agent, &["drain", &server.ip().to_string()]);
    let said = format!("draining {server}; 1 connection stays until it ends\n");
    assert_eq!(text(&output.stdout), said, "{output:?}");
    for _ in 0..50 {
        assert_ne!(connect(&client).1, server);
    }
    assert!(client.echo(open, Duration::from_secs(30)).expect("an answer"));
    let status = agent.await_state(server, "draining").expect("a state");
    assert!(backend(&status, server).expect("a backend").drained);
    let output = nllb(&agent, &["drain", &server.to_string()]);
    assert!(
        text(&output.stdout).starts_with(&format!("draining {server} already; ")),
        "{output:?}"
    );

    let output = nllb(&agent, &["undrain", &server.to_string()]);
    let said = format!("{server} is used again as soon as it is ready\n");
    assert_eq!(text(&output.stdout), said, "{output:?}");
    agent.await_state(server, "healthy").expect("a state");
    open_to(&client, server);
}

#[test]
fn open_connections_to_a_drained_server_are_closed_when_their_time_is_over() {
    let Some((lab, mut agent)) = lab_with_agent() else { return };
    let client = lab.client(0).expect("a client");
    let (server, other) = (lab.control_plane(0).tls(), lab.control_plane(1).tls());
    let (open, stays) = (open_to(&client, server), open_to(&client, other));
    let output = nllb(&agent, &["drain", &server.to_string(), "--close-after", "1s"]);
    let said = format!("draining {server}; 1 connection stays, closed after 1s\n");
    assert_eq!(text(&output.stdout), said, "{output:?}");
    let status = agent.await_status("a closed connection", |status| {
        let closed = backend(status, server).and_then(|backend| backend.closed.get("drained"));
        closed.is_some_and(|closed| *closed == 1)
    });
    assert_eq!(backend(&status.expect("a status"), server).expect("a backend").state, "draining");
    let inspection = client.inspect(open).expect("an inspection");
    assert_eq!(inspection.error.as_deref(), Some("ECONNABORTED"), "{inspection:?}");
    assert!(client.echo(stays, Duration::from_secs(30)).expect("an answer"));
}

#[test]
fn who_dialled_the_drained_servers_own_address_is_left_alone() {
    let Some(lab) = Lab::builder().build_or_skip() else { return };
    let configuration =
        Configuration { node_addresses: NodeAddresses::On, ..Configuration::of(&lab).quick() };
    let mut agent = Agent::start(&lab, &configuration).expect("an agent");
    let client = lab.client(0).expect("a client");
    let server = lab.control_plane(0).tls();
    let translated = open_to(&client, server);
    let kept = Connect { ask: Ask::Echo, keep: true, ..Connect::to(server) };
    let kept = client.connect(&kept).expect("an outcome").handle.expect("a handle");
    let output = nllb(&agent, &["drain", &server.to_string(), "--close-after", "1s"]);
    assert!(output.status.success(), "{output:?}");
    let status = agent.await_status("a closed connection", |status| {
        let closed = backend(status, server).and_then(|backend| backend.closed.get("drained"));
        closed.is_some_and(|closed| *closed > 0)
    });
    let status = status.expect("a status");
    assert_eq!(backend(&status, server).expect("a backend").closed["drained"], 1);
    let inspection = client.inspect(translated).expect("an inspection");
    assert_eq!(inspection.error.as_deref(), Some("ECONNABORTED"), "{inspection:?}");
    assert!(client.echo(kept, Duration::from_secs(30)).expect("an answer"));
}

#[test]
fn the_last_server_is_drained_by_force_only() {
    let Some((lab, agent)) = lab_with_agent() else { return };
    let servers: Vec<SocketAddr> = lab.control_planes().iter().map(|plane| plane.tls()).collect();
    let [first, second, last] = servers[..] else { panic!("three servers: {servers:?}") };
    for server in [first, second] {
        assert!(nllb(&agent, &["drain", &server.to_string()]).status.success());
    }
    let output = nllb(&agent, &["drain", &last.to_string()]);
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    let line = format!("nllb: {last} is the last eligible backend of pool apiserver; ");
    assert!(text(&output.stderr).starts_with(&line), "{output:?}");
    let client = lab.client(0).expect("a client");
    assert_eq!(connect(&client).1, last, "nothing was changed");
    assert!(nllb(&agent, &["drain", &last.to_string(), "--force"]).status.success());
    connect(&client);

    let output = nllb(&agent, &["drain", "10.0.0.99"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(text(&output.stderr).contains(&first.to_string()), "it lists the known: {output:?}");
}

#[test]
fn a_drain_outlives_the_agent_and_the_maps() {
    let Some((lab, mut agent)) = lab_with_agent() else { return };
    let (drained, dead) = (lab.control_plane(0).tls(), lab.control_plane(1).tls());
    assert!(nllb(&agent, &["drain", &drained.to_string()]).status.success());
    lab.control_plane(1).power_off().expect("off");
    agent.await_state(dead, "unhealthy").expect("a state");
    let table = agent.file().with_file_name("table.json");
    wait_until("a table on disk", || {
        let text = std::fs::read_to_string(&table).unwrap_or_default();
        let both = text.contains("\"unhealthy\"") && text.contains("\"drained\": true");
        Ok(both.then_some(()))
    })
    .expect("written");
    for reboot in [false, true] {
        agent.kill().expect("killed");
        if reboot {
            agent.uninstall().expect("removed");
        }
        let status = agent.restart().expect("restarted");
        assert_eq!(status.agent.adopted, !reboot);
        assert_eq!(status.table_on_disk.used, 3);
        let backend = backend(&status, drained).expect("a backend");
        assert!(backend.drained && backend.state == "draining", "{backend:?}");
        let client = lab.client(0).expect("a client");
        for _ in 0..20 {
            assert_eq!(connect(&client).1, lab.control_plane(2).tls());
        }
    }
}

/// Runs a command of the agent's program against the running agent.
fn nllb(agent: &Agent, args: &[&str]) -> Output {
    let socket = agent.socket();
    let args = args.iter().map(Into::into).chain(["--socket".into(), socket.into()]);
    agent.nllb(&args.collect::<Vec<_>>()).expect("ran")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
