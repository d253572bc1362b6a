//! The Ansible role, run for a directory instead of a host's root and with a systemctl that only notes
//! what it is told.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nllb_lab::pki::Authority;
use nllb_lab::process;
use tempfile::TempDir;

use crate::{both, deploy, has_or_say, succeed, write_script};

const UNIT: &str = "etc/systemd/system/nllb.service";
const PROGRAM: &str = "usr/local/bin/nllb";
const CONFIGURATION: &str = "etc/nllb/agent.yaml";
/// What is written from the program.
const WRITTEN: [&str; 5] = [
    "usr/local/share/man/man1/nllb.1",
    "usr/local/share/man/man1/nllb-status.1",
    "usr/local/share/bash-completion/completions/nllb",
    "usr/local/share/fish/vendor_completions.d/nllb.fish",
    "usr/local/share/zsh/site-functions/_nllb",
];

#[test]
fn ansible_lint_finds_nothing() {
    if !has_or_say("ansible-lint") {
        return;
    }
    let home = tempfile::tempdir().expect("a directory");
    let mut lint = Command::new("ansible-lint");
    lint.current_dir(deploy("ansible")).env("HOME", home.path());
    succeed(lint.args(["--offline", "--strict", "--nocolor", "playbook.yml", "roles/nllb"]));
}

#[test]
fn the_role_installs_once_changes_what_is_to_change_and_removes_all() {
    if !has_or_say("ansible-playbook") {
        return;
    }
    let host = Host::new();
    let recap = host.play(&[]).expect("played");
    assert!(!recap.contains("changed=0 "), "{recap}");
    for file in [UNIT, PROGRAM, CONFIGURATION].iter().chain(&WRITTEN) {
        let length = fs::metadata(host.path(file)).map(|file| file.len());
        assert!(length.is_ok_and(|length| length > 100), "{file}");
    }
    assert_eq!(host.told(), ["enable nllb.service", "start nllb.service"]);

    let recap = host.play(&[]).expect("played");
    assert!(recap.contains("changed=0 "), "{recap}");

    let others = r#"{"nllb_endpoints": ["10.0.0.21:6443"]}"#;
    let recap = host.play(&[others]).expect("played");
    assert!(recap.contains("changed=1 "), "{recap}");
    assert!(host.configuration().contains("10.0.0.21:6443"));
    assert_eq!(host.told(), Vec::<String>::new(), "the agent sees a new configuration by itself");

    host.renew_program();
    let bad = r#"{"nllb_endpoints": ["10.0.0.21"]}"#;
    let said = host.play(&[bad]).expect_err("the configuration is refused");
    assert!(said.contains("10.0.0.21"), "{said}");
    assert!(host.configuration().contains("10.0.0.21:6443"), "the old one stays");
    assert_eq!(host.told(), Vec::<String>::new());

    host.renew_program();
    host.play(&[others]).expect("played");
    assert_eq!(host.told(), ["restart nllb.service"]);

    let plane = r#"{"nllb_endpoints": [], "nllb_control_plane": {"hosts": ["10.0.0.31"]}}"#;
    host.play(&[plane]).expect("played");
    let configuration = host.configuration();
    assert!(configuration.contains(r#"controlPlane: {"hosts": ["10.0.0.31"]}"#), "{configuration}");
    let both = r#"{"nllb_control_plane": {"hosts": ["10.0.0.31"]}}"#;
    let said = host.play(&[both]).expect_err("refused");
    assert!(said.contains("or else nllb_control_plane"), "{said}");

    let absent = r#"{"nllb_state": "absent"}"#;
    host.play(&[absent]).expect("played");
    assert_eq!(host.told(), ["disable nllb.service", "stop nllb.service", "uninstall"]);
    for file in [UNIT, PROGRAM, CONFIGURATION].iter().chain(&WRITTEN) {
        assert!(!host.path(file).exists(), "{file}");
    }
    let recap = host.play(&[absent]).expect("played");
    assert!(recap.contains("changed=0 "), "{recap}");
}

#[test]
fn without_api_servers_the_role_says_so() {
    if !has_or_say("ansible-playbook") {
        return;
    }
    let host = Host::new();
    let said = host.play(&[r#"{"nllb_endpoints": []}"#]).expect_err("refused");
    assert!(said.contains("set nllb_endpoints to the API servers"), "{said}");
    assert!(!host.path("etc").exists(), "nothing was done");
}

/// A directory that the role takes for a host.
struct Host {
    directory: TempDir,
}

impl Host {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let host = Self { directory };
        for place in ["root", "bin", "state"] {
            fs::create_dir(host.own(place)).expect("made");
        }
        fs::write(host.own("ca.crt"), Authority::new("kubernetes").expect("an authority").pem())
            .expect("written");
        fs::write(host.own("inventory.ini"), "[kubernetes]\nlocalhost\n").expect("written");
        let state = host.own("state").display().to_string();
        let systemctl = format!(
            "#!/bin/sh\ncd {state}\ncase $1 in\n\
             show) echo LoadState=loaded; [ -e active ] && echo ActiveState=active \
             || echo ActiveState=inactive;;\n\
             is-enabled) [ -e enabled ] && echo enabled || {{ echo disabled; exit 1; }};;\n\
             daemon-reload) ;;\n\
             *) echo \"$*\" >> told\n\
             case $1 in enable) touch enabled;; disable) rm enabled;; start|restart) touch active;; \
             stop) rm active;; *) exit 1;; esac;;\nesac\n"
        );
        write_script(&host.own("bin/systemctl"), &systemctl);
        host.renew_program();
        host
    }

    /// Another program for the host: it checks configurations and removes nothing.
    fn renew_program(&self) {
        let earlier = fs::read_to_string(self.own("nllb")).unwrap_or_default();
        let text = format!(
            "#!/bin/sh\n# {}\n[ $1 = uninstall ] && {{ echo uninstall >> {}/told; exit; }}\n\
             exec {} agent \"$@\"\n",
            earlier.len(),
            self.own("state").display(),
            process::program().expect("a program").display()
        );
        write_script(&self.own("nllb"), &text);
    }

    /// Plays the example playbook; gives the recap, or else everything that was said.
    fn play(&self, more: &[&str]) -> Result<String, String> {
        let probe = format!(r#"{{"caFile": "{}"}}"#, self.own("ca.crt").display());
        let path = std::env::var("PATH").expect("a path");
        let mut command = Command::new("ansible-playbook");
        command
            .current_dir(deploy("ansible"))
            .arg("--inventory")
            .arg(self.own("inventory.ini"))
            .args(["--connection", "local", "playbook.yml"])
            .args(["--extra-vars", r#"{"ansible_become": false, "nllb_manage_service": true}"#])
            .args(["--extra-vars", r#"{"nllb_endpoints": ["10.0.0.11:6443", "10.0.0.12:6443"]}"#])
            .args(["--extra-vars", &format!(r#"{{"nllb_probe": {probe}}}"#)])
            .args(["--extra-vars", &format!("nllb_root={}", self.own("root").display())])
            .args(["--extra-vars", &format!("nllb_program={}", self.own("nllb").display())])
            .args(more.iter().flat_map(|vars| ["--extra-vars", vars]))
            .env("PATH", format!("{}:{path}", self.own("bin").display()))
            .env("HOME", self.directory.path())
            .env("ANSIBLE_NOCOLOR", "1")
            .env("ANSIBLE_PYTHON_INTERPRETER", "/usr/bin/python3");
        let output = command.output().expect("started");
        let said = both(&output);
        let recap = said.lines().find(|line| line.starts_with("localhost ")).map(str::to_owned);
        if output.status.success() { Ok(recap.expect("a recap")) } else { Err(said) }
    }

    /// What systemd and the program were told since the last time, in order.
    fn told(&self) -> Vec<String> {
        let file = self.own("state/told");
        let text = fs::read_to_string(&file).unwrap_or_default();
        fs::write(file, "").expect("emptied");
        text.lines().map(str::to_owned).collect()
    }

    fn configuration(&self) -> String {
        fs::read_to_string(self.path(CONFIGURATION)).expect("a configuration")
    }

    /// A file of the host.
    fn path(&self, file: &str) -> PathBuf {
        self.own("root").join(file)
    }

    /// A file of the test's.
    fn own(&self, file: &str) -> PathBuf {
        Path::new(self.directory.path()).join(file)
    }
}
