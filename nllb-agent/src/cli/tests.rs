//! Exit codes and streams of every command.

use super::*;
use std::path::Path;

fn nllb(args: &[&str]) -> (Exit, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let args = std::iter::once(&"nllb").chain(args);
    let exit = execute(args, &mut out, &mut err);
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (exit, text(out), text(err))
}

fn write(dir: &Path, text: &str) -> String {
    let file = dir.join("agent.yaml");
    std::fs::write(&file, text).expect("written");
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
    assert_eq!(out, format!("{good}: ok, 1 frontend, 1 pool, 2 endpoints\n"));

    let bad = write(dir.path(), "kind: Pod\n");
    let (exit, out, err) = nllb(&["check-config", &bad]);
    assert_eq!((exit.code(), out.as_str()), (2, ""));
    assert_eq!(err, format!("nllb: {bad}: apiVersion: missing: add nllb.dev/v1alpha1\n"));
}

#[test]
fn status_without_an_agent_says_so_with_exit_code_4() {
    let dir = tempfile::tempdir().expect("a directory");
    let socket = dir.path().join("admin.sock");
    let path = socket.to_str().expect("text");
    let (exit, out, err) = nllb(&["status", "--socket", path]);
    assert_eq!((exit.code(), out.as_str()), (4, ""));
    assert_eq!(err, format!("nllb: no agent is running: there is no admin socket {path}\n"));
    drop(std::os::unix::net::UnixListener::bind(&socket).expect("bound"));
    let (exit, _, err) = nllb(&["status", "--socket", path]);
    assert_eq!(exit.code(), 4);
    assert_eq!(err, format!("nllb: no agent is running: nobody answers on {path}\n"));
}

#[test]
fn status_of_a_running_agent_is_a_table_or_the_document() {
    use crate::status::{Status, StatusRequest, example};
    let dir = tempfile::tempdir().expect("a directory");
    let socket = dir.path().join("admin.sock");
    let (open, opened) = std::sync::mpsc::channel();
    let agent = std::thread::spawn({
        let socket = socket.clone();
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let (source, mut requests) = tokio::sync::mpsc::channel(1);
                let admin = crate::admin::Listener::bind(&socket).expect("open");
                open.send(()).expect("the test waits");
                tokio::spawn(admin.serve(source));
                for _ in 0..2 {
                    let request: StatusRequest = requests.recv().await.expect("a request");
                    request.answer(example::status());
                }
                // The last answer is on its way; the test process ends this thread.
                std::future::pending::<()>().await;
            });
        }
    });
    opened.recv().expect("the agent is up");
    let path = socket.to_str().expect("text");
    let (exit, out, err) = nllb(&["status", "--socket", path]);
    assert_eq!((exit, err.as_str()), (Exit::Success, ""));
    assert!(out.starts_with("nllb 0.1.0, pid 4711, up 3m"), "{out}");
    let (exit, out, _) = nllb(&["status", "-o", "json", "--socket", path]);
    assert_eq!(exit, Exit::Success);
    assert_eq!(serde_json::from_str::<Status>(&out).expect("JSON"), example::status());
    assert!(!agent.is_finished());
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
