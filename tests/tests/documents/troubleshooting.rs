//! The commands of docs/troubleshooting.md.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use nllb_agent::status::Status;
use nllb_lab::{Agent, Configuration, Lab, netns};

/// Those that ask an agent.
const ASK: [&str; 5] = ["status", "explain", "doctor", "events", "log-level"];

#[test]
fn every_command_of_the_troubleshooting_guide_does_what_it_should() {
    let Some(lab) = Lab::builder().pods(1).build_or_skip() else { return };
    // As docs/vip.md asks for.
    let node = lab.node(0).netns();
    netns::sysctl(node, &[("ipv4/conf/all/arp_announce", "2")]).expect("set");
    let mut configuration = Configuration::of(&lab).quick();
    configuration.rest.push("sandboxes: { interfaces: [\"pod*\"] }".to_owned());
    configuration.rest.push("vip: { addresses: [\"10.0.0.100\"], ownership: none }".to_owned());
    let mut agent = Agent::start(&lab, &configuration).expect("an agent");
    let serves = |status: &Status| {
        let is_served = status.vip.as_ref().is_some_and(|vip| vip.interface.is_some());
        is_served && status.sandboxes.iter().any(|guests| !guests.interfaces.is_empty())
    };
    agent.await_status("guests and VIP", serves).expect("served");
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/troubleshooting.md");
    let guide = fs::read_to_string(guide).expect("readable");
    let lines = guide.lines().filter_map(|line| line.strip_prefix("# nllb "));
    let mut commands: Vec<&str> = lines.collect();
    commands.sort_unstable();
    commands.dedup();
    assert!(commands.len() >= ASK.len(), "{commands:?}");
    let directory = tempfile::tempdir().expect("a directory");
    for command in commands {
        let mut words: Vec<OsString> = command.split(' ').map(OsString::from).collect();
        for word in &mut words {
            match word.to_str() {
                Some("agent.yaml") => *word = agent.file().into(),
                Some("veth1a2b3c4d") => *word = "pod0".into(),
                Some("nllb.tar.gz") => *word = directory.path().join("nllb.tar.gz").into(),
                _ => {}
            }
        }
        let name = command.split(' ').next().expect("a command");
        if ASK.contains(&name) {
            words.extend(["--socket".into(), agent.socket().into()]);
        }
        if name == "explain" {
            words.extend(["--bpffs".into(), agent.bpffs().into()]);
        }
        let output = agent.nllb(&words).expect("it runs");
        // What a doctor thinks of this host is another matter.
        let found = name == "doctor" && matches!(output.status.code(), Some(3 | 10));
        assert!(output.status.success() || found, "nllb {command}: {output:?}");
        assert!(!output.stdout.is_empty(), "nllb {command}: {output:?}");
    }
}
