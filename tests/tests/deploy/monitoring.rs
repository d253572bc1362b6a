//! Alert rules and metrics, as Prometheus itself reads them.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use nllb_lab::lab::say_skipped;
use nllb_lab::{Agent, Configuration, Lab, netns, tools};

use super::{both, deploy, succeed};

/// Where an agent listens by default.
const HTTP: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 7473);

fn promtool() -> Option<PathBuf> {
    let found = tools::find("promtool", "prometheus");
    if found.is_none() {
        say_skipped("no promtool here");
    }
    found
}

#[test]
fn alert_rules_are_good_and_fire_when_they_should() {
    let Some(promtool) = promtool() else { return };
    let rules = deploy("monitoring/rules.yaml");
    succeed(Command::new(&promtool).args(["check", "rules"]).arg(rules));
    succeed(
        Command::new(&promtool).args(["test", "rules"]).arg(deploy("monitoring/rules-test.yaml")),
    );
}

#[test]
fn every_series_of_the_rules_is_one_of_the_agent() {
    let read = |path: PathBuf| std::fs::read_to_string(path).expect("readable");
    let rules = read(deploy("monitoring/rules.yaml"));
    let known = read(deploy("../docs/metrics.md"));
    let known: BTreeSet<&str> = known
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|it| it.0)
        .collect();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let used: BTreeSet<&str> =
        rules.split(|c| !is_name(c)).filter(|word| word.starts_with("nllb_")).collect();
    assert!(used.len() > 10, "{used:?}");
    let unknown: Vec<_> = used.difference(&known).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn the_metrics_of_a_running_agent_are_as_prometheus_wants_them() {
    let Some(promtool) = promtool() else { return };
    let Some(lab) = Lab::builder().build_or_skip() else { return };
    let mut agent = Agent::start(&lab, &Configuration::of(&lab)).expect("an agent");
    agent.await_state(lab.control_plane(0).tls(), "healthy").expect("probed");
    let metrics = netns::run_in(lab.node(0).netns(), scrape).expect("in the node");
    assert!(metrics.contains("\nnllb_backend_state{"), "{metrics}");
    let mut check = Command::new(promtool);
    check.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut check = check.stderr(Stdio::piped()).spawn().expect("started");
    // Taken, so that it ends.
    let mut input = check.stdin.take().expect("a pipe");
    input.write_all(metrics.as_bytes()).expect("written");
    drop(input);
    let output = check.wait_with_output().expect("ended");
    assert!(output.status.success() && both(&output).is_empty(), "{}", both(&output));
}

/// What the agent answers to a scraper that names no format.
fn scrape() -> String {
    let mut stream = TcpStream::connect(HTTP).expect("it listens");
    let request = "GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a body");
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    body.to_owned()
}
