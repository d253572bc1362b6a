//! FRR on members: zebra, bgpd and bfdd from the package that set-up has unpacked.
//!
//! They and their shell look for a group and for files in /etc that the package would make when it is installed. So each
//! runs where an overlay has them, which nobody else sees.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nllb_lab::ecmp::{Announcer, ROUTED, ROUTED_V6, example, examples, libraries, script};
use nllb_lab::process::Process;
use nllb_lab::wait::wait_until;
use nllb_lab::{Lab, netns, tools};

/// For `sh` in a mount namespace of its own, with the directories of the overlay as its name.
const WITH_ETC: &str = r#"mount -t overlay -o ro,lowerdir="$0" overlay /etc && exec "$@""#;
/// The group that may use the daemons' sockets.
const GROUP: &str = "frrvty:x:997:root\n";

pub(super) struct Frr {
    root: PathBuf,
}

impl Frr {
    /// None where it is not, or cannot run, which is said.
    pub(super) fn find() -> Option<Self> {
        let Some(root) = tools::unpacked("debian/frr") else {
            nllb_lab::lab::say_skipped("no FRR: cargo xtask setup");
            return None;
        };
        let directory = tempfile::tempdir().expect("a directory");
        let frr = Self { root };
        let mut probe = frr.command(&frr.overlay(directory.path()), Path::new("vtysh"));
        let ran = probe.arg("-h").stdout(Stdio::null()).status();
        if !ran.is_ok_and(|status| status.success()) {
            nllb_lab::lab::say_skipped("FRR does not run here");
            return None;
        }
        Some(frr)
    }

    /// The directories that together are its /etc.
    fn overlay(&self, directory: &Path) -> String {
        let own = directory.join("etc");
        fs::create_dir_all(&own).expect("a directory");
        let groups = fs::read_to_string("/etc/group").unwrap_or_default() + GROUP;
        fs::write(own.join("group"), groups).expect("written");
        format!("{}:{}:/etc", own.display(), self.root.join("etc").display())
    }

    /// A command, in such an overlay.
    fn command(&self, overlay: &str, program: &Path) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", WITH_ETC, overlay]).arg(program);
        command.env("LD_LIBRARY_PATH", libraries()).env("PATH", self.path());
        command.stdin(Stdio::null());
        command
    }

    fn path(&self) -> String {
        let own = ["usr/bin", "usr/lib/frr"].map(|path| self.root.join(path).display().to_string());
        let path = std::env::var("PATH").unwrap_or_default();
        format!("{}:{path}", own.join(":"))
    }

    /// As in `deploy/ecmp`. Gives the script that switches its routes, too.
    pub(super) fn run_member(&self, lab: &Lab, index: usize) -> Announcer {
        let plane = lab.control_plane(index);
        let directory = lab.directory().join(format!("frr-{}", plane.name()));
        fs::create_dir_all(&directory).expect("a directory");
        let overlay = self.overlay(&directory);
        let conf = directory.join("frr.conf");
        fs::write(&conf, example("frr.conf", lab, index).expect("an example")).expect("written");
        let run = |daemon: &str| {
            let log = fs::File::create(directory.join(format!("{daemon}.log"))).expect("a log");
            let mut command = self.command(&overlay, Path::new(daemon));
            command.args(["-u", "root", "-g", "root", "-P", "0", "-f", "/dev/null"]);
            command.arg("--vty_socket").arg(&directory).arg("-z").arg(directory.join("zserv"));
            command.arg("-i").arg(directory.join(format!("{daemon}.pid")));
            command.args(["--log", "stdout"]).stdout(log.try_clone().expect("a log")).stderr(log);
            if daemon == "bfdd" {
                command.arg("--bfdctl").arg(directory.join("bfdd.sock"));
            }
            let process = netns::run_in(plane.netns(), || Process::start(command));
            let process = process.expect("a namespace").expect("runs");
            let socket = directory.join(format!("{daemon}.vty"));
            wait_until(daemon, || Ok(socket.exists().then_some(()))).expect("it listens");
            process
        };
        let daemons = ["zebra", "bfdd", "bgpd"].map(run).into();
        let mut shell = self.command(&overlay, Path::new("vtysh"));
        shell.arg("--vty_socket").arg(&directory).arg("-f").arg(&conf);
        let loaded = shell.output().expect("it runs");
        assert!(loaded.status.success(), "{loaded:?}");
        let lines = format!(
            "export PATH={} LD_LIBRARY_PATH={} VTY_DIR={}
export VIPS='{ROUTED}/32 {ROUTED_V6}/128'
exec unshare --mount sh -c '{WITH_ETC}' {overlay} {} \"$@\"\n",
            self.path(),
            libraries(),
            directory.display(),
            examples().join("frr.sh").display(),
        );
        (daemons, script(&directory, "frr.sh", &lines).expect("written"))
    }
}
