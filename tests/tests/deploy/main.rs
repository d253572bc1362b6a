//! What is under `deploy/`, and what the agent does for it.

mod ansible;
mod image;
mod manifests;
mod monitoring;
mod notify;
mod podmonitor;
mod unit;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nllb_lab::lab::VIP_V4;
use nllb_lab::wait::wait_until;
use nllb_lab::{Agent, Ask, Connect, Lab, process};

/// A file or directory under `deploy/`.
fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(path)
}

/// Whether a program is there that set-up installs for root; says why a test is skipped if not.
fn has_or_say(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        // Not by eprintln, which the test harness would swallow.
        let line = format!("skipped: no {program} here; cargo xtask setup as root installs it\n");
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
    found
}

/// Runs a command that must succeed; gives what it printed.
fn succeed(command: &mut Command) -> String {
    let output = command.output().expect("started");
    let text = both(&output);
    assert!(output.status.success(), "{command:?}: {}\n{text}", output.status);
    text
}

fn both(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Lets an agent be started by a command line, as a service manager would: `before` stands before the
/// program.
fn start_by(lab: &Lab, agent: &mut Agent, before: &str) {
    let script = lab.directory().join("start");
    let program = process::program().expect("a program");
    write_script(
        &script,
        &format!("#!/bin/sh\nexec {before} {} agent \"$@\"\n", program.display()),
    );
    agent.run_program(&script);
}

fn write_script(path: &Path, text: &str) {
    fs::write(path, text).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("executable");
}

/// Asserts that host and pod reach all servers, and that a pod's connection to a dead one ends.
fn serves(lab: &Lab) {
    let clients = [lab.client(0), lab.pod_client(0, 0)].map(|client| client.expect("a client"));
    for client in &clients {
        let mut met = BTreeSet::new();
        while met.len() < lab.control_planes().len() {
            let outcome = client.connect(&vip()).expect("an outcome");
            assert!(outcome.ok, "{outcome:?}");
            met.extend(outcome.server);
        }
    }
    let dead = lab.control_plane(0).tls();
    let connect = Connect { ask: Ask::Echo, keep: true, ..Connect::to((VIP_V4, 443).into()) };
    let client = &clients[1];
    let handle = loop {
        let outcome = client.connect(&connect).expect("an outcome");
        if outcome.peer == Some(dead) {
            break outcome.handle.expect("a handle");
        }
    };
    lab.control_plane(0).power_off().expect("off");
    let ended = || Ok(client.inspect(handle)?.error);
    let error = wait_until("the end of a pod's connection", ended).expect("it ends");
    assert_eq!(error, "ECONNABORTED", "ended by the agent");
}

fn vip() -> Connect {
    Connect::name_of((VIP_V4, 443).into())
}
