//! The systemd unit: well-formed, exposed as little as it can be, and enough for all of the agent's work.

use std::fs;
use std::process::{Command, Output};

use nllb_agent::status::{Status, SystemCalls};
use nllb_lab::process::{self, Process};
use nllb_lab::wait::wait_until;
use nllb_lab::{Agent, Configuration, Lab};

use crate::{both, deploy, has_or_say, serves, succeed, vip, write_script};

/// What the unit needs for announcements of the VIP.
const FOR_VIP: &str = "systemd/nllb.service.d/vip.conf";
/// The exposure that systemd itself gives the unit, in tenths: "OK". CAP_SYS_ADMIN alone costs a lot.
const EXPOSURE: &str = "35";

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    if !has_or_say("systemd-analyze") {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let copy = directory.path().join("nllb.service");
    let text = fs::read_to_string(deploy("systemd/nllb.service")).expect("a unit");
    // It looks for the program, which is not installed here.
    fs::write(&copy, text.replace("/usr/local/bin/nllb", "/bin/true")).expect("written");
    let additions = directory.path().join("nllb.service.d");
    fs::create_dir(&additions).expect("made");
    fs::copy(deploy(FOR_VIP), additions.join("vip.conf")).expect("copied");
    let mut verify = Command::new("systemd-analyze");
    let said = succeed(verify.args(["verify", "--man=no"]).arg(&copy));
    let about_us: Vec<_> = said.lines().filter(|line| line.contains("nllb")).collect();
    assert_eq!(about_us, Vec::<&str>::new());
}

#[test]
fn the_unit_is_exposed_no_more_than_it_has_to_be() {
    if !has_or_say("systemd-analyze") {
        return;
    }
    let mut security = Command::new("systemd-analyze");
    security.args(["security", "--offline=true", "--no-pager", "--threshold", EXPOSURE]);
    println!("{}", succeed(security.arg(deploy("systemd/nllb.service"))));
}

#[test]
fn under_systemd_the_unit_starts_balances_reloads_ends_connections_and_is_restarted_when_stuck() {
    if !has_or_say("systemd-analyze") {
        return;
    }
    let Some(lab) = Lab::builder().pods(1).build_or_skip() else { return };
    let systemd = Systemd::boot(&lab, false);
    systemd.await_value("StatusText", |text| text == "attached; apiserver: 3 of 3 healthy");
    assert_eq!(systemd.value("ActiveState"), "active");
    let confinement = systemd.status().confinement;
    let all = ["CAP_NET_ADMIN", "CAP_SYS_PTRACE", "CAP_SYS_ADMIN", "CAP_PERFMON", "CAP_BPF"];
    assert_eq!(confinement.capabilities, all);
    assert_eq!(confinement.system_calls, SystemCalls::Filtered, "{:?}", confinement.problems);
    assert_eq!(confinement.problems, Vec::<String>::new());
    serves(&lab);
    systemd.await_value("StatusText", |text| text == "attached; apiserver: 2 of 3 healthy");

    let reload = systemd.systemctl(&["reload", "nllb"]);
    assert!(reload.status.success(), "{}", both(&reload));
    systemd.await_value("ActiveState", |state| state == "active");

    let main = systemd.value("MainPID");
    let stop = systemd.systemctl(&["kill", "--signal=STOP", "nllb"]);
    assert!(stop.status.success(), "{}", both(&stop));
    systemd.await_value("NRestarts", |times| times != "0");
    systemd.await_value("MainPID", |pid| pid != "0" && pid != main);
    systemd.await_value("StatusText", |text| text == "attached; apiserver: 2 of 3 healthy");
    assert!(lab.client(0).expect("a client").connect(&vip()).expect("an outcome").ok);

    let stop = systemd.systemctl(&["stop", "nllb"]);
    assert!(stop.status.success(), "{}", both(&stop));
    assert_eq!(systemd.value("ActiveState"), "inactive");
    assert_eq!(systemd.value("Result"), "success");
    assert!(
        lab.client(0).expect("a client").connect(&vip()).expect("an outcome").ok,
        "by the pins"
    );
}

#[test]
fn takeovers_of_the_vip_are_announced_where_the_unit_has_what_is_added_for_that() {
    if !has_or_say("systemd-analyze") {
        return;
    }
    let Some(lab) = Lab::builder().build_or_skip() else { return };
    let systemd = Systemd::boot(&lab, true);
    systemd.await_value("ActiveState", |state| state == "active");
    let status = systemd.status();
    let lease = status.vip_ownership.and_then(|vip| vip.lease).expect("a Lease");
    assert!(lease.announces, "{lease:?}");
    assert!(!status.confinement.capabilities.contains(&"CAP_NET_RAW".to_owned()), "given up");
    assert_eq!(status.confinement.problems, Vec::<String>::new());
    let stop = systemd.systemctl(&["stop", "nllb"]);
    assert!(stop.status.success(), "{}", both(&stop));
}

/// A systemd that has the lab's first node for itself.
struct Systemd {
    init: u32,
    _process: Process,
    /// Removes the pins.
    _agent: Agent,
}

impl Systemd {
    /// Starts the unit as it is, but for the patience of the watchdog; with a VIP by a Lease also what is added for that.
    fn boot(lab: &Lab, vip: bool) -> Self {
        let directory = lab.directory().join("systemd");
        let units = directory.join("unit");
        let quick = units.join("nllb.service.d");
        for place in [&directory.join("bin"), &directory.join("etc"), &quick] {
            fs::create_dir_all(place).expect("made");
        }
        fs::copy(deploy("systemd/nllb.service"), units.join("nllb.service")).expect("copied");
        fs::write(quick.join("quick.conf"), "[Service]\nWatchdogSec=3\n").expect("written");
        // The lab's program is the agent, too. Where it lies is not to be seen from there.
        let program = process::program().expect("a program");
        fs::copy(program, directory.join("bin/nllb-lab")).expect("copied");
        write_script(&directory.join("bin/nllb"), "#!/bin/sh\nexec nllb-lab agent \"$@\"\n");

        let agent = Agent::prepare(lab, 0).expect("an agent");
        let node = lab.node(0);
        // Credentials from /etc, the socket and the table where the unit has them, and the node's cgroup
        // where systemd has it.
        let kubeconfig = agent.write_kubeconfig().expect("written");
        let mut configuration = Configuration::of(lab);
        if vip {
            fs::copy(deploy(FOR_VIP), quick.join("vip.conf")).expect("copied");
            let host = lab.control_plane(0).v4();
            configuration.endpoints = Vec::new();
            configuration.control_plane = Some(format!(
                "hosts: ['{host}'], kubernetes: {{kubeconfig: {}}}",
                kubeconfig.display()
            ));
            configuration.rest =
                vec!["vip: {addresses: [10.86.0.100], interface: eth0}".to_owned()];
        }
        let text = agent.text(&configuration);
        let own = agent.socket().parent().expect("a directory").display().to_string();
        let text = text
            .replace(&format!("{own}/admin.sock"), "/run/nllb/admin.sock")
            .replace(&format!("{own}/table.json"), "/var/lib/nllb/table.json")
            .replace(&own, "/etc/nllb")
            .replace(&node.cgroup().display().to_string(), "/sys/fs/cgroup");
        fs::write(directory.join("etc/agent.yaml"), text).expect("written");
        for file in ["ca.pem", "token"] {
            let from = agent.socket().with_file_name(file);
            fs::copy(from, directory.join("etc").join(file)).expect("copied");
        }
        let name = kubeconfig.file_name().expect("a name");
        let text = fs::read_to_string(&kubeconfig).expect("written").replace(&own, "/etc/nllb");
        fs::write(directory.join("etc").join(name), text).expect("written");

        let boot = directory.join("boot.sh");
        write_script(&boot, include_str!("boot.sh"));
        let arguments = ["exec".into(), "--".into(), boot.into(), directory.clone().into()];
        let log = directory.join("log");
        let process = Process::spawn(&node.place(), &arguments, Some(&log)).expect("spawned");
        let scope = node.cgroup().join("init.scope/cgroup.procs");
        let init = wait_until("systemd", || {
            let text = fs::read_to_string(&scope).unwrap_or_default();
            Ok(text.lines().next().and_then(|id| id.parse().ok()))
        });
        let said = || fs::read_to_string(&log).unwrap_or_default();
        let init = init.unwrap_or_else(|error| panic!("{error:#}\n{}", said()));
        Self { init, _process: process, _agent: agent }
    }

    fn systemctl(&self, arguments: &[&str]) -> Output {
        self.command("systemctl").args(arguments).output().expect("started")
    }

    /// A program among systemd's files and processes.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init.to_string(), "--mount", "--pid", "--root", "--wd"]);
        command.arg(program);
        command
    }

    /// The agent's document.
    fn status(&self) -> Status {
        let mut nllb = self.command("/usr/local/bin/nllb");
        let output = nllb.args(["status", "-o", "json"]).output().expect("started");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", both(&output)))
    }

    /// A property of the unit.
    fn value(&self, name: &str) -> String {
        let output = self.systemctl(&["show", "--value", "--property", name, "nllb"]);
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn await_value(&self, name: &str, good: impl Fn(&str) -> bool) {
        let mut last = String::new();
        let found = wait_until(name, || {
            last = self.value(name);
            Ok(good(&last).then_some(()))
        });
        let status = || both(&self.systemctl(&["status", "--no-pager", "--full", "nllb"]));
        found.unwrap_or_else(|error| panic!("{error:#}: {last:?}\n{}", status()));
    }
}
