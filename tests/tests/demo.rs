//! The demonstration and the measurement as a reader starts them: their output, their exit codes,
//! and what they leave behind.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use nllb_lab::lab::available_or_say;
use nllb_lab::netns;

/// Nobody, on every distribution.
const UNPRIVILEGED: &str = "65534";

fn nllb_lab(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nllb-lab"));
    command.args(args).stdin(Stdio::null());
    command
}

#[test]
fn the_demonstration_shows_both_failovers_and_ends_well() {
    if !available_or_say() {
        return;
    }
    let output = nllb_lab(&["demo", "--plain"]).output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}{errors}");
    for wanted in ["cp0: crash", "cp1: power-off", "both failovers seen"] {
        assert!(text.contains(wanted), "no {wanted} in\n{text}");
    }
    let row = |fault: &str| {
        let row = text.lines().rfind(|line| line.trim_start().starts_with(fault));
        row.unwrap_or_else(|| panic!("no {fault} in\n{text}")).to_owned()
    };
    for fault in ["crash of cp0", "power-off of cp1"] {
        assert!(!row(fault).contains("never"), "{text}");
    }
}

#[test]
fn a_signal_ends_the_demonstration_and_nothing_is_left() {
    if !available_or_say() {
        return;
    }
    let mut child = nllb_lab(&["demo", "--plain"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let id = child.id();
    let stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut lines = stdout.lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("connects/s")), "the client never connected");
    let pid = Pid::from_raw(i32::try_from(id).expect("a process id"));
    kill(pid, Signal::SIGINT).expect("it runs");
    let rest: Vec<_> = lines.collect();
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130), "{rest:?}");
    assert_eq!(rest.last().map(String::as_str), Some("interrupted; everything is removed"));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let mine = format!("nllb-lab-{id}-");
    let left: Vec<_> = netns::names().into_iter().filter(|name| name.starts_with(&mine)).collect();
    assert_eq!(left, Vec::<String>::new());
    let cgroup = nllb_lab::cgroup::mount_point().expect("cgroup2").join(format!("{mine}0"));
    assert!(!cgroup.exists(), "{} is left", cgroup.display());
}

#[test]
fn without_root_one_line_says_what_is_needed() {
    if !available_or_say() {
        return;
    }
    for args in [&["demo"][..], &["bench", "connect"]] {
        let args = [&["--uid", UNPRIVILEGED], args].concat();
        let output = nllb_lab(&args).output().expect("it starts");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(5), "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
        assert!(errors.contains("needs root"), "{errors}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn the_measurement_gives_every_figure_it_promises() {
    if !available_or_say() {
        return;
    }
    let output = nllb_lab(&["bench", "connect", "-o", "json", "--samples", "480"])
        .output()
        .expect("it starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    for path in [
        "/direct/p50_us",
        "/direct/p99_us",
        "/direct_unmatched/p50_us",
        "/translated/p50_us",
        "/translated/p99_us",
        "/ratio_p50",
        "/kernel_ns/connect4_translated",
        "/kernel_ns/connect4_unmatched",
        "/kernel_ns/sock_ops",
        "/floor_ns",
    ] {
        let value = json.pointer(path).and_then(serde_json::Value::as_f64);
        assert!(value.is_some_and(|value| value > 0.0), "{path} is {value:?} in {json}");
    }
}

#[test]
fn faults_that_guests_and_clients_of_the_vip_feel_have_a_row_each() {
    if !available_or_say() {
        return;
    }
    let faults = ["guest-crash", "vip-owner-agent-killed"];
    let faults = faults.map(|fault| ["--fault", fault]);
    let words = ["bench", "failover", "--output=json", "--runs=1"];
    let output = nllb_lab(&[&words, faults.as_flattened()].concat()).output().expect("it starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(rows.len(), 2);
    for row in rows {
        assert!(row["new_left_ms"]["max"].as_f64().is_some(), "{row}");
        let flows = row["flows_with_living_servers"].as_u64();
        assert!(flows > Some(0) && row["flows_that_carry"].as_u64() == flows, "{row}");
    }
}
