//! Real etcd on the lab's control-plane hosts: members that want client certificates.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::lab::{ControlPlane, Lab};
use crate::pki::Identity;
use crate::place::Place;
use crate::process::Program;
use crate::tools;

/// The port that clients dial.
pub const CLIENTS: u16 = 2379;
const PEERS: u16 = 2380;

/// Starts the member on one of the hosts that have one.
pub fn start(
    program: &Path,
    lab: &Lab,
    host: &ControlPlane,
    cluster: &[ControlPlane],
) -> Result<Program> {
    let directory = lab.directory().join(format!("etcd-{}", host.name()));
    fs::create_dir(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let write = |name: &str, content: &str| -> Result<String> {
        let file = directory.join(name);
        fs::write(&file, content)?;
        Ok(file.display().to_string())
    };
    let names = [host.v4().to_string(), "etcd".to_owned()];
    let Identity { certificate, key } = lab.authority().server(host.name(), &names)?;
    let peers = |host: &ControlPlane| format!("http://{}", host.at(PEERS));
    let member = |host: &ControlPlane| format!("{}={}", host.name(), peers(host));
    let members = cluster.iter().map(member).collect::<Vec<_>>().join(",");
    let options = [
        ("--name", host.name().to_owned()),
        ("--data-dir", directory.join("data").display().to_string()),
        ("--listen-client-urls", url(host)),
        ("--advertise-client-urls", url(host)),
        ("--listen-peer-urls", peers(host)),
        ("--initial-advertise-peer-urls", peers(host)),
        ("--initial-cluster", members),
        ("--cert-file", write("server.crt", &certificate)?),
        ("--key-file", write("server.key", &key)?),
        ("--trusted-ca-file", write("ca.crt", lab.authority().pem())?),
    ];
    // Its gateway would dial the port with the server's certificate, which is none of a client.
    let flags = ["--client-cert-auth", "--enable-grpc-gateway=false"].map(OsString::from);
    let options = options.into_iter().flat_map(|(key, value)| [key.into(), value.into()]);
    let (place, log) = (Place::in_netns(host.netns()), directory.join("log"));
    Program::start(place, program, options.chain(flags), log)
}

/// Where clients find the member of a host.
#[must_use]
pub fn url(host: &ControlPlane) -> String {
    format!("https://{}", host.at(CLIENTS))
}

/// The program: one of the assets, or whichever else is here.
#[must_use]
pub fn program() -> Option<PathBuf> {
    let own = tools::assets().map(|directory| directory.join("etcd"));
    own.filter(|program| program.is_file()).or_else(|| tools::find("etcd", "etcd-server"))
}
