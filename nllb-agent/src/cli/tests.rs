//! Exit codes and streams of every command.

use super::*;
use crate::drain::{Done, DrainRequest, Order, Refused};
use crate::status::{Status, StatusRequest, example};
use crate::telemetry::{self, LogRequest};
use clap::CommandFactory as _;
use std::fs;
use std::path::Path;

fn nllb(args: &[&str]) -> (Exit, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let args = std::iter::once(&"nllb").chain(args);
    let exit = execute(args, false, &mut out, &mut err);
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (exit, text(out), text(err))
}

fn write(dir: &Path, text: &str) -> String {
    let file = dir.join("agent.yaml");
    fs::write(&file, text).expect("written");
    file.to_str().expect("text").to_owned()
}

#[test]
fn version_and_help_are_answers_and_a_wrong_word_is_not() {
    let (exit, out, err) = nllb(&["--version"]);
    assert_eq!((exit, err.as_str()), (Exit::Success, ""));
    assert_eq!(out, format!("nllb {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(nllb(&["--help"]).0, Exit::Success);
    let (exit, out, err) = nllb(&["go"]);
    assert_eq!((exit, out.as_str()), (Exit::Configuration, ""));
    assert!(err.contains("unrecognized subcommand"), "{err}");
    assert_eq!(nllb(&[]).0, Exit::Configuration);
}

#[test]
fn the_version_tells_the_kernel_and_its_features_for_people_and_programs() {
    let (exit, out, err) = nllb(&["version"]);
    assert_eq!((exit, err.as_str()), (Exit::Success, ""));
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("a kernel");
    assert!(out.contains(&format!("Linux {release}")), "{out}");
    let (_, out, _) = nllb(&["version", "-o", "json"]);
    let document: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(document["kernel"], release.trim_end());
    assert_eq!(document["abiVersion"], nllb_common::ABI_VERSION);
}

#[test]
fn every_command_is_completed_and_has_a_manual_page() {
    let (exit, bash, _) = nllb(&["completion", "bash"]);
    assert_eq!(exit, Exit::Success);
    let directory = tempfile::tempdir().expect("a directory");
    let pages = directory.path().join("man");
    let (exit, out, err) = nllb(&["man", pages.to_str().expect("text")]);
    assert_eq!((exit, err.as_str()), (Exit::Success, ""), "{out}");
    for command in Cli::command().get_subcommands().map(clap::Command::get_name) {
        assert!(bash.contains(command), "{command}");
        let page = fs::read_to_string(pages.join(format!("nllb-{command}.1")));
        assert!(page.expect("a page").contains(".SH NAME"), "{command}");
    }
    assert_eq!(nllb(&["completion", "cmd"]).0, Exit::Configuration);
}

#[test]
fn a_good_configuration_is_counted_and_a_bad_one_is_one_line_and_exit_code_2() {
    let dir = tempfile::tempdir().expect("a directory");
    let good = write(
        dir.path(),
        "apiVersion: nllb.dev/v1alpha1
kind: AgentConfiguration
frontends:
  - {name: kubernetes, kind: vip, addresses: ['10.96.0.1:443']}
pools:
  - name: apiserver
    endpoints: ['10.0.0.11:6443', '10.0.0.12:6443']
    probe: {insecureSkipVerify: true}
",
    );
    let (exit, out, _) = nllb(&["check-config", &good]);
    assert_eq!(exit, Exit::Success);
    let pool = "  apiserver: apiserver, 2 endpoints, probe https /readyz\n";
    assert_eq!(out, format!("{good}: ok, 1 frontend, 1 pool, 2 endpoints\n{pool}"));
    let text = fs::read_to_string(&good).expect("readable");
    fs::write(&good, format!("{text}controlPlane: {{files: [/etc/nllb/hosts]}}\n"))
        .expect("written");
    let (_, out, _) = nllb(&["check-config", &good]);
    assert!(
        out.ends_with("; without the hosts of controlPlane, which a port would add\n"),
        "{out}"
    );

    let bad = write(dir.path(), "kind: Pod\n");
    let (exit, out, err) = nllb(&["check-config", &bad]);
    assert_eq!((exit.code(), out.as_str()), (2, ""));
    assert_eq!(err, format!("nllb: {bad}: apiVersion: missing: add nllb.dev/v1alpha1\n"));
}

#[test]
fn status_without_an_agent_says_so_with_exit_code_6() {
    let dir = tempfile::tempdir().expect("a directory");
    let socket = dir.path().join("admin.sock");
    let path = socket.to_str().expect("text");
    let pins = dir.path().to_str().expect("text");
    let (exit, out, err) = nllb(&["status", "--socket", path, "--bpffs", pins]);
    assert_eq!((exit.code(), out.as_str()), (6, ""));
    let (first, rest) = err.split_once('\n').expect("lines");
    assert_eq!(first, format!("nllb: no agent is running: there is no admin socket {path}"));
    assert!(rest.starts_with("connects are not translated: there is no data path in "), "{rest}");
    assert!(rest.contains("\nstart the agent: "), "{rest}");
    drop(std::os::unix::net::UnixListener::bind(&socket).expect("bound"));
    let (exit, _, err) = nllb(&["status", "--socket", path, "--bpffs", pins]);
    assert_eq!(exit.code(), 6);
    let nobody = format!("nllb: no agent is running: nobody answers on {path}\nconnects are not ");
    assert!(err.starts_with(&nobody), "{err}");
}

/// An agent that answers every request for status with the example, and every order with `answer`.
/// The test process ends its thread.
fn agent(
    socket: &Path,
    answer: impl Fn(&str, Order) -> Result<Done, Refused> + Send + 'static,
) -> String {
    let (open, opened) = std::sync::mpsc::channel();
    std::thread::spawn({
        let socket = socket.to_owned();
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let (status, mut requests) = tokio::sync::mpsc::channel(1);
                let (history, _) = tokio::sync::mpsc::channel(1);
                let (drain, mut drains) = tokio::sync::mpsc::channel::<DrainRequest>(1);
                let admin = crate::admin::Listener::bind(&socket).expect("open");
                open.send(()).expect("the test waits");
                let (log, mut logs) = tokio::sync::mpsc::channel::<LogRequest>(1);
                let mut level = telemetry::LogLevel::detached("info");
                let events = crate::journal::Feed::new(None, 0);
                let sources = crate::admin::Sources { status, history, drain, events, log };
                tokio::spawn(admin.serve(sources));
                loop {
                    tokio::select! {
                        Some(request) = requests.recv() => {
                            let request: StatusRequest = request;
                            request.answer(example::status());
                        }
                        Some(request) = logs.recv() => {
                            request.obey(&mut level, std::time::Instant::now());
                        }
                        Some(request) = drains.recv() => {
                            let answer = answer(request.backend(), request.order());
                            request.answer(answer);
                        }
                    }
                }
            });
        }
    });
    opened.recv().expect("the agent is up");
    socket.to_str().expect("text").to_owned()
}

#[test]
fn status_of_a_running_agent_is_a_table_or_the_document_and_ends_with_the_verdicts_code() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = agent(&dir.path().join("admin.sock"), |_, _| Err(Refused::Unsafe(String::new())));
    let told = |form: &str| {
        let (exit, out, err) = nllb(&["status", "-o", form, "--socket", &path]);
        assert_eq!((exit, err.as_str()), (Exit::Degraded, ""));
        out
    };
    let first = "degraded: pool apiserver: only 10.0.0.11:6443 of 2 backends is left";
    for form in ["table", "wide"] {
        assert!(told(form).starts_with(first), "{}", told(form));
    }
    assert_eq!(serde_json::from_str::<Status>(&told("json")).expect("JSON"), example::status());
    assert_eq!(crate::yaml::parse::<Status>(&told("yaml")).expect("YAML"), example::status());
}

/// The agent of these tests: one backend with as many connections as its port says.
fn obey(backend: &str, order: Order) -> Result<Done, Refused> {
    let backend: std::net::SocketAddr =
        backend.parse().map_err(|_| Refused::NotFound("use one of 10.0.0.11:6443".into()))?;
    let close_after_ms = match order {
        Order::Drain { force: false, close_after: None } if backend.port() == 6443 => {
            return Err(Refused::Unsafe("10.0.0.11:6443 is the last one".into()));
        }
        Order::Drain { close_after, force: _ } => close_after,
        Order::Undrain | Order::Drill { .. } | Order::DrillOver => None,
    };
    Ok(Done {
        backend,
        changed: backend.port() != 2,
        connections: u64::from(backend.port()),
        close_after_ms: close_after_ms.map(|time| u64::try_from(time.as_millis()).expect("short")),
        note: (backend.port() == 3).then(|| "a remark".to_owned()),
    })
}

#[test]
fn a_drain_says_what_becomes_of_the_open_connections() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = agent(&dir.path().join("admin.sock"), obey);
    let told = |args: &[&str]| {
        let (exit, out, err) = nllb(&[args, &["--socket", &path]].concat());
        assert_eq!((exit, err.as_str()), (Exit::Success, ""));
        out
    };
    assert_eq!(
        told(&["drain", "10.0.0.11:41", "--close-after", "5m"]),
        "draining 10.0.0.11:41; 41 connections stay, closed after 5m\n"
    );
    assert_eq!(
        told(&["drain", "10.0.0.11:6443", "--force"]),
        "draining 10.0.0.11:6443; 6443 connections stay until they end\n"
    );
    assert_eq!(
        told(&["drain", "10.0.0.11:1"]),
        "draining 10.0.0.11:1; 1 connection stays until it ends\n"
    );
    assert_eq!(
        told(&["drain", "10.0.0.11:2"]),
        "draining 10.0.0.11:2 already; 2 connections stay until they end\n"
    );
    assert!(told(&["drain", "10.0.0.11:3"]).ends_with("\na remark\n"));
    assert_eq!(
        told(&["undrain", "10.0.0.11:1"]),
        "10.0.0.11:1 is used again as soon as it is ready\n"
    );
    assert_eq!(told(&["undrain", "10.0.0.11:2"]), "10.0.0.11:2 was not drained\n");
}

#[test]
fn a_drain_that_is_refused_is_one_line_and_exit_code_7() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = agent(&dir.path().join("admin.sock"), obey);
    let (exit, out, err) = nllb(&["drain", "10.0.0.11:6443", "--socket", &path]);
    assert_eq!((exit.code(), out.as_str()), (7, ""));
    assert_eq!(err, "nllb: 10.0.0.11:6443 is the last one\n");
    for command in ["drain", "undrain"] {
        let (exit, _, err) = nllb(&[command, "master-1", "--socket", &path]);
        assert_eq!(exit.code(), 2);
        assert_eq!(err, "nllb: use one of 10.0.0.11:6443\n");
    }
}

#[test]
fn a_drain_needs_an_agent_and_a_time_that_makes_sense() {
    let (exit, _, err) = nllb(&["drain", "10.0.0.11", "--socket", "/nowhere/admin.sock"]);
    assert_eq!(exit.code(), 6);
    assert_eq!(err, "nllb: no agent is running: there is no admin socket /nowhere/admin.sock\n");
    for (time, why) in [("5", "is not a duration"), ("0s", "is out of range: use 1s to 24h")] {
        let (exit, _, err) = nllb(&["drain", "10.0.0.11", "--close-after", time]);
        assert_eq!(exit.code(), 2);
        assert!(err.contains(why), "{err}");
    }
}

#[test]
fn the_level_of_the_log_is_shown_and_changed_for_a_while_or_until_the_agent_ends() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = agent(&dir.path().join("admin.sock"), obey);
    let told = |args: &[&str]| {
        let (exit, out, err) = nllb(&[&["log-level"], args, &["--socket", &path]].concat());
        assert_eq!((exit, err.as_str()), (Exit::Success, ""));
        out
    };
    assert_eq!(told(&[]), "info\n");
    assert_eq!(told(&["debug", "--for", "10m"]), "debug, info again in 10m\n");
    assert!(told(&[]).starts_with("debug, info again in "), "it is still so");
    let modules = "warn,nllb_agent::probe=trace";
    assert_eq!(told(&[modules]), format!("{modules}, until the agent ends; usually info\n"));
    assert_eq!(told(&["info"]), "info\n");
    for (args, why) in [
        (&["loud=very"][..], "\"loud=very\" is not a log level: use error"),
        (&["debug", "--for", "0s"], "is out of range: use 1s to 168h"),
        (&["--for", "10m"], "required arguments were not provided"),
    ] {
        let (exit, _, err) = nllb(&[&["log-level"], args].concat());
        assert_eq!(exit.code(), 2);
        assert!(err.contains(why), "{err}");
    }
}

#[test]
fn uninstall_with_a_bad_or_missing_configuration_names_the_way_without_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let bad = write(dir.path(), "kind: Pod\n");
    for file in [bad.as_str(), "/nowhere/agent.yaml"] {
        let (_, _, why) = nllb(&["check-config", file]);
        let (exit, out, err) = nllb(&["uninstall", "--config", file]);
        assert_eq!((exit.code(), out.as_str()), (2, ""));
        let way = "(--bpffs DIR works without the configuration)";
        assert_eq!(err, format!("{} {way}\n", why.trim_end()));
    }
}

#[test]
fn uninstall_takes_the_directory_from_one_place_only() {
    let (exit, _, err) = nllb(&["uninstall", "--config", "/a", "--bpffs", "/b"]);
    assert_eq!(exit.code(), 2);
    assert!(err.contains("cannot be used with"), "{err}");
}
