//! `nllb status` beside an agent: the first line, the exit code, and what it says when the agent is gone.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::process::{Output, Stdio};

use nix::sys::signal::Signal;
use nllb_agent::status::{SCHEMA, Status};
use nllb_lab::process::Process;
use nllb_lab::wait::wait_until;
use nllb_lab::{Agent, Configuration, Lab};
use serde::Deserialize as _;

#[test]
fn the_first_line_and_the_exit_code_say_how_the_node_stands() {
    let Some(lab) = Lab::builder().build_or_skip() else { return };
    let mut agent = Agent::start(&lab, &Configuration::of(&lab).quick()).expect("an agent");
    println!("{}", shows(&agent, 0, "healthy: 3 of 3 backends may get connections, attached to "));
    println!("{}", text(&nllb(&agent, &["-o", "wide"]).stdout));

    let history = agent.history().expect("a history");
    let planes: Vec<_> = lab.control_planes().iter().map(|plane| plane.tls()).collect();
    assert_eq!(history.backends.iter().map(|known| known.address).collect::<Vec<_>>(), planes);
    for known in &history.backends {
        let slots = known.best_us.iter().zip(&known.smoothed_us);
        assert!(
            slots.clone().any(|(best, smoothed)| best.is_some() && smoothed.is_some()),
            "{known:?}"
        );
        assert!(slots.clone().all(|(best, smoothed)| best.is_some() == smoothed.is_some()));
    }

    let [first, second, third] = [0, 1, 2].map(|index| lab.control_plane(index));
    first.crash().expect("crashed");
    let is_unhealthy = format!("degraded: {} is unhealthy: connect refused", first.tls());
    println!("{}", shows(&agent, 3, &is_unhealthy));
    second.crash().expect("crashed");
    let one_left = format!("degraded: pool apiserver: only {} of 3 backends is left", third.tls());
    shows(&agent, 3, &one_left);
    third.crash().expect("crashed");
    let none = "panic: pool apiserver: none of its 3 backends may get connections";
    println!("{}", shows(&agent, 4, none));

    agent.kill().expect("killed");
    let alone = nllb(&agent, &[]);
    assert_eq!(alone.status.code(), Some(6), "{alone:?}");
    let said = text(&alone.stderr);
    println!("{said}");
    assert!(said.contains("\nconnects are still translated by the data path in "), "{said}");
    assert!(said.contains("backends 3\nits verdicts "), "{said}");
    agent.uninstall().expect("uninstalled");
    let gone = nllb(&agent, &["-o", "yaml"]);
    assert_eq!((gone.status.code(), &*gone.stdout), (Some(6), &b""[..]));
    let said = text(&gone.stderr);
    assert!(said.contains("\nconnects are not translated: "), "{said}");
}

#[test]
fn watching_goes_on_while_the_agent_is_gone_and_ends_cleanly() {
    let Some(lab) = Lab::builder().build_or_skip() else { return };
    let mut agent = Agent::start(&lab, &Configuration::of(&lab).quick()).expect("an agent");
    let mut command =
        agent.command(&args(&agent, &["-o", "json", "--watch=1"])).expect("a command");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut watch = Process::start(command).expect("started");
    let stdout = BufReader::new(watch.take_stdout().expect("a pipe"));
    let mut errors = BufReader::new(watch.take_stderr().expect("a pipe")).lines();
    let mut documents = serde_json::Deserializer::from_reader(stdout);
    let mut next = || Status::deserialize(&mut documents).expect("a document");

    let (before, after) = (next(), next());
    assert_eq!((before.schema, before.agent.pid), (SCHEMA, after.agent.pid));
    assert!(before.agent.uptime_ms < after.agent.uptime_ms);
    agent.kill().expect("killed");
    let absence = errors.by_ref().map(|line| line.expect("text"));
    let said: Vec<_> =
        absence.take_while(|line| !line.starts_with("asked again every 1 s")).collect();
    assert!(said[0].starts_with("nllb: no agent is running: "), "{said:?}");
    assert!(said[1].starts_with("connects are still translated by "), "{said:?}");
    agent.restart().expect("restarted");
    let back = loop {
        let document = next();
        if document.agent.pid != before.agent.pid {
            break document;
        }
    };
    assert!(back.agent.adopted);

    watch.signal(Signal::SIGINT).expect("sent");
    let end = watch.wait().expect("ended");
    assert!(matches!(end.code(), Some(0 | 3)), "as the last answer: {end}");
}

/// Waits until status ends with this code and begins with this line; gives all of it.
fn shows(agent: &Agent, code: i32, first: &str) -> String {
    let mut last = None;
    let shown = wait_until(first, || {
        let output = nllb(agent, &[]);
        let shown = text(&output.stdout);
        let found = output.status.code() == Some(code) && shown.starts_with(first);
        last = Some(output);
        Ok(found.then_some(shown))
    });
    shown.unwrap_or_else(|error| panic!("{error:#}: {last:?}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn nllb(agent: &Agent, more: &[&str]) -> Output {
    agent.nllb(&args(agent, more)).expect("it runs")
}

fn args(agent: &Agent, more: &[&str]) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec!["status".into(), "--bpffs".into(), agent.bpffs().into()];
    words.extend(["--socket".into(), agent.socket().into()]);
    words.extend(more.iter().map(OsString::from));
    words
}
