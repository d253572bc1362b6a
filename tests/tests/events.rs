//! What `nllb events` tells of a failover: why, for how long, across a restart of the agent, while it runs and
//! without it; and what the cluster is told as Events of the node.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Output;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nllb_agent::journal::{Entry, What};
use nllb_lab::agent::backend;
use nllb_lab::apiserver::{Api, Endpoint, Objects};
use nllb_lab::lab::VIP_V4;
use nllb_lab::process::Process;
use nllb_lab::wait::wait_until;
use nllb_lab::{Agent, Configuration, Lab};
use serde_json::Value;

#[test]
fn a_failover_is_told_with_causes_and_durations_across_a_restart_of_the_agent() {
    let Some(lab) = Lab::builder().build_or_skip() else { return };
    let mut agent = Agent::start(&lab, &Configuration::of(&lab).quick()).expect("an agent");
    let (follower, followed) = follow(&agent);
    let server = lab.control_plane(0).tls();
    let client = lab.client(0).expect("a client");
    client.open_to(server).expect("opened");
    lab.control_plane(0).power_off().expect("off");
    let closed = agent.await_status("a closed connection", |status| {
        let closed = backend(status, server).and_then(|backend| backend.closed.get("dead"));
        closed.is_some_and(|closed| *closed == 1)
    });
    closed.expect("closed");
    assert!(agent.terminate().expect("ended").success());

    // Nobody answers now, so it is read from the disk.
    let file = journal(&agent);
    assert_eq!(fs::metadata(&file).expect("a journal").permissions().mode() & 0o777, 0o600);
    let output = events(&agent, &[]);
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.ends_with(&format!(": read from {}\n", file.display())), "{said}");
    let table = String::from_utf8_lossy(&output.stdout);
    println!("{table}");
    let left = format!("failover       {server:<21}  left apiserver, 2 in service: ");
    assert!(table.contains(&left) && table.contains(" after the first sign\n"), "{table}");
    assert!(table.contains("1 connection ended, dead: ") && table.contains("SIGTERM"), "{table}");

    agent.restart().expect("started");
    lab.control_plane(0).power_on().expect("on");
    agent.await_state(server, "healthy").expect("healthy");
    let entries = parsed(&events(&agent, &["-o", "json"]));
    for (expected, entry) in (1..).zip(&entries) {
        assert_eq!(entry.seq, expected, "{entries:?}");
    }
    let about = |entry: &&Entry| entry.what.is_about(|backend| backend == server);
    let about: Vec<&Entry> = entries.iter().filter(about).collect();
    let failover = about.iter().find_map(|entry| {
        let What::Failover { remaining: 2, duration_ms: Some(after), reason, .. } = &entry.what
        else {
            return None;
        };
        Some((entry.time_ms, *after, reason.clone()))
    });
    let (lost_at, after, reason) = failover.expect("a failover with its duration");
    println!("failover after {after} ms of doubt: {reason}");
    let is_lost = |what: &What| matches!(what, What::Transition { from, to, .. } if from == "healthy" && to == "unhealthy");
    assert!(about.iter().any(|entry| is_lost(&entry.what)), "{about:?}");
    let is_closed =
        |what: &What| matches!(what, What::Closed { cause, sockets: 1, .. } if cause == "dead");
    assert!(about.iter().any(|entry| is_closed(&entry.what)), "{about:?}");
    let recovered = about.iter().find_map(|entry| {
        let What::Recovered { duration_ms: Some(out), .. } = &entry.what else { return None };
        Some((entry.time_ms, *out))
    });
    let (back_at, out) = recovered.expect("a recovery with its duration");
    // Two agents measured it, so the clock on the wall did.
    let between = u64::try_from(back_at - lost_at).expect("later");
    assert!(out.abs_diff(between) < 1000, "{out} ms, of {between}");
    let starts = entries.iter().filter_map(|entry| {
        let What::Started { adopted, .. } = &entry.what else { return None };
        Some(*adopted)
    });
    assert_eq!(starts.collect::<Vec<_>>(), [false, true]);

    // Who followed all the time has seen the same.
    let numbers = entries.iter().map(|entry| entry.seq);
    for number in numbers {
        let line = followed.recv_timeout(Duration::from_secs(60)).expect("it is told");
        let entry: Entry = serde_json::from_str(&line).expect("an entry");
        assert_eq!(entry.seq, number);
    }
    drop(follower);
}

#[test]
fn without_a_disk_the_agent_goes_on_and_the_newest_entries_are_told_from_memory() {
    let Some(lab) = Lab::builder().build_or_skip() else { return };
    let mut agent = Agent::prepare(&lab, 0).expect("an agent");
    agent.configure(&Configuration::of(&lab).quick()).expect("configured");
    // A directory with the name of the journal.
    fs::create_dir(journal(&agent)).expect("made");
    let status = agent.restart().expect("started");
    let error = status.journal.error.expect("a reason");
    assert!(error.contains("journal.jsonl"), "{error}");
    let server = lab.control_plane(1).tls();
    lab.control_plane(1).crash().expect("crashed");
    agent.await_state(server, "unhealthy").expect("a verdict");
    let entries = parsed(&events(&agent, &["-o", "json", "--backend", &server.to_string()]));
    let told = entries.iter().any(|entry| matches!(entry.what, What::Failover { .. }));
    assert!(told, "{entries:?}");
}

#[test]
fn the_cluster_is_told_of_failovers_and_who_refuses_is_not_asked_again() {
    let Some(lab) = Lab::builder().build_or_skip() else { return };
    let servers: Vec<SocketAddr> = lab.control_planes().iter().map(|plane| plane.tls()).collect();
    let endpoints: Vec<_> = servers.iter().copied().map(Endpoint::ready).collect();
    lab.set_objects(Objects::kubernetes(&endpoints, &[VIP_V4.into()])).expect("told");
    let mut agent = Agent::prepare(&lab, 0).expect("an agent");
    let kubeconfig = agent.write_kubeconfig().expect("written");
    let source = format!(
        "hosts: ['{}'], kubernetes: {{events: true, kubeconfig: {}}}",
        servers[0].ip(),
        kubeconfig.display()
    );
    let configuration = Configuration {
        endpoints: Vec::new(),
        control_plane: Some(source),
        ..Configuration::of(&lab).quick()
    };
    agent.configure(&configuration).expect("written");
    // As a pod's manifest says it.
    let program = lab.directory().join("named");
    let lab_program = env!("CARGO_BIN_EXE_nllb-lab");
    let words = format!("#!/bin/sh\nNODE_NAME=worker-1 exec {lab_program} agent \"$@\"\n");
    fs::write(&program, words).expect("written");
    fs::set_permissions(&program, Permissions::from_mode(0o755)).expect("permitted");
    agent.run_program(&program);
    agent.restart().expect("started");
    for server in &servers {
        agent.await_state(*server, "healthy").expect("a verdict");
    }

    lab.control_plane(0).crash().expect("crashed");
    agent.await_state(servers[0], "unhealthy").expect("a verdict");
    let event = wait_until("an event of the node", || {
        let planes = &lab.control_planes()[1..];
        let stats: Vec<_> = planes.iter().map(|plane| plane.stats()).collect::<Result<_, _>>()?;
        let mut events = stats.into_iter().flat_map(|stats| stats.events);
        Ok(events.find(|event| event["reason"] == "ControlPlaneFailover"))
    });
    let event: Value = event.expect("told");
    assert_eq!(event["involvedObject"]["kind"], "Node");
    assert_eq!(event["involvedObject"]["name"], "worker-1");
    assert_eq!(
        (&event["type"], &event["metadata"]["namespace"]),
        (&"Warning".into(), &"default".into())
    );
    let message = event["message"].as_str().expect("text");
    let begins = format!("new connections to apiserver no longer go to {} (", servers[0]);
    assert!(message.starts_with(&begins) && message.ends_with("; 2 left"), "{message}");

    // From now on it may not, says who is left when another one goes.
    let (left, second) = (lab.control_plane(1), lab.control_plane(2));
    left.set_modes(|modes| modes.events = Api::Refuse(403)).expect("told");
    second.crash().expect("crashed");
    let refused =
        "events of this node are not taken by the cluster: 403: allow the account to create";
    wait_until("a line that says so", || Ok(agent.log().contains(refused).then_some(())))
        .expect("said");
    let asked = || {
        let requests = left.stats().expect("told").requests;
        requests.get("/api/v1/namespaces/default/events").copied().unwrap_or_default()
    };
    let before = asked();
    assert!(before > 0);
    for _ in 0..2 {
        second.restart().expect("restarted");
        agent.await_state(servers[2], "healthy").expect("a verdict");
        second.crash().expect("crashed");
        agent.await_state(servers[2], "unhealthy").expect("a verdict");
    }
    assert_eq!(asked(), before, "it was not tried again");
    assert_eq!(agent.log().matches(refused).count(), 1);
}

/// Where an agent of a lab keeps its journal: beside the table.
fn journal(agent: &Agent) -> PathBuf {
    agent.file().with_file_name("journal.jsonl")
}

fn args(agent: &Agent, args: &[&str]) -> Vec<std::ffi::OsString> {
    let own = ["--socket".into(), agent.socket().into(), "--journal".into(), journal(agent).into()];
    std::iter::once("events".into()).chain(args.iter().map(Into::into)).chain(own).collect()
}

fn events(agent: &Agent, words: &[&str]) -> Output {
    agent.nllb(&args(agent, words)).expect("it runs")
}

fn parsed(output: &Output) -> Vec<Entry> {
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(|line| serde_json::from_str(line).expect("an entry")).collect()
}

/// Follows the journal; the lines arrive as they are told.
fn follow(agent: &Agent) -> (Process, mpsc::Receiver<String>) {
    let errors = agent.file().with_file_name("follower.log");
    let words = args(agent, &["--follow", "-o", "json"]);
    let mut process = agent.start_nllb(&words, &errors).expect("it runs");
    let lines = BufReader::new(process.take_stdout().expect("a pipe")).lines();
    let (sender, receiver) = mpsc::channel();
    // It ends with the process.
    thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
    (process, receiver)
}
