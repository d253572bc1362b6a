//! What the service manager hears.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use nllb_lab::{Agent, Configuration, Lab};

use crate::start_by;

/// Far beyond what any of it takes.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn the_service_manager_hears_when_the_agent_is_ready_how_it_stands_and_that_it_is_not_stuck() {
    let Some(lab) = Lab::builder().build_or_skip() else { return };
    let (mut agent, manager) = start(&lab);
    let first = manager.hear("READY=1");
    assert!(first.contains("\nSTATUS=attached; apiserver: "), "{first}");
    manager.hear("STATUS=attached; apiserver: 3 of 3 healthy\n");
    for _ in 0..3 {
        manager.hear("WATCHDOG=1");
    }
    lab.control_plane(0).crash().expect("crashed");
    manager.hear("STATUS=attached; apiserver: 2 of 3 healthy\n");

    agent.hang_up().expect("told");
    let reloading = manager.hear("RELOADING=1");
    let time = reloading.split_once("MONOTONIC_USEC=").expect("the time").1.trim_end();
    assert!(time.parse::<u64>().is_ok(), "{reloading}");
    manager.hear("READY=1");

    agent.terminate().expect("ended");
    manager.hear("STOPPING=1");
}

#[test]
fn a_service_manager_that_does_not_listen_keeps_nobody() {
    let Some(lab) = Lab::builder().control_planes(1).build_or_skip() else { return };
    let (mut agent, manager) = start(&lab);
    manager.hear("READY=1");
    let renewals = |agent: &mut Agent| {
        let before = agent.status().expect("a status").datapath.self_test.runs;
        // Many more pings than a socket keeps for whoever does not read them.
        let later =
            agent.await_status("more", |status| status.datapath.self_test.runs > before + 20);
        assert_eq!(later.expect("it goes on").obstacles(), Vec::<String>::new());
    };
    renewals(&mut agent);
    drop(manager);
    renewals(&mut agent);
    let manager = Manager::listen(&lab);
    manager.hear("READY=1");
}

#[test]
fn without_a_service_manager_the_agent_runs_all_the_same() {
    let Some(lab) = Lab::builder().control_planes(1).build_or_skip() else { return };
    let mut agent = Agent::prepare(&lab, 0).expect("an agent");
    agent.configure(&Configuration::of(&lab).quick()).expect("written");
    start_by(&lab, &mut agent, "env NOTIFY_SOCKET=/nowhere/notify WATCHDOG_USEC=1000000");
    agent.restart().expect("started");
    assert!(agent.log().contains("the service manager does not listen"), "{}", agent.log());
}

/// An agent that was started, with its service manager.
fn start(lab: &Lab) -> (Agent, Manager) {
    let manager = Manager::listen(lab);
    let mut agent = Agent::prepare(lab, 0).expect("an agent");
    let configuration = Configuration {
        self_test_interval: Duration::from_millis(100),
        ..Configuration::of(lab).quick()
    };
    agent.configure(&configuration).expect("written");
    let environment = format!("env NOTIFY_SOCKET={} WATCHDOG_USEC=150000", path(lab).display());
    start_by(lab, &mut agent, &environment);
    agent.spawn().expect("spawned");
    (agent, manager)
}

fn path(lab: &Lab) -> PathBuf {
    lab.directory().join("notify")
}

/// The other end.
struct Manager {
    socket: UnixDatagram,
}

impl Manager {
    /// Opens the socket, in the place of an earlier one.
    fn listen(lab: &Lab) -> Self {
        // There is none at first.
        let _gone = fs::remove_file(path(lab));
        let socket = UnixDatagram::bind(path(lab)).expect("bound");
        socket.set_read_timeout(Some(PATIENCE)).expect("limited");
        Self { socket }
    }

    /// Waits for the next message with this in it.
    fn hear(&self, what: &str) -> String {
        let mut heard = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let length = self.socket.recv(&mut buffer);
            let length = length.unwrap_or_else(|error| panic!("no {what}: {error}\n{heard:?}"));
            let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if message.contains(what) {
                return message;
            }
            heard.push(message);
        }
    }
}
