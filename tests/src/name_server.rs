//! Name servers on the lab's control-plane hosts: Debian's dnsmasq, each of which says who it is.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::lab::ControlPlane;
use crate::place::Place;
use crate::process::{self, Program};
use crate::tools;

/// The name whose text says which server answers.
pub const WHOAMI: &str = "whoami.lab";
/// The name whose address every server knows, as CoreDNS knows it.
pub const KUBERNETES: &str = "kubernetes.default.svc.cluster.local";

/// The program, where there is one.
#[must_use]
pub fn program() -> Option<PathBuf> {
    tools::find("dnsmasq", "dnsmasq-base")
}

/// Starts one on a host, over UDP and TCP at port 53. `directory` takes its log.
pub fn start(program: &Path, host: &ControlPlane, directory: &Path) -> Result<Program> {
    let options = [
        "--keep-in-foreground".to_owned(),
        "--conf-file=/dev/null".to_owned(),
        "--pid-file=".to_owned(),
        "--user=root".to_owned(),
        "--no-resolv".to_owned(),
        "--no-hosts".to_owned(),
        "--bind-interfaces".to_owned(),
        format!("--listen-address={}", host.v4()),
        format!("--address=/{KUBERNETES}/10.96.0.1"),
        format!("--txt-record={WHOAMI},{}", host.name()),
    ];
    let log = directory.join(format!("dnsmasq-{}.log", host.name()));
    Program::start(Place::in_netns(host.netns()), program, options.map(OsString::from), log)
}

/// A resolver's command at `place`, with arguments.
pub fn command(place: &Place, words: &[&str]) -> Result<Command> {
    let before = ["exec", "--"].into_iter().chain(words.iter().copied());
    process::command(place, &before.map(OsString::from).collect::<Vec<_>>())
}

/// Which server answers `dig` at `vip`, in one try of a second; `how` has more words, like `+tcp`.
pub fn who_answers(place: &Place, vip: IpAddr, how: &[&str]) -> Result<String> {
    let server = format!("@{vip}");
    let words = ["dig", "+time=1", "+tries=1", "+short", &server, WHOAMI, "TXT"];
    let output = command(place, &[&words, how].concat())?.output().context("no dig")?;
    let text = String::from_utf8_lossy(&output.stdout).trim().trim_matches('"').to_owned();
    ensure!(output.status.success() && !text.is_empty(), "dig: {} {text}", output.status);
    Ok(text)
}
