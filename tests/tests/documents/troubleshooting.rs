//! The commands of docs/troubleshooting.md.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use nllb_lab::{Agent, Configuration, Lab};

/// Those that ask an agent.
const ASK: [&str; 5] = ["status", "explain", "doctor", "events", "log-level"];

#[test]
fn every_command_of_the_troubleshooting_guide_does_what_it_should() {
    let Some(lab) = Lab::builder().build_or_skip() else { return };
    let agent = Agent::start(&lab, &Configuration::of(&lab).quick()).expect("an agent");
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
