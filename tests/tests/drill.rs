//! `nllb drill` beside clients: what it measures, how it judges, and that it leaves everything as it was.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::process::Output;
use std::time::Duration;

use nix::sys::signal::Signal;
use nllb_agent::status::Status;
use nllb_lab::agent::backend;
use nllb_lab::lab::VIP_V4;
use nllb_lab::load::none_fails;
use nllb_lab::process::Process;
use nllb_lab::wait::wait_until;
use nllb_lab::{Agent, Ask, Client, Configuration, Connect, ConnectLoop, Lab, Traffic};
use serde_json::Value;

/// Longer than any blackout on a busy machine: what is asked is whether the drill comes to its end.
const PATIENT: [&str; 4] = ["--sla", "6s", "--for", "7s"];

#[test]
fn every_backend_is_drained_in_turn_and_no_client_notices() {
    let Some((lab, mut agent)) = lab_with_agent() else { return };
    let client = lab.client(0).expect("a client");
    let traffic = traffic(&lab, &client);
    none_fails(&client, traffic, 100);
    let holder = lab.client(0).expect("a client");
    let held: Vec<u64> = (0..9).map(|_| connect(&holder)).collect();

    all_restored(&lab, &mut agent);
    let args = [&["--yes"], &PATIENT[..], &["-o", "json"]].concat();
    let report = document(&nllb(&agent, &args), 0);
    println!("{report:#}");
    let told = (&report["schema"], &report["verdict"], &report["mode"]);
    assert_eq!(told, (&1.into(), &"passed".into(), &"simulate".into()), "{report}");
    assert_eq!(subjects(&report), servers(&lab));
    for backend in report["backends"].as_array().expect("a list") {
        assert_eq!(backend["through"], format!("{VIP_V4}:443"));
        assert_eq!((&backend["connects"]["failed"], &backend["own"]), (&0.into(), &Value::Null));
        assert!(backend["connects"]["total"].as_u64().is_some_and(|total| total > 0), "{backend}");
        assert!(backend["outMs"].as_u64().is_some_and(|ms| ms >= 7000), "{backend}");
        assert_eq!(backend["clients"]["closed"], 0);
    }
    none_fails(&client, traffic, 100);
    for handle in held {
        assert!(holder.echo(handle, Duration::from_secs(30)).expect("an answer"));
    }
    all_restored(&lab, &mut agent);
}

#[test]
fn a_blackholed_backends_connections_are_reopened_elsewhere() {
    let Some((lab, mut agent)) = lab_with_agent() else { return };
    let client = lab.client(0).expect("a client");
    let traffic = traffic(&lab, &client);
    let names: Vec<String> =
        lab.control_planes().iter().map(|plane| plane.name().to_owned()).collect();
    client.traffic_hold(traffic, &names).expect("held");

    all_restored(&lab, &mut agent);
    let output = nllb(&agent, &[&["--yes", "--blackhole"], &PATIENT[..], &["-o", "json"]].concat());
    let report = document(&output, 0);
    println!("{report:#}");
    assert_eq!(subjects(&report), servers(&lab));
    for backend in report["backends"].as_array().expect("a list") {
        let own = &backend["own"];
        assert!(own["open"].as_u64().is_some_and(|open| open > 0), "{backend}");
        assert_eq!((&own["ended"], &own["reopened"]), (&own["open"], &own["open"]), "{backend}");
        assert_eq!(backend["connects"]["failed"], 0, "{backend}");
        assert!(
            backend["clients"]["closed"].as_u64().is_some_and(|closed| closed > 0),
            "{backend}"
        );
    }
    all_restored(&lab, &mut agent);
}

#[test]
fn a_drill_above_its_sla_is_told_by_the_exit_code() {
    let Some((lab, mut agent)) = lab_with_agent() else { return };
    let delay = Duration::from_millis(20);
    lab.control_planes().iter().try_for_each(|plane| plane.delay(delay)).expect("delayed");
    let server = lab.control_plane(0).tls().to_string();
    let args = ["--yes", "--blackhole", "--sla", "1ms", "--for", "5s", "--backend", &server];
    let output = nllb(&agent, &args);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(10), "{output:?}");
    assert!(said.contains("an own connection was reopened after "), "{said}");
    assert!(said.ends_with("\nabove the SLA\n"), "{said}");
    all_restored(&lab, &mut agent);
}

#[test]
fn nothing_is_done_where_nobody_else_serves_or_nobody_said_yes() {
    let Some((lab, mut agent)) = lab_with_agent() else { return };
    let refused = |output: Output, code: i32| {
        assert_eq!((output.status.code(), &*output.stdout), (Some(code), &b""[..]), "{output:?}");
        text(&output.stderr)
    };
    let said = refused(nllb(&agent, &[]), 2);
    assert!(said.ends_with("confirm with --yes\n"), "{said}");

    let [first, second, last] = servers(&lab)[..] else { panic!("three servers") };
    let drain = |server: SocketAddr| {
        let args: [OsString; 4] =
            ["drain".into(), server.to_string().into(), "--socket".into(), agent.socket().into()];
        assert!(agent.nllb(&args).expect("it runs").status.success());
    };
    drain(first);
    drain(second);
    let said = refused(nllb(&agent, &["--yes"]), 7);
    let line = "nllb: no other backend of pool apiserver may get connections";
    assert!(said.starts_with(line), "{said}");
    let first = first.to_string();
    let said = refused(nllb(&agent, &["--yes", "--backend", &first]), 7);
    assert!(said.starts_with(&format!("nllb: {first} is draining (drained")), "{said}");
    let status = agent.status().expect("a status");
    assert_eq!(backend(&status, last).expect("a backend").state, "healthy");

    agent.kill().expect("killed");
    let said = refused(nllb(&agent, &["--yes"]), 6);
    assert!(said.starts_with("nllb: no agent is running"), "{said}");
}

#[test]
fn who_is_not_translated_measures_nothing() {
    let Some((lab, agent)) = lab_with_agent() else { return };
    // In the node's network namespace, and in the cgroup of the test.
    let place = nllb_lab::place::Place::in_netns(lab.node(0).netns());
    let words: [OsString; 5] =
        ["agent".into(), "drill".into(), "--yes".into(), "--socket".into(), agent.socket().into()];
    let mut command = nllb_lab::process::command(&place, &words).expect("a command");
    let output = command.output().expect("it runs");
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    let said = text(&output.stderr);
    assert!(said.contains("no connect of this process to pool apiserver is translated"), "{said}");
    assert!(!agent.log().contains("told by an operator"), "{}", agent.log());
}

#[test]
fn a_backend_is_back_when_the_drill_is_killed_or_told_to_end() {
    let Some((lab, mut agent)) = lab_with_agent() else { return };
    let server = lab.control_plane(1).tls();
    for (signal, mode) in [
        (Signal::SIGKILL, "--simulate"),
        (Signal::SIGINT, "--blackhole"),
        (Signal::SIGTERM, "--simulate"),
    ] {
        let mut drill =
            start(&lab, &agent, &["--for", "10m", mode, "--backend", &server.to_string()]);
        agent.await_status("a drill", |status| is_drilled(status, server)).expect("a drill");
        drill.signal(signal).expect("sent");
        let end = drill.wait().expect("ended");
        if signal != Signal::SIGKILL {
            assert_eq!(end.code(), Some(7), "{signal}: {end}");
            let status = agent.status().expect("a status");
            assert!(!is_drilled(&status, server), "{signal}: it is over before the drill ends");
        }
        all_restored(&lab, &mut agent);
    }
    let events = agent.nllb(&["events".into(), "--socket".into(), agent.socket().into()]);
    let events = text(&events.expect("events").stdout);
    assert_eq!(events.matches("simulate: nobody renewed its lease").count(), 1, "{events}");
    assert_eq!(events.matches(": it was ended").count(), 2, "{events}");
}

#[test]
fn an_operators_orders_outlast_a_drill_and_end_it() {
    let Some((lab, mut agent)) = lab_with_agent() else { return };
    let [first, second, third] = servers(&lab)[..] else { panic!("three servers") };
    let order = |agent: &Agent, path: &str, server: SocketAddr| {
        let done = agent.order(path, &format!("{{\"backend\":\"{server}\"}}"));
        assert_eq!(done.expect("an answer").0, 200);
    };
    order(&agent, "/v1/drain", first);
    let args = [&["--yes"], &PATIENT[..], &["-o", "json"]].concat();
    let report = document(&nllb(&agent, &args), 0);
    assert_eq!(subjects(&report), [second, third]);
    let status = agent.status().expect("a status");
    assert!(backend(&status, first).expect("a backend").drained);
    order(&agent, "/v1/undrain", first);
    agent.await_state(first, "healthy").expect("a state");

    for path in ["/v1/undrain", "/v1/drain"] {
        let mut drill = start(&lab, &agent, &["--for", "10m", "--backend", &second.to_string()]);
        agent.await_status("a drill", |status| is_drilled(status, second)).expect("a drill");
        order(&agent, path, second);
        assert_eq!(drill.wait().expect("ended").code(), Some(7), "{path}");
        let status = agent.status().expect("a status");
        let is_drained = backend(&status, second).expect("a backend").drained;
        assert_eq!((is_drilled(&status, second), is_drained), (false, path == "/v1/drain"));
    }
    order(&agent, "/v1/undrain", second);
    all_restored(&lab, &mut agent);
}

#[test]
fn a_drill_ends_when_the_others_die() {
    let Some((lab, mut agent)) = lab_with_agent() else { return };
    let server = lab.control_plane(0).tls();
    let mut drill = start(&lab, &agent, &["--for", "10m", "--backend", &server.to_string()]);
    agent.await_status("a drill", |status| is_drilled(status, server)).expect("a drill");
    lab.control_plane(1).crash().expect("crashed");
    lab.control_plane(2).crash().expect("crashed");
    assert_eq!(drill.wait().expect("ended").code(), Some(7));
    let mut said = String::new();
    let mut out = drill.take_stdout().expect("a pipe");
    std::io::Read::read_to_string(&mut out, &mut said).expect("readable");
    assert!(said.contains("no other backend may get connections any more"), "{said}");
    assert!(said.ends_with("\naborted\n"), "{said}");
    agent.await_state(server, "healthy").expect("in service");
}

fn lab_with_agent() -> Option<(Lab, Agent)> {
    let lab = Lab::builder().build_or_skip()?;
    // Not the quick one: a busy machine's servers are to stay in service but for the drill.
    let mut agent = Agent::start(&lab, &Configuration::of(&lab)).expect("an agent");
    all_restored(&lab, &mut agent);
    Some((lab, agent))
}

/// A client that connects a hundred times a second, and whatever it is told to hold; gives its handle.
fn traffic(lab: &Lab, client: &Client) -> u64 {
    let (interval, patience) = (Duration::from_millis(10), Duration::from_secs(20));
    let loops = vec![ConnectLoop { interval, patience, ..ConnectLoop::in_turn() }];
    client.traffic(&Traffic { loops, ..lab.traffic() }).expect("traffic")
}

fn servers(lab: &Lab) -> Vec<SocketAddr> {
    lab.control_planes().iter().map(|plane| plane.tls()).collect()
}

fn all_restored(lab: &Lab, agent: &mut Agent) {
    let healthy = |status: &Status, server| {
        backend(status, server).is_some_and(|one| one.state == "healthy" && one.drill.is_none())
    };
    let restored = agent.await_status("every server in service", |status| {
        servers(lab).into_iter().all(|server| healthy(status, server))
    });
    restored.expect("restored");
}

fn is_drilled(status: &Status, server: SocketAddr) -> bool {
    backend(status, server).is_some_and(|backend| backend.drill.is_some())
}

/// A connection through the VIP that stays open.
fn connect(client: &Client) -> u64 {
    let vip = Connect { ask: Ask::Echo, keep: true, ..Connect::to((VIP_V4, 443).into()) };
    let opened = wait_until("a connection", || Ok(client.connect(&vip)?.handle));
    opened.expect("opened")
}

fn words(agent: &Agent, args: &[&str]) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec!["drill".into(), "--socket".into(), agent.socket().into()];
    words.extend(args.iter().map(OsString::from));
    words
}

/// Runs a drill to its end, without a terminal.
fn nllb(agent: &Agent, args: &[&str]) -> Output {
    let mut command = agent.command(&words(agent, args)).expect("a command");
    command.stdin(std::process::Stdio::null()).output().expect("it runs")
}

fn start(lab: &Lab, agent: &Agent, args: &[&str]) -> Process {
    let words = words(agent, &[&["--yes"], args].concat());
    agent.start_nllb(&words, &lab.directory().join("drill.log")).expect("it runs")
}

fn document(output: &Output, code: i32) -> Value {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn subjects(report: &Value) -> Vec<SocketAddr> {
    let backends = report["backends"].as_array().expect("a list");
    let addresses = backends.iter().map(|one| one["backend"].as_str().expect("an address"));
    addresses.map(|address| address.parse().expect("an address")).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
