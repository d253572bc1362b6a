//! SIGHUP asks for a reload. A program of its own, because the signal reaches the whole process.

use nllb_agent::reload::Reload;
use rustix::process::{Signal, getpid, kill_process};
use std::path::PathBuf;
use std::time::Duration;

#[tokio::test]
async fn a_hangup_signal_is_due_at_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("agent.yaml");
    std::fs::write(&file, "a: 1\n").expect("written");
    let nothing: [&PathBuf; 0] = [];
    let mut reload = Reload::watch(&file, nothing).expect("watched");
    kill_process(getpid(), Signal::HUP).expect("sent to this very process");
    tokio::time::timeout(Duration::from_secs(20), reload.next()).await.expect("a reload");
}
