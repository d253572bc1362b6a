//! An agent finds the data path of another: of an earlier commit, or of another version of the layout.

mod former;
mod rollout;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;

use nix::fcntl::{Flock, FlockArg};
use nllb_common::ABI_VERSION;
use nllb_lab::lab::VIP_V4;
use nllb_lab::wait::wait_until;
use nllb_lab::{Agent, Configuration, Connect, Lab, Storm, pins};

#[test]
fn another_version_goes_when_the_new_programs_are_attached_and_no_connect_fails() {
    for version in [ABI_VERSION - 1, ABI_VERSION + 1] {
        let Some((lab, mut agent, other)) = lab_with_other_version(version) else { return };
        let links = pins::links(&other).expect("links");
        assert_eq!(links.len(), 3);
        let client = lab.client(0).expect("a client");
        let connect = Connect { reset_on_close: true, ..vip() };
        let storm = client.storm_start(&Storm { threads: 2, connects: None, connect });
        let storm = storm.expect("a storm");
        let more = || {
            let ok = || client.storm_report(storm).expect("a report").ok;
            let enough = ok() + 200;
            while ok() < enough {}
        };
        more();
        let status = agent.restart().expect("started");
        assert!(!status.agent.adopted, "maps that would be misread are not taken over");
        more();
        assert!(!other.exists());
        await_end(links);
        let log = agent.log();
        let lines: Vec<_> = log.lines().filter(|line| line.contains("other versions")).collect();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains(&format!("v{version}")), "{lines:?}");
        let report = client.storm_stop(storm).expect("a report");
        println!("from v{version}: {} of {} failed", report.failed(), report.attempts);
        assert_eq!(report.failed(), 0, "{report:?}");
    }
}

#[test]
fn a_running_agent_of_another_version_is_respected() {
    let Some((lab, mut agent, other)) = lab_with_other_version(ABI_VERSION - 1) else { return };
    let directory = File::open(&other).expect("a directory");
    let running =
        Flock::lock(directory, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| error);
    let running = running.expect("nobody holds it");
    let output = agent.nllb(&["run".into(), "--config".into(), agent.file().into()]);
    let output = output.expect("ran");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{errors}");
    let last = errors.lines().last().unwrap_or_default();
    assert!(last.contains(&other.display().to_string()), "{errors}");
    assert!(last.contains("another agent is running"), "{errors}");
    assert_eq!(pins::links(&other).expect("links").len(), 3);
    assert_eq!(pins::link_pins(&agent.pins()).unwrap_or_default(), Vec::<PathBuf>::new());
    let client = lab.client(0).expect("a client");
    assert!(client.connect(&vip()).expect("an outcome").ok, "by the other version");
    drop(running);
    agent.restart().expect("started");
    assert!(!other.exists() && client.connect(&vip()).expect("an outcome").ok);
}

/// A node on which an agent of another version has run.
fn lab_with_other_version(version: u32) -> Option<(Lab, Agent, PathBuf)> {
    let lab = Lab::builder().build_or_skip()?;
    let mut agent = Agent::start(&lab, &Configuration::of(&lab).quick()).expect("an agent");
    agent.terminate().expect("ended");
    let other = agent.bpffs().join(format!("v{version}"));
    fs::rename(agent.pins(), &other).expect("renamed");
    Some((lab, agent, other))
}

/// Waits until these links are gone.
fn await_end(links: BTreeMap<String, u32>) {
    for (name, id) in links {
        // The kernel frees a link after its last reader.
        let gone = || Ok((!pins::link_exists(id)?).then_some(()));
        wait_until(&format!("the end of {name}"), gone).expect("gone");
    }
}

fn vip() -> Connect {
    Connect::name_of((VIP_V4, 443).into())
}
