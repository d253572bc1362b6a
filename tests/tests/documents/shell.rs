//! A shell on a node of a lab where `nllb`, its configuration, socket, journal and pins are where an operator has
//! them, so that commands can be run as they are shown. It has mounts of its own, and the host sees nothing of it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::{Command, Stdio};

use nllb_lab::place::Place;
use nllb_lab::process::{command, program};
use nllb_lab::{Agent, Lab};
use tempfile::TempDir;

/// Is told the agent's directory, its pins, a directory of its own and the command.
const SCRIPT: &str = r#"
set -eu
agent=$1 pins=$2 own=$3
mkdir "$own/agent" "$own/pins"
mount --bind "$agent" "$own/agent"
mount --bind "$pins" "$own/pins"
mount -t bpf -o mode=0700 bpf /sys/fs/bpf
for place in /sys/fs/bpf/nllb "$pins"; do
    mkdir -p "$place"
    mount --bind "$own/pins" "$place"
done
cp -a /etc "$own/etc"
mkdir -p "$own/etc/nllb"
mount --bind "$own/etc" /etc
for parent in /run /var/lib /etc; do
    [ $parent = /etc ] || mount -t tmpfs tmpfs $parent
    mkdir -p $parent/nllb
    mount --bind "$own/agent" $parent/nllb
done
cd "$own/agent"
PATH=$own:$PATH exec sh -c "$4"
"#;

pub(crate) struct Shell {
    place: Place,
    words: [std::ffi::OsString; 2],
    nllb: String,
}

impl Shell {
    /// Beside an agent that has its configuration.
    pub(crate) fn beside(agent: &Agent, lab: &Lab) -> Self {
        let file = agent.file();
        symlink(&file, file.with_file_name("agent.yaml")).expect("linked");
        let lab_program = program().expect("the lab's program");
        Self {
            place: lab.node(0).place(),
            words: [file.with_file_name("").into(), agent.bpffs().into()],
            nllb: format!("#!/bin/sh\nexec {} agent \"$@\"\n", lab_program.display()),
        }
    }

    /// The command as a process with a pipe for what it prints, and what must stay until it has ended.
    pub(crate) fn command(&self, line: &str) -> (Command, TempDir) {
        let own = tempfile::tempdir().expect("a directory");
        let nllb = own.path().join("nllb");
        fs::write(&nllb, &self.nllb).expect("written");
        fs::set_permissions(&nllb, Permissions::from_mode(0o755)).expect("permitted");
        let words = ["exec", "--", "unshare", "--mount", "sh", "-c", SCRIPT, "sh"].map(Into::into);
        let [agent, pins] = self.words.clone();
        let words = [&words[..], &[agent, pins, own.path().into(), line.into()]].concat();
        let mut command = command(&self.place, &words).expect("a command");
        command.stdin(Stdio::null());
        (command, own)
    }
}
