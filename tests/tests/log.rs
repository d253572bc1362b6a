//! The log of an agent: objects for collectors, and a level that is changed while it runs.

use std::ffi::OsString;
use std::process::Output;

use nllb_lab::wait::wait_until;
use nllb_lab::{Agent, Configuration, Lab};
use serde_json::Value;

#[test]
fn the_level_is_changed_while_the_agent_runs_and_goes_back_by_itself() {
    let Some(lab) = Lab::builder().build_or_skip() else { return };
    let mut agent = Agent::prepare(&lab, 0).expect("an agent");
    agent.configure(&Configuration::of(&lab).quick()).expect("configured");
    agent.log_by_default();
    agent.restart().expect("started");
    assert_eq!(text(&log_level(&agent, &[])), "info\n");
    assert!(!agent.log().contains("DEBUG"), "{}", agent.log());

    assert_eq!(text(&log_level(&agent, &["debug", "--for", "10m"])), "debug, info again in 10m\n");
    let status = agent.status().expect("a status");
    assert_eq!((&*status.log.level, &*status.log.usual), ("debug", "info"));
    lab.control_plane(0).crash().expect("crashed");
    wait_until("lines that are told now", || Ok(agent.log().contains("DEBUG").then_some(())))
        .expect("told");
    assert_eq!(text(&log_level(&agent, &["debug", "--for", "2s"])), "debug, info again in 2s\n");
    let back = agent.await_status("the usual level", |status| status.log.level == "info");
    assert_eq!(back.expect("a status").log.back_in_ms, None);

    let output = log_level(&agent, &["nllb_agent=loud"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn each_line_for_collectors_is_an_object_with_fields() {
    let Some(lab) = Lab::builder().build_or_skip() else { return };
    let mut agent = Agent::prepare(&lab, 0).expect("an agent");
    agent.configure(&Configuration::of(&lab).quick()).expect("configured");
    agent.log_json();
    agent.restart().expect("started");
    assert!(agent.terminate().expect("ended").success());
    let log = agent.log();
    println!("{log}");
    let lines: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    for line in &lines {
        for key in ["timestamp", "level", "target", "message"] {
            assert!(line[key].is_string(), "{key}: {line}");
        }
    }
    let server = lab.control_plane(0).tls().to_string();
    let change = lines.iter().find(|line| line["backend"] == server && line["to"] == "healthy");
    let change = change.expect("a change of its state");
    assert_eq!((&change["from"], &change["reason"]), (&"unknown".into(), &"ready".into()));
}

fn log_level(agent: &Agent, words: &[&str]) -> Output {
    let mut args: Vec<OsString> = vec!["log-level".into()];
    args.extend(words.iter().map(Into::into));
    args.extend(["--socket".into(), agent.socket().into()]);
    agent.nllb(&args).expect("it runs")
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
