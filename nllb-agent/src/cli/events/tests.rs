//! What is shown of a journal on disk, of an agent's, and without either.

use super::*;
use crate::cli::execute;
use crate::journal::{Feed, What, disk};
use std::path::Path;

/// Three entries: one of each of two backends, and one that this version does not know.
const LINES: [&str; 3] = [
    r#"{"seq":1,"timeMs":1800000000123,"what":"failover","pool":"apiserver","backend":"10.0.0.11:6443","reason":"connect refused","remaining":2,"durationMs":104}"#,
    r#"{"seq":2,"timeMs":1800000007123,"what":"recovered","pool":"apiserver","backend":"10.0.0.12:6443","reason":"ready","durationMs":7000}"#,
    r#"{"seq":3,"timeMs":1800000008000,"what":"eclipse","of":"the moon"}"#,
];

fn nllb(args: &[&str]) -> (Exit, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = execute(["nllb", "events"].iter().chain(args), false, &mut out, &mut err);
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (exit, text(out), text(err))
}

fn journal(directory: &Path) -> PathBuf {
    let file = directory.join("journal.jsonl");
    disk::append(&file, &LINES.map(Into::into)).expect("written");
    file
}

#[test]
fn without_an_agent_the_journal_is_read_from_disk_and_that_is_said() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = journal(directory.path());
    let file = file.to_str().expect("text");
    let from = ["--socket", "/nowhere/admin.sock", "--journal", file];
    let (exit, out, err) = nllb(&from);
    assert_eq!(exit, Exit::Success, "{err}");
    assert_eq!(err, format!("nllb: no agent answers on /nowhere/admin.sock: read from {file}\n"));
    let expected = [
        "2027-01-15T08:00:00.123Z  failover       10.0.0.11:6443         left apiserver, 2 in service: connect refused, 104ms after the first sign",
        "2027-01-15T08:00:07.123Z  recovered      10.0.0.12:6443         in service of apiserver again: ready, 7.0s out",
        "2027-01-15T08:00:08.000Z  eclipse                               {\"of\":\"the moon\",\"seq\":3,\"timeMs\":1800000008000,\"what\":\"eclipse\"}",
    ];
    assert_eq!(out.lines().collect::<Vec<_>>(), expected);

    let (_, out, _) = nllb(&[&from[..], &["-o", "json", "--backend", "10.0.0.12"]].concat());
    let entry: Entry = serde_json::from_str(out.trim_end()).expect("one line");
    assert_eq!(entry.seq, 2);
    let (_, out, _) = nllb(&[&from[..], &["--backend", "10.0.0.12:1"]].concat());
    assert_eq!(out, "");
}

#[test]
fn what_is_older_than_asked_for_is_left_out() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("journal.jsonl");
    let entry = |seq, ago: i64| {
        let what = What::Undrain { backend: "10.0.0.1:6443".parse().expect("an address") };
        Entry { seq, time_ms: unix_ms() - ago * 1000, what }.line().into()
    };
    disk::append(&file, &[entry(1, 7200), entry(2, 1800), entry(3, 0)]).expect("written");
    let file = file.to_str().expect("text");
    let from = ["-o", "json", "--socket", "/nowhere/admin.sock", "--journal", file];
    let count = |since| nllb(&[&from[..], &["--since", since]].concat()).1.lines().count();
    assert_eq!([count("24h"), count("1h"), count("15m")], [3, 2, 1]);
}

#[test]
fn without_agent_and_journal_both_are_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("journal.jsonl");
    let from = ["--socket", "/nowhere/admin.sock", "--journal", file.to_str().expect("text")];
    let (exit, out, err) = nllb(&from);
    assert_eq!((exit.code(), out.as_str()), (6, ""));
    let why = "no agent is running: there is no admin socket /nowhere/admin.sock";
    assert_eq!(err, format!("nllb: {why}; nor is there a journal {}\n", file.display()));
    std::fs::write(&file, "mine").expect("written");
    let (exit, _, err) = nllb(&from);
    assert_eq!(exit.code(), 6);
    assert!(err.contains("it is no journal of an agent"), "{err}");
}

#[test]
fn a_running_agent_is_asked_page_by_page() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("journal.jsonl");
    let lines: Vec<_> = (1..=600)
        .map(|seq| {
            let what = What::Undrain { backend: "10.0.0.1:6443".parse().expect("an address") };
            Entry { seq, time_ms: 1_800_000_000_000, what }.line().into()
        })
        .collect();
    disk::append(&file, &lines).expect("written");
    let socket = directory.path().join("admin.sock");
    let (open, opened) = std::sync::mpsc::channel();
    // The test process ends it.
    thread::spawn({
        let (socket, feed) = (socket.clone(), Feed::new(Some(file), 600));
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let admin = crate::admin::Listener::bind(&socket).expect("open");
                open.send(()).expect("the test waits");
                // Nobody answers these.
                let sources = crate::admin::Sources {
                    status: tokio::sync::mpsc::channel(1).0,
                    history: tokio::sync::mpsc::channel(1).0,
                    drain: tokio::sync::mpsc::channel(1).0,
                    events: feed,
                    log: tokio::sync::mpsc::channel(1).0,
                };
                admin.serve(sources).await;
            });
        }
    });
    opened.recv().expect("the agent is up");
    let (exit, out, err) = nllb(&["-o", "json", "--socket", socket.to_str().expect("text")]);
    assert_eq!((exit, err.as_str()), (Exit::Success, ""));
    let numbers = out.lines().map(|line| serde_json::from_str::<Entry>(line).expect("JSON").seq);
    assert_eq!(numbers.collect::<Vec<_>>(), (1..=600).collect::<Vec<_>>());
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (args, why) in [
        (["--since", "10"], "is not a duration"),
        (["--since", "0s"], "is out of range: use 1s to"),
        (["--backend", "master-1"], "not an address: write it like 10.0.0.11 or"),
    ] {
        let (exit, _, err) = nllb(&args);
        assert_eq!(exit.code(), 2);
        assert!(err.contains(why), "{err}");
    }
}
